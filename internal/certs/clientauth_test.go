package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

// guarded is a host with a client-certificate policy.
func guarded(name, caName, verify string, depth int) *config.Host {
	return &config.Host{Name: name, TLS: &config.TLS{ClientAuth: &config.ClientAuth{Verify: verify, Depth: depth, CA: id(caName)}}}
}

func caSecret(name string, crl []byte, of ...*issuer) *config.Cert {
	var all [][]byte
	for _, i := range of {
		all = append(all, i.pem())
	}
	return &config.Cert{ID: id(name), CA: bytes.Join(all, nil), CRL: crl}
}

func client(t *testing.T, by *issuer, change func(*x509.Certificate)) *issuer {
	return issue(t, by, ecKey(), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "someone"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if change != nil {
			change(c)
		}
	})
}

func crl(t *testing.T, by *issuer, next time.Duration, revoked ...*issuer) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(next)}
	for _, r := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestClientVerificationIsToldAsNginxWritesIt(t *testing.T) {
	root, stranger := ca(t, "root", nil), ca(t, "stranger", nil)
	mid := ca(t, "mid", root)
	low := ca(t, "low", mid)
	good, revoked := client(t, root, nil), client(t, root, nil)
	all := func(extra ...any) *Store {
		return store(t, append([]any{
			caSecret("root", nil, root), caSecret("mid", nil, mid),
			caSecret("crl", crl(t, root, time.Hour, revoked), root), caSecret("oldcrl", crl(t, root, -time.Hour), root),
			guarded("on.test", "root", "on", 1), guarded("deep.test", "root", "on", 2), guarded("off.test", "root", "off", 1),
			guarded("mid.test", "mid", "on", 1), guarded("crl.test", "crl", "on", 1), guarded("oldcrl.test", "oldcrl", "on", 1),
			guarded("missing.test", "missing", "on", 1), &config.Host{Name: "open.test"},
			&config.Host{Name: "alias.test", AliasOf: "on.test"},
		}, extra...)...)
	}
	s := all()
	expired := client(t, root, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	early := client(t, root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour / 2) })
	server := client(t, root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	self := client(t, nil, nil)
	viaMid, viaLow := client(t, mid, nil), client(t, low, nil)
	for _, c := range []struct {
		name, sni string
		cert      *tls.Certificate
		policy    string
		want      string
	}{
		{"good", "on.test", ptr(good.tls()), "on.test", "SUCCESS"},
		{"alias", "alias.test", ptr(good.tls()), "on.test", "SUCCESS"},
		{"none", "on.test", nil, "on.test", "NONE"},
		{"off", "off.test", ptr(good.tls()), "off.test", "NONE"},
		{"open", "open.test", ptr(good.tls()), "", ""},
		{"stranger", "on.test", ptr(client(t, stranger, nil).tls()), "on.test", "FAILED:unable to verify the first certificate"},
		{"self-signed", "on.test", ptr(self.tls()), "on.test", "FAILED:self-signed certificate"},
		{"expired", "on.test", ptr(expired.tls()), "on.test", "FAILED:certificate has expired"},
		{"early", "on.test", ptr(early.tls()), "on.test", "FAILED:certificate is not yet valid"},
		{"purpose", "on.test", ptr(server.tls()), "on.test", "FAILED:unsuitable certificate purpose"},
		{"one intermediate", "on.test", ptr(viaMid.tls(mid)), "on.test", "SUCCESS"},
		{"two intermediates, depth 1", "on.test", ptr(viaLow.tls(low, mid)), "on.test", "FAILED:certificate chain too long"},
		{"two intermediates, depth 2", "deep.test", ptr(viaLow.tls(low, mid)), "deep.test", "SUCCESS"},
		{"anchor that is no root", "mid.test", ptr(viaMid.tls()), "mid.test", "FAILED:unable to get issuer certificate"},
		{"revoked", "crl.test", ptr(revoked.tls()), "crl.test", "FAILED:certificate revoked"},
		{"not revoked", "crl.test", ptr(good.tls()), "crl.test", "SUCCESS"},
		{"old list", "oldcrl.test", ptr(good.tls()), "oldcrl.test", "FAILED:CRL has expired"},
		{"CA missing", "missing.test", ptr(good.tls()), "missing.test", "FAILED:unable to get local issuer certificate"},
	} {
		cfg := &tls.Config{ServerName: c.sni}
		if c.cert != nil {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
		}
		o := shake(t, s, cfg)
		if o.err != nil {
			t.Errorf("%s: %v", c.name, o.err)
			continue
		}
		if o.result.ClientVerify != c.want || o.result.Policy != c.policy {
			t.Errorf("%s: got %q under policy %q, want %q under %q", c.name, o.result.ClientVerify, o.result.Policy, c.want, c.policy)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestClientIsToldWhichCAsCount(t *testing.T) {
	root := ca(t, "root", nil)
	s := store(t, caSecret("root", nil, root), guarded("on.test", "root", "on", 1))
	var hints int
	shake(t, s, &tls.Config{ServerName: "on.test", GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		hints = len(r.AcceptableCAs)
		return &tls.Certificate{}, nil
	}})
	if hints != 1 {
		t.Errorf("the certificate request names %d CAs, want 1", hints)
	}
}

func TestS9_1_SessionsStayWithinNamePolicyAndCertificates(t *testing.T) {
	root, other := ca(t, "root", nil), ca(t, "other", nil)
	who := client(t, root, nil).tls()
	one, two := secret(t, "one", ecKey(), "a.test"), secret(t, "two", ecKey(), "a.test")
	two.ID = id("one")
	open := func() *config.Host { return host("a.test", "one") }
	mtls := func(ca string) *config.Host {
		h := guarded("a.test", ca, "on", 1)
		h.TLS.Cert = id("one")
		return h
	}
	base := []any{one, caSecret("root", nil, root), caSecret("other", nil, other), open(), &config.Host{Name: "b.test"}, &config.Global{SessionTickets: true}}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, c := range []struct {
			name    string
			before  []any
			change  []any
			resumes bool
			verify  string
		}{
			{"nothing changed", nil, nil, true, ""},
			{"other host changed", nil, []any{&config.Host{Name: "b.test", TLS: &config.TLS{}}}, true, ""},
			{"certificate replaced", nil, []any{two}, false, ""},
			{"auth-tls added", nil, []any{mtls("root")}, false, "SUCCESS"},
			{"with client certificate", []any{mtls("root")}, nil, true, "SUCCESS"},
			{"CA replaced", []any{mtls("root")}, []any{caSecret("root", nil, other)}, false, "FAILED:unable to verify the first certificate"},
			{"CA of another name", []any{mtls("root")}, []any{mtls("other")}, false, "FAILED:unable to verify the first certificate"},
			{"revocation list added", []any{mtls("root")}, []any{caSecret("root", crl(t, root, time.Hour), root)}, false, "SUCCESS"},
			{"tickets switched off", nil, []any{&config.Global{}}, false, ""},
		} {
			s := store(t, base...)
			s.Apply(delta(c.before...))
			cfg := &tls.Config{ServerName: "a.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &who, nil }}
			if o := shake(t, s, cfg); o.err != nil {
				t.Fatalf("%s: %v", c.name, o.err)
			}
			s.Apply(delta(c.change...))
			o := shake(t, s, cfg)
			if o.err != nil {
				t.Fatalf("%s: %v", c.name, o.err)
			}
			if o.client.DidResume != c.resumes || o.result.ClientVerify != c.verify {
				t.Errorf("%x %s: resumed %v, verify %q; want %v, %q", version, c.name, o.client.DidResume, o.result.ClientVerify, c.resumes, c.verify)
			}
		}
	}
}

// oneSession hands every server name the same session, as a hostile client would.
type oneSession struct{ s *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.s, o.s != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState)    { o.s = s }

func TestS9_1_SessionOfAnOpenHostOpensNoOther(t *testing.T) {
	root := ca(t, "root", nil)
	s := store(t, caSecret("root", nil, root), guarded("mtls.test", "root", "on", 1), &config.Host{Name: "open.test"}, &config.Global{SessionTickets: true})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := &oneSession{}
		if o := shake(t, s, &tls.Config{ServerName: "open.test", MaxVersion: version, ClientSessionCache: cache}); o.err != nil {
			t.Fatal(o.err)
		}
		if cache.s == nil {
			t.Fatal("no session was given")
		}
		o := shake(t, s, &tls.Config{ServerName: "mtls.test", MaxVersion: version, ClientSessionCache: cache})
		if o.err != nil || o.client.DidResume || o.result.ClientVerify != "NONE" {
			t.Errorf("%x: resumed %v, verify %q, %v", version, o.client.DidResume, o.result.ClientVerify, o.err)
		}
		// Without a certificate the first time: the next handshake must ask again.
		if o := shake(t, s, &tls.Config{ServerName: "mtls.test", MaxVersion: version, ClientSessionCache: cache}); o.client.DidResume {
			t.Errorf("%x: a session without client certificate was resumed", version)
		}
	}
}

func TestTicketKeysRotateAndSessionsEnd(t *testing.T) {
	s := store(t, &config.Global{SessionTickets: true})
	now := time.Now()
	s.now = func() time.Time { return now }
	s.tickets.now = s.now
	cfg := &tls.Config{ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	shake(t, s, cfg)
	first := s.tickets.state.Load()
	now = now.Add(sessionTime / 2)
	if o := shake(t, s, cfg); !o.client.DidResume {
		t.Error("a young session was not resumed")
	}
	now = now.Add(sessionTime/2 + time.Second)
	if o := shake(t, s, cfg); o.client.DidResume {
		t.Error("a session was resumed after its time, by being resumed in between")
	}
	if s.tickets.state.Load() == first {
		t.Error("ticket keys did not rotate")
	}
}

func TestTicketKeyOfTheOperatorIsSharedBetweenReplicas(t *testing.T) {
	mine := secret(t, "mine", ecKey(), "a.test")
	g := &config.Global{SessionTickets: true, TicketKey: config.Secret("0123456789012345678901234567890123456789012345678"), DefaultCert: id("mine")}
	one, two := store(t, g, mine), store(t, g, mine)
	cfg := &tls.Config{ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	shake(t, one, cfg)
	if o := shake(t, two, cfg); !o.client.DidResume {
		t.Error("the other replica did not resume")
	}
}
