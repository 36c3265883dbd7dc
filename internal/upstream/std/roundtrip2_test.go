package std

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// serveH2 runs an HTTP/2 server with prior knowledge, or over TLS.
func serveH2(t *testing.T, secure bool, f http.HandlerFunc) (*upstream.Target, *atomic.Int32) {
	t.Helper()
	srv := httptest.NewUnstartedServer(f)
	var conns atomic.Int32
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Config.Protocols = new(http.Protocols)
	var client *upstream.TLSClient
	if secure {
		srv.Config.Protocols.SetHTTP2(true)
		srv.EnableHTTP2 = true
		srv.StartTLS()
		client = &upstream.TLSClient{Config: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}, Name: "example.com"}
	} else {
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	}
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	target := targetOf(srv.Listener.Addr())
	target.HTTP2, target.TLS = true, client
	return target, &conns
}

func grpc(body io.Reader) *exchange.Exchange {
	x := post(body, -1)
	x.Up.Target, x.Up.TETrailer = "/pkg.Svc/Method", true
	x.Up.Header.Add("content-type", "application/grpc")
	return x
}

func TestGRPCUnaryWithTrailers(t *testing.T) {
	for _, secure := range []bool{false, true} {
		target, conns := serveH2(t, secure, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.RequestURI != "/pkg.Svc/Method" || r.Host != "a.test" || r.Header.Get("User-Agent") != "" {
				t.Errorf("%s %s %s %v", r.Proto, r.RequestURI, r.Host, r.Header)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("Content-Type", "application/grpc")
			w.Write(b)
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
		})
		tr := newTransport(t)
		for i := range 3 {
			x := grpc(strings.NewReader("hello"))
			if got := roundTrip(t, tr, x, target); got != "hello" {
				t.Errorf("%q", got)
			}
			if got := x.Resp.Header.Get("Trailer"); got != "Grpc-Status" {
				t.Errorf("announced %q", got)
			}
			if x.Resp.Trailer.Get("grpc-status") != "0" || x.Resp.Trailer.Get("grpc-message") != "fine" || x.Resp.Trailer.Len() != 2 {
				t.Errorf("trailer %+v", x.Resp.Trailer)
			}
			if a := x.Try[0]; a.Status != 200 || a.Bytes != 5 || i > 0 && a.Connect != 0 || a.Response < a.Header {
				t.Errorf("attempt %+v", a)
			}
			x.Release()
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
}

func TestTrailersOnlyAnswerOfAStream(t *testing.T) {
	target, _ := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Grpc-Status", "12")
	})
	tr := newTransport(t)
	body := &slowBody{first: "x", closed: make(chan struct{})}
	x := grpc(body)
	if err := tr.RoundTrip(x, target); err != nil {
		t.Fatal(err)
	}
	if x.Resp.Body != nil || x.Resp.Length != 0 || x.Resp.Header.Get("grpc-status") != "12" {
		t.Errorf("%+v", x.Resp)
	}
	// The connection survived.
	x = grpc(strings.NewReader(""))
	roundTrip(t, tr, x, target)
	if x.Try[0].Connect != 0 {
		t.Error("the connection was not used again")
	}
}

func TestBidirectionalStream(t *testing.T) {
	target, _ := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		b := make([]byte, 10)
		for {
			n, err := r.Body.Read(b)
			w.Write(bytes.ToUpper(b[:n]))
			w.(http.Flusher).Flush()
			if err != nil {
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
				return
			}
		}
	})
	tr := newTransport(t)
	pr, pw := io.Pipe()
	x := grpc(pr)
	if err := tr.RoundTrip(x, target); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		fmt.Fprintf(pw, "a%d", i)
		b := make([]byte, 2)
		if _, err := io.ReadFull(x.Resp.Body, b); err != nil || string(b) != fmt.Sprintf("A%d", i) {
			t.Fatalf("%d: %q, %v", i, b, err)
		}
	}
	pw.Close()
	if got := finish(t, x); got != "" || x.Resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q, %+v", got, x.Resp.Trailer)
	}
}

