package proxy

import (
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

const (
	mainAddr   = "10.0.0.1:80"
	canaryAddr = "10.0.1.1:80"
)

// canaryLab has one endpoint in each pool; draws gives what canary-weight draws, from 0.
func canaryLab(t *testing.T, draw int) *lab {
	l := newLab(t, Deps{IntN: func(n int) int { return min(draw, n-1) }})
	l.fill(mainPool, mainAddr)
	l.fill(otherPool, canaryAddr)
	return l
}

func sticky() *config.Affinity { return &config.Affinity{Cookie: "r", Key: "n-main-80"} }

func bound(name string) string { return "r=1.000.1.1|" + balance.BackendKey(name) }

func TestCanaryIsDecidedInTheOrderOfTheReference(t *testing.T) {
	header := &config.Canary{Header: "X-Canary"}
	value := &config.Canary{Header: "X-Canary", HeaderValue: "blue", HeaderPattern: "green"}
	pattern := &config.Canary{Header: "x-canary", HeaderPattern: "b.ue"}
	cookie := &config.Canary{Cookie: "can"}
	all := &config.Canary{Header: "X-Canary", Cookie: "can", Weight: 100, Sticky: true, Key: "n-other-80"}
	legacy := &config.Canary{Header: "X-Canary", Key: "n-other-80"}
	for _, c := range []struct {
		what   string
		canary *config.Canary
		fields []string
		chosen bool // the canary is expected
	}{
		{"no header", header, nil, false},
		{"always", header, []string{"X-Canary", "always"}, true},
		{"never", header, []string{"x-canary", "never"}, false},
		{"other", header, []string{"X-Canary", "yes"}, false},
		{"upper case", header, []string{"X-Canary", "Always"}, false},
		{"value", value, []string{"X-Canary", "blue"}, true},
		{"always means nothing beside a value", value, []string{"X-Canary", "always"}, false},
		{"value with other case", value, []string{"X-Canary", "Blue"}, false},
		{"value beats pattern", value, []string{"X-Canary", "green"}, false},
		{"pattern", pattern, []string{"X-Canary", "a blue one"}, true},
		{"pattern counts case", pattern, []string{"X-Canary", "BLUE"}, false},
		{"two fields are joined", pattern, []string{"X-Canary", "red", "X-Canary", "blue"}, true},
		{"cookie always", cookie, []string{"Cookie", "a=b; can=always"}, true},
		{"cookie never", cookie, []string{"Cookie", "can=never"}, false},
		{"cookie other", cookie, []string{"Cookie", "can=1"}, false},
		{"cookie name without case", cookie, []string{"Cookie", "CAN=always"}, true},

		{"weight is last", all, nil, true},
		{"cookie before weight", all, []string{"Cookie", "can=never"}, false},
		{"header before cookie", all, []string{"Cookie", "can=never", "X-Canary", "always"}, true},
		{"other header value goes on to the cookie", all, []string{"Cookie", "can=never", "X-Canary", "maybe"}, false},
		{"affinity to main before header", all, []string{"Cookie", bound("n-main-80"), "X-Canary", "always"}, false},
		{"affinity to canary before header", all, []string{"Cookie", bound("n-other-80"), "X-Canary", "never"}, true},
		{"affinity to something else", all, []string{"Cookie", bound("n-third-80"), "X-Canary", "never"}, false},
		{"legacy: affinity to the canary does not count", legacy, []string{"Cookie", bound("n-other-80")}, false},
		{"legacy: affinity to main counts", legacy, []string{"Cookie", bound("n-main-80"), "X-Canary", "always"}, false},
	} {
		l := canaryLab(t, 0)
		cc := *c.canary
		cc.Pool, cc.Origin = otherPool, config.Origin{Upstream: "n-other-80"}
		f := l.forwarder(config.Forward{Pool: mainPool, Canary: &cc, Affinity: sticky()})
		x := get(c.fields...)
		forward(f, x)
		want, alt := mainAddr, ""
		if c.chosen {
			want, alt = canaryAddr, "n-other-80"
		}
		if l.asked[0] != want || x.Alt != alt {
			t.Errorf("%s: went to %s, alternative %q; want %s", c.what, l.asked[0], x.Alt, want)
		}
		finish(x)
	}
}

func TestCanaryWeightIsDrawnPerRequest(t *testing.T) {
	for _, c := range []struct {
		weight, total, draw int
		canary              bool
	}{
		{0, 0, 0, false}, {1, 0, 0, true}, {1, 0, 1, false}, {30, 100, 29, true}, {30, 100, 30, false}, {100, 100, 99, true},
		{500, 1000, 499, true}, {500, 1000, 500, false}, {50, 10, 49, true}, {50, 10, 50, false}, {-1, 100, 0, false},
	} {
		l := canaryLab(t, c.draw)
		f := l.forwarder(config.Forward{Pool: mainPool, Canary: &config.Canary{Pool: otherPool, Weight: c.weight, Total: c.total}})
		x := get()
		forward(f, x)
		if got := l.asked[0] == canaryAddr; got != c.canary {
			t.Errorf("weight %d of %d, drawn %d: canary %v", c.weight, c.total, c.draw, got)
		}
		finish(x)
	}
}

func TestCanaryWithoutEndpointsLeavesAllToTheMainPool(t *testing.T) {
	l := canaryLab(t, 0)
	f := l.forwarder(config.Forward{Pool: mainPool, Canary: &config.Canary{Pool: otherPool, Weight: 100}})
	l.fill(otherPool)
	x := get()
	forward(f, x)
	if l.asked[0] != mainAddr || x.Alt != "" {
		t.Errorf("went to %s, alternative %q", l.asked[0], x.Alt)
	}
	l.fill(otherPool, canaryAddr)
	l.fill(mainPool)
	if f.Select(get()) {
		t.Error("a canary stands in for a main pool without endpoints; in the reference it does not")
	}
}

func TestCanaryChoiceHoldsForRetries(t *testing.T) {
	draw := 0
	l := newLab(t, Deps{IntN: func(n int) int { draw++; return (draw * 50) % n }})
	l.fill(mainPool, mainAddr)
	l.fill(otherPool, canaryAddr)
	l.answer = refused
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: usualRetry, Canary: &config.Canary{Pool: otherPool, Weight: 50}})
	for range 10 {
		l.asked = nil
		x := get()
		forward(f, x)
		if l.asked[0] != l.asked[1] || l.asked[1] != l.asked[2] {
			t.Fatalf("tries went to %v", l.asked)
		}
	}
}

