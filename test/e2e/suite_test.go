//go:build e2e

// Package e2e runs lintel on a real cluster: the chart is installed with Helm,
// real pods are its backends, and clients reach it by the address that stands
// in the Ingress status. Run it with make e2e.
//
// It reads KUBECONFIG, LINTEL_IMAGE (already on the nodes), HELM (the program),
// and, for the test of a lost API server, LINTEL_E2E_API_DOWN and
// LINTEL_E2E_API_UP: shell commands that take the API server away and bring it back, or "none"
// where that cannot be done.
package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lintel-ingress/lintel/internal/echo"
)

const (
	release    = "lintel"
	systemNS   = "lintel-system"
	controller = "lintel-ingress-nginx-controller"
	lease      = "lintel-ingress-nginx-leader"
)

// suite is one installed lintel.
type suite struct {
	kube  kubernetes.Interface
	image string
	helm  string
	addr  string // address clients use, once known
}

func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set; run this with make e2e", name)
	}
	return v
}

func newSuite(t *testing.T) *suite {
	cfg, err := clientcmd.BuildConfigFromFlags("", need(t, "KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &suite{kube: kube, image: need(t, "LINTEL_IMAGE"), helm: need(t, "HELM")}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install installs or upgrades a release of the chart and waits until it is ready.
func (s *suite) install(t *testing.T, ns, release string, extra ...string) {
	t.Helper()
	colon := strings.LastIndexByte(s.image, ':') // a registry may have a port
	name, tag := s.image[:colon], s.image[colon+1:]
	args := append([]string{
		"upgrade", "--install", release, "../../chart", "--namespace", ns, "--create-namespace", "--wait", "--timeout", "3m",
		"--set", "controller.image.registry=", "--set", "controller.image.image=" + name, "--set", "controller.image.tag=" + tag,
		"--set", "controller.replicaCount=2", "--set", "controller.metrics.enabled=true",
	}, extra...)
	out, err := exec.Command(s.helm, args...).CombinedOutput()
	if err != nil {
		s.dump(t, ns)
		t.Fatalf("helm: %v\n%s", err, out)
	}
}

// uninstall ends the pods first: with the release go the permissions to give the Lease and the
// addresses back.
func (s *suite) uninstall(t *testing.T, ns, release string) {
	t.Helper()
	s.scale(t, ns, release+"-ingress-nginx-controller", 0)
	eventually(t, time.Minute, func() error {
		if n := len(s.pods(t, ns)); n > 0 {
			return fmt.Errorf("%d pods of %s are still there", n, release)
		}
		return nil
	})
	if out, err := exec.Command(s.helm, "uninstall", release, "--namespace", ns, "--wait", "--timeout", "2m").CombinedOutput(); err != nil {
		t.Errorf("helm: %v\n%s", err, out)
	}
}

func (s *suite) pods(t *testing.T, ns string) []corev1.Pod {
	t.Helper()
	list, err := s.kube.CoreV1().Pods(ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// podNames are the names of lintel's pods that are not about to end.
func (s *suite) podNames(t *testing.T, ns string) []string {
	t.Helper()
	var out []string
	for _, p := range s.pods(t, ns) {
		if p.DeletionTimestamp == nil {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// logs are those of lintel's pods in a namespace.
func (s *suite) logs(t *testing.T, ns string) string {
	t.Helper()
	var out strings.Builder
	for _, p := range s.pods(t, ns) {
		b, err := s.kube.CoreV1().Pods(ns).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(context.Background())
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("logs of %s: %v", p.Name, err)
		}
		out.Write(b)
	}
	return out.String()
}

// followLogs reads on what lintel's pods write. Each result waits for the end of its pod.
func (s *suite) followLogs(t *testing.T, ns string) map[string]func(*testing.T) string {
	t.Helper()
	out := map[string]func(*testing.T) string{}
	for _, name := range s.podNames(t, ns) {
		stream, err := s.kube.CoreV1().Pods(ns).GetLogs(name, &corev1.PodLogOptions{Follow: true}).Stream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		type result struct {
			text []byte
			err  error
		}
		done := make(chan result, 1)
		go func() {
			defer stream.Close()
			b, err := io.ReadAll(stream)
			done <- result{b, err}
		}()
		out[name] = func(t *testing.T) string {
			t.Helper()
			select {
			case r := <-done:
				if r.err != nil {
					t.Errorf("log of %s: %v", name, r.err)
				}
				return string(r.text)
			case <-time.After(time.Minute):
				t.Errorf("pod %s does not end", name)
				return ""
			}
		}
	}
	return out
}

// program leaves the access log out.
func program(logs string) string {
	var out strings.Builder
	for line := range strings.Lines(logs) {
		if strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "panic") || strings.HasPrefix(line, "lintel:") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// dump shows what a person would look at first.
func (s *suite) dump(t *testing.T, ns string) {
	ctx := context.Background()
	pods, err := s.kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Log(err)
		return
	}
	for _, p := range pods.Items {
		t.Logf("pod %s %s", p.Name, p.Status.Phase)
		for _, c := range p.Status.ContainerStatuses {
			t.Logf("container %s: ready %v, restarts %d, %+v", c.Name, c.Ready, c.RestartCount, c.State)
		}
		for _, previous := range []bool{true, false} {
			logs, err := s.kube.CoreV1().Pods(ns).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
			if err == nil {
				t.Logf("%s", tail(program(string(logs)), 60))
				t.Logf("%s", tail(string(logs), 10))
			}
		}
	}
	events, err := s.kube.CoreV1().Events("").List(ctx, metav1.ListOptions{})
	if err == nil {
		for _, e := range events.Items {
			if e.Type != "Normal" {
				t.Logf("event %s/%s %s: %s", e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
			}
		}
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// eventually waits until ok returns nil and fails with its last error.
func eventually(t *testing.T, within time.Duration, ok func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %v", within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// namespace makes a namespace that is removed when the test ends.
func (s *suite) namespace(t *testing.T, name string) string {
	t.Helper()
	ctx := context.Background()
	// A run before may have left one that is still going away.
	eventually(t, time.Minute, func() error {
		_, err := s.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		if err := s.kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, 30*time.Second, func() error {
		_, err := s.kube.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return name
}

// backend deploys echo pods and a Service in front of them, and waits until they are ready.
// A flag given here goes before the usual one.
func (s *suite) backend(t *testing.T, ns, name string, replicas int32, flags ...string) {
	t.Helper()
	ctx := context.Background()
	labels := map[string]string{"app": name}
	grace := int64(10)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: &grace,
					Containers: []corev1.Container{{
						Name: "echo", Image: s.image, ImagePullPolicy: corev1.PullIfNotPresent,
						Args:           append([]string{"echo", "--listen", ":8080", "--grace", "5s", "--linger", "3s"}, flags...),
						Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
						ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/health", Port: intstr.FromString("http")}}},
						Env:            []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
					}},
				},
			},
		},
	}
	if _, err := s.kube.AppsV1().Deployments(ns).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}
	if _, err := s.kube.CoreV1().Services(ns).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.rolledOut(t, ns, name)
}

func (s *suite) rolledOut(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		d, err := s.kube.AppsV1().Deployments(ns).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		want := *d.Spec.Replicas
		if st := d.Status; st.ObservedGeneration < d.Generation || st.UpdatedReplicas != want || st.AvailableReplicas != want || st.Replicas != want {
			return fmt.Errorf("deployment %s/%s: %d of %d updated, %d available, %d in all", ns, name, st.UpdatedReplicas, want, st.AvailableReplicas, st.Replicas)
		}
		return nil
	})
}

func (s *suite) scale(t *testing.T, ns, name string, replicas int32) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec": {"replicas": %d}}`, replicas)
	if _, err := s.kube.AppsV1().Deployments(ns).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
}

// restart does what kubectl rollout restart does.
func (s *suite) restart(t *testing.T, ns, name string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": %q}}}}}`, time.Now().Format(time.RFC3339Nano))
	if _, err := s.kube.AppsV1().Deployments(ns).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.rolledOut(t, ns, name)
}

// gone waits until no pod of a backend is still ending.
func (s *suite) gone(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		list, err := s.kube.CoreV1().Pods(ns).List(context.Background(), metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s/%s is still ending", ns, p.Name)
			}
		}
		return nil
	})
}

type path struct {
	kind networkingv1.PathType
	path string
	svc  string
}

func newIngress(ns, name, class, host string, annotations map[string]string, paths ...path) *networkingv1.Ingress {
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Annotations: map[string]string{}}}
	for k, v := range annotations {
		in.Annotations["nginx.ingress.kubernetes.io/"+k] = v
	}
	if class != "" {
		in.Spec.IngressClassName = &class
	}
	rule := networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
	for _, p := range paths {
		kind := p.kind
		rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{Path: p.path, PathType: &kind,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: p.svc, Port: networkingv1.ServiceBackendPort{Number: 80}}}})
	}
	in.Spec.Rules = []networkingv1.IngressRule{rule}
	return in
}

