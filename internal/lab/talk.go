package lab

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exchange is one request of a talk and what is expected of its answer. Lines of the request
// begin with ">", those of the expectation with "<":
//
//	> GET https://shop.example.com/a?b   x3
//	> Cookie: a=1
//	> | body
//	< 200                   status
//	< Location: /x          a field with this value
//	< no Server             no such field
//	< body contains TEXT    or: body TEXT
//	< cert shop.example.com the certificate's name
//	< from default/shop     which Service answered; from nobody: none did
//	< received GET /a?b     request line the endpoint got
//	< received Host: x      a field it got
//	< received no X-Foo     no such field
type exchange struct {
	line         int
	method, url  string
	repeat       int
	header       []string
	body         string
	status       int
	expectations []expectation
}

type expectation struct {
	line int
	text string
}

func parseTalk(text string) ([]exchange, error) {
	var talk []exchange
	asking := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		mark, rest := line[0], strings.TrimSpace(line[1:])
		switch {
		case mark == '>' && !asking:
			asking = true
			x := exchange{line: n, repeat: 1}
			f := strings.Fields(rest)
			if len(f) == 3 && f[2][0] == 'x' {
				r, err := strconv.Atoi(f[2][1:])
				if err != nil {
					return nil, fmt.Errorf("line %d: %q is not xN", n, f[2])
				}
				x.repeat, f = r, f[:2]
			}
			if len(f) != 2 || !strings.Contains(f[1], "://") {
				return nil, fmt.Errorf("line %d: %q is not a method, a URL and perhaps xN", n, rest)
			}
			x.method, x.url = f[0], f[1]
			talk = append(talk, x)
		case mark == '>':
			x := &talk[len(talk)-1]
			if b, ok := strings.CutPrefix(rest, "|"); ok {
				x.body += strings.TrimPrefix(b, " ")
			} else {
				x.header = append(x.header, rest)
			}
		case mark == '<' && len(talk) > 0:
			x := &talk[len(talk)-1]
			if asking {
				status, err := strconv.Atoi(rest)
				if err != nil {
					return nil, fmt.Errorf("line %d: %q is not a status", n, rest)
				}
				x.status, asking = status, false
				continue
			}
			x.expectations = append(x.expectations, expectation{n, rest})
		default:
			return nil, fmt.Errorf(`line %d: a line begins with ">" or "<"`, n)
		}
	}
	if asking {
		return nil, errors.New("the last request has no answer")
	}
	return talk, nil
}

// answer is what came back, and what the endpoint says it got.
type answer struct {
	status   int
	header   http.Header
	body     string
	certName string
	from     string // namespace/name of the Service; "" when no endpoint answered
	line     string // request line at the endpoint
	received http.Header
}

func (a *answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d\n", a.status)
	for _, k := range sorted(a.header) {
		fmt.Fprintf(&b, "  %s: %s\n", k, strings.Join(a.header[k], ", "))
	}
	if a.from == "" {
		fmt.Fprintf(&b, "  %q", a.body)
		return b.String()
	}
	fmt.Fprintf(&b, "  from %s\n  received %s\n", a.from, a.line)
	for _, k := range sorted(a.received) {
		fmt.Fprintf(&b, "  received %s: %s\n", k, strings.Join(a.received[k], ", "))
	}
	return b.String()
}

func sorted(h http.Header) []string {
	var names []string
	for k := range h {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

const patience = 15 * time.Second

// send has one request answered, on a connection of its own.
func (x *exchange) send(at *Instance) (*answer, error) {
	u, err := url.Parse(x.url)
	if err != nil {
		return nil, err
	}
	addr := at.HTTP
	if u.Scheme == "https" {
		addr = at.HTTPS
	}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	a := &answer{}
	if u.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true})
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		a.certName = secure.ConnectionState().PeerCertificates[0].Subject.CommonName
		conn = secure
	}
	// The target goes out as it is written, not as a library would clean it.
	_, rest, _ := strings.Cut(x.url, "://")
	target := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		target = rest[i:]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", x.method, target)
	if !slices.ContainsFunc(x.header, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "host:") }) {
		fmt.Fprintf(&b, "Host: %s\r\n", u.Host)
	}
	for _, h := range x.header {
		b.WriteString(h + "\r\n")
	}
	if x.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(x.body))
	}
	b.WriteString("\r\n" + x.body)
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: x.method})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	a.status, a.header, a.body = resp.StatusCode, resp.Header, string(body)
	return a, a.readEcho()
}

// readEcho takes what an echo endpoint says about the request out of the answer.
func (a *answer) readEcho() error {
	a.from = a.header.Get(echoService)
	if a.from == "" {
		return nil
	}
	a.header.Del(echoService)
	received, err := url.QueryUnescape(a.header.Get(echoRequest))
	if err != nil {
		return err
	}
	a.header.Del(echoRequest)
	lines := strings.Split(received, "\n")
	a.line, a.received = lines[0], http.Header{}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		a.received.Add(name, value)
	}
	return nil
}

// check returns what of the answer is not as expected.
func (x *exchange) check(a *answer) []string {
	var wrong []string
	if a.status != x.status {
		wrong = append(wrong, fmt.Sprintf("  status %d, want %d", a.status, x.status))
	}
	for _, e := range x.expectations {
		if why := e.check(a); why != "" {
			wrong = append(wrong, fmt.Sprintf("  line %d: %s, want %q", e.line, why, e.text))
		}
	}
	return wrong
}

func (e *expectation) check(a *answer) string {
	word, rest, _ := strings.Cut(e.text, " ")
	switch word {
	case "from":
		if got := a.from; got != rest && (got != "" || rest != "nobody") {
			return "answered by " + strconv.Quote(got)
		}
	case "cert":
		if a.certName != rest {
			return "certificate " + strconv.Quote(a.certName)
		}
	case "body":
		if part, ok := strings.CutPrefix(rest, "contains "); ok {
			if !strings.Contains(a.body, part) {
				return fmt.Sprintf("body %q", a.body)
			}
		} else if strings.TrimRight(a.body, "\n") != rest {
			return fmt.Sprintf("body %q", a.body)
		}
	case "no":
		if v, ok := a.header[http.CanonicalHeaderKey(rest)]; ok {
			return fmt.Sprintf("there is %s: %q", rest, v)
		}
	case "received":
		return checkReceived(rest, a)
	default:
		name, value, ok := strings.Cut(e.text, ": ")
		if !ok {
			return "this expectation is not known"
		}
		if got := strings.Join(a.header.Values(name), ", "); got != value {
			return fmt.Sprintf("%s is %q", name, got)
		}
	}
	return ""
}

func checkReceived(want string, a *answer) string {
	if name, ok := strings.CutPrefix(want, "no "); ok {
		if v, ok := a.received[http.CanonicalHeaderKey(name)]; ok {
			return fmt.Sprintf("the endpoint got %s: %q", name, v)
		}
		return ""
	}
	if name, value, ok := strings.Cut(want, ": "); ok && !strings.Contains(name, " ") {
		if got := strings.Join(a.received.Values(name), ", "); got != value {
			return fmt.Sprintf("the endpoint got %s: %q", name, got)
		}
		return ""
	}
	if a.line != want {
		return "the endpoint got " + strconv.Quote(a.line)
	}
	return ""
}
