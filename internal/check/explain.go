package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/router"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// Question is a request that somebody asks about.
type Question struct {
	Method, URL string
	Header      []string // "Name: value"
}

// Answer is what happens to a request, and why.
type Answer struct {
	Request Request `json:"request"`
	// Refused is why the request never reaches a host; "" when it does.
	Refused string `json:"refused,omitempty"`

	Host        *HostAnswer       `json:"host,omitempty"`
	Route       *RouteAnswer      `json:"route,omitempty"`
	Others      []Candidate       `json:"others,omitempty"`
	Annotations []Annotation      `json:"annotations,omitempty"`
	Filters     []Filter          `json:"filters,omitempty"`
	Backends    []Backend         `json:"backends,omitempty"`
	Findings    []diag.Diagnostic `json:"findings,omitempty"`
}

// Request is a Question as the data plane sees it.
type Request struct {
	Method string `json:"method"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Path   string `json:"path"` // decoded and normalised: what routes match
	Query  string `json:"query,omitempty"`
	Raw    string `json:"raw,omitempty"` // the path as asked, where it differs
}

// HostAnswer is the host that takes the request.
type HostAnswer struct {
	Name      string   `json:"name"`
	Why       string   `json:"why"`
	AliasOf   string   `json:"aliasOf,omitempty"`
	Regex     bool     `json:"regex,omitempty"`
	TLS       string   `json:"tls,omitempty"`
	Ingresses []string `json:"ingresses,omitempty"`
}

// RouteAnswer is the route that takes the request.
type RouteAnswer struct {
	Match    string   `json:"match"`
	Path     string   `json:"path"`
	Why      string   `json:"why"`
	Captures []string `json:"captures,omitempty"`
	Ingress  string   `json:"ingress,omitempty"`
	Field    string   `json:"field,omitempty"` // spec.rules[0].http.paths[1]
	Pos      string   `json:"pos,omitempty"`
	Action   string   `json:"action"`
	Deny     string   `json:"deny,omitempty"`
}

// Candidate is a route that does not take the request.
type Candidate struct {
	Match   string `json:"match"`
	Path    string `json:"path"`
	Ingress string `json:"ingress,omitempty"`
	WhyNot  string `json:"whyNot"`
	matches bool
}

// Annotation is one annotation of the route's Ingress.
type Annotation struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Pos   string `json:"pos,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Filter is one filter, in the order requests meet them.
type Filter struct {
	Scope string `json:"scope"` // global, host, route
	Text  string `json:"text"`
}

// Backend is a pool the route may send to.
type Backend struct {
	Role      string   `json:"role"` // backend, canary, fallback, errors
	Pool      string   `json:"pool"`
	Notes     []string `json:"notes,omitempty"`
	Source    string   `json:"source,omitempty"`
	Endpoints []string `json:"endpoints,omitempty"`
	Problem   string   `json:"problem,omitempty"`
}

const (
	maxCandidates = 6
	maxConsidered = 500
)

// Explain says what happens to a request. The error is about the question.
func (w *World) Explain(q Question) (*Answer, error) {
	a := &Answer{}
	if err := a.read(q); err != nil {
		return nil, err
	}
	if a.Refused != "" {
		return a, nil
	}
	named, host := w.host(a)
	if host == nil {
		return a, nil
	}
	w.describeHost(a, named, host)
	route := w.route(a, host)
	a.filters("global", w.globalFilters())
	a.filters("host", host.Filters)
	if route == nil {
		return a, nil
	}
	a.filters("route", route.Filters, builtins(route)...)
	w.annotations(a, route)
	w.backends(a, route)
	w.findings(a, route)
	return a, nil
}

// read takes the request apart as an engine does.
func (a *Answer) read(q Question) error {
	rest := q.URL
	a.Request.Method, a.Request.Scheme = q.Method, "http"
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		a.Request.Scheme, rest = strings.ToLower(scheme), after
	}
	if s := a.Request.Scheme; s != "http" && s != "https" {
		return fmt.Errorf("%q is neither http nor https", s)
	}
	authority, target := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, target = rest[:i], rest[i:]
		if target[0] != '/' {
			target = "/" + target
		}
	}
	for _, line := range q.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return fmt.Errorf("header %q is not written as Name: value", line)
		}
		if strings.EqualFold(strings.TrimSpace(name), "host") {
			authority = strings.TrimSpace(value)
		}
	}
	if authority == "" {
		return fmt.Errorf("%q names no host; write http://host/path", q.URL)
	}
	switch q.Method {
	case "CONNECT", "TRACE":
		a.Refused = "405: " + q.Method + " is not served"
	}
	host, ok := h1.HostSelector(authority)
	if !ok {
		a.Refused = fmt.Sprintf("400: %q is not a host", authority)
	}
	var req exchange.Request
	if err := h1.SetTarget(&req, target); err != nil {
		a.Refused = strconv.Itoa(err.Status) + ": " + err.Reason
	}
	a.Request.Host, a.Request.Path, a.Request.Query = host, req.Path, req.Query
	if raw, _, _ := strings.Cut(target, "?"); raw != req.Path {
		a.Request.Raw = raw
	}
	return nil
}

