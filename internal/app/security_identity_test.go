package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// heard is what endpoints and services got, in order.
type heard struct {
	mu   sync.Mutex
	list []http.Header
}

func (h *heard) add(r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := r.Header.Clone()
	f["Host"] = []string{r.Host}
	for k, v := range r.Trailer {
		f["Trailer "+k] = v
	}
	h.list = append(h.list, f)
}

// take returns what was heard since the last time.
func (h *heard) take() []http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.list
	h.list = nil
	return out
}

// listener answers with status and remembers.
func (h *heard) listener(t *testing.T, status int, fields ...string) net.Addr {
	return answers(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		h.add(r)
		for _, f := range fields {
			k, v, _ := strings.Cut(f, ": ")
			w.Header().Add(k, v)
		}
		w.WriteHeader(status)
	})
}

func TestS5_1_UntrustedPeersDoNotChooseTheirAddress(t *testing.T) {
	t.Parallel()
	var at heard
	p := run(t, settings("use-forwarded-headers: true", "proxy-real-ip-cidr: 127.0.0.2/32,10.0.0.0/8"), backend("web", at.listener(t, 200)),
		rule("open", "a.test", "/", "web"), rule("listed", "b.test", "/", "web", "whitelist-source-range: 192.0.2.0/24"))
	address := func(from string, fields ...string) (open string, listed int) {
		t.Helper()
		c := p.dialFrom(t, from)
		defer c.Close()
		at.take()
		if r := c.ask(get("a.test", "/", fields...)); r.StatusCode != 200 {
			t.Fatalf("from %s with %q: %d", from, fields, r.StatusCode)
		}
		open = at.take()[0].Get("X-Real-IP")
		return open, c.ask(get("b.test", "/", fields...)).StatusCode
	}
	long := strings.Repeat("192.0.2.1, ", 400)
	for _, c := range []struct {
		from, xff, want string
	}{
		{"127.0.0.1", "192.0.2.1", "127.0.0.1"},
		{"127.0.0.3", "192.0.2.1, 10.0.0.1", "127.0.0.3"},
		{"127.0.0.2", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.2", "192.0.2.1, 198.51.100.7", "198.51.100.7"},
		{"127.0.0.2", "192.0.2.1, 198.51.100.7, 10.1.2.3", "198.51.100.7"},
		{"127.0.0.2", "192.0.2.1, garbage, 10.1.2.3", "10.1.2.3"},
		{"127.0.0.2", "192.0.2.1, fe80::1%eth0", "127.0.0.2"},
		{"127.0.0.2", "192.0.2.1, 999.1.1.1", "127.0.0.2"},
		{"127.0.0.2", "192.0.2.1, 192.0.2.9:8080", "192.0.2.9"},
		{"127.0.0.2", "192.0.2.1, [2001:db8::1]:80", "2001:db8::1"},
		{"127.0.0.2", "", "127.0.0.2"},
		{"127.0.0.2", ",,, ,", "127.0.0.2"},
		{"127.0.0.2", long + "203.0.113.5", "203.0.113.5"},
		{"127.0.0.1", long + "203.0.113.5", "127.0.0.1"},
	} {
		real, listed := address(c.from, "X-Forwarded-For: "+c.xff, "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1", "True-Client-IP: 192.0.2.1")
		want := 403
		if strings.HasPrefix(c.want, "192.0.2.") {
			want = 200
		}
		if real != c.want || listed != want {
			t.Errorf("from %s with %.60q: address %s, allow list %d; want %s, %d", c.from, c.xff, real, listed, c.want, want)
		}
	}
	// Scheme, host and port are believed of trusted peers only, too.
	for from, want := range map[string]string{"127.0.0.1": "http a.test", "127.0.0.2": "https evil.test"} {
		address(from, "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test")
		c := p.dialFrom(t, from)
		at.take()
		c.ask(get("a.test", "/", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test"))
		if got := at.take()[0]; got.Get("X-Forwarded-Proto")+" "+got.Get("X-Forwarded-Host") != want {
			t.Errorf("from %s: %s %s, want %s", from, got.Get("X-Forwarded-Proto"), got.Get("X-Forwarded-Host"), want)
		}
	}
}

// controlledNames are fields whose values endpoints and services take from the proxy. compat: an
// X-Request-ID of the client's is kept, for traces.
var controlledNames = []string{
	"X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme",
	"X-Original-URL", "X-Original-Method", "ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert", "Proxy",
}

// serviceNames are those an authentication service must not get from a client besides.
var serviceNames = []string{"X-Forwarded-Prefix", "X-Original-URI", "X-Sent-From", "X-Auth-Request-Redirect", "Forwarded", "X-Code", "X-Namespace", "X-Ingress-Name", "X-Service-Name", "X-Service-Port", "X-Format"}

// pageNames are those a backend of error pages takes from the proxy.
var pageNames = []string{"X-Code", "X-Format", "X-Namespace", "X-Ingress-Name", "X-Service-Name", "X-Service-Port", "X-Original-URI"}

// spellings are forms of a field name that some applications take for the same.
func spellings(name string) []string {
	mixed := []byte(strings.ToLower(name))
	for i := 0; i < len(mixed); i += 2 {
		mixed[i] = strings.ToUpper(string(mixed[i]))[0]
	}
	return []string{
		name, strings.ToLower(name), string(mixed), strings.ReplaceAll(name, "-", "_"), strings.ToUpper(strings.ReplaceAll(name, "-", "_")),
		strings.Replace(name, "-", "_", 1),
	}
}

func TestS5_2_NobodyHearsTheClientsForwardedFields(t *testing.T) {
	t.Parallel()
	for _, setup := range [][]string{{"log-format-escape-json: false"}, {"enable-underscores-in-headers: true", "ignore-invalid-headers: false"}} {
		t.Run(setup[0], func(t *testing.T) {
			var endpoint, auth, pages heard
			p := run(t, settings(setup...), backend("web", endpoint.listener(t, 200)), backend("pages", pages.listener(t, 200)),
				backend("broken", answers(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })),
				rule("web", "a.test", "/", "web", "auth-url: http://"+auth.listener(t, 200).String()+"/check"),
				rule("broken", "a.test", "/broken", "broken", "custom-http-errors: 500", "default-backend: pages"))
			for _, name := range slices.Concat(controlledNames, serviceNames) {
				for _, s := range spellings(name) {
					for _, fields := range [][]string{{s + ": evil"}, {s + ": evil", s + ": evil"}, {"Connection: " + s, s + ": evil"}, {"Connection: close, " + s + ", x-other", s + ": evil", "X-Other: evil"}} {
						p.ask(t, get("a.test", "/", fields...))
						p.ask(t, get("a.test", "/broken", fields...))
						told := func(who string, all []http.Header, names []string) {
							if len(all) != 1 {
								t.Fatalf("%s got %d requests for %q", who, len(all), fields)
							}
							for k, values := range all[0] {
								for _, n := range names {
									if strings.EqualFold(strings.ReplaceAll(k, "_", "-"), n) && slices.Contains(values, "evil") {
										t.Errorf("%q: %s got %s: %q", fields, who, k, values)
									}
								}
							}
						}
						told("the endpoint", endpoint.take(), controlledNames)
						told("the service", auth.take(), slices.Concat(controlledNames, serviceNames))
						told("the error backend", pages.take(), slices.Concat(controlledNames, pageNames))
					}
				}
			}
		})
	}
}

// hostileAnswers are what an authentication service may do instead of letting somebody in.
var hostileAnswers = map[string]string{
	"401":              "HTTP/1.1 401 X\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer\r\n\r\n",
	"403":              "HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\nno",
	"404":              "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
	"500":              "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
	"redirect":         "HTTP/1.1 302 X\r\nLocation: /allowed\r\nContent-Length: 0\r\n\r\n",
	"304":              "HTTP/1.1 304 X\r\n\r\n",
	"status 600":       "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
	"status 099":       "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
	"status 2000":      "HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
	"status 20":        "HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n",
	"switching":        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"only information": "HTTP/1.1 103 X\r\n\r\n",
	"information":      strings.Repeat("HTTP/1.1 100 X\r\n\r\n", 1000),
	"garbage":          "200 OK\r\n\r\n",
	"HTTP/0.9":         "ok\n",
	"HTTP/2":           "HTTP/2.0 200 OK\r\n\r\n",
	"nothing":          "",
	"half a head":      "HTTP/1.1 200 OK\r\nX-User: ad",
	"two lengths":      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 7\r\n\r\n",
	"NUL":              "HTTP/1.1 200 OK\r\nX-User: a\x00b\r\nContent-Length: 0\r\n\r\n",
	"short body":       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
	"broken chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	"huge head":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 600<<10) + "\r\n\r\n",
}

func TestS6_1_NoFailureOfTheServiceLetsAnybodyIn(t *testing.T) {
	t.Parallel()
	shut := listenWire(t, echoes("shut"))
	manifests := []string{
		backend("shut", shut.Addr()), backend("pages", answers(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "a page") })),
	}
	names := map[string]string{}
	for name, answer := range hostileAnswers {
		service := listenWire(t, func(c *taken) {
			if _, err := http.ReadRequest(c.in); err == nil {
				io.WriteString(c, answer)
			}
		})
		id := fmt.Sprint("s", len(names))
		names[name] = id
		url := "auth-url: http://" + service.Addr().String() + "/"
		manifests = append(manifests, rule(id+"plain", "plain."+id+".test", "/", "shut", url),
			rule(id+"pages", "pages."+id+".test", "/", "shut", url, "custom-http-errors: 400,401,403,404,500,502,503,504", "default-backend: pages"),
			rule(id+"signin", "signin."+id+".test", "/", "shut", url, "auth-signin: http://login.test/"))
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	names["refused"] = "refused"
	manifests = append(manifests, rule("r", "plain.refused.test", "/", "shut", "auth-url: http://"+gone.Addr().String()+"/"),
		rule("q", "pages.refused.test", "/", "shut", "auth-url: http://"+gone.Addr().String()+"/", "custom-http-errors: 500,502", "default-backend: pages"))
	p := run(t, manifests...)
	for name, id := range names {
		for _, kind := range []string{"plain", "pages", "signin"} {
			if name == "refused" && kind == "signin" {
				continue
			}
			r := p.ask(t, get(kind+"."+id+".test", "/secret"))
			want := map[string]int{"401": 401, "403": 403}[name]
			if want == 0 {
				want = 500
			}
			if kind == "signin" && want == 401 {
				want = 302
			}
			if r.StatusCode != want || strings.Contains(r.body, "shut") {
				t.Errorf("%s, %s: %d %q, want %d", name, kind, r.StatusCode, r.body, want)
			}
		}
	}
	if got := shut.messages(t); len(got) > 0 {
		t.Errorf("the protected endpoint got %d requests", len(got))
	}
}

func TestS6_2_IdentityFieldsComeFromTheServiceOnly(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{"log-format-escape-json: false", "enable-underscores-in-headers: true"} {
		t.Run(setup, func(t *testing.T) {
			var at heard
			answer := answers(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("known") {
					w.Header().Set("X-User", "ann")
				}
			})
			p := run(t, settings(setup), backend("web", at.listener(t, 200)),
				rule("web", "a.test", "/", "web", "auth-url: http://"+answer.String()+"/?$args", "auth-response-headers: X-User,X-Groups"))
			for _, fields := range [][]string{
				{"X-User: root"}, {"x-user: root"}, {"X_User: root"}, {"X_USER: root"}, {"X-User: root", "X-User: root"}, {"Connection: X-User", "X-User: root"}, {"X-Groups: root"}, {"X_Groups: root"},
				{"Connection: close, X-User"}, {"X-User : root"},
			} {
				for target, want := range map[string]string{"/": "", "/?known": "ann"} {
					at.take()
					p.ask(t, get("a.test", target, fields...))
					for _, got := range at.take() {
						if strings.Join(got["X-User"], ",") != want {
							t.Errorf("%s %q: X-User is %q, want %q", target, fields, got["X-User"], want)
						}
						for k, v := range got {
							if slices.Contains(v, "root") {
								t.Errorf("%s %q: %s: %q reached the endpoint", target, fields, k, v)
							}
						}
					}
				}
			}
			// Neither by a trailer.
			at.take()
			p.ask(t, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-User\r\n\r\n1\r\na\r\n0\r\nX-User: root\r\n\r\n")
			for _, got := range at.take() {
				for k, v := range got {
					if slices.Contains(v, "root") {
						t.Errorf("trailer: %s: %q reached the endpoint", k, v)
					}
				}
			}
		})
	}
}

func TestS6_3_ServiceAndEndpointSeeTheSameCredentials(t *testing.T) {
	t.Parallel()
	var at, auth heard
	p := run(t, backend("web", at.listener(t, 200)), rule("web", "a.test", "/", "web", "auth-url: http://"+auth.listener(t, 200).String()+"/"))
	for _, fields := range [][]string{
		{"Authorization: Bearer one", "Authorization: Bearer two"}, {"Cookie: a=1", "Cookie: a=2"}, {"authorization: Bearer one", "AUTHORIZATION: Bearer two"},
		{"Cookie: a=1; a=2"}, {"X-Api-Key: 1", "X-Api-Key: 2"}, {"Connection: Authorization", "Authorization: Bearer one"}, {"Connection: cookie", "Cookie: a=1"},
	} {
		r := p.ask(t, get("a.test", "/", fields...))
		a, b := auth.take(), at.take()
		if r.StatusCode == 400 && len(a)+len(b) == 0 {
			continue
		}
		if len(a) != 1 || len(b) != 1 {
			t.Fatalf("%q: %d; the service got %d, the endpoint %d", fields, r.StatusCode, len(a), len(b))
		}
		for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
			if !slices.Equal(a[0][name], b[0][name]) {
				t.Errorf("%q: the service saw %s %q, the endpoint %q", fields, name, a[0][name], b[0][name])
			}
		}
	}
}

