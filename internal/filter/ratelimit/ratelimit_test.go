package ratelimit

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

type world struct {
	now  time.Time
	kept map[string]any
}

func newWorld() *world {
	return &world{time.UnixMilli(1_700_000_000_000), map[string]any{}}
}

func (w *world) env() *filter.Env {
	return &filter.Env{
		Now: func() time.Time { return w.now },
		Keep: func(key string, make func() any) any {
			if w.kept[key] == nil {
				w.kept[key] = make()
			}
			return w.kept[key]
		},
	}
}

func (w *world) build(t testing.TB, c Config) filter.OnRequest {
	t.Helper()
	f, err := c.Build(w.env())
	if err != nil {
		t.Fatal(err)
	}
	return f.(filter.OnRequest)
}

// passes sends n requests from addr and counts those let through.
func passes(t testing.TB, f filter.OnRequest, addr string, n int) int {
	t.Helper()
	passed := 0
	for range n {
		x := exchange.Acquire()
		x.Client = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
		switch v := f.Request(x); {
		case v == exchange.Continue:
			passed++
		case v != exchange.Reply || x.Resp.Status != 503:
			t.Fatalf("verdict %v, status %d", v, x.Resp.Status)
		}
		x.Release()
	}
	return passed
}

func perSecond(n, burst int) Config {
	return Config{Zone: "default/shop", Status: 503, Rules: []Rule{{n, time.Second, burst}}}
}

func TestIdleClientMaySendOnePlusBurstAtOnce(t *testing.T) {
	for _, c := range []struct{ rate, burst, want int }{{1, 5, 6}, {1, 1, 2}, {10, 50, 51}} {
		if got := passes(t, newWorld().build(t, perSecond(c.rate, c.burst)), "10.0.0.1", 60); got != c.want {
			t.Errorf("rate %d burst %d: %d passed, want %d", c.rate, c.burst, got, c.want)
		}
	}
}

func TestPerMinuteRateLeaksAsNginxDoes(t *testing.T) {
	w := newWorld()
	f := w.build(t, Config{Zone: "z", Status: 503, Rules: []Rule{{2, time.Minute, 10}}})
	if got := passes(t, f, "10.0.0.1", 16); got != 11 {
		t.Fatalf("%d passed, want 11", got)
	}
	w.now = w.now.Add(30 * time.Second) // 33 thousandths per second: 990, not yet a whole one
	if got := passes(t, f, "10.0.0.1", 5); got != 0 {
		t.Errorf("after 30s %d passed, want 0", got)
	}
	w.now = w.now.Add(time.Second)
	if got := passes(t, f, "10.0.0.1", 5); got != 1 {
		t.Errorf("after 31s %d passed, want 1", got)
	}
}

func TestBucketRefillsAtTheRate(t *testing.T) {
	w := newWorld()
	f := w.build(t, perSecond(2, 4))
	passes(t, f, "10.0.0.1", 20)
	w.now = w.now.Add(time.Second)
	if got := passes(t, f, "10.0.0.1", 20); got != 2 {
		t.Errorf("after a second %d passed, want 2", got)
	}
	w.now = w.now.Add(time.Hour)
	if got := passes(t, f, "10.0.0.1", 20); got != 5 {
		t.Errorf("after an hour %d passed, want 5", got)
	}
}

func TestClientsHaveTheirOwnBuckets(t *testing.T) {
	f := newWorld().build(t, perSecond(1, 1))
	for _, a := range []string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"} {
		if got := passes(t, f, a, 3); got != 2 {
			t.Errorf("%s: %d passed, want 2", a, got)
		}
	}
	if got := passes(t, f, "::ffff:10.0.0.1", 1); got != 0 {
		t.Error("an IPv4-mapped address has another bucket than its IPv4 address")
	}
}

func TestBucketsOutliveARebuild(t *testing.T) {
	w := newWorld()
	passes(t, w.build(t, perSecond(1, 5)), "10.0.0.1", 6)
	if got := passes(t, w.build(t, perSecond(1, 6)), "10.0.0.1", 9); got != 1 {
		t.Errorf("after a change of the limit %d passed, want 1", got)
	}
	other := perSecond(1, 5)
	other.Zone = "default/other"
	if got := passes(t, w.build(t, other), "10.0.0.1", 9); got != 6 {
		t.Errorf("another Ingress let %d pass, want 6", got)
	}
}

