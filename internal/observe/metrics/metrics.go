// Package metrics keeps the series of /metrics: the request series of
// ingress-nginx under their own names and labels (reference/operations.md 10),
// and lintel's own.
//
// A compiled route holds its Route, so that counting an exchange looks nothing up by
// text. Everything that is not a request is asked for at each scrape (Sources).
//
// What a reader gets wrong: the series nginx_ingress_controller_* exist only with
// --enable-metrics, as in ingress-nginx; /metrics answers in any case.
package metrics

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const prefix = "nginx_ingress_controller_"

// Options are the flags concerned.
type Options struct {
	Enabled          bool   // --enable-metrics
	Class            string // --controller-class
	Namespace, Pod   string // of this process
	PerHost          bool   // --metrics-per-host
	PerUndefinedHost bool   // --metrics-per-undefined-host
	StatusClasses    bool   // --report-status-classes
	// Exclude are names of request series to leave out, with or without prefix.
	Exclude                                 []string
	TimeBuckets, LengthBuckets, SizeBuckets []float64 // nil: the defaults
	// BucketFactor above 1 makes native histograms of the duration and size series.
	BucketFactor float64
	MaxBuckets   uint32
	// Version, Commit and Repository are the labels of build_info.
	Version, Commit, Repository string
}

// The buckets of ingress-nginx.
var (
	defaultTimes   = prometheus.DefBuckets
	defaultLengths = prometheus.LinearBuckets(10, 10, 10)
	defaultSizes   = prometheus.ExponentialBuckets(10, 10, 7)
)

// Metrics holds every series of a process. Its methods may be called by any number of goroutines.
type Metrics struct {
	// Registry is what /metrics gathers from.
	Registry *prometheus.Registry

	options  Options
	requests *requests
	sources  atomic.Pointer[Sources]

	mu      sync.Mutex // guards what follows
	applied applied
	leaders map[string]bool
	checks  map[[2]string]*[2]uint64
}

// applied is what is known of the last configurations.
type applied struct {
	success, errors uint64
	ok              bool
	hash            uint64
	at              time.Time
}

// New returns the metrics of a process. It fails for options that mean nothing.
func New(o Options) (*Metrics, error) {
	if o.PerUndefinedHost && !o.PerHost {
		return nil, fmt.Errorf("--metrics-per-undefined-host=true needs --metrics-per-host=true")
	}
	for _, b := range []struct {
		flag    string
		buckets *[]float64
		def     []float64
	}{
		{"--time-buckets", &o.TimeBuckets, defaultTimes},
		{"--length-buckets", &o.LengthBuckets, defaultLengths},
		{"--size-buckets", &o.SizeBuckets, defaultSizes},
	} {
		if len(*b.buckets) == 0 {
			*b.buckets = b.def
		}
		if !slices.IsSortedFunc(*b.buckets, strictly) {
			return nil, fmt.Errorf("%s: the bounds do not grow: %v", b.flag, *b.buckets)
		}
	}
	m := &Metrics{
		Registry: prometheus.NewRegistry(), options: o,
		applied: applied{ok: true}, leaders: map[string]bool{}, checks: map[[2]string]*[2]uint64{},
	}
	m.sources.Store(&Sources{})
	m.requests = newRequests(&m.options)
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newOwn(m),
	}
	if o.Enabled {
		all = append(all, m.requests, newController(m), newProcess(m))
		all = append(all, m.requests.native()...)
	}
	for _, c := range all {
		if err := m.Registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// strictly compares so that equal neighbours count as unsorted.
func strictly(a, b float64) int {
	if a > b {
		return 1
	}
	return -1
}

// constLabels are on every series but those about certificates.
func (o *Options) constLabels() prometheus.Labels {
	return prometheus.Labels{"controller_class": o.Class, "controller_namespace": o.Namespace, "controller_pod": o.Pod}
}

func (o *Options) excludes(name string) bool {
	return slices.ContainsFunc(o.Exclude, func(s string) bool {
		return strings.TrimPrefix(strings.TrimSpace(s), prefix) == name
	})
}

// Applied records that a configuration took effect (ok) or could not be applied.
func (m *Metrics) Applied(ok bool, hash uint64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied.ok = ok
	if !ok {
		m.applied.errors++
		m.applied.hash = 0 // compat: 0 after a failure
		return
	}
	m.applied.success++
	m.applied.hash, m.applied.at = hash, at
}

// Leader records whether this process leads the election called name.
func (m *Metrics) Leader(name string, leads bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.leaders[name]; known || leads { // compat: absent if never leader
		m.leaders[name] = leads
	}
}

// leads reports whether any election is led.
func (m *Metrics) leads() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, leads := range m.leaders {
		if leads {
			return true
		}
	}
	return false
}

// maxChecks bounds the Ingresses the webhook counts one by one; names come from
// whoever may create Ingresses.
const maxChecks = 10000

// Checked counts one answer of the webhook about an Ingress.
func (m *Metrics) Checked(namespace, ingress string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{namespace, ingress}
	n := m.checks[key]
	if n == nil {
		if len(m.checks) >= maxChecks {
			return
		}
		n = new([2]uint64)
		m.checks[key] = n
	}
	if ok {
		n[0]++
	} else {
		n[1]++
	}
}

// SetSources says where the rest is asked for. Functions that are nil report nothing.
func (m *Metrics) SetSources(s Sources) { m.sources.Store(&s) }
