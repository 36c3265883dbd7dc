package kube

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source"
)

// pump gathers changes of all kinds and hands them on in batches. Several changes of
// one object that come while a batch is being applied become one.
type pump struct {
	to     source.Sink
	name   string
	synced chan struct{} // closed once the sink knows

	mu      sync.Mutex
	pending map[object.Key]object.Change
	waiting int // stores that have not delivered their first list
	wake    chan struct{}
}

func newPump(to source.Sink, name string, stores int) *pump {
	return &pump{
		to: to, name: name, pending: map[object.Key]object.Change{}, waiting: stores,
		wake: make(chan struct{}, 1), synced: make(chan struct{}),
	}
}

func (p *pump) put(changes []object.Change, first bool) {
	p.mu.Lock()
	for _, c := range changes {
		p.pending[c.Key] = c
	}
	if first {
		p.waiting--
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run hands batches on until stop is closed.
func (p *pump) run(stop <-chan struct{}) {
	told := false
	for {
		select {
		case <-stop:
			return
		case <-p.wake:
		}
		p.mu.Lock()
		batch := make([]object.Change, 0, len(p.pending))
		for k, c := range p.pending {
			batch = append(batch, c)
			delete(p.pending, k)
		}
		complete := p.waiting == 0
		p.mu.Unlock()
		if len(batch) > 0 {
			p.to.Apply(batch)
		}
		if complete && !told {
			told = true
			p.to.Synced(p.name)
			close(p.synced)
		}
	}
}

// store is where a reflector puts the objects of one list. It keeps only their keys
// and versions: the objects themselves live in the snapshot.
type store struct {
	kind object.Kind
	to   *pump

	mu    sync.Mutex
	known map[object.Key]string // resource versions
	first bool                  // the first list has been delivered
}

var _ cache.TransformingStore = (*store)(nil)

func newStore(kind object.Kind, to *pump) *store {
	return &store{kind: kind, to: to, known: map[object.Key]string{}}
}

// Transformer trims objects before the reflector gathers them.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if r, ok := o.(runtime.Object); ok {
			trim(r)
		}
		return o, nil
	}
}

func (s *store) change(o any) (object.Change, error) {
	if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = d.Obj
	}
	m, ok := o.(metav1.Object)
	if !ok {
		return object.Change{}, fmt.Errorf("kube: %T is not an object", o)
	}
	if r, ok := o.(runtime.Object); ok {
		trim(r)
	}
	return object.Change{Key: object.Key{Kind: s.kind, Namespace: m.GetNamespace(), Name: m.GetName()}, Object: m}, nil
}

// Add puts one object that appeared.
func (s *store) Add(o any) error { return s.Update(o) }

// Update puts one object that changed.
func (s *store) Update(o any) error {
	c, err := s.change(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.known[c.Key] = c.Object.GetResourceVersion()
	s.mu.Unlock()
	s.to.put([]object.Change{c}, false)
	return nil
}

// Delete takes one object away.
func (s *store) Delete(o any) error {
	c, err := s.change(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.known, c.Key)
	s.mu.Unlock()
	s.to.put([]object.Change{{Key: c.Key}}, false)
	return nil
}

// Replace puts a whole list: what is new or different, and deletions of what is missing.
func (s *store) Replace(list []any, _ string) error {
	s.mu.Lock()
	old := s.known
	s.known = make(map[object.Key]string, len(list))
	var out []object.Change
	for _, o := range list {
		c, err := s.change(o)
		if err != nil {
			s.known = old
			s.mu.Unlock()
			return err
		}
		version := c.Object.GetResourceVersion()
		if v, ok := old[c.Key]; !ok || v != version || version == "" {
			out = append(out, c)
		}
		s.known[c.Key] = version
	}
	for k := range old {
		if _, ok := s.known[k]; !ok {
			out = append(out, object.Change{Key: k})
		}
	}
	first := !s.first
	s.first = true
	s.mu.Unlock()
	s.to.put(out, first)
	return nil
}

// Resync does nothing: nobody compares again what has not changed.
func (s *store) Resync() error { return nil }

// forgo ends the wait for a list that will not come.
func (s *store) forgo() {
	s.mu.Lock()
	first := !s.first
	s.first = true
	s.mu.Unlock()
	if first {
		s.to.put(nil, true)
	}
}
