package annotation

import (
	"net/netip"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/connlimit"
	"github.com/lintel-ingress/lintel/internal/filter/ratelimit"
)

var limitRPS = Declare(Spec[int]{
	Name:     "limit-rps",
	Grammar:  AnyInt,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "How many requests per second one client may make. An idle client may make one more than limit-burst-multiplier times as many at once; what is above gets 503. 0 means no limit. Clients are counted for the whole Ingress, in each replica.",
	Examples: []string{"10"},
})

var limitRPM = Declare(Spec[int]{
	Name:     "limit-rpm",
	Grammar:  AnyInt,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "How many requests per minute one client may make; as limit-rps otherwise. Both may be set, and both apply.",
	Examples: []string{"300"},
})

var limitConnections = Declare(Spec[int]{
	Name:     "limit-connections",
	Grammar:  AnyInt,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "How many requests of one client may be in progress at once; what is above gets 503. Each HTTP/2 stream counts, idle connections do not.",
	Examples: []string{"20"},
})

var limitBurst = Declare(Spec[int]{
	Name:     "limit-burst-multiplier",
	Grammar:  AnyInt,
	Default:  5,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "How many times its rate a client may go over for a moment.",
	Examples: []string{"3"},
})

var limitAllow = Declare(Spec[[]netip.Prefix]{
	Name:     "limit-allowlist",
	Aliases:  []string{"limit-whitelist"},
	Grammar:  CIDRs,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Client networks that no limit of the Ingress applies to.",
	Examples: []string{"10.0.0.0/8"},
})

var limitRate = Declare(Spec[int]{
	Name:      "limit-rate",
	Grammar:   AnyInt,
	ConfigMap: "limit-rate",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "How many kilobytes per second one response is sent with. 0 means no limit.",
	Examples:  []string{"100"},
})

var limitRateAfter = Declare(Spec[int]{
	Name:      "limit-rate-after",
	Grammar:   AnyInt,
	ConfigMap: "limit-rate-after",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "How many kilobytes of a response are sent before limit-rate applies.",
	Examples:  []string{"1000"},
})

// most bounds numbers that are multiplied later.
const most = 1 << 30

var _ = register(Feature{
	Name:  "limits",
	Title: "Limits",
	Keys:  []AnyKey{limitRPS, limitRPM, limitConnections, limitBurst, limitAllow, limitRate, limitRateAfter},
	Route: func(c *RouteContext) {
		if rate, _ := limitRate.Get(c.Values); rate > 0 {
			c.Route.Limits.Rate = int64(min(rate, most)) << 10
		}
		if after, _ := limitRateAfter.Get(c.Values); after > 0 {
			c.Route.Limits.RateAfter = int64(min(after, most)) << 10
		}
		burst, _ := limitBurst.Get(c.Values)
		allow, _ := limitAllow.Get(c.Values)
		var rules []ratelimit.Rule
		add := func(k Key[int], per time.Duration) {
			if n, _ := k.Get(c.Values); n > 0 {
				n = min(n, 1<<20)
				rules = append(rules, ratelimit.Rule{Requests: n, Per: per, Burst: n * max(0, min(burst, 1<<10))})
			} else if c.Set(k) {
				c.Report(k.spec.Name, diag.Diagnostic{
					Code: diag.AnnotationNoEffect, Severity: diag.Info,
					Message: k.spec.Name + " of 0 or less is no limit", Hint: "remove the annotation, or write a number above 0",
				})
			}
		}
		add(limitRPS, time.Second)
		add(limitRPM, time.Minute)
		zone := c.Namespace + "/" + c.Ingress
		if len(rules) > 0 {
			c.Add(ratelimit.Config{Zone: zone, Key: limitKey(c), Allow: allow, Rules: rules, Status: limitStatus(c, "limit-req-status-code")})
		}
		if n, _ := limitConnections.Get(c.Values); n > 0 {
			c.Add(connlimit.Config{Zone: zone, Key: limitKey(c), Allow: allow, Max: min(n, most), Status: limitStatus(c, "limit-conn-status-code")})
		}
	},
})

// limitKey is what all limits count by: "" for the client's address. A text nothing can be made of has
// been reported with the ConfigMap, and the address counts.
func limitKey(c *RouteContext) string {
	text := GlobalText(c.Global, "limit-conn-zone-variable", "")
	if text == "$binary_remote_addr" || text == "$remote_addr" || text == "" || checkVariables(text) != nil {
		return ""
	}
	return text
}

func limitStatus(c *RouteContext, key string) int {
	if n, err := Status(400, 599).Parse(GlobalText(c.Global, key, "503")); err == nil {
		return n
	}
	return 503
}
