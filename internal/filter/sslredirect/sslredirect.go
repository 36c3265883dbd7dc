// Package sslredirect sends plain HTTP requests to HTTPS: ssl-redirect and force-ssl-redirect
// (reference/annotations.md 6).
//
// The scheme that counts is the effective one, so that a trusted proxy in front that ends
// TLS is not sent in circles. Whether the host has a certificate is known per exchange only:
// an alias may have none where its host has one.
package sslredirect

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is one route's redirect to HTTPS.
type Config struct {
	// Force redirects without a certificate, too.
	Force  bool
	Status int
	// KeepSlash keeps a trailing slash.
	KeepSlash bool
	// Port is named in the Location; "": none.
	Port string
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "ssl-redirect" }

// Build returns the redirect.
func (c Config) Build(*filter.Env) (any, error) {
	if c.Port != "" {
		c.Port = ":" + c.Port
	}
	return &redirect{c}, nil
}

type redirect struct{ Config }

var _ filter.OnRequest = (*redirect)(nil)

// Request answers what came over plain HTTP.
func (r *redirect) Request(x *exchange.Exchange) exchange.Verdict {
	if x.Eff.Scheme != "http" || !(r.Force || x.HostCert) {
		return exchange.Continue
	}
	target := x.Req.Target
	if !r.KeepSlash {
		// compat: the slash goes even where it is the whole path, or the end of the query.
		target = strings.TrimSuffix(target, "/")
	}
	host := filter.HostOnly(x.Eff.Host)
	if host == "" {
		host = x.Req.Host
	}
	return filter.Redirect(x, r.Status, "https://", host, r.Port, target)
}
