package annotation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/filter/responsefields"
	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

// The readers of directives about fields and limits.

// readMore reads the four directives of headers-more: [-s statuses] [-t types] [-a] [-r] "Name: value" ...
func readMore(r *snippetRun, d *Directive, _ steps) error {
	clearing := strings.HasPrefix(d.Name, "more_clear")
	input := strings.HasSuffix(d.Name, "input_headers")
	var proto snippet.Field
	var list []snippet.Field
	fail := func(a Arg, format string, args ...any) error {
		return &snippetError{a.Line, a.Column, d.Name + ": " + fmt.Sprintf(format, args...), "write " + snippetRow(d.Name).syntax}
	}
	for i := 0; i < len(d.Args); i++ {
		a := d.Args[i]
		if len(a.Text) == 2 && a.Text[0] == '-' {
			switch {
			case a.Text == "-a" && !clearing && !input:
				proto.Append = true
				continue
			case a.Text == "-r" && !clearing && input:
				proto.IfThere = true
				continue
			case a.Text == "-t", a.Text == "-s" && !input:
			default:
				return fail(a, "option %s is not supported", Quote(a.Text))
			}
			if i++; i == len(d.Args) || strings.TrimSpace(d.Args[i].Text) == "" {
				return fail(a, "option %s wants a value", a.Text)
			}
			for _, w := range strings.Fields(d.Args[i].Text) {
				if a.Text == "-t" {
					proto.Types = append(proto.Types, strings.ToLower(w))
					continue
				}
				n, err := strconv.Atoi(w)
				if err != nil || n < 100 || n > 999 {
					return fail(d.Args[i], "%s is not a status", Quote(w))
				}
				proto.Statuses = append(proto.Statuses, n)
			}
			continue
		}
		name, value, _ := strings.Cut(a.Text, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if clearing {
			value = ""
		}
		bare := strings.TrimSuffix(name, "*")
		switch {
		case !ValidHeaderName(name) || strings.Contains(bare, "*") || bare != name && !clearing: // patterns are for clearing only
			return fail(a, "%s is no name of a field", Quote(name))
		case FramingField(name):
			return fail(a, "%s frames messages or names the host, and is lintel's own", name)
		}
		if _, err := r.text(value); err != nil {
			return fail(a, "%s: %v", name, err)
		}
		f := snippet.Field{Name: name, Value: value}
		list = append(list, f)
	}
	if len(list) == 0 {
		return &snippetError{d.Line, d.Column, d.Name + " has no field", "write " + snippetRow(d.Name).syntax}
	}
	for _, f := range list {
		f.Append, f.IfThere, f.Statuses, f.Types = proto.Append, proto.IfThere, proto.Statuses, proto.Types
		if l := r.here(); input {
			l.Input = append(l.Input, f)
		} else {
			l.More = append(l.More, f)
		}
	}
	return nil
}

// fieldName checks a name of a field for all but headers-more.
func fieldName(s string) error {
	switch {
	case !ValidHeaderName(s):
		return fmt.Errorf("%s is no name of a field", Quote(s))
	case FramingField(s):
		return fmt.Errorf("%s frames messages or names the host, and is lintel's own", s)
	}
	return nil
}

func readAddHeader(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(2, 3); err != nil {
		return err
	}
	f := snippet.AddField{Name: d.Args[0].Text}
	if err := fieldName(f.Name); err != nil {
		return err
	}
	if len(d.Args) == 3 {
		if d.Args[2].Text != "always" {
			return fmt.Errorf("%s is not always", Quote(d.Args[2].Text))
		}
		f.Always = true
	}
	var err error
	if f.Value, err = r.text(d.Args[1].Text); err != nil {
		return err
	}
	l := r.here()
	l.Add = append(l.Add, f)
	return nil
}

func readSetHeader(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(2, 2); err != nil {
		return err
	}
	name := d.Args[0].Text
	switch strings.ToLower(name) {
	case "connection", "upgrade":
		r.note(d, "upgrades such as WebSocket pass without it, and lintel manages its connections itself")
		return nil
	case "host":
	default:
		if err := fieldName(name); err != nil {
			return err
		}
	}
	value, err := r.text(d.Args[1].Text)
	if err != nil {
		return err
	}
	r.out.Set = append(r.out.Set, snippetField{name, value})
	return nil
}

func readMethod(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	m, err := r.text(d.Args[0].Text)
	if err != nil {
		return err
	}
	if strings.HasPrefix(m, "$") && r.place == inAuth {
		return errors.New("a variable is not supported for the authentication request")
	}
	if !strings.HasPrefix(m, "$") && (m == "" || !only(m, methodChars)) {
		return fmt.Errorf("%s is no method", Quote(m))
	}
	r.out.Method = m
	return nil
}

func readHide(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	if err := fieldName(d.Args[0].Text); err != nil {
		return err
	}
	r.out.Response = append(r.out.Response, responsefields.Config{Hide: []string{d.Args[0].Text}})
	return nil
}

func readPass(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	switch name := strings.ToLower(d.Args[0].Text); name {
	case "server":
		return &snippetError{d.Line, d.Column, "proxy_pass_header Server is decided for all hosts", `set allow-backend-server-header: "true" in the controller's ConfigMap`}
	case "x-accel-redirect", "x-accel-buffering", "x-accel-charset", "x-accel-expires", "x-accel-limit-rate":
		return &snippetError{d.Line, d.Column, "proxy_pass_header: " + name + " is meant for lintel", "take it out"}
	}
	r.note(d, "the field passes anyway")
	return nil
}

func readCookie(r *snippetRun, d *Directive, _ steps) error {
	if len(d.Args) == 1 && d.Args[0].Text == "off" {
		r.note(d, "it is off unless an annotation says otherwise")
		return nil
	}
	if err := d.words(2, 2); err != nil {
		return err
	}
	from, to := d.Args[0].Text, d.Args[1].Text
	if strings.ContainsAny(from+to, "$") && !strings.HasPrefix(from, "~") {
		return errors.New("variables are not supported here")
	}
	if !ValidHeaderValue(to) {
		return errors.New("it has control characters")
	}
	rw := responsefields.Rewrite{From: from, To: to}
	cfg := responsefields.Config{CookiePath: rw}
	if d.Name == "proxy_cookie_domain" {
		if strings.HasPrefix(from, "~") {
			return errors.New("a regular expression is not supported for domains")
		}
		cfg = responsefields.Config{CookieDomain: rw}
	} else if re, ok := strings.CutPrefix(from, "~"); ok {
		if err := CheckRegex(strings.TrimPrefix(re, "*")); err != nil {
			return err
		}
	}
	r.out.Response = append(r.out.Response, cfg)
	return nil
}

func readProxyRedirect(r *snippetRun, d *Directive, _ steps) error {
	if len(d.Args) == 1 && (d.Args[0].Text == "off" || d.Args[0].Text == "default") {
		r.note(d, "a Location passes as it is unless an annotation says otherwise")
		return nil
	}
	if err := d.words(2, 2); err != nil {
		return err
	}
	from, to := d.Args[0].Text, d.Args[1].Text
	if strings.HasPrefix(from, "~") || strings.ContainsAny(from+to, "$") {
		return errors.New("regular expressions and variables are not supported here")
	}
	if !ValidHeaderValue(from + to) {
		return errors.New("it has control characters")
	}
	r.out.Response = append(r.out.Response, responsefields.Config{Redirect: responsefields.Rewrite{From: from, To: to}})
	return nil
}

func readAuthVar(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(2, 2); err != nil {
		return err
	}
	name, ok := variableName(d.Args[0].Text)
	if !ok {
		return fmt.Errorf("%s is no variable", Quote(d.Args[0].Text))
	}
	field, ok := strings.CutPrefix(strings.ToLower(d.Args[1].Text), "$upstream_http_")
	if !ok || !ValidHeaderName(field) {
		return fmt.Errorf("%s is not a field of the service's answer", Quote(d.Args[1].Text))
	}
	r.own[name] = true
	r.out.AuthVars = append(r.out.AuthVars, access.Var{Name: name, Field: strings.ReplaceAll(field, "_", "-")})
	return nil
}

func readExpires(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	l := r.here()
	switch word := d.Args[0].Text; word {
	case "off":
		l.NoExpires = true
	case "epoch", "max":
		l.Expires = &snippet.Expires{Kind: word}
	default:
		text, past := strings.CutPrefix(strings.TrimPrefix(word, "+"), "-")
		in, err := ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%s is neither a time, epoch, max nor off", Quote(word))
		}
		if in = in.Truncate(time.Second); past {
			in = -in
		}
		l.Expires = &snippet.Expires{Kind: "time", In: in}
	}
	return nil
}

