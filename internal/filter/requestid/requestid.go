// Package requestid gives every exchange its id ($req_id): the client's X-Request-ID, or 32
// random hexadecimal digits (reference/routing.md 8.3).
package requestid

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync"

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

const (
	digits = 32 // of an id
	many   = 64 // ids that are made together, in one allocation
)

// batch holds ids that were made together and not yet taken.
type batch struct{ left string }

var batches = sync.Pool{New: func() any { return new(batch) }}

// Make returns 32 random hexadecimal digits. They identify and authorise nothing, so they
// need not be unguessable. Whoever keeps one for long should clone it: it is part of a larger text.
func Make() string {
	b := batches.Get().(*batch)
	if b.left == "" {
		b.left = fill()
	}
	id := b.left[:digits]
	b.left = b.left[digits:]
	batches.Put(b)
	return id
}

func fill() string {
	var raw [many * digits / 2]byte
	for i := 0; i < len(raw); i += 8 {
		binary.LittleEndian.PutUint64(raw[i:], rand.Uint64())
	}
	var text [many * digits]byte
	hex.Encode(text[:], raw[:])
	return string(text[:])
}
