package access

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// world is what a filter under test takes from the outside.
type world struct {
	mu    sync.Mutex
	now   time.Time
	kept  map[string]any
	route string
	asked []*filter.FetchRequest
	// answer is what the authentication service says.
	answer func(*filter.FetchRequest) (*filter.FetchResponse, error)
}

func newWorld() *world {
	return &world{now: time.UnixMilli(1_700_000_000_000), kept: map[string]any{}, route: "default/shop a.test prefix /"}
}

func (w *world) env() *filter.Env {
	return &filter.Env{
		Route: w.route,
		Now:   func() time.Time { return w.now },
		Keep: func(key string, make func() any) any {
			if w.kept[key] == nil {
				w.kept[key] = make()
			}
			return w.kept[key]
		},
		Fetch: func(_ context.Context, r *filter.FetchRequest) (*filter.FetchResponse, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked = append(w.asked, r)
			return w.answer(r)
		},
	}
}

func (w *world) build(t testing.TB, c Config) *access {
	t.Helper()
	f, err := c.Build(w.env())
	if err != nil {
		t.Fatal(err)
	}
	return f.(*access)
}

func respond(status int, fields ...string) func(*filter.FetchRequest) (*filter.FetchResponse, error) {
	return func(*filter.FetchRequest) (*filter.FetchResponse, error) {
		r := &filter.FetchResponse{Status: status}
		for i := 0; i < len(fields); i += 2 {
			r.Header.Add(fields[i], fields[i+1])
		}
		return r, nil
	}
}

