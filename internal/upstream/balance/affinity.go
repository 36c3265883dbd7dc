package balance

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Cookie is what cookie affinity is made from (reference/annotations.md 15.1).
type Cookie struct {
	Name         string
	Persistent   bool // else balanced
	Path, Domain string
	// MaxAge and Expires are in seconds; nil: the attribute is absent.
	MaxAge, Expires *int
	SameSite        string // as written; other than None, Lax, Strict in any case: absent
	ConditionalNone bool   // no SameSite=None for browsers that misread it
	Secure          bool   // on plain connections as well
	ChangeOnFailure bool
	// Upstream is namespace-service-port of the pool the cookie binds to.
	Upstream string

	Now  func() time.Time // nil: time.Now
	IntN func(int) int    // nil: math/rand/v2
	Mono Clock            // nil: Monotonic
}

// Sticky binds clients to endpoints of one pool with a cookie. It is not a Policy: it
// picks by itself and also says which cookie to set.
type Sticky struct {
	c        Cookie
	key      string // second field of the cookie
	sameSite string
	index    atomic.Pointer[stickyIndex]
}

// stickyIndex finds an endpoint of a set by the key in a persistent cookie.
type stickyIndex struct {
	of   *Set
	keys map[string]*Endpoint
}

// NewSticky returns affinity as c describes it.
func NewSticky(c Cookie) *Sticky {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.IntN == nil {
		c.IntN = rand.IntN
	}
	if c.Mono == nil {
		c.Mono = Monotonic
	}
	s := &Sticky{c: c, key: BackendKey(c.Upstream)}
	for _, v := range []string{"None", "Lax", "Strict"} {
		if strings.EqualFold(c.SameSite, v) {
			s.sameSite = v
		}
	}
	return s
}

// BackendKey returns the second field of an affinity cookie for an upstream.
//
// compat: md5hex(md5hex(name)+name), so that cookies survive a migration (reference/annotations.md 15.1).
func BackendKey(upstream string) string { return md5hex(md5hex(upstream) + upstream) }

func md5hex(s string) string {
	h := md5.Sum([]byte(s))
	return hex.EncodeToString(h[:])
}

// Bound reports whether the client's cookie binds it to this pool.
func (s *Sticky) Bound(x *exchange.Exchange) bool {
	v, ok := cookieValue(&x.Req.Header, s.c.Name)
	if !ok {
		return false
	}
	_, key, _ := strings.Cut(v, "|")
	key, _, _ = strings.Cut(key, "|")
	return key == s.key
}

// Pick returns the endpoint the client's cookie binds it to, or a new one and the
// Set-Cookie value that binds the client to it. nil means the set is empty.
func (s *Sticky) Pick(x *exchange.Exchange, set *Set, tried *Tried) (e *Endpoint, setCookie string) {
	if set.Len() == 0 {
		return nil, ""
	}
	if !s.c.ChangeOnFailure || tried.Len() == 0 {
		if v, ok := cookieValue(&x.Req.Header, s.c.Name); ok {
			// compat: the first field counts whatever the second says, so that cookies of two
			// services with the same name and path get along; one without "|" counts whole.
			if key, _, _ := strings.Cut(v, "|"); key != "" {
				if e := s.find(set, key); e != nil {
					return e, ""
				}
			}
		}
		// compat: without change-on-failure a retry stays where the new cookie points
		// (reference/annotations.md 15.1), the endpoint of the first attempt.
		if tried.Len() > 0 {
			if e := set.Find(tried.few[0].Addr); e != nil {
				return e, ""
			}
		}
	}
	e, key := s.fresh(set, tried)
	return e, s.cookie(x, key)
}

func (s *Sticky) find(set *Set, key string) *Endpoint {
	if !s.c.Persistent {
		return set.list[set.Ring().FindString(key)]
	}
	return s.indexOf(set).keys[key]
}

func (s *Sticky) indexOf(set *Set) *stickyIndex {
	x := s.index.Load()
	if x == nil || x.of != set {
		x = &stickyIndex{of: set, keys: make(map[string]*Endpoint, len(set.list))}
		for _, e := range set.list {
			x.keys[md5hex(s.c.Upstream+e.Name)] = e
		}
		s.index.Store(x)
	}
	return x
}

