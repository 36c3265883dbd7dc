package proxy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
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
