package app

import (
	"fmt"
	"log/slog"
	"net"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine/std"
	"github.com/lintel-ingress/lintel/internal/listen"
	"github.com/lintel-ingress/lintel/internal/observe/metrics"
)

// front is the sockets and the engine behind them.
type front struct {
	listener *listen.Listener
	engine   *std.Engine
}

func newFront(o *Options, w *world, log *slog.Logger) *front {
	global := func() *config.Global { return w.plane.Global() }
	f := &front{engine: std.New(std.Options{Handler: w.plane, Global: global, Log: log})}
	hosts := []string{""}
	if len(o.BindAddresses) > 0 {
		hosts = hosts[:0]
		for _, a := range o.BindAddresses {
			hosts = append(hosts, a.String())
		}
	}
	var sockets []listen.Socket
	for _, h := range hosts {
		sockets = append(sockets,
			listen.Socket{Addr: net.JoinHostPort(h, fmt.Sprint(o.HTTPPort)), Port: uint16(o.HTTPPort), Flag: "http-port"},
			listen.Socket{Addr: net.JoinHostPort(h, fmt.Sprint(o.HTTPSPort)), Port: uint16(o.HTTPSPort), Flag: "https-port", TLS: true})
	}
	f.listener = listen.New(listen.Options{Sockets: sockets, Certs: w.certs, Global: global, Engine: f.engine, Log: log})
	return f
}

// connections are the numbers of client connections, for metrics.
func (f *front) connections() metrics.Connections {
	c, e := &f.listener.Counters, f.engine.Counts()
	pending := int(c.Pending.Load())
	return metrics.Connections{
		Accepted: c.Accepted.Load(), Handled: c.Handled.Load(), Active: pending + e.Reading + e.Writing + e.Waiting,
		Reading: pending + e.Reading, Writing: e.Writing, Waiting: e.Waiting,
	}
}

// statusPage is nginx's stub status, for the agents that read it.
func (f *front) statusPage() []byte {
	c := f.connections()
	return fmt.Appendf(nil, "Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: %d Waiting: %d \n",
		c.Active, c.Accepted, c.Handled, f.engine.Counts().Requests, c.Reading, c.Writing, c.Waiting)
}
