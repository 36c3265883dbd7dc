package proxy

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
	"github.com/lintel-ingress/lintel/internal/upstream/health"
)

// Forwarder forwards the exchanges of one route. It is immutable and used by many
// exchanges at once. Close it when no table names it any more.
type Forwarder struct {
	p   *Proxy
	cfg *config.Forward

	pool      *upstream.Pool
	fallback  *upstream.Pool // nil: none
	policy    balance.Policy
	spare     balance.Policy  // for the fallback
	sticky    *balance.Sticky // nil: no affinity
	canary    *canary         // nil: none
	tls       *tlsPolicy      // nil: never TLS
	auto      bool            // TLS as the client's connection
	grpc      bool
	transport upstream.Transport
	keys      []string // of kept policies
}

// Forwarder compiles the forwarding of the route called id; with "" nothing is kept for a later build
// of the same route. o says where the route comes from; it may be nil.
func (p *Proxy) Forwarder(id string, cfg *config.Forward, o *config.Origin) (f *Forwarder, err error) {
	f = &Forwarder{p: p, cfg: cfg, transport: p.d.HTTP1}
	defer func() {
		if err != nil {
			f.Close()
			f = nil
		}
	}()
	f.pool = p.d.Pool(cfg.Pool)
	if cfg.Fallback != nil && !cfg.Fallback.IsZero() {
		f.fallback = p.d.Pool(*cfg.Fallback)
		if f.spare, err = f.keep(id, " fallback", config.Balance{}); err != nil {
			return f, err
		}
	}
	if f.policy, err = f.keep(id, "", cfg.Balance); err != nil {
		return f, err
	}
	if a := cfg.Affinity; a != nil {
		f.sticky = p.newSticky(a, a.Key, o)
	}
	if c := cfg.Canary; c != nil {
		if err = f.addCanary(id, c, o); err != nil {
			return f, err
		}
	}
	return f, f.speak()
}

func (f *Forwarder) keep(id, part string, b config.Balance) (balance.Policy, error) {
	if id != "" {
		id += part
	}
	policy, kept, err := f.p.policy(id, b)
	if kept != "" {
		f.keys = append(f.keys, kept)
	}
	return policy, err
}

func (f *Forwarder) addCanary(id string, c *config.Canary, o *config.Origin) error {
	n := &canary{cfg: c, pool: f.p.d.Pool(c.Pool), intn: f.p.d.IntN, total: 100}
	// compat: only totals above 100 have an effect (reference/annotations.md 14).
	if c.Total > 100 {
		n.total = c.Total
	}
	if c.HeaderPattern != "" {
		// compat: a pattern that cannot be used keeps the main upstream; translation has said so.
		n.pattern, _ = regexp.Compile(c.HeaderPattern)
	}
	if a := f.cfg.Affinity; a != nil && c.Sticky {
		n.sticky = f.p.newSticky(a, c.Key, o)
	}
	var err error
	n.policy, err = f.keep(id, " canary", f.cfg.Balance)
	f.canary = n
	return err
}

func (p *Proxy) newSticky(a *config.Affinity, key string, o *config.Origin) *balance.Sticky {
	path := a.Path
	if path == "" && o != nil {
		path = o.PathText
	}
	return balance.NewSticky(balance.Cookie{
		Name: a.Cookie, Persistent: a.Mode == "persistent", Path: path, Domain: a.Domain,
		MaxAge: a.MaxAge, Expires: a.Expires, SameSite: a.SameSite, ConditionalNone: a.ConditionalNone,
		// compat: false means "as the connection", as absence does (reference/annotations.md 15.1).
		Secure: a.Secure != nil && *a.Secure, ChangeOnFailure: a.ChangeOnFailure, Upstream: key,
		Now: p.d.Now, IntN: p.d.IntN, Mono: p.d.Mono,
	})
}

// speak chooses transport and TLS by the route's protocol.
func (f *Forwarder) speak() (err error) {
	secure := false
	switch f.cfg.Protocol {
	case config.HTTP:
	case config.HTTPS:
		secure = true
	case config.AutoHTTP:
		secure, f.auto = true, true
	case config.GRPC:
		f.grpc, f.transport = true, f.p.d.HTTP2
	case config.GRPCS:
		f.grpc, f.transport, secure = true, f.p.d.HTTP2, true
	case config.FCGI:
		f.transport = f.p.d.FCGI
	}
	if f.transport == nil {
		return fmt.Errorf("backend-protocol %s is not supported by this build", f.cfg.Protocol)
	}
	if secure {
		f.tls, err = f.p.newTLSPolicy(f.cfg.TLS, f.grpc)
	}
	return err
}