func readCharset(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	switch name := d.Args[0].Text; {
	case name == "off":
		r.note(d, "no charset is added unless a snippet asks for it")
	case !ValidHeaderName(name):
		return fmt.Errorf("%s is no charset", Quote(name))
	default:
		r.here().Charset = name
	}
	return nil
}

func readDefaultType(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	t := d.Args[0].Text
	if !ValidHeaderValue(t) || t == "" || strings.ContainsRune(t, '$') {
		return fmt.Errorf("%s is no content type", Quote(t))
	}
	r.out.DefaultType = t
	return nil
}

func readGzip(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	switch d.Args[0].Text {
	case "off":
		off := false
		r.here().Gzip = &off
	case "on":
		on := true
		r.here().Gzip = &on
		r.note(d, `use-gzip: "true" of the ConfigMap compresses for all hosts, where it is set`)
	default:
		return fmt.Errorf("%s is neither on nor off", Quote(d.Args[0].Text))
	}
	return nil
}

func readRate(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(1, 1); err != nil {
		return err
	}
	n, err := ParseSize(d.Args[0].Text)
	if err != nil {
		return err
	}
	if d.Name == "limit_rate_after" {
		r.out.RateAfter = n
	} else {
		r.here().Rate = &n
	}
	return nil
}

func readAccessLog(r *snippetRun, d *Directive, _ steps) error {
	if len(d.Args) != 1 || d.Args[0].Text != "off" {
		return errors.New("only off is supported: lintel writes one access log, for all hosts")
	}
	r.out.NoLog = true
	return nil
}

