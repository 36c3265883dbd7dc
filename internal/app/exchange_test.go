package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/bench"
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine/std"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe/accesslog"
	"github.com/lintel-ingress/lintel/internal/translate"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// prompt is a transport whose endpoints answer at once.
type prompt struct{}

func (prompt) RoundTrip(x *exchange.Exchange, t *upstream.Target) error {
	x.Try = append(x.Try, exchange.Attempt{Addr: t.Endpoint.Addr, Status: 200, Header: time.Millisecond, Response: 2 * time.Millisecond, Bytes: 128})
	x.Resp.Status, x.Resp.Length, x.Resp.FromUpstream = 200, 128, true
	x.Resp.Header.Add("Server", "demo")
	x.Resp.Header.Add("Date", "Mon, 01 Jan 2024 00:00:00 GMT")
	x.Resp.Header.Add("Content-Type", "text/plain")
	return nil
}
func (prompt) CloseIdle(func(config.Endpoint) bool) {}
func (prompt) Close()                               {}

// requester is an engine without sockets: one connection and the request it sends again and again.
type requester struct {
	w    *world
	conn exchange.Conn
}

// newRequester serves ten applications with the options given; edit may change their Ingresses.
func newRequester(tb testing.TB, o Options, edit func(*object.Ingress)) *requester {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	access := accesslog.New(io.Discard, log)
	w, err := newWorldOn(prompt{}, &o, log, access)
	if err != nil {
		tb.Fatal(err)
	}
	snapshot := object.NewSnapshot()
	c := &controller{world: w, snapshot: snapshot}
	c.pipeline = newPipeline(log, snapshot, func() *translate.Builder { return translate.NewBuilder(snapshot, translate.DefaultOptions()) }, w, nil)
	all := bench.Cluster(10)
	for _, ch := range all {
		if in, ok := ch.Object.(*object.Ingress); ok && edit != nil {
			edit(in)
		}
	}
	c.take(all)
	ctx, cancel := context.WithCancel(tb.Context())
	g := newGroup(ctx)
	g.goes("access log", access.Run)
	tb.Cleanup(func() {
		cancel()
		if err := g.stop(); err != nil {
			tb.Error(err)
		}
		w.transport.Close()
	})
	return &requester{w: w, conn: exchange.Conn{
		ID: 7, Port: 80, Remote: netip.MustParseAddrPort("192.0.2.7:40000"), Local: netip.MustParseAddrPort("10.0.0.1:80"),
		Draining: func() bool { return false },
	}}
}

// do runs one exchange from a parsed head to Done, as engines do. It returns its status.
func (c *requester) do() int {
	x := exchange.Acquire()
	x.Stats.Start = time.Now()
	r := &x.Req
	r.Method, r.Target, r.Path, r.Line = "GET", "/api/items?page=2", "/api/items", "GET /api/items?page=2 HTTP/1.1"
	r.Query, r.HasQuery = "page=2", true
	r.Authority, r.Host, r.Scheme = "app-7.team-0.example.com", "app-7.team-0.example.com", "http"
	r.Header.Add("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)")
	r.Header.Add("Accept", "text/html,application/xhtml+xml")
	r.Header.Add("Accept-Encoding", "gzip, deflate, br")
	r.Header.Add("Accept-Language", "en-US,en;q=0.9")
	r.Header.Add("Cookie", "session=0123456789abcdef0123456789abcdef")
	x.Conn, x.Client = &c.conn, c.conn.Remote
	x.Eff = exchange.Effective{Scheme: "http", Host: r.Authority, Port: "80"}
	exchange.Serve(c.w.plane, x)
	status := x.Resp.Status
	x.Stats.Duration, x.Stats.RequestBytes, x.Stats.BytesSent, x.Stats.BodyBytesSent = time.Millisecond, 400, 300, 128
	x.Stats.ConnRequests = 3
	c.w.plane.Done(x)
	x.Release()
	return status
}

// variants are what may cost something for each request.
var variants = map[string]struct {
	metrics bool
	log     string
	edit    func(*object.Ingress)
}{
	"plain":   {log: "false"},
	"log":     {log: "true"},
	"metrics": {log: "true", metrics: true},
	"rewrite": {log: "true", metrics: true, edit: func(in *object.Ingress) {
		in.Annotations = map[string]string{
			"nginx.ingress.kubernetes.io/rewrite-target": "/$1", "nginx.ingress.kubernetes.io/use-regex": "true",
			"nginx.ingress.kubernetes.io/enable-cors": "true", "nginx.ingress.kubernetes.io/limit-rps": "1000000",
		}
		for i := range in.Spec.Rules[0].HTTP.Paths {
			in.Spec.Rules[0].HTTP.Paths[i].Path += "(.*)"
		}
	}},
}

