// Package listen owns the client sockets: it binds and accepts, reads PROXY headers, does TLS
// handshakes, and hands each connection to the engine for its protocol.
//
// Sockets are not part of the table: no change of configuration touches one. What the
// settings say of connections (PROXY protocol, timeouts) is read for each new connection.
//
// What a reader gets wrong: bound is not served. The kernel queues clients from Bind on, so
// that a taken port is an error at start; nobody is answered before Serve.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lintel-ingress/lintel/internal/certs"
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Socket is one address to listen on.
type Socket struct {
	Addr string // ":80" is every IPv4 and IPv6 address; "127.0.0.1:0" picks a free port
	TLS  bool
	// Port is what exchange.Conn.Port says; 0: the port bound.
	Port uint16
	// Flag is the command line flag that sets the port, for the text of errors; "" for none.
	Flag string
}

// Options are what a Listener needs.
type Options struct {
	Sockets []Socket
	Certs   *certs.Store
	Global  func() *config.Global // never nil
	// Engine serves every protocol that ByProtocol does not name by its ALPN ("h2", "http/1.1").
	Engine     engine.Engine
	ByProtocol map[string]engine.Engine
	Log        *slog.Logger
	// Peek, where set, looks at each connection to a TLS socket before its handshake and
	// may take it over (true): TLS passthrough. What it reads with Conn.Peek is still
	// there for the handshake. It must respect the connection's read deadline.
	Peek func(c *Conn, info *exchange.Conn) (taken bool)
	// Handshakes bounds how many handshakes run at once; 0: 4096.
	Handshakes int
}

// The package's own times.
const (
	handshakeTime = 10 * time.Second // from the first byte of a TLS client on
	defaultHeader = 60 * time.Second
	defaultProxy  = 5 * time.Second
	// lastCalls is how long a socket still accepts at Drain: closing it resets the clients that
	// the kernel has queued.
	lastCalls = 50 * time.Millisecond
	// drainFirst is how long a client may take for its first bytes once the listener drains.
	drainFirst = 2 * time.Second
)

// Listener is a set of sockets. Make it with New; then Bind, Serve, Drain in this order.
type Listener struct {
	Options
	Counters Counters

	bound    []*bound
	slots    chan struct{} // one for each handshake
	draining atomic.Bool
	ids      atomic.Uint64
	accepts  sync.WaitGroup // accept loops
	conns    sync.WaitGroup // connections that no engine has yet, or that it serves on their goroutine

	mu      sync.Mutex
	pending map[net.Conn]struct{} // connections that no engine has yet
}

// Counters count connections, for metrics. They only grow, but for Pending.
type Counters struct {
	Accepted        atomic.Uint64
	Handled         atomic.Uint64 // given to an engine
	AcceptErrors    atomic.Uint64
	ProxyErrors     atomic.Uint64 // no or a bad PROXY header where one is wanted
	HandshakeErrors atomic.Uint64
	PlainOnTLS      atomic.Uint64
	Pending         atomic.Int64 // accepted, no engine has them yet
}

type bound struct {
	Socket
	l *net.TCPListener
}

// New returns a listener that has not bound anything.
func New(o Options) *Listener {
	n := o.Handshakes
	if n <= 0 {
		n = 4096
	}
	return &Listener{Options: o, slots: make(chan struct{}, n), pending: map[net.Conn]struct{}{}}
}

// Bind binds every socket, or none and says what to do.
func (l *Listener) Bind() error {
	for _, s := range l.Sockets {
		nl, err := net.Listen("tcp", s.Addr)
		if err != nil {
			l.Close()
			return bindError(s, err)
		}
		b := &bound{Socket: s, l: nl.(*net.TCPListener)}
		if b.Port == 0 {
			b.Port = b.l.Addr().(*net.TCPAddr).AddrPort().Port()
		}
		l.bound = append(l.bound, b)
	}
	return nil
}

