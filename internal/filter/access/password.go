package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Secret is text that must never be printed.
type Secret string

const redacted = "[redacted]"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes a placeholder for every verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// Password is basic or digest authentication.
type Password struct {
	Realm  string
	Digest bool
	// File is the content of an htpasswd (basic) or htdigest (digest) file.
	File Secret
}

const (
	// maxPassword bounds the work that the hashes do over a password.
	maxPassword = 1024
	// maxWaiting bounds the requests that wait for a hash to be computed.
	maxWaiting = 256
	maxWait    = 10 * time.Second
	// verified passwords are remembered this long, at most twice as many as one generation holds.
	rememberFor   = 10 * time.Minute
	maxRemembered = 4096
)

// password is a compiled Password; exactly one of users and digest is used.
type password struct {
	users     map[string]hash
	dummy     hash // verified in place of an unknown user's
	challenge string
	digest    *digest
	slow      bool
	verifier  *verifier
	now       func() time.Time
}

func (p *Password) build(env *filter.Env) (*password, error) {
	b := &password{now: env.Now}
	b.verifier = env.Keep("access/verifier", func() any { return newVerifier() }).(*verifier)
	if p.Digest {
		d, err := newDigest(p.Realm, string(p.File), env)
		if err != nil {
			return nil, err
		}
		b.digest = d
		return b, nil
	}
	b.challenge = `Basic realm="` + quoted(p.Realm) + `"`
	b.users = make(map[string]hash)
	for _, u := range splitUsers(string(p.File)) {
		if _, known := b.users[u.name]; known {
			continue // compat: the first line of a user decides
		}
		h := parseHash(u.hash)
		b.users[u.name] = h
		b.slow = b.slow || h.cost >= slowCost
		if h.cost >= b.dummy.cost {
			b.dummy = h
		}
	}
	return b, nil
}

// quoted escapes what would end a quoted string.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ").Replace(s)
}

type user struct {
	name, hash string
	line       int
}

// splitUsers reads an htpasswd file as nginx does: "name:hash", and what follows a second colon is a comment.
func splitUsers(file string) []user {
	var out []user
	n := 0
	for line := range strings.Lines(file) {
		n++
		line = strings.TrimRight(line, "\r\n")
		name, rest, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		h, _, _ := strings.Cut(rest, ":")
		out = append(out, user{name, strings.TrimRight(h, " \t"), n})
	}
	return out
}

// Problems names the lines of an htpasswd file whose hash can never match, and says why. Nothing of the
// file itself is in it, not even names: what is malformed may be a password (S12.2).
func Problems(file string) []string {
	var out []string
	for _, u := range splitUsers(file) {
		if h := parseHash(u.hash); h.kind == noHash {
			out = append(out, fmt.Sprintf("line %d: %s", u.line, h.problem))
		}
	}
	return out
}

func (p *password) check(x *exchange.Exchange, st *state) result {
	if p.digest != nil {
		return p.digest.check(x, st)
	}
	name, secret, ok := basicCredentials(x)
	if !ok {
		return p.refuse(st)
	}
	h, known := p.users[name]
	if !known {
		h = p.dummy // S6.4: an unknown user takes as long as a known one
	}
	good, status := p.verifier.verify(x, h, name, secret, p.now())
	if status != 0 {
		return result(status)
	}
	if !good || !known {
		return p.refuse(st)
	}
	x.User = name
	return pass
}

func (p *password) refuse(st *state) result {
	st.challenges = append(st.challenges, p.challenge)
	return 401
}

// basicCredentials reads the one Authorization field. Two of them are none: an endpoint might take the other.
func basicCredentials(x *exchange.Exchange) (name, secret string, ok bool) {
	if x.Req.Header.Count("Authorization") != 1 {
		return "", "", false
	}
	v := x.Req.Header.Get("Authorization")
	if len(v) < 6 || !exchange.EqualFold(v[:5], "Basic") || v[5] != ' ' {
		return "", "", false
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimLeft(v[6:], " "), "="))
	if err != nil {
		return "", "", false
	}
	name, secret, ok = strings.Cut(string(raw), ":")
	return name, secret, ok && len(secret) <= maxPassword
}

// verifier computes hashes for all routes of the process, a few at a time, and remembers what matched.
type verifier struct {
	secret [32]byte
	slots  chan struct{} // one for each hash that may be computed at once
	queue  chan struct{} // one for each request that may wait for it

	mu       sync.Mutex
	now, old map[[32]byte]time.Time // until when; two generations
}

func newVerifier() *verifier {
	v := &verifier{
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		queue: make(chan struct{}, maxWaiting),
		now:   make(map[[32]byte]time.Time),
	}
	// crypto/rand.Read never fails.
	_, _ = rand.Read(v.secret[:])
	return v
}

// verify reports whether secret is h's password, or a status when that could not be found out.
func (v *verifier) verify(x *exchange.Exchange, h hash, name, secret string, now time.Time) (bool, int) {
	if h.cost < slowCost {
		return h.matches(secret), 0
	}
	key := v.key(h, name, secret)
	if v.remembered(key, now) {
		return true, 0
	}
	select {
	case v.queue <- struct{}{}:
	default:
		return false, 503
	}
	defer func() { <-v.queue }()
	var gone <-chan struct{}
	if x.Down != nil {
		gone = x.Down.Gone()
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case v.slots <- struct{}{}:
	case <-gone:
		return false, exchange.StatusClientGone
	case <-timer.C:
		return false, 503
	}
	defer func() { <-v.slots }()
	if !h.matches(secret) {
		return false, 0
	}
	v.remember(key, now)
	return true, 0
}

// key identifies a password without containing it. The stored hash is part of it, so a changed Secret forgets.
func (v *verifier) key(h hash, name, secret string) (key [32]byte) {
	m := hmac.New(sha256.New, v.secret[:])
	var size [8]byte
	for _, s := range []string{h.text, name, secret} {
		binary.LittleEndian.PutUint64(size[:], uint64(len(s)))
		m.Write(size[:])
		m.Write([]byte(s))
	}
	m.Sum(key[:0])
	return key
}

func (v *verifier) remembered(key [32]byte, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.now[key]
	if !ok {
		if until, ok = v.old[key]; ok && until.After(now) {
			v.put(key, until)
		}
	}
	return ok && until.After(now)
}

func (v *verifier) remember(key [32]byte, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(key, now.Add(rememberFor))
}

func (v *verifier) put(key [32]byte, until time.Time) {
	if len(v.now) >= maxRemembered {
		v.old, v.now = v.now, make(map[[32]byte]time.Time)
	}
	v.now[key] = until
}
