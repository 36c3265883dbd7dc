package metrics

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// process collects nginx_process_*. compat: dashboards watch these; here they
// speak of lintel's own process, which is the only one.
type process struct {
	m *Metrics

	connections, connectionsTotal, requests         desc
	procs, resident, virtual, started, cpu, in, out desc
}

func newProcess(m *Metrics) *process {
	labels := m.options.constLabels()
	d := func(name, help string, vars ...string) desc {
		return prometheus.NewDesc(prefix+"nginx_process_"+name, help, vars, labels)
	}
	return &process{
		m:                m,
		connections:      d("connections", "Client connections by state", "state"),
		connectionsTotal: d("connections_total", "Client connections since start by state", "state"),
		requests:         d("requests_total", "Client requests since start"),
		procs:            d("num_procs", "Number of processes"),
		resident:         d("resident_memory_bytes", "Resident memory"),
		virtual:          d("virtual_memory_bytes", "Virtual memory"),
		started:          d("oldest_start_time_seconds", "Start time of the process"),
		cpu:              d("cpu_seconds_total", "CPU time"),
		in:               d("read_bytes_total", "Bytes read from storage"),
		out:              d("write_bytes_total", "Bytes written to storage"),
	}
}

func (c *process) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []desc{c.connections, c.connectionsTotal, c.requests, c.procs, c.resident, c.virtual, c.started, c.cpu, c.in, c.out} {
		ch <- d
	}
}

func (c *process) Collect(ch chan<- prometheus.Metric) {
	var n Connections
	if f := c.m.sources.Load().Connections; f != nil {
		n = f()
	}
	gauge(ch, c.connections, float64(n.Active), "active")
	gauge(ch, c.connections, float64(n.Reading), "reading")
	gauge(ch, c.connections, float64(n.Writing), "writing")
	gauge(ch, c.connections, float64(n.Waiting), "waiting")
	counter(ch, c.connectionsTotal, float64(n.Accepted), "accepted")
	counter(ch, c.connectionsTotal, float64(n.Handled), "handled")
	counter(ch, c.requests, float64(c.m.requests.total()))
	gauge(ch, c.procs, 1)
	if s, ok := readStat(); ok {
		gauge(ch, c.resident, s.resident)
		gauge(ch, c.virtual, s.virtual)
		gauge(ch, c.started, s.started)
		counter(ch, c.cpu, s.cpu)
	}
	if in, out, ok := readIO(); ok {
		counter(ch, c.in, in)
		counter(ch, c.out, out)
	}
}

// ticks per second of /proc; Linux has shown user space 100 on every platform Go knows.
const userHz = 100

type stat struct{ resident, virtual, started, cpu float64 }

// readStat reads /proc/self/stat; on systems without it the series are absent.
func readStat() (stat, bool) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return stat{}, false
	}
	boot, ok := bootTime()
	// The command's name, in parentheses, may hold anything; fields count from behind it.
	_, rest, found := bytes.Cut(text, []byte(") "))
	f := strings.Fields(string(rest))
	if !ok || !found || len(f) < 22 {
		return stat{}, false
	}
	num := func(field int) float64 { // counted as proc(5) does
		v, err := strconv.ParseFloat(f[field-3], 64)
		if err != nil {
			ok = false
		}
		return v
	}
	s := stat{
		cpu:      (num(14) + num(15)) / userHz,
		started:  boot + num(22)/userHz,
		virtual:  num(23),
		resident: num(24) * float64(os.Getpagesize()),
	}
	return s, ok
}

func bootTime() (float64, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	return numberAfter(string(text), "btime ")
}

func readIO() (in, out float64, ok bool) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, 0, false
	}
	in, okIn := numberAfter(string(text), "read_bytes: ")
	out, okOut := numberAfter(string(text), "\nwrite_bytes: ")
	return in, out, okIn && okOut
}

func numberAfter(text, word string) (float64, bool) {
	_, rest, ok := strings.Cut(text, word)
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	return v, ok && err == nil
}
