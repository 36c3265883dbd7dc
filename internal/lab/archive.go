package lab

import (
	"fmt"
	"strings"
)

// archive is a text file of several files, in txtar form: a comment, then sections that
// begin with a line "-- name --".
type archive struct {
	comment  string
	sections []section
}

type section struct{ name, text string }

func parseArchive(text string) archive {
	var a archive
	current := &a.comment
	for line := range strings.Lines(text) {
		if name, ok := marker(line); ok {
			a.sections = append(a.sections, section{name: name})
			current = &a.sections[len(a.sections)-1].text
			continue
		}
		*current += line
	}
	return a
}

// marker reads the name of a line "-- name --".
func marker(line string) (string, bool) {
	s, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "-- ")
	if !ok {
		return "", false
	}
	s, ok = strings.CutSuffix(s, " --")
	return strings.TrimSpace(s), ok && strings.TrimSpace(s) != ""
}

func (a *archive) find(name string) *section {
	for i := range a.sections {
		if a.sections[i].name == name {
			return &a.sections[i]
		}
	}
	return nil
}

// set replaces a section's text; a new one goes before the http section.
func (a *archive) set(name, text string) {
	if s := a.find(name); s != nil {
		s.text = text
		return
	}
	at := len(a.sections)
	for i := range a.sections {
		if a.sections[i].name == "http" {
			at = i
		}
	}
	a.sections = append(a.sections[:at:at], append([]section{{name, text}}, a.sections[at:]...)...)
}

func (a *archive) String() string {
	var b strings.Builder
	b.WriteString(a.comment)
	for _, s := range a.sections {
		fmt.Fprintf(&b, "-- %s --\n%s", s.name, s.text)
		if s.text != "" && !strings.HasSuffix(s.text, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
