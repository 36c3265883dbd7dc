package global

import (
	"fmt"
	"strings"
)

// Markdown is docs/reference/configmap.md: every key, by section.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# The controller's ConfigMap

<!-- Made from the declarations in internal/translate/global. Do not edit: go test ./internal/translate/global -update -->

The ConfigMap named by ` + "`--configmap namespace/name`" + ` is read live: a changed key is in force as soon as it is saved, without a restart. A value that cannot be read costs only itself: the key's default holds, and a diagnostic on the ConfigMap says so. Keys are read without regard to case.

`)
	keys := Keys()
	for _, g := range groups {
		fmt.Fprintf(&b, "## %s\n\n| key | value | default | |\n| --- | --- | --- | --- |\n", g)
		for _, k := range keys {
			if k.Group == g {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, cell(k.Syntax), cell(k.Default), cell(about(k)))
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("## Removed keys\n\nKeys that ingress-nginx once had and that are ignored with a note: ")
	var names []string
	for _, n := range sortedRemoved() {
		s := "`" + n + "`"
		if instead := removedKeys[n]; instead != "" {
			s += " (use " + instead + ")"
		}
		names = append(names, s)
	}
	b.WriteString(strings.Join(names, ", ") + ".\n")
	return b.String()
}

func about(k Info) string {
	switch k.Verdict {
	case Later:
		return "**Not implemented yet.** " + k.Doc
	case NoEffect:
		return "No effect: " + k.Doc + "."
	case Refused:
		return "Never applied: " + k.Doc + "."
	}
	return k.Doc
}

func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}
