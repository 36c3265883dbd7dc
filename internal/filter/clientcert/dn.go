package clientcert

import (
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// The short names OpenSSL writes.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier", "2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym",
	"2.5.4.97": "organizationIdentifier", "1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
	"1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST", "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type attributeSET []attribute

// DN writes a DER name as nginx's $ssl_client_s_dn: RFC 2253, last part first, with bytes
// above 126 and control characters as \XX. A name that does not parse is "".
func DN(der []byte) string {
	var parts []attributeSET
	if rest, err := asn1.Unmarshal(der, &parts); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		if i < len(parts)-1 {
			b.WriteByte(',')
		}
		for j, a := range parts[i] {
			if j > 0 {
				b.WriteByte('+')
			}
			writeAttribute(&b, a)
		}
	}
	return b.String()
}

func writeAttribute(b *strings.Builder, a attribute) {
	id := a.Type.String()
	if name, ok := shortNames[id]; ok {
		b.WriteString(name)
		b.WriteByte('=')
		if text, ok := attributeText(a.Value); ok {
			writeEscaped(b, text)
			return
		}
	} else {
		b.WriteString(id)
		b.WriteByte('=')
	}
	// RFC 2253, 2.4: what has no text form is written as its DER.
	b.WriteByte('#')
	b.WriteString(strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
}

// attributeText is the value as UTF-8.
func attributeText(v asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return string(v.Bytes), v.Class == asn1.ClassUniversal
	case asn1.TagT61String:
		out := make([]rune, 0, len(v.Bytes))
		for _, c := range v.Bytes { // Latin-1, as OpenSSL takes it
			out = append(out, rune(c))
		}
		return string(out), v.Class == asn1.ClassUniversal
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", false
		}
		var out []byte
		for i := 0; i < len(v.Bytes); i += 2 {
			out = utf8.AppendRune(out, rune(v.Bytes[i])<<8|rune(v.Bytes[i+1]))
		}
		return string(out), v.Class == asn1.ClassUniversal
	}
	return "", false
}

func writeEscaped(b *strings.Builder, s string) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < 0x20 || c > 0x7e:
			b.WriteByte('\\')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}
