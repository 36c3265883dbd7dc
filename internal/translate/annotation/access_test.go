package annotation

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
)

func passwords() *cluster {
	return &cluster{
		secrets: map[string]map[string][]byte{
			"default/ht":    {"auth": []byte("u:{PLAIN}p\nbad:xyz\n")},
			"default/map":   {"bob": []byte("{PLAIN}b\nroot:{PLAIN}r\n"), "alice": []byte(" {PLAIN}a ")},
			"default/wrong": {"users": []byte("u:{PLAIN}p"), "../../auth": []byte("x"), "a/b": []byte("y")},
			"other/ht":      {"auth": []byte("u:{PLAIN}p")},
			"a-b/c":         {"auth": []byte("u:{PLAIN}one")},
			"a/b-c":         {"auth": []byte("u:{PLAIN}two")},
		},
		configMaps: map[string]map[string]string{
			"default/fields":  {"X-Extra": "v", "Connection": "close", "X-Var": "$host $nope"},
			"default/broken":  {"X-Extra": "a\r\nb"},
			"default/badname": {"X Extra": "a"},
			"default/dotted":  {"X.Extra": "a"},
			"other/fields":    {"X-Extra": "v"},
		},
	}
}

func accessOf(t *testing.T, m *made) access.Config {
	t.Helper()
	f, ok := filterOf[access.Config](m)
	if !ok {
		t.Fatalf("no access filter; findings %q", m.findings)
	}
	return f
}

func nets(s ...string) (out filter.Prefixes) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestPasswordOfASecret(t *testing.T) {
	w := passwords()
	m := w.route(t, []string{"auth-type: basic", "auth-secret: ht", "auth-realm: Please log in - foo"})
	f := accessOf(t, m)
	if f.Password == nil || f.Password.Digest || f.Password.Realm != "Please log in - foo" || string(f.Password.File) != "u:{PLAIN}p\nbad:xyz\n" || m.denied() {
		t.Errorf("%#v, denied %q", f, m.Deny)
	}
	if fields, ok := filterOf[access.Fields](m); !ok || !fields.DropAuthorization {
		t.Error("the password would reach the endpoint")
	}
	if !m.has(diag.ReferenceInvalid) || strings.Contains(strings.Join(m.findings, ""), "xyz") {
		t.Errorf("findings %q: want one about the user bad, without the hash", m.findings)
	}
	m = w.route(t, []string{"auth-type: basic", "auth-secret: default/map", "auth-secret-type: auth-map"})
	if got := string(accessOf(t, m).Password.File); got != "alice:{PLAIN}a\nbob:{PLAIN}b\n" {
		t.Errorf("map: %q", got)
	}
	m = w.route(t, []string{"auth-type: digest", "auth-secret: ht"})
	if !accessOf(t, m).Password.Digest || !m.has(diag.ReferenceInvalid) {
		t.Errorf("digest: findings %q", m.findings)
	}
	m = w.route(t, []string{"auth-secret: ht"})
	if _, ok := filterOf[access.Config](m); ok || m.denied() || !m.has(diag.SecurityAdvice) {
		t.Errorf("auth-secret alone: denied %v, findings %q", m.denied(), m.findings)
	}
}

func TestRealmOffKeepsThePassword(t *testing.T) {
	m := passwords().route(t, []string{"auth-type: basic", "auth-secret: ht", "auth-realm: off"})
	if f := accessOf(t, m); f.Password == nil || f.Password.Realm != "off" {
		t.Errorf("%#v", f)
	}
}

