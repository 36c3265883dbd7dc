// Package std is the transports with blocking I/O: HTTP/1 on wire/h1, HTTP/2 on
// x/net, and the client for lintel's own subrequests (Fetch).
//
// It stands behind package proxy, which chooses endpoints and decides about attempts;
// nothing here retries what an endpoint may have seen.
//
// What a reader gets wrong: a response without content (Resp.Body nil) is finished
// when RoundTrip returns; with content the connection belongs to the body until its Close.
package std

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// Options are what a Transport takes from the world. The zero value works.
type Options struct {
	// Dial opens connections; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup resolves names for Fetch; nil: net.DefaultResolver.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Roots verify what Fetch connects to; nil: those of the system.
	Roots *x509.CertPool
	// Refuse adds addresses that are never dialled unless a target is local, such as
	// the process's own; nil adds none.
	Refuse func(netip.Addr) bool
}

// Limits bound idle connections; the ConfigMap's upstream-keepalive-*.
type Limits struct {
	Idle        int           // kept per process; 0: every connection closes after its exchange
	IdleTimeout time.Duration // 0: 60s
	Requests    int           // per connection; 0: no limit
	Age         time.Duration // of a connection; 0: no limit
}

// LimitsOf reads Limits out of the global settings.
func LimitsOf(g *config.Global) Limits {
	return Limits{g.UpstreamKeepAlive, g.UpstreamKeepAliveTimeout, g.UpstreamKeepAliveRequests, g.UpstreamKeepAliveTime}
}

// DefaultLimits are those of ingress-nginx.
var DefaultLimits = Limits{Idle: 320, IdleTimeout: time.Minute, Requests: 10000, Age: time.Hour}

// Transport speaks HTTP/1 and HTTP/2 to endpoints. Make it with New. All methods are
// safe for concurrent use.
type Transport struct {
	o      Options
	limits atomic.Pointer[Limits]
	idle   idlePool
	h2     h2Pool
	names  nameCache
	roots  *x509.CertPool
	base   context.Context // ends with Close
	stop   context.CancelFunc
	group  sync.WaitGroup
}

var _ upstream.Transport = (*Transport)(nil)

// New returns a Transport with DefaultLimits. It runs one goroutine, until Close.
func New(o Options) *Transport {
	if o.Dial == nil {
		d := &net.Dialer{KeepAlive: 30 * time.Second}
		o.Dial = d.DialContext
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	t := &Transport{o: o, roots: o.Roots}
	t.base, t.stop = context.WithCancel(context.Background())
	t.idle.init()
	t.h2.conns = map[key]*h2Key{}
	t.names.entries = map[string]*nameEntry{}
	l := DefaultLimits
	t.limits.Store(&l)
	t.group.Add(1)
	go t.sweep()
	return t
}

// SetLimits changes the limits; connections that are idle by now obey them too.
func (t *Transport) SetLimits(l Limits) {
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = DefaultLimits.IdleTimeout
	}
	t.limits.Store(&l)
	t.idle.trim(l.Idle)
}

const sweepEvery = 5 * time.Second

// sweep closes idle connections whose time is up or whose peer closed or spoke.
func (t *Transport) sweep() {
	defer t.group.Done()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.base.Done():
			return
		case now := <-tick.C:
			t.idle.sweep(now)
			t.h2.sweep(now, t.limits.Load())
			t.names.sweep(now)
		}
	}
}

// CloseIdle closes idle connections to endpoints that keep does not accept; HTTP/2
// connections to them take no more exchanges and close after the last.
func (t *Transport) CloseIdle(keep func(config.Endpoint) bool) {
	t.idle.closeIf(func(c *conn) bool { return !keep(config.Endpoint{Addr: c.key.addr}) })
	t.h2.retire(func(k key) bool { return !keep(config.Endpoint{Addr: k.addr}) })
}

// Close closes idle connections and ends the Transport's goroutine. Exchanges under way
// go on; their connections are closed after them.
func (t *Transport) Close() {
	t.stop()
	t.group.Wait()
	t.idle.shut()
	t.h2.shut()
}

// key says who may share a connection (reference/security.md R11).
type key struct {
	addr   netip.AddrPort
	http2  bool
	tls    bool
	policy string // upstream.Target.TLSKey
	name   string // SNI
}

func keyOf(t *upstream.Target) key {
	k := key{addr: t.Endpoint.Addr, http2: t.HTTP2}
	if t.TLS != nil {
		k.tls, k.policy, k.name = true, t.TLSKey, t.TLS.Name
	}
	return k
}

