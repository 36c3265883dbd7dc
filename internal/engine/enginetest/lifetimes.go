package enginetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

var lifetimes = []test{
	{"DrainLetsARequestFinish", nil, func(t *testing.T, b *lab) {
		release := make(chan struct{})
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { <-release; setText(x, 200, "late") }
		})
		busy, idle := b.dial().send(get), b.dial()
		b.until("the exchange", func() bool { return b.h.forwarded.Load() == 1 })
		b.engine.Drain()
		idle.ended()
		close(release)
		if r := busy.want(200, "late"); !r.close {
			t.Error("response does not say close")
		}
		busy.ended()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if cut := b.engine.Wait(ctx); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
	}},
	{"DrainAnswersOneMoreRequestOfABusyClient", nil, func(t *testing.T, b *lab) {
		c := b.dial().send(get)
		c.want(200, "")
		b.engine.Drain()
		if r := c.send(get).want(200, ""); !r.close {
			t.Error("response does not say close")
		}
		c.ended()
	}},
	{"DrainingListenerClosesAfterOneResponse", nil, func(t *testing.T, b *lab) {
		b.engine.Drain()
		c := b.dial().send(get)
		if r := c.want(200, ""); !r.close {
			t.Error("response does not say close")
		}
		c.ended()
	}},
	{"WaitCutsWhatIsLeft", nil, func(t *testing.T, b *lab) {
		b.h.set(func(h *handler) {
			h.forward = func(x *exchange.Exchange) { <-x.Down.Gone(); x.Resp.Status = exchange.StatusClientGone }
		})
		c := b.dial().send(get)
		b.until("the exchange", func() bool { return b.h.forwarded.Load() == 1 })
		b.engine.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if cut := b.engine.Wait(ctx); cut != 1 {
			t.Errorf("%d connections were cut, want 1", cut)
		}
		c.ended()
		b.records(1)
	}},
	{"ManyClientsAtOnceGetTheirOwnAnswers", nil, func(t *testing.T, b *lab) {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				c, err := net.Dial("tcp", b.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				cl := &http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return c, nil }}}
				defer cl.CloseIdleConnections()
				for j := range 20 {
					r, err := cl.Get(fmt.Sprintf("http://%s/%d/%d", b.addr, i, j))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(r.Body)
					r.Body.Close()
					if want := fmt.Sprintf("GET /%d/%d ", i, j); err != nil || len(got) < len(want) || string(got[:len(want)]) != want {
						t.Errorf("got %q, %v", got, err)
					}
				}
			})
		}
		all.Wait()
	}},
}

// pipe is a tunnel whose other end a test holds.
type pipe struct {
	*net.TCPConn
	closed chan struct{}
	once   sync.Once
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.TCPConn.Close()
}

// upgrade makes the handler accept upgrades; the endpoint's end arrives on the channel.
func (b *lab) upgrade() (<-chan *net.TCPConn, *pipe) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	end, err := l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { end.Close() })
	end.SetDeadline(time.Now().Add(20 * time.Second))
	p := &pipe{TCPConn: c.(*net.TCPConn), closed: make(chan struct{})}
	ends := make(chan *net.TCPConn, 1)
	b.h.set(func(h *handler) {
		h.forward = func(x *exchange.Exchange) {
			if x.Req.Upgrade == "" {
				setText(x, 426, "no upgrade asked for")
				return
			}
			x.Resp.Status, x.Resp.Upgrade, x.Resp.Tunnel, x.Resp.FromUpstream = 101, x.Req.Upgrade, p, true
			x.Resp.Header.Add("Sec-WebSocket-Accept", "yes")
			ends <- end.(*net.TCPConn)
		}
	})
	return ends, p
}

const upgrade = "GET /ws HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: websocket\n\n"

func (c *client) switched() {
	c.t.Helper()
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.StatusCode != 101 || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "upgrade" || r.Header.Get("Sec-Websocket-Accept") != "yes" {
		c.t.Fatalf("got %d %v", r.StatusCode, r.Header)
	}
}

func exactly(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func atEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v, want the end", rest, err)
	}
}

var tunnels = []test{
	{"UpgradePassesBytesBothWays", nil, func(t *testing.T, b *lab) {
		ends, p := b.upgrade()
		// Bytes in the same segment as the request must arrive, too.
		c := b.dial().send(upgrade + "early")
		c.switched()
		end := <-ends
		exactly(t, end, "early")
		io.WriteString(end, "down")
		exactly(t, c.br, "down")
		c.raw("up")
		exactly(t, end, "up")
		c.c.CloseWrite()
		atEnd(t, end)
		io.WriteString(end, "still")
		exactly(t, c.br, "still")
		end.CloseWrite()
		atEnd(t, c.br)
		<-p.closed
		if r := b.records(1)[0]; r.status != 101 || r.body != int64(len("downstill")) {
			t.Errorf("got %+v", r)
		}
	}},
	{"EndpointMayCloseItsHalfFirst", nil, func(t *testing.T, b *lab) {
		ends, p := b.upgrade()
		c := b.dial().send(upgrade)
		c.switched()
		end := <-ends
		end.CloseWrite()
		atEnd(t, c.br)
		c.raw("last words")
		exactly(t, end, "last words")
		c.c.CloseWrite()
		atEnd(t, end)
		<-p.closed
	}},
	{"BrokenClientEndsTheTunnel", nil, func(t *testing.T, b *lab) {
		ends, p := b.upgrade()
		c := b.dial().send(upgrade)
		c.switched()
		<-ends
		c.tcp.SetLinger(0)
		c.tcp.Close()
		<-p.closed
		b.records(1)
	}},
	{"BrokenEndpointEndsTheTunnel", nil, func(t *testing.T, b *lab) {
		ends, p := b.upgrade()
		c := b.dial().send(upgrade)
		c.switched()
		end := <-ends
		end.SetLinger(0)
		end.Close()
		c.rest()
		<-p.closed
		b.records(1)
	}},
	{"RefusedUpgradeIsAnOrdinaryAnswer", nil, func(t *testing.T, b *lab) {
		c := b.dial().send(upgrade)
		c.want(200, "GET /ws host=a.test")
		c.send(get).want(200, "GET / host=a.test")
	}},
	{"S7_4_OnlyRightUpgradesAreUpgrades", nil, func(t *testing.T, b *lab) {
		b.upgrade()
		for _, fields := range []string{
			"Upgrade: websocket\n", "Connection: upgrade\n", "Connection: upgrade\nUpgrade: h2c\nHTTP2-Settings: x\n",
			"Connection: upgrade\nUpgrade: TLS/1.0\n", "Connection: keep-alive\nUpgrade: websocket\n",
		} {
			b.dial().send("GET /ws HTTP/1.1\nHost: a.test\n"+fields+"\n").want(426, "")
		}
		b.dial().send("GET /ws HTTP/1.0\nHost: a.test\nConnection: upgrade\nUpgrade: websocket\n\n").want(426, "")
		c := b.dial().send("POST /ws HTTP/1.1\nHost: a.test\nConnection: upgrade\nUpgrade: websocket\nContent-Length: 3\n\nabc")
		c.want(400, "page\n")
		c.ended()
	}},
	{"TunnelEndsWhenCut", nil, func(t *testing.T, b *lab) {
		ends, p := b.upgrade()
		c := b.dial().send(upgrade)
		c.switched()
		<-ends
		b.engine.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if cut := b.engine.Wait(ctx); cut != 1 {
			t.Errorf("%d connections were cut, want 1", cut)
		}
		<-p.closed
	}},
}
