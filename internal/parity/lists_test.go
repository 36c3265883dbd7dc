package parity

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheRecordNamesEveryRequest(t *testing.T) {
	p := &Place{Private: true, HTTP: 80, HTTPS: 443}
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d suites, %v", len(files), err)
	}
	pki := &PKI{}
	for _, file := range files {
		s, err := LoadSuite(p, file)
		if err != nil {
			t.Error(err)
			continue
		}
		golden, err := LoadGolden(p, filepath.Join("testdata", "golden", s.Name+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, c := range s.Cases {
			for i, r := range c.Requests {
				if got := golden[c.Name]; i >= len(got) || got[i].Request != r.Name {
					t.Errorf("%s/%s: request %q is not recorded", s.Name, c.Name, r.Name)
				}
			}
		}
		if _, err := Manifests(p, s, pki); err != nil {
			t.Error(err)
		}
	}
}

func lists() *Lists {
	return &Lists{
		Intended: []*Intended{
			{Suite: "s", Case: "a*", Request: "*", What: "header:*", Reason: "r"},
			{Suite: "s", Case: "b", Request: "one", What: "status", Here: "502", Reason: "r"},
		},
		Remaining: map[string][]string{"s": {"x", "y"}},
	}
}

func TestOnlyWhatIsListedMayDiffer(t *testing.T) {
	l := lists()
	header, status := Difference{"header:Server", "", "x"}, Difference{"status", "200", "502"}
	for _, c := range []struct {
		name, request string
		found         []Difference
		left          int
	}{
		{"abc", "any", []Difference{header, status}, 1},
		{"b", "one", []Difference{status}, 0},
		{"b", "two", []Difference{status}, 1},
		{"b", "one", []Difference{{"status", "200", "503"}}, 1},
	} {
		if got := l.Unintended("s", c.name, c.request, c.found); len(got) != c.left {
			t.Errorf("%s %s: %v, want %d left", c.name, c.request, got, c.left)
		}
	}
}

func TestAnEntryThatCoversNothingIsReported(t *testing.T) {
	l := lists()
	l.Unintended("s", "abc", "any", []Difference{{"header:Server", "", "x"}})
	if got := l.Unused("s", []string{"abc", "b"}, []string{"abc", "b"}); len(got) != 1 || got[0].Case != "b" {
		t.Errorf("unused: %v", got)
	}
	if got := l.Unused("s", []string{"abc", "b"}, []string{"abc"}); len(got) != 0 {
		t.Errorf("a case that did not run says nothing: %v", got)
	}
	if got := l.Unused("s", []string{"abc"}, nil); len(got) != 1 {
		t.Errorf("an entry for no case at all: %v", got)
	}
}

func TestRemainingIsRewrittenAndNothingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "intended.yaml")
	head := "# comment\nrequired: [r]\nintended: [] # kept\n"
	if err := os.WriteFile(file, []byte(head+"remaining: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := LoadLists(file)
	if err != nil {
		t.Fatal(err)
	}
	l.SetRemaining("s", []string{"a", "b", "c"}, []string{"c", "a"})
	l.SetRemaining("s", []string{"a"}, nil)
	if err := l.Save(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != head+"remaining:\n  s: # 1\n  - c\n" {
		t.Errorf("%q, %v", text, err)
	}
	l.SetRemaining("r", []string{"a"}, []string{"a"})
	if err := l.Save(file); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadLists(file); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("a required suite with remaining cases: %v", err)
	}
}

func TestCommonForm(t *testing.T) {
	for in, want := range map[string]string{
		"INGRESSCOOKIE=1700.12.3.4|0123456789abcdef0123456789abcdef; Path=/; Expires=Mon, 1 Jan": "INGRESSCOOKIE=9.9.9.9|<hex32>; Path=/; Expires=<date>",
		"a=1; Path=/": "a=1; Path=/",
	} {
		if got := cookieShape(in); got != want {
			t.Errorf("cookie %q: %q, want %q", in, got, want)
		}
	}
	p := &Place{HTTP: 8080, HTTPS: 8443}
	for in, want := range map[string]string{
		"http://a:8080/x": "http://a/x", "https://a:8080/x": "https://a:80/x", "https://a:8443": "https://a", "http://a:9/": "http://a:9/", "/x": "/x",
	} {
		if got := p.recordedURL(in); got != want {
			t.Errorf("url %q: %q, want %q", in, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"a*c", "abc", true}, {"a*c", "ab", false}, {"received.*", "received.uri", true}, {"a", "ab", false}, {"*b*", "abc", true},
	} {
		if got := matches(c.pattern, c.text); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.text, got)
		}
	}
}

func TestComparisonFindsEachKindOfDifference(t *testing.T) {
	want := &Result{Answer: &Answer{Status: 200, Body: "<echo echo1 http>", Header: []Pair{{"A", "1"}, {"Connection", "close"}},
		Received: []Received{{Pod: "echo1", URI: "/x", Header: []Pair{{"B", "1"}}}}}}
	got := &Result{Answer: &Answer{Status: 201, Body: "<echo echo2 http>", Header: []Pair{{"A", "1"}, {"A", "2"}},
		Received: []Received{{Pod: "echo2", URI: "/y"}}}}
	var what []string
	for _, d := range Compare(&Request{Ignore: []string{"header:*"}}, want, got) {
		what = append(what, d.What)
	}
	if w := []string{"status", "body", "received.pod", "received.uri", "received.header:B"}; !slices.Equal(what, w) {
		t.Errorf("found %v, want %v", what, w)
	}
	what = nil
	for _, d := range Compare(&Request{Pods: "any"}, want, got) {
		what = append(what, d.What)
	}
	if w := []string{"status", "header:A", "received.uri", "received.header:B"}; !slices.Equal(what, w) {
		t.Errorf("with any endpoint: found %v, want %v", what, w)
	}
}