func TestUnusableCanaryPatternKeepsTheMainPool(t *testing.T) {
	l := canaryLab(t, 0)
	f := l.forwarder(config.Forward{Pool: mainPool, Canary: &config.Canary{Pool: otherPool, Header: "X-C", HeaderPattern: "(?=a)", Weight: 100}})
	forward(f, get("X-C", "a"))
	forward(f, get())
	if got := strings.Join(l.asked, " "); got != mainAddr+" "+canaryAddr {
		t.Errorf("with the header, then without: %s", got)
	}
}

func TestAffinityCookieGoesOutWithEveryStatus(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80")
	a := sticky()
	f := l.forwarder(config.Forward{Pool: mainPool, Affinity: a, Retry: usualRetry})
	x := get()
	forward(f, x)
	c := x.Resp.Header.Get("Set-Cookie")
	if !strings.HasPrefix(c, "r=") || !strings.Contains(c, "; Path=/shop; HttpOnly") {
		t.Errorf("cookie is %q", c)
	}
	value, _, _ := strings.Cut(c, ";")
	l.answer = refused
	l.asked = nil
	x = get()
	forward(f, x)
	if x.Resp.Status != 502 || x.Resp.Header.Count("Set-Cookie") != 1 {
		t.Errorf("refused: %d with %d cookies", x.Resp.Status, x.Resp.Header.Count("Set-Cookie"))
	}
	// Without change-on-failure all tries go to the same endpoint.
	if l.asked[0] != l.asked[1] || l.asked[1] != l.asked[2] {
		t.Errorf("tries went to %v", l.asked)
	}
	l.asked = nil
	moving := *a
	moving.ChangeOnFailure = true
	l.answer = func(x *exchange.Exchange, t2 *upstream.Target) error {
		if len(l.asked) == 1 {
			return refused(x, t2)
		}
		return ok(x, t2)
	}
	x = get("Cookie", value)
	forward(l.forwarder(config.Forward{Pool: mainPool, Affinity: &moving, Retry: usualRetry}), x)
	if x.Resp.Status != 200 || l.asked[0] == l.asked[1] || x.Resp.Header.Count("Set-Cookie") != 1 {
		t.Errorf("change-on-failure: %d after %v with %d cookies", x.Resp.Status, l.asked, x.Resp.Header.Count("Set-Cookie"))
	}
	finish(x)
	l.idle()
}
