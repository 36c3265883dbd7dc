package std

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// sink is a connection that takes everything.
type sink struct {
	net.Conn
	closed bool
}

func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) Close() error                { s.closed = true; return nil }

// written makes the bytes of frames.
func written(f func(*http2.Framer)) []byte {
	var b bytes.Buffer
	f(http2.NewFramer(&b, nil))
	return b.Bytes()
}

func TestS8_1_ControlFramesArePaidFor(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		most  int // how many may pass of 20000
	}{
		"ping":           {written(func(f *http2.Framer) { f.WritePing(false, [8]byte{}) }), budget + 100},
		"settings":       {written(func(f *http2.Framer) { f.WriteSettings() }), budget + 100},
		"empty data":     {written(func(f *http2.Framer) { f.WriteData(1, false, nil) }), budget + 100},
		"padding":        {written(func(f *http2.Framer) { f.WriteDataPadded(1, false, nil, make([]byte, 255)) }), budget + 100},
		"reset":          {written(func(f *http2.Framer) { f.WriteRSTStream(1, 0) }), budget + 100},
		"window update":  {written(func(f *http2.Framer) { f.WriteWindowUpdate(0, 1) }), budget + 100},
		"continuation":   {written(func(f *http2.Framer) { f.WriteContinuation(1, false, nil) }), maxContinuations},
		"content":        {written(func(f *http2.Framer) { f.WriteData(1, false, []byte("x")) }), 20_000},
		"padded content": {written(func(f *http2.Framer) { f.WriteDataPadded(1, false, make([]byte, 300), make([]byte, 255)) }), 20_000},
		"end of content": {written(func(f *http2.Framer) { f.WriteData(1, true, nil) }), 20_000},
	} {
		g := &guard{Conn: &sink{}, preface: len(preface)}
		passed := 0
		for passed < 20_000 && g.look(c.frame) {
			passed++
		}
		if passed > c.most || c.most < 20_000 && passed < c.most-100 {
			t.Errorf("%s: %d passed, want about %d", name, passed, c.most)
		}
		// In pieces, too.
		g = &guard{Conn: &sink{}, preface: len(preface)}
		again := 0
	pieces:
		for ; again < 20_000; again++ {
			for i := range c.frame {
				if !g.look(c.frame[i : i+1]) {
					break pieces
				}
			}
		}
		if again < passed-50 || again > passed+50 {
			t.Errorf("%s: %d passed byte by byte, %d whole", name, again, passed)
		}
	}
}

func TestS8_1_ResetsTheClientProvokesArePaidFor(t *testing.T) {
	s := &sink{}
	g := &guard{Conn: s}
	reset := written(func(f *http2.Framer) { f.WriteRSTStream(1, http2.ErrCodeProtocol) })
	sent := 0
	for ; sent < 20_000; sent++ {
		if _, err := g.Write(reset); err != nil {
			break
		}
	}
	if sent < budget-100 || sent > budget+100 || !s.closed {
		t.Errorf("%d resets were sent, closed %v; want about %d", sent, s.closed, budget)
	}
}

func TestDownloadsMayAskForTheirWindows(t *testing.T) {
	g := &guard{Conn: &sink{}, preface: len(preface)}
	data := written(func(f *http2.Framer) { f.WriteData(1, false, make([]byte, 1000)) })
	update := written(func(f *http2.Framer) { f.WriteWindowUpdate(1, 1000); f.WriteWindowUpdate(0, 1000) })
	for range 50_000 {
		if _, err := g.Write(data); err != nil {
			t.Fatal(err)
		}
		if !g.look(update) {
			t.Fatal("a download was cut off")
		}
	}
}
