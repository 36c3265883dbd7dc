// Package enginetest is the suite every engine must pass: framing, limits, upgrades,
// slow and broken peers, drain, smuggling, HTTP/2. It talks over loopback sockets and
// asserts only what a client and a handler can see.
package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// New makes the engine under test.
type New func(t testing.TB, h exchange.Handler, global func() *config.Global) engine.Engine

// Run runs the suite.
func Run(t *testing.T, make New) {
	for _, group := range [][]test{basics, bodies, failures, lifetimes, tunnels, refused, http2s} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, start(t, make, c.global, nil))
			})
		}
	}
	for _, group := range [][]test{basics, bodies, failures, tunnels} {
		for _, c := range group {
			t.Run("TLS/"+c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, start(t, make, c.global, serverTLS()))
			})
		}
	}
}

// serverTLS is the configuration of the suite's TLS connections.
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// test is one behaviour. global changes the settings before the engine starts.
type test struct {
	name   string
	global func(*config.Global)
	run    func(*testing.T, *lab)
}

// lab is an engine behind a listener, with a handler whose parts a test replaces.
type lab struct {
	t      *testing.T
	addr   string
	engine engine.Engine
	h      *handler
	plain  atomic.Bool // mark connections as plain HTTP on a TLS port
	tls    *tls.Config // of the server; nil: plain connections
}

