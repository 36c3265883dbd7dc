package annotation

import "regexp"

// The annotations lintel knows and does not implement yet. Their grammar and risk are
// the original's; a value that asks for something gives a diagnostic and the safe
// outcome: Deny for what protects or changes where requests go, Soft for the rest.
var (
	streamSnippet = Declare(Spec[string]{
		Name: "stream-snippet", Grammar: Any, Risk: Critical, Bad: Deny, Later: Deny,
		Doc: "Directives for TCP and UDP.", Examples: []string{"server { listen 8000; }"},
	})
	sslPassthrough = Declare(Spec[bool]{
		Name: "ssl-passthrough", Grammar: Bool, Scope: PerHost, Conflict: AnyTrue, Risk: Low, Bad: Hard, Later: Deny,
		Doc: "Whether TLS connections for the host go to the endpoint without being ended here.", Examples: []string{"true"},
	})
	modSecurity = Declare(Spec[bool]{
		Name: "enable-modsecurity", Grammar: Bool, ConfigMap: "enable-modsecurity", Risk: Low, Bad: Soft, Later: Deny,
		Doc: "Whether the web application firewall looks at requests.", Examples: []string{"true"},
	})
	owaspRules = Declare(Spec[bool]{
		Name: "enable-owasp-core-rules", Grammar: Bool, ConfigMap: "enable-owasp-modsecurity-crs", Risk: Low, Bad: Soft, Later: Deny,
		Doc: "Whether the firewall uses the OWASP core rule set.", Examples: []string{"true"},
	})
	modSecurityID = Declare(Spec[string]{
		Name: "modsecurity-transaction-id", Grammar: Variables, Risk: High, Bad: Soft, Later: Soft,
		Doc: "The id the firewall logs.", Examples: []string{"$request_id"},
	})
	modSecuritySnippet = Declare(Spec[string]{
		Name: "modsecurity-snippet", Grammar: Any, Risk: Critical, Bad: Deny, Later: Deny,
		Doc: "Rules for the web application firewall.", Examples: []string{"SecRuleEngine On"},
	})
	openTelemetry = Declare(Spec[bool]{
		Name: "enable-opentelemetry", Grammar: Bool, ConfigMap: "enable-opentelemetry", Risk: Low, Bad: Soft, Later: Soft,
		Doc: "Whether requests are traced.", Examples: []string{"true"},
	})
	openTelemetryTrust = Declare(Spec[bool]{
		Name: "opentelemetry-trust-incoming-span", Grammar: Bool, Default: true, ConfigMap: "opentelemetry-trust-incoming-span", Risk: Low, Bad: Soft, Later: Soft,
		Doc: "Whether a client's span is the parent.", Examples: []string{"false"},
	})
	openTelemetryName = Declare(Spec[string]{
		Name: "opentelemetry-operation-name", Grammar: matching(regexp.MustCompile(`\A[A-Za-z0-9_\-]*\z`), "letters, digits, - and _"),
		ConfigMap: "opentelemetry-operation-name", Risk: Medium, Bad: Hard, Later: Soft, Needed: traced,
		Doc: "The name of the span.", Examples: []string{"shop"},
	})
	pushPreload = Declare(Spec[bool]{
		Name: "http2-push-preload", Grammar: Bool, Risk: Low, Bad: Hard,
		NoEffect: "browsers no longer accept pushed responses, and nginx removed them in 1.25.1",
		Doc:      "Has no effect.", Examples: []string{"true"},
	})
	rewriteLog = Declare(Spec[bool]{
		Name: "enable-rewrite-log", Grammar: Bool, Risk: Low, Bad: Soft,
		NoEffect: "lintel explain shows what a rewrite does",
		Doc:      "Has no effect.", Examples: []string{"true"},
	})
)

var _ = register(Feature{
	Name:  "later",
	Title: "Not implemented yet, or without effect",
	Keys: []AnyKey{
		streamSnippet, sslPassthrough, modSecurity, owaspRules, modSecurityID, modSecuritySnippet,
		openTelemetry, openTelemetryTrust, openTelemetryName, pushPreload, rewriteLog,
	},
})

// traced: without enable-opentelemetry nobody looks at the name of the span.
func traced(v *Values, _ *Options) bool {
	on, own := openTelemetry.Get(v)
	return on && own
}
