package std

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// conn is one HTTP/1 connection. Its goroutine owns everything; what others may touch stands
// under a lock or is atomic.
type conn struct {
	e      *Engine
	nc     net.Conn
	info   *exchange.Conn
	parser h1.RequestParser

	buf  []byte // read buffer; buf[r:w] is not used up yet
	r, w int
	// err is what the client's side ended with, found while something else went on.
	err error

	state    atomic.Uint32 // phase
	requests atomic.Uint64
	body     reqBody
	watch    watcher

	// Of the current exchange.
	head     h1.RequestHead
	x        *exchange.Exchange
	out      *outBuffer
	deadline time.Time  // of writes, as last set
	wmu      sync.Mutex // continued and begun: body readers send 100 Continue
	// continued: 100 Continue was sent or is not wanted; begun: the final response has begun.
	continued, begun bool
	broken           bool // a write failed
}

// A connection starts with this much to read into; heads may make it grow to Limits.Max.
const readBuffer = 4 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBuffer); return &b }}

func newConn(e *Engine, nc net.Conn, info *exchange.Conn) *conn {
	c := &conn{e: e, nc: nc, info: info, buf: *readBuffers.Get().(*[]byte)}
	c.state.Store(uint32(reading))
	c.body.c = c
	c.watch.c = c
	c.watch.done = make(chan struct{}, 1)
	c.watch.run = c.watch.read
	return c
}

func (c *conn) phase() phase  { return phase(c.state.Load()) }
func (c *conn) count() uint64 { return c.requests.Load() }
func (c *conn) cut()          { c.nc.Close() }

// drain gives an idle connection a last moment. Others see that the engine drains by themselves.
func (c *conn) drain() {
	if c.phase() == waiting {
		// Failing means that the connection is gone.
		_ = c.nc.SetReadDeadline(time.Now().Add(drainIdle))
	}
}

// preface is how an HTTP/2 connection with prior knowledge begins.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// serve runs the connection to its end. http2 says that it turned out to speak HTTP/2; rest is
// what was read of it, and the connection is still open.
func (c *conn) serve() (rest []byte, http2 bool) {
	for c.await() {
		if c.requests.Load() == 0 && c.prefaced() {
			return c.buf[c.r:c.w], true
		}
		if !c.exchange() {
			break
		}
	}
	// The client has its answer or is gone: nobody is left to tell.
	_ = c.nc.Close()
	if len(c.buf) == readBuffer {
		b := c.buf
		c.buf = nil
		readBuffers.Put(&b)
	}
	return nil, false
}

// await waits for the first byte of a request.
func (c *conn) await() bool {
	if c.err != nil {
		return false
	}
	if c.r < c.w {
		return true // pipelined
	}
	c.r, c.w = 0, 0
	if len(c.buf) > 4*readBuffer {
		c.buf = *readBuffers.Get().(*[]byte)
	}
	g := c.e.Global()
	idle := g.KeepAlive
	first := c.requests.Load() == 0
	if first {
		idle = or(g.HeaderTimeout)
	}
	if c.e.closing(c.info) {
		idle = min(idle, drainIdle)
	}
	if c.setReadDeadline(time.Now().Add(idle)) != nil {
		return false
	}
	c.state.Store(uint32(waiting))
	// Drain sets its flag before it looks at the state: either it sees waiting, or this sees the flag.
	if c.e.draining.Load() && c.setReadDeadline(time.Now().Add(min(idle, drainIdle))) != nil {
		return false
	}
	n, err := c.nc.Read(c.buf)
	c.state.Store(uint32(reading))
	c.w = n
	if n == 0 && err != nil {
		return false
	}
	return true
}

func (c *conn) setReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

func or(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return d
}

// prefaced reports whether the client speaks HTTP/2 with prior knowledge.
func (c *conn) prefaced() bool {
	g := c.e.Global()
	if c.info.TLS != nil || c.info.PlainOnTLS || !g.HTTP2 {
		return false
	}
	limit := time.Now().Add(or(g.HeaderTimeout))
	for {
		have := c.buf[c.r:c.w]
		n := min(len(have), len(preface))
		if string(have[:n]) != preface[:n] {
			return false
		}
		if n == len(preface) {
			return true
		}
		if c.setReadDeadline(limit) != nil {
			return false
		}
		m, err := c.nc.Read(c.buf[c.w:])
		c.w += m
		if err != nil {
			return false // the parser looks at what there is
		}
	}
}