// Close lets go of what the forwarder kept. Exchanges that still use it may go on.
func (f *Forwarder) Close() {
	for _, k := range f.keys {
		f.p.release(k)
	}
	f.keys = nil
}

// MayBlock reports whether Forward may wait for anything but the endpoint.
func (f *Forwarder) MayBlock() bool { return f.pool.MayWait() }

// state is what forwarding knows of one exchange.
type state struct {
	f        *Forwarder
	pool     *upstream.Pool // nil: nothing has an endpoint
	policy   balance.Policy
	sticky   *balance.Sticky
	fallback bool

	tried    balance.Tried
	endpoint *balance.Endpoint
	open     bool // endpoint's attempt is counted as in progress
	retry    bool // it was asked for with BeginRetry
	attempts int
	free     int // attempts that do not count
	began    time.Duration
	started  time.Duration // of the attempt
	cookie   string
	redirect string // X-Accel-Redirect
	target   upstream.Target
	method   string

	spool    spool
	replay   replay
	stream   stream
	bodyUsed bool // the client's content was, or is being, read
	keep     bool // the error page may want the spool
	body     respBody
}

var slot = exchange.NewSlot[state]()

// Select chooses pool and canary, once per exchange, and reports whether an endpoint or a fallback
// can take it (reference/annotations.md 4, stage 5). x.Alt says which canary was chosen.
func (f *Forwarder) Select(x *exchange.Exchange) bool {
	s := slot.Of(x)
	s.settle(false)
	s.spool.release()
	*s = state{f: f}
	if f.pool.MayWait() && x.Down != nil {
		f.pool.Await(x.Down.Gone(), min(max(f.cfg.Connect, time.Second), 5*time.Second))
	}
	if f.pool.Set().Len() == 0 {
		// compat: a canary does not help a main upstream without endpoints (reference/annotations.md 14).
		if f.fallback != nil && f.fallback.Set().Len() > 0 {
			s.pool, s.policy, s.fallback = f.fallback, f.spare, true
			return true
		}
		return f.cfg.Empty != 0
	}
	s.pool, s.policy, s.sticky = f.pool, f.policy, f.sticky
	if c := f.canary; c != nil && c.pool.Set().Len() > 0 {
		if yes, _ := c.decide(x, f.sticky); yes {
			s.pool, s.policy, s.sticky = c.pool, c.policy, c.sticky
			x.Alt = c.cfg.Origin.Upstream
		}
	}
	return true
}

// Forward sends x.Up to an endpoint, to another where the route's rules allow it, and
// fills x.Resp: with the endpoint's answer or a status of lintel's own.
func (f *Forwarder) Forward(x *exchange.Exchange) {
	if !f.Start(x) {
		return
	}
	before := len(x.Try)
	for {
		t, tr := f.Next(x)
		if t == nil {
			break
		}
		if err := tr.RoundTrip(x, t); err != nil {
			if f.Failed(x, err) {
				continue
			}
		} else if f.Answered(x) {
			continue
		}
		break
	}
	if before > 0 && before < len(x.Try) {
		x.Try[before].Anew = true
	}
	f.Finish(x)
}

// Start makes x.Up ready for the first attempt; it reads the client's content where the route buffers.
// When it returns false x.Resp holds the answer.
func (f *Forwarder) Start(x *exchange.Exchange) bool {
	s := slot.Of(x)
	if s.f != f {
		f.Select(x)
	}
	if s.pool == nil {
		x.Reply(f.empty())
		return false
	}
	f.shape(x, s)
	// compat: gRPC is never buffered, and HTTP/1.0 needs to know the length (reference/annotations.md 16).
	// Transports read in Limits whether reads of the content may wait for the client.
	x.Limits.Buffer = x.Limits.Buffer && !f.grpc || x.Up.HTTP10 && x.Up.Length < 0
	if !f.grpc {
		s.stream.trailer = &x.Req.Trailer
	}
	if err := s.source(x, f.p.d.Buffers, x.Limits.Buffer); err != nil {
		status := statusOf(err)
		if status == 500 {
			f.p.d.Log.Error("request body not buffered", "err", err)
		}
		x.Reply(status)
		// The rest of the body is unread: the connection cannot be used again.
		x.Resp.Close = true
		return false
	}
	s.began = f.p.d.Mono()
	return true
}

func (f *Forwarder) empty() int {
	if f.cfg.Empty != 0 {
		return f.cfg.Empty
	}
	return 503
}

