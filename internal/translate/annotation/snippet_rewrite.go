package annotation

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

// The readers of the rewrite family and of access control (ngx_http_rewrite_module, ngx_http_access_module).

type steps = *[]snippet.Step

func (d *Directive) words(low, high int) error {
	if n := len(d.Args); n < low || n > high {
		return fmt.Errorf("it has %d arguments", n)
	}
	return nil
}

// settable are lintel's own variables a snippet may set.
var settable = map[string]bool{"args": true, "pass_access_scheme": true, "best_http_host": true, "pass_port": true}

func readSet(r *snippetRun, d *Directive, out steps) error {
	if err := d.words(2, 2); err != nil {
		return err
	}
	name, ok := variableName(d.Args[0].Text)
	if !ok {
		return fmt.Errorf("%s is no variable", Quote(d.Args[0].Text))
	}
	if expr.Known(name) && !settable[name] {
		return fmt.Errorf("$%s is not a variable that can be set", name)
	}
	value, err := r.text(d.Args[1].Text)
	if err != nil {
		return err
	}
	if !settable[name] {
		r.own[name] = true
	}
	*out = append(*out, snippet.Step{Set: &snippet.Set{Name: name, Value: value}})
	return nil
}

// variableName takes the "$" off a word that is one variable.
func variableName(s string) (string, bool) {
	name, ok := strings.CutPrefix(s, "$")
	return strings.ToLower(name), ok && expr.ValidName(name)
}

func readBreak(_ *snippetRun, d *Directive, out steps) error {
	if err := d.words(0, 0); err != nil {
		return err
	}
	*out = append(*out, snippet.Step{Break: true})
	return nil
}

func absoluteURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "$scheme")
}

func readReturn(r *snippetRun, d *Directive, out steps) error {
	if err := d.words(1, 2); err != nil {
		return err
	}
	ret := snippet.Return{}
	first := d.Args[0].Text
	code, err := strconv.Atoi(first)
	switch {
	case err != nil && len(d.Args) == 1 && absoluteURL(first):
		ret.Status = 302
		ret.Text = first
	case err != nil || code < 200 || code > 599:
		return fmt.Errorf("%s is neither a status from 200 to 599 nor a URL", Quote(first))
	default:
		ret.Status = code
		if len(d.Args) == 2 {
			ret.Text = d.Args[1].Text
		}
	}
	if redirects(ret.Status) || ret.Status == 0 {
		if ret.Text, err = r.text(ret.Text); err != nil {
			return err
		}
	} else if err = r.content(ret.Text); err != nil {
		return err
	}
	*out = append(*out, snippet.Step{Return: &ret})
	return nil
}

