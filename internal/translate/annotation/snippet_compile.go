package annotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/filter/responsefields"
	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

// place is where a directive stands; a set of places is where it may.
type snippetPlace uint8

// The places.
const (
	inRoute    snippetPlace = 1 << iota // configuration-snippet
	inRouteIf                           // an if in it
	inServer                            // server-snippet
	inServerIf                          // an if in it
	inLocation                          // a location of server-snippet
	inLocIf                             // an if in it
	inExcept                            // limit_except
	inAuth                              // auth-snippet

	anyBlock = inRoute | inServer | inLocation
	anyRoute = inRoute | inLocation
	anyIf    = inRouteIf | inLocIf
	rewrites = anyBlock | anyIf | inServerIf
)

// Snippet is what a snippet asks for: typed, checked, without text of nginx's language.
type Snippet struct {
	Steps  []snippet.Step
	Levels []snippetLevel // 0 is the block, the others its ifs
	Set    []snippetField // proxy_set_header
	Method string         // proxy_method

	Rules    []access.Rule
	Except   *access.Except
	Any      *bool // satisfy
	AuthVars []access.Var
	Body     *snippet.Body           // sub_filter
	Response []responsefields.Config // proxy_hide_header, proxy_cookie_*, proxy_redirect

	Connect, Send, Read, BodyTimeout time.Duration // 0: not set
	BodyMax, BodyMem                 *int64
	RateAfter                        int64
	NoLog                            bool
	DefaultType                      string
	Locations                        []SnippetLocation // of a server-snippet

	// Own are the variables the snippet sets; Free those it uses, which nothing of it sets.
	Own, Free []string
	// Notes are the verdicts worth telling.
	Notes []snippetNote
}

// SnippetLocation is a location block of a server-snippet.
type SnippetLocation struct {
	Modifier string // "", "=", "^~", "~", "~*"
	Path     string
	Body     *Snippet
}

type snippetField struct{ Name, Value string }

// snippetLevel is what one level says itself.
type snippetLevel struct {
	More, Input []snippet.Field
	Add         []snippet.AddField
	Expires     *snippet.Expires
	NoExpires   bool // expires off: nothing is inherited
	Charset     string
	Rate        *int64
	Gzip        *bool
}

// snippetNote is the verdict about one directive.
type snippetNote struct {
	NoEffect bool // else it is refused
	Message  string
	Hint     string
}

// snippetRun reads the directives of one block.
type snippetRun struct {
	out   *Snippet
	level int
	place snippetPlace
	used  map[string]bool
	own   map[string]bool
}

// maxLevels bounds the ifs of a block.
const maxLevels = 200

// compileSnippet reads a text as directives that stand in place.
func compileSnippet(text string, at snippetPlace) (*Snippet, error) {
	list, err := ParseDirectives(text)
	if err != nil {
		return nil, err
	}
	r := newSnippetRun(at)
	if err := r.block(list, &r.out.Steps); err != nil {
		return nil, err
	}
	r.finish()
	return r.out, nil
}

func newSnippetRun(at snippetPlace) *snippetRun {
	return &snippetRun{out: &Snippet{Levels: make([]snippetLevel, 1)}, place: at, used: map[string]bool{}, own: map[string]bool{}}
}

func (r *snippetRun) finish() {
	// Ifs without fields of their own mean the block's level: most of them.
	levels, to := r.out.Levels[:1:1], make([]int, len(r.out.Levels))
	for i, l := range r.out.Levels[1:] {
		if l.says() {
			to[i+1] = len(levels)
			levels = append(levels, l)
		}
	}
	r.out.Levels = levels
	renumber(r.out.Steps, to)
	for name := range r.own {
		r.out.Own = append(r.out.Own, name)
	}
	for name := range r.used {
		if !r.own[name] {
			r.out.Free = append(r.out.Free, name)
		}
	}
	if b := r.out.Body; b != nil && len(b.Rules) == 0 {
		r.out.Body = nil
	}
	slices.Sort(r.out.Own)
	slices.Sort(r.out.Free)
}

// says reports whether a level has anything of its own.
func (l *snippetLevel) says() bool {
	return len(l.More) > 0 || len(l.Input) > 0 || len(l.Add) > 0 || l.Expires != nil || l.NoExpires || l.Charset != "" || l.Rate != nil || l.Gzip != nil
}

func renumber(steps []snippet.Step, to []int) {
	for _, s := range steps {
		if s.If != nil {
			s.If.Level = to[s.If.Level]
			renumber(s.If.Then, to)
		}
	}
}

// block reads directives in their order. One that is refused and guards something refuses the snippet.
func (r *snippetRun) block(list []Directive, steps *[]snippet.Step) error {
	for i := range list {
		d := &list[i]
		row := snippetRow(d.Name)
		if row == nil {
			return &snippetError{d.Line, d.Column, fmt.Sprintf("directive %s is not known", Quote(d.Name)),
				"take it out, or correct its name; docs/reference/snippets.md lists what lintel knows" + nearestDirective(d.Name)}
		}
		var err error
		switch {
		case row.verdict == refused:
			err = &snippetError{d.Line, d.Column, fmt.Sprintf("directive %s is not supported: %s", Quote(d.Name), row.why), row.hint}
		case r.place&row.places == 0:
			err = &snippetError{d.Line, d.Column, fmt.Sprintf("directive %s has no place in %s", Quote(d.Name), r.place), row.wherever()}
		case d.HasBlock != row.block:
			what := "takes no block"
			if row.block {
				what = "wants a block"
			}
			err = &snippetError{d.Line, d.Column, fmt.Sprintf("directive %s %s", Quote(d.Name), what), "write " + row.syntax}
		case row.verdict == noEffect:
			r.note(d, row.why)
		default:
			err = row.read(r, d, steps)
		}
		if err == nil {
			continue
		}
		e, ok := err.(*snippetError)
		if !ok {
			e = &snippetError{d.Line, d.Column, d.Name + ": " + err.Error(), "write " + row.syntax}
		}
		if row.guard {
			return e
		}
		r.out.Notes = append(r.out.Notes, snippetNote{Message: e.Error() + "; the rest of the snippet works", Hint: e.hint})
	}
	return nil
}

