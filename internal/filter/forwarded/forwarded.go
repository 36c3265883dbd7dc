// Package forwarded writes the fields that tell an endpoint who asked and how:
// Host, X-Request-ID, X-Real-IP and the X-Forwarded family (reference/routing.md 8.3).
//
// They are always lintel's own: what the client sent under these names is removed
// first, whatever its case (reference/security.md S5.2; other spellings went in package realip).
// compat: a client's Forwarded, Via and X-Forwarded-Prefix travel on, and its
// X-Forwarded-For and -Host as X-Original-Forwarded-For and -Host.
package forwarded

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is what is sent besides the constant part.
type Config struct {
	// ForHeader is the field X-Original-Forwarded-For is read from; "" is X-Forwarded-For.
	ForHeader string
	// HostHeader is the source of X-Original-Forwarded-Host; "" is X-Forwarded-Host.
	HostHeader string
	// FullFor appends the peer to the chain the client sent (use-forwarded-headers with
	// compute-full-forwarded-for) instead of sending the client's address alone.
	FullFor bool
	// OriginalURI adds X-Original-URI (proxy-add-original-uri-header).
	OriginalURI bool
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "forwarded" }

// Build returns the filter. All routes share one cache of address texts.
func (c Config) Build(env *filter.Env) (any, error) {
	if c.ForHeader == "" {
		c.ForHeader = "X-Forwarded-For"
	}
	if c.HostHeader == "" {
		c.HostHeader = "X-Forwarded-Host"
	}
	f := &forwarded{Config: c}
	if env != nil && env.Keep != nil {
		f.texts, _ = env.Keep("forwarded/addresses", func() any { return new(texts) }).(*texts)
	}
	if f.texts == nil {
		f.texts = new(texts)
	}
	return f, nil
}

type forwarded struct {
	Config
	texts *texts
}

var _ filter.OnUpstream = (*forwarded)(nil)

// Upstream writes the fields.
func (f *forwarded) Upstream(x *exchange.Exchange) {
	in, h := &x.Req.Header, &x.Up.Header
	chain, hasChain := filter.Joined(in, f.ForHeader)
	asked, hasAsked := filter.Joined(in, f.HostHeader)
	h.DelFunc(ours)

	x.Up.Authority = x.Eff.Host
	if x.ID != "" {
		h.Add("X-Request-ID", x.ID)
	}
	client := f.texts.of(x.Client.Addr())
	h.Add("X-Real-IP", client)
	if f.FullFor {
		// compat: X-Forwarded-For, whatever forwarded-for-header names.
		chain, hasChain := filter.Joined(in, "X-Forwarded-For")
		peer := x.Conn.Remote
		if x.Conn.ProxySrc.IsValid() {
			peer = x.Conn.ProxySrc
		}
		client = f.texts.of(peer.Addr())
		if hasChain && chain != "" {
			client = chain + ", " + client
		}
	}
	h.Add("X-Forwarded-For", client)
	if x.Eff.Host != "" { // HTTP/1.0 without Host
		h.Add("X-Forwarded-Host", x.Eff.Host)
	}
	if x.Eff.Port != "" {
		h.Add("X-Forwarded-Port", x.Eff.Port)
	}
	h.Add("X-Forwarded-Proto", x.Eff.Scheme)
	h.Add("X-Forwarded-Scheme", x.Eff.Scheme)
	h.Add("X-Scheme", x.Eff.Scheme)
	if f.OriginalURI {
		h.Set("X-Original-URI", x.Req.Target)
	}
	if hasChain && chain != "" {
		h.Add("X-Original-Forwarded-For", chain)
	}
	if hasAsked && asked != "" {
		h.Add("X-Original-Forwarded-Host", asked)
	}
}

// ours reports whether name is a field this package writes.
func ours(name, _ string) bool {
	if len(name) < 5 || name[0]|0x20 != 'x' || name[1] != '-' {
		return false
	}
	switch len(name) {
	case len("X-Scheme"):
		return exchange.EqualFold(name, "X-Scheme")
	case len("X-Real-IP"):
		return exchange.EqualFold(name, "X-Real-IP")
	case len("X-Request-ID"):
		return exchange.EqualFold(name, "X-Request-ID")
	case len("X-Forwarded-For"):
		return exchange.EqualFold(name, "X-Forwarded-For")
	case len("X-Forwarded-Host"): // and -Port
		return exchange.EqualFold(name, "X-Forwarded-Host") || exchange.EqualFold(name, "X-Forwarded-Port")
	case len("X-Forwarded-Proto"):
		return exchange.EqualFold(name, "X-Forwarded-Proto")
	case len("X-Forwarded-Scheme"):
		return exchange.EqualFold(name, "X-Forwarded-Scheme")
	case len("X-Original-Forwarded-For"):
		return exchange.EqualFold(name, "X-Original-Forwarded-For")
	case len("X-Original-Forwarded-Host"):
		return exchange.EqualFold(name, "X-Original-Forwarded-Host")
	}
	return false
}

// texts remembers the text of recent client addresses, so that a connection's second request
// does not make it again. It is a cache of fixed size without locks.
type texts struct {
	recent [1024]atomic.Pointer[text]
}

type text struct {
	addr netip.Addr
	s    string
}

func (t *texts) of(a netip.Addr) string {
	a = a.Unmap()
	b := a.As16()
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	p := &t.recent[h%uint32(len(t.recent))]
	if e := p.Load(); e != nil && e.addr == a {
		return e.s
	}
	e := &text{a, ""}
	if a.IsValid() {
		e.s = strings.Clone(a.String())
	}
	p.Store(e)
	return e.s
}
