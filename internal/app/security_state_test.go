package app

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe/accesslog"
	"github.com/lintel-ingress/lintel/internal/source"
	"github.com/lintel-ingress/lintel/internal/translate"
)

func TestS3_2_KeysOfSecretsNameNoFiles(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("lintel-escaped-%d", time.Now().UnixNano())
	deep := strings.Repeat("../", 12) + "tmp/" + mark
	at := listenWire(t, echoes("web"))
	p := run(t, backend("web", at.Addr()),
		secret("odd", "../../"+mark, htpasswd, deep, htpasswd, "/tmp/"+mark, htpasswd, "a/"+mark, htpasswd, "auth/../"+mark, htpasswd, "auth", htpasswd),
		secret("without", "../auth", htpasswd, "auth/", htpasswd, " auth", htpasswd, "AUTH", htpasswd, "auth\x00", htpasswd),
		secret("users", "../"+mark, htpasswd, deep, htpasswd),
		secret("big", "auth", strings.Repeat("x:{PLAIN}y\n", 100<<10)),
		rule("odd", "odd.test", "/", "web", "auth-type: basic", "auth-secret: odd"),
		rule("without", "without.test", "/", "web", "auth-type: basic", "auth-secret: without"),
		rule("map", "map.test", "/", "web", "auth-type: basic", "auth-secret: users", "auth-secret-type: auth-map"),
		rule("big", "big.test", "/", "web", "auth-type: basic", "auth-secret: big"))
	for host, want := range map[string][2]int{"odd.test": {401, 200}, "without.test": {503, 503}, "map.test": {401, 401}, "big.test": {0, 0}} {
		none, good := p.ask(t, get(host, "/")).StatusCode, p.ask(t, get(host, "/", basic("u", "p"))).StatusCode
		if host == "big.test" {
			if none == 200 || good == 200 {
				t.Errorf("%s: open", host)
			}
			continue
		}
		if none != want[0] || good != want[1] {
			t.Errorf("%s: %d without and %d with a password, want %v", host, none, good, want)
		}
	}
	for _, dir := range []string{".", "..", os.TempDir(), p.dir, filepath.Dir(p.dir), "/tmp", "/"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), mark) {
				t.Errorf("%s was written to %s", e.Name(), dir)
			}
		}
	}
}

func TestS8_4_HostilePatternsTakeLinearTime(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, backend("web", at.Addr()), settings("block-user-agents: ~(a+)+$"),
		rule("plus", "plus.test", "/(a+)+$", "web", "use-regex: true"), rule("alt", "alt.test", "/(a|aa|a?)*b", "web", "use-regex: true"),
		rule("canary", "canary.test", "/", "web"), rule("canary2", "canary.test", "/", "web", "canary: true", "canary-by-header: x", "canary-by-header-pattern: (a|a?)+$"),
		rule("origin", "origin.test", "/", "web", "enable-cors: true", "cors-allow-origin: http://*.a.test, http://*.*.test"))
	long := strings.Repeat("a", 6000)
	for _, raw := range []string{
		get("plus.test", "/"+long+"!"), get("alt.test", "/"+long+"!"), get("canary.test", "/", "X: "+long+"!"), get("plus.test", "/x", "User-Agent: "+long+"!"), get("origin.test", "/", "Origin: http://"+long+".x"),
	} {
		began := time.Now()
		p.ask(t, raw)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%.60q took %s", raw, took)
		}
	}
}

// Not parallel: it measures.
func TestS8_5_CrowdedNamespaceDelaysNoOther(t *testing.T) {
	const crowd = 10_000
	log := slog.New(slog.DiscardHandler)
	o := Defaults()
	w, err := newWorld(&o, log, accesslog.New(io.Discard, log))
	if err != nil {
		t.Fatal(err)
	}
	defer w.transport.Close()
	snapshot := object.NewSnapshot()
	p := newPipeline(log, snapshot, func() *translate.Builder { return translate.NewBuilder(snapshot, translate.DefaultOptions()) }, w, []source.Source{named("a")})
	g := newGroup(t.Context())
	g.goes("pipeline", p.run)
	defer func() {
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	}()
	all := basics()
	for i := range crowd {
		all = append(all, ingress(fmt.Sprint("i", i), fmt.Sprintf("h%d.test", i)))
	}
	p.Apply(all)
	p.Synced("a")
	select {
	case <-p.ready:
	case <-time.After(6 * soon):
		t.Fatal("no table")
	}
	has := func(host string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.hosts[host] != nil
	}
	neighbour := func(name string) time.Duration {
		c := ingress(name, name+".other.test")
		c.Key.Namespace = "other"
		c.Object.(*object.Ingress).Namespace = "other"
		began := time.Now()
		p.Apply([]object.Change{c})
		for !has(name + ".other.test") {
			if time.Since(began) > 3*soon {
				t.Fatal("the neighbour is never served")
			}
			time.Sleep(time.Millisecond)
		}
		return time.Since(began)
	}
	for i := range 3 {
		if took := neighbour(fmt.Sprint("quiet", i)); took > time.Second {
			t.Errorf("beside %d Ingresses that rest: %s", crowd, took)
		}
	}
	// The crowd changes, one after the other, without a pause.
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				p.Apply([]object.Change{ingress(fmt.Sprint("i", i%crowd), fmt.Sprintf("h%d.test", (i+7)%crowd))})
			}
		}
	}()
	for i := range 3 {
		if took := neighbour(fmt.Sprint("busy", i)); took > time.Second {
			t.Errorf("beside %d Ingresses that change: %s", crowd, took)
		}
	}
	close(stop)
	<-done
}

