package h1

import (
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func TestS4_1_PathIsNormalisedOnce(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                        "/",
		"/a":                       "/a",
		"/a/":                      "/a/",
		"//":                       "/",
		"///":                      "/",
		"//a//b//":                 "/a/b/",
		"/./a":                     "/a",
		"/a/.":                     "/a/",
		"/a/./":                    "/a/",
		"/a/..":                    "/",
		"/a/../":                   "/",
		"/a/b/..":                  "/a/",
		"/a/b/../c":                "/a/c",
		"/a/..b":                   "/a/..b",
		"/a/.b":                    "/a/.b",
		"/a/...":                   "/a/...",
		"/.well-known/x":           "/.well-known/x",
		"/public/../admin":         "/admin",
		"/public/%2e%2e/admin":     "/admin",
		"/public/%2E./admin":       "/admin",
		"/public//../admin":        "/admin", // compat: slashes merge first
		"/pub/..%2fadm":            "/adm",
		"/foo%2f..%2fx":            "/x",
		"/foo%2Fbar":               "/foo/bar",
		"/%66oo":                   "/foo",
		"/a%20b":                   "/a b",
		"/a+b":                     "/a+b",
		"/a%25b":                   "/a%b",
		"/a%252e%252e/b":           "/a%2e%2e/b",
		"/x%3Fy":                   "/x?y",
		"/x%23y":                   "/x#y",
		"/%C3%A9":                  "/é",
		"/é":                       "/é",
		"/\xff":                    "/\xff",
		"/foo;v=1":                 "/foo;v=1",
		"/a|b\"c":                  "/a|b\"c",
		`/a\b`:                     `/a\b`,
		"/a/b/c/../../d/./e//../f": "/a/d/f",
	} {
		got, err := NormalizePath(raw)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestS4_2_HiddenSegmentsAreRefused(t *testing.T) {
	for raw, want := range map[string]error{
		"/..":                               ErrPathRoot,
		"/../x":                             ErrPathRoot,
		"/%2e%2e/x":                         ErrPathRoot,
		"/a/../../b":                        ErrPathRoot,
		"/a%00b":                            ErrPathNUL,
		"/public%00/../admin":               ErrPathNUL,
		"/a%zzb":                            ErrPathEscape,
		"/a%":                               ErrPathEscape,
		"/a%4":                              ErrPathEscape,
		"/pub/..;/adm":                      ErrPathSegment,
		"/pub/..;a=b/adm":                   ErrPathSegment,
		"/.;x/adm":                          ErrPathSegment,
		"/pub/..%3b/adm":                    ErrPathSegment,
		"/pub/%2e%2e%3Bx":                   ErrPathSegment,
		`/pub\..\admin`:                     ErrPathSegment,
		"/pub/..%5cadmin":                   ErrPathSegment,
		"/pub%5c..%5cadmin":                 ErrPathSegment,
		"/pub%5c../admin":                   ErrPathSegment,
		"/pub%5c..;/admin":                  ErrPathSegment,
		"/pub/;/../admin":                   ErrPathSegment,
		"/pub/;x=1/../admin":                ErrPathSegment,
		"/pub/%3bx/../admin":                ErrPathSegment,
		"/pub/%5c/../admin":                 ErrPathSegment,
		"/pub/a%5cb/c/../../admin":          ErrPathSegment,
		"/%c0%ae%c0%ae/admin":               ErrPathUTF8,
		"/%c0%af":                           ErrPathUTF8,
		"/%e0%80%af":                        ErrPathUTF8,
		"/%f0%80%80%af":                     ErrPathUTF8,
		"/\xc0\xae\xc0\xae/":                ErrPathUTF8,
		"":                                  ErrPathStart,
		"a":                                 ErrPathStart,
		"%2fa":                              ErrPathStart,
		"/" + strings.Repeat("a/../../", 3): ErrPathRoot,
	} {
		if got, err := NormalizePath(raw); err != want {
			t.Errorf("%q: %q, %v; want %v", raw, got, err, want)
		}
	}
}

func TestS4_6_TargetInAbsoluteFormNamesTheHost(t *testing.T) {
	for raw, want := range map[string][2]string{
		"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n":       {"a.test", "a.test"},
		"GET http://A.test:81/ HTTP/1.1\r\nHost: b.test\r\n\r\n":    {"a.test", "A.test:81"},
		"GET http://A.test:80/ HTTP/1.1\r\nHost: a.test\r\n\r\n":    {"a.test", "a.test"},
		"GET http://a.test/ HTTP/1.1\r\nHost: a.test.:8080\r\n\r\n": {"a.test", "a.test.:8080"},
		"GET http://a.test/ HTTP/1.0\r\n\r\n":                       {"a.test", "a.test"},
	} {
		_, _, r, err := parse(t, Limits{}, raw)
		if err != nil || r.Host != want[0] || r.Authority != want[1] {
			t.Errorf("%q: host %q, authority %q, %v; want %q", raw, r.Host, r.Authority, err, want)
		}
	}
}

func TestS4_3_FragmentsAreNotPath(t *testing.T) {
	cases := []struct {
		target, path, query string
		hasQuery, ok        bool
	}{
		{"/a?b?c", "/a", "b?c", true, true},
		{"/?", "/", "", true, true},
		{"/a#frag", "/a", "", false, true}, // parity 60-http, empty-and-odd-queries 04
		{"/a?x=%zz#frag", "/a", "x=%zz", true, true},
		{"/a#?b", "", "", false, false},
		{"/a#/../admin", "", "", false, false},
		{"/a#..", "", "", false, false},
		{"/a b", "", "", false, false},
		{"/a\tb", "", "", false, false},
	}
	for _, c := range cases {
		var r exchange.Request
		err := SetTarget(&r, c.target)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.target, err)
		}
		if c.ok && (r.Target != c.target || r.Path != c.path || r.Query != c.query || r.HasQuery != c.hasQuery) {
			t.Errorf("%q: %+v", c.target, r)
		}
	}
}

