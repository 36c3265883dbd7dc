// Package h1 is lintel's own HTTP/1 codec: heads, chunks and framing decisions,
// strict and without I/O. Engines and transports bring the bytes.
//
// It stands at both edges: the engines parse requests and write responses with it,
// the transports write requests and parse responses. What it accepts follows RFC 9112
// where ingress-nginx does not observably differ (reference/routing.md 9 and 10).
//
// What a reader gets wrong: the strings of one head are substrings of one copy of
// it. Keeping one alive keeps the whole head alive; strings.Clone what must last.
package h1

import "fmt"

// Limits bound one request head and say which odd fields pass. The zero value
// stands for the defaults of ingress-nginx.
type Limits struct {
	Line   int // longest request line or field line, line end included; 0: 8192 (large-client-header-buffers)
	Total  int // what large buffers of Line bytes may hold together, see Max; 0: four times Line
	Fields int // largest number of fields; 0: 1000
	// Policy says which field names travel.
	Policy FieldPolicy
	// Upgrades are the tokens that may be asked for, as they are to be sent; nil: websocket and SPDY/3.1.
	Upgrades []string
}

// The defaults of Limits.
const (
	DefaultLine   = 8 << 10
	DefaultFields = 1000
	// MaxTrailer bounds a trailer section and, on its own, the chunk extensions of a body (S8.6).
	MaxTrailer = 16 << 10
	// firstBuffer is client-header-buffer-size, which large buffers come on top of.
	firstBuffer = 1 << 10
)

var defaultUpgrades = []string{"websocket", "SPDY/3.1"}

func (l *Limits) line() int {
	if l.Line > 0 {
		return l.Line
	}
	return DefaultLine
}

func (l *Limits) total() int {
	if l.Total > 0 {
		return l.Total
	}
	return 4 * l.line()
}

// Max is the longest head in bytes. Few heads may be as long: lines are packed into buffers as nginx does.
func (l *Limits) Max() int { return firstBuffer + l.total() }

func (l *Limits) fields() int {
	if l.Fields > 0 {
		return l.Fields
	}
	return DefaultFields
}

func (l *Limits) upgrades() []string {
	if l.Upgrades != nil {
		return l.Upgrades
	}
	return defaultUpgrades
}

// StatusHeadTooLarge is nginx's 494: answered as 400 "Request Header Or Cookie Too Large".
const StatusHeadTooLarge = 494

// HeadError says why a request cannot be accepted and how to answer. The
// connection is always closed afterwards.
type HeadError struct {
	Status int // 400, 405, 414, 494 (StatusHeadTooLarge), 501, 505
	Reason string
}

func (e *HeadError) Error() string { return fmt.Sprintf("%s (status %d)", e.Reason, e.Status) }

func bad(reason string) *HeadError { return &HeadError{400, reason} }

// Framing says how the end of a body is found.
type Framing uint8

// The framings.
const (
	FrameNone       Framing = iota // no body
	FrameLength                    // Content-Length
	FrameChunked                   // Transfer-Encoding: chunked
	FrameUntilClose                // the end of the connection; responses only
)

func (f Framing) String() string {
	return [...]string{"none", "length", "chunked", "until close"}[f]
}

// Character classes.
const (
	cToken  = 1 << iota // RFC 9110 5.6.2
	cPlain              // letters, digits, "-": what nginx takes for a field name
	cValue              // allowed inside a field value
	cTarget             // allowed inside a request target
	cHost               // allowed in a registered name, RFC 3986 3.2.2
	cMethod             // letters nginx takes for a method
	cDigit
	cHex
)

var class = classes()

func classes() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		digit := c >= '0' && c <= '9'
		upper := c >= 'A' && c <= 'Z'
		lower := c >= 'a' && c <= 'z'
		alnum := digit || upper || lower
		if alnum || in(c, "!#$%&'*+-.^_`|~") {
			t[i] |= cToken
		}
		if alnum || c == '-' {
			t[i] |= cPlain
		}
		if c == '\t' || c >= 0x20 && c != 0x7f {
			t[i] |= cValue
		}
		if c > 0x20 && c != 0x7f {
			t[i] |= cTarget
		}
		if alnum || in(c, "-._~!$&'()*+,;=%") {
			t[i] |= cHost
		}
		if upper || c == '_' || c == '-' {
			t[i] |= cMethod
		}
		if digit {
			t[i] |= cDigit
		}
		if digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[i] |= cHex
		}
	}
	return t
}

func in(c byte, set string) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

func all(s string, mask uint8) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&mask == 0 {
			return false
		}
	}
	return true
}
