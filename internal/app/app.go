// Package app wires everything together: sources, pipeline, data plane, listeners,
// status, metrics, and the order in which they start and stop.
//
// It is the only package that knows everybody. What a reader gets wrong: the order of
// shutdown. Readiness goes first, sockets last; see Run.
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe"
	"github.com/lintel-ingress/lintel/internal/observe/accesslog"
	"github.com/lintel-ingress/lintel/internal/source"
	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/source/kube"
	"github.com/lintel-ingress/lintel/internal/status"
	"github.com/lintel-ingress/lintel/internal/translate"
)

// App is one controller process. Make it with New and Run it once.
type App struct {
	opts     Options
	log      *slog.Logger
	world    *world
	snapshot *object.Snapshot
	pipeline *pipeline
	sources  []source.Source
	kube     *kube.Source // nil with manifests, as are client and status
	client   kubernetes.Interface
	status   *status.Status
	access   *accesslog.Log
	front    *front
	operators
	ready    chan struct{}
	draining chan struct{} // closed when shutdown begins
}

// New prepares an App: it reads no object and opens no socket yet. stdout takes the access log.
func New(o Options, log *slog.Logger) (*App, error) { return NewWithOutput(o, log, os.Stdout) }

// NewWithOutput is New with another place for the access log of standard output.
func NewWithOutput(o Options, log *slog.Logger, stdout io.Writer) (_ *App, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	a := &App{opts: o, log: log, snapshot: object.NewSnapshot(), ready: make(chan struct{}), draining: make(chan struct{})}
	a.access = accesslog.New(stdout, log)
	if a.world, err = newWorld(&o, log, a.access); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.world.transport.Close()
		}
	}()
	if err := a.chooseSource(); err != nil {
		return nil, err
	}
	to, err := o.Translation()
	if err != nil {
		return nil, err
	}
	if ns, name, ok := strings.Cut(o.ConfigMap, "/"); ok {
		a.snapshot.Pin(object.Key{Kind: object.KindConfigMap, Namespace: ns, Name: name})
	}
	newBuilder := func() *translate.Builder {
		if a.kube != nil && a.kube.IgnoreIngressClass() {
			to.IgnoreClasses = true // the source has said so
		}
		a.pipeline.zone = a.ownZone()
		return translate.NewBuilder(a.snapshot, to)
	}
	a.pipeline = newPipeline(log, a.snapshot, newBuilder, a.world, a.sources)
	if a.status != nil {
		a.pipeline.changed = a.status.Changed
	}
	a.world.ledger.Subscribe(a.logFindings)
	a.front = newFront(&o, a.world, log)
	a.world.statusPage = a.front.statusPage
	a.world.metrics.SetSources(a.metricSources())
	return a, nil
}

// chooseSource decides where objects come from and, for a cluster, who writes back.
func (a *App) chooseSource() error {
	o := &a.opts
	if len(o.Manifests) > 0 {
		s, err := dir.New(a.log, o.Manifests...)
		if err != nil {
			return err
		}
		a.sources = []source.Source{s}
		return nil
	}
	client, err := kube.NewClient(kube.ClientOptions{Kubeconfig: o.Kubeconfig, APIServer: o.APIServer, CAFile: o.CAFile, UserAgent: "lintel/" + o.Version})
	if err != nil {
		return err
	}
	var also []object.Key
	for _, r := range []struct {
		kind object.Kind
		name string
	}{{object.KindConfigMap, o.ConfigMap}, {object.KindSecret, o.DefaultSSLCertificate}, {object.KindService, o.DefaultBackendService}} {
		if ns, name, ok := strings.Cut(r.name, "/"); ok {
			also = append(also, object.Key{Kind: r.kind, Namespace: ns, Name: name})
		}
	}
	a.kube = kube.New(kube.Options{Client: client, Namespace: o.WatchNamespace, Namespaces: o.WatchNamespaceSelector != "", Also: also, Log: a.log})
	a.sources = []source.Source{a.kube}
	a.client, a.status = client, a.newStatus(client)
	a.world.onServed, a.world.onApplied = a.status.Served, a.status.Applied
	return nil
}

// ownZone is the zone of the node this pod runs on, where endpoints near to it are wanted.
func (a *App) ownZone() string {
	if a.client == nil || !a.opts.TopologyAware || a.opts.PodName == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	zone, err := kube.Zone(ctx, a.client, a.opts.PodNamespace, a.opts.PodName)
	if err != nil {
		a.log.Warn("zone of the own node not known; endpoints of all zones are used", observe.Error, err)
	}
	return zone
}

