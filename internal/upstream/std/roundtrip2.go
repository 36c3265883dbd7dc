package std

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// call2 is one exchange on an HTTP/2 connection.
type call2 struct {
	t      *Transport
	x      *exchange.Exchange
	h      *h2Conn
	to     timeouts
	body   *reqBody
	ctx    context.Context
	cancel context.CancelCauseFunc
}

type interim struct {
	status int
	fields exchange.Fields
}

type outcome struct {
	res *http.Response
	err error
}

func (t *Transport) roundTrip2(x *exchange.Exchange, target *upstream.Target, a *attempt) error {
	if err := t.checkAddress(target); err != nil {
		return err
	}
	l := t.limits.Load()
	to := timeoutsOf(target.Forward)
	req, body, rerr := newRequest2(x, target.TLS != nil)
	if rerr != nil {
		return &exchange.Error{Side: exchange.SideSelf, Stage: exchange.StageWriteRequest, Err: rerr}
	}
	for try := 0; ; try++ {
		h, reused, err := t.acquire(x, target, to, l)
		if err != nil {
			return err
		}
		if reused {
			a.reused()
		} else {
			a.connected()
		}
		c := &call2{t: t, x: x, h: h, to: to, body: body}
		if err = c.run(req, a); err == nil {
			return nil
		}
		err.Reused = reused
		started, _, _ := body.state()
		if reused && !started && unprocessed(err.Err) && try < 3 {
			resetResponse(&x.Resp)
			continue // the endpoint said that it did not look at the request
		}
		body.detach()
		return err
	}
}

// unprocessed reports whether the endpoint cannot have seen the request: it refused the
// stream, or had said goodbye before (RFC 9113, 8.7).
func unprocessed(err error) bool {
	var se http2.StreamError
	if errors.As(err, &se) {
		return se.Code == http2.ErrCodeRefusedStream
	}
	// x/net does not export these; a test holds them in place.
	switch err.Error() {
	case "http2: client conn not usable", "http2: Transport received Server's graceful shutdown GOAWAY":
		return true
	}
	return false
}

// run sends the request and waits for the head. After an error nothing is under way any more,
// except that the body can be read again if it never was.
func (c *call2) run(req *http.Request, a *attempt) *exchange.Error {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.ctx, c.cancel = ctx, cancel
	interims := make(chan interim, 4)
	var count atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if count.Add(1) > maxInterims {
				return ErrInterims
			}
			if code == 100 {
				return nil
			}
			i := interim{status: code}
			if err := copyHeader(&i.fields, http.Header(header)); err != nil {
				return err
			}
			select {
			case interims <- i:
			default: // the client is slow; hints are not worth holding the connection for
			}
			return nil
		},
	})
	done := make(chan outcome, 1)
	go func() {
		res, err := c.h.cc.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // closed by respBody or drop
		done <- outcome{res, err}
	}()
	out, err := c.await(done, interims)
	if err != nil {
		cancel(err)
		if out = <-done; out.res != nil {
			out.res.Body.Close() //nolint:errcheck // err is the news
		}
		out.err = err
	}
	if out.err == nil {
		a.head(out.res.StatusCode)
		if err := c.response(out.res, a); err != nil {
			out.res.Body.Close() //nolint:errcheck // err is the news
			out.err = err
		}
	}
	if out.err != nil {
		e := c.explain(out.err)
		cancel(out.err)
		// A connection that stays silent may have lost its peer without a word.
		c.t.release(c.h, !e.Timeout)
		return e
	}
	return nil
}

// await waits for the outcome of a RoundTrip, and passes on what comes before it.
func (c *call2) await(done <-chan outcome, interims <-chan interim) (outcome, error) {
	look := time.NewTimer(lookAfter)
	defer look.Stop()
	silence := time.NewTimer(c.to.read)
	defer silence.Stop()
	var gone <-chan struct{}
	start := time.Now()
	for {
		select {
		case out := <-done:
			for {
				select {
				case i := <-interims:
					if err := c.informational(&i); err != nil {
						return out, err
					}
				default:
					return out, nil
				}
			}
		case i := <-interims:
			if err := c.informational(&i); err != nil {
				return outcome{}, err
			}
		case <-look.C:
			if c.x.Down != nil {
				gone = c.x.Down.Gone()
			}
		case <-gone:
			return outcome{}, exchange.ErrClientGone
		case <-silence.C:
			wait, err := c.overdue(start)
			if err != nil {
				return outcome{}, err
			}
			silence.Reset(wait)
		}
	}
}

// overdue decides whether an endpoint was silent for too long: the time runs from when the
// request was sent, as in nginx.
func (c *call2) overdue(start time.Time) (wait time.Duration, err error) {
	limit, late := c.to.read, ErrRead
	if c.body != nil {
		_, eof, reading := c.body.state()
		if reading {
			return c.to.read, nil // the client's turn
		}
		start = c.body.lastProgress()
		if !eof {
			limit, late = c.to.send, ErrSend
		}
	}
	if wait = time.Until(start.Add(limit)); wait <= 0 {
		return 0, late
	}
	return wait, nil
}

