// Package addheaders sets the fields of the ConfigMap's add-headers on every response, error
// pages and redirects included (reference/routing.md 12).
//
// They replace an endpoint's own, but not what a route's filters decided: in nginx a
// location's more_set_headers runs after the one of the http block. A value may hold
// $variables; an empty one takes the field away.
package addheaders

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the fields, in order.
type Config struct {
	Fields []exchange.Field
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "add-headers" }

// Build compiles the values. An unknown variable stays as written.
func (c Config) Build(*filter.Env) (any, error) {
	if len(c.Fields) == 0 {
		return nil, nil
	}
	a := &addHeaders{fields: make([]field, len(c.Fields))}
	for i, f := range c.Fields {
		p, _ := expr.ParseLoose(f.Value)
		a.fields[i] = field{f.Name, p}
	}
	return a, nil
}

type addHeaders struct{ fields []field }

type field struct {
	name  string
	value *expr.Program
}

var _ filter.OnResponse = (*addHeaders)(nil)

// Response sets the fields.
func (a *addHeaders) Response(x *exchange.Exchange) {
	for i := range a.fields {
		f := &a.fields[i]
		if filter.Settled(x, f.name) {
			continue
		}
		if v := f.value.String(x); v == "" || !filter.CleanValue(v) {
			x.Resp.Header.Del(f.name)
		} else {
			x.Resp.Header.Set(f.name, v)
		}
		if exchange.EqualFold(f.name, "Content-Type") {
			filter.Settle(x, f.name)
		}
	}
}
