package proxy

import (
	"slices"
	"strconv"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// ErrorPager replaces responses of some statuses by an error backend's
// (custom-http-errors, reference/annotations.md 17). Safe for concurrent use.
type ErrorPager struct {
	cfg *config.ErrorPages
	f   *Forwarder // nil: no error backend, the built-in one answers 404
}

// ErrorPager compiles the error pages of a route. Nothing of it needs closing.
func (p *Proxy) ErrorPager(_ string, cfg *config.ErrorPages) (*ErrorPager, error) {
	e := &ErrorPager{cfg: cfg}
	pool, fallback := cfg.Pool, cfg.Default
	if pool.IsZero() {
		pool, fallback = fallback, config.PoolID{}
	}
	if pool.IsZero() {
		return e, nil
	}
	forward := &config.Forward{
		Pool: pool, Fallback: &fallback,
		// compat: nginx's named location has none of the location's settings, so its defaults hold.
		HTTP10: true, Connect: 5 * time.Second, Send: time.Minute, Read: time.Minute, HeadMax: 16 << 10,
		Retry: config.Retry{On: config.RetryError | config.RetryTimeout, Tries: 3},
	}
	var err error
	e.f, err = p.Forwarder("", forward, nil)
	return e, err
}

// Wants reports whether a response of this status is to be replaced.
func (e *ErrorPager) Wants(_ *exchange.Exchange, status int, fromUpstream bool) bool {
	return wants(e.cfg, status, fromUpstream)
}

func wants(cfg *config.ErrorPages, status int, fromUpstream bool) bool {
	switch status {
	case 408, exchange.StatusClientGone, exchange.StatusDrop:
		return false
	}
	if fromUpstream && !cfg.Intercept {
		return false
	}
	_, found := slices.BinarySearch(cfg.Codes, status)
	return found
}

// ErrorPage asks the error backend for a page and fills x.Resp with it. The page's own status
// counts, except for refused access (x.Resp.Denied), which keeps status whatever the page
// says (reference/security.md S6.1). If the backend fails its failure is the answer.
func (e *ErrorPager) ErrorPage(x *exchange.Exchange, status int) {
	s := slot.Of(x)
	closeBody(x)
	s.settle(false)
	denied := x.Resp.Denied
	var challenge []string
	if status == 401 {
		challenge = slices.Collect(x.Resp.Header.Values("WWW-Authenticate"))
	}
	if status == 413 {
		// compat: a body that was too large is not sent on.
		s.spool.release()
	}
	e.ask(x, s, status)
	for _, c := range challenge {
		x.Resp.Header.Add("WWW-Authenticate", c)
	}
	if denied && x.Resp.Status != exchange.StatusClientGone {
		x.Resp.Status = status
		x.Resp.Denied = true
	}
}

// ask forwards to the error backend.
func (e *ErrorPager) ask(x *exchange.Exchange, s *state, status int) {
	cookie, unread, whole := s.cookie, !s.bodyUsed, s.spool
	s.spool = spool{}
	next := backendOf(e.f)
	if next == nil {
		whole.release()
		x.Reply(404)
		if cookie != "" {
			x.Resp.Header.Add("Set-Cookie", cookie)
		}
		return
	}
	*s = state{f: e.f, pool: next.pool, policy: next.policy, cookie: cookie, spool: whole}
	e.request(x, status)
	switch {
	case whole.from != nil:
		// It is there already: source must not read it again.
		x.Up.Body, x.Up.Length = nil, whole.size
	case unread && status != 413:
		x.Up.Body, x.Up.Length = x.Req.Body, x.Req.Length
	default:
		x.Up.Body, x.Up.Length = nil, 0
	}
	e.f.Forward(x)
}

// choice is a pool that has an endpoint.
type choice struct {
	pool   *upstream.Pool
	policy balance.Policy
}

func backendOf(f *Forwarder) *choice {
	switch {
	case f == nil:
	case f.pool.Set().Len() > 0:
		return &choice{f.pool, f.policy}
	case f.fallback != nil && f.fallback.Set().Len() > 0:
		return &choice{f.fallback, f.spare}
	}
	return nil
}

// clientSays are fields that endpoints get from lintel, and the error backend does not get at all: what
// the client sent under these names is not passed off as lintel's (reference/security.md S5.2).
var clientSays = [...]string{
	"X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme",
	"X-Original-Forwarded-For", "X-Original-Forwarded-Host",
}

// request fills x.Up for the error backend: the client's fields and what happened.
func (e *ErrorPager) request(x *exchange.Exchange, status int) {
	Prepare(x)
	u := &x.Up
	u.Target = "/"
	if x.Req.HasQuery {
		u.Target = "/?" + x.Req.Query
	}
	u.Upgrade = ""
	if u.Method == "CONNECT" {
		u.Method = "GET"
	}
	h := &u.Header
	for _, name := range clientSays {
		h.Del(name)
	}
	h.Set("X-Code", strconv.Itoa(status))
	setOrDel(h, "X-Format", x.Req.Header.Get("Accept"))
	setOrDel(h, "X-Original-URI", x.Req.Target)
	setOrDel(h, "X-Namespace", e.cfg.Namespace)
	setOrDel(h, "X-Ingress-Name", e.cfg.Ingress)
	setOrDel(h, "X-Service-Name", e.cfg.Service)
	setOrDel(h, "X-Service-Port", e.cfg.ServicePort)
	setOrDel(h, "X-Request-ID", x.ID)
	if x.Client.IsValid() {
		h.Set("X-Forwarded-For", x.Client.Addr().Unmap().String())
	}
}
