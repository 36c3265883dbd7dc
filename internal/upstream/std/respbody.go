package std

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// respBody reads the content of an HTTP/1 response. The connection is its own until Close.
type respBody struct {
	c       *conn
	x       *exchange.Exchange
	a       attempt
	framing h1.Framing
	left    int64  // bytes still to come with FrameLength
	pending []byte // decoded, not yet read: a part of c.buf
	reuse   bool
	bytes   int64
	err     error // what every further Read returns
	closed  bool
}

// Read implements io.Reader. Errors besides io.EOF are *exchange.Error.
func (b *respBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	var err error
	switch b.framing {
	case h1.FrameChunked:
		n, err = b.readChunked(p)
	case h1.FrameLength:
		n, err = b.readPlain(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 {
			err = io.EOF
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	default:
		n, err = b.readPlain(p)
	}
	b.bytes += int64(n)
	if err == io.EOF {
		b.err = err
		b.a.ended(b.bytes)
	} else if err != nil {
		e := b.c.explain(err)
		if e.Side == exchange.SideUpstream {
			e.Stage = exchange.StageReadBody
		}
		err, b.err = e, e
	}
	return n, err
}

func (b *respBody) readPlain(p []byte) (int, error) {
	c := b.c
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.read(p)
}

func (b *respBody) readChunked(p []byte) (n int, err error) {
	c := b.c
	for {
		if m := copy(p[n:], b.pending); m > 0 {
			b.pending = b.pending[m:]
			n += m
		}
		if c.chunks.Done() && len(b.pending) == 0 {
			return n, io.EOF
		}
		if n == len(p) && len(b.pending) > 0 {
			return n, nil
		}
		if c.r == c.w {
			if n > 0 {
				return n, nil // what is here goes on at once
			}
			if err := c.fill(0); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return 0, err
			}
		}
		data, used, err := c.chunks.Decode(c.buf[c.r:c.w], &b.x.Resp.Trailer)
		if err != nil {
			return n, err
		}
		c.r += used
		b.pending = data
		if len(data) > 0 && n == len(p) {
			return n, nil
		}
	}
}

// Close implements io.Closer. After it nothing touches the exchange any more.
func (b *respBody) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	whole := b.err == io.EOF
	if !whole {
		b.a.ended(b.bytes)
	}
	if b.err == nil {
		b.err = errors.New("read of a closed response body")
	}
	now := time.Now()
	b.c.idleUntil = now.Add(b.c.idleUntil.Sub(b.c.idleSince))
	b.c.idleSince = now
	b.c.end(whole && b.reuse)
	return nil
}

// tunnel is a connection after 101: both ways, each with its own goroutine. It ends when
// nothing moved either way for the read timeout, as in nginx.
type tunnel struct {
	c    *conn
	a    attempt
	last atomic.Int64 // unix nanoseconds of the last byte either way
	read atomic.Int64 // bytes
	once sync.Once
}

func (c *conn) tunnel(x *exchange.Exchange, a *attempt) error {
	c.stopWatch()
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		c.end(false)
		return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: err}
	}
	t := &tunnel{c: c, a: *a}
	t.touch()
	x.Resp.Upgrade = x.Up.Upgrade
	x.Resp.Tunnel = t
	return nil
}

func (t *tunnel) touch() { t.last.Store(time.Now().UnixNano()) }

// Read returns what came with the head first.
func (t *tunnel) Read(p []byte) (int, error) {
	c := t.c
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		t.read.Add(int64(n))
		return n, nil
	}
	for {
		until := time.Unix(0, t.last.Load()).Add(c.to.read)
		if err := c.nc.SetReadDeadline(until); err != nil {
			return 0, err
		}
		n, err := c.nc.Read(p)
		if n > 0 {
			t.touch()
			t.read.Add(int64(n))
			return n, nil
		}
		if err == nil || !isTimeout(err) {
			return 0, err
		}
		if !time.Now().Before(time.Unix(0, t.last.Load()).Add(c.to.read)) {
			return 0, &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadBody, Sent: true, Timeout: true, Err: ErrRead}
		}
	}
}

// Write sends p, waiting for the send timeout at most.
func (t *tunnel) Write(p []byte) (int, error) {
	t.touch()
	if err := t.c.nc.SetWriteDeadline(time.Now().Add(t.c.to.send)); err != nil {
		return 0, err
	}
	n, err := t.c.nc.Write(p)
	if n > 0 {
		t.touch()
	}
	return n, err
}

// CloseWrite tells the endpoint that nothing more comes; it may still answer.
func (t *tunnel) CloseWrite() error {
	if w, ok := t.c.nc.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Close closes the connection. It may be called while Read and Write are under way, and again.
func (t *tunnel) Close() error {
	err := net.ErrClosed
	t.once.Do(func() {
		t.a.ended(t.read.Load())
		err = t.c.nc.Close()
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
