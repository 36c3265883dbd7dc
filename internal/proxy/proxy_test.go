package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// lab is a proxy over pools a test fills and a transport that calls answer.
type lab struct {
	t        testing.TB
	registry *upstream.Registry
	proxy    *Proxy
	answer   func(x *exchange.Exchange, t *upstream.Target) error
	asked    []string // addresses, in order
	bodies   []string
	targets  []upstream.Target
	// keepNothing leaves asked and bodies alone, for counting allocations.
	keepNothing bool
}

func newLab(t testing.TB, d Deps) *lab {
	l := &lab{t: t, registry: upstream.NewRegistry(upstream.Options{})}
	d.Pool = l.registry.Pool
	d.HTTP1, d.HTTP2 = l, l
	if d.Global == nil {
		g := &config.Global{UpstreamKeepAlive: 320}
		d.Global = func() *config.Global { return g }
	}
	if d.Buffers == nil {
		d.Buffers = NewBuffers(t.TempDir())
	}
	l.proxy = New(d)
	l.answer = ok
	return l
}

func ok(x *exchange.Exchange, _ *upstream.Target) error {
	x.Resp.Status = 200
	return nil
}

func (l *lab) CloseIdle(func(config.Endpoint) bool) {}
func (l *lab) Close()                               {}
func (l *lab) RoundTrip(x *exchange.Exchange, t *upstream.Target) error {
	x.Try = append(x.Try, exchange.Attempt{Addr: t.Endpoint.Addr})
	if l.keepNothing {
		return l.answer(x, t)
	}
	l.asked = append(l.asked, t.Endpoint.Addr.String())
	l.targets = append(l.targets, *t)
	return l.answer(x, t)
}

// readBody reads the request as an endpoint does.
func (l *lab) readBody(x *exchange.Exchange) error {
	if x.Up.Body == nil {
		l.bodies = append(l.bodies, "-")
		return nil
	}
	b, err := io.ReadAll(x.Up.Body)
	l.bodies = append(l.bodies, string(b))
	if err != nil {
		return &exchange.Error{Side: exchange.SideClient, Stage: exchange.StageReadBody, Sent: true, Err: err}
	}
	return nil
}

var (
	mainPool  = config.PoolID{Namespace: "n", Service: "main", Port: "80"}
	otherPool = config.PoolID{Namespace: "n", Service: "other", Port: "80"}
	thirdPool = config.PoolID{Namespace: "n", Service: "third", Port: "80"}
)

func (l *lab) fill(id config.PoolID, addrs ...string) {
	l.registry.Apply(map[config.PoolID]*config.Pool{id: {ID: id}})
	var eps []config.Endpoint
	for _, a := range addrs {
		eps = append(eps, config.Endpoint{Addr: netip.MustParseAddrPort(a)})
	}
	l.registry.Update(id, eps)
}

func (l *lab) forwarder(cfg config.Forward) *Forwarder {
	l.t.Helper()
	f, err := l.proxy.Forwarder("r", &cfg, &config.Origin{PathText: "/shop"})
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

var usualRetry = config.Retry{On: config.RetryError | config.RetryTimeout, Tries: 3}

func get(fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: new(exchange.Conn), Route: &exchange.RouteInfo{Namespace: "n", Ingress: "i", Service: "main", ServicePort: "80"}}
	x.Req.Method, x.Req.Scheme, x.Req.Target, x.Req.Authority = "GET", "http", "/a?b=c", "h.test"
	x.Req.Query, x.Req.HasQuery = "b=c", true
	x.Eff.Host, x.ID = "h.test", "id1"
	x.Client = netip.MustParseAddrPort("192.0.2.7:1234")
	for i := 0; i < len(fields); i += 2 {
		x.Req.Header.Add(fields[i], fields[i+1])
	}
	return x
}

