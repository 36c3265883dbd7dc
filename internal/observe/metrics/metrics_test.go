package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func options() Options {
	return Options{
		Enabled: true, Class: "k8s.io/ingress-nginx", Namespace: "ing", Pod: "pod-0", PerHost: true,
		Version: "v1", Commit: "abc", Repository: "repo",
	}
}

func made(t *testing.T, o Options) *Metrics {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var shop = &exchange.RouteInfo{Host: "*.shop.test", Namespace: "shop", Ingress: "web", Service: "web", ServicePort: "80", Path: "/x"}

func served(method string, status int) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{ID: 1}, Stats: exchange.Stats{Duration: 30 * time.Millisecond, RequestBytes: 78, BytesSent: 812}}
	x.Req.Method, x.Req.Host = method, "a.shop.test"
	x.Resp.Status = status
	x.Try = exchange.Attempts{{Status: status, Connect: 0, Header: 20 * time.Millisecond, Response: 25 * time.Millisecond}}
	return x
}

// find returns the metric of a family whose labels hold all of want ("k=v").
func find(t *testing.T, m *Metrics, family string, want ...string) *dto.Metric {
	t.Helper()
	all, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != family {
			continue
		}
	next:
		for _, one := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range one.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for _, w := range want {
				k, v, _ := strings.Cut(w, "=")
				if got, ok := have[k]; !ok || got != v {
					continue next
				}
			}
			return one
		}
	}
	return nil
}

func TestRequestsCarryTheLabelsOfIngressNginx(t *testing.T) {
	m := made(t, options())
	r := m.Route(shop)
	r.Observe(served("GET", 200))
	r.Observe(served("GET", 200))
	x := served("BREW", 503)
	x.Alt = "shop-canary-80"
	r.Observe(x)
	want := `
# HELP nginx_ingress_controller_requests Client requests
# TYPE nginx_ingress_controller_requests counter
nginx_ingress_controller_requests{canary="",controller_class="k8s.io/ingress-nginx",controller_namespace="ing",controller_pod="pod-0",host="*.shop.test",ingress="web",method="GET",namespace="shop",path="/x",service="web",status="200"} 2
nginx_ingress_controller_requests{canary="shop-canary-80",controller_class="k8s.io/ingress-nginx",controller_namespace="ing",controller_pod="pod-0",host="*.shop.test",ingress="web",method="OTHER",namespace="shop",path="/x",service="web",status="503"} 1
`
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "nginx_ingress_controller_requests"); err != nil {
		t.Error(err)
	}
	if got := find(t, m, "nginx_ingress_controller_nginx_process_requests_total").GetCounter().GetValue(); got != 3 {
		t.Errorf("%v requests in all, want 3", got)
	}
}

func TestHistogramsCountWhatWasReached(t *testing.T) {
	m := made(t, options())
	r := m.Route(shop)
	r.Observe(served("GET", 200))
	x := served("GET", 200)
	x.Try = append(x.Try, x.Try[0]) // retried: only the client's view counts
	r.Observe(x)
	x = served("GET", 200)
	x.Try[0].Connect, x.Try[0].Header, x.Try[0].Response = -1, -1, -1
	r.Observe(x)
	for name, want := range map[string]struct {
		count uint64
		sum   float64
	}{
		"request_duration_seconds": {3, 0.09}, "response_duration_seconds": {1, 0.025}, "header_duration_seconds": {1, 0.02},
		"connect_duration_seconds": {1, 0}, "request_size": {3, 234}, "response_size": {3, 2436}, "bytes_sent": {3, 2436},
	} {
		h := find(t, m, prefix+name).GetHistogram()
		if h.GetSampleCount() != want.count || fmt.Sprintf("%.4f", h.GetSampleSum()) != fmt.Sprintf("%.4f", want.sum) {
			t.Errorf("%s: %d samples, sum %v; want %v", name, h.GetSampleCount(), h.GetSampleSum(), want)
		}
	}
	h := find(t, m, prefix+"request_duration_seconds").GetHistogram()
	for _, b := range h.GetBucket() {
		want := uint64(0)
		if b.GetUpperBound() >= 0.05 {
			want = 3
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("le=%v has %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
		}
	}
}

func TestSeriesOutliveARebuildAndGoWithTheRoute(t *testing.T) {
	for _, factor := range []float64{0, 1.1} {
		o := options()
		o.BucketFactor = factor
		m := made(t, o)
		first := m.Route(shop)
		first.Observe(served("GET", 200))
		second := m.Route(shop)
		first.Release()
		second.Observe(served("GET", 200))
		if n := find(t, m, prefix+"requests").GetCounter().GetValue(); n != 2 {
			t.Errorf("after a rebuild: %v requests, want 2", n)
		}
		if n := find(t, m, prefix+"request_size").GetHistogram().GetSampleCount(); n != 2 {
			t.Errorf("after a rebuild: %v sizes, want 2", n)
		}
		second.Release()
		second.Observe(served("GET", 200)) // still under way
		for _, name := range []string{"requests", "request_size", "bytes_sent"} {
			if find(t, m, prefix+name) != nil {
				t.Errorf("factor %v: %s of the deleted route is still reported", factor, name)
			}
		}
	}
}

func TestUndefinedHostsAreCountedOnDemandAndBounded(t *testing.T) {
	catchAll := &exchange.RouteInfo{Host: "_", Upstream: "upstream-default-backend"}
	o := options()
	m := made(t, o)
	m.Route(catchAll).Observe(served("GET", 404))
	if find(t, m, prefix+"requests", "host=_", "ingress=") == nil {
		t.Error("the catch-all is not counted as _")
	}
	o.PerUndefinedHost = true
	m = made(t, o)
	r := m.Route(catchAll)
	for i := range maxUndefined + 10 {
		x := served("GET", 404)
		x.Req.Host = fmt.Sprintf("h%d.test", i)
		r.Observe(x)
	}
	if find(t, m, prefix+"requests", "host=h7.test") == nil {
		t.Error("an undefined host is not counted")
	}
	if n := find(t, m, prefix+"requests", "host=_").GetCounter().GetValue(); n != 10 {
		t.Errorf("%v requests beyond the bound, want 10", n)
	}
}

func TestFlagsShapeTheRequestSeries(t *testing.T) {
	o := options()
	o.PerHost, o.StatusClasses = false, true
	o.Exclude = []string{"request_size", prefix + "bytes_sent"}
	o.TimeBuckets = []float64{1}
	m := made(t, o)
	r := m.Route(shop)
	r.Observe(served("GET", 204))
	one := find(t, m, prefix+"requests", "status=2xx")
	if one == nil {
		t.Fatal("no status class")
	}
	for _, l := range one.GetLabel() {
		if l.GetName() == "host" {
			t.Error("a host label without --metrics-per-host")
		}
	}
	if find(t, m, prefix+"request_size") != nil || find(t, m, prefix+"bytes_sent") != nil {
		t.Error("excluded series are reported")
	}
	if n := len(find(t, m, prefix+"request_duration_seconds").GetHistogram().GetBucket()); n != 1 {
		t.Errorf("%d buckets, want 1", n)
	}
}

func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	for _, o := range []Options{{PerUndefinedHost: true}, {TimeBuckets: []float64{1, 1}}, {SizeBuckets: []float64{2, 1}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestWithoutEnableMetricsOnlyOurOwnSeriesExist(t *testing.T) {
	o := options()
	o.Enabled = false
	m := made(t, o)
	m.Route(shop).Observe(served("GET", 200)) // nil: counts nothing
	m.Route(shop).Release()
	m.SetSources(Sources{Generation: func() uint64 { return 7 }})
	all, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), prefix) {
			t.Errorf("%s is reported", f.GetName())
		}
	}
	if find(t, m, "lintel_generation").GetGauge().GetValue() != 7 || find(t, m, "go_goroutines") == nil {
		t.Error("lintel_generation or go_goroutines is missing")
	}
}

