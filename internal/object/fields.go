package object

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// Fields are the places of one object's fields in its file, by path as diagnostics write it:
// spec.rules[0].host, metadata.annotations[a/b]. It never changes. nil has none.
//
// There is one for every object of a directory, so it is small: the paths are shared by
// objects that are written alike.
type Fields struct {
	file  string
	paths []string // sorted, shared
	spots []spot   // of paths
}

type spot struct{ line, column uint32 }

// Place is one field with where it stands.
type Place struct {
	Path string
	Pos  diag.Pos
}

// At returns the place of the field called path.
func (f *Fields) At(path string) (diag.Pos, bool) {
	if f == nil {
		return diag.Pos{}, false
	}
	i, ok := slices.BinarySearch(f.paths, path)
	if !ok {
		return diag.Pos{}, false
	}
	return diag.Pos{File: f.file, Line: int(f.spots[i].line), Column: int(f.spots[i].column)}, true
}

// Len is the number of fields.
func (f *Fields) Len() int {
	if f == nil {
		return 0
	}
	return len(f.paths)
}

// Same reports whether f and g say the same.
func (f *Fields) Same(g *Fields) bool {
	if f == g || f.Len() == 0 && g.Len() == 0 {
		return true
	}
	return f.Len() == g.Len() && f.file == g.file && slices.Equal(f.spots, g.spots) && slices.Equal(f.paths, g.paths)
}

// Shapes makes Fields and lets them share their paths. The zero value is ready. Used by one
// goroutine at a time.
type Shapes struct {
	seen map[uint64][]string
}

// maxShapes bounds what is remembered for sharing.
const maxShapes = 10_000

var shapeSeed = maphash.MakeSeed()

// Fields keeps places, which it sorts. Of several places of one path the last counts. All are in one file.
func (s *Shapes) Fields(places []Place) *Fields {
	if len(places) == 0 {
		return nil
	}
	slices.SortStableFunc(places, func(a, b Place) int { return strings.Compare(a.Path, b.Path) })
	n := 0
	for i := range places {
		if i+1 < len(places) && places[i+1].Path == places[i].Path {
			continue
		}
		places[n] = places[i]
		n++
	}
	places = places[:n]
	f := &Fields{file: places[0].Pos.File, spots: make([]spot, n)}
	var h maphash.Hash
	h.SetSeed(shapeSeed)
	for i, p := range places {
		f.spots[i] = spot{uint32(p.Pos.Line), uint32(p.Pos.Column)} //nolint:gosec // files are far smaller
		h.WriteString(p.Path)
		h.WriteByte(0)
	}
	sum := h.Sum64()
	if known := s.seen[sum]; slices.EqualFunc(known, places, func(path string, p Place) bool { return path == p.Path }) {
		f.paths = known
		return f
	}
	f.paths = make([]string, n)
	for i, p := range places {
		f.paths[i] = p.Path
	}
	if s.seen == nil || len(s.seen) >= maxShapes {
		s.seen = map[uint64][]string{}
	}
	s.seen[sum] = f.paths
	return f
}
