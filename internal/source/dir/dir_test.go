package dir

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

func load(t *testing.T, files map[string]string) []object.Change {
	t.Helper()
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return LoadFS("", m)
}

func find(cs []object.Change, kind object.Kind, name string) *object.Change {
	for i := range cs {
		if cs[i].Key.Kind == kind && (name == "" || cs[i].Key.Name == name) {
			return &cs[i]
		}
	}
	return nil
}

func texts(cs []object.Change) []string {
	var ds []diag.Diagnostic
	for _, c := range cs {
		ds = append(ds, c.Diags...)
	}
	diag.Sort(ds)
	var out []string
	for _, d := range ds {
		s := d.Pos.String() + ": " + d.Severity.String() + ": " + d.Message
		if d.Effect != diag.None {
			s += " (" + d.Effect.String() + ")"
		}
		out = append(out, s)
	}
	return out
}

const web = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    nginx.ingress.kubernetes.io/limit-rps: "ten"
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: shop, port: {number: 80}}}
      - path: /cart
        pathType: Prefix
        backend:
          service:
            name: cart
            port:
              number: 80
`

func TestFieldsHaveTheirPlaceInTheFile(t *testing.T) {
	cs := load(t, map[string]string{"a/web.yaml": "# shop\n---\n" + web})
	c := find(cs, object.KindIngress, "web")
	if c == nil || c.Object == nil {
		t.Fatalf("no Ingress in %v", texts(cs))
	}
	if c.Key.Namespace != "default" || c.Object.GetNamespace() != "default" || !c.Origin.Local {
		t.Errorf("key %v, namespace %q, local %v", c.Key, c.Object.GetNamespace(), c.Origin.Local)
	}
	for field, want := range map[string]string{
		"metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]": "a/web.yaml:8:5",
		"spec.rules[0].host": "a/web.yaml:12:5",
		"spec.rules[0].http.paths[0].backend.service.port.number": "a/web.yaml:17:48",
		"spec.rules[0].http.paths[1].path":                        "a/web.yaml:18:9",
		"spec.rules[0].http.paths[1].backend.service.name":        "a/web.yaml:22:13",
	} {
		if got := placeOf(c, field); got != want {
			t.Errorf("%s is at %q, want %q", field, got, want)
		}
	}
	if got := texts(cs); len(got) > 0 {
		t.Errorf("findings in a good manifest: %q", got)
	}
}

func placeOf(c *object.Change, field string) string {
	pos, _ := c.Origin.Fields.At(field)
	return pos.String()
}

func TestOldIngressIsUpgradedWithItsPlaces(t *testing.T) {
	cs := load(t, map[string]string{"old.yaml": `apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: old, namespace: shop}
spec:
  backend: {serviceName: fallback, servicePort: http}
  tls:
  - hosts: [a.example.com]
    secretName: tls
  rules:
  - host: a.example.com
    http:
      paths:
      - path: /x
        backend:
          serviceName: x
          servicePort: 8080
`})
	c := find(cs, object.KindIngress, "old")
	in := c.Object.(*object.Ingress)
	path := in.Spec.Rules[0].HTTP.Paths[0]
	if *path.PathType != networkingv1.PathTypeImplementationSpecific || path.Backend.Service.Name != "x" || path.Backend.Service.Port.Number != 8080 {
		t.Errorf("path became %v", path)
	}
	if b := in.Spec.DefaultBackend.Service; b.Name != "fallback" || b.Port.Name != "http" {
		t.Errorf("default backend became %v", b)
	}
	if in.Spec.TLS[0].SecretName != "tls" {
		t.Errorf("tls became %v", in.Spec.TLS)
	}
	if got := placeOf(c, "spec.rules[0].http.paths[0].backend.service.port.number"); got != "old.yaml:16:11" {
		t.Errorf("the port is at %q, want old.yaml:16:11", got)
	}
	if got := placeOf(c, "spec.defaultBackend.service.name"); got != "old.yaml:5:13" {
		t.Errorf("the default backend is at %q, want old.yaml:5:13", got)
	}
	if len(c.Diags) != 1 || c.Diags[0].Code != diag.APIVersionOld || c.Diags[0].Pos.String() != "old.yaml:1:1" {
		t.Errorf("findings: %v", c.Diags)
	}
}

func TestEveryKindIsReadWithItsDefaults(t *testing.T) {
	cs := load(t, map[string]string{"all.yaml": `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: ext}, spec: {type: ExternalName, externalName: 127.0.0.1}}
