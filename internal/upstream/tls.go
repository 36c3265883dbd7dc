package upstream

import "crypto/tls"

// TLSClient is TLS towards an endpoint. Config is shared and must be cloned before a change.
type TLSClient struct {
	Config *tls.Config
	// Name is the server name of this exchange (SNI and verification); "" sends none.
	Name string
}
