package filter

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestPrefixSetAgreesWithLinearSearch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr {
		if rnd.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(rnd.IntN(3)), byte(rnd.IntN(4)), byte(rnd.IntN(8))})
		}
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 14: byte(rnd.IntN(3)), 15: byte(rnd.IntN(8))})
	}
	for range 300 {
		var list Prefixes
		for range rnd.IntN(12) {
			a := addr()
			list = append(list, netip.PrefixFrom(a, a.BitLen()-rnd.IntN(12)))
		}
		set := NewPrefixSet(list)
		for range 100 {
			a := addr()
			if got, want := set.Contains(a), list.Contains(a); got != want {
				t.Fatalf("%v in %v: %v, want %v", a, list, got, want)
			}
		}
	}
}

func TestPrefixSetCountsMappedAddressesAsIPv4(t *testing.T) {
	set := NewPrefixSet(Prefixes{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")})
	for a, want := range map[string]bool{"::ffff:10.1.2.3": true, "fe80::1%eth0": true, "11.0.0.1": false, "::1": false} {
		if got := set.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v, want %v", a, got, want)
		}
	}
	if set.Contains(netip.Addr{}) || (*PrefixSet)(nil).Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("the zero address, or the nil set, contains something")
	}
}

func TestPrefixSetLookupDoesNotAllocate(t *testing.T) {
	set := NewPrefixSet(Prefixes{netip.MustParsePrefix("10.0.0.0/8")})
	a := netip.MustParseAddr("10.1.1.1")
	if n := testing.AllocsPerRun(100, func() { set.Contains(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
