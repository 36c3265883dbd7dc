// Package dir is the source that reads Kubernetes manifests from directories and
// keeps watching them.
//
// Every .yaml, .yml and .json file below a directory is read: several documents,
// lists, old API versions (upgraded here). What a reader gets wrong: a file that cannot be
// read deletes nothing. Its last good objects stay, with a diagnostic, until it reads
// again; only a file that is gone, or whole and without the object, deletes.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source"
)

const (
	quiet = 40 * time.Millisecond  // how long nothing must happen before files are read
	most  = 200 * time.Millisecond // how long a burst of events may delay that
	// Besides being told, the source looks by itself: events get lost on network file systems.
	lookMin = 500 * time.Millisecond
	lookMax = 10 * time.Second
)

// Source reads directories. Make it with New or NewFS.
type Source struct {
	roots []*root
	log   *slog.Logger
	// deaf makes the source do without events, as on file systems that have none.
	deaf bool
}

var _ source.Source = (*Source)(nil)

// New returns a source of the manifests below paths, which may be directories or
// single files. An error says which of them cannot be read.
func New(log *slog.Logger, paths ...string) (*Source, error) {
	s := &Source{log: log}
	for _, p := range paths {
		p = filepath.Clean(p)
		if err := readable(p); err != nil {
			return nil, err
		}
		r := osRoot(p)
		s.roots = append(s.roots, &r)
	}
	if len(s.roots) == 0 {
		return nil, errors.New("manifests: no directory given")
	}
	return s, nil
}

// NewFS returns a source of the manifests in fsys, read once. Positions start with name.
func NewFS(log *slog.Logger, name string, fsys fs.FS) *Source {
	return &Source{log: log, roots: []*root{{name: name, fsys: fsys}}, deaf: true}
}

// Load reads the manifests below paths once. The changes are in the order of files and
// documents. The error is about paths that cannot be read at all; every other
// fault is in the changes.
func Load(paths ...string) ([]object.Change, error) {
	s, err := New(slog.New(slog.DiscardHandler), paths...)
	if err != nil {
		return nil, err
	}
	changes, _ := newState(s.roots, time.Now).scan()
	return changes, nil
}

// LoadFS is Load for an fs.FS, an embedded one for instance. Positions start with name.
func LoadFS(name string, fsys fs.FS) []object.Change {
	changes, _ := newState([]*root{{name: name, fsys: fsys}}, time.Now).scan()
	return changes
}

func readable(p string) error {
	f, err := os.Open(p)
	if err == nil {
		err = f.Close()
	}
	var pe *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("manifests: %s: no such file or directory", p)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("manifests: %s: permission denied (make it readable for this user)", p)
	case errors.As(err, &pe):
		return fmt.Errorf("manifests: %s: %w", p, pe.Err)
	}
	return fmt.Errorf("manifests: %s: %w", p, err)
}

// Name is "manifests".
func (s *Source) Name() string { return "manifests" }

// Run delivers what the directories hold and then every change, until ctx ends.
func (s *Source) Run(ctx context.Context, to source.Sink) error {
	st := newState(s.roots, time.Now)
	w := s.watch()
	if w != nil {
		defer w.close()
	}
	began := time.Now()
	changes, dirs := st.scan()
	fresh := w.follow(dirs, s.log)
	if len(changes) > 0 {
		to.Apply(changes)
	} else {
		for _, r := range s.roots {
			s.log.Warn("no manifests found", "source", s.Name(), "file", r.name, "hint", "files that end in .yaml, .yml or .json are read")
		}
	}
	to.Synced(s.Name())
	again := time.NewTimer(lookMin)
	defer again.Stop()
	wake := func(took time.Duration) {
		again.Reset(min(max(100*took, lookMin), lookMax))
		if fresh {
			// What was written between the scan and the watch is found by looking again.
			again.Reset(lookMin)
		}
		if t := st.wait(); !t.IsZero() {
			again.Reset(max(time.Until(t), time.Millisecond))
		}
	}
	wake(time.Since(began))
	if s.roots[0].os == "" {
		<-ctx.Done()
		return nil
	}
	for {
		touched, all := map[string]bool{}, false
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			all = true
		case e := <-w.events():
			all = w.note(e, touched) || all
			all = w.gather(ctx, touched, s.log) || all
		case err := <-w.errors():
			s.log.Debug("events of directories lost", "error", err)
			all = true
		}
		if len(touched) == 0 && !all {
			continue
		}
		began, fresh = time.Now(), false
		changes, done := []object.Change(nil), false
		if !all {
			changes, done = st.rescan(touched)
		}
		if !done {
			changes, dirs = st.scan()
			fresh = w.follow(dirs, s.log)
		}
		if len(changes) > 0 {
			to.Apply(changes)
		}
		wake(time.Since(began))
	}
}

