package parity

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Client sends the requests of cases.
type Client struct {
	Place    *Place
	PKI      *PKI
	Backends *Backends
}

// Do sends one request under an id and returns what came of it, in the common form of
// the record. expect is how many requests endpoints are known to get for it.
func (c *Client) Do(ctx context.Context, r *Request, id string, cookies []string, expect int) *Answer {
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	a := &Answer{}
	send := c.http1
	if r.HTTP == "2" {
		send = c.http2
	}
	if err := send(ctx, r, id, cookies, a); err != nil {
		a.Error = errorText(err)
	}
	if !r.NoLog {
		c.settle(id, r, expect)
		a.Received = c.Backends.Take(id)
	}
	c.normalise(a)
	return a
}

// settle waits until endpoints received what is expected, and a moment for what is not.
func (c *Client) settle(id string, r *Request, expect int) {
	patience := 500 * time.Millisecond
	if late := time.Duration(r.LogMS) * time.Millisecond; late > patience {
		patience = late
	}
	for end := time.Now().Add(patience); c.Backends.Count(id) < expect && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	late := 4 * time.Millisecond
	if r.LogMS > 0 && expect == 0 {
		late = time.Duration(r.LogMS) * time.Millisecond
	}
	time.Sleep(late)
}

// errorText reduces an error to what is the same on every run.
func errorText(err error) string {
	s := err.Error()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(s, "connection reset"), strings.Contains(s, "broken pipe"):
		return "closed"
	case strings.Contains(s, "timeout"), strings.Contains(s, "deadline exceeded"):
		return "timeout"
	case strings.Contains(s, "refused"):
		return "refused"
	}
	if i := strings.Index(s, "tls: "); i >= 0 {
		return s[i:]
	}
	return s
}

