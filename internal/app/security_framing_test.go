package app

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// inner is a request that must never be seen as one: it stands where some take the body to be over.
const inner = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"

// Heads that frame a body in a way two parties could see differently; all are refused.
var refusedFields = []string{
	"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: chunked\r\nContent-Length: 0", "Content-Length:\r\nTransfer-Encoding: chunked",
	"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\ntransfer-encoding: cow",
	"Transfer-Encoding: xchunked", "Transfer-Encoding: chunkedx", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked,chunked", "Transfer-Encoding: gzip, chunked",
	"Transfer-Encoding: chunked;q=1", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: 'chunked'", "Transfer-Encoding:", "Transfer-Encoding: identity", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\x0c",
	"Transfer-Encoding: \x00chunked", "Transfer-Encoding: chunked\x00", "Transfer-Encoding: chun\rked", "Transfer-Encoding: chunked\r", "Transfer-Encoding: \xa0chunked", "Transfer-Encoding\r\n: chunked",
	"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding\x0b: chunked", "Transfer\x00-Encoding: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked", "Transfer-Encoding:\r\n chunked",
	"Transfer-Encoding:\r\n\tchunked", "X: y\r\n Transfer-Encoding: chunked", "X: y\n\tTransfer-Encoding: chunked", "Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked", "X: y\r\rTransfer-Encoding: chunked\r\nContent-Length: 5",
	"Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5\r\ncontent-length: 0", "Content-Length: 5,5", "Content-Length: 5, 6", "Content-Length: 5;6", "Content-Length: 5 6",
	"Content-Length: +5", "Content-Length: -5", "Content-Length: -0", "Content-Length: 0x5", "Content-Length: 5.0", "Content-Length: 5e0", "Content-Length: 1_0", "Content-Length: five", "Content-Length: ٥", "Content-Length:", "Content-Length: \"5\"",
	"Content-Length: 9223372036854775808", "Content-Length: 18446744073709551621", "Content-Length: 00000000000000000005", "Content-Length : 5", "Content-Length\t: 5", "Content-Length: 5\x00", "Content-Length: 5\x0b", "Content-Length\r\n: 5",
	": 5", "X: y\r\n: 5\r\nContent-Length: 5", "X\x7f: y", "X Y: z", "X: a\x00b", "X: a\rb",
	"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
}

// Chunked bodies that are broken somewhere; none may look whole to an endpoint.
var refusedChunks = []string{
	"+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
	"5\r\nhello0\r\n\r\n", "5\r\nhelloo\r\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", ";x\r\nhello\r\n0\r\n\r\n", "5;\x00\r\nhello\r\n0\r\n\r\n", "5;x\nhello\r\n0\r\n\r\n", "5;x\ry\r\nhello\r\n0\r\n\r\n",
	"10000000000000005\r\nhello\r\n0\r\n\r\n", "8000000000000000\r\nhello\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nX : y\r\n\r\n", "5\r\nhello\r\n0\r\n X: y\r\n\r\n", "5\r\nhello\r\n0\r\nX: a\x00\r\n\r\n", "5\r\nhello\r\n0\r\n\rX: y\r\n\r\n",
	"5\r\nhello\r\n0\n\n", "5\r\nhello\r\n0\r\nX: y\n\n", "5,5\r\nhello\r\n0\r\n\r\n", "5;" + strings.Repeat("x", 20<<10) + "\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nX: " + strings.Repeat("y", 20<<10) + "\r\n\r\n",
}