func post(body string, length int64) *exchange.Exchange {
	x := get()
	x.Req.Method = "POST"
	x.Req.Body, x.Req.Length = io.NopCloser(strings.NewReader(body)), length
	return x
}

func forward(f *Forwarder, x *exchange.Exchange) {
	if !f.Select(x) {
		x.Reply(503)
		return
	}
	Prepare(x)
	f.Forward(x)
}

// finish does what an engine does at the end.
func finish(x *exchange.Exchange) string {
	var b bytes.Buffer
	if x.Resp.Body != nil {
		io.Copy(&b, x.Resp.Body)
		x.Resp.Body.Close()
	}
	Done(x)
	return b.String()
}

func (l *lab) idle() {
	l.t.Helper()
	for _, p := range l.registry.All() {
		for _, e := range p.Endpoints {
			if e.Busy != 0 {
				l.t.Errorf("%s %s is still busy with %d", p.ID, e.Addr, e.Busy)
			}
		}
	}
	if m, n := l.proxy.d.Buffers.Held(); m != 0 || n != 0 {
		l.t.Errorf("still buffered: %d bytes in memory, %d in all", m, n)
	}
}

func refused(*exchange.Exchange, *upstream.Target) error {
	return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageDial, Err: errors.New("connection refused")}
}

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

func TestRefusingEndpointIsSkippedForTheNextTry(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry})
	l.answer = func(x *exchange.Exchange, t *upstream.Target) error {
		if t.Endpoint.Addr.Addr().As4()[3] != 3 {
			return refused(x, t)
		}
		x.Resp.Status, x.Resp.Body = 200, body("ok")
		return nil
	}
	for range 12 {
		x := get()
		forward(f, x)
		if got := finish(x); x.Resp.Status != 200 || got != "ok" || !x.Resp.FromUpstream {
			t.Fatalf("got %d %q after %v", x.Resp.Status, got, l.asked)
		}
	}
	// Two refusals each at most, then they are asked last.
	if len(l.asked) > 16 {
		t.Errorf("12 requests took %d attempts", len(l.asked))
	}
	l.idle()
}

func TestLoneEndpointIsTriedThreeTimesAnd502IsTheAnswer(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80")
	l.answer = refused
	x := get()
	forward(l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry}), x)
	if x.Resp.Status != 502 || len(x.Try) != 3 || !x.Resp.Generated {
		t.Errorf("got %d after %d tries", x.Resp.Status, len(x.Try))
	}
	finish(x)
	l.idle()
}

func TestEmptyPoolAnswers503OrWhatTheRouteSays(t *testing.T) {
	l := newLab(t, Deps{})
	f := l.forwarder(config.Forward{Pool: mainPool})
	x := get()
	if f.Select(x) {
		t.Error("an empty pool was selected")
	}
	forward(f, x)
	if x.Resp.Status != 503 {
		t.Errorf("got %d", x.Resp.Status)
	}
	x = get()
	forward(l.forwarder(config.Forward{Pool: mainPool, Empty: 404}), x)
	if x.Resp.Status != 404 || len(l.asked) != 0 {
		t.Errorf("default backend without endpoints: %d", x.Resp.Status)
	}
}

func TestPoolThatEmptiesBetweenSelectAndForwardAnswers503(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry})
	x := get()
	if !f.Select(x) {
		t.Fatal("nothing selected")
	}
	l.fill(mainPool)
	Prepare(x)
	f.Forward(x)
	if x.Resp.Status != 503 {
		t.Errorf("got %d", x.Resp.Status)
	}
}

