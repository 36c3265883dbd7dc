package std

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// h2Pool keeps HTTP/2 connections; many exchanges share one.
type h2Pool struct {
	mu     sync.Mutex
	closed bool
	conns  map[key]*h2Key
}

// h2Key is what there is for one key. It leaves the map with its last connection.
type h2Key struct {
	mu    sync.Mutex
	conns []*h2Conn
	dial  *h2Dial // under way; others wait for it
	gone  bool    // not in the map any more
}

type h2Dial struct {
	done chan struct{}
	err  *exchange.Error // set before done is closed
}

type h2Conn struct {
	cc     *http2.ClientConn
	raw    net.Conn
	key    key
	born   time.Time
	served int
	used   time.Time // last time it was idle
	last   bool      // takes no more exchanges; closes when the last one ended
}

func (p *h2Pool) of(k key) *h2Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.conns[k]
	if e == nil {
		e = &h2Key{}
		p.conns[k] = e
	}
	return e
}

// acquire reserves a stream. fresh asks for a connection of its own.
func (t *Transport) acquire(x *exchange.Exchange, target *upstream.Target, to timeouts, l *Limits) (h *h2Conn, reused bool, err *exchange.Error) {
	k := keyOf(target)
	deadline := time.Now().Add(to.connect)
	for {
		e := t.h2.of(k)
		e.mu.Lock()
		if e.gone {
			e.mu.Unlock()
			continue
		}
		if h := e.reserve(l); h != nil {
			again := h.served > 1
			e.mu.Unlock()
			return h, again, nil
		}
		if d := e.dial; d != nil {
			e.mu.Unlock()
			if err := waitDial(x, d, time.Until(deadline)); err != nil {
				return nil, false, err
			}
			continue
		}
		d := &h2Dial{done: make(chan struct{})}
		e.dial = d
		e.mu.Unlock()

		h, err := t.dialH2(x, target, to)
		e.mu.Lock()
		e.dial = nil
		if err == nil {
			h.served = 1
			h.cc.ReserveNewRequest()
			e.conns = append(e.conns, h)
		} else if err.Side == exchange.SideUpstream {
			d.err = err // the others would find the same; but a client that left is its own matter
		}
		e.mu.Unlock()
		close(d.done)
		return h, false, err
	}
}

func (e *h2Key) reserve(l *Limits) *h2Conn {
	now := time.Now()
	for _, h := range e.conns {
		if h.last {
			continue
		}
		if l.Age > 0 && now.Sub(h.born) >= l.Age || l.Requests > 0 && h.served >= l.Requests {
			h.retire()
			continue
		}
		if h.cc.ReserveNewRequest() {
			h.served++
			return h
		}
	}
	return nil
}

// retire lets h take no more exchanges; it closes after the last.
func (h *h2Conn) retire() {
	h.last = true
	h.cc.SetDoNotReuse()
}

func waitDial(x *exchange.Exchange, d *h2Dial, patience time.Duration) *exchange.Error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, ErrConnect)
	defer cancel()
	ctx, stop := untilGone(ctx, x.Down)
	defer stop()
	select {
	case <-d.done:
		if d.err != nil {
			e := *d.err
			return &e
		}
		return nil
	case <-ctx.Done():
		return dialError(ctx, exchange.StageDial, ctx.Err())
	}
}

func (t *Transport) dialH2(x *exchange.Exchange, target *upstream.Target, to timeouts) (*h2Conn, *exchange.Error) {
	nc, raw, err := t.dial(x, target, to, "h2")
	if err != nil {
		return nil, err
	}
	// x/net reads the settings of a connection from a Transport; each has its own, so that
	// none of them shares connections behind our back.
	tr := &http2.Transport{
		AllowHTTP:                  true,
		DisableCompression:         true,
		MaxHeaderListSize:          uint32(min(to.headMax, 4<<20)),
		StrictMaxConcurrentStreams: false,
		WriteByteTimeout:           to.send,
	}
	cc, cerr := tr.NewClientConn(nc)
	if cerr != nil {
		raw.Close() //nolint:errcheck // cerr is the news
		return nil, &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageDial, Err: cerr}
	}
	now := time.Now()
	return &h2Conn{cc: cc, raw: raw, key: keyOf(target), born: now, used: now}, nil
}

// release is called when an exchange on h ended.
func (t *Transport) release(h *h2Conn, reuse bool) {
	idle := t.limits.Load().Idle > 0
	t.h2.mu.Lock()
	closed := t.h2.closed
	e := t.h2.conns[h.key]
	t.h2.mu.Unlock()
	if e == nil {
		return
	}
	e.mu.Lock()
	h.used = time.Now()
	if !reuse || closed || !idle {
		h.retire()
	}
	last := h.last
	e.mu.Unlock()
	if last {
		t.h2.prune(h.key, e)
	}
}

// prune takes connections that are finished out of e, and closes them.
func (p *h2Pool) prune(k key, e *h2Key) {
	e.mu.Lock()
	kept := e.conns[:0]
	for _, h := range e.conns {
		st := h.cc.State()
		busy := st.StreamsActive+st.StreamsReserved+st.StreamsPending > 0
		if !busy && (h.last || st.Closed || st.Closing) {
			h.cc.Close() //nolint:errcheck // nothing more is wanted from it
			continue
		}
		kept = append(kept, h)
	}
	clear(e.conns[len(kept):])
	e.conns = kept
	empty := len(kept) == 0 && e.dial == nil
	e.mu.Unlock()
	if !empty {
		return
	}
	p.mu.Lock()
	e.mu.Lock()
	if p.conns[k] == e && len(e.conns) == 0 && e.dial == nil {
		delete(p.conns, k)
		e.gone = true
	}
	e.mu.Unlock()
	p.mu.Unlock()
}

// each calls f for every key, without the pool's lock.
func (p *h2Pool) each(f func(key, *h2Key)) {
	p.mu.Lock()
	all := make(map[key]*h2Key, len(p.conns))
	for k, e := range p.conns {
		all[k] = e
	}
	p.mu.Unlock()
	for k, e := range all {
		f(k, e)
	}
}

func (p *h2Pool) sweep(now time.Time, l *Limits) {
	p.each(func(k key, e *h2Key) {
		e.mu.Lock()
		for _, h := range e.conns {
			st := h.cc.State()
			if st.StreamsActive+st.StreamsReserved+st.StreamsPending > 0 {
				h.used = now
			} else if now.Sub(h.used) >= l.IdleTimeout || l.Age > 0 && now.Sub(h.born) >= l.Age {
				h.retire()
			}
		}
		e.mu.Unlock()
		p.prune(k, e)
	})
}

func (p *h2Pool) retire(drop func(key) bool) {
	p.each(func(k key, e *h2Key) {
		if !drop(k) {
			return
		}
		e.mu.Lock()
		for _, h := range e.conns {
			h.retire()
		}
		e.mu.Unlock()
		p.prune(k, e)
	})
}

func (p *h2Pool) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.retire(func(key) bool { return true })
}
