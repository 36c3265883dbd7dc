package hostredirect

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestNamesSchemeAndPort(t *testing.T) {
	for _, c := range []struct {
		eff              exchange.Effective
		target, location string
	}{
		{exchange.Effective{Scheme: "http", Port: "80"}, "/x?y=1", "http://s.test:80/x?y=1"},
		{exchange.Effective{Scheme: "https", Port: "443"}, "/x", "https://s.test:443/x"},
		{exchange.Effective{Scheme: "http", Port: "80"}, "/", "http://s.test:80"},
		{exchange.Effective{Scheme: "javascript:", Port: "80/x"}, "/", "http://s.test:81"},
	} {
		f, _ := Config{To: "s.test", Status: 308}.Build(nil)
		x := exchange.Acquire()
		x.Conn = &exchange.Conn{Port: 81}
		x.Eff, x.Req.Target, x.Req.Scheme = c.eff, c.target, "http"
		f.(filter.OnRequest).Request(x)
		if got := x.Resp.Header.Get("Location"); got != c.location || x.Resp.Status != 308 {
			t.Errorf("%+v %s: Location %q, want %q", c.eff, c.target, got, c.location)
		}
		x.Release()
	}
}