// host finds the host by the router that serves: the name that matched, and the host whose routes serve it.
func (w *World) host(a *Answer) (named, serving *config.Host) {
	var names []router.Name[*config.Host]
	for text, h := range w.Table.Hosts {
		if h != nil {
			names = append(names, router.Name[*config.Host]{Text: text, Owner: h.AliasOf, LeadingAny: h.LeadingAny, Value: h})
		}
	}
	var none *router.Hosts[*config.Host]
	hosts := none.With(names, nil)
	named, ok := hosts.Match(a.Request.Host)
	if !ok {
		a.Refused = "404: there is no host at all, not even a catch-all"
		return nil, nil
	}
	if named.AliasOf == "" {
		return named, named
	}
	if serving, ok = hosts.Get(named.AliasOf); !ok {
		a.Refused = "404: " + named.Name + " is another name of " + named.AliasOf + ", which is not there"
		return nil, nil
	}
	return named, serving
}

func (w *World) describeHost(a *Answer, named, serving *config.Host) {
	h := &HostAnswer{Name: named.Name, AliasOf: named.AliasOf, Regex: serving.Regex}
	switch name := named.Name; {
	case name == config.CatchAll:
		h.Why = "no host is called " + a.Request.Host + ", so the catch-all takes it"
		if near := nearestHost(w.Table, a.Request.Host); near != "" {
			h.Why += "; did you mean " + near + "?"
		}
	case strings.HasPrefix(name, "~"):
		h.Why = "the regular expression matches, and no exact or wildcard name goes before it"
	case strings.HasPrefix(name, "*.") && named.LeadingAny:
		h.Why = "the wildcard matches any labels before " + name[2:] + ", and there is no exact name"
	case strings.HasPrefix(name, "*."):
		h.Why = "the wildcard matches one label before " + name[2:] + ", and there is no exact name"
	case strings.HasSuffix(name, ".*"):
		h.Why = "the wildcard matches names that start with " + strings.TrimSuffix(name, "*")
	default:
		h.Why = "the name is exactly this"
	}
	switch t := named.TLS; {
	case t == nil:
		h.TLS = "the default certificate"
	case t.Reject:
		h.TLS = "handshakes are refused"
	case !t.Passthrough.IsZero():
		h.TLS = "passed through to " + t.Passthrough.String()
	case t.Cert == (config.CertID{}):
		h.TLS = "the default certificate"
	default:
		h.TLS = "Secret " + t.Cert.String()
		for _, id := range t.Also {
			h.TLS += ", " + id.String()
		}
	}
	if t := named.TLS; t != nil && t.ClientAuth != nil {
		h.TLS += ", client certificates: " + t.ClientAuth.Verify
	}
	for _, r := range serving.Origin {
		h.Ingresses = append(h.Ingresses, r.Namespace+"/"+r.Name)
	}
	a.Host = h
}

func index(routes ...*config.Route) *router.Index[*config.Route] {
	entries := make([]router.Entry[*config.Route], len(routes))
	for i, r := range routes {
		entries[i] = router.Entry[*config.Route]{Kind: router.Kind(r.Match), Path: r.Path, Value: r}
	}
	// What does not compile is a finding already and matches nothing.
	ix, _ := router.NewIndex(entries)
	return ix
}

// route finds the route by the router that serves, and says why not the others.
func (w *World) route(a *Answer, h *config.Host) *config.Route {
	won, captures, ok := index(h.Routes...).Match(a.Request.Path, nil)
	a.others(h, won)
	if !ok {
		a.Refused = "404: no route of the host matches the path"
		return nil
	}
	others := 0
	for _, c := range a.Others {
		if c.matches {
			others++
		}
	}
	r := &RouteAnswer{Match: won.Match.String(), Path: shownPath(won), Captures: captures, Action: action(won), Deny: won.Deny}
	switch won.Match {
	case config.Exact:
		r.Why = "the path is exactly this; exact paths go first"
	case config.Regex:
		r.Why = "the first regular expression that matches; the longest text is tried first"
	case config.Text:
		r.Why = "a path of lintel's own"
	default:
		r.Why = "the longest prefix that matches"
		if others == 0 {
			r.Why = "the only prefix that matches"
		}
	}
	o := won.Origin
	if o.Ingress.Name != "" {
		r.Ingress = o.Ingress.Namespace + "/" + o.Ingress.Name
		r.Field = fieldOf(o)
		r.Pos = o.Pos.String()
		if k, ok := keyOf(o.Ingress); ok && r.Pos == "" && w.Object != nil {
			if _, from, ok := w.Object(k); ok {
				r.Pos = position(from, r.Field).String()
			}
		}
	}
	a.Route = r
	return won
}

