package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/app"
	"github.com/lintel-ingress/lintel/internal/lab"
)

// start runs the whole program on a directory, as serve does, on free ports of loopback.
func start(dir string, flags []string) (*lab.Instance, error) {
	f := newServeFlags()
	if _, err := f.parse(append([]string{"--manifests", dir, "--configmap", lab.ConfigMapName, "--bind-address", "127.0.0.1",
		"--http-port", "0", "--https-port", "0", "--healthz-port", "0", "--healthz-host", "127.0.0.1", "--profiling=false"}, flags...), io.Discard); err != nil {
		return nil, err
	}
	f.opts.BindAddresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	a, err := app.NewWithOutput(f.opts, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-done:
		cancel()
		return nil, errors.Join(err, errors.New("ended before it was ready"))
	case <-time.After(10 * time.Second):
		cancel()
		return nil, errors.Join(<-done, errors.New("not ready within 10s"))
	}
	http, https := a.Addresses()
	return &lab.Instance{HTTP: http[0].String(), HTTPS: https[0].String(), Stop: func() error {
		cancel()
		return <-done
	}}, nil
}

// TestCasesOverHTTP holds the talk of every case against the whole program.
func TestCasesOverHTTP(t *testing.T) { lab.HTTP(t, "../../internal/translate/testdata", start) }
