package translate

import (
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/object"
)

// dependent is something that is made again when an object it read changes.
type dependent interface{ dirty(b *Builder) }

// deps are what one dependent read.
type deps struct {
	reads []object.Key
	parts *partSet
}

// readers find the dependents of a key.
type readers struct {
	byKey map[object.Key]*set
	parts map[string]*partSet // by their text
}

// partSet is a set of ConfigMap entries that many dependents read alike: there are a few of
// them where there would be a million keys.
type partSet struct {
	id    string
	of    object.Key
	parts []string // sorted
	set
}

// set is a set of dependents, mostly of one or two.
type set struct {
	few  []dependent
	many map[dependent]struct{} // instead of few, where there are more than fit
}

const few = 8

func (s *set) add(d dependent) {
	switch {
	case s.many != nil:
		s.many[d] = struct{}{}
	case slices.Contains(s.few, d):
	case len(s.few) < few:
		s.few = append(s.few, d)
	default:
		s.many = make(map[dependent]struct{}, 2*few)
		for _, e := range s.few {
			s.many[e] = struct{}{}
		}
		s.many[d] = struct{}{}
		s.few = nil
	}
}

func (s *set) remove(d dependent) {
	if s.many != nil {
		delete(s.many, d)
	} else if i := slices.Index(s.few, d); i >= 0 {
		s.few = slices.Delete(s.few, i, i+1)
	}
}

func (s *set) empty() bool { return len(s.few)+len(s.many) == 0 }

func (s *set) each(f func(dependent)) {
	for _, d := range s.few {
		f(d)
	}
	for d := range s.many {
		f(d)
	}
}

// record replaces what d read before by what r read.
func (rs *readers) record(d dependent, old *deps, r *object.Reader) {
	reads := r.Reads()
	if !slices.Equal(reads, old.reads) {
		rs.drop(d, old.reads)
		for _, k := range reads {
			s := rs.byKey[k]
			if s == nil {
				s = &set{}
				rs.byKey[k] = s
			}
			s.add(d)
		}
		old.reads = reads
	}
	of, parts := r.Parts()
	if p := rs.partsOf(of, parts); p != old.parts {
		rs.dropParts(d, old.parts)
		if p != nil {
			p.add(d)
		}
		old.parts = p
	}
}

// forget takes d out.
func (rs *readers) forget(d dependent, old *deps) {
	rs.drop(d, old.reads)
	rs.dropParts(d, old.parts)
	*old = deps{}
}

func (rs *readers) drop(d dependent, keys []object.Key) {
	for _, k := range keys {
		if s := rs.byKey[k]; s != nil {
			s.remove(d)
			if s.empty() {
				delete(rs.byKey, k)
			}
		}
	}
}

func (rs *readers) dropParts(d dependent, p *partSet) {
	if p == nil {
		return
	}
	p.remove(d)
	if p.empty() {
		delete(rs.parts, p.id)
	}
}

// partsOf finds the one set for these entries.
func (rs *readers) partsOf(of object.Key, parts []string) *partSet {
	if len(parts) == 0 {
		return nil
	}
	id := of.Namespace + "/" + of.Name + "\n" + strings.Join(parts, "\n")
	p := rs.parts[id]
	if p == nil {
		p = &partSet{id: id, of: of, parts: parts}
		rs.parts[id] = p
	}
	return p
}

// of calls f with everybody who read k.
func (rs *readers) of(k object.Key, f func(dependent)) {
	if s := rs.byKey[k]; s != nil {
		s.each(f)
	}
	if k.Part == "" {
		return
	}
	whole := k
	whole.Part = ""
	for _, p := range rs.parts {
		if p.of != whole {
			continue
		}
		if _, found := slices.BinarySearch(p.parts, k.Part); found {
			p.each(f)
		}
	}
}
