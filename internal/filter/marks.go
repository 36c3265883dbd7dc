package filter

import "github.com/lintel-ingress/lintel/internal/exchange"

// Mark is something one filter tells a later one about an exchange.
type Mark uint8

// The marks.
const (
	// NoRewrite: the rewrite phase of the route is over (nginx's break); redirect and rewrite do nothing.
	NoRewrite Mark = 1 << iota
	// NoCompress: the response is not to be compressed.
	NoCompress
	// OwnAddHeader: the route has add_header of its own, which cancels the host's.
	OwnAddHeader
	// Elsewhere: the response is made in another place of nginx's configuration, where
	// the route's fields for responses are not set (the redirect to auth-signin).
	Elsewhere
)

var markSlot = exchange.NewSlot[Mark]()

// SetMark sets m on x.
func SetMark(x *exchange.Exchange, m Mark) { *markSlot.Of(x) |= m }

// ClearMark takes m off x.
func ClearMark(x *exchange.Exchange, m Mark) {
	if p := markSlot.Peek(x); p != nil {
		*p &^= m
	}
}

// Marked reports whether m is set on x.
func Marked(x *exchange.Exchange, m Mark) bool {
	p := markSlot.Peek(x)
	return p != nil && *p&m != 0
}
