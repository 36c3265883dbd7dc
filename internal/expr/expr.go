// Package expr is the $variable language of annotations, ConfigMap values and
// log formats, compiled once and appended many times.
//
// A text is literal except for $name, ${name} and $1 to $9 (the groups of the
// route's regular expression). The variables are nginx's and ingress-nginx's own
// (reference/operations.md 11, reference/annotations.md 19.1) and read one exchange.
//
// What a reader gets wrong: many variables have no value until late in an
// exchange. $status and $upstream_addr before Forward are simply absent, and an
// absent variable is "" in a value, "-" in a log line.
package expr

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// Func appends a variable's value for x to dst. It reports whether the variable
// has one; then it may still be empty. It must not keep x.
type Func func(dst []byte, x *exchange.Exchange) ([]byte, bool)

// Escape says how the values of variables (never the literal text) are written.
type Escape uint8

// The escapings of log formats.
const (
	// Raw writes values as they are and absent ones as "". It is what annotations use.
	Raw Escape = iota
	// LogDefault is nginx's escape=default: `"`, `\`, bytes below 32 and above 126 become \xHH; absent is "-".
	LogDefault
	// LogJSON is escape=json; absent is "", and null where the variable stands outside quotes.
	LogJSON
	// LogNone is escape=none; absent is "-". Line ends are still escaped, so that
	// a client cannot forge lines (reference/configmap.md log-format-escape-none).
	LogNone
)

// Unknown says what a variable becomes that nobody knows.
type Unknown uint8

// What to do with unknown variables.
const (
	Refuse    Unknown = iota // parsing fails with UnknownVariable
	AsLiteral                // the text stays as written
	AsAbsent                 // a variable without a value
)

// Options change how a text is compiled.
type Options struct {
	Escape  Escape
	Unknown Unknown
	// Extra looks up variables besides the built-in ones, which win; nil: none.
	Extra func(name string) (Func, bool)
}

// UnknownVariable is the error for a variable that does not exist.
type UnknownVariable struct {
	Name    string // without $
	Nearest string // the most similar variable there is; "" when none is near
}

func (e UnknownVariable) Error() string {
	s := "unknown variable $" + e.Name
	if e.Nearest != "" {
		s += " (did you mean $" + e.Nearest + "?)"
	}
	return s
}

// SyntaxError is the error for a text that is not in the language.
type SyntaxError struct {
	Offset int // of the $ concerned
	Msg    string
}

func (e SyntaxError) Error() string {
	return e.Msg + " at byte " + strconv.Itoa(e.Offset)
}

// Program is a compiled text. It is immutable and may be used by many goroutines at once.
type Program struct {
	text    string
	ops     []op
	escape  Escape
	capture int
}

// op is a literal, or a variable when get is not nil.
type op struct {
	text   string // the literal; or the variable's name
	get    Func
	quoted bool // JSON: the variable stands inside a string
}

// Parse compiles text for annotations: values are written raw, absent ones as "".
// An unknown variable is an UnknownVariable, anything else wrong a SyntaxError.
func Parse(text string) (*Program, error) {
	p, _, err := ParseWith(text, Options{})
	return p, err
}

// ParseLoose compiles any text: unknown variables and stray "$" stay as written.
// The unknown ones are returned.
func ParseLoose(text string) (*Program, []UnknownVariable) {
	p, unknown, err := ParseWith(text, Options{Unknown: AsLiteral})
	if err != nil {
		panic("expr: loose parsing failed: " + err.Error())
	}
	return p, unknown
}

// ParseLog compiles a log format. Unknown variables have no value, and are returned
// to warn of. Line ends in the format itself are dropped: one exchange, one line.
func ParseLog(text string, escape Escape) (*Program, []UnknownVariable, error) {
	text = strings.NewReplacer("\r", "", "\n", "").Replace(text)
	return ParseWith(text, Options{Escape: escape, Unknown: AsAbsent})
}