func (a *App) newStatus(client kubernetes.Interface) *status.Status {
	o := &a.opts
	so := status.Options{
		Client: client, Namespace: o.PodNamespace, Pod: o.PodName,
		ElectionID: o.ElectionID, ElectionTTL: o.ElectionTTL, DisableElection: o.DisableElection,
		UpdateStatus: o.UpdateStatus, ClearOnShutdown: o.UpdateStatusOnExit, PublishService: o.PublishService,
		NodeInternalIP: o.NodeInternalIP, Interval: o.StatusInterval, Ledger: a.world.ledger, Events: !o.DisableSyncEvents, CompatEvents: true,
		Object: func(k object.Key) (metav1.Object, bool) {
			obj, _, ok := a.snapshot.Object(k)
			return obj, ok
		},
		Leading: func(leads bool) { a.world.metrics.Leader(o.ElectionID, leads) },
		Log:     a.log,
	}
	for part := range strings.SplitSeq(o.PublishStatusAddress, ",") {
		if part = strings.TrimSpace(part); part != "" {
			so.PublishAddress = append(so.PublishAddress, part)
		}
	}
	if ns, name, ok := strings.Cut(o.ConfigMap, "/"); ok {
		so.ConfigMaps = []object.Key{{Kind: object.KindConfigMap, Namespace: ns, Name: name}}
	}
	return status.New(so)
}

// Ready is closed once the first table serves.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Addresses are those bound for HTTP and HTTPS, in the order of the flags' addresses. Known once Ready is closed.
func (a *App) Addresses() (http, https []netip.AddrPort) {
	for i, addr := range a.front.listener.Addrs() {
		if a.front.listener.Sockets[i].TLS {
			https = append(https, addr)
		} else {
			http = append(http, addr)
		}
	}
	return http, https
}

// Diagnostics returns what stands against the objects now.
func (a *App) Diagnostics() []diag.Diagnostic { return a.world.ledger.All() }

// Table returns the configuration in force.
func (a *App) Table() *config.Delta { return a.world.snapshotTable() }

// logFindings writes each finding once when it appears and once when it goes.
func (a *App) logFindings(appeared, gone []diag.Diagnostic) {
	for _, d := range appeared {
		level := slog.LevelWarn
		if d.Severity == diag.Info {
			level = slog.LevelDebug
		}
		args := []any{"severity", d.Severity.String(), "object", d.Object.String()}
		for _, kv := range [][2]string{{"field", d.Field}, {"at", d.Pos.String()}, {"message", d.Message}, {"hint", d.Hint}, {"effect", d.Effect.String()}, {"code", string(d.Code)}} {
			if kv[1] != "" {
				args = append(args, kv[0], kv[1])
			}
		}
		a.log.Log(context.Background(), level, "diagnostic", args...)
	}
	for _, d := range gone {
		level := slog.LevelInfo
		if d.Severity == diag.Info {
			level = slog.LevelDebug
		}
		a.log.Log(context.Background(), level, "diagnostic gone", "object", d.Object.String(), "field", d.Field, "code", string(d.Code))
	}
}

// Run serves until ctx ends, then drains: readiness fails at once; after the grace period listeners stop
// accepting and connections end after what they are doing; what is left at the end of the
// worker-shutdown-timeout is closed. It returns nil after a clean end.
func (a *App) Run(ctx context.Context) error {
	defer a.world.transport.Close()
	if err := a.front.listener.Bind(); err != nil {
		return err
	}
	defer a.front.listener.Close()
	if err := a.bindOperators(); err != nil {
		return err
	}
	base := context.WithoutCancel(ctx)
	logs := newGroup(base) // ends last
	logs.goes("access log", a.access.Run)
	g := newGroup(base)
	g.goes("health and metrics", a.serveAdmin)
	if a.operators.profiles != nil {
		g.goes("profiles", a.serveProfiles)
	}
	g.goes("pools", a.world.registry.Run)
	g.goes("pipeline", a.pipeline.run)
	for _, s := range a.sources {
		g.goes("source "+s.Name(), func(ctx context.Context) error { return s.Run(ctx, a.pipeline) })
	}
	writers := newGroup(base) // gives the lease back before anything else stops
	if a.status != nil {
		writers.goes("status", a.status.Run)
	}
	select {
	case <-a.pipeline.ready:
		a.front.listener.Serve()
		close(a.ready)
		a.log.Info("serving", "http", a.opts.HTTPPort, "https", a.opts.HTTPSPort, "table", a.world.plane.String())
		select {
		case <-ctx.Done():
		case <-g.ended:
		case <-writers.ended:
		}
	case <-ctx.Done():
	case <-g.ended:
	case <-writers.ended:
	}
	return errors.Join(a.shutdown(ctx.Err() != nil, writers), g.stop(), logs.stop())
}

// shutdown takes the process out of service. orderly says that somebody asked for it.
func (a *App) shutdown(orderly bool, writers *group) error {
	close(a.draining)
	a.log.Info("shutting down", "grace", a.opts.ShutdownGrace.String())
	done := make(chan error, 1)
	go func() { done <- writers.stop() }()
	if orderly && a.opts.ShutdownGrace > 0 {
		time.Sleep(a.opts.ShutdownGrace)
	}
	limit := a.world.plane.Global().WorkerShutdown + a.opts.PostShutdownGrace
	if limit <= 0 {
		limit = 240 * time.Second
	}
	if !orderly {
		limit = min(limit, 10*time.Second)
	}
	end, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if cut := a.front.listener.Drain(end); cut > 0 {
		a.log.Warn("connections cut at the end of the drain", "count", cut)
	}
	err := <-done
	a.log.Info("stopped")
	return err
}
