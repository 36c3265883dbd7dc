package dataplane

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// state is what the data plane knows of one exchange between its steps.
type state struct {
	global *global
	host   *host
	route  *route
	stage  stage
	// replace is the status an error backend is asked to replace; 0: none.
	replace int
	// reroutes counts how often an endpoint sent the request elsewhere.
	reroutes int
}

type stage uint8

const (
	stageNone stage = iota
	stageGlobal
	stageHost
	stageRoute
)

var slot = exchange.NewSlot[state]()

// Match finds host and route. It reports whether the exchange may block outside of forwarding.
func (p *Plane) Match(x *exchange.Exchange) bool {
	t := p.table.Load()
	s := slot.Of(x)
	s.global = t.global
	x.Route = &p.none
	x.Limits.BodyTimeout = t.global.cfg.BodyTimeout
	if x.Malformed != 0 {
		return false
	}
	named, h := t.lookup(x.Req.Host)
	if h == nil {
		return false
	}
	s.host = h
	x.HostCert = named.cfg.HasCert
	r, captures, ok := h.match(x.Req.Path, x.Captures)
	x.Captures = captures
	if !ok {
		return h.chain.blocks
	}
	s.route = r
	x.Route = &r.info
	x.Limits = r.limits
	return r.chain.blocks || h.chain.blocks || t.global.chain.blocks
}

// Begin runs the request filters: global, of the host, of the route.
func (p *Plane) Begin(x *exchange.Exchange) exchange.Verdict {
	s := slot.Of(x)
	v := p.begin(x, s)
	// Content of a filter's own is an answer, not an error to be replaced (nginx's return with a text).
	if v == exchange.Reply && s.stage == stageRoute && x.Resp.Body == nil && s.route.errors != nil && s.route.errors.Wants(x, x.Resp.Status, false) {
		s.replace = x.Resp.Status
		return exchange.Continue
	}
	return v
}

func (p *Plane) begin(x *exchange.Exchange, s *state) exchange.Verdict {
	if x.Malformed != 0 {
		x.Resp.Close = true
		return x.Reply(x.Malformed)
	}
	s.stage = stageGlobal
	if v := s.global.chain.begin(x); v != exchange.Continue {
		return v
	}
	if s.host == nil {
		return x.Reply(404)
	}
	s.stage = stageHost
	if s.host.broken {
		return x.Reply(503)
	}
	if v := s.host.chain.begin(x); v != exchange.Continue {
		return v
	}
	if x.Rewritten != "" {
		s.choose(x)
	}
	if s.route == nil {
		return x.Reply(404)
	}
	s.stage = stageRoute
	for {
		v := s.route.chain.begin(x)
		if v == exchange.Continue {
			break
		}
		if v != exchange.Again {
			return v
		}
		if s.reroutes++; s.reroutes > maxReroutes {
			return x.Reply(500)
		}
		s.route.chain.finish(x)
		if s.choose(x); s.route == nil {
			s.stage = stageHost
			return x.Reply(404)
		}
	}
	switch a := &s.route.cfg.Action; {
	case a.Forward != nil:
		return exchange.Continue
	case a.Files != nil:
		serveFiles(x, a.Files)
		return exchange.Reply
	case a.Status != 0:
		v := x.Reply(a.Status)
		if a.Status == 200 {
			x.Resp.Header.Set("Content-Type", "text/html") // compat: nginx' default_type on the health page
		}
		if a.Page != "" && p.deps.Page != nil {
			x.Resp.Header.Set("Content-Type", "text/plain")
			setBody(x, p.deps.Page(a.Page))
		}
		return v
	}
	return x.Reply(503)
}

// choose finds the route for a path a filter changed.
func (s *state) choose(x *exchange.Exchange) {
	r, captures, ok := s.host.match(x.Req.Path, x.Captures)
	x.Captures = captures
	if !ok {
		s.route = nil
		return
	}
	s.route = r
	x.Route = &r.info
	x.Limits = r.limits
}

// Forward gets the response from upstream, or from the error backend where the route wants its
// error responses replaced.
func (p *Plane) Forward(x *exchange.Exchange) {
	s := slot.Of(x)
	r := s.route
	if s.replace == 0 {
		p.deps.Prepare(x)
		r.chain.prepare(x)
		r.forward.Forward(x)
		if r.errors == nil || !r.errors.Wants(x, x.Resp.Status, x.Resp.FromUpstream) {
			return
		}
		s.replace = x.Resp.Status
		if b := x.Resp.Body; b != nil {
			x.Resp.Body = nil
			b.Close()
		}
	}
	p.deps.Prepare(x)
	r.chain.prepare(x)
	r.errors.ErrorPage(x, s.replace)
}

// maxReroutes bounds how often endpoints may send one request elsewhere; nginx allows as many internal redirects.
const maxReroutes = 10

