package metrics

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

const (
	shards = 8 // a power of two
	// maxUndefined bounds the host labels that clients can make up.
	maxUndefined = 1000
)

// methods are those that get a label of their own; clients can make up others.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "OTHER"}

func methodIndex(m string) uint32 {
	for i, known := range methods[:len(methods)-1] {
		if m == known {
			return uint32(i)
		}
	}
	return uint32(len(methods) - 1)
}

// The histograms of one series.
const (
	requestDuration = iota
	responseDuration
	headerDuration
	connectDuration
	requestSize
	responseSize
	bytesSent
	histograms
)

var histogramNames = [histograms]string{
	"request_duration_seconds", "response_duration_seconds", "header_duration_seconds", "connect_duration_seconds",
	"request_size", "response_size", "bytes_sent",
}

var histogramHelp = [histograms]string{
	"Time from the first byte of a request to the last byte of its response",
	"Time an endpoint took to answer",
	"Time until an endpoint's response head",
	"Time to connect to an endpoint",
	"Length of requests: request line, header and body",
	"Length of responses: status line, header and body",
	"DEPRECATED: the same as response_size, in other buckets",
}

// requests collects the request series.
type requests struct {
	o       *Options
	count   *prometheus.Desc // nil: excluded
	hist    [histograms]*prometheus.Desc
	bounds  [histograms][]float64
	vectors [histograms]*prometheus.HistogramVec // native ones, else nil
	served  [shards]struct {
		n atomic.Uint64
		_ [56]byte
	}

	undefined  sync.Map // host → *Route
	undefinedN atomic.Int32

	mu     sync.Mutex
	routes map[routeKey]*Route
}

// routeKey holds the labels that identify a route's series.
type routeKey struct{ path, namespace, ingress, service, host string }

func newRequests(o *Options) *requests {
	r := &requests{o: o, routes: map[routeKey]*Route{}}
	names := []string{"status", "method", "path", "namespace", "ingress", "service", "canary"}
	if o.PerHost {
		names = append(names, "host")
	}
	if !o.excludes("requests") {
		r.count = prometheus.NewDesc(prefix+"requests", "Client requests", names, o.constLabels())
	}
	for i, name := range histogramNames {
		r.bounds[i] = o.TimeBuckets
		switch i {
		case requestSize, responseSize:
			r.bounds[i] = o.LengthBuckets
		case bytesSent:
			r.bounds[i] = o.SizeBuckets
		}
		switch {
		case o.excludes(name):
		case o.BucketFactor > 1 && i != bytesSent:
			r.vectors[i] = prometheus.NewHistogramVec(prometheus.HistogramOpts{
				Name: prefix + name, Help: histogramHelp[i], ConstLabels: o.constLabels(), Buckets: r.bounds[i],
				NativeHistogramBucketFactor: o.BucketFactor, NativeHistogramMaxBucketNumber: o.MaxBuckets,
			}, names)
		default:
			r.hist[i] = prometheus.NewDesc(prefix+name, histogramHelp[i], names, o.constLabels())
		}
	}
	return r
}

// native returns the collectors that keep themselves.
func (r *requests) native() []prometheus.Collector {
	var out []prometheus.Collector
	for _, v := range r.vectors {
		if v != nil {
			out = append(out, v)
		}
	}
	return out
}

func (r *requests) total() uint64 {
	var n uint64
	for i := range r.served {
		n += r.served[i].n.Load()
	}
	return n
}

// Route counts the exchanges of one route. It is made when the route is compiled and
// released when it leaves the table; the same route in two tables shares its series.
// A nil Route counts nothing.
type Route struct {
	r    *requests
	key  routeKey
	refs int // guarded by requests.mu
	// catchAll is set on routes that no Ingress made.
	catchAll bool

	set atomic.Pointer[seriesSet]
	mu  sync.Mutex // serialises growing set
}

// seriesSet lists what a route has counted so far; few entries, so a scan beats a map.
type seriesSet struct {
	keys   []uint32
	series []*series
}

