//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestOnACluster runs everything against one installation, in this order.
func TestOnACluster(t *testing.T) {
	s := newSuite(t)
	s.install(t, systemNS, release)
	t.Cleanup(func() {
		if t.Failed() {
			s.dump(t, systemNS)
		}
		s.uninstall(t, systemNS, release)
	})
	ns := s.namespace(t, "e2e")
	s.backend(t, ns, "shop", 2)
	s.backend(t, ns, "cart", 1)
	s.create(t, newIngress(ns, "shop", "nginx", "shop.test", nil,
		path{networkingv1.PathTypePrefix, "/", "shop"}, path{networkingv1.PathTypePrefix, "/cart", "cart"}))
	t.Run("status address", func(t *testing.T) { s.statusAddress(t, ns) })
	if s.addr == "" {
		t.Fatal("there is no address to send requests to")
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"routing", s.routing},
		{"tls", s.tls},
		{"static files from a ConfigMap", s.files},
		{"class adoption", s.classes},
		{"events", s.events},
		{"endpoints follow the pods", s.endpoints},
		{"settings are read live", s.settings},
		{"websocket outlives 100 changes", s.webSocket},
		{"rolling update of a backend", s.rollBackend},
		{"rolling update of a backend that leaves at once", s.rollRudeBackend},
		{"rolling update of lintel", s.rollLintel},
		{"leader hand-over", s.leader},
		{"two controllers", s.second},
		{"lost API server", s.apiServer},
		{"health and metrics", s.health},
		{"quiet logs", s.quiet},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, ns) })
	}
}

// statusAddress waits for the address of the publish Service on the Ingress, and sends the first
// request at once: the status must not stand there before the route serves.
func (s *suite) statusAddress(t *testing.T, ns string) {
	start := time.Now()
	s.addr = s.published(t, ns, "shop")
	if status, _, _, err := s.get("http://shop.test/"); err != nil || status != 200 {
		t.Errorf("the first request after the status appeared: %d, %v", status, err)
	}
	t.Logf("address %s after %s", s.addr, time.Since(start).Round(time.Millisecond))
	// And again, many times: whichever replica is asked, it serves what has an address.
	for i := range 20 {
		name := fmt.Sprintf("status-%d", i)
		s.create(t, newIngress(ns, name, "nginx", name+".test", nil, path{networkingv1.PathTypePrefix, "/", "cart"}))
		s.published(t, ns, name)
		for range 3 {
			if status, _, _, err := s.get("http://" + name + ".test/"); err != nil || status != 200 {
				t.Errorf("%s: request after the status appeared: %d, %v", name, status, err)
			}
		}
	}
	// Somebody writes another address: it is put right at once, not with the next look at everything.
	patch := []byte(`{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}`)
	if _, err := s.kube.NetworkingV1().Ingresses(ns).Patch(context.Background(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if got := s.published(t, ns, "shop"); got != s.addr {
			return fmt.Errorf("status still says %s", got)
		}
		return nil
	})
}

func (s *suite) routing(t *testing.T, _ string) {
	for url, pod := range map[string]string{
		"http://shop.test/": "shop-", "http://shop.test/cart": "cart-", "http://shop.test/cart/x": "cart-", "http://shop.test/cartoon": "shop-",
	} {
		status, a, _, err := s.get(url)
		if err != nil || status != 200 || !strings.HasPrefix(a.Pod, pod) {
			t.Errorf("GET %s: %d from %q, %v; want 200 from %s*", url, status, a.Pod, err, pod)
		}
		if a.Headers.Get("X-Forwarded-Proto") != "http" || a.Headers.Get("X-Request-Id") == "" {
			t.Errorf("GET %s: forwarded fields are missing: %v", url, a.Headers)
		}
	}
	if status, _, _, err := s.get("http://unknown.test/"); err != nil || status != 404 {
		t.Errorf("unknown host: %d, %v; want 404", status, err)
	}
	seen := map[string]bool{}
	for range 20 {
		_, a, _, err := s.get("http://shop.test/")
		if err != nil {
			t.Fatal(err)
		}
		seen[a.Pod] = true
	}
	if len(seen) != 2 {
		t.Errorf("20 requests reached %d of 2 pods", len(seen))
	}
}

