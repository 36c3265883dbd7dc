package status

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/lintel-ingress/lintel/internal/observe"
)

// watched is one list that is kept current in a store.
type watched struct {
	store   cache.Store
	reflect *cache.Reflector
	synced  bool
	mu      sync.Mutex
	notify  func()
}

// The typed clients' half that is used.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// newWatched watches what c lists under a selector; trim takes off what is not read.
func newWatched[L runtime.Object](o *Options, c lister[L], example any, set func(*metav1.ListOptions), trim func(any), notify func()) *watched {
	w := &watched{notify: notify}
	w.store = cache.NewStore(cache.MetaNamespaceKeyFunc, cache.WithTransformer(func(v any) (any, error) {
		trim(v)
		return v, nil
	}))
	var said atomic.Bool
	note := func(err error) {
		if apierrors.IsForbidden(err) && said.CompareAndSwap(false, true) {
			o.Log.Warn("permission missing; the status of Ingresses is not kept", observe.Error, err)
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
			set(&lo)
			l, err := c.List(ctx, lo)
			note(err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
			set(&lo)
			w, err := c.Watch(ctx, lo)
			note(err)
			return w, err
		},
	}
	w.reflect = cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, o.Client), example, &told{w}, cache.ReflectorOptions{Name: "status"})
	return w
}

func (w *watched) run(ctx context.Context) {
	w.reflect.RunWithContext(klog.NewContext(ctx, logr.Discard()))
}

// list returns what is there; ok is false before the first list came.
func (w *watched) list() (all []any, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store.List(), w.synced
}

// told is a watched's store as the reflector fills it.
type told struct{ w *watched }

func (t *told) after(err error) error {
	if err == nil {
		t.w.notify()
	}
	return err
}

func (t *told) Add(o any) error    { return t.after(t.w.store.Add(o)) }
func (t *told) Update(o any) error { return t.after(t.w.store.Update(o)) }
func (t *told) Delete(o any) error { return t.after(t.w.store.Delete(o)) }
func (t *told) Resync() error      { return nil }

func (t *told) Replace(list []any, version string) error {
	err := t.w.store.Replace(list, version)
	t.w.mu.Lock()
	t.w.synced = true
	t.w.mu.Unlock()
	return t.after(err)
}

func newWatchedService(o *Options, notify func()) *watched {
	ns, name, _ := strings.Cut(o.PublishService, "/")
	return newWatched(o, o.Client.CoreV1().Services(ns), &corev1.Service{}, func(lo *metav1.ListOptions) {
		lo.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}, func(v any) {
		if s, ok := v.(*corev1.Service); ok {
			s.ManagedFields, s.Annotations = nil, nil
		}
	}, notify)
}

// fleet knows the replicas of this Deployment and the nodes they run on.
type fleet struct {
	o      *Options
	notify func()

	mu    sync.Mutex
	own   labels.Set // of the own pod
	pods  *watched
	nodes *watched
	news  chan struct{} // closed and replaced when something changed
}

func newFleet(o *Options, notify func()) *fleet {
	return &fleet{o: o, notify: notify, news: make(chan struct{})}
}

// withoutHashes are the labels that replicas of older and newer revisions share.
func withoutHashes(own labels.Set) labels.Set {
	out := labels.Set{}
	for k, v := range own {
		switch k {
		case "pod-template-hash", "controller-revision-hash", "pod-template-generation":
		default:
			out[k] = v
		}
	}
	return out
}

// changed is closed when the answers of replicas and addresses may be others.
func (f *fleet) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

func (f *fleet) tell() {
	f.mu.Lock()
	close(f.news)
	f.news = make(chan struct{})
	f.mu.Unlock()
	f.notify()
}

// run watches the pods, and the nodes if they are asked for, until ctx ends.
func (f *fleet) run(ctx context.Context, nodes bool) {
	own, ok := f.ownLabels(ctx)
	if !ok {
		return
	}
	selector := withoutHashes(own).String()
	f.mu.Lock()
	f.own = own
	f.pods = newWatched(f.o, f.o.Client.CoreV1().Pods(f.o.Namespace), &corev1.Pod{}, func(lo *metav1.ListOptions) { lo.LabelSelector = selector }, trimPod, f.tell)
	if nodes {
		f.nodes = newWatched(f.o, f.o.Client.CoreV1().Nodes(), &corev1.Node{}, func(*metav1.ListOptions) {}, trimNode, f.tell)
	}
	pods, ns := f.pods, f.nodes
	f.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { pods.run(ctx) })
	if ns != nil {
		wg.Go(func() { ns.run(ctx) })
	}
	wg.Wait()
}

