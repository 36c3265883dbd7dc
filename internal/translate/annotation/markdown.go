package annotation

import (
	"fmt"
	"sort"
	"strings"
)

// Markdown is docs/reference/annotations.md: every declared annotation, by feature.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Annotations

<!-- Made from the declarations in internal/translate/annotation. Do not edit: go test ./internal/translate/annotation -update -->

Every name stands behind the prefix ` + "`" + DefaultPrefix + `/` + "`" + ` (flag ` + "`--annotations-prefix`" + `). Values are text: quote numbers and booleans in YAML.

**A malformed value** has one of three outcomes, given with each annotation:

- *default used*: a warning; the value counts as not set.
- *503*: every route of the Ingress answers 503 until the value is corrected. lintel does not leave out what may protect something.
- *not accepted*: the Ingress is not accepted as it is; its last accepted revision serves on, if there is one.

**Risk** is what ` + "`annotations-risk-level`" + ` of the controller's ConfigMap (High, unless set) is compared with: an Ingress with a riskier annotation is not accepted.

**ConfigMap** names the key of the controller's ConfigMap that sets the default.

`)
	list := append([]Feature(nil), features...)
	sort.Slice(list, func(i, j int) bool { return list[i].Title < list[j].Title })
	for _, f := range list {
		if len(f.Keys) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n", f.Title)
		for _, k := range f.Keys {
			writeKey(&b, k.Info())
		}
	}
	writeRemoved(&b)
	return b.String()
}

func writeKey(b *strings.Builder, i Info) {
	fmt.Fprintf(b, "### %s\n\n%s\n\n", i.Name, i.Doc)
	switch {
	case i.NoEffect != "":
		fmt.Fprintf(b, "It is accepted and does nothing: %s.\n\n", i.NoEffect)
	case i.Later == Deny:
		b.WriteString("**Not implemented yet**: with a value that asks for it, the routes of the Ingress answer 503.\n\n")
	case i.Later != 0:
		b.WriteString("**Not implemented yet**: it is ignored with a warning.\n\n")
	}
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "- %s: %s\n", name, value)
		}
	}
	row("value", i.Syntax)
	row("default", code(i.Default))
	row("ConfigMap", code(i.ConfigMap))
	row("risk", i.Risk.String())
	row("malformed", map[Outcome]string{Soft: "default used", Deny: "503", Hard: "not accepted"}[i.Bad])
	if i.Scope == PerHost {
		row("scope", "the host; "+[...]string{"the oldest Ingress decides", "on where any Ingress says so", "those of all Ingresses"}[i.Conflict])
	}
	for _, a := range i.Aliases {
		row("older name", code(a))
	}
	var examples []string
	for _, e := range i.Examples {
		examples = append(examples, code(e))
	}
	row("examples", strings.Join(examples, ", "))
	b.WriteByte('\n')
}

// code puts s into a code span; "" stays "".
func code(s string) string {
	switch {
	case s == "" || s == "[]" || s == "<nil>" || strings.HasPrefix(s, "{"):
		return "" // nothing, or a value that has no text of its own
	case strings.Contains(s, "`"):
		return "`` " + strings.ReplaceAll(s, "\n", " ") + " ``"
	}
	return "`" + strings.ReplaceAll(s, "\n", " ") + "`"
}

func writeRemoved(b *strings.Builder) {
	b.WriteString("## Names that are no annotations\n\nThey are ignored with a warning.\n\n| name | | instead |\n| --- | --- | --- |\n")
	names := make([]string, 0, len(removed))
	for n := range removed {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", n, removed[n].what, removed[n].instead)
	}
}
