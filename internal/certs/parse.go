package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

// maxMaterial bounds each entry of a Secret: parsing PEM is not free (reference/security.md R9).
const maxMaterial = 1 << 20

// maxChain bounds how many certificates one entry may hold.
const maxChain = 1000

// Info is what a person wants to know of a key pair.
type Info struct {
	Subject, Issuer     string
	Names               []string // DNS names and addresses it is for; the common name where there are none
	NotBefore, NotAfter time.Time
	KeyType             string // RSA, ECDSA, Ed25519
	Serial              string // decimal, as metrics show it
	Chain               int    // number of certificates

	leaf *x509.Certificate
}

// Parse reads the key pair of a TLS Secret. The error says which entry is wrong and how.
// Expired and self-signed certificates are no error.
func Parse(c *config.Cert) (*Info, error) {
	pair, err := keyPair(c)
	if err != nil {
		return nil, err
	}
	l := pair.Leaf
	i := &Info{
		Subject: l.Subject.String(), Issuer: l.Issuer.String(), NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		Names: names(l), KeyType: l.PublicKeyAlgorithm.String(), Serial: l.SerialNumber.String(), Chain: len(pair.Certificate), leaf: l,
	}
	return i, nil
}

// Covers reports whether the certificate is valid for a host name as an Ingress writes it,
// "*.example.com" included. Without subject alternative names the common name counts, as
// in ingress-nginx.
func (i *Info) Covers(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if i.leaf.VerifyHostname(host) == nil {
		return true
	}
	// compat: reference/routing.md 7.1; Go itself no longer looks at the common name.
	if hasNames(i.leaf) {
		return false
	}
	cn := strings.ToLower(i.leaf.Subject.CommonName)
	if cn == "" {
		return false
	}
	if cn == host {
		return true
	}
	rest, ok := strings.CutPrefix(cn, "*.")
	_, parent, found := strings.Cut(host, ".")
	return ok && found && parent == rest
}

func hasNames(c *x509.Certificate) bool {
	return len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) > 0
}

func names(c *x509.Certificate) []string {
	out := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	if len(out) == 0 && c.Subject.CommonName != "" {
		out = append(out, c.Subject.CommonName)
	}
	return out
}

// ParseCA reads ca.crt and ca.crl of a CA Secret. The error says which entry is wrong and how.
func ParseCA(c *config.Cert) error {
	_, err := newAuthority(c)
	return err
}

// keyPair reads tls.crt and tls.key.
func keyPair(c *config.Cert) (*tls.Certificate, error) {
	switch {
	case len(c.Chain) == 0:
		return nil, errors.New("tls.crt: missing or empty")
	case len(c.Key) == 0:
		return nil, errors.New("tls.key: missing or empty")
	case len(c.Chain) > maxMaterial:
		return nil, fmt.Errorf("tls.crt: %d bytes, at most %d are read", len(c.Chain), maxMaterial)
	case len(c.Key) > maxMaterial:
		return nil, fmt.Errorf("tls.key: %d bytes, at most %d are read", len(c.Key), maxMaterial)
	}
	if err := checkPEM("tls.crt", c.Chain, "CERTIFICATE"); err != nil {
		return nil, err
	}
	if err := checkPEM("tls.key", c.Key, "PRIVATE KEY"); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil {
		// The text is the library's; it names the entry's trouble and never holds key bytes.
		return nil, fmt.Errorf("tls.crt and tls.key: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("tls.crt: %w", err)
		}
	}
	if len(pair.Certificate) > maxChain {
		return nil, fmt.Errorf("tls.crt: %d certificates, at most %d are sent", len(pair.Certificate), maxChain)
	}
	if k, ok := pair.Leaf.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < 1024 {
		return nil, fmt.Errorf("tls.crt: RSA key of %d bits, at least 1024 are wanted", k.N.BitLen())
	}
	return &pair, nil
}

// checkPEM says what is there where a block of the kind is wanted.
func checkPEM(entry string, data []byte, kind string) error {
	found := ""
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if strings.HasSuffix(b.Type, kind) {
			return nil
		}
		found = b.Type
	}
	if found != "" {
		return fmt.Errorf("%s: PEM block %q, want %q", entry, found, kind)
	}
	return fmt.Errorf("%s: no PEM block", entry)
}

func newMaterial(pair *tls.Certificate) *material {
	h := sha256.New()
	for _, der := range pair.Certificate {
		h.Write(der)
	}
	m := &material{cert: pair}
	h.Sum(m.print[:0])
	if pair.Leaf != nil {
		switch pair.Leaf.PublicKey.(type) {
		case *ecdsa.PublicKey, ed25519.PublicKey:
			m.ecdsa = true
		}
	}
	return m
}

// Generate makes the certificate for names that have none, under the names
// ingress-nginx gives its own: scripts of users look for them.
func Generate(now time.Time) (tls.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Kubernetes Ingress Controller Fake Certificate", Organization: []string{"Acme Co"}},
		NotBefore:    now, NotAfter: now.Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{"ingress.local"}, IPAddresses: []net.IP(nil),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// pemBlocks yields the DER of every block of a kind.
func pemBlocks(data []byte, kind string) [][]byte {
	var out [][]byte
	for rest := data; len(out) < maxChain; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == kind {
			out = append(out, b.Bytes)
		}
	}
	return out
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
