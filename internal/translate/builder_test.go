package translate

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// simple is an Ingress with one host and path.
func simple(name, host, path, service string) *object.Ingress {
	kind := networkingv1.PathTypePrefix
	nginx := "nginx"
	return &object.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.Time{Time: time.Unix(1_700_000_000, 0)}},
		Spec: networkingv1.IngressSpec{
			IngressClassName: &nginx,
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
				}}},
			}}}},
		},
	}
}

func service(name string) *object.Service {
	return &object.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}
}

func change(o metav1.Object) object.Change {
	k := object.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
	switch o.(type) {
	case *object.Ingress:
		k.Kind = object.KindIngress
	case *object.Service:
		k.Kind = object.KindService
	case *object.Secret:
		k.Kind = object.KindSecret
	case *object.ConfigMap:
		k.Kind = object.KindConfigMap
	case *object.IngressClass:
		k.Kind = object.KindIngressClass
	case *object.Namespace:
		k.Kind = object.KindNamespace
	}
	return object.Change{Key: k, Object: o}
}

// randomObject makes an object out of few names, so that they meet.
func randomObject(r *rand.Rand) metav1.Object {
	switch r.IntN(10) {
	case 0:
		return service(fmt.Sprint("svc", r.IntN(4)))
	case 1:
		s := service(fmt.Sprint("svc", r.IntN(4)))
		s.Spec.Ports[0].Port = int32(80 + r.IntN(2))
		return s
	case 2:
		names := []string{"a.test", "b.test", "*.a.test", "x.a.test"}
		chain, key := testCertificate(names[r.IntN(4)])
		return &object.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("tls", r.IntN(3))}, Data: map[string][]byte{"tls.crt": chain, "tls.key": key}}
	case 3:
		data := map[string]string{}
		for _, kv := range []string{"ssl-redirect=false", "annotations-risk-level=Critical", "use-regex=x", "enable-access-log-for-default-backend=true", "annotations-risk-level=Low"} {
			if r.IntN(3) == 0 {
				k, v, _ := strings.Cut(kv, "=")
				data[k] = v
			}
		}
		return &object.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "config"}, Data: data}
	}
	hosts := []string{"a.test", "b.test", "", "*.a.test", "x.a.test", "www.a.test"}
	paths := []string{"/", "/x", "/x/", "/y(/|$)(.*)", "/x"}
	in := simple(fmt.Sprint("in", r.IntN(8)), hosts[r.IntN(len(hosts))], paths[r.IntN(len(paths))], fmt.Sprint("svc", r.IntN(4)))
	in.CreationTimestamp = metav1.Time{Time: time.Unix(int64(1_700_000_000+r.IntN(3)), 0)}
	in.Annotations = map[string]string{}
	for _, kv := range []string{"rewrite-target=/$2", "server-alias=b.test,c.test", "server-alias=c.test,~^q", "from-to-www-redirect=true", "canary=true",
		"limit-rps=ten", "ssl-redirect=false", "app-root=/start", "configuration-snippet=deny all;", "canary-weight=20", "server-alias=*.a.test"} {
		if r.IntN(9) == 0 {
			k, v, _ := strings.Cut(kv, "=")
			in.Annotations["nginx.ingress.kubernetes.io/"+k] = v
		}
	}
	if r.IntN(3) == 0 {
		more := simple("", hosts[r.IntN(len(hosts))], paths[r.IntN(len(paths))], fmt.Sprint("svc", r.IntN(4)))
		in.Spec.Rules = append(in.Spec.Rules, more.Spec.Rules...)
	}
	if r.IntN(5) == 0 {
		exact := networkingv1.PathTypeExact
		in.Spec.Rules[0].HTTP.Paths[0].PathType = &exact
	}
	if r.IntN(3) == 0 {
		in.Spec.TLS = []networkingv1.IngressTLS{{SecretName: fmt.Sprint("tls", r.IntN(3))}}
		if r.IntN(2) == 0 {
			in.Spec.TLS[0].Hosts = []string{hosts[r.IntN(len(hosts))]}
		}
	}
	switch r.IntN(8) {
	case 0:
		in.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: in.Spec.Rules[0].HTTP.Paths[0].Backend.Service}
	case 1:
		in.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: in.Spec.Rules[0].HTTP.Paths[0].Backend.Service}
		in.Spec.Rules = nil
	case 2:
		other := "other"
		in.Spec.IngressClassName = &other
	}
	return in
}

