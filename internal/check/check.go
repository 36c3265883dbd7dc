package check

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/translate"
)

// The exit statuses of lintel check.
const (
	Clean      = 0 // no errors; no warnings either when Strict
	Faulty     = 1
	Unreadable = 2 // usage, or paths that cannot be read
)

// Options are the settings of lintel check.
type Options struct {
	Translate translate.Options
	Format    string // text (or ""), json, sarif
	Strict    bool   // warnings count as errors
	Verbose   bool   // text shows findings of severity info too
	Version   string // lintel's, for SARIF
}

// Run checks the manifests below paths, writes what it finds to w, and returns the exit
// status. The error explains a status of 2, or says that w failed.
func Run(w io.Writer, o Options, paths ...string) (status int, err error) {
	switch o.Format {
	case "", "text", "json", "sarif":
	default:
		return Unreadable, fmt.Errorf("--output=%q is not text, json or sarif", o.Format)
	}
	world, err := Load(o.Translate, paths...)
	if err != nil {
		return Unreadable, err
	}
	ds := world.Findings()
	if err := report(w, ds, o); err != nil {
		return Unreadable, err
	}
	if world.Objects == 0 && len(ds) == 0 && (o.Format == "" || o.Format == "text") {
		if _, err := fmt.Fprintln(w, "nothing was read: no file below these paths ends in .yaml, .yml or .json, or they are empty"); err != nil {
			return Unreadable, err
		}
	}
	worst, any := diag.Worst(ds)
	if any && (worst == diag.Error || o.Strict && worst == diag.Warning) {
		return Faulty, nil
	}
	return Clean, nil
}

func report(w io.Writer, ds []diag.Diagnostic, o Options) error {
	switch o.Format {
	case "json":
		return diag.WriteJSON(w, ds)
	case "sarif":
		return diag.WriteSARIF(w, ds, o.Version)
	}
	shown := ds
	if !o.Verbose {
		shown = nil
		for _, d := range ds {
			if d.Severity > diag.Info {
				shown = append(shown, d)
			}
		}
	}
	var files files
	if err := diag.WriteText(w, shown, files.line); err != nil {
		return err
	}
	text := diag.Summary(ds)
	if n := len(ds) - len(shown); n > 0 {
		text += " (shown with --verbose)"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// files gives lines of files. Findings come sorted, so one file is kept.
type files struct {
	name  string
	lines [][]byte
}

const maxExcerptFile = 16 << 20

func (f *files) line(name string, n int) (string, bool) {
	if f.name != name {
		f.name, f.lines = name, nil
		info, err := os.Stat(name)
		if err != nil || info.Size() > maxExcerptFile {
			return "", false
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return "", false // the finding stands without its line
		}
		f.lines = bytes.Split(text, []byte("\n"))
	}
	if n < 1 || n > len(f.lines) {
		return "", false
	}
	return string(bytes.TrimRight(f.lines[n-1], "\r")), true
}
