package annotation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/bodylimit"
	"github.com/lintel-ingress/lintel/internal/filter/clientcert"
	"github.com/lintel-ingress/lintel/internal/filter/connlimit"
	"github.com/lintel-ingress/lintel/internal/filter/mirror"
	"github.com/lintel-ingress/lintel/internal/filter/ratelimit"
)

func TestLimits(t *testing.T) {
	w := &cluster{global: map[string]string{}}
	m := w.route(t, []string{"limit-rps: 1", "limit-rpm: 2", "limit-connections: 3", "limit-burst-multiplier: 4", "limit-whitelist: 10.0.0.0/8", "limit-rate: 64", "limit-rate-after: 1"})
	r, _ := filterOf[ratelimit.Config](m)
	want := ratelimit.Config{Zone: "default/shop", Allow: nets("10.0.0.0/8"), Status: 503, Rules: []ratelimit.Rule{{Requests: 1, Per: time.Second, Burst: 4}, {Requests: 2, Per: time.Minute, Burst: 8}}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("rate\n%+v\nwant\n%+v", r, want)
	}
	if c, _ := filterOf[connlimit.Config](m); !reflect.DeepEqual(c, connlimit.Config{Zone: "default/shop", Allow: nets("10.0.0.0/8"), Max: 3, Status: 503}) {
		t.Errorf("connections %+v", c)
	}
	if m.Limits.Rate != 64<<10 || m.Limits.RateAfter != 1<<10 {
		t.Errorf("rate %d after %d", m.Limits.Rate, m.Limits.RateAfter)
	}
	m = w.route(t, []string{"limit-rps: 2", "limit-burst-multiplier: many", "limit-rate: fast"})
	if r, _ := filterOf[ratelimit.Config](m); r.Rules[0].Burst != 10 || m.denied() {
		t.Errorf("a bad multiplier: %+v", r)
	}
	for _, none := range []string{"limit-rps: 0", "limit-rpm: -1", "limit-connections: 0"} {
		m := w.route(t, []string{none})
		_, rate := filterOf[ratelimit.Config](m)
		_, conn := filterOf[connlimit.Config](m)
		if rate || conn || m.denied() {
			t.Errorf("%s limits", none)
		}
	}
	for _, bad := range []string{"limit-rps: ten", "limit-rpm: 1.5", "limit-connections: x", "limit-allowlist: nope"} {
		if m := w.route(t, []string{bad}); m.outcome != Hard {
			t.Errorf("%s: outcome %v, want Hard", bad, m.outcome)
		}
	}
}

func TestLimitsOfTheConfigMap(t *testing.T) {
	w := &cluster{global: map[string]string{
		"limit-req-status-code": "429", "limit-conn-status-code": "9000", "limit-conn-zone-variable": "$http_x_user", "limit-rate": "5",
	}}
	m := w.route(t, []string{"limit-rps: 1", "limit-connections: 1"})
	r, _ := filterOf[ratelimit.Config](m)
	c, _ := filterOf[connlimit.Config](m)
	if r.Status != 429 || c.Status != 503 || r.Key != "$http_x_user" || c.Key != "$http_x_user" || m.Limits.Rate != 5<<10 {
		t.Errorf("%+v %+v rate %d", r, c, m.Limits.Rate)
	}
	w.global["limit-conn-zone-variable"] = "$no_such"
	if r, _ := filterOf[ratelimit.Config](w.route(t, []string{"limit-rps: 1"})); r.Key != "" {
		t.Errorf("key %q", r.Key)
	}
}