func TestS7_1_SmugglingEndsAtTheEdge(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, backend("web", at.Addr()), rule("web", "a.test", "/", "web"), rule("stream", "b.test", "/", "web", "proxy-request-buffering: off"))
	var refused []string
	for _, f := range refusedFields {
		refused = append(refused, "POST /case HTTP/1.1\r\nHost: a.test\r\n"+f+"\r\n\r\n0\r\n\r\n"+inner, "POST /case HTTP/1.1\r\n"+f+"\r\nHost: a.test\r\n\r\nhello"+inner)
	}
	for _, c := range refusedChunks {
		for _, host := range []string{"a.test", "b.test"} {
			refused = append(refused, "POST /case HTTP/1.1\r\nHost: "+host+"\r\nTransfer-Encoding: chunked\r\n\r\n"+c+inner)
		}
	}
	for _, line := range []string{
		"GET /case", "GET /case HTTP/0.9", "GET /case HTTP/2.0", "GET /case HTTP/3.0", "GET /case HTTP/1.10", "GET /case HTTP/1.", "GET /case http/1.1", "GET /case HTTP/1.1 HTTP/1.1", "GET /case\x0bHTTP/1.1", "GET\t/case HTTP/1.1",
		"GET /case HTTP/1.1\rX", "GE\x00T /case HTTP/1.1", "get /case HTTP/1.1", "G(T /case HTTP/1.1", " GET /case HTTP/1.1", "TRACE /case HTTP/1.1", "CONNECT a.test:80 HTTP/1.1", "PRI * HTTP/2.0", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET case HTTP/1.1",
	} {
		refused = append(refused, line+"\r\nHost: a.test\r\n\r\n"+inner)
	}
	for _, raw := range refused {
		at.forget()
		c := p.dial(t)
		c.send(get("a.test", "/first") + raw + get("a.test", "/after"))
		if r, err := c.next("GET"); err != nil || r.StatusCode != 200 {
			t.Fatalf("%.200q: the request before it: %v", raw, err)
		}
		r, err := c.next("POST")
		if err != nil || r.StatusCode < 400 {
			t.Errorf("%.200q: %+v, %v; want a refusal", raw, r, err)
			c.Close()
			continue
		}
		if err := c.ended(); err != nil {
			t.Errorf("%.200q: after the refusal %v", raw, err)
		}
		c.Close()
		for i, m := range at.messages(t) {
			if i > 0 || m.RequestURI != "/first" {
				t.Errorf("%.200q: the endpoint got %s %s with %q", raw, m.Method, m.RequestURI, m.body)
			}
		}
	}
}

func TestS7_1_LookAlikesAreOneMessage(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, backend("web", at.Addr()), rule("web", "a.test", "/", "web"))
	hidden := fmt.Sprintf("%d", len(inner))
	for _, raw := range []string{
		"POST /case HTTP/1.1\r\nHost: a.test\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"POST /case HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0" + hidden + "\r\n\r\n" + inner,
		"POST /case HTTP/1.1\r\nHost: a.test\r\nTransfer_Encoding: chunked\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"POST /case HTTP/1.1\r\nHost: a.test\r\nContent_Length: 0\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"POST /case HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\t\r\n\r\n" + fmt.Sprintf("%x", len(inner)) + "\r\n" + inner + "\r\n0\r\n\r\n",
		"POST /case HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("000%X;ext=\"a\"", len(inner)) + "\r\n" + inner + "\r\n00\r\nX: y\r\n\r\n",
		"POST /case HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x ", len(inner)) + "\r\n" + inner + "\r\n0 \r\n\r\n",
		"POST /case HTTP/1.1\nHost: a.test\nContent-Length: " + hidden + "\n\n" + inner,
		"GET /case HTTP/1.1\r\nHost: a.test\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"DELETE /case HTTP/1.1\r\nHost: a.test\r\nConnection: content-length\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"POST /case HTTP/1.1\r\nHost: a.test\r\nConnection: transfer-encoding, close\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x", len(inner)) + "\r\n" + inner + "\r\n0\r\n\r\n",
		"\r\n\r\nPOST /case HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
		"HEAD /case HTTP/1.1\r\nHost: a.test\r\nContent-Length: " + hidden + "\r\n\r\n" + inner,
	} {
		at.forget()
		c := p.dial(t)
		c.send(get("a.test", "/first") + raw + get("a.test", "/after", "Connection: close"))
		answered := 0
		method, _, _ := strings.Cut(strings.TrimSpace(raw), " ")
		for i, m := range []string{"GET", method, "GET"} {
			r, err := c.next(m)
			if err != nil {
				break
			}
			if r.StatusCode == 200 {
				answered = i + 1
			}
		}
		var seen []string
		for _, m := range at.messages(t) {
			seen = append(seen, m.RequestURI)
			if m.RequestURI == "/case" && m.body != inner {
				t.Errorf("%.100q: the endpoint got the body %q", raw, m.body)
			}
		}
		want := []string{"/first", "/case", "/after"}[:answered]
		slices.Sort(seen)
		slices.Sort(want)
		if answered == 0 || !slices.Equal(seen, want) {
			t.Errorf("%.100q: %d answers, the endpoint got %q", raw, answered, seen)
		}
		c.Close()
	}
}