// shape adapts x.Up to the protocol spoken to the endpoint.
func (f *Forwarder) shape(x *exchange.Exchange, s *state) {
	u := &x.Up
	s.method = u.Method
	u.Scheme = "http"
	if f.tls != nil && (!f.auto || x.Req.Scheme == "https") {
		u.Scheme = "https"
	}
	u.HTTP10 = f.cfg.HTTP10 && !f.grpc
	if !f.grpc {
		u.TETrailer = false
		if f.cfg.ConnectionHeader == "close" || f.p.d.Global().UpstreamKeepAlive == 0 {
			u.Close = true
		}
		// compat: with a literal Connection field no upgrade happens (reference/annotations.md 8.1).
		if u.HTTP10 || f.cfg.ConnectionHeader != "" {
			u.Upgrade = ""
		}
		if u.Method == "CONNECT" && u.Upgrade != "" {
			extendedConnect(u)
		}
	}
	// S11.1: these authenticate the connection, which must not serve anybody else afterwards.
	if connectionAuth(u.Header.Get("Authorization")) {
		u.Close = true
	}
	if s.fallback {
		f.explainFallback(x)
	}
}

// connectionAuth reports whether credentials or a challenge are of a scheme that binds them to the connection.
func connectionAuth(v string) bool {
	for _, scheme := range []string{"NTLM", "Negotiate"} {
		if len(v) >= len(scheme) && exchange.EqualFold(v[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// extendedConnect turns the HTTP/2 form of a WebSocket handshake into the HTTP/1.1 one (RFC 8441, 5).
func extendedConnect(u *exchange.Upstream) {
	u.Method = "GET"
	u.Body, u.Length = nil, 0
	var key [16]byte
	// rand.Read never fails (crypto/rand).
	_, _ = rand.Read(key[:])
	u.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
}

// explainFallback adds what the default-backend annotation promises (reference/annotations.md 5).
func (f *Forwarder) explainFallback(x *exchange.Exchange) {
	h := &x.Up.Header
	h.Set("X-Code", "503")
	setOrDel(h, "X-Format", x.Req.Header.Get("Accept"))
	setOrDel(h, "X-Namespace", x.Route.Namespace)
	setOrDel(h, "X-Ingress-Name", x.Route.Ingress)
	setOrDel(h, "X-Service-Name", x.Route.Service)
	setOrDel(h, "X-Service-Port", x.Route.ServicePort)
	setOrDel(h, "X-Request-ID", x.ID)
}

// setOrDel does what proxy_set_header does: an empty value takes the field away.
func setOrDel(h *exchange.Fields, name, value string) {
	if value == "" {
		h.Del(name)
		return
	}
	h.Set(name, value)
}

// source makes x.Up.Body something attempts can read.
func (s *state) source(x *exchange.Exchange, b *Buffers, buffer bool) error {
	u := &x.Up
	if u.Body == nil {
		return nil
	}
	s.bodyUsed = true
	if !buffer {
		s.stream.ReadCloser = u.Body
		return nil
	}
	if err := s.spool.fill(b, u.Body, u.Length, x.Limits.BufferMem, x.Limits.BodyMax); err != nil {
		var e *exchange.Error
		if statusOf(err) == 500 && !errors.As(err, &e) && !isOwn(err) {
			// A failing read is the client's connection.
			return &exchange.Error{Side: exchange.SideClient, Stage: exchange.StageReadBody, Err: err}
		}
		return err
	}
	u.Length = s.spool.size
	return nil
}

// isOwn reports failures of lintel's own disk rather than of the client.
func isOwn(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

// Next picks the endpoint for the next attempt and makes x.Up's body ready. A nil target
// means there is none; then x.Resp holds the answer.
func (f *Forwarder) Next(x *exchange.Exchange) (*upstream.Target, upstream.Transport) {
	s := slot.Of(x)
	set := s.pool.Set()
	var e *balance.Endpoint
	if s.sticky != nil {
		var cookie string
		if e, cookie = s.sticky.Pick(x, set, &s.tried); cookie != "" {
			s.cookie = cookie
		}
	} else {
		e = s.policy.Pick(x, set, &s.tried)
	}
	if e == nil {
		x.Reply(f.empty())
		return nil, nil
	}
	t := &s.target
	*t = upstream.Target{Endpoint: config.Endpoint{Addr: e.Addr, Zone: e.Zone}, Forward: f.cfg, HTTP2: f.grpc, Local: f.cfg.Local || s.pool.Local()}
	if x.Up.Scheme == "https" {
		var err error
		if t.TLS, t.TLSKey, err = f.tls.client(x); err != nil {
			f.p.d.Log.Error("upstream tls not usable", "err", err, "pool", s.pool.ID().String())
			x.Reply(503)
			return nil, nil
		}
	}
	s.tried.Add(e)
	s.attempts++
	s.endpoint, s.open = e, true
	s.started = f.p.d.Mono()
	e.Start()
	switch {
	case s.spool.from != nil:
		s.replay = replay{of: &s.spool}
		x.Up.Body = &s.replay
	case s.stream.ReadCloser != nil:
		x.Up.Body = &s.stream
	}
	resetResponse(x)
	return t, f.transport
}

// resetResponse empties x.Resp for the answer of an endpoint.
func resetResponse(x *exchange.Exchange) {
	r := &x.Resp
	r.Status, r.Length, r.Body, r.Tunnel, r.Upgrade = 0, 0, nil, nil, ""
	r.Header.Reset()
	r.Trailer.Reset()
	r.Generated, r.FromUpstream = false, false
}

// Failed takes the failure of an attempt and reports whether there shall be another. If
// not, x.Resp holds the answer.
func (f *Forwarder) Failed(x *exchange.Exchange, err error) (again bool) {
	s := slot.Of(x)
	var e *exchange.Error
	if !errors.As(err, &e) {
		e = &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: err}
	}
	if e.Side == exchange.SideUpstream {
		if e.Stage == exchange.StageDial {
			health.ConnectFailed(s.endpoint, f.p.d.Mono())
		} else {
			health.Connected(s.endpoint)
		}
	}
	s.settle(e.Side == exchange.SideUpstream)
	o := f.outcome(x, s)
	o.Err = e
	d := Decide(&f.cfg.Retry, o)
	if d.Free {
		s.free++
	}
	if d.Retry && s.again(d.Free) {
		return true
	}
	x.Reply(d.Status)
	if e.Side == exchange.SideClient || s.stream.consumed.Load() {
		x.Resp.Close = true
	}
	return false
}

func (f *Forwarder) outcome(x *exchange.Exchange, s *state) Outcome {
	return Outcome{
		Method: s.method, Tries: s.attempts - s.free, Attempts: s.attempts, Elapsed: f.p.d.Mono() - s.began,
		Streaming: s.stream.ReadCloser != nil, Consumed: s.stream.consumed.Load(), Gone: gone(x),
	}
}

func gone(x *exchange.Exchange) bool {
	if x.Down == nil {
		return false
	}
	select {
	case <-x.Down.Gone():
		return true
	default:
		return false
	}
}

// Answered takes the response head that stands in x.Resp and reports whether there shall be another
// attempt instead; the response is then dropped.
func (f *Forwarder) Answered(x *exchange.Exchange) (again bool) {
	s := slot.Of(x)
	health.Connected(s.endpoint)
	if f.cfg.Retry.On&retryStatus(x.Resp.Status) != 0 {
		o := f.outcome(x, s)
		o.Status = x.Resp.Status
		if Decide(&f.cfg.Retry, o).Retry && s.pool.BeginRetry() {
			closeBody(x)
			s.settle(true)
			s.retry = true
			return true
		}
	}
	x.Resp.FromUpstream, x.Resp.Generated = true, false
	f.clean(x, s)
	if x.Resp.Status == 401 {
		for v := range x.Resp.Header.Values("WWW-Authenticate") {
			x.Up.Close = x.Up.Close || connectionAuth(v)
		}
	}
	switch {
	case x.Resp.Tunnel != nil:
		if x.Req.Method == "CONNECT" && x.Resp.Status == 101 {
			x.Resp.Status, x.Resp.Upgrade = 200, ""
			x.Resp.Header.Del("Sec-WebSocket-Accept")
		}
		x.Resp.Tunnel = wrapTunnel(x.Resp.Tunnel, s)
	case x.Resp.Body != nil:
		s.body = respBody{ReadCloser: x.Resp.Body, x: x, s: s, dropTrailer: !f.grpc}
		x.Resp.Body = &s.body
	}
	return false
}

// closeBody ends a response that is not passed on.
func closeBody(x *exchange.Exchange) {
	if b := x.Resp.Body; b != nil {
		x.Resp.Body = nil
		// What a dropped response's end says changes nothing.
		_ = b.Close()
	}
}

// Finish completes the answer, whichever it is: the affinity cookie goes out with each
// (reference/annotations.md 15.1).
func (f *Forwarder) Finish(x *exchange.Exchange) {
	s := slot.Of(x)
	if s.redirect != "" {
		target := s.redirect
		closeBody(x)
		s.settle(false)
		if f.p.d.Reroute == nil {
			x.Reply(500)
		} else {
			f.p.d.Reroute(x, target)
			return
		}
	}
	if s.cookie != "" {
		x.Resp.Header.Add("Set-Cookie", s.cookie)
	}
	s.keep = f.cfg.ErrorPages != nil && wants(f.cfg.ErrorPages, x.Resp.Status, x.Resp.FromUpstream)
	if x.Resp.Body == nil && x.Resp.Tunnel == nil {
		if s.open {
			s.observe(x)
		}
		s.settle(false)
		s.drop()
	}
}

// drop gives the buffered request back, unless an error page may want it.
func (s *state) drop() {
	if !s.keep {
		s.spool.release()
	}
}

// Done ends what forwarding still holds of x. It is safe to call whether or not x was
// forwarded, and more than once; closing the response body does the same.
func Done(x *exchange.Exchange) {
	if s := slot.Peek(x); s != nil {
		s.settle(false)
		s.keep = false
		s.drop()
	}
}

// settle ends the attempt in progress, if there is one.
func (s *state) settle(failed bool) {
	if s.retry {
		s.retry = false
		s.pool.EndRetry()
	}
	if !s.open {
		return
	}
	s.open = false
	s.endpoint.End(failed)
}

// again reports whether the pool takes another attempt. One that takes the place of a kept connection's is none more.
func (s *state) again(free bool) bool {
	s.retry = !free && s.pool.BeginRetry()
	return free || s.retry
}

// observe tells the policy how long the attempt took, connect counted twice as the reference does.
func (s *state) observe(x *exchange.Exchange) {
	o, ok := s.policy.(balance.Observer)
	if !ok {
		return
	}
	took := s.f.p.d.Mono() - s.started
	if n := len(x.Try); n > 0 && x.Try[n-1].Connect > 0 {
		took += x.Try[n-1].Connect
	}
	o.Observe(s.endpoint, took)
}

// respBody is an endpoint's content on its way to the client.
type respBody struct {
	io.ReadCloser
	x           *exchange.Exchange
	s           *state
	dropTrailer bool
	failed      bool
}

func (b *respBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.failed = b.failed || err != io.EOF
		if b.dropTrailer {
			// compat: trailers reach the client for gRPC only (parity 50, response-trailers).
			b.x.Resp.Trailer.Reset()
		}
	}
	return n, err
}

// Close ends the attempt. The transport does not touch the exchange any more afterwards, so
// that what it read from can be given back.
func (b *respBody) Close() error {
	err := b.ReadCloser.Close()
	if b.s.open {
		b.s.observe(b.x)
	}
	b.s.settle(b.failed)
	b.s.drop()
	return err
}

// tunnel ends the attempt when it is closed.
type tunnel struct {
	io.ReadWriteCloser
	s *state
}

func (t *tunnel) Close() error {
	err := t.ReadWriteCloser.Close()
	t.s.settle(false)
	t.s.drop()
	return err
}

// halfTunnel is a tunnel one direction of which can be closed.
type halfTunnel struct{ tunnel }

func (t *halfTunnel) CloseWrite() error {
	return t.ReadWriteCloser.(interface{ CloseWrite() error }).CloseWrite()
}

func wrapTunnel(c io.ReadWriteCloser, s *state) io.ReadWriteCloser {
	if _, ok := c.(interface{ CloseWrite() error }); ok {
		return &halfTunnel{tunnel{c, s}}
	}
	return &tunnel{c, s}
}

// clean takes from an endpoint's response what is not for the client (reference/routing.md 12),
// and honours the X-Accel-* fields lintel knows (reference/annotations.md 16).
func (f *Forwarder) clean(x *exchange.Exchange, s *state) {
	g := f.p.d.Global()
	keepServer := g.AllowBackendServer
	h := &x.Resp.Header
	h.DelFunc(func(name, value string) bool {
		switch len(name) {
		case len("Date"):
			// The engine writes its own.
			return exchange.EqualFold(name, "Date")
		case len("X-Pad"):
			return exchange.EqualFold(name, "X-Pad")
		case len("Server"):
			return !keepServer && exchange.EqualFold(name, "Server")
		case len("Content-Type"):
			// compat: nginx leaves out a type without text.
			return value == "" && exchange.EqualFold(name, "Content-Type")
		}
		const accel = "X-Accel-"
		if len(name) <= len(accel) || !exchange.EqualFold(name[:len(accel)], accel) {
			return false
		}
		switch rest := name[len(accel):]; {
		case exchange.EqualFold(rest, "Limit-Rate"):
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
				x.Limits.Rate = n
			}
		case exchange.EqualFold(rest, "Redirect"):
			s.redirect = value
		}
		return true
	})
}
