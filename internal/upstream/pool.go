package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// Pool is the endpoints of one backend and what was learned of them. Routes hold
// pools; a *Pool stays valid as long as somebody holds it, whatever happens to its
// configuration. A pool that is not configured, not yet or not any more, is empty.
type Pool struct {
	id  config.PoolID
	set atomic.Pointer[balance.Set]
	dns atomic.Pointer[name] // where addresses come from; nil unless ExternalName
	own atomic.Bool          // config.Pool.Local

	retries atomic.Int64 // between BeginRetry and EndRetry

	// Guarded by Registry.mu.
	recipe  *config.Pool // nil: not configured
	problem string
}

// ID returns the pool's identity.
func (p *Pool) ID() config.PoolID { return p.id }

// Local reports whether loopback and link-local endpoints are allowed.
func (p *Pool) Local() bool { return p.own.Load() }

// Set returns the endpoints in force, as a set that never changes; nil means none. It takes no lock.
// For a DNS name it also counts as use, which keeps the name being looked up.
func (p *Pool) Set() *balance.Set {
	if n := p.dns.Load(); n != nil && !n.used.Load() && n.used.CompareAndSwap(false, true) {
		n.poke()
	}
	return p.set.Load()
}

// fewRetries may always be in progress at once.
const fewRetries = 100

// BeginRetry asks for one more attempt in place of one that failed. It says no once most of what is in
// progress are such attempts: an upstream that is too slow would be asked several times as often for it
// (reference/security.md S8.7). After yes, EndRetry must follow when the attempt is over.
func (p *Pool) BeginRetry() bool {
	n := p.retries.Add(1)
	if n <= fewRetries {
		return true
	}
	busy := int64(0)
	set := p.set.Load()
	for i := range set.Len() {
		busy += set.At(i).Busy()
	}
	if 2*n <= busy {
		return true
	}
	p.retries.Add(-1)
	return false
}

// EndRetry counts an attempt BeginRetry allowed as over.
func (p *Pool) EndRetry() { p.retries.Add(-1) }

// Await waits until a DNS name was looked up once, at most max or until gone is
// closed. Pools of other kinds are never waited for.
func (p *Pool) Await(gone <-chan struct{}, max time.Duration) {
	n := p.dns.Load()
	if n == nil {
		return
	}
	select {
	case <-n.first:
		return
	default:
	}
	t := time.NewTimer(max)
	defer t.Stop()
	select {
	case <-n.first:
	case <-gone:
	case <-t.C:
	}
}

// MayWait reports whether Await may block now.
func (p *Pool) MayWait() bool {
	n := p.dns.Load()
	if n == nil {
		return false
	}
	select {
	case <-n.first:
		return false
	default:
		return true
	}
}

// kind says where a pool's endpoints come from.
type kind uint8

const (
	kindNone kind = iota
	kindSlices
	kindStatic
	kindName
)

func kindOf(c *config.Pool) kind {
	switch {
	case c == nil || c.Missing:
		return kindNone
	case c.ExternalName != "":
		return kindName
	case len(c.Static) > 0: // a Service without an address has its pods, in ClusterIP mode, too
		return kindStatic
	}
	return kindSlices
}

// Refused reports whether an address may never be an endpoint (reference/security.md S3.3).
// Loopback and link-local addresses are allowed for objects from a directory (local).
func Refused(a netip.Addr, local bool) bool {
	a = a.Unmap()
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	if local {
		return false
	}
	if a.IsLoopback() || a.IsLinkLocalUnicast() {
		return true
	}
	if a.Is4() {
		// 0.0.0.0/8 is "this host" to Linux.
		return a.As4()[0] == 0
	}
	// Addresses that carry an IPv4 address: ::/96 (old form) and 64:ff9b::/96 (NAT64).
	b := a.As16()
	for _, prefix := range [][12]byte{{}, {0, 0x64, 0xff, 0x9b}} {
		if [12]byte(b[:12]) == prefix {
			return Refused(netip.AddrFrom4([4]byte(b[12:])), false)
		}
	}
	return false
}

// PoolInfo describes a pool for people: explain, dashboard, metrics.
type PoolInfo struct {
	ID         config.PoolID
	Configured bool
	Source     string // "slices", "static", "name NAME:PORT", "none"
	// Problem says why endpoints are missing; "" when nothing is wrong.
	Problem   string
	Endpoints []EndpointInfo
}

// EndpointInfo describes one endpoint.
type EndpointInfo struct {
	Addr     netip.AddrPort
	Zone     string
	Busy     int64  // exchanges in progress
	Picks    uint64 // attempts so far
	Failures uint64
	Latency  time.Duration // moving average; 0: unknown
	// Suspect is how much longer the endpoint is avoided after it refused connections; 0: it is not.
	Suspect time.Duration
}

// DescribeEndpoint returns what is known of e.
func DescribeEndpoint(e *balance.Endpoint, now time.Duration) EndpointInfo {
	i := EndpointInfo{Addr: e.Addr, Zone: e.Zone, Busy: e.Busy(), Picks: e.Picks(), Failures: e.Failures(), Latency: e.Latency()}
	if until, ok := e.SuspectUntil(now); ok {
		i.Suspect = until - now
	}
	return i
}
