package responsefields

import (
	"slices"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func response(t *testing.T, cfg Config, fields ...string) *exchange.Exchange {
	t.Helper()
	f, err := cfg.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	t.Cleanup(x.Release)
	x.Conn = &exchange.Conn{Port: 8080}
	x.Req.Scheme, x.Req.Host = "http", "q24.test"
	x.Resp.FromUpstream = true
	for i := 0; i < len(fields); i += 2 {
		x.Resp.Header.Add(fields[i], fields[i+1])
	}
	f.(filter.OnResponse).Response(x)
	return x
}

func TestHiddenFieldsGo(t *testing.T) {
	x := response(t, Config{Hide: []string{"X-Powered-By"}}, "x-powered-by", "PHP", "X-Kept", "k", "X-Powered-By", "again")
	if x.Resp.Header.Len() != 1 || !x.Resp.Header.Has("X-Kept") {
		t.Errorf("got %v", x.Resp.Header)
	}
}

func TestCookiesAreRewritten(t *testing.T) {
	cfg := Config{CookieDomain: Rewrite{"localhost", ".q24.test"}, CookiePath: Rewrite{"/inner", "/outer"}}
	for in, want := range map[string]string{
		"a=1; Domain=localhost; Path=/inner/x":     "a=1; Domain=q24.test; Path=/outer/x",
		"b=2; domain=other.test; path=/":           "b=2; domain=other.test; path=/",
		"c=3":                                      "c=3",
		"d=Path=/inner; path=/inner; Secure":       "d=Path=/inner; path=/outer; Secure",
		"e=1;Domain=.LOCALHOST;HttpOnly":           "e=1;Domain=.q24.test;HttpOnly",
		"f=1; Path = /inner; SameSite=Lax; Domain": "f=1; Path = /outer; SameSite=Lax; Domain",
	} {
		x := response(t, cfg, "Set-Cookie", in, "Set-Cookie", "z=1")
		got := slices.Collect(x.Resp.Header.Values("Set-Cookie"))
		if len(got) != 2 || got[0] != want || got[1] != "z=1" {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	x := response(t, Config{CookiePath: Rewrite{"~^/(in)ner", "/$1"}}, "Set-Cookie", "a=1; Path=/inner/x")
	if got := x.Resp.Header.Get("Set-Cookie"); got != "a=1; Path=/in" {
		t.Errorf("regular expression: %q", got)
	}
}

func TestRedirectsAreRewritten(t *testing.T) {
	for _, c := range []struct {
		cfg      Config
		in, want string
	}{
		{Config{Redirect: Rewrite{"http://in.test/", "https://out.test/a/"}}, "http://in.test/x?y", "https://out.test/a/x?y"},
		{Config{Redirect: Rewrite{"http://in.test/", "https://out.test/"}}, "http://other.test/x", "http://other.test/x"},
		{Config{Redirect: Rewrite{"http://in.test/", "/"}}, "http://in.test/x", "http://q24.test/x"},
		{Config{Redirect: Rewrite{"http://in.test/", "/"}, UsePort: true}, "http://in.test/x", "http://q24.test:8080/x"},
		{Config{Redirect: Rewrite{"http://in.test/", "/"}, Relative: true}, "http://in.test/x", "/x"},
		{Config{Redirect: Rewrite{"http://in.test/", "/"}}, "/rel", "/rel"},
	} {
		x := response(t, c.cfg, "Location", c.in, "Refresh", "3; URL="+c.in)
		if got := x.Resp.Header.Get("Location"); got != c.want {
			t.Errorf("%+v: Location %q became %q, want %q", c.cfg, c.in, got, c.want)
		}
	}
	x := response(t, Config{Redirect: Rewrite{"http://in.test/", "https://out.test/"}}, "Refresh", "3; Url=http://in.test/x")
	if got := x.Resp.Header.Get("Refresh"); got != "3; Url=https://out.test/x" {
		t.Errorf("Refresh %q", got)
	}
}

func TestLintelsOwnResponsesAreLeftAlone(t *testing.T) {
	f, _ := Config{Hide: []string{"Location"}}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	x.Resp.Header.Add("Location", "/x")
	f.(filter.OnResponse).Response(x)
	if !x.Resp.Header.Has("Location") {
		t.Error("the field is gone")
	}
}
