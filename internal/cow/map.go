// Package cow holds a map that shares what did not change between its versions.
//
// A Map is immutable: With returns another Map and copies only the shards that the
// change touches, so that publishing one change among many entries costs
// little and readers need no lock. It is used by the published table.
//
// What a reader gets wrong: there is no Set. Keep the Map that With returned.
package cow

import (
	"hash/maphash"
	"iter"
	"maps"
)

// shards is how many parts a Map has: enough that one of 50,000 entries shares its
// part with about fifty others, few enough that copying the array is a microsecond.
const shards = 1024

// seed is the same for all maps of a process, so that versions agree on the place of a key.
var seed = maphash.MakeSeed()

// Map is an immutable map from names to values. The zero value and nil are empty maps.
// Any number of goroutines may read it.
type Map[V any] struct {
	parts *[shards]map[string]V
	size  int
}

// Get returns the value of key. It does not allocate.
func (m *Map[V]) Get(key string) (V, bool) {
	if m == nil || m.parts == nil {
		var zero V
		return zero, false
	}
	v, ok := m.parts[place(key)][key]
	return v, ok
}

// Len is the number of entries.
func (m *Map[V]) Len() int {
	if m == nil {
		return 0
	}
	return m.size
}

// All yields every entry, in no order.
func (m *Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		if m == nil || m.parts == nil {
			return
		}
		for _, part := range m.parts {
			for k, v := range part {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// With returns a map in which the entries of set stand and the keys of gone do
// not; a key in both stands. m stays as it is.
func (m *Map[V]) With(set map[string]V, gone []string) *Map[V] {
	if m == nil {
		m = &Map[V]{}
	}
	if len(set) == 0 && len(gone) == 0 {
		return m
	}
	next := &Map[V]{parts: new([shards]map[string]V), size: m.size}
	if m.parts != nil {
		*next.parts = *m.parts
	}
	var copied [shards]bool
	part := func(key string) map[string]V {
		i := place(key)
		if !copied[i] {
			copied[i] = true
			if next.parts[i] == nil {
				next.parts[i] = make(map[string]V)
			} else {
				next.parts[i] = maps.Clone(next.parts[i])
			}
		}
		return next.parts[i]
	}
	for _, k := range gone {
		if _, stays := set[k]; stays {
			continue
		}
		if _, ok := next.parts[place(k)][k]; ok {
			delete(part(k), k)
			next.size--
		}
	}
	for k, v := range set {
		p := part(k)
		if _, ok := p[k]; !ok {
			next.size++
		}
		p[k] = v
	}
	return next
}

func place(key string) uint64 { return maphash.String(seed, key) % shards }
