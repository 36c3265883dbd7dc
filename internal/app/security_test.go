package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/parity"
)

// The tests security_*_test.go hold the rules of docs/dev/security.md against the whole program:
// manifests in a directory, real sockets of loopback, hostile clients, endpoints and services.

// soon bounds everything a test waits for.
const soon = 10 * time.Second

// TestMain fails when something of ours still runs after the last test.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && flag.Lookup("test.bench").Value.String() == "" {
		if left := leftovers(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftovers are the goroutines in lintel's packages that do not end within a few seconds.
func leftovers() string {
	buf := make([]byte, 4<<20)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var ours []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "lintel/internal/") && !strings.Contains(g, "TestMain(") {
				ours = append(ours, g)
			}
		}
		if len(ours) == 0 || time.Now().After(end) {
			return strings.Join(ours, "\n\n")
		}
	}
}

// transcript is a place several goroutines write to.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// program is a running lintel.
type program struct {
	t           *testing.T
	app         *App
	dir         string
	http, https string
	admin       string
	log, access *transcript
	end         func() error // stops it; may be called twice
}

// run starts lintel on manifests.
func run(t *testing.T, manifests ...string) *program {
	t.Helper()
	return runWith(t, nil, manifests...)
}

// runWith is run with other flags.
func runWith(t *testing.T, change func(*Options), manifests ...string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), log: new(transcript), access: new(transcript)}
	p.write("all.yaml", append([]string{class}, manifests...)...)
	p.start(change)
	return p
}

// runOn starts another lintel on a directory.
func runOn(t *testing.T, dir string) *program {
	t.Helper()
	p := &program{t: t, dir: dir, log: new(transcript), access: new(transcript)}
	p.start(nil)
	return p
}

func (p *program) start(change func(*Options)) {
	t := p.t
	t.Helper()
	o := Defaults()
	o.Manifests, o.ConfigMap = []string{p.dir}, "ingress-nginx/config"
	o.HTTPPort, o.HTTPSPort, o.HealthzPort, o.HealthzHost, o.Profiling = 0, 0, 0, "127.0.0.1", false
	o.BindAddresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	o.EnableMetrics, o.PostShutdownGrace = true, time.Second
	if change != nil {
		change(&o)
	}
	var err error
	p.app, err = NewWithOutput(o, slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})), p.access)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.app.Run(ctx) }()
	p.end = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(2 * soon):
			return errors.New("the program does not end")
		}
	})
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-p.app.Ready():
	case err := <-done:
		done <- err
		t.Fatal("ended before it was ready")
	case <-time.After(soon):
		t.Fatal("not ready in time")
	}
	plain, secure := p.app.Addresses()
	p.http, p.https, p.admin = plain[0].String(), secure[0].String(), p.app.operators.health.Addr().String()
}

// write replaces one file of the manifests.
func (p *program) write(name string, manifests ...string) {
	p.t.Helper()
	// Written beside and renamed, so that it is never read half.
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path+".new", []byte(strings.Join(manifests, "\n---\n")), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits until ok.
func (p *program) eventually(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not within %s: %s", soon, what)
		}
	}
}

// Manifests.

const class = `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}`

// backend is a Service of the namespace default with its endpoints.
func backend(name string, at ...net.Addr) string {
	s := fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: default}, spec: {ports: [{name: http, port: 80, targetPort: http}]}}", name)
	for i, a := range at {
		t := a.(*net.TCPAddr)
		s += fmt.Sprintf("\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: %s-%d, namespace: default, labels: {kubernetes.io/service-name: %s}}, ports: [{name: http, port: %d, protocol: TCP}], endpoints: [{addresses: [%s], conditions: {ready: true}}]}",
			name, i, name, t.Port, t.IP)
	}
	return s
}