func TestFallbackTakesOverWithExplanation(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool)
	l.fill(otherPool, "10.0.1.1:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Fallback: &otherPool, Retry: usualRetry})
	x := get("Accept", "text/html", "X-Code", "200")
	forward(f, x)
	h := &x.Up.Header
	got := fmt.Sprintf("%d %v %s", x.Resp.Status, l.asked, x.Up.Target)
	for _, n := range []string{"X-Code", "X-Format", "X-Namespace", "X-Ingress-Name", "X-Service-Name", "X-Service-Port", "X-Request-ID"} {
		got += " " + h.Get(n)
	}
	if want := "200 [10.0.1.1:80] /a?b=c 503 text/html n i main 80 id1"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	l.fill(mainPool, "10.0.0.1:80")
	x = get()
	forward(f, x)
	if x.Up.Header.Has("X-Code") || l.asked[1] != "10.0.0.1:80" {
		t.Errorf("the main pool is back, but %s was asked", l.asked[1])
	}
}

func TestRetryOnStatusDropsTheResponseAndLastOneIsReturned(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
	n := 0
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		n++
		x.Resp.Status, x.Resp.Body = 502, body(fmt.Sprint("try ", n))
		x.Resp.Header.Set("X-Try", fmt.Sprint(n))
		return nil
	}
	x := get()
	forward(l.forwarder(config.Forward{Pool: mainPool, Retry: config.Retry{On: config.Retry502, Tries: 2}}), x)
	if got := finish(x); x.Resp.Status != 502 || got != "try 2" || x.Resp.Header.Get("X-Try") != "2" || x.Resp.Generated {
		t.Errorf("got %d %q", x.Resp.Status, got)
	}
	l.idle()
}

func TestPOSTIsNotRepeatedOnceSent(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry})
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: io.EOF}
	}
	x := post("hello", 5)
	x.Limits.Buffer = true
	forward(f, x)
	if x.Resp.Status != 502 || len(l.asked) != 1 {
		t.Errorf("got %d after %v", x.Resp.Status, l.asked)
	}
	finish(x)
	x = get()
	forward(f, x)
	if len(l.asked) != 4 {
		t.Errorf("GET made %d attempts, want 3", len(l.asked)-1)
	}
	l.idle()
}

func TestBufferedBodyIsSentWholeOnEachTryWithItsLength(t *testing.T) {
	for _, size := range []int{0, 1, 100, chunk - 1, chunk, chunk + 1, 100_000, 3_000_000} {
		for _, known := range []bool{true, false} {
			l := newLab(t, Deps{})
			l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
			want := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			n := 0
			l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
				if n++; x.Up.Length != int64(size) {
					t.Errorf("length is %d, want %d", x.Up.Length, size)
				}
				if err := l.readBody(x); err != nil {
					return err
				}
				if n < 3 {
					return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: io.EOF}
				}
				return ok(x, tt)
			}
			x := post(want, int64(size))
			if !known {
				x.Req.Length = -1
			}
			x.Req.Method, x.Limits.Buffer, x.Limits.BufferMem = "PUT", true, 20_000
			forward(l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry}), x)
			if x.Resp.Status != 200 || len(l.bodies) != 3 {
				t.Fatalf("size %d: status %d after %d tries", size, x.Resp.Status, len(l.bodies))
			}
			for i, b := range l.bodies {
				if b != want {
					t.Errorf("size %d, try %d: %d bytes arrived, or others", size, i, len(b))
				}
			}
			finish(x)
			l.idle()
		}
	}
}

// failing is a body that fails after some bytes.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}
func (f *failing) Close() error { return nil }

func TestBodyFailuresHaveTheirStatusAndReachNoEndpoint(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{exchange.ErrBodyTooLarge, 413}, {exchange.ErrBodyTimeout, 408}, {exchange.ErrBodyFraming, 400},
		{exchange.ErrClientGone, 499}, {errors.New("connection reset by peer"), 499}, {io.ErrUnexpectedEOF, 499},
	} {
		l := newLab(t, Deps{})
		l.fill(mainPool, "10.0.0.1:80")
		x := post("", -1)
		x.Req.Body = &failing{strings.NewReader("some"), c.err}
		x.Limits.Buffer = true
		forward(l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry}), x)
		if x.Resp.Status != c.status || len(l.asked) != 0 || !x.Resp.Close {
			t.Errorf("%v: status %d, close %v, asked %v; want %d", c.err, x.Resp.Status, x.Resp.Close, l.asked, c.status)
		}
		finish(x)
		l.idle()
	}
}

