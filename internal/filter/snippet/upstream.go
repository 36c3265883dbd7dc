package snippet

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Upstream is what a snippet changes of the request as an endpoint gets it.
type Upstream struct {
	// Set are proxy_set_header: they replace lintel's own; an empty value removes the field.
	Set    []exchange.Field
	Method string // proxy_method, text with $variables; "": the client's
}

// FilterName is the filter's name in filter.Order.
func (Upstream) FilterName() string { return "snippet-upstream" }

// Build compiles the values.
func (c Upstream) Build(env *filter.Env) (any, error) {
	u := &toUpstream{home: home(env)}
	for _, f := range c.Set {
		p, err := parse(f.Value)
		if err != nil {
			return nil, err
		}
		u.set = append(u.set, setField{f.Name, p, exchange.EqualFold(f.Name, "Host")})
	}
	if c.Method != "" {
		p, err := parse(c.Method)
		if err != nil {
			return nil, err
		}
		u.method = p
	}
	return u, nil
}

type toUpstream struct {
	home   string
	set    []setField
	method *expr.Program
}

type setField struct {
	name  string
	value *expr.Program
	host  bool
}

var _ filter.OnUpstream = (*toUpstream)(nil)

// Upstream sets the fields and the method.
func (u *toUpstream) Upstream(x *exchange.Exchange) {
	p := at(x, false, u.home)
	for i := range u.set {
		f := &u.set[i]
		v := p.text(f.value, x)
		switch {
		case f.host:
			if v != "" && clean(v) {
				x.Up.Authority = v
			}
		case v == "" || !clean(v):
			x.Up.Header.Del(f.name)
		default:
			x.Up.Header.Set(f.name, v)
		}
	}
	if u.method != nil {
		if m := p.text(u.method, x); token(m) {
			x.Up.Method = m
		}
	}
}

// token reports whether s can be a method.
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}
