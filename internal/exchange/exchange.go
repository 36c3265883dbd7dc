// Package exchange is the seam between protocol engines and the data plane: one
// request, its response, and the steps that turn the first into the second.
//
// Engines fill Request, call the steps of Handler, and send Response. Filters
// and the proxy see nothing else of a protocol. Framing fields
// (Content-Length, Transfer-Encoding, Connection, Keep-Alive, Upgrade, TE,
// HTTP2-Settings, pseudo-fields) never appear in Fields: length
// and upgrade are struct fields, so editing a header cannot cause smuggling.
//
// What a reader gets wrong: everything reachable from an Exchange is valid only
// until Release. Keep a string longer with strings.Clone.
package exchange

import (
	"crypto/tls"
	"io"
	"net/netip"
	"sync"
	"time"
)

// Proto is the protocol version a request came in with.
type Proto uint8

// The protocol versions.
const (
	HTTP11 Proto = iota
	HTTP10
	HTTP2
	HTTP3
)

// String returns the version as request lines and access logs write it.
func (p Proto) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP2:
		return "HTTP/2.0"
	case HTTP3:
		return "HTTP/3.0"
	}
	return "HTTP/1.1"
}

// Exchange is one request and its response. It is pooled: nothing taken from
// it may be used after Release except what strings.Clone copied. It is used by
// one goroutine at a time; only Req.Body and Resp.Body may be read by two at once.
type Exchange struct {
	Req  Request
	Resp Response
	// Up is the request as an endpoint gets it. It is filled when Forward
	// starts: a copy of Req without what must not travel, then changed by
	// the filters that implement filter.OnUpstream.
	Up   Upstream
	Down Downstream
	// Conn is shared by all exchanges of one downstream connection. Never nil.
	Conn *Conn
	// Client is the client's address after real-IP processing; engines preset it from Conn.
	Client netip.AddrPort
	// Eff is what the client is taken to have used, after forwarded-header
	// processing (reference/routing.md 8.2); engines preset it from the connection.
	Eff Effective
	// Malformed is set by an engine that could not accept the request: the
	// status to answer with (400, 408, 414, 431, 494, 495, 496, 501, 505 ...). Route
	// matching and filters are skipped; Resp.Close must be honoured.
	Malformed int
	// Limits are numbers the engine enforces; set by Match, before a body byte is read.
	Limits Limits
	// Route describes the matched route for logs, metrics and variables; never nil after Match.
	Route *RouteInfo
	// HostCert is config.Host.HasCert of the matched host name, set by Match: ssl-redirect reads it.
	HostCert bool
	// Captures are the groups of the route's regex on Req.Path: 0 is the whole match.
	Captures []string
	// Rewritten is the origin-form target endpoints get in place of Req.Target, after a filter
	// changed Req.Path or Req.Query; "" while nothing did.
	Rewritten string
	// ID is the request id ($req_id): the client's X-Request-ID or generated.
	ID string
	// User is the authenticated user ($remote_user); "" when none.
	User string
	// Alt is the upstream name of the alternative (canary) that was chosen; "" when none.
	Alt   string
	Try   Attempts
	Stats Stats

	slots []any
	used  []bool
}

// Request is what the client asked for.
type Request struct {
	Proto     Proto
	Method    string
	Scheme    string // "http" or "https", as the connection is
	Authority string // Host field or :authority, as sent; absolute-form: the target's host where the Host field names another
	Host      string // what selects the virtual host: lower case, without port and trailing dot; absolute-form target wins
	Target    string // the origin-form request target exactly as sent ("/a%20b?x"); absolute-form is reduced to it
	Path      string // decoded and normalized; what routes match
	Query     string // raw, without "?"
	HasQuery  bool   // a "?" was there, even with nothing behind it
	Line      string // the request line as received, for logs ("GET /x HTTP/1.1")
	Header    Fields // end-to-end fields only, in order, case kept; Host is not among them
	Length    int64  // content length; -1: unknown (chunked or stream); 0 with nil Body: none
	// Body is the content still to be read; nil when there is none. Close may be called by another
	// goroutine while a Read blocks, and ends that Read: an endpoint that answers early
	// must not wait for a slow client.
	Body      io.ReadCloser
	Trailer   Fields // complete after Body returned io.EOF
	Upgrade   string // protocol asked for with Connection: upgrade on HTTP/1.1, or :protocol of extended CONNECT; else ""
	TETrailer bool   // the client sent TE: trailers
}

// Response is what the client gets.
type Response struct {
	Status  int
	Header  Fields
	Length  int64         // -1: unknown; else bytes of Body (or of what a HEAD would have carried)
	Body    io.ReadCloser // nil: no content
	Trailer Fields        // complete after Body returned io.EOF
	// Tunnel is set after 101 or a 2xx to extended CONNECT: the engine pumps both
	// ways until both directions ended, then closes it.
	Tunnel io.ReadWriteCloser
	// Upgrade is the protocol a 101 switches to; the engine writes the Connection and Upgrade fields.
	Upgrade string
	// ZeroLength asks for Content-Length: 0 on a 204, which nginx sends on CORS preflights and
	// clients of HTTP/1 have come to see.
	ZeroLength bool
	// Close asks the engine to close the downstream connection after this response (HTTP/1).
	Close bool
	// Generated is true while the response was made by lintel and not by an
	// endpoint: the data plane gives it an error page where it has no body.
	Generated bool
	// FromUpstream is true once an endpoint's head stands in Resp.
	FromUpstream bool
	// Denied is set by filters that refuse access (reference/security.md S6.1): an error page may
	// change the content and the fields of the answer, but its status stays as it is.
	Denied bool
}

