package parity

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var updateRemaining = flag.Bool("update-remaining", false, "write the cases that still differ into intended.yaml")

const (
	// binEnv names a lintel binary to compare; without it the test builds one.
	binEnv = "LINTEL_BIN"
	// commandEnv replaces DefaultCommand, to compare something else.
	commandEnv = "PARITY_CANDIDATE"
	// whyEnv carries why the binary could not be built into the namespace.
	whyEnv = "LINTEL_PARITY_BUILD_ERROR"
	// loopbackEnv keeps the test out of namespaces, to see how it does without.
	loopbackEnv = "LINTEL_PARITY_LOOPBACK"
	listsFile   = "intended.yaml"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if status, probed := ProbeMain(); probed {
		os.Exit(status)
	}
	if Inside() || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

// outside builds the binary and runs the tests in a namespace if one can be had.
func outside(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lintel-parity-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Getenv(binEnv) == "" && os.Getenv(commandEnv) == "" {
		os.Setenv(binEnv, filepath.Join(dir, "lintel"))
		if err := build(os.Getenv(binEnv)); err != nil {
			os.Setenv(whyEnv, err.Error())
		}
	}
	if os.Getenv(loopbackEnv) == "" {
		if status, ok := Enter(); ok {
			return status
		}
	}
	return m.Run()
}

func build(bin string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/lintel")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/lintel: %w\n%s", err, out)
	}
	return nil
}

// dependOnSources makes the test cache see the sources the binary is built from, which are
// no imports of this package: directories that were read invalidate a cached result.
func dependOnSources(t *testing.T) {
	t.Helper()
	for _, root := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func place(t *testing.T) *Place {
	t.Helper()
	if Inside() {
		p, err := PrivatePlace(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p, err := LoopbackPlace()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("no network namespace: on loopback, ports %d and %d, without DNS", p.HTTP, p.HTTPS)
	return p
}

// needsDNS finds cases that cannot run without the resolver of the namespace.
var needsDNS = regexp.MustCompile(`\.ext\.test|\.cluster\.local`)

// TestParity replays every suite. Narrow it with -run TestParity/SUITE/CASE.
func TestParity(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes for minutes; not with -short")
	}
	if why := os.Getenv(whyEnv); why != "" {
		t.Fatal(why)
	}
	dependOnSources(t)
	lists, err := LoadLists(listsFile)
	if err != nil {
		t.Fatal(err)
	}
	p, pki := place(t), &PKI{}
	backends, err := StartBackends(p, pki)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := backends.Close(); err != nil {
			t.Error(err)
		}
	})
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no suites", err)
	}
	r := &run{lists: lists, client: &Client{Place: p, PKI: pki, Backends: backends}}
	suites := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		suites[name] = true
		t.Run(name, func(t *testing.T) { r.suite(t, file) })
	}
	for _, e := range lists.Intended {
		if !suites[e.Suite] {
			t.Errorf("intended.yaml: there is no suite %q", e.Suite)
		}
	}
	for name := range lists.Remaining {
		if !suites[name] {
			t.Errorf("intended.yaml: remaining: there is no suite %q", name)
		}
	}
	if *updateRemaining {
		if err := lists.Save(listsFile); err != nil {
			t.Error(err)
		}
	}
}

// run is one run over the suites.
type run struct {
	lists  *Lists
	client *Client
}

func (r *run) suite(t *testing.T, file string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	p := r.client.Place
	s, err := LoadSuite(p, file)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := LoadGolden(p, filepath.Join("testdata", "golden", s.Name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	command := os.Getenv(commandEnv)
	or(&command, DefaultCommand)
	candidate, err := StartCandidate(p, s, r.client.PKI, command, os.Getenv(binEnv), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := candidate.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() && testing.Verbose() {
			t.Logf("the candidate's last lines:\n%s", candidate.Output())
		}
	})
	patience := 20 * time.Second
	if s.NoReady {
		patience = 5 * time.Second // the cases themselves show whether PROXY headers are understood
	}
	ready, cancelReady := context.WithTimeout(ctx, patience)
	defer cancelReady()
	if err := candidate.Ready(ready, p, s); err != nil && !s.NoReady {
		t.Fatalf("%v\n%s", err, candidate.Output())
	}
	// Names of ExternalName Services are resolved beside the table.
	time.Sleep(200 * time.Millisecond)

	var all, ran, differ []string
	for _, c := range s.Cases {
		all = append(all, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			if !p.Private && needsDNS.MatchString(fmt.Sprint(c.Ingresses, c.Manifests)) {
				t.Skip("needs the DNS server of the network namespace, which could not be made")
			}
			report := r.compare(ctx, t, s, c, golden[c.Name])
			ran = append(ran, c.Name)
			remains := r.lists.Remains(s.Name, c.Name)
			update := *updateRemaining && !slices.Contains(r.lists.Required, s.Name)
			switch {
			case report != "" && update:
				differ = append(differ, c.Name)
			case report != "" && !remains:
				t.Error(report)
			case report == "" && remains && !update:
				t.Error("this case agrees now: take it out of remaining in intended.yaml (-update-remaining)")
			case report != "":
				t.Log("listed as remaining:" + report)
			}
		})
	}
	if *updateRemaining && !slices.Contains(r.lists.Required, s.Name) {
		r.lists.SetRemaining(s.Name, ran, differ)
	}
	for _, e := range r.lists.Unused(s.Name, all, ran) {
		t.Errorf("intended.yaml: nothing differs for case %q, request %q, %s: take the entry out", e.Case, e.Request, e.What)
	}
	for _, name := range r.lists.Remaining[s.Name] {
		if !strings.Contains("\n"+strings.Join(all, "\n")+"\n", "\n"+name+"\n") {
			t.Errorf("intended.yaml: remaining: suite %s has no case %q", s.Name, name)
		}
	}
}

// compare replays one case and returns what differs beyond what is intended.
func (r *run) compare(ctx context.Context, t *testing.T, s *Suite, c *Case, golden []*Result) string {
	t.Helper()
	if len(golden) != len(c.Requests) {
		t.Fatalf("%d requests, %d recorded", len(c.Requests), len(golden))
	}
	var jar map[string]string
	if c.Jar {
		jar = map[string]string{}
	}
	var report strings.Builder
	for i, q := range c.Requests {
		want := golden[i]
		if want.Request != q.Name {
			t.Fatalf("request %d is %q, recorded is %q", i, q.Name, want.Request)
		}
		id := fmt.Sprintf("%s-%s-%d-%d", s.Name, c.Name, i, time.Now().UnixNano()%1e9)
		got := r.client.Run(ctx, q, id, jar, want)
		if ctx.Err() != nil {
			t.Fatalf("request %q: the suite's time is over", q.Name)
		}
		found := r.lists.Unintended(s.Name, c.Name, q.Name, Compare(q, want, got))
		if len(found) == 0 {
			continue
		}
		fmt.Fprintf(&report, "\n%s\n", q.Name)
		for _, d := range found {
			report.WriteString("    " + strings.ReplaceAll(d.String(), "\n", "\n    ") + "\n")
		}
	}
	return report.String()
}
