package status

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe"
)

const (
	// perReason is how long an object gets no second Event of the same reason.
	perReason = 10 * time.Minute
	// between is how far apart Events are written at least.
	between    = 40 * time.Millisecond
	maxMessage = 1024 // of an Event, by the API
	maxPending = 50_000
)

// The reasons of reference/operations.md 6. Findings without one of these have their code's.
const (
	reasonSync     = "Sync"
	reasonCreate   = "CREATE"
	reasonUpdate   = "UPDATE"
	reasonParsing  = "AnnotationParsingFailed"
	reasonRejected = "Rejected"
	reasonApplied  = "ConfigApplied"
	reasonReload   = "RELOAD"
)

// topic is what Events are limited by.
type topic struct {
	object diag.Ref
	reason string
}

// post is one Event to be written.
type post struct {
	warning bool
	message string
}

// record is what was last written about a topic.
type record struct {
	at      time.Time
	message string
	count   int32
}

// seen is a revision of an Ingress.
type seen struct {
	uid        types.UID
	generation int64
}

// events turns news into Event objects. Only the leader writes them.
type events struct {
	o       *Options
	started time.Time

	mu      sync.Mutex
	leader  bool
	pending map[topic]post
	refs    map[diag.Ref]struct{} // objects whose findings changed
	last    map[topic]record
	known   map[object.Key]seen   // served Ingresses
	maps    map[object.Key]string // announced resource versions of ConfigMaps
	wake    chan struct{}
	failing bool
}

func newEvents(o *Options, started time.Time) *events {
	return &events{
		o: o, started: started, pending: map[topic]post{}, refs: map[diag.Ref]struct{}{}, last: map[topic]record{},
		known: map[object.Key]seen{}, maps: map[object.Key]string{}, wake: make(chan struct{}, 1),
	}
}

func (e *events) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// add notes an Event; e.mu is held. Without leadership nothing is kept.
func (e *events) add(t topic, p post) {
	if e.leader && (len(e.pending) < maxPending || e.pending[t].message != "") {
		e.pending[t] = p
	}
}

// lead is told of leadership. A new leader says what stands; what its predecessor
// said already has the same names and is not said again.
func (e *events) lead(on bool) {
	e.mu.Lock()
	e.leader = on
	clear(e.pending)
	clear(e.refs)
	e.mu.Unlock()
	if !on {
		return
	}
	if e.o.Ledger != nil {
		e.findings(e.o.Ledger.All(), nil)
	}
	e.changed(e.o.ConfigMaps)
	e.poke()
}

// findings is the subscriber of the ledger.
func (e *events) findings(appeared, gone []diag.Diagnostic) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.leader {
		return
	}
	for _, ds := range [][]diag.Diagnostic{appeared, gone} {
		for _, d := range ds {
			if _, ok := kinds[d.Object.Kind]; ok && d.Severity > diag.Info {
				e.refs[d.Object] = struct{}{}
			}
		}
	}
	e.poke()
}

// served notes revisions of Ingresses that came into service.
func (e *events) served(changes map[object.Key]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, on := range changes {
		if !on {
			delete(e.known, k)
			continue
		}
		e.sync(k, true)
	}
	e.poke()
}

// sync notes an Event for a served Ingress whose spec is new; e.mu is held. What was there
// before this process started is not news.
func (e *events) sync(k object.Key, fresh bool) {
	if e.o.Object == nil {
		return
	}
	o, ok := e.o.Object(k)
	if !ok {
		return
	}
	now := seen{o.GetUID(), o.GetGeneration()}
	old, known := e.known[k]
	if !known && !fresh {
		return // not served
	}
	e.known[k] = now
	if known && old == now || !e.o.Events {
		return
	}
	if known || o.GetCreationTimestamp().After(e.started.Add(-time.Minute)) {
		e.add(topic{k.Ref(), reasonSync}, post{message: "Scheduled for sync"})
	}
}

