package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

// soon is how long before its end a certificate is warned about.
const soon = 10 * 24 * time.Hour

// claim finds the certificate the Ingress gives to a host (reference/routing.md 7.1). It is never
// nil: an Ingress with spec.tls gives every one of its hosts at least the default certificate.
func (j *job) claim(host string) *TLSClaim {
	claim := &TLSClaim{}
	if host == config.CatchAll {
		return claim
	}
	listed := false
	for i, entry := range j.in.Spec.TLS {
		if !slices.ContainsFunc(entry.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			continue
		}
		if !listed {
			listed = true
			if entry.SecretName != "" {
				j.take(claim, i, host)
			}
			continue
		}
		// A further Secret for the same name serves clients that want the other key type.
		if claim.Cert != (config.CertID{}) && entry.SecretName != "" {
			j.also(claim, entry.SecretName, host)
		}
	}
	if listed {
		j.defaultNames(claim)
		return claim
	}
	for i, entry := range j.in.Spec.TLS {
		if entry.SecretName == "" {
			continue
		}
		id := config.CertID{Namespace: j.in.Namespace, Name: entry.SecretName}
		if cert, ok := j.t.certs.read(j.t.r, id); ok && cert.err == nil && cert.lists(host) {
			j.take(claim, i, host)
			return claim
		}
		if len(entry.Hosts) == 0 {
			// The entry is for every host of the Ingress; say why it does not serve this one.
			j.usable(i, entry.SecretName, host)
		}
	}
	j.defaultNames(claim)
	return claim
}

// take gives the host the certificate of a tls entry where it is usable.
func (j *job) take(claim *TLSClaim, i int, host string) {
	name := j.in.Spec.TLS[i].SecretName
	if !j.usable(i, name, host) {
		return
	}
	id, _ := j.t.Cert(j.in.Namespace, name)
	cert, _ := j.t.certs.read(j.t.r, id)
	claim.Cert = id
	claim.Names = append(slices.Clone(cert.names), nonEmpty(cert.common)...)
	now := j.t.o.now()
	d := diag.Diagnostic{
		Code: diag.CertificateExpired, Severity: diag.Warning, Field: fmt.Sprintf("spec.tls[%d].secretName", i), Value: name,
		Hint: "renew the certificate", Related: []diag.Ref{{Kind: "Secret", Namespace: id.Namespace, Name: id.Name}},
	}
	switch {
	case now.After(cert.notAfter):
		d.Message = "the certificate expired on " + cert.notAfter.UTC().Format(time.DateTime) + "; it is served all the same"
	case now.Add(soon).After(cert.notAfter):
		d.Message = "the certificate expires on " + cert.notAfter.UTC().Format(time.DateTime)
	case now.Before(cert.notYet):
		d.Message = "the certificate is not valid before " + cert.notYet.UTC().Format(time.DateTime) + "; it is served all the same"
		d.Hint = "check the clock, or who issued it"
	default:
		return
	}
	j.report(d)
}

func (j *job) also(claim *TLSClaim, name, host string) {
	id := config.CertID{Namespace: j.in.Namespace, Name: name}
	cert, ok := j.t.certs.read(j.t.r, id)
	if !ok || cert.err != nil || !cert.covers(host) || id == claim.Cert || slices.Contains(claim.Also, id) {
		return
	}
	for _, have := range append([]config.CertID{claim.Cert}, claim.Also...) {
		if c, ok := j.t.certs.read(j.t.r, have); ok && c.kind == cert.kind {
			return
		}
	}
	j.t.Cert(id.Namespace, id.Name)
	claim.Also = append(claim.Also, id)
}

// usable reports whether the Secret of a tls entry can serve the host, and says why where not.
func (j *job) usable(i int, name, host string) bool {
	ref := diag.Ref{Kind: "Secret", Namespace: j.in.Namespace, Name: name}
	d := diag.Diagnostic{
		Severity: diag.Error, Field: fmt.Sprintf("spec.tls[%d].secretName", i), Value: name,
		Effect: diag.DefaultCert, Related: []diag.Ref{ref},
	}
	cert, ok := j.t.certs.read(j.t.r, config.CertID{Namespace: j.in.Namespace, Name: name})
	switch {
	case !ok:
		d.Code, d.Severity = diag.ReferenceMissing, diag.Warning
		d.Message = fmt.Sprintf("there is no Secret %s in namespace %s", name, j.in.Namespace)
		d.Hint = "create it with kubectl create secret tls; it is used as soon as it appears"
	case cert.err != nil:
		d.Code = diag.CertificateInvalid
		d.Message = fmt.Sprintf("Secret %s: %v", name, cert.err)
		d.Hint = "put a PEM certificate into tls.crt and its key into tls.key"
	case !cert.covers(host):
		d.Code = diag.CertificateName
		d.Message = fmt.Sprintf("the certificate is for %s, not for %s", cert.describe(), host)
		d.Hint = "issue a certificate that names the host"
	default:
		return true
	}
	j.report(d)
	return false
}

// defaultNames gives a claim of the default certificate that certificate's names.
func (j *job) defaultNames(claim *TLSClaim) {
	if claim.Cert != (config.CertID{}) {
		return
	}
	ns, name := split(j.t.o.DefaultSSLCertificate)
	if name == "" {
		return
	}
	if cert, ok := j.t.certs.read(j.t.r, config.CertID{Namespace: ns, Name: name}); ok && cert.err == nil {
		claim.Names = append(slices.Clone(cert.names), nonEmpty(cert.common)...)
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
