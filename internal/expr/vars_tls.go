package expr

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strconv"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

var _ = define(map[string]Func{
	"ssl_protocol":      secured(func(dst []byte, s *tls.ConnectionState) []byte { return append(dst, protocolName(s.Version)...) }),
	"ssl_cipher":        secured(func(dst []byte, s *tls.ConnectionState) []byte { return append(dst, CipherName(s.CipherSuite)...) }),
	"ssl_curve":         secured(func(dst []byte, s *tls.ConnectionState) []byte { return append(dst, s.CurveID.String()...) }),
	"ssl_alpn_protocol": secured(func(dst []byte, s *tls.ConnectionState) []byte { return append(dst, s.NegotiatedProtocol...) }),
	"ssl_server_name":   present(func(x *exchange.Exchange) string { return conn(x).ServerName }),
	"ssl_session_reused": secured(func(dst []byte, s *tls.ConnectionState) []byte {
		if s.DidResume {
			return append(dst, 'r')
		}
		return append(dst, '.')
	}),
	// The standard library keeps session identifiers to itself.
	"ssl_session_id": absent, "ssl_ciphers": absent, "ssl_curves": absent, "ssl_early_data": absent,

	"ssl_client_verify":      clientVerify,
	"ssl_client_s_dn":        certificate(func(dst []byte, c *x509.Certificate) []byte { return appendName(dst, c.RawSubject) }),
	"ssl_client_i_dn":        certificate(func(dst []byte, c *x509.Certificate) []byte { return appendName(dst, c.RawIssuer) }),
	"ssl_client_s_dn_legacy": certificate(func(dst []byte, c *x509.Certificate) []byte { return appendLegacyName(dst, c.RawSubject) }),
	"ssl_client_i_dn_legacy": certificate(func(dst []byte, c *x509.Certificate) []byte { return appendLegacyName(dst, c.RawIssuer) }),
	"ssl_client_serial":      certificate(func(dst []byte, c *x509.Certificate) []byte { return appendSerial(dst, c.SerialNumber) }),
	"ssl_client_fingerprint": certificate(func(dst []byte, c *x509.Certificate) []byte {
		sum := sha1.Sum(c.Raw) // compat: nginx's fingerprint is SHA-1; it identifies, it does not authenticate
		for _, b := range sum {
			dst = append(dst, hexLower[b>>4], hexLower[b&15])
		}
		return dst
	}),
	"ssl_client_v_start": certificate(func(dst []byte, c *x509.Certificate) []byte { return appendValidity(dst, c.NotBefore) }),
	"ssl_client_v_end":   certificate(func(dst []byte, c *x509.Certificate) []byte { return appendValidity(dst, c.NotAfter) }),
	"ssl_client_v_remain": certificate(func(dst []byte, c *x509.Certificate) []byte {
		return strconv.AppendInt(dst, int64(max(time.Until(c.NotAfter), 0)/(24*time.Hour)), 10)
	}),
	"ssl_client_raw_cert":     certificate(func(dst []byte, c *x509.Certificate) []byte { return append(dst, encodePEM(c)...) }),
	"ssl_client_cert":         certificate(appendTabbedPEM),
	"ssl_client_escaped_cert": certificate(func(dst []byte, c *x509.Certificate) []byte { return appendURIComponent(dst, string(encodePEM(c))) }),
})

func secured(f func([]byte, *tls.ConnectionState) []byte) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		s := conn(x).TLS
		if s == nil {
			return dst, false
		}
		start := len(dst)
		dst = f(dst, s)
		return dst, len(dst) > start
	}
}

func certificate(f func([]byte, *x509.Certificate) []byte) Func {
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		s := conn(x).TLS
		if s == nil || len(s.PeerCertificates) == 0 {
			return dst, false
		}
		return f(dst, s.PeerCertificates[0]), true
	}
}

func clientVerify(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	c := conn(x)
	switch {
	case c.TLS == nil:
		return dst, false
	case c.ClientVerify == "":
		return append(dst, "NONE"...), true
	}
	return append(dst, c.ClientVerify...), true
}

