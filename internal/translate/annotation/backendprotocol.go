package annotation

import (
	"regexp"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var backendProtocol = Declare(Spec[string]{
	Name:     "backend-protocol",
	Grammar:  EnumFold("HTTP", "HTTPS", "AUTO_HTTP", "GRPC", "GRPCS", "FCGI"),
	Default:  "HTTP",
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "What is spoken to endpoints. HTTPS and GRPCS do not verify certificates unless proxy-ssl-verify says so; AUTO_HTTP is the scheme of the client's connection.",
	Examples: []string{"HTTPS", "GRPC"},
})

var connectionProxyHeader = Declare(Spec[string]{
	Name:     "connection-proxy-header",
	Grammar:  Enum("close", "keep-alive"),
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The Connection field that endpoints get. Either value keeps WebSockets from working.",
	Examples: []string{"keep-alive"},
})

var fastcgiIndex = Declare(Spec[string]{
	Name:     "fastcgi-index",
	Grammar:  matching(regexp.MustCompile(`\A[A-Za-z0-9.\-_]+\z`), "a file name"),
	Risk:     Medium,
	Bad:      Hard,
	Later:    Deny,
	Since:    "0.1",
	Doc:      "The file that paths ending in a slash stand for, with FastCGI.",
	Examples: []string{"index.php"},
})

var fastcgiParams = Declare(Spec[Ref]{
	Name:     "fastcgi-params-configmap",
	Grammar:  SecretRef,
	Risk:     Medium,
	Bad:      Hard,
	Later:    Deny,
	Since:    "0.1",
	Doc:      "A ConfigMap whose entries are FastCGI parameters.",
	Examples: []string{"fastcgi"},
})

var protocols = map[string]config.Protocol{
	"HTTP": config.HTTP, "HTTPS": config.HTTPS, "GRPC": config.GRPC, "GRPCS": config.GRPCS, "AUTO_HTTP": config.AutoHTTP, "FCGI": config.FCGI,
}

// protocolOf is what the route's endpoints are spoken to in.
func protocolOf(c *RouteContext) config.Protocol {
	if c.DefaultBackend {
		return config.HTTP // compat: reference/annotations.md 8.1
	}
	name, _ := backendProtocol.Get(c.Values)
	return protocols[name]
}

var _ = register(Feature{
	Name:  "backend-protocol",
	Title: "Protocol towards endpoints",
	Keys:  []AnyKey{backendProtocol, connectionProxyHeader, fastcgiIndex, fastcgiParams},
	Route: func(c *RouteContext) {
		f := c.Route.Action.Forward
		if f == nil {
			return
		}
		f.Protocol = protocolOf(c)
		if f.Protocol == config.FCGI {
			c.Deny("backend-protocol", diag.Diagnostic{
				Code: diag.AnnotationLater, Message: "FastCGI is not implemented yet",
				Hint: "put an HTTP server in front of the application, in the same pod",
			})
		}
		f.ConnectionHeader, _ = connectionProxyHeader.Get(c.Values)
	},
})
