package annotation

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

var configurationSnippet = Declare(Spec[snippet.Config]{
	Name: "configuration-snippet",
	Grammar: Grammar[snippet.Config]{
		Syntax: "directives of nginx's language that lintel knows: more_set_headers",
		Parse:  parseSnippet,
		Lines:  true,
	},
	Risk:     Critical,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      `Directives for the Ingress' routes. lintel reads them into typed actions and runs no program text; so far it knows more_set_headers with -s and -t. Any other directive turns the routes off (503), because leaving it out could open what it protects. Needs allow-snippet-annotations: "true" and annotations-risk-level: Critical.`,
	Examples: []string{`more_set_headers "X-Frame-Options: DENY";`},
})

// parseSnippet turns directives into actions. One that has no action here refuses the whole snippet.
func parseSnippet(text string) (snippet.Config, error) {
	var cfg snippet.Config
	list, err := ParseDirectives(text)
	if err != nil {
		return cfg, err
	}
	for _, d := range list {
		if d.Name != "more_set_headers" || d.HasBlock {
			return snippet.Config{}, &snippetError{d.Line, d.Column,
				fmt.Sprintf("directive %s is not supported in configuration-snippet", Quote(d.Name)),
				"take it out, or use the annotation that does the same; so far lintel knows more_set_headers"}
		}
		if err := moreSetHeaders(&cfg, d); err != nil {
			return snippet.Config{}, err
		}
	}
	return cfg, nil
}

// moreSetHeaders reads more_set_headers [-s statuses] [-t types] "Name: value" ...
func moreSetHeaders(cfg *snippet.Config, d Directive) error {
	fail := func(a Arg, format string, args ...any) error {
		return &snippetError{a.Line, a.Column, "more_set_headers: " + fmt.Sprintf(format, args...),
			`write more_set_headers "Name: value";`}
	}
	var statuses []int
	var types []string
	var fields []snippet.SetHeader
	for i := 0; i < len(d.Args); i++ {
		a := d.Args[i]
		if len(a.Text) > 0 && a.Text[0] == '-' {
			if a.Text != "-s" && a.Text != "-t" {
				return fail(a, "option %s is not supported", Quote(a.Text))
			}
			if i++; i == len(d.Args) {
				return fail(a, "option %s wants a value", a.Text)
			}
			words := strings.Fields(d.Args[i].Text)
			if len(words) == 0 {
				return fail(a, "option %s wants a value", a.Text)
			}
			for _, w := range words {
				if a.Text == "-t" {
					types = append(types, strings.ToLower(w))
					continue
				}
				n, err := strconv.Atoi(w)
				if err != nil || n < 100 || n > 999 {
					return fail(d.Args[i], "%s is not a status", Quote(w))
				}
				statuses = append(statuses, n)
			}
			continue
		}
		name, value, _ := strings.Cut(a.Text, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ValidHeaderName(name) || strings.Contains(name, "*"): // patterns are for clearing only
			return fail(a, "%s is no name of a field", Quote(name))
		case FramingField(name):
			return fail(a, "%s frames messages and is lintel's own", name)
		case !ValidHeaderValue(value):
			return fail(a, "the value of %s has control characters", name)
		}
		if err := checkVariables(value); err != nil {
			return fail(a, "%s: %v", name, err)
		}
		fields = append(fields, snippet.SetHeader{Name: name, Value: value})
	}
	if len(fields) == 0 {
		return &snippetError{d.Line, d.Column, "more_set_headers has no field", `write more_set_headers "Name: value";`}
	}
	for _, f := range fields {
		f.Statuses, f.Types = statuses, types
		cfg.SetHeaders = append(cfg.SetHeaders, f)
	}
	return nil
}

var _ = register(Feature{
	Name:  "snippet",
	Title: "Snippets",
	Keys:  []AnyKey{configurationSnippet},
	Route: func(c *RouteContext) {
		if cfg, ok := configurationSnippet.Get(c.Values); ok && len(cfg.SetHeaders) > 0 {
			c.Add(cfg)
		}
	},
})
