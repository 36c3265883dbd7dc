package snippet

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Field is one field of more_set_headers, more_clear_headers and their input forms.
type Field struct {
	Name string // a "*" at the end of one to clear stands for any rest
	// Value is text with $variables; "" removes the field.
	Value string
	// Append adds the field beside what is there (-a); IfThere only replaces (-r).
	Append, IfThere bool
	// Statuses and Types restrict it to messages of one of them; empty: all. Types are lower
	// case, without parameters.
	Statuses []int
	Types    []string
}

type field struct {
	Field
	value  *expr.Program
	prefix string // the name before "*"
	any    bool
}

func compileFields(list []Field) ([]field, error) {
	out := make([]field, len(list))
	for i, f := range list {
		p, err := parse(f.Value)
		if err != nil {
			return nil, err
		}
		out[i] = field{Field: f, value: p}
		out[i].prefix, out[i].any = strings.CutSuffix(f.Name, "*")
	}
	return out, nil
}

// mode says whose fields are changed, and who may have decided about them before.
type mode uint8

const (
	input       mode = iota // the request's
	routeFields             // the response's, by a route
	hostFields              // the response's, by the host: what the route settled stays
)

// change sets or removes the field in h.
func (f *field) change(x *exchange.Exchange, h *exchange.Fields, p *place, m mode) {
	if !f.wants(x, m) {
		return
	}
	if f.any {
		h.DelFunc(func(name, _ string) bool {
			return len(name) >= len(f.prefix) && exchange.EqualFold(name[:len(f.prefix)], f.prefix) &&
				(m != hostFields || !filter.Settled(x, name))
		})
		return
	}
	if m == hostFields && filter.Settled(x, f.Name) {
		return
	}
	if f.IfThere && !h.Has(f.Name) {
		return
	}
	if m != input {
		filter.Settle(x, f.Name)
	}
	v := p.text(f.value, x)
	switch {
	case v == "" || !clean(v):
		if !f.Append {
			h.Del(f.Name)
		}
	case f.Append:
		h.Add(f.Name, v)
	default:
		h.Set(f.Name, v)
	}
}

func (f *field) wants(x *exchange.Exchange, m mode) bool {
	if len(f.Statuses) > 0 {
		found := false
		for _, s := range f.Statuses {
			found = found || s == x.Resp.Status
		}
		if !found {
			return false
		}
	}
	if len(f.Types) == 0 {
		return true
	}
	h := &x.Resp.Header
	if m == input {
		h = &x.Req.Header
	}
	have, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	have = strings.TrimSpace(have)
	if have == "" && m != input && x.Resp.Generated && x.Resp.Body == nil && x.Resp.Status >= 300 {
		have = "text/html" // the page that will be added
	}
	for _, t := range f.Types {
		if strings.EqualFold(t, have) {
			return true
		}
	}
	return false
}
