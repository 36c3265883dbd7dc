package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// ErrBuffersFull says that all request bodies buffered at this moment take what they may. The client gets 503.
var ErrBuffersFull = errors.New("request buffers are full")

// What NewBuffers allows for the whole process.
const (
	DefaultBufferMemory = 256 << 20
	DefaultBufferTotal  = 2 << 30
)

// Buffers bounds the request bodies held at once by all exchanges. Above MaxMemory a body goes to
// its file earlier than its route says; above MaxTotal, memory and files together, requests
// with a body get 503 until others are done.
type Buffers struct {
	Dir                 string // of the files; "" is the system's
	MaxMemory, MaxTotal int64

	memory, total atomic.Int64
}

// NewBuffers returns buffers with the default bounds and files in dir.
func NewBuffers(dir string) *Buffers {
	return &Buffers{Dir: dir, MaxMemory: DefaultBufferMemory, MaxTotal: DefaultBufferTotal}
}

// Held returns how many bytes are in memory and how many in all.
func (b *Buffers) Held() (memory, total int64) { return b.memory.Load(), b.total.Load() }

func take(counter *atomic.Int64, n, limit int64) bool {
	if counter.Add(n) > limit {
		counter.Add(-n)
		return false
	}
	return true
}

// spool is one request body, whole, that can be read again and again: the first bytes in
// memory, the rest in a file without a name.
type spool struct {
	from *Buffers
	mem  *[]byte
	file *os.File
	size int64
	held struct{ memory, total int64 }
}

// chunk is the unit bodies are read in. Blocks of this size are pooled.
const chunk = 16 << 10

var blocks = sync.Pool{New: func() any { b := make([]byte, 0, chunk); return &b }}

// fill reads src to its end. length is its size or -1, keep how much stays in memory, limit the largest
// size, 0 for none. Errors of src come back as they are. After an error s is empty.
func (s *spool) fill(b *Buffers, src io.Reader, length, keep, limit int64) error {
	s.from = b
	s.mem = blocks.Get().(*[]byte)
	*s.mem = (*s.mem)[:0]
	err := s.read(src, length, max(keep, chunk), limit)
	if err != nil {
		s.release()
	}
	return err
}

// hold reserves n more bytes.
func (s *spool) hold(n int64, memory bool) bool {
	if memory && !take(&s.from.memory, n, s.from.MaxMemory) {
		return false
	}
	if !take(&s.from.total, n, s.from.MaxTotal) {
		if memory {
			s.from.memory.Add(-n)
		}
		return false
	}
	if memory {
		s.held.memory += n
	}
	s.held.total += n
	return true
}

func (s *spool) read(src io.Reader, length, keep, limit int64) error {
	// The first block itself counts, so that many small bodies are bounded as well.
	if !s.hold(chunk, true) && !s.hold(chunk, false) {
		return ErrBuffersFull
	}
	var block *[]byte // for what goes to the file
	defer func() {
		if block != nil {
			blocks.Put(block)
		}
	}()
	for {
		var into []byte
		m := *s.mem
		if s.file == nil && block == nil && len(m) == cap(m) {
			// Grow in memory as far as the route and the process allow, then change to a file.
			more := min(max(int64(cap(m)), chunk), keep-int64(cap(m)))
			if length >= 0 {
				more = min(more, max(length-int64(cap(m)), 1))
			}
			if more > 0 && s.hold(more, true) {
				grown := make([]byte, len(m), int64(cap(m))+more)
				copy(grown, m)
				recycle(s.mem)
				s.mem, m = &grown, grown
			} else {
				block = blocks.Get().(*[]byte)
			}
		}
		if block != nil {
			into = (*block)[:chunk]
		} else {
			into = m[len(m):cap(m)]
		}
		n, err := src.Read(into)
		s.size += int64(n)
		if limit > 0 && s.size > limit {
			return exchange.ErrBodyTooLarge
		}
		if block != nil && n > 0 {
			if werr := s.write(into[:n]); werr != nil {
				return werr
			}
		} else {
			*s.mem = m[:len(m)+n]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *spool) write(p []byte) error {
	if !s.hold(int64(len(p)), false) {
		return ErrBuffersFull
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.from.Dir, "lintel-body-*")
		if err != nil {
			return fmt.Errorf("buffering a request body: %w", err)
		}
		s.file = f
		// Without a name the file goes with the process, whatever happens.
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("buffering a request body: %w", err)
		}
	}
	if _, err := s.file.Write(p); err != nil {
		return fmt.Errorf("buffering a request body: %w", err)
	}
	return nil
}

// release gives everything back. Nobody may read from s any more.
func (s *spool) release() {
	if s.from == nil {
		return
	}
	if s.file != nil {
		// Nothing was promised about what is in the file: an error on closing loses nothing.
		_ = s.file.Close()
	}
	recycle(s.mem)
	s.from.memory.Add(-s.held.memory)
	s.from.total.Add(-s.held.total)
	*s = spool{}
}

func recycle(b *[]byte) {
	if cap(*b) == chunk {
		blocks.Put(b)
	}
}

// replay reads a spool from its beginning.
type replay struct {
	of  *spool
	off int64
}

func (r *replay) Read(p []byte) (int, error) {
	s := r.of
	if r.off >= s.size {
		return 0, io.EOF
	}
	m := *s.mem
	if r.off < int64(len(m)) {
		n := copy(p, m[r.off:])
		r.off += int64(n)
		return n, nil
	}
	n, err := s.file.ReadAt(p[:min(int64(len(p)), s.size-r.off)], r.off-int64(len(m)))
	r.off += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF {
		// The file is shorter than what was written to it.
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// Close does nothing: the spool belongs to the exchange, which may read it again.
func (r *replay) Close() error { return nil }

// stream is a body passed on as it comes; it notes whether some of it was read.
type stream struct {
	io.ReadCloser
	consumed atomic.Bool
	// trailer is emptied at the end, where trailers are not passed on: all but gRPC, as in the reference.
	trailer *exchange.Fields
}

func (s *stream) Read(p []byte) (int, error) {
	if !s.consumed.Load() {
		s.consumed.Store(true)
	}
	n, err := s.ReadCloser.Read(p)
	if err == io.EOF && s.trailer != nil {
		s.trailer.Reset()
	}
	return n, err
}

// Close ends the client's body once some of it went to an endpoint: a transport that gives up must
// be able to end a Read that waits. Before that another attempt may still want it.
func (s *stream) Close() error {
	if !s.consumed.Load() {
		return nil
	}
	return s.ReadCloser.Close()
}
