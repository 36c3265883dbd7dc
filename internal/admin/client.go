package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxAnswer = 16 << 20

// Ask puts q to the admin server of a running lintel at addr (host:port, or a URL) and
// copies the answer to w. The error is a sentence that helps.
func Ask(ctx context.Context, addr string, q Question, w io.Writer) error {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return fmt.Errorf("--server %s is not host:port", addr)
	}
	u.Path = "/debug/explain"
	v := url.Values{"method": {q.Method}, "url": {q.URL}, "header": q.Header}
	if q.JSON {
		v.Set("format", "json")
	}
	u.RawQuery = v.Encode()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	// No proxy and no redirects: the question goes to the server that was named.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w (it is the address of --healthz-port; kubectl port-forward reaches a pod's)", u.Host, err)
	}
	defer resp.Body.Close() //nolint:errcheck // everything was read or does not matter
	body := io.LimitReader(resp.Body, maxAnswer)
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(body, 4096))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", u.Host, resp.Status, err)
		}
		return fmt.Errorf("%s: %s", u.Host, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(w, body)
	return err
}
