package std

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/upstream"
)

// ErrFetchTooLarge is returned for an answer with more content than FetchRequest.MaxBody.
var ErrFetchTooLarge = errors.New("answer is larger than allowed")

const (
	defaultFetch = 10 * time.Second
	maxAddresses = 3        // tried for one fetch
	drainFetch   = 64 << 10 // read and dropped for the sake of the connection
)

// Fetch is the function of filter.Env: it sends a request of lintel's own and reads the
// answer whole. It never follows redirects. Addresses are checked after the name was looked
// up; one that is not allowed fails with ErrAddress. The body must not
// be used by others until Fetch returned.
func (t *Transport) Fetch(ctx context.Context, r *filter.FetchRequest) (*filter.FetchResponse, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultFetch
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host, addrs, err := t.addresses(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", r.Addr, err)
	}
	target := &upstream.Target{
		Local:   r.AllowLocal,
		Forward: &config.Forward{Connect: min(timeout, defaultConnect), Send: timeout, Read: timeout},
	}
	switch r.Scheme {
	case "http":
	case "https":
		name := r.SNI
		if name == "" {
			name = host
		}
		target.TLSKey = "fetch"
		if r.Verify {
			target.TLSKey = "fetch, verified"
		}
		target.TLS = &upstream.TLSClient{Name: name, Config: &tls.Config{RootCAs: t.roots, InsecureSkipVerify: !r.Verify, MinVersion: tls.VersionTLS12}}
	default:
		return nil, fmt.Errorf("fetch %s: scheme %q is neither http nor https", r.Addr, r.Scheme)
	}
	for i, addr := range addrs {
		target.Endpoint.Addr = addr
		var res *filter.FetchResponse
		var touched bool
		if res, touched, err = t.fetch(ctx, r, target); err == nil {
			return res, nil
		}
		if touched || ctx.Err() != nil || i == maxAddresses-1 {
			break
		}
	}
	if cerr := ctx.Err(); cerr != nil {
		err = cerr // what the connection said then is only a consequence
	} else if errors.Is(err, ErrRead) || errors.Is(err, ErrSend) {
		err = context.DeadlineExceeded // the same time, measured on the connection
	}
	return nil, fmt.Errorf("fetch %s: %w", r.Addr, err)
}

// ctxDown lets a context play the client of an exchange.
type ctxDown struct{ ctx context.Context }

func (d ctxDown) Gone() <-chan struct{}                     { return d.ctx.Done() }
func (d ctxDown) Informational(int, *exchange.Fields) error { return nil }

// fetch sends r to one address; once more when a kept connection turns out to be dead.
// touched: another address must not be tried.
func (t *Transport) fetch(ctx context.Context, r *filter.FetchRequest, target *upstream.Target) (_ *filter.FetchResponse, touched bool, err error) {
	x := exchange.Acquire()
	defer x.Release()
	x.Down = ctxDown{ctx}
	x.Limits.Buffer = true // reads of the body do not wait for a client
	up := &x.Up
	up.Method, up.Scheme, up.Authority, up.Target, up.Length = r.Method, r.Scheme, r.Host, r.Target, r.Length
	up.Header.CopyFrom(&r.Header)
	up.HTTP10 = r.HTTP10
	body := &onceRead{r: r.Body}
	if r.Body == nil {
		up.Length = 0
	} else {
		up.Body = body
	}
	for range 2 {
		if err = t.RoundTrip(x, target); err == nil {
			break
		}
		var e *exchange.Error
		if !errors.As(err, &e) || e.Sent && !e.Reused || body.read {
			return nil, true, err
		}
		if !e.Reused {
			return nil, false, err
		}
	}
	if err != nil {
		return nil, false, err
	}
	res := &filter.FetchResponse{Status: x.Resp.Status}
	res.Header.CopyFrom(&x.Resp.Header)
	if x.Resp.Body == nil {
		return res, true, nil
	}
	defer x.Resp.Body.Close() //nolint:errcheck // respBody's Close never fails
	if r.MaxBody <= 0 {
		if n := x.Resp.Length; n <= drainFetch {
			_, err := io.CopyN(io.Discard, x.Resp.Body, drainFetch)
			if err != nil && err != io.EOF {
				return nil, true, err
			}
		}
		return res, true, nil
	}
	if x.Resp.Length > r.MaxBody {
		return nil, true, ErrFetchTooLarge
	}
	res.Body, err = io.ReadAll(io.LimitReader(x.Resp.Body, r.MaxBody+1))
	if err != nil {
		return nil, true, err
	}
	if int64(len(res.Body)) > r.MaxBody {
		return nil, true, ErrFetchTooLarge
	}
	return res, true, nil
}

// onceRead notes whether it was read. It leaves closing to its owner.
type onceRead struct {
	r    io.Reader
	read bool
}

func (o *onceRead) Read(p []byte) (int, error) {
	o.read = true
	return o.r.Read(p)
}

func (o *onceRead) Close() error { return nil }

// addresses returns where r.Addr may be reached.
func (t *Transport) addresses(ctx context.Context, r *filter.FetchRequest) (host string, out []netip.AddrPort, err error) {
	host, p, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return "", nil, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil || port == 0 {
		return "", nil, fmt.Errorf("%q is not a port", p)
	}
	var addrs []netip.Addr
	if a, perr := netip.ParseAddr(host); perr == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = t.names.lookup(ctx, t.base, host, t.o.Lookup); err != nil {
		return "", nil, err
	}
	for _, a := range addrs {
		if r.AllowLocal || !t.refused(a) {
			out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(port)))
		}
	}
	if len(out) == 0 {
		if len(addrs) == 0 {
			return "", nil, fmt.Errorf("%s has no address", host)
		}
		return "", nil, fmt.Errorf("%w: %s is %s", ErrAddress, host, addrs[0])
	}
	return host, out, nil
}

const (
	nameTTL  = 10 * time.Second
	maxNames = 1024
)

// nameCache remembers answers of the resolver for a moment: an auth service is asked
// for by every request. Failures are not remembered. Lookups of one name are joined.
type nameCache struct {
	mu      sync.Mutex
	entries map[string]*nameEntry
}

type nameEntry struct {
	done  chan struct{}
	addrs []netip.Addr
	err   error
	until time.Time
}

func (n *nameCache) lookup(ctx, base context.Context, name string, resolve func(context.Context, string) ([]netip.Addr, error)) ([]netip.Addr, error) {
	n.mu.Lock()
	e := n.entries[name]
	now := time.Now()
	if e != nil && e.finished() && !now.Before(e.until) {
		e = nil
	}
	if e == nil {
		e = &nameEntry{done: make(chan struct{})}
		if len(n.entries) < maxNames || n.entries[name] != nil {
			n.entries[name] = e
		}
		n.mu.Unlock()
		// The lookup serves others too: it ends with the Transport, not with this caller.
		go func() {
			rctx, cancel := context.WithTimeout(base, defaultFetch)
			defer cancel()
			addrs, err := resolve(rctx, name)
			n.mu.Lock()
			defer n.mu.Unlock()
			e.addrs, e.err, e.until = addrs, err, time.Now().Add(nameTTL)
			if err != nil && n.entries[name] == e {
				delete(n.entries, name)
			}
			close(e.done)
		}()
	} else {
		n.mu.Unlock()
	}
	select {
	case <-e.done:
		return e.addrs, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *nameEntry) finished() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

func (n *nameCache) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, e := range n.entries {
		if e.finished() && !now.Before(e.until) {
			delete(n.entries, name)
		}
	}
}