func TestBufferBoundsHoldForTheWholeProcess(t *testing.T) {
	b := NewBuffers(t.TempDir())
	b.MaxMemory, b.MaxTotal = 2*chunk, 4*chunk
	l := newLab(t, Deps{Buffers: b})
	l.fill(mainPool, "10.0.0.1:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry})
	send := func(size int, keep int64) *exchange.Exchange {
		x := post(strings.Repeat("x", size), int64(size))
		x.Limits.Buffer, x.Limits.BufferMem = true, keep
		forward(f, x)
		return x
	}
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		x.Resp.Status, x.Resp.Body = 200, body("")
		return nil
	}
	first := send(chunk*3, 1<<20) // over the memory bound: the rest goes to a file
	if m, n := b.Held(); first.Resp.Status != 200 || m != 2*chunk || n != 3*chunk {
		t.Errorf("status %d, held %d and %d", first.Resp.Status, m, n)
	}
	if x := send(chunk*2, 1<<20); x.Resp.Status != 503 || !x.Resp.Close {
		t.Errorf("over the bound: %d", x.Resp.Status)
	}
	finish(first)
	if x := send(chunk*2, 1<<20); x.Resp.Status != 200 {
		t.Errorf("after the first is done: %d", x.Resp.Status)
	} else {
		finish(x)
	}
	l.idle()
}

func TestBodyOverTheLimitIs413EvenWhenTheEngineLetItThrough(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80")
	x := post(strings.Repeat("x", 2000), -1)
	x.Limits.Buffer, x.Limits.BodyMax = true, 1000
	forward(l.forwarder(config.Forward{Pool: mainPool}), x)
	if x.Resp.Status != 413 || len(l.asked) != 0 {
		t.Errorf("got %d", x.Resp.Status)
	}
	l.idle()
}

func TestUnwritableBufferDirectoryIs500(t *testing.T) {
	l := newLab(t, Deps{Buffers: NewBuffers("/nonexistent/dir")})
	l.fill(mainPool, "10.0.0.1:80")
	x := post(strings.Repeat("x", 100_000), 100_000)
	x.Limits.Buffer = true
	forward(l.forwarder(config.Forward{Pool: mainPool}), x)
	if x.Resp.Status != 500 {
		t.Errorf("got %d", x.Resp.Status)
	}
	l.idle()
}

func TestStreamedBodyIsRetriedOnlyBeforeItsFirstByte(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry})
	n := 0
	l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
		if n++; n == 1 {
			x.Up.Body.Close() // a transport may
			return refused(x, tt)
		}
		return errors.Join(l.readBody(x), ok(x, tt))
	}
	x := post("hello", -1)
	x.Req.Trailer.Set("X-T", "1")
	forward(f, x)
	if x.Resp.Status != 200 || len(l.bodies) != 1 || l.bodies[0] != "hello" {
		t.Errorf("got %d, bodies %q", x.Resp.Status, l.bodies)
	}
	if x.Req.Trailer.Len() != 0 {
		t.Error("request trailers of plain HTTP were passed on")
	}
	finish(x)
	l.asked = nil
	l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
		x.Up.Body.Read(make([]byte, 1))
		return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageWriteRequest, Err: io.ErrClosedPipe}
	}
	x = post("hello", -1)
	x.Req.Method = "PUT"
	forward(f, x)
	if x.Resp.Status != 502 || len(l.asked) != 1 || !x.Resp.Close {
		t.Errorf("got %d after %v, close %v", x.Resp.Status, l.asked, x.Resp.Close)
	}
	finish(x)
	l.idle()
}

