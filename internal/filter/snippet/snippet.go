// Package snippet runs what a configuration-snippet or server-snippet asks for, as typed steps. It
// knows nothing of nginx's language: translate reads the text and refuses what has no step here.
//
// The steps of the rewrite phase (set, if, return, rewrite, break) run in the order of the text,
// before everything else of the block; what concerns fields runs where requests and responses
// pass (reference/annotations.md 19.1). An if that held makes its own level count from then on.
//
// What a reader gets wrong: the levels of several ifs do not add up. As in nginx the last if that
// held counts, with what it inherits from the block around it.
package snippet

import (
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is the request side of one block: a route's configuration-snippet.
type Config struct {
	Steps []Step
	// Input are the request fields to change, by level: 0 is the block, the others its ifs.
	Input [][]Field
	// Rates are limit_rate by level; nil: none anywhere.
	Rates []int64
	// NoCompress says by level whether responses stay uncompressed; nil: nowhere.
	NoCompress []bool
	// DefaultType is the content type of a return with a text; "": text/html.
	DefaultType string
	// Relative leaves redirects to a path relative; UsePort names the listener's port otherwise.
	Relative, UsePort bool
}

// Step is one step of the rewrite phase. Exactly one field is set.
type Step struct {
	Set     *Set
	If      *If
	Return  *Return
	Rewrite *Rewrite
	Break   bool
}

// Set gives a variable a value.
type Set struct{ Name, Value string }

// If runs steps where a condition holds.
type If struct {
	Cond  Cond
	Level int // what counts from then on; 0: the block's
	Then  []Step
}

// Cond is a condition of if.
type Cond struct {
	Left string // text with $variables
	Op   Op
	// Right is text with $variables for Equal and NotEqual, else a regular expression.
	Right string
}

// Op compares.
type Op uint8

// The comparisons.
const (
	True Op = iota // neither empty nor 0
	Equal
	NotEqual
	Match
	MatchFold
	NotMatch
	NotMatchFold
)

// String is the operator as nginx writes it.
func (o Op) String() string {
	return [...]string{"true", "=", "!=", "~", "~*", "!~", "!~*"}[o]
}

// Return answers.
type Return struct {
	Status int
	Text   string // with $variables: the content, or the Location of a redirect
}

// Rewrite changes the path.
type Rewrite struct {
	Pattern string
	To      string // with $variables, without the "?" that drops the query
	Flag    Flag
	// Redirect is the status where the client is redirected; 0: it is not.
	Redirect int
	// DropArgs leaves the query of the request out.
	DropArgs bool
}

// Flag says what comes after a rewrite.
type Flag uint8

// The flags.
const (
	Next  Flag = iota // the next step
	Last              // choose the route anew
	Break             // the end of the rewrite phase
)

func (f Flag) String() string { return [...]string{"next", "last", "break"}[f] }

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "snippet" }

// Build compiles texts and patterns.
func (c Config) Build(env *filter.Env) (any, error) { return c.build(env, false) }

// ServerConfig is the same for the host's server-snippet.
type ServerConfig Config

// FilterName is the filter's name in filter.Order.
func (ServerConfig) FilterName() string { return "server-snippet" }

// Build compiles texts and patterns.
func (c ServerConfig) Build(env *filter.Env) (any, error) { return Config(c).build(env, true) }

func (c Config) build(env *filter.Env, server bool) (any, error) {
	r := &block{Config: c, server: server, home: home(env)}
	var err error
	if r.steps, err = c.compile(c.Steps, r); err != nil {
		return nil, err
	}
	r.input = make([][]field, len(c.Input))
	for i, level := range c.Input {
		if r.input[i], err = compileFields(level); err != nil {
			return nil, err
		}
	}
	if r.DefaultType == "" {
		r.DefaultType = "text/html" // compat: ingress-nginx' default_type
	}
	return r, nil
}

