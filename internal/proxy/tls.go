package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// internalName is the name nginx verifies and sends when proxy-ssl-name is absent.
//
// compat: the host of proxy_pass (reference/annotations.md 8.2); verification without a name always fails.
const internalName = "upstream_balancer"

// tlsPolicy is TLS towards the endpoints of one route (proxy-ssl-*). Key material is looked
// up at each exchange, so that a changed Secret needs no new route.
type tlsPolicy struct {
	cfg      config.UpstreamTLS
	protocol string // ALPN; "" for none
	cert     func(config.CertID) *config.Cert
	name     Text // nil: constant
	constant string

	mu    sync.Mutex
	built atomic.Pointer[tlsBuilt]
}

// tlsBuilt is a policy with the key material of one moment.
type tlsBuilt struct {
	client, ca *config.Cert
	roots      *x509.CertPool
	config     *tls.Config
	fixed      *upstream.TLSClient // for a constant name
	key        string
	err        error
}

// newTLSPolicy compiles cfg; nil means no verification and no server name.
func (p *Proxy) newTLSPolicy(cfg *config.UpstreamTLS, h2 bool) (*tlsPolicy, error) {
	t := &tlsPolicy{cert: p.cert}
	if cfg != nil {
		t.cfg = *cfg
	}
	if h2 {
		t.protocol = "h2"
	}
	if cfg == nil {
		return t, nil
	}
	t.constant = t.cfg.Name
	if t.constant == "" {
		t.constant = internalName
	}
	if strings.Contains(t.constant, "$") {
		name, err := p.text(t.constant)
		if err != nil {
			return nil, fmt.Errorf("proxy-ssl-name: %w", err)
		}
		t.name = name
	}
	return t, nil
}

// client returns the TLS settings for x and the key connections are shared by.
func (t *tlsPolicy) client(x *exchange.Exchange) (*upstream.TLSClient, string, error) {
	b := t.current()
	if b.err != nil {
		return nil, "", b.err
	}
	if b.fixed != nil {
		return b.fixed, b.key, nil
	}
	name := string(t.name(nil, x))
	c := &upstream.TLSClient{Config: b.config}
	if t.cfg.Verify {
		c.Config = b.config.Clone()
		c.Config.VerifyConnection = verifier(b.roots, name, t.cfg.Depth)
	}
	if t.cfg.SNI {
		c.Name = name
	}
	return c, b.key + "|" + name, nil
}

// current returns the policy with the key material that is in force.
func (t *tlsPolicy) current() *tlsBuilt {
	var client, ca *config.Cert
	if t.cfg.Client != (config.CertID{}) {
		client = t.cert(t.cfg.Client)
	}
	if t.cfg.CA != (config.CertID{}) {
		ca = t.cert(t.cfg.CA)
	}
	b := t.built.Load()
	if b != nil && b.client == client && b.ca == ca {
		return b
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b = t.build(client, ca)
	t.built.Store(b)
	return b
}

func (t *tlsPolicy) build(client, ca *config.Cert) *tlsBuilt {
	b := &tlsBuilt{client: client, ca: ca}
	c := &tls.Config{
		// Verification is ours (verifier): the name to verify and the name to send differ.
		InsecureSkipVerify: true,
		MinVersion:         max(t.cfg.MinVersion, tls.VersionTLS12),
		MaxVersion:         t.cfg.MaxVersion,
		CipherSuites:       t.cfg.Ciphers,
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
	if t.protocol != "" {
		c.NextProtos = []string{t.protocol}
	}
	h := sha256.New()
	fmt.Fprintf(h, "%v %d %v %v %d %d %s\n", t.cfg.Verify, t.cfg.Depth, t.cfg.SNI, t.cfg.Ciphers, t.cfg.MinVersion, t.cfg.MaxVersion, t.protocol)
	if id := t.cfg.Client; id != (config.CertID{}) {
		if client == nil {
			b.err = fmt.Errorf("client certificate %s/%s is missing", id.Namespace, id.Name)
			return b
		}
		pair, err := tls.X509KeyPair(client.Chain, client.Key)
		if err != nil {
			b.err = fmt.Errorf("client certificate %s/%s: %w", id.Namespace, id.Name, err)
			return b
		}
		c.Certificates = []tls.Certificate{pair}
		fmt.Fprintf(h, "client %x %x\n", sha256.Sum256(client.Chain), sha256.Sum256(client.Key))
	}
	if id := t.cfg.CA; id != (config.CertID{}) && t.cfg.Verify {
		b.roots = x509.NewCertPool()
		if ca == nil || !b.roots.AppendCertsFromPEM(ca.CA) {
			b.err = fmt.Errorf("CA certificate %s/%s is missing or has no PEM certificate in ca.crt", id.Namespace, id.Name)
			return b
		}
		fmt.Fprintf(h, "ca %x\n", sha256.Sum256(ca.CA))
	}
	b.config = c
	b.key = hex.EncodeToString(h.Sum(nil)[:16])
	if t.name != nil {
		return b
	}
	b.fixed = &upstream.TLSClient{Config: c}
	if t.cfg.Verify {
		c.VerifyConnection = verifier(b.roots, t.constant, t.cfg.Depth)
	}
	if t.cfg.SNI {
		b.fixed.Name = t.constant
	}
	b.key += "|" + t.constant
	return b
}

// verifier returns the check of an endpoint's certificate: chain, depth, name. It runs for
// resumed sessions as well. Without roots the system's are used.
func verifier(roots *x509.CertPool, name string, depth int) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the endpoint sent no certificate")
		}
		leaf := s.PeerCertificates[0]
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		chains, err := leaf.Verify(o)
		if err != nil {
			return err
		}
		// OpenSSL counts the certificates between leaf and root.
		shallow := false
		for _, c := range chains {
			shallow = shallow || len(c)-2 <= max(depth, 1)
		}
		if !shallow {
			return fmt.Errorf("certificate chain is longer than proxy-ssl-verify-depth %d", depth)
		}
		return verifyName(leaf, name)
	}
}

// verifyName checks that a certificate is for name. One without any alternative name is
// checked by its common name.
//
// compat: OpenSSL does so, and certificates made by hand for backends often have nothing else.
func verifyName(leaf *x509.Certificate, name string) error {
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0 {
		return leaf.VerifyHostname(name)
	}
	cn := leaf.Subject.CommonName
	// S9.4: a NUL in a name matches nothing.
	if strings.ContainsRune(cn, 0) {
		return errors.New("the certificate's common name holds a NUL")
	}
	if strings.EqualFold(cn, name) {
		return nil
	}
	if rest, ok := strings.CutPrefix(cn, "*."); ok {
		if label, parent, found := strings.Cut(name, "."); found && label != "" && strings.EqualFold(parent, rest) && strings.Contains(rest, ".") {
			return nil
		}
	}
	return fmt.Errorf("certificate is for %q, not %q", cn, name)
}
