package addheaders

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestFieldsReplaceAnEndpointsButNotARoutes(t *testing.T) {
	f, _ := Config{Fields: []exchange.Field{{Name: "X-Frame-Options", Value: "DENY"}, {Name: "X-Added", Value: "added"}}}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	x.Resp.Header.Add("x-added", "endpoint")
	x.Resp.Header.Add("X-Frame-Options", "SAMEORIGIN")
	filter.Settle(x, "X-Frame-Options")
	f.(filter.OnResponse).Response(x)
	if x.Resp.Header.Get("X-Added") != "added" || x.Resp.Header.Get("X-Frame-Options") != "SAMEORIGIN" || x.Resp.Header.Len() != 2 {
		t.Errorf("got %v", x.Resp.Header)
	}
	if n := testing.AllocsPerRun(100, func() { f.(filter.OnResponse).Response(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if f, err := (Config{}).Build(nil); f != nil || err != nil {
		t.Errorf("no fields give %v, %v", f, err)
	}
}

func TestValuesMayHoldVariables(t *testing.T) {
	f, _ := Config{Fields: []exchange.Field{
		{Name: "X-Host", Value: "at $host"}, {Name: "X-None", Value: "$nosuch"}, {Name: "X-Gone", Value: ""}, {Name: "X-Evil", Value: "$arg_a"},
	}}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	x.Req.Host = "h.test"
	x.Req.Query = "a=1\r\nSet-Cookie: b"
	x.Resp.Header.Add("X-Gone", "endpoint")
	f.(filter.OnResponse).Response(x)
	h := &x.Resp.Header
	if h.Get("X-Host") != "at h.test" || h.Get("X-None") != "$nosuch" || h.Has("X-Gone") || h.Has("X-Evil") {
		t.Errorf("got %v", *h)
	}
}