func TestBothRatesApply(t *testing.T) {
	w := newWorld()
	f := w.build(t, Config{Zone: "z", Status: 503, Rules: []Rule{{5, time.Second, 5}, {3, time.Minute, 3}}})
	if got := passes(t, f, "10.0.0.1", 10); got != 4 {
		t.Errorf("%d passed, want 4: the minute's", got)
	}
	// Refused requests counted against neither: the second's bucket holds 3, room for 2 more plus what leaks.
	z := w.kept["rate-limit/z"].(*zone)
	key := filter.ClientKey(netip.MustParseAddr("10.0.0.1").As16())
	s := &z.shard[key.Shard(shards)]
	if got := s.nodes[s.index[key]].excess; got != [2]int64{3000, 3000} {
		t.Errorf("excess %v, want [3000 3000]", got)
	}
}

func TestAllowedNetworksAreNeverLimited(t *testing.T) {
	c := perSecond(1, 1)
	c.Allow = filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")}
	f := newWorld().build(t, c)
	if got := passes(t, f, "10.0.0.1", 50); got != 50 {
		t.Errorf("%d passed, want 50", got)
	}
	if got := passes(t, f, "11.0.0.1", 50); got != 2 {
		t.Errorf("%d passed, want 2", got)
	}
}

func TestKeyMayBeAVariable(t *testing.T) {
	c := perSecond(1, 1)
	c.Key = "$http_x_key"
	f := newWorld().build(t, c)
	send := func(key string) bool {
		x := exchange.Acquire()
		defer x.Release()
		if key != "" {
			x.Req.Header.Add("X-Key", key)
		}
		return f.Request(x) == exchange.Continue
	}
	first, second, third := send("a"), send("a"), send("a")
	if !first || !second || third || !send("b") {
		t.Error("keys a, a, a, b: want the third refused")
	}
	for range 10 {
		if !send("") {
			t.Fatal("an empty key was limited")
		}
	}
	if _, err := (Config{Zone: "z", Key: "$no_such", Rules: []Rule{{1, time.Second, 1}}}).Build(newWorld().env()); err == nil {
		t.Error("an unknown variable was accepted")
	}
}

func TestMemoryIsBoundedAndTheOldestMakesRoom(t *testing.T) {
	w := newWorld()
	f := w.build(t, perSecond(1, 1))
	for i := range 3 * shards * perShard {
		passes(t, f, netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}).String(), 1)
	}
	z := w.kept["rate-limit/default/shop"].(*zone)
	for i := range z.shard {
		s := &z.shard[i]
		if len(s.index) > perShard || len(s.nodes) > perShard+1 {
			t.Fatalf("shard %d holds %d clients in %d nodes", i, len(s.index), len(s.nodes))
		}
	}
	if got := passes(t, f, "0.0.0.1", 3); got != 2 {
		t.Errorf("a forgotten client passed %d times, want 2", got)
	}
}

func TestIdleBucketsAreForgotten(t *testing.T) {
	w := newWorld()
	f := w.build(t, perSecond(1, 1))
	for i := range 1000 {
		passes(t, f, fmt.Sprintf("10.0.%d.%d", i/250, i%250), 1)
	}
	w.now = w.now.Add(2 * time.Minute)
	for i := range 1000 {
		passes(t, f, fmt.Sprintf("10.1.%d.%d", i/250, i%250), 1)
	}
	total := 0
	z := w.kept["rate-limit/default/shop"].(*zone)
	for i := range z.shard {
		total += len(z.shard[i].index)
	}
	if total != 1000 {
		t.Errorf("%d clients remembered, want 1000", total)
	}
}

func TestRateLimitDoesNotAllocate(t *testing.T) {
	f := newWorld().build(t, perSecond(1, 1))
	x := exchange.Acquire()
	defer x.Release()
	x.Client = netip.MustParseAddrPort("10.0.0.1:1")
	f.Request(x)
	if n := testing.AllocsPerRun(200, func() { f.Request(x) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	w := newWorld()
	f := w.build(t, perSecond(100, 100))
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 8 {
		wg.Go(func() {
			n := passes(t, f, "10.0.0.1", 50)
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if total != 101 {
		t.Errorf("%d passed, want 101", total)
	}
}

func TestConfigIsComparable(t *testing.T) {
	if !reflect.DeepEqual(perSecond(1, 1), perSecond(1, 1)) || filter.Position(Config{}.FilterName()) < 0 {
		t.Error("equal configs differ, or the name is not in filter.Order")
	}
	if f, err := perSecond(0, 5).Build(newWorld().env()); f != nil || err != nil {
		t.Errorf("a limit of 0: %v, %v", f, err)
	}
}

func TestS10_2_ClientOfUnknownAddressIsLimited(t *testing.T) {
	f := newWorld().build(t, perSecond(1, 1))
	passed := 0
	for range 10 {
		x := exchange.Acquire()
		if f.Request(x) == exchange.Continue {
			passed++
		}
		x.Release()
	}
	if passed != 2 {
		t.Errorf("%d of 10 passed, want 2", passed)
	}
}
