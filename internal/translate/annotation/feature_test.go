package annotation

import (
	"math/rand"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/approot"
	"github.com/lintel-ingress/lintel/internal/filter/cors"
	"github.com/lintel-ingress/lintel/internal/filter/customheaders"
	"github.com/lintel-ingress/lintel/internal/filter/forwarded"
	"github.com/lintel-ingress/lintel/internal/filter/hostredirect"
	"github.com/lintel-ingress/lintel/internal/filter/hsts"
	"github.com/lintel-ingress/lintel/internal/filter/redirect"
	"github.com/lintel-ingress/lintel/internal/filter/responsefields"
	"github.com/lintel-ingress/lintel/internal/filter/rewrite"
	"github.com/lintel-ingress/lintel/internal/filter/setheaders"
	"github.com/lintel-ingress/lintel/internal/filter/sslredirect"
)

// world is what features read in these tests.
type world struct {
	cm         map[string]string
	configMaps map[string]map[string]string
	services   map[string]bool
}

func (w *world) global(key string) (string, bool)                { s, ok := w.cm[key]; return s, ok }
func (w *world) Secret(string, string) (map[string][]byte, bool) { return nil, false }
func (w *world) Cert(string, string) (config.CertID, bool)       { return config.CertID{}, false }
func (w *world) ConfigMap(ns, name string) (map[string]string, bool) {
	m, ok := w.configMaps[ns+"/"+name]
	return m, ok
}
func (w *world) Pool(ns, service, port string, mode config.PoolMode) (config.PoolID, bool) {
	return config.PoolID{Namespace: ns, Service: service, Port: port, Mode: mode}, w.services[service]
}

// routed is what the features of one file make of a route.
type routed struct {
	*RouteContext
	found []diag.Diagnostic
}

// route runs features named by a comma list on one route, path "/" of host shop.test unless change says otherwise.
func routeOf(t *testing.T, w *world, which string, change func(*RouteContext), pairs ...string) *routed {
	t.Helper()
	if w == nil {
		w = &world{}
	}
	o := permissive
	o.Global = w.global
	v, _, _ := parseOne(t, o, pairs...)
	m := &routed{}
	m.RouteContext = &RouteContext{
		Values: v, Objects: w, Namespace: "ns", Ingress: "ing", Host: "shop.test", Path: "/", Global: w.global, HTTPPort: 80, HTTPSPort: 443,
		Route:  &config.Route{Action: config.Action{Forward: &config.Forward{}}, Origin: config.Origin{Service: "svc", ServicePort: "80"}},
		Report: func(name string, d diag.Diagnostic) { m.found = append(m.found, d) },
	}
	if change != nil {
		change(m.RouteContext)
	}
	for _, f := range Features() {
		if f.Route != nil && strings.Contains(","+which+",", ","+f.Name+",") {
			f.Route(m.RouteContext)
		}
	}
	for _, c := range m.Route.Filters {
		if filter.Position(c.FilterName()) < 0 {
			t.Errorf("%s has no place in the order", c.FilterName())
		}
		if _, err := c.Build(&filter.Env{}); err != nil {
			t.Errorf("%s does not build: %v", c.FilterName(), err)
		}
	}
	return m
}

func wantFilters(t *testing.T, m *routed, want ...filter.Config) {
	t.Helper()
	if len(m.Route.Filters) == 0 && len(want) == 0 {
		return
	}
	if d := cmp.Diff(want, m.Route.Filters); d != "" {
		t.Errorf("filters: -want +got\n%s", d)
	}
}

