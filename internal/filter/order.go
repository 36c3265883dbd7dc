package filter

// Order is the one list that gives filters their place: top to bottom for
// requests and for Upstream, bottom to top for responses. It follows nginx's
// phases (reference/annotations.md 4). A filter that is not in it cannot be built.
var Order = []string{
	// Global, before a host is looked at.
	"real-ip",    // client address, effective scheme, host, port
	"request-id", //
	"block",      // block-user-agents, block-referers, block-cidrs
	// Host: server stage.
	"client-cert",    // auth-tls policy, match-cn
	"server-snippet", //
	"host-redirect",  // from-to-www
	"app-root",       //
	// Route: location stage.
	"slash-redirect",   // 301 /foo -> /foo/
	"body-limit",       // 413 by Content-Length
	"deny",             // 503 of a denied route
	"hsts",             // response only
	"error-pages",      // marker only; the data plane reads it
	"snippet-response", // response fields of configuration-snippet: after cors, custom-headers, add-headers
	"add-headers",      // response: ConfigMap add-headers
	"custom-headers",   // response: custom-headers annotation
	"cors",             // preflight 204
	"snippet",          // configuration-snippet
	"redirect",         // temporal, permanent
	"rewrite",          // rewrite-target
	"ssl-redirect",     // 308
	"backend",          // canary, affinity, 503 without endpoints: built in
	"rate-limit",       // limit-rps, limit-rpm
	"conn-limit",       // limit-connections
	"access",           // lists, basic, external auth, satisfy
	"mirror",           //
	"compress",         // response
	"snippet-body",     // response: sub_filter, before it is compressed
	"response-fields",  // response: hide-headers, proxy-cookie-*, proxy-redirect-*
	// Upstream.
	"forwarded", // the fields of reference/routing.md 8.3
	"upstream-vhost",
	"auth-fields", // fields from the auth answer
	"set-headers", // ConfigMap proxy-set-headers
	"snippet-upstream",
}

// Position returns the place of name in Order, or -1.
func Position(name string) int {
	for i, n := range Order {
		if n == name {
			return i
		}
	}
	return -1
}
