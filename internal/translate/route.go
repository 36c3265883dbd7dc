package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// rules makes the parts of every host of the Ingress.
func (j *job) rules() {
	j.f.canary = j.isCanary()
	if j.in.Spec.DefaultBackend != nil && len(j.in.Spec.Rules) == 0 {
		j.f.fromDefault = true
		p := HostPart{Name: config.CatchAll}
		p.Routes = append(p.Routes, *j.route(place{host: config.CatchAll, path: "/", match: config.Prefix, rule: -1, number: -1,
			field: "spec.defaultBackend", backend: j.in.Spec.DefaultBackend, catchAll: true}))
		j.f.Hosts = append(j.f.Hosts, p)
		return
	}
	for i, rule := range j.in.Spec.Rules {
		j.rule(i, &rule)
	}
	for i := range j.f.Hosts {
		p := &j.f.Hosts[i]
		if !j.f.canary && len(j.in.Spec.TLS) > 0 {
			p.TLS = j.claim(p.Name)
		}
		if !j.f.canary && p.Name != config.CatchAll && !slices.ContainsFunc(p.Routes, isRoot) {
			p.Implicit = j.implicit(p.Name)
		}
	}
}

func isRoot(r RoutePart) bool { return r.Route.Match == config.Prefix && r.Route.Path == "/" }

func (j *job) isCanary() bool {
	text, ok := j.f.values.Raw("canary")
	on, err := strconv.ParseBool(text)
	return ok && err == nil && on
}

func (j *job) rule(i int, rule *networkingv1.IngressRule) {
	host := config.CatchAll
	if rule.Host != "" {
		name, problem, hint := hostName(rule.Host)
		if problem != "" {
			j.report(diag.Diagnostic{
				Code: diag.HostInvalid, Severity: diag.Error, Field: fmt.Sprintf("spec.rules[%d].host", i), Value: rule.Host,
				Message: problem, Hint: hint, Effect: diag.HostOff,
			})
			return
		}
		host = name
	}
	part := j.f.part(host)
	if part == nil {
		j.f.Hosts = append(j.f.Hosts, HostPart{Name: host})
		part = &j.f.Hosts[len(j.f.Hosts)-1]
	}
	if rule.HTTP == nil {
		return
	}
	for n := range rule.HTTP.Paths {
		p := &rule.HTTP.Paths[n]
		where := place{host: host, path: p.Path, rule: i, number: n, backend: &p.Backend,
			field: pathField(i, n), kind: "ImplementationSpecific"}
		if where.path == "" {
			where.path = "/"
		}
		if p.PathType != nil {
			where.kind = string(*p.PathType)
		}
		// compat: ImplementationSpecific is Prefix.
		if where.kind == "Exact" {
			where.match = config.Exact
		} else if where.kind != "Prefix" && where.kind != "ImplementationSpecific" {
			j.report(diag.Diagnostic{
				Code: diag.PathInvalid, Severity: diag.Warning, Field: where.field + ".pathType", Value: where.kind, Effect: diag.Ignored,
				Message: fmt.Sprintf("there is no path type %q", where.kind), Hint: "write Prefix, Exact or ImplementationSpecific",
			})
			where.kind = "ImplementationSpecific"
		}
		part.Routes = append(part.Routes, *j.route(where))
	}
}

// pathField names a path of an Ingress. Nearly all Ingresses have few: they share the text.
func pathField(rule, path int) string {
	if rule < len(pathFields) && path < len(pathFields[0]) {
		return pathFields[rule][path]
	}
	return fmt.Sprintf("spec.rules[%d].http.paths[%d]", rule, path)
}

var pathFields = func() (t [4][8]string) {
	for i := range t {
		for n := range t[i] {
			t[i][n] = fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, n)
		}
	}
	return t
}()

// place is where a route comes from in the Ingress.
type place struct {
	host, path   string
	match        config.MatchType
	kind         string // path type as written; "" for implicit paths
	rule, number int
	field        string
	backend      *networkingv1.IngressBackend // nil: the controller's default backend
	catchAll     bool
}

