package block

import (
	"net/netip"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestListedClientsAreRefused(t *testing.T) {
	f, err := Config{
		Networks:   filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")},
		UserAgents: []string{"BadBot/1.0", "~*gptbot*", "~^Exact"},
		Referers:   []string{"~evil"},
	}.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr, agent, referer string
		refused              bool
	}{
		{"1.2.3.4", "curl", "", false}, {"10.2.3.4", "curl", "", true}, {"1.2.3.4", "badbot/1.0", "", true}, {"1.2.3.4", "badbot/1.01", "", false},
		{"1.2.3.4", "x GPTBot y", "", true}, {"1.2.3.4", "exact", "", false}, {"1.2.3.4", "Exactly", "", true}, {"1.2.3.4", "curl", "http://evil/", true},
	} {
		x := exchange.Acquire()
		x.Client = netip.AddrPortFrom(netip.MustParseAddr(c.addr), 1)
		x.Req.Header.Add("User-Agent", c.agent)
		x.Req.Header.Add("Referer", c.referer)
		v := f.(filter.OnRequest).Request(x)
		if (v == exchange.Reply) != c.refused || (c.refused && (x.Resp.Status != 403 || !x.Resp.Denied)) {
			t.Errorf("%+v: verdict %v, status %d", c, v, x.Resp.Status)
		}
		x.Release()
	}
}

func TestS10_2_ClientOfUnknownAddressIsRefused(t *testing.T) {
	for _, c := range []struct {
		networks filter.Prefixes
		want     exchange.Verdict
	}{{filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")}, exchange.Reply}, {nil, exchange.Continue}} {
		f, err := Config{Networks: c.networks, UserAgents: []string{"x"}}.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		x := exchange.Acquire()
		if v := f.(filter.OnRequest).Request(x); v != c.want {
			t.Errorf("networks %v: %v, want %v", c.networks, v, c.want)
		}
		x.Release()
	}
}
