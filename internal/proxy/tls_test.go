package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

func issue(t *testing.T, by *authority, mod func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	mod(c)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{t, c, key, der}
}

func ca(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = pkix.Name{CommonName: name}, true, true, x509.KeyUsageCertSign
	}
}

func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der})
}

func (a *authority) keyPEM() config.Secret {
	der, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// shake connects the policy's client to an endpoint with these certificates and returns what
// the endpoint saw.
func shake(t *testing.T, p *tlsPolicy, x *exchange.Exchange, leaf *authority, chain ...*authority) (tls.ConnectionState, error) {
	t.Helper()
	c, _, err := p.client(x)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	pair := tls.Certificate{Certificate: [][]byte{leaf.der}, PrivateKey: leaf.key}
	for _, a := range chain {
		pair.Certificate = append(pair.Certificate, a.der)
	}
	// Not net.Pipe: it has no buffer, and an alert would wait for a reader that writes.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	deadline := time.Now().Add(20 * time.Second)
	near.SetDeadline(deadline)
	far.SetDeadline(deadline)
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}})
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte("x"))
		}
		done <- err
	}()
	conf := c.Config.Clone()
	conf.ServerName = c.Name
	client := tls.Client(near, conf)
	err = client.Handshake()
	if err == nil {
		_, err = client.Read(make([]byte, 1))
	}
	near.Close()
	<-done
	return server.ConnectionState(), err
}

func TestS9_3_UpstreamCertificatesAreVerifiedAsConfigured(t *testing.T) {
	root, stranger := issue(t, nil, ca("root")), issue(t, nil, ca("stranger"))
	middle := issue(t, root, ca("middle"))
	deep := issue(t, middle, ca("deep"))
	good := issue(t, root, named("backend.test"))
	wild := issue(t, root, named("*.backend.test"))
	expired := issue(t, root, func(c *x509.Certificate) { named("backend.test")(c); c.NotAfter = time.Now().Add(-time.Minute) })
	common := issue(t, root, func(c *x509.Certificate) { c.Subject.CommonName = "backend.test" })
	hidden := issue(t, root, func(c *x509.Certificate) { c.Subject.CommonName = "backend.test"; c.DNSNames = []string{"other.test"} })
	under := issue(t, middle, named("backend.test"))
	below := issue(t, deep, named("backend.test"))
	foreign := issue(t, stranger, named("backend.test"))

	caID := config.CertID{Namespace: "n", Name: "ca"}
	verify := func(name string) *config.UpstreamTLS {
		return &config.UpstreamTLS{CA: caID, Verify: true, Depth: 1, Name: name, SNI: true}
	}
	for _, c := range []struct {
		what  string
		cfg   *config.UpstreamTLS
		leaf  *authority
		chain []*authority
		fails string
	}{
		{"nothing configured", nil, foreign, nil, ""},
		{"verification off", &config.UpstreamTLS{CA: caID, Name: "backend.test"}, expired, nil, ""},
		{"good", verify("backend.test"), good, nil, ""},
		{"wildcard", verify("a.backend.test"), wild, nil, ""},
		{"wrong name", verify("other.test"), good, nil, "not other.test"},
		{"expired", verify("backend.test"), expired, nil, "expired"},
		{"wrong CA", verify("backend.test"), foreign, nil, "unknown authority"},
		{"common name only", verify("backend.test"), common, nil, ""},
		{"common name beside others does not count", verify("backend.test"), hidden, nil, "not backend.test"},
		{"one between", verify("backend.test"), under, []*authority{middle}, ""},
		{"two between", verify("backend.test"), below, []*authority{deep, middle}, "proxy-ssl-verify-depth 1"},
		{"missing intermediate", verify("backend.test"), under, nil, "unknown authority"},
		{"no name given", verify(""), good, nil, "not upstream_balancer"},
		{"name without SNI", &config.UpstreamTLS{CA: caID, Verify: true, Name: "backend.test"}, good, nil, ""},
		{"name without SNI, wrong", &config.UpstreamTLS{CA: caID, Verify: true, Name: "other.test"}, good, nil, "not other.test"},
		{"variable name", verify("$n.test"), good, nil, ""},
		{"variable name, wrong", verify("x$n.test"), good, nil, "not xbackend.test"},
	} {
		proxy := New(Deps{Compile: func(text string) (Text, error) {
			return func(b []byte, x *exchange.Exchange) []byte {
				return append(b, strings.ReplaceAll(text, "$n", x.Req.Host)...)
			}, nil
		}})
		proxy.SetCerts(map[config.CertID]*config.Cert{caID: {ID: caID, CA: root.pem()}})
		p, err := proxy.newTLSPolicy(c.cfg, false)
		if err != nil {
			t.Fatal(err)
		}
		x := get()
		x.Req.Host = "backend"
		// Twice: the second handshake resumes, and must come to the same.
		for range 2 {
			seen, err := shake(t, p, x, c.leaf, c.chain...)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%s: %v, want %q", c.what, err, c.fails)
			}
			if err == nil {
				want := ""
				if c.cfg != nil && c.cfg.SNI {
					want = strings.ReplaceAll(c.cfg.Name, "$n", "backend")
				}
				if seen.ServerName != want {
					t.Errorf("%s: endpoint saw the name %q, want %q", c.what, seen.ServerName, want)
				}
			}
		}
	}
}

