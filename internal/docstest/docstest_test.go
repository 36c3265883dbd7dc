package docstest

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lintel-ingress/lintel/internal/check"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/translate"
)

const root = "../.."

func pages(t *testing.T) []string {
	t.Helper()
	list, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Fatalf("only %d pages below %s: %v", len(list), root, list)
	}
	return list
}

func TestBlocksAreFound(t *testing.T) {
	dir := t.TempDir()
	text := "Intro.\n\nTwo\nlines:\n\n```sh\na  b   # c\n\n# no\nd \\\n  e\n```\n\n- item:\n  ```yaml\n  x: 1\n  ---\n  y: 2\n  ```\n"
	if err := os.WriteFile(filepath.Join(dir, "a.md"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Blocks(dir, "a.md")
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	if b := got[0]; b.Language != "sh" || b.Line != 7 || b.Before != "Two lines:" || strings.Join(b.Commands(), "|") != "a b|d e" {
		t.Errorf("got %+v, %q", b, b.Commands())
	}
	if b := got[1]; b.Language != "yaml" || b.Before != "- item:" || strings.Join(b.Documents(), "|") != "x: 1|y: 2\n" && len(b.Documents()) != 2 {
		t.Errorf("got %+v, %q", b, b.Documents())
	}
	if err := os.WriteFile(filepath.Join(dir, "a.md"), []byte("```sh\na\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Blocks(dir, "a.md"); err == nil {
		t.Error("a block without an end is no error")
	}
}

// TestManifestsOfPagesPassCheck holds every manifest shown to what the program accepts. A page may show a
// mistake when the paragraph in front says so; then there must be one. A block of which no document
// has an apiVersion is a fragment and only has to be YAML.
func TestManifestsOfPagesPassCheck(t *testing.T) {
	blocks := 0
	for _, page := range pages(t) {
		list, err := Blocks(root, page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, b := range list {
			if b.Language == "yaml" || b.Language == "yml" {
				blocks++
				checkBlock(t, b)
			}
		}
	}
	if blocks == 0 {
		t.Error("no page has a manifest")
	}
}

func checkBlock(t *testing.T, b Block) {
	t.Helper()
	whole := false
	for _, d := range b.Documents() {
		var head struct {
			APIVersion string `yaml:"apiVersion"`
		}
		if err := yaml.Unmarshal([]byte(d), &head); err != nil {
			t.Errorf("%s: %v", b, err)
			return
		}
		whole = whole || head.APIVersion != ""
	}
	if !whole {
		return
	}
	path := filepath.Join(t.TempDir(), "block.yaml")
	if err := os.WriteFile(path, []byte(b.Text), 0o600); err != nil {
		t.Fatal(err)
	}
	found := errorsIn(t, path)
	mistaken := strings.Contains(strings.ToLower(b.Before), "mistake")
	switch {
	case mistaken && len(found) == 0:
		t.Errorf("%s: the text says it is a mistake, and check finds none", b)
	case !mistaken && len(found) > 0:
		t.Errorf("%s:\n%s", b, strings.Join(found, "\n"))
	}
}

// errorsIn returns what check says against the manifests below path, apart from what is only information.
// A page need not show everything: references to objects that are not shown are fine.
func errorsIn(t *testing.T, path string) []string {
	t.Helper()
	changes, err := dir.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range check.Translate(translate.DefaultOptions(), changes).Findings() {
		if d.Severity > diag.Info && d.Code != diag.ReferenceMissing && d.Code != diag.ServiceEndpoints {
			out = append(out, d.String())
		}
	}
	return out
}

// TestExamplesPassCheck holds each directory of examples to what check says with everything in it: nothing.
func TestExamplesPassCheck(t *testing.T) {
	list, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		var out strings.Builder
		path := filepath.Join(root, "examples", e.Name())
		status, err := check.Run(&out, check.Options{Translate: translate.DefaultOptions(), Strict: true}, path)
		if err != nil || status != check.Clean {
			t.Errorf("%s: %d, %v\n%s", path, status, err, out.String())
		}
	}
}

// TestGoOfPagesParses holds the blocks of Go that pages show: files, declarations and lists.
func TestGoOfPagesParses(t *testing.T) {
	for _, page := range pages(t) {
		list, err := Blocks(root, page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, b := range list {
			if b.Language != "go" {
				continue
			}
			text := b.Text
			switch {
			case strings.Contains("\n"+text, "\npackage "):
			case strings.Contains("\n"+text, "\nfunc "), strings.Contains("\n"+text, "\ntype "), strings.Contains("\n"+text, "\nvar "):
				text = "package p\n" + text
			default:
				text = "package p\nvar _ = []any{\n" + text + "}\n"
			}
			if _, err := parser.ParseFile(token.NewFileSet(), b.String(), text, parser.AllErrors); err != nil {
				t.Error(err)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	inside  = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
)

// anchor is how the heading of a page is linked to.
func anchor(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_', r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestLinksLead holds links between files of the project: file and heading exist.
func TestLinksLead(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(inside.ReplaceAllString(string(text), ""), -1) {
			to, name, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			path := filepath.Join(root, filepath.Dir(page), to)
			if to == "" {
				path = filepath.Join(root, page)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
				continue
			}
			if name == "" || info.IsDir() {
				continue
			}
			there, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ok := false
			for _, h := range heading.FindAllStringSubmatch(string(there), -1) {
				ok = ok || anchor(h[1]) == name
			}
			if !ok {
				t.Errorf("%s: %s has no heading #%s", page, path, name)
			}
		}
	}
}
