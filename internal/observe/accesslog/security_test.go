package accesslog

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
)

// defaultLine is what DefaultFormat promises to those who parse it.
var defaultLine = regexp.MustCompile(`^203\.0\.113\.7 - (?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\x[0-9A-F]{2})* \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\x[0-9A-F]{2})*" \d{3} \d+ "(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\x[0-9A-F]{2})*" "(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\x[0-9A-F]{2})*" \d+ \d+\.\d{3} \[[^\]]*\] \[[^\]]*\] - - - - (?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\x[0-9A-F]{2})+$`)

const jsonFormat = `{"a":"$remote_addr","u":"$remote_user","r":"$request","uri":"$uri","args":"$args","ref":"$http_referer","ua":"$http_user_agent","x":"$http_x","bare":$http_x,"list":[$http_x],"id":"$req_id","host":"$host","time":$request_time,"ups":[$upstream_response_time],"missing":$http_missing}`

const jsonMembers = 15

// hostileRequest is an exchange with one text wherever a client can put one.
func hostileRequest(text string) *exchange.Exchange {
	x := request("/" + text + "?" + text)
	x.Req.Method, x.Req.Path, x.Req.Query, x.Req.HasQuery, x.Req.Host, x.Req.Authority = text, "/"+text, text, true, text, text
	x.ID = text
	for _, n := range []string{"Referer", "User-Agent", "X", "Cookie"} {
		x.Req.Header.Add(n, text)
	}
	x.Req.Header.Add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text+":x")))
	return x
}

// written is what a log of c writes for exchanges.
func written(t testing.TB, c Config, xs ...*exchange.Exchange) []string {
	t.Helper()
	out := &output{}
	l := New(out, slog.New(slog.DiscardHandler))
	if _, err := l.Configure(c); err != nil {
		t.Fatal(err)
	}
	for _, x := range xs {
		l.Log(x)
	}
	l.flush()
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func checkLines(t *testing.T, text string) {
	t.Helper()
	for _, l := range written(t, Config{}, hostileRequest(text)) {
		if !defaultLine.MatchString(l) {
			t.Errorf("%.100q breaks the default form: %q", text, l)
		}
	}
	for _, l := range written(t, Config{Format: jsonFormat, Escape: expr.LogJSON}, hostileRequest(text)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(l), &v); (err != nil && !numbers(text)) || (err == nil && len(v) != jsonMembers) || !utf8.ValidString(l) {
			t.Errorf("%.100q breaks JSON: %v, %d members: %q", text, err, len(v), l)
		}
	}
	if l := written(t, Config{Format: "<$request|$http_x|$remote_user>", Escape: expr.LogNone}, hostileRequest(text)); len(l) != 1 || strings.Contains(l[0], "\r") {
		t.Errorf("%.100q makes %d lines", text, len(l))
	}
}

// numbers reports whether text is left as it is outside of a string: it may be part of a number.
func numbers(text string) bool { return strings.Trim(text, "0123456789.,: -+eE") == "" }

var hostileTexts = []string{
	"", `"`, `\`, `\\`, `\"`, "\r\n", "\n", "\x00", "\x1b[31m", "\x7f", "é", "\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\u2028", `","admin":"true`, `1,"admin":true`, `null,"x":1`, "true", "null", "{}", "[", "]", "] [", "0.1, 0.2",
	"- [01/Jan/2020:00:00:00 +0000] \"GET / HTTP/1.1\" 200 0", "$request", "${x}", "%0a", strings.Repeat("a", 300), strings.Repeat("\"", 300), strings.Repeat("\xff", 300),
}

func TestS13_4_NoTextBreaksALine(t *testing.T) {
	for _, text := range hostileTexts {
		checkLines(t, text)
	}
	for c := range 256 {
		checkLines(t, "a"+string([]byte{byte(c)})+"b")
	}
}

func FuzzS13_4_Lines(f *testing.F) {
	for _, text := range hostileTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 4<<10 {
			checkLines(t, text)
		}
	})
}

func TestS13_4_ManyHostileLinesStayApart(t *testing.T) {
	var xs []*exchange.Exchange
	for range 20 {
		for _, text := range hostileTexts[:20] {
			x := hostileRequest(text)
			x.Stats.Duration = time.Millisecond
			xs = append(xs, x)
		}
	}
	if got := written(t, Config{}, xs...); len(got) != len(xs) {
		t.Errorf("%d lines for %d requests", len(got), len(xs))
	}
}
