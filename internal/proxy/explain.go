package proxy

import (
	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/upstream/balance"
)

// Explanation says where an exchange would go, for people.
type Explanation struct {
	// Pool is the chosen pool; zero when nothing has an endpoint, then Status is the answer.
	Pool   config.PoolID
	Status int
	// Why says how Pool was chosen.
	Why string
	// How says what picks the endpoint: "round_robin", "cookie INGRESSCOOKIE (balanced)".
	How       string
	Protocol  config.Protocol
	Endpoints []Candidate
}

// Candidate is one endpoint of the chosen pool.
type Candidate struct {
	upstream.EndpointInfo
	// Picked is true for the endpoint this request would go to now.
	Picked bool
	// Why says why it was picked or not.
	Why string
}

// Explain returns where x would go now. It sends nothing; x needs a request, nothing else. A
// round robin moves on by it.
func (f *Forwarder) Explain(x *exchange.Exchange) *Explanation {
	e := &Explanation{Protocol: f.cfg.Protocol, Why: "the route's pool"}
	pool, policy, sticky := f.pool, f.policy, f.sticky
	switch {
	case f.pool.Set().Len() > 0:
		if c := f.canary; c != nil {
			yes, why := c.decide(x, f.sticky)
			switch {
			case c.pool.Set().Len() == 0:
				e.Why = "the route's pool: the canary has no endpoint"
			case yes:
				pool, policy, sticky = c.pool, c.policy, c.sticky
				e.Why = "the canary: " + why
			default:
				e.Why = "the route's pool: " + why
			}
		}
	case f.fallback != nil && f.fallback.Set().Len() > 0:
		pool, policy, sticky = f.fallback, f.spare, nil
		e.Why = "default-backend: the route's pool has no endpoint"
	default:
		e.Status, e.Why = f.empty(), "no endpoint"
		return e
	}
	e.Pool = pool.ID()
	set := pool.Set()
	var tried balance.Tried
	var picked *balance.Endpoint
	var reason string
	if sticky != nil {
		a := f.cfg.Affinity
		mode := a.Mode
		if mode == "" {
			mode = "balanced"
		}
		e.How = "cookie " + a.Cookie + " (" + mode + ")"
		var cookie string
		picked, cookie = sticky.Pick(x, set, &tried)
		reason = "the cookie binds the client to it"
		if cookie != "" {
			reason = "picked for a client without a valid cookie, which gets one"
		}
	} else {
		e.How = f.cfg.Balance.Policy
		if e.How == "" || policy == f.spare {
			e.How = "round_robin"
		}
		picked = policy.Pick(x, set, &tried)
		reason = "picked by " + e.How
		if f.cfg.Balance.HashBy != "" {
			e.How += " by " + f.cfg.Balance.HashBy
		}
	}
	now := f.p.d.Mono()
	for i := range set.Len() {
		c := Candidate{EndpointInfo: upstream.DescribeEndpoint(set.At(i), now)}
		switch {
		case set.At(i) == picked:
			c.Picked, c.Why = true, reason
		case c.Suspect > 0:
			c.Why = "refused connections lately: asked last for " + c.Suspect.Round(100e6).String()
		default:
			c.Why = "another was picked"
		}
		e.Endpoints = append(e.Endpoints, c)
	}
	return e
}
