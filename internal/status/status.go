// Package status is what lintel writes into the cluster: the addresses of served
// Ingresses, and Events about objects. Every replica serves; one of them, the
// leader, writes.
//
// What a reader gets wrong: an address is written only after the data plane serves the
// Ingress, because external DNS and deployment tools take it for readiness. And nothing here
// may disturb traffic: a failed write is tried again and told once.
package status

import (
	"context"
	"log/slog"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe"
)

// Options are the settings of a process. The flags behind them are in reference/operations.md 2.
type Options struct {
	Client kubernetes.Interface
	// Namespace and Pod are POD_NAMESPACE and POD_NAME; empty outside of a cluster, where
	// there is no election and lintel takes itself for the only replica.
	Namespace, Pod string

	ElectionID      string
	ElectionTTL     time.Duration // zero: 30 s
	DisableElection bool

	UpdateStatus    bool
	ClearOnShutdown bool
	PublishService  string   // namespace/name
	PublishAddress  []string // IP addresses and host names; goes before PublishService
	NodeInternalIP  bool
	Interval        time.Duration // between looks at everything; zero: 60 s

	// Ledger is where Events about findings come from; nil writes none of them.
	Ledger *diag.Ledger
	// Events also has Sync, CREATE, UPDATE and ConfigApplied written. CompatEvents adds RELOAD to the last.
	Events, CompatEvents bool
	// ConfigMaps are those whose changes are Events: the controller's.
	ConfigMaps []object.Key

	// Object returns a current object. It may be called from several goroutines.
	Object func(object.Key) (metav1.Object, bool)
	// Leading is told when this replica becomes the leader and when it stops being it; may be nil.
	Leading func(bool)
	Log     *slog.Logger
}

// Status writes. Make it with New. The methods that take news may be called at any
// time, from any goroutine, and never wait.
type Status struct {
	o       Options
	started time.Time
	events  *events
	fleet   *fleet
	service *watched

	mu      sync.Mutex
	leader  bool
	served  map[object.Key]struct{}
	dirty   map[object.Key]struct{} // Ingresses whose status is to be looked at
	all     bool                    // all served ones are
	written []networkingv1.IngressLoadBalancerIngress
	wake    chan struct{}
}

// New returns a Status that does nothing until Run.
func New(o Options) *Status {
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.ElectionTTL <= 0 {
		o.ElectionTTL = 30 * time.Second
	}
	s := &Status{
		o: o, started: time.Now(), served: map[object.Key]struct{}{}, dirty: map[object.Key]struct{}{}, wake: make(chan struct{}, 1),
	}
	s.events = newEvents(&s.o, s.started)
	return s
}

// Leader reports whether this replica writes.
func (s *Status) Leader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

// Served says which Ingresses the data plane serves from now on (true) and no longer
// (false). The address of one that is no longer served stays as it is.
// compat: reference/operations.md 4, last line.
func (s *Status) Served(changes map[object.Key]bool) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	for k, on := range changes {
		if on {
			s.served[k] = struct{}{}
			s.dirty[k] = struct{}{}
		} else {
			delete(s.served, k)
			delete(s.dirty, k)
		}
	}
	s.mu.Unlock()
	s.events.served(changes)
	s.poke()
}

// Changed says that objects appeared, changed or vanished. Keys of kinds that do not matter here are skipped.
func (s *Status) Changed(keys []object.Key) {
	ours := false
	s.mu.Lock()
	for _, k := range keys {
		if k.Kind != object.KindIngress {
			continue
		}
		k.Part = ""
		if _, ok := s.served[k]; ok {
			s.dirty[k] = struct{}{}
			ours = true
		}
	}
	s.mu.Unlock()
	s.events.changed(keys)
	if ours {
		s.poke()
	}
}

// Applied says that a table is in force. It becomes an Event on the own pod.
func (s *Status) Applied(generation uint64) { s.events.applied(generation) }

func (s *Status) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Status) setLeader(on bool) {
	s.mu.Lock()
	changed := s.leader != on
	s.leader = on
	s.all = s.all || on
	s.mu.Unlock()
	if !changed {
		return
	}
	if on {
		s.o.Log.Info("leader elected", observe.Identity, s.o.Pod)
	} else {
		s.o.Log.Info("leader stepped down", observe.Identity, s.o.Pod)
	}
	s.events.lead(on)
	if s.o.Leading != nil {
		s.o.Leading(on)
	}
	s.poke()
}

// Run writes until ctx ends, then takes the addresses back where that is due, and
// gives the leadership up, in this order. It returns when all of that is done; ten
// seconds at most after ctx ended.
func (s *Status) Run(ctx context.Context) error {
	// Everything but the writing itself outlives ctx, so that the end is in order.
	late, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var behind, writing sync.WaitGroup
	s.fleet = newFleet(&s.o, s.refresh)
	if s.o.Pod != "" && s.o.Namespace != "" && (s.o.DisableElection || s.nodeAddresses()) {
		behind.Go(func() { s.fleet.run(late, s.nodeAddresses()) })
	}
	if s.o.UpdateStatus && s.o.PublishService != "" && len(s.o.PublishAddress) == 0 {
		s.service = newWatchedService(&s.o, s.refresh)
		behind.Go(func() { s.service.run(late) })
	}
	electing, resign := context.WithCancel(late)
	defer resign()
	var election sync.WaitGroup
	election.Go(func() { s.elect(electing) })
	writing.Go(func() { s.events.run(ctx) })
	if s.o.UpdateStatus {
		writing.Go(func() { s.write(ctx) })
	}
	if s.o.Ledger != nil {
		cancel := s.o.Ledger.Subscribe(s.events.findings)
		defer cancel()
	}
	<-ctx.Done()
	writing.Wait()
	end, cancel := context.WithTimeout(late, 10*time.Second)
	defer cancel()
	s.clear(end)
	resign()
	election.Wait()
	stop()
	behind.Wait()
	return nil
}

// refresh has everything looked at again.
func (s *Status) refresh() {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	s.poke()
}

// nodeAddresses reports whether the addresses are those of nodes.
func (s *Status) nodeAddresses() bool {
	return s.o.UpdateStatus && s.o.PublishService == "" && len(s.o.PublishAddress) == 0
}
