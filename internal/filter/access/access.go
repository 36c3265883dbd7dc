// Package access decides who may use a route: address lists, passwords and an
// authentication service, joined by satisfy (reference/annotations.md 9 to 11).
//
// The order is nginx's access phase: deny list, allow list, basic or digest, external.
// What cannot be decided refuses: an empty allow list allows nobody, an authentication
// service that does not answer yields 500.
//
// What a reader gets wrong: the address is the one real-IP processing settled on, never a
// field as sent; and the fields an authentication service answers with reach the endpoint through
// the filter auth-fields (Fields), which runs even where this one let the client in without asking it.
package access

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is who may use one route.
type Config struct {
	Deny  filter.Prefixes
	Allow filter.Prefixes
	// AllowOnly makes Allow count: whoever is not in it is refused. An empty list then refuses everybody.
	AllowOnly bool
	// Rules are looked at where Allow does not count, the first that names the client's address decides;
	// without one the address has neither passed nor failed (nginx's allow and deny).
	Rules []Rule
	// Except are other rules for all but some methods (limit_except); nil: none.
	Except *Except
	// Any lets in whoever passes one of the checks (satisfy: any).
	Any      bool
	Password *Password // nil: no basic or digest authentication
	External *External // nil: no authentication service
}

// Rule allows or denies client networks; nil: every address.
type Rule struct {
	Allow bool
	Nets  filter.Prefixes
}

// Except are rules in place of all address lists, for requests of other methods than these.
type Except struct {
	Methods []string
	Rules   []Rule
}

// FilterName is "access".
func (Config) FilterName() string { return "access" }

// Build compiles lists, password file and subrequest. Anything that does not compile
// turns the route off.
func (c Config) Build(env *filter.Env) (any, error) {
	a := &access{any: c.Any, allowOnly: c.AllowOnly, now: env.Now, route: env.Route, log: env.Log}
	if len(c.Deny) > 0 {
		a.deny = filter.NewPrefixSet(c.Deny)
	}
	if c.AllowOnly {
		a.allow = filter.NewPrefixSet(c.Allow)
	}
	var err error
	if c.Password != nil {
		if a.password, err = c.Password.build(env); err != nil {
			return nil, err
		}
	}
	if c.External != nil {
		if a.external, err = c.External.build(env); err != nil {
			return nil, err
		}
		if c.External.SignIn != "" {
			if a.signIn, err = expr.Parse(c.External.SignIn); err != nil {
				return nil, fmt.Errorf("auth-signin: %w", err)
			}
		}
	}
	a.rules, a.except = c.Rules, c.Except
	if a.deny == nil && !a.allowOnly && a.password == nil && a.external == nil && len(a.rules) == 0 && a.except == nil {
		return nil, nil
	}
	return a, nil
}

type access struct {
	deny, allow *filter.PrefixSet
	rules       []Rule
	except      *Except
	allowOnly   bool
	any         bool
	password    *password
	external    *external
	signIn      *expr.Program
	now         func() time.Time
	route       string
	log         *slog.Logger
}

var (
	_ filter.OnRequest  = (*access)(nil)
	_ filter.OnResponse = (*access)(nil)
	_ filter.MayBlock   = (*access)(nil)
)

// MayBlock is true where a service is asked or a slow hash is computed.
func (a *access) MayBlock() bool {
	return a.external != nil || a.password != nil && a.password.slow
}

// state is what this package knows of one exchange.
type state struct {
	challenges []string // WWW-Authenticate fields of a refusal
	fields     []string // by index of External.Fields; nil: the service was not asked
	cookies    []string // Set-Cookie fields of the service's answer
	always     bool     // they go out with any status
}

var slot = exchange.NewSlot[state]()

// result is what one check says: pass, skip (neither), or the status to refuse with.
type result int

const (
	skip result = 0
	pass result = -1
)

func (a *access) Request(x *exchange.Exchange) exchange.Verdict {
	st := slot.Of(x)
	worst := skip
	for check := range 3 {
		var r result
		switch {
		case check == 0:
			r = a.address(x)
		case check == 1 && a.password != nil:
			r = a.password.check(x, st)
		case check == 2 && a.external != nil:
			r = a.external.check(x, st)
		}
		switch {
		case r == skip:
		case r == pass:
			if a.any {
				st.challenges = nil
				return exchange.Continue
			}
		case a.any && (r == 401 || r == 403):
			// compat: a 401 anywhere makes the answer 401 (reference/annotations.md 11).
			if worst != 401 {
				worst = r
			}
		default:
			return a.refuse(x, st, int(r))
		}
	}
	if worst != skip {
		return a.refuse(x, st, int(worst))
	}
	return exchange.Continue
}

// address applies the lists. A client that is merely not denied has not passed.
func (a *access) address(x *exchange.Exchange) result {
	ip := x.Client.Addr()
	if a.except != nil && !slices.Contains(a.except.Methods, x.Req.Method) {
		return decide(a.except.Rules, ip)
	}
	switch {
	case a.deny != nil && (!ip.IsValid() || a.deny.Contains(ip)):
		return 403
	case !a.allowOnly:
		return decide(a.rules, ip)
	case a.allow.Contains(ip):
		return pass
	}
	return 403
}

// decide asks rules in order. An address that is not known is no client any of them allows.
func decide(rules []Rule, ip netip.Addr) result {
	for i := range rules {
		r := &rules[i]
		switch {
		case !ip.IsValid():
			return 403
		case r.Nets != nil && !r.Nets.Contains(ip):
		case r.Allow:
			return pass
		default:
			return 403
		}
	}
	return skip
}

// refuse answers with status, or sends a client without credentials to sign in.
func (a *access) refuse(x *exchange.Exchange, st *state, status int) exchange.Verdict {
	if status == exchange.StatusClientGone {
		x.Resp.Status = status
		return exchange.Reply
	}
	if status == 401 && a.signIn != nil {
		v := filter.Redirect(x, 302, a.signIn.String(x))
		filter.SetMark(x, filter.Elsewhere)
		x.Resp.Denied = true
		a.challenge(x, st)
		return v
	}
	v := x.Reply(status)
	x.Resp.Denied = true
	if status == 401 {
		a.challenge(x, st)
	}
	return v
}

func (a *access) challenge(x *exchange.Exchange, st *state) {
	for _, c := range st.challenges {
		x.Resp.Header.Add("WWW-Authenticate", c)
	}
}

// Response adds the cookies of the authentication service to whatever the client gets.
func (a *access) Response(x *exchange.Exchange) {
	st := slot.Peek(x)
	if st == nil || len(st.cookies) == 0 || !st.always && !cookieStatus(x.Resp.Status) {
		return
	}
	for _, c := range st.cookies {
		x.Resp.Header.Add("Set-Cookie", c)
	}
}

// cookieStatus reports whether nginx's add_header works for status without "always".
func cookieStatus(status int) bool {
	switch status {
	case 200, 201, 204, 206, 301, 302, 303, 304, 307, 308:
		return true
	}
	return false
}

// String is the rule as nginx writes it.
func (r Rule) String() string {
	word, nets := "deny ", ""
	if r.Allow {
		word = "allow "
	}
	for i, n := range r.Nets {
		if i > 0 {
			nets += ", "
		}
		nets += n.String()
	}
	if r.Nets == nil {
		nets = "all"
	}
	return word + nets
}
