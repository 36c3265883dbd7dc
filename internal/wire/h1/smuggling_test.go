package h1

import (
	"errors"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// post is a request whose fields are under test.
func post(fields string) string {
	return "POST / HTTP/1.1\r\nHost: v1.test\r\n" + fields + "\r\n"
}

func get(fields string) string {
	return "GET / HTTP/1.1\r\nHost: v1.test\r\n" + fields + "\r\n"
}

func status(err error) int {
	var h *HeadError
	if errors.As(err, &h) {
		return h.Status
	}
	return 0
}

// Statuses are those recorded for ingress-nginx where it was asked; else 400.
var smuggling = []struct {
	name, in string
	want     int
}{
	{"length and coding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
	{"coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
	{"coding and empty length", post("Transfer-Encoding: chunked\r\nContent-Length:\r\n"), 400},
	{"coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
	{"coding twice, other first", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), 400},
	{"coding twice, other last", post("Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n"), 400},
	{"xchunked", post("Transfer-Encoding: xchunked\r\n"), 501},
	{"chunked, identity", post("Transfer-Encoding: chunked, identity\r\n"), 501},
	{"identity, chunked", post("Transfer-Encoding: identity, chunked\r\n"), 501},
	{"chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n"), 501},
	{"gzip", post("Transfer-Encoding: gzip\r\n"), 501},
	{"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), 501},
	{"identity with length", post("Transfer-Encoding: identity\r\nContent-Length: 2\r\n"), 501},
	{"quoted chunked", post("Transfer-Encoding: \"chunked\"\r\n"), 501},
	{"chunked with parameter", post("Transfer-Encoding: chunked;q=1\r\n"), 501},
	{"empty coding", post("Transfer-Encoding:\r\n"), 400},
	{"coding without colon", post("Transfer-Encoding\r\n"), 400},
	{"vertical tab before chunked", post("Transfer-Encoding: \x0bchunked\r\n"), 400},
	{"form feed after chunked", post("Transfer-Encoding: chunked\x0c\r\n"), 400},
	{"NUL after chunked", post("Transfer-Encoding: chunked\x00\r\n"), 400},
	{"CR inside chunked", post("Transfer-Encoding: chun\rked\r\n"), 400},
	{"CR CR LF after chunked", post("Transfer-Encoding: chunked\r\r\n"), 400},
	{"nbsp before chunked", post("Transfer-Encoding: \xa0chunked\r\n"), 501},
	{"space before colon of coding", post("Transfer-Encoding : chunked\r\n"), 400},
	{"tab before colon of coding", post("Transfer-Encoding\t: chunked\r\n"), 400},
	{"vertical tab before colon", post("Transfer-Encoding\x0b: chunked\r\n"), 400},
	{"NUL in name", post("Transfer\x00-Encoding: chunked\r\n"), 400},
	{"space before name", post(" Transfer-Encoding: chunked\r\n"), 400},
	{"folded coding", post("Transfer-Encoding:\r\n chunked\r\n"), 400},
	{"folded with tab", post("X-A: b\r\n\tTransfer-Encoding: chunked\r\n"), 400},
	{"folded with bare LF", post("X-A: b\n Transfer-Encoding: chunked\r\n"), 400},
	{"fold before any field", "GET / HTTP/1.1\r\n Host: v1.test\r\n\r\n", 400},
	{"coding on HTTP/1.0", "POST / HTTP/1.0\r\nHost: v1.test\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"two lengths that agree", post("Content-Length: 2\r\nContent-Length: 2\r\n"), 400},
	{"two lengths that differ", post("Content-Length: 2\r\nContent-Length: 3\r\n"), 400},
	{"length list that agrees", post("Content-Length: 5,5\r\n"), 400},
	{"length list that differs", post("Content-Length: 5, 6\r\n"), 400},
	{"signed length", post("Content-Length: +5\r\n"), 400},
	{"negative length", post("Content-Length: -1\r\n"), 400},
	{"negative zero", post("Content-Length: -0\r\n"), 400},
	{"hexadecimal length", post("Content-Length: 0x5\r\n"), 400},
	{"length with underscore", post("Content-Length: 1_0\r\n"), 400},
	{"length with space", post("Content-Length: 1 0\r\n"), 400},
	{"fractional length", post("Content-Length: 5.0\r\n"), 400},
	{"empty length", post("Content-Length:\r\n"), 400},
	{"length of spaces", post("Content-Length:   \r\n"), 400},
	{"length without colon", post("Content-Length\r\n"), 400},
	{"length 2^63", post("Content-Length: 9223372036854775808\r\n"), 400},
	{"length 2^64+5", post("Content-Length: 18446744073709551621\r\n"), 400},
	{"length of twenty digits", post("Content-Length: 00000000000000000005\r\n"), 400},
	{"full-width digits", post("Content-Length: \xef\xbc\x95\r\n"), 400},
	{"NUL in length", post("Content-Length: 5\x00\r\n"), 400},
	{"space before colon of length", post("Content-Length : 5\r\n"), 400},
	{"empty name", post(": x\r\n"), 400},
	{"empty name after fields", post("X-A: b\r\n:\r\nTransfer-Encoding: chunked\r\n"), 400},
	{"space in name", get("Bad Header: x\r\n"), 400},
	{"DEL in name", get("X\x7f: x\r\n"), 400},
	{"NUL in value", get("X-A: a\x00b\r\n"), 400},
	{"escape in value", get("X-A: a\x1bb\r\n"), 400},
	{"bare CR in value", get("X-A: a\rX-B: b\r\n"), 400},
	{"bare CR ends the head", "GET / HTTP/1.1\r\nHost: v1.test\r\n\r\r\n\r\n", 400},
	{"bare CR after the request line", "GET / HTTP/1.1\rHost: v1.test\r\n\r\n", 400},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"empty Host on HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n\r\n", 400},
	{"two Hosts", get("Host: v1.test\r\n"), 400},
	{"space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	{"slash in Host", "GET / HTTP/1.1\r\nHost: v1.test/x\r\n\r\n", 400},
	{"user in Host", "GET / HTTP/1.1\r\nHost: a@v1.test\r\n\r\n", 400},
	{"bad port in Host", "GET / HTTP/1.1\r\nHost: v1.test:8o\r\n\r\n", 400},
	{"two colons in Host", "GET / HTTP/1.1\r\nHost: v1.test:80:81\r\n\r\n", 400},
	{"empty label in Host", "GET / HTTP/1.1\r\nHost: v1..test\r\n\r\n", 400},
	{"only a dot in Host", "GET / HTTP/1.1\r\nHost: .\r\n\r\n", 400},
	{"open bracket in Host", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
	{"zone in Host", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n", 400},
	{"HTTP/0.9 version", "GET / HTTP/0.9\r\n\r\n", 400},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: v1.test\r\n\r\n", 505},
	{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: v1.test\r\n\r\n", 505},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: v1.test\r\n\r\n", 400},
	{"HTTP/11.1", "GET / HTTP/11.1\r\nHost: v1.test\r\n\r\n", 400},
	{"lower-case version", "GET / http/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"version with a space", "GET / HTTP/1.1 \r\nHost: v1.test\r\n\r\n", 400},
	{"version with more", "GET / HTTP/1.1 x\r\nHost: v1.test\r\n\r\n", 400},
	{"garbage", "GARBAGE\r\n\r\n", 400},
	{"lower-case method", "get / HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"method with a digit", "GET1 / HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"space before the method", " GET / HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"tab after the method", "GET\t/ HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00", 400},
	{"TRACE", "TRACE / HTTP/1.1\r\nHost: v1.test\r\n\r\n", 405},
	{"CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: v1.test\r\n\r\n", 405},
	{"CONNECT to an authority", "CONNECT v1.test:443 HTTP/1.1\r\nHost: v1.test:443\r\n\r\n", 400},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"target without a slash", "GET a HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"target of a query", "GET ?x=1 HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"space in the target", "GET /?a=c d HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"tab in the target", "GET /tab\tx HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"NUL in the target", "GET /a\x00b HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"DEL in the target", "GET /a\x7f HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"foreign scheme", "GET ftp://v1.test/ HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"absolute form without a host", "GET http:///x HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"absolute form with a user", "GET http://a@v1.test/x HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"absolute form without Host", "GET http://v1.test/x HTTP/1.1\r\n\r\n", 400},
	{"scheme-relative authority", "GET //v1.test:x/../.. HTTP/1.1\r\nHost: v1.test\r\n\r\n", 400},
	{"upgrade with a body", post("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n"), 400},
	{"upgrade with chunks", post("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"), 400},
}

func TestS7_1_SmugglingIsRefused(t *testing.T) {
	if len(smuggling) < 60 {
		t.Fatalf("%d cases", len(smuggling))
	}
	for _, c := range smuggling {
		t.Run(c.name, func(t *testing.T) {
			_, _, r, err := parse(t, Limits{}, c.in)
			if got := status(err); got != c.want {
				t.Fatalf("%q: status %d (%v), want %d; request %+v", c.in, got, err, c.want, r)
			}
			// The same byte by byte, as a slow client sends it.
			p, r := new(RequestParser), new(exchange.Request)
			for i := 1; i <= len(c.in); i++ {
				if _, _, err = p.Parse([]byte(c.in[:i]), r); err != nil {
					break
				}
			}
			if got := status(err); got != c.want {
				t.Fatalf("%q byte by byte: status %d (%v), want %d", c.in, got, err, c.want)
			}
		})
	}
}

func TestS7_1_WellFormedLookAlikesPassOnce(t *testing.T) {
	cases := []struct {
		name, in, host, path string
		fields               string // name=value, space separated
		head                 RequestHead
	}{
		{"bare LF", "GET / HTTP/1.1\nHost: v1.test\n\n", "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"mixed line ends", "GET / HTTP/1.1\nHost: v1.test\r\nA: b\n\r\n", "v1.test", "/", "A=b", RequestHead{KeepAlive: true}},
		{"empty lines first", "\r\n\nGET / HTTP/1.1\r\nHost: v1.test\r\n\r\n", "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"two spaces", "GET  /x   HTTP/1.1\r\nHost: v1.test\r\n\r\n", "v1.test", "/x", "", RequestHead{KeepAlive: true}},
		{"no colon", get("NoColon\r\n"), "v1.test", "/", "NoColon=", RequestHead{KeepAlive: true}},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: v1.test\r\n\r\n", "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "", "/", "", RequestHead{}},
		{"HTTP/1.0 kept", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "", "/", "", RequestHead{KeepAlive: true}},
		{"close", get("Connection: close\r\n"), "v1.test", "/", "", RequestHead{}},
		{"close beats keep-alive", get("Connection: keep-alive, close\r\n"), "v1.test", "/", "", RequestHead{}},
		{"underscore names", post("Transfer_Encoding: chunked\r\nContent_Length: 7\r\nX_A: b\r\nX.A: b\r\n"), "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"names that are no tokens", get("X@A: b\r\nX(A: b\r\nX/A: c\r\n\xff: d\r\n"), "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"chunked in capitals", post("Transfer-Encoding: \tChunked \r\n"), "v1.test", "/", "", RequestHead{Framing: FrameChunked, Length: -1, KeepAlive: true}},
		{"length with zeros", post("Content-Length: 007\r\n"), "v1.test", "/", "", RequestHead{Framing: FrameLength, Length: 7, KeepAlive: true}},
		{"longest length", post("Content-Length: 9223372036854775807\r\n"), "v1.test", "/", "", RequestHead{Framing: FrameLength, Length: 1<<63 - 1, KeepAlive: true}},
		{"length zero", post("Content-Length: 0\r\nExpect: 100-continue\r\n"), "v1.test", "/", "", RequestHead{Framing: FrameLength, KeepAlive: true}},
		{"other expectation", post("Content-Length: 1\r\nExpect: something\r\n"), "v1.test", "/", "", RequestHead{Framing: FrameLength, Length: 1, KeepAlive: true}},
		{"absolute form", "GET http://E6.test:80/abs?x=1 HTTP/1.1\r\nHost: unknown.test\r\n\r\n", "e6.test", "/abs", "", RequestHead{KeepAlive: true}},
		{"absolute form without path", "GET HTTPS://e6.test HTTP/1.1\r\nHost: e6.test\r\n\r\n", "e6.test", "/", "", RequestHead{KeepAlive: true}},
		{"IPv6 host", "GET / HTTP/1.1\r\nHost: [::AB]:80\r\n\r\n", "[::ab]", "/", "", RequestHead{KeepAlive: true}},
		{"large port", "GET / HTTP/1.1\r\nHost: v1.test:99999\r\n\r\n", "v1.test", "/", "", RequestHead{KeepAlive: true}},
		{"obs-text", get("X-A: caf\xe9\r\n"), "v1.test", "/", "X-A=caf\xe9", RequestHead{KeepAlive: true}},
		{"unknown method", "PROP_FIND-X / HTTP/1.1\r\nHost: v1.test\r\n\r\n", "v1.test", "/", "", RequestHead{KeepAlive: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// A second request in the same segment must stay untouched.
			h, n, r, err := parse(t, Limits{}, c.in+"GET /next HTTP/1.1\r\n\r\n")
			if err != nil {
				t.Fatalf("%q: %v", c.in, err)
			}
			var f []string
			for name, value := range r.Header.All() {
				f = append(f, name+"="+value)
			}
			if n != len(c.in) || h != c.head || r.Host != c.host || r.Path != c.path || strings.Join(f, " ") != c.fields {
				t.Errorf("%q: took %d of %d, %+v, host %q, path %q, fields %q; want %+v, %q, %q, %q",
					c.in, n, len(c.in), h, r.Host, r.Path, f, c.head, c.host, c.path, c.fields)
			}
		})
	}
}

func TestS5_2_UnderscoreAliasesOfControlledFieldsNeverTravel(t *testing.T) {
	l := Limits{Policy: FieldPolicy{Underscores: true, KeepInvalid: true}}
	_, _, r, err := parse(t, l, get("X_Forwarded_For: 1\r\nX_Real-IP: 1\r\nTransfer_Encoding: x\r\nSSL_Client_Verify: y\r\nMy_Field: ok\r\nX.Dot: ok\r\nX@No: 1\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	var f []string
	for name := range r.Header.All() {
		f = append(f, name)
	}
	if s := strings.Join(f, " "); s != "My_Field X.Dot" {
		t.Errorf("fields %q", s)
	}
}

func TestS7_4_UpgradeNeedsTokenAndConnection(t *testing.T) {
	cases := []struct{ in, want string }{
		{get("Connection: Upgrade\r\nUpgrade: WebSocket\r\n"), "websocket"},
		{get("Connection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\n"), "SPDY/3.1"},
		{get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), "websocket"},
		{get("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), ""},
		{get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), ""},
		{get("Upgrade: websocket\r\n"), ""},
		{get("Connection: Upgrade\r\n"), ""},
		{get("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"), ""},
		{"GET / HTTP/1.0\r\nHost: v1.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", ""},
		// curl --http2 sends this with bodies; the upgrade is ignored, the request is good.
		{post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 3\r\n"), ""},
	}
	for _, c := range cases {
		_, _, r, err := parse(t, Limits{}, c.in)
		if err != nil || r.Upgrade != c.want || r.Header.Len() != 0 {
			t.Errorf("%q: upgrade %q, %d fields, error %v; want %q and none", c.in, r.Upgrade, r.Header.Len(), err, c.want)
		}
	}
}

func TestS7_5_ConnectionCannotRemoveControlledFields(t *testing.T) {
	for _, name := range controlled {
		if name == "Host" {
			continue
		}
		_, _, r, err := parse(t, Limits{}, get("Connection: "+strings.ToLower(name)+", x-hop\r\n"+name+": v\r\nX-Hop: v\r\n"))
		if err != nil || !r.Header.Has(name) || r.Header.Has("X-Hop") {
			t.Errorf("%s: error %v, kept %v, X-Hop kept %v", name, err, r.Header.Has(name), r.Header.Has("X-Hop"))
		}
	}
	for _, fields := range []string{"Connection:\r\n", "Connection: ,, ,\r\n", "Connection: close\r\nConnection: x-a\r\nX-A: 1\r\n", "Keep-Alive: 5\r\n"} {
		_, _, r, err := parse(t, Limits{}, get(fields))
		if err != nil || r.Header.Len() != 0 {
			t.Errorf("%q: error %v, %d fields", fields, err, r.Header.Len())
		}
	}
	if _, _, _, err := parse(t, Limits{}, get("Connection: "+strings.Repeat("a,", 40)+"\r\n")); status(err) != 400 {
		t.Errorf("40 names in Connection: %v", err)
	}
}

func TestS8_2_HeadLimits(t *testing.T) {
	big := func(n int) string { return strings.Repeat("h", n) }
	cases := []struct {
		name, in string
		want     int
	}{
		{"field of 7000", get("X-Big: " + big(7000) + "\r\n"), 0},
		{"field of 9000", get("X-Big: " + big(9000) + "\r\n"), StatusHeadTooLarge},
		{"field of 9000 that never ends", "GET / HTTP/1.1\r\nX-Big: " + big(9000), StatusHeadTooLarge},
		{"four of 7000", get(strings.Repeat("X-Big: "+big(7000)+"\r\n", 4)), 0},
		{"five of 7000", get(strings.Repeat("X-Big: "+big(7000)+"\r\n", 5)), StatusHeadTooLarge},
		{"target of 7000", "GET /" + big(7000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 0},
		{"target of 9000", "GET /" + big(9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"target of 9000 that never ends", "GET /" + big(9000), 414},
		{"150 fields", get(strings.Repeat("X: v\r\n", 150)), 0},
		{"10000 fields", get(strings.Repeat("a:\n", 10000)), StatusHeadTooLarge},
		{"empty lines without end", strings.Repeat("\r\n", 20000), StatusHeadTooLarge},
	}
	for _, c := range cases {
		_, _, _, err := parse(t, Limits{}, c.in)
		if got := status(err); got != c.want || (c.want == 0 && err != nil) {
			t.Errorf("%s: %v, want %d", c.name, err, c.want)
		}
	}
}

func TestRefusedHeadKeepsWhatTheLogNeeds(t *testing.T) {
	_, _, r, err := parse(t, Limits{}, "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n")
	if err == nil || r.Line != "GET /x HTTP/1.1" || r.Method != "GET" || r.Target != "/x" {
		t.Errorf("%v: line %q, method %q, target %q", err, r.Line, r.Method, r.Target)
	}
	_, _, r, err = parse(t, Limits{}, "\r\nGET /y HTTP/1.1\r\nX: "+strings.Repeat("x", 9000))
	if err == nil || r.Line != "GET /y HTTP/1.1" || r.Method != "GET" || r.Target != "/y" {
		t.Errorf("%v: line %q, method %q, target %q", err, r.Line, r.Method, r.Target)
	}
	_, _, r, err = parse(t, Limits{}, "GARBAGE\r\n")
	if err == nil || r.Line != "GARBAGE" {
		t.Errorf("%v: line %q", err, r.Line)
	}
}
