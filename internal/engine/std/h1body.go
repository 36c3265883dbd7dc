package std

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// reqBody is the content of an HTTP/1 request. Each connection has one, used again for each request.
type reqBody struct {
	c *conn

	mu      sync.Mutex // held by whoever reads
	x       *exchange.Exchange
	framing h1.Framing
	left    int64 // with FrameLength
	chunks  h1.ChunkedDecoder
	pending []byte // decoded content in the connection's buffer
	read    int64
	err     error // what every further Read returns

	dl     sync.Mutex // held for moments only
	busy   bool       // in a read of the socket
	closed bool
}

var errBodyClosed = errors.New("read of a closed request body")

// begin prepares for the request whose head was read, and puts itself into it.
func (b *reqBody) begin(x *exchange.Exchange) {
	h := &b.c.head
	b.x, b.framing, b.left, b.pending, b.read, b.err = x, h.Framing, h.Length, nil, 0, nil
	b.closed = false
	switch {
	case x.Malformed != 0 || b.framing == h1.FrameNone || b.framing == h1.FrameLength && b.left == 0:
		b.err = io.EOF
		b.c.watch.bodyRead()
		if x.Malformed == 0 && b.framing == h1.FrameLength {
			x.Req.Body = b // empty, but the client said so: the endpoint hears it
		}
		return
	case b.framing == h1.FrameChunked:
		b.chunks.Reset()
	}
	x.Req.Body = b
}

// Read implements io.Reader: framing, size, time between two reads, 100 Continue.
func (b *reqBody) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	most := b.x.Limits.BodyMax
	if most > 0 && (b.framing == h1.FrameLength && b.read+b.left > most || b.read > most) {
		b.err = exchange.ErrBodyTooLarge
		return 0, b.err
	}
	if b.c.head.Expect {
		if err := b.c.sendContinue(); err != nil {
			b.err = exchange.ErrClientGone
			return 0, b.err
		}
	}
	n, err = b.next(p, or(b.x.Limits.BodyTimeout))
	b.read += int64(n)
	if most > 0 && b.read > most {
		n -= int(b.read - most)
		err = exchange.ErrBodyTooLarge
	}
	if err == io.EOF {
		b.c.watch.bodyRead()
	}
	if err != nil && err != errBodyClosed {
		b.err = err
	}
	return n, err
}

// next reads some content. errBodyClosed leaves the framing where it was.
func (b *reqBody) next(p []byte, timeout time.Duration) (int, error) {
	c := b.c
	if b.framing == h1.FrameLength {
		p = p[:min(int64(len(p)), b.left)]
		var n int
		var err error
		if c.r < c.w {
			n = copy(p, c.buf[c.r:c.w])
			c.r += n
		} else {
			n, err = b.socket(p, timeout)
		}
		if b.x != nil {
			b.x.Stats.RequestBytes += int64(n)
		}
		if b.left -= int64(n); b.left == 0 {
			return n, io.EOF
		}
		return n, err
	}
	for {
		if len(b.pending) > 0 {
			n := copy(p, b.pending)
			b.pending = b.pending[n:]
			if len(b.pending) == 0 && c.r < c.w {
				// Take the end along where it is here already.
				if err := b.decode(); err != nil {
					return n, err
				}
			}
			if len(b.pending) == 0 && b.chunks.Done() {
				return n, io.EOF
			}
			return n, nil
		}
		if b.chunks.Done() {
			return 0, io.EOF
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
			n, err := b.socket(c.buf, timeout)
			c.w = n
			if n == 0 {
				return 0, err
			}
		}
		if err := b.decode(); err != nil {
			return 0, err
		}
	}
}

// decode takes the next piece of content, or the end, out of the buffer.
func (b *reqBody) decode() error {
	c := b.c
	for c.r < c.w && !b.chunks.Done() {
		// compat: trailers of HTTP/1 requests are dropped (parity 60-http, chunked-and-trailers).
		data, n, err := b.chunks.Decode(c.buf[c.r:c.w], nil)
		c.r += n
		if b.x != nil {
			b.x.Stats.RequestBytes += int64(n)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", exchange.ErrBodyFraming, err)
		}
		if len(data) > 0 {
			b.pending = data
			return nil
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

// socket reads from the connection unless the body was closed.
func (b *reqBody) socket(p []byte, timeout time.Duration) (int, error) {
	b.dl.Lock()
	if b.closed {
		b.dl.Unlock()
		return 0, errBodyClosed
	}
	err := b.c.setReadDeadline(time.Now().Add(timeout))
	b.busy = true
	b.dl.Unlock()
	var n int
	if err == nil {
		n, err = b.c.nc.Read(p)
	}
	b.dl.Lock()
	b.busy = false
	closed := b.closed
	b.dl.Unlock()
	switch {
	case n > 0 || err == nil:
		return n, nil // an error comes again
	case closed:
		return 0, errBodyClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, exchange.ErrBodyTimeout
	}
	return 0, fmt.Errorf("%w: %w", exchange.ErrClientGone, err)
}

// Close ends a read in progress. What the client still sends is the engine's to deal with.
func (b *reqBody) Close() error {
	b.dl.Lock()
	defer b.dl.Unlock()
	b.closed = true
	if b.busy {
		return b.c.setReadDeadline(past)
	}
	return nil
}

// cheap reports whether what is left of the body can be read and thrown away, so that the connection may go on.
func (b *reqBody) cheap() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err == io.EOF:
		return true
	case b.err != nil:
		return false
	case !b.c.continued:
		return false // the client may send the body or not
	}
	return b.framing == h1.FrameChunked || b.left <= maxDiscard
}

// lost reports whether the client is gone, or too slow to be worth waiting for.
func (b *reqBody) lost() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.err, exchange.ErrClientGone) || errors.Is(b.err, exchange.ErrBodyTimeout)
}

// finish throws away what is left. It reports whether the connection stands at the next request.
func (b *reqBody) finish(keep bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.x = nil
	if b.err == io.EOF {
		return true
	}
	if b.err != nil || !keep {
		return false
	}
	b.dl.Lock()
	b.closed = false
	b.dl.Unlock()
	scratch := outBuffers.Get().(*outBuffer)
	defer outBuffers.Put(scratch)
	for total := 0; total <= maxDiscard; {
		n, err := b.next(scratch[:], lingerRead)
		total += n
		if err != nil {
			b.err = err
			return err == io.EOF
		}
	}
	return false
}
