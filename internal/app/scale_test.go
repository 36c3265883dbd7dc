package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/bench"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/observe/accesslog"
	"github.com/lintel-ingress/lintel/internal/source"
	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/source/kube"
	"github.com/lintel-ingress/lintel/internal/translate"
)

// sizes are the numbers of Ingresses measured; LINTEL_SCALE names others, "1000,10000".
func sizes(b *testing.B) []int {
	text := os.Getenv("LINTEL_SCALE")
	if text == "" {
		return []int{1_000, 10_000, 50_000}
	}
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			b.Fatalf("LINTEL_SCALE: %q is not a number of Ingresses", part)
		}
		out = append(out, n)
	}
	return out
}

// controller is everything between sources and sockets.
type controller struct {
	world    *world
	pipeline *pipeline
	snapshot *object.Snapshot
	stop     func()
}

// newController makes one that takes objects from sources. Nothing runs yet.
func newController(b testing.TB, sources ...source.Source) *controller {
	b.Helper()
	return newControllerWith(b, Defaults(), sources...)
}

func newControllerWith(b testing.TB, o Options, sources ...source.Source) *controller {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	w, err := newWorld(&o, log, accesslog.New(io.Discard, log))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(w.transport.Close)
	c := &controller{world: w, snapshot: object.NewSnapshot(), stop: func() {}}
	to := translate.DefaultOptions()
	c.pipeline = newPipeline(log, c.snapshot, func() *translate.Builder { return translate.NewBuilder(c.snapshot, to) }, w, sources)
	return c
}

// run starts pipeline and sources.
func (c *controller) run(b *testing.B, sources ...source.Source) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	g := newGroup(ctx)
	g.goes("pipeline", c.pipeline.run)
	for _, s := range sources {
		g.goes(s.Name(), func(ctx context.Context) error { return s.Run(ctx, c.pipeline) })
	}
	c.stop = func() {
		cancel()
		if err := g.stop(); err != nil {
			b.Error(err)
		}
	}
}

// serve makes a controller that serves n applications, without goroutines.
func serve(b testing.TB, n int) *controller {
	b.Helper()
	c := newController(b)
	c.take(bench.Cluster(n))
	return c
}

// take is one turn of the pipeline, without waiting for others to come.
func (c *controller) take(changes []object.Change) {
	p := c.pipeline
	p.Apply(changes)
	first := p.builder == nil
	if first {
		p.store(p.takeFast())
	} else {
		p.moveEndpoints(p.takeFast())
	}
	keys := p.store(p.takeInbox())
	if first {
		p.builder = p.make()
	}
	if len(keys) > 0 {
		p.build(keys)
	}
}

// check fails unless the n hosts are served.
func (c *controller) check(b *testing.B, n int) {
	b.Helper()
	if got := c.hosts(); got != n+1 { // and the catch-all
		b.Fatalf("%d hosts are served, want %d", got, n+1)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		if _, ok := c.match(bench.Host(i), "/"); !ok {
			b.Fatalf("%s is not served", bench.Host(i))
		}
	}
}

func (c *controller) hosts() int {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return len(c.world.hosts)
}

// match runs the first two steps of a request and reports whether an Ingress' route forwards it, or
// redirects it to HTTPS.
func (c *controller) match(host, path string) (ingress string, ok bool) {
	x := exchange.Acquire()
	defer x.Release()
	x.Conn = &exchange.Conn{Port: 80}
	x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Authority, x.Req.Path, x.Req.Target = "GET", "http", host, host, path, path
	c.world.plane.Match(x)
	v := c.world.plane.Begin(x)
	status := x.Resp.Status
	ingress = x.Route.Namespace + "/" + x.Route.Ingress
	c.world.plane.Done(x)
	return ingress, v == exchange.Continue || status == 308
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// profile writes what is on the heap to the file that LINTEL_HEAP names; use -memprofilerate 512.
func profile(b *testing.B) {
	b.Helper()
	name := os.Getenv("LINTEL_HEAP")
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(pprof.WriteHeapProfile(f), f.Close()); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what the process has used so far: where others use the machine too, it says more than a clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perSize(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range sizes(b) {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, n) })
	}
}

// BenchmarkFirstTable measures the start: how long the source takes to deliver everything, how long the
// first table takes from there, and what stays on the heap.
func BenchmarkFirstTable(b *testing.B) {
	b.Run("objects", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			measureStart(b, n, Defaults(), func(*testing.B) source.Source { return &given{bench.Cluster(n)} })
		})
	})
	b.Run("metrics", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			o := Defaults()
			o.EnableMetrics = true
			measureStart(b, n, o, func(*testing.B) source.Source { return &given{bench.Cluster(n)} })
		})
	})
	b.Run("tls", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			measureStart(b, n, Defaults(), func(*testing.B) source.Source {
				all, err := bench.WithSecrets(bench.Cluster(n), n)
				if err != nil {
					b.Fatal(err)
				}
				return &given{all}
			})
		})
	})
	b.Run("directory", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			at := b.TempDir()
			if err := bench.Write(at, n); err != nil {
				b.Fatal(err)
			}
			measureStart(b, n, Defaults(), func(b *testing.B) source.Source {
				s, err := dir.New(slog.New(slog.DiscardHandler), at)
				if err != nil {
					b.Fatal(err)
				}
				return s
			})
		})
	})
	b.Run("apiserver", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			api, err := bench.NewAPIServer(n)
			if err != nil {
				b.Fatal(err)
			}
			defer api.Close()
			measureStart(b, n, Defaults(), func(b *testing.B) source.Source { return kubeSource(b, api) })
		})
	})
}

