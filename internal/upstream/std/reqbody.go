package std

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// reqBody stands between x.Up.Body and whoever sends it, so that the sender can be
// cut off: after detach returned, nothing reads the body any more.
type reqBody struct {
	r        io.ReadCloser
	buffered bool   // reads of r never wait for the client
	atEOF    func() // called within the Read that meets the end; may be nil

	mu       sync.Mutex
	cond     sync.Cond
	reading  bool
	detached bool
	err      error // what r failed with, besides io.EOF
	eof      bool
	started  bool

	progress atomic.Int64 // unix nanoseconds of the last change
}

func newReqBody(r io.ReadCloser, buffered bool) *reqBody {
	b := &reqBody{r: r, buffered: buffered}
	b.cond.L = &b.mu
	b.progress.Store(time.Now().UnixNano())
	return b
}

// Read reads from the client unless the body was detached.
func (b *reqBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.detached {
		b.mu.Unlock()
		return 0, errStopSending
	}
	b.reading, b.started = true, true
	b.mu.Unlock()
	b.progress.Store(time.Now().UnixNano())

	n, err := b.r.Read(p)
	if err == io.EOF && b.atEOF != nil {
		b.atEOF()
	}

	b.progress.Store(time.Now().UnixNano())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.cond.Broadcast()
	if err == io.EOF {
		b.eof = true
	} else if err != nil && b.err == nil && !b.detached {
		b.err = err
	}
	if b.detached {
		return 0, errStopSending
	}
	return n, err
}

// Close is called by senders; the body is not theirs to close.
func (b *reqBody) Close() error { return nil }

// detach stops reads for good and waits for one under way. A body that waits for its
// client is closed for that.
func (b *reqBody) detach() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.detached = true
	if b.reading && !b.buffered {
		b.mu.Unlock()
		b.r.Close() //nolint:errcheck // an error here says nothing that the pending Read does not say
		b.mu.Lock()
	}
	for b.reading {
		b.cond.Wait()
	}
	b.mu.Unlock()
}

// failure returns what reading the client's body failed with.
func (b *reqBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// state says whether the body was read at all, to its end, and whether a read waits for the client.
func (b *reqBody) state() (started, eof, reading bool) {
	if b == nil {
		return false, true, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started, b.eof, b.reading
}

func (b *reqBody) lastProgress() time.Time { return time.Unix(0, b.progress.Load()) }
