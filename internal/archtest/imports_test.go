package archtest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers says who may import whom: a package (from internal/), the packages of ours it
// may import, and behind "|" what it may import from outside the standard library
// and the restricted parts of it (net/http, unsafe, reflect). "x/*" stands for every
// package below x, "std" for the free standard library, which is always allowed.
const layers = `
diag                 :
exchange             :
cow                  :
expr                 : exchange
object               : diag                                   | k8s.io/api k8s.io/apimachinery reflect
source               : object
source/kube          : source object diag observe             | k8s.io/client-go k8s.io/api k8s.io/apimachinery k8s.io/klog github.com/go-logr/logr
source/dir           : source object diag observe             | k8s.io/api k8s.io/apimachinery go.yaml.in/yaml sigs.k8s.io/json sigs.k8s.io/yaml github.com/fsnotify/fsnotify
filter               : exchange expr
filter/*             : exchange expr filter
filter/access        : exchange expr filter                   | github.com/GehirnInc/crypt golang.org/x/crypto
filter/responsefields: exchange expr filter filter/redirect
config               : diag expr filter upstream/balance cow  | reflect
translate            : object diag config cow expr filter filter/* translate/* | k8s.io/api k8s.io/apimachinery reflect
translate/annotation : diag config exchange expr filter filter/* upstream/balance object
translate/global     : diag config exchange expr filter filter/* upstream/balance object translate/annotation
router               : cow
upstream/balance     : exchange expr
upstream/health      : exchange upstream/balance
upstream             : exchange config upstream/balance upstream/health observe
upstream/std         : exchange config filter upstream upstream/balance wire/h1 observe | net/http golang.org/x/net golang.org/x/sys
proxy                : exchange expr upstream upstream/balance upstream/health config filter observe
certs                : config router observe
dataplane            : exchange filter filter/* router upstream proxy config cow diag observe
wire/h1              : exchange                               | unsafe
engine               : exchange config
engine/std           : exchange config engine wire/h1 observe | net/http golang.org/x/net
engine/enginetest    : exchange engine engine/* config wire/h1              | net/http golang.org/x/net
listen               : exchange config filter engine engine/* certs observe | golang.org/x/sys
observe              :
observe/accesslog    : exchange expr config observe
observe/metrics      : exchange config observe                | github.com/prometheus/client_golang
status               : object diag observe                    | k8s.io/client-go k8s.io/api k8s.io/apimachinery k8s.io/klog github.com/go-logr/logr
admin                : observe diag                           | net/http github.com/prometheus/client_golang
check                : source/dir object diag translate config router expr filter filter/* source dataplane exchange translate/* wire/h1 | k8s.io/apimachinery
app                  : *                                      | * net/http reflect

# Test support, tools and commands.
echo                 :                                        | net/http golang.org/x/net
parity               :                                        | net/http go.yaml.in/yaml golang.org/x/net golang.org/x/sys
lab                  : *                                      | net/http github.com/google/go-cmp
docstest             : *
bench                : *                                      | *
archtest             : *                                      | *
cmd/lintel           : *                                      | *
`

// planned are packages of the table that are not there yet.
var planned = []string{
	"engine/enginetest", "translate/global", "listen", "admin", "bench", "cmd/lintel",
}

// restricted are packages of the standard library that a line must name.
var restricted = []string{"net/http", "unsafe", "reflect"}

type layer struct {
	ours, outside []string
}

func parseLayers(t *testing.T) map[string]layer {
	t.Helper()
	all := map[string]layer{}
	for text := range strings.Lines(layers) {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, rest, ok := strings.Cut(text, ":")
		name = strings.TrimSpace(name)
		if _, twice := all[name]; !ok || twice {
			t.Fatalf("bad or second line for %q", name)
		}
		ours, outside, _ := strings.Cut(rest, "|")
		all[name] = layer{strings.Fields(ours), strings.Fields(outside)}
	}
	return all
}

// find returns the line for a package: its own, or the one of its parent's "x/*".
func find(all map[string]layer, pkg string) (layer, bool) {
	if l, ok := all[pkg]; ok {
		return l, true
	}
	for i := strings.LastIndexByte(pkg, '/'); i > 0; i = strings.LastIndexByte(pkg[:i], '/') {
		if l, ok := all[pkg[:i]+"/*"]; ok {
			return l, true
		}
	}
	return layer{}, false
}

func allowed(list []string, path string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		if below, ok := strings.CutSuffix(p, "/*"); ok {
			return strings.HasPrefix(path, below+"/")
		}
		return p == "*" || p == path
	})
}

// allowedModule is the same for modules: a line covers every package below it and every major version.
func allowedModule(list []string, path string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		return p == "*" || p == path || strings.HasPrefix(path, p+"/")
	})
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	all := parseLayers(t)
	missing := map[string]bool{}
	for _, s := range parsed(t) {
		if s.test || strings.HasPrefix(s.pkg, "test/") || strings.HasPrefix(s.pkg, "tools/") {
			continue
		}
		l, ok := find(all, s.pkg)
		if !ok {
			if !missing[s.pkg] {
				t.Errorf("package %s has no line in the table of imports_test.go", s.pkg)
			}
			missing[s.pkg] = true
			continue
		}
		for _, i := range s.file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if ours, ok := strings.CutPrefix(path, module+"/"); ok {
				ours = strings.TrimPrefix(ours, "internal/")
				if !allowed(l.ours, ours) {
					t.Errorf("%s:%d: %s may not import %s", s.path, line(i), s.pkg, ours)
				}
				continue
			}
			first, _, _ := strings.Cut(path, "/")
			restrictedStd := slices.ContainsFunc(restricted, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
			if (strings.Contains(first, ".") || restrictedStd) && !allowedModule(l.outside, path) {
				t.Errorf("%s:%d: %s may not import %s", s.path, line(i), s.pkg, path)
			}
		}
	}
}

func TestTheTableNamesOnlyPackagesThereAre(t *testing.T) {
	have := map[string]bool{}
	for _, s := range parsed(t) {
		have[s.pkg] = true
		for i := strings.LastIndexByte(s.pkg, '/'); i > 0; i = strings.LastIndexByte(s.pkg[:i], '/') {
			have[s.pkg[:i]+"/*"] = true
		}
	}
	for name := range parseLayers(t) {
		if !have[name] && !slices.Contains(planned, name) {
			t.Errorf("imports_test.go: there is no package %s", name)
		}
	}
}
