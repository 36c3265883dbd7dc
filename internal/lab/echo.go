package lab

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The fields by which an endpoint says who it is and what it got; they are taken out of the
// answer before it is checked.
const (
	echoService = "Lab-Service"
	echoRequest = "Lab-Request"
)

// endpoint is one echo server.
type endpoint struct {
	addr   netip.AddrPort
	server *http.Server
}

func (e *endpoint) close() error { return e.server.Close() }

// listen starts an endpoint of a Service on loopback.
func listen(s service) (endpoint, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoint{}, err
	}
	server := &http.Server{Handler: echo(s.namespace + "/" + s.name), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(l) // ends with Close
	return endpoint{l.Addr().(*net.TCPAddr).AddrPort(), server}, nil
}

// echo answers with what it got. The query can ask for more: status=N, delay=DURATION, and
// header=Name:Value, which may come several times.
func echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s\nHost: %s", r.Method, r.RequestURI, r.Host)
		for _, k := range sorted(r.Header) {
			for _, v := range r.Header[k] {
				fmt.Fprintf(&b, "\n%s: %s", k, v)
			}
		}
		q := r.URL.Query()
		if d, err := time.ParseDuration(q.Get("delay")); err == nil {
			time.Sleep(d)
		}
		w.Header().Set(echoService, name)
		w.Header().Set(echoRequest, url.QueryEscape(b.String()))
		for _, h := range q["header"] {
			k, v, _ := strings.Cut(h, ":")
			w.Header().Add(k, v)
		}
		status := 200
		if n, err := strconv.Atoi(q.Get("status")); err == nil {
			status = n
		}
		w.WriteHeader(status)
		io.Copy(w, r.Body) // the client sees it when this fails
		io.WriteString(w, "hello from "+name+"\n")
	})
}
