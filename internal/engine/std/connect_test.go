package std

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// tunneling accepts extended CONNECT with an echoing tunnel.
type tunneling struct {
	fixed
	end net.Conn
}

func (h tunneling) Begin(x *exchange.Exchange) exchange.Verdict {
	if x.Malformed != 0 {
		return x.Reply(x.Malformed)
	}
	return exchange.Continue
}

func (h tunneling) Forward(x *exchange.Exchange) {
	x.Resp.Status = 400
	if x.Req.Upgrade == "websocket" && x.Req.Method == "CONNECT" && x.Req.Path == "/ws" {
		x.Resp.Status, x.Resp.Tunnel = 200, h.end
	}
}

// The HTTP/2 library reads GODEBUG at start, so that this runs itself once more with it.
func TestWebSocketOverHTTP2NeedsTheSwitch(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), "http2xconnect=1") {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.timeout", "60s")
		cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("with the switch: %v\n%s", err, out)
		}
		return
	}
	echo, end := net.Pipe()
	go func() {
		defer echo.Close()
		_, _ = io.Copy(echo, echo)
	}()
	g := &config.Global{KeepAlive: time.Minute, KeepAliveRequests: 10, HTTP2: true}
	e := New(Options{Handler: tunneling{end: end}, Global: func() *config.Global { return g }, Log: slog.New(slog.DiscardHandler)})
	client, server := net.Pipe()
	defer client.Close()
	go e.ServeConn(server, &exchange.Conn{})
	client.SetDeadline(time.Now().Add(20 * time.Second))
	fr := http2.NewFramer(client, client)
	go func() {
		io.WriteString(client, http2.ClientPreface)
		fr.WriteSettings()
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		for _, f := range []string{":method CONNECT", ":protocol websocket", ":scheme https", ":path /ws", ":authority a.test"} {
			name, value, _ := strings.Cut(f, " ")
			enc.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true})
		fr.WriteData(1, false, []byte("hello"))
	}()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if fields, err := hpack.NewDecoder(4096, nil).DecodeFull(f.HeaderBlockFragment()); err != nil || fields[0].Value != "200" {
				t.Fatalf("got %v, %v", fields, err)
			}
		case *http2.DataFrame:
			if string(f.Data()) != "hello" {
				t.Fatalf("got %q", f.Data())
			}
			return
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			t.Fatalf("got %v", f)
		}
	}
}
