package global

import (
	"maps"
	"slices"
	"strings"
)

// annotationDefaults are the keys that are the default of an annotation. Grammar and text come from there.
var annotationDefaults = []Info{
	{Name: "client-body-buffer-size", Group: groupClient, Default: "8k"},
	{Name: "proxy-body-size", Group: groupClient, Default: "1m"},
	{Name: "limit-rate", Group: groupClient, Default: "0"},
	{Name: "limit-rate-after", Group: groupClient, Default: "0"},
	{Name: "denylist-source-range", Group: groupClient, Default: "(none)"},
	{Name: "whitelist-source-range", Group: groupClient, Default: "(none)"},
	{Name: "proxy-connect-timeout", Group: groupUpstream, Default: "5"},
	{Name: "proxy-read-timeout", Group: groupUpstream, Default: "60"},
	{Name: "proxy-send-timeout", Group: groupUpstream, Default: "60"},
	{Name: "proxy-http-version", Group: groupUpstream, Default: "1.1"},
	{Name: "proxy-request-buffering", Group: groupUpstream, Default: "on"},
	{Name: "proxy-buffering", Group: groupUpstream, Default: "off"},
	{Name: "proxy-buffer-size", Group: groupUpstream, Default: "4k"},
	{Name: "proxy-buffers-number", Group: groupUpstream, Default: "4"},
	{Name: "proxy-busy-buffers-size", Group: groupUpstream, Default: "(none)"},
	{Name: "proxy-max-temp-file-size", Group: groupUpstream, Default: "1024m"},
	{Name: "proxy-next-upstream", Group: groupUpstream, Default: "error timeout"},
	{Name: "proxy-next-upstream-tries", Group: groupUpstream, Default: "3"},
	{Name: "proxy-next-upstream-timeout", Group: groupUpstream, Default: "0"},
	{Name: "proxy-redirect-from", Group: groupUpstream, Default: "off"},
	{Name: "proxy-redirect-to", Group: groupUpstream, Default: "off"},
	{Name: "proxy-cookie-domain", Group: groupUpstream, Default: "off"},
	{Name: "proxy-cookie-path", Group: groupUpstream, Default: "off"},
	{Name: "load-balance", Group: groupUpstream, Default: "round_robin"},
	{Name: "service-upstream", Group: groupUpstream, Default: "false"},
	{Name: "custom-http-errors", Group: groupUpstream, Default: "(none)"},
	{Name: "disable-proxy-intercept-errors", Group: groupUpstream, Default: "false"},
	{Name: "ssl-redirect", Group: groupRedirects, Default: "true"},
	{Name: "force-ssl-redirect", Group: groupRedirects, Default: "false"},
	{Name: "preserve-trailing-slash", Group: groupRedirects, Default: "false"},
	{Name: "use-port-in-redirects", Group: groupRedirects, Default: "false"},
	{Name: "relative-redirects", Group: groupRedirects, Default: "false"},
	{Name: "enable-modsecurity", Group: groupObserve, Default: "false"},
	{Name: "enable-owasp-modsecurity-crs", Group: groupObserve, Default: "false"},
	{Name: "enable-opentelemetry", Group: groupObserve, Default: "false"},
	{Name: "opentelemetry-trust-incoming-span", Group: groupObserve, Default: "true"},
	{Name: "opentelemetry-operation-name", Group: groupObserve, Default: "(none)"},
}

