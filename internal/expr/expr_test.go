package expr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

const defaultFormat = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id`

func sample() *exchange.Exchange {
	time.Local = time.UTC
	x := &exchange.Exchange{
		Conn: &exchange.Conn{
			Remote: netip.MustParseAddrPort("10.0.0.9:4711"),
			Local:  netip.MustParseAddrPort("10.0.0.1:80"),
			Port:   80,
			ID:     7,
		},
		Client: netip.MustParseAddrPort("203.0.113.7:4711"),
		Eff:    exchange.Effective{Scheme: "http", Host: "Shop.test:81", Port: "80"},
		ID:     "5d0c",
		Route: &exchange.RouteInfo{
			Host: "shop.test", Namespace: "shop", Ingress: "web", Service: "web", ServicePort: "80",
			Path: "/x", Upstream: "shop-web-80",
		},
		Captures: []string{"/x", "x", ""},
		Try: exchange.Attempts{{
			Addr: netip.MustParseAddrPort("10.1.2.3:8080"), Status: 200,
			Connect: 0, Header: 4 * time.Millisecond, Response: 4 * time.Millisecond, Bytes: 612,
		}},
		Stats: exchange.Stats{
			Start: time.Unix(1763717399, 996e6), Duration: 4 * time.Millisecond,
			RequestBytes: 78, BytesSent: 812, BodyBytesSent: 612, ConnRequests: 3,
		},
	}
	x.Req = exchange.Request{
		Method: "GET", Scheme: "http", Authority: "Shop.test:81", Host: "shop.test",
		Target: "/x?y=1&Z=a%20b", Path: "/x", Query: "y=1&Z=a%20b", HasQuery: true, Line: "GET /x?y=1 HTTP/1.1",
	}
	x.Req.Header.Add("User-Agent", "curl/8.5")
	x.Req.Header.Add("X-Forwarded-For", "1.2.3.4")
	x.Req.Header.Add("Cookie", "a=1; session=abc")
	x.Req.Header.Add("Cookie", "b=2")
	x.Req.Header.Add("Authorization", "Basic dXNlcjpwYXNz")
	x.Resp.Status = 200
	x.Resp.FromUpstream = true
	x.Resp.Header.Add("X-Auth-User", "eve")
	x.Resp.Header.Add("Set-Cookie", "k=v; Path=/")
	return x
}

func TestVariablesHaveTheValuesNginxGivesThem(t *testing.T) {
	cases := map[string]string{
		"$host":               "shop.test",
		"$http_host":          "Shop.test:81",
		"$http_user_agent":    "curl/8.5",
		"$http_cookie":        "a=1; session=abc; b=2",
		"$http_absent":        "",
		"$request_uri":        "/x?y=1&Z=a%20b",
		"$uri$is_args$args":   "/x?y=1&Z=a%20b",
		"$query_string":       "y=1&Z=a%20b",
		"$arg_z":              "a%20b",
		"$arg_Y":              "1",
		"$cookie_session":     "abc",
		"$cookie_B":           "2",
		"$request_method":     "GET",
		"$scheme":             "http",
		"$remote_addr":        "203.0.113.7",
		"$remote_port":        "4711",
		"$realip_remote_addr": "10.0.0.9",
		"$server_name":        "shop.test",
		"$server_port":        "80",
		"$server_protocol":    "HTTP/1.1",
		"$content_length":     "",
		"$req_id$request_id":  "5d0c5d0c",
		"$request_time":       "0.004",
		"$status":             "200",
		"$msec":               "1763717400.000",
		"$time_iso8601":       "2025-11-21T09:30:00+00:00",
		"$namespace/$ingress_name/$service_name/$service_port$location_path": "shop/web/web/80/x",
		"$proxy_upstream_name":               "shop-web-80",
		"[$proxy_alternative_upstream_name]": "[]",
		"$upstream_addr":                     "10.1.2.3:8080",
		"$upstream_connect_time":             "0.000",
		"$upstream_http_x_auth_user":         "eve",
		"$upstream_cookie_k":                 "v",
		"$sent_http_x_auth_user":             "eve",
		"$best_http_host":                    "Shop.test:81",
		"$pass_access_scheme:$pass_port":     "http:80",
		"$proxy_add_x_forwarded_for":         "1.2.3.4, 203.0.113.7",
		"$full_x_forwarded_for":              "1.2.3.4, 10.0.0.9",
		"$escaped_request_uri":               "%2Fx%3Fy%3D1%26Z%3Da%2520b",
		"$remote_user":                       "user",
		"$connection/$connection_requests":   "7/3",
		"$pipe":                              ".",
		"/a/$1/$2/$3":                        "/a/x//",
		"$12":                                "x2",
		"${1}b${host}c":                      "xbshop.testc",
		"$ssl_protocol$ssl_client_verify":    "",
		"plain":                              "plain",
		"":                                   "",
	}
	x := sample()
	for text, want := range cases {
		p, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			continue
		}
		if got := p.String(x); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestEveryVariableCopesWithAnEmptyExchange(t *testing.T) {
	for _, name := range append(Names(), "http_a", "arg_a", "cookie_a", "sent_http_a", "upstream_http_a", "1") {
		p, err := Parse("$" + name)
		if err != nil {
			t.Fatalf("$%s: %v", name, err)
		}
		p.String(&exchange.Exchange{})
	}
}

func TestUnknownVariableIsRefusedWithASuggestion(t *testing.T) {
	_, err := Parse("https://$hosst/")
	var unknown UnknownVariable
	if !errors.As(err, &unknown) || unknown.Name != "hosst" || unknown.Nearest != "host" {
		t.Fatalf("got %v, want an unknown variable near $host", err)
	}
	p, list := ParseLoose("a$nonsense_name$")
	if got := p.String(sample()); got != "a$nonsense_name$" || len(list) != 1 || list[0].Nearest != "" {
		t.Errorf("loose: %q, %v", got, list)
	}
	if _, ok := p.Constant(); !ok {
		t.Error("a loose text without known variables is constant")
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	for text, at := range map[string]int{"a$": 1, "$$": 0, "ab${host": 2, "${}": 0, "$-": 0} {
		_, err := Parse(text)
		var e SyntaxError
		if !errors.As(err, &e) || e.Offset != at {
			t.Errorf("Parse(%q): %v, want a syntax error at %d", text, err, at)
		}
	}
}

func TestExtraVariablesAreLookedUpLast(t *testing.T) {
	p, _, err := ParseWith("$auth_user@$host", Options{Extra: func(name string) (Func, bool) {
		return func(dst []byte, _ *exchange.Exchange) ([]byte, bool) { return append(dst, "me"...), true }, name == "auth_user"
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.String(sample()); got != "me@shop.test" {
		t.Error(got)
	}
}

func TestDefaultLogLine(t *testing.T) {
	p, unknown, err := ParseLog(defaultFormat+"\n", LogDefault)
	if err != nil || len(unknown) > 0 {
		t.Fatal(err, unknown)
	}
	x := sample()
	x.Req.Header.Del("Authorization")
	want := `203.0.113.7 - - [21/Nov/2025:09:30:00 +0000] "GET /x?y=1 HTTP/1.1" 200 612 "-" "curl/8.5" 78 0.004 [shop-web-80] [] 10.1.2.3:8080 612 0.004 200 5d0c`
	if got := string(p.Append(nil, x)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	x.Try = nil
	x.Resp.Status = 404
	if got := string(p.Append(nil, x)); !strings.HasSuffix(got, "- - - - 5d0c") {
		t.Errorf("without an attempt: %s", got)
	}
}

func TestAttemptsAreListed(t *testing.T) {
	p, _, _ := ParseLog("$upstream_addr|$upstream_status|$upstream_connect_time|$upstream_response_length", LogDefault)
	x := sample()
	a := exchange.Attempt{Addr: netip.MustParseAddrPort("10.1.2.2:8080"), Connect: -1, Header: -1, Response: time.Second}
	x.Try = exchange.Attempts{a, x.Try[0]}
	if got, want := p.String(x), "10.1.2.2:8080, 10.1.2.3:8080|502, 200|-, 0.000|0, 612"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	x.Try[1].Anew = true
	if got, want := p.String(x), "10.1.2.2:8080 : 10.1.2.3:8080|502 : 200|- : 0.000|0 : 612"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	x.Try, x.Resp.Status = exchange.Attempts{a}, 504
	if got, want := p.String(x), "10.1.2.2:8080|504|-|0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestValuesAreEscapedAndLiteralsAreNot(t *testing.T) {
	x := sample()
	x.Req.Header.Set("User-Agent", "a\"b\\c\n\x7f\xc3\xa9")
	cases := []struct {
		escape Escape
		want   string
	}{
		{LogDefault, `"a\x22b\x5Cc\x0A\x7F\xC3\xA9" -`},
		{LogJSON, `"a\"b\\c\n` + "\x7f\xc3\xa9\" null"},
		{LogNone, "\"a\"b\\c\\x0A\x7f\xc3\xa9\" -"},
	}
	for _, c := range cases {
		p, _, err := ParseLog(`"$http_user_agent" $http_referer`, c.escape)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(p.Append([]byte("x"), x)); got != "x"+c.want {
			t.Errorf("escape %d: got %q, want %q", c.escape, got[1:], c.want)
		}
	}
}

