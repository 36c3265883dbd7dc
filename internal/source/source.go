// Package source is the contract of everything objects come from: the API
// server, a directory of manifests.
//
// A source upgrades old API versions at its border; behind it only the types
// of package object exist.
package source

import (
	"context"

	"github.com/lintel-ingress/lintel/internal/object"
)

// A Source delivers objects. Run sends every object that exists, then says
// Synced, then sends changes until ctx ends. Order inside one batch is free.
// Run returns nil after ctx ended, or an error that says what a person can do.
type Source interface {
	Name() string
	Run(ctx context.Context, to Sink) error
}

// Sink takes what sources deliver. Safe for concurrent use.
type Sink interface {
	Apply(batch []object.Change)
	Synced(source string)
}
