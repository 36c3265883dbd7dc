package annotation

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// DefaultPrefix stands before every name unless --annotations-prefix says otherwise.
const DefaultPrefix = "nginx.ingress.kubernetes.io"

// Options are what Parse needs to know besides the annotations.
type Options struct {
	// Prefix is without the slash; "" is DefaultPrefix.
	Prefix string
	// Global reads a ConfigMap key as text; nil: every key is unset.
	Global func(key string) (string, bool)
	// Unvalidated switches the value checks off (--enable-annotation-validation=false).
	Unvalidated bool
	// Risk is annotations-risk-level: a name above it refuses the Ingress. Use ParseRisk.
	Risk Risk
	// AllowSnippets is allow-snippet-annotations.
	AllowSnippets bool
	// BlockedWords is annotation-value-word-blocklist.
	BlockedWords []string
	// Namespace is the Ingress' own; HasSecret reports whether a Secret exists (nil: none does). They tell
	// which values are looked at, not what these mean.
	Namespace string
	HasSecret func(namespace, name string) bool
}

// hasSecret reports whether the Secret that k names is there and may be used.
func (o *Options) hasSecret(v *Values, k Key[Ref]) bool {
	ref, ok := k.Get(v)
	if !ok || o.HasSecret == nil {
		return false
	}
	ref, err := ref.Resolve(o.Namespace, crossNamespace(o.Global))
	return err == nil && o.HasSecret(ref.Namespace, ref.Name)
}

// Finding is one complaint about one annotation. Diagnostic lacks Object, Field and Pos,
// which the caller knows.
type Finding struct {
	// Name is the annotation's key as the Ingress writes it, with the prefix.
	Name string
	diag.Diagnostic
}

// ParseRisk reads annotations-risk-level. compat: a text that is no level counts as
// Low, so that almost everything is refused (reference/configmap.md).
func ParseRisk(text string) (Risk, bool) {
	for _, r := range []Risk{Low, Medium, High, Critical} {
		if strings.EqualFold(strings.TrimSpace(text), r.String()) {
			return r, true
		}
	}
	return Low, false
}

// Parse reads the annotations of one Ingress: a pure function of its arguments. The outcome is
// the worst of all findings; 0 when everything can be used. Values are usable with every
// outcome, and a value that could not be read counts as not set.
func Parse(raw map[string]string, o Options) (*Values, []Finding, Outcome) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	p := &parser{
		Options: o,
		v:       &Values{parsed: map[string]any{}, raw: map[string]string{}, global: o.Global},
	}
	names := make([]string, 0, len(raw))
	for full := range raw {
		if strings.HasPrefix(full, o.Prefix+"/") {
			names = append(names, full)
		}
	}
	sort.Strings(names)
	for _, full := range names {
		p.admit(full, raw[full])
	}
	for _, full := range names {
		p.read(full, raw)
	}
	for _, b := range p.later {
		if !b.rules.needed(p.v, &p.Options) {
			b.err = As(Soft, b.err)
		}
		p.bad(b.full, b.info, b.rules, b.text, b.err)
	}
	return p.v, p.findings, p.worst
}

// parser is one run of Parse.
type parser struct {
	Options
	v        *Values
	findings []Finding
	worst    Outcome
	later    []malformed
}

// malformed is a value whose outcome depends on other annotations.
type malformed struct {
	full, text string
	info       Info
	rules      rules
	err        error
}

func (p *parser) find(full string, o Outcome, d diag.Diagnostic) {
	d.Value = Clip(d.Value)
	p.findings = append(p.findings, Finding{full, d})
	p.worst = max(p.worst, o)
}

