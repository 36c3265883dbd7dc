package translate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/object"
)

// certificate is what translation needs to know of a TLS Secret: not the keys.
type certificate struct {
	names    []string // subject alternative DNS names
	ips      []net.IP
	common   string
	notAfter time.Time
	notYet   time.Time
	kind     string // RSA, ECDSA, Ed25519
	err      error  // why it cannot be served
}

// readCertificate looks into a Secret that shall hold a certificate and its key.
func readCertificate(data map[string][]byte) *certificate {
	chain, key := data["tls.crt"], data["tls.key"]
	switch {
	case len(chain) == 0 && len(key) == 0:
		return &certificate{err: errors.New("it has neither tls.crt nor tls.key")}
	case len(chain) == 0:
		return &certificate{err: errors.New("it has no tls.crt")}
	case len(key) == 0:
		return &certificate{err: errors.New("it has no tls.key")}
	}
	if block, _ := pem.Decode(chain); block == nil {
		return &certificate{err: errors.New("tls.crt: no PEM block")}
	}
	if block, _ := pem.Decode(key); block == nil {
		return &certificate{err: errors.New("tls.key: no PEM block")}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return &certificate{err: errors.New(strings.TrimPrefix(err.Error(), "tls: "))}
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return &certificate{err: fmt.Errorf("tls.crt: %w", err)}
		}
	}
	c := &certificate{ips: leaf.IPAddresses, common: strings.Clone(leaf.Subject.CommonName), notAfter: leaf.NotAfter, notYet: leaf.NotBefore}
	for _, n := range leaf.DNSNames {
		c.names = append(c.names, strings.Clone(n))
	}
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		c.kind = "RSA"
	case *ecdsa.PublicKey:
		c.kind = "ECDSA"
	case ed25519.PublicKey:
		c.kind = "Ed25519"
	}
	return c
}

// covers reports whether the certificate is for a host: by its alternative names, or, as
// ingress-nginx still accepts, by its common name.
func (c *certificate) covers(host string) bool {
	return c.lists(host) || c.common != "" && (&x509.Certificate{DNSNames: []string{c.common}}).VerifyHostname(host) == nil
}

func (c *certificate) lists(host string) bool {
	return (&x509.Certificate{DNSNames: c.names, IPAddresses: c.ips}).VerifyHostname(host) == nil
}

// names the certificate gives, for people.
func (c *certificate) describe() string {
	all := c.names
	if len(all) == 0 && c.common != "" {
		all = []string{c.common}
	}
	switch {
	case len(all) == 0:
		return "no name"
	case len(all) > 5:
		return strings.Join(all[:5], ", ") + fmt.Sprintf(" and %d more", len(all)-5)
	}
	return strings.Join(all, ", ")
}

// coversAlias is the rule for further names of a host: equal to a name of the certificate, or
// one label below a wildcard of it.
func coversAlias(names []string, alias string) bool {
	wild := ""
	if i := strings.IndexByte(alias, '.'); i >= 0 {
		wild = "*" + alias[i:]
	}
	for _, n := range names {
		if strings.EqualFold(n, alias) || wild != "" && strings.EqualFold(n, wild) {
			return true
		}
	}
	return false
}

// certificates remembers what was read of Secrets, by the Secret's identity: objects never
// change once stored. It is only a memory; a lookup is the same with and without.
type certificates struct {
	known map[config.CertID]knownCertificate
}

type knownCertificate struct {
	secret *object.Secret
	cert   *certificate
}

// read returns the certificate of a Secret, false when there is no such Secret.
func (c *certificates) read(r *object.Reader, id config.CertID) (*certificate, bool) {
	s, ok := r.Secret(id.Namespace, id.Name)
	if !ok {
		delete(c.known, id)
		return nil, false
	}
	if k, ok := c.known[id]; ok {
		if k.secret == s {
			return k.cert, true
		}
		if bytes.Equal(k.secret.Data["tls.crt"], s.Data["tls.crt"]) && bytes.Equal(k.secret.Data["tls.key"], s.Data["tls.key"]) {
			c.known[id] = knownCertificate{s, k.cert}
			return k.cert, true
		}
	}
	cert := readCertificate(s.Data)
	if c.known == nil {
		c.known = map[config.CertID]knownCertificate{}
	}
	c.known[id] = knownCertificate{s, cert}
	return cert, true
}

// certOf makes the configuration of a Secret's key material. Secrets of other types than TLS and
// Opaque are not kept (security.md S3.6).
func certOf(id config.CertID, r *object.Reader) *config.Cert {
	c := &config.Cert{ID: id}
	s, ok := r.Secret(id.Namespace, id.Name)
	if !ok {
		return c
	}
	c.Chain, c.Key = s.Data["tls.crt"], s.Data["tls.key"]
	c.CA, c.CRL = s.Data["ca.crt"], s.Data["ca.crl"]
	return c
}
