package status

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/lintel-ingress/lintel/internal/observe"
)

// maxRetry is how long a replica waits between looks at the Lease at most, so that a
// leader that gave it up is followed soon.
const maxRetry = 2 * time.Second

// elect takes part in the election until ctx ends, and then gives up the Lease if it holds it.
func (s *Status) elect(ctx context.Context) {
	if s.o.DisableElection || s.o.Namespace == "" || s.o.Pod == "" {
		s.alone(ctx)
		return
	}
	ctx = klog.NewContext(ctx, logr.Discard())
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(s.electionConfig())
		if err != nil {
			// Only a wrong configuration gets here: ttl and its parts.
			s.o.Log.Error("no leader election", observe.Error, err)
			<-ctx.Done()
			return
		}
		e.Run(ctx)
		s.setLeader(false)
	}
}

func (s *Status) electionConfig() leaderelection.LeaderElectionConfig {
	// compat: reference/operations.md 5 for the Lease; giving it up and looking often is ours.
	ttl := s.o.ElectionTTL
	return leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.o.Namespace, Name: s.o.ElectionID},
			Client:     s.o.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: s.o.Pod},
		},
		LeaseDuration: ttl, RenewDeadline: ttl / 2, RetryPeriod: min(ttl/4, maxRetry), ReleaseOnCancel: true,
		Name: s.o.ElectionID,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if ctx.Err() == nil {
					s.setLeader(true)
				}
			},
			OnStoppedLeading: func() { s.setLeader(false) },
		},
	}
}

// alone leads without a Lease while there is exactly one replica.
func (s *Status) alone(ctx context.Context) {
	if s.o.Pod == "" || s.o.Namespace == "" {
		s.setLeader(true)
		<-ctx.Done()
		s.setLeader(false)
		return
	}
	for {
		changed := s.fleet.changed()
		n, known := s.fleet.replicas()
		s.setLeader(known && n == 1)
		select {
		case <-ctx.Done():
			s.setLeader(false)
			return
		case <-changed:
		}
	}
}