// watcher tells of changes. A nil watcher tells nothing.
type watcher struct {
	fs   *fsnotify.Watcher
	dirs map[string]fs.FileInfo
	only map[string]bool // files that are read whatever they are called
	told bool            // that it cannot watch everything
}

func (s *Source) watch() *watcher {
	if s.deaf {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.Warn("directory not watched", "source", s.Name(), "error", err)
		return nil
	}
	only := map[string]bool{}
	for _, r := range s.roots {
		if r.only != "" {
			only[r.display(r.only)] = true
		}
	}
	return &watcher{fs: w, dirs: map[string]fs.FileInfo{}, only: only}
}

func (w *watcher) close() {
	// Closing frees the kernel's side; there is nothing to do about a failure.
	_ = w.fs.Close()
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w == nil {
		return nil
	}
	return w.fs.Events
}

func (w *watcher) errors() <-chan error {
	if w == nil {
		return nil
	}
	return w.fs.Errors
}

// follow watches dirs and no others. A directory that was replaced by another of
// its name is watched anew. It reports whether it began to watch one.
func (w *watcher) follow(dirs map[string]fs.FileInfo, log *slog.Logger) (fresh bool) {
	if w == nil {
		return false
	}
	for d, info := range w.dirs {
		if now, ok := dirs[d]; !ok || !os.SameFile(now, info) {
			delete(w.dirs, d)
			if err := w.fs.Remove(d); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
				log.Debug("watch not removed", "file", d, "error", err)
			}
		}
	}
	for d, info := range dirs {
		if _, ok := w.dirs[d]; ok {
			continue
		}
		if err := w.fs.Add(d); err != nil {
			if !w.told {
				w.told = true
				log.Warn("directory not watched", "file", d, "error", err)
			}
			continue
		}
		w.dirs[d] = info
		fresh = true
	}
	return fresh
}

// note puts the file e is about into touched. It reports whether everything must be looked at.
func (w *watcher) note(e fsnotify.Event, touched map[string]bool) bool {
	name, base := filepath.Clean(e.Name), filepath.Base(e.Name)
	switch {
	case e.Op == fsnotify.Chmod:
		return false
	case e.Op&(fsnotify.Create|fsnotify.Write|fsnotify.Chmod) == e.Op && manifest(base):
		touched[name] = true
		return false
	case e.Op&(fsnotify.Write|fsnotify.Chmod) == e.Op, w.foreign(name, base):
		return false // a file that is not read
	}
	// A name appeared or went: a manifest, a directory, or "..data" of a mounted ConfigMap.
	return base == "..data" || base[0] != '.'
}

// foreign reports whether name is, or was, nothing that is read: what editors save to before they
// rename it. With many files, looking at everything because of it would take long.
func (w *watcher) foreign(name, base string) bool {
	if manifest(base) || w.only[name] {
		return false
	}
	if _, watched := w.dirs[name]; watched {
		return false
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() || errors.Is(err, fs.ErrNotExist) && base != "..data"
}

// gather takes further events until none came for a moment.
func (w *watcher) gather(ctx context.Context, touched map[string]bool, log *slog.Logger) (all bool) {
	end := time.NewTimer(most)
	defer end.Stop()
	calm := time.NewTimer(quiet)
	defer calm.Stop()
	for {
		select {
		case <-ctx.Done():
			return all
		case <-end.C:
			return all
		case <-calm.C:
			return all
		case e := <-w.fs.Events:
			all = w.note(e, touched) || all
			calm.Reset(quiet)
		case err := <-w.fs.Errors:
			log.Debug("events of directories lost", "error", err)
			all = true
		}
	}
}
