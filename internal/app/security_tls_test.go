package app

import (
	"crypto/tls"
	"strings"
	"testing"
)

// tlsFor asks for host by SNI.
func tlsFor(host string, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{ServerName: host, Certificates: certs}
}

// mutual is a program with an open host, one that wants certificates and a second one that wants others.
func mutual(t *testing.T) (p *program, at *heard, good tls.Certificate) {
	t.Helper()
	at = new(heard)
	manifests := []string{backend("web", at.listener(t, 200)), certificate(t, "tls", "open.test", "one.test", "two.test")}
	for _, ca := range []string{"ca-one", "ca-two"} {
		pem, err := pki.Authority(ca)
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, secret(ca, "ca.crt", string(pem.Cert)))
	}
	manifests = append(manifests, served(rule("open", "open.test", "/", "web"), "tls", "open.test"),
		served(rule("one", "one.test", "/", "web", "auth-tls-secret: default/ca-one", "auth-tls-verify-client: on"), "tls", "one.test"),
		served(rule("two", "two.test", "/", "web", "auth-tls-secret: default/ca-two", "auth-tls-verify-client: on"), "tls", "two.test"))
	pem, err := pki.Client("ca-one", "ann")
	if err != nil {
		t.Fatal(err)
	}
	if good, err = pem.Pair(); err != nil {
		t.Fatal(err)
	}
	return run(t, manifests...), at, good
}

func TestS9_2_HandshakeForOneHostOpensNoOther(t *testing.T) {
	t.Parallel()
	p, at, ann := mutual(t)
	for _, c := range []struct {
		sni, host string
		cert      bool
		want      int
	}{
		{"one.test", "one.test", true, 200},
		{"one.test", "one.test", false, 400},
		{"open.test", "open.test", false, 200},
		{"open.test", "one.test", false, 421},
		{"open.test", "one.test", true, 421},
		{"open.test", "ONE.test.", true, 421},
		{"open.test", "one.test:443", true, 421},
		{"one.test", "two.test", true, 421},
		{"unknown.test", "one.test", true, 421},
		{"", "one.test", true, 400},
		{"one.test", "open.test", true, 200}, // the open host asks for nothing
	} {
		cfg := tlsFor(c.sni)
		if c.cert {
			cfg.Certificates = append(cfg.Certificates, ann)
		}
		at.take()
		one := p.secure(t, cfg)
		// On a connection that has served its own host before, too.
		if c.sni != "" && c.sni != "unknown.test" && c.sni == "open.test" {
			if r := one.ask(get(c.sni, "/")); r.StatusCode != 200 {
				t.Fatalf("%s: %d", c.sni, r.StatusCode)
			}
			at.take()
		}
		r := one.ask(get(c.host, "/"))
		if n := len(at.take()); r.StatusCode != c.want || (n > 0) != (c.want == 200) {
			t.Errorf("HTTP/1.1, SNI %q, Host %q, certificate %v: %d, %d reached the endpoint; want %d", c.sni, c.host, c.cert, r.StatusCode, n, c.want)
		}
		one.Close()
	}
	// HTTP/2 clients put hosts of one certificate on one connection.
	c := p.frames(t, "open.test")
	for i, host := range []string{"open.test", "one.test", "two.test", "open.test"} {
		id := uint32(2*i + 1)
		c.request(id, true, ":method", "GET", ":scheme", "https", ":authority", host, ":path", "/")
		want := 421
		if strings.HasPrefix(host, "open") {
			want = 200
		}
		if status, _ := c.answer(id); status != want {
			t.Errorf("HTTP/2, SNI open.test, host %s: %d, want %d", host, status, want)
		}
	}
	for _, h := range at.take() {
		if h.Get("Host") != "open.test" {
			t.Errorf("the endpoint got a request for %s", h.Get("Host"))
		}
	}
}

func TestS9_1_ResumedSessionsAreBoundToHostAndPolicy(t *testing.T) {
	t.Parallel()
	p, _, ann := mutual(t)
	cache := tls.NewLRUClientSessionCache(10)
	dial := func(host string, certs ...tls.Certificate) (resumed bool, status int) {
		t.Helper()
		cfg := tlsFor(host, certs...)
		cfg.ClientSessionCache = cache
		c := p.secure(t, cfg)
		defer c.Close()
		r := c.ask(get(host, "/"))
		return c.Conn.(*tls.Conn).ConnectionState().DidResume, r.StatusCode
	}
	if resumed, status := dial("one.test", ann); resumed || status != 200 {
		t.Fatalf("first: resumed %v, %d", resumed, status)
	}
	if resumed, status := dial("one.test", ann); !resumed || status != 200 {
		t.Fatalf("again: resumed %v, %d; sessions are not resumed at all", resumed, status)
	}
	// The CA changes: what was proved to the old one counts no more.
	other, err := pki.Authority("ca-three")
	if err != nil {
		t.Fatal(err)
	}
	table := p.app.Table().Generation
	p.write("zz.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: later, namespace: default}")
	p.replace(secretOf("ca-one"), secret("ca-one", "ca.crt", string(other.Cert)))
	p.eventually("another table", func() bool { return p.app.Table().Generation > table })
	p.eventually("the old session to be refused", func() bool {
		resumed, status := dial("one.test", ann)
		return !resumed && status == 400
	})
	// A policy appears on a host that had none.
	if _, status := dial("open.test"); status != 200 {
		t.Fatalf("open.test: %d", status)
	}
	if resumed, _ := dial("open.test"); !resumed {
		t.Fatal("open.test: sessions are not resumed")
	}
	p.replace("name: open\n", served(rule("open", "open.test", "/", "web", "auth-tls-secret: default/ca-two", "auth-tls-verify-client: on"), "tls", "open.test"))
	p.eventually("the open session to be refused", func() bool {
		resumed, status := dial("open.test")
		return !resumed && status == 400
	})
}
