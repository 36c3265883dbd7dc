package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lintel-ingress/lintel/internal/app"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/echo"
)

//go:embed demo/*.yaml
var demoManifests embed.FS

// demoCommand serves built-in objects in front of two echo backends, to try lintel without a cluster.
func demoCommand(stdout, stderr io.Writer) *cobra.Command {
	var httpPort, httpsPort, verbosity int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Try lintel without a cluster: two backends, example objects, ports 8080 and 8443",
		Args:  wants(0, 0, "demo takes no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := demo(c.Context(), stdout, stderr, httpPort, httpsPort, verbosity); err != nil {
				return status{exitFailure, err.Error()}
			}
			return nil
		},
	}
	c.Flags().IntVar(&httpPort, "http-port", 8080, "port for HTTP")
	c.Flags().IntVar(&httpsPort, "https-port", 8443, "port for HTTPS")
	c.Flags().IntVarP(&verbosity, "v", "v", 0, "verbosity of the process log")
	return c
}

func demo(ctx context.Context, stdout, stderr io.Writer, httpPort, httpsPort, verbosity int) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 3)
	ports := map[string]string{}
	for _, b := range []string{"SHOP", "CART"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("backend: listen: %w", err)
		}
		ports["${"+b+"_PORT}"] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		go func() { ended <- echo.Serve(ctx, l, strings.ToLower(b)+"-1", time.Second) }()
	}
	dir, err := os.MkdirTemp("", "lintel-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeManifests(dir, ports); err != nil {
		return err
	}
	opts := app.Defaults()
	opts.Manifests = []string{dir}
	opts.HTTPPort, opts.HTTPSPort = httpPort, httpsPort
	opts.HealthzHost, opts.HealthzPort, opts.Profiling = "127.0.0.1", 0, false
	opts.PostShutdownGrace = time.Second
	opts.Version = version
	if err := opts.Check(); err != nil {
		return err
	}
	a, err := app.New(opts, processLog(stderr, "text", verbosity))
	if err != nil {
		return err
	}
	go func() { ended <- a.Run(ctx) }()
	select {
	case <-a.Ready():
		printDemo(stdout, dir, httpPort, httpsPort, a.Diagnostics())
	case err := <-ended:
		return err
	}
	// The first to end stops the rest.
	err = <-ended
	cancel()
	return errors.Join(err, <-ended, <-ended)
}

func writeManifests(dir string, values map[string]string) error {
	files, err := fs.Glob(demoManifests, "demo/*.yaml")
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := demoManifests.ReadFile(name)
		if err != nil {
			return err
		}
		text := string(b)
		for k, v := range values {
			text = strings.ReplaceAll(text, k, v)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// demoTries are what the demo proposes; a test runs them.
func demoTries(httpPort, httpsPort int) []struct{ What, Command string } {
	at := func(host, path string) string {
		return fmt.Sprintf("curl -s --resolve %s:%d:127.0.0.1 http://%s:%d%s", host, httpPort, host, httpPort, path)
	}
	return []struct{ What, Command string }{
		{"the shop", at("shop.example.com", "/")},
		{"another backend below /cart", at("shop.example.com", "/cart/items")},
		{"a rewritten path: the backend sees /v2/users", at("api.example.com", "/api/users")},
		{"a rate limit: the last ones get 503", fmt.Sprintf("for i in 1 2 3 4 5 6 7 8; do %s -o /dev/null -w '%%{http_code}\\n'; done", at("limited.example.com", "/"))},
		{"a page without a pod", at("maintenance.example.com", "/")},
		{"http is sent to https", at("secure.example.com", "/") + " -o /dev/null -w '%{http_code} %{redirect_url}\\n'"},
		{"https", fmt.Sprintf("curl -sk --resolve secure.example.com:%d:127.0.0.1 https://secure.example.com:%d/", httpsPort, httpsPort)},
		{"a host nobody serves", at("unknown.example.com", "/")},
	}
}

func printDemo(w io.Writer, dir string, httpPort, httpsPort int, diags []diag.Diagnostic) {
	fmt.Fprintf(w, "\nlintel serves %s on ports %d and %d. Try:\n\n", dir, httpPort, httpsPort)
	for _, t := range demoTries(httpPort, httpsPort) {
		fmt.Fprintf(w, "  # %s\n  %s\n", t.What, t.Command)
	}
	fmt.Fprintf(w, "\nEdit a file below %s, save, and ask again: there is no restart.\n", dir)
	if len(diags) > 0 {
		fmt.Fprintf(w, "\nWhat lintel has to say about these objects:\n\n")
		for _, d := range diags {
			fmt.Fprintln(w, d.String())
		}
	}
	fmt.Fprintln(w, "\nCtrl-C ends it.")
}