func TestS7_2_HTTP2BecomesOneHTTP1Message(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, certificate(t, "tls", "a.test"), backend("web", at.Addr()), served(rule("web", "a.test", "/", "web"), "tls", "a.test"))
	evil := " HTTP/1.1\r\nHost: a.test\r\n\r\n" + inner
	base := []string{":method", "POST", ":scheme", "https", ":authority", "a.test", ":path", "/case"}
	set := func(name, value string) []string {
		f := slices.Clone(base)
		for i := 0; i < len(f); i += 2 {
			if f[i] == name {
				f[i+1] = value
				return f
			}
		}
		return append(f, name, value)
	}
	for _, fields := range [][]string{
		set(":method", "POST /case"+evil), set(":path", "/case"+evil), set(":authority", "a.test\r\nX: y"), set(":scheme", "https\r\n\r\n"), set(":path", "/case\x00"), set(":path", ""), set(":path", "case"), set(":method", ""),
		set("x", "y\r\n\r\n"+inner), set("x", "y\nz: 1"), set("x\r\ny", "z"), set("x: y\r\nz", "1"), set("", "x"), set("x y", "z"), set("X-A", "b"), set("x", "\x00"), set("transfer-encoding", "chunked"), set("connection", "x"), set("keep-alive", "1"),
		set("upgrade", "websocket"), set("proxy-connection", "x"), set("content-length", "5, 6"), set("content-length", "+5"), set("content-length", "-1"), set("te", "gzip"), append(set("content-length", "5"), "content-length", "6"), set(":unknown", "x"), append(set("x", "y"), ":path", "/other"),
	} {
		c := p.frames(t, "a.test")
		c.request(1, false, fields...)
		c.fr.WriteData(1, true, []byte("hello"))
		if status, _ := c.answer(1); status != 0 && status/100 != 4 {
			t.Errorf("%.200q: %d, want a refusal", fields, status)
		}
		c.Close()
	}
	// A length that the content does not keep never makes a whole message.
	for _, length := range []string{"4", "6", "0"} {
		c := p.frames(t, "a.test")
		c.request(1, false, set("content-length", length)...)
		c.fr.WriteData(1, true, []byte("hello"))
		if status, _ := c.answer(1); status == 200 {
			t.Errorf("length %s for 5 bytes: 200", length)
		}
		c.Close()
	}
	if got := at.messages(t); len(got) != 0 {
		t.Errorf("the endpoint got %d requests, the first %s %q", len(got), got[0].Method, got[0].RequestURI)
	}
	c := p.frames(t, "a.test")
	c.request(1, false, append(set("content-length", "5"), "x_alias", "1", "cookie", "a=1", "cookie", "b=2")...)
	c.fr.WriteData(1, true, []byte("hello"))
	if status, body := c.answer(1); status != 200 || body != "web POST /case" {
		t.Errorf("a sound request: %d %q", status, body)
	}
	got := at.messages(t)
	if len(got) != 1 || got[0].body != "hello" || got[0].ContentLength != 5 || got[0].Header.Get("X_alias") != "" {
		t.Errorf("a sound request arrives as %+v", got)
	}
}