func (s *suite) create(t *testing.T, in *networkingv1.Ingress) *networkingv1.Ingress {
	t.Helper()
	out, err := s.kube.NetworkingV1().Ingresses(in.Namespace).Create(context.Background(), in, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// annotate sets an annotation of lintel's on an Ingress; an empty value removes it.
func (s *suite) annotate(t *testing.T, ns, name, key, value string) {
	t.Helper()
	var v any
	if value != "" {
		v = value
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"nginx.ingress.kubernetes.io/" + key: v}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.kube.NetworkingV1().Ingresses(ns).Patch(context.Background(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// published waits for an address in the status of an Ingress.
func (s *suite) published(t *testing.T, ns, name string) (addr string) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for time.Now().Before(end) {
		in, err := s.kube.NetworkingV1().Ingresses(ns).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if all := in.Status.LoadBalancer.Ingress; len(all) > 0 {
			return cmp.Or(all[0].IP, all[0].Hostname)
		}
		time.Sleep(2 * time.Millisecond) // often: what is wanted is the first moment
	}
	t.Fatalf("no address in the status of Ingress %s/%s", ns, name)
	return ""
}

// client reaches lintel at its published address whatever the URL's host says.
func (s *suite) client(keepAlive bool) *http.Client {
	d := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		Timeout: 15 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive,
			ForceAttemptHTTP2: keepAlive,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return d.DialContext(ctx, network, net.JoinHostPort(s.addr, port))
			},
			TLSClientConfig: insecure(),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get asks for url and returns the status and, from an echo backend, what it received.
func (s *suite) get(url string) (int, echo.Answer, http.Header, error) {
	c := s.client(false)
	defer c.CloseIdleConnections()
	var a echo.Answer
	r, err := c.Get(url)
	if err != nil {
		return 0, a, nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, a, nil, err
	}
	if r.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(b, &a); err != nil {
			return 0, a, nil, err
		}
	}
	return r.StatusCode, a, r.Header, nil
}

func (s *suite) wants(t *testing.T, within time.Duration, url string, status int) {
	t.Helper()
	eventually(t, within, func() error {
		got, _, _, err := s.get(url)
		if err == nil && got != status {
			err = fmt.Errorf("GET %s: %d, want %d", url, got, status)
		}
		return err
	})
}
