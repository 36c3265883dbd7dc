package upstreamvhost

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestHostIsReplaced(t *testing.T) {
	for text, want := range map[string]string{
		"inner.svc:8080":               "inner.svc:8080",
		"$service_name.$namespace.svc": "cart.shop.svc",
		"$http_x_host":                 "client.test",
		"$http_x_absent":               "client.test",
		"a$http_x_bad":                 "client.test",
	} {
		f, err := Config{Host: text}.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		x := exchange.Acquire()
		x.Route = &exchange.RouteInfo{Namespace: "shop", Service: "cart"}
		x.Req.Header.Add("X-Host", "client.test")
		x.Req.Header.Add("X-Bad", "b c")
		x.Up.Authority = "client.test"
		f.(filter.OnUpstream).Upstream(x)
		if x.Up.Authority != want {
			t.Errorf("%s: Host %q, want %q", text, x.Up.Authority, want)
		}
		x.Release()
	}
}