func TestS10_1_WhatCannotBeResolvedDenies(t *testing.T) {
	w := passwords()
	for _, a := range [][]string{
		{"auth-type: basic"},
		{"auth-type: basic", "auth-secret"},
		{"auth-type: basic", "auth-secret: missing"},
		{"auth-type: basic", "auth-secret: wrong"},
		{"auth-type: nonsense", "auth-secret: ht"},
		{"auth-type: basic", "auth-secret: ht", "auth-secret-type: file"},
		{"auth-url: http://auth.test/", "auth-proxy-set-headers: default/missing"},
		{"auth-url: http://auth.test/", "auth-proxy-set-headers: default/broken"},
		{"auth-url: http://auth.test/", "auth-proxy-set-headers: default/badname"},
		{"auth-url: http://auth.test/", "auth-proxy-set-headers: default/dotted"},
		{"auth-url: http://auth.test/", "auth-method: FETCH"},
		{"auth-url: http://auth.test/", "auth-method: xGETx"},
		{"auth-url: http://auth.test/", "auth-response-headers: X User"},
		{"auth-url: http://auth.test/", "auth-request-redirect: http://a.test/$x"},
		{"auth-url: http://auth.test/", "auth-cache-duration: 200 soon"},
		{"auth-url: http://auth.test/", "auth-cache-duration: 200 5m;"},
		{"auth-url: http://auth.test/", "auth-always-set-cookie: maybe"},
		{"auth-url: auth.test/x"},
		{"auth-url: ftp://auth.test/x"},
		{"auth-url: http:///x"},
		{"auth-url: http://a..b/x"},
		{"auth-url: http://auth.test/$nope"},
		{"auth-url: http://$http_x_auth/"},
		{"auth-url: http://$arg_auth.test/"},
		{"auth-url: http://auth.test/\";evil"},
		{"allowlist-source-range: not-a-cidr"},
		{"whitelist-source-range: 10.0.0.0/8,nope"},
		{"allowlist-source-range"},
		{"denylist-source-range: 10.0.0.0/99"},
		{"auth-tls-secret: default/missing"},
		{"proxy-ssl-secret: default/missing"},
	} {
		if m := w.route(t, a); !m.denied() || len(m.findings) == 0 {
			t.Errorf("%q: denied %v, findings %q", a, m.denied(), m.findings)
		}
	}
}

func TestS3_4_ReferencesStayInTheirNamespace(t *testing.T) {
	w := passwords()
	for _, allowed := range []bool{false, true} {
		w.global = map[string]string{"allow-cross-namespace-resources": map[bool]string{true: "true", false: "false"}[allowed]}
		for ref, want := range map[string]bool{
			"other/ht": allowed, " other/ht": allowed, "default/ht": true, "ht": true,
			"other//ht": false, "/ht": false, "other/": false, "other%2Fht": false, "other/ht/x": false, "../other/ht": false, "other:ht": false,
		} {
			m := w.route(t, []string{"auth-type: basic", "auth-secret: " + ref})
			if m.denied() == want {
				t.Errorf("cross %v, auth-secret %q: denied %v, findings %q", allowed, ref, m.denied(), m.findings)
			}
		}
		for _, a := range []string{"auth-proxy-set-headers: other/fields"} {
			if m := w.route(t, []string{"auth-url: http://auth.test/", a}); m.denied() == allowed {
				t.Errorf("cross %v, %s: denied %v", allowed, a, m.denied())
			}
		}
	}
}

func TestS3_1_SecretsAreToldApartByNamespaceAndName(t *testing.T) {
	w := passwords()
	inNamespace := func(ns string) place { return func(c *RouteContext) { c.Namespace = ns } }
	one := w.route(t, []string{"auth-type: basic", "auth-secret: c"}, inNamespace("a-b"))
	two := w.route(t, []string{"auth-type: basic", "auth-secret: b-c"}, inNamespace("a"))
	if string(accessOf(t, one).Password.File) != "u:{PLAIN}one" || string(accessOf(t, two).Password.File) != "u:{PLAIN}two" {
		t.Error("a-b/c and a/b-c are mixed up")
	}
}

func TestServiceOfAnIngress(t *testing.T) {
	w := passwords()
	m := w.route(t, []string{
		"auth-url: http://auth.test:8090/check?x=1", "auth-method: POST", "auth-signin: https://login.test/start", "auth-signin-redirect-param: origUrl",
		"auth-response-headers: X-Auth-User, x-auth-user, X-Auth-Groups,, Host", "auth-proxy-set-headers: default/fields", "auth-request-redirect: http://back.test/",
		"auth-cache-key: $cookie_session", "auth-cache-duration: 200 202 10m, 401 1m, 5s", "auth-always-set-cookie: true", "auth-keepalive: 10",
	}, atPath("/shop"))
	want := &access.External{
		URL: "http://auth.test:8090/check?x=1", Path: "/_external-auth-L3Nob3A-Prefix", Method: "POST",
		SignIn: "https://login.test/start?origUrl=$pass_access_scheme://$http_host$escaped_request_uri",
		Fields: []string{"X-Auth-User", "X-Auth-Groups"}, Set: []access.Field{{Name: "X-Extra", Value: "v"}, {Name: "X-Var", Value: "$host $nope"}},
		Redirect: "http://back.test/", CacheKey: "$cookie_session", AlwaysSetCookie: true,
		CacheFor: []access.CacheRule{{Codes: []int{200, 202}, For: 10 * time.Minute}, {Codes: []int{401}, For: time.Minute}, {For: 5 * time.Second}},
	}
	if got := accessOf(t, m).External; !reflect.DeepEqual(got, want) {
		t.Errorf("\n%+v\nwant\n%+v", got, want)
	}
	if m.denied() || !m.has(diag.AnnotationNoEffect) {
		t.Errorf("denied %q, findings %q", m.Deny, m.findings)
	}
	if f, ok := filterOf[access.Fields](m); !ok || !slices.Equal(f.Names, want.Fields) || f.DropAuthorization {
		t.Errorf("fields %+v", f)
	}
	if _, err := accessOf(t, m).Build(env()); err != nil {
		t.Errorf("it does not build: %v", err)
	}
}

