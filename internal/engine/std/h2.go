package std

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// servers are the HTTP/2 servers in use, one for each set of settings that connections began with.
type servers struct {
	mu  sync.Mutex
	all map[settings]*server
}

// settings are what an HTTP/2 connection keeps from its beginning.
type settings struct {
	streams uint32
	head    int
	idle    time.Duration
}

// server is the library's server with the number of connections on it.
type server struct {
	http *http.Server
	h2   *http2.Server
	live int
}

// defaultStreams is http2-max-concurrent-streams.
const defaultStreams = 128

func settingsOf(g *config.Global) settings {
	s := settings{streams: g.HTTP2Streams, head: g.HeaderBuffer * g.HeaderBuffers, idle: g.KeepAlive}
	if s.streams == 0 {
		s.streams = defaultStreams
	}
	if s.head == 0 {
		s.head = 4 * h1.DefaultLine
	}
	// Without keep-alive, parallel requests of one page would each need a connection (reference/configmap.md, keep-alive).
	s.idle = max(s.idle, time.Second)
	return s
}

// join returns the server for new connections. leave gives it back.
func (ss *servers) join(e *Engine) (s *server, key settings, err error) {
	key = settingsOf(e.Global())
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s = ss.all[key]; s == nil {
		s = &server{
			http: &http.Server{MaxHeaderBytes: key.head, IdleTimeout: key.idle, ErrorLog: slogAdapter(e.Log)},
			h2: &http2.Server{
				MaxConcurrentStreams: key.streams, IdleTimeout: key.idle, MaxReadFrameSize: 64 << 10,
				WriteByteTimeout: defaultTimeout,
			},
		}
		if err := http2.ConfigureServer(s.http, s.h2); err != nil {
			return nil, key, err
		}
		if ss.all == nil {
			ss.all = map[settings]*server{}
		}
		ss.all[key] = s
	}
	s.live++
	return s, key, nil
}

func (ss *servers) leave(key settings) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.all[key]; s != nil {
		if s.live--; s.live == 0 {
			delete(ss.all, key)
		}
	}
}

// slogAdapter takes what the library has to say about hostile or broken clients: debug, for one line per
// connection is nothing an operator can act on.
func slogAdapter(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

// h2conn is one HTTP/2 connection.
type h2conn struct {
	e        *Engine
	nc       net.Conn
	info     *exchange.Conn
	server   *server
	requests atomic.Uint64
	active   atomic.Int64
}

func (c *h2conn) count() uint64 { return c.requests.Load() }
func (c *h2conn) cut()          { c.nc.Close() }

func (c *h2conn) phase() phase {
	if c.active.Load() > 0 {
		return writing
	}
	return waiting
}

// drain sends GOAWAY. The library does so for all connections of a server at once, and does not
// mind being asked again.
func (c *h2conn) drain() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // begin the shutdown, do not wait for it
	// The only error is that of ctx.
	_ = c.server.http.Shutdown(ctx)
}

func (e *Engine) serveH2(nc net.Conn, info *exchange.Conn) {
	s, key, err := e.h2.join(e)
	if err != nil {
		e.Log.Error("http2 server cannot be configured", slog.Any("error", err))
		// Nothing was said yet that an error could be added to.
		_ = nc.Close()
		return
	}
	defer e.h2.leave(key)
	c := &h2conn{e: e, nc: nc, info: info, server: s}
	e.add(c, info.ID)
	defer e.remove(c, info.ID)
	s.h2.ServeConn(&guard{Conn: nc}, &http2.ServeConnOpts{BaseConfig: s.http, Handler: c})
	_ = nc.Close() // the library closes it on every path but one or two
}

