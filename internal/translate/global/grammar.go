package global

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// text is any text on one line.
var text = annotation.Grammar[string]{Syntax: "any text", Parse: func(s string) (string, error) { return s, nil }}

// headerName is the name of a field.
var headerName = annotation.HeaderName

// list is items separated by commas.
var list = annotation.Grammar[[]string]{
	Syntax: "a list separated by commas",
	Parse: func(s string) ([]string, error) {
		var out []string
		for _, item := range strings.Split(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, item)
			}
		}
		return out, nil
	},
}

// networkList is a list of addresses and networks, each of which is looked at on its own.
var networkList = annotation.Grammar[[]string]{Syntax: annotation.CIDRs.Syntax, Parse: list.Parse}

// networks is a list of addresses and networks; one bad item makes all of it invalid.
var networks = func() annotation.Grammar[filter.Prefixes] {
	g := annotation.CIDRs
	return annotation.Grammar[filter.Prefixes]{
		Syntax: g.Syntax,
		Parse: func(s string) (filter.Prefixes, error) {
			p, err := g.Parse(strings.Trim(s, ", \n"))
			return filter.Prefixes(p), err
		},
	}
}()

// buffers is "4 8k".
type buffers struct{ number, size int }

func (b buffers) String() string { return fmt.Sprintf("%d %dk", b.number, b.size>>10) }

var bufferPair = annotation.Grammar[buffers]{
	Syntax: "a number of buffers and their size, such as 4 8k",
	Parse: func(s string) (buffers, error) {
		words := strings.Fields(s)
		if len(words) != 2 {
			return buffers{}, annotation.ErrSyntax
		}
		n, err := strconv.Atoi(words[0])
		if err != nil || n < 1 || n > 1024 {
			return buffers{}, annotation.ErrSyntax
		}
		size, err := annotation.ParseSize(words[1])
		if err != nil || size < 512 || size > 64<<20 {
			return buffers{}, errors.New("a buffer has from 512 bytes to 64m")
		}
		return buffers{n, int(size)}, nil
	},
}

// goDuration is Go's notation, 5s or 1m30s; a number alone is seconds.
var goDuration = annotation.Grammar[time.Duration]{
	Syntax: "a time such as 5s or 1m30s",
	Parse: func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			if d, err = annotation.ParseDuration(s); err != nil {
				return 0, annotation.ErrSyntax
			}
		}
		if d <= 0 {
			return 0, annotation.ErrSyntax
		}
		return d, nil
	},
}

// seconds is a whole number of seconds, perhaps with a unit of nginx.
var seconds = annotation.Grammar[time.Duration]{
	Syntax: "a number of seconds",
	Hint:   "write the number without a unit",
	Parse:  parseSeconds,
	Global: func(s string) (time.Duration, error) {
		if s == "" {
			return 0, nil
		}
		return parseSeconds(s)
	},
}

func parseSeconds(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(time.Second) {
			return 0, annotation.ErrSyntax
		}
		return time.Duration(n) * time.Second, nil
	}
	return annotation.ParseDuration(s)
}

// redirectCode is a status of redirects.
var redirectCode = annotation.Grammar[int]{
	Syntax: "301, 302, 307 or 308",
	Parse: func(s string) (int, error) {
		n, err := strconv.ParseInt(s, 0, 0) // compat: 0x133 is 307, as for all integers of the ConfigMap
		switch {
		case err != nil:
			return 0, err
		case n == 301, n == 302, n == 307, n == 308:
			return int(n), nil
		}
		return 0, annotation.ErrSyntax
	},
}

// count is a whole number, exponent form included (Helm writes 3.14496e+07).
var count = annotation.Grammar[int64]{
	Syntax: "a whole number",
	Parse: func(s string) (int64, error) {
		n, ok := annotation.ParseCount(s)
		if !ok {
			return 0, annotation.ErrSyntax
		}
		return n, nil
	},
}

// regex is a regular expression.
var regex = annotation.Grammar[string]{
	Syntax: annotation.Regex.Syntax,
	Hint:   annotation.Regex.Hint,
	Parse: func(s string) (string, error) {
		if err := annotation.CheckRegex(s); err != nil {
			return "", err
		}
		_, err := regexp.Compile(s)
		return s, err
	},
}

// versions is a range of TLS versions, and what of the list could not be used.
type versions struct {
	low, high uint16
	skipped   []string
	hole      bool
}

var tlsVersions = annotation.Grammar[versions]{
	Syntax: "TLS versions separated by spaces: TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
	Parse: func(s string) (versions, error) {
		known := map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.0": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
		var v versions
		seen := map[uint16]bool{}
		for _, w := range strings.Fields(s) {
			id, ok := known[w]
			if !ok {
				v.skipped = append(v.skipped, w)
				continue
			}
			seen[id] = true
			if v.low == 0 || id < v.low {
				v.low = id
			}
			v.high = max(v.high, id)
		}
		if v.low == 0 {
			return versions{}, annotation.ErrSyntax
		}
		v.hole = int(v.high-v.low)+1 != len(seen)
		return v, nil
	},
}

// ticketKey is the base64 of 48 or 80 bytes.
var ticketKey = annotation.Grammar[[]byte]{
	Syntax: "the base64 of 48 or 80 bytes",
	Hint:   "make one with: openssl rand 80 | openssl enc -A -base64",
	Parse: func(s string) ([]byte, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || (len(b) != 48 && len(b) != 80) {
			return nil, annotation.ErrSyntax
		}
		return b, nil
	},
}

// words is items separated by white space.
var words = annotation.Grammar[[]string]{
	Syntax: "a list separated by spaces",
	Parse:  func(s string) ([]string, error) { return strings.Fields(strings.ToLower(s)), nil },
}

// integer is a whole number from low to high.
func integer(low, high int) annotation.Grammar[int] { return annotation.Int(low, high) }
