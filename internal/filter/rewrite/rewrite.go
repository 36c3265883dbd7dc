// Package rewrite replaces the path an endpoint sees: rewrite-target, with x-forwarded-prefix
// (reference/annotations.md 5).
//
// What a reader gets wrong: the target replaces the whole path, not the part that matched. It is
// made of the normalised path's captures, and therefore escaped again; without a rewrite the client's target travels byte for byte.
package rewrite

import (
	"strings"
	"sync"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is one route's rewrite.
type Config struct {
	// To is the new path, with $1 to $9 for the groups of the route's regular expression, or an
	// absolute URL to redirect to.
	To string
	// Prefix is the value of X-Forwarded-Prefix; "" leaves the client's field.
	Prefix string
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "rewrite" }

// maxTarget bounds what captures can grow to (security.md, CVE-2026-42945).
const maxTarget = 64 << 10

// Build compiles target and prefix.
func (c Config) Build(*filter.Env) (any, error) {
	r := &rewrite{
		// compat: a replacement that is an absolute URL redirects (ngx_http_rewrite_module).
		redirect: strings.HasPrefix(c.To, "http://") || strings.HasPrefix(c.To, "https://") || strings.HasPrefix(c.To, "$scheme"),
	}
	if !r.redirect && !strings.HasPrefix(c.To, "/") {
		// nginx would send "GET foo HTTP/1.1", which endpoints refuse.
		c.To = "/" + c.To
	}
	var err error
	if r.to, err = expr.Parse(c.To); err != nil {
		return nil, err
	}
	if c.Prefix != "" {
		if r.prefix, err = expr.Parse(c.Prefix); err != nil {
			return nil, err
		}
	}
	return r, nil
}

type rewrite struct {
	to, prefix *expr.Program
	redirect   bool
}

// state is the path made in Request and used in Upstream.
type state struct{ target string }

var (
	slot = exchange.NewSlot[state]()

	_ filter.OnRequest  = (*rewrite)(nil)
	_ filter.OnUpstream = (*rewrite)(nil)
)

// Request makes the new target. One that climbs out of where it should be gets 400 (S4.4).
func (r *rewrite) Request(x *exchange.Exchange) exchange.Verdict {
	if filter.Marked(x, filter.NoRewrite) {
		return exchange.Continue
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	path := r.to.Append((*buf)[:0], x)
	if len(path) > maxTarget {
		return x.Reply(414)
	}
	if !r.redirect && climbs(path) {
		return x.Reply(400)
	}
	// compat: a redirect is escaped only where the client's path had escapes (r->quoted_uri).
	b := escape(path, path, !r.redirect || strings.IndexByte(rawPath(x.Req.Target), '%') >= 0)
	if x.Req.Query != "" {
		b = append(append(b, '?'), x.Req.Query...)
	}
	*buf = b[:0]
	target := string(b[len(path):])
	if r.redirect {
		return filter.Redirect(x, 302, target)
	}
	slot.Of(x).target = target
	return exchange.Continue
}

// buffers hold the path before and after it is escaped, one behind the other.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Upstream puts the new target in.
func (r *rewrite) Upstream(x *exchange.Exchange) {
	s := slot.Peek(x)
	if s == nil || s.target == "" {
		return
	}
	x.Up.Target = s.target
	if r.prefix == nil {
		return
	}
	value := r.prefix.String(x)
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < 0x20 || c == 0x7f {
			x.Up.Header.Del("X-Forwarded-Prefix")
			return
		}
	}
	x.Up.Header.Set("X-Forwarded-Prefix", value)
}

func rawPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// climbs reports whether a path has a segment "." or "..", also one with parameters behind it,
// which some applications take for one. Captures come from a normalised path and hold none;
// one can only arise where a target joins captures and text.
func climbs(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dots := 0
		for i+1+dots < len(path) && path[i+1+dots] == '.' {
			dots++
		}
		if dots != 1 && dots != 2 {
			continue
		}
		end := i + 1 + dots
		if end == len(path) || path[end] == '/' || path[end] == ';' {
			return true
		}
	}
	return false
}

const hex = "0123456789ABCDEF"

// escape appends path to dst, as nginx does with every path that a rewrite has changed. Without
// all, only bytes that break a request line or a field are escaped.
func escape(dst, path []byte, all bool) []byte {
	for _, c := range path {
		if c <= ' ' || c == 0x7f || (all && mustEscape(c)) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// mustEscape is NGX_ESCAPE_URI of nginx 1.27.
func mustEscape(c byte) bool {
	if c >= 0x7f {
		return true
	}
	switch c {
	case '"', '#', '%', '<', '>', '?', '\\', '^', '`', '{', '|', '}':
		return true
	}
	return false
}