// hostileReplies are what an endpoint may send; want is what the client gets: "502", the whole body
// ("=text"), or a message that ends before it is complete ("cut").
var hostileReplies = map[string]struct{ reply, want string }{
	"two lengths":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 8\r\n\r\nokPOISON", "502"},
	"length list":        {"HTTP/1.1 200 OK\r\nContent-Length: 2, 8\r\n\r\nokPOISON", "502"},
	"signed length":      {"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "502"},
	"length and chunked": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "502"},
	"other coding":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", "502"},
	"chunked twice":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "502"},
	"folded":             {"HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 8\r\nContent-Length: 2\r\n\r\nok", "502"},
	"NUL":                {"HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 2\r\n\r\nok", "502"},
	"bare CR":            {"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil\r\nContent-Length: 2\r\n\r\nok", "502"},
	"space before colon": {"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", "502"},
	"no version":         {"200 OK\r\nContent-Length: 2\r\n\r\nok", "502"},
	"HTTP/2 line":        {"HTTP/2 200\r\n\r\nok", "502"},
	"status of letters":  {"HTTP/1.1 2xx OK\r\nContent-Length: 2\r\n\r\nok", "502"},
	"switch unasked":     {"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPOISON", "502"},
	"information flood":  {strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", 2000) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "502"},
	"endless head":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1000), "502"},
	"head cut off":       {"HTTP/1.1 200 OK\r\nContent-Le", "502"},
	"nothing":            {"", "502"},
	"short":              {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", "cut"},
	"chunk cut off":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "cut"},
	"broken chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0x2\r\nno\r\n0\r\n\r\n", "cut"},
	"chunk too long":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", "cut"},
	"endless extension":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 64<<10) + "\r\nok\r\n0\r\n\r\n", "cut"},
	"more than said":     {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", "=ok"},
	"more than chunked":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", "=ok"},
	"body on 204":        {"HTTP/1.1 204 No\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", "="},
	"body on 304":        {"HTTP/1.1 304 No\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", "="},
	"framing trailer":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n", "=ok"},
	"hop by hop":         {"HTTP/1.1 200 OK\r\nConnection: x-secret, close\r\nX-Secret: POISON\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok", "=ok"},
}

func TestS7_3_HostileEndpointsAnswerOneRequestAtMost(t *testing.T) {
	t.Parallel()
	names := map[string]string{} // path to name
	for name := range hostileReplies {
		names[fmt.Sprintf("/bad/%d", len(names))] = name
	}
	at := listenWire(t, func(c *taken) {
		for {
			r, err := http.ReadRequest(c.in)
			if err != nil {
				return
			}
			name, bad := names[r.RequestURI]
			if !bad {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
				continue
			}
			io.WriteString(c, hostileReplies[name].reply)
			if w := hostileReplies[name].want; w[0] != '=' {
				return
			}
		}
	})
	p := run(t, certificate(t, "tls", "a.test"), backend("web", at.Addr()),
		served(rule("web", "a.test", "/", "web", "ssl-redirect: false", "proxy-next-upstream: off"), "tls", "a.test"))
	for path, name := range names {
		want := hostileReplies[name].want
		for _, secure := range []bool{false, true} {
			status, body, err := p.observe(t, secure, path)
			got := "=" + body
			switch {
			case status == 502:
				got = "502"
			case err != nil || status == 0:
				got = "cut"
			}
			if got != want || strings.Contains(body, "POISON") {
				t.Errorf("%s, HTTP/2 %v: %d %q, %v; want %s", name, secure, status, body, err, want)
			}
			// Nobody gets what was left over.
			for range 2 {
				if r := p.ask(t, get("a.test", "/good")); r.body != "good" || r.Header.Get("X-Secret") != "" {
					t.Fatalf("after %s another client got %d %q", name, r.StatusCode, r.body)
				}
			}
		}
	}
}

