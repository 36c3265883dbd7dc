package proxy

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

func up(stage exchange.Stage, mods ...func(*exchange.Error)) *exchange.Error {
	e := &exchange.Error{Side: exchange.SideUpstream, Stage: stage, Sent: stage >= exchange.StageReadHead, Err: errors.New("failed")}
	for _, m := range mods {
		m(e)
	}
	return e
}

func timeout(e *exchange.Error) { e.Timeout = true }
func invalid(e *exchange.Error) { e.Invalid = true }
func reused(e *exchange.Error)  { e.Reused = true }
func sent(e *exchange.Error)    { e.Sent = true }

func client(err error) *exchange.Error {
	return &exchange.Error{Side: exchange.SideClient, Stage: exchange.StageReadBody, Sent: true, Err: err}
}

func TestAttemptsAreDecidedAsNginxDoes(t *testing.T) {
	const def = config.RetryError | config.RetryTimeout
	usual := config.Retry{On: def, Tries: 3}
	bold := config.Retry{On: def, Tries: 3, NonIdempotent: true}
	for _, c := range []struct {
		what   string
		retry  config.Retry
		o      Outcome
		again  bool
		status int
	}{
		{"refused", usual, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 1}, true, 502},
		{"refused, last try", usual, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 3}, false, 502},
		{"refused, a single try", config.Retry{On: def, Tries: 1}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 1}, false, 502},
		{"connect timeout", usual, Outcome{Err: up(exchange.StageDial, timeout), Method: "GET", Tries: 3}, false, 504},
		{"read timeout", usual, Outcome{Err: up(exchange.StageReadHead, timeout), Method: "GET", Tries: 1}, true, 504},
		{"read timeout, only error listed", config.Retry{On: config.RetryError, Tries: 3}, Outcome{Err: up(exchange.StageReadHead, timeout), Method: "GET", Tries: 1}, false, 504},
		{"invalid head, not listed", usual, Outcome{Err: up(exchange.StageReadHead, invalid), Method: "GET", Tries: 1}, false, 502},
		{"invalid head, listed", config.Retry{On: config.RetryInvalidHeader, Tries: 3}, Outcome{Err: up(exchange.StageReadHead, invalid), Method: "GET", Tries: 1}, true, 502},
		{"off", config.Retry{Tries: 3}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 1}, false, 502},

		{"POST refused", usual, Outcome{Err: up(exchange.StageDial), Method: "POST", Tries: 1}, true, 502},
		{"POST sent and cut", usual, Outcome{Err: up(exchange.StageReadHead), Method: "POST", Tries: 1}, false, 502},
		{"PATCH sent and cut", usual, Outcome{Err: up(exchange.StageReadHead), Method: "PATCH", Tries: 1}, false, 502},
		{"LOCK sent and cut", usual, Outcome{Err: up(exchange.StageReadHead), Method: "LOCK", Tries: 1}, false, 502},
		{"PUT sent and cut", usual, Outcome{Err: up(exchange.StageReadHead), Method: "PUT", Tries: 1}, true, 502},
		{"DELETE sent and cut", usual, Outcome{Err: up(exchange.StageReadHead), Method: "DELETE", Tries: 1}, true, 502},
		{"POST sent and cut, non_idempotent", bold, Outcome{Err: up(exchange.StageReadHead), Method: "POST", Tries: 1}, true, 502},
		{"POST timed out before it was sent", usual, Outcome{Err: up(exchange.StageWriteRequest, timeout), Method: "POST", Tries: 1}, true, 504},

		{"stale connection does not count", usual, Outcome{Err: up(exchange.StageReadHead, reused), Method: "GET", Tries: 3}, true, 502},
		{"stale connection, POST", usual, Outcome{Err: up(exchange.StageReadHead, reused), Method: "POST", Tries: 1}, false, 502},
		{"stale connection, nothing sent, POST", usual, Outcome{Err: up(exchange.StageWriteRequest, reused), Method: "POST", Tries: 1}, true, 502},
		{"stale connections without end", usual, Outcome{Err: up(exchange.StageReadHead, reused), Method: "GET", Tries: 1, Attempts: maxAttempts}, false, 502},
		{"unlimited tries", config.Retry{On: def}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 50}, true, 502},
		{"unlimited tries have an end", config.Retry{On: def}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: maxAttempts}, false, 502},

		{"streamed body, nothing sent", usual, Outcome{Err: up(exchange.StageDial), Method: "PUT", Tries: 1, Streaming: true}, true, 502},
		{"streamed body, sent", usual, Outcome{Err: up(exchange.StageReadHead), Method: "PUT", Tries: 1, Streaming: true, Consumed: true}, false, 502},
		{"streamed body, head sent only", usual, Outcome{Err: up(exchange.StageWriteRequest, sent), Method: "PUT", Tries: 1, Streaming: true}, false, 502},
		{"streamed body, read but not sent", usual, Outcome{Err: up(exchange.StageWriteRequest), Method: "PUT", Tries: 1, Streaming: true, Consumed: true}, false, 502},

		{"within the timeout", config.Retry{On: def, Tries: 3, Timeout: time.Second}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 1, Elapsed: 999 * time.Millisecond}, true, 502},
		{"after the timeout", config.Retry{On: def, Tries: 3, Timeout: time.Second}, Outcome{Err: up(exchange.StageDial), Method: "GET", Tries: 1, Elapsed: time.Second}, false, 502},

		{"client gone", usual, Outcome{Err: up(exchange.StageReadHead), Method: "GET", Tries: 1, Gone: true}, false, 499},
		{"client gone by its body", usual, Outcome{Err: client(exchange.ErrClientGone), Method: "PUT", Tries: 1}, false, 499},
		{"client connection fails", usual, Outcome{Err: client(errors.New("reset")), Method: "PUT", Tries: 1}, false, 499},
		{"body too large", usual, Outcome{Err: client(exchange.ErrBodyTooLarge), Method: "PUT", Tries: 1}, false, 413},
		{"body too slow", usual, Outcome{Err: client(fmt.Errorf("x: %w", exchange.ErrBodyTimeout)), Method: "PUT", Tries: 1}, false, 408},
		{"body malformed", usual, Outcome{Err: client(exchange.ErrBodyFraming), Method: "PUT", Tries: 1}, false, 400},
		{"lintel's own fault", usual, Outcome{Err: &exchange.Error{Side: exchange.SideSelf, Err: errors.New("x")}, Method: "GET", Tries: 1}, false, 500},

		{"502 listed", config.Retry{On: config.Retry502, Tries: 3}, Outcome{Status: 502, Method: "GET", Tries: 1}, true, 502},
		{"502 listed, last try", config.Retry{On: config.Retry502, Tries: 3}, Outcome{Status: 502, Method: "GET", Tries: 3}, false, 502},
		{"502 not listed", usual, Outcome{Status: 502, Method: "GET", Tries: 1}, false, 502},
		{"502 listed, POST", config.Retry{On: config.Retry502, Tries: 3}, Outcome{Status: 502, Method: "POST", Tries: 1}, false, 502},
		{"502 listed, streamed", config.Retry{On: config.Retry502, Tries: 3}, Outcome{Status: 502, Method: "PUT", Tries: 1, Streaming: true}, false, 502},
		{"200", config.Retry{On: 1<<16 - 1, Tries: 3}, Outcome{Status: 200, Method: "GET", Tries: 1}, false, 200},
	} {
		d := Decide(&c.retry, c.o)
		if d.Retry != c.again || d.Status != c.status {
			t.Errorf("%s: again %v, status %d; want %v, %d", c.what, d.Retry, d.Status, c.again, c.status)
		}
	}
	for status, on := range map[int]config.RetryOn{500: config.Retry500, 503: config.Retry503, 504: config.Retry504, 403: config.Retry403, 404: config.Retry404, 429: config.Retry429} {
		if !Decide(&config.Retry{On: on, Tries: 2}, Outcome{Status: status, Method: "GET", Tries: 1}).Retry {
			t.Errorf("http_%d has no effect", status)
		}
	}
}