// laterKeys are known and not implemented yet.
var laterKeys = []Info{
	{Name: "strict-validate-path-type", Group: groupSecurity, Default: "true", Doc: "Whether the admission webhook refuses paths that are no plain paths."},
	{Name: "stream-access-log-path", Group: groupLogs, Default: "(access-log-path)", Doc: "The file of the TCP and UDP access log."},
	{Name: "access-log-params", Group: groupLogs, Default: "(none)", Doc: "Options of the access log."},
	{Name: "disable-stream-access-log", Group: groupLogs, Default: "false", Doc: "Whether the TCP and UDP access log is off."},
	{Name: "enable-auth-access-log", Group: groupLogs, Default: "false", Doc: "Whether requests to auth-url are logged, too."},
	{Name: "log-format-stream", Group: groupLogs, Default: "(TCP and UDP format)", Doc: "The line of the TCP and UDP access log."},
	{Name: "enable-syslog", Group: groupLogs, Default: "false", Doc: "Whether logs go to a syslog server."},
	{Name: "syslog-host", Group: groupLogs, Default: "(none)", Doc: "The syslog server."},
	{Name: "syslog-port", Group: groupLogs, Default: "514", Doc: "Its UDP port."},
	{Name: "error-log-path", Group: groupLogs, Default: "/var/log/nginx/error.log", Doc: "The file of the error log."},
	{Name: "error-log-level", Group: groupLogs, Default: "notice", Doc: "The least severe level that is logged."},
	{Name: "debug-connections", Group: groupLogs, Default: "(none)", Doc: "Clients whose requests are logged in detail."},
	{Name: "default-type", Group: groupUpstream, Default: "text/html", Doc: "The content type of what lintel makes itself and has none."},
	{Name: "ssl-ecdh-curve", Group: groupTLS, Default: "auto", Doc: "The groups of the key exchange."},
	{Name: "ssl-session-timeout", Group: groupTLS, Default: "10m", Doc: "How long a TLS session can be resumed."},
	{Name: "enable-ocsp", Group: groupTLS, Default: "false", Doc: "Whether OCSP answers are stapled."},
	{Name: "enable-brotli", Group: groupCompress, Default: "false", Doc: "Whether responses are compressed with Brotli."},
	{Name: "brotli-level", Group: groupCompress, Default: "4", Doc: "How hard Brotli tries."},
	{Name: "brotli-min-length", Group: groupCompress, Default: "20", Doc: "The smallest content length that is compressed."},
	{Name: "brotli-types", Group: groupCompress, Default: "(18 types)", Doc: "The content types that are compressed."},
	{Name: "modsecurity-snippet", Group: groupObserve, Default: "(none)", Doc: "Rules of the web application firewall."},
	{Name: "use-geoip2", Group: groupObserve, Default: "false", Doc: "Whether MaxMind databases are read."},
	{Name: "geoip2-autoreload-in-minutes", Group: groupObserve, Default: "0", Doc: "How often they are read again."},
	{Name: "otlp-collector-host", Group: groupObserve, Default: "(none)", Doc: "Where traces are sent."},
	{Name: "otlp-collector-port", Group: groupObserve, Default: "4317", Doc: "Its port."},
	{Name: "otel-service-name", Group: groupObserve, Default: "nginx", Doc: "service.name of traces."},
	{Name: "otel-sampler", Group: groupObserve, Default: "AlwaysOn", Doc: "Which requests are traced."},
	{Name: "otel-sampler-ratio", Group: groupObserve, Default: "0.01", Doc: "The share of requests that are traced."},
	{Name: "otel-sampler-parent-based", Group: groupObserve, Default: "true", Doc: "Whether a client decides about tracing."},
	{Name: "otel-max-queuesize", Group: groupObserve, Default: "2048", Doc: "How many spans may wait."},
	{Name: "otel-schedule-delay-millis", Group: groupObserve, Default: "5000", Doc: "How long spans are gathered."},
	{Name: "otel-max-export-batch-size", Group: groupObserve, Default: "512", Doc: "How many spans are sent at once."},
	{Name: "proxy-stream-timeout", Group: groupStreams, Default: "600s", Doc: "How long a TCP or UDP session may be idle."},
	{Name: "proxy-stream-next-upstream", Group: groupStreams, Default: "true", Doc: "Whether another endpoint is tried when one cannot be reached."},
	{Name: "proxy-stream-next-upstream-timeout", Group: groupStreams, Default: "600s", Doc: "How long endpoints are tried."},
	{Name: "proxy-stream-next-upstream-tries", Group: groupStreams, Default: "3", Doc: "How many endpoints are tried."},
	{Name: "proxy-stream-responses", Group: groupStreams, Default: "1", Doc: "How many datagrams answer one."},
	{Name: "bind-address", Group: groupProcess, Default: "(all)", Doc: "The addresses lintel listens on."},
	{Name: "disable-ipv6", Group: groupProcess, Default: "false", Doc: "Whether lintel does not listen on IPv6."},
	{Name: "disable-ipv6-dns", Group: groupProcess, Default: "false", Doc: "Whether names are not looked up for IPv6 addresses."},
	{Name: "worker-processes", Group: groupProcess, Default: "auto", Doc: "How many processors lintel uses."},
	{Name: "max-worker-connections", Group: groupProcess, Default: "16384", Doc: "How many connections lintel accepts."},
	{Name: "server-snippet", Group: groupSnippets, Default: "(none)", Doc: "Directives for every host."},
	{Name: "location-snippet", Group: groupSnippets, Default: "(none)", Doc: "Directives for every route."},
}

