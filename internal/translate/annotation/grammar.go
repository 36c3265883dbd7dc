package annotation

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ErrSyntax is a refusal that needs no more words than the grammar's Syntax.
var ErrSyntax = errors.New("syntax")

// outcomeError is a refusal whose outcome differs from the key's Bad.
type outcomeError struct {
	outcome Outcome
	err     error
}

func (e *outcomeError) Error() string { return e.err.Error() }
func (e *outcomeError) Unwrap() error { return e.err }

// As makes err have outcome o, whatever the key's Bad says.
func As(o Outcome, err error) error { return &outcomeError{o, err} }

// Bool is what Go's strconv.ParseBool reads: "yes" and "on" are not among it.
var Bool = Grammar[bool]{
	Syntax:    "true or false",
	AsWritten: true,
	Hint:      `write "true" or "false"`,
	Parse: func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, ErrSyntax
		}
		return b, nil
	},
	Global: func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil && s != "" {
			return false, ErrSyntax
		}
		return b, nil
	},
}

// OnOff is exactly on or off.
var OnOff = Grammar[bool]{
	Syntax: `"on" or "off"`,
	Hint:   `write "on" or "off"`,
	Parse: func(s string) (bool, error) {
		switch s {
		case "on":
			return true, nil
		case "off":
			return false, nil
		}
		return false, ErrSyntax
	},
}

// Int is a decimal integer from low to high, sign allowed.
func Int(low, high int) Grammar[int] {
	syntax := fmt.Sprintf("an integer from %d to %d", low, high)
	switch {
	case low == math.MinInt && high == math.MaxInt:
		syntax = "an integer"
	case high == math.MaxInt:
		syntax = fmt.Sprintf("an integer from %d", low)
	}
	within := func(n int, err error) (int, error) {
		if err != nil || n < low || n > high {
			return 0, ErrSyntax
		}
		return n, nil
	}
	return Grammar[int]{
		Syntax:    syntax,
		AsWritten: true,
		Parse:     func(s string) (int, error) { return within(strconv.Atoi(s)) },
		// compat: ConfigMap integers may be written 0x10 (reference/configmap.md).
		Global: func(s string) (int, error) {
			if s == "" {
				return within(0, nil)
			}
			n, err := strconv.ParseInt(s, 0, 0)
			return within(int(n), err)
		},
	}
}

// AnyInt is a decimal integer.
var AnyInt = Int(math.MinInt, math.MaxInt)

// Seconds is an integer number of seconds from low to high.
func Seconds(low, high int) Grammar[time.Duration] {
	g := Int(low, high)
	to := func(parse func(string) (int, error)) func(string) (time.Duration, error) {
		return func(s string) (time.Duration, error) {
			n, err := parse(s)
			return time.Duration(n) * time.Second, err
		}
	}
	return Grammar[time.Duration]{
		Syntax: g.Syntax + " (seconds)", AsWritten: true,
		Hint:  "write the number of seconds without a unit",
		Parse: to(g.Parse), Global: to(g.Global),
	}
}

// Size is a number of bytes, or of k, m or g bytes in any case.
var Size = Grammar[int64]{
	Syntax: "a size such as 1024, 8k, 10m or 1g",
	Parse:  ParseSize,
}

// ParseSize reads nginx's notation of sizes.
func ParseSize(s string) (int64, error) {
	if s == "" {
		return 0, ErrSyntax
	}
	unit := int64(1)
	switch s[len(s)-1] | 0x20 {
	case 'b':
		s = s[:len(s)-1]
	case 'k':
		unit, s = 1<<10, s[:len(s)-1]
	case 'm':
		unit, s = 1<<20, s[:len(s)-1]
	case 'g':
		unit, s = 1<<30, s[:len(s)-1]
	}
	if !only(s, digits) || s == "" {
		return 0, ErrSyntax
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errors.New("it is larger than 8 exabytes")
	}
	return n * unit, nil
}

// Duration is nginx's notation of times: seconds without a unit, or numbers with
// ms s m h d w M y, largest unit first.
var Duration = Grammar[time.Duration]{
	Syntax: "a time such as 30, 30s, 5m, 1h or 1h30m",
	Parse:  ParseDuration,
}