func TestRewriteMakesTheHostRegex(t *testing.T) {
	m := routeOf(t, nil, "rewrite", func(c *RouteContext) { c.Path = "/foo(/|$)(.*)" }, "rewrite-target", "/$2", "x-forwarded-prefix", "/foo")
	wantFilters(t, m, rewrite.Config{To: "/$2", Prefix: "/foo"})
	if !m.Regex {
		t.Error("the host is no regex host")
	}
	m = routeOf(t, nil, "rewrite", nil, "rewrite-target", "/")
	wantFilters(t, m)
	if m.Regex {
		t.Error("a target equal to the path makes a regex host")
	}
	m = routeOf(t, nil, "rewrite", func(c *RouteContext) { c.Path, c.CatchAllDefault = "/x", true }, "rewrite-target", "/")
	wantFilters(t, m)
	if m = routeOf(t, nil, "rewrite", nil, "use-regex", "true"); !m.Regex {
		t.Error("use-regex makes no regex host")
	}
	if m = routeOf(t, nil, "rewrite", nil, "x-forwarded-prefix", "/x"); len(m.found) != 1 || len(m.Route.Filters) != 0 {
		t.Errorf("prefix without rewrite: %+v", m.found)
	}
	if m = routeOf(t, nil, "rewrite", nil, "rewrite-target", "foo"); len(m.found) != 1 || m.found[0].Severity != diag.Warning {
		t.Errorf("target without slash: %+v", m.found)
	}
}

func TestRedirectToHTTPS(t *testing.T) {
	plain := sslredirect.Config{Status: 308}
	for _, c := range []struct {
		name   string
		cm     map[string]string
		change func(*RouteContext)
		pairs  []string
		want   []filter.Config
	}{
		{"default", nil, nil, nil, []filter.Config{plain}},
		{"off", nil, nil, []string{"ssl-redirect", "false"}, nil},
		{"off by ConfigMap", map[string]string{"ssl-redirect": "false"}, nil, nil, nil},
		{"annotation over ConfigMap", map[string]string{"ssl-redirect": "false"}, nil, []string{"ssl-redirect", "True"}, []filter.Config{plain}},
		{"malformed", nil, nil, []string{"ssl-redirect", "no"}, []filter.Config{plain}},
		{"forced", nil, nil, []string{"ssl-redirect", "false", "force-ssl-redirect", "true", "preserve-trailing-slash", "true"}, []filter.Config{sslredirect.Config{Force: true, Status: 308, KeepSlash: true}}},
		{"code and port", map[string]string{"http-redirect-code": "301", "use-port-in-redirects": "true"}, nil, nil, []filter.Config{sslredirect.Config{Status: 301, Port: "443"}}},
		{"bad code", map[string]string{"http-redirect-code": "303"}, nil, nil, []filter.Config{plain}},
		{"code in another base", map[string]string{"http-redirect-code": "0x133"}, nil, nil, []filter.Config{sslredirect.Config{Status: 307}}},
		{"challenge", nil, func(c *RouteContext) { c.Path = "/.well-known/acme-challenge/tok" }, nil, nil},
		{"S4.7 not the challenge", nil, func(c *RouteContext) { c.Path = "/.well-known/acme-challengeX" }, nil, []filter.Config{plain}},
		{"own exemption", map[string]string{"no-tls-redirect-locations": "/open, /x"}, func(c *RouteContext) { c.Path = "/x/y" }, nil, nil},
		{"default backend alone", nil, func(c *RouteContext) { c.CatchAllDefault = true }, []string{"force-ssl-redirect", "true"}, nil},
		{"no host", nil, func(c *RouteContext) { c.Host = "_" }, nil, nil},
		{"no host, forced", nil, func(c *RouteContext) { c.Host = "_" }, []string{"force-ssl-redirect", "true"}, []filter.Config{sslredirect.Config{Force: true, Status: 308}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFilters(t, routeOf(t, &world{cm: c.cm}, "ssl-redirect", c.change, c.pairs...), c.want...)
		})
	}
}

