// Package cors answers preflight requests and sends the Access-Control fields
// (reference/annotations.md 13).
//
// What a reader gets wrong: a preflight here is any OPTIONS whose Origin matches, and with "*"
// every OPTIONS, Origin or not. It is answered before redirects, limits and authentication.
package cors

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is one route's policy.
type Config struct {
	// Any matches every request and answers "*". Otherwise Origins are matched without case;
	// "*." in one stands for exactly one label.
	Any         bool
	Origins     []string
	Methods     string
	Headers     string
	Expose      string // "": the field is not sent
	Credentials bool
	MaxAge      string
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "cors" }

// Build splits the origins. Without any nothing is sent.
func (c Config) Build(*filter.Env) (any, error) {
	if !c.Any && len(c.Origins) == 0 {
		return nil, nil
	}
	f := &cors{any: c.Any}
	for _, o := range c.Origins {
		before, after, wild := strings.Cut(strings.ToLower(o), "*")
		f.origins = append(f.origins, origin{before, after, wild})
	}
	add := func(name, value string) { f.fields = append(f.fields, exchange.Field{Name: name, Value: value}) }
	if c.Credentials {
		add("Access-Control-Allow-Credentials", "true")
	}
	add("Access-Control-Allow-Methods", c.Methods)
	add("Access-Control-Allow-Headers", c.Headers)
	if c.Expose != "" {
		add("Access-Control-Expose-Headers", c.Expose)
	}
	add("Access-Control-Max-Age", c.MaxAge)
	return f, nil
}

type cors struct {
	any     bool
	origins []origin
	fields  []exchange.Field
}

// origin is what stands before and after a wildcard label, lower case.
type origin struct {
	before, after string
	wild          bool
}

// state is what Request found: the origin to allow.
type state struct{ allow string }

var (
	slot = exchange.NewSlot[state]()

	_ filter.OnRequest  = (*cors)(nil)
	_ filter.OnResponse = (*cors)(nil)
)

const allowOrigin = "Access-Control-Allow-Origin"

// Request matches the Origin and answers preflights.
func (c *cors) Request(x *exchange.Exchange) exchange.Verdict {
	allow := "*"
	if !c.any {
		allow = x.Req.Header.Get("Origin")
		if !c.matches(allow) {
			return exchange.Continue
		}
	}
	slot.Of(x).allow = allow
	if x.Req.Method != "OPTIONS" {
		return exchange.Continue
	}
	v := x.Reply(204)
	x.Resp.ZeroLength = true
	return v
}

// Response sets the fields on every response to a request that matched, whoever made it.
func (c *cors) Response(x *exchange.Exchange) {
	s := slot.Peek(x)
	if s == nil || s.allow == "" {
		return
	}
	x.Resp.Header.Set(allowOrigin, s.allow)
	filter.Settle(x, allowOrigin)
	for i := range c.fields {
		x.Resp.Header.Set(c.fields[i].Name, c.fields[i].Value)
		filter.Settle(x, c.fields[i].Name)
	}
}

// matches compares the whole Origin. nginx left the pattern open at its start, so that
// xhttps://a.example passed for https://a.example; that is not copied.
func (c *cors) matches(s string) bool {
	if s == "" {
		return false
	}
	for i := range c.origins {
		o := &c.origins[i]
		if !o.wild {
			if exchange.EqualFold(s, o.before) {
				return true
			}
			continue
		}
		label := len(s) - len(o.before) - len(o.after)
		if label < 1 || !exchange.EqualFold(s[:len(o.before)], o.before) || !exchange.EqualFold(s[len(s)-len(o.after):], o.after) {
			continue
		}
		if isLabel(s[len(o.before) : len(o.before)+label]) {
			return true
		}
	}
	return false
}

func isLabel(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
