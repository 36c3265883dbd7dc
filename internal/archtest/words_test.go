package archtest

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// synonyms are words we do not use, and what we say instead (docs/dev/architecture.md, Words).
var synonyms = map[string]string{
	"frontend": "client, or listener", "vhost": "host", "middleware": "filter", "entrypoint": "listener",
	"transaction": "exchange", "plugin": "filter", "util": "a noun for the idea", "utils": "a noun for the idea",
	"helpers": "a noun for the idea", "impl": "the name of what it does", "manager": "the name of what it does",
}

// theirs are names of ingress-nginx that keep their spelling.
var theirs = regexp.MustCompile(`(?i)upstreamvhost|^vhost$|transactionid`)

func TestNamesUseOurWords(t *testing.T) {
	for _, s := range parsed(t) {
		if strings.HasPrefix(s.pkg, "archtest") {
			continue
		}
		seen := map[string]bool{}
		check := func(what, name string, n ast.Node) {
			for _, w := range words(theirs.ReplaceAllString(name, "")) {
				if say, bad := synonyms[w]; bad && !seen[name] {
					seen[name] = true
					t.Errorf("%s:%d: %s %s: not %q, but %s", s.path, line(n), what, name, w, say)
				}
			}
		}
		check("package", s.file.Name.Name, s.file)
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				check("function", d.Name.Name, d)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						check("type", spec.Name.Name, spec)
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							check("name", n.Name, n)
						}
					}
				}
			}
		}
	}
}

// words splits a Go name at its capitals.
func words(name string) []string {
	var out []string
	start := 0
	for i, r := range name {
		if i > start && (unicode.IsUpper(r) || r == '_') {
			out = append(out, strings.ToLower(strings.Trim(name[start:i], "_")))
			start = i
		}
	}
	return append(out, strings.ToLower(strings.Trim(name[start:], "_")))
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func TestNoCommentPromisesWork(t *testing.T) {
	for _, s := range parsed(t) {
		for _, g := range s.file.Comments {
			for _, c := range g.List {
				if s.pkg != "archtest" && unfinished.MatchString(c.Text) {
					t.Errorf("%s:%d: %s", s.path, line(c), c.Text)
				}
			}
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	documented := map[string]bool{}
	var all []string
	for _, s := range parsed(t) {
		if s.test && s.pkg != "archtest" || strings.HasPrefix(s.pkg, "test/") {
			continue
		}
		if !slices.Contains(all, s.pkg) {
			all = append(all, s.pkg)
		}
		if s.file.Doc != nil {
			documented[s.pkg] = true
		}
	}
	for _, pkg := range all {
		if !documented[pkg] {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}
