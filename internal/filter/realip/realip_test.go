package realip

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

var all = filter.Prefixes{netip.MustParsePrefix("0.0.0.0/0")}

func run(t *testing.T, cfg Config, conn exchange.Conn, scheme string, fields ...string) *exchange.Exchange {
	t.Helper()
	f, err := cfg.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	t.Cleanup(x.Release)
	x.Conn = &conn
	x.Req.Scheme, x.Req.Authority, x.Req.Host = scheme, "fw0.test", "fw0.test"
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ": ")
		x.Req.Header.Add(name, value)
	}
	if v := f.(filter.OnRequest).Request(x); v != exchange.Continue {
		t.Fatalf("verdict %v", v)
	}
	return x
}

func conn(remote string) exchange.Conn {
	return exchange.Conn{Remote: netip.MustParseAddrPort(remote), Port: 80}
}

func TestForwardedFieldsAreBelievedWhereConfigured(t *testing.T) {
	cfg := Config{Trusted: all, Walk: true, Forwarded: true, ForwardedFromAll: true}
	for _, c := range []struct {
		name, fields             string
		addr, scheme, host, port string
	}{
		{"none", "", "10.99.0.101", "http", "fw0.test", "80"},
		{"all", "X-Forwarded-For: 1.2.3.4|X-Forwarded-Proto: https|X-Forwarded-Host: other.test|X-Forwarded-Port: 444", "1.2.3.4", "https", "other.test", "444"},
		{"chain", "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 10.0.0.1", "1.2.3.4", "http", "fw0.test", "80"},
		{"two lines", "X-Forwarded-For: 1.2.3.4|X-Forwarded-For: 5.6.7.8", "1.2.3.4", "http", "fw0.test", "80"},
		{"bad address", "X-Forwarded-For: unknown", "10.99.0.101", "http", "fw0.test", "80"},
		{"with port", "X-Forwarded-For: 1.2.3.4:5555", "1.2.3.4", "http", "fw0.test", "80"},
		{"ipv6", "X-Forwarded-For: 2001:db8::1", "2001:db8::1", "http", "fw0.test", "80"},
		{"ipv6 stops the walk", "X-Forwarded-For: 1.2.3.4, 2001:db8::1", "2001:db8::1", "http", "fw0.test", "80"},
		{"bracketed", "X-Forwarded-For: [2001:db8::1]:99", "2001:db8::1", "http", "fw0.test", "80"},
		{"proto list", "X-Forwarded-Proto: https, http", "10.99.0.101", "https, http", "fw0.test", "80"},
		{"proto wrong", "X-Forwarded-Proto: ftp", "10.99.0.101", "ftp", "fw0.test", "80"},
		{"host list", "X-Forwarded-Host: first.test, second.test", "10.99.0.101", "http", "first.test", "80"},
		{"host that is none", "X-Forwarded-Host: a/b@c", "10.99.0.101", "http", "fw0.test", "80"},
		{"empty", "X-Forwarded-For: |X-Forwarded-Proto: |X-Forwarded-Host: ", "10.99.0.101", "http", "fw0.test", "80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fields []string
			if c.fields != "" {
				fields = strings.Split(c.fields, "|")
			}
			x := run(t, cfg, conn("10.99.0.101:1234"), "http", fields...)
			if x.Client.Addr().String() != c.addr || x.Eff != (exchange.Effective{Scheme: c.scheme, Host: c.host, Port: c.port}) {
				t.Errorf("client %s, %+v; want %s, %s %s %s", x.Client, x.Eff, c.addr, c.scheme, c.host, c.port)
			}
		})
	}
}

