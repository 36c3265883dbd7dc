// Package clientcert decides in the server stage whether a client's certificate is
// good enough for a host (auth-tls-*, reference/annotations.md 7.2), and owns the
// ssl-client-* fields: it takes every client's own away, and on hosts with a policy
// puts what the handshake proved in their place.
//
// The handshake itself is the listener's: it verifies for the policy of the name the client
// asked for and writes the outcome to exchange.Conn. What a reader gets wrong: the host of the
// request need not be that name. Only Conn.TLSPolicy says whose policy was applied.
package clientcert

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the policy of one host. The zero value is a host without auth-tls.
type Config struct {
	// Policy is the host whose policy this is (config.Host.Name); "" without auth-tls.
	Policy string
	// Broken refuses everything with 403: the CA could not be read.
	Broken   bool
	Verify   string // on, off, optional, optional_no_ca
	MatchCN  string // regular expression for the subject; "" for none
	PassCert bool   // ssl-client-cert for endpoints
	// ErrorPage is what comes instead of 400: where to redirect to, or, with a leading "/", the
	// path of this host that answers; "" for none.
	ErrorPage string
}

// FilterName is "client-cert".
func (Config) FilterName() string { return "client-cert" }

// Build compiles MatchCN. A pattern that is none turns the host off.
func (c Config) Build(*filter.Env) (any, error) {
	f := &check{Config: c}
	switch c.Verify {
	case "on", "optional", "optional_no_ca", "off":
	case "":
		if c.Policy != "" && !c.Broken {
			return nil, fmt.Errorf("no way to verify is given for %s", c.Policy)
		}
	default:
		return nil, fmt.Errorf("%q is no way to verify client certificates", c.Verify)
	}
	if c.MatchCN != "" {
		re, err := regexp.Compile(c.MatchCN)
		if err != nil {
			return nil, fmt.Errorf("auth-tls-match-cn: %w", err)
		}
		f.match = re
	}
	return f, nil
}

type check struct {
	Config
	match *regexp.Regexp
}

var _ filter.OnRequest = (*check)(nil)

func (f *check) Request(x *exchange.Exchange) exchange.Verdict {
	if hasOurFields(&x.Req.Header) {
		// S6.6: on every host, with TLS or without.
		x.Req.Header.DelFunc(func(name, _ string) bool { return ours(name) })
	}
	if f.Broken {
		return refuse(x, 403)
	}
	var policy, sni string
	tls := false
	if c := x.Conn; c != nil && c.TLS != nil {
		tls, policy, sni = true, c.TLSPolicy, c.ServerName
	}
	if f.Policy == "" {
		// SNI and Host need not agree as long as this host asks for nothing (reference/protocol-pitfalls.md, mTLS).
		return exchange.Continue
	}
	if policy != f.Policy && sni != "" && tls {
		// S9.2: the handshake was for another host and proved nothing to this one.
		return refuse(x, 421)
	}
	return f.verify(x, tls, policy == f.Policy)
}

// verify applies the policy; applied is false where the handshake was not for this host (no TLS, no SNI).
func (f *check) verify(x *exchange.Exchange, tls, applied bool) exchange.Verdict {
	outcome := "NONE"
	if applied && x.Conn.ClientVerify != "" {
		outcome = x.Conn.ClientVerify
	}
	failed := outcome != "NONE" && outcome != "SUCCESS"
	if tls {
		switch {
		case f.Verify == "on" && outcome == "NONE":
			if !f.elsewhere(x) {
				return f.certError(x, "No required SSL certificate was sent")
			}
		case failed && (f.Verify == "on" || f.Verify == "optional"):
			if !f.elsewhere(x) {
				return f.certError(x, "The SSL certificate error")
			}
		}
	}
	var cert *x509.Certificate
	if applied && outcome != "NONE" && f.Verify != "off" && len(x.Conn.TLS.PeerCertificates) > 0 {
		cert = x.Conn.TLS.PeerCertificates[0]
	}
	subject := ""
	if cert != nil {
		subject = DN(cert.RawSubject)
	}
	if f.match != nil && !f.matches(subject) {
		// compat: also on plain HTTP, where there is no subject (reference/annotations.md 7.2).
		v := refuse(x, 403)
		setBody(x, "client certificate unauthorized")
		return v
	}
	if !tls {
		return exchange.Continue
	}
	h := &x.Req.Header
	h.Set("ssl-client-verify", outcome)
	if cert != nil {
		h.Set("ssl-client-subject-dn", subject)
		h.Set("ssl-client-issuer-dn", DN(cert.RawIssuer))
		if f.PassCert {
			h.Set("ssl-client-cert", escapedPEM(cert))
		}
	}
	return exchange.Continue
}

func (f *check) matches(subject string) bool {
	// S9.4: a NUL never is part of a name somebody meant to allow. DN writes it as \00.
	return subject != "" && !strings.Contains(subject, `\00`) && f.match.MatchString(subject)
}

// elsewhere sends a request without a good certificate to the path of the error page: as a GET
// without query or content.
//
// compat: nginx's internal redirect. The route of the path answers, and sees ssl-client-verify.
func (f *check) elsewhere(x *exchange.Exchange) bool {
	if !strings.HasPrefix(f.ErrorPage, "/") {
		return false
	}
	if x.Req.Method != "HEAD" {
		x.Req.Method = "GET"
	}
	x.Req.Body, x.Req.Length = nil, 0
	x.Resp.Close = true
	x.Req.Path, x.Req.Query, x.Req.HasQuery = f.ErrorPage, "", false
	x.Rewritten = f.ErrorPage
	return true
}

func (f *check) certError(x *exchange.Exchange, text string) exchange.Verdict {
	if f.ErrorPage != "" {
		return filter.Redirect(x, 302, f.ErrorPage)
	}
	v := refuse(x, 400)
	setBody(x, "<html>\r\n<head><title>400 "+text+"</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>"+
		text+"</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
	x.Resp.Close = true
	return v
}

func refuse(x *exchange.Exchange, status int) exchange.Verdict {
	v := x.Reply(status)
	x.Resp.Denied = true
	return v
}

func setBody(x *exchange.Exchange, text string) {
	x.Resp.Header.Set("Content-Type", "text/html")
	x.Resp.Body = io.NopCloser(strings.NewReader(text))
	x.Resp.Length = int64(len(text))
}

func hasOurFields(h *exchange.Fields) bool {
	for i := range h.Len() {
		if ours(h.At(i).Name) {
			return true
		}
	}
	return false
}

const prefix = "ssl-client-"

// ours reports whether name is one of the ssl-client-* fields in any spelling an endpoint may take for it.
func ours(name string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		if c == '_' {
			c = '-'
		} else if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// escapedPEM is $ssl_client_escaped_cert: the PEM form, escaped as a URI component.
func escapedPEM(cert *x509.Certificate) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(text)+len(text)/8)
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '~':
			out = append(out, c)
		default:
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}