func (c *call2) informational(i *interim) error {
	if c.x.Down == nil {
		return nil
	}
	if err := c.x.Down.Informational(i.status, &i.fields); err != nil {
		return exchange.ErrClientGone
	}
	return nil
}

// newRequest2 makes what x/net sends from x.Up. The body is nil without content.
func newRequest2(x *exchange.Exchange, secure bool) (*http.Request, *reqBody, error) {
	up := &x.Up
	if !h1.ValidName(up.Method) {
		return nil, nil, h1.ErrMethod
	}
	if up.Target == "" || up.Target[0] != '/' {
		return nil, nil, h1.ErrTarget
	}
	for i := 0; i < len(up.Target); i++ {
		if ch := up.Target[i]; ch <= ' ' || ch == 0x7f {
			return nil, nil, h1.ErrTarget
		}
	}
	u := &url.URL{Scheme: up.Scheme, Host: up.Authority, Opaque: up.Target}
	if u.Scheme == "" {
		u.Scheme = "http"
		if secure {
			u.Scheme = "https"
		}
	}
	if strings.HasPrefix(up.Target, "//") {
		// x/net takes such an opaque part for an authority: give it one, which it cuts off again.
		u.Opaque = "//" + up.Authority + up.Target
	}
	header := make(http.Header, up.Header.Len()+2)
	for name, value := range up.Header.All() {
		if h1.ConnectionSpecific(name) || !h1.ValidName(name) {
			continue
		}
		k := textproto.CanonicalMIMEHeaderKey(name)
		header[k] = append(header[k], value)
	}
	if up.TETrailer {
		header["Te"] = []string{"trailers"}
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = []string{""} // or x/net would send its own
	}
	req := &http.Request{Method: up.Method, URL: u, Host: up.Authority, Header: header, Proto: "HTTP/2.0", ProtoMajor: 2}
	if up.Body == nil || up.Length == 0 {
		return req, nil, nil
	}
	body := newReqBody(up.Body, x.Limits.Buffer)
	req.Body, req.ContentLength = body, up.Length
	if names := header["Trailer"]; len(names) > 0 {
		// HTTP/2 wants to know the names before; those not announced do not travel.
		req.Trailer = http.Header{}
		for _, list := range names {
			for n := range strings.SplitSeq(list, ",") {
				if n = strings.TrimSpace(n); h1.ValidName(n) && h1.TrailerAllowed(n) {
					req.Trailer[textproto.CanonicalMIMEHeaderKey(n)] = nil
				}
			}
		}
		delete(header, "Trailer")
		body.atEOF = func() {
			for name := range req.Trailer {
				for v := range x.Req.Trailer.Values(name) {
					req.Trailer[name] = append(req.Trailer[name], v)
				}
			}
		}
	}
	return req, body, nil
}

// response fills x.Resp from res; its errors are about what the endpoint said.
func (c *call2) response(res *http.Response, a *attempt) error {
	r := &c.x.Resp
	if res.StatusCode < 200 {
		return h1.ErrStatusLine
	}
	r.Status = res.StatusCode
	lengths := res.Header["Content-Length"]
	r.Length = -1
	if len(lengths) > 1 {
		return h1.ErrFraming // S7.3
	}
	if len(lengths) == 1 {
		n, ok := h1.LengthValue(lengths[0])
		if !ok {
			return h1.ErrFraming
		}
		r.Length = n
	}
	if err := copyHeader(&r.Header, res.Header); err != nil {
		return err
	}
	if err := announce(&r.Header, res.Trailer); err != nil {
		return err
	}
	// x/net says 0 without a Content-Length when the stream ended with the head.
	none := res.ContentLength == 0 && r.Length < 0 || c.x.Up.Method == "HEAD" || r.Status == 204 || r.Status == 304
	if none {
		if c.x.Up.Method != "HEAD" && r.Status != 304 {
			r.Length = 0
		}
		_, eof, _ := c.body.state()
		c.finish(res, eof)
		a.ended(0)
		return nil
	}
	b := &respBody2{c: c, res: res, a: *a}
	if r.Length == 0 {
		// The end comes at once, in the head already or behind it; which of both, x/net does not
		// tell. Without a trailer section the answer must stay one of a head only: gRPC clients mind.
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			b.Close() //nolint:errcheck // err is the news
			if err == nil {
				err = h1.ErrFraming
			}
			return err
		}
		if r.Trailer.Len() == 0 {
			return b.Close()
		}
	}
	r.Body = b
	return nil
}

// copyHeader takes end-to-end fields, in the order of their names: the library kept no other.
func copyHeader(to *exchange.Fields, from http.Header) error {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if h1.ConnectionSpecific(name) {
			continue
		}
		for _, v := range from[name] {
			if !h1.ValidName(name) || !h1.ValidValue(strings.TrimSpace(v)) {
				return h1.ErrField
			}
			to.Add(name, strings.TrimSpace(v))
		}
	}
	return nil
}

