package std

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// guard counts what an HTTP/2 client sends besides requests and content, and what it makes
// the library say besides answers, and ends connections where that is too much: the
// library goes on for as long as it comes (reference/security.md S8.1, protocol-pitfalls.md).
//
// Reads and writes come from two goroutines, each with its own half of the fields.
type guard struct {
	net.Conn

	preface int // bytes of it that went by
	in      frames
	pieces  int // CONTINUATION frames of the current head
	asked   meter

	out   frames
	reset meter
	sent  atomic.Int64 // DATA frames that no WINDOW_UPDATE has paid for yet, twice each
}

// What a connection may send: frames that only make work are paid from a budget that refills.
const (
	maxContinuations = 64
	budget           = 4000
	refill           = 500 // each second
)

var errFlood = errors.New("client sends too many HTTP/2 control frames")

// The frame types of RFC 9113, 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream = 0x1
	flagPadded    = 0x8
)

// maxPadding is the length of a DATA frame that can be all padding.
const maxPadding = 256

// meter is a budget that refills with time.
type meter struct {
	spent float64
	at    time.Time
}

// pay takes one from the budget. False: it is used up.
func (m *meter) pay() bool {
	m.spent++
	if m.spent <= budget/2 {
		return true
	}
	now := time.Now()
	if !m.at.IsZero() {
		m.spent = max(m.spent-now.Sub(m.at).Seconds()*refill, 0)
	}
	m.at = now
	return m.spent <= budget
}

// frames follows the frames in one direction.
type frames struct {
	head [9]byte
	have int
	skip uint32
}

// next uses up b to the end of the next frame head, which is then in f.head. False: b ended before.
func (f *frames) next(b []byte) (rest []byte, ok bool) {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(uint32(min(len(b), 1<<30)), f.skip)
			f.skip -= n
			b = b[n:]
			continue
		}
		n := copy(f.head[f.have:], b)
		f.have += n
		b = b[n:]
		if f.have < len(f.head) {
			return nil, false
		}
		f.have = 0
		f.skip = f.length()
		return b, true
	}
	return nil, false
}

func (f *frames) length() uint32 {
	return uint32(f.head[0])<<16 | uint32(f.head[1])<<8 | uint32(f.head[2])
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 && !g.look(p[:n]) {
		// The library takes any error for the end of the connection.
		_ = g.Conn.Close()
		return 0, errFlood
	}
	return n, err
}

// look follows the frames in b. False: enough.
func (g *guard) look(b []byte) bool {
	if g.preface < len(preface) {
		n := min(len(preface)-g.preface, len(b))
		g.preface += n
		b = b[n:]
	}
	for {
		var ok bool
		if b, ok = g.in.next(b); !ok {
			return true
		}
		if !g.frame(g.in.head[3], g.in.head[4], g.in.length()) {
			return false
		}
	}
}

func (g *guard) frame(kind, flags byte, length uint32) bool {
	switch kind {
	case frameHeaders:
		g.pieces = 0
		return true
	case frameContinuation:
		g.pieces++
		return g.pieces <= maxContinuations
	case frameWindowUpdate:
		// A fast download needs many: one for the stream and one for the connection with each frame.
		if g.sent.Load() > 0 {
			g.sent.Add(-1)
			return true
		}
	case frameData:
		if flags&flagEndStream != 0 || length > maxPadding || length > 0 && flags&flagPadded == 0 {
			return true
		}
	}
	// Empty DATA, PRIORITY, RST_STREAM, SETTINGS, PING and whatever is unknown.
	return g.asked.pay()
}

// Write implements net.Conn. Each RST_STREAM says that a request was started for nothing, or was never
// sound: a client that provokes them makes as much work as one that sends them (CVE-2025-8671).
func (g *guard) Write(p []byte) (int, error) {
	b := p
	for {
		var ok bool
		if b, ok = g.out.next(b); !ok {
			break
		}
		switch g.out.head[3] {
		case frameData:
			g.sent.Add(2)
		case frameReset:
			if !g.reset.pay() {
				_ = g.Conn.Close()
				return 0, errFlood
			}
		}
	}
	return g.Conn.Write(p)
}
