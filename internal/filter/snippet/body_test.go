package snippet

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/lintel-ingress/lintel/internal/filter"
)

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

func TestTextsAreReplacedAcrossReads(t *testing.T) {
	long := strings.Repeat("x", chunk-2)
	for _, c := range []struct {
		cfg      Body
		in, want string
	}{
		{Body{Rules: []Replace{{"</head>", "<s>$host</s></head>"}}}, "<html></HEAD></head>", "<html><s>a.test</s></head></head>"},
		{Body{Rules: []Replace{{"abc", "-"}}, Every: true}, "abcabcABCab", "---ab"},
		{Body{Rules: []Replace{{"abc", "-"}}, Every: true}, "aabcabab", "a-abab"},
		{Body{Rules: []Replace{{"a", "1"}, {"b", "2"}}}, "abab", "12ab"},
		{Body{Rules: []Replace{{"ab", "1"}, {"abc", "2"}}, Every: true}, "abc abc", "1c 1c"},
		{Body{Rules: []Replace{{"abcd", "1"}, {"bc", "2"}}, Every: true}, "abcd abce", "1 a2e"},
		{Body{Rules: []Replace{{"needle", "N"}}, Every: true}, long + "needle" + long + "needl", long + "N" + long + "needl"},
		{Body{Rules: []Replace{{"x", ""}}, Every: true}, "xxx", ""},
		{Body{Rules: []Replace{{"$arg_none", "!"}}, Every: true}, "xxx", "xxx"},
	} {
		f := build[filter.OnResponse](t, c.cfg)
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "with EOF": iotest.DataErrReader} {
			x := request("/", "")
			x.Resp.Status, x.Resp.FromUpstream, x.Resp.Length = 200, true, int64(len(c.in))
			x.Resp.Header.Add("Content-Type", "text/html; charset=utf-8")
			x.Resp.Header.Add("ETag", `"1"`)
			src := &closer{Reader: wrap(strings.NewReader(c.in))}
			x.Resp.Body = src
			f.Response(x)
			got, err := io.ReadAll(x.Resp.Body)
			if err != nil || string(got) != c.want {
				t.Errorf("%+v, %s: %q, %v", c.cfg, name, got, err)
			}
			if err := x.Resp.Body.Close(); err != nil || !src.closed {
				t.Errorf("not closed: %v", err)
			}
			if changed := x.Resp.Length == -1 && !x.Resp.Header.Has("ETag"); changed != (c.cfg.Rules[0].From != "$arg_none") {
				t.Errorf("%+v: length %d, %v", c.cfg, x.Resp.Length, x.Resp.Header)
			}
			x.Release()
		}
	}
}

func TestOtherBodiesAreLeftAlone(t *testing.T) {
	f := build[filter.OnResponse](t, Body{Rules: []Replace{{"a", "b"}}, Types: []string{"text/css"}})
	for _, c := range []struct {
		status         int
		kind, encoding string
		want           string
	}{
		{200, "text/css", "", "b"}, {200, "application/json", "", "a"}, {200, "text/html", "gzip", "a"}, {206, "text/html", "", "a"}, {404, "Text/HTML", "", "b"},
	} {
		x := request("/", "")
		x.Resp.Status, x.Resp.FromUpstream, x.Resp.Length = c.status, true, 1
		x.Resp.Header.Add("Content-Type", c.kind)
		if c.encoding != "" {
			x.Resp.Header.Add("Content-Encoding", c.encoding)
		}
		x.Resp.Body = &closer{Reader: strings.NewReader("a")}
		f.Response(x)
		if got, err := io.ReadAll(x.Resp.Body); err != nil || string(got) != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		x.Release()
	}
}

func TestAnErrorOfTheBodyComesThrough(t *testing.T) {
	broken := errors.New("broken")
	f := build[filter.OnResponse](t, Body{Rules: []Replace{{"abc", "b"}}})
	x := request("/", "")
	defer x.Release()
	x.Resp.Status, x.Resp.FromUpstream, x.Resp.Length = 200, true, -1
	x.Resp.Header.Add("Content-Type", "text/html")
	x.Resp.Body = &closer{Reader: io.MultiReader(strings.NewReader("xab"), iotest.ErrReader(broken))}
	f.Response(x)
	if got, err := io.ReadAll(x.Resp.Body); !errors.Is(err, broken) || string(got) != "xab" {
		t.Errorf("%q, %v", got, err)
	}
}