// rule is an Ingress of the namespace default with one path of type Prefix; annotations are "name: value"
// without their prefix.
func rule(name, host, path, to string, annotations ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: %s\n  namespace: default\n  annotations:\n    x: y\n", name)
	for _, a := range annotations {
		k, v, _ := strings.Cut(a, ": ")
		fmt.Fprintf(&b, "    nginx.ingress.kubernetes.io/%s: %q\n", k, v)
	}
	b.WriteString("spec:\n  ingressClassName: nginx\n  rules:\n  - ")
	if host != "" {
		fmt.Fprintf(&b, "host: %q\n    ", host)
	}
	fmt.Fprintf(&b, "http:\n      paths:\n      - path: %q\n        pathType: %s\n        backend: {service: {name: %s, port: {number: 80}}}\n", path, kindOf(annotations), to)
	return b.String()
}

func kindOf(annotations []string) string {
	for _, a := range annotations {
		if strings.HasPrefix(a, "use-regex") {
			return "ImplementationSpecific"
		}
	}
	return "Prefix"
}

// served adds a TLS section to an Ingress.
func served(ingress, secret string, hosts ...string) string {
	return ingress + fmt.Sprintf("  tls:\n  - hosts: [%s]\n    secretName: %s\n", strings.Join(hosts, ", "), secret)
}

// secret is an Opaque Secret of the namespace default.
func secret(name string, data ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\ndata:\n", name)
	for i := 0; i < len(data); i += 2 {
		fmt.Fprintf(&b, "  %q: %s\n", data[i], base64.StdEncoding.EncodeToString([]byte(data[i+1])))
	}
	return b.String()
}

// settings is the controller's ConfigMap; each is "key: value".
func settings(values ...string) string { return configMap("ingress-nginx", "config", values...) }

func configMap(namespace, name string, values ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata:\n", name, namespace)
	for _, v := range values {
		k, v, _ := strings.Cut(v, ": ")
		fmt.Fprintf(&b, "  %q: %q\n", k, v)
	}
	return b.String()
}

var pki = &parity.PKI{}

// certificate is a TLS Secret of the namespace default.
func certificate(t *testing.T, name string, hosts ...string) string {
	t.Helper()
	pem, err := pki.Server("server-ca", false, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return secret(name, "tls.crt", string(pem.Cert), "tls.key", string(pem.Key))
}

// Clients.

// client is a connection to lintel.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func newClient(t *testing.T, c net.Conn, err error) *client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(soon))
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (p *program) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.http)
	return newClient(t, c, err)
}

// dialFrom is dial from another address of loopback.
func (p *program) dialFrom(t *testing.T, ip string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.Dial("tcp", p.http)
	return newClient(t, c, err)
}

// secure dials with TLS. Certificates of servers are not verified.
func (p *program) secure(t *testing.T, cfg *tls.Config) *client {
	t.Helper()
	return p.secureFrom(t, "127.0.0.1", cfg)
}

// secureFrom is secure from another address of loopback.
func (p *program) secureFrom(t *testing.T, ip string, cfg *tls.Config) *client {
	t.Helper()
	cfg.InsecureSkipVerify = true
	c, err := tls.DialWithDialer(&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}, "tcp", p.https, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c, nil)
}

// send writes raw bytes; lintel may have closed the connection meanwhile.
func (c *client) send(raw string) error {
	_, err := io.WriteString(c, raw)
	return err
}

// reply is a response read whole.
type reply struct {
	*http.Response
	body string
}

// next reads one response to a request of method; nil when the connection ends instead.
func (c *client) next(method string) (*reply, error) {
	r, err := http.ReadResponse(c.in, &http.Request{Method: method})
	for err == nil && r.StatusCode >= 100 && r.StatusCode < 200 && r.StatusCode != 101 {
		r, err = http.ReadResponse(c.in, &http.Request{Method: method})
	}
	if err != nil {
		return nil, err
	}
	if r.StatusCode == 101 {
		return &reply{r, ""}, nil
	}
	b, err := io.ReadAll(r.Body)
	return &reply{r, string(b)}, err
}

// ended reports whether the connection ends with nothing more to read.
func (c *client) ended() error {
	n, err := io.Copy(io.Discard, c.in)
	if n > 0 {
		return fmt.Errorf("%d more bytes", n)
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return errors.New("the connection stays open")
	}
	return nil
}

// ask sends one request on a connection of its own.
func (p *program) ask(t *testing.T, raw string) *reply {
	t.Helper()
	c := p.dial(t)
	defer c.Close()
	return c.ask(raw)
}