func get(addr string, fields ...string) *exchange.Exchange {
	x := exchange.Acquire()
	x.Req.Method, x.Req.Scheme, x.Req.Target, x.Req.Path, x.Req.Authority, x.Req.Host = "GET", "http", "/a?b=c", "/a", "a.test", "a.test"
	x.Eff = exchange.Effective{Scheme: "http", Host: "a.test", Port: "80"}
	x.ID = "0123"
	x.Client = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
	x.Conn = &exchange.Conn{Remote: x.Client}
	x.Route = &exchange.RouteInfo{Host: "a.test"}
	for i := 0; i < len(fields); i += 2 {
		x.Req.Header.Add(fields[i], fields[i+1])
	}
	return x
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// run takes one request through the filter and returns the status it was refused with, 0 when it passed.
func run(a *access, x *exchange.Exchange) int {
	if v := a.Request(x); v == exchange.Continue {
		return 0
	}
	return x.Resp.Status
}

func prefixes(s ...string) (out filter.Prefixes) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

const (
	inside  = "10.0.0.1"
	outside = "192.0.2.1"
	denied  = "10.0.0.66"
)

var htpasswd = &Password{File: "apr:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n"}

func TestListsRefuseWith403(t *testing.T) {
	w := newWorld()
	for _, c := range []struct {
		name   string
		config Config
		want   map[string]int
	}{
		{"allow", Config{AllowOnly: true, Allow: prefixes("10.0.0.0/24")}, map[string]int{inside: 0, outside: 403, "2001:db8::1": 403}},
		{"deny first", Config{AllowOnly: true, Allow: prefixes("10.0.0.0/24"), Deny: prefixes("10.0.0.66/32")}, map[string]int{inside: 0, denied: 403, outside: 403}},
		{"deny only", Config{Deny: prefixes("10.0.0.66/32")}, map[string]int{inside: 0, denied: 403, outside: 0}},
		{"empty allow list", Config{AllowOnly: true}, map[string]int{inside: 403, outside: 403}},
		{"IPv6", Config{AllowOnly: true, Allow: prefixes("2001:db8::/32")}, map[string]int{"2001:db8::5": 0, inside: 403}},
	} {
		a := w.build(t, c.config)
		for addr, want := range c.want {
			if got := run(a, get(addr)); got != want {
				t.Errorf("%s: %s got %d, want %d", c.name, addr, got, want)
			}
		}
	}
}

func TestUnknownAddressIsRefused(t *testing.T) {
	for _, c := range []Config{{AllowOnly: true, Allow: prefixes("0.0.0.0/0", "::/0")}, {Deny: prefixes("10.0.0.0/8")}} {
		x := get(inside)
		x.Client = netip.AddrPort{}
		if got := run(newWorld().build(t, c), x); got != 403 {
			t.Errorf("%+v: %d, want 403", c, got)
		}
	}
}

func TestSatisfyAllAsksInOrder(t *testing.T) {
	a := newWorld().build(t, Config{AllowOnly: true, Allow: prefixes("10.0.0.0/24"), Password: htpasswd})
	good := basic("apr", "secret")
	for _, c := range []struct {
		x    *exchange.Exchange
		want int
	}{
		{get(outside), 403}, {get(inside), 401}, {get(outside, "Authorization", good), 403}, {get(inside, "Authorization", good), 0},
	} {
		if got := run(a, c.x); got != c.want {
			t.Errorf("%v %q: %d, want %d", c.x.Client, c.x.Req.Header.Get("Authorization"), got, c.want)
		}
	}
}

func TestSatisfyAnyLetsInWhoPassesOne(t *testing.T) {
	w := newWorld()
	good, bad := basic("apr", "secret"), basic("apr", "wrong")
	allow := prefixes("10.0.0.0/24")
	service := &External{URL: "http://auth.test/check"}
	for _, c := range []struct {
		name   string
		config Config
		auth   int
		x      *exchange.Exchange
		want   int
	}{
		{"address", Config{AllowOnly: true, Allow: allow, Password: htpasswd}, 0, get(inside), 0},
		{"password", Config{AllowOnly: true, Allow: allow, Password: htpasswd}, 0, get(outside, "Authorization", good), 0},
		{"neither", Config{AllowOnly: true, Allow: allow, Password: htpasswd}, 0, get(outside, "Authorization", bad), 401},
		{"401 beats a later 403", Config{AllowOnly: true, Allow: allow, Password: htpasswd, External: service}, 403, get(outside), 401},
		{"403 alone", Config{AllowOnly: true, Allow: allow, External: service}, 403, get(outside), 403},
		{"service", Config{AllowOnly: true, Allow: allow, External: service}, 200, get(outside), 0},
		{"not denied is not passed", Config{Deny: prefixes("10.0.0.66/32"), Password: htpasswd}, 0, get(outside), 401},
		{"denied, but with a password", Config{Deny: prefixes("10.0.0.66/32"), Password: htpasswd}, 0, get(denied, "Authorization", good), 0},
		{"list alone", Config{Deny: prefixes("10.0.0.66/32")}, 0, get(outside), 0},
		{"list alone refuses", Config{Deny: prefixes("10.0.0.66/32")}, 0, get(denied), 403},
		{"a failed service ends it", Config{External: service, AllowOnly: true, Allow: allow}, 502, get(outside), 500},
	} {
		c.config.Any = true
		w.answer = respond(c.auth)
		if got := run(w.build(t, c.config), c.x); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestBothChallengesAreSent(t *testing.T) {
	w := newWorld()
	w.answer = respond(401, "WWW-Authenticate", `Bearer realm="x"`)
	a := w.build(t, Config{Any: true, Password: &Password{Realm: `a "b"`}, External: &External{URL: "http://auth.test/"}})
	x := get(inside)
	run(a, x)
	got := slices.Collect(x.Resp.Header.Values("WWW-Authenticate"))
	if want := []string{`Basic realm="a \"b\""`, `Bearer realm="x"`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNothingToCheckBuildsNothing(t *testing.T) {
	if f, err := (Config{}).Build(newWorld().env()); f != nil || err != nil {
		t.Errorf("%v, %v", f, err)
	}
	for _, c := range []filter.Config{Config{}, Fields{}} {
		if filter.Position(c.FilterName()) < 0 {
			t.Errorf("%s is not in filter.Order", c.FilterName())
		}
	}
}

func TestAddressListDoesNotAllocate(t *testing.T) {
	a := newWorld().build(t, Config{AllowOnly: true, Allow: prefixes("10.0.0.0/24"), Deny: prefixes("10.0.0.66/32")})
	x := get(inside)
	a.Request(x)
	if n := testing.AllocsPerRun(100, func() { a.Request(x) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
	if a.MayBlock() {
		t.Error("a list of addresses may block")
	}
}

func TestPasswordFormats(t *testing.T) {
	file := strings.Join([]string{
		"# a comment", "",
		"apr:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
		"bcr:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
		"sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
		"ssha:{SSHA}1G904nLkTkGWjKNnQuB/hpWXC/hzYWx0c2FsdA==",
		"pla:{PLAIN}secret",
		"md5:$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
		"c5:$5$short$jNBWuyRRt570O5bSllou1aaAY7HMStZbxDBT2Z8DQw3",
		"c5r:$5$rounds=1234$abc$fxZ57jmQ0Lb8gmwdH2Dmggr3hCjkWdFqy8JRw6hpb75",
		"c6:$6$saltsaltsaltsalt$ph0yGsyjzqdeFaon7.gJZo8eAG5/rj9/JdzOu1Rl7dKzBYg3xgvl7T2VQ2Rt81bc5AXkdA54r0p8QvC1omD6R1",
		"c6r:$6$rounds=1000$short$6tSIGJhRDPAcVPe.fgC3tA3qgO5VzEI7WO7PAQunK6Jgsor.dcMzB/C/BHVQ.FuIJXMKXhI/oZC1yGOXB/QXp1",
		"des:abNANd1rDfiNc:a comment behind a second colon",
		"crlf:{PLAIN}secret\r",
	}, "\n")
	a := newWorld().build(t, Config{Password: &Password{File: Secret(file)}})
	for _, user := range []string{"apr", "bcr", "sha", "ssha", "pla", "md5", "c5", "c5r", "c6", "c6r", "des", "crlf"} {
		x := get(inside, "Authorization", basic(user, "secret"))
		if got := run(a, x); got != 0 || x.User != user {
			t.Errorf("%s: status %d, user %q", user, got, x.User)
		}
		for _, wrong := range []string{"wrong", "", "Secret", "secret\x00", strings.Repeat("x", 5000)} {
			if got := run(a, get(inside, "Authorization", basic(user, wrong))); got != 401 {
				t.Errorf("%s with %.20q: %d, want 401", user, wrong, got)
			}
		}
	}
	if p := Problems(file); len(p) != 0 {
		t.Errorf("problems: %q", p)
	}
}

func TestDESAgreesWithTheCLibrary(t *testing.T) {
	for _, c := range [][2]string{
		{"secret", "abNANd1rDfiNc"}, {"", "zz6dpSdr.LHZw"}, {"longer than eight", "./yPRzyX/WeSM"}, {"p\u00e9", "QxD6ZykhdkDTg"},
	} {
		if got := desCrypt(c[0], c[1][:2]); got != c[1] {
			t.Errorf("%q: %s, want %s", c[0], got, c[1])
		}
	}
}

func TestHashesNobodyCanMatch(t *testing.T) {
	for hash, want := range map[string]string{
		"xyz":         "no format",
		"":            "no format",
		"secret":      "no format",
		"{SHA}!!":     "base64",
		"{SSHA}YQ==":  "base64",
		"$apr1$nosum": "lacks",
		"$2y$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a": "cost 31",
		"$2y$zz":                       "malformed",
		"$6$rounds=999999999$salt$sum": "rounds",
		"$argon2id$v=19$m=1,t=1,p=1$a": "no format",
	} {
		a := newWorld().build(t, Config{Password: &Password{File: Secret("u:" + hash)}})
		for _, password := range []string{hash, "", "secret"} {
			if got := run(a, get(inside, "Authorization", basic("u", password))); got != 401 {
				t.Errorf("%q with %q: %d, want 401", hash, password, got)
			}
		}
		p := Problems("u:" + hash)
		if len(p) != 1 || !strings.Contains(p[0], want) || hash != "" && strings.Contains(p[0], hash) {
			t.Errorf("%q: problems %q, want one with %q and without the hash", hash, p, want)
		}
	}
}

func TestAuthorizationThatIsNoneIs401(t *testing.T) {
	a := newWorld().build(t, Config{Password: &Password{Realm: "Please log in - foo", File: htpasswd.File}})
	good := basic("apr", "secret")
	for _, fields := range [][]string{
		nil, {"Authorization", "Basic !!!"}, {"Authorization", "Bearer abc"}, {"Authorization", "Basic"}, {"Authorization", ""},
		{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("apr"))},
		{"Authorization", good, "Authorization", good},
		{"Authorization", basic("nobody", "secret")}, {"Authorization", basic("", "")},
	} {
		x := get(inside, fields...)
		if got := run(a, x); got != 401 || x.Resp.Header.Get("WWW-Authenticate") != `Basic realm="Please log in - foo"` || x.User != "" || !x.Resp.Denied {
			t.Errorf("%q: %d, %q, user %q", fields, got, x.Resp.Header.Get("WWW-Authenticate"), x.User)
		}
	}
	for _, v := range []string{"basic" + good[5:], "BASIC   " + good[6:], strings.TrimRight(good, "=")} {
		if got := run(a, get(inside, "Authorization", v)); got != 0 {
			t.Errorf("%q: %d", v, got)
		}
	}
}

func TestEmptyFileRefusesEverybody(t *testing.T) {
	a := newWorld().build(t, Config{Password: &Password{}})
	if got := run(a, get(inside, "Authorization", basic("", ""))); got != 401 {
		t.Errorf("%d, want 401", got)
	}
}

func TestRealmOffProtects(t *testing.T) {
	a := newWorld().build(t, Config{Password: &Password{Realm: "off", File: htpasswd.File}})
	x := get(inside)
	if got := run(a, x); got != 401 || x.Resp.Header.Get("WWW-Authenticate") != `Basic realm="off"` {
		t.Errorf("%d %q", got, x.Resp.Header.Get("WWW-Authenticate"))
	}
}

func TestFirstLineOfAUserDecides(t *testing.T) {
	a := newWorld().build(t, Config{Password: &Password{File: "u:{PLAIN}one\nu:{PLAIN}two"}})
	if run(a, get(inside, "Authorization", basic("u", "one"))) != 0 || run(a, get(inside, "Authorization", basic("u", "two"))) != 401 {
		t.Error("the second line counts")
	}
}

func TestS6_4_UnknownUserTakesAsLongAsAKnownOne(t *testing.T) {
	a := newWorld().build(t, Config{Password: &Password{File: "b:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\np:{PLAIN}x"}})
	if a.password.dummy.kind != bcryptHash || !a.MayBlock() {
		t.Fatalf("the dummy is of kind %d", a.password.dummy.kind)
	}
	fastest := func(user string) time.Duration {
		best := time.Hour
		for i := range 15 {
			x := get(inside, "Authorization", basic(user, fmt.Sprint("wrong", i)))
			start := time.Now()
			run(a, x)
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := fastest("b"), fastest("nobody")
	if unknown < known/3 || known < unknown/3 {
		t.Errorf("a known user takes %v, an unknown one %v", known, unknown)
	}
}

func TestS6_4_AnUnknownUserNeverPassesWithTheDummysPassword(t *testing.T) {
	a := newWorld().build(t, Config{Password: htpasswd})
	for range 2 {
		if got := run(a, get(inside, "Authorization", basic("nobody", "secret"))); got != 401 {
			t.Fatalf("%d, want 401", got)
		}
	}
}

func TestVerifiedPasswordsAreRememberedForAWhile(t *testing.T) {
	w := newWorld()
	c := Config{Password: &Password{File: "b:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"}}
	a := w.build(t, c)
	v := w.kept["access/verifier"].(*verifier)
	ask := func(password string) int { return run(a, get(inside, "Authorization", basic("b", password))) }
	if ask("secret") != 0 || len(v.now) != 1 {
		t.Fatalf("%d passwords remembered", len(v.now))
	}
	// All hashing places are taken: only what is remembered passes.
	for range cap(v.slots) {
		v.slots <- struct{}{}
	}
	for range cap(v.queue) {
		v.queue <- struct{}{}
	}
	if got := ask("secret"); got != 0 {
		t.Errorf("remembered: %d", got)
	}
	if got := ask("wrong"); got != 503 {
		t.Errorf("no room to verify: %d, want 503", got)
	}
	w.now = w.now.Add(rememberFor)
	if got := ask("secret"); got != 503 {
		t.Errorf("after the time: %d, want 503", got)
	}
	for i := range 3 * maxRemembered {
		v.remember([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, w.now)
	}
	if n := len(v.now) + len(v.old); n > 2*maxRemembered {
		t.Errorf("%d passwords remembered", n)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	c := Config{Password: &Password{File: "u:{PLAIN}hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if out := fmt.Sprintf(verb, *c.Password); strings.Contains(out, "hunter2") || strings.Contains(out, "68756e") {
			t.Errorf("%s prints %s", verb, out)
		}
	}
	if b, _ := c.Password.File.MarshalText(); string(b) != redacted {
		t.Errorf("text form %s", b)
	}
	same := Config{Password: &Password{File: "u:{PLAIN}hunter2"}}
	if !reflect.DeepEqual(c, same) {
		t.Error("equal configs differ")
	}
}

func TestPasswordsDoNotReachTheEndpoint(t *testing.T) {
	f, err := Fields{DropAuthorization: true}.Build(newWorld().env())
	if err != nil {
		t.Fatal(err)
	}
	x := get(inside)
	x.Up.Header.Add("authorization", "Basic x")
	x.Up.Header.Add("Other", "y")
	f.(filter.OnUpstream).Upstream(x)
	if x.Up.Header.Len() != 1 {
		t.Errorf("fields %+v", x.Up.Header)
	}
}

var errRefused = errors.New("connection refused")

func TestS10_2_ClientOfUnknownAddressPassesNoList(t *testing.T) {
	w := newWorld()
	nets := filter.Prefixes{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for name, c := range map[string]Config{"deny": {Deny: nets[:1]}, "allow": {Allow: nets, AllowOnly: true}, "either": {Allow: nets, AllowOnly: true, Any: true}} {
		x := get(inside)
		x.Client = netip.AddrPort{}
		if got := run(w.build(t, c), x); got != 403 {
			t.Errorf("%s: %d, want 403", name, got)
		}
	}
}

func TestS10_2_HashesThatCannotBeReadMatchNothing(t *testing.T) {
	w := newWorld()
	for _, h := range []string{
		"", "*", "!", "x", "p", "$", "$$", "$1$", "$apr1$", "$apr1$salt", "$apr1$$", "$5$rounds=1$a$b", "$6$rounds=99999999$a$b", "$6$rounds=x$a$b", "$2y$05$short", "$2y$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$9$x$y", "$argon2id$v=19$m=65536$a$b", "{SHA}", "{SHA}p", "{SHA}AAAA", "{SSHA}", "{SSHA}AAAA", "{MD5}x", "{CRYPT}x", "\x00", "p\x00",
	} {
		f := w.build(t, Config{Password: &Password{Realm: "r", File: Secret("u:" + h + "\n")}})
		for _, password := range []string{"", "p", h, "*"} {
			if got := run(f, get(inside, "Authorization", basic("u", password))); got != 401 {
				t.Errorf("hash %q, password %q: %d, want 401", h, password, got)
			}
		}
	}
}
