package object

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serviceLabel names the Service an EndpointSlice belongs to.
const serviceLabel = "kubernetes.io/service-name"

// Snapshot holds the current objects by Key. It is safe for concurrent use; one
// goroutine at a time should Apply and translate, so that a build sees one state.
type Snapshot struct {
	mu      sync.RWMutex
	objects [KindFile + 1]map[named]*entry
	slices  map[named][]string // names of the EndpointSlices of a Service, sorted
	pinned  map[Key]bool
}

// named is a Key among those of one kind.
type named struct{ namespace, name string }

// entry is one object with what lintel remembers of it. There is one for every object of the
// cluster, so what few have stands apart.
type entry struct {
	object metav1.Object
	origin *Origin // nil: the zero one
	// lower are a ConfigMap's entries by lower-case name; nil for other kinds.
	lower map[string]string
	// accepted is the last revision of an Ingress that translation accepted.
	accepted *accepted
}

// accepted is a revision with where it came from.
type accepted struct {
	object *Ingress
	origin *Origin
}

// asIs says of an entry that the revision accepted is the current one.
var asIs = new(accepted)

func (e *entry) from() Origin {
	if e.origin == nil {
		return Origin{}
	}
	return *e.origin
}

// last returns the revision accepted last, for the entry that takes this one's place.
func (e *entry) last() *accepted {
	if e.accepted == asIs {
		return &accepted{e.object.(*Ingress), e.origin}
	}
	return e.accepted
}

// NewSnapshot returns an empty snapshot.
func NewSnapshot() *Snapshot {
	s := &Snapshot{slices: map[named][]string{}, pinned: map[Key]bool{}}
	for i := range s.objects {
		s.objects[i] = map[named]*entry{}
	}
	return s
}

// get returns the entry of k, whatever its Part; nil for none.
func (s *Snapshot) get(k Key) *entry { return s.objects[k.Kind][named{k.Namespace, k.Name}] }

// Pin makes deletions of k from an API server do nothing: the last content stays until the
// process ends. compat: the controller's ConfigMap (reference/configmap.md). A file that is
// removed from a directory is gone all the same.
func (s *Snapshot) Pin(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinned[k] = true
}

// Apply stores changes and returns the keys that are different now, sorted. A
// ConfigMap of which some entries changed gives its own key and one with Part for each
// of those entries, lower case. Changes that say Keep store nothing. A later change of the
// same key in the batch wins.
func (s *Snapshot) Apply(changes []Change) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := map[Key]struct{}{}
	for _, c := range changes {
		c.Key.Part = ""
		if c.Keep {
			continue
		}
		if c.Object == nil {
			s.remove(c.Key, changed)
		} else {
			s.store(c, changed)
		}
	}
	return slices.SortedFunc(maps.Keys(changed), Compare)
}

func (s *Snapshot) remove(k Key, changed map[Key]struct{}) {
	old := s.get(k)
	if old == nil || s.pinned[k] && !old.from().Local {
		return
	}
	delete(s.objects[k.Kind], named{k.Namespace, k.Name})
	if slice, ok := old.object.(*EndpointSlice); ok {
		s.unlinkSlice(k, slice)
	}
	changed[k] = struct{}{}
	for part := range old.lower {
		changed[Key{k.Kind, k.Namespace, k.Name, part}] = struct{}{}
	}
}

func (s *Snapshot) store(c Change, changed map[Key]struct{}) {
	e := &entry{object: c.Object}
	if !sameOrigin(c.Origin, Origin{}) {
		from := c.Origin
		e.origin = &from
	}
	if cm, ok := c.Object.(*ConfigMap); ok {
		e.lower = lowered(cm)
	}
	if old := s.get(c.Key); old != nil {
		if sameOrigin(old.from(), c.Origin) && sameObject(old.object, c.Object) {
			return
		}
		e.accepted = old.last()
		if slice, ok := old.object.(*EndpointSlice); ok {
			s.unlinkSlice(c.Key, slice)
		}
		for part, text := range old.lower {
			if now, there := e.lower[part]; !there || now != text {
				changed[Key{c.Key.Kind, c.Key.Namespace, c.Key.Name, part}] = struct{}{}
			}
		}
		for part := range e.lower {
			if _, there := old.lower[part]; !there {
				changed[Key{c.Key.Kind, c.Key.Namespace, c.Key.Name, part}] = struct{}{}
			}
		}
	} else {
		for part := range e.lower {
			changed[Key{c.Key.Kind, c.Key.Namespace, c.Key.Name, part}] = struct{}{}
		}
	}
	s.objects[c.Key.Kind][named{c.Key.Namespace, c.Key.Name}] = e
	if slice, ok := c.Object.(*EndpointSlice); ok {
		svc := named{c.Key.Namespace, slice.Labels[serviceLabel]}
		list := s.slices[svc]
		at, _ := slices.BinarySearch(list, c.Key.Name)
		s.slices[svc] = slices.Insert(slices.Clip(list), at, c.Key.Name)
	}
	changed[c.Key] = struct{}{}
}

