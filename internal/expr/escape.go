package expr

import "unicode/utf8"

const hexUpper = "0123456789ABCDEF"
const hexLower = "0123456789abcdef"

// byteSet says which bytes have to be escaped. A table, because every byte of every log line is looked at.
type byteSet [256]bool

func which(needs func(byte) bool) *byteSet {
	t := new(byteSet)
	for c := range t {
		t[c] = needs(byte(c))
	}
	return t
}

var (
	needsHex  = which(func(c byte) bool { return c < 0x20 || c > 0x7e || c == '"' || c == '\\' })
	needsLine = which(func(c byte) bool { return c == '\n' || c == '\r' })
	needsJSON = which(func(c byte) bool { return c < 0x20 || c == '"' || c == '\\' })

	// bare may stand in JSON outside of a string: in numbers, and in the lists of them that retries make.
	bare = which(func(c byte) bool {
		return c >= '0' && c <= '9' || c == '.' || c == ',' || c == ' ' || c == '-' || c == '+' || c == ':' || c == 'e' || c == 'E'
	})
)

func appendHex(dst []byte, c byte) []byte {
	return append(dst, '\\', 'x', hexUpper[c>>4], hexUpper[c&15])
}

func appendJSON(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hexUpper[c>>4], hexUpper[c&15])
}

// escapeFrom escapes dst[start:] in place. The escaped form is built behind the
// plain one and moved over it, so that no second buffer is needed.
func escapeFrom(dst []byte, start int, needs *byteSet, escape func([]byte, byte) []byte) []byte {
	first := -1
	for i, c := range dst[start:] {
		if needs[c] {
			first = start + i
			break
		}
	}
	if first < 0 {
		return dst
	}
	end := len(dst)
	for i := first; i < end; i++ {
		if c := dst[i]; needs[c] {
			dst = escape(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	n := copy(dst[first:], dst[end:])
	return dst[:first+n]
}

// finishJSON escapes a value of a JSON log format. Outside of a string an absent
// value would leave invalid JSON behind, so it is null (reference/operations.md 11), and a text becomes
// a string: a client must not write members of its own. Bytes that are not UTF-8 become U+FFFD (security.md S13.4).
func finishJSON(dst []byte, start int, found, quoted bool) []byte {
	if !found {
		dst = dst[:start]
	}
	if !quoted && (len(dst) == start || len(dst) == start+1 && dst[start] == '-') {
		return append(dst[:start], "null"...)
	}
	open := !quoted && !literal(dst[start:])
	dst = escapeFrom(dst, start, needsJSON, appendJSON)
	if !utf8.Valid(dst[start:]) {
		dst = mendUTF8(dst, start)
	}
	if open {
		dst = append(dst, '"', '"')
		copy(dst[start+1:], dst[start:len(dst)-2])
		dst[start] = '"'
	}
	return dst
}

// literal reports whether s may stand outside of a string.
func literal(s []byte) bool {
	switch string(s) {
	case "true", "false", "null":
		return true
	}
	for _, c := range s {
		if !bare[c] {
			return false
		}
	}
	return true
}

// mendUTF8 replaces each byte of dst[start:] that is part of no character.
func mendUTF8(dst []byte, start int) []byte {
	end := len(dst)
	for i := start; i < end; {
		r, n := utf8.DecodeRune(dst[i:end])
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	n := copy(dst[start:], dst[end:])
	return dst[:start+n]
}

// appendURIComponent appends s with everything but unreserved characters percent-encoded.
func appendURIComponent(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return dst
}
