package app

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestS5_3_HostileProxyHeadersNameNobody(t *testing.T) {
	t.Parallel()
	var at heard
	p := run(t, settings("use-proxy-protocol: true", "proxy-protocol-header-timeout: 1s"), backend("web", at.listener(t, 200)), rule("web", "a.test", "/", "web"))
	v2 := func(command, family byte, body string) string {
		return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
	}
	ipv4 := "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x00\x50"
	mapped := strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x01" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x02\x04\xd2\x00\x50"
	zero := strings.Repeat("\x00", 12)
	for _, c := range []struct{ name, header, want string }{ // want "": closed
		{"v1", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", "192.0.2.1"},
		{"v1 over IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n", "2001:db8::1"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"v1 unknown with more", "PROXY UNKNOWN ffff:f...f ffff 1 2\r\n", "127.0.0.1"},
		{"v2", v2(0x21, 0x11, ipv4), "192.0.2.1"},
		{"v2 with foreign TLVs", v2(0x21, 0x11, ipv4+"\x04\x00\x02ab\xea\x00\x03xyz"), "192.0.2.1"},
		{"v2 local", v2(0x20, 0x00, ""), "127.0.0.1"},
		{"v2 local with addresses", v2(0x20, 0x11, ipv4), "127.0.0.1"},
		{"v2 unspecified", v2(0x21, 0x00, ""), "127.0.0.1"},
		{"v2 mapped", v2(0x21, 0x21, mapped), "192.0.2.1"},
		{"v2 of zeros", v2(0x21, 0x11, zero), "0.0.0.0"},
		{"v2 unix", v2(0x21, 0x31, strings.Repeat("x", 216)), "127.0.0.1"},
		{"none", "", ""},
		{"v1 short", "PROXY TCP4 192.0.2.1\r\n", ""},
		{"v1 without end", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80" + strings.Repeat(" ", 200), ""},
		{"v1 name", "PROXY TCP4 localhost localhost 1 2\r\n", ""},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", ""},
		{"v1 wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", ""},
		{"v1 port", "PROXY TCP4 192.0.2.1 192.0.2.2 99999 80\r\n", ""},
		{"v1 bare LF", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\n", ""},
		{"v1 lower case", "proxy tcp4 192.0.2.1 192.0.2.2 1234 80\r\n", ""},
		{"v1 two spaces", "PROXY  TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", ""},
		{"v2 version", v2(0x31, 0x11, ipv4), ""},
		{"v2 command", v2(0x2f, 0x11, ipv4), ""},
		{"v2 too short", v2(0x21, 0x11, ipv4[:8]), ""},
		{"v2 half", v2(0x21, 0x11, ipv4)[:20], ""},
		{"v2 huge", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + ipv4, ""},
	} {
		at.take()
		conn := p.dial(t)
		began := time.Now()
		conn.send(c.header + get("a.test", "/", "Connection: close", "X-Forwarded-For: 203.0.113.9"))
		r, err := conn.next("GET")
		conn.Close()
		got := at.take()
		switch {
		case c.want == "" && (err == nil && r.StatusCode != 400 || len(got) > 0):
			t.Errorf("%s: %v, %v, %d reached the endpoint; want the end", c.name, r, err, len(got))
		case c.want == "":
		case err != nil || len(got) != 1:
			t.Errorf("%s: %v, %d reached the endpoint", c.name, err, len(got))
		default:
			a, err := netip.ParseAddr(got[0].Get("X-Real-IP"))
			if err != nil || a.String() != c.want || got[0].Get("X-Forwarded-For") != c.want {
				t.Errorf("%s: the endpoint got X-Real-IP %q, X-Forwarded-For %q; want %s", c.name, got[0].Get("X-Real-IP"), got[0].Get("X-Forwarded-For"), c.want)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %s", c.name, took)
		}
	}
}

func TestS8_2_LargeHeadsAreRefused(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	p := run(t, certificate(t, "tls", "a.test"), backend("web", at.Addr()), served(rule("web", "a.test", "/", "web", "ssl-redirect: false"), "tls", "a.test"))
	many := strings.Repeat("X: y\r\n", 10_000)
	for _, c := range []struct {
		name, raw string
		want      int
	}{
		{"a field", get("a.test", "/", "X: "+strings.Repeat("y", 66<<10)), 400},
		{"fields", "GET / HTTP/1.1\r\nHost: a.test\r\n" + many + "\r\n", 400},
		{"a name", get("a.test", "/", strings.Repeat("X", 66<<10)+": y"), 400},
		{"a cookie", get("a.test", "/", "Cookie: a="+strings.Repeat("y", 1<<20)), 400},
		{"a target", get("a.test", "/"+strings.Repeat("x", 64<<10)), 414},
		{"a query", get("a.test", "/?"+strings.Repeat("x", 64<<10)), 414},
		{"a method", strings.Repeat("X", 64<<10) + " / HTTP/1.1\r\nHost: a.test\r\n\r\n", 0},
		{"a host", get(strings.Repeat("x", 64<<10), "/"), 400},
	} {
		conn := p.dial(t)
		go conn.send(c.raw) // lintel may answer before all is sent
		r, err := conn.next("GET")
		if c.want != 0 && (err != nil || r.StatusCode != c.want) || c.want == 0 && err == nil && r.StatusCode != 400 && r.StatusCode != 414 {
			t.Errorf("%s: %+v, %v; want %d", c.name, r, err, c.want)
		}
		conn.Close()
	}
	base := []string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/"}
	for name, fields := range map[string][]string{
		"a field": append(slices.Clone(base), "x", strings.Repeat("y", 66<<10)), "a path": {":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/" + strings.Repeat("x", 64<<10)},
		"fields": append(slices.Clone(base), slices.Repeat([]string{"x", "y"}, 10_000)...), "a cookie": append(slices.Clone(base), "cookie", strings.Repeat("y", 1<<20)),
	} {
		c := p.frames(t, "a.test")
		c.pieces(1, fields)
		if status, _ := c.answer(1); status == 200 {
			t.Errorf("HTTP/2, %s: 200", name)
		}
		c.Close()
	}
	if got := at.messages(t); len(got) != 0 {
		t.Errorf("the endpoint got %d requests", len(got))
	}
}

// pieces sends a head in as many frames as it needs.
func (c *framed) pieces(id uint32, fields []string) {
	block := c.block(fields)
	kind, flags := byte(1), byte(1) // HEADERS, END_STREAM
	var b bytes.Buffer
	for first := true; first || len(block) > 0; first = false {
		n := min(len(block), 16<<10)
		if n == len(block) {
			flags |= 4 // END_HEADERS
		}
		b.Write([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, byte(id)})
		b.Write(block[:n])
		block, kind, flags = block[n:], 9, 0
	}
	go c.Conn.Write(b.Bytes()) // it may not be taken whole
}

func TestS10_3_BadSettingsLeaveTheOthersInForce(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	bad := []string{"proxy-body-size: huge", "keep-alive: x", "client-header-timeout: -", "ssl-protocols: none", "block-cidrs: 300.0.0.0/8", "custom-http-errors: x", "log-format-upstream: $nothing", "proxy-real-ip-cidr: x", "large-client-header-buffers: x", "use-http2: maybe",
		"whitelist-source-range: x", "hsts-max-age: x", "proxy-read-timeout: x", "add-headers: no/such", "proxy-set-headers: no/such", "http-redirect-code: 999", "ssl-ciphers: x", "worker-shutdown-timeout: x", "annotations-risk-level: x", "no-such-key: 1"}
	p := run(t, backend("web", at.Addr()), rule("web", "a.test", "/", "web"), settings("block-user-agents: bad"))
	if r := p.ask(t, get("a.test", "/", "User-Agent: bad")); r.StatusCode != 403 {
		t.Fatalf("blocked agent: %d", r.StatusCode)
	}
	for i, b := range bad {
		agent := fmt.Sprint("bad", i)
		p.replace("name: config,", settings("block-user-agents: "+agent, b))
		p.eventually("the new settings beside "+b, func() bool {
			s := p.ask(t, get("a.test", "/", "User-Agent: "+agent, "Connection: close")).StatusCode
			return s == 403
		})
		p.write("later.yaml", rule("later", fmt.Sprintf("h%d.test", i), "/", "web"))
		p.eventually("a later Ingress beside "+b, func() bool {
			return p.ask(t, get(fmt.Sprintf("h%d.test", i), "/", "Connection: close")).StatusCode != 404
		})
	}
}

func TestS13_1_RedirectsStayOnTheirOrigin(t *testing.T) {
	t.Parallel()
	at := listenWire(t, echoes("web"))
	denies := answers(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })
	p := run(t, certificate(t, "tls", "s.test", "www.w.test", "w.test"), backend("web", at.Addr()),
		served(rule("ssl", "s.test", "/", "web"), "tls", "s.test"), served(rule("www", "w.test", "/", "web", "from-to-www-redirect: true"), "tls", "w.test"),
		rule("root", "root.test", "/", "web", "app-root: /app"), rule("slash", "slash.test", "/dir/", "web"),
		rule("permanent", "permanent.test", "/", "web", "permanent-redirect: https://target.test$request_uri"), rule("temporal", "temporal.test", "/", "web", "temporal-redirect: https://target.test/x"),
		rule("signin", "signin.test", "/", "web", "auth-url: http://"+denies.String()+"/", "auth-signin: https://login.test/start"),
		rule("rewrite", "rewrite.test", "/(.*)", "web", "use-regex: true", "rewrite-target: https://target.test/$1"))
	allowed := []string{"s.test", "w.test", "www.w.test", "root.test", "slash.test", "permanent.test", "temporal.test", "signin.test", "rewrite.test", "target.test", "login.test"}
	paths := []string{"/", "//evil.test", "//evil.test/%2e%2e", "/\\evil.test", "/%5cevil.test", "/%2f%2fevil.test", "/@evil.test", "/.evil.test", "/%0d%0aSet-Cookie:%20evil=1", "/%0aLocation:%20http://evil.test", "/x?y=%0d%0aSet-Cookie:evil", "/:@evil.test", "/%00", "/dir", "/dir?//evil.test", "/%09/evil.test", "/http://evil.test", "/?rd=http://evil.test"}
	for _, host := range append(allowed, "s.test:80", "S.TEST", "s.test.", "www.w.test:8080") {
		for _, path := range paths {
			for _, extra := range []string{"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: javascript", "X-Original-URI: //evil.test"} {
				c := p.dial(t)
				c.send(get(host, path, extra, "Connection: close"))
				r, err := c.next("GET")
				c.Close()
				if err != nil {
					t.Fatalf("%s%s: %v", host, path, err)
				}
				if r.Header.Get("Set-Cookie") != "" || len(r.Header["Location"]) > 1 {
					t.Errorf("%s%s: fields %v", host, path, r.Header)
				}
				location := r.Header.Get("Location")
				if location == "" {
					continue
				}
				u, err := url.Parse(location)
				if err != nil {
					t.Errorf("%s%s: Location %q: %v", host, path, location, err)
					continue
				}
				name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
				if u.Host == "" && (strings.HasPrefix(location, "//") || strings.HasPrefix(location, `/\`) || !strings.HasPrefix(location, "/")) || u.Host != "" && (!slices.Contains(allowed, name) || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
					t.Errorf("%s%s: Location %q leaves its origin", host, path, location)
				}
				if rd := u.Query().Get("rd"); name == "login.test" {
					if u, err := url.Parse(rd); err != nil || u.Hostname() != "signin.test" || u.Scheme != "http" {
						t.Errorf("%s%s with %s: the way back is %q", host, path, extra, rd)
					}
				}
			}
		}
	}
}

func TestS13_2_ConfiguredFieldsCannotFrameMessages(t *testing.T) {
	t.Parallel()
	var at heard
	web := at.listener(t, 200)
	for name, data := range map[string][]string{
		"framing": {"Content-Length: 5", "Transfer-Encoding: chunked", "Connection: x-real-ip", "Host: evil.test", "Upgrade: h2c", "TE: x", "Trailer: x", "Keep-Alive: 1"},
		"split":   {"X-A: b\r\nX-Evil: 1", "X-B: b\nX-Evil: 1", "X-C: \x00", "X D: e", "X-E\r\nX-Evil: 1", "X:F: g", ": h"},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, backend("web", web), rule("web", "a.test", "/", "web"), settings("add-headers: ingress-nginx/out", "proxy-set-headers: ingress-nginx/in"),
				configMap("ingress-nginx", "out", append(data, "X-Sound: out")...), configMap("ingress-nginx", "in", append(data, "X-Sound: in")...))
			at.take()
			c := p.dial(t)
			for range 2 { // the connection stays in step
				r := c.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
				got := at.take()
				if r.StatusCode != 200 || r.Header.Get("X-Sound") != "out" || len(got) != 1 || got[0].Get("X-Sound") != "in" {
					t.Fatalf("%d %v, the endpoint got %v", r.StatusCode, r.Header, got)
				}
				for k, v := range got[0] {
					if k == "X-Evil" || slices.Contains(v, "evil.test") && k != "Host" || k == "Upgrade" || k == "Keep-Alive" || k == "Te" {
						t.Errorf("the endpoint got %s: %q", k, v)
					}
				}
				if got[0].Get("X-Real-IP") != "127.0.0.1" || r.Header.Get("X-Evil") != "" || r.Header.Get("Upgrade") != "" {
					t.Errorf("client %v, endpoint %v", r.Header, got[0])
				}
			}
			if len(p.app.Diagnostics()) == 0 {
				t.Error("nobody is told")
			}
		})
	}
}
