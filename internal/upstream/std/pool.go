package std

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// idlePool keeps HTTP/1 connections between exchanges, newest first out. It is cut
// into shards so that exchanges do not wait for each other.
type idlePool struct {
	seed   maphash.Seed
	count  atomic.Int64
	closed atomic.Bool
	shards [16]idleShard
}

type idleShard struct {
	mu    sync.Mutex
	conns map[key][]*conn // oldest first
}

func (p *idlePool) init() {
	p.seed = maphash.MakeSeed()
	for i := range p.shards {
		p.shards[i].conns = map[key][]*conn{}
	}
}

func (p *idlePool) shard(k key) *idleShard {
	return &p.shards[maphash.Comparable(p.seed, k)%uint64(len(p.shards))]
}

// get takes a connection that can still be used, or returns nil.
func (p *idlePool) get(k key, now time.Time, l *Limits) *conn {
	s := p.shard(k)
	for {
		s.mu.Lock()
		list := s.conns[k]
		if len(list) == 0 {
			s.mu.Unlock()
			return nil
		}
		c := list[len(list)-1]
		list[len(list)-1] = nil
		s.set(k, list[:len(list)-1])
		s.mu.Unlock()
		p.count.Add(-1)
		if now.Before(c.idleUntil) && (l.Age <= 0 || now.Sub(c.born) < l.Age) && quiet(c.raw) {
			return c
		}
		c.close()
	}
}

func (s *idleShard) set(k key, list []*conn) {
	if len(list) == 0 {
		delete(s.conns, k)
	} else {
		s.conns[k] = list
	}
}

// put keeps c. When there are too many the oldest of the same shard makes room; if
// there is none, c is closed.
func (p *idlePool) put(c *conn, limit int) {
	if limit <= 0 || p.closed.Load() {
		c.close()
		return
	}
	var old *conn
	s := p.shard(c.key)
	s.mu.Lock()
	if p.count.Add(1) > int64(limit) {
		p.count.Add(-1)
		if old = s.popOldest(); old == nil {
			s.mu.Unlock()
			c.close()
			return
		}
	}
	s.conns[c.key] = append(s.conns[c.key], c)
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	if p.closed.Load() {
		p.shut()
	}
}

func (s *idleShard) popOldest() *conn {
	var of key
	var old *conn
	for k, list := range s.conns {
		if old == nil || list[0].idleSince.Before(old.idleSince) {
			of, old = k, list[0]
		}
	}
	if old != nil {
		s.set(of, append([]*conn(nil), s.conns[of][1:]...))
	}
	return old
}

// closeIf closes the idle connections drop accepts.
func (p *idlePool) closeIf(drop func(*conn) bool) {
	for i := range p.shards {
		s := &p.shards[i]
		var gone []*conn
		s.mu.Lock()
		for k, list := range s.conns {
			kept := list[:0]
			for _, c := range list {
				if drop(c) {
					gone = append(gone, c)
				} else {
					kept = append(kept, c)
				}
			}
			clear(list[len(kept):])
			s.set(k, kept)
		}
		s.mu.Unlock()
		p.count.Add(-int64(len(gone)))
		for _, c := range gone {
			c.close()
		}
	}
}

func (p *idlePool) sweep(now time.Time) {
	p.closeIf(func(c *conn) bool { return !now.Before(c.idleUntil) || !quiet(c.raw) })
}

// trim closes connections until no more than limit are left.
func (p *idlePool) trim(limit int) {
	over := p.count.Load() - int64(limit)
	p.closeIf(func(*conn) bool { over--; return over >= 0 })
}

func (p *idlePool) shut() {
	p.closed.Store(true)
	p.closeIf(func(*conn) bool { return true })
}
