package listen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/certs"
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine"
	"github.com/lintel-ingress/lintel/internal/engine/std"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// plane answers every request with what it knows of the connection.
type plane struct{ hold chan struct{} }

var noRoute exchange.RouteInfo

func (p *plane) Match(x *exchange.Exchange) bool { x.Route = &noRoute; return false }

func (p *plane) Begin(x *exchange.Exchange) exchange.Verdict {
	if x.Malformed == 497 {
		return x.Reply(400)
	}
	if x.Malformed != 0 {
		return x.Reply(x.Malformed)
	}
	return exchange.Continue
}

func (p *plane) Forward(x *exchange.Exchange) {
	if p.hold != nil {
		<-p.hold
	}
	c := x.Conn
	text := strings.Join([]string{x.Req.Scheme, x.Client.Addr().String(), x.Eff.Port, c.ServerName, c.TLSPolicy, c.ClientVerify, x.Req.Proto.String()}, " ")
	x.Resp.Status, x.Resp.Length, x.Resp.Body = 200, int64(len(text)), io.NopCloser(strings.NewReader(text))
}

func (p *plane) Respond(x *exchange.Exchange) {
	if x.Resp.Generated {
		x.Resp.Length, x.Resp.Body = 5, io.NopCloser(strings.NewReader("page\n"))
	}
}
func (p *plane) Done(*exchange.Exchange) {}

var self = sync.OnceValue(func() tls.Certificate {
	c, err := certs.Generate(time.Now())
	if err != nil {
		panic(err)
	}
	return c
})

type lab struct {
	*Listener
	plain, secure string
	plane         *plane
	global        atomic.Pointer[config.Global]
}

// start listens on a plain and a TLS socket.
func start(t *testing.T, change func(*Options, *config.Global)) *lab {
	t.Helper()
	b := &lab{plane: &plane{}}
	g := &config.Global{KeepAlive: 10 * time.Second, KeepAliveRequests: 100, HTTP2: true, HeaderTimeout: 10 * time.Second}
	o := Options{
		Sockets: []Socket{{Addr: "127.0.0.1:0", Port: 80}, {Addr: "127.0.0.1:0", TLS: true, Port: 8443}},
		Certs:   certs.New(self()), Global: b.global.Load, Log: slog.New(slog.DiscardHandler),
	}
	o.Engine = std.New(std.Options{Handler: b.plane, Global: b.global.Load, Log: o.Log})
	if change != nil {
		change(&o, g)
	}
	b.global.Store(g)
	o.Certs.Apply(&config.Delta{Global: g})
	b.Listener = New(o)
	if err := b.Bind(); err != nil {
		t.Fatal(err)
	}
	a := b.Addrs()
	b.plain, b.secure = a[0].String(), a[1].String()
	b.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.Drain(ctx)
		if n := b.Counters.Pending.Load(); n != 0 {
			t.Errorf("%d connections are still pending", n)
		}
	})
	return b
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

// ask sends text and reads one response.
func ask(t *testing.T, c net.Conn, text string) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(got)
}

func ended(t *testing.T, c net.Conn) {
	t.Helper()
	got, err := io.ReadAll(c)
	var timeout net.Error
	if len(got) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("connection goes on with %q, %v", got, err)
	}
}

func TestPlainAndTLSConnectionsReachTheEngine(t *testing.T) {
	b := start(t, nil)
	if status, got := ask(t, dial(t, b.plain), get); status != 200 || got != "http 127.0.0.1 80    HTTP/1.1" {
		t.Errorf("got %d %q", status, got)
	}
	tc := tls.Client(dial(t, b.secure), &tls.Config{InsecureSkipVerify: true, ServerName: "A.test"})
	if status, got := ask(t, tc, get); status != 200 || got != "https 127.0.0.1 443 a.test   HTTP/1.1" {
		t.Errorf("got %d %q", status, got)
	}
	if n := b.Counters.Handled.Load(); n != 2 {
		t.Errorf("%d connections handled, want 2", n)
	}
}