- {apiVersion: v1, kind: Secret, metadata: {name: k}, data: {a: YQ==}, stringData: {b: "b", a: "new"}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: n, creationTimestamp: 2020-01-01T00:00:00Z}, data: {k: v}}
- {apiVersion: v1, kind: Namespace, metadata: {name: n, namespace: wrong}}
- {apiVersion: v1, kind: Endpoints, metadata: {name: s}, subsets: [{addresses: [{ip: 10.0.0.1}, {ip: "fd00::1"}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 8080}]}]}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClassList
items:
- {metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: e, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], topology: {topology.kubernetes.io/zone: z1}}]
ports: [{port: 8080}]
`})
	svc := find(cs, object.KindService, "s").Object.(*object.Service)
	if p := svc.Spec.Ports[0]; p.Protocol != corev1.ProtocolTCP || p.TargetPort.IntVal != 80 || svc.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("service defaults: %v %v", p, svc.Spec.Type)
	}
	secret := find(cs, object.KindSecret, "k").Object.(*object.Secret)
	if string(secret.Data["a"]) != "new" || string(secret.Data["b"]) != "b" || secret.StringData != nil || secret.Type != corev1.SecretTypeOpaque {
		t.Errorf("secret: %q %v", secret.Data, secret.Type)
	}
	m := find(cs, object.KindConfigMap, "m")
	if m.Key.Namespace != "n" || m.Object.GetCreationTimestamp().Year() != 2020 {
		t.Errorf("config map %v made %v", m.Key, m.Object.GetCreationTimestamp())
	}
	n := find(cs, object.KindNamespace, "n").Object
	if n.GetNamespace() != "" || n.GetLabels()["kubernetes.io/metadata.name"] != "n" {
		t.Errorf("namespace in %q with labels %v", n.GetNamespace(), n.GetLabels())
	}
	six := find(cs, object.KindEndpointSlice, "s-1").Object.(*object.EndpointSlice)
	four := find(cs, object.KindEndpointSlice, "s").Object.(*object.EndpointSlice)
	if len(four.Endpoints) != 2 || *four.Endpoints[0].Conditions.Ready != true || *four.Endpoints[1].Conditions.Ready != false ||
		*four.Ports[0].Protocol != corev1.ProtocolTCP || len(six.Endpoints) != 1 || four.Labels["kubernetes.io/service-name"] != "s" {
		t.Errorf("endpoints became %v and %v", four, six)
	}
	old := find(cs, object.KindEndpointSlice, "e").Object.(*object.EndpointSlice)
	if *old.Endpoints[0].Zone != "z1" || *old.Ports[0].Name != "" {
		t.Errorf("old slice became %v", old)
	}
	if find(cs, object.KindIngressClass, "nginx") == nil {
		t.Error("a typed list's items take their kind from the list")
	}
	want := []string{
		"all.yaml:10:3: info: read as EndpointSlices",
		"all.yaml:11:3: info: Deployment of apps/v1 has no part in serving traffic and is skipped",
		"all.yaml:18:1: warning: discovery.k8s.io/v1beta1 EndpointSlice no longer exists; it is read as discovery.k8s.io/v1",
	}
	for i, g := range texts(cs) {
		if i >= len(want) || strings.SplitN(g, ": ", 2)[1] != strings.SplitN(want[i], ": ", 2)[1] || strings.Split(g, ":")[1] != strings.Split(want[i], ":")[1] {
			t.Errorf("finding %d is %q, want %q", i, g, want)
		}
	}
}

func TestMistakesAreNamedWithPlaceAndRemedy(t *testing.T) {
	head := "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: x\n"
	for _, c := range []struct{ name, text, want string }{
		{"number for text", head + "  annotations:\n    a/b: 10\n", "f.yaml:6:5: error: 10 is a number, but text is wanted (object not served)"},
		{"boolean word of YAML 1.1", head + "  annotations:\n    a/b: yes\n", "f.yaml:6:5: error: true is a boolean, but text is wanted (object not served)"},
		{"text for number", head + "spec:\n  defaultBackend:\n    service: {name: s, port: {number: http}}\n", `f.yaml:7:31: error: "http" is text, but a whole number is wanted (object not served)`},
		{"mapping for list", head + "spec:\n  rules:\n    host: a\n", "f.yaml:6:3: error: a mapping is here, but a list is wanted (object not served)"},
		{"unknown field", head + "spec:\n  rulez: []\n", `f.yaml:6:3: warning: there is no field "rulez" here (value ignored)`},
		{"unknown field in a list", head + "spec:\n  rules:\n  - hots: a\n", `f.yaml:7:5: warning: there is no field "hots" here (value ignored)`},
		{"key twice", head + "spec: {}\nspec: {}\n", "f.yaml:6:1: error: the key is written twice; the first one counts (value ignored)"},
		{"syntax", head + "spec: [\n", "f.yaml:5:1: error: not YAML: did not find expected node content"},
		{"no name", "apiVersion: v1\nkind: Service\nmetadata: {}\n", "f.yaml:3:1: error: metadata.name is missing (object not served)"},
		{"bad name", "apiVersion: v1\nkind: Service\nmetadata: {name: \"a\\nb\"}\n", `f.yaml:3:12: error: "a\nb" is not a name: lower-case letters, digits, - and . are allowed (object not served)`},
		{"bad namespace", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: A/b}\n", `f.yaml:3:21: error: "A/b" is not a namespace: lower-case letters, digits and - are allowed (object not served)`},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}\n", "f.yaml:1:1: error: kind is missing"},
		{"wrong version", "apiVersion: v1\nkind: Ingress\nmetadata: {name: a}\n", "f.yaml:1:1: error: there is no Ingress in apiVersion v1"},
		{"foreign Ingress", "apiVersion: config.openshift.io/v1\nkind: Ingress\nmetadata: {name: a}\n", "f.yaml:1:1: info: Ingress of config.openshift.io/v1 has no part in serving traffic and is skipped"},
		{"misspelt kind", "apiVersion: networking.k8s.io/v1\nkind: Ingres\nmetadata: {name: a}\n", "f.yaml:1:1: error: there is no kind Ingres in apiVersion networking.k8s.io/v1"},
		{"kind in small letters", "apiVersion: v1\nkind: configmap\nmetadata: {name: a}\n", "f.yaml:1:1: error: there is no kind configmap in apiVersion v1"},
		{"kind of no concern", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n", "f.yaml:1:1: info: ServiceAccount of v1 has no part in serving traffic and is skipped"},
		{"no manifest", "replicas: 3\n", "f.yaml:1:1: info: not a Kubernetes object: it has no apiVersion, kind and metadata"},
		{"a list", "- a\n", "f.yaml:1:1: error: not a Kubernetes object: a mapping with apiVersion, kind and metadata is wanted"},
		{"secret", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  k: hunter2!\n", "f.yaml:5:3: error: the value is not base64 (object not served)"},
		{"slice without service", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\nendpoints: []\n", "f.yaml:3:1: warning: the label kubernetes.io/service-name is missing, so no Service has these endpoints (value ignored)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := texts(load(t, map[string]string{"f.yaml": c.text}))
			if len(got) != 1 || got[0] != c.want {
				t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// TestRealKindsAreNotTakenForMisspeltOnes holds all other kinds of the groups that are read.
func TestRealKindsAreNotTakenForMisspeltOnes(t *testing.T) {
	for version, kinds := range map[string]string{
		"v1": "Binding ComponentStatus Event LimitRange PersistentVolume PersistentVolumeClaim PodTemplate " +
			"ReplicationController ResourceQuota ServiceAccount",
		"networking.k8s.io/v1":      "NetworkPolicy IPAddress ServiceCIDR",
		"extensions/v1beta1":        "Deployment DaemonSet ReplicaSet NetworkPolicy PodSecurityPolicy Scale",
		"config.openshift.io/v1":    "Ingress Ingresses",
		"networking.istio.io/v1":    "Gateway",
		"traefik.io/v1alpha1":       "IngressRoute Ingres",
		"projectcontour.io/v1":      "HTTPProxy",
		"gateway.networking.k8s.io": "HTTPRoute",
	} {
		for kind := range strings.FieldsSeq(kinds) {
			if meant := similar(typeMeta{version, kind}); meant != "" {
				t.Errorf("%s of %s is taken for %s", kind, version, meant)
			}
		}
	}
}

func TestSecretValuesAreInNoFinding(t *testing.T) {
	for _, text := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: hunter2!}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: 12345678}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  k: hunter2\n bad",
	} {
		for _, c := range load(t, map[string]string{"f.yaml": text}) {
			for _, d := range c.Diags {
				if d.Object.Kind != "Secret" {
					t.Errorf("an outlet would show the line of %v", d)
				}
				var b bytes.Buffer
				if err := diag.WriteText(&b, c.Diags, func(string, int) (string, bool) { return text, true }); err != nil {
					t.Fatal(err)
				}
				if s := b.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "12345678") && !strings.Contains(text, "stringData: {k: 1") {
					t.Errorf("the secret is in:\n%s", s)
				}
			}
		}
	}
}

func TestOneBrokenDocumentLeavesTheOthers(t *testing.T) {
	cs := load(t, map[string]string{"f.yaml": web + "---\n{{ if .x }}\n---\n" + strings.Replace(web, "name: web", "name: late", 1)})
	if find(cs, object.KindIngress, "web").Object == nil || find(cs, object.KindIngress, "late").Object == nil {
		t.Error("good documents were lost")
	}
	got := texts(cs)
	if len(got) != 1 || !strings.HasPrefix(got[0], "f.yaml:23:") && !strings.HasPrefix(got[0], "f.yaml:24:") {
		t.Errorf("findings: %q", got)
	}
	if f := find(cs, object.KindFile, ""); f == nil || !f.Keep || f.Key.Name != "f.yaml" || !strings.Contains(f.Diags[0].Hint, "helm template") {
		t.Errorf("the file's finding: %+v", f)
	}
}

func TestFirstOfTwoDefinitionsWins(t *testing.T) {
	cs := load(t, map[string]string{
		"b.yaml": strings.Replace(web, "shop.example.com", "b.example.com", 1),
		"a.yaml": web + "---\n" + strings.Replace(web, "shop.example.com", "a2.example.com", 1),
	})
	c := find(cs, object.KindIngress, "web")
	if h := c.Object.(*object.Ingress).Spec.Rules[0].Host; h != "shop.example.com" {
		t.Errorf("host %q counts, want that of the first document", h)
	}
	want := []string{
		"a.yaml:24:1: error: the same object is already defined at a.yaml:1:1, which counts (object not served)",
		"b.yaml:1:1: error: the same object is already defined at a.yaml:1:1, which counts (object not served)",
	}
	if d := cmp.Diff(want, texts(cs)); d != "" {
		t.Error(d)
	}
}

func TestAliasesAndMergeKeysAreFollowedWithinBounds(t *testing.T) {
	cs := load(t, map[string]string{"f.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: &m {name: one, labels: &l {a: "1", b: "2"}}
data:
  <<: *l
  b: own
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two}
data:
  <<: [{x: "1"}, {x: "2", y: "3"}]
`})
	if d := cmp.Diff(map[string]string{"a": "1", "b": "own"}, find(cs, object.KindConfigMap, "one").Object.(*object.ConfigMap).Data); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"x": "1", "y": "3"}, find(cs, object.KindConfigMap, "two").Object.(*object.ConfigMap).Data); d != "" {
		t.Error(d)
	}
	var bomb strings.Builder
	bomb.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	cs = load(t, map[string]string{"f.yaml": bomb.String()})
	if c := find(cs, object.KindConfigMap, "bomb"); c.Object != nil || !c.Keep || !strings.Contains(c.Diags[0].Message, "larger than") {
		t.Errorf("the bomb became %+v", c)
	}
	cs = load(t, map[string]string{"f.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: &a {name: x, labels: {l: *a}}\n"})
	if got := texts(cs); len(got) != 1 || !strings.Contains(got[0], "error") {
		t.Errorf("an alias within itself gave %q", got)
	}
}

