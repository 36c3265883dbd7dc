package annotation

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var loadBalance = Declare(Spec[string]{
	Name:      "load-balance",
	Grammar:   Enum("round_robin", "ewma", "chash", "chashsubset", "sticky_balanced", "sticky_persistent"),
	Default:   "round_robin",
	ConfigMap: "load-balance",
	Risk:      Low,
	Bad:       Hard,
	Since:     "0.1",
	Doc:       "How an endpoint is picked: in turn, or by the latency of late (ewma). The other words belong to upstream-hash-by and affinity and count as round_robin here.",
	Examples:  []string{"ewma"},
})

var hashBy = Declare(Spec[string]{
	Name:     "upstream-hash-by",
	Grammar:  Expr(Variables),
	Risk:     High,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Text with $variables; requests for which it is the same go to the same endpoint.",
	Examples: []string{"$request_uri", "$http_x_session"},
})

var hashBySubset = Declare(Spec[bool]{
	Name:     "upstream-hash-by-subset",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Whether upstream-hash-by picks a group of endpoints, of which one is chosen at random.",
	Examples: []string{"true"},
})

var hashBySubsetSize = Declare(Spec[int]{
	Name:     "upstream-hash-by-subset-size",
	Grammar:  AnyInt,
	Default:  3,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "How many endpoints such a group has.",
	Examples: []string{"5"},
})

var no = false

var serviceUpstream = Declare(Spec[bool]{
	Name:      "service-upstream",
	Grammar:   Bool,
	ConfigMap: "service-upstream",
	Risk:      Low,
	Bad:       Soft,
	Fallback:  &no, // compat: not the ConfigMap's value
	Since:     "0.1",
	Doc:       "Whether requests go to the Service's address, for kube-proxy to balance, instead of to its endpoints. A Service without an address keeps its endpoints.",
	Examples:  []string{"true"},
})

// ServiceUpstream reports whether the Ingress wants its Services' own addresses.
func ServiceUpstream(v *Values) bool {
	on, _ := serviceUpstream.Get(v)
	return on
}

var _ = register(Feature{
	Name:  "balance",
	Title: "Load balancing",
	Keys:  []AnyKey{loadBalance, hashBy, hashBySubset, hashBySubsetSize, serviceUpstream},
	Route: func(c *RouteContext) {
		f := c.Route.Action.Forward
		if f == nil {
			return
		}
		f.Balance = balanceOf(c)
		if ServiceUpstream(c.Values) && !c.DefaultBackend && f.Pool.Service != "" && f.Pool.Mode == config.Pods {
			f.Pool, _ = c.Pool(f.Pool.Namespace, f.Pool.Service, f.Pool.Port, config.ClusterIP)
		}
	},
})

func balanceOf(c *RouteContext) config.Balance {
	if key, ok := hashBy.Get(c.Values); ok && key != "" {
		b := config.Balance{Policy: "chash", HashBy: key}
		if subset, _ := hashBySubset.Get(c.Values); subset {
			b.Policy = "chashsubset"
			b.SubsetSize, _ = hashBySubsetSize.Get(c.Values)
			if b.SubsetSize <= 0 {
				b.SubsetSize = 3
			}
		}
		return b
	}
	policy, own := loadBalance.Get(c.Values)
	if policy != "round_robin" && policy != "ewma" {
		if own {
			c.Report("load-balance", diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Warning, Effect: diag.Ignored,
				Message: policy + " needs a key; round_robin is used",
				Hint:    "set upstream-hash-by, or affinity: cookie",
			})
		}
		policy = "round_robin"
	}
	return config.Balance{Policy: policy}
}