// certificate makes a self-signed one for host and stores it as a TLS Secret.
func (s *suite) certificate(t *testing.T, ns, secret, host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.kube.CoreV1().Secrets(ns).Create(context.Background(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secret, Namespace: ns}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *suite) served(host string) (string, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", net.JoinHostPort(s.addr, "443"), &tls.Config{InsecureSkipVerify: true, ServerName: host})
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// tls names a Secret before it exists, as cert-manager's users do.
func (s *suite) tls(t *testing.T, ns string) {
	in := newIngress(ns, "secure", "nginx", "secure.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"})
	in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"secure.test"}, SecretName: "secure-tls"}}
	s.create(t, in)
	s.wants(t, 10*time.Second, "http://secure.test/", 308)
	if cn, err := s.served("secure.test"); err != nil || cn != "Kubernetes Ingress Controller Fake Certificate" {
		t.Errorf("before its Secret exists the host serves %q, %v", cn, err)
	}
	s.certificate(t, ns, "secure-tls", "secure.test")
	eventually(t, 5*time.Second, func() error {
		cn, err := s.served("secure.test")
		if err == nil && cn != "secure.test" {
			err = fmt.Errorf("certificate %q is served", cn)
		}
		return err
	})
	status, _, header, err := s.get("https://secure.test/")
	if err != nil || status != 200 || header.Get("Strict-Transport-Security") == "" {
		t.Errorf("https: %d, HSTS %q, %v", status, header.Get("Strict-Transport-Security"), err)
	}
}

func (s *suite) files(t *testing.T, ns string) {
	ctx := context.Background()
	if _, err := s.kube.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "site", Namespace: ns},
		Data: map[string]string{"index.html": "<h1>maintenance</h1>", "robots.txt": "User-agent: *"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in := newIngress(ns, "site", "nginx", "site.test", nil)
	kind := networkingv1.PathTypePrefix
	in.Spec.Rules[0].HTTP.Paths = []networkingv1.HTTPIngressPath{{Path: "/", PathType: &kind,
		Backend: networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "ConfigMap", Name: "site"}}}}
	s.create(t, in)
	s.wants(t, 10*time.Second, "http://site.test/robots.txt", 200)
	s.wants(t, time.Second, "http://site.test/none", 404)
}

func (s *suite) classes(t *testing.T, ns string) {
	ctx := context.Background()
	s.create(t, newIngress(ns, "foreign", "other", "foreign.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"}))
	legacy := newIngress(ns, "legacy", "", "legacy.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"})
	legacy.Annotations["kubernetes.io/ingress.class"] = "nginx"
	s.create(t, legacy)
	s.wants(t, 10*time.Second, "http://legacy.test/", 200)
	s.wants(t, time.Second, "http://foreign.test/", 404)
	// The class appears later, with our controller: its Ingress is served without being touched.
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	if _, err := s.kube.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.kube.NetworkingV1().IngressClasses().Delete(ctx, "other", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		s.wants(t, 10*time.Second, "http://foreign.test/", 404)
	}()
	s.wants(t, 10*time.Second, "http://foreign.test/", 200)
}

// events breaks an annotation and expects to be told on the object.
func (s *suite) events(t *testing.T, ns string) {
	s.create(t, newIngress(ns, "broken", "nginx", "broken.test", map[string]string{"proxy-body-size": "ten"}, path{networkingv1.PathTypePrefix, "/", "shop"}))
	eventually(t, 20*time.Second, func() error {
		list, err := s.kube.CoreV1().Events(ns).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=broken"})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if strings.Contains(e.Message, "proxy-body-size") && strings.Contains(e.Message, "ten") {
				return nil
			}
		}
		return fmt.Errorf("%d Events on Ingress %s/broken, none about proxy-body-size", len(list.Items), ns)
	})
	s.wants(t, 5*time.Second, "http://broken.test/", 200)
}

func (s *suite) endpoints(t *testing.T, ns string) {
	s.scale(t, ns, "cart", 0)
	s.wants(t, 30*time.Second, "http://shop.test/cart", 503)
	s.scale(t, ns, "cart", 1)
	s.wants(t, 60*time.Second, "http://shop.test/cart", 200)
}

