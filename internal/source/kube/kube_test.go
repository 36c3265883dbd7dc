package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/lintel-ingress/lintel/internal/object"
)

func TestMain(m *testing.M) {
	// One of client-go's error handlers sleeps by the wall clock, which is far ahead of a synctest bubble's.
	utilruntime.ErrorHandlers = nil
	os.Exit(m.Run())
}

// sink keeps what a source delivers.
type sink struct {
	mu      sync.Mutex
	objs    map[object.Key]metav1.Object
	synced  int
	batches int
}

func (s *sink) Apply(batch []object.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for _, c := range batch {
		if c.Object == nil {
			delete(s.objs, c.Key)
		} else {
			s.objs[c.Key] = c.Object
		}
	}
}

func (s *sink) Synced(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced++
}

func (s *sink) synces() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

func (s *sink) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for k := range s.objs {
		out = append(out, k.Ref().String())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func meta(ns, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, ResourceVersion: "1", Labels: map[string]string{"x": "y"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}
}

func ingress(ns, name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: meta(ns, name)}
}

// run starts a source within a synctest bubble. The log and Run's error are for reading after stop.
func run(t *testing.T, o Options) (to *sink, log *bytes.Buffer, stop func() error, s *Source) {
	t.Helper()
	log = &bytes.Buffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	s = New(o)
	to = &sink{objs: map[object.Key]metav1.Object{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, to) }()
	return to, log, func() error { cancel(); return <-done }, s
}

func TestEverythingIsDeliveredThenSyncedThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(ingress("shop", "a"), ingress("other", "b"),
			&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}},
			&corev1.Service{ObjectMeta: meta("shop", "svc")}, &corev1.Secret{ObjectMeta: meta("shop", "tls")},
			&corev1.ConfigMap{ObjectMeta: meta("shop", "cm")}, &discoveryv1.EndpointSlice{ObjectMeta: meta("shop", "svc-1")},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, &corev1.Pod{ObjectMeta: meta("shop", "pod")})
		to, _, stop, s := run(t, Options{Client: client, Namespaces: true})
		synctest.Wait()
		want := "ConfigMap shop/cm, EndpointSlice shop/svc-1, Ingress other/b, Ingress shop/a, IngressClass nginx, Namespace shop, Secret shop/tls, Service shop/svc"
		if got := to.names(); got != want || to.synces() != 1 {
			t.Errorf("delivered %s (synced %d times), want %s", got, to.synces(), want)
		}
		if s.IgnoreIngressClass() || !s.Reachable() {
			t.Error("classes may be listed and the server is there")
		}
		ctx := t.Context()
		if err := client.NetworkingV1().Ingresses("shop").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		changed := ingress("other", "b")
		changed.Annotations = map[string]string{"k": "v"}
		if _, err := client.NetworkingV1().Ingresses("other").Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		k := object.Key{Kind: object.KindIngress, Namespace: "other", Name: "b"}
		if strings.Contains(to.names(), "shop/a") || to.objs[k].GetAnnotations()["k"] != "v" {
			t.Errorf("after a deletion and a change: %s", to.names())
		}
		if m := to.objs[k]; m.GetManagedFields() != nil || m.GetLabels() != nil {
			t.Errorf("not trimmed: %v", m)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneNamespaceAndWhatElseWasNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(ingress("shop", "a"), ingress("other", "b"), &corev1.ConfigMap{ObjectMeta: meta("lintel", "config")})
		to, _, stop, _ := run(t, Options{Client: client, Namespace: "shop", Also: []object.Key{
			{Kind: object.KindConfigMap, Namespace: "lintel", Name: "config"}, {Kind: object.KindSecret, Namespace: "shop", Name: "in-there"},
		}})
		synctest.Wait()
		if got, want := to.names(), "ConfigMap lintel/config, Ingress shop/a"; got != want {
			t.Errorf("delivered %s, want %s", got, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestListsAskForWhatIsNeededOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		_, _, stop, _ := run(t, Options{Client: client})
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, a := range client.Actions() {
			l, ok := a.(kubetesting.ListAction)
			if !ok {
				continue
			}
			f, lab := l.GetListRestrictions().Fields.String(), l.GetListRestrictions().Labels.String()
			switch a.GetResource().Resource {
			case "secrets":
				if !strings.Contains(f, "type!=helm.sh/release.v1") {
					t.Errorf("secrets were listed with %q", f)
				}
			case "configmaps":
				if lab != "OWNER!=TILLER" {
					t.Errorf("config maps were listed with %q", lab)
				}
			case "pods", "nodes", "namespaces", "endpoints":
				t.Errorf("%s were listed", a.GetResource().Resource)
			}
		}
	})
}

func TestAbsentAPIServerIsWaitedForAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(ingress("shop", "a"))
		tries := 0
		client.PrependReactor("get", "version", func(kubetesting.Action) (bool, runtime.Object, error) {
			if tries++; tries < 20 {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		to, log, stop, _ := run(t, Options{Client: client})
		time.Sleep(5 * time.Second) // of the bubble's clock
		if to.synces() != 0 {
			t.Error("synced without an API server")
		}
		time.Sleep(5 * time.Minute)
		if to.synces() != 1 || to.names() != "Ingress shop/a" {
			t.Errorf("after it came: synced %d times, %s", to.synces(), to.names())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "waiting for the api server"); n != 1 {
			t.Errorf("told %d times:\n%s", n, log)
		}
	})
}

func forbid(client *fake.Clientset, resource string) {
	refuse := func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
	}
	client.PrependReactor("list", resource, refuse)
	client.PrependWatchReactor(resource, func(a kubetesting.Action) (bool, watch.Interface, error) {
		_, _, err := refuse(a)
		return true, nil, err
	})
}

func TestForbiddenClassesAreDoneWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(ingress("shop", "a"))
		forbid(client, "ingressclasses")
		to, log, stop, s := run(t, Options{Client: client})
		synctest.Wait()
		if !s.IgnoreIngressClass() || to.synces() != 1 || to.names() != "Ingress shop/a" {
			t.Errorf("ignore %v, synced %d, %s", s.IgnoreIngressClass(), to.synces(), to.names())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "only the class annotation counts") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestMissingPermissionEndsWithOneSentence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		forbid(client, "secrets")
		_, _, stop, _ := run(t, Options{Client: client})
		time.Sleep(time.Minute)
		err := stop()
		if err == nil || !strings.Contains(err.Error(), "secrets may not be listed and watched in all namespaces: bind the role") {
			t.Errorf("error %v", err)
		}
	})
}

func TestPermissionThatArrivesLateIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(&corev1.Secret{ObjectMeta: meta("shop", "tls")})
		began := time.Now()
		client.PrependReactor("list", "secrets", func(kubetesting.Action) (bool, runtime.Object, error) {
			if time.Since(began) < 5*time.Second {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("not yet"))
			}
			return false, nil, nil
		})
		to, _, stop, _ := run(t, Options{Client: client})
		time.Sleep(time.Minute)
		if to.synces() != 1 || to.names() != "Secret shop/tls" {
			t.Errorf("synced %d times, %s", to.synces(), to.names())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestForbiddenExtraIsDoneWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("list", "configmaps", func(a kubetesting.Action) (bool, runtime.Object, error) {
			if a.GetNamespace() == "lintel" {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no"))
			}
			return false, nil, nil
		})
		to, _, stop, _ := run(t, Options{Client: client, Namespace: "shop", Also: []object.Key{{Kind: object.KindConfigMap, Namespace: "lintel", Name: "config"}}})
		synctest.Wait()
		if to.synces() != 1 {
			t.Errorf("synced %d times, want once", to.synces())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestLosingTheAPIServerDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(ingress("shop", "a"), ingress("shop", "b"))
		down := false
		var watches []*watch.FakeWatcher
		var mu sync.Mutex
		client.PrependReactor("list", "*", func(kubetesting.Action) (bool, runtime.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		client.PrependWatchReactor("*", func(kubetesting.Action) (bool, watch.Interface, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return true, nil, errors.New("connection refused")
			}
			w := watch.NewFake()
			watches = append(watches, w)
			return true, w, nil
		})
		to, log, stop, s := run(t, Options{Client: client})
		time.Sleep(2 * time.Second)
		mu.Lock()
		down = true
		for _, w := range watches {
			w.Stop()
		}
		watches = nil
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		if got := to.names(); got != "Ingress shop/a, Ingress shop/b" || s.Reachable() {
			t.Errorf("while it was away: %s, reachable %v", got, s.Reachable())
		}
		if err := client.Tracker().Delete(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}, "shop", "a"); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(time.Minute)
		if got := to.names(); got != "Ingress shop/b" || !s.Reachable() {
			t.Errorf("after it came back: %s, reachable %v", got, s.Reachable())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if strings.Count(log.String(), "api server lost") != 1 || strings.Count(log.String(), "api server back") != 1 || to.synces() != 1 {
			t.Errorf("synced %d times, log:\n%s", to.synces(), log)
		}
	})
}

