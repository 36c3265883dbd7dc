package translate

import (
	"bytes"
	"reflect"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

// globalEntry is the settings of the controller's ConfigMap.
type globalEntry struct {
	deps
	now   *config.Global
	cert  config.CertID
	diags []diag.Diagnostic
}

func (b *Builder) buildGlobal(out *Result) {
	if !b.dirtyGlobal {
		return
	}
	b.dirtyGlobal = false
	b.begin()
	var data map[string]string
	if cm := b.t.cm; cm.Name != "" {
		data, _ = b.r.ConfigMapLower(cm.Namespace, cm.Name)
	}
	g, diags := globalSettings(data, &b.o, b.t)
	b.readers.record(b.global, &b.global.deps, b.r)
	for i := range diags {
		diags[i].Object = b.t.cm.Ref()
		diags[i].Pos = position(b.r.Origin(b.t.cm), diags[i].Field)
	}
	if g.DefaultCert != b.global.cert {
		if g.DefaultCert != (config.CertID{}) {
			b.count(nil, []config.CertID{g.DefaultCert}, 1)
		}
		if b.global.cert != (config.CertID{}) {
			b.count(nil, []config.CertID{b.global.cert}, -1)
		}
		b.global.cert = g.DefaultCert
	}
	if !reflect.DeepEqual(g, b.global.now) {
		b.global.now = g
		out.Delta.Global = g
	}
	if !sameDiagnostics(b.global.diags, diags) {
		b.global.diags = diags
		out.Diags[diag.Owner{Producer: "global", Subject: b.o.ConfigMap}] = diags
	}
}

// globalSettings makes the settings that are not of a route.
func globalSettings(data map[string]string, o *Options, t *translator) (*config.Global, []diag.Diagnostic) {
	g := &config.Global{}
	var diags []diag.Diagnostic
	g.HealthPath = o.HealthPath
	if ns, name := split(o.DefaultSSLCertificate); name != "" {
		g.DefaultCert = config.CertID{Namespace: ns, Name: name}
	}
	return g, diags
}

func (b *Builder) buildCerts(out *Result) {
	for id := range b.dirtyCerts {
		delete(b.dirtyCerts, id)
		c := b.certs[id]
		if c == nil {
			continue
		}
		if c.uses == 0 {
			b.readers.forget(c, &c.deps)
			delete(b.certs, id)
			if c.cert != nil {
				out.Delta.Certs[id] = nil
			}
			continue
		}
		b.begin()
		cert := certOf(id, b.r)
		b.readers.record(c, &c.deps, b.r)
		if c.cert == nil || !sameCert(c.cert, cert) {
			c.cert = cert
			out.Delta.Certs[id] = cert
		}
	}
}

func sameCert(a, b *config.Cert) bool {
	return a.ID == b.ID && bytes.Equal(a.Chain, b.Chain) && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.CA, b.CA) && bytes.Equal(a.CRL, b.CRL)
}
