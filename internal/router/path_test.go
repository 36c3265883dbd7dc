package router

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"sort"
	"strings"
	"testing"
)

func entries(specs ...string) []Entry[string] {
	kinds := map[string]Kind{"prefix": Prefix, "exact": Exact, "regex": Regex, "text": Text}
	var out []Entry[string]
	for _, s := range specs {
		k, p, _ := strings.Cut(s, " ")
		out = append(out, Entry[string]{kinds[k], p, s})
	}
	return out
}

// naive is reference/routing.md 5 written down as plainly as possible.
func naive(list []Entry[string], path string) string {
	for _, e := range list {
		if e.Kind == Exact && e.Path == path {
			return e.Value
		}
	}
	var regexes []Entry[string]
	for _, e := range list {
		if e.Kind == Regex {
			regexes = append(regexes, e)
		}
	}
	sort.SliceStable(regexes, func(i, j int) bool {
		a, b := regexes[i].Path, regexes[j].Path
		if len(a) != len(b) {
			return len(a) > len(b)
		}
		return a > b
	})
	for _, e := range regexes {
		if re, err := regexp.Compile("(?i)^" + e.Path); err == nil && re.MatchString(path) {
			return e.Value
		}
	}
	best, found := Entry[string]{}, false
	for _, e := range list {
		var ok bool
		switch e.Kind {
		case Prefix:
			ok = strings.HasPrefix(path, e.Path) && (strings.HasSuffix(e.Path, "/") || len(path) == len(e.Path) || path[len(e.Path)] == '/')
		case Text:
			ok = strings.HasPrefix(path, e.Path)
		}
		if ok && (!found || len(e.Path) > len(best.Path) || len(e.Path) == len(best.Path) && best.Kind == Text && e.Kind == Prefix) {
			best, found = e, true
		}
	}
	return best.Value
}

func TestPathTypesMatchAsTheReferenceSays(t *testing.T) {
	list := entries("prefix /foo", "prefix /foo/bar/", "exact /foo/bar", "exact /x/", "prefix /", "text /healthz", "prefix /a.b")
	ix, err := NewIndex(list)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/foo":         "prefix /foo",
		"/foo/":        "prefix /foo",
		"/foo/x":       "prefix /foo",
		"/foobar":      "prefix /",
		"/FOO":         "prefix /",
		"/foo;v=1":     "prefix /",
		"/foo/bar":     "exact /foo/bar",
		"/foo/bar/":    "prefix /foo/bar/",
		"/foo/bar/baz": "prefix /foo/bar/",
		"/foo/barbaz":  "prefix /foo",
		"/x/":          "exact /x/",
		"/x":           "prefix /",
		"/healthzfoo":  "text /healthz",
		"/axb":         "prefix /",
		"/a.b/c":       "prefix /a.b",
		"/":            "prefix /",
	} {
		if got, _, _ := ix.Match(path, nil); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
}

func TestRegexHostTriesTheLongestTextFirst(t *testing.T) {
	ix, err := NewIndex(entries("regex /[a-z]+", "regex /abc", "regex /abc/def", "regex /abc/(.*)", "regex /foo(/|$)(.*)"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/abc":         "regex /[a-z]+", // recorded: suite 10, long-path-over-short-regex
		"/abcd":        "regex /[a-z]+",
		"/abc/def":     "regex /abc/(.*)",
		"/ABC/X":       "regex /abc/(.*)",
		"/foo/a b":     "regex /foo(/|$)(.*)",
		"/Foo":         "regex /foo(/|$)(.*)",
		"/123":         "",
		"/x/abc/abc/q": "regex /[a-z]+",
	} {
		if got, _, _ := ix.Match(path, nil); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
	_, groups, _ := ix.Match("/foo/bar/baz", make([]string, 0, 4))
	if got := strings.Join(groups, ","); got != "/foo/bar/baz,/,bar/baz" {
		t.Errorf("groups of /foo/bar/baz are %q", got)
	}
}

func TestBrokenRegexIsNamedAndLeftOut(t *testing.T) {
	ix, err := NewIndex(entries("regex /a(?!b)", "regex /a.*"))
	if err == nil || !strings.Contains(err.Error(), "/a(?!b)") {
		t.Fatalf("error is %v, want one that names /a(?!b)", err)
	}
	if got, _, _ := ix.Match("/ab", nil); got != "regex /a.*" {
		t.Fatalf("/ab leads to %q", got)
	}
}

var alphabet = []string{"/", "/", "a", "b", "foo", "A", "s", "k", ".", "-"}

func randomPath(r *rand.Rand) string {
	var b strings.Builder
	b.WriteByte('/')
	for range r.IntN(6) {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func TestIndexAgreesWithTheNaiveModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	names := []string{"prefix", "exact", "text", "regex"}
	regexes := []string{"/a.*", "/foo(/|$)(.*)", "/[a-z]+", "/a|/b", "/", "/fo?o", "/s+k*", "/a{2}", "/(.*)"}
	for range 3000 {
		var specs []string
		for range 1 + r.IntN(8) {
			k := names[r.IntN(4)]
			if k == "regex" {
				if r.IntN(3) == 0 {
					specs = append(specs, "regex "+regexes[r.IntN(len(regexes))])
				}
				continue
			}
			specs = append(specs, k+" "+randomPath(r))
		}
		list := entries(specs...)
		ix, _ := NewIndex(list)
		for range 20 {
			path := randomPath(r)
			got, _, ok := ix.Match(path, nil)
			if want := naive(list, path); got != want || ok != (want != "") {
				t.Fatalf("among %q\n%s leads to %q, want %q", specs, path, got, want)
			}
		}
	}
}

func FuzzIndexAgreesWithTheNaiveModel(f *testing.F) {
	f.Add("prefix /foo\nexact /foo/\ntext /he", "/foo/bar")
	f.Add("regex /a|/b\nprefix /", "/x/b")
	f.Add("regex /sk\nregex /[k-s]", "/\u017f\u212a")
	f.Fuzz(func(t *testing.T, rules, path string) {
		lines := strings.Split(rules, "\n")
		if len(lines) > 20 || len(rules) > 500 {
			return
		}
		list := entries(lines...)
		ix, _ := NewIndex(list)
		got, _, _ := ix.Match(path, nil)
		if want := naive(list, path); got != want {
			t.Fatalf("among %q\n%q leads to %q, want %q", lines, path, got, want)
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var specs []string
	for i := range 100 {
		specs = append(specs, fmt.Sprintf("prefix /api/v%d", i), fmt.Sprintf("exact /p/%d", i))
	}
	ix, _ := NewIndex(entries(specs...))
	for _, path := range []string{"/api/v77/x/y", "/p/3", "/nothing"} {
		if n := testing.AllocsPerRun(100, func() { ix.Match(path, nil) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", path, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, size := range []int{10, 10_000} {
		var specs []string
		for i := range size {
			specs = append(specs, fmt.Sprintf("prefix /api/service%d", i))
		}
		ix, _ := NewIndex(entries(specs...))
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				ix.Match("/api/service7/orders/12", nil)
			}
		})
	}
}
