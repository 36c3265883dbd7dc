package std

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/filter"
)

func request(addr string) *filter.FetchRequest {
	return &filter.FetchRequest{Method: "GET", Scheme: "http", Addr: addr, Host: "auth.test", Target: "/check?x=1", MaxBody: 1000, AllowLocal: true, Timeout: 5 * time.Second}
}

func TestFetchReadsTheAnswerWhole(t *testing.T) {
	tr := newTransport(t)
	var conns atomic.Int32
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			b, _ := io.ReadAll(req.Body)
			s := fmt.Sprintf("%s %s %s %s %s", req.Method, req.RequestURI, req.Host, req.Header.Get("X-A"), b)
			fmt.Fprintf(c, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
		}
	})
	for _, body := range []string{"", "content"} {
		r := request(target.Endpoint.Addr.String())
		r.Header.Add("X-A", "b")
		if body != "" {
			r.Method, r.Body, r.Length = "POST", strings.NewReader(body), int64(len(body))
		}
		res, err := tr.Fetch(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if want := r.Method + " /check?x=1 auth.test b " + body; res.Status != 302 || string(res.Body) != want || res.Header.Get("Location") != "/elsewhere" {
			t.Errorf("%+v, want %q", res, want)
		}
	}
	r := request(target.Endpoint.Addr.String())
	r.MaxBody = 0
	if res, err := tr.Fetch(context.Background(), r); err != nil || res.Body != nil {
		t.Errorf("%+v, %v", res, err)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	r.MaxBody = 3
	if _, err := tr.Fetch(context.Background(), r); !errors.Is(err, ErrFetchTooLarge) {
		t.Errorf("more than MaxBody: %v", err)
	}
}

func TestFetchSurvivesAStaleConnection(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(n int, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if n == 0 {
			http.ReadRequest(r)
			return
		}
		r.ReadByte()
	})
	for range 2 {
		if _, err := tr.Fetch(context.Background(), request(target.Endpoint.Addr.String())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestS3_3_FetchChecksAddressesAfterTheLookup(t *testing.T) {
	tr := newTransport(t)
	tr.o.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		switch name {
		case "rebound.test":
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		case "metadata.test":
			return []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("::1")}, nil
		case "none.test":
			return nil, nil
		}
		return nil, errors.New("no such host")
	}
	for _, addr := range []string{"rebound.test:80", "metadata.test:80", "127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "[::ffff:127.0.0.1]:80"} {
		r := request(addr)
		r.AllowLocal = false
		if _, err := tr.Fetch(context.Background(), r); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v, want %v", addr, err, ErrAddress)
		}
	}
	for _, addr := range []string{"none.test:80", "unknown.test:80", "a.test", "a.test:x", "a.test:0", "a.test:70000"} {
		if _, err := tr.Fetch(context.Background(), request(addr)); err == nil {
			t.Errorf("%s: no error", addr)
		}
	}
	r := request("127.0.0.1:80")
	r.Scheme = "gopher"
	if _, err := tr.Fetch(context.Background(), r); err == nil {
		t.Error("scheme gopher: no error")
	}
}

func TestFetchTriesTheNextAddress(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	// Nothing listens on 127.0.0.2 with this port.
	var lookups atomic.Int32
	tr.o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		lookups.Add(1)
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	for range 3 {
		if _, err := tr.Fetch(context.Background(), request(fmt.Sprintf("auth.test:%d", target.Endpoint.Addr.Port()))); err != nil {
			t.Fatal(err)
		}
	}
	if n := lookups.Load(); n != 1 {
		t.Errorf("%d lookups, want 1 for a moment", n)
	}
	tr.names.sweep(time.Now().Add(time.Minute))
	if n := len(tr.names.entries); n != 0 {
		t.Errorf("%d names remembered after their time", n)
	}
}

func TestFetchEndsWithItsTimeOrContext(t *testing.T) {
	tr := newTransport(t)
	target := serve(t, func(_ int, c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	r := request(target.Endpoint.Addr.String())
	r.Timeout = 50 * time.Millisecond
	if _, err := tr.Fetch(context.Background(), r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	time.AfterFunc(20*time.Millisecond, func() { defer wg.Done(); cancel() })
	if _, err := tr.Fetch(ctx, request(target.Endpoint.Addr.String())); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wg.Wait()
	tr.o.Lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
	r = request("slow.test:80")
	r.Timeout = 20 * time.Millisecond
	if _, err := tr.Fetch(context.Background(), r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow resolver: %v", err)
	}
}

func TestFetchOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.TLS.ServerName) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	tr := newTransport(t)
	r := request(srv.Listener.Addr().String())
	r.Scheme, r.SNI = "https", "example.com"
	if res, err := tr.Fetch(context.Background(), r); err != nil || string(res.Body) != "example.com" {
		t.Errorf("unverified: %+v, %v", res, err)
	}
	r.Verify = true
	if _, err := tr.Fetch(context.Background(), r); err == nil {
		t.Error("verified against the system's roots: no error")
	}
	tr.roots = x509.NewCertPool()
	tr.roots.AddCert(srv.Certificate())
	if res, err := tr.Fetch(context.Background(), r); err != nil || string(res.Body) != "example.com" {
		t.Errorf("verified: %+v, %v", res, err)
	}
	r.SNI = "other.test"
	if _, err := tr.Fetch(context.Background(), r); err == nil {
		t.Error("wrong name: no error")
	}
}
