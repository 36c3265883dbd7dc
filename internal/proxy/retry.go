package proxy

import (
	"errors"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// maxAttempts bounds every exchange.
//
// compat: proxy-next-upstream-tries 0 means no limit in the reference, which then asks a
// single dead endpoint for ever (reference/annotations.md 16).
const maxAttempts = 100

// Outcome is what one attempt came to, as far as the decision about another needs it.
type Outcome struct {
	// Err is nil when a response head came; then Status is its status.
	Err    *exchange.Error
	Status int
	Method string
	// Tries is how many attempts were made that count, this one included; Attempts all of them.
	Tries, Attempts int
	// Elapsed is the time since the first attempt began.
	Elapsed time.Duration
	// Streaming is set when the request has content that was not buffered; Consumed
	// when some of it was read already.
	Streaming, Consumed bool
	// Gone is set when the client is gone.
	Gone bool
}

// Decision says what to do after an attempt.
type Decision struct {
	// Retry asks for another attempt. Else, after a failure, the client gets Status.
	Retry  bool
	Status int
	// Free is set when the attempt does not count: it died on a connection that had been kept.
	Free bool
}

// Decide applies proxy-next-upstream to one outcome (reference/annotations.md 16, and nginx's
// ngx_http_upstream_next). It is a pure function.
func Decide(r *config.Retry, o Outcome) Decision {
	var d Decision
	var on config.RetryOn
	sent := true
	if o.Err == nil {
		d.Status = o.Status
		if on = retryStatus(o.Status); on == 0 {
			return d
		}
	} else {
		if o.Gone && o.Err.Side != exchange.SideSelf {
			d.Status = exchange.StatusClientGone
			return d
		}
		if o.Err.Side != exchange.SideUpstream {
			d.Status = statusOf(o.Err)
			return d
		}
		sent = o.Err.Sent
		on, d.Status = config.RetryError, 502
		switch {
		case o.Err.Timeout:
			on, d.Status = config.RetryTimeout, 504
		case o.Err.Invalid:
			on = config.RetryInvalidHeader
		}
		// nginx does not count an error on a kept connection: the endpoint closed it for its age.
		d.Free = o.Err.Reused && on == config.RetryError
	}
	tries := o.Tries
	if d.Free {
		tries--
	}
	limit := r.Tries
	if limit <= 0 {
		limit = maxAttempts
	}
	switch {
	case r.On&on == 0,
		tries >= limit, o.Attempts >= maxAttempts,
		sent && nonIdempotent(o.Method) && !r.NonIdempotent,
		sent && o.Streaming, o.Consumed,
		r.Timeout > 0 && o.Elapsed >= r.Timeout,
		o.Gone:
		return d
	}
	d.Retry = true
	return d
}

// nonIdempotent are the methods nginx does not repeat once the request was sent.
func nonIdempotent(method string) bool {
	return method == "POST" || method == "LOCK" || method == "PATCH"
}

func retryStatus(status int) config.RetryOn {
	switch status {
	case 500:
		return config.Retry500
	case 502:
		return config.Retry502
	case 503:
		return config.Retry503
	case 504:
		return config.Retry504
	case 403:
		return config.Retry403
	case 404:
		return config.Retry404
	case 429:
		return config.Retry429
	}
	return 0
}

// statusOf is the status for a failure that is not the endpoint's.
func statusOf(err error) int {
	switch {
	case errors.Is(err, exchange.ErrBodyTooLarge):
		return 413
	case errors.Is(err, exchange.ErrBodyTimeout):
		return 408
	case errors.Is(err, exchange.ErrBodyFraming):
		return 400
	case errors.Is(err, exchange.ErrClientGone):
		return exchange.StatusClientGone
	case errors.Is(err, ErrBuffersFull):
		return 503
	}
	var e *exchange.Error
	if errors.As(err, &e) && e.Side == exchange.SideClient {
		return exchange.StatusClientGone
	}
	return 500
}
