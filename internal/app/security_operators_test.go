package app

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func TestS12_1_ClientsReachNoPageOfOperators(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, certificate(t, "tls", "a.test"), backend("web", at.Addr()), served(rule("web", "a.test", "/app", "web", "ssl-redirect: false"), "tls", "a.test"))
	_, port, err := net.SplitHostPort(p.admin)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"localhost", "localhost:" + port, "127.0.0.1", p.admin, "[::1]", "0.0.0.0", "a.test", "lintel", "ingress-nginx-controller.ingress-nginx.svc", "kubernetes.default.svc", "_", "metrics", "127.0.0.1:10254", "127.0.0.1:10246"}
	paths := []string{
		"/metrics", "/metrics/", "//metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/table", "/debug/diagnostics", "/debug/explain?url=http://a.test/", "/dbg", "/configuration", "/configuration/backends",
		"/configuration/certs?hostname=a.test", "/nginx_status", "/nginx_status/", "/stub_status", "/is-dynamic-lb-initialized", "/readyz", "/livez", "/build", "/app/../metrics", "/app/../debug/table", "/%6detrics", "/.well-known/../metrics",
	}
	secrets := []string{"nginx_ingress_controller", "go_goroutines", "goroutine ", "Active connections", "host a.test", "pool default/web", `"release"`}
	for _, host := range hosts {
		for _, path := range paths {
			// From an address that may not see nginx_status.
			for _, c := range []*client{p.dialFrom(t, "127.0.0.2"), p.secureFrom(t, "127.0.0.2", tlsFor("a.test"))} {
				r := c.ask(get(host, path, "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Original-URI: /metrics"))
				if r.StatusCode == 200 {
					t.Errorf("http(s)://%s%s: 200 %.80q", host, path, r.body)
				}
				for _, s := range secrets {
					if strings.Contains(r.body, s) {
						t.Errorf("%s%s shows %q", host, path, s)
					}
				}
				c.Close()
			}
		}
	}
	if r := p.dialFrom(t, "127.0.0.2").ask(get("localhost", "/nginx_status")); r.StatusCode != 403 {
		t.Errorf("/nginx_status from elsewhere: %d, want 403", r.StatusCode)
	}
	if r := p.ask(t, "GET /metrics HTTP/1.0\r\n\r\n"); r.StatusCode != 404 {
		t.Errorf("/metrics without a host: %d, want 404", r.StatusCode)
	}
	if r := p.ask(t, get("localhost", "/healthz")); r.StatusCode != 200 || r.body != "" {
		t.Errorf("/healthz: %d %q", r.StatusCode, r.body)
	}
	if got := at.messages(t); len(got) != 0 {
		t.Errorf("the endpoint got %d requests", len(got))
	}
}

// page reads a page of the operators' port.
func (p *program) page(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	c := http.Client{Timeout: soon}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://" + p.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

// shown is everything lintel tells operators.
func (p *program) shown(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"log": p.log.String(), "access log": p.access.String()}
	for _, path := range []string{
		"/", "/build", "/metrics", "/debug/table", "/debug/diagnostics", "/debug/diagnostics?format=json", "/debug/explain?url=https://a.test/", "/debug/explain?format=json&url=https://a.test/", "/debug/explain?url=https://broken.test/", "/debug/explain?url=http://b.test/",
	} {
		_, out[path] = p.page(t, path)
	}
	out["values"] = fmt.Sprintf("%v %+v %#v", p.app.Table(), p.app.Diagnostics(), p.app.Table())
	p.app.world.mu.Lock()
	defer p.app.world.mu.Unlock()
	for id, c := range p.app.world.cert {
		out["values"] += fmt.Sprintf("%v %v %+v %#v", id, c, *c, *c)
	}
	for _, h := range p.app.world.hosts {
		out["values"] += fmt.Sprintf("%v %+v", h, *h)
		for _, r := range h.Routes {
			out["values"] += fmt.Sprintf("%+v %#v", *r, *r)
			for _, f := range r.Filters {
				out["values"] += fmt.Sprintf("%v %+v %#v", f, f, f)
			}
		}
	}
	return out
}

