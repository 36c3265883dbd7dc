package access

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

const (
	nonceLife = 5 * time.Minute
	// maxNonces bounds what is remembered against replays. Older nonces than a forgotten one are stale.
	maxNonces = 8192
	nonceSize = 8 + 8 + 16 // time, random bytes, HMAC
)

// digest is RFC 7616 with MD5 and qop=auth, the one form that browsers and nginx's module share.
type digest struct {
	realm  string
	quoted string
	users  map[string]string // name to the hex form of MD5(name:realm:password)
	nonces *nonces
	now    func() time.Time
}

func newDigest(realm, file string, env *filter.Env) (*digest, error) {
	d := &digest{realm: realm, quoted: quoted(realm), users: make(map[string]string), now: env.Now}
	for line := range strings.Lines(file) {
		line = strings.TrimRight(line, "\r\n")
		part := strings.Split(line, ":")
		if len(part) < 3 || strings.HasPrefix(line, "#") || part[1] != realm {
			continue
		}
		sum := strings.ToLower(strings.TrimSpace(part[2]))
		if _, err := hex.DecodeString(sum); err != nil || len(sum) != 2*md5.Size {
			continue
		}
		if _, known := d.users[part[0]]; !known {
			d.users[part[0]] = sum
		}
	}
	d.nonces = env.Keep("access/nonces", func() any { return newNonces() }).(*nonces)
	return d, nil
}

// DigestUsers counts the users that an htdigest file has for realm.
func DigestUsers(file, realm string) int {
	d, err := newDigest(realm, file, &filter.Env{Keep: func(string, func() any) any { return (*nonces)(nil) }})
	if err != nil {
		return 0
	}
	return len(d.users)
}

func (d *digest) refuse(st *state, stale bool) result {
	c := `Digest realm="` + d.quoted + `", qop="auth", nonce="` + d.nonces.issue(d.now(), d.realm) + `", opaque="` + d.nonces.opaque + `", algorithm=MD5`
	if stale {
		c += ", stale=true"
	}
	st.challenges = append(st.challenges, c)
	return 401
}

func (d *digest) check(x *exchange.Exchange, st *state) result {
	if x.Req.Header.Count("Authorization") != 1 {
		return d.refuse(st, false)
	}
	p, ok := digestParams(x.Req.Header.Get("Authorization"))
	if !ok || p["realm"] != d.realm || p["uri"] != x.Req.Target || p["qop"] != "auth" || p["cnonce"] == "" ||
		len(p["nc"]) != 8 || len(p["response"]) != 2*md5.Size || p["algorithm"] != "" && !strings.EqualFold(p["algorithm"], "MD5") {
		return d.refuse(st, false)
	}
	count, err := strconv.ParseUint(p["nc"], 16, 32)
	if err != nil || count == 0 {
		return d.refuse(st, false)
	}
	issued, ok := d.nonces.genuine(p["nonce"], d.realm)
	if !ok {
		// A nonce of another replica, or from before a restart, if it is not forged: the password may be asked for again silently.
		return d.refuse(st, true)
	}
	secret, known := d.users[p["username"]]
	if !known {
		secret = "00000000000000000000000000000000"
	}
	want := md5hex(secret + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + md5hex(x.Req.Method+":"+p["uri"]))
	if subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) != 1 || !known {
		return d.refuse(st, false)
	}
	if !d.nonces.use(p["nonce"], issued, count, d.now()) {
		return d.refuse(st, true)
	}
	x.User = strings.Clone(p["username"])
	return pass
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// digestParams reads the parameters of a Digest Authorization field; a parameter that comes twice is a refusal.
func digestParams(v string) (map[string]string, bool) {
	const scheme = "Digest"
	if len(v) <= len(scheme) || !exchange.EqualFold(v[:len(scheme)], scheme) || v[len(scheme)] != ' ' {
		return nil, false
	}
	v = v[len(scheme):]
	out := make(map[string]string, 10)
	for {
		v = strings.TrimLeft(v, " \t,")
		if v == "" {
			return out, true
		}
		name, rest, ok := strings.Cut(v, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := out[name]; !ok || twice || len(out) >= 16 {
			return nil, false
		}
		rest = strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(rest, `"`) {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			out[name], v = strings.TrimRight(rest[:end], " \t"), rest[end:]
			continue
		}
		value, after, ok := unquote(rest)
		if !ok {
			return nil, false
		}
		out[name], v = value, after
	}
}

// unquote reads a quoted string at the start of s.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

// nonces issues them and remembers which counts of each were used. It serves all routes of the process.
type nonces struct {
	secret [32]byte
	opaque string

	mu       sync.Mutex
	now, old map[string]*window // two generations, by nonce
	horizon  time.Time          // nonces issued before it may have been forgotten
	latest   time.Time          // the youngest nonce of old
	newest   time.Time          // the youngest nonce of now
}

// window remembers the highest count and the 64 below it, for requests overtake each other.
type window struct {
	top  uint64
	seen uint64
}

func newNonces() *nonces {
	n := &nonces{now: make(map[string]*window)}
	var opaque [16]byte
	// crypto/rand.Read never fails.
	_, _ = rand.Read(n.secret[:])
	_, _ = rand.Read(opaque[:])
	n.opaque = hex.EncodeToString(opaque[:])
	return n
}

// issue makes a nonce: nothing is remembered of it until it is used.
func (n *nonces) issue(now time.Time, realm string) string {
	var b [nonceSize]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli()))
	_, _ = rand.Read(b[8:16])
	copy(b[16:], n.sign(b[:16], realm))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (n *nonces) sign(b []byte, realm string) []byte {
	m := hmac.New(sha256.New, n.secret[:])
	m.Write(b)
	fmt.Fprintf(m, "%d:%s", len(realm), realm)
	return m.Sum(nil)[:16]
}

// genuine reports when this process issued nonce for realm.
func (n *nonces) genuine(nonce, realm string) (time.Time, bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[16:], n.sign(b[:16], realm)) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8]))), true
}

// use takes count of nonce, once. It reports false for a nonce that is too old and a count that was used.
func (n *nonces) use(nonce string, issued time.Time, count uint64, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(issued) > nonceLife {
		return false
	}
	w := n.now[nonce]
	if w == nil {
		w = n.old[nonce]
	}
	if w == nil {
		if issued.Before(n.horizon) {
			return false
		}
		if len(n.now) >= maxNonces/2 {
			// Whoever is forgotten now must not come back as new.
			if n.latest.After(n.horizon) {
				n.horizon = n.latest.Add(time.Millisecond)
			}
			n.old, n.now = n.now, make(map[string]*window)
			n.latest, n.newest = n.newest, time.Time{}
		}
		w = &window{}
		n.now[strings.Clone(nonce)] = w
		if issued.After(n.newest) {
			n.newest = issued
		}
	}
	return w.take(count)
}

func (w *window) take(count uint64) bool {
	switch {
	case count > w.top:
		if shift := count - w.top; shift < 64 {
			w.seen = w.seen<<shift | 1
		} else {
			w.seen = 1
		}
		w.top = count
		return true
	case w.top-count >= 64 || w.seen>>(w.top-count)&1 == 1:
		return false
	}
	w.seen |= 1 << (w.top - count)
	return true
}