func TestFixedRedirects(t *testing.T) {
	for _, c := range []struct {
		name  string
		pairs []string
		want  []filter.Config
		found int
	}{
		{"permanent", []string{"permanent-redirect", "https://a.test"}, []filter.Config{redirect.Config{Status: 301, To: "https://a.test"}}, 0},
		{"permanent code", []string{"permanent-redirect", "/x", "permanent-redirect-code", "308", "relative-redirects", "true"}, []filter.Config{redirect.Config{Status: 308, To: "/x", Relative: true}}, 0},
		{"code out of range", []string{"permanent-redirect", "https://a.test", "permanent-redirect-code", "200"}, []filter.Config{redirect.Config{Status: 301, To: "https://a.test"}}, 1},
		{"temporal", []string{"temporal-redirect", "https://a.test", "temporal-redirect-code", "307"}, []filter.Config{redirect.Config{Status: 307, To: "https://a.test"}}, 0},
		{"308 is not temporal", []string{"temporal-redirect", "https://a.test", "temporal-redirect-code", "308"}, []filter.Config{redirect.Config{Status: 302, To: "https://a.test"}}, 1},
		{"temporal wins", []string{"temporal-redirect", "https://t.test", "permanent-redirect", "https://p.test"}, []filter.Config{redirect.Config{Status: 302, To: "https://t.test"}}, 0},
		{"bad temporal takes permanent along", []string{"temporal-redirect", "/login", "permanent-redirect", "https://p.test"}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := routeOf(t, nil, "redirect", nil, c.pairs...)
			wantFilters(t, m, c.want...)
			if len(m.found) != c.found {
				t.Errorf("findings %+v", m.found)
			}
		})
	}
	if m := routeOf(t, nil, "redirect", nil, "relative-redirects", "true", "use-port-in-redirects", "true"); m.Slash != (config.Slash{Relative: true, UsePort: true}) {
		t.Errorf("slash redirect %+v", m.Slash)
	}
	if m := routeOf(t, &world{cm: map[string]string{"relative-redirects": "true"}}, "redirect", nil, "relative-redirects", "false"); !m.Slash.Relative {
		t.Error("the annotation took back what the ConfigMap says")
	}
}

func TestCORS(t *testing.T) {
	base := cors.Config{Any: true, Methods: corsMethods, Headers: corsHeaders, Credentials: true, MaxAge: "1728000"}
	with := func(change func(*cors.Config)) []filter.Config {
		c := base
		change(&c)
		return []filter.Config{c}
	}
	for _, c := range []struct {
		name  string
		pairs []string
		want  []filter.Config
		found int
	}{
		{"off", []string{"cors-allow-origin", "*"}, nil, 0},
		{"default", nil, []filter.Config{base}, 0},
		{"list", []string{"cors-allow-origin", "https://a.test, https://*.b.test:8443"}, with(func(c *cors.Config) { c.Any, c.Origins = false, []string{"https://a.test", "https://*.b.test:8443"} }), 0},
		{"star in the list", []string{"cors-allow-origin", "https://a.test,*"}, []filter.Config{base}, 0},
		{"one bad", []string{"cors-allow-origin", "a.test,https://b.test"}, with(func(c *cors.Config) { c.Any, c.Origins = false, []string{"https://b.test"} }), 1},
		{"all bad", []string{"cors-allow-origin", "a.test"}, nil, 1},
		{"malformed is a star", []string{"cors-allow-origin", "https://a.test;x"}, []filter.Config{base}, 0},
		{"others", []string{"cors-allow-methods", "GET, PUT", "cors-allow-headers", "X-A", "cors-expose-headers", "*, X-B", "cors-allow-credentials", "false", "cors-max-age", "600"},
			with(func(c *cors.Config) {
				c.Methods, c.Headers, c.Expose, c.Credentials, c.MaxAge = "GET, PUT", "X-A", "*, X-B", false, "600"
			}), 0},
		{"star is no list of headers", []string{"cors-allow-headers", "*", "cors-allow-methods", "*"}, []filter.Config{base}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "off" {
				c.pairs = append(c.pairs, "enable-cors", "true")
			}
			m := routeOf(t, nil, "cors", nil, c.pairs...)
			wantFilters(t, m, c.want...)
			if len(m.found) != c.found {
				t.Errorf("findings %+v", m.found)
			}
		})
	}
}