// implicit makes the "/" of a host that no rule names: it leads to the Ingress' default backend,
// else the controller's, with the Ingress' annotations (reference/routing.md 5, 6.4).
func (j *job) implicit(host string) *RoutePart {
	w := place{host: host, path: "/", match: config.Prefix, rule: -1, number: -1, field: "spec.defaultBackend"}
	// compat: what no Ingress defines is not redirected, whatever the ConfigMap's force-ssl-redirect says.
	w.catchAll = j.in.Name == ""
	if b := j.in.Spec.DefaultBackend; b != nil {
		w.backend = b
	} else {
		w.field = "spec.rules"
	}
	return j.route(w)
}

// route makes one route and runs every feature on it.
func (j *job) route(w place) *RoutePart {
	r := &config.Route{
		ID:    j.id(w),
		Match: w.match, Path: w.path, Deny: j.deny,
		Origin: config.Origin{Host: w.host, Rule: w.rule, Path: w.number, PathText: w.path},
	}
	if j.in.Name != "" {
		r.Origin.Ingress = j.f.Owner.Ref()
		r.Origin.Pos = position(j.from, w.field)
	}
	c := &annotation.RouteContext{
		Values: j.f.values, Objects: j.t, Namespace: j.in.Namespace, Ingress: j.in.Name,
		Host: w.host, Path: w.path, PathType: w.kind, CatchAllDefault: w.catchAll, Local: j.from.Local,
		Route: r, HTTPPort: j.t.o.HTTPPort, HTTPSPort: j.t.o.HTTPSPort,
		Report: j.reportAnnotation, Global: j.t.readCM,
	}
	if id, ok := j.t.defaultPool(); ok {
		c.DefaultPool = id
	}
	j.action(c, r, w)
	for _, f := range annotation.Features() {
		if f.Route != nil {
			f.Route(c)
		}
	}
	if f := r.Action.Forward; f != nil {
		if f.Retry.Tries == 0 {
			f.Retry.Tries = 1
		}
		f.Local = j.from.Local
	}
	r.Filters = slices.Clip(r.Filters)
	part := &RoutePart{Route: r, Field: w.field, Regex: c.Regex, Slash: c.Slash}
	if c.Canary != nil || j.f.canary {
		part.Canary = j.canary(c, r)
	}
	return part
}

func (j *job) id(w place) string {
	what := w.match.String()
	if w.kind == "" {
		what = "default"
	}
	owner := j.in.Namespace + "/" + j.in.Name
	if j.in.Name == "" {
		owner = "-"
	}
	return owner + " " + w.host + " " + what + " " + w.path
}

// canary is what a path of a canary Ingress attaches elsewhere.
func (j *job) canary(c *annotation.RouteContext, r *config.Route) *config.Canary {
	can := config.Canary{Total: 100}
	if c.Canary != nil {
		can = *c.Canary
	}
	if f := r.Action.Forward; f != nil {
		can.Pool = f.Pool
	}
	can.Origin = r.Origin
	can.Key = r.Origin.Upstream
	return &can
}

// action settles what the route does with a request: reference/routing.md 6.1 and 6.4.
func (j *job) action(c *annotation.RouteContext, r *config.Route, w place) {
	if w.backend == nil {
		c.DefaultBackend = true
		r.Origin.Upstream = defaultUpstream
		r.NoLog = !j.t.flag("enable-access-log-for-default-backend")
		if id, ok := j.t.defaultPool(); ok {
			r.Origin.Service = id.Service
			r.Action.Forward = &config.Forward{Pool: id, Empty: 404}
			return
		}
		r.Action.Status = 404
		return
	}
	field := w.field
	if w.number >= 0 {
		field += ".backend"
	}
	svc, res := w.backend.Service, w.backend.Resource
	switch {
	case svc != nil && res != nil:
		j.backendInvalid(r, field, "it names both a service and a resource", "keep one of the two")
	case svc != nil:
		j.service(r, field, svc)
	case res != nil:
		j.resource(r, field, w, res)
	default:
		j.backendInvalid(r, field, "it names no service", "write service.name and service.port")
	}
}

func (j *job) backendInvalid(r *config.Route, field, message, hint string) {
	r.Action.Status = 503
	r.Origin.Upstream = "-"
	j.report(diag.Diagnostic{Code: diag.BackendInvalid, Severity: diag.Error, Field: field, Message: message, Hint: hint, Effect: diag.RouteOff})
}

