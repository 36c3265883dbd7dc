package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Policy picks endpoints. tried holds those this exchange was sent to already; the
// policy prefers others where its rule leaves a choice. nil means the set is empty.
// Many goroutines pick at once.
type Policy interface {
	Pick(x *exchange.Exchange, set *Set, tried *Tried) *Endpoint
}

// Observer is implemented by policies that learn from finished attempts. took is the time
// to connect and to receive the whole response.
type Observer interface {
	Observe(e *Endpoint, took time.Duration)
}

// Options are what a policy is made from. The zero value of each field has a default.
type Options struct {
	// HashBy appends the text to hash; needed by chash and chashsubset.
	HashBy func(dst []byte, x *exchange.Exchange) []byte
	// SubsetSize is the size of a chashsubset; 0: 3.
	SubsetSize int
	// IntN returns a random number from 0 to n-1.
	IntN func(n int) int
	Now  Clock
}

// policies is the registry: read-only.
var policies = map[string]func(Options) (Policy, error){
	"round_robin": newRoundRobin,
	"ewma":        newEWMA,
	"chash":       newHash,
	"chashsubset": newSubset,
}

// Names returns the names of all policies, sorted.
func Names() []string {
	names := make([]string, 0, len(policies))
	for n := range policies {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// New returns the policy called name.
func New(name string, o Options) (Policy, error) {
	mk, ok := policies[name]
	if !ok {
		return nil, fmt.Errorf("balancing policy %q is not one of %s", name, strings.Join(Names(), ", "))
	}
	if o.IntN == nil {
		o.IntN = rand.IntN
	}
	if o.Now == nil {
		o.Now = Monotonic
	}
	if o.SubsetSize <= 0 {
		o.SubsetSize = 3
	}
	return mk(o)
}

// roundRobin takes endpoints in turn. The start is random, so that replicas do not all
// begin with the same endpoint. It fills a cache line, as stats does.
type roundRobin struct {
	next atomic.Uint64
	now  Clock
	_    [48]byte
}

func newRoundRobin(o Options) (Policy, error) {
	p := &roundRobin{now: o.Now}
	p.next.Store(uint64(o.IntN(1 << 30)))
	return p, nil
}

func (p *roundRobin) Pick(_ *exchange.Exchange, set *Set, tried *Tried) *Endpoint {
	n := set.Len()
	if n == 0 {
		return nil
	}
	at := int(p.next.Add(1) % uint64(n))
	best, bestRank := set.list[at], rank(set.list[at], tried, p.now)
	for i := 1; i < n && bestRank > 0; i++ {
		at++
		if at == n {
			at = 0
		}
		e := set.list[at]
		if r := rank(e, tried, p.now); r < bestRank {
			best, bestRank = e, r
		}
	}
	return best
}

// ewma takes the faster of two random endpoints by a moving average of their response
// times that decays with time. The averages are the endpoints' own.
type ewma struct {
	intn func(int) int
	now  Clock
}

// decay is the time in which an old observation loses all but 1/e of its weight (reference/annotations.md 15.2).
const decay = 10 * time.Second

var _ Observer = (*ewma)(nil)

func newEWMA(o Options) (Policy, error) { return &ewma{intn: o.IntN, now: o.Now}, nil }

func (p *ewma) Pick(_ *exchange.Exchange, set *Set, tried *Tried) *Endpoint {
	n := set.Len()
	switch n {
	case 0:
		return nil
	case 1:
		return set.list[0]
	}
	i := p.intn(n)
	j := p.intn(n - 1)
	if j >= i {
		j++
	}
	now := p.now()
	at := func() time.Duration { return now }
	a, b := set.list[i], set.list[j]
	ra, rb := rank(a, tried, at), rank(b, tried, at)
	sa, sb := score(a, now), score(b, now)
	if better(rb, sb, ra, sa) {
		a, ra, sa = b, rb, sb
	}
	// Both drawn endpoints are tried or suspect: look at all once, rather than draw again.
	if ra > 0 {
		start := p.intn(n)
		for k := range n {
			e := set.list[(start+k)%n]
			if r, s := rank(e, tried, at), score(e, now); better(r, s, ra, sa) {
				a, ra, sa = e, r, s
			}
		}
	}
	return a
}

// Observe folds one response time into the endpoint's average.
func (p *ewma) Observe(e *Endpoint, took time.Duration) {
	now := p.now()
	w := math.Exp(-float64(max(now-time.Duration(e.touched.Load()), 0)) / float64(decay))
	for {
		old := e.latency.Load()
		v := took.Seconds()
		if old != 0 {
			v = math.Float64frombits(old)*w + v*(1-w)
		}
		// 0 means unknown.
		if e.latency.CompareAndSwap(old, math.Float64bits(max(v, 1e-9))) {
			break
		}
	}
	e.touched.Store(int64(now))
}

// score is the average decayed to now: an endpoint not used for long becomes attractive again.
func score(e *Endpoint, now time.Duration) float64 {
	l := math.Float64frombits(e.latency.Load())
	if l == 0 {
		return 0
	}
	return l * math.Exp(-float64(max(now-time.Duration(e.touched.Load()), 0))/float64(decay))
}

var keys = sync.Pool{New: func() any { b := make([]byte, 0, 256); return &b }}

// hash sends equal keys to the same endpoint.
//
// compat: a retry goes to the same endpoint again (reference/annotations.md 15.3).
type hash struct {
	by func([]byte, *exchange.Exchange) []byte
}

func newHash(o Options) (Policy, error) {
	if o.HashBy == nil {
		return nil, fmt.Errorf("chash: no upstream-hash-by given")
	}
	return &hash{o.HashBy}, nil
}

func (p *hash) Pick(x *exchange.Exchange, set *Set, _ *Tried) *Endpoint {
	if set.Len() == 0 {
		return nil
	}
	return set.list[find(p.by, x, set.Ring())]
}

func find(by func([]byte, *exchange.Exchange) []byte, x *exchange.Exchange, r *Ring) int {
	b := keys.Get().(*[]byte)
	*b = by((*b)[:0], x)
	i := r.Find(*b)
	keys.Put(b)
	return i
}

// subset hashes to a small set of endpoints and takes a random one of it.
type subset struct {
	by   func([]byte, *exchange.Exchange) []byte
	size int
	intn func(int) int
	now  Clock
	cut  atomic.Pointer[cutSet]
}

type cutSet struct {
	of   *Set
	ring *Ring
	sets [][]*Endpoint
}

func newSubset(o Options) (Policy, error) {
	if o.HashBy == nil {
		return nil, fmt.Errorf("chashsubset: no upstream-hash-by given")
	}
	return &subset{by: o.HashBy, size: o.SubsetSize, intn: o.IntN, now: o.Now}, nil
}

func (p *subset) Pick(x *exchange.Exchange, set *Set, tried *Tried) *Endpoint {
	if set.Len() == 0 {
		return nil
	}
	c := p.cut.Load()
	if c == nil || c.of != set {
		// Several goroutines may cut the same set at once; the results are equal.
		c = cut(set, p.size)
		p.cut.Store(c)
	}
	s := c.sets[find(p.by, x, c.ring)]
	at := p.intn(len(s))
	best, bestRank := s[at], rank(s[at], tried, p.now)
	for i := 1; i < len(s) && bestRank > 0; i++ {
		e := s[(at+i)%len(s)]
		if r := rank(e, tried, p.now); r < bestRank {
			best, bestRank = e, r
		}
	}
	return best
}

// cut makes ceil(n/size) sets; the last is filled up from the start (reference/annotations.md 15.3).
func cut(set *Set, size int) *cutSet {
	list := slices.Clone(set.list)
	count := (len(list) + size - 1) / size
	for i := 0; len(list) < count*size; i++ {
		list = append(list, list[i])
	}
	c := &cutSet{of: set}
	names := make([]string, count)
	for i := range count {
		c.sets = append(c.sets, list[i*size:(i+1)*size])
		// compat: the ring's nodes are called set1, set2, … in ingress-nginx.
		names[i] = fmt.Sprintf("set%d", i+1)
	}
	c.ring = NewRing(names)
	return c
}
