package object

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/diag"
)

func configMap(data map[string]string) Change {
	return Change{
		Key:    Key{Kind: KindConfigMap, Namespace: "n", Name: "c"},
		Object: &ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}, Data: data},
	}
}

func part(p string) Key { return Key{Kind: KindConfigMap, Namespace: "n", Name: "c", Part: p} }

func TestConfigMapChangeNamesTheEntriesThatChanged(t *testing.T) {
	s := NewSnapshot()
	for _, step := range []struct {
		change Change
		want   []Key
	}{
		{configMap(map[string]string{"Keep-Alive": "75", "hsts": "true"}), []Key{part(""), part("hsts"), part("keep-alive")}},
		{configMap(map[string]string{"keep-alive": "75", "hsts": "false"}), []Key{part(""), part("hsts")}},
		{configMap(map[string]string{"keep-alive": "75", "hsts": "false"}), nil},
		{configMap(map[string]string{"hsts": "false", "use-gzip": "true"}), []Key{part(""), part("keep-alive"), part("use-gzip")}},
		{Change{Key: part("")}, []Key{part(""), part("hsts"), part("use-gzip")}},
	} {
		if got := s.Apply([]Change{step.change}); !slices.Equal(got, step.want) {
			t.Fatalf("changed %v, want %v", got, step.want)
		}
	}
}

func TestReaderRecordsWhatItDidNotFind(t *testing.T) {
	s := NewSnapshot()
	s.Apply([]Change{configMap(map[string]string{"HSTS": "true"})})
	r := NewReader(s)
	if _, ok := r.Secret("n", "missing"); ok {
		t.Fatal("found a Secret that is not there")
	}
	if v, ok := r.ConfigMapKey("n", "c", "Hsts"); !ok || v != "true" {
		t.Fatalf("hsts is %q, %v", v, ok)
	}
	r.ConfigMapKey("n", "c", "other")
	r.ConfigMapKey("n", "d", "x")
	want := []Key{{Kind: KindSecret, Namespace: "n", Name: "missing"}, {Kind: KindConfigMap, Namespace: "n", Name: "d", Part: "x"}}
	if got := r.Reads(); !slices.Equal(got, want) {
		t.Errorf("reads %v, want %v", got, want)
	}
	of, parts := r.Parts()
	if of != part("") || !slices.Equal(parts, []string{"hsts", "other"}) {
		t.Errorf("parts of %v: %v", of, parts)
	}
}

func TestKeepLeavesWhatStands(t *testing.T) {
	s := NewSnapshot()
	s.Apply([]Change{configMap(map[string]string{"a": "1"})})
	broken := Change{Key: part(""), Keep: true, Diags: []diag.Diagnostic{{Code: diag.ManifestInvalid}}}
	if got := s.Apply([]Change{broken}); len(got) != 0 {
		t.Fatalf("a half-written manifest changed %v", got)
	}
	if _, _, ok := s.Object(part("")); !ok {
		t.Fatal("a half-written manifest removed the object")
	}
}

func TestPinnedObjectSurvivesDeletionFromTheAPI(t *testing.T) {
	s := NewSnapshot()
	s.Pin(part(""))
	s.Apply([]Change{configMap(map[string]string{"a": "1"})})
	if got := s.Apply([]Change{{Key: part("")}}); len(got) != 0 {
		t.Fatalf("deleting a pinned ConfigMap changed %v", got)
	}
	local := configMap(map[string]string{"a": "2"})
	local.Origin.Local = true
	s.Apply([]Change{local})
	if got := s.Apply([]Change{{Key: part("")}}); len(got) != 2 {
		t.Fatalf("removing the file changed %v", got)
	}
}

func TestSlicesFollowTheirLabel(t *testing.T) {
	s := NewSnapshot()
	put := func(name, svc string) {
		s.Apply([]Change{{
			Key:    Key{Kind: KindEndpointSlice, Namespace: "n", Name: name},
			Object: &EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Labels: map[string]string{serviceLabel: svc}}},
		}})
	}
	count := func(svc string) int { l, _ := s.Slices("n", svc); return len(l) }
	put("b", "web")
	put("a", "web")
	if l, _ := s.Slices("n", "web"); len(l) != 2 || l[0].Name != "a" {
		t.Fatalf("slices of web: %v", l)
	}
	put("b", "api")
	if count("web") != 1 || count("api") != 1 {
		t.Fatalf("after the move web has %d, api %d", count("web"), count("api"))
	}
	s.Apply([]Change{{Key: Key{Kind: KindEndpointSlice, Namespace: "n", Name: "b"}}})
	if count("api") != 0 {
		t.Fatal("a deleted slice is still listed")
	}
}

func TestAcceptedRevisionOutlivesUpdatesAndEndsWithTheObject(t *testing.T) {
	s := NewSnapshot()
	k := Key{Kind: KindIngress, Namespace: "n", Name: "i"}
	put := func(v string) *Ingress {
		in := &Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "i", ResourceVersion: v}}
		in.Annotations = map[string]string{"v": v}
		s.Apply([]Change{{Key: k, Object: in}})
		return in
	}
	first := put("1")
	s.Accept(k, first, Origin{})
	put("2")
	if got, _, ok := s.Accepted(k); !ok || got != first {
		t.Fatalf("accepted is %v", got)
	}
	s.Apply([]Change{{Key: k}})
	put("3")
	if _, _, ok := s.Accepted(k); ok {
		t.Fatal("an accepted revision outlived its object")
	}
}

func TestOlderComesFirst(t *testing.T) {
	in := func(name string, created int64) *Ingress {
		i := &Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
		if created > 0 {
			i.CreationTimestamp = metav1.Time{Time: time.Unix(created, 0)}
		}
		return i
	}
	ages := []Age{
		AgeOf(in("a", 100), Origin{Order: 9}),
		AgeOf(in("z", 200), Origin{Order: 1}),
		AgeOf(in("b", 200), Origin{Order: 0}),
		AgeOf(in("y", 0), Origin{Order: 3}),
		AgeOf(in("x", 0), Origin{Order: 4}),
		AgeOf(in("w", 0), Origin{Order: 4}),
	}
	for i := range ages {
		for j := range ages {
			if got := ages[i].Compare(ages[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%v against %v: %d", ages[i], ages[j], got)
			}
		}
	}
}