// changed notes new revisions of served Ingresses and of the controller's ConfigMaps.
func (e *events) changed(keys []object.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range keys {
		k.Part = ""
		switch {
		case k.Kind == object.KindIngress:
			e.sync(k, false)
		case k.Kind == object.KindConfigMap && e.o.Events && e.leader && slices.Contains(e.o.ConfigMaps, k) && e.o.Object != nil:
			o, ok := e.o.Object(k)
			if !ok || e.maps[k] == o.GetResourceVersion() {
				continue
			}
			reason := reasonUpdate
			if e.maps[k] == "" {
				reason = reasonCreate
			}
			e.maps[k] = o.GetResourceVersion()
			e.add(topic{k.Ref(), reason}, post{message: "ConfigMap " + k.Namespace + "/" + k.Name})
		}
	}
	e.poke()
}

func (e *events) applied(generation uint64) {
	if !e.o.Events || e.o.Pod == "" || e.o.Namespace == "" {
		return
	}
	pod := diag.Ref{Kind: "Pod", Namespace: e.o.Namespace, Name: e.o.Pod}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(topic{pod, reasonApplied}, post{message: "configuration " + strconv.FormatUint(generation, 10) + " is in force"})
	if e.o.CompatEvents {
		// compat: reference/operations.md 6: what watches for this text goes on working.
		e.add(topic{pod, reasonReload}, post{message: "NGINX reload triggered due to a change in configuration"})
	}
	e.poke()
}

// run writes until ctx ends.
func (e *events) run(ctx context.Context) {
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-later.C:
		}
		if !pause(ctx, gatherFor) {
			return
		}
		var next time.Duration
		for {
			t, p, wait, ok := e.take()
			if !ok {
				next = wait
				break
			}
			e.write(ctx, t, p)
			if !pause(ctx, between) {
				return
			}
		}
		later.Reset(next)
	}
}

// take returns an Event that is due, or how long until the next one is.
func (e *events) take() (t topic, p post, wait time.Duration, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.refs {
		delete(e.refs, r)
		e.collect(r)
	}
	now := time.Now()
	wait = time.Hour
	for t, p := range e.pending {
		if last, before := e.last[t]; before {
			if due := last.at.Add(perReason).Sub(now); due > 0 {
				wait = min(wait, due)
				continue
			}
		}
		delete(e.pending, t)
		return t, p, 0, true
	}
	// Forget what no longer limits anything.
	maps.DeleteFunc(e.last, func(_ topic, r record) bool { return now.Sub(r.at) > 2*perReason })
	return topic{}, post{}, wait, false
}

// collect makes Events of what the ledger says of an object; e.mu is held.
func (e *events) collect(r diag.Ref) {
	if e.o.Ledger == nil || !e.leader {
		return
	}
	now := map[string]*post{}
	put := func(reason, text string) {
		p := now[reason]
		if p == nil {
			p = &post{warning: true}
			now[reason] = p
		}
		if p.message != "" {
			p.message += "; "
		}
		p.message += text
	}
	for _, d := range e.o.Ledger.Of(r) {
		if d.Severity < diag.Warning {
			continue
		}
		text := sentence(d)
		off := d.Effect == diag.RouteOff || d.Effect == diag.HostOff || d.Effect == diag.ObjectOff || d.Effect == diag.ObjectHeld
		annotation := strings.HasPrefix(d.Field, "metadata.annotations[")
		if off && annotation && d.Effect == diag.RouteOff {
			put(reasonParsing, text)
		}
		if off && r.Kind == "Ingress" {
			put(reasonRejected, text)
		} else if !off || !annotation {
			put(reasonOf(d.Code), text)
		}
	}
	for t := range e.pending {
		// A finding that went before it was told is not told.
		if t.object == r && t.reason != reasonSync && t.reason != reasonCreate && t.reason != reasonUpdate && now[t.reason] == nil {
			delete(e.pending, t)
		}
	}
	for reason, p := range now {
		if reason == reasonParsing {
			p.message = "Error parsing annotations: " + p.message
		}
		p.message = diag.Clip(p.message, maxMessage)
		t := topic{r, reason}
		if last, ok := e.last[t]; ok && last.message == p.message && time.Since(last.at) < perReason {
			continue
		}
		e.add(t, *p)
	}
}