func TestCanaryValues(t *testing.T) {
	w := &cluster{}
	for _, c := range []struct {
		annotations []string
		want        *config.Canary
	}{
		{[]string{"canary-weight: 50"}, nil},
		{[]string{"canary: false"}, nil},
		{[]string{"canary: yes"}, nil},
		{[]string{"canary: true"}, &config.Canary{Total: 100, Sticky: true}},
		{[]string{"canary: true", "canary-weight: 500", "canary-weight-total: 1000"}, &config.Canary{Weight: 500, Total: 1000, Sticky: true}},
		{[]string{"canary: true", "canary-weight: 30", "canary-weight-total: 50"}, &config.Canary{Weight: 30, Total: 100, Sticky: true}},
		{[]string{"canary: true", "canary-weight: 300"}, &config.Canary{Weight: 100, Total: 100, Sticky: true}},
		{[]string{"canary: true", "canary-weight: -1"}, &config.Canary{Total: 100, Sticky: true}},
		{[]string{"canary: true", "canary-weight: x", "affinity-canary-behavior: legacy"}, &config.Canary{Total: 100}},
		{[]string{"canary: true", "canary-by-header: X-C", "canary-by-header-value: blue", "canary-by-header-pattern: ^b$", "canary-by-cookie: can"}, &config.Canary{Total: 100, Header: "X-C", HeaderValue: "blue", Cookie: "can", Sticky: true}},
		{[]string{"canary: true", "canary-by-header: X-C", "canary-by-header-pattern: ^b$"}, &config.Canary{Total: 100, Header: "X-C", HeaderPattern: "^b$", Sticky: true}},
		{[]string{"canary: true", "canary-by-header: X-C", "canary-by-header-pattern: (b"}, &config.Canary{Total: 100, Header: "X-C", HeaderPattern: neverMatches, Sticky: true}},
		{[]string{"canary: true", "canary-by-header-value: blue"}, &config.Canary{Total: 100, Sticky: true}},
	} {
		m := w.route(t, c.annotations)
		if !reflect.DeepEqual(m.ctx.Canary, c.want) || m.denied() {
			t.Errorf("%q:\n%+v\nwant\n%+v", c.annotations, m.ctx.Canary, c.want)
		}
	}
	if m := w.route(t, []string{"canary-weight: 50"}); !m.has(diag.AnnotationNoEffect) {
		t.Errorf("canary-weight alone: findings %q", m.findings)
	}
}

func TestAffinityValues(t *testing.T) {
	w := &cluster{}
	a := w.route(t, []string{
		"affinity: cookie", "affinity-mode: persistent", "session-cookie-name: route", "session-cookie-expires: 172800", "session-cookie-max-age: -1",
		"session-cookie-path: /p", "session-cookie-samesite: strict", "session-cookie-domain: f2.test", "session-cookie-secure: true",
		"session-cookie-change-on-failure: true", "session-cookie-conditional-samesite-none: true",
	}).Action.Forward.Affinity
	n, minus, yes := 172800, -1, true
	want := &config.Affinity{
		Mode: "persistent", Cookie: "route", Path: "/p", Domain: "f2.test", MaxAge: &minus, Expires: &n, SameSite: "Strict", Secure: &yes,
		ConditionalNone: true, ChangeOnFailure: true, Key: "default-shop-80",
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("\n%+v\nwant\n%+v", a, want)
	}
	a = w.route(t, []string{"affinity: cookie"}, atPath("/shop")).Action.Forward.Affinity
	if want := (&config.Affinity{Mode: "balanced", Cookie: "INGRESSCOOKIE", Path: "/shop", Key: "default-shop-80"}); !reflect.DeepEqual(a, want) {
		t.Errorf("\n%+v\nwant\n%+v", a, want)
	}
	if a := w.route(t, []string{"affinity: ip"}).Action.Forward.Affinity; a != nil {
		t.Errorf("affinity: ip: %+v", a)
	}
	m := w.route(t, []string{"affinity: cookie", "use-regex: true"}, atPath("/re/[a-z]+"))
	if m.Action.Forward.Affinity.Path != "/re/[a-z]+" || !m.has(diag.SecurityAdvice) {
		t.Errorf("regex path: %q, findings %q", m.Action.Forward.Affinity.Path, m.findings)
	}
}

func TestS13_3_CookieAttributesCannotBeForged(t *testing.T) {
	w := &cluster{}
	for _, evil := range []string{"a;b", "a\r\nSet-Cookie: x=y", "a b;", "a\x00", "a,b"} {
		for _, name := range []string{"session-cookie-name", "session-cookie-path", "session-cookie-domain", "session-cookie-samesite", "session-cookie-max-age", "session-cookie-expires"} {
			if name == "session-cookie-path" && evil == "a,b" {
				continue // legal there
			}
			a := w.route(t, []string{"affinity: cookie", name + ": " + evil}).Action.Forward.Affinity
			for _, v := range []string{a.Cookie, a.Path, a.Domain, a.SameSite} {
				if strings.Contains(v, evil) {
					t.Errorf("%s: %q got through", name, evil)
				}
			}
			if a.MaxAge != nil || a.Expires != nil {
				t.Errorf("%s: %q: %v %v", name, evil, a.MaxAge, a.Expires)
			}
		}
	}
	if a := w.route(t, []string{"affinity: cookie"}, atPath("/a;Domain=evil.test")).Action.Forward.Affinity; a.Path != "/" {
		t.Errorf("path of the rule: %q", a.Path)
	}
	for _, n := range []string{"0x10", "x5", "05", "5x", "+5", ""} {
		if a := w.route(t, []string{"affinity: cookie", "session-cookie-max-age: " + n}).Action.Forward.Affinity; a.MaxAge != nil {
			t.Errorf("max-age %q counts as %d", n, *a.MaxAge)
		}
	}
}

