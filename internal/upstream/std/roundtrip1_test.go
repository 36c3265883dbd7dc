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
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

func TestS7_3_MalformedAnswersAreInvalid(t *testing.T) {
	for name, reply := range map[string]string{
		"no HTTP":            "hello\r\n\r\n",
		"HTTP/2.0":           "HTTP/2.0 200 OK\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and chunked": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"negative length":    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"other coding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"folded field":       "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"NUL":                "HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n",
		"101 unasked":        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"1xx without end":    strings.Repeat("HTTP/1.1 103 E\r\n\r\n", 100),
		"head without end":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", minHead),
		"malformed 1xx":      "HTTP/1.1 103 E\r\nX\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"coding in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"broken status":      "HTTP/1.1 2x0 OK\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t)
			target := serve(t, answer(reply))
			x := get("/")
			x.Down = newClient()
			e := failure(t, tr.RoundTrip(x, target))
			if !e.Invalid || e.Stage != exchange.StageReadHead || e.Side != exchange.SideUpstream || !e.Sent || e.Timeout {
				t.Errorf("%+v", e)
			}
			if n := tr.idle.count.Load(); n != 0 {
				t.Errorf("%d idle connections", n)
			}
		})
	}
}

func TestBrokenContentFailsTheBody(t *testing.T) {
	for name, reply := range map[string]string{
		"short length":    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"short chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"no last chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"broken chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
		"no trailer end":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
		"broken trailer":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX\r\n\r\n",
		"bare LF chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
		"endless padding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("x", 20000) + "\r\nabc\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t)
			target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
				http.ReadRequest(r)
				io.WriteString(c, reply)
			})
			x := get("/")
			if err := tr.RoundTrip(x, target); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(x.Resp.Body)
			e := failure(t, err)
			if e.Stage != exchange.StageReadBody || e.Side != exchange.SideUpstream {
				t.Errorf("%+v after %q", e, b)
			}
			x.Resp.Body.Close()
			if n := tr.idle.count.Load(); n != 0 {
				t.Errorf("%d idle connections", n)
			}
		})
	}
}

func TestAnswersWithoutContent(t *testing.T) {
	tr := newTransport(t)
	for _, c := range []struct {
		method, reply string
		status        int
		length        int64
	}{
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, 7},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, -1},
		{"GET", "HTTP/1.1 204 No\r\n\r\n", 204, 0},
		{"GET", "HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\n", 304, 7},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0},
	} {
		target := serve(t, answer(c.reply))
		x := get("/")
		x.Up.Method = c.method
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		if x.Resp.Status != c.status || x.Resp.Length != c.length || x.Resp.Body != nil || x.Try[0].Response < 0 {
			t.Errorf("%s %q: %+v", c.method, c.reply, x.Resp)
		}
		if s := tr.idle.shard(keyOf(target)); s.conns[keyOf(target)] == nil {
			t.Errorf("%s %q: connection was not kept", c.method, c.reply)
		}
	}
}

func TestContentUntilClose(t *testing.T) {
	tr := newTransport(t)
	want := strings.Repeat("0123456789", 10000)
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		http.ReadRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+want)
	})
	if got := roundTrip(t, tr, get("/"), target); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestLargeContentBothWays(t *testing.T) {
	tr := newTransport(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}))
	defer srv.Close()
	target := targetOf(srv.Listener.Addr())
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	for _, length := range []int64{-1, int64(len(want))} {
		x := post(bytes.NewReader(want), length)
		x.Up.Header.Add("X", "y")
		if got := roundTrip(t, tr, x, target); got != string(want) {
			t.Errorf("length %d: %d bytes came back of %d", length, len(got), len(want))
		}
	}
	tr.Close()
}

func TestInterimResponsesArePassedOn(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok"))
	x := get("/")
	down := newClient()
	x.Down = down
	if got := roundTrip(t, tr, x, target); got != "ok" || x.Resp.Header.Len() != 1 {
		t.Errorf("%q, %+v", got, x.Resp.Header)
	}
	if s := strings.Join(down.interims, "; "); s != "103 Link=</a>" {
		t.Errorf("interims %q", s)
	}
}

