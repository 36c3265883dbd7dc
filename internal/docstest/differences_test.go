package docstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

const differences = "docs/migrate/differences.md"

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestIntendedDifferencesAreToldToUsers holds the differences that the parity test permits to the page for
// users: each reason stands there word for word.
func TestIntendedDifferencesAreToldToUsers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "internal/parity/intended.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Intended []struct{ Suite, Case, Reason string }
	}
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Intended) == 0 {
		t.Fatal("no intended difference found")
	}
	page, err := os.ReadFile(filepath.Join(root, differences))
	if err != nil {
		t.Fatal(err)
	}
	told := words(string(page))
	for _, e := range list.Intended {
		if !strings.Contains(told, words(e.Reason)) {
			t.Errorf("suite %s, %s: %s does not say: %s", e.Suite, e.Case, differences, e.Reason)
		}
	}
}

// TestWhatIsNotThereYetIsNamed holds the annotations that are declared and not implemented to the section
// about them.
func TestWhatIsNotThereYetIsNamed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, differences))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## Not there yet\n")
	if !ok {
		t.Fatalf("%s has no section about what is not there yet", differences)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	section, _, _ = strings.Cut(section, "\nA **ConfigMap key**")
	for _, k := range annotation.Keys() {
		info := k.Info()
		named := strings.Contains(section, "`"+info.Name+"`")
		sibling := strings.HasPrefix(info.Name, "opentelemetry-")
		if later := info.Later != 0; later && !named && !sibling || !later && named {
			t.Errorf("%s: not implemented: %t, named in the section: %t", info.Name, later, named)
		}
	}
}

// TestEachDifferenceSaysWhatToDo holds the form of the page.
func TestEachDifferenceSaysWhatToDo(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, differences))
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`(?m)^(#{2,3}) (.+)$`).Split(string(page), -1)
	titles := regexp.MustCompile(`(?m)^(#{2,3}) (.+)$`).FindAllStringSubmatch(string(page), -1)
	n := 0
	for i, title := range titles {
		if title[1] != "###" {
			continue
		}
		n++
		at := 0
		for _, want := range []string{"- **ingress-nginx**: ", "- **lintel**: ", "- **Why**: ", "- **Do**: "} {
			k := strings.Index(parts[i+1][at:], want)
			if k < 0 || strings.Count(parts[i+1], want) != 1 {
				t.Errorf("%s: %q has no, or more than one, %q in its place", differences, title[2], want)
				break
			}
			at += k
		}
	}
	if n < 30 {
		t.Errorf("only %d differences found", n)
	}
}
