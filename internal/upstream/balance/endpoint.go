// Package balance picks an endpoint for each attempt: endpoints and what is learned of
// them, immutable sets of endpoints, policies over sets, and cookie affinity.
//
// It stands below upstream, which makes sets, and proxy, which asks for picks. A
// set and its endpoints belong to a pool and are shared by all routes; a policy and
// its state belong to one route. Nothing here takes a lock while picking.
//
// What a reader gets wrong: a policy never refuses. When every endpoint was tried or
// is suspect it picks one of them all the same; only an empty set gives nil.
package balance

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Clock tells monotonic time since a fixed origin.
type Clock func() time.Duration

var origin = time.Now()

// Monotonic is the process's own Clock.
func Monotonic() time.Duration { return time.Since(origin) }

// Endpoint is one address of a pool and what was learned of it. It is shared by all
// exchanges; its methods may be called by many goroutines at once.
type Endpoint struct {
	Addr netip.AddrPort
	Zone string
	// Name is "ip:port", IPv6 in brackets: what hashing and cookies are made from.
	Name string

	*stats
}

// stats fills a cache line (the allocator puts 64 bytes at a multiple of 64), so that two busy
// endpoints do not slow each other down. It survives a change of the endpoint's zone.
type stats struct {
	busy     atomic.Int64  // exchanges in progress
	picks    atomic.Uint64 // attempts started
	failures atomic.Uint64 // attempts that failed
	latency  atomic.Uint64 // peak EWMA in seconds, float bits; 0: unknown
	touched  atomic.Int64  // Clock of the last latency update
	until    atomic.Int64  // suspect until this Clock; 0: not suspect
	fails    atomic.Int32  // consecutive connect failures
	_        [12]byte
}

// NewEndpoint returns an endpoint nothing is known of.
func NewEndpoint(addr netip.AddrPort, zone string) *Endpoint {
	return &Endpoint{Addr: addr, Zone: zone, Name: addr.String(), stats: new(stats)}
}

// InZone returns the endpoint with another zone and the same learned state.
func (e *Endpoint) InZone(zone string) *Endpoint {
	c := *e
	c.Zone = zone
	return &c
}

// Start counts an attempt that begins, End one that is over.
func (e *Endpoint) Start() {
	e.picks.Add(1)
	e.busy.Add(1)
}

// End counts an attempt as over.
func (e *Endpoint) End(failed bool) {
	e.busy.Add(-1)
	if failed {
		e.failures.Add(1)
	}
}

// Busy returns how many exchanges are in progress.
func (e *Endpoint) Busy() int64 { return e.busy.Load() }

// Picks and Failures return how many attempts were started, and how many failed.
func (e *Endpoint) Picks() uint64 { return e.picks.Load() }

// Failures returns how many attempts failed.
func (e *Endpoint) Failures() uint64 { return e.failures.Load() }

// ConnectFailed counts one more connect failure in a row and returns how many there are.
func (e *Endpoint) ConnectFailed() int { return int(e.fails.Add(1)) }

// Connected forgets connect failures and suspicion.
func (e *Endpoint) Connected() {
	// Loads first: a store would take the cache line from other cores for each exchange.
	if e.fails.Load() != 0 {
		e.fails.Store(0)
	}
	if e.until.Load() != 0 {
		e.until.Store(0)
	}
}

// Suspect makes policies prefer other endpoints until then.
func (e *Endpoint) Suspect(until time.Duration) { e.until.Store(max(int64(until), 1)) }

// SuspectUntil returns until when the endpoint is avoided; ok is false when it is not.
func (e *Endpoint) SuspectUntil(now time.Duration) (until time.Duration, ok bool) {
	u := e.until.Load()
	return time.Duration(u), u != 0 && u > int64(now)
}

// suspect is SuspectUntil that asks for the time only when it matters.
func (e *Endpoint) suspect(now Clock) bool {
	u := e.until.Load()
	return u != 0 && u > int64(now())
}

// Latency returns the peak EWMA as it was last updated; 0 when nothing is known.
func (e *Endpoint) Latency() time.Duration {
	return time.Duration(math.Float64frombits(e.latency.Load()) * float64(time.Second))
}

// Set is an immutable list of endpoints in the order of their addresses. The nil set is empty.
type Set struct {
	list []*Endpoint

	once sync.Once
	ring *Ring
}

// NewSet returns a set of list, which it keeps and sorts. Addresses must be distinct.
// Endpoints of unknown latency start with the average of those that are known, so
// that a new one is neither flooded nor starved (reference/annotations.md 15.2).
func NewSet(list []*Endpoint, now time.Duration) *Set {
	slices.SortFunc(list, func(a, b *Endpoint) int { return a.Addr.Compare(b.Addr) })
	sum, n := 0.0, 0
	for _, e := range list {
		if v := math.Float64frombits(e.latency.Load()); v > 0 {
			sum += v
			n++
		}
	}
	if n > 0 && n < len(list) {
		for _, e := range list {
			if e.latency.CompareAndSwap(0, math.Float64bits(sum/float64(n))) {
				e.touched.Store(int64(now))
			}
		}
	}
	return &Set{list: list}
}

// Len returns the number of endpoints.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.list)
}

// At returns the endpoint at index i, in the order of addresses.
func (s *Set) At(i int) *Endpoint { return s.list[i] }

// Find returns the endpoint with this address, or nil.
func (s *Set) Find(addr netip.AddrPort) *Endpoint {
	if s == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(s.list, addr, func(e *Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
	if !ok {
		return nil
	}
	return s.list[i]
}

// Ring returns the consistent-hash ring over the endpoints' names. It is made at first
// use: most pools are never hashed, and an endpoint update must stay cheap.
func (s *Set) Ring() *Ring {
	s.once.Do(func() {
		names := make([]string, len(s.list))
		for i, e := range s.list {
			names[i] = e.Name
		}
		s.ring = NewRing(names)
	})
	return s.ring
}

// Tried holds the endpoints one exchange was sent to. The zero value is empty.
type Tried struct {
	few  [6]*Endpoint
	more []*Endpoint
	n    int
}

// Add notes an attempt at e.
func (t *Tried) Add(e *Endpoint) {
	if t.n < len(t.few) {
		t.few[t.n] = e
	} else {
		t.more = append(t.more, e)
	}
	t.n++
}

// Len returns how many attempts were noted.
func (t *Tried) Len() int { return t.n }

// Has reports whether e was tried. Endpoints are the same when their addresses are: a
// set may have been replaced between two attempts.
func (t *Tried) Has(e *Endpoint) bool {
	if t == nil {
		return false
	}
	for i := range min(t.n, len(t.few)) {
		if t.few[i].Addr == e.Addr {
			return true
		}
	}
	for _, o := range t.more {
		if o.Addr == e.Addr {
			return true
		}
	}
	return false
}

// rank says how little an endpoint is wanted: tried ones least, suspect ones less.
func rank(e *Endpoint, tried *Tried, now Clock) int {
	r := 0
	if tried.Has(e) {
		r = 2
	}
	if e.suspect(now) {
		r++
	}
	return r
}

// better reports whether rank and score a are preferable to b.
func better(ra int, sa float64, rb int, sb float64) bool {
	if c := cmp.Compare(ra, rb); c != 0 {
		return c < 0
	}
	return sa < sb
}
