package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lintel-ingress/lintel/internal/admin"
	"github.com/lintel-ingress/lintel/internal/certs"
	"github.com/lintel-ingress/lintel/internal/check"
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/observe/metrics"
)

const repository = "https://github.com/lintel-ingress/lintel"

// operators are the sockets for people and machines that look after the process.
type operators struct {
	health, profiles net.Listener
}

// bindOperators binds them, so that a taken port is an error at start. A pprof port that cannot be had is none.
func (a *App) bindOperators() error {
	var err error
	if a.operators.health, err = admin.Listen(a.opts.HealthzHost, a.opts.HealthzPort); err != nil {
		return err
	}
	if a.opts.Profiling {
		if a.operators.profiles, err = admin.Listen(a.opts.ProfilerAddress, a.opts.ProfilerPort); err != nil {
			a.log.Warn("no profiles", "error", err)
			a.operators.profiles = nil
		}
	}
	return nil
}

func (a *App) serveAdmin(ctx context.Context) error {
	s := admin.New(admin.Options{
		Ready:       func() bool { return closed(a.ready) },
		Draining:    func() bool { return closed(a.draining) },
		HealthPath:  a.opts.HealthPath,
		Metrics:     promhttp.HandlerFor(a.world.metrics.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		Table:       func(w io.Writer) error { return a.Table().WriteText(w) },
		Diagnostics: a.Diagnostics,
		Explain:     a.explain,
		Build:       admin.Build{Release: a.opts.Version, Repository: repository},
		Log:         a.log,
	})
	return s.Serve(ctx, a.operators.health)
}

func (a *App) serveProfiles(ctx context.Context) error {
	return admin.ServeProfiles(ctx, a.operators.profiles, a.log)
}

// explain answers a question from what is served now.
func (a *App) explain(w io.Writer, q admin.Question) error {
	world := &check.World{
		Table:    a.Table(),
		Pool:     a.world.poolState,
		Object:   a.snapshot.Object,
		Findings: a.Diagnostics,
		Prefix:   a.opts.AnnotationsPrefix,
	}
	answer, err := world.Explain(check.Question{Method: q.Method, URL: q.URL, Header: q.Header})
	if err != nil {
		return err
	}
	if q.JSON {
		return answer.WriteJSON(w)
	}
	return answer.WriteText(w)
}

// poolState describes a pool as it is now.
func (w *world) poolState(id config.PoolID) check.PoolState {
	info, ok := w.registry.Describe(id)
	if !ok {
		return check.PoolState{Problem: "no such pool"}
	}
	s := check.PoolState{Source: info.Source, Problem: info.Problem}
	for _, e := range info.Endpoints {
		text := e.Addr.String()
		if e.Suspect > 0 {
			text += fmt.Sprintf(" [refused connections; asked last for %s]", e.Suspect.Round(100*time.Millisecond))
		}
		s.Endpoints = append(s.Endpoints, text)
	}
	return s
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// metricSources are asked at each scrape.
func (a *App) metricSources() metrics.Sources {
	return metrics.Sources{
		Generation:  a.world.plane.Generation,
		Hosts:       a.world.hostCount,
		Connections: a.front.connections,
		LogDropped:  a.access.Dropped,
		Diagnostics: func() []metrics.Diagnostics {
			var out []metrics.Diagnostics
			for c, n := range a.world.ledger.Counts() {
				out = append(out, metrics.Diagnostics{Code: string(c.Code), Severity: c.Severity.String(), Namespace: c.Namespace, Count: n})
			}
			return out
		},
		Pools:        a.world.poolCounts,
		Certificates: a.world.certificates,
		Orphans:      a.world.orphans,
	}
}

func (w *world) hostCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.hosts)
}

func (w *world) poolCounts() []metrics.Pool {
	var out []metrics.Pool
	for _, p := range w.registry.All() {
		m := metrics.Pool{Namespace: p.ID.Namespace, Service: p.ID.Service, Port: p.ID.Port}
		for _, e := range p.Endpoints {
			if e.Suspect > 0 {
				m.Ejected++
			} else {
				m.Ready++
			}
		}
		out = append(out, m)
	}
	return out
}

// certificates are those in use, by host.
func (w *world) certificates() []metrics.Certificate {
	w.mu.Lock()
	defer w.mu.Unlock()
	parsed := map[config.CertID]*certs.Info{}
	var out []metrics.Certificate
	for name, h := range w.hosts {
		if h.TLS == nil || h.TLS.Cert == (config.CertID{}) {
			continue
		}
		id := h.TLS.Cert
		info, ok := parsed[id]
		if !ok {
			if c := w.cert[id]; c != nil {
				if i, err := certs.Parse(c); err == nil {
					info = i
				}
			}
			parsed[id] = info
		}
		if info == nil {
			continue
		}
		cn, org := issuer(info.Issuer)
		out = append(out, metrics.Certificate{Host: name, Namespace: id.Namespace, Secret: id.Name, Identifier: id.Namespace + "/" + id.Name + "-" + info.Serial,
			NotAfter: info.NotAfter, IssuerCommonName: cn, IssuerOrganization: org, Serial: info.Serial, PublicKeyAlgorithm: info.KeyType})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Host < out[j].Host })
	return out
}

// issuer takes common name and organization out of a distinguished name as RFC 2253 writes it.
func issuer(dn string) (cn, org string) {
	for part := range strings.SplitSeq(dn, ",") {
		if v, ok := strings.CutPrefix(part, "CN="); ok && cn == "" {
			cn = v
		}
		if v, ok := strings.CutPrefix(part, "O="); ok && org == "" {
			org = v
		}
	}
	return cn, org
}

// orphans are the Ingresses with a backend that is not there.
func (w *world) orphans() []metrics.Orphan {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]bool{}
	var out []metrics.Orphan
	for _, h := range w.hosts {
		for _, r := range h.Routes {
			f := r.Action.Forward
			if f == nil || r.Origin.Ingress.Name == "" {
				continue
			}
			pool := w.pool[f.Pool]
			missing := pool == nil || pool.Missing
			if !missing && w.registry.Pool(f.Pool).Set() != nil {
				continue
			}
			o := metrics.Orphan{Namespace: r.Origin.Ingress.Namespace, Ingress: r.Origin.Ingress.Name, NoService: missing}
			if key := fmt.Sprint(o); !seen[key] {
				seen[key] = true
				out = append(out, o)
			}
		}
	}
	return out
}
