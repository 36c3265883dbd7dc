// Package block refuses clients everywhere: block-cidrs, block-user-agents and block-referers of
// the ConfigMap (reference/routing.md 8.4).
package block

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is who is refused.
type Config struct {
	Networks filter.Prefixes
	// UserAgents and Referers are compared as nginx's map does: without case; "~" begins a regular
	// expression, "~*" one without case.
	UserAgents, Referers []string
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "block" }

// Build compiles the patterns. translate has dropped those that do not compile.
func (c Config) Build(*filter.Env) (any, error) {
	b := &block{networks: c.Networks}
	var err error
	if b.agents, err = compile(c.UserAgents); err != nil {
		return nil, err
	}
	if b.referers, err = compile(c.Referers); err != nil {
		return nil, err
	}
	return b, nil
}

type block struct {
	networks         filter.Prefixes
	agents, referers *patterns
}

var _ filter.OnRequest = (*block)(nil)

// Request answers 403 to whom is in a list.
func (b *block) Request(x *exchange.Exchange) exchange.Verdict {
	if b.agents.match(x.Req.Header.Get("User-Agent")) || b.referers.match(x.Req.Header.Get("Referer")) ||
		b.listed(x.Client.Addr()) {
		v := x.Reply(403)
		x.Resp.Denied = true
		return v
	}
	return exchange.Continue
}

// listed reports whether an address is in the networks. One that is not known may be (S10.2).
func (b *block) listed(a netip.Addr) bool {
	return len(b.networks) > 0 && (!a.IsValid() || b.networks.Contains(a))
}

type patterns struct {
	exact   []string
	regexps []*regexp.Regexp
}

// Pattern compiles a regular expression of the list; nil for an exact text.
func Pattern(text string) (*regexp.Regexp, error) {
	rest, ok := strings.CutPrefix(text, "~")
	if !ok {
		return nil, nil
	}
	if fold, ok := strings.CutPrefix(rest, "*"); ok {
		rest = "(?i)" + fold
	}
	return regexp.Compile(rest)
}

func compile(list []string) (*patterns, error) {
	if len(list) == 0 {
		return nil, nil
	}
	p := new(patterns)
	for _, text := range list {
		re, err := Pattern(text)
		if err != nil {
			return nil, err
		}
		if re != nil {
			p.regexps = append(p.regexps, re)
		} else {
			p.exact = append(p.exact, text)
		}
	}
	return p, nil
}

// match reports whether s is in the list. An absent field is "" and can match, as in nginx.
func (p *patterns) match(s string) bool {
	if p == nil {
		return false
	}
	for _, e := range p.exact {
		if strings.EqualFold(e, s) {
			return true
		}
	}
	for _, re := range p.regexps {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}
