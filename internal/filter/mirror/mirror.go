// Package mirror sends a copy of each request that passed the access stage to
// another place and throws the answer away (reference/annotations.md 18).
//
// A copy must never cost the original anything: copies are bounded in number and
// in memory over the whole process, and one that finds no room is not sent.
package mirror

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is where one route mirrors to.
type Config struct {
	Scheme string // http or https
	Addr   string // host:port
	Host   string // Host field, text with $variables
	// Target is the request target, text with $variables. Without any, the client's query is appended, as nginx does.
	Target     string
	Body       bool // copy the content too
	AllowLocal bool // loopback is allowed (objects from a directory)
}

// FilterName is "mirror".
func (Config) FilterName() string { return "mirror" }

const (
	timeout = 60 * time.Second
	// maxCopies bounds the copies under way, and with them the goroutines.
	maxCopies = 128
	// maxBody is the largest content that is copied; a request with more is not mirrored.
	maxBody = 1 << 20
	// maxBodies bounds the content of all copies under way.
	maxBodies = 32 << 20
)

// Build compiles the texts.
func (c Config) Build(env *filter.Env) (any, error) {
	if c.Scheme != "http" && c.Scheme != "https" || c.Addr == "" {
		return nil, fmt.Errorf("%s://%s is not a place to mirror to", c.Scheme, c.Addr)
	}
	m := &mirror{Config: c, fetch: env.Fetch}
	var err error
	if m.host, err = expr.Parse(c.Host); err != nil {
		return nil, fmt.Errorf("mirror-host: %w", err)
	}
	if m.target, err = expr.Parse(c.Target); err != nil {
		return nil, fmt.Errorf("mirror-target: %w", err)
	}
	_, m.constant = m.target.Constant()
	m.sender = env.Keep("mirror/sender", func() any { return &sender{} }).(*sender)
	return m, nil
}

type mirror struct {
	Config
	host, target *expr.Program
	constant     bool
	sender       *sender
	fetch        func(context.Context, *filter.FetchRequest) (*filter.FetchResponse, error)
}

var (
	_ filter.OnRequest = (*mirror)(nil)
	_ filter.MayBlock  = (*mirror)(nil)
)

// MayBlock is true where content is read before the request goes on.
func (m *mirror) MayBlock() bool { return m.Body }

// sender keeps all copies of the process within bounds.
type sender struct {
	copies  atomic.Int64
	bytes   atomic.Int64
	dropped atomic.Int64
	done    sync.WaitGroup
}

func (s *sender) enter(bytes int64) bool {
	if s.copies.Add(1) > maxCopies || s.bytes.Add(bytes) > maxBodies {
		s.leave(bytes)
		s.dropped.Add(1)
		return false
	}
	return true
}

func (s *sender) leave(bytes int64) {
	s.copies.Add(-1)
	s.bytes.Add(-bytes)
}

func (m *mirror) Request(x *exchange.Exchange) exchange.Verdict {
	var content []byte
	if m.Body && x.Req.Body != nil && x.Req.Length != 0 && x.Req.Upgrade == "" {
		b, ok := readAhead(x)
		if !ok {
			m.sender.dropped.Add(1)
			return exchange.Continue
		}
		content = b
	}
	if m.sender.copies.Load() >= maxCopies {
		m.sender.dropped.Add(1)
		return exchange.Continue
	}
	r := m.copyOf(x, content)
	size := int64(len(content))
	s := m.sender
	if !s.enter(size) {
		return exchange.Continue
	}
	fetch := m.fetch
	s.done.Go(func() {
		defer s.leave(size)
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		// The answer, and whether there is one, is nobody's business (reference/annotations.md 18).
		_, _ = fetch(ctx, r)
	})
	return exchange.Continue
}

// copyOf makes the request to send: everything in it is cloned, for it outlives x.
func (m *mirror) copyOf(x *exchange.Exchange, content []byte) *filter.FetchRequest {
	r := &filter.FetchRequest{
		Method: strings.Clone(x.Req.Method), Scheme: m.Scheme, Addr: m.Addr,
		Host: oneLine(m.host.String(x)), AllowLocal: m.AllowLocal, Timeout: timeout,
		HTTP10: true, // compat: nginx' default towards a mirror
	}
	target := m.target.Append(nil, x)
	if m.constant && x.Req.HasQuery {
		// compat: a subrequest keeps the arguments of its parent.
		sep := byte('?')
		if bytes.IndexByte(target, '?') >= 0 {
			sep = '&'
		}
		target = append(append(target, sep), x.Req.Query...)
	}
	r.Target = escapeTarget(target)
	for name, value := range x.Req.Header.All() {
		// ssl-client-* were set by us for the endpoint; the copy carries the client's own fields.
		if exchange.EqualFold(name, "Expect") || len(name) >= 11 && exchange.EqualFold(name[:11], "ssl-client-") {
			continue
		}
		r.Header.Add(strings.Clone(name), strings.Clone(value))
	}
	if content != nil {
		r.Body, r.Length = bytes.NewReader(content), int64(len(content))
	}
	return r
}

// oneLine makes sure that a value cannot end the field it is written to.
func oneLine(s string) string {
	if i := strings.IndexAny(s, "\r\n\x00 "); i >= 0 {
		return s[:i]
	}
	return s
}

// escapeTarget makes an expanded text a request target: it starts with "/" and has no byte that ends it.
func escapeTarget(t []byte) string {
	var b strings.Builder
	if len(t) == 0 || t[0] != '/' {
		b.WriteByte('/')
	}
	for _, c := range t {
		if c <= 0x20 || c == 0x7f || c == '#' {
			b.WriteByte('%')
			if c < 0x10 {
				b.WriteByte('0')
			}
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(c), 16)))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// readAhead reads the content and puts it back in front of x.Req.Body. It reports false
// when there is more than maxBody or reading fails; the failure then happens again where the
// body is read for the endpoint.
func readAhead(x *exchange.Exchange) ([]byte, bool) {
	if x.Req.Length > maxBody {
		return nil, false
	}
	buf := make([]byte, 0, max(x.Req.Length, 512))
	var err error
	for err == nil && len(buf) <= maxBody {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		var n int
		n, err = x.Req.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
	}
	x.Req.Body = &body{read: buf, err: err, rest: x.Req.Body}
	if err != io.EOF {
		return nil, false
	}
	x.Req.Length = int64(len(buf))
	// A second copy: the endpoint may still read the first when the exchange is over.
	return bytes.Clone(buf), true
}

// body reads what was read ahead, then what ended it or what is left.
type body struct {
	read []byte
	err  error // io.EOF: complete; nil: rest goes on
	rest io.ReadCloser
	at   int
}

func (b *body) Read(p []byte) (int, error) {
	if b.at < len(b.read) {
		n := copy(p, b.read[b.at:])
		b.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.rest.Read(p)
}

func (b *body) Close() error { return b.rest.Close() }
