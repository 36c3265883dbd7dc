// Package certs holds certificates and TLS settings by server name and decides
// each handshake: which certificate is shown, whether a client certificate is asked
// for, whether an earlier session may be resumed.
//
// It stands between config and listen. Apply takes a delta and does work in
// proportion to it; handshakes read one immutable table without a lock.
//
// What a reader gets wrong: a handshake never fails for a client certificate.
// Handshake.Finish says how it verified, and the data plane answers 400 where the
// host asks for one (reference/annotations.md 7.2).
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/router"
)

// Store is what listeners take TLS settings from. Make it with New. Handshake may be called
// by any number of goroutines; Apply by one at a time.
type Store struct {
	table   atomic.Pointer[table]
	tickets *tickets
	now     func() time.Time

	// What follows is Apply's own.
	mu      sync.Mutex
	self    *material // the generated default certificate
	certs   map[config.CertID]*held
	hosts   map[string]*config.Host // those with TLS settings, and aliases
	users   map[config.CertID]map[string]struct{}
	aliases map[string]map[string]struct{}
	global  *config.Global
}

// held is one entry of config.Delta.Certs, as far as it can be used.
type held struct {
	raw  *config.Cert
	pair *material  // nil: no usable key pair
	ca   *authority // parsed when the first host asks for it
}

// table is what handshakes see. It never changes.
type table struct {
	hosts    *router.Hosts[*entry]
	settings *settings
}

// entry is what one name of a host says about TLS.
type entry struct {
	policy  string      // the host whose client-certificate policy applies
	auth    *policy     // nil: none
	certs   []*material // ECDSA before others; none: look further
	ciphers []uint16
	reject  bool
	// unknown marks the catch-all, whose names ssl-reject-handshake refuses.
	unknown bool
}

// settings are the parts of config.Global that handshakes read.
type settings struct {
	minVersion, maxVersion uint16
	ciphers                []uint16
	protocols              []string
	rejectUnknown          bool
	tickets                bool
	fallback               []*material
}

// material is one certificate with its key.
type material struct {
	cert  *tls.Certificate
	ecdsa bool
	print [sha256.Size]byte
}

// plain is the entry of every host without TLS settings.
var plain = &entry{}

// New returns a store that serves self for every name. Make self with Generate.
func New(self tls.Certificate) *Store {
	s := &Store{
		tickets: newTickets(time.Now), now: time.Now,
		self:  newMaterial(&self),
		certs: map[config.CertID]*held{}, hosts: map[string]*config.Host{},
		users: map[config.CertID]map[string]struct{}{}, aliases: map[string]map[string]struct{}{},
		global: &config.Global{HTTP2: true},
	}
	s.table.Store(&table{settings: s.makeSettings()})
	return s
}

// Apply takes what d changes: certificates, hosts, global settings. The result names the
// certificates of d that cannot be used: names that ask for them get a certificate of
// the wildcard above, or the default one.
func (s *Store) Apply(d *config.Delta) map[config.CertID]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed map[config.CertID]error
	touched := map[string]struct{}{}
	for id, c := range d.Certs {
		if err := s.setCert(id, c); err != nil {
			if failed == nil {
				failed = map[config.CertID]error{}
			}
			failed[id] = err
		}
		for name := range s.users[id] {
			touched[name] = struct{}{}
			for alias := range s.aliases[name] {
				touched[alias] = struct{}{}
			}
		}
	}
	for name, h := range d.Hosts {
		s.setHost(name, h)
		touched[name] = struct{}{}
		for alias := range s.aliases[name] {
			touched[alias] = struct{}{}
		}
	}
	old := s.table.Load()
	next := *old
	next.hosts = old.hosts.With(s.rebuild(touched, d.Hosts))
	if d.Global != nil {
		s.global = d.Global
		s.tickets.configure(d.Global.TicketKey)
	}
	if _, changed := d.Certs[s.global.DefaultCert]; changed || d.Global != nil {
		next.settings = s.makeSettings()
	}
	s.table.Store(&next)
	return failed
}

func (s *Store) setCert(id config.CertID, c *config.Cert) error {
	if c == nil {
		delete(s.certs, id)
		return nil
	}
	h := &held{raw: c}
	s.certs[id] = h
	if len(c.Chain) == 0 && len(c.Key) == 0 {
		return nil // a CA: parsed where a host asks for it
	}
	pair, err := keyPair(c)
	if err != nil {
		return err
	}
	h.pair = newMaterial(pair)
	return nil
}

// setHost keeps what later changes of certificates and owners need to know of a host.
func (s *Store) setHost(name string, h *config.Host) {
	if was := s.hosts[name]; was != nil {
		for id := range uses(was) {
			if drop(s.users[id], name); len(s.users[id]) == 0 {
				delete(s.users, id)
			}
		}
		if drop(s.aliases[was.AliasOf], name); len(s.aliases[was.AliasOf]) == 0 {
			delete(s.aliases, was.AliasOf)
		}
		delete(s.hosts, name)
	}
	if h == nil || h.TLS == nil && h.AliasOf == "" {
		return
	}
	s.hosts[name] = h
	for id := range uses(h) {
		add(s.users, id, name)
	}
	if h.AliasOf != "" {
		add(s.aliases, h.AliasOf, name)
	}
}

