package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lintel-ingress/lintel/internal/admin"
	"github.com/lintel-ingress/lintel/internal/app"
	"github.com/lintel-ingress/lintel/internal/check"
)

// translationFlags are the flags of serve that decide what is served and how; offline commands take them too.
var translationFlags = []string{
	"annotations-prefix", "configmap", "controller-class", "deep-inspect", "default-backend-service", "default-ssl-certificate",
	"disable-catch-all", "disable-svc-external-name", "enable-annotation-validation", "http-port", "https-port", "ingress-class",
	"ingress-class-by-name", "watch-ingress-without-class", "watch-namespace", "watch-namespace-selector",
}

// addTranslationFlags puts them on an offline command; the options are read after parsing.
func addTranslationFlags(set *pflag.FlagSet) *app.Options {
	f := newServeFlags()
	for _, name := range translationFlags {
		set.AddFlag(f.set.Lookup(name))
	}
	return &f.opts
}

func checkCommand(stdout io.Writer) *cobra.Command {
	var o check.Options
	c := &cobra.Command{
		Use:   "check PATH...",
		Short: "Say what is wrong in manifests, as file:line:column: severity: message",
		Long: "Check reads every .yaml, .yml and .json file below the paths, translates the objects as serve would, and prints\n" +
			"what there is to say about them. Exit status: 0 nothing wrong, 1 errors (with --strict also warnings), 2 paths that\n" +
			"cannot be read.",
		Args: wants(1, -1, "check wants the files or directories to read: lintel check manifests/"),
	}
	opts := addTranslationFlags(c.Flags())
	c.Flags().StringVarP(&o.Format, "output", "o", "text", "text, json or sarif")
	c.Flags().BoolVar(&o.Strict, "strict", false, "let warnings count as errors")
	c.Flags().BoolVar(&o.Verbose, "verbose", false, "also print what is only information")
	c.RunE = func(_ *cobra.Command, paths []string) error {
		var err error
		if o.Translate, err = opts.Translation(); err != nil {
			return status{exitUsage, err.Error()}
		}
		o.Version = version
		code, err := check.Run(stdout, o, paths...)
		switch {
		case err != nil:
			return status{max(code, exitFailure), err.Error()}
		case code != exitOK:
			return status{code: code}
		}
		return nil
	}
	return c
}

func explainCommand(stdout io.Writer) *cobra.Command {
	var manifests, headers []string
	var server, output string
	c := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Say what happens to a request, and why: host, route, Ingress, filters, endpoints",
		Example: "  lintel explain --manifests examples/hello GET http://hello.example.com/\n" +
			"  lintel explain --server 127.0.0.1:10254 GET https://shop.example.com/cart -H 'Cookie: a=b'",
		Args: wants(2, 2, "explain wants a method and a URL: lintel explain --manifests DIR GET http://shop.example.com/cart"),
	}
	opts := addTranslationFlags(c.Flags())
	c.Flags().StringArrayVar(&manifests, "manifests", nil, "file or directory of manifests; may be given several times")
	c.Flags().StringVar(&server, "server", "", "address of the health port of a running lintel (kubectl port-forward reaches a pod's)")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header field of the request, as Name: value")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if output != "text" && output != "json" {
			return status{exitUsage, fmt.Sprintf("--output=%q is not text or json", output)}
		}
		switch {
		case server != "" && len(manifests) > 0:
			return status{exitUsage, "--server and --manifests exclude each other: write one of them"}
		case server != "":
			q := admin.Question{Method: args[0], URL: args[1], Header: headers, JSON: output == "json"}
			if err := admin.Ask(cmd.Context(), server, q, stdout); err != nil {
				return status{exitFailure, err.Error()}
			}
			return nil
		case len(manifests) == 0:
			return status{exitUsage, "explain wants to know where the objects are: --manifests DIR, or --server ADDR of a running lintel"}
		}
		to, err := opts.Translation()
		if err != nil {
			return status{exitUsage, err.Error()}
		}
		world, err := check.Load(to, manifests...)
		if err != nil {
			return status{exitUsage, err.Error()}
		}
		answer, err := world.Explain(check.Question{Method: args[0], URL: args[1], Header: headers})
		if err != nil {
			return status{exitUsage, err.Error()}
		}
		if output == "json" {
			return answer.WriteJSON(stdout)
		}
		return answer.WriteText(stdout)
	}
	return c
}
