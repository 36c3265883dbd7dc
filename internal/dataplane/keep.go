package dataplane

import (
	"sync"
	"time"
)

// keeper holds what filters keep across rebuilds, by key. What nobody has
// named for keepFor is dropped (architecture 12).
type keeper struct {
	mu    sync.Mutex
	items map[string]*kept
	now   func() time.Time
}

type kept struct {
	value any
	users int       // live routes that named it
	idle  time.Time // when the last of them went
}

const keepFor = time.Minute

func newKeeper(now func() time.Time) *keeper {
	return &keeper{items: map[string]*kept{}, now: now}
}

// keep returns the value under key and counts one user of it.
func (k *keeper) keep(key string, make func() any) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	it := k.items[key]
	if it == nil {
		it = &kept{value: make()}
		k.items[key] = it
	}
	it.users++
	return it.value
}

// release takes back one use of each key.
func (k *keeper) release(keys []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range keys {
		if it := k.items[key]; it != nil {
			it.users--
			if it.users <= 0 {
				it.idle = k.now()
			}
		}
	}
}

// sweep drops what has had no user for keepFor.
func (k *keeper) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	for key, it := range k.items {
		if it.users <= 0 && now.Sub(it.idle) >= keepFor {
			if c, ok := it.value.(interface{ Close() }); ok {
				c.Close()
			}
			delete(k.items, key)
		}
	}
}