func (c *client) ask(raw string) *reply {
	c.t.Helper()
	method, _, _ := strings.Cut(raw, " ")
	if err := c.send(raw); err != nil {
		c.t.Fatalf("%.200q: %v", raw, err)
	}
	r, err := c.next(method)
	if err != nil {
		c.t.Fatalf("%.200q: %v", raw, err)
	}
	return r
}

// get is a request for target on host with more field lines.
func get(host, target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lines(fields) + "\r\n"
}

func lines(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return strings.Join(fields, "\r\n") + "\r\n"
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Endpoints.

// wire is an endpoint that serves connections by hand and keeps every byte it got.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []*taken
	wg    sync.WaitGroup
}

// taken is one connection of a wire.
type taken struct {
	net.Conn
	w   *wire
	in  *bufio.Reader
	got bytes.Buffer // guarded by w.mu
	cut bool         // a message on it was still under way when it was forgotten; guarded by w.mu
}

// listenWire starts an endpoint; serve is run for each connection, which is closed afterwards.
func listenWire(t *testing.T, serve func(c *taken)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l}
	w.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &taken{Conn: nc, w: w}
			nc.SetDeadline(time.Now().Add(2 * soon))
			c.in = bufio.NewReader(recording{c})
			w.mu.Lock()
			w.conns = append(w.conns, c)
			w.mu.Unlock()
			w.wg.Go(func() {
				defer nc.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

type recording struct{ c *taken }

func (r recording) Read(p []byte) (int, error) {
	n, err := r.c.Conn.Read(p)
	r.c.w.mu.Lock()
	r.c.got.Write(p[:n])
	r.c.w.mu.Unlock()
	return n, err
}

// received returns the bytes of each connection.
func (w *wire) received() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, c := range w.conns {
		if !c.cut {
			out = append(out, c.got.String())
		}
	}
	return out
}

// forget drops what was received. What is left of a message that was broken off may still come: its
// connection is not looked at any more.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.cut = c.cut || !whole(c.got.String())
		c.got.Reset()
	}
}

// whole reports whether raw ends where a message ends.
func whole(raw string) bool {
	in := bufio.NewReader(strings.NewReader(raw))
	for {
		if _, err := in.Peek(1); err != nil {
			return true
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return false
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return false
		}
	}
}

// message is one request an endpoint got.
type message struct {
	*http.Request
	body string
}

// messages reads what was received as requests. Bytes that are none fail the test.
func (w *wire) messages(t *testing.T) []message {
	t.Helper()
	var out []message
	for _, raw := range w.received() {
		in := bufio.NewReader(strings.NewReader(raw))
		for {
			if _, err := in.Peek(1); err != nil {
				break
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				t.Errorf("the endpoint got what is no request: %q: %v", raw, err)
				break
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				break // cut off: no whole message
			}
			out = append(out, message{r, string(b)})
		}
	}
	return out
}

// echoes answers each request with 200 and its target, until the connection ends.
func echoes(name string) func(*taken) {
	return func(c *taken) {
		for {
			r, err := http.ReadRequest(c.in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			text := name + " " + r.Method + " " + r.RequestURI
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Name: %s\r\nContent-Length: %d\r\n\r\n", name, len(text))
			if r.Method != "HEAD" {
				io.WriteString(c, text)
			}
		}
	}
}

// answers serves a handler as net/http does.
func answers(t *testing.T, h http.HandlerFunc) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(l) })
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return l.Addr()
}

// replace writes another manifest in the place of the one that has the text given.
func (p *program) replace(with, manifest string) {
	p.t.Helper()
	all, err := os.ReadFile(filepath.Join(p.dir, "all.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	docs := strings.Split(string(all), "\n---\n")
	for i, d := range docs {
		if strings.Contains(d, with) {
			docs[i] = manifest
			p.write("all.yaml", docs...)
			return
		}
	}
	p.t.Fatalf("no manifest has %q", with)
}

// secretOf finds the manifest of a Secret.
func secretOf(name string) string { return "kind: Secret\nmetadata: {name: " + name + "," }
