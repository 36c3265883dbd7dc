package deny

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestDeniedRouteAnswers503(t *testing.T) {
	f, err := Config{Reason: "auth-secret: no such Secret"}.Build(&filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	defer x.Release()
	if v := f.(filter.OnRequest).Request(x); v != exchange.Reply || x.Resp.Status != 503 || !x.Resp.Denied {
		t.Errorf("verdict %v, status %d, denied %v", v, x.Resp.Status, x.Resp.Denied)
	}
	if filter.Position(Config{}.FilterName()) < 0 {
		t.Error("not in filter.Order")
	}
}
