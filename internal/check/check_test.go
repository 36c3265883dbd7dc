package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/translate"
)

const shop = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    nginx.ingress.kubernetes.io/limit-rps: "5"
    nginx.ingress.kubernetes.io/limit-rpx: "5"
    nginx.ingress.kubernetes.io/proxy-read-timeout: "soon"
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}
      - {path: /cart, pathType: Prefix, backend: {service: {name: cart, port: {name: http}}}}
      - {path: /cart/pay, pathType: Exact, backend: {service: {name: cart, port: {name: http}}}}
  - host: "*.apps.example.com"
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: late}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /cart, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}]
ports: [{name: "", port: 8080}]
`

func world(t *testing.T, text string) *World {
	t.Helper()
	return Translate(translate.DefaultOptions(), dir.LoadFS("", fstest.MapFS{"shop.yaml": {Data: []byte(text)}}))
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCheckSaysWhereAndWhat(t *testing.T) {
	name := write(t, shop)
	var b bytes.Buffer
	status, err := Run(&b, Options{Translate: translate.DefaultOptions()}, name)
	if err != nil || status != Faulty && status != Clean {
		t.Fatalf("status %d, %v", status, err)
	}
	out := strings.ReplaceAll(b.String(), name, "shop.yaml")
	for _, want := range []string{
		"shop.yaml:7:5: warning: ", "limit-rpx", "did you mean limit-rp",
		"shop.yaml:8:5: ", `"soon"`,
		"    8 |     nginx.ingress.kubernetes.io/proxy-read-timeout: \"soon\"\n      |     ^\n",
		"Ingress default/late", "warning",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

func TestExitStatusFollowsTheWorstFinding(t *testing.T) {
	clean := strings.NewReplacer(`    nginx.ingress.kubernetes.io/limit-rpx: "5"
    nginx.ingress.kubernetes.io/proxy-read-timeout: "soon"
