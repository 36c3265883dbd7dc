package parity

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Difference is one thing in which the candidate differs from the record. What is a
// word such as status, header:Location, received.header:X-Real-Ip.
type Difference struct {
	What, Want, Got string
}

func (d Difference) String() string {
	return fmt.Sprintf("%-36s reference %s\n%-36s here      %s", d.What, clip(d.Want), "", clip(d.Got))
}

func clip(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// What differs from run to run.
var (
	hex32    = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	expires  = regexp.MustCompile(`(?i)expires=[^;]+`)
	digits   = regexp.MustCompile(`[0-9]+`)
	sticky   = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\|`)
	urlPort  = regexp.MustCompile(`^(https?)(://[^/]*?):([0-9]+)(/|$)`)
	echoName = regexp.MustCompile(`<echo echo[0-9]`)
)

// normalise brings an answer into the form of the record.
func (c *Client) normalise(a *Answer) {
	for i := range a.Header {
		f := &a.Header[i]
		switch f.Name {
		case "Set-Cookie":
			f.Value = cookieShape(f.Value)
		case "Location", "Refresh":
			f.Value = c.Place.recordedURL(f.Value)
		default:
			f.Value = hex32.ReplaceAllString(f.Value, "<hex32>")
		}
	}
	for i := range a.Received {
		for j := range a.Received[i].Header {
			f := &a.Received[i].Header[j]
			switch {
			case f.Name == "X-Forwarded-Port":
				f.Value = c.Place.recordedPort(f.Value)
			case f.Name == "X-Original-Url", f.Name == "X-Auth-Request-Redirect":
				f.Value = c.Place.recordedURL(f.Value)
			case strings.HasPrefix(f.Value, "-----BEGIN"):
				f.Value = "<pem>"
			}
			f.Value = strings.ReplaceAll(sticky.ReplaceAllString(f.Value, "9.9.9.9|"), nonce, "<nonce>")
			f.Value = hex32.ReplaceAllString(f.Value, "<hex32>")
		}
	}
}

// cookieShape keeps of a cookie what does not depend on time and chance: long values
// lose their digits, dates their value.
func cookieShape(v string) string {
	pair, attributes, _ := strings.Cut(v, ";")
	if name, value, ok := strings.Cut(pair, "="); ok && (hex32.MatchString(value) || len(value) > 24) {
		parts := hex32.Split(value, -1)
		for i := range parts {
			parts[i] = digits.ReplaceAllString(parts[i], "9")
		}
		pair = name + "=" + strings.Join(parts, "<hex32>")
	}
	if attributes != "" {
		pair += ";" + expires.ReplaceAllString(attributes, "Expires=<date>")
	}
	return pair
}

// recordedPort returns the port the record has in place of one of this run.
func (p *Place) recordedPort(port string) string {
	switch port {
	case strconv.Itoa(p.HTTP):
		return "80"
	case strconv.Itoa(p.HTTPS):
		return "443"
	}
	return port
}

func (p *Place) recordedURL(u string) string {
	m := urlPort.FindStringSubmatch(u)
	if m == nil {
		return u
	}
	port := p.recordedPort(m[3])
	if port == m[3] {
		return u
	}
	if m[1] == "http" && port == "80" || m[1] == "https" && port == "443" {
		port = ""
	} else {
		port = ":" + port
	}
	return m[1] + m[2] + port + u[len(m[1])+len(m[2])+1+len(m[3]):]
}

// comparison gathers what differs.
type comparison struct {
	prefix string
	ignore []string
	found  []Difference
}

func (c *comparison) add(what, want, got string) {
	what = c.prefix + what
	if !slices.ContainsFunc(c.ignore, func(pattern string) bool { return matches(pattern, what) }) {
		c.found = append(c.found, Difference{what, want, got})
	}
}

func (c *comparison) same(what string, want, got any) {
	if w, g := fmt.Sprint(want), fmt.Sprint(got); w != g {
		c.add(what, w, g)
	}
}

// matches reports whether text fits a pattern in which "*" stands for anything.
func matches(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for i := range len(text) + 1 {
		if matches(rest, text[i:]) {
			return true
		}
	}
	return false
}

// Compare returns in what got differs from the record.
func Compare(r *Request, want, got *Result) []Difference {
	c := &comparison{ignore: r.Ignore}
	switch {
	case want.Answer != nil && got.Answer != nil:
		c.answers(want.Answer, got.Answer, r.Pods != "any")
	case want.Answer != nil || got.Answer != nil:
		c.add("shape", "one answer or many", "the other")
	default:
		c.sums(r, want, got)
	}
	return c.found
}

// sums compares repeated requests.
func (c *comparison) sums(r *Request, want, got *Result) {
	off := func(a, b int) bool {
		return math.Abs(float64(a-b))/float64(max(want.N, 1)) > r.Tolerance
	}
	statuses := map[string]bool{}
	for k := range want.Statuses {
		statuses[k] = true
	}
	for k := range got.Statuses {
		statuses[k] = true
	}
	for k := range statuses {
		if off(want.Statuses[k], got.Statuses[k]) {
			c.add("statuses", fmt.Sprint(want.Statuses), fmt.Sprint(got.Statuses))
			break
		}
	}
	differ := false
	switch r.Pods {
	case "none":
	case "count":
		differ = len(want.Pods) != len(got.Pods)
	case "exact":
		for k := range want.Pods {
			differ = differ || off(want.Pods[k], got.Pods[k])
		}
	default:
		differ = !slices.Equal(sortedKeys(want.Pods), sortedKeys(got.Pods))
	}
	if differ {
		c.add("pods", fmt.Sprint(want.Pods), fmt.Sprint(got.Pods))
	}
	for _, k := range sortedKeys(want.Samples) {
		if mine := got.Samples[k]; mine != nil {
			c.prefix = "sample[" + k + "]."
			c.answers(want.Samples[k], mine, false)
			c.prefix = ""
		}
	}
}

// answers compares two answers; pods says whether it matters which endpoint was asked.
func (c *comparison) answers(want, got *Answer, pods bool) {
	c.same("error", want.Error, got.Error)
	c.same("status", want.Status, got.Status)
	c.same("interim", want.Interim, got.Interim)
	c.same("proto", want.Proto, got.Proto)
	c.same("cert", want.CertCN, got.CertCN)
	c.same("alpn", want.ALPN, got.ALPN)
	c.same("ws", want.WS, got.WS)
	wantBody, gotBody := want.Body, got.Body
	if !pods {
		wantBody, gotBody = echoName.ReplaceAllString(wantBody, "<echo"), echoName.ReplaceAllString(gotBody, "<echo")
	}
	wantHeader, gotHeader := want.Header, got.Header
	if want.Status >= 300 && len(want.Received) == 0 && strings.Contains(want.Body, "<center>nginx") && wantBody != gotBody {
		// nginx's own page: another page is one difference, not three.
		c.add("errorpage", wantBody, gotBody)
		content := func(p Pair) bool { return p.Name == "Content-Length" || p.Name == "Content-Type" }
		wantHeader, gotHeader = without(wantHeader, content), without(gotHeader, content)
	} else {
		c.same("body", wantBody, gotBody)
	}
	c.fields("header:", wantHeader, gotHeader)
	c.fields("trailer:", want.Trailer, got.Trailer)
	c.received(want.Received, got.Received, pods)
}

func without(list []Pair, drop func(Pair) bool) []Pair {
	return slices.DeleteFunc(slices.Clone(list), drop)
}

func (c *comparison) received(want, got []Received, pods bool) {
	if len(want) != len(got) {
		c.add("received.count", receivedText(want), receivedText(got))
		return
	}
	for i := range want {
		w, g := &want[i], &got[i]
		if pods {
			c.same("received.pod", w.Pod, g.Pod)
		}
		c.same("received.kind", w.Kind, g.Kind)
		c.same("received.proto", w.Proto, g.Proto)
		c.same("received.method", w.Method, g.Method)
		c.same("received.uri", w.URI, g.URI)
		c.same("received.host", w.Host, g.Host)
		c.same("received.framing", w.Framing, g.Framing)
		c.same("received.body", w.Body, g.Body)
		c.same("received.sni", w.SNI, g.SNI)
		c.same("received.peer", w.Peer, g.Peer)
		c.fields("received.header:", w.Header, g.Header)
		c.fields("received.trailer:", w.Trailer, g.Trailer)
	}
}

func receivedText(list []Received) string {
	var parts []string
	for _, r := range list {
		parts = append(parts, r.Kind+" "+r.Pod+" "+r.Method+" "+r.URI)
	}
	return fmt.Sprintf("%d [%s]", len(list), strings.Join(parts, ", "))
}

// fields compares fields by name; those of one connection or hop only are left out.
func (c *comparison) fields(what string, want, got []Pair) {
	w, g := byName(want), byName(got)
	all := maps.Clone(w)
	maps.Copy(all, g)
	for _, name := range sortedKeys(all) {
		switch name {
		case "Connection", "Keep-Alive", "Transfer-Encoding":
			continue
		}
		if !slices.Equal(w[name], g[name]) {
			c.add(what+name, valuesText(w[name]), valuesText(g[name]))
		}
	}
}

func byName(list []Pair) map[string][]string {
	m := map[string][]string{}
	for _, p := range list {
		m[p.Name] = append(m[p.Name], p.Value)
	}
	return m
}

func valuesText(values []string) string {
	if len(values) == 0 {
		return "(absent)"
	}
	return strings.Join(values, " ⏎ ")
}
