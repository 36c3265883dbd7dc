package cow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

func TestVersionsNeverDisturbEachOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type version struct {
		m    *Map[int]
		want map[string]int
	}
	var m *Map[int]
	want := map[string]int{}
	var old []version
	for i := range 500 {
		set, gone := map[string]int{}, []string{}
		for range r.IntN(4) {
			set[fmt.Sprint("k", r.IntN(200))] = i
		}
		for range r.IntN(3) {
			gone = append(gone, fmt.Sprint("k", r.IntN(200)))
		}
		m = m.With(set, gone)
		want = maps.Clone(want)
		for _, k := range gone {
			delete(want, k)
		}
		maps.Copy(want, set)
		old = append(old, version{m, want})
	}
	for i, v := range old {
		if got := maps.Collect(v.m.All()); !maps.Equal(got, v.want) || v.m.Len() != len(v.want) {
			t.Fatalf("version %d: got %v, want %v", i, got, v.want)
		}
		for k, n := range v.want {
			if got, ok := v.m.Get(k); !ok || got != n {
				t.Fatalf("version %d: %s is %d, want %d", i, k, got, n)
			}
		}
	}
}

func TestEmptyMapAnswers(t *testing.T) {
	var m *Map[int]
	if _, ok := m.Get("x"); ok || m.Len() != 0 {
		t.Fatal("a nil map has an entry")
	}
	for range m.All() {
		t.Fatal("a nil map yields an entry")
	}
	if n := m.With(nil, []string{"x"}); n.Len() != 0 {
		t.Fatalf("deleting from nothing leaves %d entries", n.Len())
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	m := (*Map[int])(nil).With(map[string]int{"shop.example.com": 1}, nil)
	name := "www.shop.example.com"
	if n := testing.AllocsPerRun(100, func() { m.Get(name[4:]) }); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func BenchmarkOneChangeAmong50k(b *testing.B) {
	all := map[string]int{}
	for i := range 50_000 {
		all[fmt.Sprint("host", i, ".example.com")] = i
	}
	m := (*Map[int])(nil).With(all, nil)
	b.ReportAllocs()
	for b.Loop() {
		m = m.With(map[string]int{"host7.example.com": 1}, nil)
	}
}
