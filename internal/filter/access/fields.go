package access

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Fields are the settings of the filter auth-fields, which changes the request as an
// endpoint gets it. A route with Password or External in its Config must have one.
type Fields struct {
	// Names are External.Fields: the service's values replace the client's, and a field the
	// service did not answer with is taken away (S6.2).
	Names []string
	// DropAuthorization takes the client's password away from the endpoint (basic and digest).
	DropAuthorization bool
}

// FilterName is "auth-fields".
func (Fields) FilterName() string { return "auth-fields" }

// Build returns nil where nothing changes.
func (f Fields) Build(*filter.Env) (any, error) {
	if len(f.Names) == 0 && !f.DropAuthorization {
		return nil, nil
	}
	return &fields{f}, nil
}

type fields struct{ Fields }

var _ filter.OnUpstream = (*fields)(nil)

func (f *fields) Upstream(x *exchange.Exchange) {
	h := &x.Up.Header
	if f.DropAuthorization {
		h.Del("Authorization")
	}
	if len(f.Names) == 0 {
		return
	}
	h.DelFunc(func(name, _ string) bool {
		for _, n := range f.Names {
			if sameField(name, n) {
				return true
			}
		}
		return false
	})
	st := slot.Peek(x)
	if st == nil || st.fields == nil {
		return
	}
	for i, n := range f.Names {
		if i < len(st.fields) && st.fields[i] != "" {
			h.Add(n, st.fields[i])
		}
	}
}

// sameField compares field names as a CGI-like endpoint does: without case, "_" for "-".
func sameField(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case c >= 'A' && c <= 'Z':
		return c | 0x20
	}
	return c
}
