package std

import (
	"errors"
	"net"
	"time"
)

// guard counts what an HTTP/2 client sends besides requests and content, and ends
// connections that send too much of it: the library reads such frames for as long as
// they come (reference/security.md S8.1, protocol-pitfalls.md).
type guard struct {
	net.Conn
	preface int // bytes of it that went by
	head    [9]byte
	have    int
	skip    uint32
	pieces  int // CONTINUATION frames of the current head
	spent   float64
	at      time.Time
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
)

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
	for len(b) > 0 {
		if g.skip > 0 {
			n := min(uint32(min(len(b), 1<<30)), g.skip)
			g.skip -= n
			b = b[n:]
			continue
		}
		n := copy(g.head[g.have:], b)
		g.have += n
		b = b[n:]
		if g.have < len(g.head) {
			return true
		}
		g.have = 0
		g.skip = uint32(g.head[0])<<16 | uint32(g.head[1])<<8 | uint32(g.head[2])
		if !g.frame(g.head[3], g.head[4], g.skip) {
			return false
		}
	}
	return true
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
		return true // a fast download needs many
	case frameData:
		if length > 0 || flags&1 != 0 {
			return true
		}
	}
	// Empty DATA, PRIORITY, RST_STREAM, SETTINGS, PING and whatever is unknown.
	g.spent++
	if g.spent <= budget/2 {
		return true
	}
	now := time.Now()
	if !g.at.IsZero() {
		g.spent = max(g.spent-now.Sub(g.at).Seconds()*refill, 0)
	}
	g.at = now
	return g.spent <= budget
}
