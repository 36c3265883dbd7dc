package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

// issuer signs test certificates.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serial int64 = 100

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var generated = sync.OnceValue(func() tls.Certificate {
	c, err := Generate(time.Now())
	if err != nil {
		panic(err)
	}
	return c
})

func ecKey() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// issue makes a certificate; by nil means self-signed.
func issue(t *testing.T, by *issuer, key crypto.Signer, change func(*x509.Certificate)) *issuer {
	t.Helper()
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	change(tmpl)
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func ca(t *testing.T, name string, by *issuer) *issuer {
	return issue(t, by, ecKey(), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.IsCA = true
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	})
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func (i *issuer) keyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (i *issuer) tls(more ...*issuer) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}
	for _, m := range more {
		c.Certificate = append(c.Certificate, m.cert.Raw)
	}
	return c
}

// secret makes a TLS Secret with a certificate for names, CN the Secret's name.
func secret(t *testing.T, name string, key crypto.Signer, names ...string) *config.Cert {
	i := issue(t, nil, key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.DNSNames = names
	})
	return &config.Cert{ID: id(name), Chain: i.pem(), Key: i.keyPEM()}
}

func id(name string) config.CertID { return config.CertID{Namespace: "default", Name: name} }

func host(name, cert string) *config.Host {
	return &config.Host{Name: name, TLS: &config.TLS{Cert: id(cert)}}
}

// delta makes a Delta of *config.Cert, *config.Host and *config.Global.
func delta(parts ...any) *config.Delta {
	d := &config.Delta{Certs: map[config.CertID]*config.Cert{}, Hosts: map[string]*config.Host{}}
	for _, p := range parts {
		switch p := p.(type) {
		case *config.Cert:
			d.Certs[p.ID] = p
		case *config.Host:
			d.Hosts[p.Name] = p
		case *config.Global:
			d.Global = p
		}
	}
	return d
}

func store(t *testing.T, parts ...any) *Store {
	t.Helper()
	s := New(generated())
	for id, err := range s.Apply(delta(parts...)) {
		t.Fatalf("%v: %v", id, err)
	}
	return s
}

type outcome struct {
	client tls.ConnectionState
	result Result
	err    error // of the client
}

// sockets returns the two ends of a loopback connection. (A net.Pipe has no buffer: both ends would write at once.)
func sockets(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	return client, server
}

// shake runs one handshake and one byte each way, so that tickets arrive.
func shake(t *testing.T, s *Store, c *tls.Config) outcome {
	t.Helper()
	a, b := sockets(t)
	defer a.Close()
	defer b.Close()
	c.InsecureSkipVerify = true
	done := make(chan Result, 1)
	go func() {
		defer b.Close()
		h := s.Handshake()
		srv := tls.Server(b, h.Config())
		if srv.Handshake() != nil {
			done <- Result{}
			return
		}
		cs := srv.ConnectionState()
		r := h.Finish(&cs)
		srv.Write([]byte("x"))
		done <- r
	}()
	cl := tls.Client(a, c)
	o := outcome{}
	if _, o.err = cl.Read(make([]byte, 1)); o.err == nil {
		o.client = cl.ConnectionState()
	}
	a.Close()
	o.result = <-done
	return o
}

// shown is the common name the server showed for a server name.
func (o *outcome) shown(t *testing.T) string {
	t.Helper()
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.client.PeerCertificates[0].Subject.CommonName
}

const fake = "Kubernetes Ingress Controller Fake Certificate"

func TestServerNameChoosesExactThenWildcardThenDefault(t *testing.T) {
	s := store(t,
		secret(t, "exact", ecKey(), "a.w.test"), secret(t, "wild", ecKey(), "*.w.test"), secret(t, "any", ecKey(), "*.any.test"),
		host("a.w.test", "exact"), host("*.w.test", "wild"), &config.Host{Name: "c.w.test"}, host("broken.w.test", "missing"),
		&config.Host{Name: "plain.test"},
		&config.Host{Name: "alias.test", AliasOf: "a.w.test", TLS: &config.TLS{Cert: id("exact")}})
	for sni, want := range map[string]string{
		"a.w.test": "exact", "A.W.TEST": "exact", "b.w.test": "wild", "c.w.test": "wild", "broken.w.test": "wild",
		"x.y.w.test": fake, "w.test": fake, "plain.test": fake, "unknown.test": fake, "": fake, "alias.test": "exact",
		"_": fake, "*.w.test": "wild", strings.Repeat("a", 63) + ".w.test": "wild",
	} {
		o := shake(t, s, &tls.Config{ServerName: sni})
		if got := o.shown(t); got != want {
			t.Errorf("SNI %q: got %q, want %q", sni, got, want)
		}
		if want := strings.ToLower(sni); o.result.ServerName != want {
			t.Errorf("SNI %q: ServerName is %q", sni, o.result.ServerName)
		}
	}
}