func TestJSONFilesAreRead(t *testing.T) {
	cs := load(t, map[string]string{"f.json": "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"j\"},\n\t\"data\": {\"k\": \"\\ud83d\\ude00\"}\n}"})
	c := find(cs, object.KindConfigMap, "j")
	if c == nil || c.Object.(*object.ConfigMap).Data["k"] != "😀" {
		t.Errorf("read %+v, findings %q", c, texts(cs))
	}
	cs = load(t, map[string]string{"f.json": "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"j\"},\n\t\"data\": {\"k\": 1}\n}"})
	if got := texts(cs); len(got) != 1 || !strings.HasPrefix(got[0], "f.json:5:") {
		t.Errorf("findings %q, want one at line 5", got)
	}
}

// sink keeps the objects a source delivers, as the store does.
type sink struct {
	mu     sync.Mutex
	objs   map[string]object.Change
	synced bool
	change chan struct{}
}

func newSink() *sink { return &sink{objs: map[string]object.Change{}, change: make(chan struct{})} }

func (s *sink) Apply(batch []object.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range batch {
		id := c.Key.Ref().String()
		switch {
		case c.Object == nil && !c.Keep:
			delete(s.objs, id)
		case c.Object == nil && s.objs[id].Object != nil:
			c.Object = s.objs[id].Object
			fallthrough
		default:
			s.objs[id] = c
		}
	}
	close(s.change)
	s.change = make(chan struct{})
}