// noEffectKeys need nothing doing; Doc says why.
var noEffectKeys = []Info{
	{Name: "forwarded-for-proxy-protocol-header", Group: groupHeaders, Doc: "it was internal to the original"},
	{Name: "client-header-buffer-size", Group: groupClient, Doc: "buffers grow as needed; large-client-header-buffers limits them"},
	{Name: "http2-max-field-size", Group: groupClient, Doc: "nginx ignores it since 1.19.7; use large-client-header-buffers"},
	{Name: "http2-max-header-size", Group: groupClient, Doc: "nginx ignores it since 1.19.7; use large-client-header-buffers"},
	{Name: "http2-max-requests", Group: groupClient, Doc: "nginx ignores it since 1.19.7; use keep-alive-requests"},
	{Name: "grpc-buffer-size-kb", Group: groupUpstream, Doc: "buffers grow as needed"},
	{Name: "proxy-ssl-location-only", Group: groupUpstream, Doc: "in lintel proxy-ssl-* always belong to the route"},
	{Name: "ssl-dh-param", Group: groupTLS, Doc: "lintel offers no DHE suites"},
	{Name: "ssl-session-cache-size", Group: groupTLS, Doc: "sessions are resumed with tickets, which need no cache"},
	{Name: "ssl-buffer-size", Group: groupTLS, Doc: "records are sized as the connection goes"},
	{Name: "global-external-auth", Group: groupAuth, Doc: "it was internal to the original; use global-auth-url"},
	{Name: "use-geoip", Group: groupObserve, Doc: "it was removed; use use-geoip2"},
	{Name: "opentelemetry-config", Group: groupObserve, Doc: "lintel needs no file for tracing"},
	{Name: "jaeger-collector-host", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-collector-port", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-endpoint", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-service-name", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-propagation-format", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-sampler-type", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-sampler-param", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-sampler-host", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-sampler-port", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-trace-context-header-name", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-debug-header", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-baggage-header", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-trace-baggage-header-prefix", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "jaeger-tracer-baggage-header-prefix", Group: groupObserve, Doc: "OpenTracing was removed; use enable-opentelemetry and the otlp-* keys"},
	{Name: "bind-address-ipv4", Group: groupProcess, Doc: "it was internal to the original; use bind-address"},
	{Name: "bind-address-ipv6", Group: groupProcess, Doc: "it was internal to the original; use bind-address"},
	{Name: "resolver", Group: groupProcess, Doc: "name servers come from /etc/resolv.conf"},
	{Name: "worker-cpu-affinity", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "max-worker-open-files", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "enable-serial-reloads", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "enable-multi-accept", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "reuse-port", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "enable-aio-write", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "map-hash-bucket-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "server-name-hash-max-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "server-name-hash-bucket-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "proxy-headers-hash-max-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "proxy-headers-hash-bucket-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "variables-hash-bucket-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "variables-hash-max-size", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "lua-shared-dicts", Group: groupProcess, Doc: "lintel has nothing that it would tune"},
	{Name: "app-root", Group: groupAlone, Doc: "only the annotation of this name counts"},
	{Name: "upstream-hash-by", Group: groupAlone, Doc: "only the annotation of this name counts"},
	{Name: "upstream-hash-by-subset", Group: groupAlone, Doc: "only the annotation of this name counts"},
	{Name: "upstream-hash-by-subset-size", Group: groupAlone, Doc: "only the annotation of this name counts"},
}

