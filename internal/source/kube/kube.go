// Package kube is the source that reads objects from a Kubernetes API server.
//
// It lists and watches with client-go's reflectors, straight into the snapshot:
// objects are trimmed to what lintel reads and kept once. What a reader gets wrong:
// losing the API server is not an event for anybody. What was read stays, the reflectors
// try again, and traffic goes on.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source"
)

// Options say what is read.
type Options struct {
	Client kubernetes.Interface
	// Namespace is the only one read; "" is all.
	Namespace string
	// Namespaces has the Namespace objects read, for a selector on their labels.
	Namespaces bool
	// Also are objects outside Namespace that are read by name: the controller's
	// ConfigMap, the default certificate. Those that may not be read are left out.
	Also []object.Key
	Log  *slog.Logger
	// Patience is how long permissions may be missing at start before Run gives up; zero: 20 s.
	// They often arrive a moment after the pod.
	Patience time.Duration
}

// Source reads an API server. Make it with New; Run it once.
type Source struct {
	o         Options
	noClasses atomic.Bool
	health    health
}

var _ source.Source = (*Source)(nil)

// New returns a source. It does not connect.
func New(o Options) *Source {
	if o.Patience == 0 {
		o.Patience = 20 * time.Second
	}
	return &Source{o: o, health: health{log: o.Log, failing: map[string]bool{}, forbidden: map[string]time.Time{}}}
}

// Name is "kubernetes".
func (s *Source) Name() string { return "kubernetes" }

// IgnoreIngressClass reports whether IngressClasses may not be listed, so that
// spec.ingressClassName cannot be judged. It is settled before the sink hears Synced.
func (s *Source) IgnoreIngressClass() bool { return s.noClasses.Load() }

// Reachable reports whether the API server answered when it was last asked.
func (s *Source) Reachable() bool { return s.health.ok() }

// Run waits for the API server, delivers every object, says Synced, and then every
// change, until ctx ends. An error means that what is needed may not be read, or that the API
// server is too old. While it is away nothing is delivered and nothing is deleted.
func (s *Source) Run(ctx context.Context, to source.Sink) error {
	if err := s.reach(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	rs := s.resources()
	if err := s.probeClasses(ctx, &rs); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The reflectors report each failed try to klog; health reports the first one.
	ctx = klog.NewContext(ctx, logr.Discard())
	p := newPump(to, s.Name(), len(rs))
	var wg sync.WaitGroup
	for i := range rs {
		r := &rs[i]
		st := newStore(r.kind, p)
		reflector := cache.NewReflectorWithOptions(
			cache.ToListWatcherWithWatchListSemantics(s.watched(r, st, cancel), s.o.Client), r.example, st,
			cache.ReflectorOptions{
				Name: s.Name() + "/" + r.name,
				// Short, because the reflector does not look at ctx while it waits.
				Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 4, Cap: 4 * time.Second},
			})
		wg.Go(func() { reflector.RunWithContext(ctx) })
	}
	stop := make(chan struct{})
	var pumping sync.WaitGroup
	pumping.Go(func() { p.run(stop) })
	<-ctx.Done()
	wg.Wait()
	close(stop)
	pumping.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// reach waits until the API server answers.
func (s *Source) reach(ctx context.Context) error {
	backoff := wait.Backoff{Duration: time.Second, Factor: 1.5, Jitter: 0.2, Steps: 6, Cap: 8 * time.Second}
	for told := false; ; told = true {
		// ServerVersion takes no context.
		type answer struct {
			major, minor, text string
			err                error
		}
		got := make(chan answer, 1)
		go func() {
			v, err := s.o.Client.Discovery().ServerVersion()
			if err != nil {
				got <- answer{err: err}
				return
			}
			got <- answer{v.Major, v.Minor, v.GitVersion, nil}
		}()
		var a answer
		select {
		case <-ctx.Done():
			return nil
		case a = <-got:
		}
		switch {
		case a.err == nil:
			s.o.Log.Info("api server reached", "source", s.Name(), "version", a.text)
			return checkVersion(a.major, a.minor, a.text)
		case apierrors.IsForbidden(a.err):
			return nil // it is there; what matters is whether objects may be read
		case !told:
			s.o.Log.Warn("waiting for the api server", "source", s.Name(), "error", a.err)
		}
		t := time.NewTimer(backoff.Step())
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// probeClasses drops IngressClasses from rs when they may not be listed.
// compat: the controller works on annotations only then (reference/operations.md 3).
func (s *Source) probeClasses(ctx context.Context, rs *[]resource) error {
	_, err := s.o.Client.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{Limit: 1})
	if !apierrors.IsForbidden(err) {
		return nil // other errors: the reflector tries again
	}
	s.noClasses.Store(true)
	s.o.Log.Warn("ingress classes may not be listed; only the class annotation counts", "error", err)
	kept := (*rs)[:0]
	for _, r := range *rs {
		if r.kind != object.KindIngressClass {
			kept = append(kept, r)
		}
	}
	*rs = kept
	return nil
}

// watched wraps a resource's list and watch so that failures are noticed.
func (s *Source) watched(r *resource, st *store, cancel context.CancelCauseFunc) *cache.ListWatch {
	note := func(ctx context.Context, err error) {
		if ctx.Err() != nil {
			return
		}
		if !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
			s.health.note(r.name, err)
			return
		}
		since := s.health.refused(r.name, err)
		switch {
		case r.optional:
			st.forgo()
		case !st.ready() && since > s.o.Patience:
			where := "in all namespaces"
			if r.namespace != "" {
				where = "in namespace " + r.namespace
			}
			cancel(fmt.Errorf("kube: %s may not be listed and watched %s: bind the role of lintel's chart to its service account (%w)", r.name, where, err))
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			r.selectors(&o)
			l, err := r.list(ctx, o)
			note(ctx, err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			streaming := o.SendInitialEvents != nil
			r.selectors(&o)
			w, err := r.watch(ctx, o)
			// An API server without streaming lists says so; the reflector lists then.
			if err == nil || !streaming || !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
				note(ctx, err)
			}
			return w, err
		},
	}
}

func (s *store) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// resource is one list that is watched.
type resource struct {
	kind          object.Kind
	name          string
	namespace     string
	example       any
	fields, label string
	optional      bool
	list          func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch         func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func (r *resource) selectors(o *metav1.ListOptions) {
	o.FieldSelector, o.LabelSelector = r.fields, r.label
}

// lister is what every typed client has.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func from[L runtime.Object](c lister[L], r resource) resource {
	r.list = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return c.List(ctx, o) }
	r.watch = c.Watch
	return r
}

