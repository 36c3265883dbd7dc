package exchange

// Verdict is what a request filter decides.
type Verdict uint8

// The verdicts.
const (
	Continue Verdict = iota // go on with the next filter, then forward
	Reply                   // Resp holds the answer; response filters still run
	Drop                    // close the connection (HTTP/1) or reset the stream; no answer
	Again                   // a route's filter changed Req.Path: choose the route anew. Engines never see it
)

// Handler is the data plane as an engine sees it: the steps of one exchange,
// called in this order, never two at once for the same exchange.
type Handler interface {
	// Match finds the route; never blocks. It reports whether later steps may
	// block or transform bodies, so that an event loop parks the exchange.
	Match(x *Exchange) (mayBlock bool)
	// Begin runs the request filters.
	Begin(x *Exchange) Verdict
	// Forward gets a response from upstream; blocks. Resp.Status is 499 when the client is gone.
	Forward(x *Exchange)
	// Respond runs the response filters.
	Respond(x *Exchange)
	// Done writes logs and metrics and releases limits. Called exactly once, also after errors and panics.
	Done(x *Exchange)
}

// Serve takes x from Match to Respond on the caller's goroutine. It reports
// whether there is a response to send; without one the engine closes the
// connection or resets the stream. The caller calls Done in both cases.
func Serve(h Handler, x *Exchange) (send bool) {
	h.Match(x)
	switch h.Begin(x) {
	case Continue:
		h.Forward(x)
	case Drop:
		return false
	}
	if unsent(&x.Resp) {
		return false
	}
	h.Respond(x)
	return x.Resp.Status != StatusDrop || x.Resp.FromUpstream
}

// unsent reports whether there is nothing to send. Endpoints may use these statuses as any other.
func unsent(r *Response) bool {
	return !r.FromUpstream && (r.Status == StatusClientGone || r.Status == StatusDrop)
}

// Statuses of our own that are logged but never sent.
const (
	StatusClientGone = 499
	StatusDrop       = 444
)
