package annotation

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// class is a set of ASCII characters.
type class [128]bool

// only reports whether s consists of characters of c.
func only(s string, c *class) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 128 || !c[s[i]] {
			return false
		}
	}
	return true
}

func chars(texts ...string) *class {
	var c class
	for _, t := range texts {
		for i := 0; i < len(t); i++ {
			c[t[i]] = true
		}
	}
	return &c
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	basicText    = alphanumeric + "-._~/:"
	urlText      = ",:?&="
	regexText    = "^$[](){}*+?|&=\\"
)

// The value classes of reference/annotations.md 1.
var (
	digits       = chars("0123456789")
	basicChars   = chars(basicText)
	extChars     = chars(basicText, ", ")
	spaceChars   = chars(basicText, " ")
	regexChars   = chars(basicText, regexText)
	captureChars = chars(basicText, "$")
	urlChars     = chars(basicText, urlText)
	urlVarChars  = chars(basicText, urlText, " $")
	listChars    = chars(alphanumeric, "-_, ")
	varChars     = chars(alphanumeric, "-_${}")
	tokenChars   = chars(alphanumeric, "!#$%&'*+-.^_`|~")
)

func noSpaces(s string) string { return strings.ReplaceAll(s, " ", "") }

// textOf is a grammar of texts of one class. Where spaces is false they are dropped for the check.
func textOf(c *class, spaces bool, syntax string) Grammar[string] {
	return Grammar[string]{
		Syntax: syntax,
		Parse: func(s string) (string, error) {
			check := s
			if !spaces {
				check = noSpaces(s)
			}
			for i, r := range check {
				if r >= 128 || !c[byte(r)] {
					return "", fmt.Errorf("%s at %d is not allowed", strconv.QuoteRune(r), i+1)
				}
			}
			return s, nil
		},
		Lenient: func(s string) (string, error) { return s, nil },
	}
}

// The grammars of the value classes. Spaces are dropped for the check only, except in those
// called Spaced.
var (
	// Basic is letters, digits and - . _ ~ / : (class BASIC).
	Basic = textOf(basicChars, false, "letters, digits and - . _ ~ / :")
	// Extended is Basic with commas and spaces (class EXT).
	Extended = textOf(extChars, true, "letters, digits, - . _ ~ / :, commas and spaces")
	// BasicSpaced is Basic with spaces (class SPACE).
	BasicSpaced = textOf(spaceChars, true, "letters, digits, - . _ ~ / : and spaces")
	// RegexText is Basic with the characters of regular expressions (class REGEXCH); it need not compile.
	RegexText = textOf(regexChars, false, "letters, digits and - . _ ~ / : ^ $ [ ] ( ) { } * + ? | & = \\")
	// RegexTextSpaced is RegexText checked with its spaces in place.
	RegexTextSpaced = textOf(regexChars, true, "letters, digits and - . _ ~ / : ^ $ [ ] ( ) { } * + ? | & = \\, without spaces")
	// PathCapture is a path which may hold $1 to $9 (class PATHCAP).
	PathCapture = textOf(captureChars, true, "a path of letters, digits, - . _ ~ / : and $1 to $9")
	// PathCaptureNoSpace is PathCapture checked without its spaces.
	PathCaptureNoSpace = textOf(captureChars, false, "a path of letters, digits, - . _ ~ / : and $1 to $9")
	// URLText is the characters of a plain URL (class URL).
	URLText = textOf(urlChars, false, "a URL of letters, digits and - . _ ~ / : , ? & =")
	// URLTextSpaced is URLText checked with its spaces in place.
	URLTextSpaced = textOf(urlChars, true, "a URL of letters, digits and - . _ ~ / : , ? & =, without spaces")
	// URLVars is a URL with $variables (class URLVAR).
	URLVars = textOf(urlVarChars, false, "a URL of letters, digits and - . _ ~ / : , ? & = and $variables (not ${...})")
	// NamesList is names of header fields separated by commas (class HDRS).
	NamesList = textOf(listChars, true, "letters, digits, - _, commas and spaces")
	// Variables is $variables and text joined (class VAR).
	Variables = textOf(varChars, true, "letters, digits, - _ and $variables")
	// Any is every text, several lines included.
	Any = Grammar[string]{Syntax: "any text", Lines: true, Parse: func(s string) (string, error) { return s, nil }}
)

