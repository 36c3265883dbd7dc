package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func parse(t *testing.T, limits Limits, s string) (RequestHead, int, *exchange.Request, error) {
	t.Helper()
	p := &RequestParser{Limits: limits}
	r := new(exchange.Request)
	h, n, err := p.Parse([]byte(s), r)
	return h, n, r, err
}

func TestRequestHeadIsTakenApart(t *testing.T) {
	const s = "POST /a%20b//c?x=1 HTTP/1.1\r\nHost: Shop.Example.com.:8080\r\nX-A:  one \r\ncontent-length: 5\r\nTE: trailers\r\nConnection: keep-alive, X-Hop\r\nX-Hop: no\r\nExpect: 100-continue\r\nx-a: two\r\n\r\nhello"
	h, n, r, err := parse(t, Limits{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if n != len(s)-5 {
		t.Errorf("took %d bytes, want %d", n, len(s)-5)
	}
	if h != (RequestHead{Framing: FrameLength, Length: 5, KeepAlive: true, Expect: true}) {
		t.Errorf("head %+v", h)
	}
	got := []string{r.Method, r.Authority, r.Host, r.Target, r.Path, r.Query, r.Line, r.Upgrade}
	want := []string{"POST", "Shop.Example.com.:8080", "shop.example.com", "/a%20b//c?x=1", "/a b/c", "x=1", "POST /a%20b//c?x=1 HTTP/1.1", ""}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("part %d is %q, want %q", i, got[i], want[i])
		}
	}
	if !r.HasQuery || !r.TETrailer || r.Length != 5 || r.Proto != exchange.HTTP11 {
		t.Errorf("request %+v", r)
	}
	var fields []string
	for name, value := range r.Header.All() {
		fields = append(fields, name+"="+value)
	}
	if s := strings.Join(fields, " "); s != "X-A=one x-a=two" {
		t.Errorf("fields %q", s)
	}
}

// The sizes are measured on nginx with 4 large buffers of 8k behind one of 1k.
func TestLinesArePackedIntoBuffers(t *testing.T) {
	for _, c := range []struct{ fields, size, status int }{
		{4, 8180, 0}, {4, 8190, 0}, {4, 8192, 494}, {1, 8193, 494},
		{5, 6000, 494}, {4, 6000, 0}, {5, 4000, 0}, {8, 4000, 0}, {9, 4000, 494},
		{300, 108, 0}, {320, 108, 494}, {900, 36, 0},
	} {
		head := "GET / HTTP/1.1\r\nHost: a.test\r\n"
		for i := range c.fields {
			name := fmt.Sprintf("X-%03d: ", i)
			head += name + strings.Repeat("h", c.size-len(name)-2) + "\r\n"
		}
		head += "\r\n"
		for _, step := range []int{len(head), 1000} {
			var p RequestParser
			var err error
			for end := 0; end < len(head) && err == nil; {
				end = min(end+step, len(head))
				if end-step >= p.Limits.Max() {
					t.Fatalf("%d fields of %d bytes: asks for more than Max bytes", c.fields, c.size)
				}
				_, _, err = p.Parse([]byte(head[:end]), &exchange.Request{})
			}
			var he *HeadError
			if errors.As(err, &he); (he == nil) != (c.status == 0) || he != nil && he.Status != c.status {
				t.Errorf("%d fields of %d bytes in steps of %d: %v", c.fields, c.size, step, err)
			}
		}
	}
}

func TestLoneCarriageReturnIsRefusedAtOnce(t *testing.T) {
	for _, head := range []string{"GET / HTTP/1.1\rHost", "GET / HTTP/1.1\r\nHost: a\rX", "\rGET"} {
		for _, step := range []int{len(head), 1} {
			var p RequestParser
			var err error
			for end := 0; end < len(head) && err == nil; {
				end = min(end+step, len(head))
				_, _, err = p.Parse([]byte(head[:end]), &exchange.Request{})
			}
			if err == nil {
				t.Errorf("%q in steps of %d: no error", head, step)
			}
		}
	}
}
