package connlimit

import (
	"net/netip"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func build(t *testing.T, kept map[string]any, c Config) *limiter {
	t.Helper()
	f, err := c.Build(&filter.Env{Keep: func(key string, make func() any) any {
		if kept[key] == nil {
			kept[key] = make()
		}
		return kept[key]
	}})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*limiter)
}

func begin(l *limiter, addr string) (*exchange.Exchange, bool) {
	x := exchange.Acquire()
	x.Client = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
	return x, l.Request(x) == exchange.Continue
}

func TestRequestsInProgressAreCounted(t *testing.T) {
	l := build(t, map[string]any{}, Config{Zone: "z", Max: 2, Status: 503})
	a, ok1 := begin(l, "10.0.0.1")
	b, ok2 := begin(l, "10.0.0.1")
	c, ok3 := begin(l, "10.0.0.1")
	d, ok4 := begin(l, "10.0.0.2")
	if !ok1 || !ok2 || ok3 || !ok4 {
		t.Fatalf("passed %v %v %v, other client %v", ok1, ok2, ok3, ok4)
	}
	if c.Resp.Status != 503 {
		t.Errorf("status %d", c.Resp.Status)
	}
	l.Done(c) // a refused one gives nothing back
	if e, ok := begin(l, "10.0.0.1"); ok {
		t.Error("a refused request freed a place")
		l.Done(e)
	}
	l.Done(a)
	l.Done(a) // Done twice frees once
	e, ok := begin(l, "10.0.0.1")
	if !ok {
		t.Error("no place after one request ended")
	}
	if _, ok := begin(l, "10.0.0.1"); ok {
		t.Error("one end freed two places")
	}
	for _, x := range []*exchange.Exchange{b, d, e} {
		l.Done(x)
	}
	for i := range l.zone.shard {
		if n := len(l.zone.shard[i].count); n != 0 {
			t.Errorf("shard %d still holds %d clients", i, n)
		}
	}
}

func TestCountsOutliveARebuild(t *testing.T) {
	kept := map[string]any{}
	l1 := build(t, kept, Config{Zone: "z", Max: 1, Status: 503})
	a, _ := begin(l1, "10.0.0.1")
	l2 := build(t, kept, Config{Zone: "z", Max: 1, Status: 429})
	if x, ok := begin(l2, "10.0.0.1"); ok || x.Resp.Status != 429 {
		t.Errorf("passed %v, status %d", ok, x.Resp.Status)
	}
	l1.Done(a)
	if _, ok := begin(l2, "10.0.0.1"); !ok {
		t.Error("the old filter's end did not free the place")
	}
}

func TestAllowedNetworksAreNotCounted(t *testing.T) {
	l := build(t, map[string]any{}, Config{Zone: "z", Max: 1, Status: 503, Allow: filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")}})
	for range 5 {
		if _, ok := begin(l, "10.0.0.1"); !ok {
			t.Fatal("refused")
		}
	}
}

func TestConnLimitDoesNotAllocate(t *testing.T) {
	l := build(t, map[string]any{}, Config{Zone: "z", Max: 1, Status: 503})
	x, _ := begin(l, "10.0.0.1")
	l.Done(x)
	if n := testing.AllocsPerRun(200, func() { l.Request(x); l.Done(x) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
	if filter.Position(Config{}.FilterName()) < 0 {
		t.Error("not in filter.Order")
	}
}