func TestBalancing(t *testing.T) {
	w := &cluster{global: map[string]string{}}
	for _, c := range []struct {
		annotations []string
		want        config.Balance
	}{
		{nil, config.Balance{Policy: "round_robin"}},
		{[]string{"load-balance: ewma"}, config.Balance{Policy: "ewma"}},
		{[]string{"load-balance: chash"}, config.Balance{Policy: "round_robin"}},
		{[]string{"load-balance: ewma", "upstream-hash-by: $request_uri"}, config.Balance{Policy: "chash", HashBy: "$request_uri"}},
		{[]string{"upstream-hash-by: ${host}x", "upstream-hash-by-subset: true"}, config.Balance{Policy: "chashsubset", HashBy: "${host}x", SubsetSize: 3}},
		{[]string{"upstream-hash-by: $host", "upstream-hash-by-subset: true", "upstream-hash-by-subset-size: 5"}, config.Balance{Policy: "chashsubset", HashBy: "$host", SubsetSize: 5}},
		{[]string{"upstream-hash-by-subset: true"}, config.Balance{Policy: "round_robin"}},
	} {
		if got := w.route(t, c.annotations).Action.Forward.Balance; got != c.want {
			t.Errorf("%q: %+v, want %+v", c.annotations, got, c.want)
		}
	}
	for _, bad := range []string{"load-balance: random", "upstream-hash-by: $a b", "upstream-hash-by: $nope", "upstream-hash-by-subset: x"} {
		if m := w.route(t, []string{bad}); m.outcome != Hard {
			t.Errorf("%s: outcome %v, want Hard", bad, m.outcome)
		}
	}
	w.global["load-balance"] = "ewma"
	if got := w.route(t, nil).Action.Forward.Balance.Policy; got != "ewma" {
		t.Errorf("of the ConfigMap: %s", got)
	}
	w.global["load-balance"] = "least_conn"
	if got := w.route(t, nil).Action.Forward.Balance.Policy; got != "round_robin" {
		t.Errorf("least_conn of the ConfigMap: %s", got)
	}
}

func TestServiceUpstream(t *testing.T) {
	w := &cluster{global: map[string]string{"service-upstream": "true"}}
	for value, want := range map[string]config.PoolMode{"service-upstream: true": config.ClusterIP, "service-upstream: false": config.Pods, "service-upstream: maybe": config.Pods, "affinity: cookie": config.ClusterIP} {
		m := w.route(t, []string{value})
		if got := m.Action.Forward.Pool.Mode; got != want {
			t.Errorf("%s: %v, want %v", value, got, want)
		}
		if ServiceUpstream(m.ctx.Values) != (want == config.ClusterIP) {
			t.Errorf("%s: ServiceUpstream differs", value)
		}
	}
}

func TestForwardingDefaults(t *testing.T) {
	m := (&cluster{}).route(t, nil)
	f := m.Action.Forward
	if f.Connect != 5*time.Second || f.Read != time.Minute || f.Send != time.Minute || f.HTTP10 || f.HeadMax != 256<<10 || f.Protocol != config.HTTP {
		t.Errorf("%+v", f)
	}
	if f.Retry != (config.Retry{On: config.RetryError | config.RetryTimeout, Tries: 3}) {
		t.Errorf("retry %+v", f.Retry)
	}
	if m.Limits != (config.Limits{BodyMax: 1 << 20, Buffer: true, BufferMem: 8 << 10, BodyTimeout: time.Minute}) {
		t.Errorf("limits %+v", m.Limits)
	}
	if b, _ := filterOf[bodylimit.Config](m); b.Max != 1<<20 {
		t.Errorf("body limit %+v", b)
	}
}

