package dataplane

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// probe is a filter that writes down when it ran.
type probe struct {
	Name   string
	Answer int
	Fail   bool
}

var trail []string

func (p probe) FilterName() string { return p.Name }
func (p probe) Build(*filter.Env) (any, error) {
	if p.Fail {
		return nil, fmt.Errorf("%s cannot be built", p.Name)
	}
	return p, nil
}

func (p probe) Request(x *exchange.Exchange) exchange.Verdict {
	trail = append(trail, "> "+p.Name)
	if p.Answer != 0 {
		return x.Reply(p.Answer)
	}
	return exchange.Continue
}
func (p probe) Upstream(*exchange.Exchange) { trail = append(trail, "^ "+p.Name) }
func (p probe) Response(*exchange.Exchange) { trail = append(trail, "< "+p.Name) }

type fakeForward struct {
	empty  bool
	status int
}

func (f *fakeForward) Select(*exchange.Exchange) bool { return !f.empty }
func (f *fakeForward) Forward(x *exchange.Exchange) {
	x.Resp.Status = f.status
	x.Resp.FromUpstream = true
}

type fakePages struct{ codes []int }

func (f *fakePages) Wants(_ *exchange.Exchange, status int, _ bool) bool {
	for _, c := range f.codes {
		if c == status {
			return true
		}
	}
	return false
}

func (f *fakePages) ErrorPage(x *exchange.Exchange, status int) {
	x.Resp.Status = status
	x.Resp.Header.Set("X-Replaced", fmt.Sprint(status))
}

func newPlane(f *fakeForward) *Plane {
	return New(Deps{
		Forwarder:  func(string, *config.Forward, *config.Origin) (Forwarder, error) { return f, nil },
		ErrorPager: func(_ string, e *config.ErrorPages) (ErrorPager, error) { return &fakePages{e.Codes}, nil },
		Prepare:    func(*exchange.Exchange) {},
	})
}

func request(p *Plane, host, path string) (*exchange.Exchange, bool) {
	trail = nil
	x := exchange.Acquire()
	x.Conn = &exchange.Conn{Port: 8080}
	x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Path, x.Req.Target = "GET", "http", host, path, path
	send := exchange.Serve(p, x)
	return x, send
}

func hostWith(routes ...*config.Route) *config.Delta {
	return &config.Delta{Generation: 1, Hosts: map[string]*config.Host{"a.test": {Name: "a.test", Routes: routes}}}
}

func TestFiltersRunInTheirOrderAndBackwardsForResponses(t *testing.T) {
	p := newPlane(&fakeForward{status: 200})
	p.Apply(hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}},
		Filters: []filter.Config{probe{Name: "forwarded"}, probe{Name: "cors"}, probe{Name: "ssl-redirect"}}}))
	x, send := request(p, "a.test", "/")
	want := "> cors,> ssl-redirect,> forwarded,^ cors,^ ssl-redirect,^ forwarded,< forwarded,< ssl-redirect,< cors"
	if got := strings.Join(trail, ","); got != want || !send || x.Resp.Status != 200 {
		t.Errorf("got %s, status %d\nwant %s", got, x.Resp.Status, want)
	}
}

func TestNoEndpointIsSaidBeforeAuthAndAfterRedirects(t *testing.T) {
	p := newPlane(&fakeForward{empty: true})
	p.Apply(hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}},
		Filters: []filter.Config{probe{Name: "access", Answer: 401}, probe{Name: "redirect"}}}))
	x, _ := request(p, "a.test", "/")
	if got := strings.Join(trail, ","); x.Resp.Status != 503 || got != "> redirect,< access,< redirect" {
		t.Errorf("got status %d after %s", x.Resp.Status, got)
	}
	body, err := io.ReadAll(x.Resp.Body)
	if err != nil || !strings.Contains(string(body), "503 Service Temporarily Unavailable") || int64(len(body)) != x.Resp.Length {
		t.Errorf("page %q, length %d, %v", body, x.Resp.Length, err)
	}
}

func TestS10_1_FilterThatCannotBeBuiltClosesItsRouteOnly(t *testing.T) {
	p := newPlane(&fakeForward{status: 200})
	diags := p.Apply(hostWith(
		&config.Route{ID: "bad", Path: "/bad", Action: config.Action{Forward: &config.Forward{}}, Filters: []filter.Config{probe{Name: "access", Fail: true}},
			Origin: config.Origin{Ingress: diag.Ref{Kind: "Ingress", Namespace: "n", Name: "i"}}},
		&config.Route{ID: "good", Path: "/", Action: config.Action{Forward: &config.Forward{}}}))
	if len(diags) != 1 || diags[0].Object.Name != "i" || diags[0].Code != diag.FilterBuild {
		t.Errorf("diagnostics %+v", diags)
	}
	if x, _ := request(p, "a.test", "/bad/x"); x.Resp.Status != 503 {
		t.Errorf("a route without its filter answered %d, want 503", x.Resp.Status)
	}
	if x, _ := request(p, "a.test", "/x"); x.Resp.Status != 200 {
		t.Errorf("the other route answered %d, want 200", x.Resp.Status)
	}
}