// admit applies what an operator forbids, whatever the values mean: words and risk.
// Aliases resolve to the same record first (security.md S1.4).
func (p *parser) admit(full, text string) {
	for _, w := range p.BlockedWords {
		if w = strings.TrimSpace(w); w != "" && strings.Contains(text, w) {
			p.find(full, Hard, diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Error, Value: text, Effect: diag.ObjectHeld,
				Message: fmt.Sprintf("the value contains %q, which annotation-value-word-blocklist forbids", w),
				Hint:    "take the word out, or ask whoever owns the controller's ConfigMap",
			})
		}
	}
	k, ok := lookup(strings.TrimPrefix(full, p.Prefix+"/"))
	if !ok {
		return
	}
	if r := k.Info().Risk; r > p.Risk {
		p.find(full, Hard, diag.Diagnostic{
			Code: diag.AnnotationRisk, Severity: diag.Error, Value: text, Effect: diag.ObjectHeld,
			Message: fmt.Sprintf("the annotation's risk is %s, and annotations-risk-level permits %s at most", r, p.Risk),
			Hint:    fmt.Sprintf("remove the annotation, or set annotations-risk-level: %s in the controller's ConfigMap", r),
		})
	}
}

// read parses one annotation into Values.
func (p *parser) read(full string, raw map[string]string) {
	written := strings.TrimPrefix(full, p.Prefix+"/")
	k, ok := lookup(written)
	if !ok {
		p.unknown(full, written, raw[full])
		return
	}
	info := k.Info()
	text := raw[full]
	if written != info.Name {
		// The primary name counts where it is there and not empty.
		if main, there := raw[p.Prefix+"/"+info.Name]; there && trimLines(main) != "" {
			p.find(full, 0, diag.Diagnostic{
				Code: diag.AnnotationConflict, Severity: diag.Warning, Value: text, Effect: diag.Ignored,
				Message: fmt.Sprintf("%s is another name for %s, which is set too and wins", written, info.Name),
				Hint:    "keep one of the two",
			})
			return
		}
	}
	rules := k.rules()
	trimmed := trimLines(text)
	if old, there := p.v.raw[info.Name]; !there || old == "" {
		p.v.raw[info.Name] = trimmed
	}
	if trimmed == "" {
		return
	}
	if strings.HasSuffix(info.Name, "-snippet") && !p.AllowSnippets {
		p.find(full, 0, diag.Diagnostic{
			Code: diag.SnippetRefused, Severity: diag.Warning, Value: text, Effect: diag.Ignored,
			Message: "snippets are switched off: allow-snippet-annotations is false",
			Hint:    "use the annotations for what the snippet does, or set allow-snippet-annotations: \"true\" and annotations-risk-level: Critical in the controller's ConfigMap",
		})
		delete(p.v.raw, info.Name)
		return
	}
	if !rules.asWritten {
		text = trimmed
	}
	value, err := p.value(k, rules, text)
	if err != nil {
		if rules.needed != nil {
			p.later = append(p.later, malformed{full, text, info, rules, err})
			return
		}
		p.bad(full, info, rules, text, err)
		return
	}
	p.v.parsed[info.Name] = value
	p.note(full, info, text, value)
}

func (p *parser) value(k AnyKey, r rules, text string) (any, error) {
	if err := checkText(text, r.lines); err != nil {
		return nil, err
	}
	return k.parse(text, !p.Unvalidated)
}

// bad reports a value its grammar refuses.
func (p *parser) bad(full string, info Info, r rules, text string, err error) {
	o, detail := info.Bad, err.Error()
	var as *outcomeError
	if errors.As(err, &as) {
		o = as.outcome
	}
	d := diag.Diagnostic{Code: diag.AnnotationValue, Value: text, Hint: r.hint}
	d.Message = Quote(text) + " is not " + info.Syntax
	if !errors.Is(err, ErrSyntax) {
		d.Message += ": " + detail
	}
	if d.Hint == "" && len(info.Examples) > 0 {
		d.Hint = "write, for instance, " + Quote(info.Examples[0])
	}
	var sn *snippetError
	if errors.As(err, &sn) {
		d.Code, d.Message, d.Hint = diag.SnippetRefused, sn.Error(), sn.hint
	}
	d.Severity, d.Effect = severity(o)
	if o == Soft && r.fallback != nil {
		p.v.parsed[info.Name] = r.fallback
	}
	p.find(full, o, d)
}

