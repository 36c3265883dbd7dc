package annotation

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var canaryOn = Declare(Spec[bool]{
	Name:     "canary",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether the Ingress' Services take a share of the requests of another Ingress with the same host, path and path type. It makes no route of its own then, and of its other annotations only canary-* and affinity-canary-behavior count.",
	Examples: []string{"true"},
})

var canaryWeight = Declare(Spec[int]{
	Name:     "canary-weight",
	Grammar:  AnyInt,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "How many of canary-weight-total requests go to the canary, if neither header nor cookie decides.",
	Examples: []string{"10"},
})

var canaryTotal = Declare(Spec[int]{
	Name:     "canary-weight-total",
	Grammar:  AnyInt,
	Default:  100,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "What canary-weight is a part of. Only values above 100 count.",
	Examples: []string{"1000"},
})

var canaryHeader = Declare(Spec[string]{
	Name:     "canary-by-header",
	Grammar:  Basic,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The header field that decides: always sends to the canary, never does not, and other values leave it to the cookie and the weight.",
	Examples: []string{"X-Canary"},
})

var canaryHeaderValue = Declare(Spec[string]{
	Name:     "canary-by-header-value",
	Grammar:  Basic,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The value of canary-by-header that sends to the canary, in place of always; never has no meaning then.",
	Examples: []string{"blue"},
})

var canaryHeaderPattern = Declare(Spec[string]{
	Name:     "canary-by-header-pattern",
	Grammar:  RegexTextSpaced,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "A regular expression for canary-by-header's value, open at both ends. It is not used with canary-by-header-value.",
	Examples: []string{"^beta-[0-9]+$"},
})

var canaryCookie = Declare(Spec[string]{
	Name:     "canary-by-cookie",
	Grammar:  Basic,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The cookie that decides, where no header does: always sends to the canary, never does not.",
	Examples: []string{"canary"},
})

var affinityCanary = Declare(Spec[string]{
	Name:     "affinity-canary-behavior",
	Grammar:  Enum("sticky", "legacy"),
	Default:  "sticky",
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether a client with an affinity cookie stays with what served it first, the canary or the other. Set it on the canary.",
	Examples: []string{"legacy"},
})

// neverMatches stands for a pattern that is none.
const neverMatches = `[^\s\S]`

// CanaryOf returns what the annotations of a canary Ingress say (all but Pool, Origin and Key), and whether it is one.
func CanaryOf(v *Values) (config.Canary, bool) {
	if on, _ := canaryOn.Get(v); !on {
		return config.Canary{}, false
	}
	var c config.Canary
	c.Weight, _ = canaryWeight.Get(v)
	// compat: totals of 100 and below have no effect (reference/annotations.md 14).
	c.Total, _ = canaryTotal.Get(v)
	c.Total = max(c.Total, 100)
	c.Weight = max(0, min(c.Weight, c.Total))
	c.Header, _ = canaryHeader.Get(v)
	if c.Header != "" {
		c.HeaderValue, _ = canaryHeaderValue.Get(v)
		if pattern, ok := canaryHeaderPattern.Get(v); ok && c.HeaderValue == "" {
			c.HeaderPattern = pattern
			if CheckRegex(pattern) != nil {
				c.HeaderPattern = neverMatches
			}
		}
	}
	c.Cookie, _ = canaryCookie.Get(v)
	behavior, _ := affinityCanary.Get(v)
	c.Sticky = behavior == "sticky"
	return c, true
}

var canaryKeys = []AnyKey{canaryWeight, canaryTotal, canaryHeader, canaryHeaderValue, canaryHeaderPattern, canaryCookie}

var _ = register(Feature{
	Name:  "canary",
	Title: "Canaries",
	Keys:  append([]AnyKey{canaryOn, affinityCanary}, canaryKeys...),
	Route: func(c *RouteContext) {
		canary, ok := CanaryOf(c.Values)
		if !ok {
			for _, k := range canaryKeys {
				if c.Set(k) {
					c.Report(k.Info().Name, diag.Diagnostic{
						Code: diag.AnnotationNoEffect, Severity: diag.Warning,
						Message: k.Info().Name + " does nothing without canary: \"true\"",
						Hint:    "add canary: \"true\", or remove the annotation",
					})
				}
			}
			return
		}
		if canary.HeaderPattern == neverMatches {
			pattern, _ := canaryHeaderPattern.Get(c.Values)
			c.Report("canary-by-header-pattern", diag.Diagnostic{
				Code: diag.RegexInvalid, Severity: diag.Warning, Effect: diag.Ignored,
				Message: Quote(pattern) + " is no regular expression and matches nothing: " + CheckRegex(pattern).Error(),
				Hint:    "lookaround, back-references and possessive quantifiers are not supported",
			})
		}
		if canary.Header == "" && (c.Set(canaryHeaderValue) || c.Set(canaryHeaderPattern)) {
			name := "canary-by-header-value"
			if !c.Set(canaryHeaderValue) {
				name = "canary-by-header-pattern"
			}
			c.Report(name, diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Warning,
				Message: name + " does nothing without canary-by-header", Hint: "add canary-by-header with the field's name",
			})
		}
		c.Canary = &canary
	},
})
