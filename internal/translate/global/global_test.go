package global

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/addheaders"
	"github.com/lintel-ingress/lintel/internal/filter/block"
	"github.com/lintel-ingress/lintel/internal/filter/compress"
	"github.com/lintel-ingress/lintel/internal/filter/realip"
	"github.com/lintel-ingress/lintel/internal/filter/requestid"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

var update = flag.Bool("update", false, "rewrite the reference page")

func TestReferencePageIsCurrent(t *testing.T) {
	page := filepath.Join("..", "..", "..", "docs", "reference", "configmap.md")
	if *update {
		if err := os.WriteFile(page, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Markdown() {
		t.Error("docs/reference/configmap.md is not current: go test ./internal/translate/global -update")
	}
}

func TestEveryKeyIsInASectionAndDocumented(t *testing.T) {
	known := map[string]bool{}
	for _, g := range groups {
		known[g] = true
	}
	keys := Keys()
	if len(keys) != 213 {
		t.Errorf("%d keys are declared, want the 213 of the reference", len(keys))
	}
	for _, k := range keys {
		if !known[k.Group] || k.Doc == "" || k.Name != strings.ToLower(k.Name) {
			t.Errorf("%+v lacks a section, a sentence, or is not lower case", k)
		}
		if _, gone := successor(k.Name); gone {
			t.Errorf("%s is declared and counts as removed", k.Name)
		}
	}
}

// Every annotation's ConfigMap key is declared, so that it is not called unknown.
func TestEveryDefaultOfAnAnnotationIsAKey(t *testing.T) {
	for _, k := range annotation.Keys() {
		i := k.Info()
		if i.ConfigMap == "" {
			continue
		}
		if _, ok := entries[i.ConfigMap]; !ok {
			t.Errorf("%s takes its default from %s, which is not declared", i.Name, i.ConfigMap)
		}
	}
	for _, i := range annotationDefaults {
		if len(annotation.ByConfigMap(i.Name)) == 0 {
			t.Errorf("%s is the default of no annotation", i.Name)
		}
	}
}

func TestAbsentConfigMapGivesTheDefaults(t *testing.T) {
	g, found := Build(nil, nil)
	if len(found) != 0 {
		t.Errorf("findings %+v", found)
	}
	want := &config.Global{
		Filters: []filter.Config{
			realip.Config{Trusted: filter.Prefixes{netip.MustParsePrefix("0.0.0.0/0")}, Header: "X-Forwarded-For"},
			requestid.Config{Generate: true},
		},
		ProxyProtocolTimeout: 5 * time.Second, ProxyProtocolTrusted: filter.Prefixes{netip.MustParsePrefix("0.0.0.0/0")},
		KeepAlive: 75 * time.Second, KeepAliveRequests: 1000, HeaderTimeout: time.Minute, BodyTimeout: time.Minute,
		HeaderBuffer: 8192, HeaderBuffers: 4, HTTP2: true, HTTP2Streams: 128, IgnoreInvalid: true,
		TLSMinVersion: 0x0303, TLSMaxVersion: 0x0304, SessionTickets: true,
		UpstreamKeepAlive: 320, UpstreamKeepAliveTimeout: time.Minute, UpstreamKeepAliveRequests: 10000, UpstreamKeepAliveTime: time.Hour,
		AccessLog: true, AccessLogPath: "/var/log/nginx/access.log", LogFormat: DefaultLogFormat, WorkerShutdown: 240 * time.Second,
		StatusAllow: filter.Prefixes{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")},
	}
	if d := cmp.Diff(want, g, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestValuesAreReadAsTheOriginalReadsThem(t *testing.T) {
	g, found := Build(map[string]string{
		"Keep-Alive":                  "0x10",
		"keep-alive-requests":         "",
		"use-http2":                   "F",
		"large-client-header-buffers": "8 16k\n",
		"client-header-timeout":       "30",
		"ssl-protocols":               "TLSv1.3\n",
		"ssl-ciphers":                 "ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256",
		"ssl-reject-handshake":        "",
		"disable-access-log":          "true",
		"http-access-log-path":        "/tmp/a",
		"hsts-max-age":                "3.14496e+07",
		"skip-access-log-urls":        "/health, ~^/ready",
		"server-tokens":               "1",
	}, nil)
	for _, d := range found {
		if d.Severity > diag.Info {
			t.Errorf("finding %+v", d)
		}
	}
	if g.KeepAlive != 16*time.Second || g.KeepAliveRequests != 0 || g.HTTP2 || g.HeaderBuffers != 8 || g.HeaderBuffer != 16<<10 ||
		g.HeaderTimeout != 30*time.Second || g.TLSMinVersion != 0x0304 || len(g.Ciphers) != 1 || g.AccessLog || g.AccessLogPath != "/tmp/a" ||
		len(g.SkipLogURLs) != 2 || !g.ServerTokens {
		t.Errorf("got %+v", g)
	}
}

// S10.3: an invalid value costs only itself.
func TestS10_3_BadValueKeepsItsDefaultAndTheOthersApply(t *testing.T) {
	for key, bad := range map[string]string{
		"keep-alive": "soon", "keep-alive-requests": "-1", "use-http2": "yes", "large-client-header-buffers": "8k", "ssl-protocols": "TLSv9",
		"http-redirect-code": "303", "hsts-max-age": "long", "annotations-risk-level": "hihg",
		"proxy-body-size": "1 TB", "ssl-redirect": "on", "gzip-level": "12", "gzip-disable": "(", "forwarded-for-header": "X For",
		"proxy-protocol-header-timeout": "-5s", "limit-conn-zone-variable": "$nothing_such",
	} {
		g, found := Build(map[string]string{key: bad, "http2-max-concurrent-streams": "7"}, nil)
		if len(found) == 0 || found[0].Code != diag.ConfigMapValue || found[0].Effect != diag.Ignored || found[0].Field != "data["+key+"]" || found[0].Value != bad || found[0].Hint == "" {
			t.Errorf("%s=%s: findings %+v", key, bad, found)
		}
		if g.HTTP2Streams != 7 {
			t.Errorf("%s=%s: the other key does not apply", key, bad)
		}
		want, _ := Build(map[string]string{"http2-max-concurrent-streams": "7"}, nil)
		if d := cmp.Diff(want, g, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%s=%s: -want +got\n%s", key, bad, d)
		}
	}
}

func TestKeysThatAreNotAppliedSaySo(t *testing.T) {
	for _, c := range []struct {
		key, value, want string
		code             diag.Code
	}{
		{"use-forwarded-haeders", "true", "did you mean use-forwarded-headers?", diag.ConfigMapUnknown},
		{"plugins", "x", "remove it", diag.ConfigMapNoEffect},
		{"use-brotli", "true", "use enable-brotli", diag.ConfigMapNoEffect},
		{"zipkin-host", "x", "use enable-opentelemetry", diag.ConfigMapNoEffect},
		{"enable-brotli", "true", "remove it if you can do without", diag.ConfigMapLater},
		{"reuse-port", "true", "it may be removed", diag.ConfigMapNoEffect},
		{"http-snippet", "map x y {}", "remove it", diag.ConfigMapNoEffect},
		{"ssl-early-data", "true", "remove it", diag.ConfigMapNoEffect},
	} {
		_, found := Build(map[string]string{c.key: c.value}, nil)
		if len(found) != 1 || found[0].Code != c.code || found[0].Hint != c.want {
			t.Errorf("%s: findings %+v, want %s with hint %q", c.key, found, c.code, c.want)
		}
	}
	for key, value := range map[string]string{"enable-brotli": "false", "ssl-early-data": "false", "error-log-level": "notice", "http-snippet": ""} {
		if _, found := Build(map[string]string{key: value}, nil); len(found) != 0 {
			t.Errorf("%s=%s: findings %+v", key, value, found)
		}
	}
}

func TestS5_1_TrustingEverybodyIsWarnedOf(t *testing.T) {
	g, found := Build(map[string]string{"use-forwarded-headers": "true"}, nil)
	if len(found) != 1 || found[0].Code != diag.SecurityAdvice {
		t.Errorf("findings %+v", found)
	}
	if c := g.Filters[0].(realip.Config); !c.Walk || !c.Forwarded || !c.ForwardedFromAll {
		t.Errorf("real-ip %+v", c)
	}
	g, found = Build(map[string]string{"use-forwarded-headers": "true", "proxy-real-ip-cidr": "10.0.0.0/8, 192.168.0.1"}, nil)
	if len(found) != 0 {
		t.Errorf("findings %+v", found)
	}
	if c := g.Filters[0].(realip.Config); c.ForwardedFromAll || len(c.Trusted) != 2 {
		t.Errorf("real-ip %+v", c)
	}
}

// A list of trusted proxies that cannot be read must not leave everybody trusted.
func TestBadTrustedNetworksBelieveFewer(t *testing.T) {
	for text, want := range map[string]int{"10.0.0.0/8,x": 1, "nonsense": 0, "10.0.0.0/8, 2001:db8::/32": 2} {
		g, _ := Build(map[string]string{"use-forwarded-headers": "true", "proxy-real-ip-cidr": text}, nil)
		if c := g.Filters[0].(realip.Config); len(c.Trusted) != want || c.ForwardedFromAll {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestOneBadItemOfABlockListCostsOnlyItself(t *testing.T) {
	g, found := Build(map[string]string{
		"block-cidrs": "10.0.0.0/8,nonsense", "block-user-agents": "~*GPTBot*,~(,bad/1.0,", "block-referers": "~evil",
	}, nil)
	if len(found) != 2 {
		t.Errorf("findings %+v", found)
	}
	for _, f := range g.Filters {
		if b, ok := f.(block.Config); ok {
			if len(b.Networks) != 1 || len(b.UserAgents) != 2 || len(b.Referers) != 1 {
				t.Errorf("block %+v", b)
			}
			return
		}
	}
	t.Error("nothing is blocked")
}

// objects is a stand-in for the recording reader.
type objects map[string]map[string]string

func (o objects) Secret(string, string) (map[string][]byte, bool) { return nil, false }
func (o objects) ConfigMap(ns, name string) (map[string]string, bool) {
	m, ok := o[ns+"/"+name]
	return m, ok
}
func (o objects) Pool(string, string, string, config.PoolMode) (config.PoolID, bool) {
	return config.PoolID{}, false
}
func (o objects) Cert(string, string) (config.CertID, bool) { return config.CertID{}, false }

func TestS13_2_AddHeadersLeavesOutWhatMayNotBeSet(t *testing.T) {
	o := objects{"ns/add": {"X-Good": "yes", "Transfer-Encoding": "chunked", "X-Bad": "a\nb", "X Bad": "c"}}
	g, found := Build(map[string]string{"add-headers": "ns/add"}, o)
	if len(found) != 3 {
		t.Errorf("findings %+v", found)
	}
	if c := g.Filters[2].(addheaders.Config); len(c.Fields) != 1 || c.Fields[0] != (exchange.Field{Name: "X-Good", Value: "yes"}) {
		t.Errorf("fields %+v", c.Fields)
	}
	if _, found := Build(map[string]string{"add-headers": "ns/none"}, o); len(found) != 1 || found[0].Code != diag.ReferenceMissing {
		t.Errorf("findings %+v", found)
	}
}

func TestGzipIsConfigured(t *testing.T) {
	g, _ := Build(map[string]string{"use-gzip": "true", "gzip-types": "text/plain  Application/JSON"}, nil)
	c := g.Filters[len(g.Filters)-1].(compress.Config)
	if c.Level != 1 || c.MinLength != 256 || len(c.Types) != 2 || c.Types[1] != "application/json" {
		t.Errorf("compress %+v", c)
	}
}

func TestKeyMaterialIsNotShown(t *testing.T) {
	_, found := Build(map[string]string{"ssl-session-ticket-key": "c2VjcmV0"}, nil)
	if len(found) != 1 || strings.Contains(found[0].Message+found[0].Value, "c2Vj") {
		t.Errorf("findings %+v", found)
	}
}

func TestUnknownLogVariablesAreWarnedOf(t *testing.T) {
	_, found := Build(map[string]string{"log-format-upstream": "$remote_adr x $status"}, nil)
	if len(found) != 1 || !strings.Contains(found[0].Hint, "$remote_addr") {
		t.Errorf("findings %+v", found)
	}
}

func TestEveryFilterBuilds(t *testing.T) {
	g, _ := Build(map[string]string{"use-gzip": "true", "block-user-agents": "~*a,b"}, nil)
	for _, c := range g.Filters {
		if filter.Position(c.FilterName()) < 0 {
			t.Errorf("%s has no place in the order", c.FilterName())
		}
		if _, err := c.Build(&filter.Env{}); err != nil {
			t.Errorf("%s: %v", c.FilterName(), err)
		}
	}
}
