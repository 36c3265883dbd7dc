package annotation

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter/access"
)

var authURL = Declare(Spec[string]{
	Name:     "auth-url",
	Grammar:  MapText(URLVars, "an http or https URL, with or without $variables", parseAuthURL),
	Risk:     High,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The service that is asked whether a request may pass: 2xx lets it, 401 and 403 go to the client, anything else is a 500. The request it gets has the client's header fields and no content. It replaces the ConfigMap's global-auth-url.",
	Examples: []string{"http://auth.default.svc.cluster.local/check", "https://$host/oauth2/auth"},
})

var authMethod = Declare(Spec[string]{
	Name:     "auth-method",
	Grammar:  Enum("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"),
	Risk:     Low,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "The method the service is asked with; GET without. With it the service also gets X-Original-URI and X-Scheme.",
	Examples: []string{"POST"},
})

var authSignin = Declare(Spec[string]{
	Name:     "auth-signin",
	Grammar:  Expr(URLVars),
	Risk:     High,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Where a client is sent (302) instead of a 401. The URL it wanted is appended as a parameter, unless one of that name is there.",
	Examples: []string{"https://$host/oauth2/start?rd=$escaped_request_uri", "https://login.example.com/start"},
})

var authSigninParam = Declare(Spec[string]{
	Name:     "auth-signin-redirect-param",
	Grammar:  URLText,
	Default:  "rd",
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The name of the parameter that auth-signin appends.",
	Examples: []string{"origUrl"},
})

var authResponseHeaders = Declare(Spec[[]string]{
	Name:     "auth-response-headers",
	Grammar:  HeaderNames,
	Risk:     Medium,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "Header fields of the service's answer that the endpoint gets. What the client sent under these names never reaches it.",
	Examples: []string{"X-Auth-Request-User, X-Auth-Request-Email"},
})

var authSetHeaders = Declare(Spec[Ref]{
	Name:     "auth-proxy-set-headers",
	Grammar:  SecretRef,
	Risk:     Medium,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "A ConfigMap whose entries are sent to the service as header fields; values may hold $variables.",
	Examples: []string{"default/auth-headers"},
})

var authRequestRedirect = Declare(Spec[string]{
	Name:     "auth-request-redirect",
	Grammar:  URLText,
	Risk:     Medium,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "The value of X-Auth-Request-Redirect for the service; the request's target without.",
	Examples: []string{"http://foo.com"},
})

var authCacheKey = Declare(Spec[string]{
	Name:     "auth-cache-key",
	Grammar:  Expr(Variables),
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "What tells clients apart when answers of the service are remembered. It must hold something of the client's: a key that is the same for everybody is not used.",
	Examples: []string{"$remote_user$http_authorization", "$cookie_session"},
})

// cacheRules are access.CacheRule as an annotation writes them.
type cacheRules []access.CacheRule

func (r cacheRules) String() string {
	var items []string
	for _, rule := range r {
		item := ""
		for _, code := range rule.Codes {
			item += strconv.Itoa(code) + " "
		}
		items = append(items, item+strconv.FormatInt(int64(rule.For/time.Second), 10)+"s")
	}
	return strings.Join(items, ", ")
}

var authCacheDuration = Declare(Spec[cacheRules]{
	Name:     "auth-cache-duration",
	Grammar:  MapText(Extended, "a list such as \"200 202 401 5m\": statuses, and how long they are remembered", parseCacheRules),
	Default:  cacheRules{{Codes: []int{200, 202, 401}, For: 5 * time.Minute}},
	Risk:     Medium,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "How long answers of the service are remembered, by status. Cache-Control and Expires of the answer win.",
	Examples: []string{"200 202 10m, 401 1m"},
})

var authAlwaysSetCookie = Declare(Spec[bool]{
	Name:     "auth-always-set-cookie",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "Whether cookies of the service reach the client with errors too, not only with 2xx and 3xx.",
	Examples: []string{"true"},
})

var enableGlobalAuth = Declare(Spec[bool]{
	Name:     "enable-global-auth",
	Grammar:  Bool,
	Default:  true,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether the ConfigMap's global-auth-url protects this Ingress.",
	Examples: []string{"false"},
})

const poolsAlways = "connections to the service are always kept and reused"

