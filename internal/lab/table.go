package lab

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lintel-ingress/lintel/internal/config"
)

// full is the directory of cases whose table is shown whole. Elsewhere a route shows only
// in what it differs from a route without annotations, so that a case says what it is about, and
// a new default does not rewrite all of them.
const full = "defaults"

const plainIngress = `A route without annotations.

-- services --
default/plain
-- plain.yaml --
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain, namespace: default}
spec:
  ingressClassName: nginx
  rules:
  - host: plain.example.com
    http:
      paths:
      - {path: /plain/, pathType: Prefix, backend: {service: {name: plain, port: {number: 80}}}}
`

// plain holds what every host has, under "host", and every route, by what it does.
var plain = sync.OnceValues(func() (map[string][]string, error) {
	c := &Case{archive: parseArchive(plainIngress)}
	if err := c.parse(); err != nil {
		return nil, err
	}
	d, _, err := c.build()
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, b := range blocks(d.Text()) {
		if b.indent < 2 && b.does != "" {
			all[b.does] = b.lines
		}
	}
	return all, nil
})

// block is a host or a route in the text of a table, or anything else.
type block struct {
	head   string
	does   string // "host", or what a route does: pool, status, slash, files
	indent int
	lines  []string // without indent
}

func blocks(text string) []block {
	var all []block
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		bare := strings.TrimLeft(line, " ")
		indent := (len(line) - len(bare)) / 2
		_, action, isRoute := strings.Cut(bare, " -> ")
		switch {
		case indent == 0:
			b := block{head: bare}
			if strings.HasPrefix(bare, "host ") && !strings.Contains(bare, " alias-of ") {
				b.does = "host"
			}
			all = append(all, b)
		case indent == 1 && strings.HasPrefix(bare, "route ") && isRoute:
			does, _, _ := strings.Cut(action, " ")
			all = append(all, block{head: bare, does: does, indent: 1})
		default:
			b := &all[len(all)-1]
			b.lines = append(b.lines, bare)
		}
	}
	return all
}

// tableText is the text of a table without what is in every one.
func tableText(d *config.Delta, whole bool) (string, error) {
	if h := d.Hosts[config.CatchAll]; h != nil && !slices.ContainsFunc(h.Routes, func(r *config.Route) bool {
		return r.Origin.Ingress.Name != ""
	}) {
		short := *d
		short.Hosts = maps.Clone(d.Hosts)
		delete(short.Hosts, config.CatchAll)
		d = &short
	}
	if whole {
		return d.Text(), nil
	}
	usual, err := plain()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, b := range blocks(d.Text()) {
		pad := strings.Repeat("  ", b.indent)
		out.WriteString(pad + b.head + "\n")
		for _, l := range different(b.lines, usual[b.does]) {
			out.WriteString(pad + "  " + l + "\n")
		}
	}
	return out.String(), nil
}

// different returns the lines that are not usual, and "without" those usual ones that have no
// counterpart. A route of lintel's own, from no Ingress, has nothing usual.
func different(lines, usual []string) []string {
	first := func(l string) string { w, _, _ := strings.Cut(l, " "); return w }
	own := !slices.ContainsFunc(lines, func(l string) bool { return first(l) == "from" || first(l) == "client-cert" })
	if own || usual == nil {
		return lines
	}
	var out []string
	for _, l := range lines {
		if !slices.Contains(usual, l) || first(l) == "from" {
			out = append(out, l)
		}
	}
	for _, u := range usual {
		if !slices.ContainsFunc(lines, func(l string) bool { return first(l) == first(u) }) {
			out = append(out, "without "+u)
		}
	}
	return out
}