func TestS12_2_SecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	const mark = "MARKEDsecret0123456789"
	at := listenWire(t, echoes("web"))
	pem, err := pki.Server("server-ca", false, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := pki.Client("client-ca", "lintel")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.Authority("server-ca")
	if err != nil {
		t.Fatal(err)
	}
	ticket := bytes.Repeat([]byte(mark), 4)[:80]
	p := runWith(t, func(o *Options) { o.DefaultSSLCertificate = "default/tls" }, backend("web", at.Addr()),
		secret("tls", "tls.crt", string(pem.Cert), "tls.key", string(pem.Key), "note", mark),
		secret("broken", "tls.crt", string(pem.Cert), "tls.key", "-----BEGIN PRIVATE KEY-----\n"+mark+"\n-----END PRIVATE KEY-----\n"),
		secret("swapped", "tls.crt", string(pem.Key), "tls.key", string(pem.Cert)),
		secret("nothing", "tls.crt", mark, "tls.key", mark),
		secret("mine", "tls.crt", string(mine.Cert), "tls.key", string(mine.Key), "ca.crt", string(ca.Cert), "note", mark),
		secret("users", "auth", "u:{PLAIN}"+mark+"\n"),
		secret("lines", "auth", mark+"\nu:"+mark+"\n"+mark+":$1$\n:"+mark+"\n"),
		secret("map", "u", "{PLAIN}"+mark, "v", mark),
		settings("ssl-session-tickets: true", "ssl-session-ticket-key: "+base64.StdEncoding.EncodeToString(ticket)),
		served(rule("a", "a.test", "/", "web", "auth-type: basic", "auth-secret: users", "proxy-ssl-secret: default/mine", "ssl-redirect: false"), "tls", "a.test"),
		served(rule("broken", "broken.test", "/", "web", "auth-type: basic", "auth-secret: lines"), "broken", "broken.test"),
		served(rule("swapped", "swapped.test", "/", "web", "auth-tls-secret: default/swapped"), "swapped", "swapped.test"),
		served(rule("nothing", "nothing.test", "/", "web", "auth-tls-secret: default/nothing", "proxy-ssl-secret: default/nothing"), "nothing", "nothing.test"),
		rule("map", "b.test", "/", "web", "auth-type: basic", "auth-secret: map", "auth-secret-type: auth-map"),
		rule("digest", "digest.test", "/", "web", "auth-type: digest", "auth-secret: lines"))
	if r := p.ask(t, get("a.test", "/", basic("u", mark), "Cookie: session="+mark, "X-Token: "+mark)); r.StatusCode != 200 {
		t.Fatalf("with the password: %d", r.StatusCode)
	}
	for _, host := range []string{"a.test", "b.test", "broken.test", "digest.test", "swapped.test"} {
		p.ask(t, get(host, "/", basic("u", mark+"x"), "Cookie: session="+mark))
		c := p.secure(t, tlsFor(host))
		c.ask(get(host, "/", "Authorization: Bearer "+mark, "Proxy-Authorization: Basic "+mark))
		c.Close()
	}
	p.write("zz.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: bad, namespace: default}\ndata: {x: "+mark+"!}\n")
	p.eventually("the broken manifest to be told", func() bool { return strings.Contains(p.log.String(), "zz.yaml") })
	hidden := map[string]string{"the marker": mark, "the marker in base64": base64.StdEncoding.EncodeToString([]byte(mark))[:24], "the ticket key": base64.StdEncoding.EncodeToString(ticket)[:40]}
	for name, key := range map[string][]byte{"the server's key": pem.Key, "the client's key": mine.Key} {
		body := strings.Split(string(key), "\n")[1]
		hidden[name] = body[10:50]
		hidden[name+" in base64"] = base64.StdEncoding.EncodeToString(key)[60:100]
	}
	for where, text := range p.shown(t) {
		for what, s := range hidden {
			if i := strings.Index(text, s); i >= 0 {
				t.Errorf("%s shows %s: …%.200s", where, what, text[max(0, i-150):])
			}
		}
		if strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("%s shows a private key", where)
		}
	}
}

