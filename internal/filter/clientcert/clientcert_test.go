package clientcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func build(t *testing.T, c Config) filter.OnRequest {
	t.Helper()
	f, err := c.Build(&filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(filter.OnRequest)
}

func cert(t *testing.T, subject pkix.Name) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var alice = pkix.Name{CommonName: "alice", Organization: []string{"difftest"}}

// request is one on a connection; policy "-" means plain HTTP.
func request(policy, sni, verify string, c *x509.Certificate) *exchange.Exchange {
	x := exchange.Acquire()
	x.Conn = &exchange.Conn{}
	if policy != "-" {
		x.Conn.TLS = &tls.ConnectionState{}
		x.Conn.TLSPolicy, x.Conn.ServerName, x.Conn.ClientVerify = policy, sni, verify
		if c != nil {
			x.Conn.TLS.PeerCertificates = []*x509.Certificate{c}
		}
	}
	return x
}

func TestVerificationOutcomes(t *testing.T) {
	a := cert(t, alice)
	for _, c := range []struct {
		verify, outcome string
		cert            *x509.Certificate
		status          int
		field           string // ssl-client-verify
	}{
		{"on", "NONE", nil, 400, ""},
		{"on", "", nil, 400, ""},
		{"on", "SUCCESS", a, 0, "SUCCESS"},
		{"on", "FAILED:certificate has expired", a, 400, ""},
		{"optional", "NONE", nil, 0, "NONE"},
		{"optional", "SUCCESS", a, 0, "SUCCESS"},
		{"optional", "FAILED:x", a, 400, ""},
		{"optional_no_ca", "NONE", nil, 0, "NONE"},
		{"optional_no_ca", "FAILED:unable to verify the first certificate", a, 0, "FAILED:unable to verify the first certificate"},
		{"off", "", nil, 0, "NONE"},
	} {
		x := request("m.test", "m.test", c.outcome, c.cert)
		v := build(t, Config{Policy: "m.test", Verify: c.verify}).Request(x)
		if x.Resp.Status != c.status || (v == exchange.Continue) != (c.status == 0) {
			t.Errorf("%s %q: status %d, verdict %v, want %d", c.verify, c.outcome, x.Resp.Status, v, c.status)
		}
		if got := x.Req.Header.Get("ssl-client-verify"); got != c.field {
			t.Errorf("%s %q: ssl-client-verify %q, want %q", c.verify, c.outcome, got, c.field)
		}
		if c.cert != nil && c.status == 0 {
			if got := x.Req.Header.Get("ssl-client-subject-dn"); got != "CN=alice,O=difftest" {
				t.Errorf("subject %q", got)
			}
			if got := x.Req.Header.Get("ssl-client-issuer-dn"); got != "CN=alice,O=difftest" {
				t.Errorf("issuer %q", got)
			}
		}
		x.Release()
	}
}

func TestMissingCertificatePageIsNginxs(t *testing.T) {
	x := request("m.test", "m.test", "NONE", nil)
	build(t, Config{Policy: "m.test", Verify: "on"}).Request(x)
	body, err := io.ReadAll(x.Resp.Body)
	if err != nil || len(body) != 230 || x.Resp.Length != 230 || !x.Resp.Close {
		t.Errorf("%d bytes, Length %d, Close %v, %v:\n%s", len(body), x.Resp.Length, x.Resp.Close, err, body)
	}
}

func TestErrorPageRedirects(t *testing.T) {
	x := request("m.test", "m.test", "NONE", nil)
	build(t, Config{Policy: "m.test", Verify: "on", ErrorPage: "https://e.test/why"}).Request(x)
	if x.Resp.Status != 302 || x.Resp.Header.Get("Location") != "https://e.test/why" {
		t.Errorf("status %d, Location %q", x.Resp.Status, x.Resp.Header.Get("Location"))
	}
}

func TestPathOfAnErrorPageAnswersInPlaceOfTheRequested(t *testing.T) {
	on := Config{Policy: "m.test", Verify: "on", ErrorPage: "/why"}
	for _, outcome := range []string{"NONE", "FAILED:certificate has expired"} {
		x := request("m.test", "m.test", outcome, nil)
		x.Req.Method, x.Req.Path, x.Req.Query, x.Req.HasQuery = "POST", "/secret", "a=b", true
		x.Req.Body, x.Req.Length = io.NopCloser(strings.NewReader("abc")), 3
		if v := build(t, on).Request(x); v != exchange.Continue {
			t.Fatalf("%s: verdict %v", outcome, v)
		}
		r := &x.Req
		if r.Method != "GET" || r.Path != "/why" || x.Rewritten != "/why" || r.Query != "" || r.HasQuery || r.Body != nil || r.Length != 0 {
			t.Errorf("%s: %s %s?%s, rewritten %s, length %d", outcome, r.Method, r.Path, r.Query, x.Rewritten, r.Length)
		}
		if got := r.Header.Get("ssl-client-verify"); got != outcome {
			t.Errorf("the endpoint is told %q, want %q", got, outcome)
		}
	}
	on.MatchCN = "CN=alice"
	x := request("m.test", "m.test", "NONE", nil)
	if build(t, on).Request(x); x.Resp.Status != 403 {
		t.Errorf("without the name asked for: status %d", x.Resp.Status)
	}
}

func TestS9_2_HandshakeForAnotherHostIsMisdirected(t *testing.T) {
	on := Config{Policy: "mtls.test", Verify: "on"}
	for _, c := range []struct {
		name        string
		config      Config
		policy, sni string
		want        int
	}{
		{"SNI without policy, Host with", on, "", "open.test", 421},
		{"SNI of another policy", on, "other.test", "other.test", 421},
		{"SNI with policy, Host without", Config{}, "mtls.test", "mtls.test", 0},
		{"no SNI and no certificate", on, "", "", 400},
		{"both without", Config{}, "", "open.test", 0},
		{"no SNI on an open host", Config{}, "", "", 0},
	} {
		x := request(c.policy, c.sni, "NONE", nil)
		build(t, c.config).Request(x)
		if x.Resp.Status != c.want {
			t.Errorf("%s: %d, want %d", c.name, x.Resp.Status, c.want)
		}
		x.Release()
	}
}

func TestPlainHTTPIsNotAskedForACertificate(t *testing.T) {
	x := request("-", "", "", nil)
	if v := build(t, Config{Policy: "m.test", Verify: "on"}).Request(x); v != exchange.Continue {
		t.Errorf("status %d", x.Resp.Status)
	}
	if x.Req.Header.Len() != 0 {
		t.Error("fields on a plain connection")
	}
}

func TestMatchCNRefusesOthersAlsoOnPlainHTTP(t *testing.T) {
	f := build(t, Config{Policy: "m.test", Verify: "optional", MatchCN: "CN=alice"})
	a, b := cert(t, alice), cert(t, pkix.Name{CommonName: "bob"})
	for _, c := range []struct {
		x    *exchange.Exchange
		want int
	}{
		{request("m.test", "m.test", "SUCCESS", a), 0},
		{request("m.test", "m.test", "SUCCESS", b), 403},
		{request("m.test", "m.test", "NONE", nil), 403},
		{request("-", "", "", nil), 403},
	} {
		f.Request(c.x)
		if c.x.Resp.Status != c.want {
			t.Errorf("status %d, want %d", c.x.Resp.Status, c.want)
		}
		if c.want == 403 {
			if body, _ := io.ReadAll(c.x.Resp.Body); string(body) != "client certificate unauthorized" {
				t.Errorf("body %q", body)
			}
		}
	}
}

func TestS9_4_NamesAreMatchedAsWritten(t *testing.T) {
	for _, c := range []struct {
		pattern string
		name    pkix.Name
		want    bool
	}{
		{"CN=alice", alice, true},
		{"CN=alice$", alice, false}, // the whole subject, as documented
		{"CN=admin", pkix.Name{CommonName: "admin\x00.evil"}, false},
		{"CN=admin", pkix.Name{CommonName: "аdmin"}, false}, // a Cyrillic a
		{"CN=admin", pkix.Name{CommonName: "x", Organization: []string{"y,CN=admin"}}, true},
		{"CN=admin,", pkix.Name{CommonName: "x", Organization: []string{"y,CN=admin"}}, false},
	} {
		x := request("m.test", "m.test", "SUCCESS", cert(t, c.name))
		v := build(t, Config{Policy: "m.test", Verify: "on", MatchCN: c.pattern}).Request(x)
		if (v == exchange.Continue) != c.want {
			t.Errorf("%s on %q: passed %v, want %v", c.pattern, DN(x.Conn.TLS.PeerCertificates[0].RawSubject), v == exchange.Continue, c.want)
		}
	}
}

func TestBrokenPolicyRefusesEverything(t *testing.T) {
	f := build(t, Config{Policy: "m.test", Broken: true})
	for _, x := range []*exchange.Exchange{request("-", "", "", nil), request("m.test", "m.test", "NONE", nil), request("", "m.test", "", nil)} {
		f.Request(x)
		if x.Resp.Status != 403 {
			t.Errorf("status %d, want 403", x.Resp.Status)
		}
	}
}

func TestS6_6_ClientsOwnFieldsNeverPass(t *testing.T) {
	for _, c := range []Config{{}, {Policy: "m.test", Verify: "optional"}} {
		for _, policy := range []string{"-", c.Policy} {
			x := request(policy, c.Policy, "NONE", nil)
			for _, n := range []string{"ssl-client-verify", "Ssl-Client-Subject-Dn", "SSL_CLIENT_ISSUER_DN", "ssl-client_cert", "SSL-Client-S-DN"} {
				x.Req.Header.Add(n, "forged")
			}
			x.Req.Header.Add("ssl-clien", "kept")
			build(t, c).Request(x)
			for n, v := range x.Req.Header.All() {
				if v == "forged" {
					t.Errorf("%+v on %q: %s passed", c, policy, n)
				}
			}
			if !x.Req.Header.Has("ssl-clien") {
				t.Error("another field was taken away")
			}
		}
	}
}

func TestCertificateIsPassedEscaped(t *testing.T) {
	x := request("m.test", "m.test", "SUCCESS", cert(t, alice))
	build(t, Config{Policy: "m.test", Verify: "on", PassCert: true}).Request(x)
	got := x.Req.Header.Get("ssl-client-cert")
	if !strings.HasPrefix(got, "-----BEGIN%20CERTIFICATE-----%0A") || !strings.HasSuffix(got, "-----END%20CERTIFICATE-----%0A") {
		t.Errorf("%.60s…", got)
	}
}

func TestSubjectIsWrittenAsRFC2253(t *testing.T) {
	seq := pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "DE"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: ` A, "B"; <C>+\ `}},
		{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "a@b.test"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "é"}},
		{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "#1"}},
	}
	der, err := asn1.Marshal(seq)
	if err != nil {
		t.Fatal(err)
	}
	const want = `CN=\#1,1.2.3=#130178,emailAddress=a@b.test+CN=\C3\A9,O=\ A\, \"B\"\; \<C\>\+\\\ ,C=DE`
	if got := DN(der); got != want {
		// A SET's members may be sorted by encoding.
		alt := strings.Replace(want, `emailAddress=a@b.test+CN=\C3\A9`, `CN=\C3\A9+emailAddress=a@b.test`, 1)
		if got != alt {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if DN([]byte("garbage")) != "" {
		t.Error("garbage has a name")
	}
}

func TestBadPatternTurnsTheHostOff(t *testing.T) {
	for _, c := range []Config{
		{Policy: "m.test", Verify: "on", MatchCN: "CN=("}, {Policy: "m.test"}, {Policy: "m.test", Verify: "maybe"},
	} {
		if _, err := c.Build(&filter.Env{}); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if filter.Position(Config{}.FilterName()) < 0 {
		t.Error("not in filter.Order")
	}
}

func TestOpenHostDoesNotAllocate(t *testing.T) {
	f := build(t, Config{})
	x := request("-", "", "", nil)
	x.Req.Header.Add("Accept", "*/*")
	if n := testing.AllocsPerRun(100, func() { f.Request(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
