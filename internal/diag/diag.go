// Package diag carries findings about objects: what a person wrote that is
// wrong, where, what to write instead, and what lintel does meanwhile.
//
// Diagnostics are values made where the fault is found (source, translate,
// dataplane), kept with the fragment or host that caused them, and collected in
// one Ledger from which every outlet reads. A mistake in an object is always a
// diagnostic, never only a log line.
package diag

import "strconv"

// Severity orders findings.
type Severity uint8

// The severities.
const (
	Info Severity = iota
	Warning
	Error
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// Effect says what lintel does while the fault stands.
type Effect uint8

// The effects.
const (
	None        Effect = iota // nothing: the finding is advice
	Ignored                   // the value is ignored, its default used
	RouteOff                  // the routes concerned answer 503
	HostOff                   // the host is refused
	ObjectOff                 // the object is not served
	ObjectHeld                // the object's last accepted revision serves
	DefaultCert               // the default certificate is served
)

func (e Effect) String() string {
	return [...]string{"", "value ignored", "route answers 503", "host refused", "object not served", "last accepted revision serves", "default certificate served"}[e]
}

// Ref names an object.
type Ref struct {
	Kind, Namespace, Name string
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Pos is a place in a file; the zero value when the object has none. Line and Column count from 1.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string {
	if p.File == "" {
		return ""
	}
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(max(p.Column, 1))
}

// Diagnostic is one finding about one object. It is comparable apart from Related.
type Diagnostic struct {
	Code     Code
	Severity Severity
	Object   Ref
	Field    string // metadata.annotations[nginx.ingress.kubernetes.io/limit-rps], spec.rules[0].http.paths[1].path
	Value    string // what was written; redacted for secrets
	Message  string // what is wrong: "ten" is not an integer from 0 to 1048576
	Hint     string // what to write or do
	Pos      Pos    // where it stands, when the object came from a file
	Related  []Ref  // the Ingress that won, the Secret that is missing
	Effect   Effect
}