func TestFactsOfTheControllerAreReported(t *testing.T) {
	m := made(t, options())
	m.SetSources(Sources{
		Connections: func() Connections { return Connections{Accepted: 9, Handled: 9, Active: 3, Waiting: 2, Writing: 1} },
		Diagnostics: func() []Diagnostics {
			return []Diagnostics{{"path-conflict", "warning", "shop", 2}, {"path-conflict", "warning", "shop", 1}}
		},
		Pools: func() []Pool { return []Pool{{"shop", "web", "80", 2, 1}} },
		Certificates: func() []Certificate {
			return []Certificate{{Host: "a", Namespace: "shop", Secret: "tls", Identifier: "a-1", NotAfter: time.Unix(99, 0), IssuerCommonName: "x\xff"}}
		},
		Orphans:    func() []Orphan { return []Orphan{{"shop", "web", true}} },
		LogDropped: func() uint64 { return 4 },
	})
	if find(t, m, prefix+"config_hash") == nil {
		t.Error("config_hash must exist from the first scrape")
	}
	m.Applied(true, 42, time.Unix(1000, 0))
	m.Leader("lease", false)
	if find(t, m, prefix+"leader_election_status") != nil || find(t, m, prefix+"ssl_expire_time_seconds") != nil {
		t.Error("a process that never led reports as one")
	}
	m.Leader("lease", true)
	m.Checked("shop", "web", false)
	for _, c := range []struct {
		name  string
		want  float64
		label []string
	}{
		{prefix + "config_hash", 42, nil},
		{prefix + "config_last_reload_successful", 1, nil},
		{prefix + "config_last_reload_successful_timestamp_seconds", 1000, nil},
		{prefix + "success", 1, []string{"controller_class=k8s.io/ingress-nginx"}},
		{prefix + "leader_election_status", 1, []string{"name=lease"}},
		{prefix + "check_errors", 1, []string{"ingress=web"}},
		{prefix + "orphan_ingress", 1, []string{"type=no-service"}},
		{prefix + "ssl_expire_time_seconds", 99, []string{"host=a", "class=k8s.io/ingress-nginx"}},
		{prefix + "build_info", 1, []string{"release=v1"}},
		{prefix + "nginx_process_connections", 3, []string{"state=active"}},
		{prefix + "nginx_process_num_procs", 1, nil},
		{"lintel_diagnostics", 3, []string{"code=path-conflict"}},
		{"lintel_pool_endpoints", 1, []string{"state=ejected"}},
		{"lintel_access_log_dropped_total", 4, nil},
	} {
		one := find(t, m, c.name, c.label...)
		if one == nil {
			t.Errorf("%s%v is missing", c.name, c.label)
			continue
		}
		if got := one.GetGauge().GetValue() + one.GetCounter().GetValue(); got != c.want {
			t.Errorf("%s is %v, want %v", c.name, got, c.want)
		}
	}
	m.Applied(false, 0, time.Unix(2000, 0))
	if find(t, m, prefix+"config_hash").GetGauge().GetValue() != 0 || find(t, m, prefix+"errors").GetCounter().GetValue() != 1 {
		t.Error("a failure is not reported")
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	m := made(t, options())
	r := m.Route(shop)
	x := served("GET", 200)
	r.Observe(x)
	if n := testing.AllocsPerRun(100, func() { r.Observe(x) }); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	m, err := New(options())
	if err != nil {
		b.Fatal(err)
	}
	r := m.Route(shop)
	x := served("GET", 200)
	b.ReportAllocs()
	for b.Loop() {
		r.Observe(x)
	}
}