// MapText makes a grammar of another: convert looks at what g accepted.
func MapText[T any](g Grammar[string], syntax string, convert func(string) (T, error)) Grammar[T] {
	out := Grammar[T]{Syntax: syntax, Hint: g.Hint, AsWritten: g.AsWritten, Lines: g.Lines}
	through := func(parse func(string) (string, error)) func(string) (T, error) {
		return func(s string) (T, error) {
			s, err := parse(s)
			if err != nil {
				var zero T
				return zero, err
			}
			return convert(s)
		}
	}
	out.Parse = through(g.Parse)
	if g.Lenient != nil {
		out.Lenient = through(g.Lenient)
	}
	if g.Global != nil {
		out.Global = through(g.Global)
	}
	return out
}

// HeaderName is the name of one header field.
var HeaderName = Grammar[string]{
	Syntax: "the name of a header field",
	Parse: func(s string) (string, error) {
		if s = strings.TrimSpace(s); !ValidHeaderName(s) {
			return "", ErrSyntax
		}
		return s, nil
	},
}

// HeaderNames is names of header fields separated by commas; empty items are dropped, repeated ones merged.
var HeaderNames = Grammar[[]string]{
	Syntax: "names of header fields separated by commas",
	Lines:  true,
	Parse: func(s string) ([]string, error) {
		if !only(strings.ReplaceAll(s, "\n", ""), listChars) {
			return nil, ErrSyntax
		}
		var out []string
	next:
		for _, n := range strings.Split(s, ",") {
			n = strings.TrimSpace(n)
			if n == "" {
				continue
			}
			if !ValidHeaderName(n) {
				return nil, fmt.Errorf("%s is not a name", strconv.Quote(n))
			}
			for _, have := range out {
				if exchange.EqualFold(have, n) {
					continue next
				}
			}
			out = append(out, n)
		}
		return out, nil
	},
}

// ValidHeaderName reports whether s is a token (RFC 9110, 5.6.2).
func ValidHeaderName(s string) bool { return s != "" && only(s, tokenChars) }

// ValidHeaderValue reports whether s holds no control character but tabs.
func ValidHeaderValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// FramingField reports whether name is a field only lintel itself may write, because it
// frames messages or names the host (security.md S13.2).
func FramingField(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te",
		"trailer", "proxy-connection", "http2-settings", "host":
		return true
	}
	return false
}

// What a regular expression may be (security.md S8.4): matching takes time in proportion to its steps.
const (
	MaxPattern = 4096   // characters
	maxSteps   = 10_000 // of the compiled program
)

// Regex is a regular expression RE2 can run.
var Regex = Grammar[string]{
	Syntax: "a regular expression",
	Hint:   "lookaround, back-references and possessive quantifiers are not supported",
	Parse: func(s string) (string, error) {
		return s, CheckRegex(s)
	},
}

// CheckRegex says why s cannot be run as a regular expression, nil when it can.
func CheckRegex(s string) error {
	if len(s) > MaxPattern {
		return fmt.Errorf("it is longer than %d characters", MaxPattern)
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) {
			if se.Code == syntax.ErrInvalidPerlOp {
				return fmt.Errorf("%s is not supported (lookaround and back-references are not)", strconv.Quote(se.Expr))
			}
			return fmt.Errorf("%s: %s", se.Code, strconv.Quote(Clip(se.Expr)))
		}
		return err
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		return err
	}
	if len(p.Inst) > maxSteps {
		return fmt.Errorf("its repetitions make it %d steps long, and more than %d take too much time", len(p.Inst), maxSteps)
	}
	return nil
}

// ServiceName is the name of a Service (DNS-1035 label).
var ServiceName = Grammar[string]{
	Syntax: "the name of a Service of the same namespace",
	Parse: func(s string) (string, error) {
		if len(s) == 0 || len(s) > 63 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
			return "", ErrSyntax
		}
		for i := 0; i < len(s); i++ {
			if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return "", ErrSyntax
			}
		}
		return s, nil
	},
}
