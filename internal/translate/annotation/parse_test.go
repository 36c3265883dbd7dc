package annotation

import (
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/diag"
)

const prefix = DefaultPrefix + "/"

// permissive lets every risk through.
var permissive = Options{Risk: Critical, AllowSnippets: true}

func parseOne(t *testing.T, o Options, pairs ...string) (*Values, []Finding, Outcome) {
	t.Helper()
	raw := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		raw[prefix+pairs[i]] = pairs[i+1]
	}
	return Parse(raw, o)
}

func TestMalformedValueHasTheOutcomeOfItsKey(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        Outcome
		message     string
	}{
		{"ssl-redirect", "yes", Soft, `"yes" is not true or false`},
		{"ssl-redirect", "true\n", Soft, "line break"},
		{"from-to-www-redirect", "on", Hard, `"on" is not true or false`},
		{"permanent-redirect-code", "3o8", Hard, `"3o8" is not an integer`},
		{"permanent-redirect", "https://www.example.com$request_uri", Hard, "'$' at 24 is not allowed"},
		{"permanent-redirect", "https://a.example/x\nreturn 200;", Hard, "line break"},
		{"temporal-redirect", "/login", Soft, "absolute http or https URL"},
		{"rewrite-target", "/x?from=$1", Soft, "'?' at 3 is not allowed"},
		{"rewrite-target", "/x;}location /pwn{return 200 pwned;}", Soft, "';' at 3"},
		{"app-root", "app1", Soft, "starts with /"},
		{"upstream-vhost", `a";return 200 pwned;#`, Hard, `'"' at 2`},
		{"upstream-vhost", "$no_such_variable", Hard, "$no_such_variable"},
		{"x-forwarded-prefix", "/a\r\nb", Hard, "line break"},
		{"server-alias", "a.example.com,b{}.example.com", Hard, "is no host name"},
		{"server-alias", "~(?<=a)b", Hard, "not allowed"},
		{"custom-http-errors", "404,abc", Hard, "status codes from 400 to 599"},
		{"default-backend", "Svc.other", Hard, "name of a Service"},
		{"custom-headers", "a b", Deny, ""},
		{"cors-allow-origin", "https://a.test;x", Soft, "origins"},
		{"proxy-cookie-path", "/a", Soft, `"off"`},
		{"configuration-snippet", "proxy_pass http://x;", Deny, `directive "proxy_pass" is not supported`},
		{"configuration-snippet", "more_set_headers \"X: y\"", Deny, "does not end with ;"},
		{"enable-access-log", "\x00", Soft, "control character"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			v, found, worst := parseOne(t, permissive, c.name, c.value)
			if worst != c.want || len(found) != 1 {
				t.Fatalf("outcome %d, findings %+v, want outcome %d and one finding", worst, found, c.want)
			}
			if !strings.Contains(found[0].Message, c.message) {
				t.Errorf("message %q does not say %q", found[0].Message, c.message)
			}
			if _, ok := v.parsed[c.name]; ok {
				t.Error("the value counts as set")
			}
			if found[0].Name != prefix+c.name || found[0].Hint == "" {
				t.Errorf("finding %+v has no name or hint", found[0])
			}
		})
	}
}

func TestEmptyValueCountsAsNotSet(t *testing.T) {
	v, found, worst := parseOne(t, permissive, "permanent-redirect", " \n ", "from-to-www-redirect", "")
	if len(found) != 0 || worst != 0 || v.Set(permanentRedirect) || v.Set(fromToWWW) {
		t.Errorf("findings %+v, outcome %d", found, worst)
	}
	if raw, ok := v.Raw("permanent-redirect"); !ok || raw != "" {
		t.Errorf("raw is %q, %v; want it there and empty", raw, ok)
	}
}

func TestLinesAreTrimmedWhereTextsAreRead(t *testing.T) {
	v, found, _ := parseOne(t, permissive, "rewrite-target", "  /a/$1 ")
	if to, ok := rewriteTarget.Get(v); !ok || to != "/a/$1" {
		t.Errorf("got %q, %v, findings %+v", to, ok, found)
	}
	v, found, _ = parseOne(t, permissive, "server-alias", "a.example,\n   b.example\n")
	if got, _ := serverAlias.Get(v); len(got) != 2 || got[1] != "b.example" {
		t.Errorf("got %q, findings %+v", got, found)
	}
}

