package annotation

import (
	"math"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/bodylimit"
)

func seconds(name string, low int, otherwise time.Duration, doc string) Key[time.Duration] {
	return Declare(Spec[time.Duration]{
		Name: name, Grammar: Seconds(low, math.MaxInt32), Default: otherwise, ConfigMap: name,
		Risk: Low, Bad: Soft, Since: "0.1", Doc: doc, Examples: []string{"30"},
	})
}

var (
	connectTimeout = seconds("proxy-connect-timeout", 1, 5*time.Second, "How many seconds connecting to an endpoint may take. Then the next is tried; in the end the answer is 504.")
	readTimeout    = seconds("proxy-read-timeout", 1, 60*time.Second, "How many seconds may pass between two reads from an endpoint. It is also how long WebSockets may be silent.")
	sendTimeout    = seconds("proxy-send-timeout", 1, 60*time.Second, "How many seconds may pass between two writes to an endpoint.")
	nextTimeout    = seconds("proxy-next-upstream-timeout", 0, 0, "After how many seconds no further endpoint is tried. 0 means no limit.")
)

// retryWhen is the part of config.Retry that proxy-next-upstream says.
type retryWhen struct {
	On            config.RetryOn
	NonIdempotent bool
}

func (r retryWhen) String() string {
	var words []string
	for _, w := range retryOrder {
		if r.On&retryWords[w] != 0 {
			words = append(words, w)
		}
	}
	if r.NonIdempotent {
		words = append(words, "non_idempotent")
	}
	if len(words) == 0 {
		return "off"
	}
	return strings.Join(words, " ")
}

var nextUpstream = Declare(Spec[retryWhen]{
	Name:      "proxy-next-upstream",
	Grammar:   Grammar[retryWhen]{Syntax: "off, or words of error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429 non_idempotent, separated by spaces", Parse: parseRetry},
	Default:   retryWhen{On: config.RetryError | config.RetryTimeout},
	ConfigMap: "proxy-next-upstream",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "When a request goes to the next endpoint. POST, LOCK and PATCH that were sent are not repeated, unless non_idempotent is there.",
	Examples:  []string{"error timeout http_502"},
})

var retryOrder = []string{"error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429"}

var retryWords = map[string]config.RetryOn{
	"error": config.RetryError, "timeout": config.RetryTimeout, "invalid_header": config.RetryInvalidHeader,
	"http_500": config.Retry500, "http_502": config.Retry502, "http_503": config.Retry503, "http_504": config.Retry504,
	"http_403": config.Retry403, "http_404": config.Retry404, "http_429": config.Retry429,
}

func parseRetry(s string) (retryWhen, error) {
	var r retryWhen
	off := false
	for _, w := range strings.Fields(s) {
		switch bit, ok := retryWords[w]; {
		case ok:
			r.On |= bit
		case w == "non_idempotent":
			r.NonIdempotent = true
		case w == "off":
			off = true
		default:
			return retryWhen{}, ErrSyntax
		}
	}
	if off {
		r = retryWhen{}
	} else if r == (retryWhen{}) {
		return r, ErrSyntax
	}
	return r, nil
}

// maxTries stands for "without limit": the original tries a single dead endpoint for ever.
const maxTries = 16

var nextTries = Declare(Spec[int]{
	Name:      "proxy-next-upstream-tries",
	Grammar:   Int(0, math.MaxInt32),
	Default:   3,
	ConfigMap: "proxy-next-upstream-tries",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "How many times a request is tried altogether; never more than 16 times, which 0 stands for.",
	Examples:  []string{"5"},
})

var bodySize = Declare(Spec[int64]{
	Name: "proxy-body-size",
	Grammar: Grammar[int64]{
		Syntax: Size.Syntax,
		Parse: func(s string) (int64, error) {
			n, err := ParseSize(s)
			if err == nil && strings.ContainsAny(s[len(s)-1:], "bB") {
				// compat: the unit passes the original's check and then has no effect: nginx' own 1m holds.
				return 1 << 20, nil
			}
			return n, err
		},
	},
	Default:   1 << 20,
	ConfigMap: "proxy-body-size",
	Risk:      Medium,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "The largest request content; what is larger gets 413. 0 means no limit.",
	Examples:  []string{"8m", "0"},
})

var requestBuffering = Declare(Spec[bool]{
	Name:      "proxy-request-buffering",
	Grammar:   OnOff,
	Default:   true,
	ConfigMap: "proxy-request-buffering",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "Whether the whole request content is read before an endpoint is contacted. Off streams it; then nothing is tried again after its first byte. gRPC is always streamed.",
	Examples:  []string{"off"},
})

var bodyBuffer = Declare(Spec[int64]{
	Name:      "client-body-buffer-size",
	Grammar:   Size,
	Default:   8 << 10,
	ConfigMap: "client-body-buffer-size",
	Risk:      Low,
	Bad:       Hard,
	Since:     "0.1",
	Doc:       "How much of a buffered request's content is kept in memory; the rest goes to a file.",
	Examples:  []string{"64k"},
})

