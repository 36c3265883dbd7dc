// Package engine is the contract between listeners and protocol engines.
//
// An engine reads requests off connections, drives an exchange.Handler through
// its steps and sends what comes out. Which engine serves is a choice of the process; all
// of them must pass engine/enginetest.
package engine

import (
	"context"
	"net"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Engine speaks HTTP on connections. All methods may be called by any number of goroutines.
type Engine interface {
	// ServeConn takes ownership of c: the engine closes it. It may return at once or when
	// the connection has ended. TLS handshakes are done; info.TLS says with which protocol. Where
	// c implements CloseWrite, the engine uses it.
	ServeConn(c net.Conn, info *exchange.Conn)
	// Drain makes every connection end after what it is doing: HTTP/1 closes after the current
	// response, or soon when idle; HTTP/2 sends GOAWAY. Connections handed over later
	// serve one request.
	Drain()
	// Wait returns when no connection is left. When ctx ends before, it closes those that are
	// left and returns how many they were.
	Wait(ctx context.Context) (cut int)
	// Counts tells what the connections do at this moment.
	Counts() Counts
}

// Counts are numbers for metrics, as nginx's stub status has them.
type Counts struct {
	Reading, Writing, Waiting int
	Requests                  uint64 // since start
}
