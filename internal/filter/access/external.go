package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// External is an authentication service (auth-url, reference/annotations.md 10).
type External struct {
	// URL is text with $variables. Its scheme is literal.
	URL string
	// Path is the request target where URL has no path.
	Path   string
	Method string // "": GET, and X-Original-URI and X-Scheme are not sent
	// SignIn is where a client is sent instead of a 401, text with $variables; "" for none.
	SignIn string
	// Verb is the method in place of Method's, which says more than the method; "": Method's.
	Verb string
	// Fields are copied from the service's answer to the endpoint's request; see Fields.
	Fields []string
	// Vars take fields of the service's answer as variables (auth_request_set).
	Vars []Var
	// Set are fields added to the subrequest, values with $variables; an empty value takes the field away.
	Set []Field
	// Snippet are further fields, whose values may hold variables that snippets set.
	Snippet []Field
	// Redirect is X-Auth-Request-Redirect; "": the request target.
	Redirect string
	// CacheKey is text with $variables; "": nothing is remembered.
	CacheKey        string
	CacheFor        []CacheRule
	AlwaysSetCookie bool
	// ForwardedFor names the field whose chain is passed on (compute-full-forwarded-for);
	// "": the client's address alone.
	ForwardedFor string
	AllowLocal   bool // loopback is allowed (objects from a directory)
}

// Var is a variable with the value of a field of the service's answer.
type Var struct{ Name, Field string }

// Field is a field of a subrequest.
type Field struct{ Name, Value string }

// CacheRule says how long answers are remembered.
type CacheRule struct {
	Codes []int // nil: 200, 301, 302
	For   time.Duration
}

// fetchTimeout is nginx's default, which the subrequest has in the original too.
const fetchTimeout = 60 * time.Second

type external struct {
	*External
	scheme    string
	addr      string        // host:port; "" when URL has variables in it
	host      string        // Host field
	target    *expr.Program // nil when all is in whole
	whole     *expr.Program // URL after "scheme://", where the host has variables
	set       []setField
	key       *expr.Program
	salt      string // what else belongs to every cache key
	cache     *cache
	fetch     func(context.Context, *filter.FetchRequest) (*filter.FetchResponse, error)
	now       func() time.Time
	log       *slog.Logger
	route     string
	lastError atomic.Int64
}

type setField struct {
	name  string
	value *expr.Program
}

func (e *External) build(env *filter.Env) (*external, error) {
	b := &external{External: e, fetch: env.Fetch, now: env.Now, log: env.Log, route: env.Route}
	scheme, rest, ok := strings.Cut(e.URL, "://")
	b.scheme = strings.ToLower(scheme)
	if !ok || b.scheme != "http" && b.scheme != "https" {
		return nil, fmt.Errorf("auth-url: %q is not an http or https URL", e.URL)
	}
	authority, target := splitAuthority(rest)
	var err error
	if strings.Contains(authority, "$") {
		if b.whole, err = expr.Parse(rest); err != nil {
			return nil, fmt.Errorf("auth-url: %w", err)
		}
	} else {
		if b.addr, b.host, err = address(b.scheme, authority); err != nil {
			return nil, fmt.Errorf("auth-url: %w", err)
		}
		if b.target, err = expr.Parse(target); err != nil {
			return nil, fmt.Errorf("auth-url: %w", err)
		}
	}
	for _, f := range e.Set {
		// Unknown variables stay as written (reference/configmap.md, proxy-set-headers); translation warns of them.
		p, _ := expr.ParseLoose(f.Value)
		b.set = append(b.set, setField{f.Name, p})
	}
	for _, f := range e.Snippet {
		p, _, err := expr.ParseWith(f.Value, expr.Options{Extra: expr.Own})
		if err != nil {
			return nil, fmt.Errorf("auth-snippet: %s: %w", f.Name, err)
		}
		b.set = append(b.set, setField{f.Name, p})
	}
	if e.CacheKey != "" {
		if b.key, err = expr.Parse(e.CacheKey); err != nil {
			return nil, fmt.Errorf("auth-cache-key: %w", err)
		}
		// S6.5: an entry belongs to one route and one configuration of it.
		b.salt = fmt.Sprintf("%q %+v", env.Route, *e)
		b.cache = env.Keep("access/answers", func() any { return newCache() }).(*cache)
	}
	return b, nil
}

// splitAuthority cuts what follows "://" where the authority ends.
func splitAuthority(s string) (authority, target string) {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// address makes host:port and the Host field (without port, as the reference sends it) of an authority.
func address(scheme, authority string) (addr, host string, err error) {
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], authority[i+1:]
	}
	if port == "" {
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", fmt.Errorf("%q is not a port", port)
	}
	bare := host
	if strings.HasPrefix(host, "[") {
		bare = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(bare); err != nil {
			return "", "", fmt.Errorf("%q is not an address", host)
		}
	} else if !validHost(host) {
		return "", "", fmt.Errorf("%q is not a host name", host)
	}
	return net.JoinHostPort(bare, port), host, nil
}

