package balance

import (
	"crypto/tls"
	"regexp"
	"strings"
	"testing"
	"time"
)

func num(n int) *int { return &n }

var at = func() time.Time { return time.Date(2024, 3, 5, 6, 7, 8, 250e6, time.UTC) }

// The attributes and their order are those of the record of ingress-nginx (suite 40).
func TestAffinityCookieLooksAsRecorded(t *testing.T) {
	const balanced = `\d+\.\d{3}\.\d+\.\d+\|[0-9a-f]{32}`
	chrome := "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
	safari := "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Safari/605.1.15"
	none := Cookie{Name: "INGRESSCOOKIE", Path: "/", SameSite: "None", ConditionalNone: true}
	for _, c := range []struct {
		cookie Cookie
		tls    bool
		ua     string
		want   string
	}{
		{Cookie{Name: "INGRESSCOOKIE", Path: "/"}, false, "", "INGRESSCOOKIE=" + balanced + "; Path=/; HttpOnly"},
		{Cookie{Name: "INGRESSCOOKIE", Path: "/"}, true, "", "INGRESSCOOKIE=" + balanced + "; Path=/; Secure; HttpOnly"},
		{Cookie{Name: "route", Path: "/p", Domain: "f2.test", SameSite: "Strict", Secure: true, MaxAge: num(172800), Expires: num(172800)}, false, "",
			"route=" + balanced + "; Expires=Thu, 07-Mar-24 06:07:08 GMT; Max-Age=172800; Domain=f2.test; Path=/p; Secure; HttpOnly; SameSite=Strict"},
		{none, true, chrome, "INGRESSCOOKIE=" + balanced + "; Path=/; Secure; HttpOnly; SameSite=None"},
		{none, true, safari, "INGRESSCOOKIE=" + balanced + "; Path=/; Secure; HttpOnly"},
		{none, false, "", "INGRESSCOOKIE=" + balanced + "; Path=/; HttpOnly; SameSite=None"},
		{Cookie{Name: "c", Path: "/re/[a-z]+", SameSite: "lax"}, false, "", "c=" + balanced + `; Path=/re/\[a-z\]\+; HttpOnly; SameSite=Lax`},
		{Cookie{Name: "c", Path: "/", SameSite: "sometimes"}, false, "", "c=" + balanced + "; Path=/; HttpOnly"},
		{Cookie{Name: "c", Path: "/", Persistent: true}, false, "", `c=[0-9a-f]{32}\|[0-9a-f]{32}; Path=/; HttpOnly`},
		{Cookie{Name: "c", Path: "/", MaxAge: num(-1), Expires: num(500000000)}, false, "", "c=" + balanced + "; Expires=Sat, 09-Jan-2040 06:60?.*"},
	} {
		c.cookie.Now = at
		x := request("User-Agent", c.ua)
		if c.tls {
			x.Conn.TLS = new(tls.ConnectionState)
		}
		_, got := NewSticky(c.cookie).Pick(x, recorded(), new(Tried))
		if strings.HasSuffix(c.want, ".*") {
			if !strings.Contains(got, "-2040 ") || !strings.Contains(got, "Max-Age=-1") {
				t.Errorf("after 2037 the year has four digits: %s", got)
			}
			continue
		}
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("cookie is %s\nwant %s", got, c.want)
		}
	}
}