func TestGeneratedCertificateCarriesTheNamesPeopleLookFor(t *testing.T) {
	l := generated().Leaf
	if l.Subject.CommonName != fake || l.Subject.Organization[0] != "Acme Co" || l.DNSNames[0] != "ingress.local" {
		t.Errorf("got %v %v", l.Subject, l.DNSNames)
	}
	if d := l.NotAfter.Sub(l.NotBefore); d != 365*24*time.Hour {
		t.Errorf("valid for %v, want 365 days", d)
	}
}

func TestClientOfferChoosesBetweenECDSAAndRSA(t *testing.T) {
	h := &config.Host{Name: "two.test", TLS: &config.TLS{Cert: id("rsa"), Also: []config.CertID{id("ec")}}}
	s := store(t, secret(t, "rsa", rsaKey(), "two.test"), secret(t, "ec", ecKey(), "two.test"), h)
	if o := shake(t, s, &tls.Config{ServerName: "two.test"}); o.shown(t) != "ec" {
		t.Errorf("client with both: got %q, want ec", o.shown(t))
	}
	only := &tls.Config{ServerName: "two.test", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	if o := shake(t, s, only); o.shown(t) != "rsa" {
		t.Errorf("client with RSA only: got %q, want rsa", o.shown(t))
	}
}

func TestExactNameBeatsKeyType(t *testing.T) {
	s := store(t, secret(t, "exact", rsaKey(), "a.w.test"), secret(t, "wild", ecKey(), "*.w.test"), host("a.w.test", "exact"), host("*.w.test", "wild"))
	if o := shake(t, s, &tls.Config{ServerName: "a.w.test"}); o.shown(t) != "exact" {
		t.Errorf("got %q, want exact", o.shown(t))
	}
}

func TestCertificateIsReplacedWhileServing(t *testing.T) {
	s := store(t, secret(t, "one", ecKey(), "a.test"), host("a.test", "one"))
	next := secret(t, "two", ecKey(), "a.test")
	next.ID = id("one")
	s.Apply(delta(next))
	if o := shake(t, s, &tls.Config{ServerName: "a.test"}); o.shown(t) != "two" {
		t.Errorf("after replacement: got %q, want two", o.shown(t))
	}
	failed := s.Apply(delta(&config.Cert{ID: id("one"), Chain: []byte("not a certificate"), Key: []byte("not a key")}))
	if err := failed[id("one")]; err == nil || err.Error() != "tls.crt: no PEM block" {
		t.Errorf("broken Secret: got error %v", err)
	}
	if o := shake(t, s, &tls.Config{ServerName: "a.test"}); o.shown(t) != fake {
		t.Errorf("broken Secret: got %q, want the default", o.shown(t))
	}
	s.Apply(delta(next))
	s.Apply(&config.Delta{Hosts: map[string]*config.Host{"a.test": nil}})
	if o := shake(t, s, &tls.Config{ServerName: "a.test"}); o.shown(t) != fake {
		t.Errorf("host gone: got %q, want the default", o.shown(t))
	}
	if len(s.users)+len(s.hosts)+len(s.aliases) != 0 {
		t.Errorf("left behind: %d users, %d hosts, %d aliases", len(s.users), len(s.hosts), len(s.aliases))
	}
}

func TestExpiredCertificateIsServed(t *testing.T) {
	i := issue(t, nil, ecKey(), func(c *x509.Certificate) {
		c.Subject.CommonName = "old"
		c.DNSNames = []string{"old.test"}
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	s := store(t, &config.Cert{ID: id("old"), Chain: i.pem(), Key: i.keyPEM()}, host("old.test", "old"))
	if o := shake(t, s, &tls.Config{ServerName: "old.test"}); o.shown(t) != "old" {
		t.Errorf("got %q, want old", o.shown(t))
	}
}

func TestDefaultCertificateOfTheOperator(t *testing.T) {
	s := store(t, secret(t, "mine", ecKey(), "any"), &config.Global{DefaultCert: id("mine")})
	if o := shake(t, s, &tls.Config{}); o.shown(t) != "mine" {
		t.Errorf("got %q, want mine", o.shown(t))
	}
	s.Apply(&config.Delta{Certs: map[config.CertID]*config.Cert{id("mine"): nil}})
	if o := shake(t, s, &tls.Config{}); o.shown(t) != fake {
		t.Errorf("Secret gone: got %q, want the generated one", o.shown(t))
	}
}

func TestUnknownNamesAreRejectedWhenAskedTo(t *testing.T) {
	s := store(t, &config.Global{RejectHandshake: true}, &config.Host{Name: "known.test"}, &config.Host{Name: "*.w.test"},
		&config.Host{Name: "_"}, &config.Host{Name: "no.test", TLS: &config.TLS{Reject: true}})
	for sni, want := range map[string]bool{"known.test": true, "a.w.test": true, "unknown.test": false, "": false, "no.test": false} {
		o := shake(t, s, &tls.Config{ServerName: sni})
		if ok := o.err == nil; ok != want {
			t.Errorf("SNI %q: accepted %v, want %v (%v)", sni, ok, want, o.err)
		}
		if o.err != nil && !strings.Contains(o.err.Error(), "unrecognized name") {
			t.Errorf("SNI %q: got %v, want alert unrecognized_name", sni, o.err)
		}
	}
}

func TestVersionsAndProtocolsFollowTheSettings(t *testing.T) {
	s := store(t)
	if o := shake(t, s, &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); o.err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	o := shake(t, s, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if o.err != nil || o.client.NegotiatedProtocol != "h2" {
		t.Errorf("got %q, %v, want h2", o.client.NegotiatedProtocol, o.err)
	}
	s.Apply(delta(&config.Global{TLSMaxVersion: tls.VersionTLS12}))
	o = shake(t, s, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if o.err != nil || o.client.NegotiatedProtocol != "http/1.1" || o.client.Version != tls.VersionTLS12 {
		t.Errorf("got %q version %x, %v", o.client.NegotiatedProtocol, o.client.Version, o.err)
	}
}

func TestSecretsThatCannotBeUsedSayWhy(t *testing.T) {
	good, other := secret(t, "good", ecKey(), "a.test"), secret(t, "other", ecKey(), "a.test")
	for _, c := range []struct {
		name       string
		chain, key []byte
		want       string
	}{
		{"no certificate", nil, good.Key, "tls.crt: missing or empty"},
		{"no key", good.Chain, nil, "tls.key: missing or empty"},
		{"text", []byte("not a certificate"), good.Key, "tls.crt: no PEM block"},
		{"key for certificate", good.Key, good.Key, `tls.crt: PEM block "PRIVATE KEY", want "CERTIFICATE"`},
		{"certificate for key", good.Chain, good.Chain, `tls.key: PEM block "CERTIFICATE", want "PRIVATE KEY"`},
		{"mismatch", good.Chain, other.Key, "tls.crt and tls.key: private key does not match public key"},
		{"too large", make([]byte, maxMaterial+1), good.Key, "tls.crt: 1048577 bytes, at most 1048576 are read"},
		{"garbage inside", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), good.Key, "tls.crt and tls.key: x509: malformed certificate"},
	} {
		_, err := Parse(&config.Cert{Chain: c.chain, Key: c.key})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		ca, crl []byte
		want    string
	}{
		{nil, nil, "ca.crt: missing or empty"},
		{[]byte("x"), nil, "ca.crt: no PEM block"},
		{good.Chain, []byte("x"), "ca.crl: no PEM block"},
	} {
		if err := ParseCA(&config.Cert{CA: c.ca, CRL: c.crl}); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestParseTellsNamesAndCoverage(t *testing.T) {
	i, err := Parse(secret(t, "cn", ecKey(), "a.test", "*.b.test"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(i.Names, " ") != "a.test *.b.test" || i.KeyType != "ECDSA" {
		t.Errorf("got %v %s", i.Names, i.KeyType)
	}
	for name, want := range map[string]bool{"a.test": true, "A.test.": true, "x.b.test": true, "*.b.test": true, "b.test": false, "x.y.b.test": false, "cn": false} {
		if got := i.Covers(name); got != want {
			t.Errorf("Covers(%q) = %v", name, got)
		}
	}
	old, err := Parse(secret(t, "*.old.test", ecKey()))
	if err != nil {
		t.Fatal(err)
	}
	if !old.Covers("x.old.test") || old.Covers("old.test") || old.Covers("x.y.old.test") {
		t.Error("the common name does not stand in for missing alternative names")
	}
}
