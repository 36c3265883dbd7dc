package dataplane

import (
	"bytes"
	"io"
	"strconv"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// statusText are the texts of nginx's own pages, which differ from the RFC's in places.
var statusText = map[int]string{
	301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Authorization Required", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Not Allowed", 406: "Not Acceptable", 408: "Request Time-out", 409: "Conflict", 410: "Gone",
	411: "Length Required", 412: "Precondition Failed", 413: "Request Entity Too Large", 414: "Request-URI Too Large",
	415: "Unsupported Media Type", 416: "Requested Range Not Satisfiable", 421: "Misdirected Request", 429: "Too Many Requests",
	431: "Request Header Fields Too Large",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Temporarily Unavailable",
	504: "Gateway Time-out", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}

// special are nginx's internal statuses: what the client sees is 400 with an explanation.
var special = map[int]string{
	494: "Request Header Or Cookie Too Large",
	495: "The SSL certificate error",
	496: "No required SSL certificate was sent",
	497: "The plain HTTP request was sent to HTTPS port",
}

// pages holds every page ready to send; it never changes after start.
var pages = makePages()

func makePages() map[int][]byte {
	out := make(map[int][]byte, len(statusText)+len(special))
	page := func(title, heading, extra string) []byte {
		var b bytes.Buffer
		b.WriteString("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + heading + "</h1></center>\r\n")
		if extra != "" {
			b.WriteString("<center>" + extra + "</center>\r\n")
		}
		b.WriteString("<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
		return b.Bytes()
	}
	for status, text := range statusText {
		title := strconv.Itoa(status) + " " + text
		out[status] = page(title, title, "")
	}
	for status, text := range special {
		out[status] = page("400 "+text, "400 Bad Request", text)
	}
	return out
}

// bodyless reports whether a status never has content (RFC 9110, 15).
func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }

// addPage gives a response lintel made itself the page nginx would send
// (reference/routing.md 10), unless a filter gave it content.
func addPage(x *exchange.Exchange) {
	status := x.Resp.Status
	if _, ok := special[status]; ok {
		x.Resp.Status = 400
	}
	if x.Resp.Body != nil || bodyless(status) || status < 300 {
		return
	}
	page, ok := pages[status]
	if !ok {
		x.Resp.Length = 0
		return
	}
	if !filter.Settled(x, "Content-Type") {
		x.Resp.Header.Set("Content-Type", "text/html")
	}
	x.Resp.Length = int64(len(page))
	b := bodySlot.Of(x)
	b.data = page
	x.Resp.Body = b
}

// bytesBody is response content held in memory.
type bytesBody struct{ data []byte }

var bodySlot = exchange.NewSlot[bytesBody]()

func (b *bytesBody) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	if len(b.data) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *bytesBody) Close() error { b.data = nil; return nil }

// setBody makes data the response's content.
func setBody(x *exchange.Exchange, data []byte) {
	x.Resp.Length = int64(len(data))
	b := bodySlot.Of(x)
	b.data = data
	x.Resp.Body = b
}
