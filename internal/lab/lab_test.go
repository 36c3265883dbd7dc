package lab

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoldenTranslation runs the translation part of the cases; internal/app has their talk.
func TestGoldenTranslation(t *testing.T) { Golden(t, "../translate/testdata") }

func TestArchivesKeepTheirText(t *testing.T) {
	text := "About.\n\n-- a.yaml --\nx: 1\n-- http --\n> GET http://a/\n< 200\n"
	a := parseArchive(text)
	if a.String() != text {
		t.Errorf("%q became %q", text, a.String())
	}
	a.set("table", "host a\n")
	if want := strings.Replace(text, "-- http", "-- table --\nhost a\n-- http", 1); a.String() != want {
		t.Errorf("%q, want %q", a.String(), want)
	}
}

func TestMistakesInCasesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"-- a.yaml --\n":                           "no sentence",
		"x\n-- stuff --\n":                         "not a section",
		"x\n-- services --\nshop\n":                "not namespace/name",
		"x\n-- secrets --\na/b\n":                  "and hosts",
		"x\n-- http --\n< 200\n":                   "begins with",
		"x\n-- http --\n> GET /\n< 200\n":          "not a method, a URL",
		"x\n-- http --\n> GET http://a/\n":         "no answer",
		"x\n-- http --\n> GET http://a/\n< fine\n": "not a status",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "c.txtar"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestTalksAreHeld puts a plain proxy in lintel's place.
func TestTalksAreHeld(t *testing.T) {
	text := `A talk.

-- services --
default/shop
-- http --
> POST http://shop.test/a%20b?header=X-A:1&status=201  x2
> X-B: 2
> | body
< 201
< X-A: 1
< no X-C
< body contains bodyhello
< from default/shop
< received POST /a%20b?header=X-A:1&status=201
< received Host: shop.test
< received X-B: 2
< received no X-C
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "c.txtar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	HTTP(t, dir, func(manifests string, _ []string) (*Instance, error) {
		objects, err := os.ReadFile(filepath.Join(manifests, "zz-lab.yaml"))
		if err != nil {
			return nil, err
		}
		_, rest, _ := strings.Cut(string(objects), "ports: [{name: http, port: ")
		_, rest, _ = strings.Cut(rest, "ports: [{name: http, port: ")
		port, _, _ := strings.Cut(rest, ",")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port})
			p.Out.Host = p.In.Host
		}}}
		go s.Serve(l)
		return &Instance{HTTP: l.Addr().String(), Stop: s.Close}, nil
	})
}

func TestWrongAnswersAreNamed(t *testing.T) {
	talk, err := parseTalk("> GET http://a/\n< 200\n< from default/shop\n< X-A: 1\n< no X-B\n< body x\n< cert a\n< received GET /\n< received A: 1\n< nonsense\n")
	if err != nil {
		t.Fatal(err)
	}
	wrong := talk[0].check(&answer{status: 500, header: http.Header{"X-B": {"1"}}, received: http.Header{}})
	if len(wrong) != 9 {
		t.Errorf("%d of 9 found: %s", len(wrong), strings.Join(wrong, "\n"))
	}
}
