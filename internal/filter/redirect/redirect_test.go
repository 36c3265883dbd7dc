package redirect

import (
	"io"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      Config
		scheme   string
		port     uint16
		location string
	}{
		{"absolute", Config{Status: 301, To: "https://www.example.com"}, "http", 80, "https://www.example.com"},
		{"path", Config{Status: 302, To: "/moved"}, "http", 8080, "http://shop.example.com/moved"},
		{"path over tls", Config{Status: 302, To: "/moved"}, "https", 443, "https://shop.example.com/moved"},
		{"path with port", Config{Status: 308, To: "/moved", UsePort: true}, "http", 8080, "http://shop.example.com:8080/moved"},
		{"own port is not named", Config{Status: 308, To: "/moved", UsePort: true}, "https", 443, "https://shop.example.com/moved"},
		{"relative", Config{Status: 303, To: "/moved", Relative: true}, "http", 80, "/moved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := c.cfg.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			x := exchange.Acquire()
			defer x.Release()
			x.Conn = &exchange.Conn{Port: c.port}
			x.Req = exchange.Request{Scheme: c.scheme, Host: "shop.example.com", Authority: "Shop.Example.com:8080", Target: "/x?y"}
			if v := f.(filter.OnRequest).Request(x); v != exchange.Reply || x.Resp.Status != c.cfg.Status {
				t.Fatalf("verdict %v, status %d", v, x.Resp.Status)
			}
			if got := x.Resp.Header.Get("Location"); got != c.location {
				t.Errorf("Location %q, want %q", got, c.location)
			}
		})
	}
}

func TestCodeWithoutLocationSendsTheTextInstead(t *testing.T) {
	f, _ := Config{Status: 300, To: "https://a.example"}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	x.Conn = new(exchange.Conn)
	f.(filter.OnRequest).Request(x)
	body, err := io.ReadAll(x.Resp.Body)
	if err != nil || string(body) != "https://a.example" || x.Resp.Header.Has("Location") || x.Resp.Length != int64(len(body)) {
		t.Errorf("body %q, %v, header %v", body, err, x.Resp.Header)
	}
}