// headFloor is what a response head may always have: the original's 4k, and the 502 above it, is among the
// most frequent complaints (reference/configmap.md).
const headFloor = 256 << 10

var bufferSize = Declare(Spec[int64]{
	Name:      "proxy-buffer-size",
	Grammar:   Size,
	Default:   4 << 10,
	ConfigMap: "proxy-buffer-size",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "The largest response head of an endpoint; a larger one is a 502. 256k are always allowed.",
	Examples:  []string{"16k"},
})

var httpVersion = Declare(Spec[string]{
	Name:      "proxy-http-version",
	Grammar:   Enum("1.0", "1.1"),
	Default:   "1.1",
	ConfigMap: "proxy-http-version",
	Risk:      Low,
	Bad:       Soft,
	Since:     "0.1",
	Doc:       "The version of HTTP towards endpoints. With 1.0 there are no kept connections, no chunks and no WebSockets.",
	Examples:  []string{"1.0"},
})

const alwaysStreams = "responses are passed on as they come; memory for them is bounded without it"

var (
	proxyBuffering = Declare(Spec[bool]{
		Name: "proxy-buffering", Grammar: OnOff, ConfigMap: "proxy-buffering", Risk: Low, Bad: Soft, NoEffect: alwaysStreams, Since: "0.1",
		Doc: "Whether responses were buffered.", Examples: []string{"on"},
	})
	buffersNumber = Declare(Spec[int]{
		Name: "proxy-buffers-number", Grammar: AnyInt, Default: 4, ConfigMap: "proxy-buffers-number", Risk: Low, Bad: Soft, NoEffect: alwaysStreams, Since: "0.1",
		Doc: "How many buffers a response had.", Examples: []string{"8"},
	})
	busyBuffers = Declare(Spec[int64]{
		Name: "proxy-busy-buffers-size", Grammar: Size, ConfigMap: "proxy-busy-buffers-size", Risk: Low, Bad: Soft, NoEffect: alwaysStreams, Since: "0.1",
		Doc: "How much of a response could be on its way to the client.", Examples: []string{"16k"},
	})
	maxTempFile = Declare(Spec[int64]{
		Name: "proxy-max-temp-file-size", Grammar: Size, Default: 1 << 30, ConfigMap: "proxy-max-temp-file-size", Risk: Low, Bad: Soft, NoEffect: alwaysStreams, Since: "0.1",
		Doc: "How much of a response could wait in a file.", Examples: []string{"1024m"},
	})
)

var _ = register(Feature{
	Name:  "proxy",
	Title: "Forwarding",
	Keys: []AnyKey{
		connectTimeout, readTimeout, sendTimeout, nextUpstream, nextTries, nextTimeout, bodySize, requestBuffering, bodyBuffer,
		bufferSize, httpVersion, proxyBuffering, buffersNumber, busyBuffers, maxTempFile,
	},
	Route: func(c *RouteContext) {
		l := &c.Route.Limits
		l.BodyMax, _ = bodySize.Get(c.Values)
		if l.BodyMax > 0 {
			c.Add(bodylimit.Config{Max: l.BodyMax})
		}
		l.Buffer, _ = requestBuffering.Get(c.Values)
		l.BufferMem, _ = bodyBuffer.Get(c.Values)
		l.BodyTimeout = 60 * time.Second
		if d, err := ParseDuration(GlobalText(c.Global, "client-body-timeout", "60")); err == nil && d > 0 {
			l.BodyTimeout = d
		}
		f := c.Route.Action.Forward
		if f == nil {
			return
		}
		switch protocolOf(c) {
		case config.GRPC, config.GRPCS:
			// compat: nginx's gRPC module always streams requests.
			l.Buffer = false
		}
		f.Connect, _ = connectTimeout.Get(c.Values)
		f.Read, _ = readTimeout.Get(c.Values)
		f.Send, _ = sendTimeout.Get(c.Values)
		version, _ := httpVersion.Get(c.Values)
		f.HTTP10 = version == "1.0"
		size, own := bufferSize.Get(c.Values)
		f.HeadMax = int(max(headFloor, min(size, 1<<30)))
		if own && size < headFloor {
			c.Report("proxy-buffer-size", diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Info,
				Message: "response heads of up to 256k are always accepted", Hint: "the annotation may be removed",
			})
		}
		when, _ := nextUpstream.Get(c.Values)
		f.Retry.On, f.Retry.NonIdempotent = when.On, when.NonIdempotent
		if GlobalBool(c.Global, "retry-non-idempotent", false) {
			f.Retry.NonIdempotent = true
		}
		f.Retry.Timeout, _ = nextTimeout.Get(c.Values)
		tries, _ := nextTries.Get(c.Values)
		if tries == 0 {
			tries = maxTries
		}
		f.Retry.Tries = min(tries, maxTries)
	},
})
