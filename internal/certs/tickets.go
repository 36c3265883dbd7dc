package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// sessionTime is how long a session may be resumed and how long a ticket key is used for
// new tickets (ssl-session-timeout, 10m).
const sessionTime = 10 * time.Minute

// tickets encrypts and opens session tickets. Keys are random and change, unless the
// operator shares one between replicas (ssl-session-ticket-key).
type tickets struct {
	now   func() time.Time
	state atomic.Pointer[ticketKeys]
	mu    sync.Mutex
}

type ticketKeys struct {
	codec  *tls.Config // holds the keys; never used for a handshake
	keys   [][32]byte  // newest first
	until  time.Time   // zero: never changes
	shared bool
}

func newTickets(now func() time.Time) *tickets {
	t := &tickets{now: now}
	t.rotate()
	return t
}

// configure takes the operator's key; an empty one means random keys.
func (t *tickets) configure(key []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.state.Load()
	if len(key) == 0 {
		if old.shared {
			t.set(nil, false)
		}
		return
	}
	k := sha256.Sum256(append([]byte("lintel session ticket\x00"), key...))
	if !old.shared || old.keys[0] != k {
		t.set([][32]byte{k}, true)
	}
}

func (t *tickets) rotate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state.Load()
	if s != nil && (s.shared || t.now().Before(s.until)) {
		return
	}
	var before [][32]byte
	// A key that has been idle for longer than its tickets live opens nothing any more.
	if s != nil && t.now().Before(s.until.Add(sessionTime)) {
		before = s.keys[:1]
	}
	t.set(before, false)
}

// set installs keys: the shared one, or a new random one in front of those before.
func (t *tickets) set(keys [][32]byte, shared bool) {
	s := &ticketKeys{codec: &tls.Config{}, keys: keys, shared: shared}
	if !shared {
		var k [32]byte
		rand.Read(k[:]) // never fails (crypto/rand)
		s.keys = append([][32]byte{k}, keys...)
		s.until = t.now().Add(sessionTime)
	}
	s.codec.SetSessionTicketKeys(s.keys)
	t.state.Store(s)
}

func (t *tickets) current() *tls.Config {
	s := t.state.Load()
	if !s.shared && !t.now().Before(s.until) {
		t.rotate()
		s = t.state.Load()
	}
	return s.codec
}

// What stands in SessionState.Extra: a tag, the scope, whether the client showed a
// certificate, and when the session began.
var ticketTag = []byte("lintel1\x00")

const extraLen = 8 + sha256.Size + 1 + 8

// wrap makes a ticket that is good for this scope only.
func (h *Handshake) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	began := h.store.now()
	if cs.DidResume && !h.began.IsZero() {
		began = h.began // a session does not grow younger by being resumed
	}
	extra := make([]byte, 0, extraLen)
	extra = append(extra, ticketTag...)
	extra = append(extra, h.scope[:]...)
	extra = append(extra, shown(&cs))
	extra = binary.BigEndian.AppendUint64(extra, uint64(began.Unix()))
	ss.Extra = append(ss.Extra, extra)
	return h.store.tickets.current().EncryptTicket(cs, ss)
}

func shown(cs *tls.ConnectionState) byte {
	if len(cs.PeerCertificates) > 0 {
		return 1
	}
	return 0
}

// unwrap opens a ticket, or returns nil for a full handshake.
func (h *Handshake) unwrap(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	ss, err := h.store.tickets.current().DecryptTicket(identity, cs)
	if err != nil || ss == nil {
		return nil, nil //nolint:nilerr // of another key, or garbage: a full handshake, RFC 8446, 4.2.11
	}
	for _, e := range ss.Extra {
		if len(e) != extraLen || !bytes.HasPrefix(e, ticketTag) {
			continue
		}
		body := e[len(ticketTag):]
		began := time.Unix(int64(binary.BigEndian.Uint64(e[extraLen-8:])), 0)
		switch {
		case !bytes.Equal(body[:sha256.Size], h.scope[:]):
		case h.store.now().Sub(began) > sessionTime:
		case h.asks() && body[sha256.Size] == 0:
			// Without a certificate then; the client must get the chance to show one now.
		default:
			h.began = began
			return ss, nil
		}
	}
	return nil, nil
}

func (h *Handshake) asks() bool {
	e := h.choice.server
	return e != nil && e.auth != nil && e.auth.request
}
