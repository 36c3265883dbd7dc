// Package proxy turns a request into an endpoint's answer: which pool, which endpoint,
// how often, how long, and what the client is told when none answers.
//
// It stands between dataplane, which calls it per route, and upstream, which holds pools
// and transports. All rules about attempts are here and nowhere else: Decide is a pure
// function, and Forward is only its driver for blocking engines. A driver with sockets of
// its own calls Start, Next, Failed, Answered and Finish in the same order.
//
// What a reader gets wrong: x.Up is prepared by the caller (Prepare, then the filters'
// OnUpstream hooks) before Forward; Forward changes only what the protocol to the
// endpoint demands.
package proxy

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// Text is a compiled text with $variables: it appends the text's value for x.
type Text func(dst []byte, x *exchange.Exchange) []byte

// Deps is what a Proxy takes from the world.
type Deps struct {
	// Pool returns the pool called id, which may be empty. (*upstream.Registry).Pool is it.
	Pool func(id config.PoolID) *upstream.Pool
	// HTTP1 and HTTP2 carry requests; FCGI may be nil, then routes that need it are refused.
	HTTP1, HTTP2, FCGI upstream.Transport
	// Compile compiles a text with $variables (package expr).
	Compile func(text string) (Text, error)
	// Global returns the settings in force; never nil.
	Global func() *config.Global
	// Buffers bounds request buffering; nil uses NewBuffers("").
	Buffers *Buffers
	// Reroute answers a response's X-Accel-Redirect by routing x to uri on the same host; nil: 500.
	Reroute func(x *exchange.Exchange, uri string)
	Log     *slog.Logger

	Now  func() time.Time // nil: time.Now
	Mono balance.Clock    // nil: balance.Monotonic
	IntN func(n int) int  // nil: math/rand/v2
}

// Proxy makes forwarders and keeps what outlives them. Safe for concurrent use.
type Proxy struct {
	d     Deps
	certs sync.Map // config.CertID -> *config.Cert

	mu   sync.Mutex
	kept map[string]*keptPolicy
}

// keptPolicy is a balancing policy that keeps its state while routes of one identity come and go.
type keptPolicy struct {
	policy balance.Policy
	users  int
}

// New returns a proxy. Pool, HTTP1 and HTTP2 must be set.
func New(d Deps) *Proxy {
	if d.Buffers == nil {
		d.Buffers = NewBuffers("")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Global == nil {
		none := new(config.Global)
		d.Global = func() *config.Global { return none }
	}
	if d.Compile == nil {
		d.Compile = func(text string) (Text, error) {
			return nil, fmt.Errorf("text %q: no compiler for $variables", text)
		}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Mono == nil {
		d.Mono = balance.Monotonic
	}
	if d.IntN == nil {
		d.IntN = rand.IntN
	}
	return &Proxy{d: d, kept: map[string]*keptPolicy{}}
}

// SetCerts takes the key material a delta changed; nil means gone. Forwarders use the new
// material from the next connection on, without being built again.
func (p *Proxy) SetCerts(certs map[config.CertID]*config.Cert) {
	for id, c := range certs {
		if c == nil {
			p.certs.Delete(id)
		} else {
			p.certs.Store(id, c)
		}
	}
}

func (p *Proxy) cert(id config.CertID) *config.Cert {
	if c, ok := p.certs.Load(id); ok {
		return c.(*config.Cert)
	}
	return nil
}

// policy returns the balancing policy of a route: the one an earlier build of the same route
// left, where it has state of its own. kept is the key to release it by; an empty key keeps nothing.
func (p *Proxy) policy(key string, b config.Balance) (_ balance.Policy, kept string, _ error) {
	o := balance.Options{SubsetSize: b.SubsetSize, IntN: p.d.IntN, Now: p.d.Mono}
	name := b.Policy
	switch {
	case name == "":
		name = "round_robin"
	case (name == "chash" || name == "chashsubset") && b.HashBy == "", name == "sticky_balanced", name == "sticky_persistent":
		// compat: these do nothing without their own settings (reference/annotations.md 15).
		name = "round_robin"
	case name == "chash" || name == "chashsubset":
		text, err := p.text(b.HashBy)
		if err != nil {
			return nil, "", fmt.Errorf("upstream-hash-by: %w", err)
		}
		o.HashBy = text
	}
	if name != "round_robin" || key == "" {
		policy, err := balance.New(name, o)
		return policy, "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.kept[key]
	if k == nil {
		policy, err := balance.New(name, o)
		if err != nil {
			return nil, "", err
		}
		k = &keptPolicy{policy: policy}
		p.kept[key] = k
	}
	k.users++
	return k.policy, key, nil
}

func (p *Proxy) release(key string) {
	if key == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.kept[key]; k != nil {
		if k.users--; k.users <= 0 {
			delete(p.kept, key)
		}
	}
}

// text compiles a text; one without $ needs no compiler.
func (p *Proxy) text(text string) (Text, error) {
	for i := range len(text) {
		if text[i] == '$' {
			return p.d.Compile(text)
		}
	}
	return func(dst []byte, _ *exchange.Exchange) []byte { return append(dst, text...) }, nil
}

// Prepare makes x.Up a copy of x.Req as endpoints get it. Call it before the filters'
// OnUpstream hooks; it may be called again, and starts over.
func Prepare(x *exchange.Exchange) {
	u := &x.Up
	u.Method, u.Target = x.Req.Method, x.Req.Target
	if x.Rewritten != "" {
		u.Target = x.Rewritten
	}
	u.Scheme = "http"
	if u.Authority = x.Eff.Host; u.Authority == "" {
		u.Authority = x.Req.Authority
	}
	u.Header.CopyFrom(&x.Req.Header)
	// Expect was answered by lintel (reference/routing.md 8.3). Proxy would become HTTP_PROXY in CGI programs.
	u.Header.Del("Expect")
	u.Header.Del("Proxy")
	u.Body, u.Length = x.Req.Body, x.Req.Length
	u.Upgrade, u.TETrailer = x.Req.Upgrade, x.Req.TETrailer
	u.HTTP10, u.Close = false, false
}
