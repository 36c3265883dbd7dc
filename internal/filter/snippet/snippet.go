// Package snippet runs what a configuration-snippet asks for, as typed actions. It knows nothing of
// nginx's language: translate reads the text and refuses what has no action here.
package snippet

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is one route's actions, in the order of the text.
type Config struct {
	SetHeaders []SetHeader
}

// SetHeader is one field of a more_set_headers directive.
type SetHeader struct {
	Name  string
	Value string // with $variables; "" removes the field
	// Statuses and Types restrict it to responses of one of them; empty: all.
	Statuses []int
	Types    []string // content types, lower case, without parameters
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "snippet" }

// Build compiles the values.
func (c Config) Build(*filter.Env) (any, error) {
	if len(c.SetHeaders) == 0 {
		return nil, nil
	}
	f := new(snippet)
	for _, h := range c.SetHeaders {
		p, err := expr.Parse(h.Value)
		if err != nil {
			return nil, err
		}
		f.headers = append(f.headers, header{SetHeader: h, value: p})
	}
	return f, nil
}

type snippet struct{ headers []header }

type header struct {
	SetHeader
	value *expr.Program
}

var _ filter.OnResponse = (*snippet)(nil)

// Response sets or removes the fields.
func (s *snippet) Response(x *exchange.Exchange) {
	for i := range s.headers {
		h := &s.headers[i]
		if !h.wants(x) {
			continue
		}
		filter.Settle(x, h.Name)
		v := h.value.String(x)
		if v == "" || !clean(v) {
			x.Resp.Header.Del(h.Name)
			continue
		}
		x.Resp.Header.Set(h.Name, v)
	}
}

func (h *header) wants(x *exchange.Exchange) bool {
	if len(h.Statuses) > 0 {
		found := false
		for _, s := range h.Statuses {
			found = found || s == x.Resp.Status
		}
		if !found {
			return false
		}
	}
	if len(h.Types) == 0 {
		return true
	}
	have, _, _ := strings.Cut(x.Resp.Header.Get("Content-Type"), ";")
	have = strings.TrimSpace(have)
	if have == "" && x.Resp.Generated && x.Resp.Body == nil && x.Resp.Status >= 300 {
		have = "text/html" // the page that will be added
	}
	for _, t := range h.Types {
		if strings.EqualFold(t, have) {
			return true
		}
	}
	return false
}

func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f {
			return false
		}
	}
	return true
}