// exchange serves one request. It reports whether the connection goes on.
func (c *conn) exchange() (goOn bool) {
	x := exchange.Acquire()
	g := c.e.Global()
	x.Stats.Start = time.Now()
	if !c.readHead(x, g) {
		x.Release()
		return false
	}
	x.Stats.ConnRequests = int(c.requests.Add(1))
	c.state.Store(uint32(writing))
	c.x = x
	c.continued, c.begun = !c.head.Expect, false
	c.body.begin(x)
	preset(x, c.info)
	x.Down = c
	keep, sound := c.run(x, g)
	malformed := x.Malformed
	c.x = nil
	if sound {
		x.Release()
	}
	if c.broken || c.err != nil {
		return false
	}
	whole := c.body.finish(keep)
	if keep && whole {
		return true
	}
	if (!whole || malformed != 0 || c.r < c.w) && malformed != 408 && !c.body.lost() {
		c.linger()
	}
	return false
}

// readHead reads a request head into x. False means that there is nobody to answer.
func (c *conn) readHead(x *exchange.Exchange, g *config.Global) bool {
	c.parser.Limits.Line = g.HeaderBuffer
	c.parser.Limits.Total = g.HeaderBuffer * g.HeaderBuffers
	c.parser.Limits.Policy = h1.FieldPolicy{Underscores: g.UnderscoresAllowed, KeepInvalid: !g.IgnoreInvalid}
	c.head = h1.RequestHead{}
	armed := false
	for {
		head, n, err := c.parser.Parse(c.buf[c.r:c.w], &x.Req)
		if err != nil {
			x.Malformed = refusal(err)
		}
		if x.Malformed != 0 || n > 0 {
			c.head = head
			if c.info.PlainOnTLS {
				x.Malformed = 497
			}
			if x.Malformed != 0 {
				x.Stats.RequestBytes = int64(c.w - c.r)
			} else {
				x.Stats.RequestBytes = int64(n)
			}
			c.r += n
			return true
		}
		if !armed {
			armed = true
			if c.setReadDeadline(x.Stats.Start.Add(or(g.HeaderTimeout))) != nil {
				return false
			}
		}
		if err := c.fill(); err != nil {
			late := errors.Is(err, os.ErrDeadlineExceeded) && c.parser.Started()
			c.parser.Reset()
			if !late {
				return false
			}
			x.Malformed = 408
			x.Stats.RequestBytes = int64(c.w - c.r)
			return true
		}
	}
}

// refusal is the status a head that was refused is answered with.
func refusal(err error) int {
	var h *h1.HeadError
	if errors.As(err, &h) {
		return h.Status
	}
	return 400
}

