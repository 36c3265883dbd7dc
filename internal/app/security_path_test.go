package app

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// htpasswd has the user "u" with the password "p".
const htpasswd = "u:{SHA}UWuXg/ylF+7L0dBk2i0WUxCxl1k=\n"

// guarded is a host with /public open and everything else behind a password.
func guarded(t *testing.T) (p *program, open, shut *wire) {
	t.Helper()
	open, shut = listenWire(t, echoes("open")), listenWire(t, echoes("shut"))
	p = run(t, backend("open", open.Addr()), backend("shut", shut.Addr()),
		secret("users", "auth", htpasswd), certificate(t, "tls", "a.test"),
		served(rule("public", "a.test", "/public", "open", "ssl-redirect: false"), "tls", "a.test"),
		rule("all", "a.test", "/", "shut", "ssl-redirect: false", "auth-type: basic", "auth-secret: users"))
	return p, open, shut
}

// over asks for a target by HTTP/1.1 and by HTTP/2 and returns both statuses.
func (p *program) over(t *testing.T, host, target string) (h1, h2 int) {
	t.Helper()
	h1 = p.ask(t, get(host, target, "Connection: close")).StatusCode
	c := p.frames(t, host)
	defer c.Close()
	c.request(1, true, ":method", "GET", ":scheme", "https", ":authority", host, ":path", target)
	h2, _ = c.answer(1)
	return h1, h2
}

func TestS4_1_ProtectedPathsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	p, _, shut := guarded(t)
	if r := p.ask(t, get("a.test", "/admin", basic("u", "p"))); r.StatusCode != 200 || r.body != "shut GET /admin" {
		t.Fatalf("with the password: %d %q", r.StatusCode, r.body)
	}
	if a, b := p.over(t, "a.test", "/public/x"); a != 200 || b != 200 {
		t.Fatalf("the open route answers %d, %d", a, b)
	}
	shut.forget()
	for _, target := range []string{
		"/admin", "/public/../admin", "/public/%2e%2e/admin", "/public/%2E./admin", "/public//../admin", "/public/.//../admin", "//admin", "/./admin",
		"/public/x/../../admin", "/public/./../admin", "/%61dmin", "/publicadmin", "/public../admin", "/publi%63/../admin", "/PUBLIC/x", "/public/..", "/public/../",
		"/admin/../admin/.", "/public/../public/../admin", "/admin?/public", "/admin?x=/../public",
	} {
		if a, b := p.over(t, "a.test", target); a != 401 || b != 401 {
			t.Errorf("%s: %d over HTTP/1.1, %d over HTTP/2, want 401", target, a, b)
		}
	}
	if got := shut.messages(t); len(got) != 0 {
		t.Errorf("the protected endpoint got %d requests", len(got))
	}
}

func TestS4_2_HiddenStepsUpNeverPass(t *testing.T) {
	t.Parallel()
	p, open, shut := guarded(t)
	for _, target := range []string{
		"/public%2f../admin", "/public/..%2fadmin", "/public%2f..%2fadmin", "/public/%2e%2e%2fadmin", "/public%5c../admin", "/public/..%5cadmin", `/public\..\admin`, `/public/..\admin`,
		"/public/..;/admin", "/public/..;x=1/admin", "/public/.;/../admin", "/public/%2e%2e;/admin", "/public/%2e%2e%3b/admin", "/public;/../admin", "/public/;/../../admin",
		"/%c0%ae%c0%ae/admin", "/public/%c0%ae%c0%ae/admin", "/public/%e0%80%ae%e0%80%ae/admin", "/public%00/../admin", "/public/%00", "/public/../admin%00",
		"/public/%", "/public/%2", "/public/%zz", "/public/%2e%2e%2f%2e%2e%2fadmin", "/..", "/../admin", "/%2e%2e/admin",
	} {
		a, b := p.over(t, "a.test", target)
		for i, status := range []int{a, b} {
			if status != 400 && status != 401 && !(i == 1 && status == 0) {
				t.Errorf("%s: %d over HTTP/1.1, %d over HTTP/2, want 400, 401 or a reset", target, a, b)
				break
			}
		}
	}
	if got := append(open.messages(t), shut.messages(t)...); len(got) != 0 {
		t.Errorf("endpoints got %d requests, the first for %s", len(got), got[0].RequestURI)
	}
}

