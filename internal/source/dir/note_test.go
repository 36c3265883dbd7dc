package dir

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/fsnotify/fsnotify"
)

func TestOnlyEventsThatMayMatterMakeEverythingBeLookedAt(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{"a.yaml", "a.yaml.tmp", "notes.txt"} {
		if err := os.WriteFile(at(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sub", "fresh"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := &watcher{dirs: map[string]fs.FileInfo{root: nil, at("sub"): nil, at("gone"): nil}, only: map[string]bool{at("config"): true}}
	for _, c := range []struct {
		name    string
		op      fsnotify.Op
		touched bool
		all     bool
	}{
		{"a.yaml", fsnotify.Create, true, false}, // also by renaming a.yaml.tmp
		{"a.yaml", fsnotify.Write, true, false},
		{"a.yaml", fsnotify.Chmod, false, false},
		{"a.yaml", fsnotify.Remove, false, true},
		{"a.yaml", fsnotify.Rename, false, true},
		{"a.yaml.tmp", fsnotify.Create, false, false},
		{"a.yaml.tmp", fsnotify.Create | fsnotify.Write, false, false},
		{"moved.tmp", fsnotify.Create, false, false}, // gone already
		{"moved.tmp", fsnotify.Rename, false, false},
		{"notes.txt", fsnotify.Remove, false, false},
		{"fresh", fsnotify.Create, false, true},
		{"sub", fsnotify.Rename, false, true},
		{"gone", fsnotify.Remove, false, true},
		{"config", fsnotify.Remove, false, true}, // a file that was named
		{"..data", fsnotify.Create, false, true}, // of a mounted ConfigMap
		{".swp", fsnotify.Create, false, false},
	} {
		touched := map[string]bool{}
		all := w.note(fsnotify.Event{Name: at(c.name), Op: c.op}, touched)
		if all != c.all || touched[at(c.name)] != c.touched {
			t.Errorf("%s %s: touched %v, everything %v; want %v, %v", c.op, c.name, touched[at(c.name)], all, c.touched, c.all)
		}
	}
}