// settings upgrades the release with another ConfigMap: no pod is replaced, the value counts at once.
func (s *suite) settings(t *testing.T, _ string) {
	before := s.podNames(t, systemNS)
	received := func(want bool) {
		t.Helper()
		eventually(t, 10*time.Second, func() error {
			_, a, _, err := s.get("http://shop.test/")
			if got := a.Headers.Get("X-Request-Id") != ""; err == nil && got != want {
				err = fmt.Errorf("the backend received X-Request-Id: %v, want %v", got, want)
			}
			return err
		})
	}
	received(true)
	s.install(t, systemNS, release, "--set-string", "controller.config.generate-request-id=false")
	received(false)
	s.install(t, systemNS, release)
	received(true)
	if after := s.podNames(t, systemNS); !slices.Equal(before, after) {
		t.Errorf("a changed ConfigMap replaced pods: %v, then %v", before, after)
	}
}

// webSocket keeps one connection through changes, each of which is seen to be in force.
func (s *suite) webSocket(t *testing.T, ns string) {
	ws, err := s.dialWebSocket("shop.test", "/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	start := time.Now()
	for i := range 100 {
		host := fmt.Sprintf("change-%d.test", i)
		s.annotate(t, ns, "shop", "upstream-vhost", host)
		eventually(t, 5*time.Second, func() error {
			_, a, _, err := s.get("http://shop.test/")
			if err == nil && a.Host != host {
				err = fmt.Errorf("the backend got Host %q, want %q", a.Host, host)
			}
			return err
		})
		if err := ws.echo(fmt.Sprintf("message %d", i)); err != nil {
			t.Fatalf("after %d changes: %v", i+1, err)
		}
	}
	t.Logf("100 changes, each in force after %s on average", (time.Since(start) / 100).Round(time.Millisecond))
	s.annotate(t, ns, "shop", "upstream-vhost", "")
	s.wants(t, 5*time.Second, "http://shop.test/", 200)
}

func (s *suite) rollBackend(t *testing.T, ns string) {
	l := s.startLoad(8, get("http://shop.test/"), post("http://shop.test/"), get("http://shop.test/?delay=1s"))
	s.restart(t, ns, "shop")
	s.gone(t, ns, "shop")
	l.end(t, 500)
}

// rollRudeBackend replaces pods that stop listening the moment they are told to end. A
// request that finds one of them goes to the next endpoint.
func (s *suite) rollRudeBackend(t *testing.T, ns string) {
	s.backend(t, ns, "rude", 2, "--linger", "0s")
	s.create(t, newIngress(ns, "rude", "nginx", "rude.test", nil, path{networkingv1.PathTypePrefix, "/", "rude"}))
	s.wants(t, 10*time.Second, "http://rude.test/", 200)
	l := s.startLoad(8, get("http://rude.test/"))
	s.restart(t, ns, "rude")
	s.gone(t, ns, "rude")
	l.end(t, 500)
}

// rollLintel replaces every pod of lintel under load over plain and TLS connections.
func (s *suite) rollLintel(t *testing.T, _ string) {
	s.quiet(t, "")
	ends := s.followLogs(t, systemNS)
	l := s.startLoad(9, get("http://shop.test/"), post("http://shop.test/"), get("https://secure.test/"), get("http://shop.test/?delay=2s"))
	s.restart(t, systemNS, controller)
	for pod, log := range ends {
		text := log(t) // waits for the end of the pod
		for _, trouble := range []string{"level=ERROR", "panic", "connections cut"} {
			if strings.Contains(text, trouble) {
				t.Errorf("pod %s did not end well:\n%s", pod, tail(program(text), 20))
			}
		}
		if !strings.Contains(text, "msg=stopped") {
			t.Errorf("pod %s did not end in order:\n%s", pod, tail(program(text), 20))
		}
	}
	l.end(t, 500)
}

// leader kills the pod that writes status and expects the other to write it soon.
func (s *suite) leader(t *testing.T, ns string) {
	ctx := context.Background()
	holder := func() string {
		l, err := s.kube.CoordinationV1().Leases(systemNS).Get(ctx, lease, metav1.GetOptions{})
		if err != nil || l.Spec.HolderIdentity == nil {
			return ""
		}
		return *l.Spec.HolderIdentity
	}
	eventually(t, 40*time.Second, func() error {
		if holder() == "" {
			return fmt.Errorf("nobody holds lease %s", lease)
		}
		return nil
	})
	s.quiet(t, "")
	old := holder()
	none := int64(0)
	if err := s.kube.CoreV1().Pods(systemNS).Delete(ctx, old, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s.create(t, newIngress(ns, "after-handover", "nginx", "handover.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"}))
	s.wants(t, 10*time.Second, "http://handover.test/", 200)
	eventually(t, 60*time.Second, func() error {
		in, err := s.kube.NetworkingV1().Ingresses(ns).Get(ctx, "after-handover", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if now := holder(); now == old || now == "" {
			return fmt.Errorf("lease is held by %q", now)
		}
		if len(in.Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("no status written after the leader was killed")
		}
		return nil
	})
	t.Logf("a new leader wrote status %s after the old one was killed", time.Since(start).Round(100*time.Millisecond))
	s.rolledOut(t, systemNS, controller)
}

// second installs another controller: both serve their own class only. Then it is confined to
// one namespace, and may not even read classes.
func (s *suite) second(t *testing.T, ns string) {
	const secondNS, confinedNS = "lintel-second", "e2e-confined"
	s.namespace(t, secondNS)
	s.namespace(t, confinedNS)
	values := []string{"--set", "controller.replicaCount=1", "--set", "controller.ingressClass=second", "--set", "controller.ingressClassResource.name=second",
		"--set", "controller.ingressClassResource.controllerValue=lintel.test/second"}
	s.install(t, secondNS, "second", values...)
	defer func() {
		if t.Failed() {
			s.dump(t, secondNS)
		}
		s.uninstall(t, secondNS, "second")
	}()
	s.create(t, newIngress(ns, "second", "second", "second.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"}))
	addr := s.published(t, ns, "second")
	if addr == s.addr {
		t.Fatalf("both controllers publish %s", addr)
	}
	other := &suite{kube: s.kube, addr: addr}
	for _, c := range []struct {
		at   *suite
		host string
		want int
	}{{s, "shop.test", 200}, {s, "second.test", 404}, {other, "second.test", 200}, {other, "shop.test", 404}} {
		c.at.wants(t, 5*time.Second, "http://"+c.host+"/", c.want)
	}
	if text := s.logs(t, secondNS); strings.Contains(text, "forbidden") {
		t.Errorf("the second controller misses a permission:\n%s", program(text))
	}

	s.install(t, secondNS, "second", append(values, "--set", "controller.scope.enabled=true", "--set", "controller.scope.namespace="+confinedNS, "--set", "rbac.scope=true")...)
	s.rolledOut(t, secondNS, "second-ingress-nginx-controller")
	s.backend(t, confinedNS, "inside", 1)
	legacy := func(ns, host, svc string) *networkingv1.Ingress {
		in := newIngress(ns, "confined", "", host, nil, path{networkingv1.PathTypePrefix, "/", svc})
		in.Annotations["kubernetes.io/ingress.class"] = "second"
		return s.create(t, in)
	}
	legacy(ns, "outside.test", "shop")
	legacy(confinedNS, "inside.test", "inside")
	s.published(t, confinedNS, "confined")
	other.wants(t, 5*time.Second, "http://inside.test/", 200)
	other.wants(t, 5*time.Second, "http://outside.test/", 404)
	other.wants(t, 5*time.Second, "http://second.test/", 404)
	s.wants(t, 5*time.Second, "http://inside.test/", 404)
	for line := range strings.Lines(s.logs(t, secondNS)) {
		if strings.Contains(line, "forbidden") && !strings.Contains(line, "ingress classes may not be listed") {
			t.Errorf("the confined controller misses a permission: %s", line)
		}
	}
	// The last replica takes the address back. Scaled down, not uninstalled: Helm takes the
	// permissions away at the same time.
	s.scale(t, secondNS, "second-ingress-nginx-controller", 0)
	eventually(t, 30*time.Second, func() error {
		in, err := s.kube.NetworkingV1().Ingresses(confinedNS).Get(context.Background(), "confined", metav1.GetOptions{})
		if err == nil && len(in.Status.LoadBalancer.Ingress) != 0 {
			err = fmt.Errorf("status %v after the last replica is gone", in.Status.LoadBalancer.Ingress)
		}
		return err
	})
}

// apiServer takes the API server away for longer than leadership lasts without it.
func (s *suite) apiServer(t *testing.T, ns string) {
	down, up := need(t, "LINTEL_E2E_API_DOWN"), need(t, "LINTEL_E2E_API_UP")
	if down == "none" {
		t.Skip("LINTEL_E2E_API_DOWN=none: this cluster's API server cannot be taken away")
	}
	l := s.startLoad(4, get("http://shop.test/"), get("https://secure.test/"))
	t.Log(strings.TrimSpace(run(t, "sh", "-c", down)))
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if out, err := exec.Command("sh", "-c", up).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	defer restore()
	time.Sleep(40 * time.Second)
	restore()
	l.end(t, 500)
	eventually(t, 60*time.Second, func() error {
		_, err := s.kube.CoreV1().Namespaces().Get(context.Background(), systemNS, metav1.GetOptions{})
		return err
	})
	back := time.Now()
	s.create(t, newIngress(ns, "after-outage", "nginx", "outage.test", nil, path{networkingv1.PathTypePrefix, "/", "shop"}))
	s.wants(t, 60*time.Second, "http://outage.test/", 200)
	s.published(t, ns, "after-outage")
	t.Logf("a new Ingress is served and has its address %s after the API server is back", time.Since(back).Round(100*time.Millisecond))
}

func (s *suite) health(t *testing.T, _ string) {
	ctx := context.Background()
	s.rolledOut(t, systemNS, controller)
	pods, err := s.kube.CoreV1().Pods(systemNS).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) == 0 {
		t.Fatal("no controller pods")
	}
	total := 0
	for _, p := range pods.Items {
		for _, c := range []struct{ path, want string }{{"/healthz", "ok"}, {"/readyz", ""}, {"/metrics", "nginx_ingress_controller_requests"}} {
			r, err := http.Get("http://" + net.JoinHostPort(p.Status.PodIP, "10254") + c.path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != 200 {
				t.Errorf("%s %s: %d %v", p.Name, c.path, r.StatusCode, err)
			}
			if strings.Contains(string(b), c.want) {
				total++
			}
			for line := range strings.Lines(string(b)) {
				if strings.HasPrefix(line, "process_resident_memory_bytes") || strings.HasPrefix(line, "go_memstats_heap_inuse_bytes ") {
					t.Logf("%s %s", p.Name, strings.TrimSpace(line))
				}
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount != 0 {
				t.Errorf("%s was restarted %d times", p.Name, c.RestartCount)
			}
		}
		sc := p.Spec.Containers[0].SecurityContext
		if sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
			t.Errorf("%s does not run as non-root with a read-only root: %+v", p.Name, sc)
		}
	}
	if total < 2*len(pods.Items)+1 {
		t.Errorf("health and metrics answered what is wanted %d times for %d pods", total, len(pods.Items))
	}
}

// requestLine is how a line of the access log begins.
var requestLine = regexp.MustCompile(`^[0-9a-f.:]+ - \S+ \[`)

// quiet reads the logs of lintel's pods as an operator would: nothing is forbidden, nothing broke.
func (s *suite) quiet(t *testing.T, _ string) {
	t.Helper()
	for line := range strings.Lines(s.logs(t, systemNS)) {
		switch {
		case !strings.HasPrefix(line, "time=") && !requestLine.MatchString(line):
			t.Errorf("a line of another format: %s", line)
		case strings.Contains(line, "level=ERROR") || strings.Contains(line, "forbidden"):
			t.Errorf("log: %s", line)
		}
	}
}

// TestMain refuses to run without a cluster, with the sentence make prints.
func TestMain(m *testing.M) {
	if os.Getenv("KUBECONFIG") == "" {
		fmt.Fprintln(os.Stderr, "the end-to-end suite wants a cluster: set KUBECONFIG")
		os.Exit(2)
	}
	os.Exit(m.Run())
}
