package annotation

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

// show writes directives in one line.
func show(list []Directive) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%d:%d %s", d.Line, d.Column, d.Name)
		for _, a := range d.Args {
			fmt.Fprintf(&b, " %q", a.Text)
		}
		if d.HasBlock {
			fmt.Fprintf(&b, " { %s}", show(d.Block))
		}
		b.WriteString("; ")
	}
	return b.String()
}

func TestDirectivesAreReadAsNginxReadsThem(t *testing.T) {
	for text, want := range map[string]string{
		``:                                       ``,
		`a;`:                                     `1:1 a; `,
		"a b  c;\n  d 'e f' \"g;h\";":            "1:1 a \"b\" \"c\"; 2:3 d \"e f\" \"g;h\"; ",
		"# comment; a b;\na; # more\n":           "2:1 a; ",
		`a b#c;`:                                 `1:1 a "b#c"; `,
		`a "b\"c" 'd\'e' f\;g h\\i;`:             `1:1 a "b\"c" "d'e" "f\\;g" "h\\i"; `,
		`rewrite ^/old/(.*)$ /new/$1 last`:       ``,
		`set $a ${b}c;`:                          `1:1 set "$a" "${b}c"; `,
		`if ($a ~* "x") { return 403 "no"; } b;`: `1:1 if "($a" "~*" "x" ")" { 1:18 return "403" "no"; }; 1:37 b; `,
		`location /x{deny all;}`:                 `1:1 location "/x" { 1:13 deny "all"; }; `,
		`a "x"y;`:                                ``,
		`a "x;`:                                  ``,
		`a {`:                                    ``,
		`}`:                                      ``,
		`;`:                                      ``,
		`{ a; }`:                                 ``,
		`a { b }`:                                ``,
		`a "\n\t\d";`:                            `1:1 a "\n\t\\d"; `,
		strings.Repeat("a{", 40):                 ``,
		strings.Repeat("a{", 10) + strings.Repeat("}", 10): "skip",
	} {
		list, err := ParseDirectives(text)
		if want == "skip" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if want == "" && text != "" {
			if err == nil {
				t.Errorf("%q is read as %s", text, show(list))
			}
			continue
		}
		if err != nil || show(list) != want {
			t.Errorf("%q is read as %s (%v), want %s", text, show(list), err, want)
		}
	}
}

func TestSyntaxErrorsNameTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"a;\nb c":         `line 2: directive "b" does not end with ;`,
		"a;\n\n \"x":      `line 3: the closing " is missing`,
		"a;\n}":           `line 2: unexpected "}"`,
		"a {\nb;\n":       `line 3: "}" is missing`,
		"a \"x\"\n 'y'z;": `line 2: unexpected "z" after a closing quote`,
	} {
		if _, err := ParseDirectives(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestMoreSetHeaders(t *testing.T) {
	got, err := parseSnippet(`more_set_headers "X-A: b" 'X-C:d';
# a comment
more_set_headers -s '404 500' -t 'Text/HTML application/json' "X-E: $host";
more_set_headers X-Gone: X-Gone2;`)
	if err != nil {
		t.Fatal(err)
	}
	on, types := []int{404, 500}, []string{"text/html", "application/json"}
	want := snippet.Config{SetHeaders: []snippet.SetHeader{
		{Name: "X-A", Value: "b"}, {Name: "X-C", Value: "d"}, {Name: "X-E", Value: "$host", Statuses: on, Types: types}, {Name: "X-Gone"}, {Name: "X-Gone2"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestS1_1_UnknownDirectivesRefuseTheWholeSnippet(t *testing.T) {
	for text, want := range map[string]string{
		"more_set_headers \"A: b\";\nproxy_pass http://x;":     `line 2: directive "proxy_pass" is not supported`,
		"if ($uri) { more_set_headers \"A: b\"; }":             `line 1: directive "if" is not supported`,
		"content_by_lua_block { os.execute('id') }":            `line 1: directive "os.execute('id')" does not end with ;`,
		"location /x { alias /etc/passwd; }":                   `directive "location" is not supported`,
		`more_set_headers { a; }`:                              `directive "more_set_headers" is not supported`,
		`more_set_headers;`:                                    `has no field`,
		`more_set_headers -a "X: y";`:                          `option "-a" is not supported`,
		`more_set_headers -s;`:                                 `option -s wants a value`,
		`more_set_headers -s '' "X: y";`:                       `option -s wants a value`,
		`more_set_headers -s 4xx "X: y";`:                      `"4xx" is not a status`,
		`more_set_headers "Transfer-Encoding: chunked";`:       `frames messages`,
		`more_set_headers "Content-Length: 0";`:                `frames messages`,
		`more_set_headers "X Y: z";`:                           `is no name of a field`,
		`more_set_headers "X: a\r\nSet-Cookie: b";`:            `control characters`,
		`more_set_headers "X: $no_such_thing";`:                `$no_such_thing`,
		`more_set_headers "X: $";`:                             `not followed by the name`,
		"more_set_headers \"X-Foo*: z\n\";":                    `is no name`,
		"load_module /tmp/x.so;":                               `directive "load_module" is not supported`,
		"ssl_engine x;more_set_headers 'A: b';":                `directive "ssl_engine" is not supported`,
		strings.Repeat("a;", 10) + "access_by_lua 'return 1';": `directive "a" is not supported`,
	} {
		cfg, err := parseSnippet(text)
		if err == nil || !strings.Contains(err.Error(), want) || len(cfg.SetHeaders) != 0 {
			t.Errorf("%q: %+v, %v, want %s", text, cfg, err, want)
		}
	}
}

func FuzzDirectives(f *testing.F) {
	f.Add(`if ($a ~ "b") { more_set_headers -s 404 "X: y"; } # z`)
	f.Add("a 'b\\'c' ${d}{ e; }")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseDirectives(text)
		if err == nil && len(list) > len(text) {
			t.Errorf("%d directives of %d bytes", len(list), len(text))
		}
		if cfg, err := parseSnippet(text); err == nil {
			if _, err := cfg.Build(nil); err != nil {
				t.Errorf("%q is accepted and does not build: %v", text, err)
			}
		}
	})
}
