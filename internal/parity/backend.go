package parity

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The fields by which client and endpoints understand each other; neither is recorded.
const (
	idField   = "X-Difftest-Id"
	echoField = "X-Echo"
)

// Backends are the endpoints of all suites: echo servers, an authentication service,
// an error service, a mirror, and a DNS server. What they receive is kept by request id.
type Backends struct {
	place *Place

	mu       sync.Mutex
	received map[string][]Received

	closers []func() error
}

// wish is what a request asks an echo endpoint to answer.
type wish struct {
	Status   int             `json:"status"`
	Headers  [][2]string     `json:"headers"`
	Body     *string         `json:"body"`
	Size     int             `json:"size"`
	DelayMS  int             `json:"delay_ms"`
	Abort    bool            `json:"abort"` // cut the connection
	Chunked  bool            `json:"chunked"`
	Trailers [][2]string     `json:"trailers"`
	Pods     map[string]wish `json:"pods"` // for these endpoints something else
}

// StartBackends listens on all addresses of the parties.
func StartBackends(p *Place, pki *PKI) (*Backends, error) {
	b := &Backends{place: p, received: map[string][]Received{}}
	server, err := pki.Server("backend-ca", false, "backend.test", "*.diff.svc", "echo1.ext.test")
	if err != nil {
		return nil, err
	}
	pair, err := server.Pair()
	if err != nil {
		return nil, err
	}
	authority, err := pki.Authority("client-ca")
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority.Cert)
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	type listener struct {
		party string
		port  int
		kind  string
	}
	all := []listener{{"VIP", 8444, "https"}, {"AUTH", 8090, "auth"}, {"ERRS", 8091, "errs"}, {"MIRROR", 8080, "mirror"}}
	for _, who := range []string{"ECHO1", "ECHO2", "ECHO3"} {
		all = append(all, listener{who, 8080, "http"}, listener{who, 8443, "https"},
			listener{who, 9000, "grpc"}, listener{who, 9443, "grpcs"}, listener{who, 9001, "fcgi"})
	}
	for _, l := range all {
		if err := b.serve(p.Addr(l.party), l.port, l.kind, secure); err != nil {
			b.Close()
			return nil, err
		}
	}
	if p.Private {
		if err := b.serveDNS(p.Addr("DNS") + ":53"); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// Close ends all listeners and their connections.
func (b *Backends) Close() error {
	var errs []error
	for _, c := range b.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func (b *Backends) serve(ip string, port int, kind string, secure *tls.Config) error {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	h := b.handler(kind)
	if kind == "fcgi" {
		b.closers = append(b.closers, l.Close)
		go fcgi.Serve(l, h) // ends with the listener
		return nil
	}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 4 << 20, Protocols: new(http.Protocols)}
	b.closers = append(b.closers, s.Close)
	switch kind {
	case "grpc":
		s.Protocols.SetUnencryptedHTTP2(true)
	case "grpcs":
		s.Protocols.SetHTTP2(true)
	default:
		s.Protocols.SetHTTP1(true)
	}
	if kind == "https" || kind == "grpcs" {
		s.TLSConfig = secure.Clone()
		go s.ServeTLS(l, "", "") // ends with Close
	} else {
		go s.Serve(l)
	}
	return nil
}

// Take returns what endpoints received under an id so far, and forgets it.
func (b *Backends) Take(id string) []Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.received[id]
	delete(b.received, id)
	slices.SortStableFunc(got, func(x, y Received) int {
		return strings.Compare(x.Kind+x.Pod+x.URI, y.Kind+y.Pod+y.URI)
	})
	return got
}

// Count returns how many requests came with an id so far.
func (b *Backends) Count(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.received[id])
}

func (b *Backends) handler(kind string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod := b.pod(r, kind)
		b.keep(pod, kind, r)
		var want wish
		if text := r.Header.Get(echoField); text != "" {
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				http.Error(w, echoField+": "+err.Error(), 599)
				return
			}
			if own, ok := want.Pods[pod]; ok {
				want = own
			}
		}
		switch kind {
		case "auth":
			authenticate(w, r)
			return
		case "errs":
			want = wish{}
			if n, err := strconv.Atoi(r.Header.Get("X-Code")); err == nil {
				want.Status = n
			}
		case "mirror":
			want = wish{}
		}
		if want.DelayMS > 0 {
			time.Sleep(time.Duration(want.DelayMS) * time.Millisecond)
		}
		switch {
		case want.Abort:
			panic(http.ErrAbortHandler)
		case want.Status == 0 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
			webSocket(w, r, pod)
		case strings.HasPrefix(kind, "grpc"):
			greet(w, pod)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Server", "echo-backend/1.0")
			echo := fmt.Sprintf(`{"echo":%q,"kind":%q,"method":%q,"uri":%q}`+"\n", pod, kind, r.Method, r.RequestURI)
			want.answer(w, echo)
		}
	})
}

func (b *Backends) pod(r *http.Request, kind string) string {
	if kind == "fcgi" {
		return "fcgi"
	}
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if addr == nil {
		return "?"
	}
	return b.place.partyOf(addr.IP.String())
}