// observe asks for a path by HTTP/1.1, with a request behind it on the same connection, or by HTTP/2.
func (p *program) observe(t *testing.T, h2 bool, path string) (status int, body string, err error) {
	t.Helper()
	if h2 {
		c := p.frames(t, "a.test")
		defer c.Close()
		c.request(1, true, ":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", path)
		status, body := c.answer(1)
		return status, body, nil
	}
	c := p.dial(t)
	defer c.Close()
	c.send(get("a.test", path) + get("a.test", "/good"))
	r, err := c.next("GET")
	if r == nil {
		return 0, "", err
	}
	if r.Header.Get("X-Secret") != "" || r.Header.Get("Upgrade") != "" || r.Header.Get("Keep-Alive") != "" {
		t.Errorf("%s: fields of the hop passed: %v", path, r.Header)
	}
	if err == nil {
		// The connection is sound, so its next answer is that of the next request.
		if next, err := c.next("GET"); err == nil && next.body != "good" {
			t.Errorf("%s: the next request on the connection got %q", path, next.body)
		}
	}
	return r.StatusCode, r.body, err
}

func TestS7_3_HostileGRPCEndpoint(t *testing.T) {
	t.Parallel()
	replies := map[string][]string{
		"/two-lengths": {":status", "200", "content-length", "2", "content-length", "9"}, "/hop": {":status", "200", "connection", "x-a", "transfer-encoding", "chunked", "upgrade", "h2c", "keep-alive", "1"},
		"/long": {":status", "200", "content-length", "1"}, "/short": {":status", "200", "content-length", "10"}, "/split": {":status", "200", "x", "a\r\nset-cookie: evil"}, "/none": {"x", "y"}, "/upper": {":status", "200", "X-Evil", "1"},
	}
	at := listenWire(t, func(c *taken) {
		if _, err := io.ReadFull(c.in, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := &framed{client: &client{t: t, Conn: c, in: c.in}}
		f.serve(replies)
	})
	p := run(t, certificate(t, "tls", "a.test"), backend("web", at.Addr()), served(rule("web", "a.test", "/", "web", "backend-protocol: GRPC", "ssl-redirect: false"), "tls", "a.test"))
	for path := range replies {
		for _, secure := range []bool{false, true} {
			status, body, err := p.observe(t, secure, path)
			// What is said of the length and what is sent agree, or the client sees that it is cut off.
			whole := status == 200 && err == nil && path != "/short"
			if whole && body != "ok" && !(path == "/long" && body == "o") || !whole && status == 200 && err == nil || status != 200 && status != 502 && status != 0 {
				t.Errorf("%s, HTTP/2 %v: %d %q, %v", path, secure, status, body, err)
			}
		}
	}
}

func TestS7_4_OnlyAgreedUpgradesMakeTunnels(t *testing.T) {
	t.Parallel()
	at := listenWire(t, func(c *taken) {
		for {
			r, err := http.ReadRequest(c.in)
			if err != nil {
				return
			}
			token := r.Header.Get("Upgrade")
			switch path := r.URL.Path; {
			case path == "/same" && token != "":
				fmt.Fprintf(c, "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", token)
				line, _ := c.in.ReadString('\n')
				fmt.Fprintf(c, "heard %s", line)
				return
			case path == "/same" || path == "/200":
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
			case path == "/400":
				io.WriteString(c, "HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno")
			case path == "/other":
				io.WriteString(c, "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
			case path == "/unnamed":
				io.WriteString(c, "HTTP/1.1 101 X\r\n\r\n")
			default:
				return
			}
		}
	})
	p := run(t, backend("web", at.Addr()), rule("web", "a.test", "/", "web", "proxy-next-upstream: off"))
	allowed := map[string]bool{"websocket": true, "WebSocket": true, "SPDY/3.1": true, "websocket, h2c": true, "h2c, websocket": true}
	for _, token := range []string{"websocket", "WebSocket", "SPDY/3.1", "websocket, h2c", "h2c, websocket", "h2c", "TLS/1.0", "h2", "HTTP/2.0", "foo", "websocket2", ""} {
		for reaction, want := range map[string]int{"/same": 101, "/200": 200, "/400": 400, "/close": 502, "/other": 502, "/unnamed": 502} {
			for _, early := range []string{"", "EARLY\n"} {
				head := "GET " + reaction + " HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + token + "\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
				if !allowed[token] && want == 101 {
					want = 200
				}
				at.upgradeOnce(t, p, head+early, want, allowed[token], early, token+" "+reaction)
			}
		}
	}
	for name, head := range map[string]string{
		"no Connection":   "GET /same HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.0":        "GET /same HTTP/1.0\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"two Upgrades":    "GET /same HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
		"close instead":   "GET /same HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n",
		"underscore name": "GET /same HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUp_grade: websocket\r\n\r\n",
	} {
		at.upgradeOnce(t, p, head, 200, false, "", name)
	}
}

// upgradeOnce sends one request for an upgrade and looks at both ends.
func (w *wire) upgradeOnce(t *testing.T, p *program, raw string, want int, may bool, early, name string) {
	t.Helper()
	w.forget()
	before := len(w.received())
	c := p.dial(t)
	defer c.Close()
	r := c.ask(raw)
	if r.StatusCode != want {
		t.Errorf("%s, early %q: %d, want %d", name, early, r.StatusCode, want)
		return
	}
	if want == 101 {
		if early == "" {
			early = "LATE\n"
			c.send(early)
		}
		if text, err := bufio.NewReader(c.in).ReadString('\n'); text != "heard "+early {
			t.Errorf("%s: the tunnel says %q, %v", name, text, err)
		}
	}
	c.Close()
	all := w.received()
	if want == 101 || may {
		if len(all) != before+1 {
			t.Errorf("%s: %d connections were used, want a new one of its own", name, len(all)-before)
			return
		}
	}
	for _, got := range all {
		if want != 101 && strings.Contains(got, "EARLY") {
			t.Errorf("%s: bytes sent before the answer reached the endpoint: %q", name, got)
		}
		low := strings.ToLower(got)
		if strings.Contains(low, "http2-settings") || strings.Contains(low, "h2c") || strings.Contains(low, "tls/1.0") || !may && strings.Contains(low, "\r\nupgrade:") {
			t.Errorf("%s: the endpoint got %q", name, got)
		}
		if strings.Count(got, " HTTP/1.1\r\n") > 1 && may {
			t.Errorf("%s: the connection was used again: %q", name, got)
		}
	}
}

func TestS7_5_ConnectionTakesNothingOfOursAway(t *testing.T) {
	t.Parallel()
	var at heard
	p := run(t, backend("web", at.listener(t, 200)), rule("web", "a.test", "/", "web"))
	named := append(slices.Clone(controlledNames), "Host", "X-Request-ID", "Cookie", "Authorization", "Content-Type")
	for _, n := range named {
		for _, fields := range [][]string{
			{"Connection: " + n}, {"Connection: close, " + strings.ToLower(n)}, {"Connection: " + n, "Connection: " + n}, {"Connection:", "Connection: " + n}, {"Proxy-Connection: " + n, "Connection: ,, " + n + " ,"},
		} {
			r := p.ask(t, get("a.test", "/", append(fields, "Cookie: a=1", "Authorization: Bearer x", "Content-Type: text/plain")...))
			for _, got := range at.take() {
				for _, must := range []string{"X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme", "X-Request-ID", "Host", "Cookie", "Authorization", "Content-Type"} {
					if got.Get(must) == "" {
						t.Errorf("%q: the endpoint got no %s", fields, must)
					}
				}
			}
			if r.StatusCode != 200 {
				t.Errorf("%q: %d", fields, r.StatusCode)
			}
		}
	}
	at.take()
	p.ask(t, get("a.test", "/", "Connection: x-mine, close", "X-Mine: 1", "X-Other: 1"))
	if got := at.take()[0]; got.Get("X-Mine") != "" || got.Get("X-Other") == "" || got.Get("Connection") != "" {
		t.Errorf("fields of the client's hop: %v", got)
	}
	p.ask(t, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nConnection: x-real-ip\r\nX-Real-IP: evil\r\n\r\n")
	if got := at.take()[0]; got.Get("X-Real-IP") != "127.0.0.1" || got.Get("Trailer X-Real-Ip") != "" {
		t.Errorf("by a trailer: %v", got)
	}
}
