package std

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// newTransport returns a Transport whose goroutines are checked for at the end of the test.
func newTransport(t *testing.T) *Transport {
	t.Helper()
	before := runtime.NumGoroutine()
	tr := New(Options{})
	t.Cleanup(func() {
		tr.Close()
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%d goroutines, %d before the test:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
			runtime.Gosched()
		}
	})
	return tr
}

// serve accepts connections until the test ends and gives each to f, which closes it by returning.
func serve(t *testing.T, f func(n int, c net.Conn, r *bufio.Reader)) *upstream.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				f(n, c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return targetOf(l.Addr())
}

func targetOf(a net.Addr) *upstream.Target {
	return &upstream.Target{
		Endpoint: config.Endpoint{Addr: a.(*net.TCPAddr).AddrPort()},
		Forward:  &config.Forward{Connect: 5 * time.Second, Send: 5 * time.Second, Read: 5 * time.Second},
		Local:    true,
	}
}

// answer reads a request and writes s.
func answer(s string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(c, s); err != nil {
				return
			}
		}
	}
}

// client is the downstream side of an exchange.
type client struct {
	gone     chan struct{}
	interims []string
	asked    atomic.Bool
}

func newClient() *client { return &client{gone: make(chan struct{})} }

func (c *client) Gone() <-chan struct{} { c.asked.Store(true); return c.gone }
func (c *client) Informational(status int, h *exchange.Fields) error {
	s := fmt.Sprint(status)
	for n, v := range h.All() {
		s += " " + n + "=" + v
	}
	c.interims = append(c.interims, s)
	return nil
}

func get(target string) *exchange.Exchange {
	x := exchange.Acquire()
	x.Up.Method, x.Up.Scheme, x.Up.Authority, x.Up.Target = "GET", "http", "a.test", target
	return x
}

func post(body io.Reader, length int64) *exchange.Exchange {
	x := get("/")
	x.Up.Method, x.Up.Length = "POST", length
	rc, ok := body.(io.ReadCloser)
	if !ok {
		rc = io.NopCloser(body)
	}
	x.Up.Body = rc
	return x
}

// finish reads and closes the response, and returns its content.
func finish(t *testing.T, x *exchange.Exchange) string {
	t.Helper()
	if x.Resp.Body == nil {
		return ""
	}
	b, err := io.ReadAll(x.Resp.Body)
	if err != nil {
		t.Errorf("reading the response: %v", err)
	}
	if err := x.Resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return string(b)
}

func roundTrip(t *testing.T, tr *Transport, x *exchange.Exchange, target *upstream.Target) string {
	t.Helper()
	if err := tr.RoundTrip(x, target); err != nil {
		t.Fatal(err)
	}
	return finish(t, x)
}