// keep remembers what came.
func (b *Backends) keep(pod, kind string, r *http.Request) {
	// A body that breaks off is compared as far as it came.
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	got := Received{
		Pod: pod, Kind: kind, Proto: r.Proto, Method: r.Method, URI: r.RequestURI, Host: r.Host,
		Header: pairs(r.Header, idField, echoField), Trailer: pairs(r.Trailer), Body: short(body, 512),
	}
	if got.URI == "" { // FastCGI
		got.URI = r.URL.RequestURI()
	}
	switch {
	case len(r.TransferEncoding) > 0:
		got.Framing = strings.Join(r.TransferEncoding, ",")
	case r.ContentLength > 0:
		got.Framing = "length"
	}
	if r.TLS != nil {
		got.SNI = r.TLS.ServerName
		if len(r.TLS.PeerCertificates) > 0 {
			got.Peer = r.TLS.PeerCertificates[0].Subject.CommonName
		}
	}
	id := r.Header.Get(idField)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received[id] = append(b.received[id], got)
}

// pairs lists fields by name, but for those in without.
func pairs(h http.Header, without ...string) []Pair {
	var out []Pair
	for name, values := range h {
		if slices.Contains(without, name) {
			continue
		}
		for _, v := range values {
			out = append(out, Pair{name, v})
		}
	}
	slices.SortStableFunc(out, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// short replaces a long text by its length and digest.
func short(body []byte, limit int) string {
	if len(body) > limit {
		return fmt.Sprintf("<%d bytes sha1 %x>", len(body), sha1.Sum(body))
	}
	return string(body)
}

// answer writes what was wished for; echo is the body when none was.
func (want *wish) answer(w http.ResponseWriter, echo string) {
	h := w.Header()
	for _, f := range want.Headers {
		h.Del(f[0])
	}
	for _, f := range want.Headers {
		h.Add(f[0], f[1])
	}
	for _, f := range want.Trailers {
		h.Add("Trailer", f[0])
	}
	status := want.Status
	if status == 0 {
		status = 200
	}
	body := echo
	switch {
	case want.Body != nil:
		body = *want.Body
	case want.Size > 0:
		body = strings.Repeat("0123456789abcdef", want.Size/16+1)[:want.Size]
	}
	empty := status == 204 || status == 304
	if !want.Chunked && len(want.Trailers) == 0 && !empty && h.Get("Content-Length") == "" {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if f, ok := w.(http.Flusher); ok && want.Chunked {
		f.Flush()
	}
	if !empty {
		io.WriteString(w, body) // the client sees it when this fails
	}
	for _, f := range want.Trailers {
		h.Set(f[0], f[1])
	}
}

// authenticate is the external authentication service.
func authenticate(w http.ResponseWriter, r *http.Request) {
	h, path := w.Header(), r.URL.Path
	switch {
	case strings.HasPrefix(path, "/deny403"):
		w.WriteHeader(403)
	case strings.HasPrefix(path, "/fail500"):
		w.WriteHeader(500)
	case strings.HasPrefix(path, "/redir"):
		h.Set("Location", "http://login.test/")
		w.WriteHeader(302)
	case strings.HasPrefix(path, "/okplain"):
		h.Set("X-Auth-User", "alice")
		w.WriteHeader(200)
	case strings.HasPrefix(path, "/ok"), r.Header.Get("Authorization") == "Bearer good":
		h.Set("X-Auth-User", "alice")
		h.Set("X-Auth-Groups", "a,b")
		h.Add("Set-Cookie", "authc=1; Path=/")
		h.Set("X-Not-Listed", "1")
		w.WriteHeader(200)
	default:
		h.Set("Www-Authenticate", `Bearer realm="ext"`)
		h.Add("Set-Cookie", "authfail=1; Path=/")
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(401)
		io.WriteString(w, "auth says no\n")
	}
}

// greet is a gRPC answer of one message.
func greet(w http.ResponseWriter, pod string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Server", "echo-backend/1.0")
	h.Set("Trailer", "Grpc-Status, Grpc-Message")
	h.Set("X-Pod", pod)
	w.WriteHeader(200)
	text := "hello from " + pod
	msg := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
	w.Write(append(msg, text...))
	h.Set("Grpc-Status", "0")
	h.Set("Grpc-Message", "fine")
}

// webSocket takes an upgrade and sends every byte back.
func webSocket(w http.ResponseWriter, r *http.Request, pod string) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nX-Pod: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), pod)
	buf := make([]byte, 4096)
	for rw.Flush() == nil {
		n, err := rw.Read(buf)
		if err != nil {
			return
		}
		rw.Write(buf[:n]) // fails at Flush
	}
}

// serveDNS answers A questions for NAME.ext.test with the address of that party, for
// three cluster names, and NXDOMAIN for the rest.
func (b *Backends) serveDNS(addr string) error {
	pc, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, pc.Close)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			if answer := b.resolve(buf[:n]); answer != nil {
				pc.WriteTo(answer, from) // whoever asks asks again
			}
		}
	}()
	return nil
}