func (s *sink) Synced(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = true
	close(s.change)
	s.change = make(chan struct{})
}

// view is one line per object: its mark (the host, or the value "v" of a ConfigMap) and findings.
func (s *sink) view() string {
	var lines []string
	for id, c := range s.objs {
		l := id
		if m, ok := c.Object.(*object.ConfigMap); ok {
			l += "=" + m.Data["v"]
		}
		for _, d := range c.Diags {
			l += " [" + d.Effect.String() + "]"
		}
		lines = append(lines, l)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (s *sink) wait(t *testing.T, want string) {
	t.Helper()
	limit := time.After(8 * time.Second)
	for {
		s.mu.Lock()
		got, synced, change := s.view(), s.synced, s.change
		s.mu.Unlock()
		if synced && got == want {
			return
		}
		select {
		case <-change:
		case <-limit:
			t.Fatalf("delivered:\n%s\nwant:\n%s", got, want)
		}
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func cm(name, v string) string {
	return "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {v: \"" + v + "\"}\n"
}

func start(t *testing.T, deaf bool, paths ...string) *sink {
	t.Helper()
	s, err := New(slog.New(slog.DiscardHandler), paths...)
	if err != nil {
		t.Fatal(err)
	}
	s.deaf = deaf
	to := newSink()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, to) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return to
}

func TestEditsAreLive(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(map[bool]string{false: "told", true: "by looking"}[deaf], func(t *testing.T) {
			dir := t.TempDir()
			a := filepath.Join(dir, "a.yaml")
			put(t, a, cm("one", "1"))
			to := start(t, deaf, dir)
			to.wait(t, "ConfigMap default/one=1")

			began := time.Now()
			put(t, a, cm("one", "2")+cm("two", "1"))
			to.wait(t, "ConfigMap default/one=2\nConfigMap default/two=1")
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("an edit took %v", d)
			}

			// Editors write another file and rename it.
			put(t, filepath.Join(dir, ".a.yaml.tmp"), cm("one", "3"))
			if err := os.Rename(filepath.Join(dir, ".a.yaml.tmp"), a); err != nil {
				t.Fatal(err)
			}
			to.wait(t, "ConfigMap default/one=3")

			if err := os.MkdirAll(filepath.Join(dir, "sub.d", "deep"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "sub.d", "deep", "b.yml"), cm("three", "1"))
			to.wait(t, "ConfigMap default/one=3\nConfigMap default/three=1")
			put(t, filepath.Join(dir, "sub.d", "deep", "b.yml"), cm("three", "2"))
			to.wait(t, "ConfigMap default/one=3\nConfigMap default/three=2")

			if err := os.Remove(a); err != nil {
				t.Fatal(err)
			}
			to.wait(t, "ConfigMap default/three=2")
		})
	}
}

func TestBrokenFileKeepsItsLastGoodObjects(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, cm("one", "1")+cm("two", "1"))
	to := start(t, false, dir)
	to.wait(t, "ConfigMap default/one=1\nConfigMap default/two=1")

	// The second document is half written: it does not parse.
	put(t, a, cm("one", "2")+"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: tw")
	to.wait(t, "ConfigMap default/one=2\nConfigMap default/two=1\nFile "+a+" [last accepted revision serves]")

	// It parses, but is not what its kind demands.
	put(t, a, cm("one", "2")+"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\ndata: 3\n")
	to.wait(t, "ConfigMap default/one=2\nConfigMap default/two=1 [last accepted revision serves]")

	// New and broken at once: there is nothing to keep.
	put(t, filepath.Join(dir, "b.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: 3\n")
	to.wait(t, "ConfigMap default/new [object not served]\nConfigMap default/one=2\nConfigMap default/two=1 [last accepted revision serves]")

	put(t, a, cm("one", "3"))
	put(t, filepath.Join(dir, "b.yaml"), cm("new", "1"))
	to.wait(t, "ConfigMap default/new=1\nConfigMap default/one=3")

	// Emptied for good: gone after a moment, not at once.
	put(t, a, "")
	to.wait(t, "ConfigMap default/new=1")
}

func TestDirectoryThatDisappearsKeepsItsObjects(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "manifests")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "a.yaml"), cm("one", "1"))
	to := start(t, false, dir)
	to.wait(t, "ConfigMap default/one=1")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	to.wait(t, "ConfigMap default/one=1\nFile "+dir+" [last accepted revision serves]")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "a.yaml"), cm("one", "2"))
	to.wait(t, "ConfigMap default/one=2")
	put(t, filepath.Join(dir, "a.yaml"), cm("one", "3"))
	to.wait(t, "ConfigMap default/one=3")
}

