package filter

import (
	"net/netip"
	"slices"
)

// PrefixSet answers Prefixes.Contains by binary search; for lists that many requests
// ask. The nil set contains nothing.
type PrefixSet struct{ ranges []addrRange }

type addrRange struct{ first, last netip.Addr }

// NewPrefixSet sorts and joins p. IPv4-mapped networks count as IPv4.
func NewPrefixSet(p Prefixes) *PrefixSet {
	s := &PrefixSet{}
	for _, n := range p {
		n = unmapped(n).Masked()
		if n.IsValid() {
			s.ranges = append(s.ranges, addrRange{n.Addr(), lastAddr(n)})
		}
	}
	slices.SortFunc(s.ranges, func(a, b addrRange) int { return a.first.Compare(b.first) })
	w := 0
	for _, r := range s.ranges {
		if w > 0 && s.ranges[w-1].last.BitLen() == r.first.BitLen() && r.first.Compare(s.ranges[w-1].last) <= 0 {
			if r.last.Compare(s.ranges[w-1].last) > 0 {
				s.ranges[w-1].last = r.last
			}
			continue
		}
		s.ranges[w] = r
		w++
	}
	s.ranges = s.ranges[:w]
	return s
}

func unmapped(n netip.Prefix) netip.Prefix {
	a := n.Addr().WithZone("")
	if a.Is4In6() && n.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), n.Bits()-96)
	}
	return netip.PrefixFrom(a, n.Bits())
}

// lastAddr is the highest address of a masked prefix.
func lastAddr(n netip.Prefix) netip.Addr {
	if n.Addr().Is4() {
		b := n.Addr().As4()
		fillOnes(b[:], n.Bits())
		return netip.AddrFrom4(b)
	}
	b := n.Addr().As16()
	fillOnes(b[:], n.Bits())
	return netip.AddrFrom16(b)
}

func fillOnes(b []byte, from int) {
	for i := from; i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
}

// Contains reports whether a is in one of the networks. IPv4-mapped addresses count as
// IPv4; zones are ignored; the zero address is in none.
func (s *PrefixSet) Contains(a netip.Addr) bool {
	if s == nil || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	lo, hi := 0, len(s.ranges)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.ranges[mid].first.Compare(a) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	// Compare orders IPv4 before IPv6, so the families never mix here.
	return lo > 0 && s.ranges[lo-1].last.BitLen() == a.BitLen() && a.Compare(s.ranges[lo-1].last) <= 0
}