func variant(tb testing.TB, name string) *requester {
	tb.Helper()
	v := variants[name]
	o := Defaults()
	o.EnableMetrics = v.metrics
	c := newRequester(tb, o, v.edit)
	g := *c.w.plane.Global()
	g.AccessLog = v.log == "true"
	if _, err := c.w.access.Configure(accesslog.FromGlobal(&g)); err != nil {
		tb.Fatal(err)
	}
	if status := c.do(); status != 200 {
		tb.Fatalf("status %d, want 200", status)
	}
	return c
}

// BenchmarkExchange measures everything between a parsed request and the response's head but the
// endpoint: match, request filters, balancing, upstream filters, response filters, log, metrics.
func BenchmarkExchange(b *testing.B) {
	for _, name := range []string{"plain", "log", "metrics", "rewrite"} {
		b.Run(name, func(b *testing.B) {
			c := variant(b, name)
			b.ReportAllocs()
			for b.Loop() {
				c.do()
			}
		})
	}
}

const answer128 = "HTTP/1.1 200 OK\r\nServer: demo\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n"

// endpoint128 answers every request of any number of connections with 128 bytes.
func endpoint128(tb testing.TB) netip.AddrPort {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	text := []byte(answer128 + strings.Repeat("x", 128))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf, n := make([]byte, 8<<10), 0
				for {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						n = 0
						if _, err := c.Write(text); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// dialled serves one application with a real endpoint, through engine and transport, and returns
// a function that sends one request on one connection and reads its answer.
func dialled(tb testing.TB) (ask func()) {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	access := accesslog.New(io.Discard, log)
	o := Defaults()
	o.EnableMetrics = true
	w, err := newWorld(&o, log, access)
	if err != nil {
		tb.Fatal(err)
	}
	snapshot := object.NewSnapshot()
	c := &controller{world: w, snapshot: snapshot}
	c.pipeline = newPipeline(log, snapshot, func() *translate.Builder { return translate.NewBuilder(snapshot, translate.DefaultOptions()) }, w, nil)
	all := bench.Cluster(1)
	at := endpoint128(tb)
	for i := range all {
		all[i].Origin.Local = true
		if s, ok := all[i].Object.(*object.EndpointSlice); ok {
			port := int32(at.Port())
			s.Ports[0].Port, s.Endpoints = &port, s.Endpoints[:1]
			s.Endpoints[0].Addresses = []string{"127.0.0.1"}
		}
	}
	c.take(all)
	settings := *w.plane.Global()
	settings.KeepAliveRequests = 1 << 30
	e := std.New(std.Options{Handler: w.plane, Global: func() *config.Global { return &settings }, Log: log})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	served, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	g := newGroup(ctx)
	g.goes("access log", access.Run)
	g.goes("connection", func(ctx context.Context) error {
		e.ServeConn(served, &exchange.Conn{ID: 1, Port: 80, Remote: netip.MustParseAddrPort("192.0.2.7:40000"), Draining: func() bool { return false }})
		<-ctx.Done()
		return nil
	})
	tb.Cleanup(func() {
		nc.Close()
		cancel()
		if err := g.stop(); err != nil {
			tb.Error(err)
		}
		w.transport.Close()
	})
	request := []byte("GET /api/items?page=2 HTTP/1.1\r\nHost: " + bench.Host(0) + "\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n")
	buf := make([]byte, 4<<10)
	return func() {
		if _, err := nc.Write(request); err != nil {
			tb.Fatal(err)
		}
		for n := 0; ; {
			m, err := nc.Read(buf[n:])
			if err != nil {
				tb.Fatal(err)
			}
			if n += m; bytes.HasSuffix(buf[:n], []byte("xxxx")) {
				if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
					tb.Fatalf("%s", buf[:n])
				}
				return
			}
			if n == len(buf) {
				tb.Fatalf("%s", buf[:n])
			}
		}
	}
}

// BenchmarkSockets is one request after another through real sockets: client, engine, data plane,
// transport, endpoint. Client and endpoint count in the time, but allocate nothing.
func BenchmarkSockets(b *testing.B) {
	ask := dialled(b)
	ask()
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}
