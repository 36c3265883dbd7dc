// Package admin is the HTTP server for operators: health, metrics, and what the
// process knows. It reads and never changes anything.
//
// What a reader gets wrong: the port is open to the whole cluster network, because probes
// and Prometheus come from there. What tells about configuration (/debug) therefore
// answers to loopback clients only: kubectl port-forward is one, another pod is not.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/observe"
)

// Options are what the server shows. Every function may be called by several
// goroutines; nil ones leave their page out.
type Options struct {
	// Ready reports whether the first table serves; Draining whether shutdown has begun.
	Ready, Draining func() bool
	// Alive returns why the process cannot serve any more, nil while it can.
	Alive func() error
	// HealthPath is --health-check-path; "" is /healthz. /healthz answers in any case.
	HealthPath string
	Metrics    http.Handler
	// Table writes the configuration in force as text.
	Table func(io.Writer) error
	// Diagnostics returns the findings that stand.
	Diagnostics func() []diag.Diagnostic
	// Explain says what would happen to a request. An error is about the question.
	Explain func(io.Writer, Question) error
	Build   Build
	Log     *slog.Logger
}

// Build says which program this is.
type Build struct {
	Release    string `json:"release"`
	Commit     string `json:"build"`
	Repository string `json:"repository"`
}

// Question is a request somebody asks about.
type Question struct {
	Method, URL string
	Header      []string // "Name: value"
	JSON        bool     // the answer's form
}

// The bounds of a debug page's work.
const (
	maxDebug    = 4 // at once
	maxHeaders  = 64
	headerBytes = 16 << 10
)

// Server answers on one listener. Make it with New.
type Server struct {
	o     Options
	mux   *http.ServeMux
	debug chan struct{}
}

// New returns a server of o.
func New(o Options) *Server {
	s := &Server{o: o, mux: http.NewServeMux(), debug: make(chan struct{}, maxDebug)}
	s.page("/healthz", s.health)
	s.page("/healthz/ping", s.live)
	s.page("/healthz/nginx-ingress-controller", s.health) // compat: reference/operations.md 9
	if p := o.HealthPath; strings.HasPrefix(p, "/") && p != "/" && p != "/healthz" && !strings.HasPrefix(p, "/debug") && !strings.ContainsAny(p, "{} ") {
		s.page(p, s.health)
	}
	s.page("/readyz", s.readiness)
	s.page("/livez", s.live)
	s.page("/build", s.build)
	if o.Metrics != nil {
		s.page("/metrics", o.Metrics.ServeHTTP)
	}
	if o.Table != nil {
		s.local("/debug/table", s.table)
	}
	if o.Diagnostics != nil {
		s.local("/debug/diagnostics", s.diagnostics)
	}
	if o.Explain != nil {
		s.local("/debug/explain", s.explain)
	}
	s.page("/{$}", s.index)
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// page adds a page for GET and HEAD.
func (s *Server) page(path string, f http.HandlerFunc) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		f(w, r)
	})
}

// local adds a page for clients on this machine, a few at a time.
func (s *Server) local(path string, f http.HandlerFunc) {
	s.page(path, func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r) {
			http.Error(w, "this page answers to loopback clients only; use kubectl port-forward", http.StatusForbidden)
			return
		}
		select {
		case s.debug <- struct{}{}:
			defer func() { <-s.debug }()
		default:
			http.Error(w, "busy; try again", http.StatusServiceUnavailable)
			return
		}
		f(w, r)
	})
}

// loopback reports whether a request comes from this machine and was meant for it: a
// name in Host would let a web page reach it through the browser of somebody who forwards the port.
func loopback(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

// health is for both probes, as ingress-nginx has it.
// compat: reference/operations.md 1 and 9: 503 while starting, 500 while shutting down or dead.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.o.Draining != nil && s.o.Draining():
		http.Error(w, "shutting down", http.StatusInternalServerError)
	case s.dead() != nil:
		http.Error(w, s.dead().Error(), http.StatusInternalServerError)
	case s.o.Ready != nil && !s.o.Ready():
		http.Error(w, "starting: the objects are not all read yet", http.StatusServiceUnavailable)
	default:
		plain(w, "ok")
	}
}

