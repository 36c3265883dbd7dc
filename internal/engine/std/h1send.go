package std

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// outBuffer is where a response is put together: room for a head and a chunk line, content, room for
// the end of a chunk.
type outBuffer [headRoom + contentRoom + tailRoom]byte

const (
	headRoom    = 4 << 10
	contentRoom = 32 << 10
	tailRoom    = 16 // CR LF 0 CR LF CR LF
)

var outBuffers = sync.Pool{New: func() any { return new(outBuffer) }}

// buffered is implemented by bodies that know how many bytes a Read returns without waiting.
type buffered interface{ Buffered() int }

var errShortBody = errors.New("content ended before its length")

// send writes the response. It reports whether the connection may go on.
func (c *conn) send(x *exchange.Exchange, g *config.Global) bool {
	c.out = outBuffers.Get().(*outBuffer)
	keep := c.head.KeepAlive && x.Malformed == 0 && g.KeepAlive > 0 &&
		c.requests.Load() < uint64(max(g.KeepAliveRequests, 0)) && !c.e.closing(c.info) && c.body.cheap()
	o := h1.ResponseOptions{Method: x.Req.Method, Proto: x.Req.Proto, KeepAlive: keep, Date: c.e.clock.Date(time.Now())}
	c.wmu.Lock()
	c.begun = true
	c.wmu.Unlock()
	head, framing, keep := h1.AppendResponseHead(c.out[:0:headRoom], &x.Resp, &o)
	c.deadline = time.Time{}
	before := x.Stats.BytesSent // an interim response, perhaps
	var err error
	if t := x.Resp.Tunnel; t != nil {
		if err = c.write(x, head); err == nil {
			outBuffers.Put(c.out)
			c.out = nil
			c.tunnel(x, t)
		} else {
			_ = t.Close() // the client is gone; nobody is left to tell
		}
		c.broken = true // over, both ways
		return false
	}
	err = c.content(x, head, framing)
	x.Stats.BodyBytesSent = max(x.Stats.BytesSent-before-int64(len(head)), 0)
	if b := x.Resp.Body; b != nil {
		x.Resp.Body = nil
		// Its errors came through Read; here only resources are given back.
		_ = b.Close()
	}
	if err != nil {
		c.broken = true
		if framing == h1.FrameUntilClose {
			c.reset()
		}
		return false
	}
	return keep
}

// content writes head and body. Small answers leave in one write; the head of a stream goes out
// before its first byte is there.
func (c *conn) content(x *exchange.Exchange, head []byte, framing h1.Framing) error {
	body := x.Resp.Body
	if body == nil || framing == h1.FrameNone || framing == h1.FrameLength && x.Resp.Length == 0 {
		return c.write(x, head)
	}
	if !c.joins(x, framing) || len(head) > headRoom-tailRoom {
		if err := c.write(x, head); err != nil {
			return err
		}
		head = nil
	}
	p := pacer{rate: x.Limits.Rate, after: x.Limits.RateAfter}
	left := x.Resp.Length
	for empty := 0; ; {
		room := contentRoom
		if framing == h1.FrameLength {
			room = int(min(int64(room), left))
		}
		n, err := body.Read(c.out[headRoom : headRoom+p.most(room)])
		if n == 0 && err == nil {
			if empty++; empty > 100 {
				return io.ErrNoProgress
			}
			continue
		}
		empty = 0
		if framing == h1.FrameLength {
			if left -= int64(n); left == 0 {
				err = io.EOF
			} else if err == io.EOF {
				err = errShortBody
			}
		}
		last := err == io.EOF
		if n > 0 || len(head) > 0 || last {
			if werr := c.write(x, c.frame(head, n, framing, last)); werr != nil {
				return werr
			}
			head = nil
		}
		if last {
			return nil
		}
		if err != nil {
			return err
		}
		if !p.pace(n, c.Gone) {
			return exchange.ErrClientGone
		}
	}
}

// joins reports whether the head may wait for the first content.
func (c *conn) joins(x *exchange.Exchange, framing h1.Framing) bool {
	if !x.Resp.FromUpstream || framing == h1.FrameLength {
		return true // content is here, or follows at once
	}
	b, ok := x.Resp.Body.(buffered)
	return ok && b.Buffered() > 0
}

// frame puts head, framing and the n content bytes in the buffer together, without moving the content.
func (c *conn) frame(head []byte, n int, framing h1.Framing, last bool) []byte {
	from, to := headRoom, headRoom+n
	if framing == h1.FrameChunked {
		if n > 0 {
			var line [18]byte
			l := h1.AppendChunkHead(line[:0], n)
			from -= copy(c.out[from-len(l):], l)
			to += copy(c.out[to:], "\r\n")
		}
		if last {
			// compat: HTTP/1 clients get no trailers (parity 60-http).
			to += copy(c.out[to:], "0\r\n\r\n")
		}
	}
	if len(head) > 0 {
		from -= copy(c.out[from-len(head):], head)
	}
	return c.out[from:to]
}

// write sends b within SendTimeout.
func (c *conn) write(x *exchange.Exchange, b []byte) error {
	timeout := or(x.Limits.SendTimeout)
	// A deadline costs a lock: one that has three quarters left is good enough.
	if now := time.Now(); c.deadline.Sub(now) < timeout-timeout/4 {
		c.deadline = now.Add(timeout)
		if err := c.nc.SetWriteDeadline(c.deadline); err != nil {
			return err
		}
	}
	n, err := c.nc.Write(b)
	x.Stats.BytesSent += int64(n)
	return err
}

// reset makes an end that HTTP/1.0 would take for a whole answer visible as a failure.
func (c *conn) reset() {
	nc := c.nc
	for {
		t, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = t.NetConn()
	}
	if t, ok := nc.(interface{ SetLinger(int) error }); ok {
		// Where it fails the connection is dead already.
		_ = t.SetLinger(0)
	}
	// Underneath TLS, whose own Close would say that all was well.
	_ = nc.Close()
}

// pacer slows a response down to its rate, as limit_rate does: content above after may not run
// ahead of the time since it began.
type pacer struct {
	rate, after int64
	sent        int64
	began       time.Time
}

func (p *pacer) most(room int) int {
	if p.rate > 0 {
		return int(min(int64(room), max(p.rate, 1)))
	}
	return room
}

// pace waits until more may be sent. False: the client went away meanwhile.
func (p *pacer) pace(n int, gone func() <-chan struct{}) bool {
	if p.rate <= 0 {
		return true
	}
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	p.sent += int64(n)
	over := p.sent - p.after
	if over <= 0 {
		return true
	}
	wait := time.Duration(float64(over)/float64(p.rate)*float64(time.Second)) - now.Sub(p.began)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-gone():
		return false
	}
}
