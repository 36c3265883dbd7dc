package diag

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// The bounds of a Ledger: a cluster full of mistakes must not fill the memory.
const (
	maxPerOwner  = 256
	maxTotal     = 100_000
	maxTextBytes = 2048
)

// Owner is who reported findings: a producer ("source", "translate", "host",
// "dataplane") and what it was looking at (an object's Ref.String, a host's name). Findings of
// one owner are replaced together.
type Owner struct {
	Producer, Subject string
}

// Ledger holds the current findings. A finding reported by several owners is
// there once and goes when the last of them drops it. The zero value works. Safe for
// concurrent use.
type Ledger struct {
	mu      sync.Mutex
	owners  map[Owner][]identity
	found   map[identity]*held
	objects map[Ref]map[identity]struct{}
	counts  map[Count]int
	dropped uint64

	// deliver orders what subscribers see as the changes were made.
	deliver sync.Mutex
	subs    map[int]func(appeared, gone []Diagnostic)
	nextSub int
}

type held struct {
	d      Diagnostic
	owners int
}

// identity is a Diagnostic as a map key.
type identity struct {
	code                               Code
	severity                           Severity
	object                             Ref
	field, value, message, hint, extra string
	pos                                Pos
	effect                             Effect
}

// Count is what findings are counted by.
type Count struct {
	Code      Code
	Severity  Severity
	Namespace string
}

// Set makes ds all that o has to report. An empty ds drops what o had reported.
// Subscribers have been told when Set returns; they must not call Set themselves.
func (l *Ledger) Set(o Owner, ds []Diagnostic) { l.SetAll(map[Owner][]Diagnostic{o: ds}) }

// SetAll is Set for several owners at once: a finding that moves from one of
// them to another neither appears nor goes.
func (l *Ledger) SetAll(all map[Owner][]Diagnostic) {
	l.deliver.Lock()
	defer l.deliver.Unlock()
	appeared, gone := l.replace(all)
	if len(appeared) == 0 && len(gone) == 0 {
		return
	}
	Sort(appeared)
	Sort(gone)
	for _, f := range l.subs {
		f(appeared, gone)
	}
}

func (l *Ledger) replace(all map[Owner][]Diagnostic) (appeared, gone []Diagnostic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil {
		l.owners = map[Owner][]identity{}
		l.found = map[identity]*held{}
		l.objects = map[Ref]map[identity]struct{}{}
		l.counts = map[Count]int{}
	}
	fresh := map[identity]bool{}
	var old []identity
	for o, ds := range all {
		old = append(old, l.owners[o]...)
		delete(l.owners, o)
		if len(ds) > maxPerOwner {
			l.dropped += uint64(len(ds) - maxPerOwner)
			ds = ds[:maxPerOwner]
		}
		ids := make([]identity, 0, len(ds))
		for _, d := range ds {
			d = clip(d)
			id := identify(d)
			if slices.Contains(ids, id) {
				continue
			}
			h := l.found[id]
			if h == nil {
				if len(l.found) >= maxTotal {
					l.dropped++
					continue
				}
				h = &held{d: d}
				l.found[id] = h
				l.index(id)
				fresh[id] = true
			}
			h.owners++
			ids = append(ids, id)
		}
		if len(ids) > 0 {
			l.owners[o] = ids
		}
	}
	for _, id := range old {
		h := l.found[id]
		if h.owners--; h.owners > 0 {
			continue
		}
		delete(l.found, id)
		l.unindex(id)
		gone = append(gone, h.d)
	}
	for id := range fresh {
		appeared = append(appeared, l.found[id].d)
	}
	return appeared, gone
}

func (l *Ledger) index(id identity) {
	set := l.objects[id.object]
	if set == nil {
		set = map[identity]struct{}{}
		l.objects[id.object] = set
	}
	set[id] = struct{}{}
	l.counts[Count{id.code, id.severity, id.object.Namespace}]++
}

func (l *Ledger) unindex(id identity) {
	delete(l.objects[id.object], id)
	if len(l.objects[id.object]) == 0 {
		delete(l.objects, id.object)
	}
	c := Count{id.code, id.severity, id.object.Namespace}
	if l.counts[c]--; l.counts[c] == 0 {
		delete(l.counts, c)
	}
}

// Subscribe has f called with every change from now on, one call at a time, and once
// before Subscribe returns with all that stands, as appeared. f must return soon and must
// not change the slices or call the Ledger's Set. cancel ends it; no call runs after it returned.
func (l *Ledger) Subscribe(f func(appeared, gone []Diagnostic)) (cancel func()) {
	l.deliver.Lock()
	defer l.deliver.Unlock()
	if all := l.All(); len(all) > 0 {
		f(all, nil)
	}
	if l.subs == nil {
		l.subs = map[int]func(appeared, gone []Diagnostic){}
	}
	n := l.nextSub
	l.nextSub++
	l.subs[n] = f
	return func() {
		l.deliver.Lock()
		defer l.deliver.Unlock()
		delete(l.subs, n)
	}
}

// All returns the current findings, sorted as Sort does. The slice is the caller's.
func (l *Ledger) All() []Diagnostic {
	l.mu.Lock()
	out := make([]Diagnostic, 0, len(l.found))
	for _, h := range l.found {
		out = append(out, h.d)
	}
	l.mu.Unlock()
	Sort(out)
	return out
}

// Of returns the current findings about one object, sorted as Sort does.
func (l *Ledger) Of(r Ref) []Diagnostic {
	l.mu.Lock()
	out := make([]Diagnostic, 0, len(l.objects[r]))
	for id := range l.objects[r] {
		out = append(out, l.found[id].d)
	}
	l.mu.Unlock()
	Sort(out)
	return out
}

// Counts returns how many findings stand by code, severity and namespace.
func (l *Ledger) Counts() map[Count]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[Count]int, len(l.counts))
	for c, n := range l.counts {
		out[c] = n
	}
	return out
}

// Dropped returns how many findings were refused since start because there were too many.
func (l *Ledger) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Sort orders findings by file, line and column, then by object, field and code:
// the order every outlet shows.
func Sort(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
			cmp.Compare(a.Object.Namespace, b.Object.Namespace),
			cmp.Compare(a.Object.Kind, b.Object.Kind),
			cmp.Compare(a.Object.Name, b.Object.Name),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Message, b.Message),
		)
	})
}

// Worst returns the highest severity among ds; ok is false when there is none.
func Worst(ds []Diagnostic) (s Severity, ok bool) {
	for _, d := range ds {
		s = max(s, d.Severity)
	}
	return s, len(ds) > 0
}

func identify(d Diagnostic) identity {
	var related strings.Builder
	for _, r := range d.Related {
		related.WriteString(r.String())
		related.WriteByte(0)
	}
	return identity{d.Code, d.Severity, d.Object, d.Field, d.Value, d.Message, d.Hint, related.String(), d.Pos, d.Effect}
}

// clip bounds the texts of d, which may be whole annotation values.
func clip(d Diagnostic) Diagnostic {
	d.Value = Clip(d.Value, maxTextBytes)
	d.Message = Clip(d.Message, maxTextBytes)
	d.Hint = Clip(d.Hint, maxTextBytes)
	d.Field = Clip(d.Field, maxTextBytes)
	return d
}

// Clip cuts s to at most n bytes, at a character's border, and says so by an ellipsis.
func Clip(s string, n int) string {
	const more = "…"
	if len(s) <= n {
		return s
	}
	n = max(n-len(more), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}
