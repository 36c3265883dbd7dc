package annotation

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/clientcert"
)

var authTLSSecret = Declare(Spec[Ref]{
	Name:     "auth-tls-secret",
	Grammar:  SecretRefFull,
	Scope:    PerHost,
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "A Secret with the CA of client certificates (ca.crt) and, if there are any, its revocation lists (ca.crl). It holds for the whole host; the oldest Ingress with a usable CA decides. Where none can be read, the host answers 403.",
	Examples: []string{"default/client-ca"},
})

var authTLSVerify = Declare(Spec[string]{
	Name:     "auth-tls-verify-client",
	Grammar:  Enum("on", "off", "optional", "optional_no_ca"),
	Default:  "on",
	Scope:    PerHost,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether clients must show a certificate, may, or may with any certificate (optional_no_ca: the endpoint decides by ssl-client-verify).",
	Examples: []string{"optional"},
})

var authTLSDepth = Declare(Spec[int]{
	Name:     "auth-tls-verify-depth",
	Grammar:  AnyInt,
	Default:  1,
	Scope:    PerHost,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "How many certificates may stand between a client's and the CA.",
	Examples: []string{"2"},
})

var authTLSErrorPage = Declare(Spec[string]{
	Name:     "auth-tls-error-page",
	Grammar:  matching(regexp.MustCompile(`\A(@[A-Za-z0-9_-]+|((https?://)?[A-Za-z0-9\-.]+(:\d+)?)?(/[A-Za-z0-9\-_.]+)*/?)\z`), "a URL, a path, or @ and a name"),
	Scope:    PerHost,
	Risk:     High,
	Bad:      Hard,
	Needed:   needsClientCA,
	Since:    "0.1",
	Doc:      "Where clients with a bad certificate, or none, are redirected (302) instead of getting 400; or a path of the host that answers them in place of the one they asked for, which then sees ssl-client-verify.",
	Examples: []string{"https://www.example.com/error-cert.html"},
})

var authTLSPass = Declare(Spec[bool]{
	Name:     "auth-tls-pass-certificate-to-upstream",
	Grammar:  Bool,
	Scope:    PerHost,
	Risk:     Low,
	Bad:      Hard,
	Needed:   needsClientCA,
	Since:    "0.1",
	Doc:      "Whether endpoints get the client's certificate in ssl-client-cert, as escaped PEM.",
	Examples: []string{"true"},
})

var authTLSMatchCN = Declare(Spec[string]{
	Name: "auth-tls-match-cn",
	Grammar: MapText(Any, "CN= and a regular expression", func(s string) (string, error) {
		if !strings.HasPrefix(s, "CN=") {
			return "", ErrSyntax
		}
		if err := checkText(s, false); err != nil {
			return "", err
		}
		return s, CheckRegex(strings.TrimPrefix(s, "CN="))
	}),
	Scope:    PerHost,
	Risk:     High,
	Bad:      Hard,
	Needed:   needsClientCA,
	Since:    "0.1",
	Doc:      "A regular expression that the certificate's subject must match, or the answer is 403. The subject is written as in RFC 2253; plain HTTP has none.",
	Examples: []string{"CN=client-.*"},
})

var _ = register(Feature{
	Name:  "client-certificates",
	Title: "Client certificates",
	Keys:  []AnyKey{authTLSSecret, authTLSVerify, authTLSDepth, authTLSErrorPage, authTLSPass, authTLSMatchCN},
	Route: func(c *RouteContext) {
		if !asksForCertificates(c.Values) {
			return
		}
		if _, d := clientCA(c.Objects, c.Global, c.Namespace, c.Values); d != nil {
			c.Deny("auth-tls-secret", *d)
		}
	},
	Host: hostClientCertificates,
})

// needsClientCA: without a Secret the other keys are not looked at. Where it is named but missing, the
// Ingress' routes are denied and the host answers 403.
func needsClientCA(v *Values, o *Options) bool { return o.hasSecret(v, authTLSSecret) }

// asksForCertificates reports whether the Ingress names a CA, readable or not.
func asksForCertificates(v *Values) bool {
	text, _ := v.Raw("auth-tls-secret")
	return text != ""
}

// hostClientCertificates settles the policy of a host. Every host gets the filter, for it is also what takes
// ssl-client-* fields of clients away.
func hostClientCertificates(c *HostContext) {
	won, broken := -1, false
	var ca config.CertID
	for i, m := range c.Members {
		if !asksForCertificates(m.Values) {
			continue
		}
		id, d := clientCA(c.Objects, c.Global, m.Namespace, m.Values)
		switch {
		case d != nil:
			broken = true // reported with the Ingress' routes
		case won < 0:
			won, ca = i, id
		case id != ca || !sameCertificatePolicy(c.Members[won].Values, m.Values):
			reportLost(c, i, won, "auth-tls-secret")
		}
	}
	switch {
	case won >= 0:
		applyPolicy(c, won, ca)
	case broken:
		c.Host.Filters = append(c.Host.Filters, clientcert.Config{Policy: c.Host.Name, Broken: true})
		hostTLS(c).ClientAuth = &config.ClientAuth{Broken: true, Verify: "off"}
	default:
		c.Host.Filters = append(c.Host.Filters, clientcert.Config{})
	}
}

