// Package addheaders sets the fields of the ConfigMap's add-headers on every response, error
// pages and redirects included (reference/routing.md 12).
//
// They replace an endpoint's own, but not what a route's filters decided: in nginx a
// location's more_set_headers runs after the one of the http block.
package addheaders

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the fields, in order.
type Config struct {
	Fields []exchange.Field
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "add-headers" }

// Build returns the filter.
func (c Config) Build(*filter.Env) (any, error) {
	if len(c.Fields) == 0 {
		return nil, nil
	}
	return &addHeaders{c.Fields}, nil
}

type addHeaders struct{ fields []exchange.Field }

var _ filter.OnResponse = (*addHeaders)(nil)

// Response sets the fields.
func (a *addHeaders) Response(x *exchange.Exchange) {
	for i := range a.fields {
		f := &a.fields[i]
		if !filter.Settled(x, f.Name) {
			x.Resp.Header.Set(f.Name, f.Value)
		}
	}
}