var authKeepalive = Declare(Spec[int]{
	Name: "auth-keepalive", Grammar: AnyInt, Risk: Low, Bad: Soft, NoEffect: poolsAlways, Since: "0.1",
	Doc: "How many idle connections to the service were kept.", Examples: []string{"10"},
})

var authKeepaliveRequests = Declare(Spec[int]{
	Name: "auth-keepalive-requests", Grammar: AnyInt, Default: 1000, Risk: Low, Bad: Soft, NoEffect: poolsAlways, Since: "0.1",
	Doc: "How many requests one connection to the service carried.", Examples: []string{"1000"},
})

var authKeepaliveTimeout = Declare(Spec[int]{
	Name: "auth-keepalive-timeout", Grammar: AnyInt, Default: 60, Risk: Low, Bad: Soft, NoEffect: poolsAlways, Since: "0.1",
	Doc: "How many seconds an idle connection to the service was kept.", Examples: []string{"60"},
})

var authKeepaliveShareVars = Declare(Spec[bool]{
	Name: "auth-keepalive-share-vars", Grammar: Bool, Risk: Low, Bad: Soft, NoEffect: poolsAlways, Since: "0.1",
	Doc: "Whether variables were shared with the request to the service.", Examples: []string{"true"},
})

var _ = register(Feature{
	Name:  "external-auth",
	Title: "Authentication services",
	Keys: []AnyKey{
		authURL, authMethod, authSignin, authSigninParam, authResponseHeaders, authSetHeaders, authRequestRedirect, authCacheKey,
		authCacheDuration, authAlwaysSetCookie, enableGlobalAuth, authKeepalive, authKeepaliveRequests, authKeepaliveTimeout, authKeepaliveShareVars,
	},
})

// authorityVariables are those that may stand in the host of auth-url: all others let a client choose who judges it.
var authorityVariables = []string{"host", "http_host", "best_http_host", "server_name", "namespace", "ingress_name", "service_name", "service_port", "request_uri", "uri", "hostname"}

// parseAuthURL refuses, with DENY, what no subrequest can be made of.
func parseAuthURL(s string) (string, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if scheme = strings.ToLower(scheme); !ok || scheme != "http" && scheme != "https" {
		return "", As(Deny, errors.New("it does not start with http:// or https://"))
	}
	authority := urlAuthority(rest)
	if authority == "" || strings.Contains(authority, "..") {
		return "", As(Deny, errors.New("it has no host"))
	}
	if _, err := expr.Parse(s); err != nil {
		return "", As(Deny, err)
	}
	p, err := expr.Parse(authority)
	if err != nil {
		return "", As(Deny, err)
	}
	for _, v := range p.Variables() {
		if !slices.Contains(authorityVariables, v) {
			return "", As(Deny, fmt.Errorf("the host depends on $%s, so a client could choose who judges it", v))
		}
	}
	if len(p.Variables()) == 0 {
		if u, err := url.Parse(scheme + "://" + authority); err != nil || u.Hostname() == "" || u.User != nil {
			return "", As(Deny, ErrSyntax)
		}
	}
	return s, nil
}

// urlAuthority is what follows "://" up to the path.
func urlAuthority(rest string) string {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i]
	}
	return rest
}

// parseCacheRules reads "200 202 10m, 401 1m".
func parseCacheRules(s string) (cacheRules, error) {
	var out cacheRules
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		var r access.CacheRule
		words := strings.Fields(item)
		for i, w := range words {
			if code, err := strconv.Atoi(w); err == nil && len(w) == 3 && i < len(words)-1 {
				r.Codes = append(r.Codes, code)
				continue
			}
			last := w[len(w)-1]
			d, err := ParseDuration(w)
			if err != nil || i != len(words)-1 || last >= '0' && last <= '9' {
				return nil, fmt.Errorf("%s is not statuses and a time with its unit", Quote(item))
			}
			r.For = d
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, ErrSyntax
	}
	return out, nil
}

// authService is the service the route asks: its own, or the ConfigMap's; nil for none. Where one is
// asked for that cannot be had the route is denied.
func authService(c *RouteContext) *access.External {
	url, ok := authURL.Get(c.Values)
	if ok {
		return ownService(c, url)
	}
	if text, there := c.Raw("auth-url"); there && text != "" {
		return nil // malformed: Parse has dealt with it
	}
	if on, _ := enableGlobalAuth.Get(c.Values); !on {
		return nil
	}
	return globalService(c)
}

