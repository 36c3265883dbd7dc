package snippet

import (
	"strconv"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Response is the response side of a configuration-snippet, by level: 0 is the block, the others its ifs.
type Response struct{ Levels []Level }

// ServerResponse is the same for the host's server-snippet.
type ServerResponse struct{ Levels []Level }

// Level is what one level does to responses. It holds what it inherits.
type Level struct {
	More    []Field    // more_set_headers, more_clear_headers
	Add     []AddField // add_header
	Expires *Expires
	// Charset is added to the Content-Type of text; "": none.
	Charset string
}

// AddField is one add_header.
type AddField struct {
	Name, Value string // Value is text with $variables
	Always      bool
}

// Expires is the directive expires.
type Expires struct {
	// Kind is "time", "epoch" or "max".
	Kind string
	In   time.Duration // from now, for "time"; below zero: not to be kept
}

// FilterName is the filter's name in filter.Order.
func (Response) FilterName() string { return "snippet-response" }

// FilterName is the filter's name in filter.Order.
func (ServerResponse) FilterName() string { return "server-snippet" }

// Build compiles the values.
func (c Response) Build(env *filter.Env) (any, error) { return c.build(env, false) }

// Build compiles the values.
func (c ServerResponse) Build(env *filter.Env) (any, error) { return Response(c).build(env, true) }

func (c Response) build(env *filter.Env, server bool) (any, error) {
	r := &response{server: server, home: home(env), now: time.Now}
	if env != nil && env.Now != nil {
		r.now = env.Now
	}
	for _, l := range c.Levels {
		more, err := compileFields(l.More)
		if err != nil {
			return nil, err
		}
		n := level{Level: l, more: more}
		for _, a := range l.Add {
			p, err := parse(a.Value)
			if err != nil {
				return nil, err
			}
			n.add = append(n.add, p)
		}
		r.levels = append(r.levels, n)
	}
	return r, nil
}

type response struct {
	server bool
	home   string
	now    func() time.Time
	levels []level
}

type level struct {
	Level
	more []field
	add  []*expr.Program
}

var _ filter.OnResponse = (*response)(nil)

// Response changes the fields: headers-more's first, then those of nginx's headers module.
func (r *response) Response(x *exchange.Exchange) {
	p := at(x, r.server, r.home)
	if p.level >= len(r.levels) || !r.server && filter.Marked(x, filter.Elsewhere) {
		return
	}
	l := &r.levels[p.level]
	h := &x.Resp.Header
	m := routeFields
	if r.server {
		m = hostFields
	}
	for i := range l.more {
		l.more[i].change(x, h, p, m)
	}
	if l.Charset != "" {
		l.charset(h)
	}
	counts := addStatus(x.Resp.Status)
	if l.Expires != nil && counts {
		r.expires(h, l.Expires)
	}
	// compat: add_header of a level cancels all of the levels around it.
	if r.server && filter.Marked(x, filter.OwnAddHeader) {
		return
	}
	if !r.server && len(l.add) > 0 {
		filter.SetMark(x, filter.OwnAddHeader)
	}
	for i := range l.add {
		a := &l.Add[i]
		if !counts && !a.Always {
			continue
		}
		v := p.text(l.add[i], x)
		switch {
		case v == "" || !clean(v):
		case exchange.EqualFold(a.Name, "Last-Modified") || exchange.EqualFold(a.Name, "ETag"):
			h.Set(a.Name, v)
		default:
			h.Add(a.Name, v)
		}
	}
}

// addStatus reports whether add_header and expires work for status without "always".
func addStatus(status int) bool {
	switch status {
	case 200, 201, 204, 206, 301, 302, 303, 304, 307, 308:
		return true
	}
	return false
}

func (r *response) expires(h *exchange.Fields, e *Expires) {
	switch e.Kind {
	case "epoch":
		h.Set("Expires", "Thu, 01 Jan 1970 00:00:01 GMT")
		h.Set("Cache-Control", "no-cache")
	case "max":
		h.Set("Expires", "Thu, 31 Dec 2037 23:55:55 GMT")
		h.Set("Cache-Control", "max-age=315360000")
	default:
		h.Set("Expires", r.now().Add(e.In).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
		if e.In < 0 {
			h.Set("Cache-Control", "no-cache")
			return
		}
		h.Set("Cache-Control", "max-age="+strconv.FormatInt(int64(e.In/time.Second), 10))
	}
}

// charset adds to a Content-Type that names none, for nginx's default charset_types.
func (l *level) charset(h *exchange.Fields) {
	ct, ok := h.Lookup("Content-Type")
	if !ok || strings.Contains(strings.ToLower(ct), "charset=") {
		return
	}
	base, _, _ := strings.Cut(ct, ";")
	switch strings.ToLower(strings.TrimSpace(base)) {
	case "text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml":
		h.Set("Content-Type", ct+"; charset="+l.Charset)
	}
}
