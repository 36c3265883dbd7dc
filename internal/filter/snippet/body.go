package snippet

import (
	"bytes"
	"io"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Body replaces texts in responses (ngx_http_sub_module).
type Body struct {
	Rules []Replace
	// Every replaces each occurrence; else only the first of every text.
	Every bool
	// Types are the content types concerned, lower case, "*" for all; text/html always belongs to them.
	Types []string
	// KeepModified leaves Last-Modified there.
	KeepModified bool
}

// Replace is one sub_filter; both are text with $variables. From is found without regard to the case of ASCII letters.
type Replace struct{ From, To string }

// MaxFrom bounds the text looked for, and with it what is held back of a response.
const MaxFrom = 4096

// FilterName is the filter's name in filter.Order.
func (Body) FilterName() string { return "snippet-body" }

// Build compiles the texts.
func (c Body) Build(env *filter.Env) (any, error) {
	b := &bodyFilter{Body: c, home: home(env)}
	for _, r := range c.Rules {
		from, err := parse(r.From)
		if err != nil {
			return nil, err
		}
		to, err := parse(r.To)
		if err != nil {
			return nil, err
		}
		b.rules = append(b.rules, bodyRule{from, to})
	}
	return b, nil
}

type bodyFilter struct {
	Body
	home  string
	rules []bodyRule
}

type bodyRule struct{ from, to *expr.Program }

var (
	_ filter.OnUpstream = (*bodyFilter)(nil)
	_ filter.OnResponse = (*bodyFilter)(nil)
	_ filter.MayBlock   = (*bodyFilter)(nil)
)

// MayBlock reports that bodies are wrapped.
func (b *bodyFilter) MayBlock() bool { return true }

// Upstream asks for the response as it is: what is compressed cannot be edited.
func (b *bodyFilter) Upstream(x *exchange.Exchange) { x.Up.Header.Del("Accept-Encoding") }

// Response wraps the body.
func (b *bodyFilter) Response(x *exchange.Exchange) {
	r := &x.Resp
	if !r.FromUpstream || r.Tunnel != nil || r.Length == 0 || r.Status == 204 || r.Status == 304 || r.Status == 206 || r.Status < 200 ||
		r.Header.Has("Content-Encoding") || !b.wants(r.Header.Get("Content-Type")) {
		return
	}
	p := at(x, false, b.home)
	s := &replacer{src: r.Body}
	for _, rule := range b.rules {
		from := strings.ToLower(p.text(rule.from, x))
		if from == "" || len(from) > MaxFrom {
			continue
		}
		s.rules = append(s.rules, replacement{from: []byte(from), to: p.text(rule.to, x), once: !b.Every})
		s.hold = max(s.hold, len(from)-1)
	}
	if len(s.rules) == 0 {
		return
	}
	r.Length = -1
	r.Header.Del("Accept-Ranges")
	if !b.KeepModified {
		r.Header.Del("Last-Modified")
		r.Header.Del("ETag")
	} else if tag, ok := r.Header.Lookup("ETag"); ok && !strings.HasPrefix(tag, "W/") {
		r.Header.Set("ETag", "W/"+tag)
	}
	if r.Body != nil {
		r.Body = s
	}
}

func (b *bodyFilter) wants(ct string) bool {
	ct, _, _ = strings.Cut(ct, ";")
	ct = strings.TrimSpace(ct)
	if strings.EqualFold(ct, "text/html") {
		return true
	}
	for _, t := range b.Types {
		if t == "*" || strings.EqualFold(t, ct) {
			return true
		}
	}
	return false
}

// replacer is a body with texts replaced. It holds back no more than the longest text could still need.
type replacer struct {
	src   io.ReadCloser
	rules []replacement
	hold  int
	in    []byte // read, not looked at to its end
	low   []byte // the same in lower case
	out   []byte // ready
	at    int    // how much of out was given
	err   error
}

type replacement struct {
	from []byte
	to   string
	once bool
	done bool
}

// chunk is how much is read at once.
const chunk = 8 << 10

func (s *replacer) Read(p []byte) (int, error) {
	for s.at == len(s.out) {
		if s.err != nil {
			return 0, s.err
		}
		s.out, s.at = s.out[:0], 0
		s.fill()
	}
	n := copy(p, s.out[s.at:])
	s.at += n
	return n, nil
}

// fill reads once and moves what is decided to out.
func (s *replacer) fill() {
	start := len(s.in)
	if cap(s.in)-start < chunk {
		s.in = append(make([]byte, 0, start+chunk), s.in...)
	}
	n, err := s.src.Read(s.in[start : start+chunk])
	s.in, s.err = s.in[:start+n], err
	for _, c := range s.in[start:] {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		s.low = append(s.low, c)
	}
	from := 0
	for {
		rule, pos := s.next(from)
		if rule == nil {
			break
		}
		s.out = append(s.out, s.in[from:pos]...)
		s.out = append(s.out, rule.to...)
		rule.done = rule.once
		from = pos + len(rule.from)
	}
	end := len(s.in)
	if s.err == nil {
		end = max(from, end-s.hold)
	}
	s.out = append(s.out, s.in[from:end]...)
	s.in = s.in[:copy(s.in, s.in[end:])]
	s.low = s.low[:copy(s.low, s.low[end:])]
}

// next finds the first text behind from; of several at one place the one declared first.
// One that a text still unread could contest waits, unless the body has ended.
func (s *replacer) next(from int) (*replacement, int) {
	var best *replacement
	pos := -1
	for i := range s.rules {
		r := &s.rules[i]
		if r.done {
			continue
		}
		window := s.low[from:]
		if pos >= 0 {
			window = s.low[from:min(len(s.low), pos+len(r.from)-1)]
		}
		if k := bytes.Index(window, r.from); k >= 0 {
			best, pos = r, from+k
		}
	}
	if best != nil && s.err == nil && pos+s.hold >= len(s.low) {
		return nil, 0
	}
	return best, pos
}

// Close closes the body behind.
func (s *replacer) Close() error { return s.src.Close() }
