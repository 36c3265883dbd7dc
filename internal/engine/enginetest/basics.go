package enginetest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

const get = "GET / HTTP/1.1\nHost: a.test\n\n"

var basics = []test{
	{"ConnectionStaysOpenAndSaysSo", nil, func(t *testing.T, b *lab) {
		c := b.dial()
		for n := 1; n <= 3; n++ {
			r := c.send("GET /x?y HTTP/1.1\nHost: a.test:80\nX-A: 1\n\n").want(200, "GET /x?y host=a.test:80 x-a=1")
			if r.header.Get("Connection") != "keep-alive" {
				t.Errorf("Connection is %q, want keep-alive", r.header.Get("Connection"))
			}
			if _, err := http.ParseTime(r.header.Get("Date")); err != nil {
				t.Errorf("Date: %v", err)
			}
		}
		for i, r := range b.records(3) {
			if r.number != i+1 || r.line != "GET /x?y HTTP/1.1" || r.status != 200 {
				t.Errorf("record %d: %+v", i, r)
			}
			if want := int64(len("GET /x?y HTTP/1.1\r\nHost: a.test:80\r\nX-A: 1\r\n\r\n")); r.received != want {
				t.Errorf("request length %d, want %d", r.received, want)
			}
			if r.body != 29 || r.sent <= r.body {
				t.Errorf("sent %d, content %d, want content 29", r.sent, r.body)
			}
		}
	}},
	{"ConnectionCloseIsObeyed", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("GET / HTTP/1.1\nHost: a.test\nConnection: close\n\n")
		if r := c.want(200, ""); !r.close {
			t.Error("response does not say close")
		}
		c.ended()
	}},
	{"PipelinedRequestsAreAnsweredInOrder", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("GET /1 HTTP/1.1\nHost: a.test\n\nPOST /2 HTTP/1.1\nHost: a.test\nContent-Length: 2\n\nhiGET /3 HTTP/1.1\nHost: a.test\n\n")
		c.want(200, "GET /1 host=a.test")
		c.want(200, "POST /2 host=a.test body=hi")
		c.want(200, "GET /3 host=a.test")
	}},
	{"RequestInSinglesBytesIsTheSame", nil, func(t *testing.T, b *lab) {
		c := b.dial()
		c.tcp.SetNoDelay(true)
		for _, ch := range "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nhi\r\n3\r\nabc\r\n0\r\n\r\n" {
			c.raw(string(ch))
		}
		c.want(200, "POST /x host=a.test body=hiabc")
	}},
	{"HTTP10ClosesUnlessAskedToStay", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("GET /old HTTP/1.0\n\n")
		if r := c.want(200, "GET /old host="); !r.close {
			t.Error("connection stays open")
		}
		c.ended()
		c = b.dial()
		for range 2 {
			r := c.send("GET / HTTP/1.0\nHost: a.test\nConnection: keep-alive\n\n").want(200, "GET / host=a.test")
			if r.header.Get("Connection") != "keep-alive" {
				t.Errorf("Connection is %q", r.header.Get("Connection"))
			}
		}
	}},
	{"HTTP10GetsNoChunks", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.forward = stream(io.NopCloser(strings.NewReader("content"))) })
		c := b.dial().send("GET / HTTP/1.0\nConnection: keep-alive\n\n")
		r := c.want(200, "content")
		if r.header.Get("Transfer-Encoding") != "" || r.header.Get("Content-Length") != "" || !r.close {
			t.Errorf("got %v", r.header)
		}
	}},
	{"HeadHasLengthAndNoContent", nil, func(t *testing.T, b *lab) {
		c := b.dial().send("HEAD / HTTP/1.1\nHost: a.test\n\n")
		if r := c.read("HEAD"); r.status != 200 || r.header.Get("Content-Length") != "18" {
			t.Errorf("got %d, Content-Length %q", r.status, r.header.Get("Content-Length"))
		}
		c.send(get).want(200, "")
	}},
	{"BodylessStatusesHaveNoContent", nil, func(t *testing.T, b *lab) {
		c := b.dial()
		for _, status := range []int{204, 304} {
			b.h.set(func(h *handler) {
				h.forward = func(x *exchange.Exchange) { setText(x, status, "must not be sent") }
			})
			if r := c.send(get).read("GET"); r.status != status || r.body != "" || r.header.Get("Transfer-Encoding") != "" {
				t.Errorf("got %+v", r)
			}
		}
	}},
	{"DateOfTheEndpointIsReplaced", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				setText(x, 200, "x")
				x.Resp.Header.Add("Date", "Mon, 01 Jan 1990 00:00:00 GMT")
				x.Resp.Header.Add("X-B", "b")
			}
		})
		r := b.dial().send(get).want(200, "x")
		if d := r.header["Date"]; len(d) != 1 || strings.Contains(d[0], "1990") || r.header.Get("X-B") != "b" {
			t.Errorf("got %v", r.header)
		}
	}},
	{"HandlerCanCloseTheConnection", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { setText(x, 200, "x"); x.Resp.Close = true }
		})
		c := b.dial().send(get)
		if r := c.want(200, "x"); !r.close {
			t.Error("response does not say close")
		}
		c.ended()
	}},
	{"KeepAliveRequestsBoundAConnection", func(g *config.Global) { g.KeepAliveRequests = 2 }, func(t *testing.T, b *lab) {
		c := b.dial()
		if c.send(get).want(200, "").close {
			t.Error("first response says close")
		}
		if !c.send(get).want(200, "").close {
			t.Error("second response does not say close")
		}
		c.ended()
	}},
	{"KeepAliveZeroClosesEachTime", func(g *config.Global) { g.KeepAlive = 0 }, func(t *testing.T, b *lab) {
		c := b.dial().send(get)
		if !c.want(200, "").close {
			t.Error("response does not say close")
		}
		c.ended()
	}},
	{"EveryReadOfAStreamIsFlushed", nil, func(t *testing.T, b *lab) {
		body := newBody()
		b.h.set(func(h *handler) { h.forward = stream(body) })
		c := b.dial().send(get)
		// The head comes before any content.
		r, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		for _, piece := range []string{"one", "two"} {
			body.give(t, piece)
			n, err := r.Body.Read(buf)
			if err != nil || string(buf[:n]) != piece {
				t.Fatalf("got %q, %v", buf[:n], err)
			}
		}
		body.give(t, io.EOF)
		if _, err := r.Body.Read(buf); err != io.EOF {
			t.Errorf("end: %v", err)
		}
		<-body.closed
		b.h.set(func(h *handler) { h.forward = nil })
		c.send(get).want(200, "")
	}},
	{"LargeContentArrivesWhole", nil, func(t *testing.T, b *lab) {
		text := strings.Repeat("0123456789abcdef", 1<<16)
		for _, length := range []int64{-1, int64(len(text))} {
			b.h.set(func(h *handler) {
				h.forward = func(x *exchange.Exchange) {
					stream(io.NopCloser(strings.NewReader(text)))(x)
					x.Resp.Length = length
				}
			})
			if r := b.dial().send(get).read("GET"); r.body != text || r.err != nil {
				t.Errorf("length %d: got %d bytes, %v", length, len(r.body), r.err)
			}
		}
	}},
	{"LargeResponseHeadsAreSent", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				setText(x, 200, "x")
				x.Resp.Header.Add("X-Big", strings.Repeat("b", 20<<10))
			}
		})
		if r := b.dial().send(get).want(200, "x"); len(r.header.Get("X-Big")) != 20<<10 {
			t.Errorf("field has %d bytes", len(r.header.Get("X-Big")))
		}
	}},
	{"InterimResponsesGoToHTTP11Only", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				var f exchange.Fields
				f.Add("Link", "</a>")
				if err := x.Down.Informational(103, &f); err != nil {
					t.Error(err)
				}
				setText(x, 200, "x")
			}
		})
		c := b.dial().send(get)
		r, err := http.ReadResponse(c.br, nil)
		if err != nil || r.StatusCode != 103 || r.Header.Get("Link") != "</a>" {
			t.Fatalf("got %v, %v", r, err)
		}
		c.want(200, "x")
		b.dial().send("GET / HTTP/1.0\n\n").want(200, "x")
	}},
	{"PlainRequestOnATLSPortIsRefused", nil, func(t *testing.T, b *lab) {
		b.plain.Store(true)
		c := b.dial().send(get)
		c.want(400, "page\n")
		c.ended()
		if r := b.records(1)[0]; r.malformed != 497 {
			t.Errorf("Malformed is %d, want 497", r.malformed)
		}
	}},
	{"CountsTellWhatConnectionsDo", nil, func(t *testing.T, b *lab) {
		release := make(chan struct{})
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { <-release; setText(x, 200, "x") }
		})
		idle, busy := b.dial(), b.dial()
		busy.send(get)
		b.until("one waiting and one writing", func() bool {
			n := b.engine.Counts()
			return n.Waiting == 1 && n.Writing == 1 && n.Requests == 1
		})
		close(release)
		busy.want(200, "x")
		idle.send(get).want(200, "x")
		b.until("two requests", func() bool { return b.engine.Counts().Requests == 2 })
		idle.c.Close()
		busy.c.Close()
		b.until("no connection", func() bool { n := b.engine.Counts(); return n.Waiting+n.Writing+n.Reading == 0 && n.Requests == 2 })
	}},
	{"RateSlowsAResponseDown", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.limits.Rate, h.limits.RateAfter = 10_000, 1_000
			h.forward = func(x *exchange.Exchange) { setText(x, 200, strings.Repeat("x", 24_000)) }
		})
		began := time.Now()
		c := b.dial().send(get)
		if r := c.read("GET"); len(r.body) != 24_000 {
			t.Errorf("got %d bytes", len(r.body))
		}
		if took := time.Since(began); took < time.Second {
			t.Errorf("took %v, want more than a second", took)
		}
	}},
}

// unread drains what a peer sends without looking, until its end.
func unread(c net.Conn) {
	_, _ = io.Copy(io.Discard, bufio.NewReader(c))
}
