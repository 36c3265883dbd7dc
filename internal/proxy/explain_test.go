package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

func TestExplainSaysWhereAndWhyNotElsewhere(t *testing.T) {
	l := canaryLab(t, 0)
	l.fill(mainPool, mainAddr, "10.0.0.2:80")
	l.fill(thirdPool, "10.0.2.1:80")
	l.registry.Pool(mainPool).Set().At(1).Suspect(time.Hour * 100_000)
	can := &config.Canary{Pool: otherPool, Header: "X-C", Key: "n-other-80"}
	text := func(f *Forwarder, fields ...string) string {
		e := f.Explain(get(fields...))
		var b []string
		for _, c := range e.Endpoints {
			b = append(b, fmt.Sprintf("%s %v %s", c.Addr, c.Picked, c.Why))
		}
		return fmt.Sprintf("%d %s; %s; %s", e.Status, e.Why, e.How, strings.Join(b, ", "))
	}
	f := l.forwarder(config.Forward{Pool: mainPool, Canary: can, Fallback: &thirdPool})
	got := text(f)
	if !strings.HasPrefix(got, "0 the route's pool: not drawn by canary-weight; round_robin; 10.0.0.1:80 true picked by round_robin, 10.0.0.2:80 false refused connections lately") {
		t.Error(got)
	}
	if got := text(f, "X-C", "always"); got != "0 the canary: the canary header says always; round_robin; 10.0.1.1:80 true picked by round_robin" {
		t.Error(got)
	}
	s := l.forwarder(config.Forward{Pool: mainPool, Affinity: sticky()})
	if got := text(s); !strings.Contains(got, "cookie r (balanced); 10.0.0.1:80 true picked for a client without a valid cookie") {
		t.Error(got)
	}
	l.fill(mainPool)
	if got := text(f); got != "0 default-backend: the route's pool has no endpoint; round_robin; 10.0.2.1:80 true picked by round_robin" {
		t.Error(got)
	}
	l.fill(thirdPool)
	if got := text(f); got != "503 no endpoint; ; " {
		t.Error(got)
	}
	if len(l.asked) != 0 {
		t.Error("explaining sent a request")
	}
}