// series is one combination of status, method and canary.
type series struct {
	labels []string
	native [histograms]prometheus.Observer
	shards [shards]atomic.Pointer[counts]
}

type counts struct {
	requests atomic.Uint64
	hist     [histograms]histogram
}

// histogram counts in integers: nanoseconds or bytes.
type histogram struct {
	sum     atomic.Uint64
	buckets []atomic.Uint64 // the last is +Inf; each counts its own range
}

// Route returns the counters of a route, to be released as often as returned. It is
// nil without --enable-metrics.
func (m *Metrics) Route(info *exchange.RouteInfo) *Route {
	if !m.options.Enabled {
		return nil
	}
	key := routeKey{path: info.Path, namespace: info.Namespace, ingress: info.Ingress, service: info.Service}
	if m.options.PerHost {
		key.host = info.Host
	}
	r := m.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.routes[key]
	if h == nil {
		h = &Route{r: r, key: key, catchAll: info.Host == config.CatchAll && info.Ingress == ""}
		h.set.Store(&seriesSet{})
		r.routes[key] = h
	}
	h.refs++
	return h
}

// Release removes the series when nobody else holds the route. An exchange that is
// still under way may be observed afterwards; it is not reported any more.
func (h *Route) Release() {
	if h == nil {
		return
	}
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	h.refs--
	if h.refs > 0 {
		return
	}
	delete(h.r.routes, h.key)
	// Under the lock: a route that comes back at once must not lose what it makes.
	for _, v := range h.r.vectors {
		if v == nil {
			continue
		}
		for _, s := range h.set.Load().series {
			v.DeleteLabelValues(s.labels...)
		}
	}
}

// Observe counts x, whose Stats are complete.
func (h *Route) Observe(x *exchange.Exchange) {
	if h == nil {
		return
	}
	var shard uint64
	if x.Conn != nil {
		shard = x.Conn.ID % shards
	}
	h.r.served[shard].n.Add(1)
	if h.catchAll && h.r.o.PerUndefinedHost {
		h = h.r.undefinedHost(h, x.Req.Host)
	}
	s := h.find(x)
	c := s.shards[shard].Load()
	if c == nil {
		c = h.r.newCounts()
		if !s.shards[shard].CompareAndSwap(nil, c) {
			c = s.shards[shard].Load()
		}
	}
	c.requests.Add(1)
	h.r.observe(s, c, requestDuration, int64(x.Stats.Duration))
	if len(x.Try) == 1 { // compat: with retries nginx writes a list, which does not count
		t := &x.Try[0]
		h.r.observe(s, c, responseDuration, int64(t.Response))
		h.r.observe(s, c, headerDuration, int64(t.Header))
		h.r.observe(s, c, connectDuration, int64(t.Connect))
	}
	h.r.observe(s, c, requestSize, x.Stats.RequestBytes)
	h.r.observe(s, c, responseSize, x.Stats.BytesSent)
	h.r.observe(s, c, bytesSent, x.Stats.BytesSent)
}

// observe adds one value; a negative one was never reached.
func (r *requests) observe(s *series, c *counts, which int, v int64) {
	if v < 0 {
		return
	}
	f := float64(v)
	if which <= connectDuration {
		f /= float64(time.Second)
	}
	if o := s.native[which]; o != nil {
		o.Observe(f)
		return
	}
	h := &c.hist[which]
	if h.buckets == nil {
		return // excluded
	}
	i, bounds := 0, r.bounds[which]
	for i < len(bounds) && f > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(v))
}

func (r *requests) newCounts() *counts {
	c := &counts{}
	for i := range c.hist {
		if r.hist[i] != nil {
			c.hist[i].buckets = make([]atomic.Uint64, len(r.bounds[i])+1)
		}
	}
	return c
}