func TestUpstreamRequestIsACleanCopy(t *testing.T) {
	x := get("X-A", "1", "Expect", "100-continue", "Proxy", "http://evil", "x-b", "2")
	x.Req.Upgrade = "websocket"
	Prepare(x)
	var got []string
	for n, v := range x.Up.Header.All() {
		got = append(got, n+"="+v)
	}
	if strings.Join(got, " ") != "X-A=1 x-b=2" || x.Up.Target != "/a?b=c" || x.Up.Authority != "h.test" || x.Up.Upgrade != "websocket" {
		t.Errorf("%v %+v", got, x.Up)
	}
	x.Up.Header.Set("X-A", "changed")
	if x.Req.Header.Get("X-A") != "1" {
		t.Error("a change of Up changed Req")
	}
}

func TestProtocolsShapeTheRequest(t *testing.T) {
	for _, c := range []struct {
		what string
		cfg  config.Forward
		mod  func(x *exchange.Exchange)
		want string
	}{
		{"plain", config.Forward{}, nil, "http GET upgrade=websocket 10=false close=false h2=false tls=false"},
		{"1.0", config.Forward{HTTP10: true}, nil, "http GET upgrade= 10=true close=false h2=false tls=false"},
		{"connection close", config.Forward{ConnectionHeader: "close"}, nil, "http GET upgrade= 10=false close=true h2=false tls=false"},
		{"connection keep-alive", config.Forward{ConnectionHeader: "keep-alive"}, nil, "http GET upgrade= 10=false close=false h2=false tls=false"},
		{"https", config.Forward{Protocol: config.HTTPS}, nil, "https GET upgrade=websocket 10=false close=false h2=false tls=true"},
		{"grpc", config.Forward{Protocol: config.GRPC}, nil, "http GET upgrade=websocket 10=false close=false h2=true tls=false"},
		{"grpcs", config.Forward{Protocol: config.GRPCS}, nil, "https GET upgrade=websocket 10=false close=false h2=true tls=true"},
		{"auto, plain client", config.Forward{Protocol: config.AutoHTTP}, nil, "http GET upgrade=websocket 10=false close=false h2=false tls=false"},
		{"auto, TLS client", config.Forward{Protocol: config.AutoHTTP}, func(x *exchange.Exchange) { x.Req.Scheme = "https" }, "https GET upgrade=websocket 10=false close=false h2=false tls=true"},
		{"S11.1 NTLM", config.Forward{}, func(x *exchange.Exchange) { x.Req.Header.Set("Authorization", "ntlm TlRM") }, "http GET upgrade=websocket 10=false close=true h2=false tls=false"},
		{"extended CONNECT", config.Forward{}, func(x *exchange.Exchange) { x.Req.Method = "CONNECT" }, "http GET upgrade=websocket 10=false close=false h2=false tls=false"},
	} {
		l := newLab(t, Deps{})
		l.fill(mainPool, "10.0.0.1:80")
		c.cfg.Pool = mainPool
		x := get()
		x.Req.Upgrade = "websocket"
		if c.mod != nil {
			c.mod(x)
		}
		forward(l.forwarder(c.cfg), x)
		u, tt := &x.Up, l.targets[0]
		got := fmt.Sprintf("%s %s upgrade=%s 10=%v close=%v h2=%v tls=%v", u.Scheme, u.Method, u.Upgrade, u.HTTP10, u.Close, tt.HTTP2, tt.TLS != nil)
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, got, c.want)
		}
		if x.Req.Method == "CONNECT" && len(u.Header.Get("Sec-WebSocket-Key")) != 24 {
			t.Error("no Sec-WebSocket-Key")
		}
	}
	if _, err := newLab(t, Deps{}).proxy.Forwarder("r", &config.Forward{Protocol: config.FCGI}, nil); err == nil {
		t.Error("FCGI without a transport was accepted")
	}
}

