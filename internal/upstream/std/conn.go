package std

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

const bufSize = 16 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}

// conn is one HTTP/1 connection. Between begin and end it belongs to one exchange: the
// exchange's goroutine reads, that or the sender's goroutine writes.
type conn struct {
	t       *Transport
	key     key
	nc, raw net.Conn
	socket  socket
	born    time.Time
	served  int

	idleSince, idleUntil time.Time
	older                *conn // in the pool

	got    bool    // bytes of an answer came
	pooled *[]byte // from buffers; nil while idle
	buf    []byte  // *pooled, or a larger one
	r, w   int     // unread part of buf
	out    []byte
	parser h1.ResponseParser
	chunks h1.ChunkedDecoder

	to   timeouts
	down exchange.Downstream
	body *reqBody

	mu       sync.Mutex
	cause    error // why input and output were cut off
	sending  bool  // the sender still works: the read timeout does not run
	readFrom time.Time
	writeBy  time.Time // the write deadline, as last set; reads and writes of each exchange look to theirs
	sendErr  error

	last               atomic.Bool   // the sender is at the last piece
	sent               chan struct{} // closed when the sender ended; nil: there was none
	unwatch, unwatched chan struct{} // the watch on the client; nil: not watched
}

func (c *conn) begin(to timeouts, down exchange.Downstream) {
	c.to, c.down = to, down
	c.pooled = buffers.Get().(*[]byte)
	c.buf, c.r, c.w = *c.pooled, 0, 0
	c.parser.Reset()
	c.parser.Limit = to.headMax
	c.chunks.Reset()
	c.got = false
	c.cause, c.sending, c.sendErr, c.sent, c.body = nil, false, nil, nil, nil
}

var past = time.Unix(1, 0)

// cut ends pending and later input and output with err.
func (c *conn) cut(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = err
		c.nc.SetDeadline(past) //nolint:errcheck // fails on a closed connection only, where nothing is pending
	}
}

// arm sets the deadline of the next read.
func (c *conn) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	var d time.Time
	if !c.sending {
		d = c.readFrom.Add(c.to.read)
	}
	if c.unwatch == nil && c.down != nil {
		if l := time.Now().Add(lookAfter); d.IsZero() || l.Before(d) {
			d = l
		}
	}
	return c.nc.SetReadDeadline(d)
}

// read waits for bytes, for the read timeout at most, which starts when the request is sent.
func (c *conn) read(p []byte) (int, error) {
	c.mu.Lock()
	c.readFrom = time.Now()
	c.mu.Unlock()
	for {
		if err := c.arm(); err != nil {
			return 0, err
		}
		n, err := c.nc.Read(p)
		if n > 0 || err == nil {
			c.got = true
			return n, nil
		}
		c.mu.Lock()
		cause := c.cause
		late := !c.sending && !time.Now().Before(c.readFrom.Add(c.to.read))
		c.mu.Unlock()
		switch {
		case cause != nil:
			return 0, cause
		case !isTimeout(err):
			return 0, err
		case late:
			return 0, ErrRead
		case c.unwatch == nil && c.down != nil:
			c.watch()
		}
	}
}

// watch cuts the connection off when the client goes away.
func (c *conn) watch() {
	gone := c.down.Gone()
	unwatch, unwatched := make(chan struct{}), make(chan struct{})
	c.unwatch, c.unwatched = unwatch, unwatched
	go func() {
		defer close(unwatched)
		select {
		case <-gone:
			c.cut(exchange.ErrClientGone)
		case <-unwatch:
		}
	}()
}

func (c *conn) stopWatch() {
	if c.unwatch != nil {
		close(c.unwatch)
		<-c.unwatched
		c.unwatch, c.unwatched = nil, nil
	}
}