func TestErrorBackendReplacesListedStatuses(t *testing.T) {
	f := &fakeForward{status: 404}
	p := newPlane(f)
	p.Apply(hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{ErrorPages: &config.ErrorPages{Codes: []int{404, 401}}}},
		Filters: []filter.Config{probe{Name: "cors"}}}))
	x, _ := request(p, "a.test", "/")
	if x.Resp.Header.Get("X-Replaced") != "404" || strings.Contains(strings.Join(trail, ","), "< cors") {
		t.Errorf("header %q, filters %v", x.Resp.Header.Get("X-Replaced"), trail)
	}
	f.status = 200
	if x, _ := request(p, "a.test", "/"); x.Resp.Header.Has("X-Replaced") {
		t.Error("a status that is not listed was replaced")
	}
}

func TestUnknownHostAndMalformedRequestGetAPage(t *testing.T) {
	p := newPlane(&fakeForward{})
	if x, _ := request(p, "nobody.test", "/"); x.Resp.Status != 404 || x.Resp.Length == 0 {
		t.Errorf("unknown host: %d, %d bytes", x.Resp.Status, x.Resp.Length)
	}
	x := exchange.Acquire()
	x.Conn, x.Malformed = &exchange.Conn{}, 494
	exchange.Serve(p, x)
	body, _ := io.ReadAll(x.Resp.Body)
	if x.Resp.Status != 400 || !x.Resp.Close || !strings.Contains(string(body), "Request Header Or Cookie Too Large") {
		t.Errorf("malformed: %d close=%v %s", x.Resp.Status, x.Resp.Close, body)
	}
}

func TestSlashRedirectKeepsQueryAndDropsPort(t *testing.T) {
	p := newPlane(&fakeForward{})
	p.Apply(hostWith(&config.Route{ID: "r", Match: config.Exact, Path: "/a b", Action: config.Action{Slash: &config.Slash{}}}))
	x := exchange.Acquire()
	x.Conn = &exchange.Conn{Port: 8080}
	x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Path, x.Req.Query, x.Req.HasQuery = "GET", "https", "a.test", "/a b", "x=1", true
	exchange.Serve(p, x)
	if got := x.Resp.Header.Get("Location"); x.Resp.Status != 301 || got != "https://a.test/a%20b/?x=1" {
		t.Errorf("%d %q", x.Resp.Status, got)
	}
}

func TestAliasIsServedByItsHost(t *testing.T) {
	p := newPlane(&fakeForward{status: 200})
	d := hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}}})
	d.Hosts["b.test"] = &config.Host{Name: "b.test", AliasOf: "a.test", HasCert: true}
	p.Apply(d)
	if x, _ := request(p, "b.test", "/"); x.Resp.Status != 200 || !x.HostCert {
		t.Errorf("alias answered %d, HostCert %v", x.Resp.Status, x.HostCert)
	}
	p.Apply(&config.Delta{Generation: 2, Hosts: map[string]*config.Host{"a.test": nil}})
	if x, _ := request(p, "b.test", "/"); x.Resp.Status != 404 {
		t.Errorf("alias of a host that is gone answered %d", x.Resp.Status)
	}
}

func TestKeptStateSurvivesRebuildsAndIsDroppedLater(t *testing.T) {
	now := time.Unix(1000, 0)
	k := newKeeper(func() time.Time { return now })
	made := 0
	mk := func() any { made++; return made }
	k.keep("rate-limit/a", mk)
	if k.keep("rate-limit/a", mk) != 1 {
		t.Fatal("a rebuild lost its state")
	}
	k.release([]string{"rate-limit/a", "rate-limit/a"})
	now = now.Add(59 * time.Second)
	k.sweep()
	if k.keep("rate-limit/a", mk) != 1 {
		t.Error("dropped before a minute")
	}
	k.release([]string{"rate-limit/a"})
	now = now.Add(time.Minute)
	k.sweep()
	if k.keep("rate-limit/a", mk) != 2 {
		t.Error("kept for longer than a minute without users")
	}
}

