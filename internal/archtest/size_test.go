package archtest

import (
	"go/ast"
	"testing"
)

const (
	maxFile     = 800
	maxFunction = 120
)

// long lists files and functions that may be longer, each with its reason.
var long = map[string]string{}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	used := map[string]bool{}
	excused := func(name string) bool {
		_, ok := long[name]
		used[name] = used[name] || ok
		return ok
	}
	for _, s := range parsed(t) {
		if s.generated() {
			continue
		}
		if n := fset.File(s.file.Pos()).LineCount(); n > maxFile && !excused(s.path) {
			t.Errorf("%s has %d lines; cut it where its ideas are, at most %d", s.path, n, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
			if n > maxFunction && !excused(s.path+" "+f.Name.Name) {
				t.Errorf("%s:%d: %s has %d lines; cut it where its stages are, at most %d", s.path, line(f), f.Name.Name, n, maxFunction)
			}
		}
	}
	for name := range long {
		if !used[name] {
			t.Errorf("size_test.go: %s is not too long any more: take it out of the list", name)
		}
	}
}
