package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// wants checks the number of arguments; most of -1 is any. The text says what to write.
func wants(least, most int, text string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case most >= 0 && len(args) > most:
			return status{exitUsage, fmt.Sprintf("%s; got %q besides", text, args[most])}
		case len(args) < least:
			return status{exitUsage, text}
		}
		return nil
	}
}

// flagText says in one sentence what is wrong with the flags of a command, and which was probably meant.
func flagText(command string, set *pflag.FlagSet, err error) string {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		dashes := "--"
		if in := unknown.GetSpecifiedShortnames(); in != "" {
			if len(in) > 1 {
				name = in // -http-port, which pflag reads as -h -t …
			} else {
				dashes = "-"
			}
		}
		text := "unknown flag " + dashes + name
		if near := nearestFlag(set, name); near != "" {
			text += "; did you mean --" + near + "?"
		}
		return text + " (" + command + " --help lists all)"
	case errors.As(err, &missing):
		f := missing.GetFlag()
		return fmt.Sprintf("--%s wants a value: --%s=%s", f.Name, f.Name, kindOf(f).sample)
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return fmt.Sprintf("--%s=%q is not %s", f.Name, invalid.GetValue(), kindOf(f).what)
	}
	return err.Error()
}

// flagKind is how values of one type of flag are described.
type flagKind struct{ what, sample string }

func kindOf(f *pflag.Flag) flagKind {
	switch f.Value.Type() {
	case "int":
		return flagKind{"an integer", "1"}
	case "bool":
		return flagKind{"true or false", "true"}
	case "duration":
		return flagKind{"a duration such as 30s or 5m", "30s"}
	case "float64Slice":
		return flagKind{"a list of numbers such as 0.1,0.5,1", "0.1,0.5,1"}
	}
	return flagKind{"valid", "TEXT"}
}

// commandText is cobra's complaint about an unknown command as one sentence.
func commandText(root *cobra.Command, err error) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), `unknown command "`), `"`)
	text := fmt.Sprintf("unknown command %q", name)
	if near := root.SuggestionsFor(name); len(near) > 0 {
		text += "; did you mean " + near[0] + "?"
	}
	return text + " (lintel --help lists all)"
}

// nearestFlag names the known flag most like name, or "".
func nearestFlag(set *pflag.FlagSet, name string) string {
	best, bestDist := "", min(len(name), max(3, len(name)/3+1))
	set.VisitAll(func(f *pflag.Flag) {
		if d := distance(name, f.Name); d < bestDist {
			best, bestDist = f.Name, d
		}
	})
	return best
}

// distance is the edit distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			prev, row[j] = row[j], min(row[j]+1, row[j-1]+1, prev+cost)
		}
	}
	return row[len(b)]
}
