package exchange

import "sync/atomic"

// Slot is a place in every Exchange for one package's state of type T. Make it
// once at package level: var slot = exchange.NewSlot[state]().
type Slot[T any] struct{ index int }

var slots atomic.Int32

// NewSlot declares a slot. Call it from a package-level variable only.
func NewSlot[T any]() Slot[T] { return Slot[T]{int(slots.Add(1)) - 1} }

// Of returns x's state, zero at first use in each exchange. The memory is reused by later exchanges.
func (s Slot[T]) Of(x *Exchange) *T {
	for len(x.slots) <= s.index {
		x.slots = append(x.slots, nil)
		x.used = append(x.used, false)
	}
	p, _ := x.slots[s.index].(*T)
	if p == nil {
		p = new(T)
		x.slots[s.index] = p
	} else if !x.used[s.index] {
		var zero T
		*p = zero
	}
	x.used[s.index] = true
	return p
}

// Peek returns x's state if it was used in this exchange, else nil.
func (s Slot[T]) Peek(x *Exchange) *T {
	if s.index >= len(x.used) || !x.used[s.index] {
		return nil
	}
	p, _ := x.slots[s.index].(*T)
	return p
}
