package diag

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lines gives one line of a source file, without its end; ok is false when
// it cannot be had. Lines count from 1.
type Lines func(file string, line int) (text string, ok bool)

// redacted is what stands in Value where the text is a secret.
const redacted = "[redacted]"

const maxExcerpt = 160

// String is d in one line: place, severity, message, code.
func (d Diagnostic) String() string {
	place := d.Pos.String()
	if place == "" {
		place = d.Object.String()
	}
	subject := ""
	if key, ok := mapKey(d.Field); ok && !strings.Contains(d.Message, key) {
		subject = key + ": "
	}
	return place + ": " + d.Severity.String() + ": " + Printable(subject+d.Message) + " [" + string(d.Code) + "]"
}

// mapKey returns the last element of a field path like metadata.annotations[x/limit-rps]: limit-rps.
func mapKey(field string) (string, bool) {
	open := strings.Index(field, "annotations[")
	if open < 0 || !strings.HasSuffix(field, "]") {
		return "", false
	}
	key := field[open+len("annotations[") : len(field)-1]
	return key[strings.LastIndexByte(key, '/')+1:], true
}

// WriteText writes ds as a compiler writes its findings: a line that editors
// understand (file:line:column: severity: message), then the object and field, the line of the
// file when lines has it, and what to do. lines may be nil. Lines of Secrets are never shown.
func WriteText(w io.Writer, ds []Diagnostic, lines Lines) error {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.String())
		b.WriteByte('\n')
		excerpt(&b, d, lines)
		if d.Object != (Ref{}) && d.Object.Kind != "File" && (d.Pos.File != "" || d.Field != "") {
			b.WriteString("      in " + Printable(d.Object.String()))
			if d.Field != "" {
				b.WriteString(", " + Printable(d.Field))
			}
			b.WriteByte('\n')
		}
		if d.Value != "" && d.Value != redacted && !strings.Contains(d.Message, d.Value) {
			b.WriteString("      found: " + Printable(Clip(d.Value, maxExcerpt)) + "\n")
		}
		for _, r := range d.Related {
			b.WriteString("      see: " + Printable(r.String()) + "\n")
		}
		if d.Hint != "" {
			b.WriteString("      hint: " + Printable(d.Hint) + "\n")
		}
		if e := d.Effect.String(); e != "" {
			b.WriteString("      meanwhile: " + e + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func excerpt(b *strings.Builder, d Diagnostic, lines Lines) {
	if lines == nil || d.Pos.Line == 0 || d.Object.Kind == "Secret" || d.Value == redacted {
		return
	}
	text, ok := lines(d.Pos.File, d.Pos.Line)
	if !ok {
		return
	}
	text = strings.ReplaceAll(text, "\t", " ")
	col := max(d.Pos.Column, 1)
	if utf8.RuneCountInString(text) > maxExcerpt && col < maxExcerpt {
		text = string([]rune(text)[:maxExcerpt-1]) + "…"
	}
	number := strconv.Itoa(d.Pos.Line)
	fmt.Fprintf(b, "%5s | %s\n", number, Printable(text))
	if col <= utf8.RuneCountInString(text)+1 {
		fmt.Fprintf(b, "      | %s^\n", strings.Repeat(" ", col-1))
	}
}

// Printable escapes control characters in s, so that a value cannot move a terminal's cursor.
func Printable(s string) string {
	if !strings.ContainsFunc(s, control) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == utf8.RuneError:
			b.WriteString(`\ufffd`)
		case control(r):
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func control(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// Summary counts ds in a sentence's end: "2 errors, 1 warning".
func Summary(ds []Diagnostic) string {
	var n [3]int
	for _, d := range ds {
		n[d.Severity]++
	}
	var parts []string
	for _, s := range []Severity{Error, Warning, Info} {
		switch {
		case n[s] == 0:
		case n[s] == 1 || s == Info:
			parts = append(parts, strconv.Itoa(n[s])+" "+s.String())
		default:
			parts = append(parts, strconv.Itoa(n[s])+" "+s.String()+"s")
		}
	}
	if parts == nil {
		return "no findings"
	}
	return strings.Join(parts, ", ")
}

type jsonRef struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

type jsonDiagnostic struct {
	Code     Code      `json:"code"`
	Severity string    `json:"severity"`
	Object   *jsonRef  `json:"object,omitempty"`
	Field    string    `json:"field,omitempty"`
	Value    string    `json:"value,omitempty"`
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"`
	File     string    `json:"file,omitempty"`
	Line     int       `json:"line,omitempty"`
	Column   int       `json:"column,omitempty"`
	Related  []jsonRef `json:"related,omitempty"`
	Effect   string    `json:"effect,omitempty"`
}

func toRef(r Ref) jsonRef { return jsonRef(r) }

// MarshalJSON writes d with lower-case names, severity and effect as words.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	j := jsonDiagnostic{
		Code: d.Code, Severity: d.Severity.String(), Field: d.Field, Value: d.Value, Message: d.Message,
		Hint: d.Hint, File: d.Pos.File, Line: d.Pos.Line, Column: d.Pos.Column, Effect: d.Effect.String(),
	}
	if d.Object != (Ref{}) {
		r := toRef(d.Object)
		j.Object = &r
	}
	for _, r := range d.Related {
		j.Related = append(j.Related, toRef(r))
	}
	return json.Marshal(j)
}

// WriteJSON writes ds as one JSON document: {"diagnostics": [...], "errors": n, "warnings": n}.
func WriteJSON(w io.Writer, ds []Diagnostic) error {
	doc := struct {
		Diagnostics []Diagnostic `json:"diagnostics"`
		Errors      int          `json:"errors"`
		Warnings    int          `json:"warnings"`
	}{Diagnostics: ds}
	if ds == nil {
		doc.Diagnostics = []Diagnostic{}
	}
	for _, d := range ds {
		switch d.Severity {
		case Error:
			doc.Errors++
		case Warning:
			doc.Warnings++
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}
