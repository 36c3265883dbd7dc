package annotation

import (
	"crypto/tls"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

var proxySSLSecret = Declare(Spec[Ref]{
	Name:     "proxy-ssl-secret",
	Grammar:  SecretRefFull,
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "A Secret with the certificate shown to endpoints (tls.crt, tls.key), the CA they are verified with (ca.crt), or both. The other proxy-ssl annotations do nothing without it.",
	Examples: []string{"default/backend-tls"},
})

var proxySSLVerify = Declare(Spec[bool]{
	Name:     "proxy-ssl-verify",
	Grammar:  OnOff,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether certificates of endpoints are verified, with the CA of proxy-ssl-secret and for proxy-ssl-name.",
	Examples: []string{"on"},
})

var proxySSLDepth = Declare(Spec[int]{
	Name:     "proxy-ssl-verify-depth",
	Grammar:  AnyInt,
	Default:  1,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "How many certificates may stand between an endpoint's and the CA.",
	Examples: []string{"2"},
})

var proxySSLName = Declare(Spec[string]{
	Name:     "proxy-ssl-name",
	Grammar:  Expr(RegexText),
	Risk:     High,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The name that certificates of endpoints are verified for, and that proxy-ssl-server-name sends; $variables are replaced.",
	Examples: []string{"backend.example.com"},
})

var proxySSLServerName = Declare(Spec[bool]{
	Name:     "proxy-ssl-server-name",
	Grammar:  OnOff,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether the TLS handshake with endpoints names proxy-ssl-name (SNI).",
	Examples: []string{"on"},
})

var proxySSLCiphers = Declare(Spec[string]{
	Name:     "proxy-ssl-ciphers",
	Grammar:  textOf(chars(alphanumeric, "+:_-!"), true, "a list of OpenSSL cipher names separated by colons"),
	Default:  "DEFAULT",
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The cipher suites of TLS 1.2 towards endpoints, where proxy-ssl-secret has a CA.",
	Examples: []string{"ECDHE-RSA-AES256-GCM-SHA384"},
})

// tlsVersions are the lowest and the highest.
type tlsVersions [2]uint16

func (v tlsVersions) String() string {
	names := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}
	if v[0] == v[1] {
		return names[v[0]]
	}
	return names[v[0]] + " " + names[v[1]]
}

var proxySSLProtocols = Declare(Spec[tlsVersions]{
	Name: "proxy-ssl-protocols",
	Grammar: Grammar[tlsVersions]{
		Syntax: `"TLSv1.2", "TLSv1.3" or both, separated by a space`,
		Parse: func(s string) (tlsVersions, error) {
			var v tlsVersions
			for _, w := range strings.Fields(s) {
				switch w {
				case "TLSv1.2":
					v[0] = tls.VersionTLS12
					v[1] = max(v[1], tls.VersionTLS12)
				case "TLSv1.3":
					v[1] = tls.VersionTLS13
					if v[0] == 0 {
						v[0] = tls.VersionTLS13
					}
				default:
					return v, ErrSyntax
				}
			}
			if v[0] == 0 {
				return v, ErrSyntax
			}
			return v, nil
		},
	},
	Default:  tlsVersions{tls.VersionTLS12, tls.VersionTLS12},
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The TLS versions towards endpoints, where proxy-ssl-secret has a CA. TLSv1.2 without.",
	Examples: []string{"TLSv1.2 TLSv1.3"},
})

var proxySSLKeys = []AnyKey{proxySSLVerify, proxySSLDepth, proxySSLName, proxySSLServerName, proxySSLCiphers, proxySSLProtocols}

// internalName is what the original verifies endpoints for where no name is given: nobody has it.
const internalName = "upstream_balancer"

