package translate

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// Merged is what the Ingresses of one host come to. Names shared with other hosts are not
// settled yet: aliases, the www counterpart, and a certificate inherited from "*." above.
type Merged struct {
	// Host is nil where only canaries name the host.
	Host *config.Host
	// Aliases are the other names asked for, in order, by AliasOwner.
	Aliases    []string
	AliasOwner *diag.Ref // nil: none
	// WWW is the host that redirects here; nil: none.
	WWW      *config.Host
	WWWOwner *diag.Ref // nil: none
	Claim    *TLSClaim // nil: no certificate of its own
	Pools    []config.PoolID
	Certs    []config.CertID
	Diags    []diag.Diagnostic
}

// MergeHost settles what several fragments claim of one host: the oldest wins. base is the
// fragment of the controller itself, which only the catch-all needs. Reads through r are recorded there.
func MergeHost(name string, from []*Fragment, base *Fragment, r *object.Reader, o Options) *Merged {
	t := newTranslator(&o)
	t.begin(r)
	return t.mergeHost(name, from, base)
}

// merge is one run of MergeHost.
type merge struct {
	t       *translator
	name    string
	out     *Merged
	members []*Fragment // non-canary, oldest first
	parts   []*mergedPart
	byKey   map[routeKey]*mergedPart
}

type routeKey struct {
	match config.MatchType
	path  string
}

// mergedPart is a route of the host with the part and the fragment it came from.
type mergedPart struct {
	*RoutePart
	owner *Fragment
	route *config.Route // the fragment's own, until change makes a copy
	ours  bool
}

// change returns the route as a copy that the merge may write to. Routes nobody writes to are
// shared with their fragment, which saves memory and makes comparing hosts cheap.
func (p *mergedPart) change() *config.Route {
	if !p.ours {
		r := *p.route
		if r.Action.Forward != nil {
			fwd := *r.Action.Forward
			r.Action.Forward = &fwd
		}
		p.route, p.ours = &r, true
	}
	return p.route
}

func (t *translator) mergeHost(name string, from []*Fragment, base *Fragment) *Merged {
	t.pools, t.certsUsed = nil, nil
	m := &merge{t: t, name: name, out: &Merged{}, byKey: map[routeKey]*mergedPart{}}
	from = slices.Clone(from)
	slices.SortStableFunc(from, func(a, b *Fragment) int { return a.Age.Compare(b.Age) })
	var canaries []*Fragment
	for _, f := range from {
		switch {
		case !f.Served || f.part(name) == nil:
		case f.canary:
			canaries = append(canaries, f)
		default:
			m.members = append(m.members, f)
		}
	}
	if len(m.members) > 0 || name == config.CatchAll {
		m.routes(base)
	}
	for _, f := range canaries {
		m.canary(f)
	}
	if len(m.members) > 0 || name == config.CatchAll {
		m.host()
	}
	m.out.Pools, m.out.Certs = t.pools, t.certsUsed
	return m.out
}

func (m *merge) report(f *Fragment, d diag.Diagnostic) {
	d.Object = f.Owner.Ref()
	if d.Pos == (diag.Pos{}) {
		d.Pos = position(f.origin, d.Field)
	}
	m.out.Diags = append(m.out.Diags, d)
}

// routes collects the routes; of equal ones the oldest Ingress' stands.
func (m *merge) routes(base *Fragment) {
	// compat: an Ingress with only spec.defaultBackend has "/" of the catch-all, whatever the
	// age of rules without host (kubernetes/ingress-nginx controller.go, createServers).
	for _, f := range m.members {
		if f.fromDefault {
			m.take(f)
		}
	}
	for _, f := range m.members {
		if !f.fromDefault {
			m.take(f)
		}
	}
	if m.byKey[routeKey{config.Prefix, "/"}] != nil {
		return
	}
	owner := base
	if m.name != config.CatchAll {
		owner = m.members[0]
	}
	if owner == nil {
		return
	}
	if p := owner.part(m.name); p != nil && p.Implicit != nil {
		m.add(owner, p.Implicit)
	}
}

