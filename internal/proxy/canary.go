package proxy

import (
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// canary decides between a route's pool and its alternative (reference/annotations.md 14).
type canary struct {
	cfg     *config.Canary
	pool    *upstream.Pool
	policy  balance.Policy
	sticky  *balance.Sticky // nil: affinity does not extend to the canary
	pattern *regexp.Regexp
	total   int
	intn    func(int) int
}

// decide reports whether x goes to the canary, and why. primary is the route's affinity, or nil.
func (c *canary) decide(x *exchange.Exchange, primary *balance.Sticky) (yes bool, why string) {
	if primary != nil && primary.Bound(x) {
		return false, "the affinity cookie names the main upstream"
	}
	if c.sticky != nil && c.sticky.Bound(x) {
		return true, "the affinity cookie names the canary"
	}
	if c.cfg.Header != "" {
		if v, ok := headerValue(&x.Req.Header, c.cfg.Header); ok {
			switch {
			case c.cfg.HeaderValue != "":
				if v == c.cfg.HeaderValue {
					return true, "canary-by-header-value matches"
				}
			case c.cfg.HeaderPattern != "":
				if c.pattern == nil {
					return false, "canary-by-header-pattern is not a regular expression"
				}
				if c.pattern.MatchString(v) {
					return true, "canary-by-header-pattern matches"
				}
			case v == "always":
				return true, "the canary header says always"
			case v == "never":
				return false, "the canary header says never"
			}
		}
	}
	if c.cfg.Cookie != "" {
		switch v, _ := cookieOf(&x.Req.Header, c.cfg.Cookie); v {
		case "always":
			return true, "the canary cookie says always"
		case "never":
			return false, "the canary cookie says never"
		}
	}
	if c.cfg.Weight > 0 && c.intn(c.total)+1 <= c.cfg.Weight {
		return true, "drawn by canary-weight"
	}
	return false, "not drawn by canary-weight"
}

// headerValue returns a field as nginx's $http_ variable has it: several joined with a comma. An
// empty field counts as present.
func headerValue(h *exchange.Fields, name string) (string, bool) {
	v, ok := h.Lookup(name)
	if !ok || h.Count(name) == 1 {
		return v, ok
	}
	var all []string
	for v := range h.Values(name) {
		all = append(all, v)
	}
	return strings.Join(all, ", "), true
}

// cookieOf returns the first cookie called name, without regard to case, as nginx's $cookie_ variable does.
func cookieOf(h *exchange.Fields, name string) (string, bool) {
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "Cookie") {
			continue
		}
		for rest := f.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			n, v, found := strings.Cut(strings.Trim(pair, " \t"), "=")
			if found && exchange.EqualFold(strings.TrimRight(n, " "), name) {
				return v, true
			}
		}
	}
	return "", false
}