// uses are the certificates a host asks for.
func uses(h *config.Host) map[config.CertID]struct{} {
	ids := map[config.CertID]struct{}{}
	if h.TLS == nil {
		return ids
	}
	ids[h.TLS.Cert] = struct{}{}
	for _, id := range h.TLS.Also {
		ids[id] = struct{}{}
	}
	if a := h.TLS.ClientAuth; a != nil {
		ids[a.CA] = struct{}{}
	}
	delete(ids, config.CertID{})
	return ids
}

func add[K comparable](m map[K]map[string]struct{}, k K, name string) {
	if m[k] == nil {
		m[k] = map[string]struct{}{}
	}
	m[k][name] = struct{}{}
}

func drop(m map[string]struct{}, name string) { delete(m, name) }

// rebuild makes the entries of the names touched. changed are the hosts of the delta, known or not.
func (s *Store) rebuild(touched map[string]struct{}, changed map[string]*config.Host) (set []router.Name[*entry], gone []string) {
	for name := range touched {
		h := s.hosts[name]
		if h == nil {
			h = changed[name]
		}
		if h == nil {
			gone = append(gone, name)
			continue
		}
		set = append(set, router.Name[*entry]{Text: name, Owner: h.AliasOf, LeadingAny: h.LeadingAny, Value: s.makeEntry(name, h)})
	}
	return set, gone
}

func (s *Store) makeEntry(name string, h *config.Host) *entry {
	t := h.TLS
	owner := name
	var auth *config.ClientAuth
	if t != nil {
		auth = t.ClientAuth
	}
	if h.AliasOf != "" {
		// One server, so one policy (reference/routing.md 4), also where the alias has no TLS of its own.
		owner = h.AliasOf
		if o := s.hosts[owner]; auth == nil && o != nil && o.TLS != nil {
			auth = o.TLS.ClientAuth
		}
	}
	if t == nil && auth == nil && name != router.CatchAll {
		return plain
	}
	e := &entry{policy: owner, unknown: name == router.CatchAll}
	if t != nil {
		e.ciphers, e.reject = t.Ciphers, t.Reject
		e.certs = s.pairs(append([]config.CertID{t.Cert}, t.Also...))
	}
	if auth != nil {
		e.auth = s.makePolicy(auth)
	}
	return e
}

// pairs returns those of ids that can be served, ECDSA first, else in the order given.
func (s *Store) pairs(ids []config.CertID) []*material {
	var out []*material
	for _, id := range ids {
		if c := s.certs[id]; c != nil && c.pair != nil {
			out = append(out, c.pair)
		}
	}
	slices.SortStableFunc(out, func(a, b *material) int {
		switch {
		case a.ecdsa == b.ecdsa:
			return 0
		case a.ecdsa:
			return -1
		}
		return 1
	})
	return out
}

// modern are the TLS 1.2 suites where nothing is configured: those of
// reference/routing.md 7.3 that Go has.
var modern = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func (s *Store) makeSettings() *settings {
	g := s.global
	t := &settings{
		minVersion: g.TLSMinVersion, maxVersion: g.TLSMaxVersion, ciphers: g.Ciphers,
		rejectUnknown: g.RejectHandshake, tickets: g.SessionTickets,
		protocols: []string{"http/1.1"},
	}
	if t.minVersion == 0 {
		t.minVersion = tls.VersionTLS12
	}
	if len(t.ciphers) == 0 {
		t.ciphers = modern
	}
	if g.HTTP2 {
		t.protocols = []string{"h2", "http/1.1"}
	}
	if t.fallback = s.pairs([]config.CertID{g.DefaultCert}); len(t.fallback) == 0 {
		t.fallback = []*material{s.self}
	}
	return t
}

// choice is what a server name gets.
type choice struct {
	server *entry         // the host that handles the handshake; nil: none
	levels [2][]*material // exact name, wildcard above
}

// choose looks up a server name; "" is none. reference/routing.md 7.2: the certificate is that
// of the exact name, else of "*." and the parent domain, whatever hosts there are;
// the policy is that of the host nginx would choose.
func (t *table) choose(sni string) choice {
	var c choice
	if sni == "" {
		sni = router.CatchAll
	}
	if e, ok := t.hosts.Match(sni); ok {
		c.server = e
	}
	if e, ok := t.hosts.Get(sni); ok {
		c.levels[0] = e.certs
	}
	if i := strings.IndexByte(sni, '.'); i > 0 {
		if e, ok := t.hosts.Get("*" + sni[i:]); ok {
			c.levels[1] = e.certs
		}
	}
	return c
}

// known reports whether a host other than the catch-all has the server name.
func (c *choice) known() bool { return c.server != nil && !c.server.unknown }
