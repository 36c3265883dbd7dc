package translate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/object"
)

var (
	certMu    sync.Mutex
	certKnown = map[string][2][]byte{}
)

// testCertificate makes a self-signed ECDSA certificate, the same for the same names. A name "cn:x" is
// the common name, "rsa:x" asks for an RSA key, "old:x" for one that has expired.
func testCertificate(names ...string) (chain, key []byte) {
	certMu.Lock()
	defer certMu.Unlock()
	id := strings.Join(names, ",")
	if have, ok := certKnown[id]; ok {
		return have[0], have[1]
	}
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	t := &x509.Certificate{SerialNumber: big.NewInt(int64(len(certKnown) + 1)), NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
	useRSA := false
	for _, n := range names {
		kind, rest, ok := strings.Cut(n, ":")
		switch {
		case !ok:
			t.DNSNames = append(t.DNSNames, n)
		case kind == "cn":
			t.Subject = pkix.Name{CommonName: rest}
		case kind == "rsa":
			useRSA = true
			t.DNSNames = append(t.DNSNames, rest)
		case kind == "old":
			end = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			t.DNSNames = append(t.DNSNames, rest)
		}
	}
	t.NotAfter = end
	var der, keyDER []byte
	var err error
	if useRSA {
		k, _ := rsa.GenerateKey(rand.Reader, 2048)
		der, err = x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
		keyDER, _ = x509.MarshalPKCS8PrivateKey(k)
	} else {
		k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		der, err = x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
		keyDER, _ = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		panic(err)
	}
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	certKnown[id] = [2][]byte{chain, key}
	return chain, key
}

func secretYAML(name string, names ...string) string {
	chain, key := testCertificate(names...)
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
		name, base64.StdEncoding.EncodeToString(chain), base64.StdEncoding.EncodeToString(key))
}

func ingressYAML(name, created, tls string, hosts ...string) string {
	s := fmt.Sprintf("\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s, creationTimestamp: %q}\nspec:\n  ingressClassName: nginx\n", name, created)
	if tls != "" {
		s += "  tls: " + tls + "\n"
	}
	s += "  rules:\n"
	for _, h := range hosts {
		s += fmt.Sprintf("  - {host: %q, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}\n", h)
	}
	return s
}

