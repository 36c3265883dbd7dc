package annotation

import (
	"crypto/tls"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

// openSSLCiphers maps the names people write to the suites of TLS 1.2 that Go has. TLS 1.3 suites cannot be chosen.
var openSSLCiphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// Ciphers reads an OpenSSL cipher list. Suites of Go's own naming are known too; what is not is returned.
func Ciphers(text string) (suites []uint16, skipped []string) {
	seen := map[uint16]bool{}
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		id, ok := openSSLCiphers[name]
		if !ok {
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if s.Name == name && s.SupportedVersions[0] <= tls.VersionTLS12 {
					id, ok = s.ID, true
				}
			}
		}
		if !ok {
			skipped = append(skipped, name)
			continue
		}
		if !seen[id] {
			seen[id] = true
			suites = append(suites, id)
		}
	}
	return suites, skipped
}

var sslCiphers = Declare(Spec[string]{
	Name:     "ssl-ciphers",
	Grammar:  textOf(chars(alphanumeric, "!:+-_@="), true, "a list of OpenSSL cipher names separated by colons"),
	Scope:    PerHost,
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The cipher suites of TLS 1.2 for the host. Names Go does not know are left out; if none remains, the default list stays. TLS 1.3 suites cannot be chosen.",
	Examples: []string{"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"},
})

var preferServerCiphers = Declare(Spec[bool]{
	Name:     "ssl-prefer-server-ciphers",
	Grammar:  Bool,
	Scope:    PerHost,
	Risk:     Low,
	Bad:      Soft,
	NoEffect: "lintel picks the suite itself, by what the hardware does fast",
	Since:    "0.1",
	Doc:      "Has no effect.",
	Examples: []string{"true"},
})

var _ = register(Feature{
	Name:  "ssl-ciphers",
	Title: "TLS towards clients",
	Keys:  []AnyKey{sslCiphers, preferServerCiphers},
	Host: func(c *HostContext) {
		text, i := Winner(c, sslCiphers)
		if i < 0 {
			return
		}
		suites, skipped := Ciphers(text)
		if len(suites) == 0 {
			c.Report(i, "ssl-ciphers", diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Warning, Effect: diag.Ignored,
				Message: "none of the suites is known; the default list stays",
				Hint:    "write, for instance, ECDHE-RSA-AES256-GCM-SHA384",
			})
			return
		}
		if len(skipped) > 0 {
			c.Report(i, "ssl-ciphers", diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Info,
				Message: "left out, because Go does not have them: " + strings.Join(skipped, " "),
			})
		}
		if c.Host.TLS == nil {
			c.Host.TLS = new(config.TLS)
		}
		c.Host.TLS.Ciphers = suites
	},
})