// scratch builds a second builder's world from the same objects and the same accepted revisions.
func (w *world) scratch(o Options) *world {
	fresh := &world{
		t: w.t, snap: object.NewSnapshot(), hosts: map[string]*config.Host{}, pools: map[config.PoolID]*config.Pool{},
		certs: map[config.CertID]*config.Cert{}, diags: map[diag.Owner][]diag.Diagnostic{}, served: map[object.Key]bool{},
	}
	for _, kind := range []object.Kind{object.KindIngressClass, object.KindNamespace, object.KindService, object.KindSecret, object.KindConfigMap, object.KindIngress} {
		for _, k := range w.snap.Keys(kind) {
			obj, from, _ := w.snap.Object(k)
			fresh.snap.Apply([]object.Change{{Key: k, Object: obj, Origin: from}})
			if in, from, ok := w.snap.Accepted(k); ok {
				fresh.snap.Accept(k, in, from)
			}
		}
	}
	fresh.b = NewBuilder(fresh.snap, o)
	fresh.build(nil)
	return fresh
}

func TestRandomChangesEndInTheTableBuiltFromScratch(t *testing.T) {
	o := testOptions()
	series := 200
	if testing.Short() {
		series = 20
	}
	for seed := range series {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		w := newWorld(t, o)
		for step := range 30 {
			var batch []object.Change
			for range 1 + r.IntN(3) {
				c := change(randomObject(r))
				if r.IntN(5) == 0 {
					c.Object = nil
				}
				batch = append(batch, c)
			}
			w.build(w.snap.Apply(batch))
			if step%10 != 9 {
				continue
			}
			f := w.scratch(o)
			if got, want := w.table(), f.table(); got != want {
				t.Fatalf("seed %d step %d: after changes the table is\n%s\nbuilt from scratch\n%s", seed, step, got, want)
			}
			if got, want := w.findings(), f.findings(); got != want {
				t.Fatalf("seed %d step %d: after changes the findings are\n%s\nbuilt from scratch\n%s", seed, step, got, want)
			}
			if got, want := fmt.Sprint(w.served), fmt.Sprint(f.served); got != want {
				t.Fatalf("seed %d step %d: served %s, from scratch %s", seed, step, got, want)
			}
			whole := w.b.Table()
			if got, want := (&config.Delta{Hosts: whole.Hosts, Pools: whole.Pools, Certs: whole.Certs}).Text(), w.table(); got != want {
				t.Fatalf("seed %d step %d: Table is\n%s\nthe deltas come to\n%s", seed, step, got, want)
			}
		}
	}
}

func TestUnrelatedChangeBuildsNothing(t *testing.T) {
	w := newWorld(t, testOptions())
	w.build(w.snap.Apply([]object.Change{change(service("a")), change(simple("i", "shop.test", "/", "a"))}))
	gen := w.b.Generation()
	if r := w.build(w.snap.Apply([]object.Change{change(service("other"))})); !r.Empty() {
		t.Errorf("a Service nobody names changed %+v", r)
	}
	touched := simple("i", "shop.test", "/", "a")
	touched.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	touched.ResourceVersion = "7"
	if r := w.build(w.snap.Apply([]object.Change{change(touched)})); !r.Empty() {
		t.Errorf("a status update changed %+v", r)
	}
	cm := &object.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "config"}, Data: map[string]string{"a-key-nobody-reads": "x"}}
	w.build(w.snap.Apply([]object.Change{change(cm)}))
	if w.b.Generation() != gen {
		t.Errorf("generation %d, want %d", w.b.Generation(), gen)
	}
}

func TestMissingServiceHealsWhenItAppears(t *testing.T) {
	w := newWorld(t, testOptions())
	w.build(w.snap.Apply([]object.Change{change(simple("i", "shop.test", "/", "a"))}))
	id := config.PoolID{Namespace: "default", Service: "a", Port: "80"}
	if p := w.pools[id]; p == nil || !p.Missing || !strings.Contains(w.findings(), "there is no Service a") {
		t.Fatalf("pool %+v\n%s", p, w.findings())
	}
	w.build(w.snap.Apply([]object.Change{change(service("a"))}))
	if p := w.pools[id]; p.Missing || w.findings() != "" {
		t.Fatalf("pool %+v\n%s", p, w.findings())
	}
	w.delete(object.KindIngress, "default", "i")
	if len(w.pools) != 0 || len(w.hosts) != 1 || len(w.b.readers.byKey) > 3 {
		t.Fatalf("after the Ingress went: pools %v, hosts %v, readers %v", w.pools, w.hosts, w.b.readers.byKey)
	}
}

func TestMissingClassIsToBeCreatedUnlessMisspelt(t *testing.T) {
	for name, want := range map[string]string{"nginx": "create the IngressClass", "ngnix": "did you mean nginx?", "other": "create the IngressClass"} {
		w := newWorld(t, testOptions())
		in := simple("i", "shop.test", "/", "a")
		in.Spec.IngressClassName = &name
		w.build(w.snap.Apply([]object.Change{
			{Key: object.Key{Kind: object.KindIngressClass, Name: "nginx"}}, change(service("a")), change(in),
		}))
		var hints []string
		for _, ds := range w.diags {
			for _, d := range ds {
				hints = append(hints, d.Hint)
			}
		}
		if len(hints) != 1 || !strings.HasPrefix(hints[0], want) {
			t.Errorf("class %q: hints %q, want %q", name, hints, want)
		}
	}
}

