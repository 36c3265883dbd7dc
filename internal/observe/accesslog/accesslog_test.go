package accesslog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
)

func request(target string) *exchange.Exchange {
	x := &exchange.Exchange{
		Conn:   &exchange.Conn{ID: 3},
		Client: netip.MustParseAddrPort("203.0.113.7:4711"),
		Route:  &exchange.RouteInfo{Host: "shop.test", Namespace: "shop", Ingress: "web", Upstream: "shop-web-80"},
		Stats:  exchange.Stats{Start: time.Unix(1763717400, 0), Duration: 4 * time.Millisecond, RequestBytes: 78, BodyBytesSent: 612},
		ID:     "5d0c",
	}
	x.Req.Method, x.Req.Target, x.Req.Line = "GET", target, "GET "+target+" HTTP/1.1"
	x.Resp.Status = 200
	return x
}

// output is a sink whose writing a test can hold up or make fail.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	hold chan struct{}
	err  error
}

func (o *output) Write(p []byte) (int, error) {
	if o.hold != nil {
		<-o.hold
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func start(t *testing.T, l *Log) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func configure(t *testing.T, l *Log, c Config) {
	t.Helper()
	if _, err := l.Configure(c); err != nil {
		t.Fatal(err)
	}
}

func TestLinesAreWrittenTogetherAndTheRestAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{}
		l := New(out, slog.New(slog.DiscardHandler))
		l.Log(request("/before")) // off until configured
		configure(t, l, Config{Path: DefaultPath, Format: "$request_uri $status"})
		stop := start(t, l)
		l.Log(request("/a"))
		synctest.Wait()
		if got := out.String(); got != "" {
			t.Errorf("the first line did not wait for others: %q", got)
		}
		time.Sleep(gather)
		synctest.Wait()
		if got := out.String(); got != "/a 200\n" {
			t.Errorf("a moment after one request: %q", got)
		}
		l.Log(request("/b"))
		l.Log(request("/c"))
		stop()
		if got := out.String(); got != "/a 200\n/b 200\n/c 200\n" {
			t.Errorf("after the end: %q", got)
		}
		l.Log(request("/late"))
		if l.Dropped() != 1 {
			t.Errorf("%d dropped, want the late one", l.Dropped())
		}
	})
}

func TestManyLinesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{}
		l := New(out, slog.New(slog.DiscardHandler))
		configure(t, l, Config{Path: DefaultPath, Format: "$request_uri"})
		stop := start(t, l)
		defer stop()
		x := request("/" + strings.Repeat("x", 1<<10))
		for range shardBytes / 2 >> 10 {
			l.Log(x)
		}
		synctest.Wait()
		if n := len(out.String()); n < shardBytes/2 {
			t.Errorf("%d bytes were written at once, want all", n)
		}
	})
}

func TestWhatIsNotLogged(t *testing.T) {
	out := &output{}
	l := New(out, slog.New(slog.DiscardHandler))
	configure(t, l, Config{Format: "$request_uri", SkipURLs: []string{"/Ping", " ~^/status/[0-9]+$", "~*^/METRICS"}})
	stop := start(t, l)
	unknown := request("/unknown-host")
	unknown.Route = &exchange.RouteInfo{Host: "_", Upstream: DefaultUpstream}
	implicit := request("/unknown-path")
	implicit.Route = &exchange.RouteInfo{Host: "shop.test", Upstream: DefaultUpstream}
	broken := request("/broken")
	broken.Route, broken.Malformed = &exchange.RouteInfo{Host: "_", Upstream: DefaultUpstream}, 400
	for _, x := range []*exchange.Exchange{
		request("/ping"), request("/ping?x"), request("/status/12"), request("/status/x"),
		request("/metrics/a"), unknown, implicit, broken,
	} {
		l.Log(x)
	}
	stop()
	want := "/ping?x\n/status/x\n/unknown-path\n/broken\n"
	if got := out.String(); got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

func TestAFullBufferDropsAndCountsAndNeverBlocks(t *testing.T) {
	out := &output{hold: make(chan struct{})}
	l := New(out, slog.New(slog.DiscardHandler))
	configure(t, l, Config{Format: strings.Repeat("x", 1000)})
	stop := start(t, l)
	const lines = 2000
	for range lines {
		l.Log(request("/"))
	}
	close(out.hold)
	stop()
	written := strings.Count(out.String(), "\n")
	if l.Dropped() == 0 || uint64(written)+l.Dropped() != lines {
		t.Errorf("%d written, %d dropped of %d", written, l.Dropped(), lines)
	}
}

func TestAFailingOutputIsCountedAndSaidOnce(t *testing.T) {
	var said bytes.Buffer
	out := &output{err: errors.New("no space left")}
	l := New(out, slog.New(slog.NewTextHandler(&said, nil)))
	configure(t, l, Config{})
	l.Log(request("/"))
	l.flush()
	l.Log(request("/"))
	l.flush()
	if n := strings.Count(said.String(), "access log not written"); n != 1 || l.Dropped() != 2 {
		t.Errorf("said %d times, %d dropped", n, l.Dropped())
	}
}

func TestAFileIsAppendedToAndReopened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	l := New(&output{}, slog.New(slog.DiscardHandler))
	configure(t, l, Config{Path: path, Format: "$request_uri"})
	stop := start(t, l)
	l.Log(request("/a"))
	l.flush()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(request("/b"))
	stop()
	for name, want := range map[string]string{path + ".1": "/a\n", path: "/b\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestABadSettingKeepsTheEarlierOnes(t *testing.T) {
	out := &output{}
	l := New(out, slog.New(slog.DiscardHandler))
	configure(t, l, Config{Format: "$request_uri"})
	for _, c := range []Config{{SkipURLs: []string{"~("}}, {Path: filepath.Join(t.TempDir(), "no", "dir")}} {
		if _, err := l.Configure(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	unknown, err := l.Configure(Config{Format: "$request_uri $nonsense"})
	if err != nil || len(unknown) != 1 || unknown[0].Name != "nonsense" {
		t.Errorf("unknown variable: %v, %v", unknown, err)
	}
	l.Log(request("/a"))
	l.flush()
	if got := out.String(); got != "/a -\n" {
		t.Errorf("logged %q", got)
	}
}

func TestSettingsComeFromTheConfigMap(t *testing.T) {
	c := FromGlobal(&config.Global{AccessLog: true, LogEscapeJSON: true, LogEscapeNone: true, LogFormat: "f"})
	if c.Off || c.Escape != expr.LogNone || c.Format != "f" {
		t.Errorf("%+v", c)
	}
	if c := FromGlobal(&config.Global{LogEscapeJSON: true}); !c.Off || c.Escape != expr.LogJSON {
		t.Errorf("%+v", c)
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	l := New(&output{}, slog.New(slog.DiscardHandler))
	configure(t, l, Config{})
	x := request("/a")
	s := &l.shards[x.Conn.ID%shardCount]
	s.buf = make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { s.buf = s.buf[:0]; l.Log(x) }); n != 0 {
		t.Errorf("%v allocations per line", n)
	}
}
