package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// Resolver looks up DNS names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what a Registry takes from the world. The zero value works.
type Options struct {
	Resolver Resolver // nil: net.DefaultResolver
	// Refuse adds addresses that no pool may use, such as the process's own; nil adds none.
	Refuse func(netip.Addr) bool
	// Transports have their idle connections to endpoints that vanished closed.
	Transports []Transport
	// Report is called when what is wrong with a pool changes; problem is "" when nothing is any
	// more. It must not call the registry.
	Report func(id config.PoolID, problem string)
	Log    *slog.Logger
	Now    balance.Clock
}

// Registry holds the pools by identity. All methods are safe for concurrent use.
type Registry struct {
	o    Options
	wake chan struct{}

	mu    sync.Mutex
	pools map[config.PoolID]*entry
	loose map[config.PoolID]struct{} // entries without configuration
	live  map[netip.AddrPort]int     // pools by endpoint
	names map[string]*name           // ExternalName hosts
	gone  bool                       // addresses vanished since idle connections were looked at
	said  []report                   // to be told once the lock is free
}

type report struct {
	id      config.PoolID
	problem string
}

// entry keeps a configured pool alive. Others live as long as a route holds them.
type entry struct {
	strong *Pool
	weak   weak.Pointer[Pool]
}

// NewRegistry returns a registry without pools. DNS names are looked up, and idle connections closed,
// only while Run runs.
func NewRegistry(o Options) *Registry {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = balance.Monotonic
	}
	return &Registry{
		o: o, wake: make(chan struct{}, 1),
		pools: map[config.PoolID]*entry{}, loose: map[config.PoolID]struct{}{},
		live: map[netip.AddrPort]int{}, names: map[string]*name{},
	}
}

// Pool returns the pool called id. Before it is configured it exists and is empty.
func (r *Registry) Pool(id config.PoolID) *Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.get(id)
}

func (r *Registry) get(id config.PoolID) *Pool {
	e := r.pools[id]
	if e == nil {
		e = new(entry)
		r.pools[id] = e
		r.loose[id] = struct{}{}
	}
	if e.strong != nil {
		return e.strong
	}
	if p := e.weak.Value(); p != nil {
		return p
	}
	p := &Pool{id: id}
	e.weak = weak.Make(p)
	return p
}

// Apply takes the pools a delta changed; nil means gone. A pool that is gone has no endpoints for new
// exchanges; those in progress finish. Endpoints of Pods pools come by Update, after Apply.
func (r *Registry) Apply(pools map[config.PoolID]*config.Pool) {
	r.mu.Lock()
	for id, c := range pools {
		if c == nil {
			r.remove(id)
		} else {
			r.configure(id, c)
		}
	}
	for id := range r.loose {
		if r.pools[id].weak.Value() == nil {
			delete(r.pools, id)
			delete(r.loose, id)
		}
	}
	r.unlock()
}

// Update replaces the endpoints of a pool that takes them from slices; those that stay keep
// health, latency and counters. It reports whether there is such a pool: endpoints of
// a pool that is not configured are not kept.
func (r *Registry) Update(id config.PoolID, eps []config.Endpoint) bool {
	r.mu.Lock()
	e := r.pools[id]
	ok := e != nil && e.strong != nil && kindOf(e.strong.recipe) == kindSlices
	if ok {
		r.replace(e.strong, eps, "")
	}
	r.unlock()
	return ok
}

// unlock releases mu, then does what must not happen under it.
func (r *Registry) unlock() {
	said := r.said
	r.said = nil
	wake := r.gone
	r.mu.Unlock()
	if wake {
		r.poke()
	}
	if r.o.Report != nil {
		for _, s := range said {
			r.o.Report(s.id, s.problem)
		}
	}
}

func (r *Registry) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Registry) configure(id config.PoolID, c *config.Pool) {
	p := r.get(id)
	r.pools[id].strong = p
	delete(r.loose, id)
	old := p.recipe
	p.recipe = c
	p.own.Store(c.Local)
	was, is := kindOf(old), kindOf(c)
	if was == kindName && (is != kindName || old.ExternalName != c.ExternalName) {
		r.unlink(p, old.ExternalName)
	}
	switch is {
	case kindNone:
		r.replace(p, nil, "")
	case kindStatic:
		r.replace(p, c.Static, "")
	case kindName:
		r.link(p, c)
	case kindSlices:
		if was != kindSlices {
			r.replace(p, nil, "")
		} else if old.Local != c.Local {
			// What may be used has changed: look at the endpoints again.
			r.replace(p, current(p.set.Load()), "")
		}
	}
}

func (r *Registry) remove(id config.PoolID) {
	e := r.pools[id]
	if e == nil || e.strong == nil {
		return
	}
	p := e.strong
	if kindOf(p.recipe) == kindName {
		r.unlink(p, p.recipe.ExternalName)
	}
	p.recipe = nil
	r.replace(p, nil, "")
	e.strong, e.weak = nil, weak.Make(p)
	r.loose[id] = struct{}{}
}

func current(s *balance.Set) []config.Endpoint {
	out := make([]config.Endpoint, s.Len())
	for i := range out {
		out[i] = config.Endpoint{Addr: s.At(i).Addr, Zone: s.At(i).Zone}
	}
	return out
}

