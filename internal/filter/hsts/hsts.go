// Package hsts sends Strict-Transport-Security on every response of a route over TLS
// (reference/routing.md 7.4). It replaces an endpoint's own.
//
// compat: it goes out with the default certificate, too; a scheme that a proxy in
// front reports does not count. The redirect to auth-signin has none.
package hsts

import (
	"strconv"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the field's content.
type Config struct {
	MaxAge     int64
	Subdomains bool
	Preload    bool
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "hsts" }

// Build makes the value.
func (c Config) Build(*filter.Env) (any, error) {
	v := "max-age=" + strconv.FormatInt(c.MaxAge, 10)
	if c.Subdomains {
		v += "; includeSubDomains"
	}
	if c.Preload {
		v += "; preload"
	}
	return &hsts{v}, nil
}

type hsts struct{ value string }

var _ filter.OnResponse = (*hsts)(nil)

const name = "Strict-Transport-Security"

// Response sets the field.
func (h *hsts) Response(x *exchange.Exchange) {
	if x.Req.Scheme != "https" || filter.Marked(x, filter.Elsewhere) {
		return
	}
	x.Resp.Header.Set(name, h.value)
	filter.Settle(x, name)
}