func fieldOf(o config.Origin) string {
	switch {
	case o.Rule >= 0 && o.Path >= 0:
		return fmt.Sprintf("spec.rules[%d].http.paths[%d]", o.Rule, o.Path)
	case o.Rule >= 0:
		return fmt.Sprintf("spec.rules[%d]", o.Rule)
	}
	return "spec.defaultBackend"
}

func shownPath(r *config.Route) string {
	if r.Path == "" {
		return "/"
	}
	return r.Path
}

func action(r *config.Route) string {
	switch act := &r.Action; {
	case act.Forward != nil:
		return "forward to " + act.Forward.Pool.String()
	case act.Files != nil:
		return "serve the files of a ConfigMap (" + plural(len(act.Files.Entries), "file") + ")"
	case act.Slash != nil:
		return "301 to the path with a slash at its end"
	}
	return "answer " + strconv.Itoa(r.Action.Status)
}

// others says of the routes that were closest why they do not take the request.
func (a *Answer) others(h *config.Host, won *config.Route) {
	routes := slices.Clone(h.Routes)
	path := a.Request.Path
	sort.SliceStable(routes, func(i, j int) bool { return shared(routes[i].Path, path) > shared(routes[j].Path, path) })
	var out []Candidate
	for i, r := range routes {
		if r == won || i >= maxConsidered {
			continue
		}
		c := Candidate{Match: r.Match.String(), Path: shownPath(r)}
		if r.Origin.Ingress.Name != "" {
			c.Ingress = r.Origin.Ingress.Namespace + "/" + r.Origin.Ingress.Name
		}
		_, _, c.matches = index(r).Match(path, nil)
		c.WhyNot = whyNot(r, won, path, c.matches)
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(x, y Candidate) int {
		if x.matches != y.matches {
			if x.matches {
				return -1
			}
			return 1
		}
		return cmp.Compare(shared(y.Path, path), shared(x.Path, path))
	})
	a.Others = out[:min(len(out), maxCandidates)]
}