func TestMountedConfigMapIsFollowedOverItsSwap(t *testing.T) {
	dir := t.TempDir()
	write := func(version, v string) {
		d := filepath.Join(dir, "..v"+version)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(d, "a.yaml"), cm("one", v))
		tmp := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink("..v"+version, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	write("1", "1")
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	to := start(t, false, dir)
	to.wait(t, "ConfigMap default/one=1")
	write("2", "2")
	if err := os.RemoveAll(filepath.Join(dir, "..v1")); err != nil {
		t.Fatal(err)
	}
	to.wait(t, "ConfigMap default/one=2")
}

func TestSingleFileMayBeWatched(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, cm("one", "1"))
	put(t, filepath.Join(dir, "b.yaml"), cm("two", "1"))
	to := start(t, false, a)
	to.wait(t, "ConfigMap default/one=1")
	put(t, a, cm("one", "2"))
	to.wait(t, "ConfigMap default/one=2")
}

func TestDirectoryLoopsEnd(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.yaml"), cm("one", "1"))
	if err := os.Symlink(".", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	cs, err := Load(dir)
	if err != nil || len(cs) != 1 || len(cs[0].Diags) != 0 {
		t.Errorf("loaded %v, %v", cs, err)
	}
}

func TestMissingDirectoryIsAnErrorAtStart(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "nowhere"))
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("error %v", err)
	}
}

