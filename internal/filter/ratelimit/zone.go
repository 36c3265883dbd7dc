package ratelimit

import (
	"sync"

	"github.com/lintel-ingress/lintel/internal/filter"
)

const (
	shards = 16
	// perShard bounds a zone to some 65,000 clients, as nginx's zone of 5 MB does; the
	// client not seen for longest makes room.
	perShard = 4096
	// idle is how long an empty bucket is kept, in milliseconds.
	idle = 60_000
)

// zone holds the buckets of one Ingress.
type zone struct {
	shard [shards]shard
}

func newZone() *zone { return &zone{} }

// shard is a table of buckets and their order of use. Nodes live in one slice and link by
// index, so that a million clients are not a million objects.
type shard struct {
	mu    sync.Mutex
	index map[filter.ClientKey]int32
	nodes []node // nodes[0] is the ring's anchor: next is the latest, prev the oldest
	free  []int32
}

type node struct {
	key        filter.ClientKey
	prev, next int32
	// By kind of rule: when the bucket was last filled (milliseconds, 0: never), and
	// how many thousandths of a request it holds.
	last, excess [2]int64
}

// take counts one request against every rule, or against none when one refuses it.
func (z *zone) take(key filter.ClientKey, now int64, rules []rule) bool {
	s := &z.shard[key.Shard(shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.nodes[s.find(key, now, rules)]
	var excess [2]int64
	for _, r := range rules {
		if n.last[r.kind] == 0 {
			continue
		}
		e := n.excess[r.kind] - leaked(r, now-n.last[r.kind]) + 1000
		if e > r.burst {
			return false
		}
		excess[r.kind] = max(e, 0)
	}
	for _, r := range rules {
		n.last[r.kind], n.excess[r.kind] = now, excess[r.kind]
	}
	return true
}

// leaked is what ran out of a bucket in ms milliseconds. A clock that went back leaks nothing.
func leaked(r rule, ms int64) int64 {
	if ms <= 0 {
		return 0
	}
	// A day empties every bucket there can be; more would only risk an overflow.
	return r.rate * min(ms, 86_400_000) / 1000
}

// find returns the place of key's node, made and moved to the front as needed.
func (s *shard) find(key filter.ClientKey, now int64, rules []rule) int32 {
	if s.index == nil {
		s.index = make(map[filter.ClientKey]int32)
		s.nodes = append(s.nodes, node{})
	}
	if i, ok := s.index[key]; ok {
		s.unlink(i)
		s.link(i)
		return i
	}
	// compat: nginx looks at the two oldest whenever a client is new.
	for range 2 {
		if oldest := s.nodes[0].prev; oldest != 0 && s.nodes[oldest].drained(now, rules) {
			s.drop(oldest)
		}
	}
	if len(s.index) >= perShard {
		s.drop(s.nodes[0].prev)
	}
	var i int32
	if last := len(s.free) - 1; last >= 0 {
		i, s.free = s.free[last], s.free[:last]
	} else {
		s.nodes = append(s.nodes, node{})
		i = int32(len(s.nodes) - 1)
	}
	s.nodes[i] = node{key: key}
	s.index[key] = i
	s.link(i)
	return i
}

func (n *node) drained(now int64, rules []rule) bool {
	for _, r := range rules {
		if ms := now - n.last[r.kind]; ms < idle || n.excess[r.kind] > leaked(r, ms) {
			return false
		}
	}
	return true
}

func (s *shard) drop(i int32) {
	s.unlink(i)
	delete(s.index, s.nodes[i].key)
	s.free = append(s.free, i)
}

func (s *shard) unlink(i int32) {
	n := &s.nodes[i]
	s.nodes[n.prev].next, s.nodes[n.next].prev = n.next, n.prev
}

func (s *shard) link(i int32) {
	first := s.nodes[0].next
	s.nodes[i].prev, s.nodes[i].next = 0, first
	s.nodes[first].prev, s.nodes[0].next = i, i
}