// shared is the number of bytes that two paths begin with alike.
func shared(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func whyNot(r, won *config.Route, path string, matches bool) string {
	if matches {
		switch {
		case won == nil:
			return "matches" // cannot be: a route that matches alone matches among others
		case won.Match == config.Exact:
			return "matches, but the exact path goes first"
		case won.Match == config.Regex && r.Match == config.Regex:
			return "matches, but is tried later: shorter text, or later in the alphabet"
		case won.Match == config.Regex:
			return "matches, but regular expressions go first"
		}
		return "matches, but is shorter"
	}
	text := shownPath(r)
	switch {
	case r.Match == config.Regex:
		return "does not match the path"
	case strings.EqualFold(text, path):
		return "differs in upper and lower case"
	case r.Match == config.Exact && strings.TrimSuffix(text, "/") == strings.TrimSuffix(path, "/"):
		return "differs in the slash at the end"
	case r.Match == config.Exact:
		return "is not exactly the path"
	case strings.HasPrefix(path, text):
		return "is no prefix by whole path elements"
	case strings.HasPrefix(text, path):
		return "is longer than the path"
	}
	return "is no prefix of the path"
}

func (w *World) globalFilters() []filter.Config {
	if w.Table.Global == nil {
		return nil
	}
	return w.Table.Global.Filters
}

// builtins are the steps of the data plane's own that stand between a route's filters.
func builtins(r *config.Route) (out []Filter) {
	if r.Action.Slash != nil {
		out = append(out, Filter{Text: "slash-redirect"})
	}
	if r.Deny != "" {
		out = append(out, Filter{Text: "deny: 503, because " + r.Deny})
	}
	if r.Action.Forward != nil {
		out = append(out, Filter{Text: "backend: choose pool and endpoint, 503 when there is none"})
	}
	return out
}

// filters adds those of one scope in the order requests meet them.
func (a *Answer) filters(scope string, list []filter.Config, own ...Filter) {
	type placed struct {
		position int
		Filter
	}
	var all []placed
	for _, f := range list {
		all = append(all, placed{filter.Position(f.FilterName()), Filter{scope, config.FilterText(f)}})
	}
	for _, f := range own {
		name, _, _ := strings.Cut(f.Text, ":")
		all = append(all, placed{filter.Position(name), Filter{scope, f.Text}})
	}
	slices.SortStableFunc(all, func(x, y placed) int { return cmp.Compare(x.position, y.position) })
	for _, p := range all {
		a.Filters = append(a.Filters, p.Filter)
	}
}

// annotations are those of the Ingress that the route belongs to.
func (w *World) annotations(a *Answer, r *config.Route) {
	k, ok := keyOf(r.Origin.Ingress)
	if !ok || w.Object == nil {
		return
	}
	o, from, ok := w.Object(k)
	if !ok {
		return
	}
	prefix := cmp.Or(w.Prefix, "nginx.ingress.kubernetes.io") + "/"
	notes := map[string]string{}
	for _, d := range w.all() {
		if d.Object == r.Origin.Ingress && strings.HasPrefix(d.Field, "metadata.annotations[") {
			note := d.Message
			if e := d.Effect.String(); e != "" {
				note += " (" + e + ")"
			}
			notes[d.Field] = note
		}
	}
	in, _ := o.(*object.Ingress)
	if in == nil {
		return
	}
	for name, value := range in.Annotations {
		if !strings.HasPrefix(name, prefix) && name != "kubernetes.io/ingress.class" {
			continue
		}
		field := "metadata.annotations[" + name + "]"
		pos, _ := from.Fields.At(field)
		a.Annotations = append(a.Annotations, Annotation{Name: name, Value: diag.Clip(value, 200), Note: notes[field], Pos: pos.String()})
	}
	slices.SortFunc(a.Annotations, func(x, y Annotation) int { return cmp.Compare(x.Name, y.Name) })
}

func (w *World) all() []diag.Diagnostic {
	if w.Findings == nil {
		return nil
	}
	return w.Findings()
}

// backends are the pools the route may send to.
func (w *World) backends(a *Answer, r *config.Route) {
	f := r.Action.Forward
	if f == nil {
		return
	}
	add := func(role string, id config.PoolID, notes ...string) {
		b := Backend{Role: role, Pool: id.String(), Notes: notes}
		if w.Pool != nil {
			s := w.Pool(id)
			b.Source, b.Endpoints, b.Problem = s.Source, s.Endpoints, s.Problem
		}
		a.Backends = append(a.Backends, b)
	}
	notes := []string{"balance " + cmp.Or(f.Balance.Policy, "round_robin"), "protocol " + f.Protocol.String()}
	if f.Balance.HashBy != "" {
		notes[0] += " by " + f.Balance.HashBy
	}
	if f.Affinity != nil {
		notes = append(notes, "affinity "+f.Affinity.Mode+" by cookie "+f.Affinity.Cookie)
	}
	notes = append(notes, fmt.Sprintf("timeouts connect %v, send %v, read %v", f.Connect, f.Send, f.Read),
		fmt.Sprintf("%s, again on %s", plural(max(f.Retry.Tries, 1), "attempt"), cmp.Or(f.Retry.On.String(), "nothing")))
	add("backend", f.Pool, notes...)
	if c := f.Canary; c != nil {
		var when []string
		if c.Header != "" {
			s := "header " + c.Header
			if c.HeaderValue != "" {
				s += ": " + c.HeaderValue
			} else if c.HeaderPattern != "" {
				s += " matching " + c.HeaderPattern
			}
			when = append(when, s)
		}
		if c.Cookie != "" {
			when = append(when, "cookie "+c.Cookie)
		}
		when = append(when, fmt.Sprintf("else %d of %d requests", c.Weight, c.Total))
		add("canary", c.Pool, "from Ingress "+c.Origin.Ingress.Namespace+"/"+c.Origin.Ingress.Name, strings.Join(when, ", "))
	}
	if f.Fallback != nil {
		add("fallback", *f.Fallback, "while the backend has no endpoint")
	}
	if e := f.ErrorPages; e != nil && !e.Pool.IsZero() {
		codes := make([]string, len(e.Codes))
		for i, c := range e.Codes {
			codes[i] = strconv.Itoa(c)
		}
		add("errors", e.Pool, "for responses of status "+strings.Join(codes, ", "))
	}
}

// findings are those about the route's Ingress, and about others that wanted its place.
func (w *World) findings(a *Answer, r *config.Route) {
	if r.Origin.Ingress.Name == "" {
		return
	}
	for _, d := range w.all() {
		about := d.Object == r.Origin.Ingress
		lost := d.Code == diag.PathConflict && slices.Contains(d.Related, r.Origin.Ingress)
		if about || lost {
			a.Findings = append(a.Findings, d)
		}
	}
}
