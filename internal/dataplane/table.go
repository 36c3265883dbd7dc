package dataplane

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/router"
)

// table is everything an exchange is matched against. It never changes once published.
type table struct {
	generation uint64
	global     *global
	hosts      *router.Hosts[*host]
}

// global is what runs for every exchange.
type global struct {
	cfg   *config.Global
	chain *chain
	keys  []string
}

// host is one compiled host, or another name of one.
type host struct {
	cfg    *config.Host
	chain  *chain
	broken bool // a filter of the host could not be built: everything answers 503
	paths  *router.Index[*route]
	routes []*route
	// located are the locations of a server-snippet, in the order of its text.
	located []location
	keys    []string
}

// route is one compiled route.
type route struct {
	cfg     *config.Route
	info    exchange.RouteInfo
	limits  exchange.Limits
	chain   *chain
	forward Forwarder
	errors  ErrorPager
	series  Series
	keys    []string
}

// lookup finds the host for a request and, where the name is another host's alias, whose
// routes serve it. Both are nil when nothing matches.
func (t *table) lookup(name string) (named, serving *host) {
	h, ok := t.hosts.Match(name)
	if !ok {
		return nil, nil
	}
	if h.cfg.AliasOf != "" {
		main, ok := t.hosts.Get(h.cfg.AliasOf)
		if !ok {
			return h, nil
		}
		return h, main
	}
	return h, h
}

// index makes the host's path index.
func (h *host) index() error {
	entries := make([]router.Entry[*route], len(h.routes))
	for i, r := range h.routes {
		entries[i] = router.Entry[*route]{Kind: router.Kind(r.cfg.Match), Path: r.cfg.Path, Value: r}
	}
	var err error
	h.paths, err = router.NewIndex(entries)
	return err
}

// retire lets go of what h held once no table names it.
func (h *host) retire(k *keeper) {
	h.chain.close()
	k.release(h.keys)
	for _, r := range h.all() {
		r.chain.close()
		if r.series != nil {
			r.series.Release()
		}
		for _, f := range []any{r.forward, r.errors} {
			if c, ok := f.(filter.Closer); ok {
				c.Close()
			}
		}
		k.release(r.keys)
	}
}
