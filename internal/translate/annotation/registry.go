// Package annotation declares every annotation lintel knows, one file per
// feature: grammar, default, scope, risk, documentation and translation stand
// together, and everything else about an annotation (reference page, webhook, lintel
// check, hints for unknown names) is derived from the declaration.
//
// What a reader gets wrong: a feature never decides what a malformed value does. The
// key's Bad outcome does, applied by translate before features run.
package annotation

import (
	"fmt"
	"sort"
	"strings"
)

// Outcome is what a malformed value does (reference/annotations.md 2.3).
type Outcome uint8

// The outcomes. There is no useful zero value on purpose.
const (
	_    Outcome = iota
	Soft         // the default is used
	Deny         // every route of the Ingress answers 503
	Hard         // the Ingress is not accepted; its last accepted revision serves
)

// Risk is what an operator may forbid by annotations-risk-level.
type Risk uint8

// The risks.
const (
	Low Risk = iota
	Medium
	High
	Critical
)

func (r Risk) String() string { return [...]string{"Low", "Medium", "High", "Critical"}[r] }

// Scope says where a value is settled.
type Scope uint8

// The scopes.
const (
	PerRoute Scope = iota
	PerHost
)

// Conflict says which of several values of a host wins.
type Conflict uint8

// The conflict rules.
const (
	OldestWins Conflict = iota
	AnyTrue
	Union
)

// Grammar is the set of texts a value may be written as.
type Grammar[T any] struct {
	Syntax string // "an integer from 0 to 1048576": docs and error text
	// Parse turns a text into a value. An error made with As carries an outcome of its own;
	// ErrSyntax says that there is nothing to add to Syntax.
	Parse func(string) (T, error)
	// Lenient replaces Parse where value checks are switched off
	// (--enable-annotation-validation=false); nil: Parse. Typed parsing stays.
	Lenient func(string) (T, error)
	// Global replaces Parse for the text of a ConfigMap key; nil: Parse.
	Global func(string) (T, error)
	// Hint is what to write instead; "" derives one from the key's example.
	Hint string
	// AsWritten takes the text without trimming its lines first (numbers and booleans).
	AsWritten bool
	// Lines allows line feeds in the text.
	Lines bool
}

// Spec declares one annotation.
type Spec[T any] struct {
	Name      string   // without the prefix
	Aliases   []string // older names, same meaning; read only if the primary is absent or empty
	Grammar   Grammar[T]
	Default   T
	ConfigMap string // the global key that sets the default, if any; parsed with the same grammar
	Scope     Scope
	Conflict  Conflict
	Risk      Risk
	Bad       Outcome // required
	NoEffect  string  // why the key needs nothing doing; "" for keys that do something
	// Later is what a value other than the default does while lintel does not implement the key; 0: it does.
	Later Outcome
	// Fallback is what a malformed value counts as, where that is not "not set".
	Fallback *T
	// Needed reports whether the value is looked at at all, given the other annotations; nil: always. Where it
	// is not, a malformed value is ignored, whatever Bad says.
	Needed   func(*Values, *Options) bool
	Since    string
	Doc      string   // first sentence stands alone
	Examples []string // each must parse; a test tries them
}

// Info is a Spec without its type.
type Info struct {
	Name      string
	Aliases   []string
	Syntax    string
	Default   string
	ConfigMap string
	Scope     Scope
	Conflict  Conflict
	Risk      Risk
	Bad       Outcome
	NoEffect  string
	Later     Outcome
	Since     string
	Doc       string
	Examples  []string
}

// AnyKey is a Key of any type.
type AnyKey interface {
	Info() Info
	// Check reports what Parse would say of a text: nil when the grammar accepts it.
	Check(text string) error
	// CheckGlobal does so for the text of the ConfigMap key.
	CheckGlobal(text string) error
	parse(text string, validate bool) (any, error)
	rules() rules
}

// rules are what Parse needs of a key besides Info.
type rules struct {
	hint      string
	asWritten bool
	lines     bool
	fallback  any // nil: none
	needed    func(*Values, *Options) bool
}

// Key is a declared annotation.
type Key[T any] struct{ spec *Spec[T] }

// Info describes the key.
func (k Key[T]) Info() Info {
	s := k.spec
	return Info{s.Name, s.Aliases, s.Grammar.Syntax, fmt.Sprint(s.Default), s.ConfigMap, s.Scope, s.Conflict, s.Risk, s.Bad, s.NoEffect, s.Later, s.Since, s.Doc, s.Examples}
}

