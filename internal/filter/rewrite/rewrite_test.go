package rewrite

import (
	"regexp"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// run rewrites one request whose normalised path matched pattern.
func run(t *testing.T, cfg Config, pattern, target, path string) (*exchange.Exchange, exchange.Verdict) {
	t.Helper()
	f, err := cfg.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	x.Req.Target, x.Req.Path = target, path
	if _, q, ok := strings.Cut(target, "?"); ok {
		x.Req.Query, x.Req.HasQuery = q, true
	}
	x.Captures = append(x.Captures[:0], regexp.MustCompile("(?i)^"+pattern).FindStringSubmatch(path)...)
	v := f.(filter.OnRequest).Request(x)
	if v == exchange.Continue {
		x.Up.Target = target
		f.(filter.OnUpstream).Upstream(x)
	}
	return x, v
}

func TestTargetReplacesTheWholePath(t *testing.T) {
	for _, c := range []struct{ to, pattern, target, path, want string }{
		{"/", "/foo", "/foo/bar", "/foo/bar", "/"},
		{"/", "/users", "/users/7?x=1", "/users/7", "/?x=1"},
		{"/$2", "/foo(/|$)(.*)", "/foo/bar", "/foo/bar", "/bar"},
		{"/$2", "/foo(/|$)(.*)", "/foo", "/foo", "/"},
		{"/$2/$1", "/([a-z]+)/([0-9]+)", "/abc/123/more", "/abc/123/more", "/123/abc"},
		{"/$9", "/x", "/x", "/x", "/"},
		{"foo", "/x", "/x", "/x", "/foo"},
		{"/$1", "/rw/(.*)", "/rw/a%2Fb", "/rw/a/b", "/a/b"},
		{"/$1", "/rw/(.*)", "/rw/a%20b", "/rw/a b", "/a%20b"},
		{"/$1", "/rw/(.*)", "/rw/a%3Fb%25", "/rw/a?b%", "/a%3Fb%25"},
		{"/$1", "/rw/(.*)", "/rw/a|b", "/rw/a|b", "/a%7Cb"},
		{"/$1", "/rw/(.*)", "/rw/%61|b", "/rw/a|b", "/a%7Cb"},
		{"/$1", "/rw/(.*)", "/rw/%C3%A9", "/rw/é", "/%C3%A9"},
		{"/$1", "/rw/(.*)", "/rw/\"é\"^", "/rw/\"é\"^", "/%22%C3%A9%22%5E"},
		{"/$1", "/rw/(.*)", "/rw/x?", "/rw/x", "/x"},
	} {
		x, v := run(t, Config{To: c.to}, c.pattern, c.target, c.path)
		if v != exchange.Continue || x.Up.Target != c.want {
			t.Errorf("%s with %s on %s: verdict %v, target %q, want %q", c.to, c.pattern, c.target, v, x.Up.Target, c.want)
		}
		x.Release()
	}
}

func TestRedirectIsEscapedWhereTheClientEscaped(t *testing.T) {
	for _, c := range []struct{ target, path, want string }{
		{"/go/a|b", "/go/a|b", "https://other.test/a|b"},
		{"/go/%61|b", "/go/a|b", "https://other.test/a%7Cb"},
	} {
		x, _ := run(t, Config{To: "https://other.test/$1"}, "/go/(.*)", c.target, c.path)
		if got := x.Resp.Header.Get("Location"); got != c.want {
			t.Errorf("%s: Location %q, want %q", c.target, got, c.want)
		}
		x.Release()
	}
}

func TestAbsoluteTargetRedirects(t *testing.T) {
	x, v := run(t, Config{To: "https://other.test/$1"}, "/go/(.*)", "/go/abc?x=1", "/go/abc")
	defer x.Release()
	if v != exchange.Reply || x.Resp.Status != 302 || x.Resp.Header.Get("Location") != "https://other.test/abc?x=1" {
		t.Errorf("verdict %v, status %d, Location %q", v, x.Resp.Status, x.Resp.Header.Get("Location"))
	}
}

func TestPrefixIsSentWithARewriteOnly(t *testing.T) {
	x, _ := run(t, Config{To: "/$2", Prefix: "/$1"}, "/(shop)/(.*)", "/shop/x", "/shop/x")
	defer x.Release()
	if got := x.Up.Header.Get("X-Forwarded-Prefix"); got != "/shop" {
		t.Errorf("X-Forwarded-Prefix %q", got)
	}
}

func TestS4_4_RewrittenPathStaysBelowItsTarget(t *testing.T) {
	for _, c := range []struct{ to, pattern, target, path string }{
		{"/api/.$1", "/x(.*)", "/x.", "/x."},
		{"/api/$1$2", `/x/(\.?)(\.?)`, "/x/..", "/x/.."},
		{"/api/$1", "/x/(.*)", "/x/..;/admin", "/x/..;/admin"},
	} {
		x, v := run(t, Config{To: c.to}, c.pattern, c.target, c.path)
		if v != exchange.Reply || x.Resp.Status != 400 {
			t.Errorf("%s on %s: verdict %v, status %d, target %q", c.to, c.target, v, x.Resp.Status, x.Up.Target)
		}
		x.Release()
	}
	x, v := run(t, Config{To: "/$1"}, "/a(.*)", "/a"+strings.Repeat("b", maxTarget+1), "/a"+strings.Repeat("b", maxTarget+1))
	if v != exchange.Reply || x.Resp.Status != 414 {
		t.Errorf("too long: verdict %v, status %d", v, x.Resp.Status)
	}
	x.Release()
}

func FuzzS4_4_NoDotSegmentLeavesTheRewrite(f *testing.F) {
	f.Add("/x/a/../b")
	f.Add("/x/..%2f..")
	f.Add("/x/.;a/..")
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/x/") {
			return
		}
		x, v := run(t, Config{To: "/api/$1"}, "/x/(.*)", "/x", path)
		defer x.Release()
		if v != exchange.Continue {
			return
		}
		for _, seg := range strings.Split(x.Up.Target, "/") {
			seg, _, _ = strings.Cut(seg, ";")
			if seg == "." || seg == ".." {
				t.Errorf("%q became %q", path, x.Up.Target)
			}
		}
		for i := 0; i < len(x.Up.Target); i++ {
			if x.Up.Target[i] <= ' ' || x.Up.Target[i] == 0x7f {
				t.Errorf("%q became %q", path, x.Up.Target)
			}
		}
	})
}

func TestRewriteAllocatesTheTargetOnly(t *testing.T) {
	f, err := Config{To: "/$2"}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	defer x.Release()
	x.Req.Target, x.Req.Path, x.Req.Query = "/foo/bar%20x?y=1", "/foo/bar x", "y=1"
	x.Captures = append(x.Captures[:0], "/foo/bar x", "/", "bar x")
	if n := testing.AllocsPerRun(100, func() {
		f.(filter.OnRequest).Request(x)
		f.(filter.OnUpstream).Upstream(x)
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if x.Up.Target != "/bar%20x?y=1" {
		t.Errorf("target %q", x.Up.Target)
	}
}