// sentence is a finding in an Event.
func sentence(d diag.Diagnostic) string {
	s := d.Message
	if f := d.Field; f != "" {
		if name, ok := strings.CutPrefix(f, "metadata.annotations["); ok {
			f = strings.TrimSuffix(name, "]")
		}
		if !strings.Contains(s, f) {
			s = f + ": " + s
		}
	}
	if d.Hint != "" {
		s += " (" + d.Hint + ")"
	}
	return s
}

// reasonOf is a code as Events write reasons: annotation-value becomes AnnotationValue.
func reasonOf(c diag.Code) string {
	var b strings.Builder
	for part := range strings.SplitSeq(string(c), "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// kinds are those that Events are written about, with their apiVersion.
var kinds = map[string]struct {
	version string
	kind    object.Kind
}{
	"Ingress":       {"networking.k8s.io/v1", object.KindIngress},
	"IngressClass":  {"networking.k8s.io/v1", object.KindIngressClass},
	"Service":       {"v1", object.KindService},
	"EndpointSlice": {"discovery.k8s.io/v1", object.KindEndpointSlice},
	"Secret":        {"v1", object.KindSecret},
	"ConfigMap":     {"v1", object.KindConfigMap},
	"Pod":           {"v1", object.KindPod},
}

// write creates an Event, or counts up the one that has the same name.
func (e *events) write(ctx context.Context, t topic, p post) {
	k, ok := kinds[t.object.Kind]
	if !ok {
		return
	}
	about := corev1.ObjectReference{Kind: t.object.Kind, APIVersion: k.version, Namespace: t.object.Namespace, Name: t.object.Name}
	if e.o.Object != nil && k.kind != object.KindPod {
		o, there := e.o.Object(object.Key{Kind: k.kind, Namespace: t.object.Namespace, Name: t.object.Name})
		if !there {
			return
		}
		about.UID, about.ResourceVersion = o.GetUID(), o.GetResourceVersion()
	}
	ns := t.object.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	kind := corev1.EventTypeNormal
	if p.warning {
		kind = corev1.EventTypeWarning
	}
	now := metav1.Now()
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, about.UID, "\x00", t.object.Kind, "\x00", t.reason, "\x00", p.message) // a hash takes every write
	if t.reason == reasonSync || t.reason == reasonUpdate {
		_, _ = fmt.Fprint(h, "\x00", about.ResourceVersion)
	}
	ev := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%.230s.%x", t.object.Name, h.Sum64())},
		InvolvedObject: about, Type: kind, Reason: t.reason, Message: p.message,
		Source:         corev1.EventSource{Component: "nginx-ingress-controller"}, // compat
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: "lintel", ReportingInstance: e.o.Pod,
	}
	e.mu.Lock()
	last := e.last[t]
	count := last.count + 1
	if last.message != p.message {
		count = 1
	}
	e.last[t] = record{now.Time, p.message, count}
	e.mu.Unlock()
	_, err := e.o.Client.CoreV1().Events(ns).Create(ctx, ev, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = nil
		if count > 1 {
			err = e.again(ctx, ev, count)
		}
	}
	e.noteError(err)
}

func (e *events) again(ctx context.Context, ev *corev1.Event, count int32) error {
	patch, err := json.Marshal(map[string]any{"count": count, "lastTimestamp": ev.LastTimestamp})
	if err != nil {
		return err
	}
	_, err = e.o.Client.CoreV1().Events(ev.Namespace).Patch(ctx, ev.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// noteError tells once that Events are not written. An Event that failed is not tried
// again: a namespace that is being deleted takes none.
func (e *events) noteError(err error) {
	failing := err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
	if failing && !e.failing {
		e.o.Log.Warn("event not written", observe.Error, err)
	}
	e.failing = failing
}