// find returns the series x belongs to, and makes it at its first use.
func (h *Route) find(x *exchange.Exchange) *series {
	status := uint32(x.Resp.Status)
	if status > 999 {
		status = 0
	}
	if h.r.o.StatusClasses {
		status /= 100
	}
	key := methodIndex(x.Req.Method)<<16 | status<<1
	if x.Alt != "" {
		key |= 1
	}
	set := h.set.Load()
	for i, k := range set.keys {
		if k == key {
			return set.series[i]
		}
	}
	return h.grow(key, x, status)
}

func (h *Route) grow(key uint32, x *exchange.Exchange, status uint32) *series {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.set.Load()
	for i, k := range old.keys {
		if k == key {
			return old.series[i]
		}
	}
	text := strconv.Itoa(1000 + int(status))[1:]
	if h.r.o.StatusClasses {
		text = strconv.Itoa(int(status)) + "xx"
	}
	s := &series{labels: []string{
		text, methods[methodIndex(x.Req.Method)], valid(h.key.path), h.key.namespace, h.key.ingress, h.key.service, strings.Clone(x.Alt),
	}}
	if h.r.o.PerHost {
		s.labels = append(s.labels, valid(h.key.host))
	}
	for i, v := range h.r.vectors {
		if v != nil {
			s.native[i] = v.WithLabelValues(s.labels...)
		}
	}
	// Readers hold the old slices: append only behind what they see.
	h.set.Store(&seriesSet{
		keys:   append(old.keys[:len(old.keys):len(old.keys)], key),
		series: append(old.series[:len(old.series):len(old.series)], s),
	})
	return s
}

// undefinedHost returns the counters of a host no Ingress names; h itself when there are too many.
func (r *requests) undefinedHost(h *Route, host string) *Route {
	if host == config.CatchAll {
		return h
	}
	if own, ok := r.undefined.Load(host); ok {
		return own.(*Route)
	}
	if r.undefinedN.Load() >= maxUndefined {
		return h
	}
	host = strings.Clone(host)
	own := &Route{r: r, key: h.key}
	own.key.host = host
	own.set.Store(&seriesSet{})
	if had, loaded := r.undefined.LoadOrStore(host, own); loaded {
		return had.(*Route)
	}
	r.undefinedN.Add(1)
	return own
}

// valid makes text usable as a label.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// Describe implements prometheus.Collector.
func (r *requests) Describe(ch chan<- *prometheus.Desc) {
	if r.count != nil {
		ch <- r.count
	}
	for _, d := range r.hist {
		if d != nil {
			ch <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (r *requests) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	all := make([]*Route, 0, len(r.routes))
	for _, h := range r.routes {
		all = append(all, h)
	}
	r.mu.Unlock()
	r.undefined.Range(func(_, h any) bool { all = append(all, h.(*Route)); return true })
	for _, h := range all {
		for _, s := range h.set.Load().series {
			r.collect(ch, s)
		}
	}
}

func (r *requests) collect(ch chan<- prometheus.Metric, s *series) {
	var n uint64
	var sums [histograms]uint64
	var buckets [histograms][]uint64
	for i := range s.shards {
		c := s.shards[i].Load()
		if c == nil {
			continue
		}
		n += c.requests.Load()
		for j := range c.hist {
			h := &c.hist[j]
			sums[j] += h.sum.Load()
			if buckets[j] == nil {
				buckets[j] = make([]uint64, len(h.buckets))
			}
			for k := range h.buckets {
				buckets[j][k] += h.buckets[k].Load()
			}
		}
	}
	if r.count != nil {
		counter(ch, r.count, float64(n), s.labels...)
	}
	for j, d := range r.hist {
		if d == nil || len(buckets[j]) == 0 {
			continue
		}
		var total uint64
		cumulative := make(map[float64]uint64, len(r.bounds[j]))
		for k, v := range buckets[j] {
			total += v
			if k < len(r.bounds[j]) {
				cumulative[r.bounds[j][k]] = total
			}
		}
		if total == 0 {
			continue
		}
		sum := float64(sums[j])
		if j <= connectDuration {
			sum /= float64(time.Second)
		}
		ch <- prometheus.MustNewConstHistogram(d, total, math.Max(sum, 0), cumulative, s.labels...)
	}
}
