package dataplane

import (
	"fmt"
	"slices"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// chain is the filters of one scope, built and split by what they implement.
type chain struct {
	request  []filter.OnRequest
	upstream []filter.OnUpstream
	response []filter.OnResponse // in the order they run: reverse of filter.Order
	done     []filter.OnDone
	closers  []filter.Closer
	blocks   bool
}

// noFilters is the chain of everything that has none; it must not be changed.
var noFilters chain

// sized returns an empty chain with room for what list implements: there is one for every route.
func sized(list []placed) *chain {
	var n [5]int
	for _, p := range list {
		_, request := p.f.(filter.OnRequest)
		_, upstream := p.f.(filter.OnUpstream)
		_, response := p.f.(filter.OnResponse)
		_, done := p.f.(filter.OnDone)
		_, closer := p.f.(filter.Closer)
		for i, yes := range [...]bool{request, upstream, response, done, closer} {
			if yes {
				n[i]++
			}
		}
	}
	ch := new(chain)
	if n[0] > 0 {
		ch.request = make([]filter.OnRequest, 0, n[0])
	}
	if n[1] > 0 {
		ch.upstream = make([]filter.OnUpstream, 0, n[1])
	}
	if n[2] > 0 {
		ch.response = make([]filter.OnResponse, 0, n[2])
	}
	if n[3] > 0 {
		ch.done = make([]filter.OnDone, 0, n[3])
	}
	if n[4] > 0 {
		ch.closers = make([]filter.Closer, 0, n[4])
	}
	return ch
}

// builtin is a step of the data plane's own at a named place of the order.
type builtin struct {
	name string
	step filter.OnRequest
}

type placed struct {
	pos  int
	name string
	f    any
}

// buildChain builds configs and puts them, with the built-in steps, into filter.Order.
func buildChain(configs []filter.Config, env *filter.Env, own ...builtin) (*chain, error) {
	list := make([]placed, 0, len(configs)+len(own))
	var firstErr error
	for _, c := range configs {
		name := c.FilterName()
		pos := filter.Position(name)
		if pos < 0 {
			firstErr = fmt.Errorf("filter %s has no place in the order", name)
			continue
		}
		f, err := c.Build(env)
		if err != nil {
			if firstErr == nil {
				firstErr = fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if f != nil {
			list = append(list, placed{pos, name, f})
		}
	}
	for _, b := range own {
		list = append(list, placed{filter.Position(b.name), b.name, b.step})
	}
	if len(list) == 0 && firstErr == nil {
		return &noFilters, nil
	}
	slices.SortStableFunc(list, func(a, b placed) int { return a.pos - b.pos })
	ch := sized(list)
	for _, p := range list {
		if f, ok := p.f.(filter.OnRequest); ok {
			ch.request = append(ch.request, f)
		}
		if f, ok := p.f.(filter.OnUpstream); ok {
			ch.upstream = append(ch.upstream, f)
		}
		if f, ok := p.f.(filter.OnDone); ok {
			ch.done = append(ch.done, f)
		}
		if f, ok := p.f.(filter.Closer); ok {
			ch.closers = append(ch.closers, f)
		}
		if f, ok := p.f.(filter.MayBlock); ok && f.MayBlock() {
			ch.blocks = true
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		if f, ok := list[i].f.(filter.OnResponse); ok {
			ch.response = append(ch.response, f)
		}
	}
	return ch, firstErr
}

// begin runs the request filters until one answers.
func (ch *chain) begin(x *exchange.Exchange) exchange.Verdict {
	for _, f := range ch.request {
		if v := f.Request(x); v != exchange.Continue {
			return v
		}
	}
	return exchange.Continue
}

func (ch *chain) prepare(x *exchange.Exchange) {
	for _, f := range ch.upstream {
		f.Upstream(x)
	}
}

func (ch *chain) respond(x *exchange.Exchange) {
	for _, f := range ch.response {
		f.Response(x)
	}
}

func (ch *chain) finish(x *exchange.Exchange) {
	for _, f := range ch.done {
		f.Done(x)
	}
}

func (ch *chain) close() {
	for _, c := range ch.closers {
		c.Close()
	}
}