`, "").Replace(shop[:strings.Index(shop, "---")]) + shop[strings.Index(shop, "---\napiVersion: v1"):]
	typo := strings.Replace(clean, "limit-rps", "limit-rpx", 1)
	for _, c := range []struct {
		name, text string
		strict     bool
		want       int
	}{
		{"clean", clean, true, Clean},
		{"warning", typo, false, Clean},
		{"warning, strict", typo, true, Faulty},
		{"error", clean + "---\nkind: [\n", false, Faulty},
	} {
		var b bytes.Buffer
		status, err := Run(&b, Options{Translate: translate.DefaultOptions(), Strict: c.strict}, write(t, c.text))
		if err != nil || status != c.want {
			t.Errorf("%s: status %d (%v), want %d:\n%s", c.name, status, err, c.want, b.String())
		}
	}
	if status, err := Run(&bytes.Buffer{}, Options{}, filepath.Join(t.TempDir(), "nowhere")); status != Unreadable || err == nil {
		t.Errorf("a path that is not there: status %d, %v", status, err)
	}
	if status, err := Run(&bytes.Buffer{}, Options{Format: "xml"}, write(t, clean)); status != Unreadable || err == nil {
		t.Errorf("an unknown format: status %d, %v", status, err)
	}
	if _, err := Run(failing{}, Options{Translate: translate.DefaultOptions()}, write(t, typo)); err == nil {
		t.Error("a writer that fails is not noticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestCheckOfNothingSaysSo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("no manifest"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status, err := Run(&out, Options{Translate: translate.DefaultOptions()}, dir)
	want := "no findings\nnothing was read: no file below these paths ends in .yaml, .yml or .json, or they are empty\n"
	if err != nil || status != Clean || out.String() != want {
		t.Errorf("got %d, %v, %q, want %q", status, err, out.String(), want)
	}
}

func TestCheckWritesJSONAndSARIF(t *testing.T) {
	name := write(t, shop)
	for _, format := range []string{"json", "sarif"} {
		var b bytes.Buffer
		if _, err := Run(&b, Options{Translate: translate.DefaultOptions(), Format: format}, name); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) || !strings.Contains(b.String(), "annotation-unknown") {
			t.Errorf("%s:\n%s", format, b.String())
		}
	}
}

func TestExplainSaysRouteReasonAndRunnersUp(t *testing.T) {
	a, err := world(t, shop).Explain(Question{Method: "GET", URL: "http://SHOP.example.com:8080/cart//items?x=1"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Request != (Request{"GET", "http", "shop.example.com", "/cart/items", "x=1", "/cart//items"}) {
		t.Errorf("request %+v", a.Request)
	}
	if a.Host.Name != "shop.example.com" || a.Host.Why != "the name is exactly this" || len(a.Host.Ingresses) == 0 {
		t.Errorf("host %+v", a.Host)
	}
	r := a.Route
	if r.Path != "/cart" || r.Match != "prefix" || r.Ingress != "default/web" || r.Field != "spec.rules[0].http.paths[1]" || r.Pos != "shop.yaml:16:9" {
		t.Errorf("route %+v", r)
	}
	var others []string
	for _, c := range a.Others {
		others = append(others, c.Match+" "+c.Path+": "+c.WhyNot)
	}
	want := []string{"prefix /: matches, but is shorter", "exact /cart/pay: is not exactly the path"}
	if d := cmp.Diff(want, others); d != "" {
		t.Error(d)
	}
	if len(a.Annotations) != 3 || a.Annotations[0].Pos != "shop.yaml:6:5" && a.Annotations[0].Pos != "shop.yaml:7:5" {
		t.Errorf("annotations %+v", a.Annotations)
	}
	if len(a.Backends) != 1 || a.Backends[0].Pool != "default/cart:http" || a.Backends[0].Problem == "" {
		t.Errorf("backends %+v", a.Backends)
	}
	limits, backend := -1, -1
	for i, f := range a.Filters {
		if strings.HasPrefix(f.Text, "rate-limit") {
			limits = i
		}
		if strings.HasPrefix(f.Text, "backend:") {
			backend = i
		}
	}
	if backend < 0 || limits < backend {
		t.Errorf("filters are not in order: %+v", a.Filters)
	}
	lost := false
	for _, d := range a.Findings {
		lost = lost || d.Object.Name == "late"
	}
	if !lost {
		t.Errorf("the Ingress that lost the path is not named: %v", a.Findings)
	}
}

func TestExplainShowsEndpointsAndWildcards(t *testing.T) {
	w := world(t, shop)
	a, err := w.Explain(Question{Method: "GET", URL: "https://one.apps.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Host.Name != "*.apps.example.com" || a.Route == nil || a.Route.Path != "/" {
		t.Errorf("host %+v, route %+v", a.Host, a.Route)
	}
	if d := cmp.Diff([]string{"10.0.0.1:8080"}, a.Backends[0].Endpoints); d != "" {
		t.Error(d)
	}
	var text bytes.Buffer
	if err := a.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"GET https://one.apps.example.com/\n", "host    *.apps.example.com\n    the wildcard matches one label", "route   prefix /\n",
		"Ingress default/web, spec.rules[1].http.paths[0]  (shop.yaml:21:9)", "backend default/shop:80\n", "        10.0.0.1:8080\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, text.String())
		}
	}
	var doc bytes.Buffer
	if err := a.WriteJSON(&doc); err != nil || !json.Valid(doc.Bytes()) {
		t.Errorf("%v: %s", err, doc.String())
	}
}

func TestExplainHelpsWithUnknownHosts(t *testing.T) {
	w := world(t, shop)
	for _, c := range []struct {
		q    Question
		want string
	}{
		{Question{Method: "GET", URL: "http://shop.exmaple.com/"}, "did you mean shop.example.com?"},
		{Question{Method: "GET", URL: "http://127.0.0.1:8080/", Header: []string{"Host: shop.example.com"}}, "the name is exactly this"},
		{Question{Method: "GET", URL: "shop.example.com/cart/pay"}, "exact paths go first"},
		{Question{Method: "GET", URL: "http://shop.example.com/cartoon"}, "is no prefix by whole path elements"},
		{Question{Method: "GET", URL: "http://shop.example.com/CART/PAY"}, "differs in upper and lower case"},
		{Question{Method: "GET", URL: "http://shop.example.com/../x"}, "400: "},
		{Question{Method: "TRACE", URL: "http://shop.example.com/"}, "405: "},
		{Question{Method: "GET", URL: "http://sh op/"}, "400: "},
	} {
		a, err := w.Explain(c.q)
		if err != nil {
			t.Errorf("%+v: %v", c.q, err)
			continue
		}
		var b bytes.Buffer
		if err := a.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("%+v: %q is missing in:\n%s", c.q, c.want, b.String())
		}
	}
	for _, q := range []Question{{Method: "GET", URL: "ftp://a/"}, {Method: "GET", URL: "http:///x"}, {Method: "GET", URL: "http://a/", Header: []string{"nonsense"}}} {
		if _, err := w.Explain(q); err == nil {
			t.Errorf("%+v was answered", q)
		}
	}
}

func TestExplainSaysWhyARouteIsDenied(t *testing.T) {
	a, err := world(t, strings.Replace(shop, `limit-rps: "5"`, "auth-type: basic\n    nginx.ingress.kubernetes.io/auth-secret: nowhere", 1)).Explain(Question{Method: "GET", URL: "http://shop.example.com/"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Route == nil || a.Route.Deny == "" {
		t.Errorf("route %+v", a.Route)
	}
}