var _ = register(Feature{
	Name:  "proxy-ssl",
	Title: "TLS towards endpoints",
	Keys:  append([]AnyKey{proxySSLSecret}, proxySSLKeys...),
	Route: func(c *RouteContext) {
		ref, ok := proxySSLSecret.Get(c.Values)
		if !ok {
			// compat: nothing works without the Secret. It is said aloud, for people believe otherwise.
			for _, k := range proxySSLKeys {
				if c.Set(k) {
					c.Report(k.Info().Name, diag.Diagnostic{
						Code: diag.AnnotationNoEffect, Severity: diag.Warning, Effect: diag.Ignored,
						Message: k.Info().Name + " does nothing without proxy-ssl-secret",
						Hint:    "add proxy-ssl-secret with the CA of the endpoints, or remove the annotation",
					})
				}
			}
			return
		}
		t := upstreamTLS(c, ref)
		f := c.Route.Action.Forward
		if t == nil || f == nil {
			return
		}
		switch protocolOf(c) {
		case config.HTTPS, config.GRPCS, config.AutoHTTP:
			f.TLS = t
		default:
			c.Report("proxy-ssl-secret", diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Warning,
				Message: "endpoints are spoken to without TLS, so proxy-ssl-secret does nothing",
				Hint:    "add backend-protocol: HTTPS",
			})
		}
	},
})

// upstreamTLS reads the annotations; a Secret that cannot be used denies the route.
func upstreamTLS(c *RouteContext, ref Ref) *config.UpstreamTLS {
	const name = "proxy-ssl-secret"
	ref, ok := resolve(c, name, "Secret", ref)
	if !ok {
		return nil
	}
	data, ok := c.Secret(ref.Namespace, ref.Name)
	if !ok {
		c.Deny(name, missingRef("Secret", ref))
		return nil
	}
	hasCert, hasCA := len(data["tls.crt"]) > 0 || len(data["tls.key"]) > 0, len(data["ca.crt"]) > 0
	if !hasCert && !hasCA {
		c.Deny(name, invalidRef("Secret", ref, "has neither tls.crt and tls.key nor ca.crt", "add the client certificate, or the CA of the endpoints"))
		return nil
	}
	id, _ := c.Cert(ref.Namespace, ref.Name)
	t := &config.UpstreamTLS{}
	if hasCert {
		if _, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"]); err != nil {
			c.Deny(name, invalidRef("Secret", ref, "has no usable client certificate: "+certProblem(err), "tls.crt and tls.key must be PEM and belong together"))
			return nil
		}
		t.Client = id
	}
	t.Name, _ = proxySSLName.Get(c.Values)
	t.SNI, _ = proxySSLServerName.Get(c.Values)
	verify, _ := proxySSLVerify.Get(c.Values)
	if !hasCA {
		if verify {
			// In the original this verifies nothing (security.md S9.3).
			c.Deny("proxy-ssl-verify", invalidRef("Secret", ref, "has no ca.crt, so endpoints cannot be verified", "add ca.crt, or set proxy-ssl-verify: \"off\""))
			return nil
		}
		return t
	}
	if _, err := parseCA(data["ca.crt"]); err != nil {
		c.Deny(name, invalidRef("Secret", ref, "has no usable ca.crt: "+err.Error(), "put the CA's certificates in PEM form under ca.crt"))
		return nil
	}
	t.CA = id
	t.Verify = verify
	t.Depth, _ = proxySSLDepth.Get(c.Values)
	if t.Depth == 0 {
		t.Depth = 1
	}
	versions, _ := proxySSLProtocols.Get(c.Values)
	t.MinVersion, t.MaxVersion = versions[0], versions[1]
	if text, own := proxySSLCiphers.Get(c.Values); own && text != "DEFAULT" {
		t.Ciphers = proxyCiphers(c, text)
	}
	if verify && t.Name == "" {
		t.Name = internalName
		c.Report("proxy-ssl-verify", diag.Diagnostic{
			Code: diag.SecurityAdvice, Severity: diag.Warning,
			Message: "no certificate can pass without proxy-ssl-name: requests will be answered with 502",
			Hint:    "set proxy-ssl-name to a name in the endpoints' certificate",
		})
	}
	return t
}

func proxyCiphers(c *RouteContext, text string) []uint16 {
	suites, skipped := Ciphers(text)
	if len(suites) == 0 {
		c.Report("proxy-ssl-ciphers", diag.Diagnostic{
			Code: diag.AnnotationValue, Severity: diag.Warning, Effect: diag.Ignored,
			Message: "none of the suites is known; the default list stays", Hint: "write, for instance, ECDHE-RSA-AES256-GCM-SHA384",
		})
	} else if len(skipped) > 0 {
		c.Report("proxy-ssl-ciphers", diag.Diagnostic{
			Code: diag.AnnotationValue, Severity: diag.Info, Message: "left out, because Go does not have them: " + strings.Join(skipped, " "),
		})
	}
	return suites
}
