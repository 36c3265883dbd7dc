package filter

import "github.com/lintel-ingress/lintel/internal/exchange"

// settled are the response fields a route's own filters decided about. Response filters run
// innermost first, so that what is meant for all responses comes last and must not
// replace what one route asked for.
type settled struct {
	names [12]string
	more  []string
	n     int
}

var settledSlot = exchange.NewSlot[settled]()

// Settle records that the response field name is decided for x. name must live as long as x.
func Settle(x *exchange.Exchange, name string) {
	s := settledSlot.Of(x)
	if s.n < len(s.names) {
		s.names[s.n] = name
		s.n++
		return
	}
	s.more = append(s.more, name)
}

// Settled reports whether the response field name is decided for x.
func Settled(x *exchange.Exchange, name string) bool {
	s := settledSlot.Peek(x)
	if s == nil {
		return false
	}
	for _, n := range s.names[:s.n] {
		if exchange.EqualFold(n, name) {
			return true
		}
	}
	for _, n := range s.more {
		if exchange.EqualFold(n, name) {
			return true
		}
	}
	return false
}
