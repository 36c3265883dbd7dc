// Package redirect answers every request of a route with a redirect to a fixed place:
// temporal-redirect and permanent-redirect (reference/annotations.md 6).
//
// Nothing of the request is appended. It comes before the redirect to HTTPS and before authentication.
package redirect

import (
	"io"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is one route's redirect.
type Config struct {
	Status int
	To     string // absolute URL, or a path
	// Relative leaves a path as it is; otherwise scheme and host of the request are put before it.
	Relative bool
	// UsePort names the listener's port in front of a path, unless it is the scheme's own.
	UsePort bool
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "redirect" }

// Build returns the redirect; it has nothing to prepare.
func (c Config) Build(*filter.Env) (any, error) {
	c.To = filter.SafeLocation(c.To)
	return &redirect{c}, nil
}

type redirect struct{ Config }

var _ filter.OnRequest = (*redirect)(nil)

// Request answers.
func (r *redirect) Request(x *exchange.Exchange) exchange.Verdict {
	if filter.Marked(x, filter.NoRewrite) {
		return exchange.Continue
	}
	switch r.Status {
	case 301, 302, 303, 307, 308:
	default:
		// compat: for other codes nginx's return sends its text as content, without Location.
		v := x.Reply(r.Status)
		x.Resp.Header.Set("Content-Type", "text/html") // compat: nginx' default_type
		x.Resp.Length = int64(len(r.To))
		x.Resp.Body = &text{rest: r.To}
		return v
	}
	if r.Relative || len(r.To) == 0 || r.To[0] != '/' {
		v := x.Reply(r.Status)
		x.Resp.Header.Set("Location", r.To)
		return v
	}
	return filter.Redirect(x, r.Status, x.Req.Scheme, "://", x.Req.Host, filter.PortSuffix(x, r.UsePort), r.To)
}

// text is content held in a string.
type text struct{ rest string }

func (t *text) Read(p []byte) (int, error) {
	if t.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *text) Close() error { return nil }