func TestClassChangesCountAtOnce(t *testing.T) {
	w := newWorld(t, testOptions())
	late := "late"
	in := simple("i", "shop.test", "/", "a")
	in.Spec.IngressClassName = &late
	w.build(w.snap.Apply([]object.Change{change(service("a")), change(in)}))
	if w.hosts["shop.test"] != nil || !strings.Contains(w.findings(), `there is no IngressClass "late"`) {
		t.Fatalf("served without a class:\n%s", w.findings())
	}
	c := &object.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	r := w.build(w.snap.Apply([]object.Change{change(c)}))
	if w.hosts["shop.test"] == nil || !r.Served[change(in).Key] {
		t.Fatal("not served after its class appeared")
	}
	foreign := c.DeepCopy()
	foreign.Spec.Controller = "example.com/other"
	w.build(w.snap.Apply([]object.Change{change(foreign)}))
	if w.hosts["shop.test"] != nil || w.findings() != "" {
		t.Fatalf("served after the class went to another controller:\n%s", w.findings())
	}
}

func TestWhoseIngressIsIt(t *testing.T) {
	str := func(s string) *string { return &s }
	classes := `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.com/other}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: ours}
spec: {controller: k8s.io/ingress-nginx}
`
	selector, _ := labels.Parse("team=a")
	for _, c := range []struct {
		name       string
		field      *string
		annotation *string
		options    func(*Options)
		local      bool
		want       bool
	}{
		{name: "field names a class of ours", field: str("ours"), want: true},
		{name: "field wins over the annotation", field: str("other"), annotation: str("nginx")},
		{name: "field wins over a foreign annotation", field: str("nginx"), annotation: str("traefik"), want: true},
		{name: "annotation is ours", annotation: str("nginx"), want: true},
		{name: "annotation is another's", annotation: str("traefik")},
		{name: "an empty annotation is not an absent one", annotation: str(""), options: func(o *Options) { o.WithoutClass = true }},
		{name: "neither"},
		{name: "neither, with --watch-ingress-without-class", options: func(o *Options) { o.WithoutClass = true }, want: true},
		{name: "by name", field: str("other"), options: func(o *Options) { o.ByName, o.IngressClass = true, "other" }, want: true},
		{name: "other controller class", field: str("nginx"), options: func(o *Options) { o.ControllerClass = "example.com/x" }},
		{name: "class object left out of a directory", field: str("mine"), options: func(o *Options) { o.IngressClass = "mine" }, local: true, want: true},
		{name: "class object missing in a cluster", field: str("mine"), options: func(o *Options) { o.IngressClass = "mine" }},
		{name: "classes may not be listed", field: str("nothing"), annotation: str("nginx"), options: func(o *Options) { o.IgnoreClasses = true }, want: true},
		{name: "another namespace is watched", field: str("ours"), options: func(o *Options) { o.WatchNamespace = "x" }},
		{name: "namespace without the label", field: str("ours"), options: func(o *Options) { o.NamespaceSelector = selector }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions()
			if c.options != nil {
				c.options(&o)
			}
			w := newWorld(t, o, classes)
			in := simple("i", "shop.test", "/", "a")
			in.Spec.IngressClassName = c.field
			if c.annotation != nil {
				in.Annotations = map[string]string{"kubernetes.io/ingress.class": *c.annotation}
			}
			ch := change(in)
			ch.Origin.Local = c.local
			w.build(w.snap.Apply([]object.Change{ch}))
			if got := w.hosts["shop.test"] != nil; got != c.want {
				t.Fatalf("served: %v, want %v\n%s", got, c.want, w.findings())
			}
		})
	}
}

func TestNamespaceLabelCountsAtOnce(t *testing.T) {
	o := testOptions()
	o.NamespaceSelector, _ = labels.Parse("team=a")
	w := newWorld(t, o)
	ns := &object.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	w.build(w.snap.Apply([]object.Change{change(ns), change(simple("i", "shop.test", "/", "a"))}))
	if w.hosts["shop.test"] != nil {
		t.Fatal("served without the label")
	}
	ns = ns.DeepCopy()
	ns.Labels = map[string]string{"team": "a"}
	w.build(w.snap.Apply([]object.Change{change(ns)}))
	if w.hosts["shop.test"] == nil {
		t.Fatal("not served with the label")
	}
}

