package std

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// lookAfter is how long an exchange waits for its endpoint before it starts to watch
// whether its client is still there: watching costs more than most answers take.
const lookAfter = 100 * time.Millisecond

// dial connects and shakes hands, both within the connect timeout. raw is the socket beneath nc.
func (t *Transport) dial(x *exchange.Exchange, target *upstream.Target, to timeouts, protos ...string) (nc, raw net.Conn, err *exchange.Error) {
	if err := t.checkAddress(target); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), to.connect, ErrConnect)
	defer cancel()
	ctx, stop := untilGone(ctx, x.Down)
	defer stop()

	raw, derr := t.o.Dial(ctx, "tcp", target.Endpoint.Addr.String())
	if derr != nil {
		return nil, nil, dialError(ctx, exchange.StageDial, derr)
	}
	if target.TLS == nil {
		return raw, raw, nil
	}
	cfg := target.TLS.Config
	if cfg == nil {
		raw.Close()
		return nil, nil, &exchange.Error{Side: exchange.SideSelf, Stage: exchange.StageTLS, Err: errors.New("no TLS settings")}
	}
	cfg = cfg.Clone()
	cfg.ServerName = target.TLS.Name
	cfg.NextProtos = protos
	tc := tls.Client(raw, cfg)
	if herr := tc.HandshakeContext(ctx); herr != nil {
		raw.Close()
		return nil, nil, dialError(ctx, exchange.StageTLS, herr)
	}
	if p := tc.ConnectionState().NegotiatedProtocol; p != "" && !slices.Contains(protos, p) {
		raw.Close()
		return nil, nil, &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageTLS, Err: fmt.Errorf("endpoint chose the protocol %q", p)}
	}
	return tc, raw, nil
}

func dialError(ctx context.Context, stage exchange.Stage, err error) *exchange.Error {
	e := &exchange.Error{Side: exchange.SideUpstream, Stage: stage, Err: err}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, exchange.ErrClientGone):
		e.Side, e.Err = exchange.SideClient, exchange.ErrClientGone
	case errors.Is(cause, ErrConnect):
		e.Timeout, e.Err = true, ErrConnect
	case isTimeout(err):
		e.Timeout = true
	}
	return e
}

// untilGone returns a context that also ends, with cause ErrClientGone, when the client went
// away. The caller must call stop; after it nothing touches down.
func untilGone(ctx context.Context, down exchange.Downstream) (_ context.Context, stop func()) {
	if down == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	timer := time.AfterFunc(lookAfter, func() {
		defer close(ended)
		select {
		case <-down.Gone():
			cancel(exchange.ErrClientGone)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		started := !timer.Stop()
		cancel(nil)
		if started {
			<-ended
		}
	}
}
