package snippet

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func env() *filter.Env {
	return &filter.Env{Route: "r", Now: func() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }}
}

func build[T any](t testing.TB, c filter.Config) T {
	t.Helper()
	f, err := c.Build(env())
	if err != nil {
		t.Fatal(err)
	}
	return f.(T)
}

func request(path, query string) *exchange.Exchange {
	x := exchange.Acquire()
	x.Conn = &exchange.Conn{Port: 80}
	x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Authority = "GET", "http", "a.test", "a.test"
	x.Req.Path, x.Req.Target = path, path
	if query != "" {
		x.Req.Target += "?" + query
		x.Req.Query, x.Req.HasQuery = query, true
	}
	return x
}

func TestHeadersAreSetAndRemoved(t *testing.T) {
	f := build[filter.OnResponse](t, Response{Levels: []Level{{More: []Field{
		{Name: "X-Set", Value: "set-$host"}, {Name: "X-Gone"}, {Name: "X-Twice", Value: "a"}, {Name: "X-Twice", Value: "b"},
		{Name: "X-Only-404", Value: "1", Statuses: []int{404, 500}}, {Name: "X-Only-200", Value: "1", Statuses: []int{200}},
		{Name: "X-HTML", Value: "1", Types: []string{"text/html"}}, {Name: "X-JSON", Value: "1", Types: []string{"application/json"}},
		{Name: "X-Forged", Value: "$http_x_evil"}, {Name: "X-Any-*"}, {Name: "X-Also", Value: "2", Append: true},
	}}}})
	x := request("/", "")
	defer x.Release()
	x.Req.Header.Add("X-Evil", "a\nb")
	x.Resp.Status = 404
	for _, f := range []exchange.Field{{Name: "Content-Type", Value: "Text/HTML; charset=utf-8"}, {Name: "X-Gone", Value: "1"}, {Name: "x-set", Value: "endpoint"},
		{Name: "X-Forged", Value: "old"}, {Name: "x-any-1", Value: "1"}, {Name: "X-Any-2", Value: "1"}, {Name: "X-Also", Value: "1"}} {
		x.Resp.Header.Add(f.Name, f.Value)
	}
	f.Response(x)
	for name, want := range map[string]string{"X-Set": "set-a.test", "X-Gone": "", "X-Twice": "b", "X-Only-404": "1", "X-Only-200": "",
		"X-HTML": "1", "X-JSON": "", "X-Forged": "", "X-Any-1": "", "X-Any-2": "", "X-Also": "1"} {
		if got := x.Resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := x.Resp.Header.Count("X-Also"); n != 2 {
		t.Errorf("%d fields X-Also, want 2", n)
	}
}

func TestAddHeaderKnowsItsStatuses(t *testing.T) {
	f := build[filter.OnResponse](t, Response{Levels: []Level{{Add: []AddField{{Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2", Always: true}, {Name: "X-C", Value: "$arg_none", Always: true}}}}})
	for status, want := range map[int]string{200: "12", 204: "12", 301: "12", 308: "12", 404: "2", 500: "2", 202: "2"} {
		x := request("/", "")
		x.Resp.Status = status
		x.Resp.Header.Add("X-A", "")
		f.Response(x)
		got := ""
		for _, n := range []string{"X-A", "X-B", "X-C"} {
			for v := range x.Resp.Header.Values(n) {
				got += v
			}
		}
		if got != want {
			t.Errorf("status %d: %q, want %q", status, got, want)
		}
		x.Release()
	}
}

func TestAddHeaderOfARouteCancelsTheHosts(t *testing.T) {
	host := build[filter.OnResponse](t, ServerResponse{Levels: []Level{{Add: []AddField{{Name: "X-A", Value: "host"}}, More: []Field{{Name: "X-M", Value: "host"}, {Name: "X-N", Value: "host"}}}}})
	route := build[filter.OnResponse](t, Response{Levels: []Level{{Add: []AddField{{Name: "X-B", Value: "route"}}, More: []Field{{Name: "X-M", Value: "route"}}}}})
	x := request("/", "")
	defer x.Release()
	x.Resp.Status = 200
	route.Response(x)
	host.Response(x)
	if h := &x.Resp.Header; h.Has("X-A") || h.Get("X-B") != "route" || h.Get("X-M") != "route" || h.Get("X-N") != "host" {
		t.Errorf("fields are %v", h)
	}
}

func TestExpires(t *testing.T) {
	for _, c := range []struct {
		e             Expires
		expires, keep string
	}{
		{Expires{Kind: "time", In: time.Hour}, "Wed, 01 Apr 2026 01:00:00 GMT", "max-age=3600"},
		{Expires{Kind: "time", In: -time.Second}, "Tue, 31 Mar 2026 23:59:59 GMT", "no-cache"},
		{Expires{Kind: "epoch"}, "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache"},
		{Expires{Kind: "max"}, "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000"},
	} {
		f := build[filter.OnResponse](t, Response{Levels: []Level{{Expires: &c.e}}})
		x := request("/", "")
		x.Resp.Status = 200
		x.Resp.Header.Add("Cache-Control", "private")
		f.Response(x)
		if e, k := x.Resp.Header.Get("Expires"), x.Resp.Header.Get("Cache-Control"); e != c.expires || k != c.keep {
			t.Errorf("%+v: %s, %s", c.e, e, k)
		}
		x.Release()
	}
}

func TestRewriteKeepsNginxsRules(t *testing.T) {
	for _, c := range []struct {
		pattern, to    string
		flag           Flag
		drop           bool
		path, query    string
		want, wantPath string
		verdict        exchange.Verdict
	}{
		{"^/old/(.*)$", "/new/$1", Break, false, "/old/x", "y=1", "/new/x?y=1", "/new/x", exchange.Continue},
		{"^/old/(.*)$", "/new/$1", Break, true, "/old/x", "y=1", "/new/x", "/new/x", exchange.Continue},
		{"^/old/(.*)$", "/new?p=$1", Break, false, "/old/x", "y=1", "/new?p=x&y=1", "/new", exchange.Continue},
		{"^/old/(.*)$", "/new?p=$1", Break, true, "/old/x", "y=1", "/new?p=x", "/new", exchange.Continue},
		{"^/old/(.*)$", "/new/$1", Last, false, "/old/x", "", "/new/x", "/new/x", exchange.Again},
		{"^/old/(.*)$", "/new/$1", Next, false, "/old/x", "", "/new/x", "/new/x", exchange.Again},
		{"^/none", "/new", Last, false, "/old/x", "y=1", "", "/old/x", exchange.Continue},
		{"^/old/(.*)$", "/$1", Break, false, "/old/a b", "", "/a%20b", "/a b", exchange.Continue},
	} {
		b := build[*block](t, Config{Steps: []Step{{Rewrite: &Rewrite{Pattern: c.pattern, To: c.to, Flag: c.flag, DropArgs: c.drop}}}})
		x := request(c.path, c.query)
		if v := b.Request(x); v != c.verdict || x.Rewritten != c.want || x.Req.Path != c.wantPath {
			t.Errorf("%+v: verdict %v, target %q, path %q", c, v, x.Rewritten, x.Req.Path)
		}
		if filter.Marked(x, filter.NoRewrite) != (c.want != "" && c.flag == Break) {
			t.Errorf("%+v: the mark NoRewrite is wrong", c)
		}
		x.Release()
	}
}

func TestS13_1_GroupsAreNoSyntaxOfQueriesAndURLs(t *testing.T) {
	b := build[*block](t, Config{Steps: []Step{{Rewrite: &Rewrite{Pattern: "^/a/(.*)$", To: "/b?p=$1", Flag: Break}}}})
	x := request("/a/x&admin=1 #y", "")
	x.Req.Target = "/a/x%26admin=1%20%23y"
	b.Request(x)
	if x.Rewritten != "/b?p=x%26admin=1%20%23y" {
		t.Errorf("target is %q", x.Rewritten)
	}
	x.Release()
	b = build[*block](t, Config{Steps: []Step{{Rewrite: &Rewrite{Pattern: "^/a/(.*)$", To: "https://b.test/$1", Redirect: 301}}}})
	x = request("/a/x\rSet-Cookie: y", "z=1")
	x.Req.Target = "/a/x%0dSet-Cookie:%20y?z=1"
	b.Request(x)
	if got := x.Resp.Header.Get("Location"); got != "https://b.test/x%0DSet-Cookie:%20y?z=1" {
		t.Errorf("Location is %q", got)
	}
	x.Release()
}

func TestS4_4_ARewrittenPathDoesNotClimb(t *testing.T) {
	b := build[*block](t, Config{Steps: []Step{{Rewrite: &Rewrite{Pattern: "^/a(.*)$", To: "/b/.$1", Flag: Break}}}})
	x := request("/a./c", "")
	defer x.Release()
	if v := b.Request(x); v != exchange.Reply || x.Resp.Status != 400 {
		t.Errorf("verdict %v, status %d", v, x.Resp.Status)
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		cond Cond
		want bool
	}{
		{Cond{Left: "$arg_a"}, true}, {Cond{Left: "$arg_zero"}, false}, {Cond{Left: "$arg_none"}, false},
		{Cond{Left: "$arg_a", Op: Equal, Right: "Yes"}, true}, {Cond{Left: "$arg_a", Op: Equal, Right: "yes"}, false},
		{Cond{Left: "$arg_a", Op: NotEqual, Right: "yes"}, true}, {Cond{Left: "$arg_a", Op: Match, Right: "^Y"}, true},
		{Cond{Left: "$arg_a", Op: Match, Right: "^y"}, false}, {Cond{Left: "$arg_a", Op: MatchFold, Right: "^y"}, true},
		{Cond{Left: "$arg_a", Op: NotMatch, Right: "^y"}, true}, {Cond{Left: "$arg_a", Op: NotMatchFold, Right: "^y"}, false},
		{Cond{Left: "$arg_a", Op: Equal, Right: "$arg_b"}, true},
	} {
		b := build[*block](t, Config{Steps: []Step{{If: &If{Cond: c.cond, Then: []Step{{Return: &Return{Status: 403, Text: "no"}}}}}}})
		x := request("/", "a=Yes&b=Yes&zero=0")
		if got := b.Request(x) == exchange.Reply; got != c.want {
			t.Errorf("%+v: %v", c.cond, got)
		} else if got {
			text, err := io.ReadAll(x.Resp.Body)
			if err != nil || string(text) != "no" || !x.Resp.Denied {
				t.Errorf("%+v: body %q, %v", c.cond, text, err)
			}
		}
		x.Release()
	}
}

func TestTheLastIfThatHeldCounts(t *testing.T) {
	c := Config{Steps: []Step{
		{Set: &Set{"k", "0"}},
		{If: &If{Cond: Cond{Left: "$arg_a"}, Level: 1, Then: []Step{{Set: &Set{"k", "${k}1"}}}}},
		{If: &If{Cond: Cond{Left: "$arg_b"}, Level: 2, Then: []Step{{Set: &Set{"k", "${k}2"}}}}},
	}}
	b := build[*block](t, c)
	r := build[filter.OnResponse](t, Response{Levels: []Level{{}, {More: []Field{{Name: "X", Value: "one $k"}}}, {More: []Field{{Name: "X", Value: "two $k"}}}}})
	for query, want := range map[string]string{"": "", "a=1": "one 01", "b=1": "two 02", "a=1&b=1": "two 012"} {
		x := request("/", query)
		b.Request(x)
		x.Resp.Status = 200
		r.Response(x)
		if got := x.Resp.Header.Get("X"); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
		x.Release()
	}
}

func TestReturn(t *testing.T) {
	for _, c := range []struct {
		r              Return
		status         int
		location, body string
	}{
		{Return{301, "https://$host$request_uri"}, 301, "https://a.test/p?q=1", ""},
		{Return{302, "/x"}, 302, "http://a.test/x", ""},
		{Return{200, "hello $host"}, 200, "", "hello a.test"},
		{Return{404, ""}, 404, "", "-"},
		{Return{204, ""}, 204, "", "-"},
	} {
		b := build[*block](t, Config{Steps: []Step{{Return: &c.r}}})
		x := request("/p", "q=1")
		v := b.Request(x)
		body := "-"
		if x.Resp.Body != nil {
			data, err := io.ReadAll(x.Resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = string(data)
		}
		if c.location != "" {
			body = ""
		}
		if v != exchange.Reply || x.Resp.Status != c.status || x.Resp.Header.Get("Location") != c.location || body != c.body {
			t.Errorf("%+v: %d %q %q", c.r, x.Resp.Status, x.Resp.Header.Get("Location"), body)
		}
		x.Release()
	}
	b := build[*block](t, Config{Steps: []Step{{Return: &Return{Status: 444}}}})
	x := request("/", "")
	if v := b.Request(x); v != exchange.Drop {
		t.Errorf("444 is %v", v)
	}
	x.Release()
}

func TestPatternsLeaveTheRoutesGroupsAlone(t *testing.T) {
	b := build[*block](t, Config{Steps: []Step{{If: &If{Cond: Cond{Left: "$uri", Op: Match, Right: "^/(?<first>[^/]+)/(.*)$"}, Level: 1}}}})
	u := build[filter.OnUpstream](t, Upstream{Set: []exchange.Field{{Name: "X-Two", Value: "$2 $first"}}})
	x := request("/one/two", "")
	defer x.Release()
	x.Captures = append(x.Captures[:0], "/one/two", "route")
	b.Request(x)
	u.Upstream(x)
	if fmt.Sprint(x.Captures) != "[/one/two route]" || x.Up.Header.Get("X-Two") != "two one" {
		t.Errorf("groups %v, field %q", x.Captures, x.Up.Header.Get("X-Two"))
	}
}

func TestInputFieldsAndUpstreamFields(t *testing.T) {
	b := build[*block](t, Config{Input: [][]Field{{{Name: "X-In", Value: "$host"}, {Name: "X-User*"}, {Name: "X-There", Value: "new", IfThere: true}, {Name: "X-Not", Value: "new", IfThere: true}}}})
	x := request("/", "")
	defer x.Release()
	for _, n := range []string{"x-user", "X-User-ID", "X-There"} {
		x.Req.Header.Add(n, "old")
	}
	b.Request(x)
	h := &x.Req.Header
	if h.Get("X-In") != "a.test" || h.Has("X-User") || h.Has("X-User-ID") || h.Get("X-There") != "new" || h.Has("X-Not") {
		t.Errorf("fields are %v", h)
	}
	u := build[filter.OnUpstream](t, Upstream{Method: "POST", Set: []exchange.Field{{Name: "Host", Value: "b.test"}, {Name: "X-In", Value: ""}, {Name: "X-M", Value: "$request_method"}}})
	x.Up.Header.CopyFrom(h)
	u.Upstream(x)
	if x.Up.Authority != "b.test" || x.Up.Method != "POST" || x.Up.Header.Has("X-In") || x.Up.Header.Get("X-M") != "GET" {
		t.Errorf("%+v", x.Up)
	}
}

func TestConstantFieldsCostNoAllocation(t *testing.T) {
	f := build[filter.OnResponse](t, Response{Levels: []Level{{More: []Field{{Name: "X-A", Value: "1"}, {Name: "X-B"}}}}})
	x := request("/", "")
	defer x.Release()
	x.Resp.Status = 200
	f.Response(x)
	if n := testing.AllocsPerRun(100, func() { x.Resp.Header.Reset(); f.Response(x) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
