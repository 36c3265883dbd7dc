package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

const digestFile = "alice:lobby:" // + MD5(alice:lobby:secret)

func digestConfig() Config {
	return Config{Password: &Password{Digest: true, Realm: "lobby", File: Secret(digestFile + md5hex("alice:lobby:secret") + "\nbob:other:" + md5hex("bob:other:secret"))}}
}

// digestHeader answers a challenge.
func digestHeader(challenge, user, password, realm, method, uri string, nc int) string {
	p, _ := digestParams(challenge)
	count := fmt.Sprintf("%08x", nc)
	response := md5hex(md5hex(user+":"+realm+":"+password) + ":" + p["nonce"] + ":" + count + ":cn:auth:" + md5hex(method+":"+uri))
	return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", qop=auth, nc=%s, cnonce="cn", response="%s", opaque="%s", algorithm=MD5`,
		user, realm, p["nonce"], uri, count, response, p["opaque"])
}

func challengeOf(t *testing.T, a *access) string {
	t.Helper()
	x := get(inside)
	if got := run(a, x); got != 401 {
		t.Fatalf("status %d", got)
	}
	c := x.Resp.Header.Get("WWW-Authenticate")
	if !strings.HasPrefix(c, `Digest realm="lobby", qop="auth", nonce="`) {
		t.Fatalf("challenge %s", c)
	}
	return c
}

func TestDigestLetsInWhoKnowsThePassword(t *testing.T) {
	w := newWorld()
	a := w.build(t, digestConfig())
	c := challengeOf(t, a)
	for nc := 1; nc <= 3; nc++ {
		x := get(inside, "Authorization", digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", nc))
		if got := run(a, x); got != 0 || x.User != "alice" {
			t.Fatalf("nc %d: %d, user %q", nc, got, x.User)
		}
	}
}

func TestDigestRefusals(t *testing.T) {
	w := newWorld()
	a := w.build(t, digestConfig())
	for name, header := range map[string]func(c string) string{
		"wrong password": func(c string) string { return digestHeader(c, "alice", "wrong", "lobby", "GET", "/a?b=c", 1) },
		"unknown user":   func(c string) string { return digestHeader(c, "eve", "secret", "lobby", "GET", "/a?b=c", 1) },
		"another realm":  func(c string) string { return digestHeader(c, "bob", "secret", "other", "GET", "/a?b=c", 1) },
		"another method": func(c string) string { return digestHeader(c, "alice", "secret", "lobby", "POST", "/a?b=c", 1) },
		"another target": func(c string) string { return digestHeader(c, "alice", "secret", "lobby", "GET", "/b", 1) },
		"count 0":        func(c string) string { return digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", 0) },
		"no qop": func(c string) string {
			return strings.Replace(digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", 1), "qop=auth, ", "", 1)
		},
		"a parameter twice": func(c string) string {
			return digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", 1) + `, username="alice"`
		},
		"another algorithm": func(c string) string {
			return strings.Replace(digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", 1), "MD5", "SHA-256", 1)
		},
		"basic":    func(string) string { return basic("alice", "secret") },
		"unquoted": func(string) string { return `Digest username="alice` },
		"nothing":  func(string) string { return "Digest " },
	} {
		x := get(inside, "Authorization", header(challengeOf(t, a)))
		if got := run(a, x); got != 401 || x.User != "" {
			t.Errorf("%s: %d", name, got)
		}
		if strings.Contains(x.Resp.Header.Get("WWW-Authenticate"), "stale") {
			t.Errorf("%s: called stale", name)
		}
	}
}

func TestDigestNoncesAreUsedOnceAndGetStale(t *testing.T) {
	w := newWorld()
	a := w.build(t, digestConfig())
	ask := func(c string, nc int) (status int, stale bool) {
		x := get(inside, "Authorization", digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", nc))
		status = run(a, x)
		return status, strings.HasSuffix(x.Resp.Header.Get("WWW-Authenticate"), ", stale=true")
	}
	c := challengeOf(t, a)
	ask(c, 5)
	if s, stale := ask(c, 5); s != 401 || !stale {
		t.Errorf("a replay: %d, stale %v", s, stale)
	}
	if s, _ := ask(c, 3); s != 0 {
		t.Errorf("an overtaken request: %d", s)
	}
	if s, _ := ask(c, 3); s != 401 {
		t.Errorf("its replay: %d", s)
	}
	ask(c, 100)
	if s, _ := ask(c, 4); s != 401 {
		t.Errorf("far behind: %d", s)
	}
	w.now = w.now.Add(nonceLife + time.Second)
	if s, stale := ask(c, 101); s != 401 || !stale {
		t.Errorf("an old nonce: %d, stale %v", s, stale)
	}
	if s, stale := ask(strings.Replace(challengeOf(t, a), `nonce="A`, `nonce="B`, 1), 1); s != 401 || !stale {
		t.Errorf("a forged nonce: %d, stale %v", s, stale)
	}
	other := newWorld().build(t, digestConfig())
	if s, stale := ask(challengeOf(t, other), 1); s != 401 || !stale {
		t.Errorf("another replica's nonce: %d, stale %v", s, stale)
	}
}

func TestDigestMemoryIsBoundedAndForgottenNoncesStayUsed(t *testing.T) {
	w := newWorld()
	a := w.build(t, digestConfig())
	n := w.kept["access/nonces"].(*nonces)
	first := challengeOf(t, a)
	ask := func(c string) int {
		return run(a, get(inside, "Authorization", digestHeader(c, "alice", "secret", "lobby", "GET", "/a?b=c", 1)))
	}
	if got := ask(first); got != 0 {
		t.Fatalf("status %d", got)
	}
	for i := range 3 * maxNonces {
		w.now = w.now.Add(time.Millisecond)
		if got := ask(challengeOf(t, a)); got != 0 {
			t.Fatalf("request %d: %d", i, got)
		}
	}
	if total := len(n.now) + len(n.old); total > maxNonces {
		t.Errorf("%d nonces remembered", total)
	}
	if got := ask(first); got != 401 {
		t.Errorf("a forgotten nonce was used again: %d", got)
	}
}

func TestDigestUsersCountsTheRealm(t *testing.T) {
	file := string(digestConfig().Password.File)
	if DigestUsers(file, "lobby") != 1 || DigestUsers(file, "") != 0 || DigestUsers("garbage", "lobby") != 0 {
		t.Error("wrong counts")
	}
}

func FuzzDigestParams(f *testing.F) {
	f.Add(`Digest a="b\"c", d=e,,f=`)
	f.Fuzz(func(t *testing.T, s string) {
		digestParams(s)
		x := get(inside, "Authorization", s)
		defer x.Release()
		if v := newWorld().build(t, digestConfig()).Request(x); v == exchange.Continue {
			t.Fatalf("%q passed", s)
		}
	})
}
