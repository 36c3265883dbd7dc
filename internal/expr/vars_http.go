package expr

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

var _ = define(map[string]Func{
	"host":                     always(host),
	"request_uri":              present(func(x *exchange.Exchange) string { return x.Req.Target }),
	"uri":                      present(func(x *exchange.Exchange) string { return x.Req.Path }),
	"document_uri":             present(func(x *exchange.Exchange) string { return x.Req.Path }),
	"args":                     args,
	"query_string":             args,
	"is_args":                  isArgs,
	"request_method":           present(func(x *exchange.Exchange) string { return x.Req.Method }),
	"scheme":                   always(func(x *exchange.Exchange) string { return x.Req.Scheme }),
	"https":                    always(https),
	"http2":                    always(http2),
	"http3":                    always(http3),
	"server_protocol":          always(func(x *exchange.Exchange) string { return x.Req.Proto.String() }),
	"content_type":             present(func(x *exchange.Exchange) string { return x.Req.Header.Get("Content-Type") }),
	"content_length":           contentLength,
	"http_host":                present(func(x *exchange.Exchange) string { return x.Req.Authority }),
	"http_upgrade":             present(func(x *exchange.Exchange) string { return x.Req.Upgrade }),
	"http_connection":          present(connectionField),
	"http_te":                  present(te),
	"http_content_length":      contentLength,
	"sent_http_content_length": sentLength,
	"sent_http_upgrade":        present(func(x *exchange.Exchange) string { return x.Resp.Upgrade }),
	"escaped_request_uri": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendURIComponent(dst, x.Req.Target), true
	},

	"best_http_host":     always(func(x *exchange.Exchange) string { return x.Eff.Host }),
	"pass_access_scheme": always(func(x *exchange.Exchange) string { return x.Eff.Scheme }),
	"pass_port":          always(func(x *exchange.Exchange) string { return x.Eff.Port }),
	"server_port":        serverPort,
	"pass_server_port":   serverPort,

	"remote_addr":        func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendAddr(dst, x.Client.Addr()) },
	"the_real_ip":        func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendAddr(dst, x.Client.Addr()) },
	"remote_port":        func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendPort(dst, x.Client.Port()) },
	"binary_remote_addr": binaryAddr,
	"realip_remote_addr": func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendAddr(dst, peer(x).Addr()) },
	"realip_remote_port": func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendPort(dst, peer(x).Port()) },
	"server_addr":        func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return appendAddr(dst, conn(x).Local.Addr()) },
	"proxy_protocol_addr": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendAddr(dst, conn(x).ProxySrc.Addr())
	},
	"proxy_protocol_port": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendPort(dst, conn(x).ProxySrc.Port())
	},
	"proxy_protocol_server_addr": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendAddr(dst, conn(x).ProxyDst.Addr())
	},
	"proxy_protocol_server_port": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendPort(dst, conn(x).ProxyDst.Port())
	},

	"proxy_add_x_forwarded_for": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendForwardedFor(dst, x, x.Client.Addr()), true
	},
	"full_x_forwarded_for": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendForwardedFor(dst, x, peer(x).Addr()), true
	},
})

// host is the host of the request, else the name of the host that serves it.
func host(x *exchange.Exchange) string {
	if x.Req.Host != "" {
		return x.Req.Host
	}
	return serverName(x)
}

// compat: $args is absent without a "?", and empty with nothing behind it.
func args(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	return append(dst, x.Req.Query...), x.Req.HasQuery
}

func isArgs(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	if x.Req.Query != "" {
		dst = append(dst, '?')
	}
	return dst, true
}

func https(x *exchange.Exchange) string {
	if x.Req.Scheme == "https" {
		return "on"
	}
	return ""
}

func http2(x *exchange.Exchange) string {
	switch {
	case x.Req.Proto != exchange.HTTP2:
		return ""
	case conn(x).TLS != nil:
		return "h2"
	}
	return "h2c"
}

func http3(x *exchange.Exchange) string {
	if x.Req.Proto == exchange.HTTP3 {
		return "h3"
	}
	return ""
}

func te(x *exchange.Exchange) string {
	if x.Req.TETrailer {
		return "trailers"
	}
	return ""
}

// connectionField is $http_connection; only an upgrade is left of the field here.
func connectionField(x *exchange.Exchange) string {
	if x.Req.Upgrade != "" {
		return "upgrade"
	}
	return ""
}

