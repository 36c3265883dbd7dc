package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

var shop = config.PoolID{Namespace: "default", Service: "shop", Port: "80"}

func eps(addrs ...string) []config.Endpoint {
	out := make([]config.Endpoint, len(addrs))
	for i, a := range addrs {
		out[i].Addr = netip.MustParseAddrPort(a)
	}
	return out
}

func names(s *balance.Set) string {
	var b []string
	for i := range s.Len() {
		b = append(b, s.At(i).Name)
	}
	return strings.Join(b, " ")
}

func TestPoolExistsEmptyBeforeItIsConfigured(t *testing.T) {
	r := NewRegistry(Options{})
	p := r.Pool(shop)
	if p.Set().Len() != 0 || r.Pool(shop) != p {
		t.Errorf("pool %v, second look gives %p and %p", p.Set(), r.Pool(shop), p)
	}
	if r.Update(shop, eps("10.0.0.1:80")) {
		t.Error("endpoints of a pool that is not configured were taken")
	}
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	if !r.Update(shop, eps("10.0.0.1:80")) || names(p.Set()) != "10.0.0.1:80" {
		t.Errorf("the pool a route held has %q", names(p.Set()))
	}
}

func TestUpdateKeepsWhatIsKnownOfEndpointsThatStay(t *testing.T) {
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	r.Update(shop, eps("10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80", "[2001:db8::1]:80"))
	p := r.Pool(shop)
	before := p.Set()
	if got := names(before); got != "10.0.0.1:80 10.0.0.2:80 [2001:db8::1]:80" {
		t.Fatalf("endpoints are %s", got)
	}
	stays := before.At(1)
	stays.Start()
	stays.ConnectFailed()
	stays.Suspect(time.Hour * 10000)
	r.Update(shop, eps("10.0.0.2:80", "10.0.0.3:80"))
	after := p.Set()
	if after.At(0) != stays || names(after) != "10.0.0.2:80 10.0.0.3:80" {
		t.Errorf("after the update: %s, kept %v", names(after), after.At(0) == stays)
	}
	if names(before) != "10.0.0.1:80 10.0.0.2:80 [2001:db8::1]:80" {
		t.Error("the old set changed")
	}
	r.Update(shop, eps("10.0.0.3:80", "10.0.0.2:80"))
	if p.Set() != after {
		t.Error("the same endpoints made a new set")
	}
	moved := eps("10.0.0.3:80", "10.0.0.2:80")
	moved[1].Zone = "b"
	r.Update(shop, moved)
	if e := p.Set().At(0); e.Zone != "b" || e.Busy() != 1 {
		t.Errorf("a new zone lost the state: zone %q, busy %d", e.Zone, e.Busy())
	}
}

func TestPoolThatIsGoneHasNoEndpointsAndComesBackTheSame(t *testing.T) {
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	r.Update(shop, eps("10.0.0.1:80"))
	p := r.Pool(shop)
	busy := p.Set().At(0)
	busy.Start()
	r.Apply(map[config.PoolID]*config.Pool{shop: nil})
	if p.Set().Len() != 0 || r.Update(shop, eps("10.0.0.9:80")) {
		t.Error("a pool that is gone still has endpoints")
	}
	busy.End(false)
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	if r.Pool(shop) != p {
		t.Error("a route that still holds the pool holds a dead one")
	}
	runtime.KeepAlive(p)
}

func TestPoolsNobodyHoldsAreForgotten(t *testing.T) {
	r := NewRegistry(Options{})
	for i := range 50 {
		r.Pool(config.PoolID{Service: fmt.Sprint(i)})
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		runtime.GC()
		r.Apply(nil)
		r.mu.Lock()
		n := len(r.pools)
		r.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d pools are still there", n)
		}
	}
}

func TestKindsOfPools(t *testing.T) {
	r := NewRegistry(Options{})
	p := r.Pool(shop)
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop, Static: eps("10.96.0.1:80")}})
	if names(p.Set()) != "10.96.0.1:80" || r.Update(shop, eps("10.0.0.1:80")) {
		t.Errorf("a static pool has %s", names(p.Set()))
	}
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop, Missing: true}})
	if p.Set().Len() != 0 {
		t.Errorf("a missing Service has %s", names(p.Set()))
	}
	if i, _ := r.Describe(shop); i.Problem == "" || i.Source != "none" {
		t.Errorf("described as %+v", i)
	}
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	r.Update(shop, eps("10.0.0.1:80"))
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop, PortName: "http"}})
	if names(p.Set()) != "10.0.0.1:80" {
		t.Error("a changed recipe emptied the pool")
	}
}

