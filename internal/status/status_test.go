package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

func TestMain(m *testing.M) {
	// One of client-go's error handlers sleeps by the wall clock, which is far ahead of a synctest bubble's.
	utilruntime.ErrorHandlers = nil
	os.Exit(m.Run())
}

func key(name string) object.Key {
	return object.Key{Kind: object.KindIngress, Namespace: "shop", Name: name}
}

func ingress(name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Annotations: map[string]string{"keep": "me"}}}
}

func pod(name, node string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "lintel", Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

// world is a fake cluster and a replica in it.
type world struct {
	t      *testing.T
	client *fake.Clientset
	log    bytes.Buffer
	o      Options
}

func newWorld(t *testing.T, objs ...runtime.Object) *world {
	w := &world{t: t, client: fake.NewClientset(objs...)}
	w.o = Options{
		Client: w.client, Namespace: "lintel", Pod: "lintel-1", ElectionID: "lease", UpdateStatus: true, ClearOnShutdown: true,
		PublishAddress: []string{"192.0.2.1"}, Events: true, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Object: w.object,
	}
	return w
}

// object looks an object up as the snapshot would.
func (w *world) object(k object.Key) (metav1.Object, bool) {
	ctx := context.Background()
	var o metav1.Object
	var err error
	switch k.Kind {
	case object.KindIngress:
		o, err = w.client.NetworkingV1().Ingresses(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	case object.KindConfigMap:
		o, err = w.client.CoreV1().ConfigMaps(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	default:
		return nil, false
	}
	return o, err == nil
}

func (w *world) run() (s *Status, stop func()) {
	s = New(w.o)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// addresses is the status of an Ingress as text.
func (w *world) addresses(name string) string {
	w.t.Helper()
	in, err := w.client.NetworkingV1().Ingresses("shop").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if in.Annotations["keep"] != "me" {
		w.t.Errorf("writing status changed metadata: %v", in.ObjectMeta)
	}
	var out []string
	for _, a := range in.Status.LoadBalancer.Ingress {
		out = append(out, a.IP+a.Hostname)
	}
	return strings.Join(out, " ")
}

// writes counts the requests of a kind so far.
func (w *world) writes(verb, resource string) (n int) {
	for _, a := range w.client.Actions() {
		if a.GetVerb() == verb && a.GetResource().Resource == resource {
			n++
		}
	}
	return n
}

func (w *world) eventTexts() string {
	var out []string
	for _, a := range w.client.Actions() {
		if c, ok := a.(kubetesting.CreateAction); ok && a.GetResource().Resource == "events" {
			e := c.GetObject().(*corev1.Event)
			out = append(out, fmt.Sprintf("%s %s %s/%s: %s", e.Type, e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestAddressIsWrittenOnlyForServedIngresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"), ingress("b"))
		s, stop := w.run()
		time.Sleep(time.Second)
		if !s.Leader() {
			t.Fatal("the only replica does not lead")
		}
		s.Served(map[object.Key]bool{key("a"): true, key("gone"): true})
		time.Sleep(time.Second)
		if a, b := w.addresses("a"), w.addresses("b"); a != "192.0.2.1" || b != "" {
			t.Errorf("a has %q, b has %q", a, b)
		}
		s.Served(map[object.Key]bool{key("b"): true})
		time.Sleep(2 * time.Second)
		if b := w.addresses("b"); b != "192.0.2.1" {
			t.Errorf("b has %q two seconds after it was served", b)
		}
		n := w.writes("update", "ingresses")
		s.Changed([]object.Key{key("a")})
		time.Sleep(5 * time.Minute)
		if m := w.writes("update", "ingresses"); m != n {
			t.Errorf("%d writes of what was already there", m-n)
		}
		stop()
	})
}

func TestStatusThatWasTakenAwayComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"))
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Second)
		if _, err := w.client.NetworkingV1().Ingresses("shop").UpdateStatus(t.Context(), ingress("a"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Changed([]object.Key{key("a")})
		time.Sleep(time.Second)
		if a := w.addresses("a"); a != "192.0.2.1" {
			t.Errorf("a has %q", a)
		}
		stop()
	})
}

func TestPublishServiceIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"))
		w.o.PublishAddress, w.o.PublishService = nil, "lintel/proxy"
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Second)
		if a := w.addresses("a"); a != "" {
			t.Errorf("before the Service is there: %q", a)
		}
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "lintel", Name: "proxy"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}, {Hostname: "lb.example.net"}}
		if _, err := w.client.CoreV1().Services("lintel").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if a := w.addresses("a"); a != "203.0.113.9 lb.example.net" {
			t.Errorf("two seconds after the Service got its address: %q", a)
		}
		svc.Status.LoadBalancer.Ingress = svc.Status.LoadBalancer.Ingress[:1]
		if _, err := w.client.CoreV1().Services("lintel").Update(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if a := w.addresses("a"); a != "203.0.113.9" {
			t.Errorf("two seconds after the Service changed: %q", a)
		}
		stop()
		if strings.Count(w.log.String(), "publish service not there yet") != 1 {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}

func TestMissingPermissionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"))
		w.o.PublishAddress, w.o.PublishService = nil, "lintel/proxy"
		refused := apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", errors.New("no"))
		w.client.PrependReactor("list", "services", func(kubetesting.Action) (bool, runtime.Object, error) { return true, nil, refused })
		w.client.PrependWatchReactor("services", func(kubetesting.Action) (bool, watch.Interface, error) { return true, nil, refused })
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Minute)
		stop()
		if n := strings.Count(w.log.String(), "permission missing"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &w.log)
		}
	})
}

