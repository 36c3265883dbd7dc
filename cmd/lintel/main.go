// Command lintel is an Ingress controller with its own data plane.
//
//	lintel serve      serve a cluster's Ingresses, or manifests of a directory
//	lintel demo       try it without a cluster
//	lintel check      say what is wrong in manifests
//	lintel explain    say what happens to a request, and why
//
// Started as /nginx-ingress-controller, by name or first argument, it is
// lintel serve.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/lintel-ingress/lintel/internal/app"
)

// version is set by the linker.
var version = "dev"

// compatName is how Deployments of ingress-nginx start their controller.
const compatName = "nginx-ingress-controller"

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// status is an error that carries the exit status to end with; text has been printed already when it is empty.
type status struct {
	code int
	text string
}

func (s status) Error() string { return s.text }

func run(argv []string, stdout, stderr io.Writer) int {
	args := argv[1:]
	switch {
	case filepath.Base(argv[0]) == compatName:
		args = append([]string{"serve"}, args...)
	case len(args) > 0 && filepath.Base(args[0]) == compatName:
		args = append([]string{"serve"}, args[1:]...)
	}
	root := &cobra.Command{
		Use:           "lintel",
		Short:         "An Ingress controller with its own data plane: what ingress-nginx did, without nginx",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)
	root.AddCommand(serveCommand(stderr), demoCommand(stdout, stderr), checkCommand(stdout), explainCommand(stdout), echoCommand(),
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) { fmt.Fprintln(stdout, "lintel "+version) }})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return status{exitUsage, flagText(c.CommandPath(), c.Flags(), err)}
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := root.ExecuteContext(ctx)
	var st status
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &st):
		if st.text != "" {
			fmt.Fprintln(stderr, "lintel: "+st.text)
		}
		return st.code
	case strings.HasPrefix(err.Error(), "unknown command "):
		fmt.Fprintln(stderr, "lintel: "+commandText(root, err))
		return exitUsage
	default:
		fmt.Fprintln(stderr, "lintel: "+err.Error())
		return exitFailure
	}
}

func serveCommand(stderr io.Writer) *cobra.Command {
	flags := newServeFlags()
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the Ingresses of a cluster, or of a directory with --manifests",
		Long: "Serve is the controller and its data plane. It takes ingress-nginx's flags.\n\n" +
			"Flags:\n" + flags.set.FlagUsages(),
		DisableFlagParsing: true, // klog's single dashes, and our own word for an unknown flag
		RunE: func(c *cobra.Command, args []string) error {
			notes, err := flags.parse(args, io.Discard)
			if errors.Is(err, pflag.ErrHelp) {
				return c.Help()
			}
			if err != nil {
				return status{exitUsage, flagText(c.CommandPath(), flags.set, err)}
			}
			if flags.showVer {
				fmt.Fprintln(c.OutOrStdout(), "lintel "+version)
				return nil
			}
			log := processLog(stderr, flags.logFormat, flags.verbosity)
			libraryLog(log, flags.verbosity)
			for _, n := range notes {
				log.Info("flag without effect", "note", n)
			}
			a, err := app.New(flags.opts, log)
			if err != nil {
				return status{exitFailure, err.Error()}
			}
			if err := a.Run(c.Context()); err != nil {
				return status{exitFailure, err.Error()}
			}
			return nil
		},
	}
}

// libraryLog says where Kubernetes' client libraries write. Every failed call is reported by who made
// it, so their own lines, which have another format, are for those who look for a fault in them.
func libraryLog(log *slog.Logger, verbosity int) {
	if verbosity >= 3 {
		klog.SetSlogLogger(log)
	} else {
		klog.SetLogger(logr.Discard())
	}
}

func processLog(w io.Writer, format string, verbosity int) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbosity >= 3 {
		opts.Level = slog.LevelDebug
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	opts.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