// fresh picks an endpoint for a client that is not bound, avoiding those tried or suspect.
func (s *Sticky) fresh(set *Set, tried *Tried) (best *Endpoint, bestKey string) {
	n := len(set.list)
	bestRank := 4
	if s.c.Persistent {
		start := s.c.IntN(n)
		for i := 0; i < n && bestRank > 0; i++ {
			e := set.list[(start+i)%n]
			if r := rank(e, tried, s.c.Mono); r < bestRank {
				best, bestRank = e, r
			}
		}
		return best, md5hex(s.c.Upstream + best.Name)
	}
	// The same bound as the reference: keys are drawn, not computed for an endpoint.
	const draws = 20
	now := s.c.Now()
	for i := 0; i < draws && bestRank > 0; i++ {
		key := fmt.Sprintf("%.3f.%d.%d", float64(now.UnixMilli())/1e3+float64(i+1), os.Getpid(), s.c.IntN(999999)+1)
		e := set.list[set.Ring().FindString(key)]
		if r := rank(e, tried, s.c.Mono); r < bestRank {
			best, bestKey, bestRank = e, key, r
		}
	}
	return best, bestKey
}

// cookie returns the Set-Cookie value for key. The order of the attributes is that of
// the reference.
func (s *Sticky) cookie(x *exchange.Exchange, key string) string {
	b := make([]byte, 0, 256)
	b = append(b, s.c.Name...)
	b = append(b, '=')
	b = append(b, key...)
	b = append(b, '|')
	b = append(b, s.key...)
	if s.c.Expires != nil {
		b = append(b, "; Expires="...)
		b = appendCookieTime(b, s.c.Now().Add(time.Duration(*s.c.Expires)*time.Second))
	}
	if s.c.MaxAge != nil {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, int64(*s.c.MaxAge), 10)
	}
	if s.c.Domain != "" {
		b = append(b, "; Domain="...)
		b = append(b, s.c.Domain...)
	}
	if s.c.Path != "" {
		b = append(b, "; Path="...)
		b = append(b, s.c.Path...)
	}
	if s.c.Secure || x.Conn.TLS != nil {
		b = append(b, "; Secure"...)
	}
	b = append(b, "; HttpOnly"...)
	if s.sameSite != "" && !(s.sameSite == "None" && s.c.ConditionalNone && misreadsNone(x.Req.Header.Get("User-Agent"))) {
		b = append(b, "; SameSite="...)
		b = append(b, s.sameSite...)
	}
	return string(b)
}

// appendCookieTime writes what nginx's cookie_time writes: a year of two digits up to 2037.
func appendCookieTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Year() > 2037 {
		return t.AppendFormat(b, "Mon, 02-Jan-2006 15:04:05 GMT")
	}
	return t.AppendFormat(b, "Mon, 02-Jan-06 15:04:05 GMT")
}

// misreadsNone reports browsers that take SameSite=None for Strict.
//
// compat: the list of reference/annotations.md 15.1, as coarse as it is ("Chrome/5" is also Chrome 50).
func misreadsNone(ua string) bool {
	for _, s := range []string{"Chrome/4", "Chrome/5", "Chrome/6", "CPU iPhone OS 12", "iPad; CPU OS 12"} {
		if strings.Contains(ua, s) {
			return true
		}
	}
	return strings.Contains(ua, "Macintosh") && strings.Contains(ua, "Intel Mac OS X 10_14") &&
		strings.Contains(ua, "Safari") && !strings.Contains(ua, "Chrome")
}

// cookieValue returns the value of the last cookie called name; names count with case.
// An empty value counts as none.
func cookieValue(h *exchange.Fields, name string) (value string, ok bool) {
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "Cookie") {
			continue
		}
		rest := f.Value
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			pair = strings.TrimLeft(pair, " \t")
			if n, v, found := strings.Cut(pair, "="); found && n == name {
				if sp := strings.IndexAny(v, " \t"); sp >= 0 {
					v = v[:sp]
				}
				value = v
			}
		}
	}
	return value, value != ""
}