func (m *merge) take(f *Fragment) {
	part := f.part(m.name)
	for i := range part.Routes {
		p := &part.Routes[i]
		if won := m.byKey[routeKey{p.Route.Match, p.Route.Path}]; won != nil {
			m.lost(f, p, won)
			continue
		}
		m.add(f, p)
	}
}

func (m *merge) add(f *Fragment, p *RoutePart) {
	part := &mergedPart{RoutePart: p, owner: f, route: p.Route}
	m.parts = append(m.parts, part)
	m.byKey[routeKey{p.Route.Match, p.Route.Path}] = part
}

func (m *merge) lost(f *Fragment, p *RoutePart, won *mergedPart) {
	d := diag.Diagnostic{
		Code: diag.PathConflict, Severity: diag.Warning, Field: p.Field, Value: p.Route.Path, Effect: diag.Ignored,
		Hint: "remove one of the two, or give this one another host or path",
	}
	if strings.HasPrefix(p.Field, "spec.rules") {
		d.Field += ".path"
	}
	what := fmt.Sprintf("%s path %s of host %s", p.Route.Match, p.Route.Path, m.name)
	switch {
	case won.owner == f:
		d.Message = what + " stands already in " + won.Field
	case won.owner.fromDefault && !f.fromDefault:
		d.Message = what + " belongs to Ingress " + won.owner.Owner.Namespace + "/" + won.owner.Owner.Name + ", whose spec.defaultBackend takes everything"
	default:
		d.Message = what + " belongs to Ingress " + won.owner.Owner.Namespace + "/" + won.owner.Owner.Name + ", which is older"
		if won.owner.Owner.Namespace != f.Owner.Namespace {
			d.Hint += "; it is in another namespace: see who may use the host"
		}
	}
	if won.owner != f {
		d.Related = []diag.Ref{won.owner.Owner.Ref()}
	}
	m.report(f, d)
}

// canary attaches the paths of a canary Ingress to the routes of the same host, path and type.
func (m *merge) canary(f *Fragment) {
	part := f.part(m.name)
	for i := range part.Routes {
		p := &part.Routes[i]
		var to []*mergedPart
		if f.fromDefault {
			to = m.parts // compat: a canary catch-all goes with every route of the catch-all
		} else if main := m.byKey[routeKey{p.Route.Match, p.Route.Path}]; main != nil {
			to = []*mergedPart{main}
		}
		attached := false
		for _, main := range to {
			attached = m.attach(f, p, main) || attached
		}
		if !attached {
			m.report(f, diag.Diagnostic{
				Code: diag.CanaryOrphan, Severity: diag.Warning, Field: p.Field, Value: p.Route.Path, Effect: diag.Ignored,
				Message: fmt.Sprintf("no Ingress without canary has %s path %s of host %s, so there is nothing to split", p.Route.Match, p.Route.Path, m.name),
				Hint:    "write host, path and pathType exactly as in the main Ingress",
			})
		}
	}
}

// attach splits main's requests; it reports whether the matter is settled, with a finding where
// nothing is split.
func (m *merge) attach(f *Fragment, p *RoutePart, main *mergedPart) bool {
	fwd := main.route.Action.Forward
	if fwd == nil || main.route.Origin.Upstream == defaultUpstream {
		return false
	}
	note := func(message string, related *Fragment) bool {
		d := diag.Diagnostic{
			Code: diag.CanaryOrphan, Severity: diag.Warning, Field: p.Field, Value: p.Route.Path, Effect: diag.Ignored,
			Message: message, Hint: "remove this path, or name another Service",
		}
		if related != nil {
			d.Related = []diag.Ref{related.Owner.Ref()}
		}
		m.report(f, d)
		return true
	}
	switch {
	case p.Canary == nil || p.Canary.Pool.IsZero():
		return true // the backend's own finding says why
	case fwd.Canary != nil:
		first := fwd.Canary.Origin.Ingress
		d := note(fmt.Sprintf("the route has a canary already, of Ingress %s/%s, which is older", first.Namespace, first.Name), nil)
		m.out.Diags[len(m.out.Diags)-1].Related = []diag.Ref{first}
		return d
	case samePool(p.Canary.Pool, fwd.Pool):
		return note("the canary has the same backend as the main Ingress, so there is nothing to split", main.owner)
	}
	main.change().Action.Forward.Canary = p.Canary
	return true
}