// fill reads more behind buf[r:w].
func (c *conn) fill() error {
	if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else {
			next := make([]byte, 2*len(c.buf))
			c.w = copy(next, c.buf[:c.w])
			c.buf = next
		}
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// run takes x through its steps and sends the response. keep says that the connection may go on;
// sound, that x may be used again: after a panic something may still hold it.
func (c *conn) run(x *exchange.Exchange, g *config.Global) (keep, sound bool) {
	sound = true
	defer func() {
		if p := recover(); p != nil {
			keep, sound = false, false
			c.panicked(x, p)
		}
		c.watch.stop()
		c.closeBodies(x)
		c.e.done(x)
		if c.out != nil {
			outBuffers.Put(c.out)
			c.out = nil
		}
	}()
	if !exchange.Serve(c.e.Handler, x) {
		c.broken = true // nothing more to say: S7.6, no linger either
		return false, true
	}
	return c.send(x, g), true
}

// closeBodies closes what nobody else closes any more.
func (c *conn) closeBodies(x *exchange.Exchange) {
	defer func() {
		if p := recover(); p != nil {
			c.broken = true
			c.e.logPanic(x, p)
		}
	}()
	if b := x.Resp.Body; b != nil {
		x.Resp.Body = nil
		// The response is over: how its source ends changes nothing.
		_ = b.Close()
	}
	if b := x.Req.Body; b != nil {
		x.Req.Body = nil
		_ = b.Close()
	}
}

// panicked answers 500 if nothing was sent yet.
func (c *conn) panicked(x *exchange.Exchange, p any) {
	c.e.logPanic(x, p)
	c.wmu.Lock()
	begun := c.begun
	c.begun = true
	c.wmu.Unlock()
	if begun {
		c.broken = true
		return
	}
	const answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	x.Resp.Status = 500
	c.deadline = time.Time{}
	if c.write(x, []byte(answer)) != nil {
		c.broken = true
	}
}

// logPanic logs a broken invariant with its stack. Nothing of the request but what names the route.
func (e *Engine) logPanic(x *exchange.Exchange, p any) {
	route := ""
	if x.Route != nil {
		route = x.Route.Namespace + "/" + x.Route.Ingress
	}
	e.Log.Error("exchange panicked", slog.Any("panic", p), slog.String("route", route), slog.String("stack", string(debug.Stack())))
}

// Gone implements exchange.Downstream.
func (c *conn) Gone() <-chan struct{} { return c.watch.want() }

// Informational implements exchange.Downstream.
func (c *conn) Informational(status int, h *exchange.Fields) error {
	if c.x.Req.Proto == exchange.HTTP10 || status == 101 || status < 100 || status > 199 {
		return nil
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.begun {
		return nil
	}
	if status == 100 {
		if c.continued {
			return nil // sent already, or not asked for
		}
		c.continued = true
	}
	return c.write(c.x, h1.AppendInformational(nil, status, h))
}

// sendContinue tells a client that waits for it to send its body.
func (c *conn) sendContinue() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.continued || c.begun {
		return nil
	}
	c.continued = true
	return c.write(c.x, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
}

// linger lets a client that is still sending read its answer: closing over unread bytes resets the
// connection, and the answer with it.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.state.Store(uint32(reading))
	total := lingerTotal
	if c.e.closing(c.info) {
		total = lingerRead
	}
	end := time.Now().Add(total)
	for {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		until := now.Add(lingerRead)
		if until.After(end) {
			until = end
		}
		if c.setReadDeadline(until) != nil {
			return
		}
		if _, err := c.nc.Read(c.buf); err != nil {
			return
		}
	}
}

// watcher notices that the client went away while an endpoint is waited for, by reading ahead into
// the connection's buffer. Pipelined bytes stay there for the next request.
type watcher struct {
	c    *conn
	done chan struct{} // the reading goroutine ended
	run  func()        // read, made once

	mu      sync.Mutex
	gone    chan struct{}
	closed  bool
	wanted  bool // somebody asked for gone in this exchange
	ready   bool // the request body was read: the connection's bytes are not its any more
	running bool
}

func (w *watcher) want() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone == nil {
		w.gone = make(chan struct{})
	}
	w.wanted = true
	w.start()
	return w.gone
}

// bodyRead says that the request body has come to its end.
func (w *watcher) bodyRead() {
	w.mu.Lock()
	w.ready = true
	w.start()
	w.mu.Unlock()
}

// start begins to watch, once both conditions hold. w.mu is held.
func (w *watcher) start() {
	c := w.c
	if !w.wanted || !w.ready || w.running || w.closed {
		return
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		return // so much pipelined: the client is there
	}
	if c.setReadDeadline(time.Time{}) != nil {
		return // closed: writes will tell
	}
	w.running = true
	go w.run()
}

func (w *watcher) read() {
	c := w.c
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.err = err
		w.mu.Lock()
		w.closed = true
		close(w.gone)
		w.mu.Unlock()
	}
	w.done <- struct{}{}
}

// stop ends watching. Afterwards the connection's goroutine owns the buffer again.
func (w *watcher) stop() {
	w.mu.Lock()
	running := w.running
	w.wanted, w.ready = false, false
	w.mu.Unlock()
	if !running {
		return
	}
	// Where this fails the connection is closed, and the read ends by that.
	_ = w.c.setReadDeadline(past)
	<-w.done
	w.mu.Lock()
	w.running = false
	w.mu.Unlock()
}
