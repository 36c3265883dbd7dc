package customheaders

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestValuesAreLiteralAndReplaceTheEndpoints(t *testing.T) {
	f, _ := Config{Fields: []exchange.Field{{Name: "X-Custom-One", Value: "two $words"}}}.Build(nil)
	x := exchange.Acquire()
	defer x.Release()
	x.Resp.Status = 404
	x.Resp.Header.Add("X-Custom-One", "backend")
	f.(filter.OnResponse).Response(x)
	if got := x.Resp.Header.Get("X-Custom-One"); got != "two $words" || !filter.Settled(x, "x-custom-one") {
		t.Errorf("got %q", got)
	}
}