func TestS6_5_RememberedAnswersStayWithTheirClientAndRoute(t *testing.T) {
	t.Parallel()
	var at heard
	var asked sync.Map
	service := answers(t, func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-Token")
		n, _ := asked.LoadOrStore(user+r.URL.Path, new(int))
		*n.(*int)++
		w.Header().Set("X-User", user+r.URL.Path)
		if user == "" {
			w.WriteHeader(401)
		}
	})
	url := "auth-url: http://" + service.String()
	common := []string{"auth-cache-key: $http_x_token", "auth-cache-duration: 200 401 10m", "auth-response-headers: X-User"}
	p := run(t, backend("web", at.listener(t, 200)), rule("one", "a.test", "/", "web", append(common, url+"/one")...), rule("two", "a.test", "/two", "web", append(common, url+"/two")...))
	var wg sync.WaitGroup
	for _, user := range []string{"ann", "bob", "eve"} {
		wg.Go(func() {
			for range 50 {
				p.ask(t, get("a.test", "/", "X-Token: "+user, "X-Who: "+user+"/one", "Connection: close"))
				p.ask(t, get("a.test", "/two", "X-Token: "+user, "X-Who: "+user+"/two", "Connection: close"))
			}
		})
	}
	wg.Wait()
	all := at.take()
	if len(all) != 300 {
		t.Fatalf("%d requests reached the endpoint, want 300", len(all))
	}
	for _, h := range all {
		if h.Get("X-User") != h.Get("X-Who") {
			t.Fatalf("%s was taken for %s", h.Get("X-Who"), h.Get("X-User"))
		}
	}
	for range 5 {
		if r := p.ask(t, get("a.test", "/")); r.StatusCode != 401 {
			t.Errorf("without a token: %d", r.StatusCode)
		}
	}
	asked.Range(func(k, n any) bool {
		if k.(string)[0] != '/' && *n.(*int) > 10 {
			t.Errorf("the service was asked %d times for %s: nothing is remembered", *n.(*int), k)
		}
		return true
	})
}

