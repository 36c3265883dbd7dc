package router

import (
	"math/rand/v2"
	"regexp"
	"sort"
	"strings"
	"testing"
)

func hosts(names ...string) *Hosts[string] {
	var h *Hosts[string]
	for _, n := range names {
		h = h.With([]Name[string]{name(n)}, nil)
	}
	return h
}

// name reads "text", "text of owner", and "**.x" for a wildcard of any depth.
func name(s string) Name[string] {
	text, owner, _ := strings.Cut(s, " of ")
	n := Name[string]{Text: text, Owner: owner, Value: text}
	if rest, ok := strings.CutPrefix(text, "**"); ok {
		n.Text, n.LeadingAny = "*"+rest, true
	}
	return n
}

func TestHostPrecedence(t *testing.T) {
	h := hosts("a.b.c", "*.b.c", "_", "**.deep.org of z.org", "**.x.deep.org of z.org", "shop.* of q.org",
		"shop.eu.* of q.org", "~^api[0-9]+\\.b\\.c$ of a.org", "~^old\\. of b.org", "plain.alias of q.org")
	for host, want := range map[string]string{
		"a.b.c":            "a.b.c",
		"x.b.c":            "*.b.c",
		"x.y.b.c":          "_",
		"b.c":              "_",
		"x_1-y.b.c":        "*.b.c",
		"x%.b.c":           "_",
		".b.c":             "_",
		"api7.b.c":         "*.b.c", // compat: a wildcard's name sorts before that of the alias's host
		"a.deep.org":       "**.deep.org",
		"a.b.deep.org":     "**.deep.org",
		"a.x.deep.org":     "**.x.deep.org",
		"deep.org":         "_",
		"shop.com":         "shop.*",
		"shop.eu.com":      "shop.eu.*",
		"shop":             "_",
		"old.anything":     "~^old\\.",
		"plain.alias":      "plain.alias",
		"~^old\\.":         "_",
		"*.b.c":            "_",
		"_":                "_",
		"":                 "_",
		"shop.x.deep.org":  "**.x.deep.org",
		"192.0.2.1":        "_",
		"really.long.b.cc": "_",
	} {
		if got, _ := h.Match(host); got != want {
			t.Errorf("%q leads to %q, want %q", host, got, want)
		}
	}
}

func TestRegexAliasOfAnEarlierHostBeatsAWildcard(t *testing.T) {
	h := hosts("*.b.c", "~^api of *.a.c")
	if got, _ := h.Match("api.b.c"); got != "~^api" {
		t.Fatalf("api.b.c leads to %q", got)
	}
}

func naiveHost(names map[string]Name[string], host string) string {
	if n, ok := names[host]; ok && !strings.HasPrefix(host, "~") && !strings.Contains(host, "*") && host != CatchAll {
		return n.Value
	}
	best := ""
	for text, n := range names {
		if n.LeadingAny && strings.HasSuffix(host, text[1:]) && len(host) > len(text)-1 && len(text) > len(best) {
			best = text
		}
	}
	if best != "" {
		return names[best].Value
	}
	for text := range names {
		if p, ok := strings.CutSuffix(text, ".*"); ok && strings.HasPrefix(host, p+".") && len(text) > len(best) {
			best = text
		}
	}
	if best != "" {
		return names[best].Value
	}
	var list []Name[string]
	for text, n := range names {
		if strings.HasPrefix(text, "~") || strings.HasPrefix(text, "*.") && !n.LeadingAny {
			list = append(list, n)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.Owner != b.Owner {
			return a.Owner < b.Owner
		}
		return a.Text < b.Text
	})
	for _, n := range list {
		expr := strings.TrimPrefix(n.Text, "~")
		if strings.HasPrefix(n.Text, "*.") {
			expr = `^[A-Za-z0-9_-]+` + regexp.QuoteMeta(n.Text[1:]) + "$"
		}
		if regexp.MustCompile(expr).MatchString(host) {
			return n.Value
		}
	}
	return names[CatchAll].Value
}

func TestHostsAgreeWithTheNaiveModelThroughChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pool := []string{"_", "a.c", "b.a.c", "*.a.c", "*.b.a.c", "**.c of a.c", "**.d of a.c", "a.* of b.a.c", "a.b.* of b.a.c",
		"~^a of a.c", "~d$ of *.a.c", "x.d of a.c", "*.d"}
	labels := []string{"a", "b", "c", "d", "x"}
	var h *Hosts[string]
	names := map[string]Name[string]{}
	for step := range 2000 {
		var set []Name[string]
		var gone []string
		for range r.IntN(3) {
			n := name(pool[r.IntN(len(pool))])
			if n.Owner == "" {
				n.Owner = n.Text
			}
			dup := false
			for _, s := range set {
				dup = dup || s.Text == n.Text
			}
			if !dup {
				set = append(set, n)
			}
		}
		for range r.IntN(2) {
			gone = append(gone, name(pool[r.IntN(len(pool))]).Text)
		}
		h = h.With(set, gone)
		for _, g := range gone {
			delete(names, g)
		}
		for _, n := range set {
			names[n.Text] = n
		}
		if h.Len() != len(names) {
			t.Fatalf("step %d: %d names, want %d", step, h.Len(), len(names))
		}
		for range 10 {
			var parts []string
			for range 1 + r.IntN(4) {
				parts = append(parts, labels[r.IntN(len(labels))])
			}
			host := strings.Join(parts, ".")
			got, _ := h.Match(host)
			if want := naiveHost(names, host); got != want {
				t.Fatalf("step %d, names %v: %s leads to %q, want %q", step, names, host, got, want)
			}
		}
	}
}

func TestHostMatchDoesNotAllocate(t *testing.T) {
	h := hosts("a.b.c", "*.b.c", "_", "**.deep.org of z.org", "shop.* of q.org")
	for _, host := range []string{"a.b.c", "a-rather-long-label-that-exceeds-small-buffers.b.c", "a.b.deep.org", "nobody.example.com"} {
		if n := testing.AllocsPerRun(100, func() { h.Match(host) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", host, n)
		}
	}
}

func BenchmarkHostMatch(b *testing.B) {
	h := hosts("a.b.c", "*.b.c", "_")
	for b.Loop() {
		h.Match("a.b.c")
	}
}