func TestALPNChoosesTheProtocol(t *testing.T) {
	b := start(t, nil)
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("https://" + b.secure + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, _ := io.ReadAll(r.Body); r.ProtoMajor != 2 || !strings.HasSuffix(string(got), "HTTP/2.0") {
		t.Errorf("got HTTP/%d %q", r.ProtoMajor, got)
	}
}

// adopting is an engine that only takes note.
type adopting struct {
	engine.Engine
	got chan *exchange.Conn
}

func (a adopting) ServeConn(c net.Conn, info *exchange.Conn) { c.Close(); a.got <- info }
func (a adopting) Drain()                                    {}
func (a adopting) Wait(context.Context) int                  { return 0 }

func TestAnotherEngineMayServeAProtocol(t *testing.T) {
	got := make(chan *exchange.Conn, 1)
	b := start(t, func(o *Options, _ *config.Global) { o.ByProtocol = map[string]engine.Engine{"h2": adopting{got: got}} })
	tc := tls.Client(dial(t, b.secure), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if info := <-got; info.TLS.NegotiatedProtocol != "h2" || info.Port != 8443 || !info.Remote.IsValid() || info.ID == 0 {
		t.Errorf("got %+v", info)
	}
}

func TestPlainHTTPOnTheTLSPortIsToldSo(t *testing.T) {
	b := start(t, nil)
	c := dial(t, b.secure)
	if status, _ := ask(t, c, get); status != 400 {
		t.Errorf("got %d, want 400", status)
	}
	ended(t, c)
	if b.Counters.PlainOnTLS.Load() != 1 {
		t.Error("not counted")
	}
}

func TestS9_5_BrokenHandshakesHarmNobody(t *testing.T) {
	b := start(t, nil)
	for _, text := range []string{"\x16", "\x16\x03\x01\x00\x05hello", "\x80\x80\x01\x03\x01", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 1<<16)} {
		c := dial(t, b.secure)
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c) // an alert, or nothing
	}
	c := dial(t, b.secure)
	c.Close()
	// A hello in single bytes is a good one.
	tc := tls.Client(slow{dial(t, b.secure)}, &tls.Config{InsecureSkipVerify: true})
	if status, _ := ask(t, tc, get); status != 200 {
		t.Errorf("got %d", status)
	}
}

// slow writes one byte at a time.
type slow struct{ net.Conn }