func TestS3_3_ForbiddenAddressesAreRefused(t *testing.T) {
	for _, c := range []struct {
		addr          string
		remote, local bool // refused
	}{
		{"10.0.0.1", false, false}, {"2001:db8::1", false, false}, {"fd00::1", false, false},
		{"127.0.0.1", true, false}, {"127.9.9.9", true, false}, {"::1", true, false}, {"::ffff:127.0.0.1", true, false},
		{"169.254.169.254", true, false}, {"fe80::1", true, false},
		{"0.0.0.0", true, true}, {"::", true, true}, {"0.1.2.3", true, false}, {"224.0.0.1", true, true}, {"ff02::1", true, true}, {"255.255.255.255", true, true},
		{"64:ff9b::7f00:1", true, false}, {"64:ff9b::a9fe:a9fe", true, false}, {"64:ff9b::a00:1", false, false}, {"::127.0.0.1", true, false},
	} {
		a := netip.MustParseAddr(c.addr)
		if Refused(a, false) != c.remote || Refused(a, true) != c.local {
			t.Errorf("%s: refused %v, from a directory %v; want %v, %v", a, Refused(a, false), Refused(a, true), c.remote, c.local)
		}
	}
	var said []string
	own := netip.MustParseAddr("10.1.1.1")
	r := NewRegistry(Options{
		Refuse: func(a netip.Addr) bool { return a == own },
		Report: func(id config.PoolID, problem string) { said = append(said, problem) },
	})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	r.Update(shop, eps("127.0.0.1:80", "10.0.0.1:80", "10.1.1.1:10254"))
	if got := names(r.Pool(shop).Set()); got != "10.0.0.1:80" {
		t.Errorf("endpoints are %s", got)
	}
	if len(said) != 1 || !strings.Contains(said[0], "127.0.0.1:80") || !strings.Contains(said[0], "10.1.1.1:10254") {
		t.Errorf("reported %q", said)
	}
	r.Update(shop, eps("10.0.0.1:80"))
	if len(said) != 2 || said[1] != "" {
		t.Errorf("reported %q", said)
	}
}

// zone is a resolver that answers from a table.
type zone struct {
	mu    sync.Mutex
	addrs map[string]string
	err   error
	asked map[string]int
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[host]++
	if z.err != nil {
		return nil, z.err
	}
	var out []netip.Addr
	for _, a := range strings.Fields(z.addrs[host]) {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

func (z *zone) set(host, addrs string, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs[host], z.err = addrs, err
}

func (z *zone) count(host string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[host]
}

func external(host string) map[config.PoolID]*config.Pool {
	return map[config.PoolID]*config.Pool{shop: {ID: shop, ExternalName: host, ExternalPort: 8080}}
}

// withNames runs f with a running registry and fake time.
func withNames(t *testing.T, z *zone, f func(r *Registry)) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := NewRegistry(Options{Resolver: z, Now: func() time.Duration { return time.Since(start) + time.Hour }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f(r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestExternalNameFollowsDNSWhileUsed(t *testing.T) {
	z := &zone{addrs: map[string]string{"a.ext": "10.0.0.2 10.0.0.1 2001:db8::1"}}
	withNames(t, z, func(r *Registry) {
		r.Apply(external("a.ext"))
		p := r.Pool(shop)
		p.Await(nil, time.Minute)
		if got := names(p.Set()); got != "10.0.0.1:8080 10.0.0.2:8080 [2001:db8::1]:8080" {
			t.Errorf("endpoints are %q", got)
		}
		z.set("a.ext", "10.0.0.9", nil)
		for range 30 {
			p.Set()
			time.Sleep(100 * time.Millisecond)
		}
		if got := names(p.Set()); got != "10.0.0.9:8080" {
			t.Errorf("three seconds later endpoints are %q", got)
		}
		if n := z.count("a.ext"); n < 3 || n > 5 {
			t.Errorf("asked %d times in three seconds, want about one per second", n)
		}
		before := z.count("a.ext")
		time.Sleep(10 * time.Minute)
		if n := z.count("a.ext") - before; n < 9 || n > 12 {
			t.Errorf("asked %d times in ten idle minutes, want about one per minute", n)
		}
		synctest.Wait() // a look-up due at this very moment is over
		r.Apply(map[config.PoolID]*config.Pool{shop: nil})
		before = z.count("a.ext")
		time.Sleep(10 * time.Minute)
		if z.count("a.ext") != before || p.Set().Len() != 0 {
			t.Error("a name nobody wants is still looked up")
		}
	})
}

func TestExternalNameKeepsTheLastAnswerThroughFailures(t *testing.T) {
	z := &zone{addrs: map[string]string{"a.ext": "10.0.0.1"}}
	withNames(t, z, func(r *Registry) {
		r.Apply(external("a.ext"))
		p := r.Pool(shop)
		p.Await(nil, time.Minute)
		use := func(d time.Duration) {
			for range d / (500 * time.Millisecond) {
				p.Set()
				time.Sleep(500 * time.Millisecond)
			}
		}
		z.set("a.ext", "", errors.New("server misbehaving"))
		use(4 * time.Minute)
		if p.Set().Len() != 1 {
			t.Error("a failing DNS server emptied the pool within minutes")
		}
		use(2 * time.Minute)
		if p.Set().Len() != 0 {
			t.Error("the answer is still used after all that time")
		}
		if i, _ := r.Describe(shop); !strings.Contains(i.Problem, "server misbehaving") {
			t.Errorf("problem is %q", i.Problem)
		}
		z.set("a.ext", "10.0.0.1", nil)
		use(3 * time.Second)
		if i, _ := r.Describe(shop); i.Problem != "" || len(i.Endpoints) != 1 {
			t.Errorf("did not recover: %+v", i)
		}
		z.set("a.ext", "", nil)
		use(5 * time.Second)
		if p.Set().Len() != 0 {
			t.Error("a name that does not exist any more still has endpoints")
		}
	})
}

func TestS3_3_ExternalNameThatResolvesToLoopbackIsRefused(t *testing.T) {
	z := &zone{addrs: map[string]string{"127.0.0.1.nip.io": "127.0.0.1", "meta": "169.254.169.254"}}
	withNames(t, z, func(r *Registry) {
		for _, host := range []string{"127.0.0.1.nip.io", "meta"} {
			r.Apply(external(host))
			p := r.Pool(shop)
			p.Await(nil, time.Minute)
			synctest.Wait()
			if i, _ := r.Describe(shop); p.Set().Len() != 0 || !strings.Contains(i.Problem, "refused") {
				t.Errorf("%s: %+v", host, i)
			}
			local := external(host)
			local[shop].Local = true
			r.Apply(local)
			if p.Set().Len() != 1 {
				t.Errorf("%s from a directory: no endpoint", host)
			}
		}
	})
}

func TestAwaitEndsWithTheClientAndWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{Resolver: &zone{}}) // Run does not run: nothing is ever looked up
		r.Apply(external("a.ext"))
		p := r.Pool(shop)
		if !p.MayWait() {
			t.Error("nothing to wait for")
		}
		start := time.Now()
		p.Await(nil, time.Second)
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v", d)
		}
		gone := make(chan struct{})
		close(gone)
		p.Await(gone, time.Hour)
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v for a client that is gone", d)
		}
	})
}