// ServeHTTP implements http.Handler for one stream.
func (c *h2conn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The library may end the connection before its handlers: Wait counts both.
	c.e.live.Add(1)
	defer c.e.gone()
	c.active.Add(1)
	defer c.active.Add(-1)
	g := c.e.Global()
	x := exchange.Acquire()
	x.Stats.Start = time.Now()
	n := c.requests.Add(1)
	x.Stats.ConnRequests = int(n)
	s := &stream{c: c, w: w, r: r, x: x}
	x.Down = s
	s.fill(g)
	preset(x, c.info)
	if c.e.closing(c.info) || g.KeepAliveRequests > 0 && n >= uint64(g.KeepAliveRequests) {
		// The library turns this into GOAWAY.
		w.Header()["Connection"] = []string{"close"}
	}
	if !s.run() {
		panic(http.ErrAbortHandler) // RST_STREAM
	}
}

// stream is one request on an HTTP/2 connection.
type stream struct {
	c     *h2conn
	w     http.ResponseWriter
	r     *http.Request
	x     *exchange.Exchange
	body  h2body
	begun bool
	timer *watchdog
}

// Gone implements exchange.Downstream.
func (s *stream) Gone() <-chan struct{} { return s.r.Context().Done() }

// Informational implements exchange.Downstream.
func (s *stream) Informational(status int, h *exchange.Fields) error {
	if s.begun || status <= 100 || status > 199 || status == 101 {
		return nil // the library sends 100 by itself
	}
	out := s.w.Header()
	kept := out["Connection"]
	delete(out, "Connection")
	if h != nil {
		setFields(out, h)
	}
	s.w.WriteHeader(status)
	clear(out)
	if kept != nil {
		out["Connection"] = kept
	}
	return nil
}

// fill reads the request. What HTTP/2 itself forbids the library has refused (reference/security.md S7.2).
func (s *stream) fill(g *config.Global) {
	r, x := s.r, s.x
	q := &x.Req
	q.Proto = exchange.HTTP2
	q.Method, q.Authority, q.Target = r.Method, r.Host, r.RequestURI
	q.Line = r.Method + " " + r.RequestURI + " HTTP/2.0"
	s.fields(h1.FieldPolicy{Underscores: g.UnderscoresAllowed, KeepInvalid: !g.IgnoreInvalid})
	x.Stats.RequestBytes = headSize(&q.Header) + int64(len(q.Line)+len(q.Authority))
	// Content that follows a length of 0 makes the request malformed, so its end is waited for in any case.
	// net/http has a body even where the stream ended with its head.
	if r.Body != nil && r.Body != http.NoBody && (r.ContentLength != 0 || r.Header["Content-Length"] != nil) {
		q.Length = r.ContentLength
		s.body = h2body{s: s, from: r.Body}
		q.Body = &s.body
	}
	host, ok := h1.HostSelector(r.Host)
	q.Host = host
	hosts := r.Header["Host"]
	switch {
	case !h1.ValidMethod(r.Method):
		x.Malformed = 400
	case r.Method == "CONNECT" && len(r.Header[":protocol"]) == 1 && exchange.EqualFold(r.Header[":protocol"][0], "websocket"):
		q.Upgrade = "websocket"
		q.Target = r.URL.RequestURI()
	case r.Method == "CONNECT" || r.Method == "TRACE":
		x.Malformed = 405
	}
	switch {
	case x.Malformed != 0:
	case !soundLength(r.Header["Content-Length"], r.ContentLength):
		// The library takes the first of several, and one that is no number for 0 (S7.2).
		x.Malformed = 400
	case !ok, len(hosts) > 1, len(hosts) == 1 && !sameHost(hosts[0], host):
		// RFC 9113, 8.3.1: the two must not disagree.
		x.Malformed = 400
	default:
		if err := h1.SetTarget(q, q.Target); err != nil {
			x.Malformed = err.Status
		}
	}
}

// soundLength reports whether a Content-Length is one number and what the library made of it: that is
// 0 where the stream ended with its head (RFC 9113, 8.1.1).
func soundLength(values []string, length int64) bool {
	if len(values) == 0 {
		return true
	}
	n, ok := h1.LengthValue(values[0])
	return ok && len(values) == 1 && n == length
}