func TestFilesAnswerConditionalAndRangeRequests(t *testing.T) {
	f := &config.Files{Prefix: "/site", Entries: map[string]config.File{
		"index.html": {Type: "text/html", ETag: `"e1"`, Data: []byte("0123456789")},
	}}
	for _, c := range []struct {
		method, path, header, value string
		status                      int
		body                        string
	}{
		{"GET", "/site", "", "", 200, "0123456789"},
		{"GET", "/site/", "", "", 200, "0123456789"},
		{"GET", "/site/index.html", "Range", "bytes=2-4", 206, "234"},
		{"GET", "/site/index.html", "Range", "bytes=-3", 206, "789"},
		{"GET", "/site/index.html", "Range", "bytes=8-", 206, "89"},
		{"GET", "/site/index.html", "Range", "bytes=10-", 416, ""},
		{"GET", "/site/index.html", "Range", "bytes=5-2", 200, "0123456789"},
		{"GET", "/site/index.html", "Range", "bytes=0-1,3-4", 200, "0123456789"},
		{"GET", "/site/index.html", "If-None-Match", `W/"e1"`, 304, ""},
		{"GET", "/site/other", "", "", 404, ""},
		{"POST", "/site/", "", "", 405, ""},
	} {
		x := exchange.Acquire()
		x.Req.Method, x.Req.Path = c.method, c.path
		if c.header != "" {
			x.Req.Header.Set(c.header, c.value)
		}
		serveFiles(x, f)
		got := ""
		if x.Resp.Body != nil {
			b, _ := io.ReadAll(x.Resp.Body)
			got = string(b)
		}
		if x.Resp.Status != c.status || got != c.body {
			t.Errorf("%s %s %s: %s: %d %q, want %d %q", c.method, c.path, c.header, c.value, x.Resp.Status, got, c.status, c.body)
		}
		x.Release()
	}
}

func TestPlainRouteAllocatesNothing(t *testing.T) {
	p := newPlane(&fakeForward{status: 200})
	p.Apply(hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}}}))
	x := exchange.Acquire()
	conn := &exchange.Conn{}
	n := testing.AllocsPerRun(200, func() {
		x.Conn = conn
		x.Req.Host, x.Req.Path, x.Resp.Status = "a.test", "/x", 0
		exchange.Serve(p, x)
		p.Done(x)
	})
	if n != 0 {
		t.Errorf("%v allocations per exchange, want 0", n)
	}
}

// broken is a filter that fails while it runs.
type broken struct{ Name, At string }

func (b broken) FilterName() string             { return b.Name }
func (b broken) Build(*filter.Env) (any, error) { return b, nil }
func (b broken) Upstream(*exchange.Exchange)    { b.fail("upstream") }
func (b broken) fail(at string) {
	if b.At == at {
		panic("broken invariant")
	}
}

func (b broken) Request(*exchange.Exchange) exchange.Verdict {
	b.fail("request")
	return exchange.Continue
}

func TestS10_2_FilterThatFailsWhileItRunsForwardsNothing(t *testing.T) {
	for _, scope := range []string{"global", "host", "route"} {
		for _, at := range []string{"request", "upstream"} {
			if scope != "route" && at == "upstream" {
				continue // only routes change what endpoints get
			}
			forwarded := &counting{}
			p := New(Deps{
				Forwarder: func(string, *config.Forward, *config.Origin) (Forwarder, error) { return forwarded, nil },
				Prepare:   func(*exchange.Exchange) {},
			})
			d := hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}}})
			f := []filter.Config{broken{"access", at}}
			switch scope {
			case "global":
				d.Global = &config.Global{Filters: []filter.Config{broken{"block", at}}}
			case "host":
				d.Hosts["a.test"].Filters = []filter.Config{broken{"client-cert", at}}
			default:
				d.Hosts["a.test"].Routes[0].Filters = f
			}
			p.Apply(d)
			x := exchange.Acquire()
			x.Conn = &exchange.Conn{}
			x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Path, x.Req.Target = "GET", "http", "a.test", "/", "/"
			sound := func() (ok bool) {
				// Engines answer a panic with 500, and log it.
				defer func() { ok = recover() == nil }()
				exchange.Serve(p, x)
				return
			}()
			if sound || forwarded.n > 0 {
				t.Errorf("%s filter failing in %s: %d requests were forwarded", scope, at, forwarded.n)
			}
			p.Done(x)
		}
	}
}

type counting struct{ n int }

func (c *counting) Select(*exchange.Exchange) bool { return true }
func (c *counting) Forward(x *exchange.Exchange)   { c.n++; x.Resp.Status = 200 }
