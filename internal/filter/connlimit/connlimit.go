// Package connlimit refuses requests of clients that have more of them in progress
// than limit-connections allows.
//
// As in nginx each HTTP/2 stream counts, and idle connections do not. The count
// belongs to the Ingress and outlives changes of the configuration.
package connlimit

import (
	"sync"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the limit of one Ingress; every route of it has the same.
type Config struct {
	Zone   string // whose counts: "namespace/name" of the Ingress
	Key    string // text with $variables; "": the client's address
	Allow  filter.Prefixes
	Max    int // requests in progress
	Status int // what refused requests get
}

// FilterName is "conn-limit".
func (Config) FilterName() string { return "conn-limit" }

// Build looks the zone's counts up.
func (c Config) Build(env *filter.Env) (any, error) {
	if c.Max <= 0 {
		return nil, nil
	}
	key, err := filter.NewKeyFunc(c.Key, c.Allow)
	if err != nil {
		return nil, err
	}
	z := env.Keep("conn-limit/"+c.Zone, func() any { return &zone{} }).(*zone)
	return &limiter{key, z, c.Max, c.Status}, nil
}

const shards = 16

// zone counts by client. It holds only clients with requests in progress, so it is
// as small as the number of exchanges.
type zone struct {
	shard [shards]struct {
		mu    sync.Mutex
		count map[filter.ClientKey]int
	}
}

func (z *zone) enter(k filter.ClientKey, limit int) bool {
	s := &z.shard[k.Shard(shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.count[k]
	if n >= limit {
		return false
	}
	if s.count == nil {
		s.count = make(map[filter.ClientKey]int)
	}
	s.count[k] = n + 1
	return true
}

func (z *zone) leave(k filter.ClientKey) {
	s := &z.shard[k.Shard(shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.count[k]; n > 1 {
		s.count[k] = n - 1
	} else {
		delete(s.count, k)
	}
}

type limiter struct {
	key    *filter.KeyFunc
	zone   *zone
	max    int
	status int
}

var (
	_ filter.OnRequest = (*limiter)(nil)
	_ filter.OnDone    = (*limiter)(nil)
)

// held is the place an exchange takes; zone is nil when it takes none.
type held struct {
	zone *zone
	key  filter.ClientKey
}

var slot = exchange.NewSlot[held]()

func (l *limiter) Request(x *exchange.Exchange) exchange.Verdict {
	key, ok := l.key.Key(x)
	if !ok {
		return exchange.Continue
	}
	if !l.zone.enter(key, l.max) {
		return x.Reply(l.status)
	}
	*slot.Of(x) = held{l.zone, key}
	return exchange.Continue
}

func (l *limiter) Done(x *exchange.Exchange) {
	if h := slot.Peek(x); h != nil && h.zone != nil {
		h.zone.leave(h.key)
		h.zone = nil
	}
}