func TestAddressesOfServices(t *testing.T) {
	for _, c := range []struct {
		name string
		spec corev1.ServiceSpec
		lb   []corev1.LoadBalancerIngress
		want string
	}{
		{"external name", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "x.example.com"}, nil, "x.example.com"},
		{"cluster address", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1"}, nil, "10.0.0.1"},
		{"headless", corev1.ServiceSpec{ClusterIP: "None"}, nil, ""},
		{"node port", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1"}, nil, "10.0.0.1"},
		{"node port with external addresses", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: "10.0.0.1", ExternalIPs: []string{"192.0.2.2", "192.0.2.1"}}, nil, "192.0.2.1 192.0.2.2"},
		{"load balancer", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.0.0.1", ExternalIPs: []string{"192.0.2.1", "2001:db8::1"}}, []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb"}}, "192.0.2.1 2001:db8::1 lb"},
		{"load balancer without an address", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.0.0.1"}, nil, ""},
	} {
		s := &corev1.Service{Spec: c.spec}
		s.Status.LoadBalancer.Ingress = c.lb
		var out []string
		for _, p := range fromService(s) {
			out = append(out, p.IP+p.Hostname)
		}
		if got := strings.Join(out, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNodeAddressesAreThoseOfReadyReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		labels := map[string]string{"app": "lintel", "pod-template-hash": "1"}
		old := map[string]string{"app": "lintel", "pod-template-hash": "0"}
		down := pod("lintel-3", "n3", labels)
		down.Status.Conditions[0].Status = corev1.ConditionFalse
		node := func(name string, a ...corev1.NodeAddress) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: a}}
		}
		in, ex := corev1.NodeInternalIP, corev1.NodeExternalIP
		w := newWorld(t, ingress("a"), pod("lintel-1", "n1", labels), pod("lintel-2", "n2", labels), down, pod("lintel-0", "n4", old),
			node("n1", corev1.NodeAddress{Type: in, Address: "10.0.0.1"}, corev1.NodeAddress{Type: ex, Address: "192.0.2.1"}),
			node("n2", corev1.NodeAddress{Type: in, Address: "10.0.0.2"}), node("n3", corev1.NodeAddress{Type: ex, Address: "192.0.2.3"}),
			node("n4", corev1.NodeAddress{Type: ex, Address: "192.0.2.4"}))
		w.o.PublishAddress = nil
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Second)
		if a := w.addresses("a"); a != "10.0.0.2 192.0.2.1" {
			t.Errorf("a has %q", a)
		}
		stop()
		w.o.NodeInternalIP = true
		s, stop = w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(10 * time.Second)
		if a := w.addresses("a"); a != "10.0.0.1 10.0.0.2" {
			t.Errorf("with internal addresses a has %q", a)
		}
		stop()
	})
}

