package balance

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func endpoints(n int) *Set {
	list := make([]*Endpoint, n)
	for i := range list {
		list[i] = NewEndpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080), "")
	}
	return NewSet(list, 0)
}

// recorded is the set the parity record was made with: echo1, echo2, echo3.
func recorded() *Set {
	var list []*Endpoint
	for _, a := range []string{"10.99.0.11:8080", "10.99.0.12:8080", "10.99.0.13:8080"} {
		list = append(list, NewEndpoint(netip.MustParseAddrPort(a), ""))
	}
	return NewSet(list, 0)
}

func request(fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: new(exchange.Conn)}
	for i := 0; i < len(fields); i += 2 {
		x.Req.Header.Add(fields[i], fields[i+1])
	}
	return x
}

// The keys and endpoints are those of the record of ingress-nginx (suite 40).
func TestRingPlacesKeysAsTheReference(t *testing.T) {
	for key, want := range map[string]int{
		"/same": 2, "k1": 2, "k2": 1, "nonsense": 2, "1700000000.123.45.678901": 2,
	} {
		if got := recorded().Ring().Find([]byte(key)); got != want {
			t.Errorf("key %q goes to echo%d, want echo%d", key, got+1, want+1)
		}
	}
}

func TestRingSpreadsKeysEvenly(t *testing.T) {
	const nodes, total = 10, 20000
	r := endpoints(nodes).Ring()
	var count [nodes]int
	for i := range total {
		count[r.FindString(fmt.Sprintf("key-%d", i))]++
	}
	for i, n := range count {
		if share := float64(n) * nodes / total; share < 0.6 || share > 1.5 {
			t.Errorf("endpoint %d gets %.2f of its fair share", i, share)
		}
	}
}

func TestRingMovesOnlyKeysOfTheRemovedEndpoint(t *testing.T) {
	full := endpoints(10)
	less := NewSet(append([]*Endpoint{}, full.list[:9]...), 0)
	gone := full.list[9]
	for i := range 5000 {
		k := fmt.Sprintf("key-%d", i)
		was, is := full.list[full.Ring().FindString(k)], less.list[less.Ring().FindString(k)]
		if was != gone && was != is {
			t.Fatalf("key %q moved from %s to %s though %s was removed", k, was.Name, is.Name, gone.Name)
		}
	}
}

func TestRingDependsOnNamesNotOnTheirOrder(t *testing.T) {
	a, b := NewRing([]string{"x:1", "y:1", "z:1"}), NewRing([]string{"z:1", "x:1", "y:1"})
	for i := range 1000 {
		k := fmt.Sprint(i)
		if got, want := []string{"z", "x", "y"}[b.FindString(k)], []string{"x", "y", "z"}[a.FindString(k)]; got != want {
			t.Fatalf("key %q: %s and %s", k, got, want)
		}
	}
}

func TestEmptySetGivesNoEndpoint(t *testing.T) {
	by := func(b []byte, _ *exchange.Exchange) []byte { return b }
	for _, name := range Names() {
		p, err := New(name, Options{HashBy: by})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Set{nil, endpoints(0)} {
			if e := p.Pick(request(), s, nil); e != nil {
				t.Errorf("%s picked %v from nothing", name, e.Name)
			}
		}
	}
	if e, c := NewSticky(Cookie{Name: "r"}).Pick(request(), nil, new(Tried)); e != nil || c != "" {
		t.Errorf("affinity picked %v, %q from nothing", e, c)
	}
}

func TestUnknownPolicyIsRefusedWithTheNames(t *testing.T) {
	_, err := New("fastest", Options{})
	if err == nil || err.Error() != `balancing policy "fastest" is not one of chash, chashsubset, ewma, round_robin` {
		t.Errorf("got %v", err)
	}
	for _, n := range []string{"chash", "chashsubset"} {
		if _, err := New(n, Options{}); err == nil {
			t.Errorf("%s without a hash text was accepted", n)
		}
	}
}

