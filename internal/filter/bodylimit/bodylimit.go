// Package bodylimit refuses requests that announce more content than
// proxy-body-size allows, before anything else of the route looks at them.
//
// It sees Content-Length only. Content of unknown length is counted by the engine
// while it is read (exchange.Limits.BodyMax).
package bodylimit

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the limit of one route.
type Config struct {
	Max int64 // bytes; 0: no limit
}

// FilterName is "body-limit".
func (Config) FilterName() string { return "body-limit" }

// Build returns nil where there is no limit.
func (c Config) Build(*filter.Env) (any, error) {
	if c.Max <= 0 {
		return nil, nil
	}
	return limit(c.Max), nil
}

type limit int64

var _ filter.OnRequest = limit(0)

func (l limit) Request(x *exchange.Exchange) exchange.Verdict {
	if x.Req.Length <= int64(l) {
		return exchange.Continue
	}
	v := x.Reply(413)
	// The content is not read, so nothing behind it can be a request (reference/annotations.md 16).
	x.Resp.Close = true
	return v
}
