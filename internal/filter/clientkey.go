package filter

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
)

// ClientKey is what limits count by: a client's address, or a hash of a text.
type ClientKey [16]byte

// Shard spreads keys over n shards; n is a power of two.
func (k ClientKey) Shard(n int) int {
	// The low bytes of an address and any of a hash differ most.
	h := binary.LittleEndian.Uint64(k[8:])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(k[:8])
	return int((h*0x9e3779b97f4a7c15)>>32) & (n - 1)
}

// KeyFunc makes the keys of exchanges (ConfigMap limit-conn-zone-variable).
type KeyFunc struct {
	text *expr.Program // nil: the client's address
	free *PrefixSet
}

// The seeds of hashed keys: a client cannot choose texts that collide.
var keySeed = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

var keyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// NewKeyFunc compiles text, "" meaning the client's address. Addresses in free get no key.
func NewKeyFunc(text string, free Prefixes) (*KeyFunc, error) {
	k := &KeyFunc{}
	if len(free) > 0 {
		k.free = NewPrefixSet(free)
	}
	switch text {
	case "", "$binary_remote_addr", "$remote_addr", "$the_real_ip":
		return k, nil
	}
	p, err := expr.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("limit-conn-zone-variable %q: %w", text, err)
	}
	k.text = p
	return k, nil
}

// Key returns the key of x. Without one (an allowed address, an empty text) nothing is limited.
func (k *KeyFunc) Key(x *exchange.Exchange) (ClientKey, bool) {
	a := x.Client.Addr()
	if k.free.Contains(a) {
		return ClientKey{}, false
	}
	if k.text == nil {
		if !a.IsValid() {
			return ClientKey{}, true // S10.2: who is not known is limited, together with the others
		}
		return a.As16(), true
	}
	buf := keyBuffers.Get().(*[]byte)
	*buf = k.text.Append((*buf)[:0], x)
	var key ClientKey
	ok := len(*buf) > 0
	if ok {
		binary.LittleEndian.PutUint64(key[:8], maphash.Bytes(keySeed[0], *buf))
		binary.LittleEndian.PutUint64(key[8:], maphash.Bytes(keySeed[1], *buf))
	}
	if cap(*buf) <= 4096 {
		keyBuffers.Put(buf)
	}
	return key, ok
}
