package annotation

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var customHTTPErrors = Declare(Spec[[]int]{
	Name: "custom-http-errors",
	Grammar: Grammar[[]int]{
		Syntax: "status codes from 400 to 599 separated by commas",
		Parse:  func(s string) ([]int, error) { return statusList(s, 400, true) },
		// compat: the ConfigMap takes 300 to 599 and drops what is none.
		Global: func(s string) ([]int, error) { return statusList(s, 300, false) },
	},
	ConfigMap: "custom-http-errors",
	Risk:      Low,
	Bad:       Hard,
	Since:     "0.1",
	Doc:       "Responses with these statuses are replaced by those of the error backend: the default-backend annotation's Service, else the controller's default backend. Those lintel makes itself count, too. The annotation replaces the ConfigMap's list. A refusal of authentication keeps its status, whatever the error backend answers.",
	Examples:  []string{"404,503"},
})

var disableIntercept = Declare(Spec[bool]{
	Name:      "disable-proxy-intercept-errors",
	Grammar:   Bool,
	ConfigMap: "disable-proxy-intercept-errors",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether responses of endpoints are left alone by custom-http-errors, so that only lintel's own are replaced.",
	Examples:  []string{"true"},
})

var defaultBackend = Declare(Spec[string]{
	Name:     "default-backend",
	Grammar:  ServiceName,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The Service that takes requests while the route's own has no endpoint, and error responses of custom-http-errors. Its first port is used.",
	Examples: []string{"maintenance"},
})

func statusList(s string, low int, strict bool) ([]int, error) {
	var out []int
	for _, item := range strings.Split(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		n, err := strconv.Atoi(item)
		if err != nil || n < low || n > 599 {
			if strict {
				return nil, ErrSyntax
			}
			continue
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

var _ = register(Feature{
	Name:  "error-pages",
	Title: "Error pages and default backend",
	Keys:  []AnyKey{customHTTPErrors, disableIntercept, defaultBackend},
	Route: func(c *RouteContext) {
		f := c.Forward()
		pool := c.DefaultPool
		if name, ok := defaultBackend.Get(c.Values); ok {
			id, exists := c.Pool(c.Namespace, name, "", config.Pods)
			if exists {
				f.Fallback, pool = &id, id
			} else {
				c.Report("default-backend", diag.Diagnostic{
					Code: diag.ReferenceMissing, Severity: diag.Warning, Effect: diag.Ignored,
					Message: "there is no Service " + c.Namespace + "/" + name + " with a port",
					Hint:    "create the Service, or correct the name",
					Related: []diag.Ref{{Kind: "Service", Namespace: c.Namespace, Name: name}},
				})
			}
		}
		codes, own := customHTTPErrors.Get(c.Values)
		if signin, _ := c.Raw("auth-signin"); !own && signin != "" {
			// compat: a location with an error page of its own does not inherit the ConfigMap's.
			codes = nil
		}
		if len(codes) == 0 {
			return
		}
		off, _ := disableIntercept.Get(c.Values)
		if off && !GlobalBool(c.Global, "disable-proxy-intercept-errors", false) && GlobalText(c.Global, "custom-http-errors", "") != "" {
			// compat: the annotation only leaves out "on"; the http block's interception stays.
			off = false
		}
		f.ErrorPages = &config.ErrorPages{
			Codes: codes, Pool: pool, Default: c.DefaultPool, Intercept: !off,
			Namespace: c.Namespace, Ingress: c.Ingress, Service: c.Route.Origin.Service, ServicePort: c.Route.Origin.ServicePort,
		}
	},
})
