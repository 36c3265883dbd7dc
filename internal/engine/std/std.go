// Package std is the blocking engine: one goroutine per connection.
//
// HTTP/1 is lintel's own codec (wire/h1) over blocking I/O; HTTP/2 is
// golang.org/x/net/http2 with an adapter. It is the oracle for faster engines: where
// both could do something, this one does it the plain way.
//
// What a reader gets wrong: WebSocket over HTTP/2 (extended CONNECT, RFC 8441) works only when the
// process was started with GODEBUG=http2xconnect=1, for the HTTP/2 library reads that at start.
package std

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// Options are what an Engine needs. All fields are required.
type Options struct {
	Handler exchange.Handler
	// Global returns the settings in force; called for each request, never nil.
	Global func() *config.Global
	Log    *slog.Logger
}

// Engine serves HTTP/1 and HTTP/2. Make it with New.
type Engine struct {
	Options
	clock    h1.Clock
	draining atomic.Bool
	live     atomic.Int64
	empty    chan struct{} // told when live falls to zero
	shards   [16]shard
	h2       servers
}

var _ engine.Engine = (*Engine)(nil)

// shard is a part of the set of connections, so that accepting does not meet in one lock.
type shard struct {
	mu    sync.Mutex
	conns map[served]struct{}
	ended uint64 // requests of connections that ended
}

// served is a connection as the engine keeps it.
type served interface {
	drain()
	cut()
	phase() phase
	count() uint64 // requests so far
}

// phase is what a connection does.
type phase uint32

const (
	waiting phase = iota // between requests
	reading              // a head
	writing              // everything after the head: nginx counts so
)

// The engine's own times and sizes.
const (
	defaultTimeout = 60 * time.Second
	// drainIdle is how long an idle connection stays open after Drain. A client that is busy sends its next
	// request within it and is told to close; cutting at once would race with that request.
	drainIdle = time.Second
	// lingerTotal and lingerRead bound how long a client may go on sending after its answer (nginx lingering_*).
	lingerTotal = 30 * time.Second
	lingerRead  = 5 * time.Second
	// maxDiscard is how much of an unwanted request body is read to keep a connection.
	maxDiscard = 1 << 20
)

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// New returns an engine.
func New(o Options) *Engine {
	e := &Engine{Options: o, empty: make(chan struct{}, 1)}
	for i := range e.shards {
		e.shards[i].conns = map[served]struct{}{}
	}
	return e
}

// ServeConn serves c until it ends.
func (e *Engine) ServeConn(nc net.Conn, info *exchange.Conn) {
	if info.TLS != nil && info.TLS.NegotiatedProtocol == "h2" {
		e.serveH2(nc, info)
		return
	}
	c := newConn(e, nc, info)
	e.add(c, info.ID)
	rest, http2 := c.serve()
	if http2 {
		// Registered as HTTP/2 before it is forgotten as HTTP/1: Wait must not miss it.
		e.live.Add(1)
		e.remove(c, info.ID)
		e.serveH2(&prefixed{nc, rest}, info)
		e.gone()
		return
	}
	e.remove(c, info.ID)
}

func (e *Engine) add(s served, id uint64) {
	e.live.Add(1)
	sh := &e.shards[id%uint64(len(e.shards))]
	sh.mu.Lock()
	sh.conns[s] = struct{}{}
	sh.mu.Unlock()
}

func (e *Engine) remove(s served, id uint64) {
	sh := &e.shards[id%uint64(len(e.shards))]
	sh.mu.Lock()
	delete(sh.conns, s)
	sh.ended += s.count()
	sh.mu.Unlock()
	e.gone()
}

func (e *Engine) gone() {
	if e.live.Add(-1) == 0 {
		select {
		case e.empty <- struct{}{}:
		default:
		}
	}
}

// each calls f with every connection.
func (e *Engine) each(f func(served)) {
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.Lock()
		all := make([]served, 0, len(sh.conns))
		for s := range sh.conns {
			all = append(all, s)
		}
		sh.mu.Unlock()
		for _, s := range all {
			f(s)
		}
	}
}

// Drain implements engine.Engine.
func (e *Engine) Drain() {
	e.draining.Store(true)
	e.each(served.drain)
}

// Wait implements engine.Engine. One goroutine may wait at a time.
func (e *Engine) Wait(ctx context.Context) (cut int) {
	for e.live.Load() > 0 {
		select {
		case <-e.empty:
			continue
		case <-ctx.Done():
		}
		break
	}
	if e.live.Load() == 0 {
		return 0
	}
	e.each(func(s served) {
		cut++
		s.cut()
	})
	// Their handlers end when they notice; what hangs in an endpoint may take its own timeout.
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	for e.live.Load() > 0 {
		select {
		case <-e.empty:
		case <-t.C:
			return cut
		}
	}
	return cut
}

// Counts implements engine.Engine.
func (e *Engine) Counts() engine.Counts {
	var c engine.Counts
	for i := range e.shards {
		e.shards[i].count(&c)
	}
	return c
}

// count adds what the shard's connections do and did: a connection that ends meanwhile counts once.
func (sh *shard) count(c *engine.Counts) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.Requests += sh.ended
	for s := range sh.conns {
		c.Requests += s.count()
		switch s.phase() {
		case waiting:
			c.Waiting++
		case reading:
			c.Reading++
		default:
			c.Writing++
		}
	}
}

// closing reports whether connections end after their current response.
func (e *Engine) closing(info *exchange.Conn) bool {
	return e.draining.Load() || info.Draining != nil && info.Draining()
}

// preset fills what every exchange of a connection has in common.
func preset(x *exchange.Exchange, info *exchange.Conn) {
	x.Conn = info
	x.Client = info.Remote
	if info.ProxySrc.IsValid() {
		x.Client = info.ProxySrc
	}
	x.Req.Scheme = "http"
	if info.TLS != nil {
		x.Req.Scheme = "https"
	}
	x.Eff.Scheme = x.Req.Scheme
	x.Eff.Host = x.Req.Authority
	x.Eff.Port = portText(info)
}

// portText is the port the client connected to; that of the HTTPS listener counts as 443.
func portText(info *exchange.Conn) string {
	p := info.Port
	if info.ProxyDst.IsValid() {
		p = info.ProxyDst.Port()
	} else if info.TLS != nil {
		p = 443
	}
	switch p {
	case 80:
		return "80"
	case 443:
		return "443"
	}
	return itoa(p)
}

func itoa(p uint16) string {
	var b [5]byte
	i := len(b)
	for {
		i--
		b[i] = '0' + byte(p%10)
		if p /= 10; p == 0 {
			return string(b[i:])
		}
	}
}

// done ends an exchange: exactly once, whatever happened before.
func (e *Engine) done(x *exchange.Exchange) {
	defer func() {
		if p := recover(); p != nil {
			e.logPanic(x, p)
		}
	}()
	x.Stats.Duration = time.Since(x.Stats.Start)
	e.Handler.Done(x)
}

// prefixed is a connection whose first bytes were read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		if p.rest = p.rest[n:]; len(p.rest) == 0 {
			p.rest = nil
		}
		return n, nil
	}
	return p.Conn.Read(b)
}