func failure(t *testing.T, err error) *exchange.Error {
	t.Helper()
	var e *exchange.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an *exchange.Error", err)
	}
	return e
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	tr := newTransport(t)
	var conns atomic.Int32
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for i := 0; ; i++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			b, _ := io.ReadAll(req.Body)
			if i%2 == 0 {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Method: %s\r\n\r\n%s", len(b)+2, req.Method, "<"+string(b)+">")
			} else {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-T: 1\r\n\r\n", len(b)+2, "<"+string(b)+">")
			}
		}
	})
	for i := range 10 {
		x := post(strings.NewReader("hello"), 5)
		x.Limits.Buffer = i%3 == 0
		if i%4 == 1 {
			x.Up.Length = -1
		}
		if got := roundTrip(t, tr, x, target); got != "<hello>" {
			t.Fatalf("exchange %d: %q", i, got)
		}
		a := x.Try[0]
		if a.Status != 200 || a.Bytes != 7 || a.Header < 0 || a.Response < a.Header || i > 0 && a.Connect != 0 || a.Addr != target.Endpoint.Addr {
			t.Errorf("exchange %d: attempt %+v", i, a)
		}
		if i%2 == 1 && x.Resp.Trailer.Get("X-T") != "1" {
			t.Errorf("exchange %d: trailer %+v", i, x.Resp.Trailer)
		}
		if !x.Resp.FromUpstream {
			t.Errorf("exchange %d: not marked as from upstream", i)
		}
		x.Release()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestConnectionsEndWhenLimitsSaySo(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		answer string
		close  bool
		want   int32
	}{
		{"no idle connections", Limits{}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 4},
		{"two requests each", Limits{Idle: 10, Requests: 2}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 2},
		{"old age", Limits{Idle: 10, Age: 1}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 4},
		{"asked by the exchange", DefaultLimits, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, 4},
		{"asked by the endpoint", DefaultLimits, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, 4},
		{"HTTP/1.0 endpoint", DefaultLimits, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, 4},
		{"bytes behind the answer", DefaultLimits, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200", false, 4},
		{"bytes behind the content", DefaultLimits, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200", false, 4},
		{"bytes behind the chunks", DefaultLimits, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200", false, 4},
		{"announced content of a 204", DefaultLimits, "HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\na", false, 4},
		{"S11.1 NTLM", DefaultLimits, "HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Basic, NTLM\r\n\r\n", false, 4},
		{"S11.1 Negotiate", DefaultLimits, "HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: negotiate abc\r\n\r\n", false, 4},
		{"kept", DefaultLimits, "HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Basic\r\nKeep-Alive: timeout=20\r\n\r\n", false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTransport(t)
			tr.SetLimits(c.limits)
			var conns atomic.Int32
			reply := answer(c.answer)
			target := serve(t, func(n int, nc net.Conn, r *bufio.Reader) { conns.Add(1); reply(n, nc, r) })
			for range 4 {
				x := get("/")
				x.Up.Close = c.close
				roundTrip(t, tr, x, target)
				x.Release()
			}
			if n := conns.Load(); n != c.want {
				t.Errorf("%d connections, want %d", n, c.want)
			}
		})
	}
}

func TestS11_1_ConnectionOfAnAuthenticatedUserIsNotShared(t *testing.T) {
	tr := newTransport(t)
	var conns atomic.Int32
	reply := answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	target := serve(t, func(n int, nc net.Conn, r *bufio.Reader) { conns.Add(1); reply(n, nc, r) })
	for range 3 {
		x := get("/")
		x.Up.Header.Add("Authorization", "NTLM TlRMTVNTUAAD")
		roundTrip(t, tr, x, target)
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

func TestS11_2_PoisonedIdleConnectionIsDiscarded(t *testing.T) {
	tr := newTransport(t)
	poisoned := make(chan struct{})
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		for i := 0; ; i++ {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
			if n == 0 {
				<-poisoned
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				poisoned <- struct{}{}
			}
		}
	})
	if got := roundTrip(t, tr, get("/"), target); got != "0" {
		t.Fatalf("first: %q", got)
	}
	poisoned <- struct{}{}
	<-poisoned
	// The bytes are on their way through the loopback; wait until the socket shows them.
	k := keyOf(target)
	s := tr.idle.shard(k)
	s.mu.Lock()
	c := s.conns[k]
	s.mu.Unlock()
	waitFor(t, func() bool { return !c.socket.quiet() })
	if got := roundTrip(t, tr, get("/"), target); got != "1" {
		t.Fatalf("second: %q, want the answer of a fresh connection", got)
	}
	tr.idle.sweep(time.Now())
	if n := tr.idle.count.Load(); n != 1 {
		t.Errorf("%d idle connections, want 1", n)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("condition did not come true in 5s")
		}
	}
}

func TestS11_2_DifferentPoliciesNeverShareAConnection(t *testing.T) {
	a := netip.MustParseAddrPort("10.0.0.1:443")
	base := upstream.Target{Endpoint: config.Endpoint{Addr: a}, TLS: &upstream.TLSClient{Name: "a"}, TLSKey: "p1"}
	same := base
	same.TLS = &upstream.TLSClient{Name: "a"}
	if keyOf(&base) != keyOf(&same) {
		t.Error("equal targets have different keys")
	}
	plain, policy, name, h2 := base, base, base, base
	plain.TLS = nil
	policy.TLSKey = "p2"
	name.TLS = &upstream.TLSClient{Name: "b"}
	h2.HTTP2 = true
	for what, other := range map[string]upstream.Target{"plain": plain, "policy": policy, "name": name, "h2": h2} {
		if keyOf(&base) == keyOf(&other) {
			t.Errorf("%s: shares a key", what)
		}
	}
}

func TestStaleConnectionIsReportedAsReused(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		for range 2 {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		http.ReadRequest(r) // takes the third request and closes
	})
	for range 2 {
		roundTrip(t, tr, get("/"), target)
	}
	e := failure(t, tr.RoundTrip(get("/"), target))
	if !e.Reused || !e.Sent || e.Side != exchange.SideUpstream || e.Invalid || e.Timeout {
		t.Errorf("%+v", e)
	}
	if e.Stage != exchange.StageReadHead && e.Stage != exchange.StageWriteRequest {
		t.Errorf("stage %v", e.Stage)
	}
}

