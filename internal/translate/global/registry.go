// Package global reads the controller's ConfigMap: every key lintel knows stands
// here with its grammar, default, effect and documentation, and Build makes the
// settings of them that are not of a route.
//
// What a reader gets wrong: a key that is the default of an annotation is not applied here.
// annotation.Key.Get reads it where the annotation is read; here its text is only checked, so
// that a bad value is reported once, with the ConfigMap, and not with each Ingress.
package global

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// Verdict says what lintel does with a key.
type Verdict uint8

// The verdicts of reference/configmap.md, and Later for what is still to come.
const (
	Implemented Verdict = iota
	Later               // known, not implemented yet: a warning
	NoEffect            // nothing needs doing: a note
	Refused             // never applied: a warning
)

func (v Verdict) String() string {
	return [...]string{"implemented", "not implemented yet", "no effect", "refused"}[v]
}

// Spec declares one key.
type Spec[T any] struct {
	Name    string // lower case
	Group   string // section of the reference page
	Grammar annotation.Grammar[T]
	Default T
	// Shown is the default as the page shows it; "" prints Default.
	Shown string
	Doc   string // first sentence stands alone
}

// Info is what is known of a key.
type Info struct {
	Name, Group, Syntax, Default, Doc string
	Verdict                           Verdict
	// Annotation is the annotation whose default the key is; "".
	Annotation string
}

// entry is a declared key without its type.
type entry struct {
	Info
	// read parses a text. Nothing is checked where it is nil.
	read func(text string) (value any, ok bool, err error)
	hint string
}

var entries = map[string]*entry{}

// Key is a declared key of type T.
type Key[T any] struct{ spec *Spec[T] }

// get returns the value that applies.
func (k Key[T]) get(r *reader) T {
	if v, ok := r.values[k.spec.Name]; ok {
		return v.(T)
	}
	return k.spec.Default
}

// set reports whether the ConfigMap holds a usable value.
func (k Key[T]) set(r *reader) bool {
	_, ok := r.values[k.spec.Name]
	return ok
}

func declare[T any](s Spec[T]) Key[T] {
	shown := s.Shown
	if shown == "" {
		shown = fmt.Sprint(s.Default)
	}
	add(&entry{
		Info: Info{Name: s.Name, Group: s.Group, Syntax: s.Grammar.Syntax, Default: shown, Doc: s.Doc},
		read: func(text string) (any, bool, error) { return s.Grammar.ReadGlobal(text) },
		hint: s.Grammar.Hint,
	})
	return Key[T]{&s}
}

func add(e *entry) {
	if _, dup := entries[e.Name]; dup {
		panic("configmap key " + e.Name + " declared twice")
	}
	entries[e.Name] = e
}

// Keys returns what is known of every key, by name.
func Keys() []Info {
	out := make([]Info, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.info())
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// info completes what follows from the annotations.
func (e *entry) info() Info {
	i := e.Info
	if i.Verdict != Implemented || e.read != nil {
		return i
	}
	if keys := annotation.ByConfigMap(i.Name); len(keys) > 0 {
		a := keys[0].Info()
		i.Annotation, i.Syntax = a.Name, a.Syntax
		if i.Default == "" {
			i.Default = a.Default
		}
		if i.Doc == "" {
			i.Doc = "The default of the annotation " + a.Name + "."
		}
		if a.Later != 0 {
			i.Verdict = Later
		}
		return i
	}
	i.Verdict = Later
	return i
}

// reader is one reading of a ConfigMap.
type reader struct {
	data   map[string]string
	values map[string]any
	diags  []diag.Diagnostic
}

// read checks every key that is there.
func (r *reader) read() {
	names := make([]string, 0, len(r.data))
	for n := range r.data {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, name := range names {
		e, ok := entries[strings.ToLower(name)]
		if !ok {
			r.unknown(name)
			continue
		}
		r.readKey(name, e)
	}
}

func (r *reader) readKey(name string, e *entry) {
	text := r.data[name]
	info := e.info()
	switch info.Verdict {
	case NoEffect:
		r.report(name, diag.Diagnostic{Code: diag.ConfigMapNoEffect, Severity: diag.Info,
			Message: name + " has no effect: " + info.Doc, Hint: "it may be removed"})
		return
	case Refused:
		if strings.TrimSpace(text) == "" || (info.Default == "false" && strings.TrimSpace(text) == "false") {
			return
		}
		r.report(name, diag.Diagnostic{Code: diag.ConfigMapNoEffect, Severity: diag.Warning, Effect: diag.Ignored,
			Message: name + " is not applied: " + info.Doc, Hint: "remove it"})
		return
	case Later:
		if strings.TrimSpace(text) != info.Default && strings.TrimSpace(text) != "" {
			r.report(name, diag.Diagnostic{Code: diag.ConfigMapLater, Severity: diag.Warning, Effect: diag.Ignored,
				Message: name + " is not implemented yet", Hint: "remove it if you can do without"})
		}
		return
	}
	if e.read == nil {
		for _, k := range annotation.ByConfigMap(info.Name) {
			if err := k.CheckGlobal(text); err != nil {
				r.bad(name, info, "", err)
				return
			}
		}
		return
	}
	v, ok, err := e.read(text)
	if err != nil {
		r.bad(name, info, e.hint, err)
		return
	}
	if ok {
		r.values[info.Name] = v
	}
}

func (r *reader) bad(name string, info Info, hint string, err error) {
	text := strings.TrimSpace(r.data[name])
	msg := fmt.Sprintf("%s: %s is not %s", name, annotation.Quote(text), info.Syntax)
	if !errors.Is(err, annotation.ErrSyntax) {
		msg += ": " + err.Error()
	}
	if hint == "" {
		hint = "the default holds meanwhile: " + info.Default
	}
	r.report(name, diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Error, Effect: diag.Ignored, Message: msg, Hint: hint})
}

func (r *reader) unknown(name string) {
	d := diag.Diagnostic{Code: diag.ConfigMapUnknown, Severity: diag.Warning, Effect: diag.Ignored,
		Message: "there is no key " + annotation.Quote(name), Hint: "see the list of keys, or remove it"}
	lower := strings.ToLower(name)
	if instead, ok := successor(lower); ok {
		d.Code, d.Message = diag.ConfigMapNoEffect, name+" was removed"
		d.Hint = "remove it"
		if instead != "" {
			d.Hint = "use " + instead
		}
	} else if near := annotation.Nearest(lower, names()); near != "" {
		d.Hint = "did you mean " + near + "?"
	}
	r.report(name, d)
}

// report adds a finding about a key; object and position are the caller's to fill in.
func (r *reader) report(name string, d diag.Diagnostic) {
	d.Field = "data[" + name + "]"
	if d.Value == "" {
		d.Value = annotation.Clip(r.data[name])
	}
	r.diags = append(r.diags, d)
}

func names() []string {
	out := make([]string, 0, len(entries))
	for n := range entries {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
