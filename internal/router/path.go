// Package router finds things by host name and by path. It knows nothing of
// HTTP: Hosts and Index hold values of any type, are immutable, and may be
// read by any number of goroutines.
//
// What a reader gets wrong: paths are compared as they come, so they must be
// decoded and normalised before; and the path of a rule is text to compare with
// that form, never decoded itself.
package router

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// Kind is how an Entry's path compares.
type Kind uint8

// The kinds. Their numbers are those of config.MatchType.
const (
	Prefix Kind = iota // by path elements; a path that ends in "/" matches below it only
	Exact
	Regex // case-insensitive, anchored at the start, open at the end
	Text  // plain text prefix
)

// Entry is one path and what it leads to.
type Entry[T any] struct {
	Kind  Kind
	Path  string
	Value T
}

// Index finds the entry for a path: an exact one, else the first regular expression that
// matches in the order of reference/routing.md 5, else the longest prefix. Of equal entries
// the first given counts. It costs time by the length of the path, whatever the
// number of exact and prefix entries.
type Index[T any] struct {
	exact   map[string]T
	regexes []pattern[T]
	root    *node[T]
}

type pattern[T any] struct {
	literal string // lower-case ASCII text every match starts with, after folding
	re      *regexp.Regexp
	groups  bool
	value   T
}

// NewIndex makes an index. Entries whose regular expression does not compile are left
// out and named in the error; the index is usable all the same.
func NewIndex[T any](entries []Entry[T]) (*Index[T], error) {
	ix := &Index[T]{}
	var bad []string
	var regexes []Entry[T]
	for _, e := range entries {
		switch e.Kind {
		case Exact:
			if ix.exact == nil {
				ix.exact = make(map[string]T)
			}
			if _, taken := ix.exact[e.Path]; !taken {
				ix.exact[e.Path] = e.Value
			}
		case Regex:
			regexes = append(regexes, e)
		default:
			if ix.root == nil {
				ix.root = &node[T]{}
			}
			ix.root.insert(e.Path, e.Kind == Text, e.Value)
		}
	}
	// compat: reference/routing.md 5: descending by text, then stably by length descending.
	sort.SliceStable(regexes, func(i, j int) bool { return regexes[i].Path > regexes[j].Path })
	sort.SliceStable(regexes, func(i, j int) bool { return len(regexes[i].Path) > len(regexes[j].Path) })
	for _, e := range regexes {
		re, err := Compile(e.Path)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%q: %v", e.Path, err))
			continue
		}
		ix.regexes = append(ix.regexes, pattern[T]{fold(literal(e.Path)), re, re.NumSubexp() > 0, e.Value})
	}
	if bad != nil {
		return ix, fmt.Errorf("regular expressions that do not compile: %s", strings.Join(bad, "; "))
	}
	return ix, nil
}

// Compile compiles a path as a regular expression of a host in regex mode.
func Compile(path string) (*regexp.Regexp, error) {
	// compat: `location ~* "^<path>"`: in "/a|/b" only the first branch is anchored.
	return regexp.Compile("(?i)^" + path)
}

// Match finds the value for path. captures receives the groups of a regular expression,
// the whole match first, appended to captures[:0]; it stays empty for other kinds.
func (ix *Index[T]) Match(path string, captures []string) (value T, groups []string, ok bool) {
	groups = captures[:0]
	if v, found := ix.exact[path]; found {
		return v, groups, true
	}
	for i := range ix.regexes {
		p := &ix.regexes[i]
		if !hasPrefixFold(path, p.literal) {
			continue
		}
		if !p.groups {
			if loc := p.re.FindStringIndex(path); loc != nil {
				return p.value, append(groups, path[loc[0]:loc[1]]), true
			}
			continue
		}
		// Testing first keeps the patterns that do not match free of allocations.
		if !p.re.MatchString(path) {
			continue
		}
		loc := p.re.FindStringSubmatchIndex(path)
		for g := 0; g+1 < len(loc); g += 2 {
			if loc[g] < 0 {
				groups = append(groups, "")
			} else {
				groups = append(groups, path[loc[g]:loc[g+1]])
			}
		}
		return p.value, groups, true
	}
	if ix.root != nil {
		if v := ix.root.longest(path); v != nil {
			return *v, groups, true
		}
	}
	return value, groups, false
}

// literal is text that every match of the expression starts with: as long a run of
// letters, digits and "/", "-", "_" as the expression starts with, without a last
// one that a quantifier may take away. An alternative anywhere makes it empty.
func literal(expr string) string {
	if strings.ContainsRune(expr, '|') {
		return ""
	}
	n := 0
	for n < len(expr) {
		c := expr[n]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '/' || c == '-' || c == '_' {
			n++
			continue
		}
		break
	}
	if n < len(expr) && n > 0 && strings.IndexByte("?*+{", expr[n]) >= 0 {
		n--
	}
	// "k" and "s" fold to letters outside ASCII, which the byte comparison would refuse.
	if i := strings.IndexAny(expr[:n], "kKsS"); i >= 0 {
		n = i
	}
	return expr[:n]
}

func fold(s string) string { return strings.ToLower(s) }

// hasPrefixFold reports whether s starts with the lower-case ASCII text prefix, whatever the case.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := 0; i < len(prefix); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// node is one node of the radix tree of prefixes. The texts from the root to a node are
// a prefix; it may end there, by elements (value) or anywhere (text).
type node[T any] struct {
	label    string
	value    *T // an element prefix ends here
	text     *T // a plain text prefix ends here
	slash    bool
	first    []byte // the first byte of each child's label, sorted
	children []*node[T]
}

func (n *node[T]) insert(path string, text bool, v T) {
	full := path
	for path != "" {
		i := n.child(path[0])
		if i < 0 {
			leaf := &node[T]{label: path}
			n.add(leaf)
			n = leaf
			break
		}
		c := n.children[i]
		k := common(c.label, path)
		if k < len(c.label) {
			mid := &node[T]{label: c.label[:k]}
			c.label = c.label[k:]
			mid.add(c)
			n.children[i] = mid
			c = mid
		}
		n, path = c, path[k:]
	}
	n.slash = strings.HasSuffix(full, "/")
	if text {
		if n.text == nil {
			n.text = &v
		}
	} else if n.value == nil {
		n.value = &v
	}
}

func (n *node[T]) add(c *node[T]) {
	i := sort.Search(len(n.first), func(i int) bool { return n.first[i] >= c.label[0] })
	n.first = append(n.first, 0)
	copy(n.first[i+1:], n.first[i:])
	n.first[i] = c.label[0]
	n.children = append(n.children, nil)
	copy(n.children[i+1:], n.children[i:])
	n.children[i] = c
}

func (n *node[T]) child(b byte) int {
	for i, f := range n.first {
		if f == b {
			return i
		}
	}
	return -1
}

// longest is the value of the longest prefix that matches path.
func (n *node[T]) longest(path string) *T {
	var best *T
	rest := path
	for {
		switch {
		case n.value != nil && (n.slash || rest == "" || rest[0] == '/'):
			// The empty prefix is "/" as a rule writes it: everything.
			best = n.value
		case n.text != nil:
			best = n.text
		}
		if rest == "" {
			return best
		}
		i := n.child(rest[0])
		if i < 0 || !strings.HasPrefix(rest, n.children[i].label) {
			return best
		}
		n = n.children[i]
		rest = rest[len(n.label):]
	}
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