func TestS12_3_NamesAreNoMarkup(t *testing.T) {
	t.Parallel()
	const evil = "<script>alert(1)</script>"
	at := listenWire(t, echoes("web"))
	p := run(t, backend("web", at.Addr()), rule("web", "a.test", "/x", "web"), rule("redirect", "r.test", "/", "web", "permanent-redirect: http://x.test/"), rule("slash", "s.test", "/s/", "web"),
		rule("evil", "b.test", "/"+evil, "web"), rule("named", evil+".test", "/", "web"), rule("valued", "v.test", "/", "web", "limit-rps: "+evil, evil+": 1"),
		strings.Replace(rule("label", "l.test", "/", "web"), "  name: label\n", "  name: \""+evil+"\"\n", 1))
	for _, raw := range []string{
		get("a.test", "/"+evil), get("a.test", "/%3Cscript%3E"), get("r.test", "/"+evil), get("s.test", "/s?"+evil), "GET / HTTP/1.1\r\nHost: " + evil + "\r\n\r\n", get("none.test", "/"+evil), "GET / HTTP/1.1\r\nHost: a.test\r\n" + evil + ": x\r\n\r\n",
		evil + " / HTTP/1.1\r\nHost: a.test\r\n\r\n", get("a.test", "/?"+evil, "X-Request-ID: "+evil, "Cookie: "+evil, "User-Agent: "+evil),
	} {
		if r := p.ask(t, raw); strings.Contains(r.body, "<script") {
			t.Errorf("%.80q: %d %q", raw, r.StatusCode, r.body)
		}
	}
	for _, path := range []string{"/", "/" + evil, "/debug/table", "/debug/diagnostics", "/debug/explain?url=" + url.QueryEscape("http://b.test/"+evil), "/debug/explain?method=" + evil + "&url=x", "/metrics", "/build", "/healthz"} {
		r, text := p.page(t, path)
		kind := r.Header.Get("Content-Type")
		if strings.Contains(kind, "html") || r.Header.Get("X-Content-Type-Options") != "nosniff" || path != "/"+evil && !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, %v", path, r.StatusCode, r.Header)
		}
		_ = text
	}
}

// series counts the lines of /metrics that are no comments.
func (p *program) series(t *testing.T) (n int) {
	t.Helper()
	_, text := p.page(t, "/metrics")
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			n++
		}
	}
	return n
}

