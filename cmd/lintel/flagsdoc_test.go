package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestFlagsPageIsCurrent compares docs/reference/flags.md with the flags, or with -update writes it.
func TestFlagsPageIsCurrent(t *testing.T) {
	const page = "../../docs/reference/flags.md"
	want := flagsPage()
	if flag.Lookup("update").Value.String() == "true" { // package lab declares it
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the code says: go test ./cmd/lintel -run Current -update", page)
	}
}

func TestEveryFlagIsDescribed(t *testing.T) {
	newServeFlags().set.VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("--%s has no description", f.Name)
		}
	})
	for name, l := range later {
		if strings.HasSuffix(l.note, ".") {
			t.Errorf("--%s: the note is a part of a sentence: %q", name, l.note)
		}
	}
}

func flagsPage() []byte {
	var b bytes.Buffer
	b.WriteString("# Flags\n\n<!-- Made from cmd/lintel. Do not edit: go test ./cmd/lintel -run Current -update -->\n\n" +
		"## lintel serve\n\n" +
		"The names are ingress-nginx's where it has the flag. Started as `/nginx-ingress-controller`, by name or as the first\n" +
		"argument, lintel is `lintel serve`. An unknown flag ends the start with exit status 2 and the name that was probably meant.\n\n" +
		"| flag | default | |\n| --- | --- | --- |\n")
	var quiet, noted []string
	newServeFlags().set.VisitAll(func(f *pflag.Flag) {
		l, none := later[f.Name]
		switch {
		case none && l.note == "":
			quiet = append(quiet, "`--"+f.Name+"`")
		case none:
			noted = append(noted, f.Name)
		default:
			flagRow(&b, f)
		}
	})
	b.WriteString("\n### Flags without effect\n\nThey are accepted, so that the arguments of an ingress-nginx Deployment stay as they are. " +
		"Each one given is logged once at start, with this note.\n\n| flag | |\n| --- | --- |\n")
	sort.Strings(noted)
	for _, name := range noted {
		fmt.Fprintf(&b, "| `--%s` | %s |\n", name, later[name].note)
	}
	fmt.Fprintf(&b, "\nAccepted and ignored without a word, because they only concern klog's files and formats: %s.\n", strings.Join(quiet, ", "))
	for _, c := range []*cobra.Command{demoCommand(nil, nil), checkCommand(nil), explainCommand(nil)} {
		fmt.Fprintf(&b, "\n## lintel %s\n\n", c.Use)
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "%s\n\n", strings.ReplaceAll(text, "\n", " "))
		if c.Example != "" {
			b.WriteString("```sh\n")
			for l := range strings.Lines(c.Example) {
				b.WriteString(strings.TrimSpace(l) + "\n")
			}
			b.WriteString("```\n\n")
		}
		b.WriteString("| flag | default | |\n| --- | --- | --- |\n")
		shared := false
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			for _, name := range translationFlags {
				if f.Name == name && c.Name() != "demo" {
					shared = true
					return
				}
			}
			flagRow(&b, f)
		})
		if shared {
			names := make([]string, len(translationFlags))
			for i, name := range translationFlags {
				names[i] = "`--" + name + "`"
			}
			fmt.Fprintf(&b, "\nOf `lintel serve` it also takes what decides how objects are read: %s.\n", strings.Join(names, ", "))
		}
	}
	return b.Bytes()
}

func flagRow(b *bytes.Buffer, f *pflag.Flag) {
	name := "`--" + f.Name + "`"
	if f.Shorthand != "" && f.Shorthand != f.Name {
		name += ", `-" + f.Shorthand + "`"
	}
	value := f.DefValue
	switch {
	case value == "[]":
		value = ""
	case f.Value.Type() == "float64Slice":
		var list []string
		for _, v := range f.Value.(pflag.SliceValue).GetSlice() {
			list = append(list, strings.TrimRight(strings.TrimRight(v, "0"), "."))
		}
		value = "`" + strings.Join(list, ",") + "`"
	case value != "":
		value = "`" + value + "`"
	}
	fmt.Fprintf(b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(f.Usage, "|", "\\|"))
}