// ParseWith compiles text as o says and returns the variables it did not know.
func ParseWith(text string, o Options) (*Program, []UnknownVariable, error) {
	p := &Program{text: text, escape: o.Escape}
	var unknown []UnknownVariable
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			p.ops = append(p.ops, op{text: literal.String()})
			literal.Reset()
		}
	}
	quoted := false
	write := func(s string) {
		literal.WriteString(s)
		quoted = insideString(s, quoted)
	}
	for i := 0; i < len(text); {
		j := strings.IndexByte(text[i:], '$')
		if j < 0 {
			write(text[i:])
			break
		}
		write(text[i : i+j])
		i += j
		name, size, msg := reference(text[i:])
		if msg != "" {
			if o.Unknown == Refuse {
				return nil, nil, SyntaxError{i, msg}
			}
			write("$")
			i++
			continue
		}
		get, ok := p.lookup(name, o.Extra)
		if !ok {
			e := UnknownVariable{name, nearest(name)}
			switch o.Unknown {
			case Refuse:
				return nil, nil, e
			case AsLiteral:
				unknown = append(unknown, e)
				write(text[i : i+size])
				i += size
				continue
			}
			unknown = append(unknown, e)
			get = absent
		}
		flush()
		p.ops = append(p.ops, op{text: name, get: get, quoted: quoted})
		i += size
	}
	flush()
	return p, unknown, nil
}

// reference reads the variable at the start of s, which begins with "$".
func reference(s string) (name string, size int, msg string) {
	braced := len(s) > 1 && s[1] == '{'
	start := 1
	if braced {
		start = 2
	}
	end := start
	for end < len(s) && isNameByte(s[end]) {
		end++
		// compat: $12 is the first group and a "2"; ngx_http_script_compile.
		if end == start+1 && s[start] >= '1' && s[start] <= '9' {
			break
		}
	}
	switch {
	case end == start:
		return "", 0, `"$" is not followed by the name of a variable`
	case braced && (end == len(s) || s[end] != '}'):
		return "", 0, `the closing "}" of a variable is missing`
	case braced:
		return s[start:end], end + 1, ""
	}
	return s[start:end], end, ""
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// insideString reports whether a JSON text that was inside a string (or not) before s is so after it.
func insideString(s string, inside bool) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if inside {
				i++
			}
		case '"':
			inside = !inside
		}
	}
	return inside
}

func (p *Program) lookup(name string, extra func(string) (Func, bool)) (Func, bool) {
	if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		n := int(name[0] - '0')
		p.capture = max(p.capture, n)
		return capture(n), true
	}
	lower := strings.ToLower(name) // compat: variable names have no case
	if get, ok := variables[lower]; ok {
		return get, true
	}
	if get, ok := prefixed(lower); ok {
		return get, true
	}
	if extra != nil {
		return extra(name)
	}
	return nil, false
}

// Text returns what was parsed.
func (p *Program) Text() string { return p.text }

// Captures returns the highest $1 to $9 used, or 0.
func (p *Program) Captures() int { return p.capture }

// Variables returns the names used, in order, with repetitions.
func (p *Program) Variables() []string {
	var names []string
	for i := range p.ops {
		if p.ops[i].get != nil {
			names = append(names, p.ops[i].text)
		}
	}
	return names
}

// Constant returns the value when it does not depend on an exchange.
func (p *Program) Constant() (string, bool) {
	switch {
	case len(p.ops) == 0:
		return "", true
	case len(p.ops) == 1 && p.ops[0].get == nil:
		return p.ops[0].text, true
	}
	return "", false
}

// Append appends the value for x to dst. It allocates only to grow dst, except for
// variables that describe a client certificate.
func (p *Program) Append(dst []byte, x *exchange.Exchange) []byte {
	for i := range p.ops {
		o := &p.ops[i]
		if o.get == nil {
			dst = append(dst, o.text...)
			continue
		}
		start := len(dst)
		var found bool
		dst, found = o.get(dst, x)
		switch p.escape {
		case Raw:
			if !found {
				dst = dst[:start]
			}
		case LogJSON:
			dst = finishJSON(dst, start, found, o.quoted)
		default:
			if !found {
				dst = append(dst[:start], '-')
			} else if p.escape == LogDefault {
				dst = escapeFrom(dst, start, needsHex, appendHex)
			} else {
				dst = escapeFrom(dst, start, needsLine, appendHex)
			}
		}
	}
	return dst
}

// String returns the value for x.
func (p *Program) String(x *exchange.Exchange) string {
	if s, ok := p.Constant(); ok {
		return s
	}
	var buf [256]byte
	return string(p.Append(buf[:0], x))
}

// nearest returns the known variable most similar to name, or "".
func nearest(name string) string {
	best, at := "", 3
	for _, known := range Names() {
		if d := distance(strings.ToLower(name), known, at); d < at {
			best, at = known, d
		}
	}
	return best
}

// distance is the edit distance of a and b, or limit when it is not less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