// Not parallel: it measures the heap.
func TestS12_4_ClientsMakeNoSeries(t *testing.T) {
	at := listenWire(t, echoes("web"))
	p := runWith(t, func(o *Options) { o.MetricsPerUndefinedHost = false }, settings("keep-alive-requests: 1000000"), backend("web", at.Addr()), rule("web", "a.test", "/", "web", "whitelist-source-range: 192.0.2.1"))
	const each, rounds = 25_000, 4
	// What a client can ask for in earnest: each method with each kind of answer.
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "QWERTY"}
	for _, m := range methods {
		for _, host := range []string{"a.test", "b.test"} {
			p.ask(t, m+" / HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	}
	before, heap := p.series(t), inUse()
	var wg sync.WaitGroup
	for round := range rounds {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(12, uint64(round)))
			if err := p.pour(each, func(b *bytes.Buffer) {
				method := methods[r.IntN(len(methods))]
				if r.IntN(3) == 0 {
					method = strings.ToUpper(fmt.Sprintf("X-%c%c%c", 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26)))
				}
				host := "a.test"
				if r.IntN(2) == 0 {
					host = fmt.Sprintf("h%d.test", r.IntN(1<<40))
				}
				fmt.Fprintf(b, "%s /%x?%d HTTP/1.1\r\nHost: %s\r\nUser-Agent: %x\r\nX-Request-ID: %x\r\nContent-Length: 0\r\n\r\n", method, r.IntN(1<<40), r.IntN(1<<40), host, r.IntN(1<<40), r.IntN(1<<40))
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.app.front.engine.Counts().Requests; n < rounds*each {
		t.Fatalf("%d requests", n)
	}
	if after := p.series(t); after > before+20 {
		t.Errorf("%d random requests made %d series out of %d", rounds*each, after, before)
	}
	if grown := int64(inUse()) - int64(heap); grown > maxHeap {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if n := len(p.app.Diagnostics()); n > 10 {
		t.Errorf("%d findings", n)
	}
}

// pour sends n requests on one connection, many at a time, and reads as many answers without bodies of their own.
func (p *program) pour(n int, request func(*bytes.Buffer)) error {
	c, err := net.Dial("tcp", p.http)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReaderSize(c, 64<<10)
	var b bytes.Buffer
	for sent := 0; sent < n; {
		b.Reset()
		var asked []string
		for ; len(asked) < 100 && sent < n; sent++ {
			start := b.Len()
			request(&b)
			method, _, _ := strings.Cut(string(b.Bytes()[start:]), " ")
			asked = append(asked, method)
		}
		if _, err := c.Write(b.Bytes()); err != nil {
			return err
		}
		for _, method := range asked {
			if err := skipAnswer(in, method == "HEAD"); err != nil {
				return err
			}
		}
	}
	return nil
}

// skipAnswer reads one answer with a Content-Length.
func skipAnswer(in *bufio.Reader, head bool) error {
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			fmt.Sscan(string(v), &length)
		}
	}
	if head {
		return nil
	}
	_, err := in.Discard(length)
	return err
}

// logLine is what the default format promises (reference/operations.md 11).
var logLine = regexp.MustCompile(`^(?P<addr>[0-9a-f.:]+) - (?P<user>.*?) \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(?P<request>(?:[^"\\]|\\x[0-9A-F]{2})*)" \d{3} \d+ "(?P<referer>(?:[^"\\]|\\x[0-9A-F]{2})*)" "(?P<agent>(?:[^"\\]|\\x[0-9A-F]{2})*)" \d+ \d+\.\d{3} \[[^\]]*\] \[[^\]]*\] (?:-|[0-9.:]+) (?:-|\d+) (?:-|\d+\.\d{3}) (?:-|\d+) (?:-|[\x20-\x7e]+)$`)

// odd are values that have broken out of somebody's log.
var odd = []string{
	`"`, `\`, `\"`, `\x22`, `"} {"a":"b`, "'", "\t", "é", "\xff\xfe", "\xc3", "\xe2\x80\xa8", "\xed\xa0\x80", "\x80\n"[:1], "%0d%0a", "%00", "{{.}}", "${x}", "$request", "- - [01/Jan/2020:00:00:00 +0000] \"GET /", strings.Repeat("x", 5000), strings.Repeat(`"`, 2000), `</script>`, "\u2028", "a b  c", "]", "[",
}

func TestS13_4_LogLinesKeepTheirForm(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	format := `{"addr":"$remote_addr","user":"$remote_user","request":"$request","uri":"$uri","args":"$args","referer":"$http_referer","agent":"$http_user_agent","host":"$host","cookie":"$http_cookie","x":"$http_x","status":$status,"id":"$req_id","upstream":"$upstream_addr","missing":"$http_missing"}`
	for name, setup := range map[string][]string{
		"default": nil, "json": {"log-format-escape-json: true", "log-format-upstream: " + format}, "none": {"log-format-escape-none: true", "log-format-upstream: <$request|$remote_user|$http_x|$http_user_agent|$uri>"},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, backend("web", at.Addr()), settings(append(setup, "large-client-header-buffers: 4 16k")...), rule("web", "a.test", "/", "web"))
			asked := 0
			for _, v := range odd {
				for _, raw := range []string{
					get("a.test", "/", "User-Agent: "+v), get("a.test", "/", "Referer: "+v), get("a.test", "/", "Cookie: "+v, "X: "+v), get("a.test", "/", basic(v, "x")), get("a.test", "/", basic("a\r\nb\x00"+v, "x")), get("a.test", "/", "X-Request-ID: "+v),
					get("a.test", "/"+v), get("a.test", "/?"+v), get("a.test", "/"+url.PathEscape(v)+"%0a%0d%22"), "GET / HTTP/1.1\r\nHost: " + v + "\r\n\r\n", v + " / HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /" + v + "\r\n\r\n",
				} {
					c := p.dial(t)
					c.send(raw)
					// compat: what the default backend answers is not logged.
					if r, err := c.next("GET"); err == nil && r.StatusCode != 404 {
						asked++
					}
					c.Close()
				}
			}
			if err := p.end(); err != nil { // which writes the rest
				t.Fatal(err)
			}
			text := p.access.String()
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if len(lines) != asked {
				t.Errorf("%d lines for %d requests", len(lines), asked)
			}
			for _, l := range lines {
				switch name {
				case "default":
					if !logLine.MatchString(l) {
						t.Errorf("not of the default form: %.300q", l)
					}
				case "json":
					var v map[string]any
					if err := json.Unmarshal([]byte(l), &v); err != nil || len(v) != 14 {
						t.Errorf("%v: %.300q", err, l)
					}
					if !utf8.ValidString(l) {
						t.Errorf("not UTF-8: %.300q", l)
					}
				default:
					if !strings.HasPrefix(l, "<") || !strings.HasSuffix(l, ">") || strings.Contains(l, "\r") {
						t.Errorf("not one line: %.300q", l)
					}
				}
			}
		})
	}
}
