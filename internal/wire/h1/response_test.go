package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func TestResponseHeads(t *testing.T) {
	cases := []struct {
		in, method string
		status     int
		length     int64
		head       ResponseHead
		err        error
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", 200, 5, ResponseHead{Framing: FrameLength, Length: 5, KeepAlive: true}, nil},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", 200, 0, ResponseHead{Framing: FrameLength, KeepAlive: true}, nil},
		{"HTTP/1.1 200 \nContent-Length: 0\n\n", "GET", 200, 0, ResponseHead{Framing: FrameLength, KeepAlive: true}, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nKeep-Alive: timeout=5, max=3\r\n\r\n", "GET", 200, -1, ResponseHead{Framing: FrameChunked, Length: -1, KeepAlive: true, IdleTimeout: 5 * time.Second}, nil},
		{"HTTP/1.1 200 OK\r\n\r\n", "GET", 200, -1, ResponseHead{Framing: FrameUntilClose, Length: -1}, nil},
		{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "GET", 200, 1, ResponseHead{Framing: FrameLength, Length: 1}, nil},
		{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", "GET", 200, 1, ResponseHead{Framing: FrameLength, Length: 1, KeepAlive: true}, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", "GET", 200, 1, ResponseHead{Framing: FrameLength, Length: 1}, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD", 200, 9, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", 200, -1, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", 304, 9, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, 0, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", 204, 0, ResponseHead{}, nil},
		{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 204, 0, ResponseHead{}, nil},
		{"HTTP/1.1 100 Continue\r\n\r\n", "GET", 100, 0, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "GET", 103, 0, ResponseHead{KeepAlive: true}, nil},
		{"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "GET", 101, 0, ResponseHead{}, nil},
		{"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", "GET", 599, 0, ResponseHead{Framing: FrameLength, KeepAlive: true}, nil},

		{"HTTP/1.1 101 x\r\n\r\n", "GET", 101, 0, ResponseHead{}, ErrUpgrade},
		{"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "GET", 101, 0, ResponseHead{}, ErrUpgrade},
		{"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", "GET", 101, 0, ResponseHead{}, ErrUpgrade},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HEAD", 0, 0, ResponseHead{}, ErrFraming},
		{"HTTP/2.0 200 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1 20 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1 2000 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1 099 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1 200 O\x00K\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HELLO", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"\r\nHTTP/1.1 200 OK\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrStatusLine},
		{"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\nX\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "GET", 0, 0, ResponseHead{}, ErrField},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", DefaultResponseHead), "GET", 0, 0, ResponseHead{}, ErrHeadTooLarge},
	}
	for _, c := range cases {
		var p ResponseParser
		var r exchange.Response
		h, n, err := p.Parse([]byte(c.in+"rest"), c.method, &r)
		if !errors.Is(err, c.err) {
			t.Errorf("%.80q: error %v, want %v", c.in, err, c.err)
			continue
		}
		if err == nil && (h != c.head || r.Status != c.status || r.Length != c.length || n != len(c.in)) {
			t.Errorf("%.80q: took %d, %+v, status %d, length %d; want %+v, %d, %d", c.in, n, h, r.Status, r.Length, c.head, c.status, c.length)
		}
	}
}

func TestResponseFieldsAreEndToEnd(t *testing.T) {
	var p ResponseParser
	var r exchange.Response
	in := "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close, X-Hop, Set-Cookie\r\nX-Hop: 1\r\nset-cookie: a=b\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\nHTTP2-Settings: x\r\nTrailer: T\r\nX_Y: z\r\nContent-Length: 0\r\n\r\n"
	// One byte more at a time.
	for i := 1; i <= len(in); i++ {
		_, n, err := p.Parse([]byte(in[:i]), "GET", &r)
		if err != nil || (n != 0) != (i == len(in)) {
			t.Fatalf("%d bytes: took %d, %v", i, n, err)
		}
	}
	var f []string
	for name, value := range r.Header.All() {
		f = append(f, name+"="+value)
	}
	if s := strings.Join(f, " "); s != "Server=x set-cookie=a=b Trailer=T X_Y=z" {
		t.Errorf("fields %q", s)
	}
}

func TestRequestHeadIsWrittenSoThatItCannotSplit(t *testing.T) {
	u := exchange.Upstream{Method: "POST", Target: "/a b\r\nX: y", Authority: "v1.test", Length: -1, Body: io.NopCloser(strings.NewReader("x")), TETrailer: true}
	u.Header.Add("X-A", "one\r\nX-Evil: two\x00")
	u.Header.Add("X Bad", "no")
	u.Header.Add("Content-Length", "5")
	u.Header.Add("Host", "evil")
	got, framing, err := AppendRequestHead(nil, &u, "")
	want := "POST /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: v1.test\r\nConnection: TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nX-A: one  X-Evil: two \r\n\r\n"
	if string(got) != want || framing != FrameChunked || err != nil {
		t.Errorf("%q, %v, %v; want %q", got, framing, err, want)
	}
	for _, c := range []struct {
		u       exchange.Upstream
		conn    string
		want    string
		framing Framing
		err     error
	}{
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a"}, "", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a"}, "keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a", Close: true}, "keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a", Upgrade: "websocket"}, "", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a", Upgrade: "websocket", HTTP10: true, Close: true}, "", "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "POST", Target: "/", Authority: "a", Body: io.NopCloser(strings.NewReader(""))}, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", FrameLength, nil},
		{exchange.Upstream{Method: "PUT", Target: "/", Authority: "a"}, "", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", FrameNone, nil},
		{exchange.Upstream{Method: "POST", Target: "/", Authority: "a", Length: 7, Body: io.NopCloser(strings.NewReader(""))}, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n", FrameLength, nil},
		{exchange.Upstream{Method: "G T", Target: "/", Authority: "a"}, "", "", FrameNone, ErrMethod},
		{exchange.Upstream{Method: "GET", Target: "x", Authority: "a"}, "", "", FrameNone, ErrTarget},
		{exchange.Upstream{Method: "GET", Target: "/", Authority: "a\r\nX: y"}, "", "", FrameNone, ErrAuthority},
		{exchange.Upstream{Method: "POST", Target: "/", Authority: "a", HTTP10: true, Length: -1, Body: io.NopCloser(strings.NewReader(""))}, "", "", FrameNone, ErrFraming},
	} {
		got, framing, err := AppendRequestHead(nil, &c.u, c.conn)
		if err != c.err || framing != c.framing || err == nil && string(got) != c.want {
			t.Errorf("%+v: %q, %v, %v; want %q, %v, %v", c.u, got, framing, err, c.want, c.framing, c.err)
		}
	}
}

