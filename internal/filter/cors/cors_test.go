package cors

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

const methods, headers = "GET, PUT", "X-A, X-B"

func ask(t *testing.T, cfg Config, method, origin string) (*exchange.Exchange, exchange.Verdict) {
	t.Helper()
	cfg.Methods, cfg.Headers, cfg.MaxAge = methods, headers, "600"
	f, err := cfg.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	t.Cleanup(x.Release)
	x.Req.Method = method
	if origin != "" {
		x.Req.Header.Add("Origin", origin)
	}
	v := f.(filter.OnRequest).Request(x)
	if v == exchange.Continue {
		x.Resp.Header.Add("Access-Control-Allow-Origin", "endpoint")
		x.Resp.Header.Add("Access-Control-Allow-Methods", "endpoint")
	}
	f.(filter.OnResponse).Response(x)
	return x, v
}

func TestOriginsMatchWholeAndWithoutCase(t *testing.T) {
	list := []string{"https://a.test", "http://*.dev.test:3000", "null"}
	for origin, match := range map[string]bool{
		"https://a.test": true, "HTTPS://A.test": true, "http://a.test": false, "https://a.test:443": false, "xhttps://a.test": false,
		"https://a.test.evil": false, "http://x.dev.test:3000": true, "http://x-1.dev.test:3000": true, "http://x.y.dev.test:3000": false,
		"http://.dev.test:3000": false, "http://dev.test:3000": false, "http://x.dev.test": false, "http://x_y.dev.test:3000": false, "null": true, "": false,
	} {
		x, _ := ask(t, Config{Origins: list}, "GET", origin)
		want := "endpoint"
		if match {
			want = origin
		}
		if got := x.Resp.Header.Get(allowOrigin); got != want {
			t.Errorf("Origin %q: %s %q, want %q", origin, allowOrigin, got, want)
		}
	}
}

func TestStarMatchesRequestsWithoutOrigin(t *testing.T) {
	x, v := ask(t, Config{Any: true, Credentials: true}, "GET", "")
	if v != exchange.Continue || x.Resp.Header.Get(allowOrigin) != "*" || x.Resp.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("verdict %v, %v", v, x.Resp.Header)
	}
	x, v = ask(t, Config{Any: true}, "OPTIONS", "")
	if v != exchange.Reply || x.Resp.Status != 204 || x.Resp.Header.Has("Access-Control-Allow-Credentials") {
		t.Errorf("verdict %v, status %d, %v", v, x.Resp.Status, x.Resp.Header)
	}
}

func TestPreflightIsAnsweredForListedOriginsOnly(t *testing.T) {
	cfg := Config{Origins: []string{"https://a.test"}, Expose: "X-E, X-F"}
	x, v := ask(t, cfg, "OPTIONS", "https://a.test")
	if v != exchange.Reply || x.Resp.Status != 204 {
		t.Errorf("verdict %v, status %d", v, x.Resp.Status)
	}
	for name, want := range map[string]string{
		allowOrigin: "https://a.test", "Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": headers,
		"Access-Control-Expose-Headers": "X-E, X-F", "Access-Control-Max-Age": "600",
	} {
		if got := x.Resp.Header.Get(name); got != want || x.Resp.Header.Count(name) != 1 {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, v := ask(t, cfg, "OPTIONS", "https://b.test"); v != exchange.Continue {
		t.Errorf("verdict %v", v)
	}
}

// A denied route, a slash redirect and 413 come before the filter ran, and carry nothing.
func TestResponseWithoutRequestSetsNothing(t *testing.T) {
	f, _ := Config{Any: true}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	f.(filter.OnResponse).Response(x)
	if x.Resp.Header.Len() != 0 {
		t.Errorf("got %v", x.Resp.Header)
	}
}

func TestNoOriginsMeansNoFilter(t *testing.T) {
	if f, err := (Config{}).Build(nil); f != nil || err != nil {
		t.Errorf("got %v, %v", f, err)
	}
}