func TestTimeouts(t *testing.T) {
	hold := func(after string) func(int, net.Conn, *bufio.Reader) {
		return func(_ int, c net.Conn, r *bufio.Reader) {
			http.ReadRequest(r)
			io.WriteString(c, after)
			io.Copy(io.Discard, r)
		}
	}
	t.Run("no head", func(t *testing.T) {
		tr := newTransport(t)
		target := serve(t, hold("HTTP/1.1 200"))
		target.Forward.Read = 150 * time.Millisecond
		e := failure(t, tr.RoundTrip(get("/"), target))
		if !e.Timeout || e.Stage != exchange.StageReadHead || !errors.Is(e, ErrRead) {
			t.Errorf("%+v", e)
		}
	})
	t.Run("no content", func(t *testing.T) {
		tr := newTransport(t)
		target := serve(t, hold("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
		target.Forward.Read = 50 * time.Millisecond
		x := get("/")
		x.Down = newClient()
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		_, err := io.ReadAll(x.Resp.Body)
		if e := failure(t, err); !e.Timeout || e.Stage != exchange.StageReadBody {
			t.Errorf("%+v", e)
		}
		x.Resp.Body.Close()
	})
	t.Run("endpoint takes nothing", func(t *testing.T) {
		tr := newTransport(t)
		stop := make(chan struct{})
		defer close(stop)
		target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
			http.ReadRequest(r)
			<-stop
		})
		target.Forward.Send = 100 * time.Millisecond
		x := post(zeros{}, 1<<40)
		e := failure(t, tr.RoundTrip(x, target))
		if !e.Timeout || e.Stage != exchange.StageWriteRequest || !e.Sent {
			t.Errorf("%+v", e)
		}
	})
	t.Run("handshake", func(t *testing.T) {
		tr := newTransport(t)
		stop := make(chan struct{})
		defer close(stop)
		target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) { <-stop })
		target.Forward.Connect = 100 * time.Millisecond
		target.TLS = &upstream.TLSClient{Config: &tls.Config{InsecureSkipVerify: true}}
		e := failure(t, tr.RoundTrip(get("/"), target))
		if !e.Timeout || e.Stage != exchange.StageTLS || e.Sent {
			t.Errorf("%+v", e)
		}
	})
	t.Run("slow client is not the endpoint's fault", func(t *testing.T) {
		tr := newTransport(t)
		target := serve(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		target.Forward.Read = 60 * time.Millisecond
		pr, pw := io.Pipe()
		x := post(pr, -1)
		x.Down = newClient()
		done := make(chan error, 1)
		go func() { done <- tr.RoundTrip(x, target) }()
		time.AfterFunc(250*time.Millisecond, func() { pw.Write([]byte("x")); pw.Close() })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		finish(t, x)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClientThatLeavesCancels(t *testing.T) {
	start := func(t *testing.T, reply string) (*Transport, *upstream.Target, *exchange.Exchange, *client, chan struct{}) {
		closed := make(chan struct{})
		target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
			defer close(closed)
			http.ReadRequest(r)
			io.WriteString(c, reply)
			io.Copy(io.Discard, r)
		})
		x, down := get("/"), newClient()
		x.Down = down
		return newTransport(t), target, x, down, closed
	}
	t.Run("before the head", func(t *testing.T) {
		tr, target, x, down, closed := start(t, "")
		go func() {
			for !down.asked.Load() {
				time.Sleep(time.Millisecond)
			}
			close(down.gone)
		}()
		e := failure(t, tr.RoundTrip(x, target))
		if e.Side != exchange.SideClient || !errors.Is(e, exchange.ErrClientGone) {
			t.Errorf("%+v", e)
		}
		<-closed
	})
	t.Run("in the content", func(t *testing.T) {
		tr, target, x, down, closed := start(t, "HTTP/1.1 200 OK\r\n\r\n")
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		go close(down.gone)
		_, err := io.ReadAll(x.Resp.Body)
		if e := failure(t, err); e.Side != exchange.SideClient || !errors.Is(e, exchange.ErrClientGone) {
			t.Errorf("%+v", e)
		}
		x.Resp.Body.Close()
		<-closed
	})
}

// slowBody is a request body that waits for its client until it is closed.
type slowBody struct {
	first  string
	closed chan struct{}
	once   sync.Once
	err    error
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.first != "" {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	<-b.closed
	return 0, errors.New("read of a closed body")
}

func (b *slowBody) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

func TestEarlyAnswerEndsSending(t *testing.T) {
	for name, reply := range map[string]string{
		"without content": "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n",
		"with content":    "HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig",
		"chunked":         "HTTP/1.1 413 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t)
			target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
				http.ReadRequest(r)
				io.WriteString(c, reply)
				io.Copy(io.Discard, r)
			})
			body := &slowBody{first: "abc", closed: make(chan struct{})}
			x := post(body, -1)
			if err := tr.RoundTrip(x, target); err != nil {
				t.Fatal(err)
			}
			if x.Resp.Status != 413 {
				t.Errorf("status %d", x.Resp.Status)
			}
			finish(t, x)
			if n := tr.idle.count.Load(); n != 0 {
				t.Errorf("%d idle connections: one with half a request was kept", n)
			}
		})
	}
}

