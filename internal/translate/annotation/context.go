package annotation

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
)

// Objects is how a feature looks at other objects. Every read is recorded.
type Objects interface {
	// Secret returns a Secret's data by namespace and name.
	Secret(namespace, name string) (map[string][]byte, bool)
	// ConfigMap returns a ConfigMap's data.
	ConfigMap(namespace, name string) (map[string]string, bool)
	// Pool makes sure the pool behind service and port is configured and returns its id and whether
	// the Service and port exist. An empty port means the Service's first.
	Pool(namespace, service, port string, mode config.PoolMode) (config.PoolID, bool)
	// Cert makes sure that the key material of a Secret (tls.crt, tls.key, ca.crt, ca.crl, whatever is there) is
	// configured, and returns its id and whether the Secret exists.
	Cert(namespace, name string) (config.CertID, bool)
}

// RouteContext is what a Feature's Route function works on: one path of one Ingress.
type RouteContext struct {
	*Values
	Objects
	// Namespace and Ingress name the Ingress; Key is "namespace/name".
	Namespace, Ingress string
	// Host is the rule host ("_" for none); Path the Ingress path text, normalised ("" is "/").
	Host, Path string
	// PathType is the Ingress' path type: Exact, Prefix or ImplementationSpecific; "" for implicit paths.
	PathType string
	// CatchAllDefault is true for routes made from spec.defaultBackend without rules: redirects and rewrites do not apply.
	CatchAllDefault bool
	// DefaultBackend is true where the route leads to the controller's default backend.
	DefaultBackend bool
	// Local is true for objects from a directory.
	Local bool
	// Route is the route being made. Features append to Filters (the order does not
	// matter: the data plane sorts by filter.Order) and set fields. Route.Action.Forward is nil
	// for routes that do not forward.
	Route *config.Route
	// HTTPSPort is the port redirects name with use-port-in-redirects.
	HTTPPort, HTTPSPort int
	// DefaultPool is what the controller's default backend is for this Ingress: the pool of
	// --default-backend-service, zero for the built-in 404. Error pages without a backend of their own go there.
	DefaultPool config.PoolID
	// Regex is set by features (use-regex, an effective rewrite-target): every path of the host becomes a regular expression.
	Regex bool
	// Slash is how nginx's own redirects of this location look; filled by relative-redirects and use-port-in-redirects.
	Slash config.Slash
	// Canary is set by the canary feature where the Ingress has canary: "true": all but Pool, Origin and Key. The
	// Ingress then makes no route; translate attaches the canary to the route of the same host, path and type.
	Canary *config.Canary
	// Report adds a finding about the named annotation (without prefix); object, field, value and position are filled in.
	Report func(name string, d diag.Diagnostic)
	// Global reads a ConfigMap key as text.
	Global func(key string) (string, bool)
}

// Add appends a filter to the route.
func (c *RouteContext) Add(f filter.Config) { c.Route.Filters = append(c.Route.Filters, f) }

// Forward returns the route's forwarding, or a value nobody reads where it has none.
func (c *RouteContext) Forward() *config.Forward {
	if c.Route.Action.Forward == nil {
		return new(config.Forward)
	}
	return c.Route.Action.Forward
}

// Deny makes the route answer 503, for the reason given, and reports d about the named annotation.
func (c *RouteContext) Deny(name string, d diag.Diagnostic) {
	if c.Route.Deny == "" {
		c.Route.Deny = name + ": " + d.Message
	}
	d.Severity, d.Effect = diag.Error, diag.RouteOff
	c.Report(name, d)
}

// HostContext is what a Feature's Host function works on: one host, with the annotation values of
// each non-canary Ingress that has rules for it, oldest first.
type HostContext struct {
	// Host has its name, certificate and filters; its routes come after the features.
	Host *config.Host
	// Members are the Ingresses of the host, oldest first.
	Members []Member
	// Aliases are the other names the host shall have; filled by server-alias, settled by translate (names of
	// rule hosts and names another host took are dropped there, with a diagnostic).
	Aliases []string
	// AliasMember is the member whose aliases they are.
	AliasMember int
	// WWW asks for the host's counterpart name (www.x for x, x for www.x) to redirect here: translate makes a
	// host of that name, if it is free, with these server-stage filters; nil: none. Filled by from-to-www-redirect.
	WWW []filter.Config
	// Rules are allow and deny of the host; routes without lists of their own inherit them. Filled by server-snippet.
	Rules []access.Rule
	// Passthrough asks for connections with this SNI to go unterminated to the backend of path "/". Filled by ssl-passthrough.
	Passthrough bool
	// Report adds a finding about the named annotation of member i.
	Report func(i int, name string, d diag.Diagnostic)
	Objects
	Global func(key string) (string, bool)
}

// Member is one Ingress on a host.
type Member struct {
	*Values
	Namespace, Ingress string
	// CatchAllDefault is true where the Ingress has only spec.defaultBackend.
	CatchAllDefault bool
	Local           bool
}

// Winner returns the first member that set k, its value and its index; -1 when none did.
func Winner[T any](c *HostContext, k Key[T]) (T, int) {
	for i, m := range c.Members {
		if v, ok := k.Get(m.Values); ok {
			return v, i
		}
	}
	var zero T
	return zero, -1
}
