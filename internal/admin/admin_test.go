package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// get asks s as a loopback client unless the request says otherwise.
func get(s *Server, path string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1234", "localhost:10254"
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestHealthFollowsTheProcess(t *testing.T) {
	var ready, draining bool
	var dead error
	s := New(Options{Ready: func() bool { return ready }, Draining: func() bool { return draining }, Alive: func() error { return dead }, HealthPath: "/alive"})
	check := func(when string, health, readiness, live int) {
		t.Helper()
		for path, want := range map[string]int{"/healthz": health, "/alive": health, "/readyz": readiness, "/livez": live} {
			if w := get(s, path); w.Code != want || want == 200 && w.Body.String() != "ok" {
				t.Errorf("%s: %s answers %d %q, want %d", when, path, w.Code, w.Body, want)
			}
		}
	}
	check("starting", 503, 503, 200)
	ready = true
	check("serving", 200, 200, 200)
	draining = true
	check("draining", 500, 503, 200)
	draining, dead = false, errors.New("pipeline ended")
	check("dead", 500, 503, 500)
}

func TestProbesNeedNoLoopback(t *testing.T) {
	s := New(Options{})
	if w := get(s, "/healthz", func(r *http.Request) { r.RemoteAddr, r.Host = "10.0.0.9:1", "10.0.0.1:10254" }); w.Code != 200 {
		t.Errorf("the kubelet gets %d", w.Code)
	}
}

func TestS12_1_DebugAnswersToLoopbackOnly(t *testing.T) {
	s := New(Options{Table: func(w io.Writer) error { _, err := io.WriteString(w, "host a\n"); return err }, Diagnostics: func() []diag.Diagnostic { return nil }, Explain: func(io.Writer, Question) error { return nil }})
	for _, path := range []string{"/debug/table", "/debug/diagnostics", "/debug/explain?url=http://a/"} {
		for name, edit := range map[string]func(*http.Request){
			"another pod":           func(r *http.Request) { r.RemoteAddr = "10.0.0.9:1" },
			"a web page's own name": func(r *http.Request) { r.Host = "evil.example.com" },
		} {
			if w := get(s, path, edit); w.Code != 403 || strings.Contains(w.Body.String(), "host a") {
				t.Errorf("%s gets %d %q for %s", name, w.Code, w.Body, path)
			}
		}
		if w := get(s, path, func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:1", "[::1]:10254" }); w.Code != 200 {
			t.Errorf("loopback gets %d for %s", w.Code, path)
		}
	}
}

func TestPagesShowWhatTheyAreGiven(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "nginx_ingress_controller_config_hash"}))
	s := New(Options{
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
		Table:   func(w io.Writer) error { _, err := io.WriteString(w, "host a.example.com\n"); return err },
		Diagnostics: func() []diag.Diagnostic {
			return []diag.Diagnostic{{Code: diag.PathInvalid, Severity: diag.Error, Object: diag.Ref{Kind: "Ingress", Namespace: "n", Name: "<script>"}, Message: "bad"}}
		},
		Explain: func(w io.Writer, q Question) error {
			if q.URL == "bad" {
				return errors.New(`"bad" is not a URL`)
			}
			_, err := fmt.Fprintf(w, "%s %s %q json=%v", q.Method, q.URL, q.Header, q.JSON)
			return err
		},
		Build: Build{Release: "1.2.3", Commit: "abc", Repository: "r"},
	})
	for path, want := range map[string]string{
		"/metrics":                       "nginx_ingress_controller_config_hash 0",
		"/debug/table":                   "host a.example.com\n",
		"/debug/diagnostics":             "error: bad [path-invalid]\n1 error\n",
		"/debug/diagnostics?format=json": `"errors": 1`,
		"/debug/explain?url=http://a/b&header=A:b&header=C:d":  `GET http://a/b ["A:b" "C:d"] json=false`,
		"/debug/explain?url=http://a/b&method=PUT&format=json": `PUT http://a/b [] json=true`,
		"/build": `{"release":"1.2.3","build":"abc","repository":"r"}`,
		"/":      "lintel 1.2.3",
	} {
		w := get(s, path)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s answers %d %q, want it to have %q", path, w.Code, w.Body, want)
		}
		// S12.3: nothing is ever taken for HTML.
		if ct := w.Header().Get("Content-Type"); strings.Contains(ct, "html") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s has content type %q", path, ct)
		}
	}
	for path, want := range map[string]int{"/debug/explain": 400, "/debug/explain?url=bad": 400, "/nothing": 404, "/debug/pprof/": 404} {
		if w := get(s, path); w.Code != want {
			t.Errorf("%s answers %d, want %d", path, w.Code, want)
		}
	}
	if w := get(s, "/healthz", func(r *http.Request) { r.Method = "POST" }); w.Code != 405 {
		t.Errorf("POST answers %d", w.Code)
	}
}

func TestDebugPagesAreFewAtOnce(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	s := New(Options{Table: func(io.Writer) error { in <- struct{}{}; <-out; return nil }})
	var wg sync.WaitGroup
	for range maxDebug {
		wg.Go(func() { get(s, "/debug/table") })
		<-in
	}
	if w := get(s, "/debug/table"); w.Code != 503 {
		t.Errorf("one too many gets %d", w.Code)
	}
	close(out)
	wg.Wait()
}

func TestServeEndsWithItsContextAndAskAsks(t *testing.T) {
	l, err := Listen("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("127.0.0.1", l.Addr().(*net.TCPAddr).Port); err == nil || !strings.Contains(err.Error(), "--healthz-port") {
		t.Errorf("a taken port gives %v", err)
	}
	s := New(Options{Explain: func(w io.Writer, q Question) error {
		if q.URL == "" {
			return errors.New("no URL")
		}
		_, err := io.WriteString(w, q.Method+" "+q.URL+" "+strings.Join(q.Header, ","))
		return err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	var b bytes.Buffer
	if err := Ask(t.Context(), l.Addr().String(), Question{Method: "GET", URL: "http://a/?b=c&d", Header: []string{"A: b"}}, &b); err != nil || b.String() != "GET http://a/?b=c&d A: b" {
		t.Errorf("asked and got %q, %v", b.String(), err)
	}
	if err := Ask(t.Context(), l.Addr().String(), Question{Method: "GET"}, &b); err == nil || !strings.Contains(err.Error(), "ask with") {
		t.Errorf("a question without URL gives %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Ask(t.Context(), l.Addr().String(), Question{Method: "GET", URL: "http://a/"}, &b); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a server that ended gives %v", err)
	}
}

func TestProfilesAreServedOnTheirOwnListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ServeProfiles(ctx, l, nil) }()
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/metrics": 404} {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, resp.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
