package archtest

import (
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// values are types with hidden fields that are values all the same.
var values = []string{"net/netip.Addr", "net/netip.AddrPort", "net/netip.Prefix", "time.Time"}

func TestConfigurationIsData(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, root := range []any{config.Delta{}, config.Global{}, diag.Diagnostic{}} {
		walk(t, reflect.TypeOf(root), reflect.TypeOf(root).String(), seen)
	}
}

// walk refuses whatever cannot be compared with reflect.DeepEqual and printed.
func walk(t *testing.T, typ reflect.Type, at string, seen map[reflect.Type]bool) {
	if seen[typ] {
		return
	}
	seen[typ] = true
	switch typ.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		t.Errorf("%s is a %s: configuration is data", at, typ.Kind())
	case reflect.Interface:
		if typ != reflect.TypeFor[filter.Config]() {
			t.Errorf("%s is an interface: only filter.Config may be one", at)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		walk(t, typ.Elem(), at+"[]", seen)
	case reflect.Map:
		walk(t, typ.Key(), at+" key", seen)
		walk(t, typ.Elem(), at+"[]", seen)
	case reflect.Struct:
		if slices.Contains(values, typ.PkgPath()+"."+typ.Name()) {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				t.Errorf("%s.%s is not exported: configuration has no hidden state", at, f.Name)
				continue
			}
			walk(t, f.Type, at+"."+f.Name, seen)
		}
	}
}

// TestFilterSettingsAreData looks at every type with a FilterName method. They are found in
// the sources, so that a new filter cannot be forgotten here.
func TestFilterSettingsAreData(t *testing.T) {
	types := map[string]map[string]*ast.TypeSpec{} // by package
	type config struct {
		s    *source
		name string
	}
	var configs []config
	for _, s := range parsed(t) {
		if s.test || !strings.HasPrefix(s.pkg, "filter/") {
			continue
		}
		if types[s.pkg] == nil {
			types[s.pkg] = map[string]*ast.TypeSpec{}
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						types[s.pkg][spec.Name.Name] = spec
					}
				}
			case *ast.FuncDecl:
				if d.Name.Name == "FilterName" && d.Recv != nil {
					if id, ok := d.Recv.List[0].Type.(*ast.Ident); ok {
						configs = append(configs, config{s, id.Name})
					} else {
						t.Errorf("%s:%d: FilterName has a pointer receiver: a filter.Config is a value", s.path, line(d))
					}
					checkOrder(t, s, d)
				}
			}
		}
	}
	if len(configs) == 0 {
		t.Fatal("no filter found")
	}
	for _, c := range configs {
		data(t, c.s, types[c.s.pkg], ast.NewIdent(c.name), map[string]bool{})
	}
}

// checkOrder demands that FilterName returns a literal that is in filter.Order.
func checkOrder(t *testing.T, s *source, d *ast.FuncDecl) {
	if len(d.Body.List) == 1 {
		if r, ok := d.Body.List[0].(*ast.ReturnStmt); ok && len(r.Results) == 1 {
			if lit, ok := r.Results[0].(*ast.BasicLit); ok {
				name, err := strconv.Unquote(lit.Value)
				if err == nil && filter.Position(name) < 0 {
					t.Errorf("%s:%d: filter %q is not in filter.Order", s.path, line(d), name)
				}
				return
			}
		}
	}
	t.Errorf("%s:%d: FilterName returns no literal", s.path, line(d))
}

// foreign are types of other packages that are data.
var foreign = []string{
	"netip.Addr", "netip.AddrPort", "netip.Prefix", "time.Duration", "filter.Prefixes", "exchange.Field", "http.Header",
}

func data(t *testing.T, s *source, local map[string]*ast.TypeSpec, e ast.Expr, seen map[string]bool) {
	switch e := e.(type) {
	case *ast.Ident:
		spec := local[e.Name]
		if spec == nil || seen[e.Name] {
			return // a basic type
		}
		seen[e.Name] = true
		data(t, s, local, spec.Type, seen)
	case *ast.StructType:
		for _, f := range e.Fields.List {
			for _, n := range f.Names {
				if !n.IsExported() {
					t.Errorf("package %s: field %s of its settings is not exported: settings have no hidden state", s.pkg, n.Name)
				}
			}
			data(t, s, local, f.Type, seen)
		}
	case *ast.ArrayType:
		data(t, s, local, e.Elt, seen)
	case *ast.StarExpr:
		data(t, s, local, e.X, seen)
	case *ast.MapType:
		data(t, s, local, e.Key, seen)
		data(t, s, local, e.Value, seen)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			name := x.Name + "." + e.Sel.Name
			if !slices.Contains(foreign, name) {
				t.Errorf("package %s: its settings hold a %s, which is not known to be data", s.pkg, name)
			}
		}
	default:
		t.Errorf("package %s: its settings hold a %T: settings are data", s.pkg, e)
	}
}