func TestMalformedChangeKeepsTheAcceptedRevision(t *testing.T) {
	w := newWorld(t, testOptions())
	good := simple("i", "shop.test", "/", "a")
	good.ResourceVersion = "5"
	w.build(w.snap.Apply([]object.Change{change(service("a")), change(good)}))
	bad := simple("i", "shop.test", "/x;alias /;", "a")
	bad.ResourceVersion = "6"
	r := w.build(w.snap.Apply([]object.Change{change(bad)}))
	if len(r.Delta.Hosts) != 0 || len(r.Served) != 0 {
		t.Fatalf("the malformed revision changed %+v", r)
	}
	if want := "resourceVersion 5, serves on"; !strings.Contains(w.findings(), want) {
		t.Fatalf("findings are\n%s\nwant %q", w.findings(), want)
	}
	if f := w.b.Fragment(change(bad).Key); !f.Held {
		t.Fatal("the fragment is not held")
	}
	w.build(w.snap.Apply([]object.Change{change(service("a2"))}))
	better := simple("i", "shop.test", "/y", "a")
	w.build(w.snap.Apply([]object.Change{change(better)}))
	w.route("shop.test", "prefix", "/y")
	if w.findings() != "" {
		t.Fatalf("findings stay:\n%s", w.findings())
	}
	other := "other"
	bad = bad.DeepCopy()
	bad.Spec.IngressClassName = &other
	w.build(w.snap.Apply([]object.Change{change(bad)}))
	if w.hosts["shop.test"] != nil {
		t.Fatal("a revision is held for an Ingress that went to another class")
	}
}

func TestNewMalformedIngressIsNotServed(t *testing.T) {
	w := newWorld(t, testOptions())
	w.build(w.snap.Apply([]object.Change{change(simple("i", "shop.test", "/a\x00", "a"))}))
	if w.hosts["shop.test"] != nil || !strings.Contains(w.findings(), "object not served") {
		t.Fatalf("hosts %v\n%s", w.hosts, w.findings())
	}
}

func TestDeletedConfigMapFromTheAPIStays(t *testing.T) {
	w := newWorld(t, testOptions())
	cm := &object.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "config"}, Data: map[string]string{"enable-access-log-for-default-backend": "true"}}
	w.build(w.snap.Apply([]object.Change{change(cm)}))
	if w.route("_", "prefix", "/").NoLog {
		t.Fatal("the setting does nothing")
	}
	w.delete(object.KindConfigMap, "ingress-nginx", "config")
	if w.route("_", "prefix", "/").NoLog {
		t.Fatal("the ConfigMap's content went with the object")
	}
}

// world10k has 10,000 simple Ingresses with a Service each, one of them sharing a Secret.
func world10k(t testing.TB, n int) (*object.Snapshot, *Builder) {
	snap := object.NewSnapshot()
	snap.Apply(parse(t, class, false))
	var all []object.Change
	for i := range n {
		all = append(all, change(service(fmt.Sprint("svc", i))), change(simple(fmt.Sprint("in", i), fmt.Sprintf("host%d.example.com", i), "/", fmt.Sprint("svc", i))))
	}
	snap.Apply(all)
	b := NewBuilder(snap, testOptions())
	return snap, b
}

func TestOneChangeAmongManyIsCheap(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	snap, b := world10k(t, n)
	start := time.Now()
	b.Build(nil)
	t.Logf("all %d Ingresses in %v", n, time.Since(start))
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / uint64(n)
	t.Logf("%d bytes per Ingress with its objects", each)
	if each > 8_000 {
		t.Errorf("%d bytes per Ingress, want at most 8000 (the data plane takes its share of 12 KB)", each)
	}
	best := time.Hour
	for i := range 20 {
		keys := snap.Apply([]object.Change{change(simple("in7", "host7.example.com", fmt.Sprint("/v", i), "svc7"))})
		start := time.Now()
		r := b.Build(keys)
		best = min(best, time.Since(start))
		if len(r.Delta.Hosts) != 1 {
			t.Fatalf("one change gave %d hosts", len(r.Delta.Hosts))
		}
	}
	t.Logf("one change in %v", best)
	if best > 5*time.Millisecond {
		t.Errorf("one change took %v, want less than 5ms", best)
	}
	runtime.KeepAlive(snap)
}

func BenchmarkBuild10k(b *testing.B) {
	for b.Loop() {
		_, builder := world10k(b, 10_000)
		builder.Build(nil)
	}
}

func BenchmarkOneChangeAmong10k(b *testing.B) {
	snap, builder := world10k(b, 10_000)
	builder.Build(nil)
	i := 0
	for b.Loop() {
		i++
		builder.Build(snap.Apply([]object.Change{change(simple("in7", "host7.example.com", fmt.Sprint("/v", i), "svc7"))}))
	}
}
