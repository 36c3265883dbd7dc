package health

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

func TestEndpointIsAvoidedLongerWithEachFailureAndForgivenAtOnce(t *testing.T) {
	e := balance.NewEndpoint(netip.MustParseAddrPort("10.0.0.1:80"), "")
	now := time.Minute
	for i, want := range []int{0, 1, 2, 4, 8, 10, 10, 10} {
		ConnectFailed(e, now)
		until, ok := e.SuspectUntil(now)
		if ok != (want > 0) || ok && until-now != time.Duration(want)*time.Second {
			t.Errorf("after %d failures avoided %v for %v, want %ds", i+1, ok, until-now, want)
		}
	}
	if _, ok := e.SuspectUntil(now + 11*time.Second); ok {
		t.Error("still avoided after its time")
	}
	Connected(e)
	if _, ok := e.SuspectUntil(now); ok {
		t.Error("avoided although it answered")
	}
	ConnectFailed(e, now)
	if _, ok := e.SuspectUntil(now); ok {
		t.Error("one failure after a success is enough to avoid it")
	}
}
