package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Conn is a client's connection some bytes of which may have been looked at already.
type Conn struct {
	net.Conn
	buf  []byte // buf[r:w] was read and not used up
	r, w int
}

// MaxPeek is how many bytes Peek can show.
const MaxPeek = 16 << 10

var errPeek = errors.New("peek beyond the buffer")

// Peek returns the first n bytes without using them up, reading as needed. The bytes are
// valid until the next call. With an error it returns what there is.
func (c *Conn) Peek(n int) ([]byte, error) {
	if n > MaxPeek {
		return nil, errPeek
	}
	for c.w-c.r < n {
		if err := c.more(n); err != nil {
			return c.buf[c.r:c.w], err
		}
	}
	return c.buf[c.r : c.r+n], nil
}

// more reads once, with room for at least n bytes in all.
func (c *Conn) more(n int) error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if size := max(n, 2048); len(c.buf) < size || c.w == len(c.buf) {
		next := make([]byte, min(max(size, 2*len(c.buf)), MaxPeek))
		c.w = copy(next, c.buf[:c.w])
		c.buf = next
	}
	m, err := c.Conn.Read(c.buf[c.w:])
	c.w += m
	if m > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Read implements net.Conn: what was looked at comes first.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		if c.r += n; c.r == c.w {
			c.buf, c.r, c.w = nil, 0, 0
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite closes the sending half.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection underneath. Its first bytes may be here.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// serve brings one connection to its engine.
func (l *Listener) serve(nc net.Conn, b *bound) {
	l.Counters.Pending.Add(1)
	l.mu.Lock()
	l.pending[nc] = struct{}{}
	l.mu.Unlock()
	ready, info := l.prepare(nc, b)
	l.mu.Lock()
	delete(l.pending, nc)
	l.mu.Unlock()
	l.Counters.Pending.Add(-1)
	if ready == nil {
		return
	}
	l.Counters.Handled.Add(1)
	e := l.Engine
	if info.TLS != nil {
		if by := l.ByProtocol[info.TLS.NegotiatedProtocol]; by != nil {
			e = by
		}
	}
	e.ServeConn(ready, info)
}

// prepare reads the PROXY header and does the handshake. It returns nil for a connection that
// is over or was taken.
func (l *Listener) prepare(nc net.Conn, b *bound) (net.Conn, *exchange.Conn) {
	info := &exchange.Conn{
		Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), Port: b.Port,
		ID: l.ids.Add(1), Draining: l.draining.Load,
	}
	g := l.Global()
	if !g.ProxyProtocol && !b.TLS {
		return nc, info
	}
	c := &Conn{Conn: nc}
	if g.ProxyProtocol {
		if err := l.proxyHeader(c, info); err != nil {
			l.Counters.ProxyErrors.Add(1)
			l.refuse(nc, info, "proxy header refused", err)
			return nil, nil
		}
	}
	if !b.TLS {
		if nc.SetDeadline(time.Time{}) != nil {
			// Closed meanwhile.
			_ = nc.Close()
			return nil, nil
		}
		if c.r == c.w {
			return nc, info
		}
		return c, info
	}
	return l.secure(c, info)
}

// refuse closes a connection that never became one. Clients that come and go are no event
// an operator acts on: the counters tell.
func (l *Listener) refuse(nc net.Conn, info *exchange.Conn, what string, err error) {
	l.Log.Debug(what, slog.String("client", info.Remote.String()), slog.Any("error", err))
	_ = nc.Close()
}

// secure does the TLS handshake.
func (l *Listener) secure(c *Conn, info *exchange.Conn) (net.Conn, *exchange.Conn) {
	first := l.Global().HeaderTimeout
	if first <= 0 {
		first = defaultHeader
	}
	if l.draining.Load() {
		first = min(first, drainFirst)
	}
	fail := func(what string, err error) (net.Conn, *exchange.Conn) {
		l.Counters.HandshakeErrors.Add(1)
		l.refuse(c.Conn, info, what, err)
		return nil, nil
	}
	if err := c.SetDeadline(time.Now().Add(first)); err != nil {
		return fail("connection lost", err)
	}
	hello, err := c.Peek(1)
	if err != nil {
		return fail("connection lost before tls handshake", err)
	}
	if hello[0] != 0x16 && hello[0]&0x80 == 0 {
		// As nginx tells them apart (reference/routing.md 7.3); the engine answers 400.
		l.Counters.PlainOnTLS.Add(1)
		info.PlainOnTLS = true
		if err := c.SetDeadline(time.Time{}); err != nil {
			return fail("connection lost", err)
		}
		return c, info
	}
	deadline := time.Now().Add(handshakeTime)
	if err := c.SetDeadline(deadline); err != nil {
		return fail("connection lost", err)
	}
	if l.Peek != nil && l.Peek(c, info) {
		return nil, nil
	}
	wait := time.NewTimer(time.Until(deadline))
	defer wait.Stop()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-wait.C:
		return fail("too many tls handshakes", nil)
	}
	h := l.Certs.Handshake()
	tc := tls.Server(c, h.Config())
	if err := tc.Handshake(); err != nil {
		return fail("tls handshake failed", err)
	}
	cs := tc.ConnectionState()
	r := h.Finish(&cs)
	info.TLS, info.ServerName, info.TLSPolicy, info.ClientVerify = &cs, r.ServerName, r.Policy, r.ClientVerify
	if err := tc.SetDeadline(time.Time{}); err != nil {
		return fail("connection lost", err)
	}
	return tc, info
}

// addrPort is an address without the IPv4-in-IPv6 form and without a zone, so that lists of networks match.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}