func sameHost(field, host string) bool {
	h, ok := h1.HostSelector(field)
	return ok && h == host
}

// fields copies the header in a fixed order: the library's map has none.
func (s *stream) fields(policy h1.FieldPolicy) {
	var room [32]string
	names := room[:0]
	for name := range s.r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	h := &s.x.Req.Header
	for _, name := range names {
		values := s.r.Header[name]
		if h1.ConnectionSpecific(name) {
			if name == "Te" {
				for _, v := range values {
					s.x.Req.TETrailer = s.x.Req.TETrailer || strings.Contains(strings.ToLower(v), "trailers")
				}
			}
			continue
		}
		if name == "Host" || name == "Expect" || name == "Trailer" || name[0] == ':' || !policy.Keep(name) {
			continue
		}
		for _, v := range values {
			h.Add(name, v)
		}
	}
}

func headSize(h *exchange.Fields) (n int64) {
	for i := range h.Len() {
		f := h.At(i)
		n += int64(len(f.Name) + len(f.Value) + 4)
	}
	return n
}

// run takes the exchange through its steps. False: reset the stream.
func (s *stream) run() (ok bool) {
	x, e := s.x, s.c.e
	sound := true
	defer func() {
		if p := recover(); p != nil {
			ok, sound = false, false
			e.logPanic(x, p)
			if !s.begun {
				s.begun, ok = true, true
				x.Resp.Status = 500
				clear(s.w.Header())
				s.w.WriteHeader(500)
			}
		}
		s.close()
		e.done(x)
		if sound {
			x.Release()
		}
	}()
	if !exchange.Serve(e.Handler, x) {
		return false
	}
	return s.send()
}

// close closes what nobody else closes any more.
func (s *stream) close() {
	if s.timer != nil {
		s.timer.stop()
	}
	defer func() {
		if p := recover(); p != nil {
			s.c.e.logPanic(s.x, p)
		}
	}()
	if b := s.x.Resp.Body; b != nil {
		s.x.Resp.Body = nil
		// The response is over: how its source ends changes nothing.
		_ = b.Close()
	}
	if b := s.x.Req.Body; b != nil {
		s.x.Req.Body = nil
		_ = b.Close()
	}
}

// h2body is the content of an HTTP/2 request.
type h2body struct {
	s     *stream
	from  io.ReadCloser
	read  int64
	err   error
	timer *time.Timer
	late  atomic.Bool
}

// Read implements io.Reader: size and time between two reads; framing is the library's.
func (b *h2body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	x := b.s.x
	most := x.Limits.BodyMax
	if most > 0 && x.Req.Length > most {
		b.err = exchange.ErrBodyTooLarge
		return 0, b.err
	}
	timeout := or(x.Limits.BodyTimeout)
	if b.timer == nil {
		b.timer = time.AfterFunc(timeout, func() {
			b.late.Store(true)
			// Ends the read; that is all that is wanted of it.
			_ = b.from.Close()
		})
	} else {
		b.timer.Reset(timeout)
	}
	n, err := b.from.Read(p)
	b.timer.Stop()
	b.read += int64(n)
	x.Stats.RequestBytes += int64(n)
	if most > 0 && b.read > most {
		n -= int(b.read - most)
		err = exchange.ErrBodyTooLarge
	}
	switch {
	case err == io.EOF:
		for name, values := range b.s.r.Trailer {
			if h1.ValidName(name) && h1.TrailerAllowed(name) {
				for _, v := range values {
					x.Req.Trailer.Add(name, v)
				}
			}
		}
	case err == nil, err == exchange.ErrBodyTooLarge:
	case b.late.Load():
		err = exchange.ErrBodyTimeout
	case b.s.r.Context().Err() != nil:
		err = exchange.ErrClientGone
	}
	b.err = err
	return n, err
}

// Close implements io.Closer; it ends a read in progress.
func (b *h2body) Close() error { return b.from.Close() }
