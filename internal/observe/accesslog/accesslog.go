// Package accesslog writes one line per exchange in the format of
// log-format-upstream (reference/operations.md 11, reference/routing.md 12).
//
// Lines go from Log to buffers that one goroutine, Run, empties. Log never
// waits for the disk or a slow terminal: when the buffers are full the line is
// dropped and counted.
//
// What a reader gets wrong: lines of one connection stay in order, lines of
// different connections need not.
package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/observe"
)

// DefaultFormat is ingress-nginx's log-format-upstream.
const DefaultFormat = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id`

// DefaultPath is ingress-nginx's access-log-path, which its image links to standard output.
const DefaultPath = "/var/log/nginx/access.log"

// DefaultUpstream is the upstream name of the controller's own default backend.
const DefaultUpstream = "upstream-default-backend"

const (
	shardCount = 16
	// shardBytes bounds what waits in one shard: 4 MiB in all.
	shardBytes = 256 << 10
	// gather is how long lines wait for others to be written with, unless a shard is half full.
	gather = 20 * time.Millisecond
	// joinedBytes is how much is written at once.
	joinedBytes = 64 << 10
)

// Config says what is logged, where, and how.
type Config struct {
	Off    bool
	Path   string // "", DefaultPath and /dev/stdout are standard output
	Format string // "" is DefaultFormat
	Escape expr.Escape
	// SkipURLs are request targets that are not logged: exact (without case), ~regex or ~*regex.
	SkipURLs []string
	// DefaultBackend logs what the catch-all's default backend answers.
	DefaultBackend bool
}

// FromGlobal takes the settings of the ConfigMap.
func FromGlobal(g *config.Global) Config {
	c := Config{
		Off: !g.AccessLog, Path: g.AccessLogPath, Format: g.LogFormat, Escape: expr.LogDefault,
		SkipURLs: g.SkipLogURLs, DefaultBackend: g.LogDefaultBackend,
	}
	switch {
	case g.LogEscapeNone: // reference/configmap.md: wins over the JSON option
		c.Escape = expr.LogNone
	case g.LogEscapeJSON:
		c.Escape = expr.LogJSON
	}
	return c
}

// Log is the access log of a process. Log may be called by any number of
// goroutines, Configure and Reopen by one at a time. Without Run nothing is written.
type Log struct {
	log     *slog.Logger
	stdout  io.Writer
	active  atomic.Pointer[compiled]
	shards  [shardCount]shard
	wake    chan struct{} // there are lines
	hurry   chan struct{} // there are many
	dropped atomic.Uint64
	closed  atomic.Bool
	joined  []byte // lines of several shards, to be written at once; Run's own

	mu     sync.Mutex // guards what follows; held while writing
	path   string
	out    io.Writer
	file   *os.File // nil when out is stdout
	failed bool     // the last write failed, and that was said
}

// compiled is a Config ready for exchanges.
type compiled struct {
	off            bool
	format         *expr.Program
	skip           []string
	skipRegex      []*regexp.Regexp
	defaultBackend bool
}

type shard struct {
	mu    sync.Mutex
	buf   []byte
	spare []byte
	_     [64]byte // shards of different connections share no cache line
}

// New returns a log that is off until Configure. Lines for standard output go to stdout.
func New(stdout io.Writer, log *slog.Logger) *Log {
	l := &Log{log: log, stdout: stdout, out: stdout, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), joined: make([]byte, 0, joinedBytes)}
	l.active.Store(&compiled{off: true})
	return l
}

// Configure makes c what is logged from now on. It returns variables of the format
// that do not exist, which log "-". On an error (a file that cannot be opened, a
// pattern that is none) the earlier settings stay.
func (l *Log) Configure(c Config) ([]expr.UnknownVariable, error) {
	next := &compiled{off: c.Off, defaultBackend: c.DefaultBackend}
	text := c.Format
	if text == "" {
		text = DefaultFormat
	}
	if c.Escape == expr.Raw {
		c.Escape = expr.LogDefault
	}
	format, unknown, err := expr.ParseLog(text, c.Escape)
	if err != nil {
		return nil, fmt.Errorf("log-format-upstream: %w", err)
	}
	next.format = format
	for _, s := range c.SkipURLs {
		if err := next.addSkip(strings.TrimSpace(s)); err != nil {
			return nil, fmt.Errorf("skip-access-log-urls: %w", err)
		}
	}
	if !c.Off {
		if err := l.open(c.Path, false); err != nil {
			return nil, fmt.Errorf("access-log-path: %w", err)
		}
	}
	l.active.Store(next)
	return unknown, nil
}

// addSkip adds one entry. compat: it is a key of an nginx map: texts compare
// without case, "~" and "~*" start a regular expression, "\" hides a leading "~".
func (c *compiled) addSkip(s string) error {
	if s == "" {
		return nil
	}
	if s[0] != '~' {
		c.skip = append(c.skip, strings.TrimPrefix(s, `\`))
		return nil
	}
	text := s[1:]
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		text = "(?i)" + rest
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return fmt.Errorf("%q is not a regular expression: %w", s, err)
	}
	c.skipRegex = append(c.skipRegex, re)
	return nil
}

func (c *compiled) skips(x *exchange.Exchange) bool {
	if c.off {
		return true
	}
	if r := x.Route; r != nil && !c.defaultBackend && r.Host == config.CatchAll && r.Upstream == DefaultUpstream && x.Malformed == 0 {
		return true
	}
	for _, s := range c.skip {
		if strings.EqualFold(s, x.Req.Target) {
			return true
		}
	}
	for _, re := range c.skipRegex {
		if re.MatchString(x.Req.Target) {
			return true
		}
	}
	return false
}

// Log logs x, whose Stats are complete. It never blocks on output and keeps
// nothing of x. It is not called for routes with config.Route.NoLog, nor for the
// health and status paths of the catch-all.
func (l *Log) Log(x *exchange.Exchange) {
	c := l.active.Load()
	if c.skips(x) {
		return
	}
	if l.closed.Load() {
		l.dropped.Add(1)
		return
	}
	var id uint64
	if x.Conn != nil {
		id = x.Conn.ID
	}
	before, after, ok := l.shards[id%shardCount].add(c.format, x)
	switch {
	case !ok:
		l.dropped.Add(1)
	case before == 0:
		tell(l.wake)
	case before < shardBytes/2 && after >= shardBytes/2:
		tell(l.hurry)
	}
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add appends x's line. It returns how many bytes waited before and wait now, and whether there was room.
func (s *shard) add(format *expr.Program, x *exchange.Exchange) (before, after int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := len(s.buf)
	if start >= shardBytes {
		return start, start, false
	}
	s.buf = append(format.Append(s.buf, x), '\n')
	if len(s.buf) > shardBytes {
		s.buf = s.buf[:start]
		return start, start, false
	}
	return start, len(s.buf), true
}

// Dropped returns how many lines found no room.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Run writes lines until ctx ends, then what is left, and closes the file.
// End it after the last exchange: later lines are dropped.
func (l *Log) Run(ctx context.Context) error {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for {
		select {
		case <-l.wake:
			timer.Reset(gather)
			select {
			case <-timer.C:
			case <-l.hurry:
			case <-ctx.Done():
			}
			l.flush()
		case <-ctx.Done():
			l.closed.Store(true)
			l.flush()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.file == nil {
				return nil
			}
			err := l.file.Close()
			l.file, l.out = nil, l.stdout
			return err
		}
	}
}

// flush writes what all shards hold: together, unless that is much.
func (l *Log) flush() {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		full := s.buf
		s.buf, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		if len(l.joined)+len(full) > cap(l.joined) {
			l.write(l.joined)
			l.joined = l.joined[:0]
		}
		if len(full) > cap(l.joined) {
			l.write(full)
		} else {
			l.joined = append(l.joined, full...)
		}
		s.mu.Lock()
		s.spare = full[:0]
		s.mu.Unlock()
	}
	l.write(l.joined)
	l.joined = l.joined[:0]
}

func (l *Log) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.out.Write(lines); err != nil {
		l.dropped.Add(uint64(strings.Count(string(lines), "\n")))
		if !l.failed {
			l.failed = true
			l.log.Error("access log not written", observe.File, l.path, observe.Error, err.Error())
		}
		return
	}
	if l.failed {
		l.failed = false
		l.log.Info("access log written again", observe.File, l.path)
	}
}

// Reopen opens the file anew, after it was moved away (SIGUSR1).
func (l *Log) Reopen() error {
	l.mu.Lock()
	path := l.path
	l.mu.Unlock()
	return l.open(path, true)
}

func (l *Log) open(path string, again bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if path == l.path && !again {
		return nil
	}
	var file *os.File
	var out = l.stdout
	switch path {
	case "", DefaultPath, "/dev/stdout":
	default:
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("%w (its directory does not exist)", err)
			}
			return err
		}
		file, out = f, f
	}
	old := l.file
	l.path, l.file, l.out, l.failed = path, file, out, false
	if old != nil {
		if err := old.Close(); err != nil {
			l.log.Warn("access log not closed", observe.File, old.Name(), observe.Error, err.Error())
		}
	}
	return nil
}