func ownService(c *RouteContext, url string) *access.External {
	e := newService(c, url, "auth-url")
	e.Method, _ = authMethod.Get(c.Values)
	e.Redirect, _ = authRequestRedirect.Get(c.Values)
	e.AlwaysSetCookie, _ = authAlwaysSetCookie.Get(c.Values)
	names, _ := authResponseHeaders.Get(c.Values)
	e.Fields = endpointFields(c, "auth-response-headers", names)
	if signin, ok := authSignin.Get(c.Values); ok {
		param, _ := authSigninParam.Get(c.Values)
		e.SignIn = signInText(signin, param)
	}
	if key, ok := authCacheKey.Get(c.Values); ok && usableCacheKey(c, "auth-cache-key", key) {
		e.CacheKey = key
		rules, _ := authCacheDuration.Get(c.Values)
		e.CacheFor = rules
	}
	if ref, ok := authSetHeaders.Get(c.Values); ok {
		e.Set = serviceFields(c, ref)
	}
	authDirectives(c, e)
	return e
}

func newService(c *RouteContext, url, name string) *access.External {
	e := &access.External{URL: url, AllowLocal: c.Local}
	kind := c.PathType
	if kind == "" {
		kind = "Prefix"
	}
	// compat: a URL without a path asks for the name of nginx's location (reference/annotations.md 10.1).
	e.Path = "/_external-auth-" + base64.RawURLEncoding.EncodeToString([]byte(c.Path)) + "-" + kind
	if GlobalBool(c.Global, "use-forwarded-headers", false) && GlobalBool(c.Global, "compute-full-forwarded-for", false) {
		e.ForwardedFor = GlobalText(c.Global, "forwarded-for-header", "X-Forwarded-For")
	}
	_, rest, _ := strings.Cut(url, "://")
	if authority := urlAuthority(rest); c.Host == "_" &&
		(strings.Contains(authority, "$host") || strings.Contains(authority, "$http_host") || strings.Contains(authority, "$best_http_host")) {
		// The rule has no host, so the client's Host field is anything: it would name its own judge.
		c.Deny(name, diag.Diagnostic{
			Code:    diag.SecurityAdvice,
			Message: "the rule has no host, so with this URL a client chooses the service that judges it",
			Hint:    "give the rule a host, or write the service's name",
		})
	}
	return e
}

// signInText appends the parameter with the URL the client wanted.
func signInText(signin, param string) string {
	const wanted = "=$pass_access_scheme://$http_host$escaped_request_uri"
	u, err := url.Parse(signin)
	if err != nil || len(u.Query()) == 0 {
		return signin + "?" + param + wanted
	}
	if u.Query().Get(param) != "" {
		return signin
	}
	return signin + "&" + param + wanted
}

// endpointFields drops names only lintel itself may write.
func endpointFields(c *RouteContext, name string, names []string) []string {
	var out []string
	for _, n := range names {
		if FramingField(n) {
			c.Report(name, diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Warning, Effect: diag.Ignored,
				Message: n + " frames messages or names the host and cannot be copied", Hint: "remove it from the list",
			})
			continue
		}
		out = append(out, n)
	}
	return out
}

// usableCacheKey refuses keys that are the same for all clients (security.md S6.5).
func usableCacheKey(c *RouteContext, name, key string) bool {
	p, err := expr.Parse(key)
	if err != nil {
		return false
	}
	for _, v := range p.Variables() {
		switch {
		case v == "http_host":
		case strings.HasPrefix(v, "http_"), strings.HasPrefix(v, "cookie_"), strings.HasPrefix(v, "arg_"), strings.HasPrefix(v, "ssl_client_"),
			v == "remote_user", v == "remote_addr", v == "binary_remote_addr", v == "the_real_ip":
			return true
		}
	}
	c.Report(name, diag.Diagnostic{
		Code: diag.SecurityAdvice, Severity: diag.Warning, Effect: diag.Ignored,
		Message: Quote(key) + " is the same for all clients, so answers are not remembered: one client's would be given to all",
		Hint:    "put the credential into the key: $cookie_session, $http_authorization",
	})
	return false
}