func (s *Server) readiness(w http.ResponseWriter, _ *http.Request) {
	switch {
	case s.o.Draining != nil && s.o.Draining():
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
	case s.dead() != nil:
		http.Error(w, s.dead().Error(), http.StatusServiceUnavailable)
	case s.o.Ready != nil && !s.o.Ready():
		http.Error(w, "starting: the objects are not all read yet", http.StatusServiceUnavailable)
	default:
		plain(w, "ok")
	}
}

// live fails only when a restart would help; never because the API server is away.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	if err := s.dead(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	plain(w, "ok")
}

func (s *Server) dead() error {
	if s.o.Alive == nil {
		return nil
	}
	return s.o.Alive()
}

func (s *Server) build(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.write(w, func(b io.Writer) error { return json.NewEncoder(b).Encode(s.o.Build) })
}

func (s *Server) table(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, s.o.Table)
}

func (s *Server) diagnostics(w http.ResponseWriter, r *http.Request) {
	ds := s.o.Diagnostics()
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		s.write(w, func(b io.Writer) error { return diag.WriteJSON(b, ds) })
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, func(b io.Writer) error {
		if err := diag.WriteText(b, ds, nil); err != nil {
			return err
		}
		_, err := io.WriteString(b, diag.Summary(ds)+"\n")
		return err
	})
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ask := Question{Method: q.Get("method"), URL: q.Get("url"), Header: q["header"], JSON: wantsJSON(r)}
	if ask.Method == "" {
		ask.Method = http.MethodGet
	}
	if ask.URL == "" || len(ask.Header) > maxHeaders {
		http.Error(w, "ask with ?method=GET&url=http://host/path and &header=Name:value as often as needed, 64 times at most", http.StatusBadRequest)
		return
	}
	var b bytes.Buffer
	if err := s.o.Explain(&b, ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if ask.JSON {
		w.Header().Set("Content-Type", "application/json")
	}
	s.write(w, func(to io.Writer) error { _, err := b.WriteTo(to); return err })
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	plain(w, "lintel "+s.o.Build.Release+"\n\n/healthz /readyz /livez /metrics /build\n/debug/table /debug/diagnostics /debug/explain?method=GET&url=http://host/path (loopback only)\n")
}

func wantsJSON(r *http.Request) bool {
	return r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json")
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// A client that is gone has nobody to be told.
	_, _ = io.WriteString(w, text)
}

// write sends a page. Once it has begun a failure can only cut it off.
func (s *Server) write(w http.ResponseWriter, f func(io.Writer) error) {
	if err := f(w); err != nil && s.o.Log != nil {
		s.o.Log.Debug("admin page not sent", observe.Error, err)
	}
}

// Listen binds host and port. The error is a sentence that helps.
func Listen(host string, port int) (net.Listener, error) {
	at := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", at)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("health and metrics: listen %s: address already in use (end what uses it, or choose another with --healthz-port)", at)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("health and metrics: listen %s: permission denied (choose a port above 1023 with --healthz-port)", at)
	case err != nil:
		return nil, fmt.Errorf("health and metrics: %w", err)
	}
	return l, nil
}

// Serve answers on l until ctx ends. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, s, time.Minute, s.o.Log)
}

// ServeProfiles answers pprof on l until ctx ends. l should be on loopback. It closes l.
func ServeProfiles(ctx context.Context, l net.Listener, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	// cmdline is left out: a command line may name what a profile's reader need not know.
	return serve(ctx, l, mux, 10*time.Minute, log)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, patience time.Duration, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: patience,
		IdleTimeout: 90 * time.Second, MaxHeaderBytes: headerBytes,
	}
	if log != nil {
		srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		err = srv.Close()
		<-ended //nolint:errcheck // it says that it was closed
		return err
	}
	<-ended //nolint:errcheck // it says that it was shut down
	return nil
}
