package sslredirect

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestRedirectsPlainRequests(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      Config
		cert     bool
		eff      exchange.Effective
		target   string
		location string // "": no redirect
	}{
		{"certificate", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/x", "https://s.test/x"},
		{"no certificate", Config{}, false, exchange.Effective{Scheme: "http", Host: "s.test"}, "/x", ""},
		{"forced", Config{Force: true}, false, exchange.Effective{Scheme: "http", Host: "s.test"}, "/x", "https://s.test/x"},
		{"already https", Config{Force: true}, true, exchange.Effective{Scheme: "https", Host: "s.test"}, "/x", ""},
		{"unknown scheme", Config{Force: true}, true, exchange.Effective{Scheme: "https, http", Host: "s.test"}, "/x", ""},
		{"port goes", Config{}, true, exchange.Effective{Scheme: "http", Host: "S.test:8080"}, "/x", "https://S.test/x"},
		{"ipv6", Config{}, true, exchange.Effective{Scheme: "http", Host: "[::1]:8080"}, "/x", "https://[::1]/x"},
		{"root", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/", "https://s.test"},
		{"trailing slash", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a/", "https://s.test/a"},
		{"slash before query", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a/?q=1", "https://s.test/a/?q=1"},
		{"slash ends query", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a?x=/", "https://s.test/a?x="},
		{"kept slash", Config{KeepSlash: true}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a/", "https://s.test/a/"},
		{"port named", Config{Port: "8443"}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a/", "https://s.test:8443/a"},
		{"no host", Config{}, true, exchange.Effective{Scheme: "http"}, "/a", "https://from-target.test/a"},
		{"escapes stay", Config{}, true, exchange.Effective{Scheme: "http", Host: "s.test"}, "/a/b?c=d&e=%20f", "https://s.test/a/b?c=d&e=%20f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Status = 308
			f, err := c.cfg.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			x := exchange.Acquire()
			defer x.Release()
			x.HostCert, x.Eff = c.cert, c.eff
			x.Req.Target, x.Req.Host = c.target, "from-target.test"
			v := f.(filter.OnRequest).Request(x)
			if got := x.Resp.Header.Get("Location"); got != c.location || (v == exchange.Reply) != (c.location != "") {
				t.Errorf("verdict %v, Location %q, want %q", v, got, c.location)
			}
		})
	}
}
