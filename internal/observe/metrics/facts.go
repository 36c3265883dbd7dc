package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

type desc = *prometheus.Desc

func gauge(ch chan<- prometheus.Metric, d desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// controller collects what ingress-nginx reports of itself besides requests.
type controller struct {
	m *Metrics

	build, hash, ok, at, success, errors, leader desc
	checkOK, checkErrors, orphan                 desc
	expire, certificate                          desc
}

func newController(m *Metrics) *controller {
	labels := m.options.constLabels()
	d := func(name, help string, vars ...string) desc {
		return prometheus.NewDesc(prefix+name, help, vars, labels)
	}
	return &controller{
		m:       m,
		build:   d("build_info", "A metric with a constant 1 labeled with information about the build.", "release", "build", "repository"),
		hash:    d("config_hash", "Hash of the running configuration"),
		ok:      d("config_last_reload_successful", "Whether the last configuration could be applied"),
		at:      d("config_last_reload_successful_timestamp_seconds", "Time of the last configuration that was applied"),
		success: d("success", "Number of configurations applied"),
		errors:  d("errors", "Number of configurations that could not be applied"),
		leader:  d("leader_election_status", "Leader election state of this process, 1 while it leads", "name"),

		checkOK:     d("check_success", "Number of Ingresses the webhook accepted", "namespace", "ingress"),
		checkErrors: d("check_errors", "Number of Ingresses the webhook refused", "namespace", "ingress"),
		orphan:      d("orphan_ingress", "Ingresses without a Service or without endpoints", "namespace", "ingress", "type"),

		// compat: these two have the labels class and namespace instead of the constant ones.
		expire: prometheus.NewDesc(prefix+"ssl_expire_time_seconds", "Time at which a certificate expires",
			[]string{"namespace", "class", "host", "secret_name", "identifier"}, nil),
		certificate: prometheus.NewDesc(prefix+"ssl_certificate_info", "Certificates in use, with a constant 1",
			[]string{"namespace", "class", "host", "secret_name", "identifier", "issuer_organization", "issuer_common_name", "serial_number", "public_key_algorithm"}, nil),
	}
}

func (c *controller) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []desc{c.build, c.hash, c.ok, c.at, c.success, c.errors, c.leader, c.checkOK, c.checkErrors, c.orphan, c.expire, c.certificate} {
		ch <- d
	}
}

func (c *controller) Collect(ch chan<- prometheus.Metric) {
	o := &c.m.options
	gauge(ch, c.build, 1, o.Version, o.Commit, o.Repository)
	c.collectApplied(ch)
	s := c.m.sources.Load()
	if s.Orphans != nil {
		seen := map[Orphan]bool{}
		for _, i := range s.Orphans() {
			if seen[i] {
				continue
			}
			seen[i] = true
			kind := "no-endpoint"
			if i.NoService {
				kind = "no-service"
			}
			gauge(ch, c.orphan, 1, i.Namespace, i.Ingress, kind)
		}
	}
	if s.Certificates == nil {
		return
	}
	leads := c.m.leads()
	type id struct{ namespace, host, secret, identifier string }
	seen := map[id]bool{}
	for _, i := range s.Certificates() {
		k := id{i.Namespace, i.Host, i.Secret, i.Identifier}
		if seen[k] {
			continue
		}
		seen[k] = true
		if leads { // compat: only the leader reports the expiry
			gauge(ch, c.expire, float64(i.NotAfter.Unix()), i.Namespace, o.Class, i.Host, i.Secret, i.Identifier)
		}
		gauge(ch, c.certificate, 1, i.Namespace, o.Class, i.Host, i.Secret, i.Identifier,
			valid(i.IssuerOrganization), valid(i.IssuerCommonName), i.Serial, i.PublicKeyAlgorithm)
	}
}

func (c *controller) collectApplied(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	a := &c.m.applied
	gauge(ch, c.hash, float64(a.hash))
	gauge(ch, c.ok, truth(a.ok))
	at := 0.0
	if !a.at.IsZero() {
		at = float64(a.at.Unix())
	}
	gauge(ch, c.at, at)
	counter(ch, c.success, float64(a.success))
	counter(ch, c.errors, float64(a.errors))
	for name, leads := range c.m.leaders {
		gauge(ch, c.leader, truth(leads), name)
	}
	for k, n := range c.m.checks {
		counter(ch, c.checkOK, float64(n[0]), k[0], k[1])
		counter(ch, c.checkErrors, float64(n[1]), k[0], k[1])
	}
}

// own collects lintel's own series, which exist with and without --enable-metrics.
type own struct {
	m *Metrics

	generation, hosts, diagnostics, endpoints, dropped desc
}

func newOwn(m *Metrics) *own {
	d := func(name, help string, vars ...string) desc {
		return prometheus.NewDesc("lintel_"+name, help, vars, nil)
	}
	return &own{
		m:           m,
		generation:  d("generation", "Number of the published table"),
		hosts:       d("hosts", "Number of virtual hosts in the table"),
		diagnostics: d("diagnostics", "Findings about objects that stand", "code", "severity", "namespace"),
		endpoints:   d("pool_endpoints", "Endpoints of a pool", "namespace", "service", "port", "state"),
		dropped:     d("access_log_dropped_total", "Access log lines that were dropped because the log's output was too slow"),
	}
}

func (c *own) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []desc{c.generation, c.hosts, c.diagnostics, c.endpoints, c.dropped} {
		ch <- d
	}
}

func (c *own) Collect(ch chan<- prometheus.Metric) {
	s := c.m.sources.Load()
	if s.Generation != nil {
		gauge(ch, c.generation, float64(s.Generation()))
	}
	if s.Hosts != nil {
		gauge(ch, c.hosts, float64(s.Hosts()))
	}
	if s.LogDropped != nil {
		counter(ch, c.dropped, float64(s.LogDropped()))
	}
	if s.Diagnostics != nil {
		sums := map[[3]string]int{}
		for _, i := range s.Diagnostics() {
			sums[[3]string{i.Code, i.Severity, i.Namespace}] += i.Count
		}
		for k, n := range sums {
			gauge(ch, c.diagnostics, float64(n), k[0], k[1], k[2])
		}
	}
	if s.Pools != nil {
		sums := map[[3]string][2]int{}
		for _, i := range s.Pools() {
			k := [3]string{i.Namespace, i.Service, i.Port}
			sums[k] = [2]int{sums[k][0] + i.Ready, sums[k][1] + i.Ejected}
		}
		for k, n := range sums {
			gauge(ch, c.endpoints, float64(n[0]), k[0], k[1], k[2], "ready")
			gauge(ch, c.endpoints, float64(n[1]), k[0], k[1], k[2], "ejected")
		}
	}
}
