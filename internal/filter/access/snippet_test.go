package access

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestRulesDecideInTheirOrder(t *testing.T) {
	list := []Rule{{Nets: prefixes("10.0.0.66/32")}, {Allow: true, Nets: prefixes("10.0.0.0/24")}, {}}
	for _, c := range []struct {
		config Config
		want   map[string]int
	}{
		{Config{Rules: list}, map[string]int{inside: 0, denied: 403, outside: 403}},
		{Config{Rules: list[:2]}, map[string]int{inside: 0, denied: 403, outside: 0}},
		{Config{Rules: list, AllowOnly: true, Allow: prefixes("192.0.2.0/24")}, map[string]int{inside: 403, outside: 0}},
		{Config{Rules: list, Deny: prefixes("10.0.0.1/32")}, map[string]int{inside: 403}},
	} {
		a := newWorld().build(t, c.config)
		for addr, want := range c.want {
			if got := run(a, get(addr)); got != want {
				t.Errorf("%+v: %s got %d, want %d", c.config, addr, got, want)
			}
		}
	}
}

func TestLimitExceptReplacesTheLists(t *testing.T) {
	a := newWorld().build(t, Config{Deny: prefixes("192.0.2.0/24"), Except: &Except{Methods: []string{"GET", "HEAD"}, Rules: []Rule{{Allow: true, Nets: prefixes("192.0.2.0/24")}, {}}}})
	for method, want := range map[string]map[string]int{"GET": {inside: 0, outside: 403}, "POST": {inside: 403, outside: 0}} {
		for addr, status := range want {
			x := get(addr)
			x.Req.Method = method
			if got := run(a, x); got != status {
				t.Errorf("%s from %s: %d, want %d", method, addr, got, status)
			}
		}
	}
}

func TestUnknownAddressPassesNoRule(t *testing.T) {
	x := get(inside)
	x.Client = x.Conn.Local
	if got := run(newWorld().build(t, Config{Rules: []Rule{{Allow: true}}}), x); got != 403 {
		t.Errorf("%d, want 403", got)
	}
}

func TestFieldsOfTheAnswerBecomeVariables(t *testing.T) {
	for _, cached := range []string{"", "$remote_addr"} {
		w := newWorld()
		w.answer = respond(200, "X-User", "bob", "X-Role", "admin")
		a := w.build(t, Config{External: &External{URL: "http://auth.test/check", Fields: []string{"X-Role"}, CacheKey: cached,
			CacheFor: []CacheRule{{For: 1 << 40}}, Vars: []Var{{"user", "x-user"}, {"none", "x-none"}}}})
		p, _, err := expr.ParseWith("$user $none", expr.Options{Extra: expr.Own})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x := get(inside)
			if got := run(a, x); got != 0 || p.String(x) != "bob " || len(slot.Of(x).fields) < 1 || slot.Of(x).fields[0] != "admin" {
				t.Errorf("status %d, variables %q", got, p.String(x))
			}
			x.Release()
		}
	}
}

func TestSnippetFieldsAndVerbOfTheSubrequest(t *testing.T) {
	w := newWorld()
	w.answer = respond(200)
	a := w.build(t, Config{External: &External{URL: "http://auth.test/check", Verb: "POST", Snippet: []Field{{"X-Scope", "$mine"}, {"X-Sent-From", ""}}}})
	x := get(inside)
	defer x.Release()
	expr.SetOwn(x, "mine", "read")
	if got := run(a, x); got != 0 {
		t.Fatalf("status %d", got)
	}
	r := w.asked[0]
	if r.Method != "POST" || r.Header.Get("X-Scope") != "read" || r.Header.Has("X-Sent-From") || r.Header.Has("X-Original-URI") {
		t.Errorf("%s %+v", r.Method, r.Header)
	}
	if _, err := (Config{External: &External{URL: "http://a/", Snippet: []Field{{"X", "$"}}}}).Build(&filter.Env{}); err == nil {
		t.Error("a broken value is built")
	}
}