// serviceFields reads the ConfigMap of auth-proxy-set-headers.
func serviceFields(c *RouteContext, ref Ref) []access.Field {
	const name = "auth-proxy-set-headers"
	ref, ok := resolve(c, name, "ConfigMap", ref)
	if !ok {
		return nil
	}
	data, ok := c.ConfigMap(ref.Namespace, ref.Name)
	if !ok {
		c.Deny(name, missingRef("ConfigMap", ref))
		return nil
	}
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []access.Field
	for _, k := range keys {
		v := strings.TrimSpace(data[k])
		if !customHeaderName.MatchString(k) || !ValidHeaderValue(v) {
			c.Deny(name, invalidRef("ConfigMap", ref, fmt.Sprintf("has the entry %s, which is no header field", Quote(k)),
				"names are letters, digits, - and _, values are on one line"))
			return nil
		}
		if FramingField(k) && !strings.EqualFold(k, "Host") {
			d := invalidRef("ConfigMap", ref, "sets "+k+", which frames messages and cannot be set", "remove the entry")
			d.Severity, d.Effect = diag.Warning, diag.Ignored
			c.Report(name, d)
			continue
		}
		if _, unknown := expr.ParseLoose(v); len(unknown) > 0 {
			d := invalidRef("ConfigMap", ref, fmt.Sprintf("entry %s: %v; it is sent as written", k, unknown[0]), "correct the name of the variable")
			d.Severity = diag.Warning
			c.Report(name, d)
		}
		out = append(out, access.Field{Name: k, Value: v})
	}
	return out
}

// globalService is the service of the ConfigMap. One that cannot be read denies the route: in the
// original it is ignored, and all hosts are open (security.md R10).
func globalService(c *RouteContext) *access.External {
	text := GlobalText(c.Global, "global-auth-url", "")
	if text == "" {
		return nil
	}
	broken := func(key string, err error) *access.External {
		what := "cannot be used"
		if err != nil && !errors.Is(err, ErrSyntax) {
			what += ": " + err.Error()
		}
		c.Deny("enable-global-auth", diag.Diagnostic{
			Code: diag.ConfigMapValue, Value: Clip(GlobalText(c.Global, key, "")),
			Message: fmt.Sprintf("%s of the controller's ConfigMap %s", key, what),
			Hint:    "correct the ConfigMap; until then the Ingress answers 503",
		})
		return nil
	}
	url, err := authURL.spec.Grammar.Parse(text)
	if err != nil {
		return broken("global-auth-url", err)
	}
	e := newService(c, url, "enable-global-auth")
	e.Method = globalOr(c, authMethod, "global-auth-method")
	e.Redirect = globalOr(c, authRequestRedirect, "global-auth-request-redirect")
	e.AlwaysSetCookie = GlobalBool(c.Global, "global-auth-always-set-cookie", false)
	if text := GlobalText(c.Global, "global-auth-response-headers", ""); text != "" {
		names, err := authResponseHeaders.spec.Grammar.Parse(text)
		if err != nil {
			return broken("global-auth-response-headers", err)
		}
		e.Fields = endpointFields(c, "enable-global-auth", names)
	}
	if signin := globalOr(c, authSignin, "global-auth-signin"); signin != "" {
		e.SignIn = signInText(signin, globalOr(c, authSigninParam, "global-auth-signin-redirect-param"))
	}
	if key := globalOr(c, authCacheKey, "global-auth-cache-key"); key != "" && usableCacheKey(c, "enable-global-auth", key) {
		e.CacheKey, e.CacheFor = key, authCacheDuration.spec.Default
		if text := GlobalText(c.Global, "global-auth-cache-duration", ""); text != "" {
			rules, err := authCacheDuration.spec.Grammar.Parse(text)
			if err != nil {
				return broken("global-auth-cache-duration", err)
			}
			e.CacheFor = rules
		}
	}
	return e
}

// globalOr reads a ConfigMap key with the grammar of an annotation; what it refuses has been reported with
// the ConfigMap and counts as not set.
func globalOr(c *RouteContext, k Key[string], key string) string {
	if text := GlobalText(c.Global, key, ""); text != "" {
		if v, err := k.spec.Grammar.Parse(text); err == nil {
			return v
		}
	}
	return k.spec.Default
}
