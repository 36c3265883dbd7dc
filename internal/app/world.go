package app

import (
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/certs"
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/dataplane"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe/accesslog"
	"github.com/lintel-ingress/lintel/internal/observe/metrics"
	"github.com/lintel-ingress/lintel/internal/proxy"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/std"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// world is everything that serves: it takes what the pipeline builds. The methods of outlets
// are called by the pipeline's goroutine only.
type world struct {
	log       *slog.Logger
	ledger    *diag.Ledger
	plane     *dataplane.Plane
	registry  *upstream.Registry
	proxy     *proxy.Proxy
	transport *std.Transport
	certs     *certs.Store
	access    *accesslog.Log
	metrics   *metrics.Metrics

	// statusPage is the text of /nginx_status.
	statusPage func() []byte
	// served Ingresses are told to whoever writes status, after the table serves them.
	onServed func(map[object.Key]bool)
	// onApplied is told of each table in force.
	onApplied func(generation uint64)

	mu    sync.Mutex
	hosts map[string]*config.Host // in force, for explain, metrics and the table page
	pool  map[config.PoolID]*config.Pool
	cert  map[config.CertID]*config.Cert

	failing map[diag.Owner]bool // owners of findings of the data plane
}

var _ outlets = (*world)(nil)

func newWorld(o *Options, log *slog.Logger, access *accesslog.Log) (*world, error) {
	return newWorldOn(nil, o, log, access)
}

// newWorldOn makes a world whose HTTP/1 requests go to another transport than its own; nil: its own.
func newWorldOn(other upstream.Transport, o *Options, log *slog.Logger, access *accesslog.Log) (*world, error) {
	self, err := certs.Generate(time.Now())
	if err != nil {
		return nil, fmt.Errorf("default certificate: %w", err)
	}
	w := &world{
		log: log, ledger: new(diag.Ledger), certs: certs.New(self), access: access, transport: std.New(std.Options{}),
		hosts: map[string]*config.Host{}, pool: map[config.PoolID]*config.Pool{}, cert: map[config.CertID]*config.Cert{},
		failing: map[diag.Owner]bool{}, onServed: func(map[object.Key]bool) {}, onApplied: func(uint64) {},
		statusPage: func() []byte { return nil },
	}
	w.metrics, err = metrics.New(metrics.Options{
		Enabled: o.EnableMetrics, Class: o.ControllerClass, Namespace: o.PodNamespace, Pod: o.PodName,
		PerHost: o.MetricsPerHost, PerUndefinedHost: o.MetricsPerUndefinedHost, StatusClasses: o.ReportStatusClasses,
		TimeBuckets: o.TimeBuckets, LengthBuckets: o.LengthBuckets, SizeBuckets: o.SizeBuckets, Version: o.Version,
	})
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	w.registry = upstream.NewRegistry(upstream.Options{Transports: []upstream.Transport{w.transport}, Report: w.poolProblem, Log: log})
	if other == nil {
		other = w.transport
	}
	w.proxy = proxy.New(proxy.Deps{
		Pool: w.registry.Pool, HTTP1: other, HTTP2: w.transport, Compile: compile,
		Global: func() *config.Global { return w.plane.Global() }, Buffers: proxy.NewBuffers(""), Log: log,
		Reroute: func(x *exchange.Exchange, uri string) { w.plane.Reroute(x, uri) },
	})
	w.plane = dataplane.New(dataplane.Deps{
		Forwarder: func(id string, f *config.Forward, o *config.Origin) (dataplane.Forwarder, error) {
			fw, err := w.proxy.Forwarder(id, f, o)
			if err != nil {
				return nil, err
			}
			return fw, nil
		},
		ErrorPager: func(id string, e *config.ErrorPages) (dataplane.ErrorPager, error) {
			pager, err := w.proxy.ErrorPager(id, e)
			if err != nil {
				return nil, err
			}
			return pager, nil
		},
		Prepare: proxy.Prepare, Finish: proxy.Done,
		Target: func(r *exchange.Request, target string) bool { return h1.SetTarget(r, target) == nil },
		Page:   func(string) []byte { return w.statusPage() },
		Series: func(info *exchange.RouteInfo) dataplane.Series {
			if r := w.metrics.Route(info); r != nil {
				return r
			}
			return nil
		},
		Env: filter.Env{Now: time.Now, Fetch: w.transport.Fetch, Log: log},
		Log: log,
	})
	w.plane.SetLogger(access)
	return w, nil
}

// compile makes a text with $variables executable for package proxy.
func compile(text string) (proxy.Text, error) {
	p, err := expr.Parse(text)
	if err != nil {
		return nil, err
	}
	return p.Append, nil
}

// poolProblem reports what is wrong with a DNS name behind a pool; "" when it is well again.
func (w *world) poolProblem(id config.PoolID, problem string) {
	var ds []diag.Diagnostic
	if problem != "" {
		ds = []diag.Diagnostic{{Code: diag.ServiceEndpoints, Severity: diag.Warning,
			Object: diag.Ref{Kind: "Service", Namespace: id.Namespace, Name: id.Service}, Field: "spec.externalName", Message: problem,
			Hint: "requests are answered with 503 until the name has a usable address"}}
	}
	w.ledger.Set(diag.Owner{Producer: "resolver", Subject: id.String()}, ds)
}

func (w *world) pools(m map[config.PoolID]*config.Pool) {
	if len(m) == 0 {
		return
	}
	w.registry.Apply(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range m {
		if p == nil {
			delete(w.pool, id)
		} else {
			w.pool[id] = p
		}
	}
}

func (w *world) endpoints(id config.PoolID, eps []config.Endpoint) { w.registry.Update(id, eps) }

func (w *world) table(d *config.Delta) map[diag.Owner][]diag.Diagnostic {
	w.proxy.SetCerts(d.Certs)
	for id, err := range w.certs.Apply(d) {
		// Translation has reported what is wrong with it on the Ingress.
		w.log.Debug("certificate not usable", "secret", id.Namespace+"/"+id.Name, "error", err)
	}
	found := w.plane.Apply(d)
	if d.Global != nil {
		found = append(found, w.settings(d.Global)...)
	}
	again := map[string]bool{}
	w.mu.Lock()
	for name, h := range d.Hosts {
		if len(w.failing) > 0 {
			note(again, w.hosts[name], h)
		}
		if h == nil {
			delete(w.hosts, name)
		} else {
			w.hosts[name] = h
		}
	}
	for id, c := range d.Certs {
		if c == nil {
			delete(w.cert, id)
		} else {
			w.cert[id] = c
		}
	}
	w.mu.Unlock()
	w.metrics.Applied(true, d.Generation, time.Now())
	w.onApplied(d.Generation)
	if d.Global != nil {
		again[diag.Ref{Kind: "ConfigMap"}.String()] = true
	}
	return w.owned(again, found)
}

// note puts what hosts come from into refs.
func note(refs map[string]bool, hosts ...*config.Host) {
	for _, h := range hosts {
		if h == nil {
			continue
		}
		for _, o := range h.Origin {
			refs[o.String()] = true
		}
	}
}

// owned sorts findings by what they are about, and withdraws those of objects that were compiled
// again, or are gone, and are well now.
func (w *world) owned(again map[string]bool, found []diag.Diagnostic) map[diag.Owner][]diag.Diagnostic {
	out := map[diag.Owner][]diag.Diagnostic{}
	for _, f := range found {
		owner := diag.Owner{Producer: "dataplane", Subject: f.Object.String()}
		out[owner] = append(out[owner], f)
	}
	for owner := range w.failing {
		if _, still := out[owner]; !still && again[owner.Subject] {
			out[owner] = nil
			delete(w.failing, owner)
		}
	}
	for owner, ds := range out {
		if len(ds) > 0 {
			w.failing[owner] = true
		}
	}
	return out
}

// settings puts what listens to the ConfigMap in force.
func (w *world) settings(g *config.Global) []diag.Diagnostic {
	w.transport.SetLimits(std.LimitsOf(g))
	unknown, err := w.access.Configure(accesslog.FromGlobal(g))
	var out []diag.Diagnostic
	ref := diag.Ref{Kind: "ConfigMap"}
	for _, u := range unknown {
		out = append(out, diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning, Object: ref, Field: "data.log-format-upstream",
			Value: "$" + u.Name, Message: u.Error(), Hint: `the variable is logged as "-"`})
	}
	if err != nil {
		out = append(out, diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Error, Object: ref, Field: "data.access-log-path",
			Value: g.AccessLogPath, Message: err.Error(), Hint: "the access log goes where it went before", Effect: diag.Ignored})
	}
	return out
}

func (w *world) findings(m map[diag.Owner][]diag.Diagnostic) {
	if len(m) > 0 {
		w.ledger.SetAll(m)
	}
}

func (w *world) served(m map[object.Key]bool) {
	if len(m) > 0 {
		w.onServed(m)
	}
}

// snapshotTable is the configuration in force as one delta.
func (w *world) snapshotTable() *config.Delta {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &config.Delta{Generation: w.plane.Generation(), Hosts: maps.Clone(w.hosts), Pools: maps.Clone(w.pool), Global: w.plane.Global()}
}