func redirects(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// content checks a text that becomes content: it may hold line ends.
func (r *snippetRun) content(s string) error {
	_, err := r.text(strings.NewReplacer("\r", "", "\n", "", "\t", "").Replace(s))
	return err
}

func readRewrite(r *snippetRun, d *Directive, out steps) error {
	if err := d.words(2, 3); err != nil {
		return err
	}
	w := snippet.Rewrite{Pattern: d.Args[0].Text, To: d.Args[1].Text}
	if err := r.pattern(w.Pattern); err != nil {
		return err
	}
	if absoluteURL(w.To) {
		w.Redirect = 302
	}
	if len(d.Args) == 3 {
		switch flag := d.Args[2].Text; flag {
		case "last":
			w.Flag = snippet.Last
		case "break":
			w.Flag = snippet.Break
		case "redirect":
			w.Redirect = 302
		case "permanent":
			w.Redirect = 301
		default:
			return fmt.Errorf("%s is not one of last, break, redirect, permanent", Quote(flag))
		}
	}
	if w.To, w.DropArgs = strings.CutSuffix(w.To, "?"); w.To == "" {
		return errors.New("the new path is empty")
	}
	var err error
	if w.To, err = r.text(w.To); err != nil {
		return err
	}
	if w.Redirect == 0 && !strings.HasPrefix(w.To, "/") && !strings.HasPrefix(w.To, "$") {
		return fmt.Errorf("the new path %s does not start with /", Quote(w.To))
	}
	*out = append(*out, snippet.Step{Rewrite: &w})
	return nil
}

// pattern checks a regular expression and takes note of the variables its named groups set.
func (r *snippetRun) pattern(s string) error {
	if err := CheckRegex(s); err != nil {
		return fmt.Errorf("the regular expression %s: %w", Quote(s), err)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return fmt.Errorf("the regular expression %s: %w", Quote(s), err)
	}
	for _, name := range re.SubexpNames() {
		if name == "" {
			continue
		}
		if !expr.ValidName(name) || expr.Known(name) {
			return fmt.Errorf("the group %s cannot be a variable", Quote(name))
		}
		r.own[strings.ToLower(name)] = true
	}
	return nil
}

func readIf(r *snippetRun, d *Directive, out steps) error {
	cond, err := r.condition(d)
	if err != nil {
		return err
	}
	n := &snippet.If{Cond: cond}
	if n.Level, err = r.nested(d, &n.Then); err != nil {
		return err
	}
	*out = append(*out, snippet.Step{If: n})
	return nil
}

var conditionOps = map[string]snippet.Op{
	"=": snippet.Equal, "!=": snippet.NotEqual, "~": snippet.Match, "~*": snippet.MatchFold, "!~": snippet.NotMatch, "!~*": snippet.NotMatchFold,
}

// condition reads "(" ... ")" as ngx_http_rewrite_if_condition does.
func (r *snippetRun) condition(d *Directive) (c snippet.Cond, err error) {
	words := make([]string, 0, len(d.Args))
	for _, a := range d.Args {
		words = append(words, a.Text)
	}
	bad := fmt.Errorf("%s is no condition", Quote(strings.Join(words, " ")))
	if len(words) == 0 || !strings.HasPrefix(words[0], "(") || !strings.HasSuffix(words[len(words)-1], ")") {
		return c, bad
	}
	words[0] = words[0][1:]
	if words[0] == "" {
		words = words[1:]
	}
	if len(words) == 0 {
		return c, bad
	}
	last := len(words) - 1
	words[last] = words[last][:len(words[last])-1]
	if words[last] == "" {
		words = words[:last]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "-") || len(words) > 0 && strings.HasPrefix(words[0], "!-") {
		return c, errors.New("tests of files are not supported: lintel serves none")
	}
	if len(words) != 1 && len(words) != 3 {
		return c, bad
	}
	if _, ok := variableName(words[0]); !ok {
		return c, fmt.Errorf("%s is no variable", Quote(words[0]))
	}
	if c.Left, err = r.text(words[0]); err != nil {
		return c, err
	}
	if len(words) == 1 {
		return c, nil
	}
	op, ok := conditionOps[words[1]]
	if !ok {
		return c, fmt.Errorf("%s is not one of = != ~ ~* !~ !~*", Quote(words[1]))
	}
	c.Op, c.Right = op, words[2]
	if op == snippet.Equal || op == snippet.NotEqual {
		c.Right, err = r.text(words[2])
	} else {
		err = r.pattern(words[2])
	}
	return c, err
}

func readRule(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	rule := access.Rule{Allow: d.Name == "allow"}
	if text := d.Args[0].Text; text != "all" {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				return fmt.Errorf("%s is neither an address, a network, nor all", Quote(text))
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		rule.Nets = filter.Prefixes{p.Masked()}
	}
	if r.place == inExcept {
		r.out.Except.Rules = append(r.out.Except.Rules, rule)
	} else {
		r.out.Rules = append(r.out.Rules, rule)
	}
	return nil
}

func readSatisfy(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	word := d.Args[0].Text
	if word != "all" && word != "any" {
		return fmt.Errorf("%s is neither all nor any", Quote(word))
	}
	any := word == "any"
	r.out.Any = &any
	return nil
}

var methodChars = chars("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

func readLimitExcept(r *snippetRun, d *Directive, _ steps) error {
	if len(d.Args) == 0 {
		return errors.New("it names no method")
	}
	if r.out.Except != nil {
		return errors.New("there is one already")
	}
	e := &access.Except{}
	for _, a := range d.Args {
		m := strings.ToUpper(a.Text)
		if m == "" || !only(m, methodChars) {
			return fmt.Errorf("%s is no method", Quote(a.Text))
		}
		e.Methods = append(e.Methods, m)
		if m == "GET" {
			e.Methods = append(e.Methods, "HEAD")
		}
	}
	r.out.Except = e
	was := r.place
	r.place = inExcept
	err := r.block(d.Block, nil)
	r.place = was
	return err
}

func readLocation(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 2); err != nil {
		return err
	}
	l := SnippetLocation{Path: d.Args[len(d.Args)-1].Text}
	if len(d.Args) == 2 {
		l.Modifier = d.Args[0].Text
	} else {
		for _, m := range []string{"=", "^~", "~*", "~"} { // location =/x is the same as location = /x
			if rest, ok := strings.CutPrefix(l.Path, m); ok {
				l.Modifier, l.Path = m, rest
				break
			}
		}
	}
	switch l.Modifier {
	case "", "=", "^~":
		if !strings.HasPrefix(l.Path, "/") {
			return fmt.Errorf("path %s does not start with /", Quote(l.Path))
		}
	case "~", "~*":
		if err := r.pattern(l.Path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is not one of =, ~, ~*, ^~", Quote(l.Modifier))
	}
	body := newSnippetRun(inLocation)
	if err := body.block(d.Block, &body.out.Steps); err != nil {
		return err
	}
	body.finish()
	l.Body = body.out
	for _, name := range l.Body.Free {
		r.used[name] = true
	}
	for _, name := range l.Body.Own {
		r.own[name] = true
	}
	r.out.Notes = append(r.out.Notes, l.Body.Notes...)
	r.out.Locations = append(r.out.Locations, l)
	return nil
}
