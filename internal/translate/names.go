package translate

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

// name is one host name with everybody who wants it: the rules for it, hosts that have it as an
// alias, a host whose www counterpart it is. The first of these kinds wins, and of several
// aliases that of the host first in the alphabet (reference/annotations.md 5, 6).
type name struct {
	merged  *hostEntry            // nil: no rule names it
	aliases map[string]*hostEntry // by the aliased host's name; nil: none
	www     *hostEntry
	// now is what the table has; nil: nothing.
	now *config.Host
	// own is the certificate the name has by itself; others below a wildcard inherit it.
	own   *TLSClaim
	diags []diag.Diagnostic
}

func (n *name) empty() bool {
	return (n.merged == nil || n.merged.merged.Host == nil) && len(n.aliases) == 0 && n.www == nil && n.now == nil && len(n.diags) == 0
}

// claimNames takes the names a merged host wants and lets go of those it wanted before.
func (b *Builder) claimNames(h *hostEntry, old, new *Merged) {
	b.nameOf(h.name).merged = h
	b.dirtyNames[h.name] = true
	want := map[string]bool{}
	if new != nil {
		for _, a := range new.Aliases {
			want[a] = true
			n := b.nameOf(a)
			if n.aliases == nil {
				n.aliases = map[string]*hostEntry{}
			}
			n.aliases[h.name] = h
			b.dirtyNames[a] = true
		}
		if new.WWW != nil {
			b.nameOf(new.WWW.Name).www = h
			b.dirtyNames[new.WWW.Name] = true
		}
	}
	if old == nil {
		return
	}
	for _, a := range old.Aliases {
		if !want[a] {
			delete(b.nameOf(a).aliases, h.name)
			b.dirtyNames[a] = true
		}
	}
	if old.WWW != nil && (new == nil || new.WWW == nil || new.WWW.Name != old.WWW.Name) {
		if n := b.nameOf(old.WWW.Name); n.www == h {
			n.www = nil
			b.dirtyNames[old.WWW.Name] = true
		}
	}
}

func (b *Builder) nameOf(text string) *name {
	n := b.names[text]
	if n == nil {
		n = &name{}
		b.names[text] = n
	}
	return n
}

// settle decides every name that may have changed, wildcards first: the names below inherit
// their certificates.
func (b *Builder) settle(out *Result) {
	for len(b.dirtyNames) > 0 {
		batch := slices.SortedFunc(maps.Keys(b.dirtyNames), func(x, y string) int {
			if wx, wy := strings.HasPrefix(x, "*."), strings.HasPrefix(y, "*."); wx != wy {
				if wx {
					return -1
				}
				return 1
			}
			return strings.Compare(x, y)
		})
		for _, text := range batch {
			if b.dirtyNames[text] {
				delete(b.dirtyNames, text)
				b.settleName(text, out)
			}
		}
	}
}

func (b *Builder) settleName(text string, out *Result) {
	n := b.nameOf(text)
	host, own, diags := b.decide(text, n)
	if host != nil && host.TLS == nil && own != nil {
		h := *host
		h.TLS = &config.TLS{Cert: own.Cert, Also: own.Also}
		host = &h
	}
	if !reflect.DeepEqual(n.own, own) {
		n.own = own
		if parent, ok := strings.CutPrefix(text, "*."); ok {
			for below := range b.names {
				if _, rest, _ := strings.Cut(below, "."); rest == parent && below != text {
					b.dirtyNames[below] = true
				}
			}
		}
	}
	if own == nil && host != nil && text != config.CatchAll {
		host = b.inherit(text, host)
	}
	if !reflect.DeepEqual(n.now, host) {
		n.now = host
		out.Delta.Hosts[text] = host
	}
	if !sameDiagnostics(n.diags, diags) {
		n.diags = diags
		out.Diags[diag.Owner{Producer: "name", Subject: text}] = diags
	}
	if n.empty() {
		delete(b.names, text)
	}
}

// inherit gives a name without a certificate that of the wildcard above it: in a copy.
// compat: rootfs/etc/nginx/lua/certificate.lua looks names up by certificate, not by rule.
func (b *Builder) inherit(text string, host *config.Host) *config.Host {
	_, parent, ok := strings.Cut(text, ".")
	if !ok || strings.HasPrefix(text, "*.") {
		return host
	}
	above := b.names["*."+parent]
	if above == nil || above.own == nil {
		return host
	}
	h := *host
	h.HasCert = true
	tls := &config.TLS{}
	if host.TLS != nil {
		*tls = *host.TLS
	}
	tls.Cert, tls.Also = above.own.Cert, above.own.Also
	h.TLS = tls
	return &h
}

// decide says whose a name is. The host returned may be shared and must not be changed.
func (b *Builder) decide(text string, n *name) (*config.Host, *TLSClaim, []diag.Diagnostic) {
	var diags []diag.Diagnostic
	lose := func(h *hostEntry, owner diag.Ref, annotation, why string, related []diag.Ref) {
		d := diag.Diagnostic{
			Code: diag.AnnotationConflict, Severity: diag.Warning, Object: owner, Value: text, Effect: diag.Ignored,
			Field:   "metadata.annotations[" + b.o.AnnotationsPrefix + "/" + annotation + "]",
			Message: why, Hint: "take the name out, or out of the other Ingress", Related: related,
		}
		if f := h.member(owner); f != nil {
			d.Pos = position(f.origin, d.Field)
		}
		diags = append(diags, d)
	}
	var host *config.Host
	var own *TLSClaim
	taken, related := "", []diag.Ref(nil)
	if n.merged != nil && n.merged.merged != nil && n.merged.merged.Host != nil {
		host, own = n.merged.merged.Host, n.merged.merged.Claim
		if text == config.CatchAll {
			own = nil
		}
		taken, related = "has rules of its own", host.Origin
	}
	for _, of := range slices.Sorted(maps.Keys(n.aliases)) {
		entry := n.aliases[of]
		m := entry.merged
		if host == nil {
			host, own = alias(text, m)
			taken, related = "is another name of host "+of, []diag.Ref{*m.AliasOwner}
			continue
		}
		lose(entry, *m.AliasOwner, "server-alias", fmt.Sprintf("%s cannot be another name of host %s: it %s", text, of, taken), related)
	}
	if n.www != nil {
		m := n.www.merged
		if host == nil {
			h := *m.WWW
			host = &h
			if c := m.Claim; c != nil && coversAlias(c.Names, text) {
				own = c
				h.HasCert = true
				host.HasCert = true
			}
		} else {
			lose(n.www, *m.WWWOwner, "from-to-www-redirect", fmt.Sprintf("%s does not redirect to %s: it %s", text, n.www.name, taken), related)
		}
	}
	return host, own, diags
}

// alias makes another name of a host: it shares its routes, and its certificate where that covers it.
func alias(text string, m *Merged) (*config.Host, *TLSClaim) {
	h := &config.Host{Name: text, AliasOf: m.Host.Name, LeadingAny: strings.HasPrefix(text, "*."), Origin: m.Host.Origin}
	var own *TLSClaim
	if m.Claim != nil && coversAlias(m.Claim.Names, text) {
		own = m.Claim
		h.HasCert = true
	}
	if m.Host.TLS != nil {
		tls := *m.Host.TLS
		tls.Passthrough = config.PoolID{}
		if own == nil {
			tls.Cert, tls.Also = config.CertID{}, nil
		}
		if own != nil || tls.ClientAuth != nil || tls.Ciphers != nil || tls.Reject {
			h.TLS = &tls
		}
	}
	return h, own
}