func TestUpstreamTLSPresentsTheCertificateInForce(t *testing.T) {
	root := issue(t, nil, ca("root"))
	end := issue(t, root, named("backend.test"))
	id := config.CertID{Namespace: "n", Name: "client"}
	proxy := New(Deps{})
	p, err := proxy.newTLSPolicy(&config.UpstreamTLS{Client: id}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.client(get()); err == nil || !strings.Contains(err.Error(), "n/client is missing") {
		t.Errorf("missing certificate: %v", err)
	}
	var keys []string
	for range 2 {
		c := issue(t, root, named("me"))
		proxy.SetCerts(map[config.CertID]*config.Cert{id: {ID: id, Chain: c.pem(), Key: c.keyPEM()}})
		seen, err := shake(t, p, get(), end)
		if err != nil || len(seen.PeerCertificates) != 1 || !seen.PeerCertificates[0].Equal(c.cert) || seen.NegotiatedProtocol != "h2" {
			t.Errorf("%v, %d certificates, %q", err, len(seen.PeerCertificates), seen.NegotiatedProtocol)
		}
		_, key, err := p.client(get())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if keys[0] == keys[1] {
		t.Error("S11.2: another client certificate shares the connections of the first")
	}
	proxy.SetCerts(map[config.CertID]*config.Cert{id: {ID: id, Chain: config.Secret("x"), Key: config.Secret("y")}})
	if _, _, err := p.client(get()); err == nil {
		t.Error("garbage was accepted as a certificate")
	}
	proxy.SetCerts(map[config.CertID]*config.Cert{id: nil})
	if _, _, err := p.client(get()); err == nil {
		t.Error("a certificate that is gone is still used")
	}
}

func TestS11_2_DifferentTLSPoliciesHaveDifferentConnectionKeys(t *testing.T) {
	root := issue(t, nil, ca("root"))
	other := issue(t, nil, ca("other"))
	one, two := config.CertID{Name: "one"}, config.CertID{Name: "two"}
	proxy := New(Deps{})
	proxy.SetCerts(map[config.CertID]*config.Cert{one: {CA: root.pem()}, two: {CA: other.pem()}})
	seen := map[string]int{}
	for i, cfg := range []*config.UpstreamTLS{
		nil, {}, {Name: "a"}, {Name: "b"}, {Name: "a", SNI: true}, {Name: "a", Verify: true}, {Name: "a", Verify: true, CA: one},
		{Name: "a", Verify: true, CA: two}, {Name: "a", Verify: true, CA: one, Depth: 2}, {Name: "a", MinVersion: tls.VersionTLS13}, {Name: "a", Ciphers: []uint16{1}},
	} {
		for _, h2 := range []bool{false, true} {
			p, err := proxy.newTLSPolicy(cfg, h2)
			if err != nil {
				t.Fatal(err)
			}
			_, key, err := p.client(get())
			if err != nil {
				t.Fatal(err)
			}
			if was, ok := seen[key]; ok {
				t.Errorf("policies %d and %d share the key %s", was, i, key)
			}
			seen[key] = i
		}
	}
}

func TestMissingKeyMaterialAnswers503AndAsksNobody(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, mainAddr)
	f := l.forwarder(config.Forward{Pool: mainPool, Protocol: config.HTTPS, Retry: usualRetry,
		TLS: &config.UpstreamTLS{Verify: true, CA: config.CertID{Namespace: "n", Name: "gone"}, Name: "a"}})
	x := get()
	forward(f, x)
	if x.Resp.Status != 503 || len(l.asked) != 0 {
		t.Errorf("got %d after %v", x.Resp.Status, l.asked)
	}
	finish(x)
	l.idle()
}

func TestS9_4_NULInACommonNameMatchesNothing(t *testing.T) {
	for cn, want := range map[string]bool{"a.test": true, "A.test": true, "a.test\x00.evil": false, "*.test": false, "*.b.test": false, "": false} {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
		if got := verifyName(c, "a.test") == nil; got != want {
			t.Errorf("common name %q: %v", cn, got)
		}
	}
	if err := verifyName(&x509.Certificate{Subject: pkix.Name{CommonName: "*.b.test"}}, "a.b.test"); err != nil {
		t.Error(err)
	}
	if err := verifier(nil, "a", 1)(tls.ConnectionState{}); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no certificate: %v", err)
	}
}
