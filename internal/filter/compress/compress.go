// Package compress compresses responses with gzip for clients that accept it: use-gzip and the
// gzip-* keys of the ConfigMap (reference/routing.md 12).
package compress

import (
	"bytes"
	"compress/gzip"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// Config is what is compressed and how hard.
type Config struct {
	Level     int      // 1 to 9
	MinLength int64    // by content length; responses of unknown length are compressed
	Types     []string // lower case; "*" for all. text/html always belongs to them
	Disable   string   // regular expression of user agents that get none; ""
}

// FilterName is the filter's name in filter.Order.
func (Config) FilterName() string { return "compress" }

// Build compiles the expression and makes the pool of compressors.
func (c Config) Build(*filter.Env) (any, error) {
	f := &compressor{Config: c}
	if _, err := gzip.NewWriterLevel(io.Discard, c.Level); err != nil {
		return nil, err
	}
	f.pool.New = func() any {
		w, err := gzip.NewWriterLevel(io.Discard, c.Level)
		if err != nil {
			panic("compress: level was checked in Build: " + err.Error())
		}
		return w
	}
	if c.Disable != "" {
		re, err := regexp.Compile(c.Disable)
		if err != nil {
			return nil, err
		}
		f.disable = re
	}
	return f, nil
}

type compressor struct {
	Config
	disable *regexp.Regexp
	pool    sync.Pool
}

var _ filter.OnResponse = (*compressor)(nil)

// MayBlock reports that bodies are wrapped.
func (f *compressor) MayBlock() bool { return true }

// Response wraps the body where the response and the client allow it.
func (f *compressor) Response(x *exchange.Exchange) {
	if filter.Marked(x, filter.NoCompress) {
		return
	}
	r := &x.Resp
	if r.Tunnel != nil || r.Status == 204 || r.Status == 304 || r.Status == 206 || r.Status < 200 ||
		r.Header.Has("Content-Encoding") || (r.Length >= 0 && r.Length < f.MinLength) || !f.wantsType(r.Header.Get("Content-Type")) {
		return
	}
	if r.Body == nil && x.Req.Method != "HEAD" {
		return
	}
	if v := r.Header.Get("Cache-Control"); v != "" && hasToken(v, "no-transform") {
		return
	}
	vary(&r.Header)
	if x.Req.Proto == exchange.HTTP10 || !accepts(&x.Req.Header) || (f.disable != nil && f.disable.MatchString(x.Req.Header.Get("User-Agent"))) {
		return
	}
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Del("Accept-Ranges")
	// A strong validator names other bytes than these (RFC 9110, 8.8.1).
	if tag, ok := r.Header.Lookup("ETag"); ok && !strings.HasPrefix(tag, "W/") {
		r.Header.Set("ETag", "W/"+tag)
	}
	stream := r.Length < 0
	r.Length = -1
	if r.Body != nil {
		b := &body{src: r.Body, f: f, w: f.pool.Get().(*gzip.Writer), stream: stream}
		b.w.Reset(&b.out)
		r.Body = b
	}
}

func (f *compressor) wantsType(ct string) bool {
	ct, _, _ = strings.Cut(ct, ";")
	ct = strings.TrimSpace(ct)
	if ct == "" {
		return false
	}
	if strings.EqualFold(ct, "text/html") {
		return true
	}
	for _, t := range f.Types {
		if t == "*" || strings.EqualFold(t, ct) {
			return true
		}
	}
	return false
}

func vary(h *exchange.Fields) {
	for v := range h.Values("Vary") {
		if hasToken(v, "Accept-Encoding") || hasToken(v, "*") {
			return
		}
	}
	h.Add("Vary", "Accept-Encoding")
}

func hasToken(list, token string) bool {
	for {
		item, rest, more := strings.Cut(list, ",")
		if strings.EqualFold(strings.TrimSpace(item), token) {
			return true
		}
		if !more {
			return false
		}
		list = rest
	}
}

// accepts reports whether Accept-Encoding lets gzip through: named, or by "*", and not with q=0.
func accepts(h *exchange.Fields) bool {
	named, star, ok := false, false, false
	for v := range h.Values("Accept-Encoding") {
		for more := true; more; {
			var item string
			item, v, more = strings.Cut(v, ",")
			coding, params, _ := strings.Cut(item, ";")
			coding = strings.TrimSpace(coding)
			switch {
			case strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip"):
				named, ok = true, !zero(params)
			case coding == "*":
				star = !zero(params)
			}
		}
	}
	if named {
		return ok
	}
	return star
}

// zero reports whether parameters hold q=0.
func zero(params string) bool {
	for more := true; more; {
		var p string
		p, params, more = strings.Cut(params, ";")
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			value = strings.TrimSpace(value)
			return strings.HasPrefix(value, "0") && strings.Trim(value, "0.") == ""
		}
	}
	return false
}

// body compresses as it is read. What one read of a stream gave is flushed, so that it arrives as it is sent.
type body struct {
	src    io.ReadCloser
	f      *compressor
	w      *gzip.Writer
	out    bytes.Buffer
	in     [16 << 10]byte
	err    error
	stream bool // of unknown length
	done   bool
}

// Read returns compressed bytes.
func (b *body) Read(p []byte) (int, error) {
	for b.out.Len() == 0 {
		if b.err != nil {
			return 0, b.err
		}
		n, err := b.src.Read(b.in[:])
		if n > 0 {
			if _, werr := b.w.Write(b.in[:n]); werr != nil {
				b.err = werr
				return 0, werr
			}
		}
		switch {
		case err == io.EOF:
			b.err = io.EOF
			if werr := b.w.Close(); werr != nil {
				b.err = werr
			}
		case err != nil:
			b.err = err
		case n > 0 && b.stream:
			if werr := b.w.Flush(); werr != nil {
				b.err = werr
			}
		}
	}
	return b.out.Read(p)
}

// Close gives the compressor back and closes the source.
func (b *body) Close() error {
	if !b.done {
		b.done = true
		b.w.Reset(io.Discard)
		b.f.pool.Put(b.w)
		if b.err == nil {
			b.err = io.ErrClosedPipe
		}
	}
	return b.src.Close()
}