func TestCustomHeaders(t *testing.T) {
	w := &world{
		cm: map[string]string{"global-allowed-response-headers": "X-One, x-two"},
		configMaps: map[string]map[string]string{
			"ns/good": {"X-One": "one", "X-Two": "two $words"}, "ns/other": {"X-One": "1", "X-Three": "3"}, "ns/bad": {"X-One": "a\nb"},
			"else/good": {"X-One": "1"}, "ns/name": {"X One": "1"}, "ns/empty": {"X-One": ""},
		},
	}
	m := routeOf(t, w, "custom-headers", nil, "custom-headers", "ns/good")
	wantFilters(t, m, customheaders.Config{Fields: []exchange.Field{{Name: "X-One", Value: "one"}, {Name: "X-Two", Value: "two $words"}}})
	if m = routeOf(t, w, "custom-headers", nil, "custom-headers", "good"); len(m.Route.Filters) != 1 {
		t.Errorf("a bare name is not found: %+v", m.found)
	}
	for ref, code := range map[string]diag.Code{
		"ns/other": diag.ReferenceInvalid, "ns/bad": diag.ReferenceInvalid, "ns/name": diag.ReferenceInvalid, "ns/empty": diag.ReferenceInvalid,
		"ns/none": diag.ReferenceMissing, "else/good": diag.ReferenceForbidden,
	} {
		m := routeOf(t, w, "custom-headers", nil, "custom-headers", ref)
		if m.Route.Deny == "" || len(m.found) != 1 || m.found[0].Code != code || len(m.Route.Filters) != 0 {
			t.Errorf("%s: deny %q, findings %+v", ref, m.Route.Deny, m.found)
		}
	}
	w.cm["allow-cross-namespace-resources"] = "true"
	if m = routeOf(t, w, "custom-headers", nil, "custom-headers", "else/good"); m.Route.Deny != "" {
		t.Errorf("deny %q", m.Route.Deny)
	}
}