var timeUnits = []struct {
	name string
	unit time.Duration
}{
	{"y", 365 * 24 * time.Hour}, {"M", 30 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour},
	{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
}

// ParseDuration reads nginx's notation of times.
func ParseDuration(s string) (time.Duration, error) {
	var total time.Duration
	next := 0
	rest := strings.ReplaceAll(s, " ", "")
	if rest == "" {
		return 0, ErrSyntax
	}
	for rest != "" {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		value, err := strconv.ParseInt(rest[:n], 10, 64)
		if err != nil {
			return 0, ErrSyntax
		}
		u := n
		for u < len(rest) && (rest[u] < '0' || rest[u] > '9') {
			u++
		}
		unit := rest[n:u]
		rest = rest[u:]
		if unit == "" && rest == "" {
			unit = "s"
		}
		for next < len(timeUnits) && timeUnits[next].name != unit {
			next++
		}
		if next == len(timeUnits) {
			return 0, ErrSyntax
		}
		step := timeUnits[next].unit
		next++
		if value > int64(math.MaxInt64-total)/int64(step) {
			return 0, errors.New("it is longer than 292 years")
		}
		total += time.Duration(value) * step
	}
	return total, nil
}

// Enum is one of the words, exactly.
func Enum(words ...string) Grammar[string] {
	return Grammar[string]{
		Syntax: wordList(words),
		Parse: func(s string) (string, error) {
			for _, w := range words {
				if s == w {
					return w, nil
				}
			}
			return "", ErrSyntax
		},
		Hint: "write " + wordList(words),
	}
}

// EnumFold is one of the words in any case; the value has the case of words.
func EnumFold(words ...string) Grammar[string] {
	g := Enum(words...)
	g.Parse = func(s string) (string, error) {
		for _, w := range words {
			if strings.EqualFold(s, w) {
				return w, nil
			}
		}
		return "", ErrSyntax
	}
	return g
}

func wordList(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strconv.Quote(w)
	}
	if len(out) == 1 {
		return out[0]
	}
	return strings.Join(out[:len(out)-1], ", ") + " or " + out[len(out)-1]
}

// CIDRs is a comma list of addresses and networks, which may go over several lines. One bad item
// makes all of it invalid.
var CIDRs = Grammar[[]netip.Prefix]{
	Syntax: "a list of addresses or networks (10.0.0.0/8, 2001:db8::1) separated by commas",
	Lines:  true,
	Parse: func(s string) ([]netip.Prefix, error) {
		var out []netip.Prefix
		for _, item := range strings.Split(s, ",") {
			p, err := ParsePrefix(strings.TrimSpace(item))
			if err != nil {
				return nil, fmt.Errorf("%s is neither", strconv.Quote(Clip(strings.TrimSpace(item))))
			}
			out = append(out, p)
		}
		return out, nil
	},
}

// ParsePrefix reads an address or a network. Bits behind the mask are cleared, IPv4-mapped
// addresses count as IPv4, zones are refused.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, ErrSyntax
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, ErrSyntax
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, ErrSyntax
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// List is items separated by commas, each trimmed; empty items are dropped.
func List[T any](item Grammar[T]) Grammar[[]T] {
	return Grammar[[]T]{
		Syntax: "a list, separated by commas, each item " + item.Syntax,
		Lines:  true,
		Parse: func(s string) ([]T, error) {
			var out []T
			for _, text := range strings.Split(s, ",") {
				text = strings.TrimSpace(text)
				if text == "" {
					continue
				}
				v, err := item.Parse(text)
				if err != nil {
					return nil, fmt.Errorf("%s is not", strconv.Quote(Clip(text)))
				}
				out = append(out, v)
			}
			return out, nil
		},
	}
}

// Status is an HTTP status code from low to high.
func Status(low, high int) Grammar[int] {
	g := Int(low, high)
	g.Syntax = fmt.Sprintf("a status code from %d to %d", low, high)
	return g
}

// Ref names an object, perhaps of another namespace.
type Ref struct{ Namespace, Name string }

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// ErrOtherNamespace is what Resolve says of a reference that leaves its namespace.
var ErrOtherNamespace = errors.New("it is in another namespace, and allow-cross-namespace-resources is false")

// Resolve returns the object r means for somebody in namespace own. It is the only place that
// decides about references across namespaces (security.md S3.4).
func (r Ref) Resolve(own string, cross bool) (Ref, error) {
	if r.Namespace == "" {
		r.Namespace = own
	}
	if r.Namespace != own && !cross {
		return Ref{}, ErrOtherNamespace
	}
	return r, nil
}

// SecretRef names a Secret or ConfigMap: name, or namespace/name.
var SecretRef = Grammar[Ref]{
	Syntax: "the name of an object, or namespace/name",
	Parse:  func(s string) (Ref, error) { return parseRef(s, false) },
}

// SecretRefFull names a Secret or ConfigMap as namespace/name.
var SecretRefFull = Grammar[Ref]{
	Syntax: "namespace/name",
	Parse:  func(s string) (Ref, error) { return parseRef(s, true) },
}

// parseRef splits a reference. What BASIC accepts but names no object is refused with
// Deny, what it does not accept with the key's own outcome.
func parseRef(s string, full bool) (Ref, error) {
	if !only(noSpaces(s), basicChars) {
		return Ref{}, ErrSyntax
	}
	ns, name, two := strings.Cut(s, "/")
	if !two {
		ns, name = "", s
	}
	if name == "" || (two && ns == "") || strings.ContainsAny(s, " ") || strings.Contains(name, "/") || (full && !two) {
		return Ref{}, As(Deny, ErrSyntax)
	}
	return Ref{ns, name}, nil
}