const serviceA = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
`

const day1, day2 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"

func TestWhichCertificateAHostGets(t *testing.T) {
	for _, c := range []struct {
		name      string
		manifests string
		host      string
		cert      string // "": none, "default"
		finding   string
	}{
		{"no spec.tls", ingressYAML("i", day1, "", "a.test"), "a.test", "", ""},
		{"entry that lists the host", secretYAML("s", "a.test") + ingressYAML("i", day1, "[{hosts: [A.test], secretName: s}]", "a.test"), "a.test", "s", ""},
		{"entry without hosts covers by name", secretYAML("s", "a.test") + ingressYAML("i", day1, "[{secretName: s}]", "a.test"), "a.test", "s", ""},
		{"wildcard listed under another name covers", secretYAML("s", "*.b.test") + ingressYAML("i", day1, `[{hosts: ["*.b.test"], secretName: s}]`, "a.b.test"), "a.b.test", "s", ""},
		{"wildcard rule host", secretYAML("s", "*.b.test") + ingressYAML("i", day1, `[{hosts: ["*.b.test"], secretName: s}]`, "*.b.test"), "*.b.test", "s", ""},
		{"any spec.tls gives the default certificate", secretYAML("s", "x.test") + ingressYAML("i", day1, "[{hosts: [x.test], secretName: s}]", "a.test"), "a.test", "default", ""},
		{"no secretName", ingressYAML("i", day1, "[{hosts: [a.test]}]", "a.test"), "a.test", "default", ""},
		{"missing Secret", ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"), "a.test", "default", "there is no Secret s"},
		{"garbage", "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {tls.crt: no, tls.key: no}\n" + ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"),
			"a.test", "default", "tls.crt: no PEM block"},
		{"another name", secretYAML("s", "x.test") + ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"), "a.test", "default", "is for x.test, not for a.test"},
		{"common name only", secretYAML("s", "cn:a.test") + ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"), "a.test", "s", ""},
		{"expired is served", secretYAML("s", "old:a.test") + ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"), "a.test", "s", "expired on 2026-03-01"},
		{"oldest with spec.tls decides", secretYAML("s", "a.test") + ingressYAML("i", day1, "[{hosts: [a.test]}]", "a.test") + ingressYAML("j", day2, "[{hosts: [a.test], secretName: s}]", "a.test"),
			"a.test", "default", "is settled by Ingress default/i"},
		{"oldest without spec.tls does not", secretYAML("s", "a.test") + ingressYAML("i", day1, "", "a.test") + ingressYAML("j", day2, "[{hosts: [a.test], secretName: s}]", "a.test"), "a.test", "s", ""},
		{"wildcard of another Ingress is inherited", secretYAML("s", "*.b.test") + ingressYAML("i", day1, `[{hosts: ["*.b.test"], secretName: s}]`, "*.b.test") + ingressYAML("j", day2, "", "x.b.test"), "x.b.test", "s", ""},
		{"one label only", secretYAML("s", "*.b.test") + ingressYAML("i", day1, `[{hosts: ["*.b.test"], secretName: s}]`, "*.b.test") + ingressYAML("j", day2, "", "x.y.b.test"), "x.y.b.test", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, testOptions(), serviceA, c.manifests)
			h := w.hosts[c.host]
			if h == nil {
				t.Fatalf("no host:\n%s", w.findings())
			}
			got := ""
			if h.HasCert {
				got = "default"
				if h.TLS == nil {
					t.Fatal("HasCert without TLS")
				}
				if h.TLS.Cert.Name != "" {
					got = h.TLS.Cert.Name
					if w.certs[h.TLS.Cert] == nil {
						t.Errorf("the certificate's content is not in the table: %v", w.certs)
					}
				}
			} else if h.TLS != nil {
				t.Errorf("TLS without a certificate: %+v", h.TLS)
			}
			if got != c.cert {
				t.Errorf("certificate %q, want %q", got, c.cert)
			}
			if f := w.findings(); !strings.Contains(f, c.finding) || (c.finding == "") != (f == "" || !strings.Contains(f, "spec.tls")) {
				t.Errorf("findings are\n%s\nwant %q", f, c.finding)
			}
		})
	}
}

func TestCertificateAppearsAndGoesWithItsSecret(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"))
	if len(w.certs) != 0 {
		t.Fatalf("certs %v", w.certs)
	}
	w.apply(secretYAML("s", "a.test"))
	id := config.CertID{Namespace: "default", Name: "s"}
	if w.hosts["a.test"].TLS.Cert != id || w.certs[id] == nil {
		t.Fatal("the Secret that appeared is not used")
	}
	r := w.apply(secretYAML("s", "a.test", "b.test"))
	if r.Delta.Certs[id] == nil || len(r.Delta.Hosts) != 0 {
		t.Fatalf("a renewed certificate gave %+v", r.Delta)
	}
	w.delete(object.KindSecret, "default", "s")
	if w.hosts["a.test"].TLS.Cert != (config.CertID{}) || !w.hosts["a.test"].HasCert || len(w.certs) != 0 {
		t.Fatalf("after the Secret went: %+v, certs %v", w.hosts["a.test"].TLS, w.certs)
	}
}

func TestSecondKeyTypeServesBeside(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, secretYAML("ec", "a.test"), secretYAML("ec2", "a.test", "z.test"), secretYAML("rs", "rsa:a.test"),
		ingressYAML("i", day1, "[{hosts: [a.test], secretName: ec}, {hosts: [a.test], secretName: ec2}, {hosts: [a.test], secretName: rs}]", "a.test"))
	tls := w.hosts["a.test"].TLS
	if tls.Cert.Name != "ec" || len(tls.Also) != 1 || tls.Also[0].Name != "rs" {
		t.Fatalf("certificates %v also %v", tls.Cert, tls.Also)
	}
}

func TestAliasSharesACertificateThatCoversIt(t *testing.T) {
	alias := strings.Replace(ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"), "metadata: {",
		`metadata: {annotations: {nginx.ingress.kubernetes.io/server-alias: "b.test,c.test"}, `, 1)
	w := newWorld(t, testOptions(), serviceA, secretYAML("s", "a.test", "b.test"), alias)
	if h := w.hosts["b.test"]; h == nil || !h.HasCert || h.TLS == nil || h.TLS.Cert.Name != "s" || h.AliasOf != "a.test" {
		t.Errorf("covered alias is %+v", h)
	}
	if h := w.hosts["c.test"]; h == nil || h.HasCert || h.TLS != nil {
		t.Errorf("alias that is not covered is %+v", h)
	}
}

func TestWildcardCertificateReachesHostsBelowLater(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, ingressYAML("j", day1, "", "x.b.test"))
	if w.hosts["x.b.test"].HasCert {
		t.Fatal("a certificate out of nothing")
	}
	w.apply(secretYAML("s", "*.b.test") + ingressYAML("i", day2, `[{hosts: ["*.b.test"], secretName: s}]`, "*.b.test"))
	if h := w.hosts["x.b.test"]; !h.HasCert || h.TLS.Cert.Name != "s" {
		t.Fatalf("the wildcard's certificate does not reach it: %+v", h.TLS)
	}
	w.delete(object.KindIngress, "default", "i")
	if h := w.hosts["x.b.test"]; h.HasCert || h.TLS != nil {
		t.Fatalf("the wildcard went, its certificate stays: %+v", h.TLS)
	}
}
