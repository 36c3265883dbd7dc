// Package customheaders sets fixed fields on all responses of a route, whatever their status:
// custom-headers (reference/annotations.md 17). They replace an endpoint's own.
package customheaders

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the fields; values are literal.
type Config struct {
	Fields []exchange.Field
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "custom-headers" }

// Build returns the filter.
func (c Config) Build(*filter.Env) (any, error) {
	if len(c.Fields) == 0 {
		return nil, nil
	}
	return &customHeaders{c.Fields}, nil
}

type customHeaders struct{ fields []exchange.Field }

var _ filter.OnResponse = (*customHeaders)(nil)

// Response sets the fields.
func (c *customHeaders) Response(x *exchange.Exchange) {
	if filter.Marked(x, filter.Elsewhere) {
		return
	}
	for i := range c.fields {
		f := &c.fields[i]
		if f.Value == "" {
			x.Resp.Header.Del(f.Name)
		} else {
			x.Resp.Header.Set(f.Name, f.Value)
		}
		filter.Settle(x, f.Name)
	}
}