func TestEndpointFieldsThatAreNotForTheClientAreRemoved(t *testing.T) {
	g := &config.Global{}
	l := newLab(t, Deps{Global: func() *config.Global { return g }})
	l.fill(mainPool, "10.0.0.1:80")
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		x.Resp.Status, x.Resp.Body = 200, body("x")
		for _, n := range []string{"server", "Date", "X-Powered-By", "X-Pad", "X-Accel-Expires", "x-accel-buffering", "Status", "X-Hop", "Refresh"} {
			x.Resp.Header.Add(n, "v")
		}
		x.Resp.Header.Add("X-Accel-Limit-Rate", "1000")
		x.Resp.Trailer.Set("X-T", "1")
		return nil
	}
	f := l.forwarder(config.Forward{Pool: mainPool})
	names := func() string {
		x := get()
		forward(f, x)
		finish(x)
		if x.Limits.Rate != 1000 || x.Resp.Trailer.Len() != 0 {
			t.Errorf("rate %d, %d trailers", x.Limits.Rate, x.Resp.Trailer.Len())
		}
		var got []string
		for n, v := range x.Resp.Header.All() {
			if n == "Server" || n == "server" {
				n += "=" + v
			}
			got = append(got, n)
		}
		return strings.Join(got, " ")
	}
	if got, want := names(), "X-Powered-By Status X-Hop Refresh"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	g = &config.Global{AllowBackendServer: true}
	if got, want := names(), "server=v X-Powered-By Status X-Hop Refresh"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGRPCKeepsTrailersAndIsNotBuffered(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80")
	l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
		if x.Up.Length != -1 || x.Limits.Buffer || !x.Up.TETrailer {
			t.Errorf("length %d, buffer %v, te %v", x.Up.Length, x.Limits.Buffer, x.Up.TETrailer)
		}
		x.Resp.Status, x.Resp.Body = 200, body("x")
		x.Resp.Trailer.Set("grpc-status", "0")
		return l.readBody(x)
	}
	x := post("message", -1)
	x.Limits.Buffer, x.Req.TETrailer = true, true
	x.Req.Trailer.Set("X-T", "1")
	forward(l.forwarder(config.Forward{Pool: mainPool, Protocol: config.GRPC}), x)
	finish(x)
	if x.Resp.Trailer.Get("grpc-status") != "0" || x.Req.Trailer.Len() != 1 {
		t.Error("trailers are lost")
	}
	l.idle()
}

func TestAccelRedirectIsRefusedOrRerouted(t *testing.T) {
	for _, reroute := range []bool{false, true} {
		uri := ""
		d := Deps{}
		if reroute {
			d.Reroute = func(x *exchange.Exchange, to string) { uri = to; x.Reply(204) }
		}
		l := newLab(t, d)
		l.fill(mainPool, "10.0.0.1:80")
		l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
			x.Resp.Status, x.Resp.Body = 200, body("secret")
			x.Resp.Header.Set("X-Accel-Redirect", "/other?x=1")
			return nil
		}
		x := get()
		forward(l.forwarder(config.Forward{Pool: mainPool}), x)
		if got := finish(x); got != "" || reroute && (uri != "/other?x=1" || x.Resp.Status != 204) || !reroute && x.Resp.Status != 500 {
			t.Errorf("reroute %v: %d %q to %q", reroute, x.Resp.Status, got, uri)
		}
		l.idle()
	}
}

// pipe is a tunnel that notes what is closed.
type pipe struct {
	bytes.Buffer
	closed, half bool
}

func (p *pipe) Close() error      { p.closed = true; return nil }
func (p *pipe) CloseWrite() error { p.half = true; return nil }

