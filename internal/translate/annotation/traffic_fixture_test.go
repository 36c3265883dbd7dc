package annotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// cluster is what features may look at: objects by "namespace/name", and the ConfigMap.
type cluster struct {
	secrets    map[string]map[string][]byte
	configMaps map[string]map[string]string
	global     map[string]string
	certs      []config.CertID
	pools      []config.PoolID
}

func (w *cluster) Secret(ns, name string) (map[string][]byte, bool) {
	s, ok := w.secrets[ns+"/"+name]
	return s, ok
}

func (w *cluster) ConfigMap(ns, name string) (map[string]string, bool) {
	m, ok := w.configMaps[ns+"/"+name]
	return m, ok
}

func (w *cluster) Pool(ns, service, port string, mode config.PoolMode) (config.PoolID, bool) {
	id := config.PoolID{Namespace: ns, Service: service, Port: port, Mode: mode}
	w.pools = append(w.pools, id)
	return id, true
}

func (w *cluster) Cert(ns, name string) (config.CertID, bool) {
	id := config.CertID{Namespace: ns, Name: name}
	w.certs = append(w.certs, id)
	_, ok := w.secrets[ns+"/"+name]
	return id, ok
}

func (w *cluster) readGlobal(key string) (string, bool) {
	s, ok := w.global[key]
	return s, ok
}

// made is what became of one path of an Ingress.
type made struct {
	*config.Route
	ctx      *RouteContext
	outcome  Outcome
	findings []string // "name code message"
}

// place changes the path before the features run.
type place func(*RouteContext)

func atHost(host string) place { return func(c *RouteContext) { c.Host = host } }
func atPath(path string) place { return func(c *RouteContext) { c.Path = path } }

// route translates one path, / of shop.test of default/shop, with annotations as "name: value" or "name" for an empty one.
func (w *cluster) route(t testing.TB, annotations []string, places ...place) *made {
	t.Helper()
	v, found, outcome := Parse(withPrefix(annotations), w.options())
	m := &made{outcome: outcome}
	for _, f := range found {
		m.findings = append(m.findings, fmt.Sprintf("%s %s %s", strings.TrimPrefix(f.Name, DefaultPrefix+"/"), f.Code, f.Message))
	}
	m.Route = &config.Route{
		Action: config.Action{Forward: &config.Forward{Pool: config.PoolID{Namespace: "default", Service: "shop", Port: "80"}}},
		Origin: config.Origin{Service: "shop", ServicePort: "80", Upstream: "default-shop-80"},
	}
	m.ctx = &RouteContext{
		Values: v, Objects: w, Namespace: "default", Ingress: "shop", Host: "shop.test", Path: "/", PathType: "Prefix", Route: m.Route,
		Global: w.readGlobal,
		Report: func(name string, d diag.Diagnostic) {
			if d.Code == "" || d.Message == "" || d.Hint == "" && d.Severity != diag.Info {
				t.Errorf("%s: a diagnostic lacks something: %+v", name, d)
			}
			m.findings = append(m.findings, fmt.Sprintf("%s %s %s", name, d.Code, d.Message))
		},
	}
	for _, p := range places {
		p(m.ctx)
	}
	for _, f := range Features() {
		if f.Route != nil {
			f.Route(m.ctx)
		}
	}
	return m
}

func (w *cluster) options() Options {
	o := Options{Risk: High, AllowSnippets: true, Namespace: "default"}
	o.HasSecret = func(ns, name string) bool {
		_, ok := w.Secret(ns, name)
		return ok
	}
	if w.global != nil {
		o.Global = w.readGlobal
	}
	return o
}

func withPrefix(annotations []string) map[string]string {
	out := map[string]string{}
	for _, a := range annotations {
		name, value, _ := strings.Cut(a, ": ")
		out[DefaultPrefix+"/"+name] = value
	}
	return out
}

// denied reports whether the route does not serve: by its features, or by the values.
func (m *made) denied() bool { return m.Deny != "" || m.outcome == Deny || m.outcome == Hard }

func (m *made) has(code diag.Code) bool {
	return slices.ContainsFunc(m.findings, func(f string) bool { return strings.Contains(f, " "+string(code)+" ") })
}

// filterOf returns the filter of a type that a route has.
func filterOf[T filter.Config](m *made) (T, bool) {
	for _, f := range m.Filters {
		if f, ok := f.(T); ok {
			return f, true
		}
	}
	var zero T
	return zero, false
}

// host merges Ingresses, oldest first, on shop.test.
func (w *cluster) host(t testing.TB, ingresses ...[]string) (*config.Host, []string) {
	t.Helper()
	var findings []string
	h := &config.Host{Name: "shop.test"}
	c := &HostContext{Host: h, Objects: w, Global: w.readGlobal}
	for i, a := range ingresses {
		v, _, _ := Parse(withPrefix(a), w.options())
		c.Members = append(c.Members, Member{Values: v, Namespace: "default", Ingress: fmt.Sprint("ing", i)})
	}
	c.Report = func(i int, name string, d diag.Diagnostic) {
		findings = append(findings, fmt.Sprintf("ing%d %s %s %s", i, name, d.Code, d.Message))
	}
	for _, f := range Features() {
		if f.Host != nil {
			f.Host(c)
		}
	}
	return h, findings
}