// samePool compares backends: the Service and port as written, whatever the mode.
func samePool(a, b config.PoolID) bool {
	a.Mode = b.Mode
	return a == b
}

// host settles what is not a path, and finishes the routes.
func (m *merge) host() {
	h := &config.Host{Name: m.name}
	m.out.Host = h
	for _, f := range m.members {
		h.Origin = append(h.Origin, f.Owner.Ref())
	}
	m.claim(h)
	m.features(h)
	for _, p := range m.parts {
		h.Regex = h.Regex || p.Regex
	}
	if h.Regex {
		m.regexParts()
	}
	for _, p := range m.parts {
		h.Routes = append(h.Routes, p.route)
	}
	if h.Regex {
		sort.SliceStable(h.Routes, func(i, j int) bool { return h.Routes[i].Path > h.Routes[j].Path })
		sort.SliceStable(h.Routes, func(i, j int) bool { return len(h.Routes[i].Path) > len(h.Routes[j].Path) })
	} else {
		m.plainRoutes(h)
	}
	if m.name == config.CatchAll {
		m.own(h)
	}
}

// claim takes the certificate of the first Ingress with spec.tls, even where that came to
// nothing but the default one.
func (m *merge) claim(h *config.Host) {
	var first *Fragment
	for _, f := range m.members {
		c := f.part(m.name).TLS
		if c == nil {
			continue
		}
		if first == nil {
			first, m.out.Claim = f, c
			h.TLS = &config.TLS{Cert: c.Cert, Also: c.Also}
			h.HasCert = m.name != config.CatchAll
			continue
		}
		if c.Cert != (config.CertID{}) && c.Cert != m.out.Claim.Cert {
			m.report(f, diag.Diagnostic{
				Code: diag.AnnotationConflict, Severity: diag.Warning, Field: "spec.tls", Value: c.Cert.Name, Effect: diag.Ignored,
				Message: fmt.Sprintf("the certificate of host %s is settled by Ingress %s/%s, which is older", m.name, first.Owner.Namespace, first.Owner.Name),
				Hint:    "name the Secret in the older Ingress", Related: []diag.Ref{first.Owner.Ref()},
			})
		}
	}
}

// features runs what annotations say about the host.
func (m *merge) features(h *config.Host) {
	c := &annotation.HostContext{Host: h, Objects: m.t, Global: m.t.readCM}
	for _, f := range m.members {
		c.Members = append(c.Members, annotation.Member{
			Values: f.values, Namespace: f.Owner.Namespace, Ingress: f.Owner.Name, CatchAllDefault: f.fromDefault, Local: f.local,
		})
	}
	c.Report = func(i int, name string, d diag.Diagnostic) {
		if i >= 0 && i < len(m.members) {
			f := m.members[i]
			m.report(f, annotationFinding(f.revision, m.t.o.AnnotationsPrefix, name, d))
		}
	}
	for _, f := range annotation.Features() {
		if f.Host != nil {
			f.Host(c)
		}
	}
	if c.Passthrough {
		m.passthrough(h)
	}
	for _, p := range m.parts {
		if filters, differ := annotation.InheritRules(p.route.Filters, c.Rules); differ {
			p.change().Filters = filters
		}
	}
	if len(c.Aliases) > 0 && c.AliasMember < len(m.members) {
		m.aliases(m.members[c.AliasMember], c.Aliases)
	}
	if c.WWW != nil && m.name != config.CatchAll && !strings.HasPrefix(m.name, "*.") && len(m.members) > 0 {
		other, www := strings.CutPrefix(m.name, "www.")
		if !www {
			other = "www." + m.name
		}
		owner := m.members[0].Owner.Ref()
		m.out.WWWOwner = &owner
		m.out.WWW = &config.Host{Name: other, Filters: c.WWW, Origin: h.Origin, Routes: []*config.Route{{
			ID: "- " + other + " redirect /", Path: "/", Action: config.Action{Status: 404},
			Origin: config.Origin{Host: other, Rule: -1, Path: -1, Upstream: "-", PathText: "/"},
		}}}
	}
}

