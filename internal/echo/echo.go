// Package echo is a small HTTP backend for the demo and for end-to-end tests: it
// answers with what it received and who it is. It is not on the path of any
// user's traffic.
//
// Query parameters shape the answer: delay=200ms waits, status=503 answers with it,
// size=10000 adds that many bytes. /ws echoes WebSocket messages, /events streams
// server-sent events, /health answers 200.
package echo

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer is what the backend says it received.
type Answer struct {
	Pod     string      `json:"pod"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Host    string      `json:"host"`
	Proto   string      `json:"proto"`
	Remote  string      `json:"remote"`
	Headers http.Header `json:"headers"`
	Body    int64       `json:"bodyBytes"`
	Padding string      `json:"padding,omitempty"`
}

const (
	maxDelay = time.Minute
	maxSize  = 64 << 20
)

// Handler answers requests in the name of pod.
func Handler(pod string) http.Handler {
	// Not a ServeMux: it would redirect unclean paths, and a backend that shows what it got must not.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			fmt.Fprintln(w, "ok")
		case "/ws":
			if err := webSocket(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		case "/events":
			events(w, r)
		default:
			answer(w, r, pod)
		}
	})
}

func answer(w http.ResponseWriter, r *http.Request, pod string) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the client is gone; nobody would read an answer
	}
	q := r.URL.Query()
	if d, err := time.ParseDuration(q.Get("delay")); err == nil && d > 0 {
		select {
		case <-time.After(min(d, maxDelay)):
		case <-r.Context().Done():
			return
		}
	}
	a := Answer{Pod: pod, Method: r.Method, Path: r.RequestURI, Host: r.Host, Proto: r.Proto, Remote: r.RemoteAddr, Headers: r.Header, Body: n}
	if size, err := strconv.Atoi(q.Get("size")); err == nil && size > 0 {
		a.Padding = strings.Repeat("x", min(size, maxSize))
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if status, err := strconv.Atoi(q.Get("status")); err == nil && status >= 200 && status < 600 {
		w.WriteHeader(status)
	}
	_, _ = w.Write(b) // a failed write is the client's affair
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// webSocket answers the handshake of RFC 6455 and echoes each frame until the client closes.
func webSocket(w http.ResponseWriter, r *http.Request) error {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		return errors.New("not a WebSocket handshake")
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if rw.Flush() != nil {
		return nil
	}
	for {
		closed, err := echoFrame(rw)
		if closed || err != nil {
			return nil
		}
	}
}

// echoFrame reads one masked frame and sends its payload back with the same opcode.
func echoFrame(rw *bufio.ReadWriter) (closed bool, err error) {
	var head [14]byte
	if _, err := io.ReadFull(rw, head[:2]); err != nil {
		return true, err
	}
	size := uint64(head[1] & 0x7f)
	switch size {
	case 126:
		if _, err := io.ReadFull(rw, head[2:4]); err != nil {
			return true, err
		}
		size = uint64(binary.BigEndian.Uint16(head[2:4]))
	case 127:
		if _, err := io.ReadFull(rw, head[2:10]); err != nil {
			return true, err
		}
		size = binary.BigEndian.Uint64(head[2:10])
	}
	if size > 1<<20 || head[1]&0x80 == 0 {
		return true, errors.New("frame too large or not masked")
	}
	var mask [4]byte
	if _, err := io.ReadFull(rw, mask[:]); err != nil {
		return true, err
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(rw, payload); err != nil {
		return true, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	op := head[0] & 0x0f
	if op == 9 { // ping
		op = 10
	}
	out := []byte{0x80 | op}
	switch {
	case size < 126:
		out = append(out, byte(size))
	case size < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(size))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), size)
	}
	if _, err := rw.Write(append(out, payload...)); err != nil {
		return true, err
	}
	return op == 8, rw.Flush()
}

// Serve answers on l until ctx ends, then finishes what is in flight for at most grace.
func Serve(ctx context.Context, l net.Listener, pod string, grace time.Duration) error {
	srv := &http.Server{Handler: Handler(pod), ReadHeaderTimeout: 10 * time.Second}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv.Protocols = &protocols
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		err := srv.Shutdown(end)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		done <- err
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}