func TestLastReplicaTakesAddressesBack(t *testing.T) {
	labels := map[string]string{"app": "lintel", "pod-template-hash": "1"}
	for _, c := range []struct {
		name    string
		publish []string
		other   *corev1.Pod
		keep    bool
		want    string
	}{
		{"alone", []string{"192.0.2.1"}, nil, false, ""},
		{"alone with several addresses", []string{"192.0.2.1", "192.0.2.2"}, nil, false, "192.0.2.1 192.0.2.2"},
		{"with a replica of another revision", []string{"192.0.2.1"}, pod("lintel-2", "n", map[string]string{"app": "lintel", "pod-template-hash": "2"}), false, "192.0.2.1"},
		{"with somebody else's pod", []string{"192.0.2.1"}, pod("other", "n", map[string]string{"app": "other"}), false, ""},
		{"switched off", []string{"192.0.2.1"}, nil, true, "192.0.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objs := []runtime.Object{ingress("a"), pod("lintel-1", "n", labels)}
				if c.other != nil {
					objs = append(objs, c.other)
				}
				w := newWorld(t, objs...)
				w.o.PublishAddress, w.o.ClearOnShutdown = c.publish, !c.keep
				s, stop := w.run()
				s.Served(map[object.Key]bool{key("a"): true})
				time.Sleep(5 * time.Second)
				if w.addresses("a") == "" {
					t.Fatal("nothing was written")
				}
				stop()
				if a := w.addresses("a"); a != c.want {
					t.Errorf("after shutdown a has %q, want %q", a, c.want)
				}
			})
		})
	}
}

func TestOnlyTheLeaderWritesAndIsFollowedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"), pod("lintel-1", "n", nil), pod("lintel-2", "n", nil))
		var led []string
		w.o.Leading = func(on bool) { led = append(led, fmt.Sprint("1:", on)) }
		first, stopFirst := w.run()
		time.Sleep(5 * time.Second)
		w.o.Pod = "lintel-2"
		w.o.Leading = func(on bool) { led = append(led, fmt.Sprint("2:", on)) }
		second, stopSecond := w.run()
		time.Sleep(time.Minute)
		if !first.Leader() || second.Leader() {
			t.Fatalf("leaders: %v %v", first.Leader(), second.Leader())
		}
		second.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Second)
		if a := w.addresses("a"); a != "" {
			t.Errorf("one that does not lead wrote %q", a)
		}
		stopFirst()
		time.Sleep(5 * time.Second) // far less than the Lease lasts
		if a := w.addresses("a"); !second.Leader() || a != "192.0.2.1" {
			t.Errorf("five seconds after the leader ended: leads %v, status %q", second.Leader(), a)
		}
		stopSecond()
		if got := strings.Join(led, " "); got != "1:true 1:false 2:true 2:false" {
			t.Errorf("leadership was told as %s", got)
		}
		lease, err := w.client.CoordinationV1().Leases("lintel").Get(t.Context(), "lease", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
			t.Errorf("the Lease was not given up: %v %v", lease, err)
		}
	})
}

func TestLeaseHasTheTimesOfTheReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.run()
		time.Sleep(time.Second)
		var lease *coordinationv1.Lease
		lease, err := w.client.CoordinationV1().Leases("lintel").Get(t.Context(), "lease", metav1.GetOptions{})
		if err != nil || *lease.Spec.HolderIdentity != "lintel-1" || *lease.Spec.LeaseDurationSeconds != 30 {
			t.Errorf("lease %v, %v", lease, err)
		}
		stop()
	})
}

func TestWithoutElectionASingleReplicaWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		labels := map[string]string{"app": "lintel"}
		w := newWorld(t, ingress("a"), pod("lintel-1", "n", labels))
		w.o.DisableElection = true
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(5 * time.Second)
		if !s.Leader() || w.addresses("a") != "192.0.2.1" {
			t.Errorf("leads %v, status %q", s.Leader(), w.addresses("a"))
		}
		if _, err := w.client.CoreV1().Pods("lintel").Create(t.Context(), pod("lintel-2", "n", labels), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s.Leader() {
			t.Error("one of two replicas leads without election")
		}
		stop()
		if n := w.writes("create", "leases"); n != 0 {
			t.Errorf("%d Leases made", n)
		}
	})
}

func TestConflictsAndFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"), ingress("b"))
		conflicts, failures := 0, 0
		w.client.PrependReactor("update", "ingresses", func(a kubetesting.Action) (bool, runtime.Object, error) {
			in := a.(kubetesting.UpdateAction).GetObject().(*networkingv1.Ingress)
			switch {
			case in.Name == "a" && conflicts < 3:
				conflicts++
				return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "ingresses"}, "a", errors.New("changed"))
			case in.Name == "b" && failures < 3:
				failures++
				return true, nil, errors.New("connection refused")
			}
			return false, nil, nil
		})
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true, key("b"): true})
		time.Sleep(2 * time.Second)
		if a := w.addresses("a"); a != "192.0.2.1" {
			t.Errorf("after conflicts a has %q", a)
		}
		time.Sleep(time.Minute)
		if b := w.addresses("b"); b != "192.0.2.1" {
			t.Errorf("after failures b has %q", b)
		}
		stop()
	})
}

func finding(name string, code diag.Code, field, message string, effect diag.Effect) diag.Diagnostic {
	return diag.Diagnostic{
		Code: code, Severity: diag.Error, Object: diag.Ref{Kind: "Ingress", Namespace: "shop", Name: name}, Field: field, Message: message, Effect: effect,
	}
}

func TestFindingsBecomeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"), ingress("b"), ingress("c"))
		w.o.Ledger = &diag.Ledger{}
		w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "a"}, []diag.Diagnostic{
			finding("a", diag.ReferenceMissing, "metadata.annotations[nginx.ingress.kubernetes.io/auth-secret]", "no Secret shop/x", diag.RouteOff),
			finding("a", diag.AnnotationValue, "metadata.annotations[nginx.ingress.kubernetes.io/limit-rps]", `"ten" is not an integer`, diag.Ignored),
		})
		_, stop := w.run()
		time.Sleep(5 * time.Second)
		w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "b"}, []diag.Diagnostic{
			finding("b", diag.PathInvalid, "spec.rules[0].http.paths[0]", "control character", diag.ObjectOff),
			{Code: diag.ManifestIgnored, Severity: diag.Info, Object: diag.Ref{Kind: "Ingress", Namespace: "shop", Name: "b"}, Message: "nothing"},
			finding("never-there", diag.PathInvalid, "", "x", diag.ObjectOff),
		})
		time.Sleep(5 * time.Second)
		want := `Warning AnnotationParsingFailed Ingress/a: Error parsing annotations: nginx.ingress.kubernetes.io/auth-secret: no Secret shop/x
Warning AnnotationValue Ingress/a: nginx.ingress.kubernetes.io/limit-rps: "ten" is not an integer
Warning Rejected Ingress/a: nginx.ingress.kubernetes.io/auth-secret: no Secret shop/x
Warning Rejected Ingress/b: spec.rules[0].http.paths[0]: control character`
		if got := w.eventTexts(); got != want {
			t.Errorf("events:\n%s\nwant:\n%s", got, want)
		}
		stop()
	})
}

func TestOneEventPerReasonInTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"))
		w.o.Ledger = &diag.Ledger{}
		_, stop := w.run()
		time.Sleep(5 * time.Second)
		for i := range 100 {
			w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "a"}, []diag.Diagnostic{finding("a", diag.PathInvalid, "", fmt.Sprint("fault ", i), diag.ObjectOff)})
			time.Sleep(time.Second)
		}
		if n := w.writes("create", "events"); n != 1 {
			t.Errorf("%d Events in 100 seconds, want 1", n)
		}
		time.Sleep(10 * time.Minute)
		if got, want := w.eventTexts(), "Warning Rejected Ingress/a: fault 0\nWarning Rejected Ingress/a: fault 99"; got != want {
			t.Errorf("events:\n%s\nwant:\n%s", got, want)
		}
		// Gone and back with the same text: the Event is counted up.
		w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "a"}, nil)
		time.Sleep(11 * time.Minute)
		w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "a"}, []diag.Diagnostic{finding("a", diag.PathInvalid, "", "fault 99", diag.ObjectOff)})
		time.Sleep(time.Minute)
		if n := w.writes("patch", "events"); n != 1 {
			t.Errorf("%d Events counted up, want 1", n)
		}
		stop()
	})
}

func TestANewLeaderDoesNotRepeatItsPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ingress("a"))
		w.o.Ledger = &diag.Ledger{}
		w.o.Ledger.Set(diag.Owner{Producer: "translate", Subject: "a"}, []diag.Diagnostic{finding("a", diag.PathInvalid, "", "fault", diag.ObjectOff)})
		for range 2 {
			_, stop := w.run()
			time.Sleep(10 * time.Second)
			stop()
		}
		list, err := w.client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Count != 1 {
			t.Errorf("events %v, %v", list.Items, err)
		}
	})
}

func TestNewIngressesAndConfigMapsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		old := ingress("old")
		old.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "lintel", Name: "config", ResourceVersion: "1"}}
		w := newWorld(t, old, cm)
		k := object.Key{Kind: object.KindConfigMap, Namespace: "lintel", Name: "config"}
		w.o.ConfigMaps = []object.Key{k}
		w.o.CompatEvents = true
		s, stop := w.run()
		time.Sleep(5 * time.Second)
		s.Served(map[object.Key]bool{key("old"): true})
		young := ingress("young")
		young.CreationTimestamp = metav1.Now()
		if _, err := w.client.NetworkingV1().Ingresses("shop").Create(t.Context(), young, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Served(map[object.Key]bool{key("young"): true})
		cm.ResourceVersion = "2"
		if err := w.client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, cm, "lintel"); err != nil {
			t.Fatal(err)
		}
		s.Changed([]object.Key{k, {Kind: k.Kind, Namespace: k.Namespace, Name: k.Name, Part: "ssl-ciphers"}})
		s.Applied(7)
		time.Sleep(5 * time.Second)
		want := `Normal CREATE ConfigMap/config: ConfigMap lintel/config
Normal ConfigApplied Pod/lintel-1: configuration 7 is in force
Normal RELOAD Pod/lintel-1: NGINX reload triggered due to a change in configuration
Normal Sync Ingress/young: Scheduled for sync
Normal UPDATE ConfigMap/config: ConfigMap lintel/config`
		if got := w.eventTexts(); got != want {
			t.Errorf("events:\n%s\nwant:\n%s", got, want)
		}
		stop()
	})
}

func TestNothingIsAskedForBeyondTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		labels := map[string]string{"app": "lintel"}
		w := newWorld(t, ingress("a"), pod("lintel-1", "n", labels), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		w.o.PublishAddress, w.o.Ledger = nil, &diag.Ledger{}
		w.o.Ledger.Set(diag.Owner{}, []diag.Diagnostic{finding("a", diag.PathInvalid, "", "fault", diag.ObjectOff)})
		w.o.Object = nil
		s, stop := w.run()
		s.Served(map[object.Key]bool{key("a"): true})
		time.Sleep(time.Minute)
		stop()
		role := map[string]string{ // reference/operations.md 3
			"leases": "get update create", "pods": "get list watch", "nodes": "get list watch", "services": "get list watch",
			"ingresses": "get list watch", "ingresses/status": "update", "events": "create patch",
		}
		for _, a := range w.client.Actions() {
			resource := a.GetResource().Resource
			if a.GetSubresource() != "" {
				resource += "/" + a.GetSubresource()
			}
			if !slices.Contains(strings.Fields(role[resource]), a.GetVerb()) {
				t.Errorf("%s %s is not in the role", a.GetVerb(), resource)
			}
		}
	})
}