func TestUnchangedObjectsOfALaterListAreNotDelivered(t *testing.T) {
	p := newPump(&sink{objs: map[object.Key]metav1.Object{}}, "x", 1)
	s := newStore(object.KindIngress, p)
	if err := s.Replace([]any{ingress("n", "a"), ingress("n", "b"), ingress("n", "c")}, ""); err != nil {
		t.Fatal(err)
	}
	clear(p.pending)
	b := ingress("n", "b")
	b.ResourceVersion = "2"
	if err := s.Replace([]any{ingress("n", "a"), b, ingress("n", "d")}, ""); err != nil {
		t.Fatal(err)
	}
	var got []string
	for k, c := range p.pending {
		got = append(got, fmt.Sprint(k.Name, c.Object != nil))
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"btrue", "cfalse", "dtrue"}, got); d != "" {
		t.Error(d)
	}
	if err := s.Add("no object"); err == nil {
		t.Error("a string was taken for an object")
	}
}

func TestTrimKeepsWhatIsRead(t *testing.T) {
	name := "pod-1"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/service-name": "s", "x": "y"}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Hostname: &name, NodeName: &name, Zone: &name, TargetRef: &corev1.ObjectReference{Name: name},
			Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}},
		}},
	}
	trim(slice)
	want := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/service-name": "s"}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Zone: &name, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}},
		}},
	}
	if d := cmp.Diff(want, slice); d != "" {
		t.Error(d)
	}
	in := ingress("n", "a")
	in.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "nginx.ingress.kubernetes.io/limit-rps": "1"}
	in.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "10.0.0.1"}}
	trim(in)
	if len(in.Annotations) != 1 || len(in.Status.LoadBalancer.Ingress) != 1 {
		t.Errorf("the Ingress became %v", in)
	}
}

func TestS3_6_SecretsNoIngressUsesAreNotKept(t *testing.T) {
	for _, c := range []struct {
		kind corev1.SecretType
		kept bool
	}{
		{corev1.SecretTypeTLS, true},
		{corev1.SecretTypeOpaque, true},
		{corev1.SecretTypeBasicAuth, true},
		{corev1.SecretTypeServiceAccountToken, false},
		{corev1.SecretTypeDockerConfigJson, false},
		{"helm.sh/release.v1", false},
	} {
		s := &corev1.Secret{Type: c.kind, Data: map[string][]byte{"k": []byte("v")}}
		trim(s)
		if (s.Data != nil) != c.kept {
			t.Errorf("data of a Secret of type %s kept: %v, want %v", c.kind, s.Data != nil, c.kept)
		}
	}
}

func TestOldAPIServersAreRefused(t *testing.T) {
	for _, c := range []struct {
		major, minor string
		ok           bool
	}{{"1", "36", true}, {"1", "21+", true}, {"1", "20", false}, {"1", "18+", false}, {"", "", true}, {"2", "0", true}} {
		err := checkVersion(c.major, c.minor, "v"+c.major+"."+c.minor)
		if (err == nil) != c.ok {
			t.Errorf("version %s.%s: %v", c.major, c.minor, err)
		}
	}
}

func TestClientSpeaksProtobufToTheServerNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\ncurrent-context: c\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := restConfig(ClientOptions{Kubeconfig: file, UserAgent: "lintel/1"})
	if err != nil || cfg.Host != "https://10.0.0.1:6443" || !strings.HasPrefix(cfg.AcceptContentTypes, "application/vnd.kubernetes.protobuf") || !strings.HasPrefix(cfg.UserAgent, "lintel/1 (") {
		t.Errorf("config %+v, %v", cfg, err)
	}
	cfg, err = restConfig(ClientOptions{Kubeconfig: file, APIServer: "https://other:6443", CAFile: "/ca.pem"})
	if err != nil || cfg.Host != "https://other:6443" || cfg.CAFile != "/ca.pem" {
		t.Errorf("config %+v, %v", cfg, err)
	}
	if _, err := restConfig(ClientOptions{Kubeconfig: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.HasPrefix(err.Error(), "kube: ") {
		t.Errorf("error %v", err)
	}
	if _, err := NewClient(ClientOptions{Kubeconfig: file}); err != nil {
		t.Error(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := restConfig(ClientOptions{}); err == nil || !strings.Contains(err.Error(), "--manifests DIR") {
		t.Errorf("outside of a cluster: %v", err)
	}
}

func TestZoneIsThatOfTheOwnNode(t *testing.T) {
	client := fake.NewClientset(&corev1.Pod{ObjectMeta: meta("n", "p"), Spec: corev1.PodSpec{NodeName: "node"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{"topology.kubernetes.io/zone": "z1"}}})
	if z, err := Zone(t.Context(), client, "n", "p"); z != "z1" || err != nil {
		t.Errorf("zone %q, %v", z, err)
	}
	if _, err := Zone(t.Context(), client, "n", "other"); err == nil {
		t.Error("a pod that is not there has a zone")
	}
}