// readings are the paths an endpoint may take a request target for: as it is specified, with
// backslashes for slashes, and without path parameters.
func readings(target string) []string {
	raw, _, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return []string{"undecodable " + raw}
	}
	all := []string{path.Clean(decoded), path.Clean(strings.ReplaceAll(decoded, `\`, "/"))}
	bare := func(text string) string {
		parts := strings.Split(text, "/")
		for i, s := range parts {
			parts[i], _, _ = strings.Cut(s, ";")
		}
		return strings.Join(parts, "/")
	}
	all = append(all, path.Clean(bare(decoded)), path.Clean(bare(strings.ReplaceAll(decoded, `\`, "/"))))
	if late, err := url.PathUnescape(bare(raw)); err == nil {
		all = append(all, path.Clean(late))
	}
	return all
}

func TestS4_2_NoReadingOfWhatIsForwardedLeavesTheRoute(t *testing.T) {
	t.Parallel()
	p, open, shut := guarded(t)
	bits := []string{"public", "public", "admin", "a", "..", "..", ".", "%2e", "%2E%2e", "/", "/", "/", "/", "//", "%2f", "%5c", `\`, ";", ";x=1", "%3b", "%00", "%25", "%252e", "%c0%ae", "...", "?", "%20", "*", "~"}
	r := rand.New(rand.NewPCG(4, 2))
	passed := 0
	for range 1500 {
		target := "/"
		if r.IntN(2) == 0 {
			target = "/public/"
		}
		for range 1 + r.IntN(7) {
			target += bits[r.IntN(len(bits))]
		}
		open.forget()
		reply := p.ask(t, get("a.test", target, "Connection: close"))
		if reply.StatusCode != 200 {
			continue
		}
		passed++
		for _, m := range open.messages(t) {
			for _, reading := range readings(m.RequestURI) {
				if reading != "/public" && !strings.HasPrefix(reading, "/public/") {
					t.Errorf("%s reached the open endpoint as %s, which may be read as %s", target, m.RequestURI, reading)
				}
			}
		}
	}
	if passed < 100 || len(shut.messages(t)) > 0 {
		t.Errorf("%d of 1500 passed; the protected endpoint got %d", passed, len(shut.messages(t)))
	}
}

func TestS4_3_FragmentsAndRawBytesAreNoPath(t *testing.T) {
	t.Parallel()
	p, open, shut := guarded(t)
	for _, target := range []string{
		"/public#/../admin", "/public/#/../../admin", "/public#?/../admin", "/public/a b/../../admin", "/public/\t/../../admin", "/public/\x01", "/public/\x7f",
		"/public/../admin#/public", "#/admin", "/public HTTP/1.1\r\nX: y",
	} {
		c := p.dial(t)
		c.send("GET " + target + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
		r, err := c.next("GET")
		if err == nil && r.StatusCode == 200 && !strings.HasSuffix(target, "X: y") {
			t.Errorf("%q: %d", target, r.StatusCode)
		}
	}
	// Bytes from 0x80 are data: forwarded as they are, and no way round the password.
	if r := p.ask(t, get("a.test", "/public/\xe4\xff")); r.StatusCode != 400 && r.body != "open GET /public/\xe4\xff" {
		t.Errorf("bytes from 0x80: %d %q", r.StatusCode, r.body)
	}
	if r := p.ask(t, get("a.test", "/admin\xe4")); r.StatusCode == 200 {
		t.Error("bytes from 0x80 open a protected path")
	}
	for _, m := range append(open.messages(t), shut.messages(t)...) {
		if strings.Contains(m.RequestURI, "#") || strings.Contains(m.RequestURI, "admin") {
			t.Errorf("an endpoint got %s", m.RequestURI)
		}
	}
}

func TestS4_6_OneHostOnly(t *testing.T) {
	t.Parallel()
	p, open, shut := guarded(t)
	for _, raw := range []string{
		"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: \t\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nhost: b.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test/public\r\n\r\n", "GET / HTTP/1.1\r\nHost: x@a.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test#\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\\\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test:80:80\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\x00\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a..test\r\n\r\n", "GET / HTTP/1.0\r\nHost:\r\n\r\n", "GET http://a.test/public HTTP/1.1\r\n\r\n", "GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"GET http:///public HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET http://a.test/public HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
	} {
		c := p.dial(t)
		if r := c.ask(raw); r.StatusCode != 400 {
			t.Errorf("%q: %d, want 400", raw, r.StatusCode)
		}
		if err := c.ended(); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, fields := range [][]string{
		{":authority", "a.test", "host", "b.test"}, {":authority", "a.test", "host", "a.test:81 "}, {":authority", "a b"}, {":authority", "u@a.test"}, {":authority", ""},
		{":authority", "a.test", ":authority", "a.test"}, {":authority", "a.test", "host", "a.test", "host", "a.test"}, {":authority", "a.test/public"}, {":authority", "a.test", ":path", "/x"},
	} {
		c := p.frames(t, "a.test")
		c.request(1, true, append([]string{":method", "GET", ":scheme", "https", ":path", "/public"}, fields...)...)
		if status, _ := c.answer(1); status != 400 && status != 0 {
			t.Errorf("HTTP/2 with %q: %d, want 400 or a reset", fields, status)
		}
	}
	if got := append(open.messages(t), shut.messages(t)...); len(got) != 0 {
		t.Fatalf("endpoints got %d requests, the first for %s", len(got), got[0].RequestURI)
	}
	// In absolute form the target's host wins, for the route and for the endpoint.
	if r := p.ask(t, "GET http://a.test/public/x HTTP/1.1\r\nHost: other.test\r\n\r\n"); r.StatusCode != 200 {
		t.Fatalf("absolute form: %d", r.StatusCode)
	}
	if r := p.ask(t, "GET http://other.test/public/x HTTP/1.1\r\nHost: a.test\r\n\r\n"); r.StatusCode != 404 {
		t.Errorf("absolute form for a host that is not served: %d", r.StatusCode)
	}
	if r := p.ask(t, "GET http://a.test/admin HTTP/1.1\r\nHost: other.test\r\n\r\n"); r.StatusCode != 401 {
		t.Errorf("absolute form for a protected path: %d", r.StatusCode)
	}
	got := open.messages(t)
	if len(got) != 1 || got[0].Host != "a.test" || got[0].RequestURI != "/public/x" || got[0].Header.Get("X-Forwarded-Host") != "a.test" {
		t.Errorf("the endpoint got %d requests, first %s for %s, forwarded host %q", len(got), got[0].RequestURI, got[0].Host, got[0].Header["X-Forwarded-Host"])
	}
}

// framed is an HTTP/2 connection frame by frame.
type framed struct {
	*client
	fr  *http2.Framer
	buf bytes.Buffer
	enc *hpack.Encoder
	dec *hpack.Decoder
}

// frames opens an HTTP/2 connection for host by TLS.
func (p *program) frames(t *testing.T, host string) *framed {
	t.Helper()
	c := &framed{client: p.secure(t, &tls.Config{ServerName: host, NextProtos: []string{"h2"}})}
	c.fr = http2.NewFramer(c.Conn, c.in)
	c.fr.AllowIllegalWrites, c.fr.AllowIllegalReads = true, true
	c.enc, c.dec = hpack.NewEncoder(&c.buf), hpack.NewDecoder(4096, nil)
	c.send(http2.ClientPreface)
	if err := c.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// request sends a head; errors show in what comes back.
func (c *framed) request(id uint32, end bool, fields ...string) error {
	return c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(fields), EndStream: end, EndHeaders: true})
}

func (c *framed) block(fields []string) []byte {
	c.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.buf.Bytes())
}

// answer reads the response of a stream: status 0 for a reset or a connection that ended.
func (c *framed) answer(id uint32) (status int, body string) {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			return 0, body
		}
		h := f.Header()
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := c.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				c.t.Fatal(err)
			}
			if h.StreamID == id && status == 0 && len(fields) > 0 {
				fmt.Sscan(fields[0].Value, &status)
				if status < 200 {
					status = 0
				}
			}
		case *http2.DataFrame:
			if h.StreamID == id {
				body += string(f.Data())
			}
			if n := uint32(len(f.Data())); n > 0 {
				c.fr.WriteWindowUpdate(0, n)
				c.fr.WriteWindowUpdate(h.StreamID, n)
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.fr.WriteSettingsAck()
			}
		case *http2.RSTStreamFrame:
			if h.StreamID == id {
				return 0, body
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return 0, body
			}
		}
		if h.StreamID == id && h.Flags.Has(http2.FlagDataEndStream) {
			return status, body
		}
	}
}

// discard reads what comes, so that nobody waits for this client.
func (c *framed) discard() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c.in)
		done <- err
	}()
	return done
}

// serve plays an endpoint: it answers requests for a path with its fields and the content "ok", others with "good".
func (c *framed) serve(replies map[string][]string) {
	c.fr = http2.NewFramer(c.Conn, c.in)
	c.fr.AllowIllegalWrites = true
	c.enc, c.dec = hpack.NewEncoder(&c.buf), hpack.NewDecoder(4096, nil)
	c.fr.WriteSettings()
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.fr.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			fields, err := c.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return
			}
			for _, h := range fields {
				if h.Name != ":path" {
					continue
				}
				reply, content := replies[h.Value], "ok"
				if reply == nil {
					reply, content = []string{":status", "200"}, "good"
				}
				c.request(f.StreamID, false, reply...)
				c.fr.WriteData(f.StreamID, true, []byte(content))
			}
		}
	}
}