// announce puts the names of announced trailer fields back, which the library took out of the
// head: Grpc-Status first, as gRPC endpoints write them, for their order is lost.
func announce(to *exchange.Fields, trailer http.Header) error {
	if len(trailer) == 0 {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(trailer), func(a, b string) int {
		switch {
		case a == "Grpc-Status":
			return -1
		case b == "Grpc-Status":
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, n := range names {
		if !h1.ValidName(n) {
			return h1.ErrTrailer
		}
	}
	to.Add("Trailer", strings.Join(names, ", "))
	return nil
}

// explain turns what the library failed with into an exchange.Error.
func (c *call2) explain(err error) *exchange.Error {
	if e, ok := err.(*exchange.Error); ok {
		return e
	}
	if cause := context.Cause(c.ctx); cause != nil {
		err = cause
	}
	e := &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: !unprocessed(err), Err: err}
	if failure := c.body.failure(); failure != nil {
		return clientError(failure)
	}
	var se http2.StreamError
	var ce http2.ConnectionError
	switch {
	case errors.Is(err, exchange.ErrClientGone):
		e.Side = exchange.SideClient
	case errors.Is(err, ErrRead):
		e.Timeout = true
	case errors.Is(err, ErrSend):
		e.Stage, e.Timeout = exchange.StageWriteRequest, true
	case malformed(err), errors.As(err, &ce):
		e.Invalid = true
	case errors.As(err, &se):
		e.Invalid = se.Code == http2.ErrCodeProtocol
	}
	return e
}

// finish ends an exchange whose response was read, or is not wanted any more. whole: both
// sides said all they had to say.
func (c *call2) finish(res *http.Response, whole bool) {
	c.body.detach()
	if !whole {
		c.cancel(errStopSending) // first, so that closing does not wait
	}
	res.Body.Close() //nolint:errcheck // its error is that it was cancelled
	c.t.release(c.h, !c.x.Up.Close)
}

// respBody2 reads the content of an HTTP/2 response.
type respBody2 struct {
	c     *call2
	res   *http.Response
	a     attempt
	bytes int64
	err   error

	mu      sync.Mutex
	timer   *time.Timer // looks after a Read that takes long
	since   time.Time   // when it began
	reading bool
	closed  bool

	unwatch, unwatched chan struct{} // the watch on the client; nil: not watched
}

// Read implements io.Reader. Errors besides io.EOF are *exchange.Error.
func (b *respBody2) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.mu.Lock()
	b.reading, b.since = true, time.Now()
	if b.timer == nil {
		b.timer = time.AfterFunc(min(lookAfter, b.c.to.read), b.look)
	} else {
		b.timer.Reset(min(lookAfter, b.c.to.read))
	}
	b.mu.Unlock()

	n, err := b.res.Body.Read(p)

	b.mu.Lock()
	b.reading = false
	b.timer.Stop()
	b.mu.Unlock()
	b.bytes += int64(n)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		if terr := b.trailer(); terr == nil {
			b.a.ended(b.bytes)
			b.err = err
			return n, err
		} else {
			err = terr
		}
	}
	e := b.c.explain(err)
	if e.Side == exchange.SideUpstream {
		e.Stage = exchange.StageReadBody
	}
	b.err = e
	return n, e
}

// look runs when a Read takes long: it starts to watch the client, and in the end gives up.
func (b *respBody2) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.reading || b.closed {
		return
	}
	left := b.c.to.read - time.Since(b.since)
	if left <= 0 {
		b.c.cancel(ErrRead)
		return
	}
	b.timer.Reset(left)
	if b.unwatch != nil || b.c.x.Down == nil {
		return
	}
	unwatch, unwatched := make(chan struct{}), make(chan struct{})
	b.unwatch, b.unwatched = unwatch, unwatched
	down, cancel := b.c.x.Down, b.c.cancel
	go func() {
		defer close(unwatched)
		select {
		case <-down.Gone():
			cancel(exchange.ErrClientGone)
		case <-unwatch:
		}
	}()
}

func (b *respBody2) trailer() error {
	for _, name := range slices.Sorted(maps.Keys(b.res.Trailer)) {
		for _, v := range b.res.Trailer[name] {
			v = strings.TrimSpace(v)
			if !h1.ValidName(name) || !h1.ValidValue(v) {
				return h1.ErrTrailer
			}
			if h1.TrailerAllowed(name) {
				b.c.x.Resp.Trailer.Add(name, v)
			}
		}
	}
	return nil
}

// Close implements io.Closer. After it nothing touches the exchange any more.
func (b *respBody2) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	if closed {
		return nil
	}
	if b.unwatch != nil {
		close(b.unwatch)
		<-b.unwatched
	}
	if b.err != io.EOF {
		b.a.ended(b.bytes)
	}
	_, eof, _ := b.c.body.state()
	b.c.finish(b.res, b.err == io.EOF && eof)
	if b.err == nil {
		b.err = errors.New("read of a closed response body")
	}
	return nil
}
