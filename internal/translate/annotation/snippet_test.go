package annotation

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/filter"
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
	got, err := compileSnippet(`more_set_headers "X-A: b" 'X-C:d';
# a comment
more_set_headers -s '404 500' -t 'Text/HTML application/json' "X-E: $host";
more_set_headers X-Gone: X-Gone2;
more_clear_headers "X-Powered-*" -s 200;
more_set_headers -a "X-Also: 1";`, inRoute)
	if err != nil {
		t.Fatal(err)
	}
	on, types := []int{404, 500}, []string{"text/html", "application/json"}
	want := []snippet.Field{
		{Name: "X-A", Value: "b"}, {Name: "X-C", Value: "d"}, {Name: "X-E", Value: "$host", Statuses: on, Types: types}, {Name: "X-Gone"}, {Name: "X-Gone2"},
		{Name: "X-Powered-*", Statuses: []int{200}}, {Name: "X-Also", Value: "1", Append: true},
	}
	if d := cmp.Diff(want, got.Levels[0].More); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestS1_1_WhatCouldGuardRefusesTheWholeSnippet(t *testing.T) {
	for text, want := range map[string]string{
		"more_set_headers \"A: b\";\nproxy_pass http://x;":     `line 2: directive "proxy_pass" is not supported: it sends requests`,
		"content_by_lua_block { os.execute('id') }":            `line 1: directive "os.execute('id')" does not end with ;`,
		"location /x { alias /etc/passwd; }":                   `directive "location" has no place in configuration-snippet`,
		"root /etc;":                                           `"root" is not supported`,
		"include /etc/passwd;":                                 `"include" is not supported`,
		"load_module /tmp/x.so;":                               `directive "load_module" is not supported`,
		"ssl_engine x;more_set_headers 'A: b';":                `directive "ssl_engine" is not supported`,
		strings.Repeat("a;", 10) + "access_by_lua 'return 1';": `directive "a" is not known`,
		"access_by_lua 'return 1';":                            `"access_by_lua" is not supported: lintel runs no programs`,
		"denny all;":                                           `"denny" is not known`,
		"deny al;":                                             `neither an address`,
		"deny all { }":                                         `takes no block`,
		"if ($x = y;)":                                         `does not end with ;`,
		"if (-f $request_filename) { return 403; }":            `tests of files are not supported`,
		"if (!-e $request_filename) { return 403; }":           `tests of files are not supported`,
		"if ($a == b) { return 403; }":                         `"==" is not one of`,
		"if ($a ~ (?!b)) { return 403; }":                      `lookaround`,
		"if (abc) { return 403; }":                             `is no variable`,
		"if ($a) { if ($b) { return 403; } }":                  `directive "if" has no place in an if`,
		"if ($a);":                                             `wants a block`,
		"if ($a) { proxy_set_header A b; }":                    `has no place in an if`,
		"return;":                                              `has 0 arguments`,
		"return 4x3;":                                          `"4x3" is neither`,
		"return ftp://a;":                                      `is neither`,
		"return 301 $no_such;":                                 ``,
		"rewrite ^/(?=a) /b;":                                  `is not supported`,
		"rewrite ^/a b;":                                       `does not start with /`,
		"rewrite ^/a /b never;":                                `"never" is not one of`,
		"rewrite ^/a ?;":                                       `is empty`,
		"set $remote_addr 1;":                                  `not a variable that can be set`,
		"set x 1;":                                             `is no variable`,
		"set $proxy_upstream_name default-other-80;":           `not a variable that can be set`,
		"proxy_set_header Content-Length 0;":                   `frames messages`,
		"proxy_set_header \"A\\r\\nB\" 0;":                     `no name of a field`,
		"more_set_input_headers \"Host: x\";":                  `names the host`,
		"limit_except GET { return 403; }":                     `has no place in limit_except`,
		"limit_except { deny all; }":                           `names no method`,
		"satisfy some;":                                        `neither all nor any`,
		"auth_request_set $u $http_x;":                         `is not a field of the service's answer`,
		"auth_basic off;":                                      `use auth-url`,
	} {
		s, err := compileSnippet(text, inRoute)
		if want == "" {
			if err != nil || len(s.Free) != 1 {
				t.Errorf("%q: %+v, %v", text, s, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%q is taken", text)
			continue
		}
		full := err.Error()
		if e, ok := err.(*snippetError); ok {
			full += " " + e.hint
		}
		if !strings.Contains(full, want) || s != nil {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestWhatGuardsNothingIsLeftOutAlone(t *testing.T) {
	for text, want := range map[string]string{
		`more_set_headers { a; }`:                   `takes no block`,
		`more_set_headers;`:                         `has no field`,
		`more_set_headers -x "X: y";`:               `option "-x" is not supported`,
		`more_set_headers -s;`:                      `option -s wants a value`,
		`more_set_headers -s '' "X: y";`:            `option -s wants a value`,
		`more_set_headers -s 4xx "X: y";`:           `"4xx" is not a status`,
		`more_set_headers "Transfer-Encoding: c";`:  `frames messages`,
		`more_set_headers "Content-Length: 0";`:     `frames messages`,
		`more_set_headers "X Y: z";`:                `is no name of a field`,
		`more_set_headers "X: a\r\nSet-Cookie: b";`: `control characters`,
		`more_set_headers "X: $";`:                  `not followed by the name`,
		"more_set_headers \"X-Foo*: z\n\";":         `is no name`,
		`add_header X y never;`:                     `is not always`,
		`add_header Content-Length 5;`:              `frames messages`,
		`expires never;`:                            `neither a time`,
		`access_log /var/log/x;`:                    `only off is supported`,
		`proxy_cache zone;`:                         `keeps no copies`,
		`proxy_pass_header Server;`:                 `decided for all hosts`,
		`error_log /dev/null;`:                      `its own log`,
	} {
		s, err := compileSnippet(text+"\nadd_header X-Kept 1;", inRoute)
		if err != nil || len(s.Notes) != 1 || s.Notes[0].NoEffect || !strings.Contains(s.Notes[0].Message, want) || len(s.Levels[0].Add) != 1 {
			t.Errorf("%q: %+v, %v, want %s", text, s, err, want)
		}
	}
}

func TestConditionsAreReadAsNginxReadsThem(t *testing.T) {
	for text, want := range map[string]snippet.Cond{
		`($a)`:               {Left: "$a"},
		`( $a )`:             {Left: "$a"},
		`($a = b)`:           {Left: "$a", Op: snippet.Equal, Right: "b"},
		`($a = "b c")`:       {Left: "$a", Op: snippet.Equal, Right: "b c"},
		`($a = "")`:          {Left: "$a", Op: snippet.Equal},
		`($a != 'b')`:        {Left: "$a", Op: snippet.NotEqual, Right: "b"},
		`($a ~ ^/x(y|z))`:    {Left: "$a", Op: snippet.Match, Right: "^/x(y|z)"},
		`($a ~* "x{2}" )`:    {Left: "$a", Op: snippet.MatchFold, Right: "x{2}"},
		`($a !~ \.php$)`:     {Left: "$a", Op: snippet.NotMatch, Right: `\.php$`},
		`($a !~* (x))`:       {Left: "$a", Op: snippet.NotMatchFold, Right: "(x)"},
		`($http_x = $uri)`:   {Left: "$http_x", Op: snippet.Equal, Right: "$uri"},
		`($http_x !~* ^on$)`: {Left: "$http_x", Op: snippet.NotMatchFold, Right: "^on$"},
	} {
		s, err := compileSnippet("if "+text+" { return 403; }", inRoute)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.Steps[0].If.Cond; got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestSnippetsPageIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := WriteSnippetsMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	const path = "../../../docs/reference/snippets.md"
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the table says (%v): run the test with -update", path, err)
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
		for _, at := range []snippetPlace{inRoute, inServer} {
			s, err := compileSnippet(text, at)
			if err != nil {
				continue
			}
			request, _ := s.request()
			response, _ := s.response()
			for _, cfg := range []filter.Config{request, response, snippet.ServerConfig(request), snippet.ServerResponse(response)} {
				if _, err := cfg.Build(nil); err != nil {
					t.Errorf("%q is accepted and does not build: %v", text, err)
				}
			}
		}
	})
}
