package balance

import (
	"testing"
	"unsafe"
)

func TestCountersOfEndpointsAndRoutesFillCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(stats{}); n != 64 {
		t.Errorf("stats has %d bytes, want 64", n)
	}
	if n := unsafe.Sizeof(roundRobin{}); n != 64 {
		t.Errorf("roundRobin has %d bytes, want 64", n)
	}
}
