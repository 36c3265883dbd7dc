package dataplane

import (
	"fmt"
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// elsewhere is an endpoint that sends requests for / to /file.
type elsewhere struct{ p *Plane }

func (e *elsewhere) Select(*exchange.Exchange) bool { return true }

func (e *elsewhere) Forward(x *exchange.Exchange) {
	x.Resp.Status, x.Resp.FromUpstream = 200, true
	h := &x.Resp.Header
	if x.Req.Path == "/file" {
		h.Add("Content-Type", "image/png")
		h.Add("Set-Cookie", "file=1")
		return
	}
	h.Add("Set-Cookie", "app=1")
	h.Add("content-disposition", "attachment")
	h.Add("Content-Type", "text/plain")
	h.Add("X-App", "1")
	e.p.Reroute(x, "/file")
}

func TestFieldsThatOutliveARequestSentElsewhere(t *testing.T) {
	e := &elsewhere{}
	e.p = New(Deps{
		Forwarder: func(string, *config.Forward, *config.Origin) (Forwarder, error) { return e, nil },
		Prepare:   func(*exchange.Exchange) {},
		Target: func(r *exchange.Request, uri string) bool {
			r.Path, r.Target = uri, uri
			return true
		},
	})
	e.p.Apply(hostWith(&config.Route{ID: "r", Path: "/", Action: config.Action{Forward: &config.Forward{}}}))
	x, _ := request(e.p, "a.test", "/")
	got := ""
	for name, value := range x.Resp.Header.All() {
		got += fmt.Sprintf("%s: %s\n", name, value)
	}
	const want = "Set-Cookie: app=1\nContent-Disposition: attachment\nContent-Type: image/png\nSet-Cookie: file=1\n"
	if got != want || x.Resp.Status != 200 {
		t.Errorf("status %d, fields\n%swant\n%s", x.Resp.Status, got, want)
	}
}
