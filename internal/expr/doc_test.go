package expr

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the reference page")

func TestEveryVariableIsDescribed(t *testing.T) {
	for _, d := range Docs() {
		if d.Text == "" {
			t.Errorf("%s has no description", d.Name)
		}
	}
	for name := range docs {
		if variables[name] == nil {
			t.Errorf("$%s is described, but there is no such variable", name)
		}
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	const page = "../../docs/reference/variables.md"
	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Errorf("%s is not what the code says: go test ./internal/expr -update", page)
	}
}