func TestS10_1_ProtectionThatIsGoneClosesAndComesBack(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	ca, err := pki.Authority("client-ca")
	if err != nil {
		t.Fatal(err)
	}
	users, authority := secret("users", "auth", htpasswd), secret("authority", "ca.crt", string(ca.Cert))
	fields := configMap("default", "fields", "X-Key: 1")
	service := answers(t, func(w http.ResponseWriter, r *http.Request) {})
	p := run(t, certificate(t, "tls", "m.test"), backend("web", at.Addr()), users, authority, fields,
		rule("password", "password.test", "/", "web", "auth-type: basic", "auth-secret: users"),
		served(rule("mutual", "m.test", "/", "web", "ssl-redirect: false", "auth-tls-secret: default/authority"), "tls", "m.test"),
		rule("service", "service.test", "/", "web", "auth-url: http://"+service.String()+"/", "auth-proxy-set-headers: default/fields"))
	status := func(host string) int {
		if host == "m.test" {
			c := p.secure(t, tlsFor(host))
			defer c.Close()
			return c.ask(get(host, "/")).StatusCode
		}
		return p.ask(t, get(host, "/", basic("u", "p"), "Connection: close")).StatusCode
	}
	for _, c := range []struct {
		host, with, manifest string
		open                 int
		corrupt              []string
	}{
		{"password.test", secretOf("users"), users, 200, []string{secret("elsewhere", "auth", htpasswd), secret("users", "other", htpasswd), secret("users", "auth", "")}},
		{"m.test", secretOf("authority"), authority, 400, []string{secret("elsewhere", "ca.crt", "x"), secret("authority", "ca.crt", "no certificate"), secret("authority", "tls.crt", string(ca.Cert))}},
		{"service.test", "name: fields", fields, 200, []string{configMap("default", "elsewhere", "X-Key: 1"), configMap("default", "fields", "X Key: 1"), configMap("default", "fields", "X-Key: a\nb")}},
	} {
		if got := status(c.host); got != c.open {
			t.Fatalf("%s: %d, want %d", c.host, got, c.open)
		}
		with := c.with
		for _, bad := range c.corrupt {
			p.replace(with, bad)
			with = firstLines(bad)
			p.eventually(c.host+" to close for "+bad, func() bool {
				s := status(c.host)
				return s == 503 || s == 403 || s == 401 || s == 400 && c.open == 200
			})
			for range 3 {
				if s := status(c.host); s == 200 {
					t.Errorf("%s with %.100q: 200", c.host, bad)
				}
			}
			p.replace(with, c.manifest)
			with = c.with
			p.eventually(c.host+" to open again", func() bool { return status(c.host) == c.open })
		}
	}
}

// firstLines identifies a manifest.
func firstLines(manifest string) string {
	l := strings.SplitN(manifest, "\n", 4)
	return strings.Join(l[:3], "\n")
}

