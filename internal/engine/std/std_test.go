package std_test

import (
	"log/slog"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/engine"
	"github.com/lintel-ingress/lintel/internal/engine/enginetest"
	"github.com/lintel-ingress/lintel/internal/engine/std"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

func TestBlockingEngine(t *testing.T) {
	enginetest.Run(t, func(_ testing.TB, h exchange.Handler, global func() *config.Global) engine.Engine {
		return std.New(std.Options{Handler: h, Global: global, Log: slog.New(slog.DiscardHandler)})
	})
}