func TestBackendKeyIsThatOfTheReference(t *testing.T) {
	// md5hex("default-shop-80") = e0e5…; the value was computed with md5sum.
	name := "default-shop-80"
	if got, want := BackendKey(name), md5hex(md5hex(name)+name); got != want || len(got) != 32 {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBoundClientStaysAndGetsNoNewCookie(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		s := NewSticky(Cookie{Name: "r", Path: "/", Persistent: persistent, Upstream: "default-shop-80"})
		set := recorded()
		first, cookie := s.Pick(request(), set, new(Tried))
		value, _, _ := strings.Cut(cookie, ";")
		for range 10 {
			x := request("Cookie", "a=b; "+value)
			e, again := s.Pick(x, set, new(Tried))
			if e != first || again != "" {
				t.Fatalf("persistent %v: %s %q after %s", persistent, e.Name, again, first.Name)
			}
			if !s.Bound(x) {
				t.Error("not bound to its own pool")
			}
			if NewSticky(Cookie{Name: "r", Upstream: "default-other-80"}).Bound(x) {
				t.Error("bound to another pool")
			}
		}
	}
}

func TestWrongBalancedCookieIsUsedAsKeyAndNotReplaced(t *testing.T) {
	s := NewSticky(Cookie{Name: "route", Path: "/"})
	set := recorded()
	for _, v := range []string{"nonsense", "1700000000.123.45.678901|0123456789abcdef0123456789abcdef"} {
		e, cookie := s.Pick(request("Cookie", "route="+v), set, new(Tried))
		if e != set.At(2) || cookie != "" {
			t.Errorf("%s: %s %q, want echo3 and no cookie", v, e.Name, cookie)
		}
	}
}

func TestS13_3_UnknownPersistentCookieIsReplaced(t *testing.T) {
	s := NewSticky(Cookie{Name: "r", Path: "/", Persistent: true, Upstream: "u"})
	e, cookie := s.Pick(request("Cookie", "r=0123456789abcdef0123456789abcdef|x"), recorded(), new(Tried))
	if e == nil || cookie == "" {
		t.Errorf("got %v, %q", e, cookie)
	}
}

func TestRetryStaysUnlessChangeOnFailure(t *testing.T) {
	set := recorded()
	for _, persistent := range []bool{false, true} {
		stay := NewSticky(Cookie{Name: "r", Path: "/", Persistent: persistent, Upstream: "u"})
		move := NewSticky(Cookie{Name: "r", Path: "/", Persistent: persistent, Upstream: "u", ChangeOnFailure: true})
		first, cookie := stay.Pick(request(), set, new(Tried))
		value, _, _ := strings.Cut(cookie, ";")
		var tried Tried
		tried.Add(first)
		if e, c := stay.Pick(request("Cookie", value), set, &tried); e != first || c != "" {
			t.Errorf("bound retry went to %s with %q", e.Name, c)
		}
		if e, c := stay.Pick(request(), set, &tried); e != first || c != "" {
			t.Errorf("new client's retry went to %s with %q, want %s", e.Name, c, first.Name)
		}
		if e, c := move.Pick(request("Cookie", value), set, &tried); e == first || c == "" {
			t.Errorf("change-on-failure: %s with cookie %q", e.Name, c)
		}
	}
}

func TestNewClientsAvoidSuspectEndpoints(t *testing.T) {
	set := recorded()
	set.At(0).Suspect(time.Hour * 1000)
	set.At(1).Suspect(time.Hour * 1000)
	for _, persistent := range []bool{false, true} {
		s := NewSticky(Cookie{Name: "r", Persistent: persistent, Upstream: "u"})
		for range 20 {
			if e, _ := s.Pick(request(), set, new(Tried)); e != set.At(2) {
				t.Fatalf("persistent %v: new client sent to suspect %s", persistent, e.Name)
			}
		}
	}
}

func TestLastCookieOfANameCountsWithCase(t *testing.T) {
	for in, want := range map[string]string{
		"r=1": "1", "R=1": "", "a=b; r=2": "2", "r=1; r=3": "3", "xr=1": "", "r=": "", "r": "", "r=a b": "a", ";;r=1;": "1",
	} {
		if got, _ := cookieValue(&request("Cookie", in).Req.Header, "r"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	x := request("Cookie", "r=1", "Cookie", "r=2")
	if got, _ := cookieValue(&x.Req.Header, "r"); got != "2" {
		t.Errorf("two Cookie fields: got %q", got)
	}
}
