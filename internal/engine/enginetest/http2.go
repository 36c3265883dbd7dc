package enginetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// http2 returns a client with prior knowledge.
func (b *lab) http2() *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, b.addr)
	}}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// ask sends a request and reads the answer.
func ask(t *testing.T, c *http.Client, method, url string, body io.Reader) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	return r, string(got), err
}

var http2s = []test{
	{"HTTP2WithPriorKnowledge", nil, func(t *testing.T, b *lab) {
		c := b.http2()
		for i := range 3 {
			r, got, err := ask(t, c, "POST", "http://a.test/x?y", strings.NewReader("hello"))
			if err != nil || r.ProtoMajor != 2 || !strings.HasPrefix(got, "POST /x?y host=a.test ") || !strings.HasSuffix(got, " body=hello") {
				t.Errorf("%d: got %v %q, %v", i, r, got, err)
			} else if r.Header.Get("Date") == "" || r.Header.Get("Content-Type") != "" || r.ContentLength != int64(len(got)) {
				t.Errorf("got %v", r.Header)
			}
		}
		r, _, err := ask(t, c, "HEAD", "http://a.test/", nil)
		if err != nil || r.ContentLength <= 0 {
			t.Errorf("HEAD: got %v, %v", r, err)
		}
		if _, got, err := ask(t, c, "GET", "http://a.test/", nil); err != nil || strings.Contains(got, " body=") {
			t.Errorf("a stream that ended with its head has content: got %q, %v", got, err)
		}
		for i, r := range b.records(5)[:3] {
			if r.number != i+1 || r.line != "POST /x?y HTTP/2.0" || r.body == 0 {
				t.Errorf("record %+v", r)
			}
		}
	}},
	{"HTTP2CanBeSwitchedOff", func(g *config.Global) { g.HTTP2 = false }, func(t *testing.T, b *lab) {
		c := b.dial().raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		c.want(505, "page\n")
	}},
	{"HTTP2TrailersGoBothWays", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				echo(x)
				x.Resp.Length, x.Resp.FromUpstream = -1, true
				x.Resp.Trailer.Add("Grpc-Status", "0")
				x.Resp.Trailer.Add("Content-Length", "9")
			}
		})
		req, _ := http.NewRequest("POST", "http://a.test/", struct{ io.Reader }{strings.NewReader("hi")})
		req.Trailer = http.Header{"X-T": {"1"}}
		req.Header.Set("Te", "trailers")
		r, err := b.http2().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(r.Body)
		if !strings.HasSuffix(string(got), "body=hi trailer:x-t=1") || r.Trailer.Get("Grpc-Status") != "0" || r.Trailer.Get("Content-Length") != "" {
			t.Errorf("got %q, trailer %v", got, r.Trailer)
		}
	}},
	{"HTTP2AnswerOfFieldsOnlyEndsTheStream", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				x.Resp.Status, x.Resp.Length, x.Resp.FromUpstream = 200, 0, true
				x.Resp.Header.Add("Grpc-Status", "5")
			}
		})
		c := b.frames()
		c.headers(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.test")
		f := c.next(1)
		if h, ok := f.(*http2.HeadersFrame); !ok || !h.StreamEnded() {
			t.Errorf("got %v, want HEADERS with END_STREAM", f)
		}
	}},
	{"HTTP2ContentFlowsBothWaysAtOnce", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.forward = func(x *exchange.Exchange) { stream(x.Req.Body)(x); x.Req.Body = nil } })
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "http://a.test/", pr)
		r, err := b.http2().Do(req) // the head comes before any content
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		for _, piece := range []string{"one", "two"} {
			io.WriteString(pw, piece)
			n, err := r.Body.Read(buf)
			if err != nil || string(buf[:n]) != piece {
				t.Fatalf("got %q, %v", buf[:n], err)
			}
		}
		pw.Close()
		if _, err := r.Body.Read(buf); err != io.EOF {
			t.Errorf("end: %v", err)
		}
	}},
	{"HTTP2FailuresResetTheStream", nil, func(t *testing.T, b *lab) {
		c := b.http2()
		fail := func(name string, f func(*exchange.Exchange)) {
			b.h.set(func(h *handler) { h.forward = f })
			_, _, err := ask(t, c, "GET", "http://a.test/", nil)
			var reset http2.StreamError
			if !errors.As(err, &reset) {
				t.Errorf("%s: got %v, want a stream error", name, err)
			}
		}
		fail("cut", func(x *exchange.Exchange) {
			stream(io.NopCloser(io.MultiReader(strings.NewReader("part"), broken{})))(x)
		})
		fail("short", func(x *exchange.Exchange) { setText(x, 200, "four"); x.Resp.Length = 5 })
		fail("drop", func(x *exchange.Exchange) { x.Resp.Status = exchange.StatusDrop })
		fail("panic in content", stream(panicky{}))
		b.h.set(func(h *handler) { h.forward = func(*exchange.Exchange) { panic("broken invariant") } })
		if r, _, err := ask(t, c, "GET", "http://a.test/", nil); err != nil || r.StatusCode != 500 {
			t.Errorf("panic: got %v, %v", r, err)
		}
		b.h.set(func(h *handler) { h.forward = nil })
		if r, _, err := ask(t, c, "GET", "http://a.test/", nil); err != nil || r.StatusCode != 200 {
			t.Errorf("afterwards: got %v, %v", r, err)
		}
		b.records(6)
	}},
	{"HTTP2InterimResponses", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				var f exchange.Fields
				f.Add("Link", "</a>")
				x.Down.Informational(103, &f)
				setText(x, 200, "x")
			}
		})
		link := ""
		req, _ := http.NewRequest("GET", "http://a.test/", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			link = h.Get("Link")
			return nil
		}}))
		r, err := b.http2().Do(req)
		if err != nil || link != "</a>" || r.Header.Get("Link") != "" {
			t.Errorf("got %v, link %q, %v", r, link, err)
		}
	}},
	{"HTTP2BodyLimits", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.limits.BodyMax, h.limits.BodyTimeout = 4, 50*time.Millisecond })
		c := b.http2()
		for _, body := range []io.Reader{strings.NewReader("hello"), struct{ io.Reader }{strings.NewReader("hello")}} {
			if r, _, err := ask(t, c, "POST", "http://a.test/", body); err != nil || r.StatusCode != 413 {
				t.Errorf("got %v, %v, want 413", r, err)
			}
		}
		pr, pw := io.Pipe()
		defer pw.Close()
		if r, _, err := ask(t, c, "POST", "http://a.test/", pr); err != nil || r.StatusCode != 408 {
			t.Errorf("got %v, %v, want 408", r, err)
		}
	}},
	{"HTTP2HandlerLearnsThatTheClientLeft", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { <-x.Down.Gone(); x.Resp.Status = exchange.StatusClientGone }
		})
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://a.test/", nil)
		go func() {
			b.until("the exchange", func() bool { return b.h.forwarded.Load() == 1 })
			cancel()
		}()
		if _, err := b.http2().Do(req); err == nil {
			t.Error("an answer came")
		}
		b.records(1)
	}},
	{"HTTP2ClientThatTakesNothingIsLetGo", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.limits.SendTimeout = 100 * time.Millisecond
			h.forward = stream(endless{})
		})
		c := b.frames()
		c.headers(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.test")
		b.records(1)
	}},
	{"HTTP2DrainSaysGoAway", nil, func(t *testing.T, b *lab) {
		release := make(chan struct{})
		b.h.set(func(h *handler) { h.forward = func(x *exchange.Exchange) { <-release; setText(x, 200, "late") } })
		c := b.frames()
		c.headers(1, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.test")
		b.until("the exchange", func() bool { return b.h.forwarded.Load() == 1 })
		b.engine.Drain()
		if f := c.await(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }); f == nil {
			t.Fatal("no GOAWAY")
		}
		close(release)
		if f, ok := c.next(1).(*http2.HeadersFrame); !ok {
			t.Errorf("got %v, want the response", f)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if cut := b.engine.Wait(ctx); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
	}},
	{"HTTP2KeepAliveRequestsBoundAConnection", func(g *config.Global) { g.KeepAliveRequests = 2 }, func(t *testing.T, b *lab) {
		c := b.frames()
		for _, id := range []uint32{1, 3} {
			c.headers(id, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.test")
		}
		if f := c.await(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }); f == nil {
			t.Error("no GOAWAY")
		}
	}},
	{"S7_2_MalformedHTTP2IsRefused", nil, malformed2},
	{"S8_1_FloodsEndTheConnection", nil, floods},
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }

// malformed2 sends what RFC 9113, 8 forbids; nothing may reach the handler.
func malformed2(t *testing.T, b *lab) {
	ok := []string{":method", "POST", ":path", "/", ":scheme", "http", ":authority", "a.test"}
	with := func(more ...string) []string { return append(append([]string(nil), ok...), more...) }
	for _, c := range []struct {
		name   string
		fields []string
		data   string
	}{
		{"upper-case name", with("X-Upper", "1"), ""},
		{"pseudo field behind others", append([]string{":method", "GET", ":path", "/", "x-a", "1"}, ":scheme", "http", ":authority", "a.test"), ""},
		{"pseudo field twice", with(":path", "/other"), ""},
		{"unknown pseudo field", with(":evil", "1"), ""},
		{"CR LF in value", with("x-a", "1\r\nx-b: 2"), ""},
		{"NUL in value", with("x-a", "1\x00"), ""},
		{"space in name", with("x a", "1"), ""},
		{"connection", with("connection", "close"), ""},
		{"keep-alive", with("keep-alive", "5"), ""},
		{"proxy-connection", with("proxy-connection", "x"), ""},
		{"transfer-encoding", with("transfer-encoding", "chunked"), ""},
		{"upgrade", with("upgrade", "websocket"), ""},
		{"te other than trailers", with("te", "gzip"), ""},
		{"no method", []string{":path", "/", ":scheme", "http", ":authority", "a.test"}, ""},
		{"no path", []string{":method", "GET", ":scheme", "http", ":authority", "a.test"}, ""},
		{"path with space", []string{":method", "GET", ":path", "/a HTTP/1.1", ":scheme", "http", ":authority", "a.test"}, ""},
		{"path without slash", []string{":method", "GET", ":path", "a", ":scheme", "http", ":authority", "a.test"}, ""},
		{"method with space", []string{":method", "GET /x", ":path", "/", ":scheme", "http", ":authority", "a.test"}, ""},
		{"lower-case method", []string{":method", "get", ":path", "/", ":scheme", "http", ":authority", "a.test"}, ""},
		{"authority with user", []string{":method", "GET", ":path", "/", ":scheme", "http", ":authority", "u@a.test"}, ""},
		{"no authority", []string{":method", "GET", ":path", "/", ":scheme", "http"}, ""},
		{"host that disagrees", with("host", "b.test"), ""},
		{"two hosts", with("host", "a.test", "host", "b.test"), ""},
		{"length without content", with("content-length", "5"), ""},
		{"TRACE", []string{":method", "TRACE", ":path", "/", ":scheme", "http", ":authority", "a.test"}, ""},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "a.test:443"}, ""},
	} {
		was := b.h.forwarded.Load()
		cl := b.frames()
		cl.headers(1, true, c.fields...)
		switch f := cl.next(1).(type) {
		case *http2.HeadersFrame:
			if s := cl.status(f); s != "400" && s != "405" {
				t.Errorf("%s: got status %s", c.name, s)
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
		default:
			t.Errorf("%s: got %v", c.name, f)
		}
		if b.h.forwarded.Load() != was {
			t.Errorf("%s: reached the handler", c.name)
		}
		cl.c.Close()
	}
	// A length that the content does not keep must not look like a whole body.
	got := make(chan error, 4)
	b.h.set(func(h *handler) {
		h.forward = func(x *exchange.Exchange) {
			_, err := io.ReadAll(x.Req.Body)
			got <- err
			setText(x, 200, "x")
		}
	})
	for _, data := range []string{"hell", "hello!"} {
		cl := b.frames()
		cl.headers(1, false, with("content-length", "5")...)
		cl.fr.WriteData(1, true, []byte(data))
		if err := <-got; err == nil {
			t.Errorf("%q for 5 bytes: body is whole", data)
		}
	}
}