func TestS5_1_UntrustedPeerDoesNotChooseItsAddress(t *testing.T) {
	cfg := Config{Trusted: filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")}, Walk: true, Forwarded: true}
	long := "X-Forwarded-For: " + strings.Repeat("10.0.0.1, ", 1000) + "10.0.0.9"
	for _, c := range []struct{ peer, field, want string }{
		{"203.0.113.9:1", "X-Forwarded-For: 1.1.1.1", "203.0.113.9"},
		{"10.1.1.1:1", "X-Forwarded-For: 1.1.1.1", "1.1.1.1"},
		{"10.1.1.1:1", "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.2.2.2", "1.1.1.1"},
		{"10.1.1.1:1", "X-Forwarded-For: garbage, 10.2.2.2", "10.2.2.2"},
		{"10.1.1.1:1", "X-Forwarded-For: fe80::1%eth0", "10.1.1.1"},
		{"10.1.1.1:1", "X-Forwarded-For: ::ffff:1.2.3.4", "1.2.3.4"},
		{"10.1.1.1:1", "X-Forwarded-For: ,, ,", "10.1.1.1"},
		{"10.1.1.1:1", "X-Forwarded-For: 1.1.1.1:99999", "10.1.1.1"},
		{"10.1.1.1:1", long, "10.0.0.1"},
		{"[::ffff:10.1.1.1]:1", "X-Forwarded-For: 1.1.1.1", "1.1.1.1"},
	} {
		x := run(t, cfg, conn(c.peer), "http", c.field, "X-Forwarded-Proto: https")
		if got := x.Client.Addr().Unmap().String(); got != c.want {
			t.Errorf("peer %s, %.60s: client %s, want %s", c.peer, c.field, got, c.want)
		}
		if trusted := strings.Contains(c.peer, "10.1.1.1"); (x.Eff.Scheme == "https") != trusted {
			t.Errorf("peer %s: scheme %s", c.peer, x.Eff.Scheme)
		}
	}
}

func TestRealIPAloneLeavesTheOtherFields(t *testing.T) {
	x := run(t, Config{Trusted: all, Walk: true, Header: "X-Client"}, conn("10.0.0.1:1"), "http", "X-Client: 1.2.3.4", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https")
	if x.Client.Addr().String() != "1.2.3.4" || x.Eff.Scheme != "http" {
		t.Errorf("client %s, scheme %s", x.Client, x.Eff.Scheme)
	}
}

func TestProxyProtocol(t *testing.T) {
	for _, c := range []struct {
		name, src, dst     string
		addr, scheme, port string
	}{
		{"v1", "1.2.3.4:1111", "5.6.7.8:2222", "1.2.3.4", "http", "2222"},
		{"to 443", "[2001:db8::1]:1111", "[2001:db8::2]:443", "2001:db8::1", "https", "443"},
		{"unknown", "", "", "10.99.0.101", "http", ""},
	} {
		k := conn("10.99.0.101:5")
		if c.src != "" {
			k.ProxySrc, k.ProxyDst = netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		}
		x := run(t, Config{Trusted: all, Proxy: true}, k, "http")
		if x.Client.Addr().String() != c.addr || x.Eff.Scheme != c.scheme || x.Eff.Port != c.port {
			t.Errorf("%s: client %s, %+v", c.name, x.Client, x.Eff)
		}
	}
}

func TestProxyHeaderOfAnUntrustedPeerIsNotBelieved(t *testing.T) {
	k := conn("203.0.113.1:5")
	k.ProxySrc, k.ProxyDst = netip.MustParseAddrPort("1.2.3.4:1"), netip.MustParseAddrPort("5.6.7.8:80")
	x := run(t, Config{Trusted: filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")}, Proxy: true}, k, "http")
	if x.Client.Addr().String() != "203.0.113.1" {
		t.Errorf("client %s", x.Client)
	}
}

func TestHTTPSPortIsReportedAs443(t *testing.T) {
	k := conn("10.0.0.1:5")
	k.Port = 8443
	if x := run(t, Config{}, k, "https"); x.Eff.Port != "443" || x.Eff.Scheme != "https" {
		t.Errorf("%+v", x.Eff)
	}
	k.Port = 8080
	if x := run(t, Config{}, k, "http"); x.Eff.Port != "8080" {
		t.Errorf("%+v", x.Eff)
	}
}

func TestS5_2_FieldsOfLintelsOwnAreTakenFromClients(t *testing.T) {
	x := run(t, Config{}, conn("10.0.0.1:5"), "http",
		"Proxy: evil", "PROXY: evil", "X-Original-URL: /admin", "x_original_method: PUT", "X_Forwarded_For: 1.1.1.1", "x-Real_IP: 1.1.1.1",
		"ssl-client-verify: SUCCESS", "Ssl_Client_Cert: x", "SSL-Client-Subject-DN: x", "ssl-client-issuer-dn: x",
		"X-Kept: 1", "Forwarded: for=1.1.1.1", "X-Forwarded-Prefix: /p", "Proxyx: 1", "x_other: 1")
	var left []string
	for name := range x.Req.Header.All() {
		left = append(left, name)
	}
	if got := strings.Join(left, " "); got != "X-Kept Forwarded X-Forwarded-Prefix Proxyx x_other" {
		t.Errorf("left: %s", got)
	}
}

func TestRequestAllocatesNothing(t *testing.T) {
	f, _ := Config{Trusted: all, Walk: true, Forwarded: true, ForwardedFromAll: true}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	k := conn("10.0.0.1:5")
	x.Conn = &k
	x.Req.Scheme, x.Req.Authority = "http", "a.test"
	x.Req.Header.Add("X-Forwarded-For", "1.2.3.4, 5.6.7.8")
	x.Req.Header.Add("Accept", "*/*")
	if n := testing.AllocsPerRun(100, func() { f.(filter.OnRequest).Request(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzWalkNeverFails(f *testing.F) {
	f.Add("1.2.3.4, [::1]:80, x")
	f.Fuzz(func(t *testing.T, s string) {
		r := &realIP{Config{Trusted: all, Header: "X"}}
		var h exchange.Fields
		h.Add("X", s)
		if a := r.walk(&h, netip.MustParseAddrPort("9.9.9.9:1")); !a.Addr().IsValid() || a.Addr().Zone() != "" {
			t.Errorf("%q gives %v", s, a)
		}
	})
}