func hostTLS(c *HostContext) *config.TLS {
	if c.Host.TLS == nil {
		c.Host.TLS = new(config.TLS)
	}
	return c.Host.TLS
}

func sameCertificatePolicy(a, b *Values) bool {
	for _, k := range []AnyKey{authTLSVerify, authTLSDepth, authTLSErrorPage, authTLSPass, authTLSMatchCN} {
		x, _ := a.Raw(k.Info().Name)
		y, _ := b.Raw(k.Info().Name)
		if x != y {
			return false
		}
	}
	return true
}

func applyPolicy(c *HostContext, won int, ca config.CertID) {
	v := c.Members[won].Values
	p := &config.ClientAuth{CA: ca}
	p.Verify, _ = authTLSVerify.Get(v)
	p.Depth, _ = authTLSDepth.Get(v)
	if p.Depth <= 0 {
		p.Depth = 1
	}
	p.PassCert, _ = authTLSPass.Get(v)
	p.MatchCN, _ = authTLSMatchCN.Get(v)
	if page, ok := authTLSErrorPage.Get(v); ok {
		switch {
		case strings.Contains(page+"/", "/../") || strings.Contains(page+"/", "/./"):
			c.Report(won, "auth-tls-error-page", diag.Diagnostic{
				Code: diag.AnnotationLater, Severity: diag.Warning, Effect: diag.Ignored,
				Message: "a path may not hold steps such as \"..\"; clients get 400", Hint: "write the path that is meant",
			})
		case !strings.HasPrefix(page, "@"):
			p.ErrorPage = page
		default:
			c.Report(won, "auth-tls-error-page", diag.Diagnostic{
				Code: diag.AnnotationLater, Severity: diag.Warning, Effect: diag.Ignored,
				Message: "there are no named locations; clients get 400", Hint: "give a URL, or a path of the host",
			})
		}
	}
	hostTLS(c).ClientAuth = p
	c.Host.Filters = append(c.Host.Filters, clientcert.Config{
		Policy: c.Host.Name, Verify: p.Verify, MatchCN: p.MatchCN, PassCert: p.PassCert, ErrorPage: p.ErrorPage,
	})
}

// clientCA finds the CA an Ingress names, or says why it cannot be used.
func clientCA(o Objects, global func(string) (string, bool), namespace string, v *Values) (config.CertID, *diag.Diagnostic) {
	ref, ok := authTLSSecret.Get(v)
	if !ok {
		text, _ := v.Raw("auth-tls-secret")
		return config.CertID{}, &diag.Diagnostic{
			Code: diag.AnnotationValue, Message: Quote(text) + " is not namespace/name", Hint: "write the namespace in front",
		}
	}
	to, err := ref.Resolve(namespace, crossNamespace(global))
	if err != nil {
		d := forbiddenRef("Secret", ref, err)
		return config.CertID{}, &d
	}
	data, ok := o.Secret(to.Namespace, to.Name)
	if !ok {
		d := missingRef("Secret", to)
		return config.CertID{}, &d
	}
	if _, err := parseCA(data["ca.crt"]); err != nil {
		d := invalidRef("Secret", to, "has no usable ca.crt: "+err.Error(), "put the CA's certificates in PEM form under ca.crt")
		return config.CertID{}, &d
	}
	if crl, there := data["ca.crl"]; there {
		if err := checkCRL(crl); err != nil {
			d := invalidRef("Secret", to, "has an unusable ca.crl: "+err.Error(), "put revocation lists in PEM form under ca.crl, or remove the key")
			return config.CertID{}, &d
		}
	}
	id, _ := o.Cert(to.Namespace, to.Name)
	return id, nil
}

// maxMaterial bounds what is parsed of one Secret.
const maxMaterial = 1 << 20

// parseCA reads the certificates of a ca.crt.
func parseCA(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxMaterial {
		return nil, errors.New("it is larger than 1 MiB")
	}
	var out []*x509.Certificate
	for len(text) > 0 {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New(certProblem(err))
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM block CERTIFICATE in it")
	}
	return out, nil
}

func checkCRL(text []byte) error {
	if len(text) > maxMaterial {
		return errors.New("it is larger than 1 MiB")
	}
	n := 0
	for len(text) > 0 {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return errors.New(certProblem(err))
		}
		n++
	}
	if n == 0 {
		return errors.New("no PEM block X509 CRL in it")
	}
	return nil
}

// certProblem is an error about certificates as people read it; foreign text in it is quoted (security.md S13.4).
func certProblem(err error) string {
	s := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: ")
	if !ValidHeaderValue(s) {
		return fmt.Sprintf("%q", Clip(s))
	}
	return Clip(s)
}