// ownLabels reads the own pod's labels, trying until ctx ends.
func (f *fleet) ownLabels(ctx context.Context) (labels.Set, bool) {
	for told := false; ; told = true {
		p, err := f.o.Client.CoreV1().Pods(f.o.Namespace).Get(ctx, f.o.Pod, metav1.GetOptions{})
		if err == nil {
			return p.Labels, true
		}
		if !told && ctx.Err() == nil {
			f.o.Log.Warn("own pod not read; trying again", observe.Object, f.o.Namespace+"/"+f.o.Pod, observe.Error, err)
		}
		t := time.NewTimer(5 * time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, false
		case <-t.C:
		}
	}
}

func trimPod(v any) {
	if p, ok := v.(*corev1.Pod); ok {
		p.ManagedFields, p.Annotations, p.OwnerReferences = nil, nil, nil
		p.Spec = corev1.PodSpec{NodeName: p.Spec.NodeName}
		p.Status = corev1.PodStatus{Phase: p.Status.Phase, Conditions: p.Status.Conditions}
	}
}

func trimNode(v any) {
	if n, ok := v.(*corev1.Node); ok {
		n.ManagedFields, n.Annotations, n.Labels, n.Spec = nil, nil, nil, corev1.NodeSpec{}
		n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
	}
}

// running reports whether a pod counts as a replica.
func running(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// replicas counts the pods of this Deployment, of whatever revision.
func (f *fleet) replicas() (n int, known bool) {
	f.mu.Lock()
	w := f.pods
	f.mu.Unlock()
	if w == nil {
		return 0, false
	}
	all, ok := w.list()
	for _, v := range all {
		if p, is := v.(*corev1.Pod); is && running(p) {
			n++
		}
	}
	return n, ok
}

// addresses returns those of the nodes that ready pods of this revision run on.
func (f *fleet) addresses() (out []string, known bool) {
	f.mu.Lock()
	pods, nodes, own := f.pods, f.nodes, f.own
	f.mu.Unlock()
	if pods == nil || nodes == nil {
		return nil, false
	}
	ps, ok := pods.list()
	ns, okNodes := nodes.list()
	if !ok || !okNodes {
		return nil, false
	}
	on := map[string]bool{}
	exact := own.AsSelectorPreValidated()
	for _, v := range ps {
		p, is := v.(*corev1.Pod)
		if is && p.Status.Phase == corev1.PodRunning && ready(p) && exact.Matches(labels.Set(p.Labels)) {
			on[p.Spec.NodeName] = true
		}
	}
	for _, v := range ns {
		if n, is := v.(*corev1.Node); is && on[n.Name] {
			out = append(out, nodeAddresses(n, f.o.NodeInternalIP)...)
		}
	}
	return out, true
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// nodeAddresses are a node's external addresses, or its internal ones when those are
// asked for or there are no external ones. IPv6 counts as IPv4 does.
func nodeAddresses(n *corev1.Node, internal bool) (out []string) {
	of := func(t corev1.NodeAddressType) (out []string) {
		for _, a := range n.Status.Addresses {
			if a.Type == t && a.Address != "" {
				out = append(out, a.Address)
			}
		}
		return out
	}
	if !internal {
		out = of(corev1.NodeExternalIP)
	}
	if len(out) == 0 {
		out = of(corev1.NodeInternalIP)
	}
	return out
}

// others counts the replicas besides this one, asking the API server.
func (f *fleet) others(ctx context.Context) (int, error) {
	own, err := f.o.Client.CoreV1().Pods(f.o.Namespace).Get(ctx, f.o.Pod, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	list, err := f.o.Client.CoreV1().Pods(f.o.Namespace).List(ctx, metav1.ListOptions{LabelSelector: withoutHashes(own.Labels).String()})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		if p := &list.Items[i]; p.Name != f.o.Pod && running(p) {
			n++
		}
	}
	return n, nil
}
