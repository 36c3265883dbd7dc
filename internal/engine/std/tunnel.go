package std

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// halfClosed is how long the other direction of a tunnel may be silent once one has ended.
const halfClosed = 60 * time.Second

// tunnel pumps both ways until both directions ended, then closes t. What the client sent
// behind its request goes first.
func (c *conn) tunnel(x *exchange.Exchange, t io.ReadWriteCloser) {
	c.watch.stop()
	// Where this fails the connection is closed: the pumps find out.
	_ = c.setReadDeadline(time.Time{})
	p := pump{tunnel: t, timeout: or(x.Limits.SendTimeout)}
	up := make(chan struct{})
	go func() {
		defer close(up)
		p.upwards(c)
	}()
	sent := p.downwards(c)
	<-up
	p.close()
	if t := p.idle.Load(); t != nil {
		t.Stop()
	}
	x.Stats.BytesSent += sent
	x.Stats.BodyBytesSent += sent
	x.Stats.RequestBytes += p.received
}

// pump is one tunnel.
type pump struct {
	tunnel   io.ReadWriteCloser
	timeout  time.Duration
	received int64 // from the client; of the upward goroutine until it ended
	once     sync.Once
	failed   atomic.Bool
	halves   atomic.Int32 // directions that ended
	idle     atomic.Pointer[time.Timer]
}

func (p *pump) close() {
	p.once.Do(func() {
		// Both directions are over or broken: nobody is left to tell.
		_ = p.tunnel.Close()
	})
}

// fail breaks both directions.
func (p *pump) fail(c *conn) {
	p.failed.Store(true)
	p.close()
	// Where it fails the client's side has ended already.
	_ = c.setReadDeadline(past)
}

// half is called by a direction that ended in order. From then on the other one may not be silent for long.
func (p *pump) half(c *conn) {
	if p.halves.Add(1) == 1 {
		p.idle.Store(time.AfterFunc(halfClosed, func() { p.fail(c) }))
	} else if t := p.idle.Load(); t != nil {
		t.Stop()
	}
}

// moved notes traffic.
func (p *pump) moved() {
	if t := p.idle.Load(); t != nil {
		t.Reset(halfClosed)
	}
}

// upwards carries what the client sends.
func (p *pump) upwards(c *conn) {
	buf := outBuffers.Get().(*outBuffer)
	defer outBuffers.Put(buf)
	for {
		var n int
		var err error
		if c.r < c.w {
			n = copy(buf[:], c.buf[c.r:c.w])
			c.r += n
		} else {
			n, err = c.nc.Read(buf[:])
		}
		if n > 0 {
			p.received += int64(n)
			p.moved()
			if _, werr := p.tunnel.Write(buf[:n]); werr != nil {
				p.fail(c)
				return
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			p.fail(c)
			return
		}
		if h, ok := p.tunnel.(interface{ CloseWrite() error }); !ok || h.CloseWrite() != nil {
			p.fail(c)
			return
		}
		p.half(c)
		return
	}
}

// downwards carries what the endpoint sends.
func (p *pump) downwards(c *conn) (sent int64) {
	buf := outBuffers.Get().(*outBuffer)
	defer outBuffers.Put(buf)
	for {
		n, err := p.tunnel.Read(buf[:])
		if n > 0 {
			p.moved()
			werr := c.nc.SetWriteDeadline(time.Now().Add(p.timeout))
			if werr == nil {
				var m int
				m, werr = c.nc.Write(buf[:n])
				sent += int64(m)
			}
			if werr != nil {
				p.fail(c)
				return sent
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF {
			p.fail(c)
			return sent
		}
		if h, ok := c.nc.(interface{ CloseWrite() error }); !ok || h.CloseWrite() != nil {
			p.fail(c)
			return sent
		}
		p.half(c)
		return sent
	}
}
