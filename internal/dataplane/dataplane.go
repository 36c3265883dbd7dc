// Package dataplane compiles configuration into the table that exchanges run
// through, and is the exchange.Handler engines drive.
//
// Only what a config.Delta names is compiled; publishing swaps one pointer. An
// exchange sees one table from Match to Done. Nothing here touches a socket or
// knows Kubernetes.
package dataplane

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/router"
)

// Forwarder is what a route that forwards hands exchanges to (package proxy).
// Safe for concurrent use.
type Forwarder interface {
	// Select chooses pool and canary once per exchange and reports whether an endpoint
	// or a fallback can take it; without one the route answers 503 (annotations.md 4, stage 5).
	Select(x *exchange.Exchange) bool
	// Forward sends x.Up and fills x.Resp; it sets a status in every case.
	Forward(x *exchange.Exchange)
}

// ErrorPager replaces responses of chosen statuses by an error backend's.
type ErrorPager interface {
	// Wants reports whether a response of this status is to be replaced.
	Wants(x *exchange.Exchange, status int, fromUpstream bool) bool
	// ErrorPage asks the error backend and fills x.Resp.
	ErrorPage(x *exchange.Exchange, status int)
}

// Series is where one route's exchanges are counted.
type Series interface {
	Observe(x *exchange.Exchange)
	Release()
}

// Logger writes one access log line.
type Logger interface {
	Log(x *exchange.Exchange)
}

// Deps is what a Plane takes from the world.
type Deps struct {
	// Forwarder compiles the forwarding of a route. id is the route's identity, stable across tables.
	Forwarder func(id string, f *config.Forward, o *config.Origin) (Forwarder, error)
	// ErrorPager compiles custom-http-errors of a route.
	ErrorPager func(id string, e *config.ErrorPages) (ErrorPager, error)
	// Prepare copies x.Req to x.Up before upstream filters run.
	Prepare func(x *exchange.Exchange)
	// Finish ends what forwarding still holds of x; it may be called for exchanges that were never forwarded. nil: nothing to do.
	Finish func(x *exchange.Exchange)
	// Target reads an origin-form request target into r, for Reroute. nil refuses to reroute.
	Target func(r *exchange.Request, target string) bool
	// Page makes the text of a config.Action.Page; nil: empty.
	Page func(name string) []byte
	// Series resolves the metrics of a route; nil counts nothing.
	Series func(info *exchange.RouteInfo) Series
	// Env is the part of filter.Env that is the same for every filter.
	Env filter.Env
	Log *slog.Logger
}

// Plane is the data plane. Make it with New.
type Plane struct {
	deps   Deps
	table  atomic.Pointer[table]
	logger atomic.Pointer[Logger]
	keeper *keeper
	mu     sync.Mutex // serialises Apply
	none   exchange.RouteInfo
	nobody Series // of exchanges that match no route; nil counts nothing
}

var _ exchange.Handler = (*Plane)(nil)

// New returns a plane without hosts: every request gets 404.
func New(deps Deps) *Plane {
	if deps.Env.Now == nil {
		deps.Env.Now = time.Now
	}
	p := &Plane{deps: deps, keeper: newKeeper(deps.Env.Now), none: exchange.RouteInfo{Upstream: "-"}}
	if deps.Series != nil {
		p.nobody = deps.Series(&p.none)
	}
	p.table.Store(&table{global: &global{cfg: &config.Global{}, chain: &chain{}}})
	return p
}

// SetLogger sets where Done logs. nil logs nothing.
func (p *Plane) SetLogger(l Logger) {
	if l == nil {
		p.logger.Store(nil)
		return
	}
	p.logger.Store(&l)
}

// Generation returns the number of the published table.
func (p *Plane) Generation() uint64 { return p.table.Load().generation }

// Global returns the settings in force. Never nil; not to be changed.
func (p *Plane) Global() *config.Global { return p.table.Load().global.cfg }

// Apply compiles what d names and publishes it. Findings are about routes whose filters could
// not be built: those routes answer 503, everything else serves. Safe to call from one goroutine at a time.
func (p *Plane) Apply(d *config.Delta) []diag.Diagnostic {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.table.Load()
	next := &table{generation: d.Generation, global: old.global, hosts: old.hosts}
	var found []diag.Diagnostic
	var gone []*host
	if d.Global != nil {
		g, err := p.compileGlobal(d.Global)
		if err != nil {
			found = append(found, diag.Diagnostic{Code: diag.FilterBuild, Severity: diag.Error, Object: diag.Ref{Kind: "ConfigMap"},
				Message: err.Error(), Hint: "correct the ConfigMap; the last good settings stay in force"})
		} else {
			next.global = g
			p.keeper.release(old.global.keys)
		}
	}
	var set []router.Name[*host]
	var removed []string
	for name, cfg := range d.Hosts {
		if was, ok := old.hosts.Get(name); ok {
			gone = append(gone, was)
		}
		if cfg == nil {
			removed = append(removed, name)
			continue
		}
		h, diags := p.compileHost(cfg)
		found = append(found, diags...)
		set = append(set, router.Name[*host]{Text: name, Owner: cfg.AliasOf, LeadingAny: cfg.LeadingAny, Value: h})
	}
	next.hosts = old.hosts.With(set, removed)
	p.table.Store(next)
	for _, h := range gone {
		h.retire(p.keeper)
	}
	p.keeper.sweep()
	return found
}

