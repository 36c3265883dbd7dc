// Package deny refuses every request of a route that could not be protected as
// its Ingress asks (reference/annotations.md 2.3, outcome DENY).
//
// It answers 503 before redirects, CORS and authentication: a route that cannot be
// translated whole must not be served in part.
package deny

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config turns one route off.
type Config struct {
	Reason string // for people: the annotation and what is wrong with it
}

// FilterName is "deny".
func (Config) FilterName() string { return "deny" }

// Build returns the filter; it never fails.
func (Config) Build(*filter.Env) (any, error) { return denied{}, nil }

type denied struct{}

var _ filter.OnRequest = denied{}

func (denied) Request(x *exchange.Exchange) exchange.Verdict {
	v := x.Reply(503)
	x.Resp.Denied = true
	return v
}