// Check reports what Parse would say of a text.
func (k Key[T]) Check(text string) error {
	_, err := k.spec.Grammar.Parse(text)
	return err
}

// CheckGlobal reports what is wrong with a text of the ConfigMap key; nil for nothing.
func (k Key[T]) CheckGlobal(text string) error {
	_, _, err := k.spec.Grammar.ReadGlobal(text)
	return err
}

// ReadGlobal reads the text of a ConfigMap key; ok is false where it counts as not set. compat: an
// empty text is false or 0 for booleans and numbers (reference/configmap.md), else not set.
func (g Grammar[T]) ReadGlobal(text string) (v T, ok bool, err error) {
	text = strings.TrimSpace(text)
	parse := g.Parse
	if g.Global != nil {
		parse = g.Global
	} else if text == "" {
		return v, false, nil
	}
	v, err = parse(text)
	return v, err == nil, err
}

func (k Key[T]) parse(text string, validate bool) (any, error) {
	if !validate && k.spec.Grammar.Lenient != nil {
		return k.spec.Grammar.Lenient(text)
	}
	return k.spec.Grammar.Parse(text)
}

func (k Key[T]) rules() rules {
	g := k.spec.Grammar
	r := rules{hint: g.Hint, asWritten: g.AsWritten, lines: g.Lines, needed: k.spec.Needed}
	if k.spec.Fallback != nil {
		r.fallback = *k.spec.Fallback
	}
	return r
}

// Get returns the value that applies and whether this Ingress set it: its own
// annotation, else the ConfigMap key's, else the default. A malformed value has been
// reported by Parse and counts as not set.
func (k Key[T]) Get(v *Values) (T, bool) {
	if p, ok := v.parsed[k.spec.Name]; ok {
		return p.(T), true
	}
	if k.spec.ConfigMap != "" {
		if p, ok := k.fromConfigMap(v); ok {
			return p, false
		}
	}
	return k.spec.Default, false
}

// fromConfigMap reads the default an operator set. A text its grammar refuses has been
// reported with the ConfigMap and counts as not set.
func (k Key[T]) fromConfigMap(v *Values) (T, bool) {
	var zero T
	if v.global == nil {
		return zero, false
	}
	text, ok := v.global(k.spec.ConfigMap)
	if !ok {
		return zero, false
	}
	p, ok, _ := k.spec.Grammar.ReadGlobal(text)
	return p, ok
}

// Values are the parsed annotations of one Ingress. Made by Parse.
type Values struct {
	parsed map[string]any
	raw    map[string]string
	global func(key string) (string, bool)
}

// Raw returns the text an Ingress wrote for a declared name, trimmed, and whether it is there.
func (v *Values) Raw(name string) (string, bool) {
	s, ok := v.raw[name]
	return s, ok
}

// Set reports whether the Ingress set the key to a value its grammar accepts.
func (v *Values) Set(k AnyKey) bool {
	_, ok := v.parsed[k.Info().Name]
	return ok
}

// Feature is what one file declares. Route runs once per path; Host runs at merge
// time and sees only the winning values. Features must not depend on the order they run in.
type Feature struct {
	Name, Title string
	Keys        []AnyKey
	Route       func(*RouteContext)
	Host        func(*HostContext)
}

var (
	keys     = map[string]AnyKey{}
	aliases  = map[string]string{}
	features []Feature
)

// Declare makes a key known. Call it from package-level variables only.
func Declare[T any](s Spec[T]) Key[T] {
	if s.Bad == 0 {
		panic("annotation " + s.Name + ": Bad is required")
	}
	if _, dup := keys[s.Name]; dup {
		panic("annotation " + s.Name + " declared twice")
	}
	k := Key[T]{&s}
	keys[s.Name] = k
	for _, a := range s.Aliases {
		aliases[a] = s.Name
	}
	return k
}

func register(f Feature) struct{} {
	features = append(features, f)
	return struct{}{}
}

// Keys returns every declared key by name.
func Keys() []AnyKey {
	out := make([]AnyKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Info().Name < out[j].Info().Name })
	return out
}

// ByConfigMap returns the keys whose default a key of the controller's ConfigMap sets.
func ByConfigMap(key string) []AnyKey {
	var out []AnyKey
	for _, k := range Keys() {
		if k.Info().ConfigMap == key {
			out = append(out, k)
		}
	}
	return out
}

// Features returns every registered feature.
func Features() []Feature { return features }
