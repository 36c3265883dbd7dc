package h1

import (
	"bytes"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// RequestHead is what an engine needs of a head besides exchange.Request.
type RequestHead struct {
	// Framing is FrameNone, FrameLength (Length may be 0: the client said so), or FrameChunked.
	Framing Framing
	// Length is the Content-Length with FrameLength, -1 with FrameChunked, else 0.
	Length int64
	// KeepAlive: the client wants the connection to go on.
	KeepAlive bool
	// Expect: the client waits for 100 before it sends the body.
	Expect bool
}

// RequestParser finds and reads request heads. One serves one connection; it is
// reused from head to head and remembers how far it looked. Not safe for concurrent use.
type RequestParser struct {
	Limits Limits

	start  int // where the request line starts, behind empty lines
	line   int // where the line being looked at starts
	scan   int // where to look for its end
	count  int // field lines seen
	large  int // large buffers in use, see room
	filled int // bytes in the last buffer
	inside bool
	req    requestLine
	conn   connTokens
}

type requestLine struct {
	method, target, targetEnd, end int // offsets in the buffer; end excludes the line end
	proto                          exchange.Proto
}

// Started reports whether a part of a head has been seen since the last one
// ended: an idle connection may then not be closed silently.
func (p *RequestParser) Started() bool { return p.inside || p.scan > p.start }

// Reset forgets a head that was begun.
func (p *RequestParser) Reset() {
	p.start, p.line, p.scan, p.count, p.inside = 0, 0, 0, 0, false
	p.large, p.filled = 0, 0
	p.req = requestLine{}
}

// Parse reads a head from the start of buf into r. n is the number of bytes it took,
// 0 when more are needed: call again with the same bytes and more behind them. After an
// error, a *HeadError, r holds what could be understood (Line, Method, Proto, Target) for the log,
// and the connection must be closed after the answer. Limits guarantee that Parse
// does not ask for more than Limits.Max bytes.
//
// It fills Proto, Method, Authority, Host, Target, Path, Query, HasQuery, Line,
// Header, Length, Upgrade, TETrailer of an r that is otherwise empty.
func (p *RequestParser) Parse(buf []byte, r *exchange.Request) (head RequestHead, n int, err error) {
	n, herr := p.find(buf)
	if herr == nil && n == 0 {
		return RequestHead{}, 0, nil
	}
	if herr == nil {
		head, herr = p.read(string(buf[:n]), r)
	} else {
		p.partial(buf, r)
	}
	p.Reset()
	if herr != nil {
		r.Length, r.Upgrade = 0, ""
		return RequestHead{}, n, herr
	}
	return head, n, nil
}

// find looks for the end of the head. Limits and the request line are checked as
// bytes come, so that nonsense is answered without waiting for an empty line.
func (p *RequestParser) find(buf []byte) (int, *HeadError) {
	for {
		if !p.inside && p.line < len(buf) {
			// A TLS hello or other noise need not have a line end.
			if c := buf[p.line]; c != '\r' && c != '\n' && class[c]&cMethod == 0 {
				return 0, bad("request does not start with a method")
			}
		}
		i := bytes.IndexByte(buf[p.scan:], '\n')
		end := p.scan + i + 1
		if i < 0 {
			// compat: nginx does not wait for the line end behind a lone CR.
			if j := bytes.IndexByte(buf[p.scan:], '\r'); j >= 0 && p.scan+j+1 < len(buf) {
				return 0, bad("request head has a carriage return without a line feed")
			}
			p.scan, end = len(buf), len(buf)
			if end > p.line && buf[end-1] == '\r' {
				p.scan-- // a lone one shows with the next byte
			}
		}
		if end-p.line > p.Limits.line() {
			if !p.inside {
				return 0, &HeadError{414, "request line is too long"}
			}
			return 0, &HeadError{StatusHeadTooLarge, "request field is too long"}
		}
		if !p.room(end-p.line, i >= 0) {
			return 0, &HeadError{StatusHeadTooLarge, "request head is too long"}
		}
		if i < 0 {
			return 0, nil
		}
		content := end - 1
		if content > p.line && buf[content-1] == '\r' {
			content--
		}
		switch {
		case p.inside && content == p.line:
			return end, nil
		case p.inside:
			if p.count++; p.count > p.Limits.fields() {
				return 0, &HeadError{StatusHeadTooLarge, "request has too many fields"}
			}
		case content == p.line:
			p.start = end // RFC 9112, 2.2: empty lines before the request line are ignored
		default:
			p.inside = true
			if err := p.requestLine(buf, p.line, content); err != nil {
				return 0, err
			}
		}
		p.line, p.scan = end, end
	}
}

// room reports whether a line of n bytes still has room, and takes it when the line is whole.
// compat: nginx packs lines into one buffer of client-header-buffer-size and a number of large ones;
// a line that does not fit into what is left of one moves to the next, so the sizes
// of the lines decide how much a head may hold.
func (p *RequestParser) room(n int, whole bool) bool {
	size := firstBuffer
	if p.large > 0 {
		size = p.Limits.line()
	}
	large, filled := p.large, p.filled+n
	if filled > size {
		large, filled = large+1, n
	}
	if large > p.Limits.total()/p.Limits.line() {
		return false
	}
	if whole {
		p.large, p.filled = large, filled
	}
	return true
}

// requestLine checks buf[from:to] and notes where its parts are.
func (p *RequestParser) requestLine(buf []byte, from, to int) *HeadError {
	q := &p.req
	q.end = to
	i := from
	for i < to && class[buf[i]]&cMethod != 0 {
		i++
	}
	if i == from || i-from > 64 || i == to || buf[i] != ' ' {
		return bad("request line has no method of upper-case letters")
	}
	q.method = i
	// compat: nginx takes more than one space between the parts (parity 60-http, http09-and-bad-lines 03).
	for i < to && buf[i] == ' ' {
		i++
	}
	q.target = i
	for i < to && class[buf[i]]&cTarget != 0 {
		i++
	}
	q.targetEnd = i
	if q.target == i {
		return bad("request line has no target")
	}
	if i < to && buf[i] != ' ' {
		return bad("request target has a control character")
	}
	for i < to && buf[i] == ' ' {
		i++
	}
	v := buf[i:to]
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || class[v[5]]&class[v[7]]&cDigit == 0 || v[5] == '0' {
		return bad("request line does not end in a version")
	}
	if v[5] != '1' {
		return &HeadError{505, "HTTP version is not supported"}
	}
	q.proto = exchange.HTTP11
	if v[7] == '0' {
		q.proto = exchange.HTTP10
	}
	return nil
}

// partial keeps for the log what there is of a head that was refused before its end.
func (p *RequestParser) partial(buf []byte, r *exchange.Request) {
	line := buf[p.start:]
	if p.req.end > 0 {
		line = buf[p.start:p.req.end]
	} else if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	r.Line = strings.TrimSuffix(string(line[:min(len(line), p.Limits.line())]), "\r")
	r.Proto = p.req.proto
	if q := p.req; q.targetEnd > q.target && q.end > 0 {
		r.Method = r.Line[:q.method-p.start]
		r.Target = r.Line[q.target-p.start : q.targetEnd-p.start]
	}
}

// fieldState gathers what the fields of one head say about framing and host.
type fieldState struct {
	host, length, coding, upgrade string
	hosts, lengths, codings       int
	upgrades                      int
	te, expect                    bool
}

// read takes a complete head. s is the one copy everything in r points into.
func (p *RequestParser) read(s string, r *exchange.Request) (RequestHead, *HeadError) {
	q := p.req
	r.Proto = q.proto
	r.Line = s[p.start:q.end]
	r.Method = s[p.start:q.method]
	r.Target = s[q.target:q.targetEnd]
	i := q.end + 1
	if s[q.end] == '\r' {
		i++
	}
	p.conn.reset()
	var st fieldState
	for {
		end := i + strings.IndexByte(s[i:], '\n')
		line := s[i:end]
		if line != "" && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
		if line == "" {
			break
		}
		if err := p.field(line, r, &st); err != nil {
			return RequestHead{}, err
		}
		i = end + 1
	}
	p.conn.strip(&r.Header)
	head, err := p.framing(r, &st)
	if err != nil {
		return RequestHead{}, err
	}
	if err := target(r, &st); err != nil {
		return RequestHead{}, err
	}
	if r.Method == "TRACE" || r.Method == "CONNECT" {
		return RequestHead{}, &HeadError{405, "method is not allowed"}
	}
	return head, nil
}

// field reads one line.
func (p *RequestParser) field(line string, r *exchange.Request, st *fieldState) *HeadError {
	plain := uint8(cPlain)
	token := uint8(cToken)
	i := 0
	for i < len(line) && line[i] != ':' {
		c := class[line[i]]
		plain &= c
		token &= c
		if line[i] <= ' ' || line[i] == 0x7f {
			// Also line folding and white space before the colon, RFC 9112, 5.1 and 5.2.
			return bad("field name has a space or a control character")
		}
		i++
	}
	if i == 0 {
		return bad("field has no name")
	}
	name, value := line[:i], ""
	if i < len(line) {
		value = trim(line[i+1:])
	}
	// compat: a line without a colon is a field without a value (parity 60-http, http09-and-bad-lines 07).
	if !all(value, cValue) {
		return bad("field value has a control character")
	}
	if plain == 0 {
		if token == 0 || !p.Limits.Policy.Keep(name) {
			return nil
		}
		r.Header.Add(name, value)
		return nil
	}
	if !p.special(name, value, r, st) {
		r.Header.Add(name, value)
	} else if len(p.conn.named) > 32 {
		return bad("Connection names too many fields")
	}
	return nil
}

// special takes the fields that do not enter r.Header.
func (p *RequestParser) special(name, value string, r *exchange.Request, st *fieldState) bool {
	switch len(name) {
	case 2:
		if exchange.EqualFold(name, "TE") {
			for value != "" {
				var t string
				t, value = nextToken(value)
				st.te = st.te || exchange.EqualFold(t, "trailers")
			}
			return true
		}
	case 4:
		if exchange.EqualFold(name, "Host") {
			st.host = value
			st.hosts++
			return true
		}
	case 6:
		if exchange.EqualFold(name, "Expect") {
			st.expect = st.expect || exchange.EqualFold(value, "100-continue")
			return true
		}
	case 7:
		if exchange.EqualFold(name, "Upgrade") {
			st.upgrade = value
			st.upgrades++
			return true
		}
	case 10:
		if exchange.EqualFold(name, "Connection") {
			if !p.conn.add(value) {
				p.conn.named = append(p.conn.named, name) // more than 32: refused by the caller
			}
			return true
		}
		return exchange.EqualFold(name, "Keep-Alive")
	case 14:
		if exchange.EqualFold(name, "Content-Length") {
			st.length = value
			st.lengths++
			return true
		}
		return exchange.EqualFold(name, "HTTP2-Settings")
	// compat: Proxy-Connection, which no standard has, travels on (reference/routing.md 8.3, measured).
	case 17:
		if exchange.EqualFold(name, "Transfer-Encoding") {
			st.coding = value
			st.codings++
			return true
		}
	}
	return false
}

// framing decides how the body ends, RFC 9112, 6.3, with every doubt refused.
func (p *RequestParser) framing(r *exchange.Request, st *fieldState) (RequestHead, *HeadError) {
	var h RequestHead
	switch {
	case st.codings > 0:
		if r.Proto == exchange.HTTP10 {
			return h, bad("Transfer-Encoding in an HTTP/1.0 request")
		}
		if st.codings > 1 {
			return h, bad("more than one Transfer-Encoding field")
		}
		if !exchange.EqualFold(st.coding, "chunked") {
			if st.coding == "" {
				return h, bad("empty Transfer-Encoding")
			}
			return h, &HeadError{501, "Transfer-Encoding is not chunked"}
		}
		if st.lengths > 0 {
			return h, bad("both Content-Length and Transfer-Encoding")
		}
		h.Framing, h.Length = FrameChunked, -1
	case st.lengths > 1:
		return h, bad("more than one Content-Length field")
	case st.lengths == 1:
		n, ok := LengthValue(st.length)
		if !ok {
			return h, bad("Content-Length is not a number")
		}
		h.Framing, h.Length = FrameLength, n
	}
	r.Length = h.Length
	c := &p.conn
	h.KeepAlive = !c.close && (r.Proto == exchange.HTTP11 || c.keepAlive)
	h.Expect = st.expect && r.Proto == exchange.HTTP11 && h.Length != 0
	r.TETrailer = st.te
	if c.upgrade && st.upgrades == 1 && r.Proto == exchange.HTTP11 {
		if r.Upgrade = p.allowed(st.upgrade); r.Upgrade != "" && h.Length != 0 {
			return h, bad("Upgrade on a request with a body")
		}
	}
	return h, nil
}

// allowed returns the first token of a list that may be asked for (S7.4).
func (p *RequestParser) allowed(list string) string {
	for list != "" {
		var t string
		t, list = nextToken(list)
		for _, a := range p.Limits.upgrades() {
			if exchange.EqualFold(a, t) {
				return a
			}
		}
	}
	return ""
}

// target settles host and target.
func target(r *exchange.Request, st *fieldState) *HeadError {
	if st.hosts > 1 {
		return bad("more than one Host field")
	}
	r.Authority = st.host
	if st.hosts == 1 {
		h, ok := HostSelector(st.host)
		if !ok {
			return bad("Host is not a host name")
		}
		r.Host = h
	} else if r.Proto != exchange.HTTP10 {
		return bad("HTTP/1.1 request without Host")
	}
	t := r.Target
	if t[0] == '/' {
		return SetTarget(r, t)
	}
	rest, ok := cutScheme(t)
	if !ok {
		return bad("request target is neither a path nor an http URL")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	h, ok := HostSelector(rest[:end])
	if !ok {
		return bad("request target names no valid host")
	}
	if r.Host != h {
		// RFC 9112, 3.2.2: the target's host counts, so the endpoint must not hear of another one (S4.6).
		r.Authority = rest[:end]
	}
	r.Host = h
	t = rest[end:]
	if t == "" || t[0] != '/' {
		t = "/" + t
	}
	return SetTarget(r, t)
}

func cutScheme(t string) (string, bool) {
	if len(t) > 7 && exchange.EqualFold(t[:7], "http://") {
		return t[7:], true
	}
	if len(t) > 8 && exchange.EqualFold(t[:8], "https://") {
		return t[8:], true
	}
	return "", false
}
