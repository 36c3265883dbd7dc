package enginetest

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
)

// second is what an attacker hopes to have served behind a confusing first request.
const second = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"

// smuggling are requests whose end or meaning two servers might see differently. Each must be
// refused with the status and the connection closed, and nothing behind it served.
var smuggling = []struct {
	name, raw string
	status    int
}{
	{"both lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"both lengths, other order", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
	{"two lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 400},
	{"two equal lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
	{"list of lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0, 0\r\n\r\n", 400},
	{"list of different lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5, 6\r\n\r\n", 400},
	{"length with plus", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +0\r\n\r\n", 400},
	{"length with minus", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -0\r\n\r\n", 400},
	{"length in hex", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x0\r\n\r\n", 400},
	{"empty length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n\r\n", 400},
	{"huge length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
	{"length over 63 bits", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9223372036854775808\r\n\r\n", 400},
	{"length with text", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1a\r\n\r\n", 400},
	{"length with inner space", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1 0\r\n\r\n", 400},
	{"length with NUL", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\x00\r\n\r\n", 400},
	{"space before colon of length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 0\r\n\r\n", 400},
	{"coding twice", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding list", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501},
	{"coding identity last", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
	{"coding identity first", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501},
	{"coding misspelt", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
	{"coding with parameter", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 501},
	{"coding quoted", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501},
	{"coding other", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
	{"coding with vertical tab", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400},
	{"coding behind NUL", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: \x00chunked\r\n\r\n0\r\n\r\n", 400},
	{"empty coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
	{"space before colon of coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
	{"tab before colon of coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding folded", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
	{"field folded", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n c\r\n\r\n", 400},
	{"first field folded", "GET / HTTP/1.1\r\n Host: a.test\r\nHost: a.test\r\n\r\n", 400},
	{"bare CR in value", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\n", 400},
	{"bare CR in name", "GET / HTTP/1.1\r\nHost: a.test\r\nX\r-A: b\r\n\r\n", 400},
	{"NUL in value", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\x00c\r\n\r\n", 400},
	{"NUL in name", "GET / HTTP/1.1\r\nHost: a.test\r\nX\x00A: b\r\n\r\n", 400},
	{"control character in value", "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: \x01\r\n\r\n", 400},
	{"empty field name", "GET / HTTP/1.1\r\nHost: a.test\r\n: b\r\n\r\n", 400},
	{"space in field name", "GET / HTTP/1.1\r\nHost: a.test\r\nX A: b\r\n\r\n", 400},
	{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400},
	{"two equal hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", 400},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	{"host with slash", "GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", 400},
	{"host with user", "GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", 400},
	{"space before colon of host", "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n", 400},
	{"HTTP/2.0 in a line", "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 505},
	{"HTTP/3.0 in a line", "GET / HTTP/3.0\r\nHost: a.test\r\n\r\n", 505},
	{"HTTP/0.5 in a line", "GET / HTTP/0.5\r\nHost: a.test\r\n\r\n", 400},
	{"lower-case version", "GET / http/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"version with text", "GET / HTTP/1.1x\r\nHost: a.test\r\n\r\n", 400},
	{"lower-case method", "get / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"tab in request line", "GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"control character in target", "GET /\x01 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"NUL in target", "GET /\x00 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"encoded NUL in target", "GET /%00 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"bad escape in target", "GET /%zz HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"target above the root", "GET /a/../../b HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"target without slash", "GET a HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"other scheme", "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400},
	{"CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 400},
	{"TRACE", "TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 405},
	{"TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 400},
	{"garbage", "GARBAGE\r\n\r\n", 400},
	{"upgrade with a body", "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx", 400},
}

var refused = []test{
	{"S7_1_ConfusingRequestsAreRefused", nil, func(t *testing.T, b *lab) {
		for _, c := range smuggling {
			for _, before := range []string{"", "GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n"} {
				was := b.h.forwarded.Load()
				cl := b.dial().raw(before + c.raw + second)
				if before != "" {
					cl.want(200, "GET /first host=a.test")
					was++
				}
				r, err := http.ReadResponse(cl.br, nil)
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					continue
				}
				if r.StatusCode != c.status || !r.Close {
					t.Errorf("%s: got %d, close %v, want %d and close", c.name, r.StatusCode, r.Close, c.status)
				}
				if rest := cl.rest(); strings.Contains(rest, "HTTP/1.1 200") {
					t.Errorf("%s: something behind it was served: %q", c.name, rest)
				}
				if n := b.h.forwarded.Load() - was; n != 0 {
					t.Errorf("%s: %d requests reached the handler", c.name, n)
				}
			}
		}
	}},
	{"BareLineFeedsEndLines", nil, func(t *testing.T, b *lab) {
		b.dial().raw("GET / HTTP/1.1\nHost: a.test\nX-A: b\n\n").want(200, "GET / host=a.test x-a=b")
	}},
	{"S8_2_LimitsOfTheHead", nil, func(t *testing.T, b *lab) {
		long := func(n int) string { return strings.Repeat("h", n) }
		for _, c := range []struct {
			name, raw         string
			status, malformed int
		}{
			{"line within", "GET /" + long(7000) + " HTTP/1.1\nHost: a.test\n\n", 200, 0},
			{"line over", "GET /" + long(9000) + " HTTP/1.1\nHost: a.test\n\n", 414, 414},
			{"line without end", "GET /" + long(70000), 414, 414},
			{"field over", "GET / HTTP/1.1\nHost: a.test\nX-Big: " + long(9000) + "\n\n", 400, 494},
			{"four fields of 7000", "GET / HTTP/1.1\nHost: a.test\n" + strings.Repeat("X-Big: "+long(7000)+"\n", 4) + "\n", 200, 0},
			{"five fields of 7000", "GET / HTTP/1.1\nHost: a.test\n" + strings.Repeat("X-Big: "+long(7000)+"\n", 5) + "\n", 400, 494},
			{"ten thousand fields", "GET / HTTP/1.1\nHost: a.test\n" + strings.Repeat("X: y\n", 10000) + "\n", 400, 494},
		} {
			was := len(b.records(0))
			r := b.dial().send(c.raw).read("GET")
			if r.status != c.status {
				t.Errorf("%s: got %d, want %d", c.name, r.status, c.status)
			}
			if got := b.records(was + 1)[was]; got.malformed != c.malformed {
				t.Errorf("%s: Malformed is %d, want %d", c.name, got.malformed, c.malformed)
			}
		}
	}},
	{"S7_5_ConnectionCannotRemoveControlledFields", nil, func(t *testing.T, b *lab) {
		b.dial().send("GET / HTTP/1.1\nHost: a.test\nConnection: X-Mine, Authorization\nX-Mine: 1\nAuthorization: x\nKeep-Alive: 5\nProxy-Connection: x\n\n").
			want(200, "GET / host=a.test authorization=x proxy-connection=x")
		b.dial().send("GET / HTTP/1.1\nHost: a.test\nConnection:\nConnection: keep-alive\nX_Y: 1\nX.Z: 2\n\n").want(200, "GET / host=a.test")
	}},
	{"FieldNamesFollowTheSettings", func(g *config.Global) { g.UnderscoresAllowed, g.IgnoreInvalid = true, false }, func(t *testing.T, b *lab) {
		b.dial().send("GET / HTTP/1.1\nHost: a.test\nX_Y: 1\nX.Z: 2\nTransfer_Encoding: chunked\n\n").want(200, "GET / host=a.test x_y=1 x.z=2")
	}},
	{"AbsoluteTargetsAreReduced", nil, func(t *testing.T, b *lab) {
		b.dial().send("GET http://other.test/p?q HTTP/1.1\nHost: a.test\n\n").want(200, "GET /p?q host=other.test")
	}},
	{"EmptyLinesBeforeARequestAreIgnored", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("\n\n" + get)
		c.want(200, "GET / host=a.test")
		c.send("\n"+get).want(200, "GET / host=a.test")
	}},
	{"FramingOfResponsesIsTheEngines", nil, func(t *testing.T, b *lab) {
		c := b.dial().send(get)
		head := ""
		for {
			line, err := c.br.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "\r\n" {
				break
			}
			head += line
		}
		for _, field := range []string{"Content-Length: 17\r\n", "Connection: keep-alive\r\n"} {
			if strings.Count(head, field) != 1 {
				t.Errorf("head %q, want %q once", head, field)
			}
		}
		c.br = bufio.NewReader(c.c)
	}},
}
