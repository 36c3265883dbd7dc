package router

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/cow"
)

// CatchAll is the name whose value takes every host that nothing else matches.
const CatchAll = "_"

// Name is one name of a host: "a.example.com", "*.example.com" (one label, or any number
// with LeadingAny), "shop.*", "~regex", or CatchAll. Lower case, apart from regular expressions.
type Name[T any] struct {
	Text string
	// Owner is the host this is another name for, or Text itself. It orders regular expressions.
	Owner      string
	LeadingAny bool
	Value      T
}

// Hosts finds the value for a host name by the precedence of reference/routing.md 4: the
// exact name; names with a leading wildcard for any number of labels, longest first; with a
// trailing wildcard, longest first; wildcards for one label and regular expressions by the
// order of their owners; CatchAll. The zero value and nil are empty.
type Hosts[T any] struct {
	names    *cow.Map[Name[T]] // every name by its text
	leading  *cow.Map[T]       // any number of labels, by the text behind "*."
	trailing *cow.Map[T]       // by the text before ".*"
	labels   *cow.Map[Name[T]] // one label, by the text behind "*."
	regexes  []hostPattern[T]  // by owner
}

type hostPattern[T any] struct {
	name Name[T]
	re   *regexp.Regexp
}

// With returns hosts with the names of set added or replaced and those of gone removed; a
// name in both stands. An expression that does not compile matches nothing. h stays as it is.
func (h *Hosts[T]) With(set []Name[T], gone []string) *Hosts[T] {
	if h == nil {
		h = &Hosts[T]{}
	}
	next := *h
	names, label, lead, trail := map[string]Name[T]{}, map[string]Name[T]{}, map[string]T{}, map[string]T{}
	var noLabel, noLead, noTrail []string
	removed := map[string]bool{}
	drop := func(text string) {
		old, ok := h.names.Get(text)
		if !ok || removed[text] {
			return
		}
		removed[text] = true
		switch kindOf(old) {
		case leadingAny:
			noLead = append(noLead, text[2:])
		case trailing:
			noTrail = append(noTrail, strings.TrimSuffix(text, ".*"))
		case oneLabel:
			noLabel = append(noLabel, text[2:])
		case expression:
			next.regexes = slices.DeleteFunc(slices.Clone(next.regexes), func(p hostPattern[T]) bool { return p.name.Text == text })
		}
	}
	for _, text := range gone {
		drop(text)
	}
	for _, n := range set {
		drop(n.Text)
		if n.Owner == "" {
			n.Owner = n.Text
		}
		names[n.Text] = n
		switch kindOf(n) {
		case leadingAny:
			lead[n.Text[2:]] = n.Value
		case trailing:
			trail[strings.TrimSuffix(n.Text, ".*")] = n.Value
		case oneLabel:
			label[n.Text[2:]] = n
		case expression:
			expr := n.Text[1:]
			if strings.ContainsAny(expr, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				// compat: nginx ignores case in a server name that has capital letters.
				expr = "(?i)" + expr
			}
			re, err := regexp.Compile(expr)
			if err != nil {
				break
			}
			next.regexes = append(slices.Clone(next.regexes), hostPattern[T]{n, re})
			slices.SortStableFunc(next.regexes, func(a, b hostPattern[T]) int {
				if c := strings.Compare(a.name.Owner, b.name.Owner); c != 0 {
					return c
				}
				return strings.Compare(a.name.Text, b.name.Text)
			})
		}
	}
	next.names = h.names.With(names, gone)
	next.labels = h.labels.With(label, noLabel)
	next.leading = h.leading.With(lead, noLead)
	next.trailing = h.trailing.With(trail, noTrail)
	return &next
}

type nameKind uint8

const (
	plain nameKind = iota
	oneLabel
	leadingAny
	trailing
	expression
)

func kindOf[T any](n Name[T]) nameKind {
	switch {
	case strings.HasPrefix(n.Text, "~"):
		return expression
	case strings.HasPrefix(n.Text, "*."):
		if n.LeadingAny {
			return leadingAny
		}
		return oneLabel
	case strings.HasSuffix(n.Text, ".*"):
		return trailing
	}
	return plain
}

// Get returns the value under a name's own text.
func (h *Hosts[T]) Get(text string) (T, bool) {
	if h == nil {
		var zero T
		return zero, false
	}
	n, ok := h.names.Get(text)
	return n.Value, ok
}

// All calls f with every name, in no order, until it returns false.
func (h *Hosts[T]) All(f func(Name[T]) bool) {
	if h == nil {
		return
	}
	for _, n := range h.names.All() {
		if !f(n) {
			return
		}
	}
}

// Len is the number of names.
func (h *Hosts[T]) Len() int {
	if h == nil {
		return 0
	}
	return h.names.Len()
}

// Match finds the value for host, which is lower case, without port and trailing dot. It
// does not allocate unless there are regular expressions.
func (h *Hosts[T]) Match(host string) (T, bool) {
	if h == nil {
		var zero T
		return zero, false
	}
	if n, ok := h.names.Get(host); ok && kindOf(n) == plain && host != CatchAll {
		return n.Value, true
	}
	if h.leading.Len() > 0 {
		for rest := host; ; {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			if v, ok := h.leading.Get(rest); ok && len(host) > len(rest)+1 {
				return v, true
			}
		}
	}
	if h.trailing.Len() > 0 {
		for rest := host; ; {
			i := strings.LastIndexByte(rest, '.')
			if i < 0 {
				break
			}
			rest = rest[:i]
			if v, ok := h.trailing.Get(rest); ok && rest != "" {
				return v, true
			}
		}
	}
	if v, ok := h.pattern(host); ok {
		return v, true
	}
	n, ok := h.names.Get(CatchAll)
	return n.Value, ok
}

// pattern tries one-label wildcards and regular expressions together, in the order of
// their owners: ingress-nginx renders the first as expressions too, and sorts servers by name.
func (h *Hosts[T]) pattern(host string) (T, bool) {
	wild, found := h.wildcard(host)
	for i := range h.regexes {
		p := &h.regexes[i]
		if found && p.name.Owner >= wild.Text {
			break
		}
		if p.re.MatchString(host) {
			return p.name.Value, true
		}
	}
	if found {
		return wild.Value, true
	}
	var zero T
	return zero, false
}

// wildcard finds the one-label wildcard that covers host: one label of letters, digits, "_" and "-".
func (h *Hosts[T]) wildcard(host string) (Name[T], bool) {
	if h.labels.Len() == 0 {
		return Name[T]{}, false
	}
	dot := strings.IndexByte(host, '.')
	if dot <= 0 {
		return Name[T]{}, false
	}
	for i := range dot {
		c := host[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '_' || c == '-') {
			return Name[T]{}, false
		}
	}
	return h.labels.Get(host[dot+1:])
}