func TestHTTP2InterimsTargetsAndFields(t *testing.T) {
	target, _ := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header().Set("X-Cookies", fmt.Sprint(len(r.Cookies())))
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Trailer", r.Trailer.Get("X-T"))
		w.Write([]byte("ok"))
	})
	tr := newTransport(t)
	for _, uri := range []string{"/a%20b?x=1", "//a//b", "/a?b?c", "/%2e%2e/x%2Fy", "/?"} {
		x := post(strings.NewReader("abc"), 3)
		down := newClient()
		x.Down = down
		x.Up.Target = uri
		x.Up.Header.Add("Cookie", "a=b; c=d")
		x.Up.Header.Add("Trailer", "X-T")
		x.Up.Header.Add("Connection", "close")
		x.Req.Trailer.Add("X-T", "1")
		if got := roundTrip(t, tr, x, target); got != "ok" {
			t.Errorf("%q", got)
		}
		h := &x.Resp.Header
		if h.Get("X-Uri") != uri || h.Get("X-Cookies") != "2" || h.Get("X-Length") != "3" || h.Get("X-Trailer") != "1" || x.Resp.Length != 2 {
			t.Errorf("%s: %+v", uri, h)
		}
		if s := strings.Join(down.interims, "; "); s != "103 Link=</a>" {
			t.Errorf("interims %q", s)
		}
	}
}

func TestHTTP2AnswersWithoutContent(t *testing.T) {
	target, _ := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/head":
			w.Header().Set("Content-Length", "7")
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		}
	})
	tr := newTransport(t)
	for path, want := range map[string]int64{"/head": 7, "/204": 0, "/304": -1, "/empty": 0} {
		x := get(path)
		if path == "/head" {
			x.Up.Method = "HEAD"
		}
		got := roundTrip(t, tr, x, target)
		if got != "" || x.Resp.Length != want || x.Resp.Body != nil && path != "/empty" {
			t.Errorf("%s: %q, length %d, want %d", path, got, x.Resp.Length, want)
		}
	}
}

func TestHTTP2TimeoutsAndCancelling(t *testing.T) {
	stop := make(chan struct{})
	cancelled := make(chan struct{}, 10)
	target, conns := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
		}
		if r.URL.Path == "/ok" {
			return
		}
		select {
		case <-r.Context().Done():
			cancelled <- struct{}{}
		case <-stop:
		}
	})
	defer close(stop)
	tr := newTransport(t)
	quick := *target
	quick.Forward = &config.Forward{Connect: time.Second, Send: time.Second, Read: 50 * time.Millisecond}

	e := failure(t, tr.RoundTrip(get("/head"), &quick))
	if !e.Timeout || e.Stage != exchange.StageReadHead || e.Side != exchange.SideUpstream {
		t.Errorf("no head: %+v", e)
	}
	<-cancelled
	x := get("/ok")
	roundTrip(t, tr, x, target)
	if conns.Load() != 2 {
		t.Errorf("%d connections: one that was silent must not be used again", conns.Load())
	}

	x = get("/body")
	if err := tr.RoundTrip(x, &quick); err != nil {
		t.Fatal(err)
	}
	_, err := io.ReadAll(x.Resp.Body)
	if e := failure(t, err); !e.Timeout || e.Stage != exchange.StageReadBody {
		t.Errorf("no content: %+v", e)
	}
	x.Resp.Body.Close()
	<-cancelled

	for _, path := range []string{"/head", "/body"} {
		x := get(path)
		down := newClient()
		x.Down = down
		go func() {
			for !down.asked.Load() {
				time.Sleep(time.Millisecond)
			}
			close(down.gone)
		}()
		err := tr.RoundTrip(x, target)
		if err == nil {
			_, err = io.ReadAll(x.Resp.Body)
			x.Resp.Body.Close()
		}
		if e := failure(t, err); e.Side != exchange.SideClient || !errors.Is(e, exchange.ErrClientGone) {
			t.Errorf("%s: %+v", path, e)
		}
		<-cancelled
	}
}