func protocolName(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS10:
		return "TLSv1"
	}
	return ""
}

// opensslNames are the suites of TLS 1.2 and before as OpenSSL, and so nginx, calls them.
var opensslNames = map[uint16]string{
	tls.TLS_RSA_WITH_AES_128_CBC_SHA:                  "AES128-SHA",
	tls.TLS_RSA_WITH_AES_256_CBC_SHA:                  "AES256-SHA",
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256:               "AES128-SHA256",
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256:               "AES128-GCM-SHA256",
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384:               "AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256:       "ECDHE-ECDSA-AES128-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256:         "ECDHE-RSA-AES128-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
}

// CipherName returns OpenSSL's name of a suite, or the registered one where they are the same.
func CipherName(id uint16) string {
	if name, ok := opensslNames[id]; ok {
		return name
	}
	return tls.CipherSuiteName(id)
}

func appendSerial(dst []byte, n *big.Int) []byte {
	raw := n.Bytes()
	if len(raw) == 0 {
		return append(dst, "00"...)
	}
	for _, b := range raw {
		dst = append(dst, hexUpper[b>>4], hexUpper[b&15])
	}
	return dst
}

// appendValidity writes a time as OpenSSL prints it: "Nov 21 09:30:00 2025 GMT".
func appendValidity(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "Jan _2 15:04:05 2006 GMT")
}

func encodePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// appendTabbedPEM is $ssl_client_cert: every line but the first begins with a tab, so
// that the whole is one (folded) field value.
func appendTabbedPEM(dst []byte, c *x509.Certificate) []byte {
	text := encodePEM(c)
	text = text[:len(text)-1]
	for _, b := range text {
		dst = append(dst, b)
		if b == '\n' {
			dst = append(dst, '\t')
		}
	}
	return dst
}

var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
	"2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title",
	"2.5.4.17": "postalCode", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.46": "dnQualifier",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1": "emailAddress",
}

// attribute is one part of a distinguished name; crypto/x509/pkix loses its raw form.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type rdnSET []attribute

func parseName(raw []byte) []rdnSET {
	var name []rdnSET
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return nil // the certificate parsed, so this does not happen
	}
	return name
}

// appendName writes a distinguished name as RFC 2253 does: last part first.
func appendName(dst []byte, raw []byte) []byte {
	name := parseName(raw)
	for i := len(name) - 1; i >= 0; i-- {
		if i < len(name)-1 {
			dst = append(dst, ',')
		}
		for j, a := range name[i] {
			if j > 0 {
				dst = append(dst, '+')
			}
			dst = appendAttribute(dst, a)
		}
	}
	return dst
}

func appendAttribute(dst []byte, a attribute) []byte {
	id := a.Type.String()
	name, known := attributeNames[id]
	if !known {
		dst = append(append(dst, id...), "=#"...)
		for _, b := range a.Value.FullBytes {
			dst = append(dst, hexUpper[b>>4], hexUpper[b&15])
		}
		return dst
	}
	dst = append(append(dst, name...), '=')
	v := a.Value.Bytes
	for i, c := range v {
		switch {
		case c == ',' || c == '+' || c == '"' || c == '\\' || c == '<' || c == '>' || c == ';',
			c == '#' && i == 0, c == ' ' && (i == 0 || i == len(v)-1):
			dst = append(dst, '\\', c)
		case c < 0x20 || c > 0x7e:
			dst = append(dst, '\\', hexUpper[c>>4], hexUpper[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendLegacyName writes a distinguished name as X509_NAME_oneline does: /C=../CN=..
func appendLegacyName(dst []byte, raw []byte) []byte {
	for _, set := range parseName(raw) {
		for _, a := range set {
			name, known := attributeNames[a.Type.String()]
			if !known {
				name = a.Type.String()
			}
			dst = append(append(append(dst, '/'), name...), '=')
			for _, c := range a.Value.Bytes {
				if c < 0x20 || c > 0x7e {
					dst = append(dst, '\\', 'x', hexUpper[c>>4], hexUpper[c&15])
				} else {
					dst = append(dst, c)
				}
			}
		}
	}
	return dst
}
