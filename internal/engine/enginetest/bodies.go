package enginetest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

var bodies = []test{
	{"ALengthOfZeroIsAnEmptyBody", nil, func(t *testing.T, b *lab) {
		c := b.dial()
		for range 2 {
			c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n").want(200, "POST / host=a.test body=")
			c.send("POST / HTTP/1.1\nHost: a.test\n\n").want(200, "POST / host=a.test")
		}
		b.records(4)
	}},
	{"BodiesByLengthAndByChunks", nil, func(t *testing.T, b *lab) {
		c := b.dial()
		c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhello").want(200, "POST / host=a.test body=hello")
		c.send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n").want(200, "POST / host=a.test body=hello")
		c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n").want(200, "POST / host=a.test body=")
		c.send("POST / HTTP/1.1\nHost: a.test\n\n").want(200, "POST / host=a.test")
		c.send("GET / HTTP/1.1\nHost: a.test\nContent-Length: 2\n\nhi").want(200, "GET / host=a.test body=hi")
	}},
	{"LargeBodiesArriveWhole", nil, func(t *testing.T, b *lab) {
		text := strings.Repeat("x", 300_000)
		c := b.dial()
		c.send(fmt.Sprintf("POST / HTTP/1.1\nHost: a.test\nContent-Length: %d\n\n%s", len(text), text)).want(200, "POST / host=a.test body="+text)
		c.send(fmt.Sprintf("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n%x\n%s\n0\n\n", len(text), text)).want(200, "POST / host=a.test body="+text)
	}},
	{"TrailersOfHTTP1AreDropped", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				echo(x)
				x.Resp.Length = -1
				x.Resp.Trailer.Add("X-Down", "1")
			}
		})
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nTrailer: X-T\n\n2\nhi\n0\nX-T: 1\nContent-Length: 9\n\n")
		r, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(r.Body)
		if string(got) != "POST / host=a.test trailer=X-T body=hi" || len(r.Trailer) > 0 {
			t.Errorf("got %q, trailer %v", got, r.Trailer)
		}
		c.send(get).want(200, "")
	}},
	{"ContinueIsSentWhenTheBodyIsRead", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\nExpect: 100-continue\n\n")
		r, err := http.ReadResponse(c.br, nil)
		if err != nil || r.StatusCode != 100 {
			t.Fatalf("got %v, %v", r, err)
		}
		c.send("hi").want(200, "POST / host=a.test body=hi")
		c.send(get).want(200, "")
	}},
	{"ContinueIsNotSentForARefusal", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.begin = func(x *exchange.Exchange) exchange.Verdict { return x.Reply(403) } })
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\nExpect: 100-continue\n\n")
		// The client may send the body or not: only closing is unambiguous.
		if r := c.want(403, "page\n"); !r.close {
			t.Error("connection stays open")
		}
		c.ended()
	}},
	{"OtherExpectationsAreIgnored", nil, func(t *testing.T, b *lab) {
		b.dial().send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\nExpect: something\n\nhi").want(200, "POST / host=a.test body=hi")
	}},
	{"UnwantedBodyIsSkipped", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.begin = func(x *exchange.Exchange) exchange.Verdict {
				if x.Req.Method == "POST" {
					return x.Reply(403)
				}
				return exchange.Continue
			}
		})
		c := b.dial()
		if c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 14\n\nGET /x HTTP/1.").want(403, "page\n").close {
			t.Error("connection closes for a small body")
		}
		if c.send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n").want(403, "page\n").close {
			t.Error("connection closes for a small chunked body")
		}
		c.send(get).want(200, "GET / host=a.test")
		if !c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 100000000\n\n").want(403, "page\n").close {
			t.Error("connection stays open before a large body")
		}
	}},
	{"TooLargeBodyIsRefusedBeforeItIsRead", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.limits.BodyMax = 4 })
		for _, framing := range []string{"Content-Length: 5\n\nhello", "Transfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n", "Content-Length: 5\nExpect: 100-continue\n\n"} {
			c := b.dial().send("POST / HTTP/1.1\nHost: a.test\n" + framing)
			if r := c.want(413, ""); !r.close || !strings.Contains(r.body, "proxy-body-size") {
				t.Errorf("%q: got %+v", framing, r)
			}
			c.ended()
		}
		c := b.dial()
		c.send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 4\n\nhell").want(200, "POST / host=a.test body=hell")
		c.send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n4\nhell\n0\n\n").want(200, "POST / host=a.test body=hell")
	}},
	{"RefusalCanBeReadWhileTheClientStillSends", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.limits.BodyMax = 4 })
		c := b.dial()
		size := 8 << 20
		c.send(fmt.Sprintf("POST / HTTP/1.1\nHost: a.test\nContent-Length: %d\n\n", size))
		piece := strings.Repeat("x", 1<<16)
		for range size / len(piece) {
			c.raw(piece)
		}
		c.want(413, "")
		c.ended()
	}},
	{"SilentBodyTimesOut", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.limits.BodyTimeout = 50 * time.Millisecond })
		for _, text := range []string{"Content-Length: 5\n\nhel", "Transfer-Encoding: chunked\n\n5\nhe"} {
			c := b.dial().send("POST / HTTP/1.1\nHost: a.test\n" + text)
			if r := c.want(408, ""); !r.close {
				t.Error("connection stays open")
			}
			c.ended()
		}
	}},
	{"BrokenChunksAreAFramingError", nil, func(t *testing.T, b *lab) {
		for _, text := range []string{"zz\n", "2\nhiX\n", "2\nhi\n-1\n", "0x5\nhello\n", "+2\nhi\n", "ffffffffffffffff1\n", "2 ;\nhi\n0\nBad Trailer: x\n\n"} {
			c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n" + text)
			if r := c.want(400, ""); !r.close {
				t.Errorf("%q: connection stays open", text)
			}
			c.ended()
		}
		b.dial().raw("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\n0\n\n").want(400, "")
	}},
	{"ClientThatLeavesEndsTheBody", nil, func(t *testing.T, b *lab) {
		got := make(chan error, 1)
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				_, err := io.ReadAll(x.Req.Body)
				got <- err
				x.Resp.Status = exchange.StatusClientGone
			}
		})
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nhe")
		c.c.Close()
		if err := <-got; !errors.Is(err, exchange.ErrClientGone) {
			t.Errorf("body ended with %v", err)
		}
		b.records(1)
	}},
	{"ClosingTheBodyEndsARead", nil, func(t *testing.T, b *lab) {
		early := func(x *exchange.Exchange) {
			started, ended := make(chan struct{}), make(chan struct{})
			body := x.Req.Body
			go func() {
				defer close(ended)
				buf := make([]byte, 10)
				body.Read(buf)
				close(started)
				body.Read(buf)
			}()
			<-started
			body.Close()
			<-ended
			setText(x, 200, "early")
		}
		for _, c := range []struct{ framing, rest string }{
			{"Content-Length: 5\n\nhe", "llo"}, {"Transfer-Encoding: chunked\n\n2\nhe\n", "3\nllo\n0\n\n"},
		} {
			b.h.set(func(h *handler) { h.forward = early })
			cl := b.dial().send("POST / HTTP/1.1\nHost: a.test\n" + c.framing)
			if r := cl.want(200, "early"); r.close {
				continue // allowed: the rest may never come
			}
			b.h.set(func(h *handler) { h.forward = nil })
			cl.send(c.rest)
			cl.send(get).want(200, "GET / host=a.test")
		}
	}},
	{"ContentFlowsBothWaysAtOnce", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.forward = func(x *exchange.Exchange) { stream(x.Req.Body)(x); x.Req.Body = nil } })
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n")
		r, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		for _, piece := range []string{"one", "two"} {
			c.send(fmt.Sprintf("%x\n%s\n", len(piece), piece))
			n, err := r.Body.Read(buf)
			if err != nil || string(buf[:n]) != piece {
				t.Fatalf("got %q, %v", buf[:n], err)
			}
		}
		c.send("0\n\n")
		if _, err := r.Body.Read(buf); err != io.EOF {
			t.Errorf("end: %v", err)
		}
	}},
}