func TestFileOrderStandsInForAge(t *testing.T) {
	now := time.Now()
	fsys := fstest.MapFS{}
	set := func(name, text string) {
		now = now.Add(time.Minute)
		fsys[name] = &fstest.MapFile{Data: []byte(text), ModTime: now}
	}
	set("b.yaml", cm("b1", "")+cm("b2", ""))
	set("d.yaml", cm("d", ""))
	r := root{fsys: fsys}
	s := newState([]*root{&r}, time.Now)
	orders := map[string]int{}
	apply := func() (changed []string) {
		cs, _ := s.scan()
		for _, c := range cs {
			orders[c.Key.Name] = c.Origin.Order
			changed = append(changed, c.Key.Name)
		}
		return changed
	}
	apply()
	for i := range 40 { // more than there are halves of a gap
		set(fmt.Sprintf("c%03d.yaml", 100-i), cm(fmt.Sprintf("c%03d", 100-i), ""))
		set("a.yaml", cm("a", fmt.Sprint(i)))
		changed := apply()
		if i == 3 && len(changed) != 2 {
			t.Errorf("a new file changed others too: %q", changed)
		}
	}
	names := []string{"a", "b1", "b2"}
	for i := 61; i <= 100; i++ {
		names = append(names, fmt.Sprintf("c%03d", i))
	}
	names = append(names, "d")
	for i := 1; i < len(names); i++ {
		if orders[names[i-1]] >= orders[names[i]] {
			t.Fatalf("%s has order %d, %s has %d", names[i-1], orders[names[i-1]], names[i], orders[names[i]])
		}
	}
}

