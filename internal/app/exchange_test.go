package app

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/bench"
	"github.com/lintel-ingress/lintel/internal/config"
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