func env() *filter.Env {
	kept := map[string]any{}
	return &filter.Env{Now: time.Now, Keep: func(k string, mk func() any) any {
		if kept[k] == nil {
			kept[k] = mk()
		}
		return kept[k]
	}}
}

func TestSignInParameter(t *testing.T) {
	w := passwords()
	const wanted = "=$pass_access_scheme://$http_host$escaped_request_uri"
	for signin, want := range map[string]string{
		"https://login.test/":                                "https://login.test/?rd" + wanted,
		"https://login.test/?a=b":                            "https://login.test/?a=b&rd" + wanted,
		"https://login.test/?rd=x":                           "https://login.test/?rd=x",
		"https://$host/oauth2/start?rd=$escaped_request_uri": "https://$host/oauth2/start?rd=$escaped_request_uri",
		"https://login.test/$nope":                           "",
		"https://login.test/{x}":                             "",
	} {
		m := w.route(t, []string{"auth-url: http://auth.test/", "auth-signin: " + signin})
		if got := accessOf(t, m).External.SignIn; got != want || m.denied() {
			t.Errorf("%s: %q, want %q (denied %v)", signin, got, want, m.denied())
		}
	}
}

func TestS6_5_KeysThatAreTheSameForAllAreNotUsed(t *testing.T) {
	w := passwords()
	for key, want := range map[string]bool{
		"$http_authorization": true, "$cookie_session": true, "x$remote_user": true, "$remote_addr": true,
		"constant": false, "$host": false, "$request_uri": false, "$http_host": false,
	} {
		m := w.route(t, []string{"auth-url: http://auth.test/", "auth-cache-key: " + key})
		if got := accessOf(t, m).External.CacheKey != ""; got != want || m.has(diag.SecurityAdvice) == want {
			t.Errorf("%s: used %v, findings %q", key, got, m.findings)
		}
	}
}

func TestAClientMustNotChooseItsJudge(t *testing.T) {
	w := passwords()
	for _, c := range []struct {
		url, host string
		denied    bool
	}{
		{"https://$host/oauth2/auth", "shop.test", false}, {"https://$host/oauth2/auth", "*.shop.test", false},
		{"https://$host/oauth2/auth", "_", true}, {"https://$http_host/x", "_", true}, {"http://auth.test/$host", "_", false},
		{"http://auth.$namespace.svc/x", "_", false},
	} {
		if m := w.route(t, []string{"auth-url: " + c.url}, atHost(c.host)); m.denied() != c.denied {
			t.Errorf("%s on %s: denied %v, findings %q", c.url, c.host, m.denied(), m.findings)
		}
	}
}

func TestGlobalService(t *testing.T) {
	w := passwords()
	w.global = map[string]string{
		"global-auth-url": "http://auth.test/check", "global-auth-response-headers": "X-Auth-User", "global-auth-signin": "http://login.test/go",
		"no-auth-locations": "/.well-known/acme-challenge,/free",
	}
	f := accessOf(t, w.route(t, nil)).External
	if f.URL != "http://auth.test/check" || f.SignIn != "http://login.test/go?rd=$pass_access_scheme://$http_host$escaped_request_uri" || !slices.Equal(f.Fields, []string{"X-Auth-User"}) {
		t.Errorf("%+v", f)
	}
	if _, ok := filterOf[access.Config](w.route(t, []string{"enable-global-auth: false"})); ok {
		t.Error("enable-global-auth: false is asked all the same")
	}
	own := accessOf(t, w.route(t, []string{"auth-url: http://own.test/"})).External
	if own.URL != "http://own.test/" || own.SignIn != "" || own.Fields != nil {
		t.Errorf("the own service has something of the global one: %+v", own)
	}
}

