package balance

import (
	"cmp"
	"hash/crc32"
	"slices"
)

// pointsPerNode is what ingress-nginx's ring uses (reference/annotations.md 15.3).
const pointsPerNode = 160

// Ring is a consistent-hash ring over named nodes. Immutable.
//
// compat: it places nodes and keys exactly as lua-resty-balancer does, so that during a
// migration both controllers send a key to the same endpoint (reference/annotations.md 15.3).
type Ring struct {
	points []point
}

type point struct {
	hash uint32
	node int32
}

// NewRing returns the ring over names. Only the names count, not their order,
// except where two points fall together.
func NewRing(names []string) *Ring {
	r := &Ring{points: make([]point, 0, len(names)*pointsPerNode)}
	for i, name := range names {
		base := checksum(0, name)
		prev := uint32(0)
		for range pointsPerNode {
			h := ^base
			for range 4 {
				h = crc32.IEEETable[byte(h)^byte(prev)] ^ h>>8
				prev >>= 8
			}
			prev = ^h
			r.points = append(r.points, point{prev, int32(i)})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return cmp.Compare(a.node, b.node)
	})
	return r
}

// Find returns the index of the node key belongs to, -1 on an empty ring.
func (r *Ring) Find(key []byte) int { return r.at(crc32.ChecksumIEEE(key)) }

// FindString is Find for a string, without copying it.
func (r *Ring) FindString(key string) int { return r.at(checksum(0, key)) }

// at returns the node of the first point not below h; above the last, the first.
//
// compat: reference/annotations.md 15.3 says the opposite direction; the recorded answers of
// ingress-nginx settle it (suite 40, hash-by-uri and hash-by-header).
func (r *Ring) at(h uint32) int {
	if len(r.points) == 0 {
		return -1
	}
	lo, hi := 0, len(r.points)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); r.points[m].hash < h {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == len(r.points) {
		lo = 0
	}
	return int(r.points[lo].node)
}

func checksum(crc uint32, s string) uint32 {
	crc = ^crc
	for i := range len(s) {
		crc = crc32.IEEETable[byte(crc)^s[i]] ^ crc>>8
	}
	return ^crc
}
