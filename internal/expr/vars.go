package expr

import (
	"encoding/base64"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

type dataFunc = func(x *exchange.Exchange) string

// always wraps a value that exists even when it is empty.
func always(f dataFunc) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) { return append(dst, f(x)...), true }
}

// present wraps a value that is absent when it is empty.
func present(f dataFunc) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		s := f(x)
		return append(dst, s...), s != ""
	}
}

func number(f func(x *exchange.Exchange) int64) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return strconv.AppendInt(dst, f(x), 10), true
	}
}

func constant(s string) Func {
	return func(dst []byte, _ *exchange.Exchange) ([]byte, bool) { return append(dst, s...), true }
}

func absent(dst []byte, _ *exchange.Exchange) ([]byte, bool) { return dst, false }

// capture is $n. compat: a group that took no part is empty, not absent.
func capture(n int) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		if n >= len(x.Captures) {
			return dst, false
		}
		return append(dst, x.Captures[n]...), true
	}
}

// noRoute stands in until Match has set Route.
var noRoute exchange.RouteInfo

func route(x *exchange.Exchange) *exchange.RouteInfo {
	if x.Route == nil {
		return &noRoute
	}
	return x.Route
}

var noConn exchange.Conn

func conn(x *exchange.Exchange) *exchange.Conn {
	if x.Conn == nil {
		return &noConn
	}
	return x.Conn
}

var hostname = sync.OnceValue(func() string {
	// Without a name the variable is empty, as in nginx.
	name, _ := os.Hostname()
	return name
})

// variables are the built-in ones with fixed names.
var variables = map[string]Func{}

// define is called by the variable files while the package initialises.
func define(vars map[string]Func) bool {
	for name, f := range vars {
		if variables[name] != nil {
			panic("expr: variable defined twice: " + name)
		}
		variables[name] = f
	}
	return true
}

// prefixes are the families of variables; the name goes on with a field, cookie or argument.
var prefixes = []struct {
	prefix string
	make   func(rest string) Func
}{
	{"upstream_http_", upstreamField},
	{"upstream_cookie_", upstreamCookie},
	{"upstream_trailer_", upstreamTrailer},
	{"sent_http_", sentField},
	{"sent_trailer_", sentTrailer},
	{"http_", requestField},
	{"cookie_", requestCookie},
	{"arg_", argument},
	// Databases and tracing are not there yet: absent, not unknown.
	{"geoip2_", func(string) Func { return absent }},
	{"opentelemetry_", func(string) Func { return absent }},
}

func prefixed(name string) (Func, bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok && rest != "" {
			return p.make(rest), true
		}
	}
	return nil, false
}

// Names returns the built-in variables with fixed names, sorted.
var Names = sync.OnceValue(func() []string {
	names := make([]string, 0, len(variables))
	for name := range variables {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
})

// Families returns the prefixes of variables that go on with a name of the user's choice.
func Families() []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.prefix)
	}
	return out
}

var _ = define(map[string]Func{
	"remote_user": remoteUser,
	"request":     present(func(x *exchange.Exchange) string { return x.Req.Line }),
	"req_id":      present(func(x *exchange.Exchange) string { return x.ID }),
	"request_id":  present(func(x *exchange.Exchange) string { return x.ID }),

	"request_length":      number(func(x *exchange.Exchange) int64 { return x.Stats.RequestBytes }),
	"bytes_sent":          number(func(x *exchange.Exchange) int64 { return x.Stats.BytesSent }),
	"body_bytes_sent":     number(func(x *exchange.Exchange) int64 { return x.Stats.BodyBytesSent }),
	"connection":          number(func(x *exchange.Exchange) int64 { return int64(conn(x).ID) }),
	"connection_requests": number(func(x *exchange.Exchange) int64 { return int64(x.Stats.ConnRequests) }),
	"status":              status,
	"request_time":        requestTime,
	"request_completion":  completion,

	"time_local": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return append(dst, stampOf(when(x)).local...), true
	},
	"time_iso8601": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return append(dst, stampOf(when(x)).iso...), true
	},
	"msec": func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		return appendMillis(dst, when(x).UnixMilli()), true
	},

	"namespace":        always(func(x *exchange.Exchange) string { return route(x).Namespace }),
	"ingress_name":     always(func(x *exchange.Exchange) string { return route(x).Ingress }),
	"service_name":     always(func(x *exchange.Exchange) string { return route(x).Service }),
	"service_port":     always(func(x *exchange.Exchange) string { return route(x).ServicePort }),
	"location_path":    always(func(x *exchange.Exchange) string { return route(x).Path }),
	"server_name":      always(serverName),
	"proxy_host":       constant("upstream_balancer"),
	"proxy_port":       constant("80"),
	"hostname":         func(dst []byte, _ *exchange.Exchange) ([]byte, bool) { return append(dst, hostname()...), true },
	"pid":              number(func(*exchange.Exchange) int64 { return int64(os.Getpid()) }),
	"nginx_version":    constant("1.27.1"),
	"pipe":             constant("."),
	"limit_rate":       number(func(x *exchange.Exchange) int64 { return x.Limits.Rate }),
	"gzip_ratio":       absent,
	"request_body":     absent,
	"limit_req_status": absent, "limit_conn_status": absent, "upstream_cache_status": absent,

	"proxy_upstream_name": always(func(x *exchange.Exchange) string {
		if r := route(x); r.Upstream != "" {
			return r.Upstream
		}
		return "-"
	}),
	"proxy_alternative_upstream_name": always(func(x *exchange.Exchange) string { return x.Alt }),

	"upstream_addr":            tries(appendTryAddr),
	"upstream_status":          tries(appendTryStatus),
	"upstream_response_length": tries(appendTryBytes),
	"upstream_bytes_received":  tries(appendTryBytes),
	"upstream_response_time":   tries(func(dst []byte, _ *exchange.Exchange, i *exchange.Attempt) []byte { return appendWait(dst, i.Response) }),
	"upstream_connect_time":    tries(func(dst []byte, _ *exchange.Exchange, i *exchange.Attempt) []byte { return appendWait(dst, i.Connect) }),
	"upstream_header_time":     tries(func(dst []byte, _ *exchange.Exchange, i *exchange.Attempt) []byte { return appendWait(dst, i.Header) }),
})