func TestS4_7_NoAuthLocationsAreComparedByElement(t *testing.T) {
	w := passwords()
	w.global = map[string]string{"global-auth-url": "http://auth.test/", "no-auth-locations": "/.well-known/acme-challenge,/free"}
	for path, asked := range map[string]bool{
		"/free": false, "/free/x": false, "/freedom": true, "/": true, "/.well-known/acme-challenge": false,
		"/.well-known/acme-challengeX": true, "/x/free": true, "/free|/secret": true,
	} {
		m := w.route(t, []string{"auth-type: basic", "auth-secret: ht"}, atPath(path))
		f, ok := filterOf[access.Config](m)
		if got := ok && f.External != nil && f.Password != nil; got != asked {
			t.Errorf("%s: asked %v, want %v", path, got, asked)
		}
	}
	// Address lists are no authentication: they hold there, too.
	m := w.route(t, []string{"allowlist-source-range: 10.0.0.0/8"}, atPath("/free"))
	if f := accessOf(t, m); !f.AllowOnly || f.External != nil {
		t.Errorf("%+v", f)
	}
}

func TestS10_1_BrokenGlobalAuthDeniesEverybodyItProtects(t *testing.T) {
	for key, value := range map[string]string{
		"global-auth-url": "not a url", "global-auth-response-headers": "X User;", "global-auth-cache-duration": "soon",
	} {
		w := passwords()
		w.global = map[string]string{"global-auth-url": "http://auth.test/", "global-auth-cache-key": "$http_authorization"}
		w.global[key] = value
		if m := w.route(t, nil); !m.denied() || !m.has(diag.ConfigMapValue) {
			t.Errorf("%s: denied %v, findings %q", key, m.denied(), m.findings)
		}
		for _, free := range []string{"enable-global-auth: false", "auth-url: http://own.test/"} {
			if m := w.route(t, []string{free}); m.denied() {
				t.Errorf("%s with %s: denied %q", key, free, m.Deny)
			}
		}
	}
	w := passwords()
	w.global = map[string]string{"whitelist-source-range": "10.0.0.0/8,nope"}
	if m := w.route(t, nil); !m.denied() {
		t.Error("a broken whitelist-source-range lets everybody in")
	}
}

func TestAddressLists(t *testing.T) {
	w := passwords()
	w.global = map[string]string{"whitelist-source-range": "10.99.0.0/24", "denylist-source-range": "10.99.0.102/32"}
	for _, c := range []struct {
		annotations []string
		want        access.Config
	}{
		{nil, access.Config{Allow: nets("10.99.0.0/24"), AllowOnly: true, Deny: nets("10.99.0.102/32")}},
		{[]string{"whitelist-source-range: 192.0.2.1, 2001:db8::/32"}, access.Config{Allow: nets("192.0.2.1/32", "2001:db8::/32"), AllowOnly: true, Deny: nets("10.99.0.102/32")}},
		{[]string{"allowlist-source-range: 192.0.2.1", "whitelist-source-range: 192.0.2.2", "satisfy: any"}, access.Config{Allow: nets("192.0.2.1/32"), AllowOnly: true, Deny: nets("10.99.0.102/32"), Any: true}},
		{[]string{"denylist-source-range: 192.0.2.1", "satisfy: maybe"}, access.Config{Allow: nets("10.99.0.0/24"), AllowOnly: true, Deny: nets("192.0.2.1/32")}},
	} {
		if got := accessOf(t, w.route(t, c.annotations)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q:\n%+v\nwant\n%+v", c.annotations, got, c.want)
		}
	}
	if _, ok := filterOf[access.Config](passwords().route(t, nil)); ok {
		t.Error("a route without any of it has the filter")
	}
}

func TestChainOfForwardedForIsAskedForByTheConfigMap(t *testing.T) {
	w := passwords()
	w.global = map[string]string{"use-forwarded-headers": "true", "compute-full-forwarded-for": "true"}
	if got := accessOf(t, w.route(t, []string{"auth-url: http://auth.test/"})).External.ForwardedFor; got != "X-Forwarded-For" {
		t.Errorf("%q", got)
	}
}
