// Package ratelimit refuses requests of clients that come faster than
// limit-rps and limit-rpm allow, as nginx's limit_req does with nodelay.
//
// The bucket is leaky: it holds burst requests above the one that just came and
// leaks at the rate. An idle client may therefore send 1+burst requests at once.
// Buckets belong to the Ingress and outlive changes of the configuration.
package ratelimit

import (
	"fmt"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the limit of one Ingress; every route of it has the same.
type Config struct {
	Zone   string // whose buckets: "namespace/name" of the Ingress
	Key    string // text with $variables; "": the client's address
	Allow  filter.Prefixes
	Rules  []Rule
	Status int // what refused requests get
}

// Rule is one rate.
type Rule struct {
	Requests int
	Per      time.Duration // time.Second or time.Minute
	Burst    int           // requests above the rate
}

// FilterName is "rate-limit".
func (Config) FilterName() string { return "rate-limit" }

// Build looks the zone's buckets up.
func (c Config) Build(env *filter.Env) (any, error) {
	l := &limiter{status: c.Status, now: env.Now}
	for _, r := range c.Rules {
		if r.Requests <= 0 {
			continue
		}
		compiled := rule{burst: int64(r.Burst) * 1000}
		switch r.Per {
		case time.Second:
			compiled.rate = int64(r.Requests) * 1000
		case time.Minute:
			// compat: nginx keeps whole thousandths per second, so 1r/m leaks 16/1000 each second.
			compiled.rate, compiled.kind = int64(r.Requests)*1000/60, 1
		default:
			return nil, fmt.Errorf("a rate per %v is not possible", r.Per)
		}
		l.rules = append(l.rules, compiled)
	}
	if len(l.rules) == 0 {
		return nil, nil
	}
	key, err := filter.NewKeyFunc(c.Key, c.Allow)
	if err != nil {
		return nil, err
	}
	l.key = key
	l.zone = env.Keep("rate-limit/"+c.Zone, func() any { return newZone() }).(*zone)
	return l, nil
}

// rule is a Rule in thousandths of a request, as nginx counts.
type rule struct {
	kind  int   // place in node.excess: 0 per second, 1 per minute
	rate  int64 // leaking per second
	burst int64
}

type limiter struct {
	key    *filter.KeyFunc
	zone   *zone
	rules  []rule
	status int
	now    func() time.Time
}

var _ filter.OnRequest = (*limiter)(nil)

func (l *limiter) Request(x *exchange.Exchange) exchange.Verdict {
	key, ok := l.key.Key(x)
	if !ok || l.zone.take(key, l.now().UnixMilli(), l.rules) {
		return exchange.Continue
	}
	return x.Reply(l.status)
}
