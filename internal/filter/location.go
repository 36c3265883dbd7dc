package filter

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Redirect answers x with status and a Location made of parts. Bytes that would end the field
// or could be taken for another origin are percent-encoded (reference/security.md S13.1).
func Redirect(x *exchange.Exchange, status int, parts ...string) exchange.Verdict {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = append(b, p...)
	}
	v := x.Reply(status)
	x.Resp.Header.Set("Location", SafeLocation(string(b)))
	return v
}

// SafeLocation percent-encodes what must not stand in a Location: control bytes, space, DEL and, where a browser
// would read it as "/", the backslash.
func SafeLocation(s string) string {
	unsafe := func(c byte) bool { return c <= ' ' || c == 0x7f || c == '\\' }
	bad := 0
	for i := 0; i < len(s); i++ {
		if unsafe(s[i]) {
			bad++
		}
	}
	if bad == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*bad)
	for i := 0; i < len(s); i++ {
		if c := s[i]; unsafe(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// HostOnly returns a Host field's value without its port; an IPv6 literal keeps its brackets.
func HostOnly(authority string) string {
	if strings.HasPrefix(authority, "[") {
		if end := strings.IndexByte(authority, ']'); end > 0 {
			return authority[:end+1]
		}
		return authority
	}
	host, _, _ := strings.Cut(authority, ":")
	return host
}

// PortSuffix is ":port" of the listener where use is set and the port is not the scheme's own.
func PortSuffix(x *exchange.Exchange, use bool) string {
	port := x.Conn.Port
	if !use || (x.Req.Scheme == "http" && port == 80) || (x.Req.Scheme == "https" && port == 443) {
		return ""
	}
	return ":" + strconv.Itoa(int(port))
}

// Joined returns the values of all fields called name joined by ", ", as nginx's $http_name.
// It allocates only where there are several.
func Joined(h *exchange.Fields, name string) (string, bool) {
	first, ok := h.Lookup(name)
	if !ok {
		return "", false
	}
	if h.Count(name) == 1 {
		return first, true
	}
	var b strings.Builder
	for v := range h.Values(name) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v)
	}
	return b.String(), true
}

// CleanValue reports whether s may stand in a field: a variable may have brought control
// characters along (reference/security.md S13.1).
func CleanValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f {
			return false
		}
	}
	return true
}