func (s slow) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestHandshakesAtOnceAreBounded(t *testing.T) {
	b := start(t, func(o *Options, _ *config.Global) { o.Handshakes = 1 })
	stuck := dial(t, b.secure)
	io.WriteString(stuck, "\x16\x03\x01\x00\x05")
	for len(b.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	tc := tls.Client(dial(t, b.secure), &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- tc.Handshake() }()
	select {
	case err := <-shaken:
		t.Fatalf("handshake ended beside another: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	stuck.Close()
	if err := <-shaken; err != nil {
		t.Error(err)
	}
}

func TestPeekMaySeeAndTakeConnections(t *testing.T) {
	taken := make(chan string, 1)
	b := start(t, func(o *Options, _ *config.Global) {
		o.Peek = func(c *Conn, info *exchange.Conn) bool {
			hello, err := c.Peek(5)
			if err != nil {
				return false
			}
			size := int(hello[3])<<8 | int(hello[4])
			hello, err = c.Peek(5 + size)
			if err != nil || !strings.Contains(string(hello), "pass.test") {
				return false
			}
			defer c.Close()
			all := make([]byte, 5+size)
			if _, err := io.ReadFull(c, all); err != nil {
				t.Error(err)
			}
			taken <- string(all)
			return true
		}
	})
	tc := tls.Client(dial(t, b.secure), &tls.Config{InsecureSkipVerify: true, ServerName: "other.test"})
	if status, _ := ask(t, tc, get); status != 200 {
		t.Errorf("got %d", status)
	}
	go tls.Client(dial(t, b.secure), &tls.Config{InsecureSkipVerify: true, ServerName: "pass.test"}).Handshake()
	if got := <-taken; got[0] != 0x16 || !strings.Contains(got, "pass.test") {
		t.Errorf("the hook got %q", got)
	}
}

func TestProxyHeaderNamesTheClient(t *testing.T) {
	trusted := filter.Prefixes{netip.MustParsePrefix("127.0.0.0/8")}
	b := start(t, func(_ *Options, g *config.Global) { g.ProxyProtocol, g.ProxyProtocolTrusted = true, trusted })
	v2 := signature2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x01\xbb"
	for header, want := range map[string]string{
		"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n":        "http 1.2.3.4 2222 ",
		"PROXY TCP6 2001:db8::1 2001:db8::2 1111 443\r\n": "http 2001:db8::1 443 ",
		"PROXY UNKNOWN\r\n":                               "http 127.0.0.1 80 ",
		"PROXY UNKNOWN anything 1 2\r\n":                  "http 127.0.0.1 80 ",
		v2:                                                "http 1.2.3.4 443 ",
		signature2 + "\x20\x00\x00\x00":                   "http 127.0.0.1 80 ",
		signature2 + "\x20\x00\x00\x03abc":                "http 127.0.0.1 80 ",
	} {
		if status, got := ask(t, dial(t, b.plain), header+get); status != 200 || !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %d %q, want %q", header, status, got, want)
		}
		// In single bytes, and before TLS.
		if status, _ := ask(t, slow{dial(t, b.plain)}, header+get); status != 200 {
			t.Errorf("%q in single bytes: got %d", header, status)
		}
		c := dial(t, b.secure)
		io.WriteString(c, header)
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if _, got := ask(t, tc, get); !strings.HasPrefix(got, strings.Replace(strings.Replace(want, "http ", "https ", 1), " 80 ", " 443 ", 1)) {
			t.Errorf("%q before TLS: got %q", header, got)
		}
	}
	for _, header := range []string{"", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 99999\r\n", "PROXY " + strings.Repeat("x", 200)} {
		c := dial(t, b.plain)
		io.WriteString(c, header+get)
		ended(t, c)
	}
	if n := b.Counters.ProxyErrors.Load(); n != 4 {
		t.Errorf("%d refused, want 4", n)
	}
	// The settings are read for each connection.
	next := *b.global.Load()
	next.ProxyProtocolTrusted = nil
	b.global.Store(&next)
	if _, got := ask(t, dial(t, b.plain), v2+get); !strings.HasPrefix(got, "http 127.0.0.1 80 ") {
		t.Errorf("S5: a peer that is not trusted named %q", got)
	}
	off := next
	off.ProxyProtocol = false
	b.global.Store(&off)
	if status, _ := ask(t, dial(t, b.plain), get); status != 200 {
		t.Errorf("switched off: got %d", status)
	}
}

func TestProxyHeaderHasATimeout(t *testing.T) {
	b := start(t, func(_ *Options, g *config.Global) {
		g.ProxyProtocol, g.ProxyProtocolTimeout = true, 50*time.Millisecond
	})
	c := dial(t, b.plain)
	io.WriteString(c, "PROXY TCP4 1.2")
	ended(t, c)
}

func TestTakenPortIsToldInOneSentence(t *testing.T) {
	b := start(t, nil)
	l := New(Options{Sockets: []Socket{{Addr: "127.0.0.1:0"}, {Addr: b.plain, Flag: "http-port"}}, Log: slog.New(slog.DiscardHandler)})
	err := l.Bind()
	want := "listen " + b.plain + ": address already in use (stop the process that listens there, or use --http-port 8080)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, a := range l.Addrs()[:1] {
		if c, err := net.Dial("tcp", a.String()); err == nil {
			c.Close()
			t.Error("the other socket stays open")
		}
	}
	err = New(Options{Sockets: []Socket{{Addr: "192.0.2.1:0"}}}).Bind()
	if want := "listen 192.0.2.1:0: address is not on this machine (listen on one of its own addresses)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestHintIsNotThePortThatIsTaken(t *testing.T) {
	for s, want := range map[Socket]string{
		{Addr: ":80", Flag: "http-port"}:                    "--http-port 8080)",
		{Addr: ":8080", Flag: "http-port"}:                  "--http-port 8081)",
		{Addr: "[::1]:8443", Flag: "https-port", TLS: true}: "--https-port 8444)",
	} {
		if err := bindError(s, syscall.EADDRINUSE); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v: got %v, want it to end in %s", s, err, want)
		}
	}
}

func TestDrainFinishesRequestsAndQueuedClients(t *testing.T) {
	b := start(t, nil)
	b.plane.hold = make(chan struct{})
	busy := dial(t, b.plain)
	io.WriteString(busy, get)
	silent := dial(t, b.secure) // has not said a word
	for b.Counters.Accepted.Load() < 2 || b.Engine.Counts().Writing == 0 {
		time.Sleep(time.Millisecond)
	}
	cut := make(chan int, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cut <- b.Drain(ctx)
	}()
	for !b.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	close(b.plane.hold)
	r, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || r.StatusCode != 200 || !r.Close {
		t.Errorf("got %v, %v, want 200 and close", r, err)
	}
	ended(t, silent)
	if n := <-cut; n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	if c, err := net.Dial("tcp", b.plain); err == nil {
		c.Close()
		t.Error("a drained listener still accepts")
	}
}

func TestDrainCutsAtItsDeadline(t *testing.T) {
	b := start(t, nil)
	b.plane.hold = make(chan struct{})
	busy := dial(t, b.plain)
	io.WriteString(busy, get)
	for b.Engine.Counts().Writing == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	go func() {
		<-ctx.Done()
		close(b.plane.hold)
	}()
	b.Drain(ctx)
	_, _ = io.Copy(io.Discard, busy) // answered or cut: over in any case
}