func home(env *filter.Env) string {
	if env == nil {
		return ""
	}
	return env.Route
}

func parse(text string) (*expr.Program, error) {
	p, _, err := expr.ParseWith(text, expr.Options{Extra: expr.Own})
	return p, err
}

// block is a compiled Config.
type block struct {
	Config
	server bool
	home   string
	steps  []step
	input  [][]field
	again  bool // a step may send the request to another route
}

type step struct {
	Step
	value *expr.Program // Set.Value, Return.Text, Rewrite.To up to its "?"
	args  *expr.Program // Rewrite.To behind the "?"; nil: none
	left  *expr.Program
	right *expr.Program
	re    *regexp.Regexp
	names []string // lower-case names of the pattern's groups; nil: none has one
	then  []step
}

func (c *Config) compile(list []Step, b *block) ([]step, error) {
	out := make([]step, 0, len(list))
	for _, s := range list {
		var err error
		n := step{Step: s}
		switch {
		case s.Set != nil:
			n.value, err = parse(s.Set.Value)
		case s.Return != nil:
			n.value, err = parse(s.Return.Text)
		case s.Rewrite != nil:
			err = n.compileRewrite()
			b.again = b.again || s.Rewrite.Redirect == 0 && s.Rewrite.Flag != Break || b.server
		case s.If != nil:
			if err = n.compileCond(); err == nil {
				n.then, err = c.compile(s.If.Then, b)
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (s *step) compileRewrite() error {
	to, args, hasArgs := strings.Cut(s.Rewrite.To, "?")
	var err error
	if s.Rewrite.Redirect != 0 {
		to, hasArgs = s.Rewrite.To, false
	}
	if s.value, err = parse(to); err != nil {
		return err
	}
	if hasArgs {
		if s.args, err = parse(args); err != nil {
			return err
		}
	}
	return s.pattern(s.Rewrite.Pattern)
}

func (s *step) compileCond() error {
	var err error
	if s.left, err = parse(s.If.Cond.Left); err != nil {
		return err
	}
	switch s.If.Cond.Op {
	case True:
		return nil
	case Equal, NotEqual:
		s.right, err = parse(s.If.Cond.Right)
		return err
	case MatchFold, NotMatchFold:
		return s.pattern("(?i)" + s.If.Cond.Right)
	}
	return s.pattern(s.If.Cond.Right)
}

func (s *step) pattern(text string) error {
	re, err := regexp.Compile(text)
	if err != nil {
		return err
	}
	s.re = re
	named := false
	names := make([]string, 0, re.NumSubexp()+1)
	for _, n := range re.SubexpNames() {
		named = named || n != ""
		names = append(names, strings.ToLower(n))
	}
	if named {
		s.names = names
	}
	return nil
}

// state is what the snippets of one exchange came to.
type state struct {
	route, server place
}

// place is where one block's request side ended.
type place struct {
	home  string // the block's route or host; another one's place means nothing
	level int
	// groups are what $1 to $9 are for the block, where a pattern of it matched.
	groups  []string
	matched bool
}

var slot = exchange.NewSlot[state]()

func (st *state) of(server bool) *place {
	if server {
		return &st.server
	}
	return &st.route
}

// at returns the level that counts for x in a block, and what its patterns matched.
func at(x *exchange.Exchange, server bool, home string) *place {
	st := slot.Peek(x)
	if st == nil {
		return &nowhere
	}
	if p := st.of(server); p.home == home {
		return p
	}
	return &nowhere
}

var nowhere place

// text evaluates p with the groups the block's patterns left.
func (p *place) text(t *expr.Program, x *exchange.Exchange) string {
	if !p.matched || t.Captures() == 0 {
		return t.String(x)
	}
	was := x.Captures
	x.Captures = p.groups
	s := t.String(x)
	x.Captures = was
	return s
}

// clean reports whether s may stand in a field.
func clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f {
			return false
		}
	}
	return true
}