// Upstream is the request as sent to an endpoint.
type Upstream struct {
	Method    string
	Scheme    string // http or https towards the endpoint
	Authority string // Host field or :authority
	Target    string // origin-form
	Header    Fields // end-to-end fields
	Length    int64
	Body      io.ReadCloser
	Upgrade   string // token to ask for; "" for none
	TETrailer bool
	HTTP10    bool // proxy-http-version 1.0
	// Close asks the transport not to reuse the connection after this exchange.
	Close bool
}

// Conn is one downstream connection. It does not change after the first exchange started.
type Conn struct {
	Remote netip.AddrPort // TCP peer
	Local  netip.AddrPort
	// ProxySrc and ProxyDst come from a PROXY header; invalid when there was none.
	ProxySrc, ProxyDst netip.AddrPort
	// Proxied is set when a PROXY header was read, also one that names no addresses (UNKNOWN, LOCAL).
	Proxied bool
	// PlainOnTLS is set when plain HTTP came to a TLS listener: engines read one head, set
	// Malformed to 497 and close.
	PlainOnTLS bool
	// TLS is nil on a plain connection.
	TLS *tls.ConnectionState
	// ServerName is the SNI of the handshake, lower case without trailing dot; "" without.
	ServerName string
	// TLSPolicy names the client-certificate policy this handshake satisfied ("" none):
	// the host name whose policy was applied. See reference/annotations.md 7.2.
	TLSPolicy string
	// ClientVerify is the outcome of client-certificate verification as nginx writes
	// it: "", "NONE", "SUCCESS", "FAILED:reason".
	ClientVerify string
	// Port is the listener's configured port (80, 443), what $server_port says.
	Port uint16
	ID   uint64
	// Draining is set when the listener drains: engines add Connection: close or GOAWAY.
	Draining func() bool
}

// Effective is the scheme, host and port the client is taken to have used.
type Effective struct {
	Scheme string // $pass_access_scheme
	Host   string // $best_http_host, with port as sent
	Port   string // $pass_port
}

// Limits are enforced by engines while they read and write bodies.
type Limits struct {
	BodyMax     int64         // largest request body in bytes; 0: no limit
	Buffer      bool          // read the whole request body before an endpoint is contacted
	BufferMem   int64         // bytes of it kept in memory, the rest goes to a file
	BodyTimeout time.Duration // between two reads of the request body
	SendTimeout time.Duration // between two writes to the client
	Rate        int64         // response bytes per second; 0: no limit
	RateAfter   int64         // response bytes before Rate applies
}

// RouteInfo names where a route comes from. Immutable; shared by all exchanges of the route.
type RouteInfo struct {
	Host        string // rule host, "_" for the catch-all
	Namespace   string
	Ingress     string
	Service     string
	ServicePort string
	Path        string // the Ingress path text ($location_path)
	Upstream    string // $proxy_upstream_name: namespace-service-port, or upstream-default-backend, or "-"
}

// Attempt is one try at one endpoint. Durations are -1 when not reached.
type Attempt struct {
	Addr                      netip.AddrPort
	Status                    int // 0: no response
	Connect, Header, Response time.Duration
	Bytes                     int64
	// Anew: forwarding began again with this attempt, to an error backend or where an endpoint
	// sent the request.
	Anew bool
}

// Attempts lists what forwarding did, oldest first.
type Attempts []Attempt

// Stats are counted by the engine and complete when Done is called.
type Stats struct {
	Start         time.Time
	Duration      time.Duration
	RequestBytes  int64 // request line, header and body as received
	BytesSent     int64 // status line, header and body as sent
	BodyBytesSent int64
	ConnRequests  int // number of this request on its connection, from 1
}

// Downstream is the engine's side of an exchange.
type Downstream interface {
	// Gone is closed when the client went away. The first call may start the watching.
	Gone() <-chan struct{}
	// Informational sends a 1xx head other than 101, before the response.
	// HTTP/1.0 clients get nothing.
	Informational(status int, h *Fields) error
}

// Reply makes status, without content, the answer and returns the verdict that ends
// the request filters: return x.Reply(413). The data plane adds the error page.
func (x *Exchange) Reply(status int) Verdict {
	x.Resp.Status = status
	x.Resp.Generated = true
	x.Resp.Header.Reset()
	x.Resp.Body = nil
	x.Resp.Length = 0
	return Reply
}

var pool = sync.Pool{New: func() any { return new(Exchange) }}

// Acquire takes an empty exchange from the pool.
func Acquire() *Exchange { return pool.Get().(*Exchange) }

// Release returns x. Nothing of it may be used afterwards. The caller has closed both bodies.
func (x *Exchange) Release() {
	x.reset()
	pool.Put(x)
}

func (x *Exchange) reset() {
	rh, rt := x.Req.Header, x.Req.Trailer
	sh, st := x.Resp.Header, x.Resp.Trailer
	uh := x.Up.Header
	rh.Reset()
	rt.Reset()
	sh.Reset()
	st.Reset()
	uh.Reset()
	captures, tries, slots, used := x.Captures, x.Try, x.slots, x.used
	clear(captures)
	clear(used)
	*x = Exchange{Captures: captures[:0], Try: tries[:0], slots: slots, used: used}
	x.Req.Header, x.Req.Trailer = rh, rt
	x.Resp.Header, x.Resp.Trailer = sh, st
	x.Up.Header = uh
}
