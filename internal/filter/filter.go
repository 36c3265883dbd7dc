// Package filter holds the contracts of filters, their order, and the state
// they keep across rebuilds.
//
// A filter's settings on one route are a Config: plain data made by translate. The
// data plane builds it once per route into a value that many exchanges use at once.
// What a filter knows of one exchange it keeps in an exchange.Slot.
package filter

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Config is one filter's settings on one route: plain data, comparable with
// reflect.DeepEqual and printable.
type Config interface {
	// FilterName is the filter's name in Order.
	FilterName() string
	// Build returns a value that implements at least one of OnRequest, OnUpstream,
	// OnResponse, OnDone, or nil: nothing to do. An error turns the route off (503).
	Build(*Env) (any, error)
}

// OnRequest runs before an endpoint is chosen, in Order. It may answer.
type OnRequest interface {
	Request(x *exchange.Exchange) exchange.Verdict
}

// OnUpstream changes x.Up, the request as the endpoint gets it, in Order.
type OnUpstream interface {
	Upstream(x *exchange.Exchange)
}

// OnResponse changes the response, in the reverse of Order. It runs for answers of
// filters as well as of endpoints, whether or not the filter's Request ran: a
// filter that depends on its Request having run keeps that in a slot.
type OnResponse interface {
	Response(x *exchange.Exchange)
}

// OnDone runs at the end of every exchange that matched the route.
type OnDone interface {
	Done(x *exchange.Exchange)
}

// MayBlock is implemented by filters that wait for something other than the client's
// body, or that wrap a body.
type MayBlock interface{ MayBlock() bool }

// Closer is implemented by filters that started something; called after the route left the table.
type Closer interface{ Close() }

// Env is what a filter may take from the world.
type Env struct {
	// Route is the identity of the route (or host) the filter is built for.
	Route string
	// Keep returns what an earlier build kept under this key, or makes it. State
	// that outlives a change (buckets, caches) lives here. Keys start with the filter's name;
	// nothing has named a key for a minute: it is dropped.
	Keep func(key string, make func() any) any
	Now  func() time.Time
	// Fetch sends a request of lintel's own (external auth, mirror). It never follows redirects.
	Fetch func(ctx context.Context, r *FetchRequest) (*FetchResponse, error)
	Log   *slog.Logger
}

// FetchRequest is a request a filter sends itself.
type FetchRequest struct {
	Method string
	Scheme string // http or https
	Addr   string // host:port to connect to; DNS names are resolved now
	Host   string // Host field
	Target string // origin-form
	Header exchange.Fields
	HTTP10 bool      // speak HTTP/1.0
	Body   io.Reader // nil: none
	Length int64     // -1: unknown
	// SNI is the server name for https; "" derives it from Addr. Verify false skips verification.
	SNI    string
	Verify bool
	// AllowLocal permits loopback and link-local addresses (objects from a directory).
	AllowLocal bool
	Timeout    time.Duration
	// MaxBody bounds the answer's body; it is read whole. 0: discarded.
	MaxBody int64
}

// FetchResponse is the answer to a FetchRequest.
type FetchResponse struct {
	Status int
	Header exchange.Fields
	Body   []byte
}

// Prefixes is a set of client networks.
type Prefixes []netip.Prefix

// Contains reports whether a is in one of the networks. IPv4-mapped addresses count as IPv4; zones are ignored.
func (p Prefixes) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
