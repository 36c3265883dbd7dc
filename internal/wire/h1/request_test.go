package h1

import (
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
