// Package responsefields edits fields of endpoints' responses: hide-headers, proxy-cookie-domain,
// proxy-cookie-path, proxy-redirect-from and -to (reference/annotations.md 16).
//
// It runs before all filters that set response fields, and touches only what an endpoint sent.
package responsefields

import (
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Rewrite replaces From by To; the zero value does nothing.
type Rewrite struct{ From, To string }

// Config is one route's edits.
type Config struct {
	Hide []string // names of fields to drop
	// CookieDomain replaces a cookie's Domain equal to From; CookiePath the prefix From of its
	// Path, or what the regular expression behind "~" matches.
	CookieDomain, CookiePath Rewrite
	// Redirect replaces the prefix From of Location and of the URL in Refresh.
	Redirect Rewrite
	// Relative leaves a Location rewritten to a path relative; otherwise it gets scheme and host.
	Relative, UsePort bool
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "response-fields" }

// Build compiles the patterns.
func (c Config) Build(*filter.Env) (any, error) {
	e := &edit{Config: c}
	e.domainFrom = strings.TrimPrefix(c.CookieDomain.From, ".")
	e.domainTo = strings.TrimPrefix(c.CookieDomain.To, ".")
	e.cookies = c.CookieDomain.From != "" || c.CookiePath.From != ""
	if text, ok := strings.CutPrefix(c.CookiePath.From, "~"); ok {
		if fold, ok := strings.CutPrefix(text, "*"); ok {
			text = "(?i)" + fold
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		e.path = re
	}
	return e, nil
}

type edit struct {
	Config
	domainFrom, domainTo string
	path                 *regexp.Regexp
	cookies              bool
}

var _ filter.OnResponse = (*edit)(nil)

// Response edits the fields.
func (e *edit) Response(x *exchange.Exchange) {
	if !x.Resp.FromUpstream {
		return
	}
	h := &x.Resp.Header
	for _, name := range e.Hide {
		h.Del(name)
	}
	if e.cookies {
		e.rewriteCookies(h)
	}
	if e.Redirect.From != "" {
		e.rewriteRedirect(x)
	}
}

// rewriteCookies edits every Set-Cookie in place, so that their order stays.
func (e *edit) rewriteCookies(h *exchange.Fields) {
	n := h.Count("Set-Cookie")
	if n == 0 {
		return
	}
	values := make([]string, 0, n)
	changed := false
	for v := range h.Values("Set-Cookie") {
		w := e.cookie(v)
		changed = changed || w != v
		values = append(values, w)
	}
	if !changed {
		return
	}
	h.Del("Set-Cookie")
	for _, v := range values {
		h.Add("Set-Cookie", v)
	}
}

// cookie rewrites one Set-Cookie. Everything but the attributes concerned stays as written.
func (e *edit) cookie(s string) string {
	rest := s
	var b strings.Builder
	for first := true; ; first = false {
		part, after, more := strings.Cut(rest, ";")
		if !first {
			b.WriteByte(';')
			part = e.attribute(part)
		}
		b.WriteString(part)
		if !more {
			return b.String()
		}
		rest = after
	}
}

func (e *edit) attribute(part string) string {
	name, value, ok := strings.Cut(part, "=")
	if !ok {
		return part
	}
	lead := value[:len(value)-len(strings.TrimLeft(value, " "))]
	value = strings.TrimSpace(value)
	switch key := strings.TrimSpace(name); {
	case exchange.EqualFold(key, "Domain") && e.domainFrom != "":
		dot := ""
		if strings.HasPrefix(value, ".") {
			dot = "."
		}
		if !strings.EqualFold(value[len(dot):], e.domainFrom) {
			return part
		}
		return name + "=" + lead + dot + e.domainTo
	case exchange.EqualFold(key, "Path") && e.CookiePath.From != "":
		if e.path != nil {
			at := e.path.FindStringSubmatchIndex(value)
			if at == nil {
				return part
			}
			return name + "=" + lead + string(e.path.ExpandString(nil, e.CookiePath.To, value, at))
		}
		if !strings.HasPrefix(value, e.CookiePath.From) {
			return part
		}
		return name + "=" + lead + e.CookiePath.To + value[len(e.CookiePath.From):]
	}
	return part
}

func (e *edit) rewriteRedirect(x *exchange.Exchange) {
	h := &x.Resp.Header
	if v, ok := h.Lookup("Location"); ok && strings.HasPrefix(v, e.Redirect.From) {
		v = e.Redirect.To + v[len(e.Redirect.From):]
		// compat: nginx makes a Location it rewrote absolute, one it only passes on not.
		if strings.HasPrefix(v, "/") && !e.Relative {
			v = x.Req.Scheme + "://" + x.Req.Host + filter.PortSuffix(x, e.UsePort) + v
		}
		h.Set("Location", v)
	}
	if v, ok := h.Lookup("Refresh"); ok {
		at := indexURL(v)
		if at >= 0 && strings.HasPrefix(v[at:], e.Redirect.From) {
			h.Set("Refresh", v[:at]+e.Redirect.To+v[at+len(e.Redirect.From):])
		}
	}
}

// indexURL finds what follows "url=" in a Refresh field.
func indexURL(s string) int {
	for i := 0; i+4 <= len(s); i++ {
		if exchange.EqualFold(s[i:i+4], "url=") {
			return i + 4
		}
	}
	return -1
}
