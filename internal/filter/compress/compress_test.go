package compress

import (
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

type source struct {
	io.Reader
	closed bool
}

func (s *source) Close() error { s.closed = true; return nil }

func build(t *testing.T, cfg Config) filter.OnResponse {
	t.Helper()
	f, err := cfg.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f.(filter.OnResponse)
}

var standard = Config{Level: 1, MinLength: 20, Types: []string{"application/json"}, Disable: "MSIE 6"}

const content = `{"some": "content that is long enough to be worth it, worth it, worth it"}`

func reply(accept, contentType string, length int64, src io.ReadCloser) *exchange.Exchange {
	x := exchange.Acquire()
	x.Req.Method = "GET"
	x.Req.Header.Add("Accept-Encoding", accept)
	x.Resp.Status, x.Resp.Length, x.Resp.Body = 200, length, src
	x.Resp.Header.Add("Content-Type", contentType)
	x.Resp.Header.Add("ETag", `"abc"`)
	return x
}

func TestBodyIsCompressed(t *testing.T) {
	f := build(t, standard)
	for _, length := range []int64{-1, int64(len(content))} {
		src := &source{Reader: strings.NewReader(content)}
		x := reply("br;q=1, gzip", "application/JSON; charset=utf-8", length, src)
		f.Response(x)
		z, err := gzip.NewReader(x.Resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
		if err := x.Resp.Body.Close(); err != nil || !src.closed {
			t.Errorf("close: %v, source closed: %v", err, src.closed)
		}
		h := &x.Resp.Header
		if h.Get("Content-Encoding") != "gzip" || h.Get("Vary") != "Accept-Encoding" || h.Get("ETag") != `W/"abc"` || x.Resp.Length != -1 {
			t.Errorf("fields %v, length %d", *h, x.Resp.Length)
		}
		x.Release()
	}
}

func TestBodyIsLeftAlone(t *testing.T) {
	f := build(t, standard)
	for name, change := range map[string]func(*exchange.Exchange){
		"short":            func(x *exchange.Exchange) { x.Resp.Length = 19 },
		"other type":       func(x *exchange.Exchange) { x.Resp.Header.Set("Content-Type", "image/png") },
		"no type":          func(x *exchange.Exchange) { x.Resp.Header.Del("Content-Type") },
		"encoded":          func(x *exchange.Exchange) { x.Resp.Header.Set("Content-Encoding", "br") },
		"not accepted":     func(x *exchange.Exchange) { x.Req.Header.Set("Accept-Encoding", "gzip;q=0, *") },
		"nothing accepted": func(x *exchange.Exchange) { x.Req.Header.Del("Accept-Encoding") },
		"old protocol":     func(x *exchange.Exchange) { x.Req.Proto = exchange.HTTP10 },
		"disabled agent":   func(x *exchange.Exchange) { x.Req.Header.Set("User-Agent", "x MSIE 6 y") },
		"part":             func(x *exchange.Exchange) { x.Resp.Status = 206 },
		"no transform":     func(x *exchange.Exchange) { x.Resp.Header.Set("Cache-Control", "public, no-transform") },
	} {
		src := &source{Reader: strings.NewReader(content)}
		x := reply("gzip", "text/html", 100, src)
		change(x)
		f.Response(x)
		if x.Resp.Body != io.ReadCloser(src) || x.Resp.Header.Get("Content-Encoding") == "gzip" {
			t.Errorf("%s: compressed", name)
		}
		x.Release()
	}
}

// stream gives a part only after the one before was taken.
type stream struct{ parts []string }

func (s *stream) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, errors.New("broken")
	}
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}
func (s *stream) Close() error { return nil }

func TestStreamArrivesAsItIsSentAndItsErrorIsNotLost(t *testing.T) {
	f := build(t, standard)
	x := reply("*", "text/html", -1, &stream{[]string{"first", "second"}})
	defer x.Release()
	f.Response(x)
	z, err := gzip.NewReader(x.Resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(z, buf); err != nil || string(buf) != "first" {
		t.Errorf("got %q, %v", buf, err)
	}
	if _, err := io.ReadAll(z); err == nil || err.Error() != "broken" {
		t.Errorf("error %v", err)
	}
	x.Resp.Body.Close()
	x.Resp.Body.Close()
}
