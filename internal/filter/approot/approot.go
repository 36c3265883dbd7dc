// Package approot sends requests for exactly "/" to an application's start page: app-root
// (reference/annotations.md 5).
//
// It acts in the server stage: before the redirect to HTTPS and before authentication, with the
// scheme of the connection, whatever a proxy in front says.
package approot

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the start page of one host.
type Config struct {
	To string // path, may hold $variables
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "app-root" }

// Build compiles the path.
func (c Config) Build(*filter.Env) (any, error) {
	to, err := expr.Parse(c.To)
	if err != nil {
		return nil, err
	}
	return &appRoot{to}, nil
}

type appRoot struct{ to *expr.Program }

var _ filter.OnRequest = (*appRoot)(nil)

// Request answers "/"; the query is dropped.
func (a *appRoot) Request(x *exchange.Exchange) exchange.Verdict {
	if x.Req.Path != "/" {
		return exchange.Continue
	}
	host := x.Req.Authority
	if host == "" {
		host = x.Req.Host
	}
	return filter.Redirect(x, 302, x.Req.Scheme, "://", host, a.to.String(x))
}