func validHost(s string) bool {
	if s == "" || len(s) > 253 || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// answer is what the service said. It is shared between exchanges once remembered.
type answer struct {
	status     int
	fields     []string // by index of External.Fields, then of Vars
	cookies    []string
	challenges []string
}

func (e *external) check(x *exchange.Exchange, st *state) result {
	var key cacheKey
	cacheable := false
	if e.cache != nil && (e.Verb == "" || e.Verb == "GET" || e.Verb == "HEAD") && (e.Method == "" || e.Method == "GET" || e.Method == "HEAD") {
		if key, cacheable = e.cacheKey(x); cacheable {
			if a := e.cache.get(key, x, e.now()); a != nil {
				return e.apply(x, a, st)
			}
		}
	}
	r, err := e.request(x)
	if err != nil {
		return e.failed(err)
	}
	resp, err := e.ask(x, r)
	if err != nil {
		if errors.Is(err, exchange.ErrClientGone) {
			return exchange.StatusClientGone
		}
		return e.failed(err)
	}
	a := e.answer(resp)
	if cacheable {
		e.cache.put(key, x, a, resp, e.CacheFor, e.now())
	}
	return e.apply(x, a, st)
}

// failed refuses with 500, and tells the log why, at most once in ten seconds.
func (e *external) failed(err error) result {
	now := e.now().Unix()
	if last := e.lastError.Load(); e.log != nil && now-last >= 10 && e.lastError.CompareAndSwap(last, now) {
		e.log.Warn("authentication service failed", "route", e.route, "error", err)
	}
	return 500
}

func (e *external) apply(x *exchange.Exchange, a *answer, st *state) result {
	for i, v := range e.Vars {
		expr.SetOwn(x, v.Name, a.fields[len(e.Fields)+i])
	}
	st.fields, st.cookies, st.always = a.fields, a.cookies, e.AlwaysSetCookie
	switch {
	case a.status >= 200 && a.status < 300:
		return pass
	case a.status == 401:
		st.challenges = append(st.challenges, a.challenges...)
		return 401
	case a.status == 403:
		return 403
	}
	return e.failed(fmt.Errorf("status %d is neither 2xx, 401 nor 403", a.status))
}

func (e *external) answer(r *filter.FetchResponse) *answer {
	a := &answer{status: r.Status, fields: make([]string, len(e.Fields)+len(e.Vars))}
	for i := range a.fields {
		var name string
		if i < len(e.Fields) {
			name = e.Fields[i]
		} else {
			name = e.Vars[i-len(e.Fields)].Field
		}
		for v := range r.Header.Values(name) {
			if a.fields[i] != "" {
				a.fields[i] += ", "
			}
			a.fields[i] += v
		}
	}
	for v := range r.Header.Values("Set-Cookie") {
		a.cookies = append(a.cookies, v)
	}
	if r.Status == 401 {
		for v := range r.Header.Values("WWW-Authenticate") {
			a.challenges = append(a.challenges, v)
		}
	}
	return a
}

// ask sends the subrequest and gives up when the client does.
func (e *external) ask(x *exchange.Exchange, r *filter.FetchRequest) (*filter.FetchResponse, error) {
	ctx, cancel := context.WithCancel(context.Background())
	if x.Down == nil {
		defer cancel()
		return e.fetch(ctx, r)
	}
	gone := x.Down.Gone()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	resp, err := e.fetch(ctx, r)
	cancel()
	<-watched
	if err != nil {
		select {
		case <-gone:
			return nil, exchange.ErrClientGone
		default:
		}
	}
	return resp, err
}

// request makes the subrequest: the client's fields but for those that are ours to say (S5.2), then ours.
func (e *external) request(x *exchange.Exchange) (*filter.FetchRequest, error) {
	r := &filter.FetchRequest{
		Method: e.Method, Scheme: e.scheme, Addr: e.addr, Host: e.host, SNI: "", Verify: false,
		AllowLocal: e.AllowLocal, Timeout: fetchTimeout,
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if e.Verb != "" {
		r.Method = e.Verb
	}
	var target []byte
	if e.whole != nil {
		authority, rest := splitAuthority(e.whole.String(x))
		var err error
		if r.Addr, r.Host, err = address(e.scheme, authority); err != nil {
			return nil, err
		}
		target = []byte(rest)
	} else {
		target = e.target.Append(nil, x)
	}
	if r.Scheme == "https" {
		r.SNI = r.Host
	}
	switch {
	case len(target) == 0 || target[0] == '#':
		r.Target = e.Path
	case target[0] == '?':
		r.Target = e.Path + escapeTarget(target)
	default:
		r.Target = escapeTarget(target)
	}
	e.fields(x, r)
	return r, nil
}

func (e *external) fields(x *exchange.Exchange, r *filter.FetchRequest) {
	h := &r.Header
	for name, value := range x.Req.Header.All() {
		switch controlled(name) {
		case replaced:
			continue
		case effectiveHost:
			value = x.Eff.Host
		case effectivePort:
			value = x.Eff.Port
		case effectiveScheme:
			value = x.Eff.Scheme
		}
		h.Add(name, value)
	}
	if x.ID != "" {
		h.Set("X-Request-ID", x.ID)
	}
	if e.Method != "" {
		// compat: only together with auth-method (reference/annotations.md 10.1).
		h.Set("X-Original-URI", x.Req.Target)
		h.Set("X-Scheme", x.Eff.Scheme)
	}
	h.Set("X-Original-URL", x.Req.Scheme+"://"+x.Req.Authority+x.Req.Target)
	h.Set("X-Original-Method", x.Req.Method)
	h.Set("X-Sent-From", "nginx-ingress-controller")
	client := ""
	if a := x.Client.Addr(); a.IsValid() {
		client = a.Unmap().WithZone("").String()
	}
	h.Set("X-Real-IP", client)
	chain := client
	if e.ForwardedFor != "" {
		chain = ""
		for v := range x.Req.Header.Values(e.ForwardedFor) {
			chain += v + ", "
		}
		peer := client
		if x.Conn != nil && x.Conn.Remote.IsValid() {
			peer = x.Conn.Remote.Addr().Unmap().WithZone("").String()
		}
		chain += peer
	}
	h.Set("X-Forwarded-For", chain)
	redirect := e.Redirect
	if redirect == "" {
		redirect = x.Req.Target
	}
	h.Set("X-Auth-Request-Redirect", redirect)
	for _, f := range e.set {
		value := fieldValue(f.value.String(x))
		switch {
		case exchange.EqualFold(f.name, "Host"):
			if validHost(value) {
				r.Host = value
			}
		case value == "":
			h.Del(f.name)
		default:
			h.Set(f.name, value)
		}
	}
}

// fieldValue cuts an expanded text where it would end the field.
func fieldValue(s string) string {
	if i := strings.IndexAny(s, "\r\n\x00"); i >= 0 {
		return s[:i]
	}
	return s
}

// escapeTarget makes an expanded text a request target.
func escapeTarget(t []byte) string {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(t))
	for _, c := range t {
		switch {
		case c == '#':
			return string(out) // a fragment is not sent
		case c <= 0x20 || c == 0x7f:
			out = append(out, '%', digits[c>>4], digits[c&15])
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

type control uint8

const (
	passed control = iota
	replaced
	effectiveHost
	effectivePort
	effectiveScheme
)

// controlledFields are those whose client's copies no service may believe (S5.2). The host, port and
// scheme the client is taken to have used take the place of what it said.
var controlledFields = []struct {
	name string
	what control
}{
	{"X-Forwarded-Host", effectiveHost},
	{"X-Forwarded-Port", effectivePort},
	{"X-Forwarded-Scheme", effectiveScheme},
	{"X-Forwarded-Proto", replaced}, // compat: not even the effective one is sent (reference/annotations.md 10.1)
	{"X-Forwarded-Prefix", replaced},
	{"X-Forwarded-For", replaced},
	{"X-Original-Forwarded-For", replaced},
	{"X-Original-Forwarded-Host", replaced},
	{"X-Real-IP", replaced},
	{"X-Scheme", replaced},
	{"X-Original-URI", replaced},
	{"X-Original-URL", replaced},
	{"X-Original-Method", replaced},
	{"X-Sent-From", replaced},
	{"X-Request-ID", replaced},
	{"X-Auth-Request-Redirect", replaced},
	{"Forwarded", replaced},
	{"X-Code", replaced},
	{"X-Format", replaced},
	{"X-Namespace", replaced},
	{"X-Ingress-Name", replaced},
	{"X-Service-Name", replaced},
	{"X-Service-Port", replaced},
	{"Proxy", replaced},
	{"Expect", replaced},
}

func controlled(name string) control {
	for i := range controlledFields {
		if f := &controlledFields[i]; sameField(name, f.name) {
			// The effective values have one spelling only.
			if f.what != replaced && !exchange.EqualFold(name, f.name) {
				return replaced
			}
			return f.what
		}
	}
	return passed
}