// floods are sent until the engine ends the connection (S8.1).
func floods(t *testing.T, b *lab) {
	for name, f := range map[string]func(c *framed, i int) error{
		"ping":           func(c *framed, i int) error { return c.fr.WritePing(false, [8]byte{1}) },
		"settings":       func(c *framed, i int) error { return c.fr.WriteSettings() },
		"empty data":     func(c *framed, i int) error { return c.fr.WriteData(1, false, nil) },
		"priority":       func(c *framed, i int) error { return c.fr.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"continuation":   func(c *framed, i int) error { return c.fr.WriteContinuation(3, false, nil) },
		"unknown frames": func(c *framed, i int) error { return c.fr.WriteRawFrame(0x77, 0, 0, nil) },
		"rapid reset": func(c *framed, i int) error {
			id := uint32(2*i + 5)
			if err := c.tryHeaders(id, true, ":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a.test"); err != nil {
				return err
			}
			return c.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		},
	} {
		c := b.frames()
		go unread(c.c)
		c.headers(1, false, ":method", "POST", ":path", "/", ":scheme", "http", ":authority", "a.test")
		if name == "continuation" {
			c.buf.Reset()
			c.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
			c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: c.buf.Bytes()})
		}
		ended := false
		for i := 0; i < 100_000 && !ended; i++ {
			ended = f(c, i) != nil
		}
		if !ended {
			t.Errorf("%s: the connection took 100000 of them", name)
		}
		c.c.Close()
	}
	b.h.set(func(h *handler) { h.forward = nil })
	if r, _, err := ask(t, b.http2(), "GET", "http://a.test/", nil); err != nil || r.StatusCode != 200 {
		t.Errorf("afterwards: got %v, %v", r, err)
	}
}

