package annotation

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/hostredirect"
	"github.com/lintel-ingress/lintel/internal/filter/redirect"
	"github.com/lintel-ingress/lintel/internal/filter/sslredirect"
)

var sslRedirect = Declare(Spec[bool]{
	Name:      "ssl-redirect",
	Grammar:   Bool,
	Default:   true,
	ConfigMap: "ssl-redirect",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether plain HTTP requests are redirected to HTTPS where the host has a certificate. Any spec.tls of an Ingress of the host counts as one, the default certificate included.",
	Examples:  []string{"false"},
})

var forceSSLRedirect = Declare(Spec[bool]{
	Name:      "force-ssl-redirect",
	Grammar:   Bool,
	ConfigMap: "force-ssl-redirect",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether plain HTTP requests are redirected to HTTPS even where the host has no certificate, as behind a proxy that ends TLS.",
	Examples:  []string{"true"},
})

var preserveSlash = Declare(Spec[bool]{
	Name:      "preserve-trailing-slash",
	Grammar:   Bool,
	ConfigMap: "preserve-trailing-slash",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether the redirect to HTTPS keeps a trailing slash. Without it /a/ becomes https://host/a.",
	Examples:  []string{"true"},
})

var usePort = Declare(Spec[bool]{
	Name:      "use-port-in-redirects",
	Grammar:   Bool,
	ConfigMap: "use-port-in-redirects",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether redirects to HTTPS name the HTTPS port, and redirects lintel makes of its own the listener's.",
	Examples:  []string{"true"},
})

var relativeRedirects = Declare(Spec[bool]{
	Name:      "relative-redirects",
	Grammar:   Bool,
	ConfigMap: "relative-redirects",
	Risk:      Low,
	Bad:       Hard,
	Since:     "0.1",
	Doc:       "Whether permanent-redirect to a path, and the redirect that adds a slash, stay without scheme and host. If the ConfigMap says so, an annotation cannot take it back.",
	Examples:  []string{"true"},
})

var permanentRedirect = Declare(Spec[string]{
	Name:     "permanent-redirect",
	Grammar:  URLTextSpaced,
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Where every request of the Ingress is redirected to (301). Nothing of the request is appended. It comes before the redirect to HTTPS and before authentication.",
	Examples: []string{"https://www.example.com", "/moved"},
})

var permanentRedirectCode = Declare(Spec[int]{
	Name:     "permanent-redirect-code",
	Grammar:  AnyInt,
	Default:  301,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The status of permanent-redirect, from 300 to 308; others count as 301.",
	Examples: []string{"308"},
})

var temporalRedirect = Declare(Spec[string]{
	Name: "temporal-redirect",
	Grammar: MapText(URLTextSpaced, "an absolute http or https URL", func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil {
			return "", As(Soft, ErrSyntax)
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			// compat: the redirect annotations of the Ingress are ignored then (reference/annotations.md 6).
			return "", As(Soft, errors.New("no redirect annotation of this Ingress is used"))
		}
		return s, nil
	}),
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "As permanent-redirect, with 302. It wins over permanent-redirect.",
	Examples: []string{"https://maintenance.example.com"},
})

var temporalRedirectCode = Declare(Spec[int]{
	Name:     "temporal-redirect-code",
	Grammar:  AnyInt,
	Default:  302,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The status of temporal-redirect, from 300 to 307; others count as 302.",
	Examples: []string{"307"},
})

var fromToWWW = Declare(Spec[bool]{
	Name:     "from-to-www-redirect",
	Grammar:  Bool,
	Scope:    PerHost,
	Conflict: AnyTrue,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Whether the host's counterpart name, www.example.com for example.com and the other way round, is redirected to the host. It does nothing where a rule has that name, nor for wildcard hosts.",
	Examples: []string{"true"},
})

// redirectsOff reports whether a malformed temporal-redirect takes the other redirect annotations
// with it. compat: the original's parser returns at the first error.
func redirectsOff(v *Values) bool {
	text, there := v.Raw("temporal-redirect")
	return there && text != "" && !v.Set(temporalRedirect)
}

var _ = register(Feature{
	Name:  "ssl-redirect",
	Title: "Redirect to HTTPS",
	Keys:  []AnyKey{sslRedirect, forceSSLRedirect, preserveSlash},
	Route: func(c *RouteContext) {
		plain, _ := sslRedirect.Get(c.Values)
		force, _ := forceSSLRedirect.Get(c.Values)
		if c.CatchAllDefault || !(plain || force) {
			return
		}
		if PathBelow(c.Path, GlobalList(c.Global, "no-tls-redirect-locations", "/.well-known/acme-challenge")) {
			return
		}
		keep, _ := preserveSlash.Get(c.Values)
		cfg := sslredirect.Config{Force: force, Status: GlobalRedirectCode(c.Global), KeepSlash: keep}
		if use, _ := usePort.Get(c.Values); use {
			cfg.Port = strconv.Itoa(c.HTTPSPort)
		}
		// compat: without a host there is no certificate to be had for it; only force counts.
		if c.Host == "_" && !force {
			return
		}
		c.Add(cfg)
	},
})

var _ = register(Feature{
	Name:  "redirect",
	Title: "Fixed redirects",
	Keys:  []AnyKey{permanentRedirect, permanentRedirectCode, temporalRedirect, temporalRedirectCode, relativeRedirects, usePort},
	Route: func(c *RouteContext) {
		relative := GlobalBool(c.Global, "relative-redirects", false)
		if on, _ := relativeRedirects.Get(c.Values); on && !redirectsOff(c.Values) {
			relative = true
		}
		port, _ := usePort.Get(c.Values)
		c.Slash.Relative, c.Slash.UsePort = relative, port
		if c.CatchAllDefault || redirectsOff(c.Values) {
			return
		}
		if to, ok := temporalRedirect.Get(c.Values); ok {
			code := redirectCode(c, "temporal-redirect-code", temporalRedirectCode, 307)
			c.Add(redirect.Config{Status: code, To: to})
			return
		}
		if to, ok := permanentRedirect.Get(c.Values); ok {
			code := redirectCode(c, "permanent-redirect-code", permanentRedirectCode, 308)
			c.Add(redirect.Config{Status: code, To: to, Relative: relative, UsePort: port})
		}
	},
})

// redirectCode returns the status of a redirect; one out of range counts as the default.
func redirectCode(c *RouteContext, name string, k Key[int], most int) int {
	code, set := k.Get(c.Values)
	if code >= 300 && code <= most {
		return code
	}
	if set {
		c.Report(name, diag.Diagnostic{
			Code: diag.AnnotationValue, Severity: diag.Warning, Effect: diag.Ignored,
			Message: strconv.Itoa(code) + " is not a status from 300 to " + strconv.Itoa(most),
			Hint:    "write 301, 302, 303 or 307",
		})
	}
	return k.spec.Default
}

var _ = register(Feature{
	Name:  "from-to-www-redirect",
	Title: "Redirect between example.com and www.example.com",
	Keys:  []AnyKey{fromToWWW},
	Host: func(c *HostContext) {
		name := c.Host.Name
		if name == "_" || strings.ContainsAny(name, "*~") {
			return
		}
		for _, m := range c.Members {
			if on, _ := fromToWWW.Get(m.Values); on && !redirectsOff(m.Values) && !m.CatchAllDefault {
				c.WWW = []filter.Config{hostredirect.Config{To: name, Status: GlobalRedirectCode(c.Global)}}
				return
			}
		}
	},
})
