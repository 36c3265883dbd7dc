package archtest

import (
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// TestEveryDiagnosticIsProducedAndShown demands that each code of the catalogue is
// reported somewhere, and that a test or a golden file shows it.
func TestEveryDiagnosticIsProducedAndShown(t *testing.T) {
	names := codeNames(t)
	produced, shown := map[diag.Code]bool{}, map[diag.Code]bool{}
	for _, s := range parsed(t) {
		if s.pkg == "diag" || s.pkg == "archtest" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "diag" {
					if code, ok := names[n.Sel.Name]; ok && s.test {
						shown[code] = true
					} else if ok {
						produced[code] = true
					}
				}
			case *ast.BasicLit:
				if s.test {
					for _, code := range names {
						if strings.Contains(n.Value, string(code)) {
							shown[code] = true
						}
					}
				}
			}
			return true
		})
	}
	err := filepath.WalkDir(root+"/internal", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".txtar" {
			return err
		}
		text, err := os.ReadFile(name)
		for _, code := range names {
			if strings.Contains(string(text), "["+string(code)+"]") || strings.Contains(string(text), " "+string(code)+" ") {
				shown[code] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range diag.Catalogue() {
		if !produced[e.Code] {
			t.Errorf("nothing reports %s", e.Code)
		}
		if _, ok := elsewhere[e.Code]; !shown[e.Code] && !ok {
			t.Errorf("no test and no golden file shows %s", e.Code)
		}
	}
}

// elsewhere are codes that no golden file can show, with the reason.
var elsewhere = map[diag.Code]string{
	diag.ServiceEndpoints: "reported at run time, when a pool has no endpoint",
	diag.AddressForbidden: "only for objects of an API server; the end-to-end suite has them",
}

// codeNames returns the constants of diag by their Go names.
func codeNames(t *testing.T) map[string]diag.Code {
	t.Helper()
	names := map[string]diag.Code{}
	for _, s := range parsed(t) {
		if s.pkg != "diag" || s.test {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || len(v.Values) != 1 {
					continue
				}
				if typ, ok := v.Type.(*ast.Ident); !ok || typ.Name != "Code" {
					continue
				}
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					names[v.Names[0].Name] = diag.Code(strings.Trim(lit.Value, `"`))
				}
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d codes found", len(names))
	}
	return names
}
