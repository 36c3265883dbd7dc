package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lintel-ingress/lintel/internal/echo"
)

// echoCommand is the backend of the demo and of end-to-end tests.
func echoCommand() *cobra.Command {
	var listen string
	var grace, linger time.Duration
	c := &cobra.Command{
		Use:    "echo",
		Short:  "Answer HTTP requests with what was received (for trying things)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return status{exitFailure, fmt.Sprintf("echo: listen %s: %v (choose another address with --listen)", listen, err)}
			}
			pod := os.Getenv("POD_NAME")
			if pod == "" {
				pod = l.Addr().String()
			}
			// Go on answering for a while after SIGTERM: those who route here need time to notice.
			ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context()))
			defer cancel()
			context.AfterFunc(c.Context(), func() { time.AfterFunc(linger, cancel) })
			return echo.Serve(ctx, l, pod, grace)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:3000", "address to listen on")
	c.Flags().DurationVar(&grace, "grace", 5*time.Second, "how long to finish what is in flight")
	c.Flags().DurationVar(&linger, "linger", 0, "how long to go on accepting after SIGTERM")
	return c
}
