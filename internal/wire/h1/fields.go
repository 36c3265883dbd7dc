package h1

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// FieldPolicy says which request field names travel.
type FieldPolicy struct {
	Underscores bool // enable-underscores-in-headers: names with "_" pass
	KeepInvalid bool // ignore-invalid-headers false: tokens with characters beyond letters, digits, "-" pass
}

// Keep reports whether a field with this valid token name travels. Names with "_" that
// read like a framing or forwarding field never do: backends fold both to one variable
// (reference/security.md R5).
func (p FieldPolicy) Keep(name string) bool {
	for i := 0; i < len(name); i++ {
		if class[name[i]]&cPlain != 0 {
			continue
		}
		if name[i] == '_' {
			return p.Underscores && !aliasOfControlled(name)
		}
		if !p.KeepInvalid {
			return false
		}
	}
	return true
}

func aliasOfControlled(name string) bool {
	n := strings.ReplaceAll(name, "_", "-")
	return ConnectionSpecific(n) || Controlled(n)
}

// ValidName reports whether s is a field name: a token, RFC 9110 5.1.
func ValidName(s string) bool { return s != "" && all(s, cToken) }

// ValidLowerName reports whether s is a field name as HTTP/2 and 3 demand it.
func ValidLowerName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if class[s[i]]&cToken == 0 || s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

// ValidValue reports whether s may stand in a field: no control characters but tab, and
// no white space at its ends. Bytes from 0x80 are allowed.
func ValidValue(s string) bool {
	if s == "" {
		return true
	}
	if isSpace(s[0]) || isSpace(s[len(s)-1]) {
		return false
	}
	return all(s, cValue)
}

// ValidMethod reports whether s is a method this data plane takes: upper-case
// letters, "_" and "-".
func ValidMethod(s string) bool { return s != "" && len(s) <= 64 && all(s, cMethod) }

// ConnectionSpecific reports whether a field belongs to one connection and its
// framing: it never enters exchange.Fields, and makes an HTTP/2 or 3 message
// malformed (RFC 9113, 8.2.2; there TE is allowed with the value "trailers").
func ConnectionSpecific(name string) bool {
	switch len(name) {
	case 2:
		return exchange.EqualFold(name, "TE")
	case 7:
		return exchange.EqualFold(name, "Upgrade")
	case 10:
		return exchange.EqualFold(name, "Connection") || exchange.EqualFold(name, "Keep-Alive")
	case 14:
		return exchange.EqualFold(name, "Content-Length") || exchange.EqualFold(name, "HTTP2-Settings")
	case 16:
		return exchange.EqualFold(name, "Proxy-Connection")
	case 17:
		return exchange.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// controlled are fields that lintel or its trusted peers set; a Connection field that
// names one of them is not obeyed (S7.5).
var controlled = [...]string{
	"Host", "Date", "Content-Type", "Content-Encoding", "Cookie", "Set-Cookie", "Authorization", "Proxy", "Trailer",
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
	"X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Original-Forwarded-For", "X-Original-Forwarded-Host",
	"X-Real-IP", "X-Scheme", "X-Request-ID", "X-Original-URI", "X-Original-URL", "X-Original-Method",
	"X-Auth-Request-Redirect", "X-Sent-From", "X-Service-Name",
	"X-Code", "X-Format", "X-Namespace", "X-Ingress-Name", "X-Service-Port",
	"Remote-User", "ssl-client-verify", "ssl-client-cert", "ssl-client-subject-dn", "ssl-client-issuer-dn",
}

// Controlled reports whether name, in any case, is a field that clients may not have
// removed by naming it in Connection.
func Controlled(name string) bool {
	for _, c := range controlled {
		if exchange.EqualFold(c, name) {
			return true
		}
	}
	return false
}

// trailerForbidden reports whether a field may not stand in a trailer section (RFC 9110, 6.5.1).
func trailerForbidden(name string) bool {
	return ConnectionSpecific(name) || Controlled(name) ||
		len(name) > 8 && exchange.EqualFold(name[:8], "Content-") ||
		exchange.EqualFold(name, "Expect") || exchange.EqualFold(name, "Range") ||
		exchange.EqualFold(name, "Location") || exchange.EqualFold(name, "WWW-Authenticate") ||
		len(name) > 6 && exchange.EqualFold(name[:6], "Proxy-")
}

// TrailerAllowed reports whether a valid name may be passed on in a trailer section.
func TrailerAllowed(name string) bool { return !trailerForbidden(name) }

// LengthValue reads a Content-Length: digits only, at most 2^63-1.
func LengthValue(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		if class[s[i]]&cDigit == 0 {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	if n > 1<<63-1 {
		return 0, false
	}
	return int64(n), true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trim(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(list string) (token, rest string) {
	if i := strings.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), ""
}

// connTokens is what the Connection fields of a head said.
type connTokens struct {
	close, keepAlive, upgrade, te bool
	named                         []string // other fields; memory is reused
}

func (c *connTokens) reset() {
	clear(c.named)
	*c = connTokens{named: c.named[:0]}
}

func (c *connTokens) add(value string) (ok bool) {
	for value != "" {
		var t string
		t, value = nextToken(value)
		switch {
		case t == "":
		case exchange.EqualFold(t, "close"):
			c.close = true
		case exchange.EqualFold(t, "keep-alive"):
			c.keepAlive = true
		case exchange.EqualFold(t, "upgrade"):
			c.upgrade = true
		case exchange.EqualFold(t, "te"):
			c.te = true
		case ConnectionSpecific(t) || Controlled(t):
		case len(c.named) == 32:
			return false
		default:
			c.named = append(c.named, t)
		}
	}
	return true
}

func (c *connTokens) strip(f *exchange.Fields) {
	for _, n := range c.named {
		f.Del(n)
	}
}