func (r *snippetRun) note(d *Directive, why string) {
	r.out.Notes = append(r.out.Notes, snippetNote{NoEffect: true, Message: fmt.Sprintf("%s: %s needs nothing doing: %s", lineRef(d.Line), d.Name, why), Hint: "it may be taken out"})
}

func (p snippetPlace) String() string {
	switch p {
	case inRoute:
		return "configuration-snippet"
	case inServer:
		return "server-snippet"
	case inLocation:
		return "a location"
	case inServerIf:
		return "an if of server-snippet"
	case inRouteIf, inLocIf:
		return "an if"
	case inExcept:
		return "limit_except"
	}
	return "auth-snippet"
}

// text checks a value with variables, and notes those that must be set somewhere.
func (r *snippetRun) text(s string) (string, error) {
	if !ValidHeaderValue(s) {
		return "", fmt.Errorf("%s has control characters", Quote(s))
	}
	p, _, err := expr.ParseWith(s, expr.Options{Extra: expr.Own})
	if err != nil {
		return "", err
	}
	for _, v := range p.Variables() {
		v = strings.ToLower(v)
		if !expr.Known(v) {
			r.used[v] = true
		}
	}
	return s, nil
}

func (r *snippetRun) here() *snippetLevel { return &r.out.Levels[r.level] }

// nested reads the block of an if.
func (r *snippetRun) nested(d *Directive, steps *[]snippet.Step) (level int, err error) {
	at := inRouteIf
	switch r.place {
	case inServer:
		at = inServerIf
	case inLocation:
		at = inLocIf
	}
	if len(r.out.Levels) > maxLevels {
		return 0, fmt.Errorf("there are more than %d ifs", maxLevels)
	}
	was, wasPlace := r.level, r.place
	r.out.Levels = append(r.out.Levels, snippetLevel{})
	r.level, r.place = len(r.out.Levels)-1, at
	level = r.level
	err = r.block(d.Block, steps)
	r.level, r.place = was, wasPlace
	return level, err
}

// resolved is level i with what it inherits: headers-more adds up, add_header does not.
func (s *Snippet) resolved(i int) snippetLevel {
	base := s.Levels[0]
	if i == 0 {
		return base
	}
	l := s.Levels[i]
	l.More = slices.Concat(base.More, l.More)
	l.Input = slices.Concat(base.Input, l.Input)
	if len(l.Add) == 0 {
		l.Add = base.Add
	}
	if l.Expires == nil && !l.NoExpires {
		l.Expires = base.Expires
	}
	if l.Charset == "" {
		l.Charset = base.Charset
	}
	if l.Rate == nil {
		l.Rate = base.Rate
	}
	if l.Gzip == nil {
		l.Gzip = base.Gzip
	}
	return l
}

// request is the filter of the request side; ok is false where there is nothing to do.
func (s *Snippet) request() (c snippet.Config, ok bool) {
	c = snippet.Config{Steps: s.Steps, DefaultType: s.DefaultType}
	ok = len(s.Steps) > 0
	var rates []int64
	var plain []bool
	for i := range s.Levels {
		l := s.resolved(i)
		c.Input = append(c.Input, l.Input)
		rates, plain = append(rates, 0), append(plain, l.Gzip != nil && !*l.Gzip)
		if l.Rate != nil {
			rates[i] = *l.Rate
		}
		ok = ok || len(l.Input) > 0 || rates[i] > 0 || plain[i]
	}
	if slices.ContainsFunc(rates, func(n int64) bool { return n > 0 }) {
		c.Rates = rates
	}
	if slices.Contains(plain, true) {
		c.NoCompress = plain
	}
	if !slices.ContainsFunc(c.Input, func(l []snippet.Field) bool { return len(l) > 0 }) {
		c.Input = nil
	}
	return c, ok
}

// response is the filter of the response side.
func (s *Snippet) response() (c snippet.Response, ok bool) {
	for i := range s.Levels {
		l := s.resolved(i)
		c.Levels = append(c.Levels, snippet.Level{More: l.More, Add: l.Add, Expires: l.Expires, Charset: l.Charset})
		ok = ok || len(l.More) > 0 || len(l.Add) > 0 || l.Expires != nil || l.Charset != ""
	}
	return c, ok
}

// diagnostics are the verdicts of a snippet's directives.
func (s *Snippet) diagnostics() []diag.Diagnostic {
	var out []diag.Diagnostic
	for _, n := range s.Notes {
		d := diag.Diagnostic{Code: diag.SnippetRefused, Severity: diag.Warning, Effect: diag.Ignored, Message: n.Message, Hint: n.Hint}
		if n.NoEffect {
			d.Code, d.Severity, d.Effect = diag.AnnotationNoEffect, diag.Info, diag.None
		}
		out = append(out, d)
	}
	return out
}
