package parity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Lists is intended.yaml: what may differ.
type Lists struct {
	// Required are suites that differ in nothing but Intended.
	Required []string `yaml:"required"`
	// Intended are differences that are meant, each with its reason.
	Intended []*Intended `yaml:"intended"`
	// Remaining are the cases, by suite, that differ and are still to be done. A case in
	// it that agrees is an error, so that the list can only shrink.
	Remaining map[string][]string `yaml:"remaining"`
}

// Intended is one difference that is meant. "*" in Case, Request and What stands for anything.
type Intended struct {
	Suite   string `yaml:"suite"`
	Case    string `yaml:"case"`
	Request string `yaml:"request"` // default: all of the case
	What    string `yaml:"what"`
	Here    string `yaml:"here"` // what lintel must answer instead; default: anything
	Reason  string `yaml:"reason"`
	// Sometimes is set where chance decides whether it differs; such an entry may cover nothing.
	Sometimes bool `yaml:"sometimes"`

	used bool
}

// remainingKey begins the part of the file that a test run may write.
const remainingKey = "remaining:"

// LoadLists reads intended.yaml.
func LoadLists(file string) (*Lists, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	l := &Lists{}
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if l.Remaining == nil {
		l.Remaining = map[string][]string{}
	}
	return l, l.check(file)
}

func (l *Lists) check(file string) error {
	var errs []error
	for i, e := range l.Intended {
		or(&e.Request, "*")
		if e.Suite == "" || e.Case == "" || e.What == "" || strings.TrimSpace(e.Reason) == "" {
			errs = append(errs, fmt.Errorf("%s: intended[%d] needs a suite, a case, what differs, and a reason", file, i))
		}
	}
	for _, s := range l.Required {
		if len(l.Remaining[s]) > 0 {
			errs = append(errs, fmt.Errorf("%s: suite %s is required, so nothing of it may remain: %v", file, s, l.Remaining[s]))
		}
	}
	return errors.Join(errs...)
}

// Unintended returns the differences of one request that no entry covers.
func (l *Lists) Unintended(suite, name, request string, found []Difference) []Difference {
	return slices.DeleteFunc(slices.Clone(found), func(d Difference) bool {
		meant := false
		for _, e := range l.Intended {
			if e.Suite == suite && matches(e.Case, name) && matches(e.Request, request) && matches(e.What, d.What) &&
				(e.Here == "" || e.Here == d.Got) {
				e.used, meant = true, true
			}
		}
		return meant
	})
}

// Unused returns the entries for a suite of which every case in ran was compared and that covered nothing.
func (l *Lists) Unused(suite string, all, ran []string) []*Intended {
	var out []*Intended
	for _, e := range l.Intended {
		if e.Suite != suite || e.used || e.Sometimes {
			continue
		}
		complete, any := true, false
		for _, name := range all {
			if matches(e.Case, name) {
				any = true
				complete = complete && slices.Contains(ran, name)
			}
		}
		if complete || !any {
			out = append(out, e)
		}
	}
	return out
}

// Remains reports whether a case is listed as still to be done.
func (l *Lists) Remains(suite, name string) bool { return slices.Contains(l.Remaining[suite], name) }

// SetRemaining replaces what is listed of the cases in ran; other cases stay as they are.
func (l *Lists) SetRemaining(suite string, ran, differ []string) {
	left := slices.DeleteFunc(slices.Clone(l.Remaining[suite]), func(name string) bool { return slices.Contains(ran, name) })
	left = append(left, differ...)
	slices.Sort(left)
	left = slices.Compact(left)
	if len(left) == 0 {
		delete(l.Remaining, suite)
		return
	}
	l.Remaining[suite] = left
}

// Save writes the list of what remains back, and leaves the rest of the file as it is.
func (l *Lists) Save(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, _, ok := strings.Cut("\n"+string(text), "\n"+remainingKey)
	if !ok {
		return fmt.Errorf("%s: no line begins with %q", file, remainingKey)
	}
	var b strings.Builder
	b.WriteString(strings.TrimPrefix(head, "\n") + "\n" + remainingKey)
	if len(l.Remaining) == 0 {
		b.WriteString(" {}")
	}
	b.WriteString("\n")
	for _, suite := range sortedKeys(l.Remaining) {
		cases := l.Remaining[suite]
		fmt.Fprintf(&b, "  %s: # %d\n", suite, len(cases))
		for _, name := range cases {
			fmt.Fprintf(&b, "  - %s\n", name)
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