func (m *merge) passthrough(h *config.Host) {
	root := m.byKey[routeKey{config.Prefix, "/"}]
	if !m.t.o.EnableSSLPassthrough || root == nil || root.route.Action.Forward == nil {
		return
	}
	id := root.route.Action.Forward.Pool
	id, _ = m.t.Pool(id.Namespace, id.Service, id.Port, config.ClusterIP)
	if h.TLS == nil {
		h.TLS = &config.TLS{}
	}
	h.TLS.Passthrough = id
}

// aliases checks the other names of the host and writes them as they are matched.
func (m *merge) aliases(f *Fragment, names []string) {
	owner := f.Owner.Ref()
	m.out.AliasOwner = &owner
	add := func(n string) {
		if n != m.name && !slices.Contains(m.out.Aliases, n) {
			m.out.Aliases = append(m.out.Aliases, n)
		}
	}
	for _, n := range names {
		n = strings.TrimSpace(n)
		var code diag.Code
		var problem, hint string
		switch {
		case n == "":
			continue
		case strings.HasPrefix(n, "~"):
			if err := annotation.CheckRegex(n[1:]); err != nil {
				code, problem = diag.RegexInvalid, strings.TrimPrefix(err.Error(), "error parsing regexp: ")
				hint = "regular expressions have RE2 syntax: no lookaround, no back-references"
			} else {
				add(n)
			}
		case strings.HasSuffix(n, ".*"):
			var base string
			if base, problem, hint = hostName(strings.TrimSuffix(n, ".*")); problem == "" && !strings.HasPrefix(base, "*") {
				add(base + ".*")
			}
		case strings.HasPrefix(n, "."):
			// nginx reads ".x" as "x" and "*.x".
			var base string
			if base, problem, hint = hostName(n[1:]); problem == "" && !strings.HasPrefix(base, "*") {
				add(base)
				add("*." + base)
			}
		default:
			var base string
			if base, problem, hint = hostName(n); problem == "" {
				add(base)
			}
		}
		if problem != "" {
			if code == "" {
				code = diag.HostInvalid
			}
			m.report(f, annotationFinding(f.revision, m.t.o.AnnotationsPrefix, "server-alias", diag.Diagnostic{
				Code: code, Severity: diag.Warning, Value: n, Message: fmt.Sprintf("%q cannot be another name of the host: %s", n, problem),
				Hint: hint, Effect: diag.Ignored,
			}))
		}
	}
}

