package translate

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

var update = flag.Bool("update", false, "rewrite the table and diagnostics of golden files")

// parse reads manifests; every document becomes a change. Objects without namespace are in "default".
func parse(t testing.TB, text string, local bool) []object.Change {
	t.Helper()
	var out []object.Change
	for i, doc := range strings.Split("\n"+text, "\n---") {
		var head struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatalf("document %d: %v\n%s", i, err, doc)
		}
		if head.Kind == "" {
			continue
		}
		kinds := map[string]func() (object.Kind, metav1.Object){
			"Ingress":      func() (object.Kind, metav1.Object) { return object.KindIngress, &object.Ingress{} },
			"IngressClass": func() (object.Kind, metav1.Object) { return object.KindIngressClass, &object.IngressClass{} },
			"Service":      func() (object.Kind, metav1.Object) { return object.KindService, &object.Service{} },
			"Secret":       func() (object.Kind, metav1.Object) { return object.KindSecret, &object.Secret{} },
			"ConfigMap":    func() (object.Kind, metav1.Object) { return object.KindConfigMap, &object.ConfigMap{} },
			"Namespace":    func() (object.Kind, metav1.Object) { return object.KindNamespace, &object.Namespace{} },
		}
		mk := kinds[head.Kind]
		if mk == nil {
			t.Fatalf("kind %s is not known here", head.Kind)
		}
		kind, o := mk()
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("document %d: %v\n%s", i, err, doc)
		}
		if s, ok := o.(*object.Secret); ok {
			for k, v := range s.StringData {
				if s.Data == nil {
					s.Data = map[string][]byte{}
				}
				s.Data[k] = []byte(v)
			}
			s.StringData = nil
		}
		ns := o.GetNamespace()
		if kind == object.KindIngressClass || kind == object.KindNamespace {
			ns = ""
		} else if ns == "" {
			ns = "default"
			o.SetNamespace(ns)
		}
		out = append(out, object.Change{
			Key: object.Key{Kind: kind, Namespace: ns, Name: o.GetName()}, Object: o,
			Origin: object.Origin{Local: local, Order: i},
		})
	}
	return out
}

