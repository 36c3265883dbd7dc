package dir

import (
	"cmp"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

const (
	// settle is how long an emptied file is taken for one being written.
	settle = time.Second
	// racy is how young a change may be for the time stamp to miss the next one.
	racy = 2 * time.Second
	// gap is how far apart the order numbers of two neighbouring files start.
	gap = 1 << 32
)

// file is one manifest file and what it last gave.
type file struct {
	candidate
	base    int // order number of its first document
	read    time.Time
	docs    []*document
	entries []*entry // what counts: its documents' objects, and old ones kept
	diags   []diag.Diagnostic
	empty   time.Time // since when it has been empty, while that may be half a save
	failed  bool
}

// slot is one object: everybody who defines it, and what was said of it.
type slot struct {
	claims []*entry // by order; never changed in place
	sent   []*entry // the claims when it was last published
}

// state is everything read. One goroutine uses it.
type state struct {
	roots   []*root
	files   map[string]*file
	order   []*file // by root, then path
	slots   map[object.Key]*slot
	dirty   map[object.Key]struct{}
	told    map[string][]diag.Diagnostic // findings about files and directories
	now     func() time.Time
	parsers []*parser
}

func newState(roots []*root, now func() time.Time) *state {
	s := &state{
		roots: roots, now: now, files: map[string]*file{}, slots: map[object.Key]*slot{},
		dirty: map[object.Key]struct{}{}, told: map[string][]diag.Diagnostic{},
	}
	for range runtime.GOMAXPROCS(0) {
		s.parsers = append(s.parsers, &parser{})
	}
	return s
}

// scan looks at everything and returns what has changed, and the directories seen.
func (s *state) scan() ([]object.Change, map[string]fs.FileInfo) {
	w := &walk{dirs: map[string]fs.FileInfo{}, unread: map[string]error{}}
	for _, r := range s.roots {
		r.walk(w)
	}
	seen := make(map[string]bool, len(w.files))
	order := make([]*file, 0, len(w.files))
	var stale []*file
	for _, c := range w.files {
		if seen[c.path] {
			continue // below two of the roots
		}
		seen[c.path] = true
		f := s.files[c.path]
		switch {
		case f == nil:
			f = &file{candidate: c}
			s.files[c.path] = f
			stale = append(stale, f)
		case s.stale(f, c.info):
			f.candidate = c
			stale = append(stale, f)
		}
		order = append(order, f)
	}
	for _, f := range s.order {
		switch {
		case seen[f.path]:
		case below(f.path, w.unread):
			_, f.failed = w.unread[f.path]
			order = append(order, f) // kept
		default:
			delete(s.files, f.path)
			s.replace(f, nil)
			s.tell(f.path, nil)
		}
	}
	s.number(order)
	s.load(stale)
	for name, err := range w.unread {
		s.tell(name, []diag.Diagnostic{unreadable(name, err)})
	}
	for name := range s.told {
		_, isFile := s.files[name]
		if _, still := w.unread[name]; !still && !isFile {
			s.tell(name, nil)
		}
	}
	return s.publish(), w.dirs
}

// rescan looks at single files that are known. It reports false when a look at
// everything is needed.
func (s *state) rescan(paths map[string]bool) ([]object.Change, bool) {
	var stale []*file
	for p := range paths {
		f := s.files[p]
		if f == nil {
			return nil, false
		}
		info, err := fs.Stat(f.root.fsys, f.rel)
		if err != nil || !info.Mode().IsRegular() {
			return nil, false
		}
		f.info = info
		stale = append(stale, f)
	}
	s.load(stale)
	return s.publish(), true
}

// wait returns when the state should be looked at again although nothing was
// seen to change; zero when there is no reason to.
func (s *state) wait() time.Time {
	var next time.Time
	for _, f := range s.order {
		if !f.empty.IsZero() {
			if t := f.empty.Add(settle); next.IsZero() || t.Before(next) {
				next = t
			}
		}
	}
	return next
}

func (s *state) stale(f *file, info fs.FileInfo) bool {
	switch {
	case f.failed, !f.empty.IsZero():
		return true
	case f.info.Size() != info.Size(), !f.info.ModTime().Equal(info.ModTime()):
		return true
	case f.root.os == "":
		return false
	case !os.SameFile(f.info, info):
		return true
	}
	age := f.read.Sub(info.ModTime())
	return age < racy && age > -racy
}

// below reports whether name is one of dirs or stands in one.
func below(name string, dirs map[string]error) bool {
	for d := range dirs {
		rest, ok := strings.CutPrefix(name, d)
		if ok && (rest == "" || d == "." || os.IsPathSeparator(rest[0]) || strings.HasSuffix(d, string(os.PathSeparator))) {
			return true
		}
		if d == "." {
			return true
		}
	}
	return false
}

// number gives order numbers to new files between those of their neighbours, so
// that a new file changes nobody else's.
func (s *state) number(order []*file) {
	rank := make(map[*root]int, len(s.roots))
	for i, r := range s.roots {
		rank[r] = i
	}
	slices.SortStableFunc(order, func(a, b *file) int {
		return cmp.Or(cmp.Compare(rank[a.root], rank[b.root]), cmp.Compare(a.rel, b.rel))
	})
	s.order = order
	j := 0
	for i, f := range order {
		if f.base != 0 {
			continue
		}
		prev := 0
		if i > 0 {
			prev = order[i-1].base
		}
		if j <= i {
			// The next file that has a number; all between are new.
			for j = i + 1; j < len(order) && order[j].base == 0; j++ {
			}
		}
		if j == len(order) {
			f.base = prev + gap
			continue
		}
		step := (order[j].base - prev) / (j - i + 1)
		if step < 1<<16 {
			s.renumber()
			return
		}
		f.base = prev + step
	}
}

func (s *state) renumber() {
	for i, f := range s.order {
		f.base = (i + 1) * gap
		entries := make([]*entry, len(f.entries))
		for j, e := range f.entries {
			moved := *e
			moved.order = f.base + j
			entries[j] = &moved
		}
		s.replace(f, entries)
		// The documents' entries have other numbers now: read them anew.
		f.docs = nil
	}
}

// load reads files and takes up what they hold. Reading and parsing runs on all CPUs.
func (s *state) load(files []*file) {
	type result struct {
		docs []*document
		err  error
		void bool
	}
	results := make([]result, len(files))
	next := make(chan int)
	var wg sync.WaitGroup
	for _, p := range s.parsers[:min(len(s.parsers), len(files))] {
		wg.Go(func() {
			for i := range next {
				text, err := files[i].candidate.read()
				if err != nil {
					results[i] = result{err: err}
					continue
				}
				results[i] = result{docs: p.parse(files[i].path, text, files[i].docs), void: blank(text)}
			}
		})
	}
	now := s.now()
	for i, f := range files {
		f.read = now
		next <- i
	}
	close(next)
	wg.Wait()
	for i, f := range files {
		r := results[i]
		f.failed = r.err != nil
		switch {
		case r.err != nil:
			s.tell(f.path, []diag.Diagnostic{unreadable(f.path, r.err)})
		case r.void && len(f.entries) > 0 && f.empty.IsZero():
			f.empty = now // an editor truncates before it writes
		case r.void && len(f.entries) > 0 && now.Sub(f.empty) < settle:
		default:
			f.empty = time.Time{}
			s.take(f, r.docs)
		}
	}
}

// take makes docs what f holds. Objects that a broken document may have held stay.
func (s *state) take(f *file, docs []*document) {
	if f.docs != nil && slices.Equal(docs, f.docs) {
		s.tell(f.path, f.diags)
		return
	}
	old := make(map[object.Key]*entry, len(f.entries))
	for _, e := range f.entries {
		if _, dup := old[e.key]; !dup && e.obj != nil {
			old[e.key] = e
		}
	}
	var entries []*entry
	var diags []diag.Diagnostic
	broken, n := false, 0
	have := map[object.Key]bool{}
	for _, d := range docs {
		broken = broken || d.broken
		diags = append(diags, d.diags...)
		for i, e := range d.entries {
			order := f.base + n
			n++
			if e.order != 0 && e.order != order {
				moved := *e
				e = &moved
				d.entries[i] = e
			}
			e.order = order
			if last := old[e.key]; e.obj == nil && last != nil {
				e = held(e, last)
			}
			have[e.key] = true
			entries = append(entries, e)
		}
	}
	if broken {
		// A document that cannot be read may have held any of the objects that are missing now.
		kept := 0
		for _, e := range f.entries {
			if e.obj != nil && !have[e.key] {
				have[e.key] = true
				entries = append(entries, e)
				kept++
			}
		}
		for i := range diags {
			if kept > 0 && diags[i].Code == diag.ManifestInvalid {
				diags[i].Effect = diag.ObjectHeld
			}
		}
	}
	f.docs, f.diags = docs, diags
	s.replace(f, entries)
	s.tell(f.path, diags)
}

// held is e, which is broken, with the object that last came from the same file.
func held(e, last *entry) *entry {
	h := *e
	h.obj, h.fields = last.obj, last.fields
	h.diags = slices.Clone(e.diags)
	for i := range h.diags {
		if h.diags[i].Effect == diag.ObjectOff {
			h.diags[i].Effect = diag.ObjectHeld
		}
	}
	return &h
}

// replace makes entries what f defines.
func (s *state) replace(f *file, entries []*entry) {
	for _, e := range f.entries {
		sl := s.slots[e.key]
		if i := slices.Index(sl.claims, e); i >= 0 {
			sl.claims = slices.Delete(slices.Clone(sl.claims), i, i+1)
		}
		s.dirty[e.key] = struct{}{}
	}
	for _, e := range entries {
		sl := s.slots[e.key]
		if sl == nil {
			sl = &slot{}
			s.slots[e.key] = sl
		}
		at, _ := slices.BinarySearchFunc(sl.claims, e, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
		sl.claims = slices.Insert(slices.Clip(sl.claims), at, e)
		s.dirty[e.key] = struct{}{}
	}
	f.entries = entries
}

// tell notes the findings about a file or directory as a whole.
func (s *state) tell(name string, ds []diag.Diagnostic) {
	old, known := s.told[name]
	if slices.EqualFunc(old, ds, same) && (known || len(ds) == 0) {
		return
	}
	s.told[name] = ds
	s.dirty[object.Key{Kind: object.KindFile, Name: name}] = struct{}{}
}

func same(a, b diag.Diagnostic) bool {
	return a.Code == b.Code && a.Severity == b.Severity && a.Object == b.Object && a.Field == b.Field && a.Value == b.Value &&
		a.Message == b.Message && a.Hint == b.Hint && a.Pos == b.Pos && a.Effect == b.Effect && slices.Equal(a.Related, b.Related)
}

// publish returns the changes of everything dirty, in the order of the files.
func (s *state) publish() []object.Change {
	var out []object.Change
	dirty := s.dirty
	s.dirty = map[object.Key]struct{}{} // a map never gives back the room of the first scan
	for k := range dirty {
		if k.Kind == object.KindFile {
			ds := s.told[k.Name]
			if len(ds) == 0 {
				delete(s.told, k.Name)
			}
			out = append(out, object.Change{Key: k, Diags: ds, Keep: len(ds) > 0})
			continue
		}
		sl := s.slots[k]
		if len(sl.claims) == 0 {
			delete(s.slots, k)
			if len(sl.sent) > 0 {
				out = append(out, object.Change{Key: k})
			}
			continue
		}
		if slices.Equal(sl.claims, sl.sent) {
			continue
		}
		sl.sent = sl.claims
		out = append(out, sl.change(k))
	}
	slices.SortFunc(out, func(a, b object.Change) int {
		return cmp.Or(cmp.Compare(a.Origin.Order, b.Origin.Order), cmp.Compare(a.Key.Kind, b.Key.Kind),
			cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Name, b.Key.Name))
	})
	return out
}

// change says what s is now: the first usable definition, with the findings about all of them.
func (s *slot) change(k object.Key) object.Change {
	var winner *entry
	for _, e := range s.claims {
		if e.obj != nil {
			winner = e
			break
		}
	}
	c := object.Change{Key: k, Origin: object.Origin{Local: true}}
	if winner == nil {
		c.Keep = true
		winner = s.claims[0]
	} else {
		c.Object = winner.obj
	}
	c.Origin.Pos, c.Origin.Fields, c.Origin.Order = winner.pos, winner.fields, winner.order
	for _, e := range s.claims {
		c.Diags = append(c.Diags, e.diags...)
		if e != winner && e.obj != nil {
			c.Diags = append(c.Diags, diag.Diagnostic{
				Code: diag.ObjectDuplicate, Severity: diag.Error, Object: k.Ref(), Field: "metadata.name", Value: k.Name,
				Message: "the same object is already defined at " + winner.pos.String() + ", which counts",
				Hint:    "remove one of them, or give it another name", Pos: e.pos, Related: []diag.Ref{k.Ref()}, Effect: diag.ObjectOff,
			})
		}
	}
	return c
}
