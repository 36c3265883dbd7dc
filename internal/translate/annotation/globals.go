package annotation

import (
	"math"
	"strconv"
	"strings"
)

// The functions below read ConfigMap keys that are not the default of one annotation. A text that cannot be
// read has been reported with the ConfigMap (package global) and counts as not set.

// GlobalText returns a key's text, trimmed, or otherwise.
func GlobalText(global func(string) (string, bool), key, otherwise string) string {
	if global == nil {
		return otherwise
	}
	text, ok := global(key)
	if text = strings.TrimSpace(text); !ok || text == "" {
		return otherwise
	}
	return text
}

// GlobalBool returns a boolean key. compat: set to nothing is false.
func GlobalBool(global func(string) (string, bool), key string, otherwise bool) bool {
	if global == nil {
		return otherwise
	}
	text, there := global(key)
	if !there {
		return otherwise
	}
	b, ok, _ := Bool.ReadGlobal(text)
	if !ok {
		return otherwise
	}
	return b
}

// GlobalList returns the items of a comma list, trimmed, without empty ones. A key that is set to
// nothing is an empty list; one that is not there is otherwise.
func GlobalList(global func(string) (string, bool), key, otherwise string) []string {
	text := otherwise
	if global != nil {
		if t, ok := global(key); ok {
			text = t
		}
	}
	var out []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// GlobalRedirectCode is http-redirect-code.
func GlobalRedirectCode(global func(string) (string, bool)) int {
	// compat: 0x133 is 307, as for all integers of the ConfigMap.
	switch n, _ := strconv.ParseInt(GlobalText(global, "http-redirect-code", "308"), 0, 0); n {
	case 301, 302, 307:
		return int(n)
	}
	return 308
}

// ParseCount reads a whole number as Helm may have written it: 31449600 or 3.14496e+07.
func ParseCount(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, n >= 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 0 || f > 1<<53 || f != math.Trunc(f) {
		return 0, false
	}
	return int64(f), true
}

// PathBelow reports whether a path is one of the prefixes or below it, by elements (security.md S4.7).
func PathBelow(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(p, "/")) {
			return true
		}
	}
	return false
}
