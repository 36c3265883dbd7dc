package bodylimit

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestContentLengthOverTheLimitIs413AndCloses(t *testing.T) {
	f, err := Config{Max: 1024}.Build(&filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	for length, want := range map[int64]int{0: 0, 1024: 0, -1: 0, 1025: 413, 1 << 60: 413} {
		x := exchange.Acquire()
		x.Req.Length = length
		f.(filter.OnRequest).Request(x)
		if x.Resp.Status != want || x.Resp.Close != (want == 413) {
			t.Errorf("length %d: status %d close %v, want %d", length, x.Resp.Status, x.Resp.Close, want)
		}
		x.Release()
	}
}

func TestZeroMeansNoLimit(t *testing.T) {
	if f, err := (Config{}).Build(&filter.Env{}); f != nil || err != nil {
		t.Errorf("Build = %v, %v", f, err)
	}
}