func TestConfigMapSetsDefault(t *testing.T) {
	o := permissive
	cm := map[string]string{"ssl-redirect": "false\n", "custom-http-errors": "404, 9999,503", "force-ssl-redirect": ""}
	o.Global = func(key string) (string, bool) { s, ok := cm[key]; return s, ok }
	v, _, _ := parseOne(t, o)
	if on, set := sslRedirect.Get(v); on || set {
		t.Errorf("ssl-redirect %v, %v", on, set)
	}
	if codes, set := customHTTPErrors.Get(v); set || len(codes) != 2 || codes[1] != 503 {
		t.Errorf("custom-http-errors %v, %v", codes, set)
	}
	if on, _ := forceSSLRedirect.Get(v); on {
		t.Error("an empty ConfigMap boolean is true")
	}
	v, _, _ = parseOne(t, o, "ssl-redirect", "true")
	if on, set := sslRedirect.Get(v); !on || !set {
		t.Error("the annotation does not win")
	}
}

func TestRiskAboveLevelRefusesIngress(t *testing.T) {
	for _, c := range []struct {
		name  string
		level Risk
		want  Outcome
	}{
		{"configuration-snippet", High, Hard},
		{"configuration-snippet", Critical, 0},
		{"server-alias", Medium, Hard},
		{"server-alias", High, 0},
		{"rewrite-target", Low, Hard},
		{"ssl-redirect", Low, 0},
	} {
		value := map[string]string{"configuration-snippet": `more_set_headers "A: b";`, "server-alias": "a.example", "rewrite-target": "/", "ssl-redirect": "true"}[c.name]
		_, found, worst := parseOne(t, Options{Risk: c.level, AllowSnippets: true}, c.name, value)
		if worst != c.want {
			t.Errorf("%s at level %s: outcome %d, want %d (%+v)", c.name, c.level, worst, c.want, found)
		}
	}
}

func TestSnippetsAreDroppedWhereSwitchedOff(t *testing.T) {
	v, found, worst := parseOne(t, Options{Risk: Critical}, "configuration-snippet", "anything", "rewrite-target", "/")
	if worst != 0 || len(found) != 1 || found[0].Code != diag.SnippetRefused || v.Set(configurationSnippet) {
		t.Errorf("outcome %d, findings %+v", worst, found)
	}
	if !v.Set(rewriteTarget) {
		t.Error("the other annotation is lost")
	}
}

func TestBlockedWordRefusesIngress(t *testing.T) {
	o := permissive
	o.BlockedWords = []string{" load_module ", ""}
	if _, found, worst := parseOne(t, o, "no-such-name", "x load_module y"); worst != Hard || len(found) != 2 {
		t.Errorf("outcome %d, findings %+v", worst, found)
	}
}

func TestUnknownNamesGetAHint(t *testing.T) {
	for name, hint := range map[string]string{
		"rewrite-traget":       "did you mean rewrite-target?",
		"ssl-redirct":          "did you mean ssl-redirect?",
		"proxy-body-sizes":     "did you mean proxy-body-size?",
		"completely-different": "see the list",
		"secure-backends":      "use backend-protocol: HTTPS",
		"client-max-body-size": "use proxy-body-size",
	} {
		_, found, worst := parseOne(t, permissive, name, "x")
		if worst != 0 || len(found) != 1 || !strings.Contains(found[0].Hint, hint) || found[0].Severity != diag.Warning {
			t.Errorf("%s: outcome %d, findings %+v, want hint %q", name, worst, found, hint)
		}
	}
}

func TestAnnotationsOfOthersAreLeftAlone(t *testing.T) {
	v, found, worst := Parse(map[string]string{"cert-manager.io/cluster-issuer": "x", "nginx.org/rewrite": "y", "kubernetes.io/ingress.class": "nginx"}, permissive)
	if len(found) != 0 || worst != 0 || len(v.raw) != 0 {
		t.Errorf("findings %+v", found)
	}
	v, _, _ = Parse(map[string]string{"my.example/rewrite-target": "/"}, Options{Prefix: "my.example", Risk: High})
	if !v.Set(rewriteTarget) {
		t.Error("the other prefix is not read")
	}
}

