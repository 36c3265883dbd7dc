package hsts

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestFieldIsSentOverTLSOnly(t *testing.T) {
	f, _ := Config{MaxAge: 31536000, Subdomains: true, Preload: true}.Build(nil)
	for scheme, want := range map[string]string{"https": "max-age=31536000; includeSubDomains; preload", "http": "max-age=1"} {
		x := exchange.Acquire()
		x.Req.Scheme = scheme
		x.Eff.Scheme = "https"
		x.Resp.Header.Add("strict-transport-security", "max-age=1")
		f.(filter.OnResponse).Response(x)
		if got := x.Resp.Header.Get(name); got != want || x.Resp.Header.Count(name) != 1 {
			t.Errorf("%s: %q", scheme, got)
		}
		x.Release()
	}
}
