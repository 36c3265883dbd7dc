package mirror

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

type target struct {
	mu   sync.Mutex
	got  []*filter.FetchRequest
	body []string
	hold chan struct{} // nil: answer at once
	s    *sender
}

func (w *target) env() *filter.Env {
	w.s = &sender{}
	return &filter.Env{
		Keep: func(string, func() any) any { return w.s },
		Fetch: func(ctx context.Context, r *filter.FetchRequest) (*filter.FetchResponse, error) {
			if w.hold != nil {
				<-w.hold
			}
			var b []byte
			if r.Body != nil {
				var err error
				if b, err = io.ReadAll(r.Body); err != nil {
					return nil, err
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got, w.body = append(w.got, r), append(w.body, string(b))
			return nil, errors.New("mirrors never matter")
		},
	}
}

func build(t *testing.T, w *target, c Config) *mirror {
	t.Helper()
	f, err := c.Build(w.env())
	if err != nil {
		t.Fatal(err)
	}
	return f.(*mirror)
}

func post(target, content string) *exchange.Exchange {
	x := exchange.Acquire()
	x.Req.Method, x.Req.Target = "POST", target
	x.Req.Path, x.Req.Query, x.Req.HasQuery = strings.Cut(target, "?")
	if content != "" {
		x.Req.Body, x.Req.Length = io.NopCloser(strings.NewReader(content)), int64(len(content))
	}
	return x
}

func TestCopyKeepsMethodFieldsAndQuery(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "10.0.0.1:8080", Host: "mirrored.test", Target: "/fixed", Body: true})
	x := post("/a?b=c", "hello")
	x.Req.Length = -1
	x.Req.Header.Add("X-A", "1")
	x.Req.Header.Add("ssl-client-verify", "SUCCESS")
	if v := m.Request(x); v != exchange.Continue {
		t.Fatalf("verdict %v", v)
	}
	if b, err := io.ReadAll(x.Req.Body); string(b) != "hello" || err != nil {
		t.Errorf("the endpoint would read %q, %v", b, err)
	}
	if x.Req.Length != 5 {
		t.Errorf("length %d, want 5", x.Req.Length)
	}
	x.Release()
	w.s.done.Wait()
	r := w.got[0]
	if r.Method != "POST" || r.Target != "/fixed?b=c" || r.Host != "mirrored.test" || r.Addr != "10.0.0.1:8080" {
		t.Errorf("%s %s to %s at %s", r.Method, r.Target, r.Host, r.Addr)
	}
	if w.body[0] != "hello" || r.Length != 5 {
		t.Errorf("body %q, length %d", w.body[0], r.Length)
	}
	if r.Header.Len() != 1 || r.Header.Get("X-A") != "1" {
		t.Errorf("fields %+v", r.Header)
	}
	if w.s.copies.Load() != 0 || w.s.bytes.Load() != 0 {
		t.Error("the copy still counts")
	}
}

func TestVariablesReplaceTheWholeTarget(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "a", Target: "$request_uri"})
	m.Request(post("/x?y=1", ""))
	w.s.done.Wait()
	if got := w.got[0].Target; got != "/x?y=1" {
		t.Errorf("target %q", got)
	}
}

func TestBodyOffSendsNone(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "a", Target: "/"})
	x := post("/", "hello")
	m.Request(x)
	w.s.done.Wait()
	if r := w.got[0]; r.Body != nil || r.Length != 0 {
		t.Errorf("length %d", r.Length)
	}
	if m.MayBlock() {
		t.Error("blocks without reading content")
	}
}

func TestLargeContentGoesOnWithoutACopy(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "a", Target: "/", Body: true})
	content := strings.Repeat("x", maxBody+10)
	x := post("/", content)
	x.Req.Length = -1
	m.Request(x)
	if b, err := io.ReadAll(x.Req.Body); string(b) != content || err != nil {
		t.Errorf("the endpoint would read %d bytes, %v", len(b), err)
	}
	x = post("/", "short")
	x.Req.Length = maxBody + 1
	m.Request(x)
	w.s.done.Wait()
	if len(w.got) != 0 || w.s.dropped.Load() != 2 {
		t.Errorf("%d copies, %d dropped", len(w.got), w.s.dropped.Load())
	}
}

type failing struct{ r io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = exchange.ErrBodyTooLarge
	}
	return n, err
}

func (failing) Close() error { return nil }

func TestFailureToReadIsTheEndpointsToo(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "a", Target: "/", Body: true})
	x := post("/", "")
	x.Req.Body, x.Req.Length = failing{strings.NewReader("abc")}, -1
	m.Request(x)
	if b, err := io.ReadAll(x.Req.Body); string(b) != "abc" || !errors.Is(err, exchange.ErrBodyTooLarge) {
		t.Errorf("read %q, %v", b, err)
	}
	w.s.done.Wait()
	if len(w.got) != 0 {
		t.Error("a broken request was mirrored")
	}
}

func TestSlowMirrorNeitherDelaysNorPilesUp(t *testing.T) {
	w := &target{hold: make(chan struct{})}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "a", Target: "/"})
	for range 3 * maxCopies {
		x := post("/", "")
		m.Request(x)
		x.Release()
	}
	if n := w.s.copies.Load(); n != maxCopies {
		t.Errorf("%d copies under way, want %d", n, maxCopies)
	}
	close(w.hold)
	w.s.done.Wait()
	if len(w.got) != maxCopies || w.s.dropped.Load() != 2*maxCopies {
		t.Errorf("%d sent, %d dropped", len(w.got), w.s.dropped.Load())
	}
}

func TestTargetCannotEndTheRequestLine(t *testing.T) {
	w := &target{}
	m := build(t, w, Config{Scheme: "http", Addr: "a:80", Host: "$http_x", Target: "$http_x"})
	x := post("/", "")
	x.Req.Header.Add("X", "a b\tc")
	m.Request(x)
	w.s.done.Wait()
	if r := w.got[0]; r.Target != "/a%20b%09c" || r.Host != "a" {
		t.Errorf("target %q host %q", r.Target, r.Host)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, c := range []Config{
		{}, {Scheme: "ftp", Addr: "a:1"}, {Scheme: "http", Addr: "a:80", Target: "$nope"}, {Scheme: "http", Addr: "a:80", Host: "$nope"},
	} {
		if _, err := c.Build((&target{}).env()); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if filter.Position(Config{}.FilterName()) < 0 {
		t.Error("not in filter.Order")
	}
}