func TestRoundRobinTakesEachInTurnFromARandomStart(t *testing.T) {
	s := endpoints(3)
	starts := map[string]bool{}
	for start := range 3 {
		p, _ := New("round_robin", Options{IntN: func(int) int { return start }})
		seen := map[string]int{}
		for i := range 9 {
			e := p.Pick(nil, s, nil)
			if i == 0 {
				starts[e.Name] = true
			}
			seen[e.Name]++
		}
		for n, c := range seen {
			if c != 3 {
				t.Errorf("%s picked %d times of 9", n, c)
			}
		}
	}
	if len(starts) != 3 {
		t.Errorf("starts are %v, want all three", starts)
	}
}

func TestRoundRobinRetriesOnTheNextEndpointThenAgainOnAll(t *testing.T) {
	s := endpoints(2)
	p, _ := New("round_robin", Options{})
	var tried Tried
	a := p.Pick(nil, s, &tried)
	tried.Add(a)
	b := p.Pick(nil, s, &tried)
	tried.Add(b)
	if a == b {
		t.Errorf("both attempts went to %s", a.Name)
	}
	if c := p.Pick(nil, s, &tried); c == nil {
		t.Error("no third attempt")
	}
}

func TestSuspectEndpointIsSkippedWhileOthersAreThere(t *testing.T) {
	now := 5 * time.Second
	clock := func() time.Duration { return now }
	for _, name := range []string{"round_robin", "ewma"} {
		s := endpoints(3)
		p, _ := New(name, Options{Now: clock})
		s.At(1).Suspect(now + time.Second)
		for range 50 {
			if p.Pick(nil, s, nil) == s.At(1) {
				t.Fatalf("%s picked the suspect endpoint", name)
			}
		}
		s.At(0).Suspect(now + time.Second)
		s.At(2).Suspect(now + time.Second)
		if p.Pick(nil, s, nil) == nil {
			t.Errorf("%s picked nothing when all are suspect", name)
		}
		var tried Tried
		tried.Add(s.At(0))
		tried.Add(s.At(2))
		if e := p.Pick(nil, s, &tried); e != s.At(1) {
			t.Errorf("%s preferred tried %s to suspect", name, e.Name)
		}
		now += 2 * time.Second
		hit := false
		for range 50 {
			hit = hit || p.Pick(nil, s, nil) == s.At(1)
		}
		if !hit {
			t.Errorf("%s never comes back to an endpoint whose time is over", name)
		}
	}
}

func TestEWMAPrefersTheFasterEndpoint(t *testing.T) {
	now := time.Second
	p, _ := New("ewma", Options{Now: func() time.Duration { return now }})
	s := endpoints(2)
	p.(Observer).Observe(s.At(0), 500*time.Millisecond)
	p.(Observer).Observe(s.At(1), 5*time.Millisecond)
	for range 20 {
		if p.Pick(nil, s, nil) != s.At(1) {
			t.Fatal("picked the slow endpoint")
		}
	}
	var tried Tried
	tried.Add(s.At(1))
	if p.Pick(nil, s, &tried) != s.At(0) {
		t.Error("the retry went to the endpoint already tried")
	}
	// Ten seconds without use weigh as much as 63 % forgotten.
	now += 10 * time.Second
	if got, want := score(s.At(0), now), 0.5/math.E; math.Abs(got-want) > 1e-6 {
		t.Errorf("score after 10 s is %v, want %v", got, want)
	}
}

func TestNewEndpointStartsWithTheAverageLatency(t *testing.T) {
	p, _ := New("ewma", Options{})
	old := endpoints(2)
	p.(Observer).Observe(old.At(0), 100*time.Millisecond)
	p.(Observer).Observe(old.At(1), 300*time.Millisecond)
	fresh := NewEndpoint(netip.MustParseAddrPort("10.9.9.9:80"), "")
	NewSet([]*Endpoint{old.At(0), old.At(1), fresh}, Monotonic())
	if got := fresh.Latency().Round(time.Millisecond); got != 200*time.Millisecond {
		t.Errorf("new endpoint starts with %v, want 200ms", got)
	}
}

