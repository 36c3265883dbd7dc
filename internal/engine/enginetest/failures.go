package enginetest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

var errCut = errors.New("endpoint cut the response")

var failures = []test{
	{"CutResponseIsSeenAsCut", nil, func(t *testing.T, b *lab) {
		for _, length := range []int64{-1, 100} {
			body := newBody()
			b.h.set(func(h *handler) {
				h.forward = func(x *exchange.Exchange) { stream(body)(x); x.Resp.Length = length }
			})
			c := b.dial().send(get)
			go func() { body.pieces <- "part"; body.pieces <- errCut }()
			if r := c.read("GET"); r.status != 200 || r.body != "part" || r.err == nil {
				t.Errorf("length %d: got %+v, want part of a body", length, r)
			}
			<-body.closed
		}
	}},
	{"ShortResponseIsSeenAsCut", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { setText(x, 200, "four"); x.Resp.Length = 5 }
		})
		if r := b.dial().send(get).read("GET"); r.err == nil {
			t.Errorf("got %+v", r)
		}
	}},
	{"LongResponseIsCutAtItsLength", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { setText(x, 200, "fourHTTP/1.1 200 OK\r\n\r\n"); x.Resp.Length = 4 }
		})
		c := b.dial().send(get)
		c.want(200, "four")
		c.send(get).want(200, "four")
	}},
	{"CutResponseResetsHTTP10", nil, func(t *testing.T, b *lab) {
		body := newBody()
		b.h.set(func(h *handler) { h.forward = stream(body) })
		c := b.dial().send("GET / HTTP/1.0\n\n")
		r, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body.give(t, "part")
		if _, err := io.ReadFull(r.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		body.give(t, errCut)
		if _, err := io.ReadAll(r.Body); err == nil || b.tls == nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the end looks like that of a whole answer: %v", err)
		}
	}},
	{"PanicAnswers500AndEndsOnce", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.forward = func(*exchange.Exchange) { panic("broken invariant") } })
		c := b.dial().send(get)
		if r := c.want(500, ""); !r.close || strings.Contains(r.body, "invariant") {
			t.Errorf("got %+v", r)
		}
		c.ended()
		if r := b.records(1); len(r) != 1 || r[0].status != 500 {
			t.Errorf("got %+v", r)
		}
		b.h.set(func(h *handler) { h.forward = nil })
		b.dial().send(get).want(200, "")
	}},
	{"PanicInAResponseCutsIt", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.forward = stream(panicky{}) })
		c := b.dial().send(get)
		if r := c.read("GET"); r.err == nil {
			t.Errorf("got %+v", r)
		}
		b.records(1)
	}},
	{"PanicInDoneStaysWithItsConnection", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.end = func(*exchange.Exchange) { panic("broken invariant") } })
		b.dial().send(get).want(200, "")
		b.records(1)
		b.h.set(func(h *handler) { h.end = nil })
		b.dial().send(get).want(200, "")
	}},
	{"DropEndsWithoutAnAnswer", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) { h.begin = func(*exchange.Exchange) exchange.Verdict { return exchange.Drop } })
		b.dial().send(get).ended()
		b.h.set(func(h *handler) {
			h.begin = func(x *exchange.Exchange) exchange.Verdict { return x.Reply(exchange.StatusDrop) }
		})
		b.dial().send(get).ended()
		b.records(2)
	}},
	{"StatusesOfEndpointsAreAllSent", nil, func(t *testing.T, b *lab) {
		for _, status := range []int{exchange.StatusDrop, exchange.StatusClientGone} {
			b.h.set(func(h *handler) {
				h.forward = func(x *exchange.Exchange) {
					setText(x, status, "hi")
					x.Resp.FromUpstream = true
				}
			})
			b.dial().send(get).want(status, "hi")
		}
		b.records(2)
	}},
	{"HandlerLearnsThatTheClientLeft", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				select {
				case <-x.Down.Gone():
				case <-time.After(10 * time.Second):
					t.Error("nobody noticed")
				}
				x.Resp.Status = exchange.StatusClientGone
			}
		})
		for _, request := range []string{get, "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0\n\n"} {
			c := b.dial().send(request)
			b.until("the exchange", func() bool { return b.h.forwarded.Load() > b.h.done.Load() })
			c.tcp.Close()
			b.until("its end", func() bool { return b.h.forwarded.Load() == b.h.done.Load() })
		}
	}},
	{"HandlerLearnsThatTheClientLeftAfterItsBody", nil, func(t *testing.T, b *lab) {
		read := make(chan struct{})
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				gone := x.Down.Gone() // before the body is read
				if got, err := io.ReadAll(x.Req.Body); err != nil || string(got) != "hi" {
					t.Errorf("got %q, %v", got, err)
				}
				close(read)
				<-gone
				x.Resp.Status = exchange.StatusClientGone
			}
		})
		c := b.dial().send("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n")
		<-read
		c.c.Close()
		b.records(1)
	}},
	{"WatchingStealsNoPipelinedBytes", nil, func(t *testing.T, b *lab) {
		go_ := make(chan struct{})
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) {
				x.Down.Gone()
				<-go_
				echo(x)
			}
		})
		c := b.dial().send("GET /1 HTTP/1.1\nHost: a.test\n\n")
		b.until("the exchange", func() bool { return b.h.forwarded.Load() == 1 })
		c.send("GET /2 HTTP/1.1\nHost: a.test\n\nGET /3 HTTP/1.1\nHo")
		close(go_)
		c.want(200, "GET /1 host=a.test")
		c.want(200, "GET /2 host=a.test")
		c.send("st: a.test\n\n").want(200, "GET /3 host=a.test")
		for range 50 {
			c.send(get).want(200, "GET / host=a.test")
		}
	}},
	{"ClientThatReadsNothingIsLetGo", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.limits.SendTimeout = 100 * time.Millisecond
			h.forward = stream(endless{})
		})
		b.dial().send(get)
		b.records(1)
	}},
	{"SlowHeadIsToldSo", func(g *config.Global) { g.HeaderTimeout = 100 * time.Millisecond }, func(t *testing.T, b *lab) {
		c := b.dial().send("GET / HTTP/1.1\nHost:")
		c.want(408, "page\n")
		c.ended()
		b.dial().ended() // nothing sent: nothing answered
		if r := b.records(1); len(r) != 1 || r[0].malformed != 408 {
			t.Errorf("got %+v", r)
		}
	}},
	{"IdleConnectionIsClosedSilently", func(g *config.Global) { g.KeepAlive = 100 * time.Millisecond }, func(t *testing.T, b *lab) {
		c := b.dial().send(get)
		c.want(200, "")
		c.ended()
	}},
	{"S7_6_ClientAbortsAtEveryByte", nil, func(t *testing.T, b *lab) {
		text := strings.ReplaceAll("POST /a HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\nGET /b HTTP/1.1\nHost: a.test\n\n", "\n", "\r\n")
		for n := range len(text) {
			c := b.dial().raw(text[:n])
			if n%2 == 0 {
				c.tcp.SetLinger(0)
			}
			c.c.Close()
		}
		c := b.dial().raw(text)
		c.want(200, "POST /a host=a.test body=hi")
		c.want(200, "GET /b host=a.test")
		b.until("all ends", func() bool { return b.h.begun.Load() == b.h.done.Load() })
	}},
}

type panicky struct{}

func (panicky) Read([]byte) (int, error) { panic("broken invariant") }
func (panicky) Close() error             { return nil }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }
