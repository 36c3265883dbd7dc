package annotation

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter/customheaders"
	"github.com/lintel-ingress/lintel/internal/filter/forwarded"
	"github.com/lintel-ingress/lintel/internal/filter/hsts"
	"github.com/lintel-ingress/lintel/internal/filter/responsefields"
	"github.com/lintel-ingress/lintel/internal/filter/setheaders"
)

var customHeaders = Declare(Spec[Ref]{
	Name:     "custom-headers",
	Grammar:  SecretRef,
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "A ConfigMap whose entries are set as fields on every response, replacing the endpoint's. Each name must be listed in the controller ConfigMap's global-allowed-response-headers.",
	Examples: []string{"default/shop-headers"},
})

var (
	customHeaderName  = regexp.MustCompile(`\A[a-zA-Z\d\-_]+\z`)
	customHeaderValue = regexp.MustCompile("\\A[a-zA-Z\\d_ :;.,\\\\/\"'?!(){}\\[\\]@<>=\\-+*#$&`|~^%]+\\z")
)

var _ = register(Feature{
	Name:  "custom-headers",
	Title: "Response fields",
	Keys:  []AnyKey{customHeaders},
	Route: func(c *RouteContext) {
		ref, ok := customHeaders.Get(c.Values)
		if !ok {
			return
		}
		deny := func(code diag.Code, hint, format string, args ...any) {
			c.Deny("custom-headers", diag.Diagnostic{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint})
		}
		ref, err := ref.Resolve(c.Namespace, GlobalBool(c.Global, "allow-cross-namespace-resources", false))
		if err != nil {
			deny(diag.ReferenceForbidden, "put the ConfigMap into the Ingress' namespace", "ConfigMap %s: %v", ref, err)
			return
		}
		data, ok := c.ConfigMap(ref.Namespace, ref.Name)
		if !ok {
			deny(diag.ReferenceMissing, "create it, or correct the name", "there is no ConfigMap %s", ref)
			return
		}
		allowed := GlobalList(c.Global, "global-allowed-response-headers", "")
		var fields []exchange.Field
		for _, name := range sortedKeys(data) {
			value := data[name]
			switch {
			case !customHeaderName.MatchString(name):
				deny(diag.ReferenceInvalid, "use letters, digits, - and _", "ConfigMap %s: %s is no name of a field", ref, Quote(name))
				return
			case FramingField(name):
				deny(diag.ReferenceInvalid, "take it out", "ConfigMap %s: %s frames messages and is lintel's own", ref, name)
				return
			case !customHeaderValue.MatchString(value):
				deny(diag.ReferenceInvalid, "take out control and other special characters", "ConfigMap %s: the value of %s has characters that are not allowed, or is empty", ref, name)
				return
			case !containsFold(allowed, name):
				deny(diag.ReferenceInvalid, "add it to global-allowed-response-headers in the controller's ConfigMap, or take it out",
					"ConfigMap %s: %s is not in global-allowed-response-headers", ref, name)
				return
			}
			fields = append(fields, exchange.Field{Name: name, Value: value})
		}
		c.Add(customheaders.Config{Fields: fields})
	},
})

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// HeaderMap reads the ConfigMap that a key of the controller's ConfigMap names (add-headers,
// proxy-set-headers) into fields, sorted by name. Entries that cannot be used are left out
// and reported (security.md S13.2). The Host field is permitted where host is set.
func HeaderMap(o Objects, key, ref string, host bool, report func(diag.Diagnostic)) []exchange.Field {
	r, err := SecretRefFull.Parse(strings.TrimSpace(ref))
	if err != nil {
		report(diag.Diagnostic{
			Code: diag.ConfigMapValue, Severity: diag.Warning, Effect: diag.Ignored, Value: ref,
			Message: key + ": " + Quote(ref) + " is not namespace/name", Hint: "name a ConfigMap as namespace/name",
		})
		return nil
	}
	at := diag.Ref{Kind: "ConfigMap", Namespace: r.Namespace, Name: r.Name}
	data, ok := o.ConfigMap(r.Namespace, r.Name)
	if !ok {
		report(diag.Diagnostic{
			Code: diag.ReferenceMissing, Severity: diag.Warning, Effect: diag.Ignored, Value: ref, Related: []diag.Ref{at},
			Message: key + ": there is no ConfigMap " + r.String(), Hint: "create it, or correct the name",
		})
		return nil
	}
	var out []exchange.Field
	for _, name := range sortedKeys(data) {
		value := strings.TrimSpace(data[name])
		if !ValidHeaderName(name) || !ValidHeaderValue(value) || (FramingField(name) && !(host && strings.EqualFold(name, "Host"))) {
			report(diag.Diagnostic{
				Code: diag.ReferenceInvalid, Severity: diag.Warning, Effect: diag.Ignored, Value: name, Related: []diag.Ref{at},
				Message: fmt.Sprintf("%s: entry %s of ConfigMap %s is no field that may be set, and is left out", key, Quote(name), r),
				Hint:    "use names of letters, digits and -, values on one line, and no field that frames messages",
			})
			continue
		}
		out = append(out, exchange.Field{Name: name, Value: value})
	}
	return out
}

var _ = register(Feature{
	Name:  "forwarded",
	Title: "Fields for the endpoint",
	Route: func(c *RouteContext) {
		if c.Route.Action.Forward == nil {
			return
		}
		c.Add(forwarded.Config{
			ForHeader:   GlobalText(c.Global, "forwarded-for-header", ""),
			HostHeader:  GlobalText(c.Global, "forwarded-host-header", ""),
			FullFor:     GlobalBool(c.Global, "use-forwarded-headers", false) && GlobalBool(c.Global, "compute-full-forwarded-for", false),
			OriginalURI: GlobalBool(c.Global, "proxy-add-original-uri-header", false),
		})
		if ref := GlobalText(c.Global, "proxy-set-headers", ""); ref != "" {
			// What is wrong with it is reported once, with the ConfigMap.
			if fields := HeaderMap(c.Objects, "proxy-set-headers", ref, true, func(diag.Diagnostic) {}); len(fields) > 0 {
				c.Add(setheaders.Config{Fields: fields})
			}
		}
	},
})

var _ = register(Feature{
	Name:  "hsts",
	Title: "Strict-Transport-Security",
	Route: func(c *RouteContext) {
		if !GlobalBool(c.Global, "hsts", true) {
			return
		}
		age, ok := ParseCount(GlobalText(c.Global, "hsts-max-age", "31536000"))
		if !ok {
			age = 31536000
		}
		c.Add(hsts.Config{
			MaxAge:     age,
			Subdomains: GlobalBool(c.Global, "hsts-include-subdomains", true),
			Preload:    GlobalBool(c.Global, "hsts-preload", false),
		})
	},
})

// pair is the value of proxy-cookie-domain and -path: "off" or "<from> <to>".
func pair(g Grammar[string], syntax string) Grammar[responsefields.Rewrite] {
	out := MapText(g, syntax, func(s string) (responsefields.Rewrite, error) {
		words := strings.Fields(s)
		switch {
		case len(words) == 1 && words[0] == "off":
			return responsefields.Rewrite{}, nil
		case len(words) == 2:
			if re, ok := strings.CutPrefix(words[0], "~"); ok {
				if err := CheckRegex(strings.TrimPrefix(re, "*")); err != nil {
					return responsefields.Rewrite{}, err
				}
			}
			return responsefields.Rewrite{From: words[0], To: words[1]}, nil
		}
		return responsefields.Rewrite{}, ErrSyntax
	})
	return out
}

var proxyCookieDomain = Declare(Spec[responsefields.Rewrite]{
	Name:      "proxy-cookie-domain",
	Grammar:   pair(BasicSpaced, `"off", or the domain to replace and what to put in its place`),
	ConfigMap: "proxy-cookie-domain",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Replaces the Domain of an endpoint's cookies. Comparison is without case and without a leading dot.",
	Examples:  []string{"localhost example.com", "off"},
})

var proxyCookiePath = Declare(Spec[responsefields.Rewrite]{
	Name:      "proxy-cookie-path",
	Grammar:   pair(urlSpaceText, `"off", or the path prefix to replace and what to put in its place`),
	ConfigMap: "proxy-cookie-path",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Replaces the beginning of the Path of an endpoint's cookies.",
	Examples:  []string{"/internal /app", "off"},
})

var urlSpaceText = textOf(chars(basicText, urlText, " "), true, "")

var redirectFrom = Declare(Spec[string]{
	Name:      "proxy-redirect-from",
	Grammar:   URLText,
	Default:   "off",
	ConfigMap: "proxy-redirect-from",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       `The beginning of an endpoint's Location and Refresh that proxy-redirect-to replaces; "off" or "default" for none.`,
	Examples:  []string{"http://internal.example.com/"},
})

var redirectTo = Declare(Spec[string]{
	Name:      "proxy-redirect-to",
	Grammar:   URLText,
	Default:   "off",
	ConfigMap: "proxy-redirect-to",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "What to put in place of proxy-redirect-from.",
	Examples:  []string{"https://example.com/"},
})

var _ = register(Feature{
	Name:  "response-fields",
	Title: "Fields of the endpoint's response",
	Keys:  []AnyKey{proxyCookieDomain, proxyCookiePath, redirectFrom, redirectTo},
	Route: func(c *RouteContext) {
		if c.Route.Action.Forward == nil {
			return
		}
		var cfg responsefields.Config
		for _, name := range GlobalList(c.Global, "hide-headers", "") {
			if ValidHeaderName(name) {
				cfg.Hide = append(cfg.Hide, name)
			}
		}
		cfg.CookieDomain, _ = proxyCookieDomain.Get(c.Values)
		cfg.CookiePath, _ = proxyCookiePath.Get(c.Values)
		from, _ := redirectFrom.Get(c.Values)
		to, _ := redirectTo.Get(c.Values)
		switch {
		case from == "default":
			// compat: the name endpoints have in nginx' configuration, and never in theirs.
			from, to = "http://"+internalName+"/", "/"
			if protocolOf(c) == config.HTTPS {
				from = "https://" + internalName + "/"
			}
		case from == "off" || to == "off" || to == "":
			from = ""
		}
		if from != "" {
			cfg.Redirect = responsefields.Rewrite{From: from, To: to}
			cfg.Relative, _ = relativeRedirects.Get(c.Values)
			cfg.UsePort, _ = usePort.Get(c.Values)
		}
		if len(cfg.Hide) > 0 || cfg.CookieDomain.From != "" || cfg.CookiePath.From != "" || cfg.Redirect.From != "" {
			c.Add(cfg)
		}
	},
})

var accessLog = Declare(Spec[bool]{
	Name:     "enable-access-log",
	Grammar:  Bool,
	Default:  true,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether requests of the Ingress are written to the access log. Metrics count them all the same.",
	Examples: []string{"false"},
})

var _ = register(Feature{
	Name:  "access-log",
	Title: "Access log",
	Keys:  []AnyKey{accessLog},
	Route: func(c *RouteContext) {
		if on, _ := accessLog.Get(c.Values); !on {
			c.Route.NoLog = true
		}
	},
})

// lineRef is "line 3" of a snippet.
func lineRef(line int) string { return "line " + strconv.Itoa(line) }
