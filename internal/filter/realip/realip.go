// Package realip settles who the client is and what it asked for, before anything else looks:
// the client's address, and the effective scheme, host and port (reference/routing.md 8.1, 8.2).
//
// A forwarded field counts only where configuration says that the peer may be
// believed (reference/security.md R5). Fields no client may send at all, in any spelling, are
// removed here, so that everything behind sees only lintel's own.
package realip

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is how addresses and forwarded fields are read.
type Config struct {
	// Trusted are the networks of proxies in front (proxy-real-ip-cidr).
	Trusted filter.Prefixes
	// Proxy takes the client's address from the PROXY header (use-proxy-protocol).
	Proxy bool
	// Walk reads the address from Header, right to left over trusted entries
	// (use-forwarded-headers, enable-real-ip).
	Walk   bool
	Header string // forwarded-for-header
	// Forwarded believes X-Forwarded-Proto, -Host and -Port (use-forwarded-headers)
	// of trusted peers, and of every peer with ForwardedFromAll (proxy-real-ip-cidr is not set).
	Forwarded, ForwardedFromAll bool
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "real-ip" }

// Build returns the filter.
func (c Config) Build(*filter.Env) (any, error) {
	if c.Header == "" {
		c.Header = "X-Forwarded-For"
	}
	return &realIP{c}, nil
}

type realIP struct{ Config }

var _ filter.OnRequest = (*realIP)(nil)

// Request fills x.Client and x.Eff and drops what clients may not send.
func (r *realIP) Request(x *exchange.Exchange) exchange.Verdict {
	peer := x.Conn.Remote
	if r.Proxy && x.Conn.ProxySrc.IsValid() && r.Trusted.Contains(peer.Addr()) {
		peer = x.Conn.ProxySrc
	}
	x.Client = peer
	if r.Walk {
		x.Client = r.walk(&x.Req.Header, peer)
	}
	x.Eff.Scheme = x.Req.Scheme
	x.Eff.Host = x.Req.Authority
	if x.Eff.Host == "" {
		x.Eff.Host = x.Req.Host
	}
	x.Eff.Port = port(x)
	if r.Forwarded && (r.ForwardedFromAll || r.Trusted.Contains(peer.Addr())) {
		r.believe(x)
	}
	if r.Proxy {
		dst := x.Conn.ProxyDst
		if !dst.IsValid() {
			// compat: PROXY UNKNOWN leaves no port to pass on.
			if x.Eff.Port == port(x) {
				x.Eff.Port = ""
			}
		} else if dst.Port() == 443 {
			x.Eff.Scheme = "https"
		}
	}
	x.Req.Header.DelFunc(forbidden)
	return exchange.Continue
}

// port is the port the client connected to. The HTTPS listener's is reported as 443.
func port(x *exchange.Exchange) string {
	if dst := x.Conn.ProxyDst; dst.IsValid() {
		return portText(dst.Port())
	}
	if x.Req.Scheme == "https" {
		return "443"
	}
	return portText(x.Conn.Port)
}

func portText(p uint16) string {
	switch p {
	case 80:
		return "80"
	case 443:
		return "443"
	}
	return strconv.Itoa(int(p))
}

// believe takes over what the proxy in front says.
func (r *realIP) believe(x *exchange.Exchange) {
	h := &x.Req.Header
	if v, ok := filter.Joined(h, "X-Forwarded-Proto"); ok && v != "" {
		x.Eff.Scheme = v
	}
	if v, ok := filter.Joined(h, "X-Forwarded-Port"); ok && v != "" {
		x.Eff.Port = v
	}
	if v, ok := filter.Joined(h, "X-Forwarded-Host"); ok {
		v, _, _ = strings.Cut(v, ",")
		if v = strings.TrimSpace(v); validHost(v) {
			x.Eff.Host = v
		}
	}
}

// validHost refuses what would break a Host field or a Location (S13.1).
func validHost(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ', c >= 0x7f:
			return false
		case c == '/', c == '\\', c == '?', c == '#', c == '@', c == '"', c == '<', c == '>':
			return false
		}
	}
	return s != ""
}

// walk follows the chain from the peer to the left while who said it is trusted. compat:
// ngx_http_get_forwarded_addr; an entry that is no address ends the walk at who sent it.
func (r *realIP) walk(h *exchange.Fields, peer netip.AddrPort) netip.AddrPort {
	chain, ok := filter.Joined(h, r.Header)
	if !ok {
		return peer
	}
	current := peer
	for r.Trusted.Contains(current.Addr()) {
		chain = strings.TrimRight(chain, " ,")
		if chain == "" {
			break
		}
		entry := chain
		if i := strings.LastIndexAny(chain, ", "); i >= 0 {
			entry, chain = chain[i+1:], chain[:i]
		} else {
			chain = ""
		}
		next, ok := parseEntry(entry)
		if !ok {
			break
		}
		current = next
	}
	return current
}

// parseEntry reads an address, with a port or not. Zones are refused (S5.3).
func parseEntry(s string) (netip.AddrPort, bool) {
	var out netip.AddrPort
	if a, err := netip.ParseAddr(s); err == nil {
		out = netip.AddrPortFrom(a, 0)
	} else if ap, err := netip.ParseAddrPort(s); err == nil {
		out = ap
	} else if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		if err != nil {
			return out, false
		}
		out = netip.AddrPortFrom(a, 0)
	} else {
		return out, false
	}
	if out.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(out.Addr().Unmap(), out.Port()), true
}

// forbidden names request fields that are lintel's own to make. They are removed in every spelling
// applications fold into one: letters of either case, "_" for "-".
func forbidden(name, _ string) bool {
	if len(name) < 5 {
		return false
	}
	switch name[0] | 0x20 {
	case 's':
		return sameName(name, "ssl-client-verify") || sameName(name, "ssl-client-subject-dn") ||
			sameName(name, "ssl-client-issuer-dn") || sameName(name, "ssl-client-cert")
	case 'p':
		return sameName(name, "proxy") // httpoxy
	case 'x':
		if sameName(name, "x-original-url") || sameName(name, "x-original-method") {
			return true
		}
		// Other spellings of the fields package forwarded sets.
		return strings.IndexByte(name, '_') >= 0 && controlled(name)
	}
	return false
}

var controlledNames = [...]string{
	"x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-scheme",
	"x-forwarded-prefix", "x-scheme", "x-original-forwarded-for", "x-original-forwarded-host", "x-original-uri", "x-request-id",
}

func controlled(name string) bool {
	for _, c := range controlledNames {
		if sameName(name, c) {
			return true
		}
	}
	return false
}

// sameName compares a field name with a lower-case one, "_" and "-" being the same.
func sameName(name, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_':
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