func TestS4_5_HostSelector(t *testing.T) {
	for in, want := range map[string]string{
		"EXAMPLE.com":      "example.com",
		"example.com.":     "example.com",
		"example.com:443":  "example.com",
		"example.com.:443": "example.com",
		"example.com:":     "example.com",
		"exa%6dple.com":    "exa%6dple.com",
		"10.99.0.1":        "10.99.0.1",
		"[::1]":            "[::1]",
		"[2001:DB8::1]:80": "[2001:db8::1]",
		"under_score.test": "under_score.test",
		"":                 "",
		":80":              "",
		".":                "",
		"..":               "",
		"a..b":             "",
		"a:80x":            "",
		"a:123456":         "",
		"[]":               "",
		"[::1]x":           "",
		"[::1]:x":          "",
		"a\x00":            "",
		"a\xc3\xa9":        "",
		"a,b":              "a,b",
		"a\\b":             "",
		"a?b":              "",
		"a#b":              "",
	} {
		got, ok := HostSelector(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, ok, want)
		}
	}
}

// normalizeSlow is the model of NormalizePath: the same rules with other means.
func normalizeSlow(raw string) (string, bool) {
	if !strings.HasPrefix(raw, "/") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			b.WriteByte(raw[i])
			continue
		}
		v := 0
		if i+2 >= len(raw) {
			return "", false
		}
		for _, c := range strings.ToLower(raw[i+1 : i+3]) {
			d := strings.IndexRune("0123456789abcdef", c)
			if d < 0 {
				return "", false
			}
			v = v*16 + d
		}
		if v == 0 {
			return "", false
		}
		b.WriteByte(byte(v))
		i += 2
	}
	parts := strings.Split(b.String()[1:], "/")
	var out []string
	dir := false
	for _, s := range parts {
		dir = true
		switch {
		case s == "" || s == ".":
		case s == "..":
			if len(out) == 0 {
				return "", false
			}
			out = out[:len(out)-1]
		case strings.HasPrefix(s, ".;") || strings.HasPrefix(s, "..;"):
			return "", false
		default:
			out, dir = append(out, s), false
		}
	}
	p := "/" + strings.Join(out, "/")
	if dir && len(out) > 0 {
		p += "/"
	}
	return p, true
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/x", "//a//", "/a/..;/b", "/a%5c..%5cb", "/%c0%ae", "/a/./b/../c/", "/%25%32%65", "/.well-known/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := NormalizePath(raw)
		want, ok := normalizeSlow(raw)
		if err == nil {
			if !ok || got != want {
				t.Fatalf("%q: %q; the model says %q, %v", raw, got, want, ok)
			}
			if strings.Contains(got, "//") || strings.Contains(got+"/", "/../") || strings.Contains(got+"/", "/./") || got[0] != '/' {
				t.Fatalf("%q: %q is not normal", raw, got)
			}
		} else if ok && err != ErrPathUTF8 && err != ErrPathSegment {
			t.Fatalf("%q: %v; the model says %q", raw, err, want)
		}
	})
}
