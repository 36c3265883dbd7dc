package parity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Pem is a certificate and its key.
type Pem struct{ Cert, Key []byte }

// Pair returns p for crypto/tls.
func (p *Pem) Pair() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// PKI makes the certificates of a run; the same names give the same certificate.
type PKI struct {
	mu   sync.Mutex
	made map[string]*Pem
}

// Authority returns the certificate authority called name.
func (p *PKI) Authority(name string) (*Pem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.authority(name)
}

func (p *PKI) authority(name string) (*Pem, error) {
	return p.get("ca "+name, "", &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
}

// Server returns a server certificate for hosts, whose name is the first.
func (p *PKI) Server(authority string, expired bool, hosts ...string) (*Pem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if expired {
		t.NotAfter = time.Now().Add(-24 * time.Hour)
	}
	// compat: the record has one certificate for each first name.
	return p.get("server "+hosts[0], authority, t)
}

// Client returns a client certificate. A name that begins with "expired" has expired.
func (p *PKI) Client(authority, name string) (*Pem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if strings.HasPrefix(name, "expired") {
		t.NotAfter = time.Now().Add(-24 * time.Hour)
	}
	return p.get("client "+name, authority, t)
}

// get makes what t describes, signed by authority, or by itself when that is "".
func (p *PKI) get(id, authority string, t *x509.Certificate) (*Pem, error) {
	if have := p.made[id]; have != nil {
		return have, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, err
	}
	t.Subject.Organization = []string{"difftest"} // as in the record
	t.NotBefore = time.Now().Add(-48 * time.Hour)
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().AddDate(5, 0, 0)
	}
	parent, signer := t, any(key)
	if authority != "" {
		ca, err := p.authority(authority)
		if err != nil {
			return nil, err
		}
		pair, err := ca.Pair()
		if err != nil {
			return nil, err
		}
		parent, signer = pair.Leaf, pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if p.made == nil {
		p.made = map[string]*Pem{}
	}
	p.made[id] = &Pem{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	return p.made[id], nil
}