func start(t *testing.T, make New, change func(*config.Global), secure *tls.Config) *lab {
	t.Helper()
	g := &config.Global{
		KeepAlive: 10 * time.Second, KeepAliveRequests: 1000, HeaderTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second,
		HeaderBuffer: 8 << 10, HeaderBuffers: 4, HTTP2: true, HTTP2Streams: 128, IgnoreInvalid: true,
	}
	if change != nil {
		change(g)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{}
	b := &lab{t: t, addr: l.Addr().String(), h: h, tls: secure, engine: make(t, h, func() *config.Global { return g })}
	var serving sync.WaitGroup
	serving.Go(func() {
		var id uint64
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			id++
			info := &exchange.Conn{Remote: addr(c.RemoteAddr()), Local: addr(c.LocalAddr()), Port: 80, ID: id, PlainOnTLS: b.plain.Load()}
			serving.Go(func() {
				if secure != nil {
					tc := tls.Server(c, secure)
					if tc.Handshake() != nil {
						c.Close()
						return
					}
					cs := tc.ConnectionState()
					info.TLS = &cs
					c = tc
				}
				b.engine.ServeConn(c, info)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.engine.Drain()
		b.engine.Wait(ctx)
		serving.Wait()
		if n := h.begun.Load() - h.done.Load(); n != 0 {
			t.Errorf("%d exchanges without Done", n)
		}
	})
	return b
}

func addr(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// handler is the data plane of the suite.
type handler struct {
	begun, done atomic.Int64 // Match and Done calls
	forwarded   atomic.Int64

	mu      sync.Mutex
	limits  exchange.Limits
	begin   func(x *exchange.Exchange) exchange.Verdict
	forward func(x *exchange.Exchange)
	end     func(x *exchange.Exchange)
	log     []record
}

// record is what Done saw.
type record struct {
	status, malformed, number int
	line                      string
	sent, body, received      int64
}

var _ exchange.Handler = (*handler)(nil)

var noRoute exchange.RouteInfo

func (h *handler) Match(x *exchange.Exchange) bool {
	h.begun.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	x.Route, x.Limits = &noRoute, h.limits
	return false
}

func (h *handler) Begin(x *exchange.Exchange) exchange.Verdict {
	if x.Malformed != 0 {
		x.Resp.Close = true
		return x.Reply(x.Malformed)
	}
	h.mu.Lock()
	f := h.begin
	h.mu.Unlock()
	if f != nil {
		return f(x)
	}
	return exchange.Continue
}

func (h *handler) Forward(x *exchange.Exchange) {
	h.forwarded.Add(1)
	h.mu.Lock()
	f := h.forward
	h.mu.Unlock()
	if f == nil {
		f = echo
	}
	f(x)
}

func (h *handler) Respond(x *exchange.Exchange) {
	switch x.Resp.Status {
	case 494, 497:
		x.Resp.Status = 400
	}
	if x.Resp.Generated && x.Resp.Body == nil {
		setText(x, x.Resp.Status, "page\n")
	}
}

func (h *handler) Done(x *exchange.Exchange) {
	h.mu.Lock()
	h.log = append(h.log, record{
		x.Resp.Status, x.Malformed, x.Stats.ConnRequests, strings.Clone(x.Req.Line),
		x.Stats.BytesSent, x.Stats.BodyBytesSent, x.Stats.RequestBytes,
	})
	f := h.end
	h.mu.Unlock()
	h.done.Add(1)
	if f != nil {
		f(x)
	}
}

// set changes parts of the handler under its lock.
func (h *handler) set(f func(*handler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

// records waits until n exchanges are done and returns what Done saw.
func (b *lab) records(n int) []record {
	b.t.Helper()
	b.until("exchanges to end", func() bool { return b.h.done.Load() >= int64(n) })
	b.h.mu.Lock()
	defer b.h.mu.Unlock()
	return append([]record(nil), b.h.log...)
}

// until waits for a condition.
func (b *lab) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// echo answers with what it was asked.
func echo(x *exchange.Exchange) {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s host=%s", x.Req.Method, x.Req.Target, x.Req.Authority)
	for n, v := range x.Req.Header.All() {
		fmt.Fprintf(&out, " %s=%s", strings.ToLower(n), v)
	}
	if x.Req.Body != nil {
		b, err := io.ReadAll(x.Req.Body)
		fmt.Fprintf(&out, " body=%s", b)
		if err != nil {
			setText(x, statusOf(err), err.Error())
			return
		}
		for n, v := range x.Req.Trailer.All() {
			fmt.Fprintf(&out, " trailer:%s=%s", strings.ToLower(n), v)
		}
	}
	setText(x, 200, out.String())
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, exchange.ErrBodyTooLarge):
		return 413
	case errors.Is(err, exchange.ErrBodyTimeout):
		return 408
	case errors.Is(err, exchange.ErrBodyFraming):
		return 400
	case errors.Is(err, exchange.ErrClientGone):
		return exchange.StatusClientGone
	}
	return 500
}

func setText(x *exchange.Exchange, status int, text string) {
	x.Resp.Status = status
	x.Resp.Length = int64(len(text))
	x.Resp.Body = io.NopCloser(strings.NewReader(text))
}

// body is a response body driven by a test: each send is one Read.
type body struct {
	pieces chan any // string or error
	closed chan struct{}
	once   sync.Once
	rest   string
}

func newBody() *body { return &body{pieces: make(chan any), closed: make(chan struct{})} }

func (b *body) Read(p []byte) (int, error) {
	if b.rest == "" {
		select {
		case v := <-b.pieces:
			if err, ok := v.(error); ok {
				return 0, err
			}
			b.rest = v.(string)
		case <-b.closed:
			return 0, errors.New("closed")
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// give hands out the next piece or the end.
func (b *body) give(t *testing.T, v any) {
	t.Helper()
	select {
	case b.pieces <- v:
	case <-time.After(10 * time.Second):
		t.Fatalf("nobody reads %v", v)
	}
}

// stream answers 200 with b, of unknown length, as from an endpoint.
func stream(b io.ReadCloser) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) {
		x.Resp.Status, x.Resp.Length, x.Resp.Body, x.Resp.FromUpstream = 200, -1, b, true
	}
}

// client is a raw connection.
type client struct {
	t   *testing.T
	c   half
	tcp *net.TCPConn // underneath
	br  *bufio.Reader
}

// half is a connection one direction of which can be closed.
type half interface {
	net.Conn
	CloseWrite() error
}

func (b *lab) dial() *client {
	b.t.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	b.t.Cleanup(func() { c.Close() })
	tcp := c.(*net.TCPConn)
	var h half = tcp
	if b.tls != nil {
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			b.t.Fatal(err)
		}
		h = tc
	}
	return &client{b.t, h, tcp, bufio.NewReader(h)}
}

// send writes text; "\n" stands for CR LF.
func (c *client) send(text string) *client {
	c.t.Helper()
	return c.raw(strings.ReplaceAll(text, "\n", "\r\n"))
}

func (c *client) raw(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c.c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// response is what came back.
type response struct {
	status int
	header http.Header
	body   string
	close  bool
	err    error // the content ended badly
}

// read reads a response to method.
func (c *client) read(method string) response {
	c.t.Helper()
	r, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	data, err := io.ReadAll(r.Body)
	return response{r.StatusCode, r.Header, string(data), r.Close, err}
}

// want reads a response and checks status and, unless "", content.
func (c *client) want(status int, text string) response {
	c.t.Helper()
	r := c.read("GET")
	if r.status != status || text != "" && r.body != text {
		c.t.Errorf("got %d %q, want %d %q", r.status, r.body, status, text)
	}
	return r
}

// ended checks that the connection ends here.
func (c *client) ended() {
	c.t.Helper()
	rest, err := io.ReadAll(c.br)
	var timeout net.Error
	if len(rest) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Errorf("connection goes on with %q, %v", rest, err)
	}
}

// rest reads to the end.
func (c *client) rest() string {
	c.t.Helper()
	var b bytes.Buffer
	// How it ends is not asked here.
	_, _ = io.Copy(&b, c.br)
	return b.String()
}
