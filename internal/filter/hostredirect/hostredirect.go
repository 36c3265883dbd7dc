// Package hostredirect sends every request of a host to another name: from-to-www-redirect
// (reference/annotations.md 6).
//
// compat: the Location always names scheme and port, http://example.com:80/x, and loses
// one trailing slash.
package hostredirect

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the redirect of one host.
type Config struct {
	To     string // host name
	Status int
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "host-redirect" }

// Build returns the redirect.
func (c Config) Build(*filter.Env) (any, error) { return &redirect{c}, nil }

type redirect struct{ Config }

var _ filter.OnRequest = (*redirect)(nil)

// Request answers.
func (r *redirect) Request(x *exchange.Exchange) exchange.Verdict {
	scheme, port := x.Eff.Scheme, x.Eff.Port
	if scheme != "http" && scheme != "https" {
		scheme = x.Req.Scheme
	}
	if !digits(port) {
		port = strconv.Itoa(int(x.Conn.Port))
	}
	return filter.Redirect(x, r.Status, scheme, "://", r.To, ":", port, strings.TrimSuffix(x.Req.Target, "/"))
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 5
}
