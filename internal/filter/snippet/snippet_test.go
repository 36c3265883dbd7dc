package snippet

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestHeadersAreSetAndRemoved(t *testing.T) {
	f, err := Config{SetHeaders: []SetHeader{
		{Name: "X-Set", Value: "set-$host"}, {Name: "X-Gone"}, {Name: "X-Twice", Value: "a"}, {Name: "X-Twice", Value: "b"},
		{Name: "X-Only-404", Value: "1", Statuses: []int{404, 500}}, {Name: "X-Only-200", Value: "1", Statuses: []int{200}},
		{Name: "X-HTML", Value: "1", Types: []string{"text/html"}}, {Name: "X-JSON", Value: "1", Types: []string{"application/json"}},
		{Name: "X-Forged", Value: "$http_x_evil"},
	}}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange.Acquire()
	defer x.Release()
	x.Req.Host = "a.test"
	x.Req.Header.Add("X-Evil", "a\nb")
	x.Resp.Status = 404
	x.Resp.Header.Add("Content-Type", "Text/HTML; charset=utf-8")
	x.Resp.Header.Add("X-Gone", "1")
	x.Resp.Header.Add("x-set", "endpoint")
	x.Resp.Header.Add("X-Forged", "old")
	f.(filter.OnResponse).Response(x)
	for name, want := range map[string]string{"X-Set": "set-a.test", "X-Gone": "", "X-Twice": "b", "X-Only-404": "1", "X-Only-200": "", "X-HTML": "1", "X-JSON": "", "X-Forged": ""} {
		if got := x.Resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
