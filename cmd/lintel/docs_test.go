package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/docstest"
)

const root = "../.."

// demoAnswers are what the commands of the demo must show.
var demoAnswers = map[string][]string{
	"the shop":                    {`"pod": "shop-1"`, `"path": "/"`, "status 200"},
	"another backend below /cart": {`"pod": "cart-1"`, `"path": "/cart/items"`, "status 200"},
	"a rewritten path: the backend sees /v2/users": {`"pod": "shop-1"`, `"path": "/v2/users"`, "status 200"},
	"a rate limit: the last ones get 503":          {"200\n200\n200\n200\n200\n200\n503\n503\n"},
	"a page without a pod":                         {"<h1>Back at noon.</h1>", "status 200"},
	"http is sent to https":                        {"308 https://secure.example.com:HTTPS"},
	"https":                                        {`"X-Forwarded-Proto": [`, `"https"`, "status 200"},
	"a host nobody serves":                         {"404 Not Found", "status 404"},
}

// TestDemoCommandsWork runs each command the demo prints, exactly as printed.
func TestDemoCommandsWork(t *testing.T) {
	s := newShell(t)
	demo := s.start("lintel demo --http-port " + s.http + " --https-port " + s.tls)
	demo.wait("Ctrl-C ends it.", 10*time.Second)
	out := demo.output()
	tried := 0
	what := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "  # "); ok {
			what = text
			continue
		}
		command, ok := strings.CutPrefix(line, "  ")
		if !ok || what == "" {
			continue
		}
		tried++
		wants, known := demoAnswers[what]
		if !known {
			t.Errorf("nobody says what %q must answer: add it to demoAnswers", what)
		}
		code, got := s.run(command)
		for _, want := range wants {
			want = strings.ReplaceAll(want, "HTTPS", s.tls)
			if code != 0 || !strings.Contains(got, want) {
				t.Errorf("# %s\n$ %s\n%d, does not show %q:\n%s", what, command, code, want, got)
			}
		}
		what = ""
	}
	if tried != len(demoAnswers) {
		t.Errorf("%d commands were printed, want %d:\n%s", tried, len(demoAnswers), out)
	}
	if want := `proxy-body-size: "ten" is not a size`; !strings.Contains(out, want) {
		t.Errorf("the mistake is not told: no %q in\n%s", want, out)
	}
	dir := regexp.MustCompile(`Edit a file below (\S+),`).FindStringSubmatch(out)
	if dir == nil {
		t.Fatalf("no folder is named:\n%s", out)
	}
	page := fmt.Sprintf("curl -s --resolve maintenance.example.com:%[1]s:127.0.0.1 http://maintenance.example.com:%[1]s/", s.http)
	s.live(filepath.Join(dir[1], "secure.yaml"), "Back at noon.", page)
	if code := demo.stop(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C:\n%s", code, demo.output())
	}
	if _, err := os.Stat(dir[1]); err == nil {
		t.Errorf("%s is left behind", dir[1])
	}
}

// steps say how the commands of the documentation are run and what they must show, by their text.
// Commands of make, go and git, and those that need a cluster, are looked at by elsewhere.
func steps(s *shell) map[string]func(t *testing.T, command string) {
	shows := func(want int, texts ...string) func(*testing.T, string) {
		return func(t *testing.T, command string) {
			code, out := s.run(s.ports(command))
			for _, text := range texts {
				if code != want || !strings.Contains(out, text) {
					t.Errorf("$ %s\n%d, want %d and %q:\n%s", command, code, want, text, out)
				}
			}
		}
	}
	demo := func(t *testing.T, command string) {
		if _, err := os.Stat(filepath.Join(root, "cmd/lintel/demo.go")); err != nil {
			t.Errorf("%s: %v", command, err) // TestDemoCommandsWork runs it
		}
	}
	return map[string]func(t *testing.T, command string){
		"go run ./cmd/lintel demo":   demo,
		"lintel check my-manifests/": shows(0, "no findings"),
		"lintel check manifests/":    shows(1, `manifests/shop.yaml:14:5: error: limit-rps: "ten" is not an integer`),
		"lintel explain --manifests manifests/ GET http://shop.example.com/cart":                     shows(0, "shop.example.com"),
		"lintel explain --manifests examples/hello GET http://hello.example.com/":                    shows(0, "serve the files of a ConfigMap"),
		"bin/lintel explain --manifests examples/hello GET http://hello.example.com/":                shows(0, "the name is exactly this", "examples/hello/hello.yaml:"),
		"lintel explain --server 127.0.0.1:10254 GET https://shop.example.com/cart -H 'Cookie: a=b'": s.explainServer,
		"bin/lintel serve --manifests examples/hello --http-port 8080 --https-port 8443":             s.serve,
		"curl -H 'Host: hello.example.com' http://localhost:8080/":                                   s.hello,
		"curl -H 'Host: mine.example.com' http://localhost:8080/":                                    s.mine,
		"bin/lintel check examples/hello":                                                            s.mistake,
	}
}

// ports puts our ports in the place of the documentation's.
func (s *shell) ports(command string) string {
	return strings.NewReplacer("8080", s.http, "8443", s.tls).Replace(command)
}

// own are the flags that keep a server from ports of its own choice.
const own = " --bind-address 127.0.0.1 --healthz-host 127.0.0.1 --profiling=false --healthz-port "

func (s *shell) serve(_ *testing.T, command string) {
	s.start(s.ports(command)+own+"0").wait("msg=serving", 10*time.Second)
}

// hello asks, changes the text as the page says, and wants the new one within a second.
func (s *shell) hello(t *testing.T, command string) {
	if code, out := s.run(s.ports(command)); code != 0 || !strings.Contains(out, "Hello from lintel.") || !strings.Contains(out, "status 200") {
		t.Errorf("$ %s\n%d\n%s", command, code, out)
	}
	s.live("examples/hello/hello.yaml", "Hello from lintel.", s.ports(command))
}

