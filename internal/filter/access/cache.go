package access

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

const (
	cacheShards = 16
	// The bounds of one shard. All routes of the process share the cache; the answer not used for longest makes room.
	shardEntries = 4096
	shardBytes   = 4 << 20
	// maxEntry is the largest answer that is remembered.
	maxEntry = 16 << 10
	inactive = 30 * time.Minute
	longest  = 365 * 24 * time.Hour
)

type cacheKey [sha256.Size]byte

// cacheKey joins the key as written with the route and with the credentials of the request: two clients
// never share an answer because a key forgot what tells them apart (S6.5).
func (e *external) cacheKey(x *exchange.Exchange) (key cacheKey, ok bool) {
	text := e.key.Append(nil, x)
	if len(text) == 0 {
		return key, false
	}
	m := sha256.New()
	part := func(s string) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(s)))
		m.Write(size[:])
		m.Write([]byte(s))
	}
	part(e.salt)
	part(string(text))
	if e.whole != nil {
		part(e.whole.String(x))
	}
	for v := range x.Req.Header.Values("Authorization") {
		part(v)
	}
	m.Sum(key[:0])
	return key, true
}

// cache remembers answers of authentication services.
type cache struct{ shard [cacheShards]cacheShard }

type cacheShard struct {
	mu    sync.Mutex
	index map[cacheKey]*list.Element
	order list.List // of *entry, last used first
	bytes int
}

type entry struct {
	key    cacheKey
	answer *answer
	vary   []exchange.Field // what the request must say again
	until  time.Time
	used   time.Time
	size   int
}

func newCache() *cache {
	c := &cache{}
	for i := range c.shard {
		c.shard[i].index = make(map[cacheKey]*list.Element)
	}
	return c
}

func (c *cache) get(key cacheKey, x *exchange.Exchange, now time.Time) *answer {
	s := &c.shard[key[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	el := s.index[key]
	if el == nil {
		return nil
	}
	e := el.Value.(*entry)
	if !now.Before(e.until) || now.Sub(e.used) > inactive {
		s.remove(el)
		return nil
	}
	for _, f := range e.vary {
		if joined(x, f.Name) != f.Value {
			return nil
		}
	}
	e.used = now
	s.order.MoveToFront(el)
	return e.answer
}

// put remembers a if the service and the rules permit it.
func (c *cache) put(key cacheKey, x *exchange.Exchange, a *answer, r *filter.FetchResponse, rules []CacheRule, now time.Time) {
	life := lifetime(r, rules, now)
	if life <= 0 || r.Header.Has("Set-Cookie") {
		return
	}
	e := &entry{key: key, answer: a, until: now.Add(min(life, longest)), used: now, size: 256}
	for v := range r.Header.Values("Vary") {
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimSpace(name)
			if name == "*" || len(e.vary) > 16 {
				return
			}
			if name != "" {
				e.vary = append(e.vary, exchange.Field{Name: strings.Clone(name), Value: strings.Clone(joined(x, name))})
			}
		}
	}
	for _, f := range e.vary {
		e.size += len(f.Name) + len(f.Value)
	}
	for _, l := range [][]string{a.fields, a.challenges} {
		for _, v := range l {
			e.size += len(v) + 16
		}
	}
	if e.size > maxEntry {
		return
	}
	s := &c.shard[key[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if el := s.index[key]; el != nil {
		s.remove(el)
	}
	s.index[key] = s.order.PushFront(e)
	s.bytes += e.size
	for len(s.index) > shardEntries || s.bytes > shardBytes {
		s.remove(s.order.Back())
	}
}

func (s *cacheShard) remove(el *list.Element) {
	e := el.Value.(*entry)
	s.order.Remove(el)
	delete(s.index, e.key)
	s.bytes -= e.size
}

// joined is the value of a request field as one text.
func joined(x *exchange.Exchange, name string) string {
	v, _ := filter.Joined(&x.Req.Header, name)
	return v
}

// lifetime is nginx's order: X-Accel-Expires, then Cache-Control, then Expires, then the rules.
func lifetime(r *filter.FetchResponse, rules []CacheRule, now time.Time) time.Duration {
	configured := time.Duration(0)
	for _, rule := range rules {
		codes := rule.Codes
		if codes == nil {
			codes = []int{200, 301, 302}
		}
		if slices.Contains(codes, r.Status) {
			configured = rule.For
			break
		}
	}
	if configured <= 0 {
		return 0 // a status nobody listed is not remembered, whatever the service says
	}
	if v, ok := r.Header.Lookup("X-Accel-Expires"); ok {
		if at, absolute := strings.CutPrefix(v, "@"); absolute {
			n, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				return 0
			}
			return time.Unix(n, 0).Sub(now)
		}
		return seconds(v)
	}
	if r.Header.Has("Cache-Control") {
		age, shared := configured, false
		for v := range r.Header.Values("Cache-Control") {
			for item := range strings.SplitSeq(strings.ToLower(v), ",") {
				name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
				switch {
				case name == "no-cache" || name == "no-store" || name == "private":
					return 0
				case name == "s-maxage":
					age, shared = seconds(strings.Trim(value, `"`)), true
				case name == "max-age" && !shared:
					age = seconds(strings.Trim(value, `"`))
				}
			}
		}
		return age
	}
	if v, ok := r.Header.Lookup("Expires"); ok {
		at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", v)
		if err != nil {
			return 0
		}
		return at.Sub(now)
	}
	return configured
}

func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
