package diag

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite generated files")

func finding(name, message string) Diagnostic {
	return Diagnostic{Code: AnnotationValue, Severity: Error, Object: Ref{"Ingress", "shop", name}, Message: message}
}

func messages(ds []Diagnostic) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.Message)
	}
	return strings.Join(out, ",")
}

func TestEveryCodeIsDocumentedOnce(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
			for _, v := range spec.Values {
				s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared[Code(s)] = true
			}
		}
		return true
	})
	if len(declared) < 30 {
		t.Fatalf("found only %d codes in codes.go", len(declared))
	}
	seen := map[Code]int{}
	for _, e := range Catalogue() {
		seen[e.Code]++
		if !declared[e.Code] {
			t.Errorf("%s is in the catalogue but not in codes.go", e.Code)
		}
		if e.Title == "" || strings.HasSuffix(e.Title, ".") || !strings.HasSuffix(e.Help, ".") {
			t.Errorf("%s: title and help must be a phrase and sentences, have %q, %q", e.Code, e.Title, e.Help)
		}
	}
	for c := range declared {
		if seen[c] != 1 {
			t.Errorf("%s is %d times in the catalogue, want once", c, seen[c])
		}
		if _, ok := Describe(c); !ok {
			t.Errorf("Describe(%s) knows nothing", c)
		}
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "reference", "diagnostics.md")
	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String(), string(have)); d != "" {
		t.Errorf("%s is not what the catalogue gives; run go test ./internal/diag -update:\n%s", path, d)
	}
}

func TestSetReplacesWhatTheOwnerHadReported(t *testing.T) {
	var l Ledger
	var told []string
	defer l.Subscribe(func(appeared, gone []Diagnostic) {
		told = append(told, "+"+messages(appeared)+" -"+messages(gone))
	})()
	o := Owner{"translate", "Ingress shop/a"}
	l.Set(o, []Diagnostic{finding("a", "one"), finding("a", "two")})
	l.Set(o, []Diagnostic{finding("a", "two"), finding("a", "three")})
	l.Set(o, []Diagnostic{finding("a", "three"), finding("a", "two")})
	l.Set(o, nil)
	want := []string{"+one,two -", "+three -one", "+ -three,two"}
	if !slices.Equal(told, want) {
		t.Errorf("subscriber heard %q, want %q", told, want)
	}
	if n := len(l.All()) + len(l.Counts()) + len(l.Of(Ref{"Ingress", "shop", "a"})); n != 0 {
		t.Errorf("%d entries left in an empty ledger", n)
	}
}

func TestFindingOfTwoOwnersStaysUntilBothDropIt(t *testing.T) {
	var l Ledger
	d := finding("a", "same")
	a, b := Owner{"host", "a.example.com"}, Owner{"host", "b.example.com"}
	l.Set(a, []Diagnostic{d})
	l.Set(b, []Diagnostic{d, d})
	if n := l.Counts()[Count{AnnotationValue, Error, "shop"}]; n != 1 {
		t.Errorf("counted %d times, want 1", n)
	}
	l.Set(a, nil)
	if got := messages(l.All()); got != "same" {
		t.Errorf("after one owner left: %q, want %q", got, "same")
	}
	l.Set(b, nil)
	if got := messages(l.All()); got != "" {
		t.Errorf("after both left: %q, want none", got)
	}
}

func TestFindingThatMovesBetweenOwnersIsNoChange(t *testing.T) {
	var l Ledger
	a, b := Owner{"translate", "x"}, Owner{"host", "x"}
	l.Set(a, []Diagnostic{finding("a", "m")})
	calls := 0
	defer l.Subscribe(func(_, _ []Diagnostic) { calls++ })()
	l.SetAll(map[Owner][]Diagnostic{a: nil, b: {finding("a", "m")}})
	if calls != 1 {
		t.Errorf("subscriber was called %d times, want once (with what stood)", calls)
	}
}

func TestLateSubscriberHearsWhatStands(t *testing.T) {
	var l Ledger
	l.Set(Owner{"translate", "x"}, []Diagnostic{finding("a", "m")})
	heard := ""
	l.Subscribe(func(appeared, _ []Diagnostic) { heard += messages(appeared) })()
	l.Set(Owner{"translate", "y"}, []Diagnostic{finding("b", "n")})
	if heard != "m" {
		t.Errorf("heard %q, want %q: all that stood, and nothing after cancel", heard, "m")
	}
}

func TestLedgerIsBounded(t *testing.T) {
	var l Ledger
	var many []Diagnostic
	for i := range maxPerOwner + 10 {
		many = append(many, finding("a", fmt.Sprint("m", i)))
	}
	many[0].Value = strings.Repeat("ä", maxTextBytes)
	l.Set(Owner{"translate", "x"}, many)
	all := l.All()
	if len(all) != maxPerOwner || l.Dropped() != 10 {
		t.Errorf("have %d findings and %d dropped, want %d and 10", len(all), l.Dropped(), maxPerOwner)
	}
	if v := all[0].Value; len(v) > maxTextBytes || !strings.HasSuffix(v, "ä…") {
		t.Errorf("value was not cut at a character: %d bytes, ends in %q", len(v), v[len(v)-5:])
	}
}