func TestHTTP2ConnectionsAreDialledOnceForMany(t *testing.T) {
	target, conns := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	tr := newTransport(t)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			x := get(fmt.Sprintf("/%d", i))
			if err := tr.RoundTrip(x, target); err != nil {
				t.Error(err)
				return
			}
			if got := finish(t, x); got != fmt.Sprintf("/%d", i) {
				t.Errorf("%d: %q", i, got)
			}
		}()
	}
	wg.Wait()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	tr.CloseIdle(func(config.Endpoint) bool { return false })
	waitFor(t, func() bool {
		tr.h2.sweep(time.Now(), tr.limits.Load())
		tr.h2.mu.Lock()
		defer tr.h2.mu.Unlock()
		return len(tr.h2.conns) == 0
	})
	x := get("/again")
	roundTrip(t, tr, x, target)
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections after CloseIdle, want 2", n)
	}
	x = get("/close")
	x.Up.Close = true
	roundTrip(t, tr, x, target)
	roundTrip(t, tr, get("/after"), target)
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections after Close was asked for, want 3", n)
	}
}

func TestHTTP2RefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := targetOf(l.Addr())
	target.HTTP2 = true
	l.Close()
	tr := newTransport(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var e *exchange.Error
			if err := tr.RoundTrip(get("/"), target); !errors.As(err, &e) || e.Stage != exchange.StageDial || e.Sent || e.Timeout {
				t.Errorf("%v", err)
			}
		}()
	}
	wg.Wait()
}

// rawH2 is an endpoint that says over HTTP/2 whatever a test wants. f gets each request head.
func rawH2(t *testing.T, f func(n int, fr *http2.Framer, id uint32) (goOn bool)) *upstream.Target {
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(r, preface); err != nil {
			return
		}
		fr := http2.NewFramer(c, r)
		fr.WriteSettings()
		for {
			frame, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					fr.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				if !f(n, fr, frame.StreamID) {
					return
				}
			}
		}
	})
	target.HTTP2 = true
	return target
}

func field(name, value string) hpack.HeaderField { return hpack.HeaderField{Name: name, Value: value} }

func block(fields ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range fields {
		enc.WriteField(f)
	}
	return b.Bytes()
}

func head(fr *http2.Framer, id uint32, end bool, fields ...hpack.HeaderField) {
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: end, BlockFragment: block(fields...)})
}

func TestS7_3_HostileHTTP2Endpoint(t *testing.T) {
	ok := field(":status", "200")
	for _, c := range []struct {
		name   string
		say    func(fr *http2.Framer, id uint32)
		body   string // expected content; "error": RoundTrip or the body must fail
		fields string // expected end-to-end fields
	}{
		{"connection-specific fields", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok, field("connection", "x-a"), field("keep-alive", "1"), field("proxy-connection", "x"),
				field("transfer-encoding", "chunked"), field("upgrade", "h2c"), field("x-a", "b"), field("te", "x"))
			fr.WriteData(id, true, []byte("ok"))
		}, "ok", "X-A=b"},
		{"two lengths", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok, field("content-length", "2"), field("content-length", "5"))
			fr.WriteData(id, true, []byte("ok"))
		}, "ok", ""},
		{"malformed length", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok, field("content-length", "+2"))
			fr.WriteData(id, true, []byte("ok"))
		}, "ok", ""},
		{"content longer than its length", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok, field("content-length", "2"))
			fr.WriteData(id, true, []byte("HTTP/1.1 200"))
		}, "error", ""},
		{"content shorter than its length", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok, field("content-length", "5"))
			fr.WriteData(id, true, []byte("ok"))
		}, "error", ""},
		{"upper-case field", func(fr *http2.Framer, id uint32) {
			head(fr, id, true, ok, field("X-A", "b"))
		}, "error", ""},
		{"line feed in a value", func(fr *http2.Framer, id uint32) {
			head(fr, id, true, ok, field("x-a", "b\r\nset-cookie: c"))
		}, "error", ""},
		{"no status", func(fr *http2.Framer, id uint32) { head(fr, id, true, field("x-a", "b")) }, "error", ""},
		{"status 101", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, field(":status", "101"), field("upgrade", "websocket"))
			head(fr, id, true, ok)
		}, "", ""},
		{"1xx without end", func(fr *http2.Framer, id uint32) {
			for range 100 {
				head(fr, id, false, field(":status", "103"))
			}
			head(fr, id, true, ok)
		}, "error", ""},
		{"framing names in the trailer", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok)
			fr.WriteData(id, false, []byte("ok"))
			head(fr, id, true, field("content-length", "100"), field("transfer-encoding", "chunked"), field("grpc-status", "0"))
		}, "ok", ""},
		{"reset", func(fr *http2.Framer, id uint32) { fr.WriteRSTStream(id, http2.ErrCodeInternal) }, "error", ""},
		{"reset in the content", func(fr *http2.Framer, id uint32) {
			head(fr, id, false, ok)
			fr.WriteData(id, false, []byte("o"))
			fr.WriteRSTStream(id, http2.ErrCodeInternal)
		}, "error", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTransport(t)
			target := rawH2(t, func(_ int, fr *http2.Framer, id uint32) bool { c.say(fr, id); return true })
			x := get("/")
			x.Down = newClient()
			err := tr.RoundTrip(x, target)
			var content []byte
			if err == nil && x.Resp.Body != nil {
				content, err = io.ReadAll(x.Resp.Body)
				x.Resp.Body.Close()
			}
			if c.body == "error" {
				if e := failure(t, err); e.Side != exchange.SideUpstream {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var f []string
			for n, v := range x.Resp.Header.All() {
				f = append(f, n+"="+v)
			}
			if string(content) != c.body || strings.Join(f, " ") != c.fields || x.Resp.Length > int64(len(content)) {
				t.Errorf("%q, fields %q, length %d", content, f, x.Resp.Length)
			}
			for n := range x.Resp.Trailer.All() {
				if n != "Grpc-Status" {
					t.Errorf("trailer field %s", n)
				}
			}
		})
	}
}

