// Package archtest keeps the architecture true: who imports whom, how long files
// and functions are, that configuration is data, that names use our words, that
// generated pages are current.
//
// It reads the sources itself with go/parser. It must not ask the go command: the test
// cache would not see the files then, and a violation would pass from the cache.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/lintel-ingress/lintel"
)

// source is one Go file.
type source struct {
	path string // from the root of the repository
	pkg  string // directory, from internal/ where it is below that
	test bool
	file *ast.File
}

var fset = token.NewFileSet()

// sources parses every Go file of the repository once.
var sources = sync.OnceValues(func() ([]*source, error) {
	var all []*source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "testdata", "node_modules", "bin":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		all = append(all, &source{
			path: rel, pkg: strings.TrimPrefix(path.Dir(rel), "internal/"),
			test: strings.HasSuffix(rel, "_test.go"), file: f,
		})
		return nil
	})
	return all, err
})

func parsed(t *testing.T) []*source {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files found below %s", len(all), root)
	}
	return all
}

// generated reports whether a file says it is generated.
func (s *source) generated() bool { return ast.IsGenerated(s.file) }

// line returns where a node stands.
func line(n ast.Node) int { return fset.Position(n.Pos()).Line }