func TestForwardingValues(t *testing.T) {
	w := &cluster{global: map[string]string{"proxy-connect-timeout": "7", "proxy-body-size": "20m", "retry-non-idempotent": "true", "client-body-timeout": "5", "proxy-next-upstream-tries": "2"}}
	m := w.route(t, []string{
		"proxy-read-timeout: 3600", "proxy-send-timeout: x", "proxy-next-upstream: error http_502 http_503", "proxy-next-upstream-tries: 0", "proxy-next-upstream-timeout: 9",
		"proxy-request-buffering: off", "client-body-buffer-size: 64k", "proxy-buffer-size: 1m", "proxy-http-version: 1.0", "proxy-buffering: on",
	})
	f := m.Action.Forward
	if f.Connect != 7*time.Second || f.Read != time.Hour || f.Send != time.Minute || !f.HTTP10 || f.HeadMax != 1<<20 {
		t.Errorf("%+v", f)
	}
	if want := (config.Retry{On: config.RetryError | config.Retry502 | config.Retry503, Tries: maxTries, Timeout: 9 * time.Second, NonIdempotent: true}); f.Retry != want {
		t.Errorf("retry %+v, want %+v", f.Retry, want)
	}
	if want := (config.Limits{BodyMax: 20 << 20, BufferMem: 64 << 10, BodyTimeout: 5 * time.Second}); m.Limits != want {
		t.Errorf("limits %+v, want %+v", m.Limits, want)
	}
	if m.denied() || !m.has(diag.AnnotationNoEffect) || !m.has(diag.AnnotationValue) {
		t.Errorf("findings %q", m.findings)
	}
	for text, want := range map[string]int64{"0": 0, "1k": 1 << 10, "8M": 8 << 20, "100b": 1 << 20, "lots": 20 << 20, "-1": 20 << 20} {
		m := w.route(t, []string{"proxy-body-size: " + text})
		if _, limited := filterOf[bodylimit.Config](m); m.Limits.BodyMax != want || limited != (want > 0) {
			t.Errorf("proxy-body-size %s: %d, want %d", text, m.Limits.BodyMax, want)
		}
	}
	for text, want := range map[string]config.Retry{
		"off": {Tries: 2}, "error off": {Tries: 2}, "non_idempotent error": {On: config.RetryError, NonIdempotent: true, Tries: 2},
		"nonsense": {On: config.RetryError | config.RetryTimeout, Tries: 2},
	} {
		w.global["retry-non-idempotent"] = "false"
		if got := w.route(t, []string{"proxy-next-upstream: " + text}).Action.Forward.Retry; got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	if m := w.route(t, []string{"client-body-buffer-size: big"}); m.outcome != Hard {
		t.Errorf("client-body-buffer-size: outcome %v", m.outcome)
	}
}

func TestBackendProtocols(t *testing.T) {
	w := &cluster{}
	for text, want := range map[string]config.Protocol{"HTTPS": config.HTTPS, " https ": config.HTTPS, "grpc": config.GRPC, "GRPCS": config.GRPCS, "auto_http": config.AutoHTTP, "GOPHER": config.HTTP} {
		m := w.route(t, []string{"backend-protocol: " + text})
		if m.Action.Forward.Protocol != want || m.denied() {
			t.Errorf("%s: %v, want %v (denied %q)", text, m.Action.Forward.Protocol, want, m.Deny)
		}
		if grpc := want == config.GRPC || want == config.GRPCS; m.Limits.Buffer == grpc {
			t.Errorf("%s: request buffering %v", text, m.Limits.Buffer)
		}
	}
	if m := w.route(t, []string{"backend-protocol: HTTPS"}, func(c *RouteContext) { c.DefaultBackend = true }); m.Action.Forward.Protocol != config.HTTP {
		t.Error("the default backend is spoken to in something else than HTTP")
	}
	if m := w.route(t, []string{"backend-protocol: FCGI"}); !m.denied() {
		t.Error("FCGI serves")
	}
	if m := w.route(t, []string{"connection-proxy-header: keep-alive"}); m.Action.Forward.ConnectionHeader != "keep-alive" {
		t.Errorf("connection header %q", m.Action.Forward.ConnectionHeader)
	}
	if m := w.route(t, []string{"connection-proxy-header: upgrade"}); m.outcome != Hard {
		t.Errorf("outcome %v, want Hard", m.outcome)
	}
}

// material is a certificate with its key, and a CA's PEM.
func material(t *testing.T) (crt, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

func tlsSecrets(t *testing.T) *cluster {
	crt, key := material(t)
	_, otherKey := material(t)
	return &cluster{secrets: map[string]map[string][]byte{
		"default/both":    {"tls.crt": crt, "tls.key": key, "ca.crt": crt},
		"default/client":  {"tls.crt": crt, "tls.key": key},
		"default/ca":      {"ca.crt": crt},
		"default/ca2":     {"ca.crt": crt},
		"default/empty":   {"x": nil},
		"default/garbage": {"ca.crt": []byte("garbage")},
		"default/crl":     {"ca.crt": crt, "ca.crl": []byte("garbage")},
		"default/mixed":   {"tls.crt": crt, "tls.key": otherKey, "ca.crt": crt},
		"other/ca":        {"ca.crt": crt},
	}}
}

func TestS9_3_TLSTowardsEndpoints(t *testing.T) {
	w := tlsSecrets(t)
	id := func(name string) config.CertID { return config.CertID{Namespace: "default", Name: name} }
	for _, c := range []struct {
		annotations []string
		want        *config.UpstreamTLS
		denied      bool
	}{
		{[]string{"proxy-ssl-verify: on", "proxy-ssl-name: a.test", "proxy-ssl-server-name: on"}, nil, false},
		{[]string{"proxy-ssl-secret: default/client", "proxy-ssl-name: $host.test", "proxy-ssl-server-name: on"}, &config.UpstreamTLS{Client: id("client"), Name: "$host.test", SNI: true}, false},
		{[]string{"proxy-ssl-secret: default/client", "proxy-ssl-verify: on"}, nil, true},
		{[]string{"proxy-ssl-secret: default/ca"}, &config.UpstreamTLS{CA: id("ca"), Depth: 1, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, false},
		{[]string{"proxy-ssl-secret: default/both", "proxy-ssl-verify: on", "proxy-ssl-verify-depth: 0", "proxy-ssl-name: b.test", "proxy-ssl-protocols: TLSv1.2 TLSv1.3", "proxy-ssl-ciphers: ECDHE-RSA-AES256-GCM-SHA384:NOPE"},
			&config.UpstreamTLS{Client: id("both"), CA: id("both"), Verify: true, Depth: 1, Name: "b.test", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, Ciphers: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}}, false},
		{[]string{"proxy-ssl-secret: default/ca", "proxy-ssl-verify: on"}, &config.UpstreamTLS{CA: id("ca"), Verify: true, Depth: 1, Name: internalName, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, false},
		{[]string{"proxy-ssl-secret: default/ca", "proxy-ssl-verify: true", "proxy-ssl-protocols: SSLv3"}, &config.UpstreamTLS{CA: id("ca"), Depth: 1, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, false},
		{[]string{"proxy-ssl-secret: default/missing"}, nil, true},
		{[]string{"proxy-ssl-secret: default/empty"}, nil, true},
		{[]string{"proxy-ssl-secret: default/garbage"}, nil, true},
		{[]string{"proxy-ssl-secret: default/mixed"}, nil, true},
		{[]string{"proxy-ssl-secret: ca"}, nil, true},
		{[]string{"proxy-ssl-secret: other/ca"}, nil, true},
	} {
		m := w.route(t, append(c.annotations, "backend-protocol: HTTPS"))
		if !reflect.DeepEqual(m.Action.Forward.TLS, c.want) || m.denied() != c.denied {
			t.Errorf("%q:\n%+v denied %v %q\nwant\n%+v denied %v", c.annotations, m.Action.Forward.TLS, m.denied(), m.findings, c.want, c.denied)
		}
	}
	if !slices.Contains(w.certs, id("both")) || slices.Contains(w.certs, config.CertID{Namespace: "other", Name: "ca"}) {
		t.Errorf("certificates asked for: %v", w.certs)
	}
	if m := w.route(t, []string{"proxy-ssl-secret: default/ca"}); m.Action.Forward.TLS != nil || !m.has(diag.AnnotationNoEffect) {
		t.Errorf("plain HTTP: %+v, findings %q", m.Action.Forward.TLS, m.findings)
	}
	if m := w.route(t, []string{"proxy-ssl-name: a.test", "backend-protocol: HTTPS"}); !m.has(diag.AnnotationNoEffect) {
		t.Errorf("proxy-ssl-name alone: findings %q", m.findings)
	}
}

func hostCert(h *config.Host) clientcert.Config {
	for _, f := range h.Filters {
		if f, ok := f.(clientcert.Config); ok {
			return f
		}
	}
	return clientcert.Config{Policy: "no filter"}
}

func TestClientCertificatesOfAHost(t *testing.T) {
	w := tlsSecrets(t)
	h, findings := w.host(t,
		[]string{"use-regex: false"},
		[]string{"auth-tls-secret: default/missing", "auth-tls-verify-client: off"},
		[]string{"auth-tls-secret: default/ca", "auth-tls-verify-client: optional", "auth-tls-verify-depth: 2", "auth-tls-pass-certificate-to-upstream: true", "auth-tls-match-cn: CN=a.*", "auth-tls-error-page: https://e.test/x"},
		[]string{"auth-tls-secret: default/ca2"},
	)
	want := clientcert.Config{Policy: "shop.test", Verify: "optional", MatchCN: "CN=a.*", PassCert: true, ErrorPage: "https://e.test/x"}
	if got := hostCert(h); got != want {
		t.Errorf("filter %+v, want %+v", got, want)
	}
	auth := &config.ClientAuth{Verify: "optional", Depth: 2, CA: config.CertID{Namespace: "default", Name: "ca"}, ErrorPage: "https://e.test/x", PassCert: true, MatchCN: "CN=a.*"}
	if h.TLS == nil || !reflect.DeepEqual(h.TLS.ClientAuth, auth) {
		t.Errorf("policy %+v", h.TLS)
	}
	if len(findings) != 1 || !strings.HasPrefix(findings[0], "ing3 auth-tls-secret annotation-conflict") {
		t.Errorf("findings %q", findings)
	}
	if _, err := hostCert(h).Build(&filter.Env{}); err != nil {
		t.Error(err)
	}
}

func TestS10_1_HostWithoutAReadableCAIsRefused(t *testing.T) {
	w := tlsSecrets(t)
	for _, ref := range []string{"default/missing", "default/garbage", "default/crl", "default/client", "other/ca", "ca"} {
		h, _ := w.host(t, []string{"auth-tls-secret: " + ref})
		if !hostCert(h).Broken || h.TLS == nil || !h.TLS.ClientAuth.Broken {
			t.Errorf("%s: %+v", ref, hostCert(h))
		}
		if m := w.route(t, []string{"auth-tls-secret: " + ref}); !m.denied() {
			t.Errorf("%s: the route serves", ref)
		}
	}
}

func TestS6_6_EveryHostTakesClientCertificateFieldsAway(t *testing.T) {
	h, _ := (&cluster{}).host(t, nil)
	if got := hostCert(h); got != (clientcert.Config{}) || h.TLS != nil {
		t.Errorf("%+v, TLS %+v", got, h.TLS)
	}
}

func TestClientCertificateValues(t *testing.T) {
	w := tlsSecrets(t)
	for _, bad := range []string{"auth-tls-match-cn: alice", "auth-tls-match-cn: CN=(", "auth-tls-pass-certificate-to-upstream: x", "auth-tls-error-page: ht tp://x", "auth-tls-secret: default/c;a"} {
		with := []string{bad}
		if !strings.HasPrefix(bad, "auth-tls-secret") {
			// Alone it is as good as absent.
			if m := w.route(t, with); m.outcome != Soft {
				t.Errorf("%s: outcome %v, want Soft", bad, m.outcome)
			}
			with = append(with, "auth-tls-secret: default/ca")
		}
		if m := w.route(t, with); m.outcome != Hard {
			t.Errorf("%s: outcome %v, want Hard", with, m.outcome)
		}
	}
	h, findings := w.host(t, []string{"auth-tls-secret: default/ca", "auth-tls-verify-client: maybe", "auth-tls-verify-depth: 0", "auth-tls-error-page: @local"})
	if a := h.TLS.ClientAuth; a.Verify != "on" || a.Depth != 1 || a.ErrorPage != "" || len(findings) != 1 {
		t.Errorf("%+v, findings %q", a, findings)
	}
	for page, want := range map[string]string{"/why": "/why", "/a/../why": "", "e.test/why": "e.test/why", "https://e.test": "https://e.test"} {
		h, _ := w.host(t, []string{"auth-tls-secret: default/ca", "auth-tls-error-page: " + page})
		if got := h.TLS.ClientAuth.ErrorPage; got != want {
			t.Errorf("auth-tls-error-page %s: %q, want %q", page, got, want)
		}
	}
}

func TestMirrorTargets(t *testing.T) {
	w := &cluster{}
	for target, want := range map[string]mirror.Config{
		"http://10.99.0.41:8080/fixed":        {Scheme: "http", Addr: "10.99.0.41:8080", Host: "10.99.0.41", Target: "/fixed", Body: true},
		"https://test.env.com$request_uri":    {Scheme: "https", Addr: "test.env.com:443", Host: "test.env.com", Target: "$request_uri", Body: true},
		"https://test.env.com/p$request_uri":  {Scheme: "https", Addr: "test.env.com:443", Host: "test.env.com", Target: "/p$request_uri", Body: true},
		"http://[::1]:81/":                    {Scheme: "http", Addr: "[::1]:81", Host: "[::1]", Target: "/", Body: true},
		"https://$host.mirror.svc/":           {},
		"mirror.svc":                          {},
		"ftp://mirror.svc/":                   {},
		"http://mirror.svc/$nope":             {},
		"http://mirror.svc/a b":               {Scheme: "http", Addr: "mirror.svc:80", Host: "mirror.svc", Target: "/a b", Body: true},
		"http://mirror.svc/\"; return 200; #": {},
		"http://user@mirror.svc/":             {},
		"http://mirror.svc:notaport/":         {},
	} {
		m := w.route(t, []string{"mirror-target: " + target})
		if got, _ := filterOf[mirror.Config](m); got != want || m.denied() {
			t.Errorf("%s:\n%+v\nwant\n%+v", target, got, want)
		}
	}
	m := w.route(t, []string{"mirror-target: http://m.test/", "mirror-host: other.test", "mirror-request-body: off"})
	if got, _ := filterOf[mirror.Config](m); got.Host != "other.test" || got.Body {
		t.Errorf("%+v", got)
	}
	if m := w.route(t, []string{"mirror-host: x"}); !m.has(diag.AnnotationNoEffect) {
		t.Errorf("mirror-host alone: %q", m.findings)
	}
}

// TestS1_2_HostileValuesNeverPanic runs every key of this part with the characters exploits are made of.
func TestS1_2_HostileValuesNeverPanic(t *testing.T) {
	w := tlsSecrets(t)
	w.global = map[string]string{"allow-cross-namespace-resources": "true"}
	for _, k := range Keys() {
		if strings.HasSuffix(k.Info().Name, "-snippet") {
			continue
		}
		for _, evil := range []string{"`", "'", "\"", ";", "{", "}", "#", "$", "\\", "\n", "\r", "\x00", "${", "$(", "../../x", "\"; return 200; #", strings.Repeat("a", 10<<10), strings.Repeat("(a+)+", 2000), "http://a.test/\"\n}", "é\xff"} {
			m := w.route(t, []string{k.Info().Name + ": " + evil, "auth-type: basic", "auth-secret: default/ca"})
			for _, f := range m.Filters {
				if _, err := f.Build(env()); err != nil && m.outcome == 0 && !m.denied() {
					t.Errorf("%s: %.20q: accepted, but %s does not build: %v", k.Info().Name, evil, f.FilterName(), err)
				}
			}
			w.host(t, []string{k.Info().Name + ": " + evil})
		}
	}
}

func TestDefaultsReadLikeValues(t *testing.T) {
	for _, k := range []AnyKey{authCacheDuration, nextUpstream, proxySSLProtocols} {
		if err := k.Check(k.Info().Default); err != nil {
			t.Errorf("%s: its default %q is no value: %v", k.Info().Name, k.Info().Default, err)
		}
	}
}

func TestUnknownHostsAskNobody(t *testing.T) {
	w := &cluster{global: map[string]string{"global-auth-url": "http://auth.test/", "whitelist-source-range": "10.0.0.0/8"}}
	own := func(c *RouteContext) { c.Ingress, c.Namespace, c.Host, c.DefaultBackend = "", "", "_", true }
	notFound := func(c *RouteContext) { c.Route.Action = config.Action{Status: 404} }
	if m := w.route(t, nil, own, notFound); m.denied() || slices.ContainsFunc(m.Filters, func(f filter.Config) bool { return f.FilterName() == "access" }) {
		t.Errorf("the built-in 404 has %v, denied %q", m.Filters, m.Deny)
	}
	if m := w.route(t, nil, own); !slices.ContainsFunc(m.Filters, func(f filter.Config) bool { return f.FilterName() == "access" }) {
		t.Error("the default backend's Service is open")
	}
}
