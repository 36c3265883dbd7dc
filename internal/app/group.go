package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group is goroutines that belong together: when the first of them ends, ctx ends for the others.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
	ended  chan struct{} // closed when the first one ended
	once   sync.Once
}

func newGroup(parent context.Context) *group {
	ctx, cancel := context.WithCancel(parent)
	return &group{ctx: ctx, cancel: cancel, ended: make(chan struct{})}
}

// goes runs f until the group's context ends. f returning earlier ends the group; returning nil
// while the context still runs is a fault of f.
func (g *group) goes(name string, f func(context.Context) error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		err := f(g.ctx)
		if err == nil && g.ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			g.mu.Lock()
			g.errs = append(g.errs, fmt.Errorf("%s: %w", name, err))
			g.mu.Unlock()
		}
		g.once.Do(func() { close(g.ended) })
		g.cancel()
	}()
}

// stop ends everybody and waits for them.
func (g *group) stop() error {
	g.cancel()
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
