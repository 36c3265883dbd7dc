package h1

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// What a response head may be refused for.
var (
	ErrStatusLine   = errors.New("status line is malformed")
	ErrField        = errors.New("field line is malformed")
	ErrFraming      = errors.New("length of the content is contradictory or malformed")
	ErrHeadTooLarge = errors.New("head is too large")
	ErrUpgrade      = errors.New("101 without one valid Upgrade field")
)

// ResponseHead is what a transport needs of a head besides exchange.Response.
type ResponseHead struct {
	Framing Framing
	// Length is the number of bytes that follow with FrameLength; else -1, or 0 with FrameNone.
	Length int64
	// KeepAlive: the connection can carry another exchange once the content was read.
	KeepAlive bool
	// IdleTimeout is what a Keep-Alive field promises; 0: nothing.
	IdleTimeout time.Duration
}

// ResponseParser finds and reads response heads. It is reused from head to head.
// Not safe for concurrent use.
type ResponseParser struct {
	Limit int // largest head in bytes; 0: 256 KiB

	line, scan int
	inside     bool
	conn       connTokens
}

// DefaultResponseHead is the limit of a response head where none is set.
const DefaultResponseHead = 256 << 10

const maxResponseFields = 4096

// Reset forgets a head that was begun.
func (p *ResponseParser) Reset() { p.line, p.scan, p.inside = 0, 0, false }

// Parse reads a head from the start of buf into r, as the answer to a request with
// this method. n is the number of bytes it took, 0 when more are needed: call again
// with the same bytes and more behind them. Heads of 1xx are returned like others.
//
// It fills Status, Header, Length (-1: unknown; for an answer to HEAD and for 304 what the
// field says), Upgrade (101 only). Malformed heads are errors: nothing of
// the connection can be trusted then.
func (p *ResponseParser) Parse(buf []byte, method string, r *exchange.Response) (head ResponseHead, n int, err error) {
	n, err = p.find(buf)
	if err != nil || n == 0 {
		if err != nil {
			p.Reset()
		}
		return ResponseHead{}, 0, err
	}
	p.Reset()
	head, err = p.read(string(buf[:n]), method, r)
	return head, n, err
}

func (p *ResponseParser) find(buf []byte) (int, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = DefaultResponseHead
	}
	if !p.inside && len(buf) > 0 && !strings.HasPrefix("HTTP/1.", string(buf[:min(len(buf), 7)])) {
		return 0, ErrStatusLine
	}
	for {
		i := bytes.IndexByte(buf[p.scan:], '\n')
		if i < 0 {
			p.scan = len(buf)
			if len(buf) > limit {
				return 0, ErrHeadTooLarge
			}
			return 0, nil
		}
		end := p.scan + i + 1
		if end > limit {
			return 0, ErrHeadTooLarge
		}
		n := end - 1 - p.line
		if n == 0 || n == 1 && buf[p.line] == '\r' {
			return end, nil
		}
		p.inside = true
		p.line, p.scan = end, end
	}
}

func (p *ResponseParser) read(s, method string, r *exchange.Response) (ResponseHead, error) {
	line, s := cutLine(s)
	if len(line) < 12 || line[8] != ' ' || line[:7] != "HTTP/1." || class[line[7]]&cDigit == 0 ||
		!all(line[9:12], cDigit) || line[9] == '0' || len(line) > 12 && line[12] != ' ' || !all(line[12:], cValue) {
		return ResponseHead{}, ErrStatusLine
	}
	old := line[7] == '0'
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')

	p.conn.reset()
	var st fieldState
	var idle time.Duration
	for count := 0; ; count++ {
		if line, s = cutLine(s); line == "" {
			break
		}
		if count == maxResponseFields {
			return ResponseHead{}, ErrHeadTooLarge
		}
		colon := strings.IndexByte(line, ':')
		if colon <= 0 || !all(line[:colon], cToken) {
			return ResponseHead{}, ErrField
		}
		name, value := line[:colon], trim(line[colon+1:])
		if !all(value, cValue) {
			return ResponseHead{}, ErrField
		}
		if !ConnectionSpecific(name) {
			r.Header.Add(name, value)
			continue
		}
		switch len(name) {
		case len("Upgrade"):
			st.upgrade = value
			st.upgrades++
		case len("Connection"): // and Keep-Alive
			if exchange.EqualFold(name, "Keep-Alive") {
				idle = idleTimeout(value)
			} else if !p.conn.add(value) {
				return ResponseHead{}, ErrField
			}
		case len("Content-Length"): // and HTTP2-Settings
			if exchange.EqualFold(name, "Content-Length") {
				st.length = value
				st.lengths++
			}
		case len("Transfer-Encoding"):
			st.coding = value
			st.codings++
		}
	}
	p.conn.strip(&r.Header)
	h, err := p.framing(method, old, r, &st)
	h.IdleTimeout = idle
	return h, err
}

// framing decides how the content ends, RFC 9112, 6.3. What a peer gets wrong here
// desynchronises the connection, so it is refused.
func (p *ResponseParser) framing(method string, old bool, r *exchange.Response, st *fieldState) (ResponseHead, error) {
	var h ResponseHead
	length := int64(-1)
	if st.lengths > 0 {
		n, ok := LengthValue(st.length)
		if !ok || st.lengths > 1 {
			return h, ErrFraming
		}
		length = n
	}
	if st.codings > 0 && (st.codings > 1 || st.lengths > 0 || old || !exchange.EqualFold(st.coding, "chunked")) {
		return h, ErrFraming
	}
	h.KeepAlive = !p.conn.close && (!old || p.conn.keepAlive)
	switch {
	case r.Status == 101:
		if st.upgrades != 1 || !p.conn.upgrade || !ValidUpgrade(st.upgrade) {
			return h, ErrUpgrade
		}
		r.Upgrade, r.Length = st.upgrade, 0
		h.KeepAlive = false
	case r.Status < 200:
		r.Length = 0
	case r.Status == 204:
		// Content announced where there can be none: whatever follows is not ours.
		h.KeepAlive = h.KeepAlive && length <= 0 && st.codings == 0
		r.Length = 0
	case r.Status == 304 || method == "HEAD":
		r.Length = length
	case st.codings > 0:
		h.Framing, h.Length = FrameChunked, -1
		r.Length = -1
	case length >= 0:
		h.Framing, h.Length = FrameLength, length
		r.Length = length
	default:
		h.Framing, h.Length = FrameUntilClose, -1
		h.KeepAlive = false
		r.Length = -1
	}
	return h, nil
}

// ValidUpgrade reports whether s is one protocol name with an optional version.
func ValidUpgrade(s string) bool {
	name, version, ok := strings.Cut(s, "/")
	return ValidName(name) && (!ok || ValidName(version))
}

// cutLine returns the first line of s without its end, and the rest.
func cutLine(s string) (line, rest string) {
	i := strings.IndexByte(s, '\n')
	line, rest = s[:i], s[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

func idleTimeout(value string) time.Duration {
	for value != "" {
		var t string
		t, value = nextToken(value)
		if len(t) > 8 && exchange.EqualFold(t[:8], "timeout=") {
			if n, ok := LengthValue(t[8:]); ok && n < 1<<20 {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}