func (j *job) service(r *config.Route, field string, svc *networkingv1.IngressServiceBackend) {
	port := svc.Port.Name
	if port == "" && svc.Port.Number != 0 {
		port = strconv.Itoa(int(svc.Port.Number))
	}
	r.Origin.Service, r.Origin.ServicePort = svc.Name, port
	r.Origin.Upstream = upstreamName(j.in.Namespace, svc.Name, port)
	if port == "" {
		j.backendInvalid(r, field+".service.port", "it names no port", "write port.number or port.name of the Service")
		r.Origin.Upstream = upstreamName(j.in.Namespace, svc.Name, port)
		return
	}
	id, _ := j.t.Pool(j.in.Namespace, svc.Name, port, config.Pods)
	r.Action.Forward = &config.Forward{Pool: id}
	key := object.Key{Kind: object.KindService, Namespace: j.in.Namespace, Name: svc.Name}
	s, ok := j.t.r.Service(key.Namespace, key.Name)
	switch {
	case !ok:
		j.report(diag.Diagnostic{
			Code: diag.ReferenceMissing, Severity: diag.Error, Field: field + ".service.name", Value: svc.Name, Effect: diag.RouteOff,
			Message: fmt.Sprintf("there is no Service %s in namespace %s", svc.Name, j.in.Namespace),
			Hint:    "create the Service, or correct the name", Related: []diag.Ref{key.Ref()},
		})
	case !hasPort(s, port, j.t.r.Origin(key).Local):
		j.report(diag.Diagnostic{
			Code: diag.ServicePort, Severity: diag.Error, Field: field + ".service.port", Value: port, Effect: diag.RouteOff,
			Message: fmt.Sprintf("Service %s has no port %s", svc.Name, port),
			Hint:    "it has " + portList(s), Related: []diag.Ref{key.Ref()},
		})
	}
}

// portList names the ports of a Service, for a hint.
func portList(svc *object.Service) string {
	var all []string
	for _, p := range svc.Spec.Ports {
		text := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			text += " (" + p.Name + ")"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "no ports"
	}
	return strings.Join(all, ", ")
}

// flag reads a boolean of the ConfigMap that is false by default.
func (t *translator) flag(key string) bool {
	text, _ := t.key(key)
	on, err := strconv.ParseBool(strings.TrimSpace(text))
	return err == nil && on
}

// defaultPool is the pool of --default-backend-service.
func (t *translator) defaultPool() (config.PoolID, bool) {
	ns, name := split(t.o.DefaultBackendService)
	if name == "" {
		return config.PoolID{}, false
	}
	id, _ := t.Pool(ns, name, "", config.Pods)
	return id, true
}

var _ annotation.Objects = (*translator)(nil)

// Secret returns a Secret's data.
func (t *translator) Secret(namespace, name string) (map[string][]byte, bool) {
	s, ok := t.r.Secret(namespace, name)
	if !ok {
		return nil, false
	}
	return s.Data, true
}

// ConfigMap returns a ConfigMap's data.
func (t *translator) ConfigMap(namespace, name string) (map[string]string, bool) {
	c, ok := t.r.ConfigMap(namespace, name)
	if !ok {
		return nil, false
	}
	return c.Data, true
}

// Pool names the pool behind a Service and port, and has it configured.
func (t *translator) Pool(namespace, service, port string, mode config.PoolMode) (config.PoolID, bool) {
	id := config.PoolID{Namespace: namespace, Service: service, Port: port, Mode: mode}
	if !slices.Contains(t.pools, id) {
		t.pools = append(t.pools, id)
	}
	svc, ok := t.r.Service(namespace, service)
	if !ok {
		return id, false
	}
	local := t.r.Origin(object.Key{Kind: object.KindService, Namespace: namespace, Name: service}).Local
	return id, hasPort(svc, port, local)
}

// Cert names the key material of a Secret, and has it configured.
func (t *translator) Cert(namespace, name string) (config.CertID, bool) {
	id := config.CertID{Namespace: namespace, Name: name}
	if !slices.Contains(t.certsUsed, id) {
		t.certsUsed = append(t.certsUsed, id)
	}
	_, ok := t.r.Secret(namespace, name)
	return id, ok
}

// commaList cuts a comma list; empty items are left out.
func commaList(s string) []string {
	var out []string
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