func TestJSONFormatIsValidWithoutValues(t *testing.T) {
	p, _, err := ParseLog(`{"ref":"$http_referer","up_dur":$upstream_response_time,"l":[$upstream_status],"s":$status}`, LogJSON)
	if err != nil {
		t.Fatal(err)
	}
	x := sample()
	x.Try = nil
	line := p.Append(nil, x)
	if !json.Valid(line) {
		t.Errorf("not JSON: %s", line)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	p, _, err := ParseLog(defaultFormat+`$arg_y $cookie_session $proxy_add_x_forwarded_for $escaped_request_uri $msec $time_iso8601`, LogDefault)
	if err != nil {
		t.Fatal(err)
	}
	x := sample()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = p.Append(buf[:0], x) }); n != 0 {
		t.Errorf("%v allocations per line", n)
	}
}

func TestClientCertificateVariables(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(0x0abc),
		Subject:      pkix.Name{Organization: []string{"Acme, Co"}, CommonName: "client"},
		NotBefore:    time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2035, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	x := sample()
	x.Conn.TLS = &tls.ConnectionState{
		Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		PeerCertificates: []*x509.Certificate{cert},
	}
	x.Conn.ClientVerify = "SUCCESS"
	for text, want := range map[string]string{
		"$ssl_protocol $ssl_cipher": "TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256",
		"$ssl_client_verify":        "SUCCESS",
		"$ssl_client_s_dn":          `CN=client,O=Acme\, Co`,
		"$ssl_client_i_dn_legacy":   "/O=Acme, Co/CN=client",
		"$ssl_client_serial":        "0ABC",
		"$ssl_client_v_start":       "Jan  2 03:04:05 2025 GMT",
	} {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.String(x); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{defaultFormat, "$", "${", "${a}", "$1$9$0", `{"a":$status}`, "$http_", "\\$host"} {
		f.Add(s)
	}
	x := sample()
	f.Fuzz(func(t *testing.T, text string) {
		loose, _ := ParseLoose(text)
		if p, err := Parse(text); err == nil {
			a, b := p.String(x), loose.String(x)
			if a != b && !strings.Contains(text, "$request_time") && !strings.Contains(text, "pid") {
				t.Errorf("strict %q, loose %q", a, b)
			}
			if len(p.Variables()) == 0 && a != text {
				t.Errorf("without variables %q became %q", text, a)
			}
		}
		for _, e := range []Escape{LogDefault, LogJSON, LogNone} {
			p, _, err := ParseLog(text, e)
			if err != nil {
				t.Fatalf("a log format is never refused: %v", err)
			}
			if line := p.Append(nil, x); strings.ContainsAny(string(line), "\r\n") {
				t.Errorf("line end in %q", line)
			}
		}
	})
}

func BenchmarkDefaultLogLine(b *testing.B) {
	p, _, _ := ParseLog(defaultFormat, LogDefault)
	x := sample()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0], x)
	}
}
