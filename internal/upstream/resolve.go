package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

const (
	// maxLookups is how many names are looked up at once.
	maxLookups = 8
	// lookupTimeout bounds one lookup.
	lookupTimeout = 5 * time.Second
	// maxAddresses bounds what one name may bring.
	maxAddresses = 256
	// usedEvery and idleEvery are how often a name is looked up while exchanges use it and otherwise.
	// compat: the reference checks each second (reference/routing.md 6.3); the resolver's
	// answers carry no TTL, so a name in use is asked again as often.
	usedEvery = time.Second
	idleEvery = time.Minute
	// keepStale is how long the last good answer stays while lookups fail, notFound
	// how often in a row a name must be denied before it is believed.
	keepStale = 5 * time.Minute
	notFound  = 3
)

// name is one DNS name and the pools that take their addresses from it.
type name struct {
	host  string
	used  atomic.Bool   // an exchange asked since the last lookup
	first chan struct{} // closed after the first lookup
	poke  func()

	// Guarded by Registry.mu.
	pools  map[*Pool]struct{}
	addrs  []netip.Addr
	busy   bool          // a lookup runs
	tried  bool          // a lookup has ended
	last   time.Duration // when the last lookup ended
	good   time.Duration // when one last succeeded
	misses int
	err    string
}

// link makes p take its addresses from c.ExternalName.
func (r *Registry) link(p *Pool, c *config.Pool) {
	n := r.names[c.ExternalName]
	if n == nil {
		n = &name{host: c.ExternalName, first: make(chan struct{}), poke: r.poke, pools: map[*Pool]struct{}{}}
		r.names[c.ExternalName] = n
	}
	n.pools[p] = struct{}{}
	p.dns.Store(n)
	r.fill(p, n)
	r.poke()
}

func (r *Registry) unlink(p *Pool, host string) {
	p.dns.Store(nil)
	if n := r.names[host]; n != nil {
		delete(n.pools, p)
		if len(n.pools) == 0 {
			delete(r.names, host)
		}
	}
}

// fill gives p the addresses of n.
func (r *Registry) fill(p *Pool, n *name) {
	eps := make([]config.Endpoint, len(n.addrs))
	for i, a := range n.addrs {
		eps[i].Addr = netip.AddrPortFrom(a, p.recipe.ExternalPort)
	}
	r.replace(p, eps, n.err)
}

// due returns the names to look up now, which count as being looked up, and how long
// nothing else is due.
func (r *Registry) due() (due []*name, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, next := r.o.Now(), time.Hour
	for _, n := range r.names {
		if n.busy {
			continue
		}
		every := idleEvery
		if n.used.Load() {
			every = usedEvery
		}
		if wait := n.last + every - now; n.tried && wait > 0 {
			next = min(next, wait)
			continue
		}
		n.busy = true
		n.used.Store(false)
		due = append(due, n)
	}
	return due, next
}

// resolve looks n up and gives its pools what was found.
func (r *Registry) resolve(ctx context.Context, n *name) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := r.o.Resolver.LookupNetIP(ctx, "ip", n.host)
	r.mu.Lock()
	now := r.o.Now()
	n.busy, n.last = false, now
	if err == nil && len(addrs) == 0 {
		err = errors.New("no addresses")
	}
	if err == nil {
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		slices.SortFunc(addrs, netip.Addr.Compare)
		addrs = slices.Compact(addrs)
		n.addrs, n.good, n.misses, n.err = addrs[:min(len(addrs), maxAddresses)], now, 0, ""
	} else {
		n.misses++
		var d *net.DNSError
		denied := errors.As(err, &d) && d.IsNotFound && n.misses >= notFound
		if denied || len(n.addrs) == 0 || now-n.good > keepStale {
			n.addrs = nil
			n.err = fmt.Sprintf("looking up %s: %v", n.host, err)
		}
	}
	for p := range n.pools {
		r.fill(p, n)
	}
	if !n.tried {
		n.tried = true
		close(n.first)
	}
	r.unlock()
	r.poke()
}