func TestTunnelKeepsTheEndpointBusyUntilItCloses(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80")
	p := new(pipe)
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		x.Resp.Status, x.Resp.Upgrade, x.Resp.Tunnel = 101, "websocket", p
		x.Resp.Header.Set("Sec-WebSocket-Accept", "x")
		return nil
	}
	x := get()
	x.Req.Method, x.Req.Upgrade = "CONNECT", "websocket"
	forward(l.forwarder(config.Forward{Pool: mainPool}), x)
	if x.Resp.Status != 200 || x.Resp.Header.Has("Sec-WebSocket-Accept") || x.Resp.Tunnel == nil {
		t.Errorf("extended CONNECT got %d", x.Resp.Status)
	}
	if b := l.registry.All()[0].Endpoints[0].Busy; b != 1 {
		t.Errorf("busy %d during the tunnel", b)
	}
	x.Resp.Tunnel.(interface{ CloseWrite() error }).CloseWrite()
	x.Resp.Tunnel.Close()
	if !p.closed || !p.half {
		t.Error("closing did not reach the connection")
	}
	l.idle()
}

func TestRoundRobinGoesOnAcrossRebuilds(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
	cfg := config.Forward{Pool: mainPool}
	f := l.forwarder(cfg)
	for range 10 {
		x := get()
		forward(f, x)
		next := l.forwarder(cfg)
		f.Close()
		f = next
	}
	for i := 1; i < len(l.asked); i++ {
		if l.asked[i] == l.asked[i-1] {
			t.Fatalf("a rebuild started over: %v", l.asked)
		}
	}
	f.Close()
	if len(l.proxy.kept) != 0 {
		t.Errorf("policies left behind: %v", l.proxy.kept)
	}
}

func TestBadSettingsAreErrorsNotPanics(t *testing.T) {
	l := newLab(t, Deps{})
	for _, b := range []config.Balance{{Policy: "fastest"}, {Policy: "chash", HashBy: "$nope"}} {
		if _, err := l.proxy.Forwarder("r", &config.Forward{Pool: mainPool, Balance: b}, nil); err == nil {
			t.Errorf("%+v was accepted", b)
		}
	}
	if _, err := l.proxy.Forwarder("r", &config.Forward{Protocol: config.HTTPS, TLS: &config.UpstreamTLS{Name: "$nope"}}, nil); err == nil {
		t.Error("a name that does not compile was accepted")
	}
	if len(l.proxy.kept) != 0 {
		t.Errorf("policies left behind: %v", l.proxy.kept)
	}
	for _, name := range []string{"chash", "sticky_balanced", ""} {
		f := l.forwarder(config.Forward{Balance: config.Balance{Policy: name}})
		f.Close()
	}
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	l := newLab(t, Deps{})
	l.keepNothing = true
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	content := io.NopCloser(strings.NewReader(""))
	l.answer = func(x *exchange.Exchange, _ *upstream.Target) error {
		x.Resp.Status, x.Resp.Body = 200, content
		return nil
	}
	for _, cfg := range []config.Forward{
		{Pool: mainPool, Retry: usualRetry},
		{Pool: mainPool, Retry: usualRetry, Balance: config.Balance{Policy: "ewma"}, Protocol: config.HTTPS},
		{Pool: mainPool, Retry: usualRetry, Canary: &config.Canary{Pool: otherPool, Weight: 10, Header: "X-Canary", Cookie: "c"}},
	} {
		f := l.forwarder(cfg)
		x := exchange.Acquire()
		run := func() {
			x.Conn, x.Route = &exchange.Conn{}, &exchange.RouteInfo{}
			x.Try = x.Try[:0]
			x.Req.Method, x.Req.Target, x.Req.Scheme = "GET", "/", "https"
			forward(f, x)
			x.Resp.Body.Close()
		}
		run()
		conn, route := &exchange.Conn{}, &exchange.RouteInfo{}
		n := testing.AllocsPerRun(200, func() {
			x.Conn, x.Route = conn, route
			x.Try = x.Try[:0]
			forward(f, x)
			x.Resp.Body.Close()
		})
		if n > 0 {
			t.Errorf("%+v: %v allocations per exchange", cfg, n)
		}
	}
}