func TestAnswerIsReadWhileTheRequestIsSent(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		b := make([]byte, 1)
		for {
			if _, err := req.Body.Read(b); err != nil {
				io.WriteString(c, "0\r\n\r\n")
				return
			}
			fmt.Fprintf(c, "1\r\n%s\r\n", b)
		}
	})
	pr, pw := io.Pipe()
	x := post(pr, -1)
	if err := tr.RoundTrip(x, target); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		pw.Write([]byte{byte('a' + i)})
		b := make([]byte, 10)
		n, err := x.Resp.Body.Read(b)
		if err != nil || string(b[:n]) != string(rune('a'+i)) {
			t.Fatalf("%d: %q, %v", i, b[:n], err)
		}
	}
	pw.Close()
	finish(t, x)
}

func TestFailureOfTheClientsBodyIsTheClients(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	for _, want := range []error{exchange.ErrBodyTimeout, exchange.ErrBodyTooLarge, exchange.ErrClientGone} {
		e := failure(t, tr.RoundTrip(post(&slowBody{first: "a", err: want, closed: make(chan struct{})}, -1), target))
		if e.Side != exchange.SideClient || !errors.Is(e, want) || e.Timeout != (want == exchange.ErrBodyTimeout) {
			t.Errorf("%v: %+v", want, e)
		}
	}
	e := failure(t, tr.RoundTrip(post(strings.NewReader("abc"), 5), target))
	if e.Side != exchange.SideClient || !errors.Is(e, ErrBodyShort) {
		t.Errorf("short body: %+v", e)
	}
	x := post(strings.NewReader("abc"), 5)
	x.Limits.Buffer = true
	if e := failure(t, tr.RoundTrip(x, target)); e.Side != exchange.SideClient || e.Sent {
		t.Errorf("short buffered body: %+v", e)
	}
}

func TestRequestTrailersTravel(t *testing.T) {
	tr := newTransport(t)
	got := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Get("X-T")
	}))
	defer srv.Close()
	x := post(strings.NewReader("abc"), -1)
	x.Up.Header.Add("Trailer", "X-T")
	x.Req.Trailer.Add("X-T", "1")
	roundTrip(t, tr, x, targetOf(srv.Listener.Addr()))
	if s := <-got; s != "1" {
		t.Errorf("trailer %q", s)
	}
	tr.Close()
}

func TestHTTP10(t *testing.T) {
	tr := newTransport(t)
	lines := make(chan string, 4)
	target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
		l, err := r.ReadString('\n')
		if err != nil {
			return
		}
		lines <- l
		for l != "\r\n" && err == nil {
			l, err = r.ReadString('\n')
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		r.ReadByte()
	})
	for range 2 {
		x := get("/x")
		x.Up.HTTP10 = true
		if got := roundTrip(t, tr, x, target); got != "ok" {
			t.Errorf("%q", got)
		}
		if l := <-lines; l != "GET /x HTTP/1.0\r\n" {
			t.Errorf("line %q", l)
		}
	}
	x := post(strings.NewReader("a"), -1)
	x.Up.HTTP10 = true
	if e := failure(t, tr.RoundTrip(x, target)); e.Side != exchange.SideSelf || !errors.Is(e, h1.ErrFraming) {
		t.Errorf("%+v", e)
	}
}