// compileGlobal builds what runs for every exchange.
func (p *Plane) compileGlobal(cfg *config.Global) (*global, error) {
	g := &global{cfg: cfg}
	ch, err := buildChain(cfg.Filters, p.env("global", &g.keys))
	if err != nil {
		p.keeper.release(g.keys)
		return nil, err
	}
	g.chain = ch
	return g, nil
}

// env returns the filter.Env of one scope; keys collects what it keeps.
func (p *Plane) env(id string, keys *[]string) *filter.Env {
	env := p.deps.Env
	env.Route = id
	env.Keep = func(key string, make func() any) any {
		*keys = append(*keys, key)
		return p.keeper.keep(key, make)
	}
	return &env
}

func (p *Plane) compileHost(cfg *config.Host) (*host, []diag.Diagnostic) {
	h := &host{cfg: cfg, chain: &chain{}}
	var found []diag.Diagnostic
	if cfg.AliasOf != "" {
		return h, nil
	}
	ch, err := buildChain(cfg.Filters, p.env("host "+cfg.Name, &h.keys))
	h.chain = ch
	if err != nil {
		h.broken = true
		found = append(found, buildFinding(cfg.Origin, "host "+cfg.Name, err, diag.HostOff))
	}
	h.routes = make([]*route, 0, len(cfg.Routes))
	for _, rc := range cfg.Routes {
		r, err := p.compileRoute(rc)
		if err != nil {
			found = append(found, buildFinding([]diag.Ref{rc.Origin.Ingress}, "route "+rc.Origin.Host+rc.Path, err, diag.RouteOff))
		}
		h.routes = append(h.routes, r)
	}
	for _, lc := range cfg.Locations {
		r, err := p.compileRoute(lc.Route)
		l := location{modifier: lc.Modifier, path: lc.Path, route: r}
		if err == nil {
			err = l.compile()
		}
		if err != nil {
			found = append(found, buildFinding([]diag.Ref{lc.Route.Origin.Ingress}, "location "+cfg.Name+" "+lc.Path, err, diag.HostOff))
			h.broken = true
		}
		h.located = append(h.located, l)
	}
	if err := h.index(); err != nil {
		found = append(found, buildFinding(cfg.Origin, "host "+cfg.Name, err, diag.RouteOff))
	}
	return h, found
}

func buildFinding(origin []diag.Ref, what string, err error, effect diag.Effect) diag.Diagnostic {
	d := diag.Diagnostic{Code: diag.FilterBuild, Severity: diag.Error, Field: what, Message: err.Error(),
		Hint: "correct the setting named; until then requests are answered with 503", Effect: effect}
	if len(origin) > 0 {
		d.Object = origin[0]
		d.Related = origin[1:]
	}
	return d
}

// compileRoute builds one route. With an error the route returned answers 503.
func (p *Plane) compileRoute(cfg *config.Route) (*route, error) {
	r := &route{cfg: cfg, info: exchange.RouteInfo{
		Host: cfg.Origin.Host, Namespace: cfg.Origin.Ingress.Namespace, Ingress: cfg.Origin.Ingress.Name,
		Service: cfg.Origin.Service, ServicePort: cfg.Origin.ServicePort, Path: cfg.Origin.PathText, Upstream: cfg.Origin.Upstream,
	}}
	if r.info.Upstream == "" {
		r.info.Upstream = "-"
	}
	r.limits = exchange.Limits{BodyMax: cfg.Limits.BodyMax, Buffer: cfg.Limits.Buffer, BufferMem: cfg.Limits.BufferMem,
		BodyTimeout: cfg.Limits.BodyTimeout, Rate: cfg.Limits.Rate, RateAfter: cfg.Limits.RateAfter}
	var err error
	deny := cfg.Deny
	if f := cfg.Action.Forward; f != nil {
		r.limits.SendTimeout = f.Send
		if r.forward, err = p.deps.Forwarder(cfg.ID, f, &cfg.Origin); err == nil && f.ErrorPages != nil {
			r.errors, err = p.deps.ErrorPager(cfg.ID, f.ErrorPages)
		}
		if err != nil {
			deny = err.Error()
		}
	}
	var own []builtin
	if cfg.Action.Slash != nil {
		own = append(own, builtin{"slash-redirect", &slash{cfg.Action.Slash}})
	}
	if r.forward != nil {
		own = append(own, builtin{"backend", (*selector)(r)})
	}
	if deny != "" {
		own = append(own, builtin{"deny", denied{}})
	}
	ch, buildErr := buildChain(cfg.Filters, p.env(cfg.ID, &r.keys), own...)
	if buildErr != nil {
		err = buildErr
		if deny == "" {
			ch.request = append([]filter.OnRequest{denied{}}, ch.request...)
		}
	}
	r.chain = ch
	if p.deps.Series != nil {
		r.series = p.deps.Series(&r.info)
	}
	return r, err
}

// denied answers 503: something that protects this route could not be resolved (R10).
type denied struct{}

func (denied) Request(x *exchange.Exchange) exchange.Verdict { return x.Reply(503) }

// selector is the place in the order where an endpoint is looked for.
type selector route

func (s *selector) Request(x *exchange.Exchange) exchange.Verdict {
	if s.forward.Select(x) {
		return exchange.Continue
	}
	return x.Reply(503)
}

// String describes the plane for logs.
func (p *Plane) String() string {
	t := p.table.Load()
	return fmt.Sprintf("generation %d, %d hosts", t.generation, t.hosts.Len())
}