func TestLaterKeysAreNeverSilentlyIgnored(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        Outcome
		severity    diag.Severity
	}{
		{"ssl-passthrough", "true", Deny, diag.Error},
		{"enable-modsecurity", "true", Deny, diag.Error},
		{"enable-opentelemetry", "true", Soft, diag.Warning},
	} {
		_, found, worst := parseOne(t, permissive, c.name, c.value)
		if worst != c.want || len(found) != 1 || found[0].Code != diag.AnnotationLater || found[0].Severity != c.severity {
			t.Errorf("%s: outcome %d, findings %+v", c.name, worst, found)
		}
	}
	if _, found, worst := parseOne(t, permissive, "ssl-passthrough", "false"); worst != 0 || len(found) != 0 {
		t.Errorf("ssl-passthrough false: outcome %d, findings %+v", worst, found)
	}
	if _, found, worst := parseOne(t, permissive, "http2-push-preload", "true"); worst != 0 || len(found) != 1 || found[0].Code != diag.AnnotationNoEffect {
		t.Errorf("http2-push-preload: outcome %d, findings %+v", worst, found)
	}
}

func TestUncheckedValuesAreStillTyped(t *testing.T) {
	o := permissive
	o.Unvalidated = true
	v, _, worst := parseOne(t, o, "permanent-redirect", "https://a.example/%20", "permanent-redirect-code", "308")
	if to, _ := permanentRedirect.Get(v); worst != 0 || to != "https://a.example/%20" {
		t.Errorf("outcome %d, value %q", worst, to)
	}
	if _, _, worst := parseOne(t, o, "permanent-redirect-code", "x"); worst != Hard {
		t.Errorf("outcome %d, want Hard", worst)
	}
}

// The control characters of S1.3, in every single-value annotation.
func TestS1_3_ControlCharactersAreRefusedEverywhere(t *testing.T) {
	for _, k := range Keys() {
		i := k.Info()
		if len(i.Examples) == 0 {
			continue
		}
		for _, bad := range []string{"\x00", "\x1b", "\x7f", "\xff"} {
			_, found, worst := parseOne(t, permissive, i.Name, i.Examples[0]+bad+"x")
			if worst == 0 || len(found) == 0 {
				t.Errorf("%s accepts %q in its value", i.Name, bad)
			}
		}
		if r := k.rules(); !r.lines {
			for _, bad := range []string{"\n", "\r", "\r\n"} {
				if _, _, worst := parseOne(t, permissive, i.Name, i.Examples[0]+bad+"x"); worst == 0 {
					t.Errorf("%s accepts %q in its value", i.Name, bad)
				}
			}
		}
	}
}

func TestS1_4_AliasesAreJudgedAsTheirPrimaryName(t *testing.T) {
	for alias, main := range aliases {
		for _, value := range append(keys[main].Info().Examples, "bad \x01 value", "", "$(x)") {
			_, a, worstA := parseOne(t, Options{Risk: Medium}, alias, value)
			_, m, worstM := parseOne(t, Options{Risk: Medium}, main, value)
			if worstA != worstM || len(a) != len(m) {
				t.Errorf("%s %q: outcome %d (%+v), but %s: %d (%+v)", alias, value, worstA, a, main, worstM, m)
				continue
			}
			for i := range a {
				if a[i].Message != m[i].Message {
					t.Errorf("%s says %q, %s says %q", alias, a[i].Message, main, m[i].Message)
				}
			}
		}
	}
}

func TestPrimaryNameWinsOverAlias(t *testing.T) {
	for alias, main := range aliases {
		example := keys[main].Info().Examples[0]
		_, found, worst := parseOne(t, permissive, alias, "not even valid \x01", main, example)
		if worst != 0 || len(found) != 1 || found[0].Code != diag.AnnotationConflict {
			t.Errorf("%s beside %s: outcome %d, findings %+v", alias, main, worst, found)
		}
		v, _, _ := parseOne(t, permissive, alias, example, main, " ")
		if !v.Set(keys[main]) {
			t.Errorf("%s beside an empty %s is not read", alias, main)
		}
	}
}
