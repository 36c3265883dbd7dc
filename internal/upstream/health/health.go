// Package health decides from what exchanges run into which endpoints to avoid for a
// short time.
//
// It is mild on purpose. ingress-nginx ejects nobody (reference/annotations.md 16): an
// endpoint that is broken leaves when Kubernetes takes it out. What is done here only
// keeps new exchanges from paying a connect failure each until then: an endpoint that
// refused several connections in a row is asked last for a moment. It is never taken out, so
// that a pool can not become empty by it.
package health

import (
	"time"

	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

const (
	// threshold is how many connects in a row must fail. One may be bad luck.
	threshold = 2
	// first and longest bound how long an endpoint is avoided; each failure doubles it.
	first   = time.Second
	longest = 10 * time.Second
)

// Connected notes that e accepted a connection or answered. Safe for many goroutines.
func Connected(e *balance.Endpoint) { e.Connected() }

// ConnectFailed notes that e refused a connection or did not accept it in time.
func ConnectFailed(e *balance.Endpoint, now time.Duration) {
	n := e.ConnectFailed()
	if n < threshold {
		return
	}
	d := first << min(n-threshold, 10)
	e.Suspect(now + min(d, longest))
}