func TestRequestsAnEndpointDidNotLookAtAreSentAgain(t *testing.T) {
	ok := field(":status", "200")
	t.Run("goodbye", func(t *testing.T) {
		tr := newTransport(t)
		target := rawH2(t, func(n int, fr *http2.Framer, id uint32) bool {
			if id > 1 {
				fr.WriteGoAway(1, http2.ErrCodeNo, nil)
				return false
			}
			head(fr, id, true, ok)
			return true
		})
		for i := range 6 {
			if err := tr.RoundTrip(get("/"), target); err != nil {
				t.Fatalf("%d: %+v", i, err)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		tr := newTransport(t)
		var refused atomic.Int32
		target := rawH2(t, func(n int, fr *http2.Framer, id uint32) bool {
			if id == 3 {
				refused.Add(1)
				fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			} else {
				head(fr, id, true, ok)
			}
			return true
		})
		for range 3 {
			if err := tr.RoundTrip(get("/"), target); err != nil {
				t.Fatal(err)
			}
		}
		if refused.Load() == 0 {
			t.Error("nothing was refused")
		}
	})
	t.Run("first on its connection", func(t *testing.T) {
		tr := newTransport(t)
		target := rawH2(t, func(n int, fr *http2.Framer, id uint32) bool {
			fr.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			return true
		})
		if e := failure(t, tr.RoundTrip(get("/"), target)); e.Sent || e.Reused {
			t.Errorf("%+v", e)
		}
	})
}

func TestHTTP2AbortsLeaveNothingBehind(t *testing.T) {
	target, _ := serveH2(t, false, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, io.LimitReader(r.Body, 50))
		for range 20 {
			io.WriteString(w, r.URL.Path)
			w.(http.Flusher).Flush()
		}
	})
	tr := newTransport(t)
	var wg sync.WaitGroup
	for g := range 10 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				path := fmt.Sprintf("/%d-%d/", g, i)
				x := get(path)
				x.Down = newClient()
				if i%3 == 1 {
					x.Up.Method, x.Up.Length = "POST", -1
					x.Up.Body = &slowBody{first: strings.Repeat("x", 100), closed: make(chan struct{})}
				}
				if err := tr.RoundTrip(x, target); err != nil {
					t.Errorf("%s: %v", path, err)
				} else if i%4 == 0 {
					b := make([]byte, len(path))
					io.ReadFull(x.Resp.Body, b)
					if string(b) != path {
						t.Errorf("%s: answer %q", path, b)
					}
					x.Resp.Body.Close()
				} else {
					b, err := io.ReadAll(x.Resp.Body)
					if err != nil || string(b) != strings.Repeat(path, 20) {
						t.Errorf("%s: answer %q, %v", path, b, err)
					}
					x.Resp.Body.Close()
				}
				x.Release()
			}
		}()
	}
	wg.Wait()
}