func TestEqualKeysGoToTheSameEndpointAlsoOnRetry(t *testing.T) {
	by := func(b []byte, x *exchange.Exchange) []byte { return append(b, x.Req.Target...) }
	p, _ := New("chash", Options{HashBy: by})
	x := request()
	x.Req.Target = "/same"
	s := recorded()
	var tried Tried
	for range 3 {
		e := p.Pick(x, s, &tried)
		if e != s.At(2) {
			t.Fatalf("went to %s, want %s", e.Name, s.At(2).Name)
		}
		tried.Add(e)
	}
}

func TestSubsetTakesRandomEndpointsOfOneSet(t *testing.T) {
	by := func(b []byte, x *exchange.Exchange) []byte { return append(b, x.Req.Target...) }
	p, _ := New("chashsubset", Options{HashBy: by, SubsetSize: 3})
	s := endpoints(10)
	for k := range 50 {
		x := request()
		x.Req.Target = fmt.Sprint("/", k)
		seen := map[*Endpoint]bool{}
		for range 200 {
			seen[p.Pick(x, s, nil)] = true
		}
		if len(seen) != 3 {
			t.Fatalf("key %d uses %d endpoints, want 3", k, len(seen))
		}
	}
	c := cut(s, 3)
	if len(c.sets) != 4 || c.sets[3][0] != s.At(9) || c.sets[3][1] != s.At(0) || c.sets[3][2] != s.At(1) {
		t.Errorf("the last set is not filled up from the start: %v", c.sets)
	}
}

func TestPicksDoNotAllocate(t *testing.T) {
	by := func(b []byte, x *exchange.Exchange) []byte { return append(b, x.Req.Target...) }
	s := endpoints(20)
	x := request("Cookie", "INGRESSCOOKIE=1700000000.123.45.6|abc")
	x.Req.Target = "/a"
	var tried Tried
	tried.Add(s.At(3))
	for _, name := range Names() {
		p, _ := New(name, Options{HashBy: by})
		p.Pick(x, s, &tried)
		if n := testing.AllocsPerRun(200, func() { p.Pick(x, s, &tried) }); n > 0 {
			t.Errorf("%s allocates %v per pick", name, n)
		}
	}
	p, _ := New("ewma", Options{})
	if n := testing.AllocsPerRun(200, func() { p.(Observer).Observe(s.At(1), time.Millisecond) }); n > 0 {
		t.Errorf("observing allocates %v", n)
	}
	st := NewSticky(Cookie{Name: "INGRESSCOOKIE"})
	none := new(Tried)
	st.Pick(x, s, none)
	if n := testing.AllocsPerRun(200, func() { st.Pick(x, s, none); st.Bound(x) }); n > 0 {
		t.Errorf("a bound client costs %v allocations", n)
	}
}

func TestPoliciesAreSafeForManyGoroutines(t *testing.T) {
	by := func(b []byte, x *exchange.Exchange) []byte { return append(b, x.Req.Target...) }
	sets := []*Set{endpoints(5), endpoints(7)}
	for _, name := range Names() {
		p, _ := New(name, Options{HashBy: by})
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				x := request()
				x.Req.Target = fmt.Sprint(g)
				for i := range 200 {
					e := p.Pick(x, sets[i%2], nil)
					e.Start()
					if o, ok := p.(Observer); ok {
						o.Observe(e, time.Millisecond)
					}
					if i%10 == 0 {
						e.ConnectFailed()
						e.Suspect(Monotonic() + time.Millisecond)
					}
					e.Connected()
					e.End(false)
				}
			})
		}
		wg.Wait()
	}
	for _, s := range sets {
		for i := range s.Len() {
			if b := s.At(i).Busy(); b != 0 {
				t.Errorf("%s still busy with %d", s.At(i).Name, b)
			}
		}
	}
}