func TestLedgerMayBeUsedConcurrently(t *testing.T) {
	var l Ledger
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			o := Owner{"translate", fmt.Sprint(g)}
			cancel := l.Subscribe(func(_, _ []Diagnostic) {})
			for i := range 100 {
				l.Set(o, []Diagnostic{finding("a", fmt.Sprint(i%3)), finding(fmt.Sprint(g), "own")})
				l.Counts()
				l.Of(Ref{"Ingress", "shop", "a"})
			}
			cancel()
			l.Set(o, nil)
		})
	}
	wg.Wait()
	if ds := l.All(); len(ds) != 0 {
		t.Errorf("left over: %v", ds)
	}
}

var sample = []Diagnostic{
	{
		Code: AnnotationValue, Severity: Error, Object: Ref{"Ingress", "shop", "web"},
		Field: "metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]", Value: "ten",
		Message: `"ten" is not an integer from 0 to 1048576`, Hint: "write a number without unit",
		Pos: Pos{"shop.yaml", 2, 5}, Effect: Ignored,
	},
	{
		Code: PathConflict, Severity: Warning, Object: Ref{"Ingress", "shop", "late"}, Field: "spec.rules[0].http.paths[0].path",
		Value: "/\x1b[2J", Message: "taken by an older Ingress", Related: []Ref{{"Ingress", "shop", "web"}},
	},
	{
		Code: CertificateInvalid, Severity: Error, Object: Ref{"Secret", "shop", "tls"}, Field: "data[tls.key]", Value: redacted,
		Message: "no PEM block", Pos: Pos{"shop.yaml", 3, 3}, Effect: DefaultCert,
	},
}

func TestTextNamesPlaceMessageAndRemedy(t *testing.T) {
	file := []string{"metadata:", "    nginx.ingress.kubernetes.io/limit-rps: ten", "  tls.key: hunter2"}
	var b bytes.Buffer
	err := WriteText(&b, sample, func(f string, n int) (string, bool) { return file[n-1], f == "shop.yaml" })
	if err != nil {
		t.Fatal(err)
	}
	want := `shop.yaml:2:5: error: limit-rps: "ten" is not an integer from 0 to 1048576 [annotation-value]
    2 |     nginx.ingress.kubernetes.io/limit-rps: ten
      |     ^
      in Ingress shop/web, metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]
      hint: write a number without unit
      meanwhile: value ignored
Ingress shop/late: warning: taken by an older Ingress [path-conflict]
      in Ingress shop/late, spec.rules[0].http.paths[0].path
      found: /\x1b[2J
      see: Ingress shop/web
shop.yaml:3:3: error: no PEM block [certificate-invalid]
      in Secret shop/tls, data[tls.key]
      meanwhile: default certificate served
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("text differs (-want +have):\n%s", d)
	}
}

func TestJSONCarriesEveryField(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, sample); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Diagnostics      []map[string]any
		Errors, Warnings int
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Errors != 2 || doc.Warnings != 1 || len(doc.Diagnostics) != 3 {
		t.Fatalf("have %d errors, %d warnings, %d findings", doc.Errors, doc.Warnings, len(doc.Diagnostics))
	}
	want := map[string]any{
		"code": "annotation-value", "severity": "error", "file": "shop.yaml", "line": 2.0, "column": 5.0, "value": "ten",
		"object": map[string]any{"kind": "Ingress", "namespace": "shop", "name": "web"}, "effect": "value ignored",
		"field":   "metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]",
		"message": `"ten" is not an integer from 0 to 1048576`, "hint": "write a number without unit",
	}
	if d := cmp.Diff(want, doc.Diagnostics[0]); d != "" {
		t.Errorf("first finding differs (-want +have):\n%s", d)
	}
	b.Reset()
	if err := WriteJSON(&b, nil); err != nil || !strings.Contains(b.String(), `"diagnostics": []`) {
		t.Errorf("no findings must be an empty list, have %s (%v)", b.String(), err)
	}
}

func TestSARIFPointsAtRulesAndLines(t *testing.T) {
	var b bytes.Buffer
	if err := WriteSARIF(&b, sample, "1.0"); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || len(run.Tool.Driver.Rules) != len(catalogue) {
		t.Errorf("version %q with %d rules", log.Version, len(run.Tool.Driver.Rules))
	}
	for i, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.RuleID != string(sample[i].Code) {
			t.Errorf("result %d has rule %q at index %d", i, r.RuleID, r.RuleIndex)
		}
	}
	first := run.Results[0].Locations[0].Physical
	if first.Artifact.URI != "shop.yaml" || *first.Region != (sarifRegion{2, 5}) {
		t.Errorf("first result is at %+v", first)
	}
	if run.Results[1].Locations[0].Physical != nil || run.Results[1].Level != "warning" {
		t.Errorf("a finding without a file has no physical place and keeps its level: %+v", run.Results[1])
	}
}

func TestSummaryCountsBySeverity(t *testing.T) {
	if got := Summary(sample); got != "2 errors, 1 warning" {
		t.Errorf("have %q", got)
	}
	if got := Summary(nil); got != "no findings" {
		t.Errorf("have %q", got)
	}
	if s, ok := Worst(sample); !ok || s != Error {
		t.Errorf("worst of the sample is %v, %v", s, ok)
	}
}