func TestS6_6_NoClientSpeaksForItsCertificate(t *testing.T) {
	t.Parallel()
	var at heard
	ca, err := pki.Authority("client-ca")
	if err != nil {
		t.Fatal(err)
	}
	p := run(t, backend("web", at.listener(t, 200)), secret("ca", "ca.crt", string(ca.Cert)), certificate(t, "tls", "m.test", "o.test"),
		served(rule("open", "o.test", "/", "web", "ssl-redirect: false"), "tls", "o.test"),
		served(rule("mutual", "m.test", "/", "web", "ssl-redirect: false", "auth-tls-secret: default/ca", "auth-tls-verify-client: optional", "auth-tls-pass-certificate-to-upstream: true"), "tls", "m.test"))
	for _, host := range []string{"o.test", "m.test"} {
		for _, name := range []string{"ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert"} {
			for _, s := range spellings(name) {
				for _, secure := range []bool{false, true} {
					c := p.dial(t)
					if secure {
						c = p.secure(t, tlsFor(host))
					}
					at.take()
					if r := c.ask(get(host, "/", s+": SUCCESS")); r.StatusCode != 200 {
						t.Fatalf("%s: %d", host, r.StatusCode)
					}
					for k, v := range at.take()[0] {
						if slices.Contains(v, "SUCCESS") {
							t.Errorf("%s, TLS %v: %s: SUCCESS reached the endpoint as %s", host, secure, s, k)
						}
					}
					c.Close()
				}
			}
		}
	}
}
