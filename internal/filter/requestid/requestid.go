// Package requestid gives every exchange its id ($req_id): the client's X-Request-ID, or 32
// random hexadecimal digits (reference/routing.md 8.3).
package requestid

import (
	"encoding/hex"
	"math/rand/v2"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config says whether ids are made.
type Config struct {
	Generate bool // generate-request-id
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "request-id" }

// Build returns the filter.
func (c Config) Build(*filter.Env) (any, error) { return &requestID{c.Generate}, nil }

// longest is the length of the longest id taken over from a client.
const longest = 256

type requestID struct{ generate bool }

var _ filter.OnRequest = (*requestID)(nil)

// Request sets x.ID. A client's id that is too long counts as none.
func (f *requestID) Request(x *exchange.Exchange) exchange.Verdict {
	if id, ok := filter.Joined(&x.Req.Header, "X-Request-ID"); ok && id != "" && len(id) <= longest {
		x.ID = id
		return exchange.Continue
	}
	x.ID = ""
	if f.generate {
		x.ID = Make()
	}
	return exchange.Continue
}

// Make returns 32 random hexadecimal digits. They identify and authorise nothing, so they
// need not be unguessable.
func Make() string {
	var raw [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	var text [32]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}