func kubeSource(b *testing.B, api *bench.APIServer) source.Source {
	b.Helper()
	client, err := kube.NewClient(kube.ClientOptions{APIServer: api.Addr()})
	if err != nil {
		b.Fatal(err)
	}
	return kube.New(kube.Options{Client: client, Log: slog.New(slog.DiscardHandler)})
}

// given is a source of objects that never change.
type given struct{ all []object.Change }

func (*given) Name() string { return "given" }
func (g *given) Run(ctx context.Context, to source.Sink) error {
	to.Apply(g.all)
	g.all = nil // so that it does not count as memory
	to.Synced("given")
	<-ctx.Done()
	return nil
}

// timed notes when a source was synced, and what the heap holds then.
type timed struct {
	source.Sink
	at chan time.Time
}

func (t timed) Synced(name string) {
	t.at <- time.Now()
	t.Sink.Synced(name)
}

func measureStart(b *testing.B, n int, o Options, from func(*testing.B) source.Source) {
	var read, table, cpu time.Duration
	var all, objects uint64
	for b.Loop() {
		b.StopTimer()
		before := heap()
		s := from(b)
		c := newControllerWith(b, o, s)
		t := timed{c.pipeline, make(chan time.Time, 1)}
		ctx, cancel := context.WithCancel(b.Context())
		g := newGroup(ctx)
		g.goes("pipeline", c.pipeline.run)
		b.StartTimer()
		began := time.Now()
		g.goes("source", func(ctx context.Context) error { return s.Run(ctx, t) })
		synced := <-t.at
		used := cpuTime(b)
		<-c.pipeline.ready
		table += time.Since(synced)
		cpu += cpuTime(b) - used
		read += synced.Sub(began)
		b.StopTimer()
		c.check(b, n)
		all += heap() - before
		profile(b)
		// What the source and the snapshot hold, without what is built from it.
		c.pipeline.builder, c.pipeline.make = nil, nil
		c.pipeline.byService = nil
		snapshot := c.snapshot
		c.world, c.pipeline.out = nil, nil
		objects += heap() - before
		cancel()
		if err := g.stop(); err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(snapshot)
		runtime.KeepAlive(s)
		b.StartTimer()
	}
	per := float64(b.N) * float64(n)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(read.Seconds()/float64(b.N), "read-s")
	b.ReportMetric(table.Seconds()/float64(b.N), "table-s")
	b.ReportMetric(cpu.Seconds()/float64(b.N), "table-cpu-s")
	b.ReportMetric(float64(all)/per, "heap-B/ingress")
	b.ReportMetric(float64(objects)/per, "objects-B/ingress")
	b.ReportMetric(float64(all-objects)/per, "built-B/ingress")
}

// edits are the changes of one Ingress that are measured. Each returns revision k of application i.
var edits = map[string]func(i, k int) []object.Change{
	"annotation": func(i, k int) []object.Change {
		in := bench.Ingress(i)
		in.Annotations = map[string]string{"nginx.ingress.kubernetes.io/proxy-read-timeout": strconv.Itoa(10 + k)}
		return []object.Change{bench.Change(in)}
	},
	"path": func(i, k int) []object.Change {
		in := bench.Ingress(i)
		in.Spec.Rules[0].HTTP.Paths = append(in.Spec.Rules[0].HTTP.Paths, bench.Path(i, "/v"+strconv.Itoa(k)))
		return []object.Change{bench.Change(in)}
	},
	"host": func(i, k int) []object.Change {
		in := bench.Ingress(i)
		in.Spec.Rules = append(in.Spec.Rules, bench.Rule(i, fmt.Sprintf("v%d.%s", k, bench.Host(i))))
		return []object.Change{bench.Change(in)}
	},
	// Every other revision is no revision.
	"delete": func(i, k int) []object.Change {
		if k%2 == 1 {
			return []object.Change{bench.Change(bench.Ingress(i))}
		}
		return []object.Change{{Key: bench.Key(i)}}
	},
	"endpoint": func(i, k int) []object.Change { return []object.Change{bench.Change(bench.Slice(i, 1+k%3))} },
}