func TestResponseHeadFraming(t *testing.T) {
	body := io.NopCloser(strings.NewReader(""))
	type want struct {
		fields  string
		framing Framing
		keep    bool
	}
	for _, c := range []struct {
		name string
		r    exchange.Response
		o    ResponseOptions
		want want
	}{
		{"length", exchange.Response{Status: 200, Length: 3, Body: body}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Content-Length: 3\r\nConnection: keep-alive\r\n", FrameLength, true}},
		{"unknown", exchange.Response{Status: 200, Length: -1, Body: body}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", FrameChunked, true}},
		{"unknown on 1.0", exchange.Response{Status: 200, Length: -1, Body: body}, ResponseOptions{Method: "GET", Proto: exchange.HTTP10, KeepAlive: true}, want{"Connection: close\r\n", FrameUntilClose, false}},
		{"no body", exchange.Response{Status: 200}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Content-Length: 0\r\nConnection: keep-alive\r\n", FrameNone, true}},
		{"HEAD", exchange.Response{Status: 200, Length: 9}, ResponseOptions{Method: "HEAD", KeepAlive: true}, want{"Content-Length: 9\r\nConnection: keep-alive\r\n", FrameNone, true}},
		{"HEAD unknown", exchange.Response{Status: 200, Length: -1}, ResponseOptions{Method: "HEAD", KeepAlive: true}, want{"Connection: keep-alive\r\n", FrameNone, true}},
		{"204", exchange.Response{Status: 204, Length: 4, Body: body}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Connection: keep-alive\r\n", FrameNone, true}},
		{"304", exchange.Response{Status: 304, Length: 4}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Content-Length: 4\r\nConnection: keep-alive\r\n", FrameNone, true}},
		{"304 of ours", exchange.Response{Status: 304}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Connection: keep-alive\r\n", FrameNone, true}},
		{"close", exchange.Response{Status: 400, Close: true}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Content-Length: 0\r\nConnection: close\r\n", FrameNone, false}},
		{"101", exchange.Response{Status: 101, Upgrade: "websocket"}, ResponseOptions{Method: "GET", KeepAlive: true}, want{"Connection: upgrade\r\nUpgrade: websocket\r\n", FrameNone, false}},
	} {
		got, framing, keep := AppendResponseHead(nil, &c.r, &c.o)
		line, rest, _ := strings.Cut(string(got), "\r\n")
		if !strings.HasPrefix(line, "HTTP/1.1 ") || rest != c.want.fields+"\r\n" || framing != c.want.framing || keep != c.want.keep {
			t.Errorf("%s: %q, %v, %v; want %+v", c.name, got, framing, keep, c.want)
		}
	}
	r := exchange.Response{Status: 302}
	r.Header.Add("Date", "old")
	r.Header.Add("Location", "/x\r\nSet-Cookie: a")
	got, _, _ := AppendResponseHead(nil, &r, &ResponseOptions{Method: "GET", Date: new(Clock).Date(time.Unix(0, 0)), KeepAlive: true})
	if want := "HTTP/1.1 302 Moved Temporarily\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\nConnection: keep-alive\r\nLocation: /x  Set-Cookie: a\r\n\r\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	var h exchange.Fields
	h.Add("Link", "</x>")
	if got := string(AppendInformational(nil, 103, &h)); got != "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" {
		t.Errorf("103: %q", got)
	}
}

// dechunk decodes in pieces of step bytes.
func dechunk(in []byte, step int) (content []byte, trailer exchange.Fields, used int, done bool, err error) {
	var d ChunkedDecoder
	end := 0
	for used < len(in) && !d.Done() {
		end = min(end+step, len(in))
		for used < end && !d.Done() {
			data, n, err := d.Decode(in[used:end], &trailer)
			content = append(content, data...)
			used += n
			if err != nil {
				return content, trailer, used, false, err
			}
			if n == 0 {
				break
			}
		}
	}
	return content, trailer, used, d.Done(), nil
}

func TestChunkedBodies(t *testing.T) {
	good := map[string]string{
		"0\r\n\r\n":                                   "",
		"5\r\nhello\r\n0\r\n\r\n":                     "hello",
		"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n":      "hello world",
		"2;a=b\r\nhi\r\n0\r\n\r\n":                    "hi",
		"2;a=\"b;\\\"c\"\r\nhi\r\n0;x\r\n\r\n":        "hi",
		"2 \r\nhi\r\n0  \r\n\r\n":                     "hi",
		"00A\r\n0123456789\r\n000\r\n\r\n":            "0123456789",
		"1\r\na\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n": "a",
	}
	for in, want := range good {
		for _, step := range []int{1, 2, 3, 100} {
			got, trailer, used, done, err := dechunk([]byte(in+"GET / "), step)
			if err != nil || !done || string(got) != want || used != len(in) {
				t.Errorf("%q by %d: %q, used %d of %d, done %v, %v", in, step, got, used, len(in), done, err)
			}
			if strings.Contains(in, "X-T") && (trailer.Len() != 1 || trailer.Get("X-T") != "1") {
				t.Errorf("%q: trailer %+v", in, trailer)
			}
		}
	}
}

func TestS7_1_BrokenChunksAreRefused(t *testing.T) {
	for _, in := range []string{
		"zz\r\n", "\r\n", ";a\r\n", "-1\r\n", "+1\r\na\r\n", "0x1\r\na\r\n", "1\na\r\n", "1\r\na\n0\r\n\r\n",
		"1\r\nab\r\n", "1\r\na0\r\n\r\n", "1\ra\r\n", " 1\r\na\r\n", "1\x0b\r\na\r\n", "1 x\r\na\r\n", "1\x00\r\na\r\n",
		"ffffffffffffffff\r\n", "8000000000000000\r\n", "00000000000000001\r\na\r\n", "1;a\x00b\r\na\r\n", "1;a\nX\r\n",
		"0\r\nX\r\n\r\n", "0\r\n: x\r\n\r\n", "0\r\nX : x\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n\n", "0\r\n X: y\r\n\r\n", "0\r\nX: a\x00\r\n\r\n",
		"0\r\nX: a\rb\r\n\r\n",
	} {
		for _, step := range []int{1, 100} {
			if got, _, _, done, err := dechunk([]byte(in), step); err == nil {
				t.Errorf("%q by %d: accepted as %q, done %v", in, step, got, done)
			}
		}
	}
}

func TestS8_6_ExtensionsAndTrailersAreBounded(t *testing.T) {
	if _, _, _, _, err := dechunk([]byte("1;"+strings.Repeat("x", MaxTrailer)+"\r\n"), 1<<20); err != ErrChunkExtension {
		t.Errorf("one long extension: %v", err)
	}
	if _, _, _, _, err := dechunk([]byte(strings.Repeat("1;"+strings.Repeat("x", 99)+"\r\na\r\n", 200)), 1<<20); err != ErrChunkExtension {
		t.Errorf("many extensions on little content: %v", err)
	}
	block := "400;chunk-signature=0123456789\r\n" + strings.Repeat("d", 1024) + "\r\n"
	if _, _, _, done, err := dechunk([]byte(strings.Repeat(block, 5000)+"0\r\n\r\n"), 1<<16); err != nil || !done {
		t.Errorf("a long stream with small extensions: %v", err)
	}
	if _, _, _, _, err := dechunk([]byte("0\r\n"+strings.Repeat("X-T: y\r\n", 3000)), 1<<20); err != ErrTrailerTooLarge {
		t.Errorf("many trailer fields: %v", err)
	}
}

func TestChunkEncoderIsReadByTheDecoder(t *testing.T) {
	var trailer exchange.Fields
	trailer.Add("X-T", "a\r\nb")
	trailer.Add("Content-Length", "5")
	var b []byte
	want := ""
	for _, n := range []int{0, 1, 15, 16, 255, 4096, 70000} {
		s := strings.Repeat("z", n)
		b = AppendChunk(b, []byte(s))
		want += s
	}
	b = AppendLastChunk(b, &trailer)
	got, tr, used, done, err := dechunk(b, 1000)
	if string(got) != want || !done || used != len(b) || err != nil || tr.Len() != 1 || tr.Get("x-t") != "a  b" {
		t.Errorf("%d bytes of %d, done %v, trailer %v, %v", len(got), len(want), done, tr, err)
	}
	if s := string(AppendLastChunk(nil, nil)); s != "0\r\n\r\n" {
		t.Errorf("last chunk %q", s)
	}
}

// Whatever net/http and this codec both accept, they must understand alike; and
// what this codec writes again, net/http must read as the same request.
func differential(t *testing.T, in []byte) {
	p := new(RequestParser)
	r := new(exchange.Request)
	h, n, err := p.Parse(in, r)
	if err != nil || n == 0 {
		return
	}
	if n > len(in) {
		t.Fatalf("took %d of %d bytes", n, len(in))
	}
	if r.Path == "" || r.Path[0] != '/' || r.Target == "" || r.Target[0] != '/' {
		t.Fatalf("%q: path %q, target %q", in, r.Path, r.Target)
	}
	for name, value := range r.Header.All() {
		if ConnectionSpecific(name) || !ValidName(name) || !ValidValue(value) {
			t.Fatalf("%q: field %q: %q got through", in, name, value)
		}
	}
	if r.Proto == exchange.HTTP11 && r.Host == "" {
		t.Fatalf("%q: no host", in)
	}
	theirs, terr := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
	if terr == nil {
		if theirs.Method != r.Method {
			t.Fatalf("%q: method %q, net/http %q", in, r.Method, theirs.Method)
		}
		chunked := len(theirs.TransferEncoding) > 0
		if chunked != (h.Framing == FrameChunked) {
			t.Fatalf("%q: framing %v, net/http %v", in, h.Framing, theirs.TransferEncoding)
		}
		if !chunked && theirs.ContentLength != h.Length {
			t.Fatalf("%q: length %d, net/http %d", in, h.Length, theirs.ContentLength)
		}
		for name, value := range r.Header.All() {
			if !contains(theirs.Header[http.CanonicalHeaderKey(name)], value) && http.CanonicalHeaderKey(name) != "Pragma" {
				t.Fatalf("%q: field %q: %q unknown to net/http: %q", in, name, value, theirs.Header)
			}
		}
	}
	u := exchange.Upstream{Method: r.Method, Target: r.Target, Authority: r.Authority, Length: r.Length, Upgrade: r.Upgrade, TETrailer: r.TETrailer}
	u.Header.CopyFrom(&r.Header)
	if h.Framing != FrameNone {
		u.Body = io.NopCloser(strings.NewReader(""))
	}
	if u.Authority == "" {
		u.Authority = "x"
	}
	out, framing, err := AppendRequestHead(nil, &u, "")
	if err != nil || framing != h.Framing {
		t.Fatalf("%q: written as %q, %v, %v", in, out, framing, err)
	}
	again := new(exchange.Request)
	h2, n2, err := p.Parse(out, again)
	if err != nil || n2 != len(out) || h2.Framing != h.Framing || h2.Length != h.Length || again.Method != r.Method ||
		again.Target != r.Target || again.Path != r.Path || again.Query != r.Query || again.Upgrade != r.Upgrade || again.Header.Len() != r.Header.Len() {
		t.Fatalf("%q: written as %q, read again as %+v (%v)", in, out, again, err)
	}
	if strings.IndexByte(r.Target, '#') >= 0 || r.Authority == "" {
		return
	}
	if req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out))); err == nil {
		if req.Method != r.Method || req.RequestURI != r.Target || req.Host != r.Authority && !strings.HasPrefix(r.Target, "//") {
			t.Fatalf("%q: net/http reads %q as %s %s on %s", in, out, req.Method, req.RequestURI, req.Host)
		}
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func TestAgreesWithNetHTTP(t *testing.T) {
	for _, c := range smuggling {
		differential(t, []byte(c.in))
	}
	for _, s := range seeds {
		differential(t, []byte(s))
	}
}

var seeds = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST /a%20b/../c?x=1#f HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 3\r\nX-A: b\r\nConnection: x-a, close\r\n\r\nabc",
	"GET http://b/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
	"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
	"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
}

func FuzzRequestHead(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	for _, c := range smuggling {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) { differential(t, in) })
}

func FuzzResponseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "GET")
	f.Add([]byte("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "GET")
	f.Add([]byte("HTTP/1.0 304 \nA: b\n\n"), "HEAD")
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: a\r\nA: b\r\n\r\n0\r\n\r\n"), "POST")
	f.Fuzz(func(t *testing.T, in []byte, method string) {
		var p ResponseParser
		var r exchange.Response
		h, n, err := p.Parse(in, method, &r)
		if err != nil || n == 0 {
			return
		}
		if r.Status < 100 || r.Status > 999 || n > len(in) || h.Framing == FrameLength && h.Length < 0 {
			t.Fatalf("%q: %+v, %+v", in, h, r)
		}
		for name, value := range r.Header.All() {
			if ConnectionSpecific(name) || !ValidName(name) || !ValidValue(value) {
				t.Fatalf("%q: field %q: %q got through", in, name, value)
			}
		}
		if method != "GET" && method != "HEAD" {
			return
		}
		theirs, terr := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: method})
		if terr != nil || r.Status < 200 || r.Status == 204 || r.Status == 304 || method == "HEAD" {
			return
		}
		if theirs.StatusCode != r.Status || (len(theirs.TransferEncoding) > 0) != (h.Framing == FrameChunked) ||
			h.Framing == FrameLength && theirs.ContentLength != h.Length {
			t.Fatalf("%q: %+v, %d; net/http %d, %v, %d", in, h, r.Status, theirs.StatusCode, theirs.TransferEncoding, theirs.ContentLength)
		}
	})
}

func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("2;a=b\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"))
	f.Add([]byte("ffffffffffffffff\r\n"))
	f.Add([]byte("1\na\n0\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, tw, usedWhole, doneWhole, errWhole := dechunk(in, len(in)+1)
		parts, tp, usedParts, doneParts, errParts := dechunk(in, 1)
		if !bytes.Equal(whole, parts) || doneWhole != doneParts || (errWhole == nil) != (errParts == nil) || doneWhole && (usedWhole != usedParts || tw.Len() != tp.Len()) {
			t.Fatalf("%q: whole %q %v %v, in bytes %q %v %v", in, whole, doneWhole, errWhole, parts, doneParts, errParts)
		}
		if !doneWhole {
			return
		}
		// net/http may refuse (trailers, extensions); where it does not, the content is the same.
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(in))))
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := io.ReadAll(req.Body); err == nil && !bytes.Equal(theirs, whole) {
			t.Fatalf("%q: %q, net/http %q", in, whole, theirs)
		}
	})
}

