//go:build !race

package app

import "testing"

// Under the race detector pools drop things at random, so that allocations cannot be counted.
func TestAnExchangeOfADefaultRouteAllocatesNothing(t *testing.T) {
	c := variant(t, "metrics")
	for range 1000 {
		c.do() // buffers grow to their size
	}
	if n := testing.AllocsPerRun(1000, func() { c.do() }); n > 0 {
		t.Errorf("%v allocations for each exchange, want none", n)
	}
}

func TestARequestThroughSocketsAllocatesItsTwoHeadsAndItsBody(t *testing.T) {
	ask := dialled(t)
	for range 200 {
		ask()
	}
	if n := testing.AllocsPerRun(500, ask); n > 3 {
		t.Errorf("%v allocations for each request, want at most 3", n)
	}
}