// framed is an HTTP/2 connection frame by frame.
type framed struct {
	t   *testing.T
	c   net.Conn
	fr  *http2.Framer
	buf bytes.Buffer
	enc *hpack.Encoder
}

func (b *lab) frames() *framed {
	b.t.Helper()
	cl := b.dial()
	c := &framed{t: b.t, c: cl.c, fr: http2.NewFramer(cl.c, cl.c)}
	c.fr.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.buf)
	cl.raw(http2.ClientPreface)
	if err := c.fr.WriteSettings(); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (c *framed) headers(id uint32, end bool, fields ...string) {
	c.t.Helper()
	if err := c.tryHeaders(id, end, fields...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *framed) tryHeaders(id uint32, end bool, fields ...string) error {
	c.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.buf.Bytes(), EndStream: end, EndHeaders: true})
}

// await returns the first frame that ok takes; nil at the end.
func (c *framed) await(ok func(http2.Frame) bool) http2.Frame {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			return nil
		}
		if ok(f) {
			return f
		}
	}
}

// next returns the next frame that says something about a stream, or the end of the connection.
func (c *framed) next(id uint32) http2.Frame {
	return c.await(func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.HeadersFrame, *http2.DataFrame, *http2.RSTStreamFrame:
			return f.Header().StreamID == id
		case *http2.GoAwayFrame:
			return f.ErrCode != http2.ErrCodeNo
		}
		return false
	})
}

func (c *framed) status(f *http2.HeadersFrame) string {
	fields, err := hpack.NewDecoder(4096, nil).DecodeFull(f.HeaderBlockFragment())
	if err != nil || len(fields) == 0 {
		return fmt.Sprint(err)
	}
	return fields[0].Value
}