func contentLength(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	if x.Req.Length < 0 || x.Req.Length == 0 && x.Req.Body == nil {
		return dst, false
	}
	return strconv.AppendInt(dst, x.Req.Length, 10), true
}

func sentLength(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	if x.Resp.Length < 0 {
		return dst, false
	}
	return strconv.AppendInt(dst, x.Resp.Length, 10), true
}

func serverPort(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	return strconv.AppendUint(dst, uint64(conn(x).Port), 10), true
}

// peer is who connected, before real-IP processing. compat: that is the TCP peer,
// also behind the PROXY protocol.
func peer(x *exchange.Exchange) netip.AddrPort { return conn(x).Remote }

func appendAddr(dst []byte, a netip.Addr) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return a.Unmap().WithZone("").AppendTo(dst), true
}

// appendPort appends p. compat: a port that is not known is empty.
func appendPort(dst []byte, p uint16) ([]byte, bool) {
	if p == 0 {
		return dst, true
	}
	return strconv.AppendUint(dst, uint64(p), 10), true
}

func binaryAddr(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	a := x.Client.Addr().Unmap()
	switch {
	case a.Is4():
		b := a.As4()
		return append(dst, b[:]...), true
	case a.Is6():
		b := a.As16()
		return append(dst, b[:]...), true
	}
	return dst, false
}

func appendForwardedFor(dst []byte, x *exchange.Exchange, last netip.Addr) []byte {
	dst, found := appendField(dst, &x.Req.Header, "x_forwarded_for", ", ")
	if found {
		dst = append(dst, ", "...)
	}
	dst, _ = appendAddr(dst, last) // an invalid address adds nothing
	return dst
}

// sameField reports whether a field is called name, which is lower case with "_" for "-".
func sameField(field, name string) bool {
	if len(field) != len(name) {
		return false
	}
	for i := 0; i < len(field); i++ {
		c := field[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '-':
			c = '_'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// appendField appends all values of a field. compat: several are joined, with "; " for Cookie.
func appendField(dst []byte, f *exchange.Fields, name, join string) ([]byte, bool) {
	found := false
	for i := range f.Len() {
		if one := f.At(i); sameField(one.Name, name) {
			if found {
				dst = append(dst, join...)
			}
			dst = append(dst, one.Value...)
			found = true
		}
	}
	return dst, found
}

func requestField(name string) Func {
	join := ", "
	if name == "cookie" {
		join = "; "
	}
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendField(dst, &x.Req.Header, name, join)
	}
}

func sentField(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendField(dst, &x.Resp.Header, name, ", ")
	}
}

func sentTrailer(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendField(dst, &x.Resp.Trailer, name, ", ")
	}
}

func upstreamField(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		if !x.Resp.FromUpstream {
			return dst, false
		}
		if name == "content_length" {
			return sentLength(dst, x)
		}
		return appendField(dst, &x.Resp.Header, name, ", ")
	}
}

func upstreamTrailer(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		if !x.Resp.FromUpstream {
			return dst, false
		}
		return appendField(dst, &x.Resp.Trailer, name, ", ")
	}
}

// requestCookie is $cookie_NAME. compat: the name has no case (it is lower case by now).
func requestCookie(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		for i := range x.Req.Header.Len() {
			f := x.Req.Header.At(i)
			if !exchange.EqualFold(f.Name, "Cookie") {
				continue
			}
			rest := f.Value
			for rest != "" {
				var pair string
				pair, rest, _ = strings.Cut(rest, ";")
				k, v, ok := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
				if ok && exchange.EqualFold(k, name) {
					return append(dst, strings.TrimRight(v, " \t")...), true
				}
			}
		}
		return dst, false
	}
}

func upstreamCookie(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		if !x.Resp.FromUpstream {
			return dst, false
		}
		for i := range x.Resp.Header.Len() {
			f := x.Resp.Header.At(i)
			if !exchange.EqualFold(f.Name, "Set-Cookie") {
				continue
			}
			pair, _, _ := strings.Cut(f.Value, ";")
			k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if ok && exchange.EqualFold(k, name) {
				return append(dst, v...), true
			}
		}
		return dst, false
	}
}

// argument is $arg_NAME: the raw value of the first argument of that name, without case.
func argument(name string) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		rest := x.Req.Query
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, "&")
			k, v, ok := strings.Cut(pair, "=")
			if ok && exchange.EqualFold(k, name) {
				return append(dst, v...), true
			}
		}
		return dst, false
	}
}
