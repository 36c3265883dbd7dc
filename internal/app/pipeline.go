package app

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source"
	"github.com/lintel-ingress/lintel/internal/translate"
)

// Changes are gathered until none came for quiet, or the first is patience old.
const (
	quiet    = 10 * time.Millisecond
	patience = 100 * time.Millisecond
)

// outlets is what a build is handed to, in this order (architecture, "The control side").
type outlets interface {
	// pools configures pools; nil values are gone.
	pools(map[config.PoolID]*config.Pool)
	// endpoints puts a pool's addresses in force; it must not take long.
	endpoints(config.PoolID, []config.Endpoint)
	// table publishes certificates, settings and hosts; the findings are the data plane's own.
	table(*config.Delta) map[diag.Owner][]diag.Diagnostic
	// findings replaces what the owners named have to say.
	findings(map[diag.Owner][]diag.Diagnostic)
	// served says which Ingresses are served from now on (true) and no longer (false).
	served(map[object.Key]bool)
}

// pipeline takes changes from sources, builds, and hands the results on. One goroutine, run,
// does all of it; sources only add to its inbox.
type pipeline struct {
	log      *slog.Logger
	snapshot *object.Snapshot
	make     func() *translate.Builder // called once, after every source is synced
	builder  *translate.Builder
	out      outlets
	changed  func([]object.Key) // is told what was stored, before it is built
	ready    chan struct{}      // closed after the first table is published

	mu      sync.Mutex
	inbox   []object.Change // Ingresses and all that translation reads
	fast    []object.Change // EndpointSlices
	waiting map[string]bool // sources that are not synced
	wake    chan struct{}

	// byService are the pools in force.
	byService map[service][]*config.Pool
	broken    map[object.Key]bool // manifests with findings of their source
	refusing  map[config.PoolID]bool
	zone      string // of the node lintel runs on; "" where it is not known
}

type service struct{ namespace, name string }

var _ source.Sink = (*pipeline)(nil)

func newPipeline(log *slog.Logger, snapshot *object.Snapshot, builder func() *translate.Builder, out outlets, sources []source.Source) *pipeline {
	p := &pipeline{
		log: log, snapshot: snapshot, make: builder, out: out, changed: func([]object.Key) {}, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		waiting: map[string]bool{}, byService: map[service][]*config.Pool{},
		broken: map[object.Key]bool{}, refusing: map[config.PoolID]bool{},
	}
	for _, s := range sources {
		p.waiting[s.Name()] = true
	}
	return p
}

// Apply implements source.Sink.
func (p *pipeline) Apply(batch []object.Change) {
	p.mu.Lock()
	for _, c := range batch {
		if c.Key.Kind == object.KindEndpointSlice {
			p.fast = append(p.fast, c)
		} else {
			p.inbox = append(p.inbox, c)
		}
	}
	p.mu.Unlock()
	p.poke()
}

// Synced implements source.Sink.
func (p *pipeline) Synced(name string) {
	p.mu.Lock()
	delete(p.waiting, name)
	p.mu.Unlock()
	p.log.Info("source synced", "source", name)
	p.poke()
}

func (p *pipeline) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pipeline) synced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) == 0
}

func (p *pipeline) takeFast() []object.Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.fast
	p.fast = nil
	return out
}

func (p *pipeline) takeInbox() []object.Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.inbox
	p.inbox = nil
	return out
}

func (p *pipeline) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inbox)
}

// run builds until ctx ends. Nothing is published before every source is synced.
func (p *pipeline) run(ctx context.Context) error {
	var changed []object.Key
	for !p.synced() {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		changed = append(changed, p.store(p.takeInbox())...)
		p.store(p.takeFast())
	}
	changed = append(changed, p.store(p.takeInbox())...)
	p.store(p.takeFast())
	p.builder = p.make()
	p.build(changed)
	close(p.ready)

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		p.moveEndpoints(p.takeFast())
		if p.pending() == 0 {
			continue
		}
		if !p.gather(ctx, timer) {
			return nil
		}
		p.build(p.store(p.takeInbox()))
	}
}

// gather waits until changes pause. Endpoints do not wait meanwhile.
func (p *pipeline) gather(ctx context.Context, timer *time.Timer) bool {
	deadline := time.Now().Add(patience)
	seen := p.pending()
	for {
		timer.Reset(min(quiet, time.Until(deadline)))
		select {
		case <-ctx.Done():
			return false
		case <-p.wake:
			p.moveEndpoints(p.takeFast())
		case <-timer.C:
			return true
		}
		if n := p.pending(); n == seen {
			continue // only endpoints moved
		} else {
			seen = n
		}
		if !time.Now().Before(deadline) {
			return true
		}
	}
}