// Reroute answers x by the route of the same host that uri matches: what an endpoint asks for by
// X-Accel-Redirect. The request becomes a GET without content, and that route's filters run.
func (p *Plane) Reroute(x *exchange.Exchange, uri string) {
	s := slot.Of(x)
	s.reroutes++
	if s.reroutes > maxReroutes || s.host == nil || p.deps.Target == nil || !p.deps.Target(&x.Req, strings.Clone(uri)) {
		x.Reply(500)
		return
	}
	r, captures, ok := s.host.match(x.Req.Path, x.Captures)
	x.Captures = captures
	if !ok {
		x.Reply(404)
		return
	}
	s.route.chain.finish(x)
	s.route = r
	x.Route = &r.info
	if x.Req.Method != "HEAD" {
		x.Req.Method = "GET"
	}
	x.Req.Body, x.Req.Length = nil, 0
	kept := keptFields(&x.Resp.Header)
	x.Resp.Header.Reset()
	x.Resp.Status, x.Resp.FromUpstream = 0, false
	x.Rewritten = ""
	switch v := r.chain.begin(x); {
	case v == exchange.Again:
		// A rewrite behind an endpoint's own redirect is not followed: nginx's bound of internal redirects is one of both.
		x.Reply(500)
	case v == exchange.Drop:
		x.Resp.Status = exchange.StatusDrop
	case v == exchange.Reply:
	case r.forward != nil:
		p.deps.Prepare(x)
		r.chain.prepare(x)
		r.forward.Forward(x)
		if x.Resp.FromUpstream && len(kept) > 0 {
			for name, value := range x.Resp.Header.All() {
				kept = append(kept, exchange.Field{Name: name, Value: value})
			}
			x.Resp.Header.Reset()
			for _, f := range kept {
				x.Resp.Header.Add(f.Name, f.Value)
			}
		}
	case r.cfg.Action.Files != nil:
		serveFiles(x, r.cfg.Action.Files)
	default:
		x.Reply(max(r.cfg.Action.Status, 404))
	}
}

// keptFields are the fields of a response that stay when it sends the request elsewhere. compat: as in
// nginx; the type is replaced, and others go with the response.
func keptFields(h *exchange.Fields) []exchange.Field {
	var kept []exchange.Field
	for name, value := range h.All() {
		for _, stays := range [...]string{"Set-Cookie", "Content-Disposition", "Cache-Control", "Expires", "Accept-Ranges"} {
			if exchange.EqualFold(name, stays) {
				kept = append(kept, exchange.Field{Name: stays, Value: strings.Clone(value)})
			}
		}
	}
	return kept
}

// Respond runs the response filters of the scopes the request came to, innermost first,
// and gives a response of lintel's own its page.
func (p *Plane) Respond(x *exchange.Exchange) {
	s := slot.Of(x)
	if s.replace == 0 {
		if s.stage >= stageRoute {
			s.route.chain.respond(x)
		}
		if s.stage >= stageHost {
			s.host.chain.respond(x)
		}
	}
	s.global.chain.respond(x)
	if s.global.cfg.ServerTokens && !filter.Settled(x, "Server") && !(s.global.cfg.AllowBackendServer && x.Resp.FromUpstream && x.Resp.Header.Has("Server")) {
		x.Resp.Header.Set("Server", "lintel")
	}
	if x.Resp.Generated {
		addPage(x)
	}
}

// Done logs, counts and lets go.
func (p *Plane) Done(x *exchange.Exchange) {
	s := slot.Of(x)
	if s.stage >= stageRoute {
		if s.route.forward != nil && p.deps.Finish != nil {
			p.deps.Finish(x)
		}
		s.route.chain.finish(x)
	}
	if s.stage >= stageHost {
		s.host.chain.finish(x)
	}
	if s.global != nil {
		s.global.chain.finish(x)
	}
	if r := s.route; r == nil {
		if p.nobody != nil {
			p.nobody.Observe(x)
		}
	} else if r.series != nil {
		r.series.Observe(x)
	}
	if l := p.logger.Load(); l != nil && (s.route == nil || !s.route.cfg.NoLog) {
		(*l).Log(x)
	}
	*s = state{}
}

// slash answers 301 to the path with "/" added (reference/routing.md 5).
type slash struct{ cfg *config.Slash }

func (f *slash) Request(x *exchange.Exchange) exchange.Verdict {
	var b strings.Builder
	b.Grow(len(x.Req.Target) + len(x.Req.Host) + 16)
	if !f.cfg.Relative {
		b.WriteString(x.Req.Scheme)
		b.WriteString("://")
		b.WriteString(x.Req.Host)
		if f.cfg.UsePort && !(x.Req.Scheme == "http" && x.Conn.Port == 80) && !(x.Req.Scheme == "https" && x.Conn.Port == 443) {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(int(x.Conn.Port)))
		}
	}
	b.WriteString(escapePath(x.Req.Path))
	b.WriteByte('/')
	if x.Req.Query != "" { // compat: an empty query loses its "?"
		b.WriteByte('?')
		b.WriteString(x.Req.Query)
	}
	v := x.Reply(301)
	x.Resp.Header.Set("Location", b.String())
	return v
}

const upperHex = "0123456789ABCDEF"

// escapePath encodes what may not stand in a path of a Location field, as nginx does for
// redirects of its own: control bytes, space, '"', '%', '#', '?', '\\', bytes from 0x7f.
func escapePath(p string) string {
	n := 0
	for i := 0; i < len(p); i++ {
		if mustEscape(p[i]) {
			n++
		}
	}
	if n == 0 {
		return p
	}
	b := make([]byte, 0, len(p)+2*n)
	for i := 0; i < len(p); i++ {
		if c := p[i]; mustEscape(c) {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func mustEscape(c byte) bool {
	return c <= ' ' || c >= 0x7f || c == '"' || c == '%' || c == '#' || c == '?' || c == '\\'
}
