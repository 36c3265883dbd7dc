package object

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reader reads a snapshot and remembers every key asked for, found or not. It is
// the only way translate can look at another object, so a dependency cannot be
// forgotten: whoever missed a Secret is translated again when the Secret appears.
//
// Used by one goroutine. What it returns is shared and must not be changed.
type Reader struct {
	s     *Snapshot
	reads map[Key]struct{}
	// parts are the entries asked for of one ConfigMap, the controller's own: every Ingress
	// asks for dozens, and all for the same ones, so they are kept apart.
	of    Key
	parts map[string]struct{}
}

// NewReader returns a reader of s that has read nothing.
func NewReader(s *Snapshot) *Reader {
	return &Reader{s: s, reads: map[Key]struct{}{}, parts: map[string]struct{}{}}
}

// Reset forgets what was read.
func (r *Reader) Reset() {
	clear(r.reads)
	clear(r.parts)
	r.of = Key{}
}

// Reads returns every key asked for, sorted, without those Parts returns.
func (r *Reader) Reads() []Key {
	if len(r.reads) == 0 {
		return nil
	}
	out := make([]Key, 0, len(r.reads))
	for k := range r.reads {
		out = append(out, k)
	}
	slices.SortFunc(out, Compare)
	return out
}

// Parts returns the ConfigMap of which entries were asked for first, and those entries, sorted.
func (r *Reader) Parts() (Key, []string) {
	return r.of, slices.Sorted(maps.Keys(r.parts))
}

func (r *Reader) entry(k Key) *entry {
	r.reads[k] = struct{}{}
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	return r.s.get(k)
}

func read[T metav1.Object](r *Reader, k Key) (T, bool) {
	if e := r.entry(k); e != nil {
		t, ok := e.object.(T)
		return t, ok
	}
	var zero T
	return zero, false
}

// Ingress reads an Ingress with where it came from.
func (r *Reader) Ingress(namespace, name string) (*Ingress, Origin, bool) {
	k := Key{Kind: KindIngress, Namespace: namespace, Name: name}
	in, ok := read[*Ingress](r, k)
	return in, r.Origin(k), ok
}

// IngressClass reads an IngressClass.
func (r *Reader) IngressClass(name string) (*IngressClass, bool) {
	return read[*IngressClass](r, Key{Kind: KindIngressClass, Name: name})
}

// Service reads a Service.
func (r *Reader) Service(namespace, name string) (*Service, bool) {
	return read[*Service](r, Key{Kind: KindService, Namespace: namespace, Name: name})
}

// Secret reads a Secret.
func (r *Reader) Secret(namespace, name string) (*Secret, bool) {
	return read[*Secret](r, Key{Kind: KindSecret, Namespace: namespace, Name: name})
}

// ConfigMap reads a whole ConfigMap.
func (r *Reader) ConfigMap(namespace, name string) (*ConfigMap, bool) {
	return read[*ConfigMap](r, Key{Kind: KindConfigMap, Namespace: namespace, Name: name})
}

// ConfigMapKey reads one entry of a ConfigMap, whatever the case of its name. Changes of
// other entries do not disturb the reader.
func (r *Reader) ConfigMapKey(namespace, name, part string) (string, bool) {
	part = strings.ToLower(part)
	k := Key{Kind: KindConfigMap, Namespace: namespace, Name: name}
	if r.of == (Key{}) {
		r.of = k
	}
	if r.of == k {
		r.parts[part] = struct{}{}
	} else {
		r.reads[Key{k.Kind, k.Namespace, k.Name, part}] = struct{}{}
	}
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	e := r.s.get(k)
	if e == nil {
		return "", false
	}
	text, ok := e.lower[part]
	return text, ok
}

// ConfigMapLower reads a whole ConfigMap with its names in lower case.
func (r *Reader) ConfigMapLower(namespace, name string) (map[string]string, bool) {
	e := r.entry(Key{Kind: KindConfigMap, Namespace: namespace, Name: name})
	if e == nil {
		return nil, false
	}
	return e.lower, true
}

// Namespace reads a Namespace.
func (r *Reader) Namespace(name string) (*Namespace, bool) {
	return read[*Namespace](r, Key{Kind: KindNamespace, Name: name})
}

// Origin says where the object under k came from, and records the read. The zero value when there is none.
func (r *Reader) Origin(k Key) Origin {
	if e := r.entry(k); e != nil {
		return e.from()
	}
	return Origin{}
}

// Accepted returns the last accepted revision of an Ingress.
func (r *Reader) Accepted(namespace, name string) (*Ingress, Origin, bool) {
	k := Key{Kind: KindIngress, Namespace: namespace, Name: name}
	r.reads[k] = struct{}{}
	return r.s.Accepted(k)
}
