package object

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/diag"
)

func TestFieldsAreFoundByPathAndShareThePathsOfLikeObjects(t *testing.T) {
	var s Shapes
	at := func(line int) []Place {
		return []Place{
			{"spec.rules[0].host", diag.Pos{File: "a.yaml", Line: line, Column: 5}},
			{"metadata", diag.Pos{File: "a.yaml", Line: 1, Column: 1}},
			{"spec.rules[0].host", diag.Pos{File: "a.yaml", Line: line + 1, Column: 7}},
		}
	}
	f, g := s.Fields(at(10)), s.Fields(at(20))
	if got, ok := f.At("spec.rules[0].host"); !ok || got.String() != "a.yaml:11:7" {
		t.Errorf("the host is at %v (%v), want the last place given", got, ok)
	}
	if got, ok := g.At("metadata"); !ok || got.String() != "a.yaml:1:1" {
		t.Errorf("metadata is at %v (%v)", got, ok)
	}
	if _, ok := f.At("spec"); ok || f.Len() != 2 {
		t.Errorf("%d fields, spec found: %v", f.Len(), ok)
	}
	if &f.paths[0] != &g.paths[0] {
		t.Error("two objects written alike do not share their paths")
	}
	if f.Same(g) || !f.Same(s.Fields(at(10))) || f.Same(nil) || !(*Fields)(nil).Same(nil) {
		t.Error("sameness is wrong")
	}
	if _, ok := (*Fields)(nil).At("x"); ok || (*Fields)(nil).Len() != 0 || s.Fields(nil) != nil {
		t.Error("nil has fields")
	}
}
