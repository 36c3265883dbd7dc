package access

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func service(url string) *External { return &External{URL: url, Path: "/_external-auth-Lw-Prefix"} }

func TestSubrequestIsWhatNginxSends(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	x := get(inside, "Cookie", "s=1", "Authorization", "Bearer good", "Content-Type", "text/plain")
	x.Req.Method, x.Req.Length = "POST", 5
	if got := run(w.build(t, Config{External: service("http://10.99.0.31:8090/check?x=1")}), x); got != 0 {
		t.Fatalf("status %d", got)
	}
	r := w.asked[0]
	if r.Method != "GET" || r.Target != "/check?x=1" || r.Host != "10.99.0.31" || r.Addr != "10.99.0.31:8090" || r.Body != nil || r.Length != 0 || r.Timeout != time.Minute {
		t.Errorf("%+v", r)
	}
	want := []string{
		"Cookie: s=1", "Authorization: Bearer good", "Content-Type: text/plain", "X-Request-ID: 0123",
		"X-Original-URL: http://a.test/a?b=c", "X-Original-Method: POST", "X-Sent-From: nginx-ingress-controller",
		"X-Real-IP: 10.0.0.1", "X-Forwarded-For: 10.0.0.1", "X-Auth-Request-Redirect: /a?b=c",
	}
	if got := lines(&r.Header); !slices.Equal(got, want) {
		t.Errorf("fields\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func lines(f *exchange.Fields) (out []string) {
	for n, v := range f.All() {
		out = append(out, n+": "+v)
	}
	return out
}

func TestMethodAddsOriginalURIAndScheme(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	e := service("http://auth.test/ok")
	e.Method = "POST"
	run(w.build(t, Config{External: e}), get(inside))
	r := w.asked[0]
	if r.Method != "POST" || r.Header.Get("X-Original-URI") != "/a?b=c" || r.Header.Get("X-Scheme") != "http" {
		t.Errorf("%s %q", r.Method, lines(&r.Header))
	}
}

func TestURLForms(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	for url, want := range map[string][4]string{
		"http://auth.test":                           {"auth.test:80", "auth.test", "/_external-auth-Lw-Prefix", ""},
		"https://auth.test/":                         {"auth.test:443", "auth.test", "/", "auth.test"},
		"HTTP://auth.test:8080/x#y":                  {"auth.test:8080", "auth.test", "/x", ""},
		"http://[::1]:8080/x":                        {"[::1]:8080", "[::1]", "/x", ""},
		"http://auth.test?x=$host":                   {"auth.test:80", "auth.test", "/_external-auth-Lw-Prefix?x=a.test", ""},
		"http://auth.test/ok?u=$request_uri&h=$host": {"auth.test:80", "auth.test", "/ok?u=/a?b=c&h=a.test", ""},
		"https://$host/oauth2/auth":                  {"a.test:443", "a.test", "/oauth2/auth", "a.test"},
		"http://auth.test$request_uri":               {"auth.test:80", "auth.test", "/a?b=c", ""},
		"http://auth.test/$http_x":                   {"auth.test:80", "auth.test", "/%20HTTP/1.1%0D%0Ax:", ""},
	} {
		w.asked = nil
		if got := run(w.build(t, Config{External: service(url)}), get(inside, "X", " HTTP/1.1\r\nx:")); got != 0 {
			t.Errorf("%s: %d", url, got)
			continue
		}
		r := w.asked[0]
		if got := [4]string{r.Addr, r.Host, r.Target, r.SNI}; got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func TestURLThatLeadsNowhereIs500OrRefusedAtBuild(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	for _, host := range []string{"", "a b", "user@evil.test", "evil.test:99999", "a..b", "x\r\ny"} {
		x := get(inside, "X", host)
		if got := run(w.build(t, Config{External: service("http://$http_x/ok")}), x); got != 500 || !x.Resp.Denied {
			t.Errorf("host %q: %d, want 500", host, got)
		}
	}
	if len(w.asked) != 0 {
		t.Errorf("%d requests were sent", len(w.asked))
	}
	for _, url := range []string{"", "auth.test", "ftp://auth.test/", "http:///x", "http://user@auth.test/", "http://auth.test:0/", "http://a.test/$nope", "http://[zz]/"} {
		if _, err := (Config{External: service(url)}).Build(w.env()); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

func TestExternalOutcomes(t *testing.T) {
	w := newWorld()
	a := w.build(t, Config{External: service("http://auth.test/")})
	for status, want := range map[int]int{200: 0, 204: 0, 299: 0, 401: 401, 403: 403, 302: 500, 404: 500, 500: 500, 101: 500, 0: 500} {
		w.answer = respond(status, "WWW-Authenticate", "Bearer", "Location", "http://login.test/")
		x := get(inside)
		if got := run(a, x); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
		if x.Resp.Header.Has("WWW-Authenticate") != (want == 401) || x.Resp.Header.Has("Location") {
			t.Errorf("%d: fields %q", status, lines(&x.Resp.Header))
		}
	}
}

func TestS6_1_EveryFailureOfTheServiceIsADenial(t *testing.T) {
	w := newWorld()
	a := w.build(t, Config{External: service("http://auth.test/")})
	for name, answer := range map[string]func(*filter.FetchRequest) (*filter.FetchResponse, error){
		"refused": func(*filter.FetchRequest) (*filter.FetchResponse, error) { return nil, errRefused },
		"timeout": func(*filter.FetchRequest) (*filter.FetchResponse, error) { return nil, context.DeadlineExceeded },
		"401":     respond(401), "403": respond(403), "500": respond(500), "redirect": respond(302, "Location", "/"),
	} {
		w.answer = answer
		x := get(inside)
		v := a.Request(x)
		if v != exchange.Reply || x.Resp.Status < 400 || !x.Resp.Denied {
			t.Errorf("%s: verdict %v, status %d, denied %v", name, v, x.Resp.Status, x.Resp.Denied)
		}
	}
}

type down struct{ gone chan struct{} }

func (d down) Gone() <-chan struct{}                   { return d.gone }
func (down) Informational(int, *exchange.Fields) error { return nil }

func TestClientThatLeavesEndsTheSubrequest(t *testing.T) {
	w := newWorld()
	env := w.env()
	d := down{make(chan struct{})}
	env.Fetch = func(ctx context.Context, _ *filter.FetchRequest) (*filter.FetchResponse, error) {
		close(d.gone)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f, err := Config{External: service("http://auth.test/")}.Build(env)
	if err != nil {
		t.Fatal(err)
	}
	x := get(inside)
	x.Down = d
	if got := run(f.(*access), x); got != exchange.StatusClientGone {
		t.Errorf("status %d, want 499", got)
	}
}

// upstream runs the auth-fields filter on what the endpoint would get.
func upstream(t *testing.T, w *world, f Fields, x *exchange.Exchange) []string {
	t.Helper()
	b, err := f.Build(w.env())
	if err != nil {
		t.Fatal(err)
	}
	x.Up.Header.CopyFrom(&x.Req.Header)
	b.(filter.OnUpstream).Upstream(x)
	return lines(&x.Up.Header)
}

func TestS6_2_FieldsOfTheServiceReplaceTheClients(t *testing.T) {
	w := newWorld()
	e := service("http://auth.test/")
	e.Fields = []string{"X-User", "X-Groups"}
	a := w.build(t, Config{External: e})
	forged := []string{"X-User", "forged", "x-user", "forged", "X_User", "forged", "x_groups", "forged", "Other", "1"}

	w.answer = respond(200, "x-user", "alice", "X-Groups", "a", "X-Groups", "b", "X-Not-Listed", "1")
	x := get(inside, forged...)
	run(a, x)
	if got, want := upstream(t, w, Fields{Names: e.Fields}, x), []string{"Other: 1", "X-User: alice", "X-Groups: a, b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}

	w.answer = respond(200) // without them
	x = get(inside, forged...)
	run(a, x)
	if got, want := upstream(t, w, Fields{Names: e.Fields}, x), []string{"Other: 1"}; !slices.Equal(got, want) {
		t.Errorf("absent in the answer: %q, want %q", got, want)
	}

	x = get(inside, forged...) // satisfy any: the service was not asked
	if got, want := upstream(t, w, Fields{Names: e.Fields}, x), []string{"Other: 1"}; !slices.Equal(got, want) {
		t.Errorf("service not asked: %q, want %q", got, want)
	}
}

func TestS6_3_ServiceSeesTheSameCredentialsAsTheEndpoint(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	x := get(inside, "Authorization", "a", "Authorization", "b", "Cookie", "c=1", "Cookie", "d=2")
	run(w.build(t, Config{External: service("http://auth.test/")}), x)
	for _, name := range []string{"Authorization", "Cookie"} {
		asked, sent := slices.Collect(w.asked[0].Header.Values(name)), slices.Collect(x.Req.Header.Values(name))
		if !slices.Equal(asked, sent) {
			t.Errorf("%s: the service sees %q, the endpoint %q", name, asked, sent)
		}
	}
}

func TestS5_2_ServiceSeesOnlyOurForwardedFields(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	var fields []string
	for _, n := range []string{
		"X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Prefix",
		"X-Scheme", "X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Request-ID", "X-Code", "Forwarded", "Proxy", "X-Auth-Request-Redirect",
	} {
		fields = append(fields, n, "forged", strings.ReplaceAll(n, "-", "_"), "forged", strings.ToUpper(n), "forged")
	}
	run(w.build(t, Config{External: service("http://auth.test/")}), get(inside, fields...))
	for n, v := range w.asked[0].Header.All() {
		if v == "forged" {
			t.Errorf("the service sees %s", n)
		}
	}
}

func TestChainIsPassedOnWhereAsked(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	e := service("http://auth.test/")
	e.ForwardedFor = "X-Forwarded-For"
	x := get(inside, "X-Forwarded-For", "1.1.1.1, 2.2.2.2")
	run(w.build(t, Config{External: e}), x)
	if got := w.asked[0].Header.Get("X-Forwarded-For"); got != "1.1.1.1, 2.2.2.2, 10.0.0.1" {
		t.Errorf("%q", got)
	}
}

func TestFieldsOfTheOperatorAreSet(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	e := service("http://auth.test/")
	e.Set = []Field{{"X-Extra", "v-$request_method"}, {"Cookie", ""}, {"Host", "inner.test"}, {"X-Split", "$http_x"}}
	x := get(inside, "Cookie", "a=1", "X", "1\r\nEvil: 2")
	run(w.build(t, Config{External: e}), x)
	r := w.asked[0]
	if r.Header.Get("X-Extra") != "v-GET" || r.Header.Has("Cookie") || r.Host != "inner.test" || r.Header.Get("X-Split") != "1" {
		t.Errorf("host %s, fields %q", r.Host, lines(&r.Header))
	}
}

func TestSignInRedirects401Only(t *testing.T) {
	w := newWorld()
	e := service("http://auth.test/")
	e.SignIn = "https://login.test/start?rd=$pass_access_scheme://$http_host$escaped_request_uri"
	a := w.build(t, Config{External: e})
	w.answer = respond(401, "WWW-Authenticate", `Bearer realm="ext"`, "Set-Cookie", "authfail=1; Path=/")
	x := get(inside)
	run(a, x)
	a.Response(x)
	want := []string{"Location: https://login.test/start?rd=http://a.test%2Fa%3Fb%3Dc", `WWW-Authenticate: Bearer realm="ext"`, "Set-Cookie: authfail=1; Path=/"}
	if got := lines(&x.Resp.Header); x.Resp.Status != 302 || !slices.Equal(got, want) {
		t.Errorf("%d %q, want %q", x.Resp.Status, got, want)
	}
	w.answer = respond(403)
	if got := run(a, get(inside)); got != 403 {
		t.Errorf("403 of the service: %d", got)
	}
	// Also a 401 of basic authentication.
	b := w.build(t, Config{Password: &Password{}, External: e})
	if got := run(b, get(inside)); got != 302 {
		t.Errorf("401 of basic: %d, want 302", got)
	}
}

func TestS13_1_SignInStaysOnItsOrigin(t *testing.T) {
	w := newWorld()
	w.answer = respond(401)
	e := service("http://auth.test/")
	e.SignIn = "https://login.test/?rd=$http_host$http_x"
	for _, evil := range []string{"\r\nSet-Cookie: a=b", "\\\\evil", "//evil", " x"} {
		x := get(inside, "X", evil)
		run(w.build(t, Config{External: e}), x)
		got := x.Resp.Header.Get("Location")
		if !strings.HasPrefix(got, "https://login.test/?rd=a.test") || strings.ContainsAny(got, "\r\n \\") {
			t.Errorf("%q leads to %q", evil, got)
		}
	}
}

func TestCookiesOfTheServiceReachTheClient(t *testing.T) {
	w := newWorld()
	w.answer = respond(200, "Set-Cookie", "a=1", "Set-Cookie", "b=2")
	for _, always := range []bool{false, true} {
		e := service("http://auth.test/")
		e.AlwaysSetCookie = always
		a := w.build(t, Config{External: e})
		for status, want := range map[int]bool{200: true, 308: true, 404: always, 500: always} {
			x := get(inside)
			run(a, x)
			x.Resp.Status = status
			x.Resp.Header.Add("Set-Cookie", "app=1")
			a.Response(x)
			got := slices.Collect(x.Resp.Header.Values("Set-Cookie"))
			if wanted := []string{"app=1", "a=1", "b=2"}; want && !slices.Equal(got, wanted) || !want && len(got) != 1 {
				t.Errorf("always %v, %d: %q", always, status, got)
			}
		}
	}
	w.answer = respond(401, "Set-Cookie", "a=1")
	a := w.build(t, Config{External: service("http://auth.test/")})
	x := get(inside)
	run(a, x)
	if a.Response(x); x.Resp.Header.Has("Set-Cookie") {
		t.Error("a 401 without auth-always-set-cookie sets cookies")
	}
	x = get(inside) // nothing was asked
	if a.Response(x); x.Resp.Header.Len() != 0 {
		t.Error("fields out of nowhere")
	}
}

func cached(key string) Config {
	e := service("http://auth.test/")
	e.CacheKey, e.CacheFor = key, []CacheRule{{[]int{200, 202, 401}, 5 * time.Minute}}
	e.Fields = []string{"X-User"}
	return Config{External: e}
}

func TestAnswersAreRemembered(t *testing.T) {
	w := newWorld()
	a := w.build(t, cached("$http_authorization"))
	ask := func(token string) (int, string) {
		x := get(inside, "Authorization", token)
		status := run(a, x)
		if st := slot.Peek(x); st.fields != nil {
			return status, st.fields[0]
		}
		return status, ""
	}
	w.answer = func(r *filter.FetchRequest) (*filter.FetchResponse, error) {
		if r.Header.Get("Authorization") == "bad" {
			return respond(401)(r)
		}
		return respond(200, "X-User", r.Header.Get("Authorization"))(r)
	}
	for _, token := range []string{"one", "two", "one", "bad", "bad", "two"} {
		status, user := ask(token)
		if want := map[bool]int{true: 401}[token == "bad"]; status != want || token != "bad" && user != token {
			t.Errorf("%s: %d, user %q", token, status, user)
		}
	}
	if len(w.asked) != 3 {
		t.Errorf("asked %d times, want 3", len(w.asked))
	}
	w.now = w.now.Add(5 * time.Minute)
	if ask("one"); len(w.asked) != 4 {
		t.Errorf("after the time: asked %d times, want 4", len(w.asked))
	}
}

func TestS6_5_ClientsNeverShareAnAnswer(t *testing.T) {
	w := newWorld()
	w.answer = func(r *filter.FetchRequest) (*filter.FetchResponse, error) {
		if r.Header.Get("Authorization") == "alice" {
			return respond(200, "X-User", "alice")(r)
		}
		return respond(401)(r)
	}
	a := w.build(t, cached("$cookie_session"))
	if got := run(a, get(inside, "Cookie", "session=1", "Authorization", "alice")); got != 0 {
		t.Fatalf("alice: %d", got)
	}
	if got := run(a, get(inside, "Cookie", "session=1")); got != 401 {
		t.Errorf("the same key without her credentials: %d, want 401", got)
	}
	// An empty key is nobody's.
	for range 2 {
		run(a, get(inside))
	}
	if n := len(w.asked); n != 4 {
		t.Errorf("asked %d times, want 4", n)
	}
	// Another route, and another configuration of this one, have their own entries.
	w.asked = nil
	alice := func(a *access) { run(a, get(inside, "Cookie", "session=1", "Authorization", "alice")) }
	if alice(a); len(w.asked) != 0 {
		t.Error("the entry is gone")
	}
	w.route = "default/other"
	if alice(w.build(t, cached("$cookie_session"))); len(w.asked) != 1 {
		t.Error("another route used the entry")
	}
	w.route = newWorld().route
	changed := cached("$cookie_session")
	changed.External.URL = "http://auth.test/v2"
	if alice(w.build(t, changed)); len(w.asked) != 2 {
		t.Error("another configuration used the entry")
	}
}

func TestWhatTheServiceForbidsIsNotRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		fields []string
		want   int // requests the service gets when a client asks twice, a second apart
	}{
		"plain":               {200, nil, 1},
		"unlisted":            {204, nil, 2},
		"error":               {500, nil, 2},
		"cookie":              {200, []string{"Set-Cookie", "a=1"}, 2},
		"no-store":            {200, []string{"Cache-Control", "no-store"}, 2},
		"private":             {200, []string{"Cache-Control", "max-age=60, Private"}, 2},
		"max-age":             {200, []string{"Cache-Control", "max-age=60"}, 1},
		"max-age 1":           {200, []string{"Cache-Control", "max-age=1"}, 2},
		"s-maxage wins":       {200, []string{"Cache-Control", "s-maxage=1, max-age=60"}, 2},
		"accel 0":             {200, []string{"X-Accel-Expires", "0", "Cache-Control", "max-age=60"}, 2},
		"accel wins":          {200, []string{"X-Accel-Expires", "60", "Cache-Control", "no-store"}, 1},
		"accel in the past":   {200, []string{"X-Accel-Expires", "@1"}, 2},
		"expires in the past": {200, []string{"Expires", "Thu, 01 Jan 1970 00:00:01 GMT"}, 2},
		"expires later":       {200, []string{"Expires", "Fri, 01 Jan 2100 00:00:00 GMT"}, 1},
		"expires garbage":     {200, []string{"Expires", "soon"}, 2},
		"vary all":            {200, []string{"Vary", "*"}, 2},
		"vary same":           {200, []string{"Vary", "Accept, Cookie"}, 1},
		"large":               {200, []string{"X-User", strings.Repeat("x", maxEntry)}, 2},
	} {
		w := newWorld()
		w.answer = respond(c.status, c.fields...)
		a := w.build(t, cached("$http_authorization"))
		run(a, get(inside, "Authorization", "x", "Cookie", "c=1"))
		w.now = w.now.Add(time.Second)
		run(a, get(inside, "Authorization", "x", "Cookie", "c=1"))
		if len(w.asked) != c.want {
			t.Errorf("%s: asked %d times, want %d", name, len(w.asked), c.want)
		}
	}
}

func TestAnswersThatVaryAreNotGivenToOthers(t *testing.T) {
	w := newWorld()
	w.answer = respond(200, "Vary", "Cookie")
	a := w.build(t, cached("$http_authorization"))
	run(a, get(inside, "Authorization", "x", "Cookie", "c=1"))
	run(a, get(inside, "Authorization", "x", "Cookie", "c=2"))
	if len(w.asked) != 2 {
		t.Errorf("asked %d times, want 2", len(w.asked))
	}
}

func TestRememberedAnswersAreBounded(t *testing.T) {
	c := newCache()
	x := get(inside)
	r := &filter.FetchResponse{Status: 200}
	now := time.Unix(1_700_000_000, 0)
	for i := range cacheShards * shardEntries / 4 {
		key := cacheKey{0, byte(i), byte(i >> 8), byte(i >> 16)} // all in one shard
		c.put(key, x, &answer{fields: []string{strings.Repeat("x", 1000)}}, r, []CacheRule{{nil, time.Minute}}, now)
	}
	s := &c.shard[0]
	if len(s.index) > shardEntries || s.bytes > shardBytes || len(s.index) != s.order.Len() {
		t.Errorf("%d entries, %d bytes, %d in order", len(s.index), s.bytes, s.order.Len())
	}
}

func TestOnlyHarmlessMethodsAreRemembered(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	c := cached("$http_authorization")
	c.External.Method = "POST"
	a := w.build(t, c)
	for range 2 {
		run(a, get(inside, "Authorization", "x"))
	}
	if len(w.asked) != 2 {
		t.Errorf("asked %d times, want 2", len(w.asked))
	}
}