func (s *Snapshot) unlinkSlice(k Key, slice *EndpointSlice) {
	svc := named{k.Namespace, slice.Labels[serviceLabel]}
	list := s.slices[svc]
	if at, ok := slices.BinarySearch(list, k.Name); ok {
		list = slices.Delete(list, at, at+1)
	}
	if len(list) == 0 {
		delete(s.slices, svc)
		return
	}
	s.slices[svc] = list
}

// lowered is a ConfigMap's data by lower-case name: reference/configmap.md reads keys without
// regard to case. Of two names that differ in case only, the first in sorted order counts.
func lowered(cm *ConfigMap) map[string]string {
	plain := true
	for k := range cm.Data {
		if strings.ToLower(k) != k {
			plain = false
			break
		}
	}
	if plain {
		return cm.Data
	}
	out := make(map[string]string, len(cm.Data))
	for _, k := range slices.Sorted(maps.Keys(cm.Data)) {
		if _, taken := out[strings.ToLower(k)]; !taken {
			out[strings.ToLower(k)] = cm.Data[k]
		}
	}
	return out
}

// sameObject reports whether two revisions say the same. The API server's own numbering decides
// where both have it.
func sameObject(a, b metav1.Object) bool {
	if v := a.GetResourceVersion(); v != "" && v == b.GetResourceVersion() && a.GetUID() == b.GetUID() {
		return true
	}
	return equality.Semantic.DeepEqual(a, b)
}

func sameOrigin(a, b Origin) bool {
	return a.Local == b.Local && a.Pos == b.Pos && a.Order == b.Order && a.Fields.Same(b.Fields)
}

// Object returns what is stored under k, with where it came from.
func (s *Snapshot) Object(k Key) (metav1.Object, Origin, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(k)
	if e == nil {
		return nil, Origin{}, false
	}
	return e.object, e.from(), true
}

// Keys returns the keys of one kind, sorted.
func (s *Snapshot) Keys(kind Kind) []Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Key, 0, len(s.objects[kind]))
	for n := range s.objects[kind] {
		out = append(out, Key{Kind: kind, Namespace: n.namespace, Name: n.name})
	}
	slices.SortFunc(out, Compare)
	return out
}

// Slices returns the EndpointSlices of a Service, sorted by name, and whether one of them
// came from a directory. It is the fast lane's: translation of Ingresses must not depend on it.
func (s *Snapshot) Slices(namespace, service string) (list []*EndpointSlice, local bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range s.slices[named{namespace, service}] {
		e := s.objects[KindEndpointSlice][named{namespace, name}]
		list = append(list, e.object.(*EndpointSlice))
		local = local || e.from().Local
	}
	return list, local
}

// SliceService returns the Service an EndpointSlice belongs to.
func SliceService(slice *EndpointSlice) (namespace, service string) {
	return slice.Namespace, slice.Labels[serviceLabel]
}

// Accept records that translation accepted this revision of an Ingress; it serves on while a
// later one is malformed. An Ingress that is no longer there is not recorded.
func (s *Snapshot) Accept(k Key, in *Ingress, from Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := s.get(k); {
	case e == nil:
	case e.object == metav1.Object(in) && sameOrigin(e.from(), from):
		e.accepted = asIs
	default:
		e.accepted = &accepted{in, &from}
	}
}

// Accepted returns the last accepted revision of an Ingress.
func (s *Snapshot) Accepted(k Key) (*Ingress, Origin, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.get(k)
	if e == nil || e.accepted == nil {
		return nil, Origin{}, false
	}
	a := e.last()
	if a.origin == nil {
		return a.object, Origin{}, true
	}
	return a.object, *a.origin, true
}

// Compare orders keys by kind, namespace, name and part.
func Compare(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace),
		strings.Compare(a.Name, b.Name), strings.Compare(a.Part, b.Part))
}

// Age is an Ingress' place among those that want the same thing: the older wins.
type Age struct {
	created         int64 // Unix seconds; 0: unknown
	order           int
	namespace, name string
}

// AgeOf takes the creation time where there is one, and the place in the order of files where not.
func AgeOf(in *Ingress, from Origin) Age {
	a := Age{namespace: in.Namespace, name: in.Name, order: from.Order}
	if !in.CreationTimestamp.IsZero() {
		a.created, a.order = in.CreationTimestamp.Unix(), 0
	}
	return a
}

// Compare orders older before younger: by creation time, then by namespace/name descending
// (compat: reference/routing.md 2). Those without a time come after those with one, in file order.
func (a Age) Compare(b Age) int {
	if (a.created == 0) != (b.created == 0) {
		if a.created != 0 {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.order, b.order),
		strings.Compare(b.namespace+"/"+b.name, a.namespace+"/"+a.name))
}
