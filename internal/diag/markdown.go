package diag

import (
	"io"
	"strings"
)

// WriteMarkdown writes the catalogue as docs/reference/diagnostics.md.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Diagnostics

<!-- Generated from internal/diag/catalogue.go by: go test ./internal/diag -update -->

Every finding about an object has a code. The same findings appear in ` + "`lintel check`" + `, as
Events on the object, in the log (once, when they appear and when they go), on ` + "`/debug/diagnostics`" + ` and in
the metrics.

| severity | means |
| --- | --- |
| error | something that was asked for is not served |
| warning | it is served, but not as it may have been meant |
| info | nothing needs doing |

| effect | what lintel does meanwhile |
| --- | --- |
`)
	for e := Ignored; e <= DefaultCert; e++ {
		b.WriteString("| " + [...]string{"", "Ignored", "RouteOff", "HostOff", "ObjectOff", "ObjectHeld", "DefaultCert"}[e] + " | " + e.String() + " |\n")
	}
	b.WriteString("\n")
	for _, e := range catalogue {
		b.WriteString("## " + string(e.Code) + "\n\n**" + e.Title + ".** " + e.Help + "\n\n")
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}
