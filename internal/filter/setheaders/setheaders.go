// Package setheaders sets the fields of the ConfigMap's proxy-set-headers on requests to
// endpoints, after lintel's own, which they replace (reference/routing.md 8.3).
package setheaders

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the fields; values hold $variables. An empty value removes the field.
type Config struct {
	Fields []exchange.Field
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "set-headers" }

// Build compiles the values. compat: what is no variable stays as written.
func (c Config) Build(*filter.Env) (any, error) {
	if len(c.Fields) == 0 {
		return nil, nil
	}
	s := &setHeaders{fields: make([]field, len(c.Fields))}
	for i, f := range c.Fields {
		p, _ := expr.ParseLoose(f.Value)
		s.fields[i] = field{name: f.Name, value: p, host: exchange.EqualFold(f.Name, "Host")}
	}
	return s, nil
}

type setHeaders struct{ fields []field }

type field struct {
	name  string
	value *expr.Program
	host  bool
}

var _ filter.OnUpstream = (*setHeaders)(nil)

// Upstream sets the fields.
func (s *setHeaders) Upstream(x *exchange.Exchange) {
	for i := range s.fields {
		f := &s.fields[i]
		v := f.value.String(x)
		switch {
		case !filter.CleanValue(v):
			// A variable brought a control character along: neither field nor forgery.
			if !f.host {
				x.Up.Header.Del(f.name)
			}
		case f.host:
			if v != "" {
				x.Up.Authority = v
			}
		case v == "":
			x.Up.Header.Del(f.name)
		default:
			x.Up.Header.Set(f.name, v)
		}
	}
}
