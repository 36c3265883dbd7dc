//go:build !race

package app

import (
	"runtime"
	"testing"

	"github.com/lintel-ingress/lintel/internal/bench"
)

// The figures of docs/dev/scale.md, with room for other machines. Not under the race detector,
// which makes other allocations.

func TestASimpleIngressTakesLessThan12KB(t *testing.T) {
	const n = 4000
	before := heap()
	c := serve(t, n)
	if got := (int64(heap()) - int64(before)) / n; got >= 12<<10 {
		t.Errorf("%d bytes of heap for each Ingress with its Service, endpoints and objects, want less than %d", got, 12<<10)
	}
	runtime.KeepAlive(c)
}

func TestOneChangeDoesNotLookAtTheOthers(t *testing.T) {
	small, large := serve(t, 100), serve(t, 3000)
	for name, edit := range edits {
		measure := func(c *controller) float64 {
			k := 0
			return testing.AllocsPerRun(10, func() {
				c.take(edit(50, k))
				k++
			})
		}
		if a, b := measure(small), measure(large); b > a+30 {
			t.Errorf("%s: %v allocations among 3000 Ingresses, %v among 100", name, b, a)
		}
	}
	for _, c := range []*controller{small, large} {
		if _, ok := c.match(bench.Host(51), "/"); !ok {
			t.Errorf("%s is not served any more", bench.Host(51))
		}
	}
}