func TestUnchangedDocumentsAreNotDeliveredAgain(t *testing.T) {
	fsys := fstest.MapFS{"a.yaml": {Data: []byte(cm("one", "1") + cm("two", "1"))}}
	r := root{fsys: fsys}
	s := newState([]*root{&r}, time.Now)
	if cs, _ := s.scan(); len(cs) != 2 {
		t.Fatalf("first look: %v", cs)
	}
	fsys["a.yaml"] = &fstest.MapFile{Data: []byte(cm("one", "1") + cm("two", "2")), ModTime: time.Now()}
	cs, _ := s.scan()
	if len(cs) != 1 || cs[0].Key.Name != "two" {
		t.Errorf("after an edit of two: %v", cs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(web))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("--- |\n x\n...\n---\n? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := &parser{}
		for _, name := range []string{"f.yaml", "f.json"} {
			for _, d := range p.parse(name, text, nil) {
				for _, e := range d.entries {
					if e.obj == nil && len(e.diags) == 0 {
						t.Errorf("%v is broken and nothing says so", e.key)
					}
				}
			}
		}
	})
}

func BenchmarkLoad10kIngresses(b *testing.B) {
	fsys := fstest.MapFS{}
	for i := range 10_000 {
		fsys[fmt.Sprintf("i%05d.yaml", i)] = &fstest.MapFile{Data: []byte(strings.Replace(web, "name: web", fmt.Sprintf("name: web%d", i), 1))}
	}
	b.ResetTimer()
	for b.Loop() {
		if cs := LoadFS("", fsys); len(cs) != 10_000 {
			b.Fatal(len(cs))
		}
	}
}
