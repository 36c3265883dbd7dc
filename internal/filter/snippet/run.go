package snippet

import (
	"io"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

var (
	_ filter.OnRequest = (*block)(nil)
	_ filter.MayBlock  = (*block)(nil)
)

// MayBlock is true where another route may take over, whose filters may block.
func (b *block) MayBlock() bool { return b.again }

// outcome is what a list of steps ended with.
type outcome uint8

const (
	goOn outcome = iota
	stop         // break
	again
	answered
	dropped
)

// run is one walk through the steps.
type run struct {
	x     *exchange.Exchange
	at    *place
	block *block
	moved bool // the path changed, and the route is to be chosen anew
}

// Request runs the rewrite phase, then changes the fields of the request.
func (b *block) Request(x *exchange.Exchange) exchange.Verdict {
	if len(b.steps) > 0 || len(b.input) > 1 || b.Rates != nil || b.NoCompress != nil {
		if v := b.rewrite(x); v != exchange.Continue {
			return v
		}
	}
	p := at(x, b.server, b.home)
	if p.level < len(b.input) {
		for i := range b.input[p.level] {
			b.input[p.level][i].change(x, &x.Req.Header, p, input)
		}
	}
	return exchange.Continue
}

func (b *block) rewrite(x *exchange.Exchange) exchange.Verdict {
	if !b.server {
		// A route chosen anew starts from the beginning.
		filter.ClearMark(x, filter.NoRewrite|filter.NoCompress)
	}
	p := slot.Of(x).of(b.server)
	*p = place{home: b.home}
	r := run{x: x, at: p, block: b}
	was := x.Captures
	end := r.steps(b.steps)
	if p.matched {
		p.groups = x.Captures
	}
	x.Captures = was
	if p.level < len(b.Rates) && b.Rates[p.level] > 0 {
		x.Limits.Rate = b.Rates[p.level]
	}
	if p.level < len(b.NoCompress) && b.NoCompress[p.level] {
		filter.SetMark(x, filter.NoCompress)
	}
	switch {
	case end == answered:
		return exchange.Reply
	case end == dropped:
		return exchange.Drop
	case !b.server && r.moved:
		return exchange.Again
	case !b.server && end == stop:
		filter.SetMark(x, filter.NoRewrite)
	}
	return exchange.Continue
}

func (r *run) steps(list []step) outcome {
	for i := range list {
		s := &list[i]
		switch {
		case s.Set != nil:
			r.set(s.Set.Name, r.x, s.value)
		case s.Break:
			r.moved = false // nginx: break clears uri_changed
			return stop
		case s.Return != nil:
			return r.reply(s)
		case s.Rewrite != nil:
			if end := r.rewrite(s); end != goOn {
				return end
			}
		case s.If != nil:
			if !r.holds(s) {
				continue
			}
			r.at.level = s.If.Level
			if end := r.steps(s.then); end != goOn {
				return end
			}
		}
	}
	return goOn
}

// set gives a variable a value: the few of lintel's own that may be set, or one of the snippet's.
func (r *run) set(name string, x *exchange.Exchange, value *expr.Program) {
	v := value.String(x)
	switch name {
	case "args":
		if !clean(v) || strings.ContainsAny(v, " #") {
			v = string(escape(nil, v, escapeArgs))
		}
		x.Req.Query, x.Req.HasQuery = v, v != ""
		r.retarget()
	case "pass_access_scheme":
		x.Eff.Scheme = v
	case "best_http_host":
		x.Eff.Host = v
	case "pass_port":
		x.Eff.Port = v
	default:
		expr.SetOwn(x, name, v)
	}
}

// holds decides a condition. compat: a pattern that matches sets $1 to $9, also in the negated forms.
func (r *run) holds(s *step) bool {
	left := s.left.String(r.x)
	switch s.If.Cond.Op {
	case True:
		return left != "" && left != "0"
	case Equal:
		return left == s.right.String(r.x)
	case NotEqual:
		return left != s.right.String(r.x)
	case NotMatch, NotMatchFold:
		return !r.match(s, left)
	}
	return r.match(s, left)
}

// match tries the step's pattern, and keeps its groups.
func (r *run) match(s *step, subject string) bool {
	if !s.re.MatchString(subject) {
		return false
	}
	m := s.re.FindStringSubmatch(subject)
	r.x.Captures, r.at.matched = m, true
	for i, n := range s.names {
		if n != "" {
			expr.SetOwn(r.x, n, m[i])
		}
	}
	return true
}

// rewrite changes the path and the query where the pattern matches the path (ngx_http_rewrite_module).
func (r *run) rewrite(s *step) outcome {
	x := r.x
	if !r.match(s, x.Req.Path) {
		return goOn
	}
	w := s.Rewrite
	if w.Redirect != 0 {
		to := r.escaped(s.value, escapeRedirect)
		if !w.DropArgs && x.Req.Query != "" {
			sep := "?"
			if strings.Contains(w.To, "?") {
				sep = "&"
			}
			to += sep + x.Req.Query
		}
		r.redirect(w.Redirect, to)
		return answered
	}
	path := s.value.String(x)
	if len(path) > maxTarget {
		x.Reply(414)
		return answered
	}
	if path == "" || path[0] != '/' || climbs(path) {
		// A path that leaves its place is nobody's (security.md S4.4).
		x.Reply(400)
		return answered
	}
	if s.args != nil {
		query := r.escaped(s.args, escapeArgs)
		if !w.DropArgs && x.Req.Query != "" {
			query += "&" + x.Req.Query
		}
		x.Req.Query, x.Req.HasQuery = query, true
	} else if w.DropArgs {
		x.Req.Query, x.Req.HasQuery = "", false
	}
	x.Req.Path = path
	r.retarget()
	switch w.Flag {
	case Break:
		r.moved = false
		return stop
	case Last:
		r.moved = true
		return again
	}
	r.moved = true
	return goOn
}

// retarget makes the target for endpoints of path and query. compat: a changed path is escaped only where
// the client's had escapes, as rewrite-target's is.
func (r *run) retarget() {
	x := r.x
	raw, _, _ := strings.Cut(x.Req.Target, "?")
	set := escapeLine
	if strings.IndexByte(raw, '%') >= 0 {
		set = escapePath
	}
	b := escape(make([]byte, 0, len(x.Req.Path)+len(x.Req.Query)+1), x.Req.Path, set)
	if x.Req.Query != "" {
		b = append(append(b, '?'), x.Req.Query...)
	}
	x.Rewritten = string(b)
}

// escaped evaluates p with groups percent-encoded, where the client's target was encoded: what a group holds
// must not become syntax of a query or a URL.
func (r *run) escaped(p *expr.Program, set func(byte) bool) string {
	x := r.x
	if p.Captures() == 0 || !strings.ContainsAny(x.Req.Target, "%+") {
		return p.String(x)
	}
	was := x.Captures
	groups := make([]string, len(was))
	for i, g := range was {
		groups[i] = string(escape(nil, g, set))
	}
	x.Captures = groups
	s := p.String(x)
	x.Captures = was
	return s
}

// reply is return.
func (r *run) reply(s *step) outcome {
	x := r.x
	ret := s.Return
	if ret.Status == exchange.StatusDrop {
		x.Resp.Status = exchange.StatusDrop
		return dropped
	}
	text := s.value.String(x)
	switch ret.Status {
	case 301, 302, 303, 307, 308:
		if text != "" {
			r.redirect(ret.Status, text)
			return answered
		}
	}
	x.Reply(ret.Status)
	if ret.Status == 401 || ret.Status == 403 {
		x.Resp.Denied = true
	}
	if text == "" && ret.Status >= 300 {
		return answered // the data plane adds the page
	}
	if ret.Status == 204 || ret.Status < 200 {
		return answered
	}
	x.Resp.Header.Set("Content-Type", r.block.DefaultType)
	x.Resp.Length = int64(len(text))
	x.Resp.Body = &content{rest: text}
	return answered
}

func (r *run) redirect(status int, to string) {
	x := r.x
	if r.block.Relative || !strings.HasPrefix(to, "/") {
		filter.Redirect(x, status, to)
		return
	}
	filter.Redirect(x, status, x.Req.Scheme, "://", x.Req.Host, filter.PortSuffix(x, r.block.UsePort), to)
}

// content is a body held in a string.
type content struct{ rest string }

func (c *content) Read(p []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *content) Close() error { return nil }

// maxTarget bounds what groups can grow to.
const maxTarget = 64 << 10

// climbs reports whether a path has a segment "." or "..", also one with parameters behind it.
func climbs(path string) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		end := i + 1
		for end < len(path) && path[end] == '.' {
			end++
		}
		if dots := end - i - 1; dots != 1 && dots != 2 {
			continue
		}
		if end == len(path) || path[end] == '/' || path[end] == ';' {
			return true
		}
	}
	return false
}

const hex = "0123456789ABCDEF"

// escape appends s to dst, with the bytes of set percent-encoded.
func escape(dst []byte, s string, set func(byte) bool) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; set(c) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// escapeLine is what would break a request line.
func escapeLine(c byte) bool { return c <= ' ' || c == 0x7f }

// escapePath is NGX_ESCAPE_URI of nginx 1.27.
func escapePath(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", c) >= 0
}

// escapeArgs is NGX_ESCAPE_ARGS.
func escapeArgs(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("#%&+;?", c) >= 0
}

// escapeRedirect is what is left of NGX_ESCAPE_ARGS after NGX_UNESCAPE_REDIRECT.
func escapeRedirect(c byte) bool {
	return c <= ' ' || c >= 0x7f || c == '#' || c == '%'
}
