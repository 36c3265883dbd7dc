package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

var pages = config.ErrorPages{Codes: []int{401, 403, 404, 413, 500, 503}, Pool: otherPool, Intercept: true,
	Namespace: "n", Ingress: "i", Service: "main", ServicePort: "80"}

const pageAddr = "10.0.9.1:80"

// pagerLab answers with status from the main pool and pageStatus from the error backend.
func pagerLab(t *testing.T, status, pageStatus int) *lab {
	l := newLab(t, Deps{})
	l.fill(mainPool, mainAddr)
	l.fill(otherPool, pageAddr)
	l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
		if err := l.readBody(x); err != nil {
			return err
		}
		x.Resp.Status = status
		if tt.Endpoint.Addr.String() == pageAddr {
			x.Resp.Status = pageStatus
		}
		x.Resp.Body = body("from " + tt.Endpoint.Addr.String())
		return nil
	}
	return l
}

// replaced does what the data plane does with a response.
func replaced(l *lab, f *Forwarder, e *ErrorPager, x *exchange.Exchange, reply int) bool {
	l.t.Helper()
	if reply == 0 {
		forward(f, x)
	} else {
		x.Reply(reply)
	}
	status := x.Resp.Status
	if !e.Wants(x, status, x.Resp.FromUpstream) {
		return false
	}
	if b := x.Resp.Body; b != nil {
		x.Resp.Body = nil
		b.Close()
	}
	Prepare(x)
	e.ErrorPage(x, status)
	return true
}