// bindError says in one sentence what to do about it.
func bindError(s Socket, err error) error {
	cause := err
	var hints []string
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		cause, hints = errors.New("permission denied"), []string{"run as root"}
	case errors.Is(err, syscall.EADDRINUSE):
		cause, hints = errors.New("address already in use"), []string{"stop the process that listens there"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen %s: address is not on this machine (listen on one of its own addresses)", s.Addr)
	default:
		var op *net.OpError
		if errors.As(err, &op) {
			cause = op.Err
		}
	}
	if s.Flag != "" {
		port := "8080"
		if s.TLS {
			port = "8443"
		}
		if strings.HasSuffix(s.Addr, ":"+port) {
			port = port[:3] + strconv.Itoa(int(port[3]-'0')+1) // 8081, 8444: not the one that is taken
		}
		hints = append(hints, "use --"+s.Flag+" "+port)
	}
	if len(hints) == 0 {
		return fmt.Errorf("listen %s: %w", s.Addr, cause)
	}
	return fmt.Errorf("listen %s: %w (%s)", s.Addr, cause, strings.Join(hints, ", or "))
}

// Addrs are the addresses bound, in the order of Sockets.
func (l *Listener) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range l.bound {
		out = append(out, b.l.Addr().(*net.TCPAddr).AddrPort())
	}
	return out
}

// Serve begins to accept and returns.
func (l *Listener) Serve() {
	for _, b := range l.bound {
		l.accepts.Go(func() { l.accept(b) })
	}
}

// accept takes connections until the socket is closed. Nothing a client does blocks it.
func (l *Listener) accept(b *bound) {
	defer b.l.Close() //nolint:errcheck // closed by Close before, or here
	wait := time.Duration(0)
	var said time.Time
	for {
		c, err := b.l.AcceptTCP()
		switch {
		case err == nil:
			wait = 0
			l.Counters.Accepted.Add(1)
			l.conns.Go(func() { l.serve(c, b) })
			continue
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case errors.Is(err, syscall.ECONNABORTED):
			continue
		}
		// Out of file descriptors or memory: others need them more than the next client does.
		l.Counters.AcceptErrors.Add(1)
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		if now := time.Now(); now.Sub(said) > 10*time.Second {
			said = now
			l.Log.Warn("accept failed", slog.String("addr", b.Addr), slog.Any("error", err), slog.Duration("wait", wait))
		}
		time.Sleep(wait)
	}
}

// Drain stops accepting, lets every connection end in order and returns when all have. When ctx
// ends before, it cuts those that are left and returns how many they were. Clients that the
// kernel had queued are still answered.
func (l *Listener) Drain(ctx context.Context) (cut int) {
	l.draining.Store(true)
	for _, b := range l.bound {
		if b.l.SetDeadline(time.Now().Add(lastCalls)) != nil {
			// Closed before: nothing is queued on it.
			continue
		}
	}
	for _, e := range l.engines() {
		e.Drain()
	}
	l.eachPending(func(c net.Conn) {
		// Failing means that it is closed.
		_ = c.SetReadDeadline(time.Now().Add(drainFirst))
	})
	l.Close()
	// A blocking engine returns when a connection has ended, others once they have adopted it: in
	// both cases the engines know all connections afterwards.
	over := make(chan struct{})
	go func() {
		defer close(over)
		l.conns.Wait()
	}()
	select {
	case <-over:
	case <-ctx.Done():
		l.eachPending(func(c net.Conn) {
			cut++
			c.Close()
		})
	}
	for _, e := range l.engines() {
		cut += e.Wait(ctx)
	}
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-over:
	case <-t.C: // what was cut hangs in its handler
	}
	return cut
}

// Close closes the sockets; connections go on.
func (l *Listener) Close() {
	if !l.draining.Load() {
		l.closeSockets()
	}
	l.accepts.Wait()
	l.closeSockets() // those never served
}

func (l *Listener) closeSockets() {
	for _, b := range l.bound {
		// It may be closed already.
		_ = b.l.Close()
	}
}

// engines are all engines, each once.
func (l *Listener) engines() []engine.Engine {
	all := []engine.Engine{l.Engine}
	for _, e := range l.ByProtocol {
		known := false
		for _, a := range all {
			known = known || a == e
		}
		if !known {
			all = append(all, e)
		}
	}
	return all
}

func (l *Listener) eachPending(f func(net.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.pending {
		f(c)
	}
}