func TestS10_2_WhatCannotBeEvaluatedDenies(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	pages := answers(t, func(w http.ResponseWriter, r *http.Request) {})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	ca, err := pki.Authority("client-ca")
	if err != nil {
		t.Fatal(err)
	}
	p := run(t, backend("web", at.Addr()), backend("pages", pages), secret("users", "auth", "u:$2y$31$nonsense\nv:\nw\n"), secret("authority", "ca.crt", string(ca.Cert)),
		rule("hash", "hash.test", "/", "web", "auth-type: basic", "auth-secret: users"),
		rule("service", "service.test", "/", "web", "auth-url: http://"+gone.Addr().String()+"/"),
		rule("variable", "variable.test", "/", "web", "auth-url: http://$arg_where/"),
		rule("either", "either.test", "/", "web", "auth-url: http://"+gone.Addr().String()+"/", "whitelist-source-range: 192.0.2.0/24", "satisfy: any"),
		rule("paged", "paged.test", "/", "web", "auth-url: http://"+gone.Addr().String()+"/", "custom-http-errors: 500,502,503", "default-backend: pages"),
		rule("name", "name.test", "/", "web", "auth-tls-secret: default/authority", "auth-tls-verify-client: optional", "auth-tls-match-cn: CN=ann"))
	for _, c := range []struct {
		host, target, credentials string
		want                      int
		reason                    string // what the log says
	}{
		{"hash.test", "/", basic("u", "nonsense"), 401, "bcrypt"},
		{"hash.test", "/", basic("v", ""), 401, ""},
		{"hash.test", "/", basic("w", ""), 401, ""},
		{"hash.test", "/", "Authorization: Basic !!!", 401, ""},
		{"hash.test", "/", "Authorization: Basic", 401, ""},
		{"service.test", "/", basic("u", "p"), 500, "authentication service failed"},
		{"variable.test", "/?where=127.0.0.1:1", "X: y", 503, "auth-url"},
		{"either.test", "/", "X: y", 500, ""},
		{"paged.test", "/", "X: y", 500, ""},
		{"name.test", "/", "X: y", 403, ""},
	} {
		r := p.ask(t, get(c.host, c.target, c.credentials))
		if r.StatusCode != c.want {
			t.Errorf("%s%s %s: %d, want %d", c.host, c.target, c.credentials, r.StatusCode, c.want)
		}
		if !strings.Contains(p.log.String(), c.reason) {
			t.Errorf("%s: the log does not say %q", c.host, c.reason)
		}
	}
	if got := at.messages(t); len(got) != 0 {
		t.Errorf("the endpoint got %d requests", len(got))
	}
}

var generation = regexp.MustCompile(`(?m)^(# )?generation .*$`)

// table is the configuration in force as text, without what counts builds.
func (p *program) table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := p.app.Table().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return generation.ReplaceAllString(b.String(), "")
}

func TestS10_4_RestartChangesNothing(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	r := rand.New(rand.NewPCG(10, 4))
	hosts := []string{"a.test", "b.test", "*.c.test", ""}
	paths := []string{"/", "/x", "/x/y", "/z"}
	some := []string{
		"auth-type: basic", "auth-secret: s1", "auth-secret: s2", "auth-secret: missing", "whitelist-source-range: 10.0.0.0/8", "whitelist-source-range: nonsense", "rewrite-target: /$1", "use-regex: true",
		"limit-rps: 5", "limit-rps: many", "server-alias: d.test", "canary: true", "canary-weight: 20", "enable-cors: true", "affinity: cookie", "proxy-body-size: 8m", "ssl-redirect: false", "permanent-redirect: http://x.test/", "unknown: 1",
		"auth-tls-secret: default/s1", "from-to-www-redirect: true", "upstream-hash-by: $request_uri", "app-root: /x", "default-backend: web",
	}
	files := map[string]string{"base.yaml": backend("web", at.Addr()), "s1.yaml": secret("s1", "auth", htpasswd)}
	p := run(t)
	write := func(name, text string) {
		files[name] = text
		if text == "" {
			if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			return
		}
		p.write(name, text)
	}
	change := func() {
		switch r.IntN(8) {
		case 0:
			write("s1.yaml", []string{"", secret("s1", "auth", htpasswd), secret("s1", "other", "x")}[r.IntN(3)])
		case 1:
			write("s2.yaml", []string{"", secret("s2", "auth", htpasswd)}[r.IntN(2)])
		case 2:
			write("config.yaml", []string{"", settings("proxy-body-size: 9m", "ssl-redirect: false"), settings("hsts: nonsense", "custom-http-errors: 404")}[r.IntN(3)])
		default:
			i := r.IntN(6)
			name := fmt.Sprint("i", i)
			if r.IntN(4) == 0 {
				write(name+".yaml", "")
				return
			}
			var with []string
			for range r.IntN(4) {
				a := some[r.IntN(len(some))]
				k, _, _ := strings.Cut(a, ":")
				if !slices.ContainsFunc(with, func(b string) bool { return strings.HasPrefix(b, k+":") }) {
					with = append(with, a)
				}
			}
			write(name+".yaml", rule(name, hosts[r.IntN(len(hosts))], paths[r.IntN(len(paths))], "web", with...))
		}
	}
	write("base.yaml", files["base.yaml"])
	write("s1.yaml", files["s1.yaml"])
	for round := range 8 {
		for range 1 + r.IntN(5) {
			change()
		}
		fresh := runOn(t, p.dir)
		want := fresh.table(t)
		if err := fresh.end(); err != nil {
			t.Fatal(err)
		}
		var got string
		for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if got = p.table(t); got == want {
				break
			}
		}
		if got != want {
			t.Fatalf("round %d: the table of the running program is\n%s\nafter a restart it is\n%s", round, got, want)
		}
	}
}
