package forwarded

import (
	"net/netip"
	"sort"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// sent returns what an endpoint gets of a request with these fields.
func sent(t *testing.T, cfg Config, prepare func(*exchange.Exchange), fields ...string) *exchange.Exchange {
	t.Helper()
	f, err := cfg.Build(&filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	t.Cleanup(x.Release)
	x.Conn = &exchange.Conn{Remote: netip.MustParseAddrPort("10.99.0.101:55")}
	x.Client = x.Conn.Remote
	x.ID = "0123"
	x.Eff = exchange.Effective{Scheme: "http", Host: "fw0.test", Port: "80"}
	x.Req.Target = "/a%20b?c"
	for _, line := range fields {
		name, value, _ := strings.Cut(line, ": ")
		x.Req.Header.Add(name, value)
	}
	if prepare != nil {
		prepare(x)
	}
	x.Up.Header.CopyFrom(&x.Req.Header)
	f.(filter.OnUpstream).Upstream(x)
	return x
}

func lines(h *exchange.Fields) string {
	var out []string
	for n, v := range h.All() {
		out = append(out, n+": "+v)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

const base = `X-Forwarded-For: 10.99.0.101
X-Forwarded-Host: fw0.test
X-Forwarded-Port: 80
X-Forwarded-Proto: http
X-Forwarded-Scheme: http
X-Real-IP: 10.99.0.101
X-Request-ID: 0123
X-Scheme: http`

func TestFieldsOfAPlainRequest(t *testing.T) {
	x := sent(t, Config{}, nil)
	if got := lines(&x.Up.Header); got != base {
		t.Errorf("got\n%s\nwant\n%s", got, base)
	}
	if x.Up.Authority != "fw0.test" {
		t.Errorf("Host %q", x.Up.Authority)
	}
}

func TestS5_2_EndpointSeesOnlyLintelsOwnFields(t *testing.T) {
	x := sent(t, Config{}, nil,
		"X-Real-IP: 6.6.6.6", "x-real-ip: 7.7.7.7", "X-FORWARDED-FOR: 6.6.6.6", "X-Forwarded-For: 5.5.5.5", "X-Forwarded-Host: evil.test",
		"X-Forwarded-Port: 1", "X-Forwarded-Proto: https", "X-Forwarded-Scheme: https", "X-Scheme: https", "X-Request-ID: evil",
		"X-Original-Forwarded-For: forged", "X-Original-Forwarded-Host: forged")
	want := strings.Replace(base, "X-Real-IP", "X-Original-Forwarded-For: 6.6.6.6, 5.5.5.5\nX-Original-Forwarded-Host: evil.test\nX-Real-IP", 1)
	if got := lines(&x.Up.Header); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOtherFieldsTravelOn(t *testing.T) {
	x := sent(t, Config{}, nil, "Forwarded: for=1.1.1.1", "Via: 1.1 x", "X-Forwarded-Prefix: /p", "X-Original-URI: /y", "Accept-Encoding: br", "X-Scheming: 1")
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-Prefix", "X-Original-URI", "Accept-Encoding", "X-Scheming"} {
		if !x.Up.Header.Has(name) {
			t.Errorf("%s is lost", name)
		}
	}
}

func TestOptions(t *testing.T) {
	x := sent(t, Config{OriginalURI: true}, nil, "X-Original-URI: /forged")
	if got := x.Up.Header.Get("X-Original-URI"); got != "/a%20b?c" || x.Up.Header.Count("X-Original-URI") != 1 {
		t.Errorf("X-Original-URI %q", got)
	}
	x = sent(t, Config{FullFor: true}, func(x *exchange.Exchange) { x.Client = netip.MustParseAddrPort("1.2.3.4:0") }, "X-Forwarded-For: 1.2.3.4, 5.6.7.8")
	if got := x.Up.Header.Get("X-Forwarded-For"); got != "1.2.3.4, 5.6.7.8, 10.99.0.101" {
		t.Errorf("X-Forwarded-For %q", got)
	}
	x = sent(t, Config{FullFor: true}, func(x *exchange.Exchange) { x.Conn.ProxySrc = netip.MustParseAddrPort("8.8.8.8:1") })
	if got := x.Up.Header.Get("X-Forwarded-For"); got != "8.8.8.8" {
		t.Errorf("X-Forwarded-For %q", got)
	}
	x = sent(t, Config{ForHeader: "X-Client"}, nil, "X-Client: 3.3.3.3", "X-Forwarded-For: 4.4.4.4")
	if got := x.Up.Header.Get("X-Original-Forwarded-For"); got != "3.3.3.3" || x.Up.Header.Count("X-Forwarded-For") != 1 {
		t.Errorf("X-Original-Forwarded-For %q", got)
	}
	x = sent(t, Config{}, func(x *exchange.Exchange) { x.Eff.Port, x.ID = "", "" })
	if x.Up.Header.Has("X-Forwarded-Port") || x.Up.Header.Has("X-Request-ID") {
		t.Errorf("absent values are sent: %s", lines(&x.Up.Header))
	}
}

func TestUpstreamAllocatesNothing(t *testing.T) {
	f, _ := Config{}.Build(&filter.Env{})
	x := exchange.Acquire()
	defer x.Release()
	x.Conn = new(exchange.Conn)
	x.Client = netip.MustParseAddrPort("[2001:db8::1]:5")
	x.Eff = exchange.Effective{Scheme: "http", Host: "a.test", Port: "80"}
	x.ID = "1"
	x.Req.Header.Add("X-Forwarded-For", "1.2.3.4")
	if n := testing.AllocsPerRun(100, func() {
		x.Up.Header.CopyFrom(&x.Req.Header)
		f.(filter.OnUpstream).Upstream(x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := x.Up.Header.Get("X-Real-IP"); got != "2001:db8::1" {
		t.Errorf("X-Real-IP %q", got)
	}
}