func TestS7_4_Upgrades(t *testing.T) {
	upgraded := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: y\r\n\r\n"
	t.Run("tunnel", func(t *testing.T) {
		tr := newTransport(t)
		plain := answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
			if n == 0 {
				plain(n, c, r)
				return
			}
			req, _ := http.ReadRequest(r)
			if req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "upgrade" {
				t.Errorf("request fields %v", req.Header)
			}
			io.WriteString(c, upgraded+"hello ")
			b, _ := io.ReadAll(r) // until the half-close
			fmt.Fprintf(c, "<%s>", b)
		})
		roundTrip(t, tr, get("/"), target) // leaves a connection that must not be used
		x := get("/ws")
		x.Up.Upgrade = "websocket"
		x.Down = newClient()
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		tun := x.Resp.Tunnel
		if x.Resp.Status != 101 || x.Resp.Upgrade != "websocket" || tun == nil || x.Resp.Header.Get("X") != "y" {
			t.Fatalf("%+v", x.Resp)
		}
		io.WriteString(tun, "ping")
		if err := tun.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if b, err := io.ReadAll(tun); string(b) != "hello <ping>" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		for range 2 {
			if err := tun.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := tr.idle.count.Load(); n != 1 {
			t.Errorf("%d idle connections, want the first one", n)
		}
		if a := x.Try[0]; a.Status != 101 || a.Bytes != 12 {
			t.Errorf("attempt %+v", a)
		}
	})
	t.Run("refused", func(t *testing.T) {
		tr := newTransport(t)
		target := serve(t, answer("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
		x := get("/")
		x.Up.Upgrade = "websocket"
		if got := roundTrip(t, tr, x, target); got != "no" || x.Resp.Tunnel != nil || x.Resp.Status != 403 {
			t.Errorf("%q, %+v", got, x.Resp)
		}
	})
	for name, c := range map[string]struct{ ask, reply string }{
		"unasked":     {"", upgraded},
		"other token": {"websocket", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"},
		"no token":    {"websocket", "HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n"},
		"two tokens":  {"websocket", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t)
			x := get("/")
			x.Up.Upgrade = c.ask
			e := failure(t, tr.RoundTrip(x, serve(t, answer(c.reply))))
			if !e.Invalid || x.Resp.Tunnel != nil {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("idle both ways", func(t *testing.T) {
		tr := newTransport(t)
		target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
			http.ReadRequest(r)
			io.WriteString(c, upgraded)
			io.Copy(io.Discard, r)
		})
		target.Forward.Read = 50 * time.Millisecond
		x := get("/")
		x.Up.Upgrade = "websocket"
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		_, err := x.Resp.Tunnel.Read(make([]byte, 1))
		if e := failure(t, err); !e.Timeout {
			t.Errorf("%+v", e)
		}
		x.Resp.Tunnel.Close()
	})
}

func TestTLSEndpoints(t *testing.T) {
	tr := newTransport(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.TLS.ServerName, r.TLS.NegotiatedProtocol, r.RemoteAddr)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	target := targetOf(srv.Listener.Addr())
	pool := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	target.TLS = &upstream.TLSClient{Config: &tls.Config{RootCAs: pool}, Name: "example.com"}
	first := roundTrip(t, tr, get("/"), target)
	if !strings.HasPrefix(first, "example.com http/1.1 ") {
		t.Errorf("%q", first)
	}
	if again := roundTrip(t, tr, get("/"), target); again != first {
		t.Errorf("%q, then %q: not the same connection", first, again)
	}
	target.TLS = &upstream.TLSClient{Config: &tls.Config{RootCAs: pool}, Name: "other.test"}
	e := failure(t, tr.RoundTrip(get("/"), target))
	if e.Stage != exchange.StageTLS || e.Sent || e.Timeout {
		t.Errorf("wrong name: %+v", e)
	}
	tr.Close()
}

func TestS7_6_AbortsNeverMixAnswers(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, io.LimitReader(req.Body, 100))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 20 {
				fmt.Fprintf(c, "%x\r\n%s\r\n", len(req.URL.Path), req.URL.Path)
			}
			if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil || n > 0 {
				return // the rest of the request was not read
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				path := fmt.Sprintf("/%d-%d/", g, i)
				x := get(path)
				x.Down = newClient()
				if i%3 == 1 {
					x.Up.Method, x.Up.Length = "POST", -1
					x.Up.Body = &slowBody{first: strings.Repeat("x", i*100), closed: make(chan struct{}), err: func() error {
						if i%2 == 0 {
							return io.EOF
						}
						return nil
					}()}
				}
				if i%5 == 2 {
					close(x.Down.(*client).gone)
				}
				if err := tr.RoundTrip(x, target); err != nil {
					if i%3 != 1 && i%5 != 2 {
						t.Errorf("%s: %v", path, err)
					}
					x.Release()
					continue
				}
				if x.Resp.Body != nil {
					if i%4 == 0 { // leave in the middle
						b := make([]byte, len(path))
						io.ReadFull(x.Resp.Body, b)
						if string(b) != path {
							t.Errorf("%s: answer %q", path, b)
						}
					} else if b, err := io.ReadAll(x.Resp.Body); err == nil && string(b) != strings.Repeat(path, 20) {
						t.Errorf("%s: answer %q", path, b)
					}
					x.Resp.Body.Close()
				}
				x.Release()
			}
		}()
	}
	wg.Wait()
}
