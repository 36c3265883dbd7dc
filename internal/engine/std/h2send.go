package std

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// setFields copies fields into a library header. Values that cannot be sent are left out by the library.
func setFields(out http.Header, h *exchange.Fields) {
	for i := range h.Len() {
		f := h.At(i)
		if h1.ConnectionSpecific(f.Name) || !h1.ValidName(f.Name) {
			continue
		}
		name := http.CanonicalHeaderKey(f.Name)
		out[name] = append(out[name], f.Value)
	}
}

// send writes the response. False: reset the stream.
func (s *stream) send() bool {
	x := s.x
	r := &x.Resp
	if t := r.Tunnel; t != nil {
		return s.tunnel(t)
	}
	s.head()
	body := r.Body
	if body == nil {
		return true
	}
	if x.Req.Method == "HEAD" || r.Status == 204 || r.Status == 304 || r.Length == 0 {
		return true // closed by the caller
	}
	buf := outBuffers.Get().(*outBuffer)
	defer outBuffers.Put(buf)
	flusher := s.w.(http.Flusher)
	if r.FromUpstream && r.Length < 0 {
		flusher.Flush() // the head of a stream goes out before its first byte is there
	}
	p := pacer{rate: x.Limits.Rate, after: x.Limits.RateAfter}
	left := r.Length
	for empty := 0; ; {
		room := contentRoom
		if left >= 0 {
			room = int(min(int64(room), left))
		}
		n, err := body.Read(buf[:p.most(room)])
		if n == 0 && err == nil {
			if empty++; empty > 100 {
				return false
			}
			continue
		}
		empty = 0
		if left >= 0 {
			if left -= int64(n); left > 0 && err == io.EOF {
				return false
			} else if left == 0 && err == nil {
				if _, err = body.Read(buf[contentRoom : contentRoom+1]); err == nil || err == io.EOF {
					err = io.EOF // that of the trailers; content over the length is not sent
				}
			}
		}
		if n > 0 && !s.write(buf[:n], flusher, err == nil) {
			return false
		}
		if err == io.EOF {
			s.trailer()
			return true
		}
		if err != nil || !p.pace(n, s.Gone) {
			return false
		}
	}
}

// head hands the response head to the library, which sends it with the first content.
func (s *stream) head() {
	r := &s.x.Resp
	out := s.w.Header()
	setFields(out, &r.Header)
	// compat: the endpoint's Date is replaced (reference/routing.md 10); the library writes one.
	delete(out, "Date")
	delete(out, "Trailer") // the library would look for their values among the fields of the head
	if _, ok := out["Content-Type"]; !ok {
		out["Content-Type"] = nil // the library must not guess
	}
	switch {
	case r.Status == 204 && r.ZeroLength:
		out["Content-Length"] = []string{"0"}
	case r.Status == 204 || r.Status < 200:
	case r.Length >= 0 && (r.Body != nil || s.x.Req.Method == "HEAD") && !(r.Status == 304 && r.Length == 0):
		out["Content-Length"] = []string{strconv.FormatInt(r.Length, 10)}
	}
	s.x.Stats.BytesSent += headSize(&r.Header)
	s.begun = true
	s.w.WriteHeader(r.Status)
}

// write sends content within SendTimeout; flow control may block it.
func (s *stream) write(p []byte, f http.Flusher, flush bool) bool {
	if s.timer == nil {
		s.timer = &watchdog{w: s.w}
	}
	s.timer.start(or(s.x.Limits.SendTimeout))
	n, err := s.w.Write(p)
	if err == nil && flush {
		f.Flush()
	}
	late := s.timer.pause()
	s.x.Stats.BytesSent += int64(n)
	s.x.Stats.BodyBytesSent += int64(n)
	return err == nil && !late && s.r.Context().Err() == nil
}

// trailer adds the trailer fields; complete since the body returned io.EOF.
func (s *stream) trailer() {
	t := &s.x.Resp.Trailer
	out := s.w.Header()
	for i := range t.Len() {
		f := t.At(i)
		if h1.ValidName(f.Name) && h1.TrailerAllowed(f.Name) {
			name := http.TrailerPrefix + http.CanonicalHeaderKey(f.Name)
			out[name] = append(out[name], f.Value)
		}
	}
}

// tunnel answers extended CONNECT and pumps both ways (RFC 8441).
func (s *stream) tunnel(t io.ReadWriteCloser) bool {
	defer t.Close() //nolint:errcheck // both directions are over: nobody is left to tell
	if s.x.Resp.Status == 101 {
		s.x.Resp.Status = 200
	}
	s.x.Resp.Length = -1
	s.head()
	flusher := s.w.(http.Flusher)
	flusher.Flush()
	var up sync.WaitGroup
	up.Go(func() {
		_, err := io.Copy(t, s.r.Body)
		half, ok := t.(interface{ CloseWrite() error })
		if err != nil || !ok || half.CloseWrite() != nil {
			// Ends the other direction as well.
			_ = t.Close()
		}
	})
	buf := outBuffers.Get().(*outBuffer)
	defer outBuffers.Put(buf)
	for {
		n, err := t.Read(buf[:])
		if n > 0 && !s.write(buf[:n], flusher, true) {
			break
		}
		if err != nil {
			break
		}
	}
	_ = t.Close()
	_ = s.r.Body.Close()
	up.Wait()
	return true
}

// watchdog resets a stream whose client takes nothing for too long.
type watchdog struct {
	w     http.ResponseWriter
	mu    sync.Mutex
	timer *time.Timer
	armed bool
	over  bool
	late  bool
}

func (d *watchdog) start(after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = true
	if d.timer == nil {
		d.timer = time.AfterFunc(after, d.bark)
		return
	}
	d.timer.Reset(after)
}

func (d *watchdog) bark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.armed || d.over {
		return
	}
	d.late = true
	if w, ok := d.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		// A deadline that has passed resets the stream, which ends the write.
		_ = w.SetWriteDeadline(past)
	}
}

// pause ends the watch over one write and reports whether it took too long.
func (d *watchdog) pause() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
	d.timer.Stop()
	return d.late
}

// stop must be called before the handler returns: the writer is not valid afterwards.
func (d *watchdog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
}