// The selectors of reference/operations.md 3: Helm's release records, and types and names that no Ingress uses.
const (
	secretFields    = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
	configMapLabel  = "OWNER!=TILLER"
	configMapFields = "metadata.name!=kube-root-ca.crt"
)

func (s *Source) resources() []resource {
	c, ns := s.o.Client, s.o.Namespace
	rs := []resource{
		from(c.NetworkingV1().Ingresses(ns), resource{kind: object.KindIngress, name: "ingresses", namespace: ns, example: &object.Ingress{}}),
		from(c.NetworkingV1().IngressClasses(), resource{kind: object.KindIngressClass, name: "ingressclasses", example: &object.IngressClass{}}),
		from(c.CoreV1().Services(ns), resource{kind: object.KindService, name: "services", namespace: ns, example: &object.Service{}}),
		from(c.DiscoveryV1().EndpointSlices(ns), resource{kind: object.KindEndpointSlice, name: "endpointslices", namespace: ns, example: &object.EndpointSlice{}}),
		from(c.CoreV1().Secrets(ns), resource{kind: object.KindSecret, name: "secrets", namespace: ns, example: &object.Secret{}, fields: secretFields}),
		from(c.CoreV1().ConfigMaps(ns), resource{kind: object.KindConfigMap, name: "configmaps", namespace: ns, example: &object.ConfigMap{}, fields: configMapFields, label: configMapLabel}),
	}
	if s.o.Namespaces {
		rs = append(rs, from(c.CoreV1().Namespaces(), resource{kind: object.KindNamespace, name: "namespaces", example: &object.Namespace{}}))
	}
	if ns == "" {
		return rs
	}
	for _, k := range s.o.Also {
		if k.Namespace == ns || k.Name == "" {
			continue
		}
		r := resource{
			kind: k.Kind, namespace: k.Namespace, optional: true, fields: "metadata.name=" + k.Name,
			name: strings.ToLower(k.Kind.String()) + " " + k.Namespace + "/" + k.Name,
		}
		switch k.Kind {
		case object.KindConfigMap:
			r.example = &object.ConfigMap{}
			r = from(c.CoreV1().ConfigMaps(k.Namespace), r)
		case object.KindSecret:
			r.example = &object.Secret{}
			r = from(c.CoreV1().Secrets(k.Namespace), r)
		case object.KindService:
			r.example = &object.Service{}
			r = from(c.CoreV1().Services(k.Namespace), r)
		default:
			continue
		}
		rs = append(rs, r)
	}
	return rs
}

// health says once that the API server went away, and once that it is back.
type health struct {
	log       *slog.Logger
	mu        sync.Mutex
	failing   map[string]bool // by resource
	forbidden map[string]time.Time
}

func (h *health) ok() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.failing) == 0
}

// note records how a request for a resource ended.
func (h *health) note(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := len(h.failing) > 0
	// What has expired is listed anew at once; that is no fault.
	if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		h.failing[name] = true
	} else {
		delete(h.failing, name)
		delete(h.forbidden, name)
	}
	switch is := len(h.failing) > 0; {
	case is && !was:
		h.log.Warn("api server lost; what was read goes on serving", "kind", name, "error", err)
	case was && !is:
		h.log.Info("api server back")
	}
}

// refused records that a resource may not be read, and returns for how long.
func (h *health) refused(name string, err error) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, known := h.forbidden[name]
	if !known {
		since = time.Now()
		h.forbidden[name] = since
		h.log.Warn("permission missing", "kind", name, "error", err)
	}
	return time.Since(since)
}
