package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (a *App) serveAdmin(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-a.ready:
		default:
			w.WriteHeader(503)
		}
	})
	mux.Handle("/metrics", promhttp.HandlerFor(a.world.metrics.Registry, promhttp.HandlerOpts{}))
	l, err := net.Listen("tcp", net.JoinHostPort(a.opts.HealthzHost, fmt.Sprint(a.opts.HealthzPort)))
	if err != nil {
		return err
	}
	s := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
