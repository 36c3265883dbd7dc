package annotation

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var affinity = Declare(Spec[string]{
	Name:     "affinity",
	Grammar:  Enum("cookie"),
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether a client stays with its endpoint by means of a cookie. It belongs to the route: other Ingresses with the same Service are not concerned.",
	Examples: []string{"cookie"},
})

var affinityMode = Declare(Spec[string]{
	Name:     "affinity-mode",
	Grammar:  Enum("balanced", "persistent"),
	Default:  "balanced",
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether clients move when endpoints are added (balanced), or stay as long as their endpoint exists (persistent).",
	Examples: []string{"persistent"},
})

var sessionName = Declare(Spec[string]{
	Name: "session-cookie-name",
	Grammar: MapText(Basic, "a cookie name of letters, digits and - . _ ~", func(s string) (string, error) {
		if !ValidHeaderName(s) {
			return "", ErrSyntax
		}
		return s, nil
	}),
	Default:  "INGRESSCOOKIE",
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The name of the affinity cookie. Two Services on one host need two names, or two paths.",
	Examples: []string{"route"},
})

var sessionPath = Declare(Spec[string]{
	Name:     "session-cookie-path",
	Grammar:  URLText,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The path of the affinity cookie; the path of the rule without. With regular expressions it must be set.",
	Examples: []string{"/"},
})

var sessionDomain = Declare(Spec[string]{
	Name:     "session-cookie-domain",
	Grammar:  Basic,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The domain of the affinity cookie; none without.",
	Examples: []string{"example.com"},
})

// cookieSeconds is what ingress-nginx means to accept: 0, or a number without leading zeros.
var cookieSeconds = Grammar[int]{
	Syntax: "a whole number of seconds",
	Parse: func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || strconv.Itoa(n) != s {
			return 0, ErrSyntax
		}
		return n, nil
	},
}

var sessionMaxAge = Declare(Spec[int]{
	Name:     "session-cookie-max-age",
	Grammar:  cookieSeconds,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Max-Age of the affinity cookie in seconds; none without.",
	Examples: []string{"172800"},
})

var sessionExpires = Declare(Spec[int]{
	Name:     "session-cookie-expires",
	Grammar:  cookieSeconds,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "When the affinity cookie expires, in seconds from now; never without.",
	Examples: []string{"172800"},
})

var sessionSameSite = Declare(Spec[string]{
	Name:     "session-cookie-samesite",
	Grammar:  EnumFold("None", "Lax", "Strict"),
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "SameSite of the affinity cookie; none without.",
	Examples: []string{"Lax"},
})

var sessionConditionalNone = Declare(Spec[bool]{
	Name:     "session-cookie-conditional-samesite-none",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether SameSite=None is left out for browsers known to misunderstand it.",
	Examples: []string{"true"},
})

var sessionSecure = Declare(Spec[bool]{
	Name:     "session-cookie-secure",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether the affinity cookie is Secure on plain connections too, as behind a proxy that ends TLS. On TLS it always is.",
	Examples: []string{"true"},
})

var sessionChangeOnFailure = Declare(Spec[bool]{
	Name:     "session-cookie-change-on-failure",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether a client moves to another endpoint when its own fails. Without, the same endpoint is tried again.",
	Examples: []string{"true"},
})

var _ = register(Feature{
	Name:  "affinity",
	Title: "Affinity",
	Keys: []AnyKey{
		affinity, affinityMode, sessionName, sessionPath, sessionDomain, sessionMaxAge, sessionExpires, sessionSameSite,
		sessionConditionalNone, sessionSecure, sessionChangeOnFailure,
	},
	Route: func(c *RouteContext) {
		if kind, _ := affinity.Get(c.Values); kind != "cookie" || c.Route.Action.Forward == nil || c.DefaultBackend {
			return
		}
		a := &config.Affinity{Key: c.Route.Origin.Upstream}
		a.Mode, _ = affinityMode.Get(c.Values)
		a.Cookie, _ = sessionName.Get(c.Values)
		a.Domain, _ = sessionDomain.Get(c.Values)
		a.SameSite, _ = sessionSameSite.Get(c.Values)
		a.ConditionalNone, _ = sessionConditionalNone.Get(c.Values)
		a.ChangeOnFailure, _ = sessionChangeOnFailure.Get(c.Values)
		if n, ok := sessionMaxAge.Get(c.Values); ok {
			a.MaxAge = &n
		}
		if n, ok := sessionExpires.Get(c.Values); ok {
			a.Expires = &n
		}
		if on, ok := sessionSecure.Get(c.Values); ok {
			a.Secure = &on
		}
		var own bool
		if a.Path, own = sessionPath.Get(c.Values); !own {
			a.Path = defaultCookiePath(c)
		}
		c.Route.Action.Forward.Affinity = a
	},
})

// defaultCookiePath is the path of the rule, as long as it cannot be taken for more than a path (security.md S13.3).
func defaultCookiePath(c *RouteContext) string {
	on, _ := useRegex.Get(c.Values)
	if on && strings.ContainsAny(c.Path, `^$[](){}*+?|\`) {
		// compat: the text of the expression is the cookie's path, which no browser sends back.
		c.Report("affinity", diag.Diagnostic{
			Code: diag.SecurityAdvice, Severity: diag.Warning,
			Message: "the cookie's path is the regular expression " + Quote(c.Path) + ", which is no path of a request: browsers will not send the cookie",
			Hint:    "set session-cookie-path",
		})
	}
	if strings.ContainsRune(c.Path, ';') || !ValidHeaderValue(c.Path) {
		return "/"
	}
	return c.Path
}
