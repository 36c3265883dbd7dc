package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// WriteJSON writes a as one JSON document.
func (a *Answer) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(a)
}

// WriteText writes a for people: the steps a request takes, each with its reason.
func (a *Answer) WriteText(w io.Writer) error {
	p := &page{}
	r := a.Request
	url := r.Scheme + "://" + r.Host + r.Path
	if r.Query != "" {
		url += "?" + r.Query
	}
	p.line(0, "%s %s", r.Method, url)
	if r.Raw != "" {
		p.line(1, "asked as %s; routes match the decoded, normalised path", r.Raw)
	}
	a.writeHost(p)
	a.writeRoute(p)
	if a.Refused != "" {
		p.line(0, "answer  %s", a.Refused)
	}
	if len(a.Others) > 0 {
		p.line(0, "not")
		for _, c := range a.Others {
			from := ""
			if c.Ingress != "" {
				from = " of " + c.Ingress
			}
			p.line(1, "%s %s%s: %s", c.Match, c.Path, from, c.WhyNot)
		}
	}
	if len(a.Annotations) > 0 {
		p.line(0, "annotations")
		for _, n := range a.Annotations {
			p.line(1, "%s: %s%s", n.Name, oneLine(n.Value), at(n.Pos))
			if n.Note != "" {
				p.line(2, "%s", n.Note)
			}
		}
	}
	if len(a.Filters) > 0 {
		p.line(0, "filters, in order")
		for i, f := range a.Filters {
			p.line(1, "%d. %s (%s)", i+1, f.Text, f.Scope)
		}
	}
	for _, b := range a.Backends {
		writeBackend(p, b)
	}
	if len(a.Findings) > 0 {
		p.line(0, "findings")
		for _, d := range a.Findings {
			p.line(1, "%s", d.String())
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (a *Answer) writeHost(p *page) {
	h := a.Host
	if h == nil {
		return
	}
	p.line(0, "host    %s", h.Name)
	p.line(1, "%s", h.Why)
	if h.AliasOf != "" {
		p.line(1, "another name of %s", h.AliasOf)
	}
	if h.Regex {
		p.line(1, "all paths of this host are regular expressions, because one of its Ingresses asks for it")
	}
	if len(h.Ingresses) > 0 {
		p.line(1, "made by Ingress %s", strings.Join(h.Ingresses, ", "))
	}
	p.line(1, "certificate: %s", h.TLS)
}

func (a *Answer) writeRoute(p *page) {
	r := a.Route
	if r == nil {
		return
	}
	p.line(0, "route   %s %s", r.Match, r.Path)
	p.line(1, "%s", r.Why)
	for i, c := range r.Captures {
		p.line(1, "$%d = %s", i, c)
	}
	if r.Ingress != "" {
		p.line(1, "Ingress %s, %s%s", r.Ingress, r.Field, at(r.Pos))
	}
	if r.Deny != "" {
		p.line(1, "answers 503: %s", r.Deny)
	}
	p.line(1, "%s", r.Action)
}

func writeBackend(p *page, b Backend) {
	p.line(0, "%-7s %s", b.Role, b.Pool)
	for _, n := range b.Notes {
		p.line(1, "%s", n)
	}
	if b.Source != "" && b.Source != "none" {
		p.line(1, "endpoints from %s", b.Source)
	}
	for _, e := range b.Endpoints {
		p.line(2, "%s", e)
	}
	if b.Problem != "" {
		p.line(1, "%s: requests get 503", b.Problem)
	}
}

func at(pos string) string {
	if pos == "" {
		return ""
	}
	return "  (" + pos + ")"
}

// oneLine shows a value's first line.
func oneLine(s string) string {
	s = strings.TrimRight(s, "\n")
	if line, _, more := strings.Cut(s, "\n"); more {
		return line + " …"
	}
	return s
}

type page struct{ b strings.Builder }

func (p *page) line(indent int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.b.WriteString(strings.Repeat("    ", indent))
	p.b.WriteString(diag.Printable(text))
	p.b.WriteByte('\n')
}