// refusedKeys are never applied; Doc says why.
var refusedKeys = []Info{
	{Name: "ssl-early-data", Group: groupTLS, Default: "false", Doc: "0-RTT requests can be replayed"},
	{Name: "global-auth-snippet", Group: groupAuth, Default: "(none)", Doc: "lintel runs no directives for all authentication requests"},
	{Name: "main-snippet", Group: groupSnippets, Default: "(none)", Doc: "there is no nginx to configure"},
	{Name: "http-snippet", Group: groupSnippets, Default: "(none)", Doc: "there is no nginx to configure; for map, limit_req_zone and log_format see the annotations upstream-hash-by, limit-rps and the key log-format-upstream"},
	{Name: "stream-snippet", Group: groupSnippets, Default: "(none)", Doc: "there is no nginx to configure"},
}

var _ = declareTables()

func declareTables() struct{} {
	for _, t := range []struct {
		list    []Info
		verdict Verdict
	}{{annotationDefaults, Implemented}, {laterKeys, Later}, {noEffectKeys, NoEffect}, {refusedKeys, Refused}} {
		for _, i := range t.list {
			i.Verdict = t.verdict
			add(&entry{Info: i})
		}
	}
	return struct{}{}
}

// removedKeys are keys the original once had, and what to use instead.
var removedKeys = map[string]string{
	"body-size":                     "proxy-body-size",
	"use-brotli":                    "enable-brotli",
	"enable-snippet-directives":     "allow-snippet-annotations",
	"disable-pathtype-validation":   "strict-validate-path-type",
	"enable-pathtype-validation":    "strict-validate-path-type",
	"path-additional-allowed-chars": "strict-validate-path-type",
	"real-client-from":              "use-forwarded-headers",
	"proxy-buffer-number":           "proxy-buffers-number",
	"proxy-pass-params":             "",
	"enable-opentracing":            "enable-opentelemetry",
	"enable-vts-status":             "the metrics endpoint",
	"upstream-max-fails":            "",
	"upstream-fail-timeout":         "",
	"enable-sticky-sessions":        "the annotation affinity",
	"enable-dynamic-tls-records":    "",
	"enable-spdy":                   "use-http2",
	"enable-influxdb":               "the metrics endpoint",
	"disable-lua-resty-waf":         "",
	"plugins":                       "",
	"global-rate-limit-status-code": "limit-req-status-code",
}

var removedPrefixes = []struct{ prefix, instead string }{
	{"opentracing-", "enable-opentelemetry"},
	{"zipkin-", "enable-opentelemetry"},
	{"datadog-", "enable-opentelemetry"},
	{"global-rate-limit-memcached-", "the annotations limit-rps and limit-rpm"},
	{"vts-", "the metrics endpoint"},
	{"lua-resty-waf", "enable-modsecurity"},
}

// successor reports whether the original once had a key, and what to use instead.
func successor(name string) (string, bool) {
	if s, ok := removedKeys[name]; ok {
		return s, true
	}
	for _, p := range removedPrefixes {
		if strings.HasPrefix(name, p.prefix) {
			return p.instead, true
		}
	}
	return "", false
}

func sortedRemoved() []string { return slices.Sorted(maps.Keys(removedKeys)) }
