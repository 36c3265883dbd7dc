// Package upstream owns what outlives configuration on the endpoints' side: the
// pools, their endpoints, their health and latency, and the connections to them.
package upstream

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Target is one endpoint as a transport needs it. Connections are shared
// only between equal keys (reference/security.md R11): address, protocol, TLS policy.
type Target struct {
	Endpoint config.Endpoint
	Forward  *config.Forward
	// TLS is the client configuration; nil for plain connections. TLSKey identifies its
	// policy (certificate, CA, name, verification) for connection sharing.
	TLS    *TLSClient
	TLSKey string
	HTTP2  bool
	Local  bool // loopback allowed
}

// Transport sends x.Up to one endpoint and fills x.Resp up to the head. It
// records an exchange.Attempt in x.Try. Errors are *exchange.Error. When it returns nil,
// x.Resp.Body reads the content; its Close returns only when nothing of the
// transport touches x any more.
type Transport interface {
	RoundTrip(x *exchange.Exchange, t *Target) error
	// CloseIdle closes idle connections to endpoints that keep does not accept.
	CloseIdle(keep func(config.Endpoint) bool)
	Close()
}