// class is what every test's Ingresses belong to.
const class = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
`

func testOptions() Options {
	o := DefaultOptions()
	o.ConfigMap = "ingress-nginx/config"
	o.Now = func() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }
	return o
}

// world is a snapshot with its builder and what all results came to.
type world struct {
	t      testing.TB
	snap   *object.Snapshot
	b      *Builder
	hosts  map[string]*config.Host
	pools  map[config.PoolID]*config.Pool
	certs  map[config.CertID]*config.Cert
	global *config.Global
	diags  map[diag.Owner][]diag.Diagnostic
	served map[object.Key]bool
}

func newWorld(t testing.TB, o Options, manifests ...string) *world {
	t.Helper()
	w := &world{
		t: t, snap: object.NewSnapshot(), hosts: map[string]*config.Host{}, pools: map[config.PoolID]*config.Pool{},
		certs: map[config.CertID]*config.Cert{}, diags: map[diag.Owner][]diag.Diagnostic{}, served: map[object.Key]bool{},
	}
	w.b = NewBuilder(w.snap, o)
	w.snap.Apply(parse(t, class, false))
	for _, m := range manifests {
		w.snap.Apply(parse(t, m, false))
	}
	w.build(nil)
	return w
}

// apply puts manifests in and builds.
func (w *world) apply(manifests string) *Result {
	w.t.Helper()
	return w.build(w.snap.Apply(parse(w.t, manifests, false)))
}

func (w *world) delete(kind object.Kind, namespace, name string) *Result {
	return w.build(w.snap.Apply([]object.Change{{Key: object.Key{Kind: kind, Namespace: namespace, Name: name}}}))
}

func (w *world) build(keys []object.Key) *Result {
	r := w.b.Build(keys)
	fold(w.hosts, r.Delta.Hosts, func(h *config.Host) bool { return h == nil })
	fold(w.pools, r.Delta.Pools, func(p *config.Pool) bool { return p == nil })
	fold(w.certs, r.Delta.Certs, func(c *config.Cert) bool { return c == nil })
	if r.Delta.Global != nil {
		w.global = r.Delta.Global
	}
	fold(w.diags, r.Diags, func(d []diag.Diagnostic) bool { return len(d) == 0 })
	fold(w.served, r.Served, func(s bool) bool { return !s })
	return r
}

func fold[K comparable, V any](into, from map[K]V, gone func(V) bool) {
	for k, v := range from {
		if gone(v) {
			delete(into, k)
		} else {
			into[k] = v
		}
	}
}

// table is the text of everything but lintel's own routes.
func (w *world) table() string {
	d := config.Delta{Hosts: w.hosts, Pools: w.pools, Certs: w.certs}
	return d.Text()
}

// findings are all diagnostics, one a line.
func (w *world) findings() string {
	var lines []string
	for _, list := range w.diags {
		for _, d := range list {
			line := fmt.Sprintf("%s %s %s %s: %s", d.Severity, d.Code, d.Object, d.Field, d.Message)
			if d.Effect != diag.None {
				line += " (" + d.Effect.String() + ")"
			}
			for _, r := range d.Related {
				line += " [" + r.String() + "]"
			}
			lines = append(lines, line+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

// route finds a route of a host by match and path.
func (w *world) route(host, match, path string) *config.Route {
	w.t.Helper()
	h := w.hosts[host]
	if h == nil {
		w.t.Fatalf("there is no host %s; there are %v", host, slices.Sorted(maps.Keys(w.hosts)))
	}
	for _, r := range h.Routes {
		if r.Match.String() == match && r.Path == path {
			return r
		}
	}
	w.t.Fatalf("host %s has no route %s %s:\n%s", host, match, path, h.Text())
	return nil
}

// archive is a txtar file: a comment and named sections.
type archive struct {
	comment string
	names   []string
	files   map[string]string
}

func parseArchive(data []byte) *archive {
	a := &archive{files: map[string]string{}}
	name := ""
	var text strings.Builder
	flush := func() {
		if name == "" {
			a.comment = text.String()
		} else {
			a.names = append(a.names, name)
			a.files[name] = text.String()
		}
		text.Reset()
	}
	for line := range strings.Lines(string(data)) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "-- ") && strings.HasSuffix(trimmed, " --") {
			flush()
			name = strings.TrimSpace(trimmed[3 : len(trimmed)-3])
			continue
		}
		text.WriteString(line)
	}
	flush()
	return a
}

func (a *archive) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(a.comment)
	for _, n := range a.names {
		b.WriteString("-- " + n + " --\n" + a.files[n])
	}
	return b.Bytes()
}

// The sections of a golden file: options (one per line), *.yaml, table, diagnostics; http is for others.
func TestGolden(t *testing.T) {
	var paths []string
	err := filepath.WalkDir("testdata/core", func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".txtar") {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(p, "testdata/core/"), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			a := parseArchive(data)
			o := testOptions()
			for line := range strings.Lines(a.files["options"]) {
				goldenOption(t, &o, strings.TrimSpace(line))
			}
			local := strings.Contains(a.files["options"], "local")
			snap := object.NewSnapshot()
			w := &world{
				t: t, snap: snap, hosts: map[string]*config.Host{}, pools: map[config.PoolID]*config.Pool{},
				certs: map[config.CertID]*config.Cert{}, diags: map[diag.Owner][]diag.Diagnostic{}, served: map[object.Key]bool{},
			}
			snap.Apply(parse(t, class, false))
			for _, n := range a.names {
				if strings.HasSuffix(n, ".yaml") {
					snap.Apply(parse(t, a.files[n], local))
				}
			}
			w.b = NewBuilder(snap, o)
			w.build(nil)
			got := map[string]string{"table": outline(w.table()), "diagnostics": w.findings()}
			for _, section := range []string{"table", "diagnostics"} {
				if a.files[section] == got[section] {
					continue
				}
				if !*update {
					t.Errorf("%s is\n%s\nwant\n%s", section, got[section], a.files[section])
				}
				if _, ok := a.files[section]; !ok {
					a.names = append(a.names, section)
				}
				a.files[section] = got[section]
			}
			if *update {
				if err := os.WriteFile(p, a.bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// outline leaves out what features make of routes, which their own golden files show, and the
// catch-all where no Ingress has a part in it.
func outline(table string) string {
	var b strings.Builder
	for _, block := range blocks(table) {
		if strings.HasPrefix(block, "host _\n") && !strings.Contains(block, " from ") {
			continue
		}
		for line := range strings.Lines(block) {
			text := strings.TrimLeft(line, " ")
			word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
			if len(text) == len(line) || slices.Contains(outlined, word) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// outlined are the lines of a table that translation itself makes.
var outlined = []string{
	"route", "tls", "has-cert", "from", "deny", "canary", "fallback", "no-log", "rewrite", "host-redirect",
	"endpoints", "endpoint", "missing", "name", "local", "topology",
}

// blocks cuts a table at the lines that are not indented.
func blocks(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, " ") || len(out) == 0 {
			out = append(out, "")
		}
		out[len(out)-1] += line
	}
	return out
}

func goldenOption(t *testing.T, o *Options, line string) {
	key, value, _ := strings.Cut(line, "=")
	switch key {
	case "", "local":
	case "watch-ingress-without-class":
		o.WithoutClass = true
	case "disable-catch-all":
		o.DisableCatchAll = true
	case "default-backend-service":
		o.DefaultBackendService = value
	case "disable-svc-external-name":
		o.DisableExternalName = true
	case "default-ssl-certificate":
		o.DefaultSSLCertificate = value
	default:
		t.Fatalf("there is no option %q here", key)
	}
}
