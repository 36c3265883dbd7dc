// Package upstreamvhost replaces the Host field an endpoint sees: upstream-vhost
// (reference/annotations.md 5). X-Forwarded-Host keeps what the client asked for.
package upstreamvhost

import (
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the Host of one route.
type Config struct {
	Host string // may hold $variables
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "upstream-vhost" }

// Build compiles the text.
func (c Config) Build(*filter.Env) (any, error) {
	p, err := expr.Parse(c.Host)
	if err != nil {
		return nil, err
	}
	return &vhost{p}, nil
}

type vhost struct{ host *expr.Program }

var _ filter.OnUpstream = (*vhost)(nil)

// Upstream sets the Host. A value that is no host name, which variables can make, leaves the client's.
func (v *vhost) Upstream(x *exchange.Exchange) {
	host := v.host.String(x)
	if host == "" {
		return
	}
	for i := 0; i < len(host); i++ {
		if c := host[i]; c <= ' ' || c == 0x7f || c == '/' || c == '\\' || c == '#' || c == '?' || c == '@' {
			return
		}
	}
	x.Up.Authority = host
}
