package std

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/upstream"
	"github.com/lintel-ingress/lintel/internal/wire/h1"
)

// inlineBody is the largest buffered content that is sent together with the head.
const inlineBody = 32 << 10

// maxInterims bounds the 1xx responses before the final one.
const maxInterims = 32

func (t *Transport) roundTrip1(x *exchange.Exchange, target *upstream.Target, a *attempt) error {
	if err := t.checkAddress(target); err != nil {
		return err
	}
	l := t.limits.Load()
	to := timeoutsOf(target.Forward)
	k := keyOf(target)
	var c *conn
	if x.Up.Upgrade == "" {
		// No byte of an upgraded exchange may end up in another's (S7.4).
		c = t.idle.get(k, a.start, l)
	}
	reused := c != nil
	if reused {
		a.reused()
	} else {
		nc, raw, err := t.dial(x, target, to, "http/1.1")
		if err != nil {
			return err
		}
		a.connected()
		c = &conn{t: t, key: k, nc: nc, raw: raw, born: time.Now()}
		c.socket.init(raw)
	}
	c.begin(to, x.Down)
	c.served++
	x.Up.Close = x.Up.Close || l.Idle <= 0
	if err := c.request(x); err != nil {
		err.Reused = reused
		if err.Side == exchange.SideSelf {
			c.end(true) // nothing was sent
		} else {
			c.end(false)
		}
		return err
	}
	head, err := c.response(x)
	if err != nil {
		e := c.explain(err)
		e.Reused = reused && !c.got
		c.end(false)
		return e
	}
	a.head(x.Resp.Status)
	if x.Resp.Status == 101 {
		return c.tunnel(x, a)
	}
	now := time.Now()
	reuse := head.KeepAlive && !x.Up.Close && !(x.Up.HTTP10 && to.connection != "keep-alive") &&
		(l.Requests <= 0 || c.served < l.Requests) && !pinned(x)
	c.idleSince, c.idleUntil = now, now.Add(idleFor(l, head.IdleTimeout))
	if head.Framing == h1.FrameNone || head.Framing == h1.FrameLength && head.Length == 0 {
		c.end(reuse)
		a.ended(0)
		return nil
	}
	x.Resp.Body = &respBody{c: c, x: x, a: *a, framing: head.Framing, left: head.Length, reuse: reuse}
	return nil
}

// idleFor is how long the connection may wait: what the endpoint promised, less a margin.
func idleFor(l *Limits, promised time.Duration) time.Duration {
	d := l.IdleTimeout
	if promised > 0 {
		d = min(d, max(promised-time.Second, promised/2))
	}
	return d
}

// pinned reports whether the endpoint may now take the connection for its user (S11.1).
func pinned(x *exchange.Exchange) bool {
	for i := range x.Resp.Header.Len() {
		f := x.Resp.Header.At(i)
		if exchange.EqualFold(f.Name, "WWW-Authenticate") {
			for v := range strings.SplitSeq(f.Value, ",") {
				if connectionAuth(v) {
					return true
				}
			}
		}
	}
	return connectionAuth(x.Up.Header.Get("Authorization"))
}

func connectionAuth(v string) bool {
	scheme, _, _ := strings.Cut(strings.TrimLeft(v, " \t"), " ")
	return exchange.EqualFold(scheme, "NTLM") || exchange.EqualFold(scheme, "Negotiate")
}

// request sends the head, and the content or the beginning of its sending.
func (c *conn) request(x *exchange.Exchange) *exchange.Error {
	up := &x.Up
	self := func(err error) *exchange.Error {
		return &exchange.Error{Side: exchange.SideSelf, Stage: exchange.StageWriteRequest, Err: err}
	}
	out, framing, err := h1.AppendRequestHead(c.out[:0], up, c.to.connection)
	c.out = out[:0]
	if err != nil {
		return self(err)
	}
	inline := framing == h1.FrameLength && (up.Length == 0 || up.Length <= inlineBody && x.Limits.Buffer)
	if inline {
		n := len(out)
		out = append(out, make([]byte, up.Length)...)
		c.out = out[:0]
		if _, err := io.ReadFull(up.Body, out[n:]); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = ErrBodyShort
			}
			e := clientError(err)
			e.Sent = false
			return e
		}
	}
	n, err := c.write(out)
	if err != nil {
		return &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageWriteRequest, Sent: n > 0,
			Timeout: errors.Is(err, ErrSend), Err: err}
	}
	if framing != h1.FrameNone && !inline {
		c.body = newReqBody(up.Body, x.Limits.Buffer)
		c.startSending(framing, up.Length, &x.Req.Trailer)
	}
	return nil
}

// response reads heads until the final one, or 101.
func (c *conn) response(x *exchange.Exchange) (h1.ResponseHead, error) {
	for range maxInterims {
		var head h1.ResponseHead
		for {
			h, n, err := c.parser.Parse(c.buf[c.r:c.w], x.Up.Method, &x.Resp)
			if err != nil {
				return head, err
			}
			if n > 0 {
				c.r += n
				head = h
				break
			}
			if err := c.fill(c.to.headMax); err != nil {
				return head, err
			}
		}
		switch {
		case x.Resp.Status == 101:
			if x.Up.Upgrade == "" || !exchange.EqualFold(x.Resp.Upgrade, x.Up.Upgrade) {
				return head, ErrUpgraded
			}
			return head, nil
		case x.Resp.Status >= 200:
			return head, nil
		case x.Resp.Status != 100 && c.down != nil:
			if err := c.down.Informational(x.Resp.Status, &x.Resp.Header); err != nil {
				return head, exchange.ErrClientGone
			}
		}
		resetResponse(&x.Resp)
	}
	return h1.ResponseHead{}, ErrInterims
}

// explain turns what reading an answer failed with into an exchange.Error.
func (c *conn) explain(err error) *exchange.Error {
	e := &exchange.Error{Side: exchange.SideUpstream, Stage: exchange.StageReadHead, Sent: true, Err: err}
	if failure := c.body.failure(); failure != nil && !errors.Is(err, exchange.ErrClientGone) {
		return clientError(failure)
	}
	switch {
	case errors.Is(err, exchange.ErrClientGone):
		e.Side, e.Err = exchange.SideClient, exchange.ErrClientGone
	case errors.Is(err, ErrBodyShort):
		return clientError(err)
	case errors.Is(err, ErrSend):
		e.Stage, e.Timeout = exchange.StageWriteRequest, true
	case errors.Is(err, ErrRead):
		e.Timeout = true
	case err == io.EOF:
		e.Err = ErrClosed
	case malformed(err):
		e.Invalid = true
	}
	return e
}

// malformed reports whether err is about what the endpoint said, not about the connection.
func malformed(err error) bool {
	for _, m := range []error{h1.ErrStatusLine, h1.ErrField, h1.ErrFraming, h1.ErrHeadTooLarge, h1.ErrUpgrade, ErrUpgraded, ErrInterims,
		h1.ErrChunk, h1.ErrChunkExtension, h1.ErrTrailer, h1.ErrTrailerTooLarge} {
		if errors.Is(err, m) {
			return true
		}
	}
	return false
}
