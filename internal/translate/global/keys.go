package global

import (
	"crypto/tls"
	"math"
	"net/netip"
	"time"

	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// The sections of the reference page.
const (
	groupSecurity  = "Policy for annotations"
	groupHeaders   = "Fields and who the client is"
	groupLogs      = "Logs"
	groupClient    = "Clients: limits and protocol"
	groupUpstream  = "Endpoints"
	groupRedirects = "Redirects"
	groupTLS       = "TLS"
	groupCompress  = "Compression"
	groupAuth      = "External authentication"
	groupObserve   = "Firewall, location, tracing"
	groupStreams   = "TCP and UDP"
	groupProcess   = "Listeners and process"
	groupSnippets  = "Snippets"
	groupAlone     = "Keys without a global effect"
)

var groups = []string{
	groupSecurity, groupHeaders, groupLogs, groupClient, groupUpstream, groupRedirects, groupTLS, groupCompress,
	groupAuth, groupObserve, groupStreams, groupProcess, groupSnippets, groupAlone,
}

// DefaultLogFormat is ingress-nginx's log-format-upstream.
const DefaultLogFormat = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id`

func boolean(group, name string, otherwise bool, doc string) Key[bool] {
	return declare(Spec[bool]{Name: name, Group: group, Grammar: annotation.Bool, Default: otherwise, Doc: doc})
}

// Policy for annotations. package translate reads these; here they are checked.
var (
	_ = boolean(groupSecurity, "allow-snippet-annotations", false,
		"Whether the *-snippet annotations are read. They need annotations-risk-level: Critical, too.")
	_ = declare(Spec[annotation.Risk]{
		Name: "annotations-risk-level", Group: groupSecurity, Default: annotation.High,
		Grammar: annotation.Grammar[annotation.Risk]{
			Syntax: "Low, Medium, High or Critical",
			Hint:   "it counts as Low, so that almost every annotation is refused",
			Parse: func(s string) (annotation.Risk, error) {
				r, ok := annotation.ParseRisk(s)
				if !ok {
					return r, annotation.ErrSyntax
				}
				return r, nil
			},
		},
		Doc: "The highest risk an annotation may have. An Ingress with a riskier one is not accepted; its last accepted revision serves on.",
	})
	_ = declare(Spec[[]string]{
		Name: "annotation-value-word-blocklist", Group: groupSecurity, Grammar: list, Shown: "(none)",
		Doc: "Words no annotation value may contain. An Ingress with one is not accepted.",
	})
	_ = boolean(groupSecurity, "allow-cross-namespace-resources", false,
		"Whether annotations may name Secrets and ConfigMaps of other namespaces.")
	allowedHeaders = declare(Spec[[]string]{
		Name: "global-allowed-response-headers", Group: groupSecurity, Grammar: list, Shown: "(none)",
		Doc: "The fields the annotation custom-headers may set.",
	})
)

// Fields and who the client is.
var (
	addHeaders = declare(Spec[string]{
		Name: "add-headers", Group: groupHeaders, Grammar: text, Shown: "(none)",
		Doc: "A ConfigMap, namespace/name, whose entries are set on every response, error pages and redirects included. What a route sets itself wins.",
	})
	proxySetHeaders = declare(Spec[string]{
		Name: "proxy-set-headers", Group: groupHeaders, Grammar: text, Shown: "(none)",
		Doc: "A ConfigMap, namespace/name, whose entries are set on requests to endpoints, after lintel's own fields. Values may hold $variables; an empty one removes the field.",
	})
	hideHeaders = declare(Spec[[]string]{
		Name: "hide-headers", Group: groupHeaders, Grammar: list, Shown: "(none)",
		Doc: "Fields that are taken out of endpoints' responses.",
	})
	serverTokens = boolean(groupHeaders, "server-tokens", false, "Whether responses carry a Server field.")
	allowServer  = boolean(groupHeaders, "allow-backend-server-header", false, "Whether an endpoint's Server field is passed on.")
	useForwarded = boolean(groupHeaders, "use-forwarded-headers", false,
		"Whether X-Forwarded-For, -Proto, -Host and -Port of clients are believed. Name the proxies in front in proxy-real-ip-cidr, or every client chooses its own address.")
	enableRealIP = boolean(groupHeaders, "enable-real-ip", false,
		"Whether the client's address is read from forwarded-for-header, without believing the other fields.")
	forHeader = declare(Spec[string]{
		Name: "forwarded-for-header", Group: groupHeaders, Grammar: headerName, Default: "X-Forwarded-For",
		Doc: "The field the client's address is read from.",
	})
	_ = declare(Spec[string]{
		Name: "forwarded-host-header", Group: groupHeaders, Grammar: headerName, Default: "X-Forwarded-Host",
		Doc: "The field X-Original-Forwarded-Host is made of.",
	})
	_ = boolean(groupHeaders, "compute-full-forwarded-for", false,
		"Whether X-Forwarded-For is the chain the client sent with the peer's address behind it, instead of the client's address alone. Needs use-forwarded-headers.")
	trusted = declare(Spec[[]string]{
		Name: "proxy-real-ip-cidr", Group: groupHeaders, Grammar: networkList, Default: []string{"0.0.0.0/0"}, Shown: "0.0.0.0/0",
		Doc: "The networks of the proxies in front. The default believes every IPv4 address. An item that cannot be read is left out, so that fewer are believed, not more.",
	})
	useProxyProtocol = boolean(groupHeaders, "use-proxy-protocol", false,
		"Whether connections begin with a PROXY header (version 1 or 2). Connections without one are closed.")
	proxyProtocolTimeout = declare(Spec[time.Duration]{
		Name: "proxy-protocol-header-timeout", Group: groupHeaders, Grammar: goDuration, Default: 5 * time.Second,
		Doc: "How long lintel waits for the PROXY header.",
	})
	_           = boolean(groupHeaders, "proxy-add-original-uri-header", false, "Whether endpoints get X-Original-URI, the request target as sent.")
	generateID  = boolean(groupHeaders, "generate-request-id", true, "Whether requests without X-Request-ID get one.")
	underscores = boolean(groupHeaders, "enable-underscores-in-headers", false, "Whether request fields with _ in their name are kept.")
	dropInvalid = boolean(groupHeaders, "ignore-invalid-headers", true, "Whether request fields with other than the usual letters in their name are dropped.")
)

// Logs.
var (
	accessLogPath = declare(Spec[string]{
		Name: "access-log-path", Group: groupLogs, Grammar: text, Default: "/var/log/nginx/access.log",
		Doc: "The file of the access log. The default means standard output.",
	})
	httpLogPath = declare(Spec[string]{
		Name: "http-access-log-path", Group: groupLogs, Grammar: text, Shown: "(access-log-path)",
		Doc: "The file of the HTTP access log, where it differs from access-log-path.",
	})
	noLog      = boolean(groupLogs, "disable-access-log", false, "Whether the access log is off.")
	noHTTPLog  = boolean(groupLogs, "disable-http-access-log", false, "Whether the HTTP access log is off.")
	logDefault = boolean(groupLogs, "enable-access-log-for-default-backend", false, "Whether requests to the default backend are logged.")
	skipURLs   = declare(Spec[[]string]{
		Name: "skip-access-log-urls", Group: groupLogs, Grammar: list, Shown: "(none)",
		Doc: "Request targets that are not logged: exact, or a regular expression behind ~.",
	})
	logFormat = declare(Spec[string]{
		Name: "log-format-upstream", Group: groupLogs, Grammar: text, Default: DefaultLogFormat,
		Doc: "The line of the access log. $variables are replaced.",
	})
	logJSON = boolean(groupLogs, "log-format-escape-json", false, "Whether values are escaped for JSON strings.")
	logNone = boolean(groupLogs, "log-format-escape-none", false, "Whether values are not escaped; line breaks still are. It wins over log-format-escape-json.")
)

// Clients: limits and protocol.
var (
	headerBuffers = declare(Spec[buffers]{
		Name: "large-client-header-buffers", Group: groupClient, Grammar: bufferPair, Default: buffers{4, 8 << 10},
		Doc: "How large request heads may be: no line longer than one buffer (414, 400), nor all together than all buffers (400).",
	})
	headerTimeout = declare(Spec[time.Duration]{
		Name: "client-header-timeout", Group: groupClient, Grammar: seconds, Default: time.Minute, Shown: "60",
		Doc: "How long a request head may take (408).",
	})
	bodyTimeout = declare(Spec[time.Duration]{
		Name: "client-body-timeout", Group: groupClient, Grammar: seconds, Default: time.Minute, Shown: "60",
		Doc: "How long a client may pause in a request body (408).",
	})
	keepAlive = declare(Spec[time.Duration]{
		Name: "keep-alive", Group: groupClient, Grammar: seconds, Default: 75 * time.Second, Shown: "75",
		Doc: "How long an idle connection stays open; 0 closes HTTP/1 connections after each response.",
	})
	keepAliveRequests = declare(Spec[int]{
		Name: "keep-alive-requests", Group: groupClient, Grammar: integer(0, math.MaxInt32), Default: 1000,
		Doc: "How many requests a connection may carry.",
	})
	useHTTP2 = boolean(groupClient, "use-http2", true, "Whether HTTP/2 is offered.")
	streams  = declare(Spec[int]{
		Name: "http2-max-concurrent-streams", Group: groupClient, Grammar: integer(1, math.MaxInt32), Default: 128,
		Doc: "How many streams an HTTP/2 connection may have open.",
	})
	_ = declare(Spec[int]{
		Name: "limit-req-status-code", Group: groupClient, Grammar: annotation.Status(400, 599), Default: 503,
		Doc: "The status of requests over limit-rps or limit-rpm.",
	})
	_ = declare(Spec[int]{
		Name: "limit-conn-status-code", Group: groupClient, Grammar: annotation.Status(400, 599), Default: 503,
		Doc: "The status of requests over limit-connections.",
	})
	_ = declare(Spec[string]{
		Name: "limit-conn-zone-variable", Group: groupClient, Grammar: annotation.Expr(text), Default: "$binary_remote_addr",
		Doc: "What limits count by.",
	})
	blockCIDRs = declare(Spec[[]string]{
		Name: "block-cidrs", Group: groupClient, Grammar: list, Shown: "(none)",
		Doc: "Networks that get 403 everywhere.",
	})
	blockAgents = declare(Spec[[]string]{
		Name: "block-user-agents", Group: groupClient, Grammar: list, Shown: "(none)",
		Doc: "User agents that get 403 everywhere: exact without case, or a regular expression behind ~ or, without case, ~*.",
	})
	blockReferers = declare(Spec[[]string]{
		Name: "block-referers", Group: groupClient, Grammar: list, Shown: "(none)",
		Doc: "Referers that get 403 everywhere, written as in block-user-agents.",
	})
)

// Endpoints.
var (
	upstreamKeepAlive = declare(Spec[int]{
		Name: "upstream-keepalive-connections", Group: groupUpstream, Grammar: integer(0, math.MaxInt32), Default: 320,
		Doc: "How many idle connections to endpoints are kept; 0 closes each after its response.",
	})
	upstreamAge = declare(Spec[time.Duration]{
		Name: "upstream-keepalive-time", Group: groupUpstream, Grammar: annotation.Duration, Default: time.Hour, Shown: "1h",
		Doc: "How old a connection to an endpoint may become.",
	})
	upstreamIdle = declare(Spec[time.Duration]{
		Name: "upstream-keepalive-timeout", Group: groupUpstream, Grammar: seconds, Default: time.Minute, Shown: "60",
		Doc: "How long an idle connection to an endpoint is kept.",
	})
	upstreamRequests = declare(Spec[int]{
		Name: "upstream-keepalive-requests", Group: groupUpstream, Grammar: integer(1, math.MaxInt32), Default: 10000,
		Doc: "How many requests a connection to an endpoint may carry.",
	})
	_ = boolean(groupUpstream, "retry-non-idempotent", false, "Whether POST, LOCK and PATCH are retried as others.")
)

// Redirects.
var (
	_ = declare(Spec[int]{
		Name: "http-redirect-code", Group: groupRedirects, Grammar: redirectCode, Default: 308,
		Doc: "The status of redirects to HTTPS and between www and not.",
	})
	_ = declare(Spec[[]string]{
		Name: "no-tls-redirect-locations", Group: groupRedirects, Grammar: list, Default: []string{"/.well-known/acme-challenge"}, Shown: "/.well-known/acme-challenge",
		Doc: "Paths of Ingresses that are never redirected to HTTPS, with what is below them.",
	})
)

// TLS.
var (
	sslProtocols = declare(Spec[versions]{
		Name: "ssl-protocols", Group: groupTLS, Grammar: tlsVersions, Default: versions{low: tls.VersionTLS12, high: tls.VersionTLS13}, Shown: "TLSv1.2 TLSv1.3",
		Doc: "The TLS versions clients may use.",
	})
	sslCiphers = declare(Spec[string]{
		Name: "ssl-ciphers", Group: groupTLS, Grammar: text, Shown: "(ECDHE with AES-GCM or ChaCha20)",
		Doc: "The cipher suites of TLS 1.2, as OpenSSL names them. Names Go does not know are left out.",
	})
	sessionCache   = boolean(groupTLS, "ssl-session-cache", true, "Whether TLS sessions can be resumed. lintel does it with tickets.")
	sessionTickets = boolean(groupTLS, "ssl-session-tickets", false, "Whether TLS sessions can be resumed with tickets. Either this or ssl-session-cache is enough.")
	sessionKey     = declare(Spec[[]byte]{
		Name: "ssl-session-ticket-key", Group: groupTLS, Grammar: ticketKey, Shown: "(random)",
		Doc: "The key of TLS session tickets, for several replicas to share.",
	})
	rejectHandshake = boolean(groupTLS, "ssl-reject-handshake", false, "Whether handshakes for unknown names are refused instead of getting the default certificate.")
	_               = boolean(groupTLS, "hsts", true, "Whether responses over TLS carry Strict-Transport-Security.")
	_               = declare(Spec[int64]{
		Name: "hsts-max-age", Group: groupTLS, Grammar: count, Default: 31536000,
		Doc: "max-age of Strict-Transport-Security in seconds.",
	})
	_ = boolean(groupTLS, "hsts-include-subdomains", true, "Whether Strict-Transport-Security includes subdomains.")
	_ = boolean(groupTLS, "hsts-preload", false, "Whether Strict-Transport-Security has preload.")
)

// Compression.
var (
	useGzip   = boolean(groupCompress, "use-gzip", false, "Whether responses are compressed with gzip.")
	gzipLevel = declare(Spec[int]{
		Name: "gzip-level", Group: groupCompress, Grammar: integer(1, 9), Default: 1,
		Doc: "How hard gzip tries.",
	})
	gzipMin = declare(Spec[int]{
		Name: "gzip-min-length", Group: groupCompress, Grammar: integer(0, math.MaxInt32), Default: 256,
		Doc: "The smallest content length that is compressed.",
	})
	gzipTypes = declare(Spec[[]string]{
		Name: "gzip-types", Group: groupCompress, Grammar: words, Default: defaultTypes, Shown: "(17 types)",
		Doc: "The content types that are compressed besides text/html; * for all.",
	})
	gzipDisable = declare(Spec[string]{
		Name: "gzip-disable", Group: groupCompress, Grammar: regex, Shown: "(none)",
		Doc: "User agents that get no gzip.",
	})
)

var defaultTypes = []string{
	"application/atom+xml", "application/javascript", "application/x-javascript", "application/json", "application/rss+xml",
	"application/vnd.ms-fontobject", "application/x-font-ttf", "application/x-web-app-manifest+json", "application/xhtml+xml",
	"application/xml", "font/opentype", "image/svg+xml", "image/x-icon", "text/css", "text/javascript", "text/plain", "text/x-component",
}

// Listeners and process.
var (
	statusAllow4 = declare(Spec[filter.Prefixes]{
		Name: "nginx-status-ipv4-whitelist", Group: groupProcess, Grammar: networks, Shown: "127.0.0.1",
		Default: filter.Prefixes{netip.MustParsePrefix("127.0.0.1/32")},
		Doc:     "Who may read /nginx_status of unknown hosts.",
	})
	statusAllow6 = declare(Spec[filter.Prefixes]{
		Name: "nginx-status-ipv6-whitelist", Group: groupProcess, Grammar: networks, Shown: "::1",
		Default: filter.Prefixes{netip.MustParsePrefix("::1/128")},
		Doc:     "Who may read /nginx_status of unknown hosts.",
	})
	workerShutdown = declare(Spec[time.Duration]{
		Name: "worker-shutdown-timeout", Group: groupProcess, Grammar: annotation.Duration, Default: 240 * time.Second, Shown: "240s",
		Doc: "How long requests in flight may take to finish after lintel was told to stop.",
	})
)

// External authentication of all routes. The annotations' feature reads these; here they are checked.
var (
	_ = declare(Spec[string]{Name: "global-auth-url", Group: groupAuth, Grammar: annotation.URLVars, Shown: "(none)",
		Doc: "auth-url of every route that has none, unless enable-global-auth is false. An invalid value turns these routes off (503)."})
	_ = declare(Spec[string]{Name: "global-auth-method", Group: groupAuth, Shown: "(GET)",
		Grammar: annotation.Enum("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"),
		Doc:     "auth-method of global-auth-url."})
	_ = declare(Spec[string]{Name: "global-auth-signin", Group: groupAuth, Grammar: annotation.URLVars, Shown: "(none)",
		Doc: "auth-signin of global-auth-url."})
	_ = declare(Spec[string]{Name: "global-auth-signin-redirect-param", Group: groupAuth, Grammar: annotation.URLText, Default: "rd",
		Doc: "auth-signin-redirect-param of global-auth-url."})
	_ = declare(Spec[[]string]{Name: "global-auth-response-headers", Group: groupAuth, Grammar: annotation.HeaderNames, Shown: "(none)",
		Doc: "auth-response-headers of global-auth-url."})
	_ = declare(Spec[string]{Name: "global-auth-request-redirect", Group: groupAuth, Grammar: annotation.URLText, Shown: "(none)",
		Doc: "auth-request-redirect of global-auth-url."})
	_ = declare(Spec[string]{Name: "global-auth-cache-key", Group: groupAuth, Grammar: annotation.Expr(text), Shown: "(none)",
		Doc: "auth-cache-key of global-auth-url."})
	_ = declare(Spec[string]{Name: "global-auth-cache-duration", Group: groupAuth, Grammar: text, Default: "200 202 401 5m",
		Doc: "auth-cache-duration of global-auth-url."})
	_ = boolean(groupAuth, "global-auth-always-set-cookie", false, "auth-always-set-cookie of global-auth-url.")
	_ = declare(Spec[[]string]{Name: "no-auth-locations", Group: groupAuth, Grammar: list, Shown: "/.well-known/acme-challenge",
		Doc: "Paths without authentication, with what is below them."})
)
