//go:build e2e

package e2e

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/echo"
)

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// load sends requests until stopped and counts the failed ones.
type load struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	sent   atomic.Int64
	mu     sync.Mutex
	failed []string
}

// request is what a worker sends again and again.
type request struct{ method, url, body string }

func get(url string) request  { return request{http.MethodGet, url, ""} }
func post(url string) request { return request{http.MethodPost, url, strings.Repeat("x", 1000)} }

// startLoad keeps workers busy with the requests, which are dealt out among them; every second
// worker opens a new connection for each request. Over TLS those that keep them speak HTTP/2.
func (s *suite) startLoad(workers int, requests ...request) *load {
	l := &load{stop: make(chan struct{})}
	for i := range workers {
		r := requests[i/2%len(requests)]
		l.wg.Go(func() {
			c := s.client(i%2 == 0)
			defer c.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				l.sent.Add(1)
				start := time.Now()
				if err := once(c, r); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, fmt.Sprintf("%s after %s, keep-alive %v: %s %s: %v",
						time.Now().Format("15:04:05.000"), time.Since(start).Round(time.Millisecond), i%2 == 0, r.method, r.url, err))
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func once(c *http.Client, q request) error {
	// Not a strings.Reader: the client must not send the body again by itself.
	var body io.Reader
	if q.body != "" {
		body = io.MultiReader(strings.NewReader(q.body))
	}
	hr, err := http.NewRequest(q.method, q.url, body)
	if err != nil {
		return err
	}
	hr.ContentLength = int64(len(q.body))
	r, err := c.Do(hr)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != 200 {
		return fmt.Errorf("status %d", r.StatusCode)
	}
	var a echo.Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	if a.Method != q.method || a.Body != hr.ContentLength {
		return fmt.Errorf("the backend received %s with %d bytes", a.Method, a.Body)
	}
	return nil
}

// end stops the load and fails when a request failed or too few were sent.
func (l *load) end(t *testing.T, atLeast int64) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d requests, %d failed", l.sent.Load(), len(l.failed))
	if l.sent.Load() < atLeast {
		t.Errorf("only %d requests were sent, want %d", l.sent.Load(), atLeast)
	}
	for i, f := range l.failed {
		if i == 10 {
			break
		}
		t.Errorf("failed request: %s", f)
	}
}

// socket is a WebSocket client, as far as echoing text needs one.
type socket struct {
	net.Conn
	r *bufio.Reader
}

func (s *suite) dialWebSocket(host, path string) (*socket, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(s.addr, "80"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		path, host, base64.StdEncoding.EncodeToString(key[:]))
	ws := &socket{c, bufio.NewReader(c)}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(ws.r, nil)
	if err != nil {
		c.Close()
		return nil, err
	}
	if r.StatusCode != 101 {
		c.Close()
		return nil, fmt.Errorf("handshake: status %d", r.StatusCode)
	}
	return ws, nil
}

// echo sends text and waits for it to come back.
func (w *socket) echo(text string) error {
	if err := w.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	mask := [4]byte{1, 2, 3, 4}
	frame := []byte{0x81, 0x80 | byte(len(text))}
	frame = append(frame, mask[:]...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	if _, err := w.Write(frame); err != nil {
		return err
	}
	var head [2]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return err
	}
	size := int(head[1])
	if size == 126 {
		var n [2]byte
		if _, err := io.ReadFull(w.r, n[:]); err != nil {
			return err
		}
		size = int(binary.BigEndian.Uint16(n[:]))
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(w.r, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("sent %q, got back %q", text, got)
	}
	return nil
}