// mine puts a server of the reader's own behind the manifest the page shows.
func (s *shell) mine(t *testing.T, command string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "mine of "+r.Host) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(t, "docs/start.md") {
		if b.Language == "yaml" && strings.Contains(b.Text, "port: 3000") {
			text := strings.Replace(b.Text, "port: 3000", "port: "+port, 1)
			if err := os.WriteFile(filepath.Join(s.dir, "examples/hello/mine.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, ok := s.shows(5*time.Second, s.ports(command), "mine of mine.example.com"); !ok || !strings.Contains(out, "status 200") {
		t.Errorf("$ %s\n%s", command, out)
	}
}

// mistake puts in what the page says, looks at check, and takes it out again.
func (s *shell) mistake(t *testing.T, command string) {
	const at = "metadata:\n  name: hello\nspec:"
	var bad string
	for _, b := range blocks(t, "docs/start.md") {
		if b.Language == "yaml" && strings.Contains(b.Text, "limit-rps: ten") {
			bad = strings.Replace(at, "spec:", b.Text+"spec:", 1)
		}
	}
	if bad == "" {
		t.Fatal("docs/start.md shows no mistake")
	}
	s.edit("examples/hello/hello.yaml", at, bad)
	code, out := s.run(command)
	for _, want := range []string{`examples/hello/hello.yaml:8:5: error: limit-rps: "ten" is not an integer`, `hint: write, for instance, "10"`, "meanwhile: "} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("$ %s\n%d, want 1 and %q:\n%s", command, code, want, out)
		}
	}
	for _, form := range []string{"sarif", "json"} {
		if code, out := s.run(command + " --output " + form); code != 1 || !strings.Contains(out, "limit-rps") {
			t.Errorf("$ %s --output %s\n%d\n%s", command, form, code, out)
		}
	}
	// The revision without the mistake serves on.
	question := s.ports("curl -s -H 'Host: hello.example.com' http://localhost:8080/")
	if _, out := s.run(question); !strings.Contains(out, "Text ") || !strings.Contains(out, "status 200") {
		t.Errorf("$ %s\n%s", question, out)
	}
	s.edit("examples/hello/hello.yaml", bad, at)
	if code, out := s.run(command); code != 0 {
		t.Errorf("$ %s\n%d after the mistake was taken out\n%s", command, code, out)
	}
}

// explainServer asks a server that runs.
func (s *shell) explainServer(t *testing.T, command string) {
	health := freePort(t)
	server := s.start("lintel serve --manifests manifests --http-port 0 --https-port 0" + own + health)
	server.wait("msg=serving", 10*time.Second)
	code, out := s.run(strings.Replace(command, "10254", health, 1))
	if code != 0 || !strings.Contains(out, "shop.example.com") {
		t.Errorf("$ %s\n%d\n%s", command, code, out)
	}
	server.stop()
}

func blocks(t *testing.T, page string) []docstest.Block {
	t.Helper()
	list, err := docstest.Blocks(root, page)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// shop has the mistake that the README speaks of, in the place it speaks of.
const shop = `# The shop: the README shows what check says about its last annotation.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: default
  labels:
    app: shop
    tier: web
  annotations:
    kubernetes.io/description: everything for sale
    nginx.ingress.kubernetes.io/rewrite-target: /
    nginx.ingress.kubernetes.io/limit-burst-multiplier: "3"
    nginx.ingress.kubernetes.io/limit-rps: ten
spec:
  ingressClassName: nginx
  rules:
    - host: shop.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}
`

// TestCommandsOfPagesWork runs every command that a page shows and that needs no cluster.
func TestCommandsOfPagesWork(t *testing.T) {
	s := newShell(t)
	good := strings.NewReplacer("limit-rps: ten", `limit-rps: "10"`).Replace(shop) + "---\napiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {ports: [{port: 80}]}\n"
	for path, text := range map[string]string{"manifests/shop.yaml": shop, "my-manifests/shop.yaml": good} {
		path = filepath.Join(s.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := docstest.Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	how := steps(s)
	used := map[string]bool{}
	for _, page := range pages {
		for _, b := range blocks(t, page) {
			if b.Language != "sh" {
				continue
			}
			for _, command := range b.Commands() {
				step, known := how[command]
				switch {
				case known:
					used[command] = true
					step(t, command)
				case !elsewhere(t, b, command):
					t.Errorf("%s: nobody says how to run %q: add it to steps", b, command)
				}
			}
		}
	}
	for command := range how {
		if !used[command] {
			t.Errorf("no page shows %q any more", command)
		}
	}
}

// elsewhere reports whether a command is none to run here, and holds what can be held of it: that targets
// and folders exist.
func elsewhere(t *testing.T, b docstest.Block, command string) bool {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(command)
	exists := func(word string) {
		path, _, _ := strings.Cut(strings.TrimSuffix(word, "/..."), "*")
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("%s: %s: %v", b, command, err)
		}
	}
	switch words[0] {
	case "make":
		for _, w := range words[1:] {
			if !strings.Contains(w, "=") && !bytes.Contains(makefile, []byte("\n"+w+":")) {
				t.Errorf("%s: there is no target %s", b, w)
			}
		}
	case "go":
		if !slices.Contains([]string{"test", "vet", "build", "run"}, words[1]) {
			return false
		}
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "./") && w != "./..." {
				exists(w)
			}
		}
	case "helm":
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "./") {
				exists(w)
			}
		}
	case "kubectl", "git":
	default:
		if !strings.HasPrefix(words[0], ".ci/") {
			return false
		}
		exists(words[0])
	}
	return true
}
