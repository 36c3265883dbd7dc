package h1

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// What AppendRequestHead refuses: values that must be right already and cannot be mended.
var (
	ErrMethod    = errors.New("method is not a token")
	ErrAuthority = errors.New("authority has a space or a control character")
	ErrTarget    = errors.New("request target is not in origin form")
)

// AppendRequestHead appends the head of u for an HTTP/1 endpoint. connection is the value
// of the Connection field where neither an upgrade nor Close decides it; "" writes none.
// The framing says how the body must follow: FrameNone, FrameLength or FrameChunked.
//
// Nothing in u can split the head: bytes that may not stand in a field become spaces,
// those that may not stand in a target are percent-encoded, fields with
// invalid or connection-specific names are left out.
func AppendRequestHead(dst []byte, u *exchange.Upstream, connection string) ([]byte, Framing, error) {
	if !ValidName(u.Method) {
		return dst, FrameNone, ErrMethod
	}
	if u.Target == "" || u.Target[0] != '/' {
		return dst, FrameNone, ErrTarget
	}
	if !all(u.Authority, cTarget) {
		return dst, FrameNone, ErrAuthority
	}
	dst = append(dst, u.Method...)
	dst = append(dst, ' ')
	dst = appendTarget(dst, u.Target)
	if u.HTTP10 {
		dst = append(dst, " HTTP/1.0\r\nHost: "...)
	} else {
		dst = append(dst, " HTTP/1.1\r\nHost: "...)
	}
	dst = append(dst, u.Authority...)
	dst = append(dst, '\r', '\n')
	te := u.TETrailer && !u.HTTP10 && u.Upgrade == ""
	switch {
	case u.Upgrade != "" && !u.HTTP10:
		dst = appendField(dst, "Connection", "upgrade")
		dst = appendField(dst, "Upgrade", u.Upgrade)
	case u.Close && te:
		dst = append(dst, "Connection: close, TE\r\n"...)
	case u.Close:
		dst = append(dst, "Connection: close\r\n"...)
	case te:
		dst = append(dst, "Connection: TE\r\n"...)
	case connection != "":
		dst = appendField(dst, "Connection", connection)
	}
	if te {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	framing := FrameNone
	switch {
	case u.Length < 0 && u.Body != nil && !u.HTTP10:
		framing = FrameChunked
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case u.Length > 0 || u.Length == 0 && u.Body != nil:
		framing = FrameLength
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, u.Length, 10)
		dst = append(dst, '\r', '\n')
	case u.Length < 0 && u.Body != nil:
		return dst, FrameNone, ErrFraming // HTTP/1.0 has no way to say it: the caller buffers
	}
	dst = appendFields(dst, &u.Header, "Host")
	return append(dst, '\r', '\n'), framing, nil
}

// ResponseOptions are what a response head needs besides the response.
type ResponseOptions struct {
	Method    string         // of the request
	Proto     exchange.Proto // of the request: HTTP10 or HTTP11
	KeepAlive bool           // the connection goes on; AppendResponseHead may decide otherwise
	Date      string         // value of Date, see Clock; "" keeps what the response has
}

// AppendResponseHead appends the final head of r, or that of a 101 when r.Upgrade is set.
// The framing says how content must follow; keepAlive whether the connection goes on after it
// (false with FrameUntilClose, and after 101). Bytes that may not stand in a field become spaces.
func AppendResponseHead(dst []byte, r *exchange.Response, o *ResponseOptions) (_ []byte, framing Framing, keepAlive bool) {
	dst = appendStatusLine(dst, r.Status)
	skip := ""
	if o.Date != "" {
		// compat: nginx replaces the endpoint's Date (reference/routing.md 10).
		dst = appendField(dst, "Date", o.Date)
		skip = "Date"
	}
	keepAlive = o.KeepAlive && !r.Close
	length := int64(-1)
	switch {
	case r.Status == 101:
		dst = appendField(dst, "Connection", "upgrade")
		dst = appendField(dst, "Upgrade", r.Upgrade)
		dst = appendFields(dst, &r.Header, skip)
		return append(dst, '\r', '\n'), FrameNone, false
	case r.Status < 200 || r.Status == 204:
		if r.ZeroLength && r.Status == 204 {
			length = 0 // compat: reference/annotations.md 13, against RFC 9110, 8.6
		}
	case r.Status == 304:
		if r.Length > 0 {
			length = r.Length
		}
	case o.Method == "HEAD":
		length = r.Length
	case r.Body == nil:
		length = 0
	case r.Length >= 0:
		framing, length = FrameLength, r.Length
	case o.Proto == exchange.HTTP10:
		framing, keepAlive = FrameUntilClose, false
	default:
		framing = FrameChunked
	}
	if length >= 0 {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, length, 10)
		dst = append(dst, '\r', '\n')
	} else if framing == FrameChunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if keepAlive {
		dst = append(dst, "Connection: keep-alive\r\n"...)
	} else {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = appendFields(dst, &r.Header, skip)
	return append(dst, '\r', '\n'), framing, keepAlive
}

// AppendInformational appends a 1xx head other than 101. h may be nil.
func AppendInformational(dst []byte, status int, h *exchange.Fields) []byte {
	dst = appendStatusLine(dst, status)
	if h != nil {
		dst = appendFields(dst, h, "")
	}
	return append(dst, '\r', '\n')
}

func appendStatusLine(dst []byte, status int) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, StatusText(status)...)
	return append(dst, '\r', '\n')
}

func appendFields(dst []byte, f *exchange.Fields, skip string) []byte {
	for i := range f.Len() {
		h := f.At(i)
		if skip != "" && len(h.Name) == len(skip) && exchange.EqualFold(h.Name, skip) || ConnectionSpecific(h.Name) {
			continue
		}
		dst = appendField(dst, h.Name, h.Value)
	}
	return dst
}

// appendField appends one field, or nothing when its name is no token.
func appendField(dst []byte, name, value string) []byte {
	if !ValidName(name) {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	from := len(dst)
	dst = append(dst, value...)
	for i := from; i < len(dst); i++ {
		if class[dst[i]]&cValue == 0 {
			dst[i] = ' ' // RFC 9110, 5.5
		}
	}
	return append(dst, '\r', '\n')
}

func appendTarget(dst []byte, t string) []byte {
	if all(t, cTarget) {
		return append(dst, t...)
	}
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(t); i++ {
		if c := t[i]; class[c]&cTarget == 0 {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// Clock gives the value of Date, made once per second. Safe for concurrent use; the
// zero value is ready.
type Clock struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   string
}

// Date returns now as RFC 9110, 5.6.7 writes it.
func (c *Clock) Date(now time.Time) string {
	s := now.Unix()
	d := c.last.Load()
	if d == nil || d.second != s {
		d = &dated{s, now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
		c.last.Store(d)
	}
	return d.text
}