// fill reads more into buf, which grows up to limit.
func (c *conn) fill(limit int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else {
			if len(c.buf) > limit {
				return h1.ErrHeadTooLarge
			}
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	n, err := c.read(c.buf[c.w:])
	c.w += n
	return err
}

// write sends b, waiting for the send timeout at most.
func (c *conn) write(b []byte) (int, error) {
	c.mu.Lock()
	if err := c.cause; err != nil {
		c.mu.Unlock()
		return 0, err
	}
	// A deadline costs a lock and a timer: one that has three quarters left is good enough.
	now := time.Now()
	var err error
	if left := c.writeBy.Sub(now); left < c.to.send-c.to.send/4 || left > c.to.send {
		c.writeBy = now.Add(c.to.send)
		err = c.nc.SetWriteDeadline(c.writeBy)
	}
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := c.nc.Write(b)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cause != nil {
			return n, c.cause
		}
		if isTimeout(err) {
			return n, ErrSend
		}
	}
	return n, err
}

// startSending sends the request's content on a goroutine of its own, so that an
// answer can be read meanwhile.
func (c *conn) startSending(framing h1.Framing, length int64, trailer *exchange.Fields) {
	c.mu.Lock()
	c.sending = true
	c.mu.Unlock()
	c.last.Store(false)
	sent := make(chan struct{})
	c.sent = sent
	go func() {
		defer close(sent)
		var err error
		if framing == h1.FrameChunked {
			err = c.sendChunks(trailer)
		} else {
			err = c.sendLength(length)
		}
		now := time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sending, c.sendErr, c.readFrom = false, err, now
		if c.cause != nil {
			return
		}
		if err != nil && (errors.Is(err, ErrSend) || errors.Is(err, ErrBodyShort) || c.body.failure() != nil) {
			c.cause = err
			c.nc.SetDeadline(past) //nolint:errcheck // as in cut
			return
		}
		// Any other failure is the endpoint's, which may have answered before it closed. The
		// reader wakes up and finds its timeout running.
		c.nc.SetReadDeadline(now.Add(min(lookAfter, c.to.read))) //nolint:errcheck // as in cut
	}()
}

func (c *conn) sendLength(left int64) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for left > 0 {
		n, err := c.body.Read((*b)[:min(int64(len(*b)), left)])
		left -= int64(n)
		if n > 0 {
			c.last.Store(left == 0)
			if _, werr := c.write((*b)[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF && left > 0 {
			return ErrBodyShort
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

func (c *conn) sendChunks(trailer *exchange.Fields) error {
	const room = 8 // for "3ffe" and a line end
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := c.body.Read((*b)[room : len(*b)-2])
		if n > 0 {
			var num [room]byte
			head := append(strconv.AppendInt(num[:0], int64(n), 16), '\r', '\n')
			from := room - len(head)
			copy((*b)[from:], head)
			out := append((*b)[from:room+n], '\r', '\n')
			if _, werr := c.write(out); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			c.last.Store(true)
			_, werr := c.write(h1.AppendLastChunk(nil, trailer))
			return werr
		}
		if err != nil {
			return err
		}
	}
}

// stopSending waits until nobody sends any more and reports whether the whole
// request had been sent.
func (c *conn) stopSending() (whole bool) {
	if c.sent == nil {
		return true
	}
	select {
	case <-c.sent:
	default:
		if c.last.Load() {
			// The endpoint answered at once; the sender has only to notice that it is done.
			timer := time.NewTimer(10 * time.Millisecond)
			select {
			case <-c.sent:
			case <-timer.C:
			}
			timer.Stop()
		}
		c.mu.Lock()
		sending := c.sending
		c.mu.Unlock()
		if sending {
			c.cut(errStopSending)
			c.body.detach()
		}
		<-c.sent
	}
	return c.sendErr == nil
}

// end gives the connection back: to the pool if it may be used again, else it is closed.
func (c *conn) end(reuse bool) {
	whole := c.stopSending()
	c.stopWatch()
	c.mu.Lock()
	broken := c.cause != nil
	c.mu.Unlock()
	reuse = reuse && whole && !broken && c.r == c.w
	c.down, c.body, c.sent = nil, nil, nil
	buffers.Put(c.pooled)
	c.pooled, c.buf = nil, nil
	if cap(c.out) > 4*bufSize {
		c.out = nil
	}
	if broken {
		c.raw.Close() //nolint:errcheck // as in close; without a TLS goodbye that might wait
		return
	}
	if !reuse {
		c.close()
		return
	}
	c.t.idle.put(c, c.t.limits.Load().Idle)
}

func (c *conn) close() {
	c.nc.Close() //nolint:errcheck // nothing more is wanted from it
}
