package translate

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/global"
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
	g, diags := b.t.settings()
	b.readers.record(b.global, &b.global.deps, b.r)
	if g.DefaultCert != b.global.cert {
		if g.DefaultCert != (config.CertID{}) {
			b.count(nil, []config.CertID{g.DefaultCert}, 1)
		}
		if b.global.cert != (config.CertID{}) {
			b.count(nil, []config.CertID{b.global.cert}, -1)
		}
		b.global.cert = g.DefaultCert
	}
	if !slices.Equal(b.t.statusAllow, g.StatusAllow) {
		b.t.statusAllow = g.StatusAllow
		b.dirtyHosts[config.CatchAll] = true
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

// settings makes what is not of a route, from the ConfigMap and the command line.
func (t *translator) settings() (*config.Global, []diag.Diagnostic) {
	var data map[string]string
	var from object.Origin
	if t.cm.Name != "" {
		data, _ = t.r.ConfigMapLower(t.cm.Namespace, t.cm.Name)
		from = t.r.Origin(t.cm)
	}
	g, diags := global.Build(data, t)
	for i := range diags {
		diags[i].Object = t.cm.Ref()
		diags[i].Pos = position(from, diags[i].Field)
	}
	g.HealthPath = t.o.HealthPath
	if ns, name := split(t.o.DefaultSSLCertificate); name != "" {
		g.DefaultCert = config.CertID{Namespace: ns, Name: name}
		d := diag.Diagnostic{
			Severity: diag.Error, Object: diag.Ref{Kind: "Secret", Namespace: ns, Name: name}, Effect: diag.DefaultCert,
			Hint: "put a PEM certificate into tls.crt and its key into tls.key; a generated certificate serves until then",
		}
		switch cert, ok := t.certs.read(t.r, g.DefaultCert); {
		case !ok:
			d.Code, d.Message = diag.ReferenceMissing, "--default-ssl-certificate names this Secret, and there is none"
			diags = append(diags, d)
		case cert.err != nil:
			d.Code, d.Message = diag.CertificateInvalid, "--default-ssl-certificate: "+cert.err.Error()
			diags = append(diags, d)
		}
	}
	if ns, name := split(t.o.DefaultBackendService); name != "" {
		if _, ok := t.r.Service(ns, name); !ok {
			diags = append(diags, diag.Diagnostic{
				Code: diag.ReferenceMissing, Severity: diag.Error, Object: diag.Ref{Kind: "Service", Namespace: ns, Name: name},
				Message: "--default-backend-service names this Service, and there is none",
				Hint:    "create the Service; until then unmatched requests get 404",
			})
		}
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
