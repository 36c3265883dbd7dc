package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine/std"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// front is the sockets and the engine behind them.
type front struct {
	o      *Options
	w      *world
	log    *slog.Logger
	engine *std.Engine
	plain  net.Listener
	secure net.Listener
	ids    atomic.Uint64
}

func newFront(o *Options, w *world, log *slog.Logger) (*front, error) {
	f := &front{o: o, w: w, log: log}
	f.engine = std.New(std.Options{Handler: w.plane, Global: func() *config.Global { return w.plane.Global() }, Log: log})
	return f, nil
}

func (f *front) bind() (err error) {
	if f.plain, err = net.Listen("tcp", fmt.Sprint(":", f.o.HTTPPort)); err != nil {
		return err
	}
	f.secure, err = net.Listen("tcp", fmt.Sprint(":", f.o.HTTPSPort))
	return err
}

func (f *front) serve() {
	go f.accept(f.plain, false)
	go f.accept(f.secure, true)
}

func (f *front) accept(l net.Listener, secure bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go f.conn(c, secure)
	}
}

func (f *front) conn(c net.Conn, secure bool) {
	info := &exchange.Conn{ID: f.ids.Add(1), Remote: c.RemoteAddr().(*net.TCPAddr).AddrPort(), Local: c.LocalAddr().(*net.TCPAddr).AddrPort(), Port: uint16(f.o.HTTPPort), Draining: func() bool { return false }}
	info.Remote = netip.AddrPortFrom(info.Remote.Addr().Unmap(), info.Remote.Port())
	if secure {
		info.Port = uint16(f.o.HTTPSPort)
		h := f.w.certs.Handshake()
		tc := tls.Server(c, h.Config())
		if err := tc.Handshake(); err != nil {
			c.Close()
			return
		}
		cs := tc.ConnectionState()
		r := h.Finish(&cs)
		info.TLS, info.ServerName, info.TLSPolicy, info.ClientVerify = &cs, r.ServerName, r.Policy, r.ClientVerify
		c = tc
	}
	f.engine.ServeConn(c, info)
}

func (f *front) drain(ctx context.Context) int {
	f.close()
	f.engine.Drain()
	return f.engine.Wait(ctx)
}

func (f *front) close() {
	if f.plain != nil {
		f.plain.Close()
	}
	if f.secure != nil {
		f.secure.Close()
	}
}