const benchHead = "GET /shop/cart?id=1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=b; c=d\r\nX-Request-ID: 0123456789\r\nReferer: https://shop.example.com/\r\nConnection: keep-alive\r\n\r\n"

func TestHeadsCostOneAllocation(t *testing.T) {
	var p RequestParser
	var r exchange.Request
	in := []byte(benchHead)
	if n := testing.AllocsPerRun(100, func() {
		h := r.Header
		h.Reset()
		r = exchange.Request{Header: h}
		if _, n, err := p.Parse(in, &r); err != nil || n != len(in) {
			t.Fatal(n, err)
		}
	}); n > 1 {
		t.Errorf("request head: %v allocations", n)
	}
	u := exchange.Upstream{Method: "GET", Target: "/x", Authority: "a", Close: true}
	u.Header.CopyFrom(&r.Header)
	resp := exchange.Response{Status: 200, Length: 5, Body: io.NopCloser(strings.NewReader(""))}
	resp.Header.CopyFrom(&r.Header)
	var clock Clock
	now := time.Now()
	clock.Date(now)
	buf := make([]byte, 0, 4096)
	o := ResponseOptions{Method: "GET", KeepAlive: true}
	if n := testing.AllocsPerRun(100, func() {
		buf, _, _ = AppendRequestHead(buf[:0], &u, "")
		o.Date = clock.Date(now)
		buf, _, _ = AppendResponseHead(buf[:0], &resp, &o)
		buf = AppendChunk(buf[:0], in)
	}); n > 0 {
		t.Errorf("writing: %v allocations", n)
	}
	var d ChunkedDecoder
	if n := testing.AllocsPerRun(100, func() {
		d.Reset()
		for rest := buf; len(rest) > 0; {
			_, n, err := d.Decode(rest, nil)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			rest = rest[n:]
		}
	}); n > 0 {
		t.Errorf("chunks: %v allocations", n)
	}
}

func BenchmarkRequestHead(b *testing.B) {
	var p RequestParser
	var r exchange.Request
	in := []byte(benchHead)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		h := r.Header
		h.Reset()
		r = exchange.Request{Header: h}
		if _, _, err := p.Parse(in, &r); err != nil {
			b.Fatal(err)
		}
	}
}