func (c *Client) dial(ctx context.Context, r *Request, a *Answer) (net.Conn, error) {
	port := c.Place.HTTP
	if r.Scheme == "https" {
		port = c.Place.HTTPS
	}
	from := r.From
	or(&from, c.Place.Addr("CLIENT"))
	d := net.Dialer{Timeout: 5 * time.Second}
	if ip, err := netip.ParseAddr(from); err == nil {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", c.Place.Addr("A_IP"), port))
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	if r.Scheme != "https" || r.Plain {
		return conn, nil
	}
	cfg, err := c.tlsConfig(r)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	state := secure.ConnectionState()
	a.CertCN, a.ALPN = state.PeerCertificates[0].Subject.CommonName, state.NegotiatedProtocol
	return secure, nil
}

func (c *Client) tlsConfig(r *Request) (*tls.Config, error) {
	sni := r.Host
	if host, _, err := net.SplitHostPort(sni); err == nil {
		sni = host
	}
	if r.SNI != nil {
		sni = *r.SNI
	}
	cfg := &tls.Config{ServerName: sni, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	if r.HTTP == "2" {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	switch r.TLS {
	case "1.1":
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	case "1.2":
		cfg.MaxVersion = tls.VersionTLS12
	case "1.3":
		cfg.MinVersion = tls.VersionTLS13
	}
	if r.Cert != "" {
		name, authority, ok := strings.Cut(r.Cert, "@")
		if !ok {
			authority = "client-ca"
		}
		p, err := c.PKI.Client(authority, name)
		if err != nil {
			return nil, err
		}
		pair, err := p.Pair()
		if err != nil {
			return nil, err
		}
		// Sent whatever authorities the server names.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg, nil
}

// http1 writes the request byte for byte: much of what is compared no library would send.
func (c *Client) http1(ctx context.Context, r *Request, id string, cookies []string, a *Answer) error {
	conn, err := c.dial(ctx, r, a)
	if err != nil {
		return err
	}
	defer conn.Close()
	head, body, err := encode(r, id, cookies)
	if err != nil {
		return err
	}
	if _, err := conn.Write(head); err != nil {
		return err
	}
	// The answer may come, and be all there is, before the body is through.
	sendBody := func() {
		if len(body) > 0 {
			go conn.Write(body)
		}
	}
	waits := bytes.Contains(bytes.ToLower(head), []byte("\r\nexpect: 100-continue\r\n"))
	if !waits {
		sendBody()
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, &http.Request{Method: r.Method})
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != 101 {
		a.Interim = append(a.Interim, resp.StatusCode)
		if waits {
			waits = false
			sendBody()
		}
		resp, err = http.ReadResponse(br, &http.Request{Method: r.Method})
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.take(resp)
	if resp.StatusCode != 101 {
		return a.takeBody(resp)
	}
	if r.WS == "" {
		return nil
	}
	if _, err := io.WriteString(conn, r.WS); err != nil {
		return err
	}
	back := make([]byte, len(r.WS))
	if _, err := io.ReadFull(br, back); err != nil {
		return err
	}
	a.WS = string(back)
	return nil
}

// encode returns the head and the body of an HTTP/1 request.
func encode(r *Request, id string, cookies []string) (head, body []byte, err error) {
	if r.Raw != "" {
		text := strings.ReplaceAll(r.Raw, "${ID}", id)
		return []byte(strings.ReplaceAll(text, "\n", "\r\n")), nil, nil
	}
	content, err := r.body()
	if err != nil {
		return nil, nil, err
	}
	lines, err := r.lines()
	if err != nil {
		return nil, nil, err
	}
	var h bytes.Buffer
	fmt.Fprintf(&h, "%s %s HTTP/%s\r\n", r.Method, r.Path, r.HTTP)
	if r.Host != "-" {
		fmt.Fprintf(&h, "Host: %s\r\n", r.Host)
	}
	fmt.Fprintf(&h, "%s: %s\r\n", idField, id)
	for _, line := range lines {
		h.WriteString(line + "\r\n")
	}
	if len(cookies) > 0 {
		h.WriteString("Cookie: " + strings.Join(cookies, "; ") + "\r\n")
	}
	switch {
	case r.Chunked:
		h.WriteString("Transfer-Encoding: chunked\r\n")
		content = chunked(content, r.Trailers)
	case len(content) > 0:
		fmt.Fprintf(&h, "Content-Length: %d\r\n", len(content))
	}
	h.WriteString("\r\n")
	return h.Bytes(), content, nil
}

func chunked(content []byte, trailers []string) []byte {
	var b bytes.Buffer
	for len(content) > 0 {
		n := min(len(content), 4096)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, content[:n])
		content = content[n:]
	}
	b.WriteString("0\r\n")
	for _, t := range trailers {
		b.WriteString(t + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func (c *Client) http2(ctx context.Context, r *Request, id string, cookies []string, a *Answer) error {
	t := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, r, a) }
	if r.Scheme == "https" {
		t.Protocols.SetHTTP2(true)
		t.DialTLSContext = dial
	} else {
		t.Protocols.SetUnencryptedHTTP2(true)
		t.DialContext = dial
	}
	defer t.CloseIdleConnections()
	content, err := r.body()
	if err != nil {
		return err
	}
	lines, err := r.lines()
	if err != nil {
		return err
	}
	var body io.Reader
	if len(content) > 0 {
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.Scheme+"://"+r.Host+"/", body)
	if err != nil {
		return err
	}
	// Opaque keeps the path as it is written.
	path, query, _ := strings.Cut(r.Path, "?")
	req.URL.Opaque, req.URL.RawQuery = "//"+r.Host+path, query
	req.Header.Set(idField, id)
	req.Header.Set("User-Agent", "")
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if strings.EqualFold(name, "host") {
			req.Host = value
		} else {
			req.Header.Add(name, value)
		}
	}
	for _, k := range cookies {
		req.Header.Add("Cookie", k)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.take(resp)
	return a.takeBody(resp)
}

// take reads the head of a response.
func (a *Answer) take(resp *http.Response) {
	a.Status, a.Proto = resp.StatusCode, resp.Proto
	a.Header = pairs(resp.Header, "Date")
	for _, k := range resp.Cookies() {
		a.cookies = append(a.cookies, k.Name+"="+k.Value)
	}
}

// takeBody reads the rest.
func (a *Answer) takeBody(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	var echo struct{ Echo, Kind string }
	if json.Unmarshal(body, &echo) == nil && echo.Echo != "" {
		a.Body = "<echo " + echo.Echo + " " + echo.Kind + ">"
	} else {
		a.Body = short(body, 1024)
	}
	a.Trailer = pairs(resp.Trailer)
	return err
}

// Run sends what a request line stands for. want is the recorded result, or nil.
func (c *Client) Run(ctx context.Context, r *Request, id string, jar map[string]string, want *Result) *Result {
	time.Sleep(time.Duration(r.WaitMS) * time.Millisecond)
	var cookies []string
	for _, name := range sortedKeys(jar) {
		cookies = append(cookies, name+"="+jar[name])
	}
	res := &Result{Request: r.Name}
	if r.Repeat == 1 {
		expect := 0
		if want != nil && want.Answer != nil {
			expect = len(want.Answer.Received)
		}
		res.Answer = c.Do(ctx, r, id, cookies, expect)
		res.Answer.keepCookies(jar)
		return res
	}
	answers := make([]*Answer, r.Repeat)
	done := make(chan bool, r.Repeat)
	one := func(i int) {
		answers[i] = c.Do(ctx, r, fmt.Sprintf("%s-%d", id, i), cookies, 0)
		done <- true
	}
	for i := range answers {
		if r.Parallel {
			go one(i)
		} else {
			one(i)
		}
	}
	for range answers {
		<-done
	}
	res.sum(answers)
	answers[0].keepCookies(jar)
	return res
}

func (a *Answer) keepCookies(jar map[string]string) {
	if jar == nil {
		return
	}
	for _, k := range a.cookies {
		name, value, _ := strings.Cut(k, "=")
		jar[name] = value
	}
}

// sum reduces many answers to counts and one sample of each status.
func (res *Result) sum(answers []*Answer) {
	res.N, res.Statuses, res.Pods, res.Samples = len(answers), map[string]int{}, map[string]int{}, map[string]*Answer{}
	for _, a := range answers {
		key := fmt.Sprint(a.Status)
		if a.Error != "" {
			key = "error " + a.Error
		}
		res.Statuses[key]++
		if res.Samples[key] == nil {
			res.Samples[key] = a
		}
		for _, g := range a.Received {
			res.Pods[g.Pod]++
		}
	}
}
