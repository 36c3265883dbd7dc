package setheaders

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestFieldsAreSetOnTheRequest(t *testing.T) {
	f, err := Config{Fields: []exchange.Field{
		{Name: "X-To-Backend", Value: "tb"}, {Name: "X-Host-Copy", Value: "$host"}, {Name: "X-Forwarded-Port", Value: "1234"},
		{Name: "X-Gone", Value: ""}, {Name: "X-Odd", Value: "$no_such"}, {Name: "Host", Value: "inner.test"}, {Name: "X-Forged", Value: "$http_x_evil"},
	}}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	defer x.Release()
	x.Req.Host, x.Req.Authority = "hh.test", "hh.test"
	x.Req.Header.Add("X-Evil", "a\rb")
	x.Up.Header.Add("X-Forwarded-Port", "80")
	x.Up.Header.Add("X-Gone", "here")
	x.Up.Header.Add("X-Forged", "old")
	f.(filter.OnUpstream).Upstream(x)
	for name, want := range map[string]string{"X-To-Backend": "tb", "X-Host-Copy": "hh.test", "X-Forwarded-Port": "1234", "X-Gone": "", "X-Odd": "$no_such", "X-Forged": ""} {
		if got := x.Up.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if x.Up.Authority != "inner.test" {
		t.Errorf("Host %q", x.Up.Authority)
	}
}
