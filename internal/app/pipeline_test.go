package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source"
	"github.com/lintel-ingress/lintel/internal/translate"
)

// recorder is outlets that remember what they got.
type recorder struct {
	mu     sync.Mutex
	tables int
	moves  []string
	pooled map[config.PoolID]bool
	log    []string
}

func (r *recorder) pools(m map[config.PoolID]*config.Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range m {
		r.pooled[id] = p != nil
		r.log = append(r.log, fmt.Sprintf("pool %s %v", id, p != nil))
	}
}

func (r *recorder) endpoints(id config.PoolID, eps []config.Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moves = append(r.moves, fmt.Sprintf("%s %d", id, len(eps)))
}

func (r *recorder) table(d *config.Delta) map[diag.Owner][]diag.Diagnostic {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tables++
	r.log = append(r.log, fmt.Sprintf("table with %d hosts", len(d.Hosts)))
	return nil
}
func (r *recorder) findings(map[diag.Owner][]diag.Diagnostic) {}
func (r *recorder) served(map[object.Key]bool)                {}

func (r *recorder) count() (tables, moves int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tables, len(r.moves)
}

type named string

func (n named) Name() string                           { return string(n) }
func (n named) Run(context.Context, source.Sink) error { return nil }

func ingress(name, host string) object.Change {
	class, kind := "nginx", networkingv1.PathTypePrefix
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
	in.Spec.IngressClassName = &class
	in.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &kind, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}}}}
	return object.Change{Key: object.Key{Kind: object.KindIngress, Namespace: "n", Name: name}, Object: in}
}

func basics() []object.Change {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	return []object.Change{
		{Key: object.Key{Kind: object.KindIngressClass, Name: "nginx"}, Object: class},
		{Key: object.Key{Kind: object.KindService, Namespace: "n", Name: "web"}, Object: svc},
	}
}

func slice(addresses ...string) object.Change {
	name, port, proto := "http", int32(8080), corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &proto}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return object.Change{Key: object.Key{Kind: object.KindEndpointSlice, Namespace: "n", Name: "web-1"}, Object: s}
}

func start(t *testing.T, r *recorder) *pipeline {
	snapshot := object.NewSnapshot()
	p := newPipeline(slog.New(slog.DiscardHandler), snapshot, func() *translate.Builder { return translate.NewBuilder(snapshot, translate.DefaultOptions()) }, r, []source.Source{named("a"), named("b")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestNothingIsPublishedBeforeEverySourceIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{pooled: map[config.PoolID]bool{}}
		p := start(t, r)
		p.Apply(append(basics(), ingress("one", "one.test"), slice("10.0.0.1")))
		p.Synced("a")
		time.Sleep(time.Second)
		if n, _ := r.count(); n != 0 {
			t.Fatal("a table was published before every source was synced")
		}
		p.Synced("b")
		synctest.Wait()
		if n, _ := r.count(); n != 1 {
			t.Fatalf("%d tables, want 1", n)
		}
		if len(r.moves) != 1 || r.moves[0] != "n/web:80 1" {
			t.Errorf("endpoints %v", r.moves)
		}
		if r.log[0] != "pool n/web:80 true" {
			t.Errorf("the pool came after the table: %v", r.log)
		}
	})
}

func TestChangesAreGatheredUntilTheyPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{pooled: map[config.PoolID]bool{}}
		p := start(t, r)
		p.Apply(basics())
		p.Synced("a")
		p.Synced("b")
		synctest.Wait()
		before, _ := r.count()
		// One change every 5 ms for a second: no pause of 10 ms, so every 100 ms one table.
		for i := range 200 {
			p.Apply([]object.Change{ingress(fmt.Sprint("i", i), fmt.Sprintf("h%d.test", i))})
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Second)
		after, _ := r.count()
		if n := after - before; n < 8 || n > 13 {
			t.Errorf("200 changes in a second made %d tables, want about 10", n)
		}
		start := time.Now()
		before = after
		p.Apply([]object.Change{ingress("late", "late.test")})
		for {
			if n, _ := r.count(); n > before {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took > 15*time.Millisecond {
			t.Errorf("a single change waited %s, want 10ms", took)
		}
	})
}

func TestEndpointChangesBuildNoTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{pooled: map[config.PoolID]bool{}}
		p := start(t, r)
		p.Apply(append(basics(), ingress("one", "one.test")))
		p.Synced("a")
		p.Synced("b")
		synctest.Wait()
		tables, moves := r.count()
		for i := range 10 {
			p.Apply([]object.Change{slice("10.0.0.1", fmt.Sprintf("10.0.0.%d", i+2))})
			synctest.Wait()
		}
		afterTables, afterMoves := r.count()
		if afterTables != tables {
			t.Errorf("10 endpoint changes built %d tables", afterTables-tables)
		}
		if afterMoves-moves != 10 || r.moves[len(r.moves)-1] != "n/web:80 2" {
			t.Errorf("%d updates, last %q", afterMoves-moves, r.moves[len(r.moves)-1])
		}
		p.Apply([]object.Change{{Key: object.Key{Kind: object.KindEndpointSlice, Namespace: "n", Name: "web-1"}}})
		synctest.Wait()
		if last := r.moves[len(r.moves)-1]; last != "n/web:80 0" {
			t.Errorf("after the slice was deleted: %q", last)
		}
	})
}

func TestStoredObjectsAreToldToWhoeverWritesStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{pooled: map[config.PoolID]bool{}}
		snapshot := object.NewSnapshot()
		p := newPipeline(slog.New(slog.DiscardHandler), snapshot, func() *translate.Builder { return translate.NewBuilder(snapshot, translate.DefaultOptions()) }, r, []source.Source{named("a")})
		told := map[string]int{}
		p.changed = func(keys []object.Key) {
			for _, k := range keys {
				told[k.Ref().String()]++
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		p.Apply(append(basics(), ingress("one", "one.test")))
		p.Synced("a")
		synctest.Wait()
		p.Apply([]object.Change{ingress("one", "two.test")})
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if told["Ingress n/one"] != 2 || told["Service n/web"] != 1 {
			t.Errorf("told %v", told)
		}
	})
}