// note reports keys that do nothing, or nothing yet.
func (p *parser) note(full string, info Info, text string, value any) {
	switch {
	case info.NoEffect != "":
		p.find(full, 0, diag.Diagnostic{
			Code: diag.AnnotationNoEffect, Severity: diag.Info, Value: text,
			Message: info.Name + " has no effect: " + info.NoEffect,
			Hint:    "it may be removed",
		})
	case info.Later != 0 && fmt.Sprint(value) != info.Default:
		d := diag.Diagnostic{
			Code: diag.AnnotationLater, Value: text,
			Message: info.Name + " is not implemented yet",
			Hint:    "remove the annotation if the Ingress works without it",
		}
		d.Severity, d.Effect = severity(info.Later)
		p.find(full, info.Later, d)
	}
}

// unknown reports a name under our prefix that is not declared.
func (p *parser) unknown(full, name, text string) {
	if r, ok := removed[name]; ok {
		p.find(full, 0, diag.Diagnostic{
			Code: diag.AnnotationRemoved, Severity: diag.Warning, Value: text, Effect: diag.Ignored,
			Message: name + " " + r.what, Hint: r.instead,
		})
		return
	}
	d := diag.Diagnostic{
		Code: diag.AnnotationUnknown, Severity: diag.Warning, Value: text, Effect: diag.Ignored,
		Message: "there is no annotation " + Quote(name),
		Hint:    "see the list of annotations, or remove it",
	}
	if near := Nearest(name, names()); near != "" {
		d.Hint = "did you mean " + near + "?"
	}
	p.find(full, 0, d)
}

// Known reports whether name, without prefix, is declared, and under which primary name.
func Known(name string) (string, bool) {
	k, ok := lookup(name)
	if !ok {
		return "", false
	}
	return k.Info().Name, true
}

func lookup(name string) (AnyKey, bool) {
	if main, ok := aliases[name]; ok {
		name = main
	}
	k, ok := keys[name]
	return k, ok
}

func names() []string {
	out := make([]string, 0, len(keys)+len(aliases))
	for n := range keys {
		out = append(out, n)
	}
	for n := range aliases {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

func severity(o Outcome) (diag.Severity, diag.Effect) {
	switch o {
	case Hard:
		return diag.Error, diag.ObjectHeld
	case Deny:
		return diag.Error, diag.RouteOff
	}
	return diag.Warning, diag.Ignored
}

// trimLines takes the space around each line away (reference/annotations.md 1).
func trimLines(s string) string {
	if !strings.Contains(s, "\n") {
		return strings.TrimSpace(s)
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	s = strings.Join(lines, "\n")
	if strings.Trim(s, "\n") == "" {
		return ""
	}
	return s
}

// checkText refuses what no value may hold: control characters and invalid UTF-8
// (security.md S1.3). Line feeds and tabs are legal only where the grammar takes several lines.
func checkText(s string, lines bool) error {
	for i, r := range s {
		switch {
		case r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD"):
			return errors.New("it is not valid UTF-8")
		case (r == '\n' || r == '\r' || r == '\t') && lines:
		case r == '\n' || r == '\r':
			return errors.New("it has a line break; write the value on one line (in YAML: >- or quotes instead of |)")
		case r < 0x20 || r == 0x7f:
			return errors.New("it has the control character " + strconv.QuoteRune(r))
		}
	}
	return nil
}

// Quote is strconv.Quote of a text of bearable length.
func Quote(s string) string { return strconv.Quote(Clip(s)) }

// Clip shortens a text to what a message can bear.
func Clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

// Nearest returns the name of list that was probably meant, or "".
func Nearest(name string, list []string) string {
	name = strings.ToLower(name)
	best, bestCost := "", max(1, len(name)/4)+1
	for _, n := range list {
		if d := len(n) - len(name); d >= bestCost || -d >= bestCost {
			continue
		}
		if c := distance(name, n, bestCost); c < bestCost {
			best, bestCost = n, c
		}
	}
	return best
}

// distance is the number of letters to insert, delete, change or swap with a neighbour; it
// stops counting at limit.
func distance(a, b string, limit int) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
			least = min(least, cur[j])
		}
		if least >= limit {
			return limit
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