// idleTransport notes which idle connections it was told to close.
type idleTransport struct {
	idle   []config.Endpoint
	closed chan string
}

func (i *idleTransport) RoundTrip(*exchange.Exchange, *Target) error { return errors.New("not here") }
func (i *idleTransport) Close()                                      {}
func (i *idleTransport) CloseIdle(keep func(config.Endpoint) bool) {
	for _, e := range i.idle {
		if !keep(e) {
			i.closed <- e.Addr.String()
		}
	}
}

func TestIdleConnectionsToVanishedEndpointsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &idleTransport{idle: eps("10.0.0.1:80", "10.0.0.2:80"), closed: make(chan string, 10)}
		r := NewRegistry(Options{Transports: []Transport{tr}})
		other := config.PoolID{Service: "other"}
		r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}, other: {ID: other}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.Update(shop, eps("10.0.0.1:80", "10.0.0.2:80"))
		r.Update(other, eps("10.0.0.2:80"))
		synctest.Wait()
		r.Update(shop, nil)
		synctest.Wait()
		if len(tr.closed) != 1 || <-tr.closed != "10.0.0.1:80" {
			t.Error("want exactly the connections to 10.0.0.1 closed: the other pool still uses 10.0.0.2")
		}
		cancel()
		<-done
	})
}

func TestUpdatesAndPicksAtOnce(t *testing.T) {
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	p := r.Pool(shop)
	policy, err := balance.New("round_robin", balance.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if e := policy.Pick(nil, p.Set(), nil); e != nil {
					e.Start()
					e.End(true)
				}
				r.Describe(shop)
			}
		})
	}
	for i := range 300 {
		r.Update(shop, eps("10.0.0.1:80", fmt.Sprintf("10.0.1.%d:80", i%250), fmt.Sprintf("10.0.2.%d:80", i%7)))
		if i%50 == 0 {
			r.Apply(map[config.PoolID]*config.Pool{shop: nil})
			r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
		}
	}
	close(stop)
	wg.Wait()
	r.Update(shop, nil)
	if len(r.live) != 0 {
		t.Errorf("addresses still counted: %v", r.live)
	}
}

func thousand(shift int) []config.Endpoint {
	out := make([]config.Endpoint, 1000)
	for i := range out {
		n := i + shift
		out[i].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80)
	}
	return out
}

func BenchmarkUpdateOneOfThousandEndpoints(b *testing.B) {
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	lists := [2][]config.Endpoint{thousand(0), thousand(1)}
	r.Update(shop, lists[1])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Update(shop, lists[i%2])
	}
}

func TestS8_7_RetriesAreAShareOfWhatIsInProgress(t *testing.T) {
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{shop: {ID: shop}})
	r.Update(shop, eps("10.0.0.1:80"))
	p := r.Pool(shop)
	count := func() (n int) {
		for p.BeginRetry() {
			n++
		}
		for range n {
			p.EndRetry()
		}
		return n
	}
	if n := count(); n != fewRetries {
		t.Errorf("%d retries of an idle pool, want %d", n, fewRetries)
	}
	for range 1000 {
		p.Set().At(0).Start()
	}
	if n := count(); n != 500 {
		t.Errorf("%d retries beside 1000 in progress, want 500", n)
	}
	if n := count(); n != 500 {
		t.Errorf("%d the second time", n)
	}
}