// store puts changes into the snapshot and passes on what the source says of them.
func (p *pipeline) store(changes []object.Change) []object.Key {
	if len(changes) == 0 {
		return nil
	}
	findings := map[diag.Owner][]diag.Diagnostic{}
	for _, c := range changes {
		if len(c.Diags) == 0 && !p.broken[c.Key] {
			continue
		}
		owner := diag.Owner{Producer: "source", Subject: c.Key.Ref().String()}
		findings[owner] = c.Diags
		if len(c.Diags) == 0 {
			delete(p.broken, c.Key)
		} else {
			p.broken[c.Key] = true
		}
	}
	if len(findings) > 0 {
		p.out.findings(findings)
	}
	keys := p.snapshot.Apply(changes)
	p.changed(keys)
	return keys
}

// moveEndpoints is the fast lane: addresses change, no table does.
func (p *pipeline) moveEndpoints(changes []object.Change) {
	if len(changes) == 0 {
		return
	}
	services := map[service]struct{}{}
	note := func(c object.Change) {
		for _, o := range []any{c.Object, p.slice(c.Key)} {
			if s, ok := o.(*object.EndpointSlice); ok && s != nil {
				ns, name := object.SliceService(s)
				services[service{ns, name}] = struct{}{}
			}
		}
	}
	for _, c := range changes {
		note(c)
	}
	p.store(changes)
	for s := range services {
		for _, pool := range p.byService[s] {
			p.refresh(pool)
		}
	}
}

func (p *pipeline) slice(k object.Key) any {
	o, _, ok := p.snapshot.Object(k)
	if !ok {
		return nil
	}
	return o
}

func (p *pipeline) refresh(pool *config.Pool) {
	if pool.Static != nil || pool.ExternalName != "" {
		return
	}
	slices, _ := p.snapshot.Slices(pool.ID.Namespace, pool.ID.Service)
	p.out.endpoints(pool.ID, translate.EndpointsNear(pool, slices, p.zone))
	p.findingsOf(pool, slices)
}

// findingsOf reports addresses that may not be endpoints, once and until they are gone.
func (p *pipeline) findingsOf(pool *config.Pool, slices []*object.EndpointSlice) {
	ds := translate.EndpointFindings(pool, slices)
	if len(ds) == 0 && !p.refusing[pool.ID] {
		return
	}
	if len(ds) > 0 {
		p.refusing[pool.ID] = true
	} else {
		delete(p.refusing, pool.ID)
	}
	p.out.findings(map[diag.Owner][]diag.Diagnostic{{Producer: "endpoints", Subject: pool.ID.String()}: ds})
}

// build translates what changed and publishes it.
func (p *pipeline) build(changed []object.Key) {
	start := time.Now()
	r := p.builder.Build(changed)
	if r.Empty() {
		return
	}
	added, removed := p.sortPools(r.Delta.Pools)
	// Pools first, so that no published route leads nowhere; removals last.
	p.out.pools(added)
	for _, pool := range added {
		p.refresh(pool)
	}
	for owner, ds := range p.out.table(&r.Delta) {
		if r.Diags == nil {
			r.Diags = map[diag.Owner][]diag.Diagnostic{}
		}
		r.Diags[owner] = ds
	}
	p.out.pools(removed)
	p.out.findings(r.Diags)
	p.out.served(r.Served)
	p.log.Debug("table published", "generation", r.Delta.Generation, "changed", len(changed), "hosts", len(r.Delta.Hosts),
		"pools", len(r.Delta.Pools), "took", time.Since(start).Round(time.Microsecond))
}

// sortPools keeps the index of pools and tells new ones from those that go.
func (p *pipeline) sortPools(delta map[config.PoolID]*config.Pool) (added, removed map[config.PoolID]*config.Pool) {
	added, removed = map[config.PoolID]*config.Pool{}, map[config.PoolID]*config.Pool{}
	for id, pool := range delta {
		s := service{id.Namespace, id.Service}
		list := slices.DeleteFunc(p.byService[s], func(old *config.Pool) bool { return old.ID == id })
		if pool == nil {
			removed[id] = nil
			if p.refusing[id] {
				p.findingsOf(&config.Pool{ID: id}, nil)
			}
			if len(list) == 0 {
				delete(p.byService, s)
			} else {
				p.byService[s] = list
			}
			continue
		}
		added[id] = pool
		p.byService[s] = append(list, pool)
	}
	return added, removed
}