func TestS8_7_RetriesThatPileUpAreGivenUp(t *testing.T) {
	l := newLab(t, Deps{})
	l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	cut := func(*exchange.Exchange, *upstream.Target) error {
		return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: io.EOF}
	}
	f := l.forwarder(config.Forward{Pool: mainPool, Retry: config.Retry{On: config.RetryError | config.Retry503, Tries: 3}})
	attempts := func(answer func(*exchange.Exchange, *upstream.Target) error) int {
		l.asked, l.answer = nil, answer
		x := get()
		forward(f, x)
		finish(x)
		return len(l.asked)
	}
	busy := func(x *exchange.Exchange, _ *upstream.Target) error {
		x.Resp.Status = 503
		return nil
	}
	// More often than may be under way at once: none is counted for longer than it takes.
	for range 300 {
		if n, m := attempts(cut), attempts(busy); n != 3 || m != 3 {
			t.Fatalf("%d and %d attempts, want 3", n, m)
		}
	}
	pool := l.registry.Pool(mainPool)
	held := 0
	for pool.BeginRetry() {
		held++
	}
	if n, m := attempts(cut), attempts(busy); n != 1 || m != 1 {
		t.Errorf("with %d retries under way: %d and %d attempts, want 1", held, n, m)
	}
	for range held {
		pool.EndRetry()
	}
	if n := attempts(cut); n != 3 {
		t.Errorf("afterwards: %d attempts, want 3", n)
	}
	// A pool that empties between two attempts leaves nothing behind either.
	for range 300 {
		attempts(func(*exchange.Exchange, *upstream.Target) error {
			l.registry.Update(mainPool, nil)
			return io.EOF
		})
		l.fill(mainPool, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	}
	if n := attempts(cut); n != 3 {
		t.Errorf("after a pool that emptied: %d attempts, want 3", n)
	}
}