func (l *lab) pager(cfg config.ErrorPages) *ErrorPager {
	l.t.Helper()
	e, err := l.proxy.ErrorPager("r", &cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return e
}

// The request is the one recorded from ingress-nginx (suite 91).
func TestErrorBackendIsAskedAsRecorded(t *testing.T) {
	l := pagerLab(t, 404, 418)
	f := l.forwarder(config.Forward{Pool: mainPool, ErrorPages: &pages, Retry: usualRetry})
	x := post("hello", -1)
	x.Req.Target, x.Limits.Buffer = "/known/x?b=c", true
	x.Req.Header.Set("Accept", "text/html")
	x.Req.Header.Set("X-Forwarded-For", "1.2.3.4")
	if !replaced(l, f, l.pager(pages), x, 0) {
		t.Fatal("not replaced")
	}
	if got := finish(x); x.Resp.Status != 418 || got != "from "+pageAddr {
		t.Errorf("got %d %q", x.Resp.Status, got)
	}
	if len(x.Try) != 2 || x.Try[0].Anew || !x.Try[1].Anew {
		t.Errorf("attempts are %+v, want two, the second made anew", x.Try)
	}
	u := &x.Up
	got := fmt.Sprintf("%s %s host=%s 10=%v body=%q len=%d", u.Method, u.Target, u.Authority, u.HTTP10, l.bodies[1], u.Length)
	if want := `POST /?b=c host=h.test 10=true body="hello" len=5`; got != want {
		t.Errorf("request is %s\nwant %s", got, want)
	}
	for n, want := range map[string]string{"X-Code": "404", "X-Format": "text/html", "X-Original-URI": "/known/x?b=c", "X-Namespace": "n", "X-Ingress-Name": "i",
		"X-Service-Name": "main", "X-Service-Port": "80", "X-Request-ID": "id1", "X-Forwarded-For": "192.0.2.7"} {
		if v := u.Header.Get(n); v != want || u.Header.Count(n) != 1 {
			t.Errorf("%s is %q, want %q", n, v, want)
		}
	}
	l.idle()
}

func TestOnlyListedStatusesAreReplaced(t *testing.T) {
	e := &ErrorPager{cfg: &config.ErrorPages{Codes: []int{404, 408, 444, 499, 503}}}
	for status, want := range map[int]bool{404: true, 503: true, 200: false, 502: false, 408: false, 499: false, 444: false} {
		if got := e.Wants(nil, status, false); got != want {
			t.Errorf("own %d: %v", status, got)
		}
		if e.Wants(nil, status, true) {
			t.Errorf("endpoint's %d is replaced without interception", status)
		}
	}
}

func TestBodyGoesToTheErrorBackendOnceAtMost(t *testing.T) {
	for _, c := range []struct {
		what   string
		buffer bool
		reply  int // by a filter, before forwarding
		want   string
	}{
		{"buffered and sent to the main pool first", true, 0, "hello"},
		{"streamed to the main pool", false, 0, "-"},
		{"refused by a filter, not yet read", true, 403, "hello"},
		{"refused by a filter, streaming", false, 403, "hello"},
		{"too large", true, 413, "-"},
	} {
		l := pagerLab(t, 404, 200)
		f := l.forwarder(config.Forward{Pool: mainPool, ErrorPages: &pages, Retry: usualRetry})
		x := post("hello", 5)
		x.Limits.Buffer = c.buffer
		replaced(l, f, l.pager(pages), x, c.reply)
		finish(x)
		if got := l.bodies[len(l.bodies)-1]; got != c.want {
			t.Errorf("%s: error backend got %q, want %q", c.what, got, c.want)
		}
		l.idle()
	}
}

func TestS6_1_DeniedAccessKeepsItsStatus(t *testing.T) {
	for _, status := range []int{401, 403, 500, 503} {
		for _, page := range []int{200, 302, 404} {
			l := pagerLab(t, 200, page)
			f := l.forwarder(config.Forward{Pool: mainPool, ErrorPages: &pages})
			e := l.pager(pages)
			x := get()
			x.Reply(status)
			x.Resp.Denied = true
			x.Resp.Header.Add("WWW-Authenticate", `Basic realm="a"`)
			f.Select(x)
			Prepare(x)
			e.ErrorPage(x, status)
			if x.Resp.Status != status {
				t.Errorf("denied with %d, page answers %d: client gets %d", status, page, x.Resp.Status)
			}
			if got := x.Resp.Header.Has("WWW-Authenticate"); got != (status == 401) {
				t.Errorf("%d: challenge kept %v", status, got)
			}
			if got := finish(x); got != "from "+pageAddr {
				t.Errorf("content is %q", got)
			}
			l.idle()
		}
	}
	// Even when the error backend is dead or absent.
	for _, cfg := range []config.ErrorPages{pages, {Codes: pages.Codes}} {
		l := pagerLab(t, 200, 200)
		l.answer = refused
		e := l.pager(cfg)
		x := get()
		x.Reply(403)
		x.Resp.Denied = true
		e.ErrorPage(x, 403)
		if x.Resp.Status != 403 || !x.Resp.Generated {
			t.Errorf("got %d, generated %v", x.Resp.Status, x.Resp.Generated)
		}
	}
}

func TestErrorBackendThatFailsIsNotAskedAboutItself(t *testing.T) {
	l := pagerLab(t, 503, 200)
	f := l.forwarder(config.Forward{Pool: mainPool, ErrorPages: &pages, Retry: usualRetry})
	main := l.answer
	l.answer = func(x *exchange.Exchange, tt *upstream.Target) error {
		if tt.Endpoint.Addr.String() == pageAddr {
			return refused(x, tt)
		}
		return main(x, tt)
	}
	x := get()
	replaced(l, f, l.pager(pages), x, 0)
	if x.Resp.Status != 502 || len(l.asked) != 4 {
		t.Errorf("got %d after %v", x.Resp.Status, l.asked)
	}
	finish(x)
	l.idle()
}

func TestWithoutErrorBackendTheBuiltInOneAnswers404(t *testing.T) {
	l := pagerLab(t, 503, 200)
	l.fill(thirdPool, "10.0.8.1:80")
	for _, c := range []struct {
		pool, def config.PoolID
		want      string
	}{
		{config.PoolID{}, config.PoolID{}, "404 " + mainAddr},
		{config.PoolID{Service: "empty"}, config.PoolID{}, "404 " + mainAddr},
		{config.PoolID{Service: "empty"}, thirdPool, "503 " + mainAddr + " 10.0.8.1:80"},
		{config.PoolID{}, thirdPool, "503 " + mainAddr + " 10.0.8.1:80"},
	} {
		l.asked = nil
		cfg := pages
		cfg.Pool, cfg.Default = c.pool, c.def
		f := l.forwarder(config.Forward{Pool: mainPool, ErrorPages: &cfg, Affinity: sticky()})
		x := get()
		replaced(l, f, l.pager(cfg), x, 0)
		if got := fmt.Sprint(x.Resp.Status, " ", strings.Join(l.asked, " ")); got != c.want {
			t.Errorf("%v, %v: %s, want %s", c.pool, c.def, got, c.want)
		}
		if x.Resp.Header.Count("Set-Cookie") != 1 {
			t.Errorf("%d affinity cookies", x.Resp.Header.Count("Set-Cookie"))
		}
		finish(x)
	}
	l.idle()
}
