package dir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// The bounds of what is read.
const (
	maxFileSize  = 16 << 20
	maxFiles     = 200_000
	maxTreeDepth = 32
)

// root is one directory (or file) of manifests.
type root struct {
	name string // as the person wrote it: the front of every position
	fsys fs.FS
	only string // the one file, when the root is a file; else ""
	os   string // the directory in the operating system, for watching; "" when there is none
}

// osRoot returns the root at a path of the operating system.
func osRoot(name string) root {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		d := filepath.Dir(name)
		return root{name: d, fsys: os.DirFS(d), only: filepath.Base(name), os: d}
	}
	return root{name: name, fsys: os.DirFS(name), os: name}
}

// display is the path a person would open.
func (r *root) display(rel string) string {
	if r.os == "" {
		return path.Join(r.name, rel)
	}
	return filepath.Join(r.name, filepath.FromSlash(rel))
}

// candidate is one file that a walk found.
type candidate struct {
	root *root
	rel  string
	path string // display path
	info fs.FileInfo
}

// walk is what one look at a root gave.
type walk struct {
	files []candidate
	dirs  map[string]fs.FileInfo // directories of the operating system, to be watched
	// unread are directories that exist or existed and could not be listed, with the
	// reason: the files below them are kept.
	unread map[string]error
}

// manifest reports whether a file of this name is read. Hidden files are
// editors' and, as "..data", the API server's.
func manifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (r *root) walk(w *walk) {
	if r.only != "" {
		info, err := fs.Stat(r.fsys, r.only)
		if err == nil {
			w.files = append(w.files, candidate{r, r.only, r.display(r.only), info})
		} else if !errors.Is(err, fs.ErrNotExist) {
			w.unread[r.display(r.only)] = err
		}
		// A file that was named stays as it was when it vanishes, as a directory does.
		if errors.Is(err, fs.ErrNotExist) {
			w.unread[r.display(r.only)] = err
		}
		if dir, err := os.Stat(r.os); err == nil {
			w.dirs[r.os] = dir
		}
		return
	}
	info, err := fs.Stat(r.fsys, ".")
	if err != nil {
		w.unread[r.name] = err
		return
	}
	r.list(w, ".", info, nil)
}

func (r *root) list(w *walk, rel string, info fs.FileInfo, above []fs.FileInfo) {
	for _, a := range above {
		if os.SameFile(a, info) {
			return // a symbolic link to a directory it stands in
		}
	}
	if len(above) >= maxTreeDepth {
		w.unread[r.display(rel)] = fmt.Errorf("more than %d directories deep", maxTreeDepth)
		return
	}
	above = append(above[:len(above):len(above)], info)
	entries, err := fs.ReadDir(r.fsys, rel)
	if err != nil {
		w.unread[r.display(rel)] = err
		return
	}
	if r.os != "" {
		w.dirs[r.display(rel)] = info
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		below := path.Join(rel, name)
		if !e.IsDir() && e.Type()&fs.ModeSymlink == 0 && !manifest(name) {
			continue
		}
		info, err := fs.Stat(r.fsys, below)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// It went between the listing and now, or is a dangling link.
		case err != nil:
			w.unread[r.display(below)] = err
		case info.IsDir():
			r.list(w, below, info, above)
		case info.Mode().IsRegular() && manifest(name):
			if len(w.files) >= maxFiles {
				w.unread[r.display(rel)] = fmt.Errorf("more than %d files", maxFiles)
				return
			}
			w.files = append(w.files, candidate{r, below, r.display(below), info})
		}
	}
}

// read returns the content of a file, or an error that a person understands.
func (c candidate) read() ([]byte, error) {
	f, err := c.root.fsys.Open(c.rel)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if c.info.Size() > maxFileSize {
		return nil, fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	return text, err
}

// unreadable is the finding about a file or directory that cannot be read.
func unreadable(name string, err error) diag.Diagnostic {
	d := diag.Diagnostic{
		Code: diag.ManifestInvalid, Severity: diag.Error, Object: fileRef(name), Pos: diag.Pos{File: name},
		Effect: diag.ObjectHeld,
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Message = "it is gone; what was last read from it keeps serving"
		d.Hint = "put it back, or restart without it"
	case errors.Is(err, fs.ErrPermission):
		d.Message, d.Hint = "permission denied", "make it readable for the user lintel runs as"
	default:
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		d.Message = "cannot be read: " + err.Error()
	}
	return d
}