// Timeouts where a route says nothing: the defaults of ingress-nginx.
const (
	defaultConnect = 5 * time.Second
	defaultSend    = time.Minute
	defaultRead    = time.Minute
)

type timeouts struct {
	connect, send, read time.Duration
	headMax             int
	connection          string // connection-proxy-header
}

func timeoutsOf(f *config.Forward) timeouts {
	to := timeouts{connect: defaultConnect, send: defaultSend, read: defaultRead, headMax: minHead}
	if f == nil {
		return to
	}
	if f.Connect > 0 {
		to.connect = f.Connect
	}
	if f.Send > 0 {
		to.send = f.Send
	}
	if f.Read > 0 {
		to.read = f.Read
	}
	// proxy-buffer-size is a floor here: its 502 is a top complaint (reference/configmap.md).
	to.headMax = max(to.headMax, f.HeadMax)
	to.connection = f.ConnectionHeader
	return to
}

const minHead = 256 << 10

// RoundTrip implements upstream.Transport. Errors are *exchange.Error; after one, x.Resp is empty.
func (t *Transport) RoundTrip(x *exchange.Exchange, target *upstream.Target) error {
	resetResponse(&x.Resp)
	x.Try = append(x.Try, exchange.Attempt{Addr: target.Endpoint.Addr, Connect: -1, Header: -1, Response: -1})
	a := &attempt{x: x, index: len(x.Try) - 1, start: time.Now()}
	var err error
	if target.HTTP2 {
		err = t.roundTrip2(x, target, a)
	} else {
		err = t.roundTrip1(x, target, a)
	}
	if err != nil {
		resetResponse(&x.Resp)
		a.ended(0)
		return err
	}
	x.Resp.FromUpstream, x.Resp.Generated = true, false
	return nil
}

func resetResponse(r *exchange.Response) {
	h, t := r.Header, r.Trailer
	h.Reset()
	t.Reset()
	*r = exchange.Response{Header: h, Trailer: t, Close: r.Close, Denied: r.Denied}
}

// attempt records one try in x.Try, which may grow and move meanwhile.
type attempt struct {
	x     *exchange.Exchange
	index int
	start time.Time
}

func (a *attempt) connected() { a.x.Try[a.index].Connect = time.Since(a.start) }
func (a *attempt) reused()    { a.x.Try[a.index].Connect = 0 }
func (a *attempt) head(code int) {
	e := &a.x.Try[a.index]
	e.Status, e.Header = code, time.Since(a.start)
}

func (a *attempt) ended(bytes int64) {
	e := &a.x.Try[a.index]
	e.Response, e.Bytes = time.Since(a.start), bytes
}

// What RoundTrip fails with, inside *exchange.Error.
var (
	ErrAddress     = errors.New("address must not be connected to")
	ErrConnect     = errors.New("connecting took longer than proxy-connect-timeout")
	ErrRead        = errors.New("endpoint sent nothing within proxy-read-timeout")
	ErrSend        = errors.New("endpoint took nothing within proxy-send-timeout")
	ErrClosed      = errors.New("endpoint closed the connection")
	ErrUpgraded    = errors.New("endpoint switched protocols without being asked to")
	ErrInterims    = errors.New("endpoint sent too many 1xx responses")
	ErrBodyShort   = errors.New("request body ended before its announced length")
	errStopSending = errors.New("request body is not wanted any more")
)

// isTimeout reports whether err says that a deadline passed.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// clientError is the failure of a read of the client's body, or its going away.
func clientError(err error) *exchange.Error {
	return &exchange.Error{Side: exchange.SideClient, Stage: exchange.StageReadBody, Sent: true,
		Timeout: errors.Is(err, exchange.ErrBodyTimeout), Err: err}
}

// refused reports whether a may not be connected to without leave: what serves the
// machine itself or its neighbours on the link (reference/security.md S3.3).
func (t *Transport) refused(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return !a.IsValid() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a == metadata6 || t.o.Refuse != nil && t.o.Refuse(a)
}

// metadata6 is the IPv6 address of a cloud's metadata service, which is not link-local.
var metadata6 = netip.MustParseAddr("fd00:ec2::254")

func (t *Transport) checkAddress(target *upstream.Target) *exchange.Error {
	if a := target.Endpoint.Addr.Addr(); !target.Local && t.refused(a) {
		return &exchange.Error{Side: exchange.SideSelf, Stage: exchange.StageDial, Err: fmt.Errorf("%w: %s", ErrAddress, a)}
	}
	return nil
}
