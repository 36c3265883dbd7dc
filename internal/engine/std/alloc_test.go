package std

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// fixed answers every request alike, without allocating.
type fixed struct{ watch bool }

var noRoute exchange.RouteInfo

type fixedBody struct{ left int }

var fixedSlot = exchange.NewSlot[fixedBody]()

func (b *fixedBody) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), b.left)], "content")
	if b.left -= n; b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}
func (b *fixedBody) Close() error { return nil }

func (f fixed) Match(x *exchange.Exchange) bool             { x.Route = &noRoute; return false }
func (f fixed) Begin(x *exchange.Exchange) exchange.Verdict { return exchange.Continue }
func (f fixed) Respond(*exchange.Exchange)                  {}
func (f fixed) Done(*exchange.Exchange)                     {}
func (f fixed) Forward(x *exchange.Exchange) {
	if f.watch {
		x.Down.Gone()
	}
	x.Resp.Status, x.Resp.Length, x.Resp.FromUpstream = 200, 7, true
	b := fixedSlot.Of(x)
	b.left = 7
	x.Resp.Body = b
	x.Resp.Header.Add("Content-Type", "text/plain")
}

// connect serves one loopback connection with the handler and returns the client's end.
func connect(tb testing.TB, h exchange.Handler) net.Conn {
	tb.Helper()
	g := &config.Global{KeepAlive: time.Minute, KeepAliveRequests: 1 << 30, HTTP2: true}
	e := New(Options{Handler: h, Global: func() *config.Global { return g }, Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.ServeConn(s, &exchange.Conn{Remote: netip.MustParseAddrPort("127.0.0.1:1"), Port: 80})
	}()
	tb.Cleanup(func() { c.Close(); <-ended })
	return c
}

var (
	plainRequest = []byte("GET /path?query HTTP/1.1\r\nHost: a.test\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
	bodyRequest  = []byte("POST /path HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody")
)

// talk sends a request and reads the answer into buf.
func talk(tb testing.TB, c net.Conn, request, buf []byte) {
	if _, err := c.Write(request); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for n < 7 || string(buf[n-7:n]) != "content" {
		m, err := c.Read(buf[n:])
		if err != nil {
			tb.Fatal(err)
		}
		n += m
	}
}

func TestRequestsAllocateOnlyTheirHead(t *testing.T) {
	buf := make([]byte, 4096)
	for _, tc := range []struct {
		name    string
		handler fixed
		request []byte
		most    float64
	}{
		// The copy of the head that everything in the request points into.
		{"plain", fixed{}, plainRequest, 1}, {"body", fixed{}, bodyRequest, 1},
		// And the error of the read that is ended when the answer is there.
		{"watched", fixed{watch: true}, plainRequest, 2},
	} {
		c := connect(t, tc.handler)
		for range 10 {
			talk(t, c, tc.request, buf)
		}
		if n := testing.AllocsPerRun(200, func() { talk(t, c, tc.request, buf) }); n > tc.most && !raceEnabled {
			t.Errorf("%s: %v allocations, want %v", tc.name, n, tc.most)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	c := connect(b, fixed{})
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		talk(b, c, plainRequest, buf)
	}
}