// readTime reads proxy_connect_timeout and its like.
func readTime(set func(*Snippet) *time.Duration) snippetReader {
	return func(r *snippetRun, d *Directive, _ steps) error {
		if err := d.words(1, 1); err != nil {
			return err
		}
		t, err := ParseDuration(d.Args[0].Text)
		if err != nil || t <= 0 {
			return fmt.Errorf("%s is no time", Quote(d.Args[0].Text))
		}
		*set(r.out) = t
		return nil
	}
}

// readBytes reads client_max_body_size and its like.
func readBytes(set func(*Snippet) **int64) snippetReader {
	return func(r *snippetRun, d *Directive, _ steps) error {
		if err := d.words(1, 1); err != nil {
			return err
		}
		n, err := ParseSize(d.Args[0].Text)
		if err != nil {
			return err
		}
		*set(r.out) = &n
		return nil
	}
}

func (r *snippetRun) body() *snippet.Body {
	if r.out.Body == nil {
		r.out.Body = &snippet.Body{}
	}
	return r.out.Body
}

func readSub(r *snippetRun, d *Directive, _ steps) error {
	if err := d.words(2, 2); err != nil {
		return err
	}
	from, to := d.Args[0].Text, d.Args[1].Text
	if from == "" || len(from) > snippet.MaxFrom {
		return fmt.Errorf("the text to replace has 1 to %d bytes", snippet.MaxFrom)
	}
	for _, s := range []string{from, to} {
		if err := r.content(s); err != nil {
			return err
		}
	}
	b := r.body()
	b.Rules = append(b.Rules, snippet.Replace{From: from, To: to})
	return nil
}

func readSubSetting(r *snippetRun, d *Directive, _ steps) error {
	if d.Name == "sub_filter_types" {
		if len(d.Args) == 0 {
			return errors.New("it names no type")
		}
		for _, a := range d.Args {
			r.body().Types = append(r.body().Types, strings.ToLower(a.Text))
		}
		return nil
	}
	if err := d.words(1, 1); err != nil {
		return err
	}
	word := d.Args[0].Text
	if word != "on" && word != "off" {
		return fmt.Errorf("%s is neither on nor off", Quote(word))
	}
	if d.Name == "sub_filter_once" {
		r.body().Every = word == "off"
	} else {
		r.body().KeepModified = word == "on"
	}
	return nil
}
