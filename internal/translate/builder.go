package translate

import (
	"maps"
	"slices"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// Builder keeps the configuration of a snapshot up to date. Build is told which keys changed and
// answers with what that changed in the configuration; the work is proportional to the change.
//
// Used by one goroutine, and only while nobody applies changes to the snapshot.
type Builder struct {
	o    Options
	snap *object.Snapshot
	t    *translator
	r    *object.Reader

	readers   readers
	ingresses map[object.Key]*ingressEntry
	hosts     map[string]*hostEntry
	names     map[string]*name
	pools     map[config.PoolID]*poolEntry
	certs     map[config.CertID]*certEntry
	global    *globalEntry
	base      *baseEntry

	generation uint64
	started    bool

	dirtyIngresses map[object.Key]bool
	dirtyHosts     map[string]bool
	dirtyNames     map[string]bool
	dirtyPools     map[config.PoolID]bool
	dirtyCerts     map[config.CertID]bool
	dirtyGlobal    bool
	dirtyBase      bool
}

type ingressEntry struct {
	key object.Key
	deps
	fragment *Fragment
}

type hostEntry struct {
	name string
	deps
	members []*ingressEntry
	merged  *Merged
}

type poolEntry struct {
	id config.PoolID
	deps
	uses  int
	pool  *config.Pool
	diags []diag.Diagnostic
}

type certEntry struct {
	id config.CertID
	deps
	uses int
	cert *config.Cert
}

type baseEntry struct {
	deps
	fragment *Fragment
}

func (e *ingressEntry) dirty(b *Builder) { b.dirtyIngresses[e.key] = true }
func (e *hostEntry) dirty(b *Builder)    { b.dirtyHosts[e.name] = true }
func (e *poolEntry) dirty(b *Builder)    { b.dirtyPools[e.id] = true }
func (e *certEntry) dirty(b *Builder)    { b.dirtyCerts[e.id] = true }
func (e *globalEntry) dirty(b *Builder)  { b.dirtyGlobal = true }
func (e *baseEntry) dirty(b *Builder)    { b.dirtyBase = true }

// member is the fragment of an Ingress on the host, nil when there is none.
func (h *hostEntry) member(ref diag.Ref) *Fragment {
	for _, e := range h.members {
		if e.key.Namespace == ref.Namespace && e.key.Name == ref.Name {
			return e.fragment
		}
	}
	return nil
}

// NewBuilder returns a builder of s that has built nothing: its first Build takes in every object,
// whatever keys it is given.
func NewBuilder(s *object.Snapshot, o Options) *Builder {
	b := &Builder{
		o: o, snap: s, r: object.NewReader(s),
		readers:        readers{byKey: map[object.Key]*set{}, parts: map[string]*partSet{}},
		ingresses:      map[object.Key]*ingressEntry{},
		hosts:          map[string]*hostEntry{},
		names:          map[string]*name{},
		pools:          map[config.PoolID]*poolEntry{},
		certs:          map[config.CertID]*certEntry{},
		global:         &globalEntry{},
		base:           &baseEntry{},
		dirtyIngresses: map[object.Key]bool{},
		dirtyHosts:     map[string]bool{},
		dirtyNames:     map[string]bool{},
		dirtyPools:     map[config.PoolID]bool{},
		dirtyCerts:     map[config.CertID]bool{},
	}
	b.t = newTranslator(&b.o)
	if b.t.cm.Name != "" {
		s.Pin(b.t.cm)
	}
	return b
}

// Build brings the configuration up to date with the snapshot, of which changed says what is
// different since the last Build (object.Snapshot.Apply). The generation of the delta grows by one
// where the delta has anything in it.
func (b *Builder) Build(changed []object.Key) *Result {
	out := &Result{
		Delta: config.Delta{Hosts: map[string]*config.Host{}, Pools: map[config.PoolID]*config.Pool{}, Certs: map[config.CertID]*config.Cert{}},
		Diags: map[diag.Owner][]diag.Diagnostic{}, Served: map[object.Key]bool{},
	}
	if !b.started {
		b.started = true
		changed = b.snap.Keys(object.KindIngress)
		b.dirtyGlobal, b.dirtyBase = true, true
		b.dirtyHosts[config.CatchAll] = true
	}
	for _, k := range changed {
		if k.Kind == object.KindIngress {
			b.dirtyIngresses[object.Key{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}] = true
		}
		b.readers.of(k, func(d dependent) { d.dirty(b) })
	}
	b.buildGlobal(out)
	b.buildBase()
	for _, k := range slices.SortedFunc(maps.Keys(b.dirtyIngresses), object.Compare) {
		delete(b.dirtyIngresses, k)
		b.buildIngress(k, out)
	}
	for _, h := range slices.Sorted(maps.Keys(b.dirtyHosts)) {
		delete(b.dirtyHosts, h)
		b.buildHost(h, out)
	}
	b.settle(out)
	b.buildPools(out)
	b.buildCerts(out)
	if d := &out.Delta; len(d.Hosts)+len(d.Pools)+len(d.Certs) > 0 || d.Global != nil {
		b.generation++
	}
	out.Delta.Generation = b.generation
	return out
}

// Generation is that of the last delta.
func (b *Builder) Generation() uint64 { return b.generation }

// Fragment returns what an Ingress contributes now, nil when there is no such Ingress.
func (b *Builder) Fragment(k object.Key) *Fragment {
	if e := b.ingresses[k]; e != nil {
		return e.fragment
	}
	return nil
}

// Counts are the numbers of Ingresses of ours, of those of them that are held at an earlier
// revision, and of host names, for metrics.
func (b *Builder) Counts() (ingresses, held, hosts int) {
	for _, e := range b.ingresses {
		if e.fragment.Adopted {
			ingresses++
		}
		if e.fragment.Held {
			held++
		}
	}
	return ingresses, held, len(b.names)
}

// Table is the whole configuration as one delta: what every Build so far comes to.
func (b *Builder) Table() *config.Delta {
	d := &config.Delta{Generation: b.generation, Hosts: map[string]*config.Host{}, Pools: map[config.PoolID]*config.Pool{},
		Certs: map[config.CertID]*config.Cert{}, Global: b.global.now}
	for text, n := range b.names {
		if n.now != nil {
			d.Hosts[text] = n.now
		}
	}
	for id, p := range b.pools {
		d.Pools[id] = p.pool
	}
	for id, c := range b.certs {
		d.Certs[id] = c.cert
	}
	return d
}

func (b *Builder) begin() {
	b.r.Reset()
	b.t.begin(b.r)
}

func (b *Builder) buildBase() {
	if !b.dirtyBase {
		return
	}
	b.dirtyBase = false
	b.begin()
	f := b.t.base()
	b.readers.record(b.base, &b.base.deps, b.r)
	old := b.base.fragment
	if old.same(f) {
		return
	}
	b.base.fragment = f
	b.use(old, f)
	b.dirtyHosts[config.CatchAll] = true
}

func (b *Builder) buildIngress(k object.Key, out *Result) {
	e := b.ingresses[k]
	if e == nil {
		e = &ingressEntry{key: k}
	}
	b.begin()
	f := b.t.current(k, b.snap)
	old := e.fragment
	owner := diag.Owner{Producer: "translate", Subject: k.Ref().String()}
	if f == nil {
		if old == nil {
			return
		}
		b.readers.forget(e, &e.deps)
		delete(b.ingresses, k)
	} else {
		b.readers.record(e, &e.deps, b.r)
		b.ingresses[k] = e
		if f.accept {
			b.snap.Accept(k, f.revision, f.origin)
		}
	}
	e.fragment = f
	var was, now []diag.Diagnostic
	if old != nil {
		was = old.Diags
	}
	if f != nil {
		now = f.Diags
	}
	if !sameDiagnostics(was, now) {
		out.Diags[owner] = now
	}
	if served := f != nil && f.Served; served != (old != nil && old.Served) {
		out.Served[k] = served
	}
	if old.same(f) {
		if f != nil {
			f.Hosts = old.Hosts // so that hosts made of them compare by identity
			b.placesMoved(e, old, f)
		}
		return
	}
	b.use(old, f)
	b.move(e, old, f)
}

// placesMoved merges the hosts of a fragment again whose manifest was only moved about: findings
// of hosts name lines.
func (b *Builder) placesMoved(e *ingressEntry, old, f *Fragment) {
	if f.origin.Fields.Len() == 0 && old.origin.Pos == f.origin.Pos {
		return
	}
	for i := range f.Hosts {
		b.dirtyHosts[f.Hosts[i].Name] = true
	}
}

// move puts an Ingress into the hosts it has parts of and takes it out of others.
func (b *Builder) move(e *ingressEntry, old, f *Fragment) {
	if f != nil {
		for i := range f.Hosts {
			name := f.Hosts[i].Name
			h := b.hosts[name]
			if h == nil {
				h = &hostEntry{name: name}
				b.hosts[name] = h
			}
			if old == nil || old.part(name) == nil {
				h.members = append(h.members, e)
			}
			b.dirtyHosts[name] = true
		}
	}
	if old != nil {
		for i := range old.Hosts {
			name := old.Hosts[i].Name
			if f != nil && f.part(name) != nil {
				continue
			}
			if h := b.hosts[name]; h != nil {
				h.members = slices.DeleteFunc(h.members, func(m *ingressEntry) bool { return m == e })
			}
			b.dirtyHosts[name] = true
		}
	}
}

func (b *Builder) buildHost(name string, out *Result) {
	h := b.hosts[name]
	if h == nil {
		if name != config.CatchAll {
			return
		}
		h = &hostEntry{name: name}
		b.hosts[name] = h
	}
	old := h.merged
	owner := diag.Owner{Producer: "host", Subject: name}
	if len(h.members) == 0 && name != config.CatchAll {
		b.readers.forget(h, &h.deps)
		delete(b.hosts, name)
		h.merged = nil
		if old != nil {
			if len(old.Diags) > 0 {
				out.Diags[owner] = nil
			}
			b.useMerged(old, nil)
			b.claimNames(h, old, nil)
			b.nameOf(name).merged = nil
		}
		return
	}
	from := make([]*Fragment, 0, len(h.members))
	for _, e := range h.members {
		from = append(from, e.fragment)
	}
	b.begin()
	m := b.t.mergeHost(name, from, b.base.fragment)
	b.readers.record(h, &h.deps, b.r)
	h.merged = m
	var was []diag.Diagnostic
	if old != nil {
		was = old.Diags
	}
	if !sameDiagnostics(was, m.Diags) {
		out.Diags[owner] = m.Diags
	}
	if old.same(m) {
		// Findings of names say where an alias is written.
		b.claimNames(h, old, m)
		return
	}
	b.useMerged(old, m)
	b.claimNames(h, old, m)
}

// use counts what fragments need.
func (b *Builder) use(old, f *Fragment) {
	if f != nil {
		b.count(f.Pools, f.Certs, 1)
	}
	if old != nil {
		b.count(old.Pools, old.Certs, -1)
	}
}

func (b *Builder) useMerged(old, m *Merged) {
	if m != nil {
		b.count(m.Pools, m.Certs, 1)
	}
	if old != nil {
		b.count(old.Pools, old.Certs, -1)
	}
}

func (b *Builder) count(pools []config.PoolID, certs []config.CertID, n int) {
	for _, id := range pools {
		p := b.pools[id]
		if p == nil {
			p = &poolEntry{id: id}
			b.pools[id] = p
		}
		p.uses += n
		if p.uses == 0 || p.pool == nil {
			b.dirtyPools[id] = true
		}
	}
	for _, id := range certs {
		c := b.certs[id]
		if c == nil {
			c = &certEntry{id: id}
			b.certs[id] = c
		}
		c.uses += n
		if c.uses == 0 || c.cert == nil {
			b.dirtyCerts[id] = true
		}
	}
}

func (b *Builder) buildPools(out *Result) {
	for id := range b.dirtyPools {
		delete(b.dirtyPools, id)
		p := b.pools[id]
		if p == nil {
			continue
		}
		owner := diag.Owner{Producer: "pool", Subject: id.String()}
		if p.uses == 0 {
			b.readers.forget(p, &p.deps)
			delete(b.pools, id)
			if p.pool != nil {
				out.Delta.Pools[id] = nil
			}
			if len(p.diags) > 0 {
				out.Diags[owner] = nil
			}
			continue
		}
		b.begin()
		pool, diags := poolOf(id, b.r, &b.o)
		b.readers.record(p, &p.deps, b.r)
		if !samePoolRecipe(p.pool, pool) {
			p.pool = pool
			out.Delta.Pools[id] = pool
		}
		if !sameDiagnostics(p.diags, diags) {
			p.diags = diags
			out.Diags[owner] = diags
		}
	}
}

func samePoolRecipe(a, b *config.Pool) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Static, y.Static = nil, nil
	return slices.Equal(a.Static, b.Static) && x.ID == y.ID && x.Missing == y.Missing && x.PortName == y.PortName &&
		x.TargetPort == y.TargetPort && x.ExternalName == y.ExternalName && x.ExternalPort == y.ExternalPort &&
		x.Local == y.Local && x.Topology == y.Topology
}

func sameDiagnostics(a, b []diag.Diagnostic) bool {
	return slices.EqualFunc(a, b, func(x, y diag.Diagnostic) bool { return sameDiagnostic(&x, &y) })
}
