package h1

import (
	"bytes"
	"errors"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// What NormalizePath refuses.
var (
	ErrPathEscape  = errors.New("path has a percent sign that no two hex digits follow")
	ErrPathNUL     = errors.New("path has an encoded NUL")
	ErrPathRoot    = errors.New("path climbs above the root")
	ErrPathSegment = errors.New("path has a dot segment hidden behind a semicolon or a backslash")
	ErrPathUTF8    = errors.New("path has an over-long UTF-8 form")
	ErrPathStart   = errors.New("path does not start with a slash")
)

// NormalizePath returns the form of a raw path that routes match: percent-decoded
// once, slashes merged, dot segments resolved (reference/routing.md 9). It returns raw
// itself, without allocation, when that is normal already. The result starts with "/".
//
// %2F decodes to a slash. Segments that only some backends take for dot segments
// are refused: "..;x", ".;x", dots next to a backslash, steps up over ";x" or "a\b" (reference/security.md R4).
func NormalizePath(raw string) (string, error) {
	if raw == "" || raw[0] != '/' {
		return "", ErrPathStart
	}
	if isNormal(raw) {
		return raw, nil
	}
	return normalize(raw)
}

// isNormal reports whether nothing in raw needs work or a closer look.
func isNormal(raw string) bool {
	slash := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' || c == '\\' || c >= 0xc0 {
			return false
		}
		if slash && (c == '/' || c == '.' && dotSegment(raw[i:])) {
			return false
		}
		slash = c == '/'
	}
	return true
}

// dotSegment reports whether s starts with "." or ".." that ends a segment or its name.
func dotSegment(s string) bool {
	s = s[1:]
	if s != "" && s[0] == '.' {
		s = s[1:]
	}
	return s == "" || s[0] == '/' || s[0] == ';'
}

func normalize(raw string) (string, error) {
	decoded := make([]byte, 0, len(raw))
	backslash := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) || class[raw[i+1]]&cHex == 0 || class[raw[i+2]]&cHex == 0 {
				return "", ErrPathEscape
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if c == 0 {
				return "", ErrPathNUL
			}
			i += 2
		}
		backslash = backslash || c == '\\'
		decoded = append(decoded, c)
	}
	if overlong(decoded) {
		return "", ErrPathUTF8
	}
	if backslash && dotBesideBackslash(decoded) {
		return "", ErrPathSegment
	}
	return resolve(decoded)
}

// resolve merges slashes and resolves dot segments in place. A step up over a segment that
// some backends see nothing in (";x") or several segments (`a\b`) leads them elsewhere, so it is refused.
func resolve(p []byte) (string, error) {
	out := p[:1] // p[0] is '/'
	unsure := false
	for i := 1; i <= len(p); {
		j := i
		for j < len(p) && p[j] != '/' {
			j++
		}
		seg := p[i:j]
		last := j == len(p)
		switch {
		case len(seg) == 0 || len(seg) == 1 && seg[0] == '.':
		case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
			if len(out) == 1 {
				return "", ErrPathRoot
			}
			if unsure {
				return "", ErrPathSegment
			}
			k := len(out) - 2 // out ends in '/'
			for out[k] != '/' {
				k--
			}
			out = out[:k+1]
		case seg[0] == '.' && (len(seg) > 1 && seg[1] == ';' || len(seg) > 2 && seg[1] == '.' && seg[2] == ';'):
			return "", ErrPathSegment
		default:
			unsure = unsure || seg[0] == ';' || bytes.IndexByte(seg, '\\') >= 0
			// out never gets ahead of i: each segment's slash was read before.
			out = append(out, seg...)
			if !last {
				out = append(out, '/')
			}
		}
		i = j + 1
	}
	return string(out), nil
}

// overlong reports whether p holds a UTF-8 sequence longer than its character
// needs: %c0%ae is a dot to lenient decoders.
func overlong(p []byte) bool {
	for i := 0; i+1 < len(p); i++ {
		n := p[i+1]
		switch c := p[i]; {
		case c < 0xc0 || n < 0x80 || n > 0xbf:
		case c == 0xc0 || c == 0xc1, c == 0xe0 && n < 0xa0, c == 0xf0 && n < 0x90:
			return true
		}
	}
	return false
}

func dotBesideBackslash(p []byte) bool {
	for i := 0; i < len(p); {
		j := i
		for j < len(p) && p[j] != '/' && p[j] != '\\' {
			j++
		}
		seg := p[i:j]
		if k := strings.IndexByte(string(seg), ';'); k >= 0 {
			seg = seg[:k]
		}
		if s := string(seg); s == "." || s == ".." {
			if i > 0 && p[i-1] == '\\' || j < len(p) && p[j] == '\\' {
				return true
			}
		}
		i = j + 1
	}
	return false
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// SetTarget reads an origin-form target ("/path?query") into r: Target, Path,
// Query, HasQuery. It serves HTTP/2 and 3 (":path") as well.
func SetTarget(r *exchange.Request, target string) *HeadError {
	r.Target = target
	if target == "" || target[0] != '/' {
		return bad("request target is not in origin form")
	}
	path, end := target, len(target)
	for i := 0; i < len(target); i++ {
		c := target[i]
		if class[c]&cTarget == 0 {
			return bad("request target has a space or a control character")
		}
		if (c == '?' || c == '#') && end == len(target) {
			path, end = target[:i], i
		}
	}
	if end < len(target) {
		rest := target[end:]
		if i := strings.IndexByte(rest, '#'); i >= 0 {
			// compat: nginx drops a fragment for matching and forwards it. One that
			// a backend could take for more path is refused (S4.3).
			if !plainFragment(rest[i+1:]) {
				return bad("request target has a fragment")
			}
			rest = rest[:i]
		}
		if rest != "" {
			r.Query, r.HasQuery = rest[1:], true
		}
	}
	p, err := NormalizePath(path)
	if err != nil {
		return bad(err.Error())
	}
	r.Path = p
	return nil
}

func plainFragment(s string) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&cPlain == 0 && s[i] != '_' && s[i] != '=' && s[i] != '&' {
			return false
		}
	}
	return true
}

// HostSelector returns what of a Host field or :authority selects the virtual host: lower
// case, without port and trailing dot. It reports false for what no request may name.
func HostSelector(authority string) (string, bool) {
	if authority == "" || len(authority) > 1024 {
		return "", false
	}
	host := authority
	if authority[0] == '[' {
		end := strings.IndexByte(authority, ']')
		if end < 3 {
			return "", false
		}
		for i := 1; i < end; i++ {
			if c := authority[i]; class[c]&cHex == 0 && c != ':' && c != '.' {
				return "", false
			}
		}
		if !validPort(authority[end+1:]) {
			return "", false
		}
		return strings.ToLower(authority[:end+1]), true
	}
	for i := 0; i < len(authority); i++ {
		c := authority[i]
		if c == ':' {
			if !validPort(authority[i:]) {
				return "", false
			}
			host = authority[:i]
			break
		}
		if class[c]&cHost == 0 || c == '.' && i > 0 && authority[i-1] == '.' {
			return "", false
		}
	}
	if host != "" && host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	if host == "" {
		return "", false
	}
	return strings.ToLower(host), true // no copy when it is lower case already
}

func validPort(s string) bool {
	if s == "" {
		return true
	}
	return s[0] == ':' && len(s) <= 6 && all(s[1:], cDigit)
}