func TestEndpointThatClosesBeforeAnsweringIsNotReused(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) { http.ReadRequest(r) })
	x := get("/")
	e := failure(t, tr.RoundTrip(x, target))
	if e.Reused || !e.Sent || !errors.Is(e, ErrClosed) || e.Stage != exchange.StageReadHead {
		t.Errorf("%+v", e)
	}
	if len(x.Try) != 1 || x.Try[0].Status != 0 || x.Try[0].Header != -1 || x.Try[0].Response < 0 {
		t.Errorf("attempts %+v", x.Try)
	}
	if x.Resp.Status != 0 || x.Resp.FromUpstream {
		t.Errorf("response %+v", x.Resp)
	}
}

func TestRefusedConnection(t *testing.T) {
	tr := newTransport(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := targetOf(l.Addr())
	l.Close()
	e := failure(t, tr.RoundTrip(get("/"), target))
	if e.Stage != exchange.StageDial || e.Sent || e.Timeout || e.Side != exchange.SideUpstream {
		t.Errorf("%+v", e)
	}
}

func TestS3_3_LocalAddressesAreRefusedAtDialTime(t *testing.T) {
	tr := newTransport(t)
	for _, a := range []string{"127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1",
		"::ffff:169.254.169.254", "224.0.0.1", "ff02::1", "255.255.255.255", "fd00:ec2::254", "fe80::1%eth0"} {
		target := &upstream.Target{Endpoint: config.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 1)}}
		for _, h2 := range []bool{false, true} {
			target.HTTP2 = h2
			e := failure(t, tr.RoundTrip(get("/"), target))
			if !errors.Is(e, ErrAddress) || e.Side != exchange.SideSelf || e.Stage != exchange.StageDial || e.Sent {
				t.Errorf("%s: %+v", a, e)
			}
		}
	}
	tr.o.Refuse = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.1.2.3") }
	target := &upstream.Target{Endpoint: config.Endpoint{Addr: netip.MustParseAddrPort("10.1.2.3:1")}}
	if e := failure(t, tr.RoundTrip(get("/"), target)); !errors.Is(e, ErrAddress) {
		t.Errorf("own address: %+v", e)
	}
}

func TestCloseIdleKeepsOnlyWhatIsAccepted(t *testing.T) {
	tr := newTransport(t)
	reply := answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	a, b := serve(t, reply), serve(t, reply)
	roundTrip(t, tr, get("/"), a)
	roundTrip(t, tr, get("/"), b)
	tr.CloseIdle(func(e config.Endpoint) bool { return e.Addr == a.Endpoint.Addr })
	if n := tr.idle.count.Load(); n != 1 {
		t.Errorf("%d idle connections, want 1", n)
	}
	if s := tr.idle.shard(keyOf(a)); s.conns[keyOf(a)] == nil {
		t.Error("the accepted one was closed")
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	tr := newTransport(t)
	tr.SetLimits(Limits{Idle: 3})
	reply := answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	var all []*exchange.Exchange
	target := serve(t, reply)
	for range 8 {
		x := get("/")
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	for _, x := range all {
		finish(t, x)
	}
	if n := tr.idle.count.Load(); n != 3 {
		t.Errorf("%d idle connections, want 3", n)
	}
	tr.SetLimits(Limits{Idle: 1})
	if n := tr.idle.count.Load(); n != 1 {
		t.Errorf("%d idle connections after the limit fell, want 1", n)
	}
}

// echoServer answers requests without looking at them, without allocating.
func echoServer(t testing.TB) *upstream.Target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in, out := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		for {
			if _, err := c.Read(in); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return targetOf(l.Addr())
}

func TestAnExchangeAllocatesLittle(t *testing.T) {
	tr := newTransport(t)
	target := echoServer(t)
	x := get("/")
	x.Up.Header.Add("X-A", "b")
	p := make([]byte, 512)
	run := func() {
		x.Try = x.Try[:0]
		if err := tr.RoundTrip(x, target); err != nil {
			t.Fatal(err)
		}
		if n, err := x.Resp.Body.Read(p); n != 2 || err != io.EOF {
			t.Fatal(n, err)
		}
		x.Resp.Body.Close()
	}
	run()
	// The head's copy and the body's reader.
	if n := testing.AllocsPerRun(200, run); n > 3 {
		t.Errorf("%v allocations", n)
	}
	tr.Close()
}

func BenchmarkRoundTrip(b *testing.B) {
	tr := New(Options{})
	defer tr.Close()
	tr.SetLimits(Limits{Idle: 1})
	target := echoServer(b)
	x := get("/")
	p := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		x.Try = x.Try[:0]
		if err := tr.RoundTrip(x, target); err != nil {
			b.Fatal(err)
		}
		x.Resp.Body.Read(p)
		x.Resp.Body.Close()
	}
}
