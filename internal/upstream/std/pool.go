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

// idleShard holds connections in lists by key, the newest first, linked by conn.older.
type idleShard struct {
	mu    sync.Mutex
	conns map[key]*conn
}

func (p *idlePool) init() {
	p.seed = maphash.MakeSeed()
	for i := range p.shards {
		p.shards[i].conns = map[key]*conn{}
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
		c := s.conns[k]
		if c == nil {
			s.mu.Unlock()
			return nil
		}
		s.set(k, c.older)
		c.older = nil
		s.mu.Unlock()
		p.count.Add(-1)
		if now.Before(c.idleUntil) && (l.Age <= 0 || now.Sub(c.born) < l.Age) && c.socket.quiet() {
			return c
		}
		c.close()
	}
}

func (s *idleShard) set(k key, newest *conn) {
	if newest == nil {
		delete(s.conns, k)
	} else {
		s.conns[k] = newest
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
	c.older = s.conns[c.key]
	s.conns[c.key] = c
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	if p.closed.Load() {
		p.shut()
	}
}

func (s *idleShard) popOldest() *conn {
	var old, before *conn
	for _, newest := range s.conns {
		var prev *conn
		c := newest
		for c.older != nil {
			prev, c = c, c.older
		}
		if old == nil || c.idleSince.Before(old.idleSince) {
			old, before = c, prev
		}
	}
	switch {
	case old == nil:
	case before == nil:
		delete(s.conns, old.key)
	default:
		before.older = nil
	}
	return old
}

// closeIf closes the idle connections drop accepts.
func (p *idlePool) closeIf(drop func(*conn) bool) {
	for i := range p.shards {
		s := &p.shards[i]
		var gone []*conn
		s.mu.Lock()
		for k, c := range s.conns {
			var newest *conn
			at := &newest
			for c != nil {
				older := c.older
				c.older = nil
				if drop(c) {
					gone = append(gone, c)
				} else {
					*at, at = c, &c.older
				}
				c = older
			}
			s.set(k, newest)
		}
		s.mu.Unlock()
		p.count.Add(-int64(len(gone)))
		for _, c := range gone {
			c.close()
		}
	}
}

func (p *idlePool) sweep(now time.Time) {
	p.closeIf(func(c *conn) bool { return !now.Before(c.idleUntil) || !c.socket.quiet() })
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
