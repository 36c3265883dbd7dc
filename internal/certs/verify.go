package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
)

// policy is what one host wants of client certificates.
type policy struct {
	request bool // ask for a certificate
	depth   int
	ca      *authority // nil: nothing verifies
	digest  [sha256.Size]byte
}

// authority is what client certificates are verified with.
type authority struct {
	roots, between, all *x509.CertPool
	anchors             []*x509.Certificate
	lists               []*x509.RevocationList
	digest              [sha256.Size]byte
}

func newAuthority(c *config.Cert) (*authority, error) {
	switch {
	case len(c.CA) == 0:
		return nil, errors.New("ca.crt: missing or empty")
	case len(c.CA) > maxMaterial:
		return nil, fmt.Errorf("ca.crt: %d bytes, at most %d are read", len(c.CA), maxMaterial)
	case len(c.CRL) > maxMaterial:
		return nil, fmt.Errorf("ca.crl: %d bytes, at most %d are read", len(c.CRL), maxMaterial)
	}
	if err := checkPEM("ca.crt", c.CA, "CERTIFICATE"); err != nil {
		return nil, err
	}
	a := &authority{roots: x509.NewCertPool(), between: x509.NewCertPool(), all: x509.NewCertPool()}
	for _, der := range pemBlocks(c.CA, "CERTIFICATE") {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("ca.crt: certificate %d: %w", len(a.anchors)+1, err)
		}
		a.anchors = append(a.anchors, cert)
		a.all.AddCert(cert)
		// compat: OpenSSL trusts a chain only when it ends in a self-signed certificate of the file.
		if selfSigned(cert) {
			a.roots.AddCert(cert)
		} else {
			a.between.AddCert(cert)
		}
	}
	if len(c.CRL) > 0 {
		if err := checkPEM("ca.crl", c.CRL, "X509 CRL"); err != nil {
			return nil, err
		}
		for i, der := range pemBlocks(c.CRL, "X509 CRL") {
			l, err := x509.ParseRevocationList(der)
			if err != nil {
				return nil, fmt.Errorf("ca.crl: list %d: %w", i+1, err)
			}
			a.lists = append(a.lists, l)
		}
	}
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(c.CA))))
	h.Write(c.CA)
	h.Write(c.CRL)
	h.Sum(a.digest[:0])
	return a, nil
}

// hints is what the certificate request names: every certificate of the file.
func (a *authority) hints() *x509.CertPool { return a.all }

// makePolicy resolves what a host asks for. A CA that cannot be read leaves a policy
// that nothing satisfies.
func (s *Store) makePolicy(a *config.ClientAuth) *policy {
	p := &policy{request: a.Verify != "off", depth: a.Depth}
	if p.depth <= 0 {
		p.depth = 1
	}
	if c := s.certs[a.CA]; c != nil && !a.Broken {
		if c.ca == nil {
			// The error is a diagnostic of the host that names this CA (translate calls ParseCA);
			// here it means that no certificate verifies.
			if ca, err := newAuthority(c.raw); err == nil {
				c.ca = ca
			}
		}
		p.ca = c.ca
	}
	h := sha256.New()
	h.Write([]byte(a.Verify))
	h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(p.depth)))
	if p.ca != nil {
		h.Write(p.ca.digest[:])
	}
	h.Sum(p.digest[:0])
	return p
}

// verify returns the outcome as nginx writes it in $ssl_client_verify.
func (p *policy) verify(chain []*x509.Certificate, now time.Time) string {
	if !p.request || len(chain) == 0 {
		return "NONE"
	}
	if p.ca == nil {
		return "FAILED:unable to get local issuer certificate"
	}
	if reason := p.ca.check(chain, p.depth, now); reason != "" {
		return "FAILED:" + reason
	}
	return "SUCCESS"
}

// check returns OpenSSL's words for what is wrong with a chain, or "".
func (a *authority) check(sent []*x509.Certificate, depth int, now time.Time) string {
	between := a.between
	if len(sent) > 1 {
		between = a.between.Clone()
		for _, c := range sent[1:min(len(sent), 16)] {
			between.AddCert(c)
		}
	}
	leaf := sent[0]
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return a.reason(leaf, err, now)
	}
	reason := ""
	for _, chain := range chains {
		switch {
		case len(chain)-2 > depth: // neither the leaf nor the anchor counts
			reason = "certificate chain too long"
		default:
			if reason = a.revoked(chain, now); reason == "" {
				return ""
			}
		}
	}
	return reason
}

func (a *authority) reason(leaf *x509.Certificate, err error, now time.Time) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
				return "certificate is not yet valid"
			}
			return "certificate has expired"
		case x509.TooManyIntermediates:
			return "path length constraint exceeded"
		case x509.IncompatibleUsage:
			return "unsuitable certificate purpose"
		case x509.NotAuthorizedToSign:
			return "invalid CA certificate"
		case x509.NameConstraintsWithoutSANs, x509.CANotAuthorizedForThisName, x509.UnconstrainedName:
			return "permitted subtree violation"
		}
		return "certificate verify failed"
	}
	if selfSigned(leaf) {
		return "self-signed certificate"
	}
	for _, c := range a.anchors {
		if bytes.Equal(c.RawSubject, leaf.RawIssuer) {
			return "unable to get issuer certificate"
		}
	}
	return "unable to verify the first certificate"
}

// revoked looks at every certificate of the chain, as ssl_crl does (X509_V_FLAG_CRL_CHECK_ALL).
func (a *authority) revoked(chain []*x509.Certificate, now time.Time) string {
	if len(a.lists) == 0 {
		return ""
	}
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		found := false
		for _, l := range a.lists {
			if !bytes.Equal(l.RawIssuer, c.RawIssuer) || l.CheckSignatureFrom(issuer) != nil {
				continue
			}
			switch {
			case now.Before(l.ThisUpdate):
				return "CRL is not yet valid"
			case !l.NextUpdate.IsZero() && now.After(l.NextUpdate):
				return "CRL has expired"
			}
			found = true
			for _, r := range l.RevokedCertificateEntries {
				if r.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return "certificate revoked"
				}
			}
		}
		if !found {
			return "unable to get certificate CRL"
		}
	}
	return ""
}