// BenchmarkOneChange measures what one change costs from the sink on, coalescing aside.
func BenchmarkOneChange(b *testing.B) {
	perSize(b, func(b *testing.B, n int) {
		c := serve(b, n)
		c.check(b, n)
		for _, name := range slices.Sorted(maps.Keys(edits)) {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				k := 0
				for b.Loop() {
					b.StopTimer()
					change := edits[name](n/2, k)
					b.StartTimer()
					c.take(change)
					k++
				}
				b.StopTimer()
				c.take([]object.Change{bench.Change(bench.Ingress(n / 2)), bench.Change(bench.Slice(n/2, 2))})
			})
		}
		b.Run("secret", func(b *testing.B) {
			var pairs [2]*object.Secret
			for i := range pairs {
				chain, key, err := bench.Certificate(bench.Host(n / 2))
				if err != nil {
					b.Fatal(err)
				}
				pairs[i] = bench.Secret(n/2, chain, key)
			}
			c.take([]object.Change{bench.Change(bench.WithTLS(bench.Ingress(n/2), n/2))})
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				c.take([]object.Change{bench.Change(pairs[k%2])})
				k++
			}
			b.StopTimer()
			c.take([]object.Change{bench.Change(bench.Ingress(n / 2)), {Key: bench.Change(pairs[0]).Key}})
		})
		c.check(b, n)
	})
}

// BenchmarkLive measures how long a change takes until requests see it, coalescing included: given to
// the sink, saved to a file, told by an API server.
func BenchmarkLive(b *testing.B) {
	edit := func(i, k int) *object.Ingress {
		in := bench.Ingress(i)
		in.Spec.Rules[0].Host = fmt.Sprintf("rev-%d.%s", k, bench.Host(i))
		return in
	}
	live := func(b *testing.B, n int, s source.Source, ready <-chan struct{}, put func(i int, in *object.Ingress) error) {
		c := newController(b, s)
		c.run(b, s)
		defer c.stop()
		<-c.pipeline.ready
		if ready != nil {
			<-ready
		}
		var all []time.Duration
		k := 0
		for b.Loop() {
			in := edit(n/2, k)
			host := in.Spec.Rules[0].Host
			k++
			at := time.Now()
			if err := put(n/2, in); err != nil {
				b.Fatal(err)
			}
			for {
				if _, ok := c.match(host, "/"); ok {
					break
				}
				if time.Since(at) > 30*time.Second {
					b.Fatal("the change is not served")
				}
				time.Sleep(100 * time.Microsecond)
			}
			all = append(all, time.Since(at))
		}
		slices.Sort(all)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(all[len(all)/2])/1e6, "median-ms")
		b.ReportMetric(float64(all[len(all)-1])/1e6, "max-ms")
	}
	b.Run("sink", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			s := &fed{given: given{bench.Cluster(n)}, to: make(chan source.Sink, 1)}
			var to source.Sink
			live(b, n, s, nil, func(_ int, in *object.Ingress) error {
				if to == nil {
					to = <-s.to
				}
				to.Apply([]object.Change{bench.Change(in)})
				return nil
			})
		})
	})
	b.Run("directory", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			at := b.TempDir()
			if err := bench.Write(at, n); err != nil {
				b.Fatal(err)
			}
			s, err := dir.New(slog.New(slog.DiscardHandler), filepath.Clean(at))
			if err != nil {
				b.Fatal(err)
			}
			live(b, n, s, nil, func(i int, in *object.Ingress) error { return bench.WriteApp(at, i, in) })
		})
	})
	b.Run("apiserver", func(b *testing.B) {
		perSize(b, func(b *testing.B, n int) {
			api, err := bench.NewAPIServer(n)
			if err != nil {
				b.Fatal(err)
			}
			defer api.Close()
			live(b, n, kubeSource(b, api), api.Watched(), func(_ int, in *object.Ingress) error { return api.Update(in) })
		})
	})
}

// fed is a given source that hands out its sink.
type fed struct {
	given
	to chan source.Sink
}

func (f *fed) Run(ctx context.Context, to source.Sink) error {
	f.to <- to
	return f.given.Run(ctx, to)
}

// BenchmarkLookup measures Match and Begin: host, path, request filters, choice of the pool.
func BenchmarkLookup(b *testing.B) {
	for _, n := range append([]int{10}, sizes(b)...) {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := serve(b, n)
			hosts := make([]string, 1024)
			for k := range hosts {
				hosts[k] = bench.Host(k * 7919 % n)
			}
			conn := &exchange.Conn{Port: 80}
			x := exchange.Acquire()
			b.ReportAllocs()
			k := 0
			for b.Loop() {
				host := hosts[k%len(hosts)]
				k++
				x.Conn = conn
				x.Req.Method, x.Req.Scheme, x.Req.Host, x.Req.Authority, x.Req.Path, x.Req.Target = "GET", "http", host, host, "/api/x", "/api/x"
				c.world.plane.Match(x)
				if c.world.plane.Begin(x) != exchange.Continue {
					b.Fatalf("%s answers %d", host, x.Resp.Status)
				}
				x.Release()
				x = exchange.Acquire()
			}
		})
	}
}