func serverName(x *exchange.Exchange) string {
	if r := route(x); r.Host != "" {
		return r.Host
	}
	return "_"
}

// status is 000 until there is one, as nginx logs it.
func status(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	return appendStatus(dst, x.Resp.Status), true
}

func appendStatus(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10))
}

func requestTime(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	d := x.Stats.Duration
	if d == 0 && !x.Stats.Start.IsZero() {
		d = time.Since(x.Stats.Start)
	}
	return appendSeconds(dst, d), true
}

func completion(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	switch x.Resp.Status {
	case 0, exchange.StatusClientGone, exchange.StatusDrop:
		return dst, true
	}
	return append(dst, "OK"...), true
}

// remoteUser is the authenticated user; compat: else the name in a Basic
// Authorization field, believed or not, as nginx logs it.
func remoteUser(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	if x.User != "" {
		return append(dst, x.User...), true
	}
	const scheme = "Basic "
	v := x.Req.Header.Get("Authorization")
	if len(v) <= len(scheme) || !exchange.EqualFold(v[:len(scheme)-1], "Basic") || v[len(scheme)-1] != ' ' {
		return dst, false
	}
	v = strings.TrimRight(strings.TrimLeft(v[len(scheme):], " "), "=")
	start := len(dst)
	var in, out [256]byte
	// Longer names are left out: a log field is no place for kilobytes.
	if len(v) > len(in) {
		return dst, false
	}
	n, err := base64.RawStdEncoding.Decode(out[:], in[:copy(in[:], v)])
	if err != nil {
		return dst, false
	}
	for _, c := range out[:n] {
		if c == ':' {
			return dst, len(dst) > start
		}
		dst = append(dst, c)
	}
	return dst[:start], false
}

// tries makes a variable that lists one value per attempt.
func tries(one func([]byte, *exchange.Exchange, *exchange.Attempt) []byte) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		for i := range x.Try {
			switch {
			case i > 0 && x.Try[i].Anew:
				dst = append(dst, " : "...)
			case i > 0:
				dst = append(dst, ", "...)
			}
			dst = one(dst, x, &x.Try[i])
		}
		return dst, len(x.Try) > 0
	}
}

func appendTryAddr(dst []byte, _ *exchange.Exchange, t *exchange.Attempt) []byte {
	if !t.Addr.IsValid() {
		return append(dst, '-')
	}
	return t.Addr.AppendTo(dst)
}

// appendTryStatus writes the status of an attempt. compat: nginx gives an attempt
// without a response the status it would have answered with, 502 or 504; an
// attempt the client did not wait for has none.
func appendTryStatus(dst []byte, x *exchange.Exchange, t *exchange.Attempt) []byte {
	n := t.Status
	if n == 0 && t == &x.Try[len(x.Try)-1] {
		n = x.Resp.Status
		if n == exchange.StatusClientGone || n == 0 {
			return append(dst, '-')
		}
		if n != 504 {
			n = 502
		}
	} else if n == 0 {
		n = 502
	}
	return appendStatus(dst, n)
}

func appendTryBytes(dst []byte, _ *exchange.Exchange, t *exchange.Attempt) []byte {
	return strconv.AppendInt(dst, max(t.Bytes, 0), 10)
}

func appendWait(dst []byte, d time.Duration) []byte {
	if d < 0 {
		return append(dst, '-')
	}
	return appendSeconds(dst, d)
}