// regexLike are characters that mean something in a regular expression and hardly occur in paths.
const regexLike = `()[]{}*+?|^$\`

// plainRoutes adds nginx's own redirects from /foo to /foo/.
func (m *merge) plainRoutes(h *config.Host) {
	slash := map[string]*mergedPart{}
	var order []string
	for _, p := range m.parts {
		path := p.route.Path
		if p.owner.values != nil && p.route.Origin.Rule >= 0 {
			m.advise(p)
		}
		if len(path) < 2 || !strings.HasSuffix(path, "/") {
			continue
		}
		bare := path[:len(path)-1]
		if m.byKey[routeKey{config.Exact, bare}] != nil || m.byKey[routeKey{config.Prefix, bare}] != nil {
			continue
		}
		if have := slash[bare]; have == nil {
			order = append(order, bare)
			slash[bare] = p
		} else if p.route.Match == config.Exact {
			slash[bare] = p
		}
	}
	for _, bare := range order {
		p := slash[bare]
		r := *p.route
		s := p.Slash
		r.ID += " slash"
		r.Match, r.Path = config.Exact, bare
		r.Action = config.Action{Slash: &s}
		h.Routes = append(h.Routes, &r)
	}
}

// advise warns about a path that can hardly match what its author had in mind.
func (m *merge) advise(p *mergedPart) {
	d := diag.Diagnostic{Code: diag.PathInvalid, Severity: diag.Warning, Field: p.Field + ".path", Value: p.route.Path}
	switch {
	case !strings.HasPrefix(p.route.Path, "/"):
		d.Message, d.Hint, d.Effect = "a path that does not start with / matches no request", "write it with a leading /", diag.Ignored
	case strings.ContainsAny(p.route.Path, regexLike):
		d.Message = "the path looks like a regular expression, but is compared as text: no Ingress of the host has use-regex or an effective rewrite-target"
		d.Hint = `set the annotation use-regex: "true", or write a plain path`
	case strings.Contains(p.route.Path, "//"), strings.Contains(p.route.Path, "%"):
		d.Message, d.Hint = "requests are compared decoded and with single slashes, so this path matches nothing", "write the decoded form with single slashes"
	default:
		return
	}
	m.report(p.owner, d)
}

// regexParts turns every route into a regular expression. host puts them in the order of
// reference/routing.md 5.
func (m *merge) regexParts() {
	for _, p := range m.parts {
		r := p.change()
		path := r.Path
		// compat: a Prefix of an Ingress that asks for no regular expressions becomes "/foo/" where
		// an Exact "/foo" stands beside it (updateServerLocations).
		if r.Match == config.Prefix && !p.Regex && path != "/" && !strings.HasSuffix(path, "/") && m.byKey[routeKey{config.Exact, path}] != nil {
			path += "/"
		}
		r.Match, r.Path = config.Regex, path
		if err := annotation.CheckRegex("(?i)^" + path); err != nil {
			m.badRegex(p, err)
		}
	}
}

// badRegex makes a route whose path is no regular expression refuse everything below the text it
// starts with: requests that it may have been meant to protect must not reach another route.
func (m *merge) badRegex(p *mergedPart, err error) {
	text := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	literal := p.route.Path
	if i := strings.IndexAny(literal, regexLike+"."); i >= 0 {
		literal = literal[:i]
	}
	m.report(p.owner, diag.Diagnostic{
		Code: diag.RegexInvalid, Severity: diag.Error, Field: p.Field + ".path", Value: p.route.Path, Effect: diag.RouteOff,
		Message: fmt.Sprintf("the host's paths are regular expressions, and this one is none: %s; requests below %s get 503", text, literal),
		Hint:    "use RE2 syntax: no lookaround, no back-references; or escape the characters that are meant as text",
	})
	p.route.Path = regexp.QuoteMeta(literal)
	if p.route.Deny == "" {
		p.route.Deny = "the path is not a regular expression"
	}
}

// own adds lintel's own paths to the catch-all. compat: in regex mode nginx prefers every regular
// expression, the implicit "/" included, to them.
func (m *merge) own(h *config.Host) {
	add := func(path, page string, filters ...filter.Config) {
		if path == "" || path == "/" {
			return
		}
		h.Routes = append(h.Routes, &config.Route{
			ID: "- _ own " + path, Match: config.Text, Path: path, Action: config.Action{Status: 200, Page: page}, NoLog: true, Filters: filters,
			Origin: config.Origin{Host: config.CatchAll, Rule: -1, Path: -1, Upstream: "-", PathText: path},
		})
	}
	add(m.t.o.HealthPath, "")
	add("/nginx_status", "nginx_status", access.Config{Allow: m.t.statusAllow, AllowOnly: true})
}

// same reports whether two merges come to the same, findings aside.
func (m *Merged) same(o *Merged) bool {
	if m == nil || o == nil {
		return m == o
	}
	a, b := *m, *o
	a.Diags, b.Diags = nil, nil
	return reflect.DeepEqual(&a, &b)
}
