package status

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe"
)

const (
	parallel = 10
	// gatherFor is how long news are gathered before they are acted on.
	gatherFor = 100 * time.Millisecond
	retryMin  = time.Second
	retryMax  = time.Minute
)

// write keeps the status of served Ingresses current while this replica leads.
func (s *Status) write(ctx context.Context) {
	every := time.NewTicker(s.o.Interval)
	defer every.Stop()
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	wait, absent := retryMin, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			s.refresh()
			continue
		case <-retry.C:
		case <-s.wake:
		}
		if !pause(ctx, gatherFor) {
			return
		}
		if !s.Leader() {
			continue
		}
		to, known := s.points()
		if !known {
			// News of the Service, the pods or the nodes wake this loop.
			if !absent && s.o.PublishService != "" {
				s.o.Log.Warn("publish service not there yet; no status is written", observe.Object, "Service "+s.o.PublishService)
			}
			absent = true
			continue
		}
		absent = false
		failed := s.writeTo(ctx, s.take(to), to)
		if len(failed) == 0 {
			wait = retryMin
			continue
		}
		s.mu.Lock()
		for _, k := range failed {
			if _, ok := s.served[k]; ok {
				s.dirty[k] = struct{}{}
			}
		}
		s.mu.Unlock()
		retry.Reset(wait)
		wait = min(2*wait, retryMax)
	}
}

// take returns the Ingresses to look at: those with news, or all when the addresses are others than last time.
func (s *Status) take(to []point) []object.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []object.Key
	if s.all || !slices.EqualFunc(s.written, to, same) {
		out = slices.Collect(maps.Keys(s.served))
	} else {
		out = slices.Collect(maps.Keys(s.dirty))
	}
	s.all, s.written = false, to
	clear(s.dirty)
	return out
}

// writeTo makes to the addresses of keys, where they differ. It returns those that failed.
func (s *Status) writeTo(ctx context.Context, keys []object.Key, to []point) (failed []object.Key) {
	next := make(chan object.Key)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var first error
	for range min(parallel, len(keys)) {
		wg.Go(func() {
			for k := range next {
				if err := s.writeOne(ctx, k, to); err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = append(failed, k)
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, k := range keys {
		if s.current(k, to) {
			continue
		}
		select {
		case next <- k:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if first != nil {
		s.o.Log.Warn("status not written; trying again", observe.Count, len(failed), observe.Error, first)
	}
	return failed
}

// current reports whether an Ingress as it was last seen has the addresses.
func (s *Status) current(k object.Key, to []point) bool {
	if s.o.Object == nil {
		return false
	}
	o, ok := s.o.Object(k)
	if !ok {
		return true // gone; there is nothing to write to
	}
	in, ok := o.(*object.Ingress)
	return ok && slices.EqualFunc(tidy(in.Status.LoadBalancer.Ingress), to, same)
}

// writeOne reads an Ingress and writes its addresses. What was seen by the source is not
// sent: it is trimmed, and an update of status may carry metadata.
func (s *Status) writeOne(ctx context.Context, k object.Key, to []point) error {
	client := s.o.Client.NetworkingV1().Ingresses(k.Namespace)
	for try := 0; ; try++ {
		in, err := client.Get(ctx, k.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if slices.EqualFunc(tidy(in.Status.LoadBalancer.Ingress), to, same) {
			return nil
		}
		in.Status.LoadBalancer = networkingv1.IngressLoadBalancerStatus{Ingress: to}
		_, err = client.UpdateStatus(ctx, in, metav1.UpdateOptions{})
		switch {
		case err == nil, apierrors.IsNotFound(err):
			return nil
		case apierrors.IsConflict(err) && try < 5:
			continue
		}
		return err
	}
}

// clear takes the addresses back when this is the last replica.
// compat: reference/operations.md 5: not when several addresses are published.
func (s *Status) clear(ctx context.Context) {
	if !s.Leader() || !s.o.UpdateStatus || !s.o.ClearOnShutdown {
		return
	}
	if to, known := s.points(); known && len(to) > 1 {
		s.o.Log.Info("status kept: several addresses are published")
		return
	}
	if s.o.Pod != "" && s.o.Namespace != "" {
		n, err := s.fleet.others(ctx)
		if err != nil {
			s.o.Log.Warn("status kept: other replicas could not be counted", observe.Error, err)
			return
		}
		if n > 0 {
			s.o.Log.Info("status kept: other replicas serve", observe.Count, n)
			return
		}
	}
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.served))
	s.mu.Unlock()
	switch failed := s.writeTo(ctx, keys, nil); {
	case ctx.Err() != nil:
		s.o.Log.Warn("status not cleared everywhere: the time for it is over", observe.Count, len(keys))
	case len(failed) == 0:
		s.o.Log.Info("status cleared", observe.Count, len(keys))
	}
}

// pause waits and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
