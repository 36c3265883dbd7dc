package metrics

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// described reads a Desc, which shows its parts only as text.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]*)"(?:, unit: "[^"]*")?, constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

// WriteMarkdown writes the reference page of series.
func WriteMarkdown(w io.Writer) error {
	m, err := New(Options{Enabled: true, PerHost: true})
	if err != nil {
		return err
	}
	var rows []string
	for _, c := range []prometheus.Collector{m.requests, newController(m), newProcess(m), newOwn(m)} {
		ch := make(chan *prometheus.Desc, 64)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			f := described.FindStringSubmatch(d.String())
			if f == nil {
				return fmt.Errorf("metrics: %s is not understood", d)
			}
			labels := strings.Split(strings.ReplaceAll(f[4], " ", ""), ",")
			text := "`" + strings.Join(labels, "`, `") + "`"
			if f[4] == "" {
				text = "–"
			}
			if f[3] != "" {
				text += " +"
			}
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", f[1], text, f[2]))
		}
	}
	slices.Sort(rows)
	_, err = io.WriteString(w, `# Metrics

<!-- Made from internal/observe/metrics; do not edit. -->

`+"`/metrics`"+` on the health port answers in Prometheus' text format. The series `+"`nginx_ingress_controller_*`"+` have the
names and labels of ingress-nginx and exist with `+"`--enable-metrics`"+`; `+"`lintel_*`, `go_*` and `process_*`"+` always do. A "+"
stands for the labels `+"`controller_class`, `controller_namespace` and `controller_pod`"+`.

| series | labels | meaning |
| --- | --- | --- |
`+strings.Join(rows, ""))
	return err
}
