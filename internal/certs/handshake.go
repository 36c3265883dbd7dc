package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"strings"
	"time"
)

// Handshake carries one connection through its TLS handshake: take Config for
// tls.Server, and call Finish once the handshake has succeeded. Not safe for concurrent use.
type Handshake struct {
	store  *Store
	table  *table
	sni    string
	choice choice
	scope  [sha256.Size]byte
	began  time.Time // of the session that is resumed
}

// Result is what a finished handshake says about the connection (see exchange.Conn).
type Result struct {
	ServerName   string // lower case, without trailing dot; "" when the client sent none
	Policy       string // host whose client-certificate policy was applied; "" for none
	ClientVerify string // "", "NONE", "SUCCESS", "FAILED:reason"
}

// Handshake begins one. It decides everything by the table of the moment the client's
// hello arrives.
func (s *Store) Handshake() *Handshake { return &Handshake{store: s} }

// Config returns the configuration for this one connection.
func (h *Handshake) Config() *tls.Config {
	return &tls.Config{GetConfigForClient: h.config, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS10}
}

// Finish verifies the client's certificate, of a resumed session as well: a CA, a
// revocation list or the time may have changed since.
func (h *Handshake) Finish(cs *tls.ConnectionState) Result {
	r := Result{ServerName: h.sni}
	if e := h.choice.server; e != nil && e.auth != nil {
		r.Policy = e.policy
		r.ClientVerify = e.auth.verify(cs.PeerCertificates, h.store.now())
	}
	return r
}

// config chooses by server name.
func (h *Handshake) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	t := h.store.table.Load()
	g := t.settings
	h.table = t
	h.sni = strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	h.choice = t.choose(h.sni)
	e := h.choice.server
	if e != nil && e.reject || g.rejectUnknown && !h.choice.known() {
		// Without a certificate crypto/tls ends the handshake with unrecognized_name, as nginx does.
		return &tls.Config{MinVersion: g.minVersion, MaxVersion: g.maxVersion, SessionTicketsDisabled: true}, nil
	}
	c := &tls.Config{
		MinVersion: g.minVersion, MaxVersion: g.maxVersion, CipherSuites: g.ciphers, NextProtos: g.protocols,
		GetCertificate: h.certificate, SessionTicketsDisabled: !g.tickets,
	}
	if e != nil && len(e.ciphers) > 0 {
		c.CipherSuites = e.ciphers
	}
	if e != nil && e.auth != nil && e.auth.request {
		c.ClientAuth = tls.RequestClientCert
		if e.auth.ca != nil {
			c.ClientCAs = e.auth.ca.hints()
		}
	}
	if g.tickets {
		h.scope = h.makeScope()
		c.WrapSession, c.UnwrapSession = h.wrap, h.unwrap
	}
	return c, nil
}

// certificate picks by what the client can verify: the exact name before the wildcard, then
// ECDSA before RSA. A name whose certificates all miss the offer is tried with the first of them.
func (h *Handshake) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	offer := *hello
	offer.ServerName = "" // whether the certificate covers the name was settled by translation
	var first *material
	for _, level := range h.choice.levels {
		for _, m := range level {
			if offer.SupportsCertificate(m.cert) == nil {
				return m.cert, nil
			}
			if first == nil {
				first = m
			}
		}
	}
	if first != nil {
		return first.cert, nil
	}
	for _, m := range h.table.settings.fallback {
		if offer.SupportsCertificate(m.cert) == nil {
			return m.cert, nil
		}
	}
	return h.table.settings.fallback[0].cert, nil
}

// makeScope names what a session may be resumed under: the same server name, the same
// certificates, the same policy with the same CA (reference/security.md S9.1).
func (h *Handshake) makeScope() (sum [sha256.Size]byte) {
	d := sha256.New()
	d.Write([]byte(h.sni))
	d.Write([]byte{0})
	served := false
	for _, level := range h.choice.levels {
		for _, m := range level {
			d.Write(m.print[:])
			served = true
		}
	}
	if !served {
		for _, m := range h.table.settings.fallback {
			d.Write(m.print[:])
		}
	}
	if e := h.choice.server; e != nil && e.auth != nil {
		d.Write([]byte(e.policy))
		d.Write([]byte{0})
		d.Write(e.auth.digest[:])
	}
	d.Sum(sum[:0])
	return sum
}