func TestS3_4_OnlyOneSpellingNamesAnotherNamespace(t *testing.T) {
	for _, text := range []string{"other//s", "/s", "other/", "a/b/c", " /s"} {
		if r, err := SecretRef.Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
	r, err := SecretRef.Parse("other/s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve("own", false); err == nil {
		t.Error("a reference leaves its namespace")
	}
	if _, err := SecretRefFull.Parse("s"); err == nil {
		t.Error("a bare name is taken for namespace/name")
	}
}

func TestErrorPages(t *testing.T) {
	w := &world{cm: map[string]string{"custom-http-errors": "404,503"}, services: map[string]bool{"errs": true}}
	def := config.PoolID{Namespace: "sys", Service: "default"}
	change := func(c *RouteContext) { c.DefaultPool = def }
	m := routeOf(t, w, "error-pages", change)
	want := &config.ErrorPages{Codes: []int{404, 503}, Pool: def, Default: def, Intercept: true, Namespace: "ns", Ingress: "ing", Service: "svc", ServicePort: "80"}
	if d := cmp.Diff(want, m.Forward().ErrorPages); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	m = routeOf(t, w, "error-pages", change, "custom-http-errors", "500", "default-backend", "errs", "disable-proxy-intercept-errors", "true")
	errs := config.PoolID{Namespace: "ns", Service: "errs"}
	p := m.Forward().ErrorPages
	if !reflect.DeepEqual(p.Codes, []int{500}) || p.Pool != errs || p.Default != def || !p.Intercept || m.Forward().Fallback == nil || *m.Forward().Fallback != errs {
		t.Errorf("pages %+v, fallback %v", p, m.Forward().Fallback)
	}
	m = routeOf(t, &world{}, "error-pages", change, "custom-http-errors", "500", "disable-proxy-intercept-errors", "true", "default-backend", "none")
	if p = m.Forward().ErrorPages; p.Intercept || p.Pool != def || m.Forward().Fallback != nil || len(m.found) != 1 || m.found[0].Code != diag.ReferenceMissing {
		t.Errorf("pages %+v, findings %+v", p, m.found)
	}
	if m = routeOf(t, w, "error-pages", change, "auth-signin", "https://a.test/login"); m.Forward().ErrorPages != nil {
		t.Error("a route with auth-signin inherits the ConfigMap's error pages")
	}
	if m = routeOf(t, &world{}, "error-pages", change); m.Forward().ErrorPages != nil {
		t.Error("error pages without codes")
	}
}

func TestFieldsForTheEndpoint(t *testing.T) {
	w := &world{
		cm: map[string]string{
			"use-forwarded-headers": "true", "compute-full-forwarded-for": "true", "proxy-set-headers": "sys/psh", "hide-headers": "X-Powered-By, b@d",
			"hsts-max-age": "3.14496e+07", "hsts-include-subdomains": "false",
		},
		configMaps: map[string]map[string]string{"sys/psh": {"X-B": "$host", "Host": "inner", "Transfer-Encoding": "chunked"}},
	}
	m := routeOf(t, w, "forwarded,hsts,response-fields", nil, "proxy-cookie-path", "/a /b", "proxy-redirect-from", "http://a.test/", "proxy-redirect-to", "https://b.test/")
	sort.Slice(m.Route.Filters, func(i, j int) bool { return m.Route.Filters[i].FilterName() < m.Route.Filters[j].FilterName() })
	wantFilters(t, m,
		forwarded.Config{FullFor: true},
		hsts.Config{MaxAge: 31449600},
		responsefields.Config{Hide: []string{"X-Powered-By"}, CookiePath: responsefields.Rewrite{From: "/a", To: "/b"}, Redirect: responsefields.Rewrite{From: "http://a.test/", To: "https://b.test/"}},
		setheaders.Config{Fields: []exchange.Field{{Name: "Host", Value: "inner"}, {Name: "X-B", Value: "$host"}}},
	)
	m = routeOf(t, nil, "forwarded,hsts,response-fields", nil, "proxy-redirect-from", "default", "proxy-redirect-to", "https://b.test/", "proxy-cookie-domain", "off")
	wantFilters(t, m, forwarded.Config{}, hsts.Config{MaxAge: 31536000, Subdomains: true},
		responsefields.Config{Redirect: responsefields.Rewrite{From: "http://upstream_balancer/", To: "/"}})
	m = routeOf(t, nil, "forwarded,hsts,response-fields", nil, "proxy-redirect-from", "http://a.test/", "proxy-cookie-domain", "off")
	wantFilters(t, m, forwarded.Config{}, hsts.Config{MaxAge: 31536000, Subdomains: true})
	m = routeOf(t, &world{cm: map[string]string{"hsts": "false"}}, "forwarded,hsts,response-fields", func(c *RouteContext) { c.Route.Action = config.Action{Status: 404} })
	wantFilters(t, m)
}

func TestAccessLogCanBeSwitchedOff(t *testing.T) {
	if m := routeOf(t, nil, "access-log", nil, "enable-access-log", "false"); !m.Route.NoLog {
		t.Error("the route is logged")
	}
	if m := routeOf(t, nil, "access-log", nil); m.Route.NoLog {
		t.Error("the route is not logged")
	}
}

// host runs the Host function of a feature; each member is a list of annotations.
func hostOf(t *testing.T, which, name string, members ...[]string) (*HostContext, map[int][]diag.Diagnostic) {
	t.Helper()
	found := map[int][]diag.Diagnostic{}
	w := &world{}
	c := &HostContext{Host: &config.Host{Name: name}, Objects: w, Global: w.global, Report: func(i int, _ string, d diag.Diagnostic) { found[i] = append(found[i], d) }}
	for _, pairs := range members {
		v, _, _ := parseOne(t, permissive, pairs...)
		c.Members = append(c.Members, Member{Values: v, Namespace: "ns", Ingress: "ing"})
	}
	for _, f := range Features() {
		if f.Host != nil && f.Name == which {
			f.Host(c)
		}
	}
	return c, found
}

func TestOldestIngressSettlesWhatAHostShares(t *testing.T) {
	c, found := hostOf(t, "app-root", "a.test", nil, []string{"app-root", "/one"}, []string{"app-root", "/two"}, []string{"app-root", "/one"})
	if d := cmp.Diff([]filter.Config{approot.Config{To: "/one"}}, c.Host.Filters); d != "" || len(found) != 1 || len(found[2]) != 1 {
		t.Errorf("-want +got\n%s findings %+v", d, found)
	}
	c, found = hostOf(t, "server-alias", "a.test", []string{"server-alias", ","}, []string{"server-alias", "B.test,b.test,~^x[0-9]+$,*.c.test"}, []string{"server-alias", "z.test"})
	if d := cmp.Diff([]string{"b.test", "~^x[0-9]+$", "*.c.test"}, c.Aliases); d != "" || c.AliasMember != 1 || len(found[2]) != 1 {
		t.Errorf("-want +got\n%s member %d, findings %+v", d, c.AliasMember, found)
	}
	c, found = hostOf(t, "ssl-ciphers", "a.test", nil, []string{"ssl-ciphers", "ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384"})
	if c.Host.TLS == nil || len(c.Host.TLS.Ciphers) != 1 || len(found[1]) != 1 || found[1][0].Severity != diag.Info {
		t.Errorf("TLS %+v, findings %+v", c.Host.TLS, found)
	}
	c, found = hostOf(t, "ssl-ciphers", "a.test", []string{"ssl-ciphers", "DHE-RSA-AES256-GCM-SHA384"})
	if c.Host.TLS != nil || len(found[0]) != 1 {
		t.Errorf("TLS %+v, findings %+v", c.Host.TLS, found)
	}
}

func TestCounterpartNameRedirects(t *testing.T) {
	for name, want := range map[string]bool{"a.test": true, "www.a.test": true, "*.a.test": false, "_": false} {
		c, _ := hostOf(t, "from-to-www-redirect", name, []string{"from-to-www-redirect", "false"}, []string{"from-to-www-redirect", "true"})
		if (len(c.WWW) == 1) != want {
			t.Errorf("%s: %+v", name, c.WWW)
		}
		if want && c.WWW[0] != (hostredirect.Config{To: name, Status: 308}) {
			t.Errorf("%s: %+v", name, c.WWW[0])
		}
	}
	if c, _ := hostOf(t, "from-to-www-redirect", "a.test", []string{"from-to-www-redirect", "true", "temporal-redirect", "/x"}); c.WWW != nil {
		t.Errorf("a malformed temporal-redirect leaves %+v", c.WWW)
	}
}

func TestOrderOfFeaturesDoesNotMatter(t *testing.T) {
	w := &world{cm: map[string]string{"custom-http-errors": "404", "hide-headers": "X-A"}, services: map[string]bool{"errs": true}}
	run := func() (*config.Route, string) {
		v, _, _ := parseOne(t, Options{Risk: Critical, AllowSnippets: true, Global: w.global},
			"rewrite-target", "/$1", "enable-cors", "true", "permanent-redirect", "/x", "relative-redirects", "true", "default-backend", "errs",
			"configuration-snippet", `more_set_headers "A: b";`, "limit-rps", "5", "proxy-read-timeout", "10", "upstream-vhost", "a.test")
		c := &RouteContext{Values: v, Objects: w, Namespace: "ns", Ingress: "ing", Host: "a.test", Path: "/(.*)", Global: w.global, Report: func(string, diag.Diagnostic) {},
			Route: &config.Route{Action: config.Action{Forward: &config.Forward{}}}}
		for _, f := range features {
			if f.Route != nil {
				f.Route(c)
			}
		}
		sort.Slice(c.Route.Filters, func(i, j int) bool { return c.Route.Filters[i].FilterName() < c.Route.Filters[j].FilterName() })
		var names []string
		for _, f := range c.Route.Filters {
			names = append(names, f.FilterName())
		}
		return c.Route, strings.Join(names, " ")
	}
	before := append([]Feature(nil), features...)
	defer func() { features = before }()
	want, names := run()
	for range 20 {
		features = append([]Feature(nil), before...)
		rand.Shuffle(len(features), func(i, j int) { features[i], features[j] = features[j], features[i] })
		if got, n := run(); !reflect.DeepEqual(got, want) {
			t.Fatalf("the order changes the route: %s; before: %s", n, names)
		}
	}
}