// replace publishes eps as p's endpoints. Both lists are walked in order once, so that
// a thousand endpoints cost well under a millisecond.
func (r *Registry) replace(p *Pool, eps []config.Endpoint, problem string) {
	want := make([]config.Endpoint, 0, len(eps))
	var refused []string
	local := p.recipe != nil && p.recipe.Local
	for _, e := range eps {
		a := e.Addr.Addr().Unmap().WithZone("")
		if Refused(a, local) || r.o.Refuse != nil && r.o.Refuse(a) {
			refused = append(refused, e.Addr.String())
			continue
		}
		want = append(want, config.Endpoint{Addr: netip.AddrPortFrom(a, e.Addr.Port()), Zone: e.Zone})
	}
	slices.SortFunc(want, func(a, b config.Endpoint) int { return a.Addr.Compare(b.Addr) })
	want = slices.CompactFunc(want, func(a, b config.Endpoint) bool { return a.Addr == b.Addr })
	if len(refused) > 0 {
		problem = "refused to use " + strings.Join(refused[:min(len(refused), 5)], ", ") +
			": loopback, link-local and lintel's own addresses are not allowed"
	}
	r.complain(p, problem)

	old := p.set.Load()
	list := make([]*balance.Endpoint, 0, len(want))
	same := old.Len() == len(want)
	i := 0
	for _, w := range want {
		for i < old.Len() && old.At(i).Addr.Compare(w.Addr) < 0 {
			r.drop(old.At(i).Addr)
			i++
		}
		if i < old.Len() && old.At(i).Addr == w.Addr {
			e := old.At(i)
			if e.Zone != w.Zone {
				e, same = e.InZone(w.Zone), false
			}
			list = append(list, e)
			i++
			continue
		}
		same = false
		r.live[w.Addr]++
		list = append(list, balance.NewEndpoint(w.Addr, w.Zone))
	}
	for ; i < old.Len(); i++ {
		r.drop(old.At(i).Addr)
		same = false
	}
	if same {
		return
	}
	if len(list) == 0 {
		p.set.Store(nil)
		return
	}
	p.set.Store(balance.NewSet(list, r.o.Now()))
}

func (r *Registry) drop(addr netip.AddrPort) {
	if r.live[addr]--; r.live[addr] <= 0 {
		delete(r.live, addr)
		r.gone = true
	}
}

func (r *Registry) complain(p *Pool, problem string) {
	if p.problem != problem {
		p.problem = problem
		r.said = append(r.said, report{p.id, problem})
	}
}

// Run looks up DNS names and closes idle connections to endpoints that vanished, until ctx
// ends. Call it once.
func (r *Registry) Run(ctx context.Context) error {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	slots := make(chan struct{}, maxLookups)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, next := r.due()
		for _, n := range due {
			lookups.Go(func() {
				select {
				case slots <- struct{}{}:
					r.resolve(ctx, n)
					<-slots
				case <-ctx.Done():
				}
			})
		}
		r.closeIdle()
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
	}
}

func (r *Registry) closeIdle() {
	r.mu.Lock()
	gone := r.gone
	r.gone = false
	r.mu.Unlock()
	if !gone {
		return
	}
	for _, t := range r.o.Transports {
		t.CloseIdle(func(e config.Endpoint) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.live[e.Addr] > 0
		})
	}
}

// Describe returns what is known of the pool called id; ok is false when nobody named it.
func (r *Registry) Describe(id config.PoolID) (info PoolInfo, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.pools[id]
	if e == nil {
		return PoolInfo{ID: id}, false
	}
	p := e.strong
	if p == nil {
		if p = e.weak.Value(); p == nil {
			return PoolInfo{ID: id}, false
		}
	}
	return r.describe(p), true
}

// All describes every configured pool, in the order of their identities.
func (r *Registry) All() []PoolInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]PoolInfo, 0, len(r.pools))
	for _, e := range r.pools {
		if e.strong != nil {
			out = append(out, r.describe(e.strong))
		}
	}
	slices.SortFunc(out, func(a, b PoolInfo) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return out
}

func (r *Registry) describe(p *Pool) PoolInfo {
	info := PoolInfo{ID: p.id, Configured: p.recipe != nil, Problem: p.problem, Source: "none"}
	switch kindOf(p.recipe) {
	case kindSlices:
		info.Source = "slices"
	case kindStatic:
		info.Source = "static"
	case kindName:
		info.Source = "name " + net.JoinHostPort(p.recipe.ExternalName, strconv.Itoa(int(p.recipe.ExternalPort)))
	case kindNone:
		if info.Configured && info.Problem == "" {
			info.Problem = "the Service or its port does not exist"
		}
	}
	s := p.set.Load()
	now := r.o.Now()
	for i := range s.Len() {
		info.Endpoints = append(info.Endpoints, DescribeEndpoint(s.At(i), now))
	}
	return info
}

// String describes the registry for logs.
func (r *Registry) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d pools, %d endpoints, %d names", len(r.pools)-len(r.loose), len(r.live), len(r.names))
}
