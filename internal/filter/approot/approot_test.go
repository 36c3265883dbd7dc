package approot

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestRedirectsExactlyTheRoot(t *testing.T) {
	f, err := Config{To: "/app1"}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ scheme, authority, path, target, location string }{
		{"http", "s15.test", "/", "/", "http://s15.test/app1"},
		{"http", "s15.test", "/", "/?x=1", "http://s15.test/app1"},
		{"http", "s15.test:8080", "/", "//", "http://s15.test:8080/app1"},
		{"https", "s15.test", "/", "/", "https://s15.test/app1"},
		{"http", "s15.test", "/x", "/x", ""},
		{"http", "", "/", "/", "http://host.test/app1"},
	} {
		x := exchange.Acquire()
		x.Req = exchange.Request{Scheme: c.scheme, Authority: c.authority, Host: "host.test", Path: c.path, Target: c.target}
		x.Eff = exchange.Effective{Scheme: "https", Host: "forwarded.test"}
		v := f.(filter.OnRequest).Request(x)
		if got := x.Resp.Header.Get("Location"); got != c.location || (v == exchange.Reply) != (c.location != "") {
			t.Errorf("%+v: verdict %v, Location %q", c, v, got)
		}
		x.Release()
	}
}

func TestS13_1_VariableCannotEndTheField(t *testing.T) {
	f, err := Config{To: "/x$uri"}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	defer x.Release()
	x.Req = exchange.Request{Scheme: "http", Authority: "a.test", Path: "/"}
	f.(filter.OnRequest).Request(x)
	if got := x.Resp.Header.Get("Location"); got != "http://a.test/x/" {
		t.Errorf("Location %q", got)
	}
}
