package translate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// hostile are texts that have broken out of somebody's configuration.
func hostile() []string {
	out := []string{strings.Repeat("x", 10<<10), "\xff\xfe", "a\r\nb", "%", "../../etc/passwd", "${jndi:x}", "$request_uri", "(?:", "(((((", "[", "*.*", "~(", "~", "_", "."}
	for _, c := range "`'\";{}#$\\\n\r\x00 \t|&<>()[]*?+^" {
		out = append(out, string(c), "/"+string(c), "a"+string(c)+"b.test", "/a"+string(c)+"b")
	}
	return out
}

func TestS1_2_HostileTextsLeaveOtherIngressesAlone(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, ingressYAML("good", day1, "", "good.test"))
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config, namespace: ingress-nginx}\ndata: {allow-snippet-annotations: \"true\", annotations-risk-level: Critical}")
	good := w.hosts["good.test"].Text()
	try := func(what string, in *object.Ingress) {
		t.Helper()
		in.CreationTimestamp = metav1.Time{Time: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}
		w.build(w.snap.Apply([]object.Change{change(in)}))
		if got := w.hosts["good.test"].Text(); got != good {
			t.Fatalf("%s changed another Ingress' host to\n%s", what, got)
		}
		w.delete(object.KindIngress, "default", "bad")
	}
	for _, text := range hostile() {
		try(fmt.Sprintf("path %.40q", text), simple("bad", "bad.test", text, "a"))
		try(fmt.Sprintf("host %.40q", text), simple("bad", text, "/", "a"))
		try(fmt.Sprintf("service %.40q", text), simple("bad", "bad.test", "/", text))
		regex := simple("bad", "bad.test", text, "a")
		regex.Annotations = map[string]string{"nginx.ingress.kubernetes.io/use-regex": "true"}
		try(fmt.Sprintf("regex path %.40q", text), regex)
		for _, k := range annotation.Keys() {
			if len(text) > 100 && testing.Short() {
				continue
			}
			in := simple("bad", "bad.test", "/", "a")
			in.Annotations = map[string]string{"nginx.ingress.kubernetes.io/" + k.Info().Name: text}
			try(fmt.Sprintf("%s: %.40q", k.Info().Name, text), in)
		}
	}
	if len(w.hosts) != 2 {
		t.Errorf("%d hosts are left over", len(w.hosts)-2)
	}
}

func TestS1_3_ControlCharactersRefuseThatObjectOnly(t *testing.T) {
	for _, text := range []string{"\r", "\n", "\x00", "\x1b", "\x7f", "\u0085", "\xff"} {
		for _, in := range []*object.Ingress{
			simple("bad", "bad"+text+".test", "/", "a"),
			simple("bad", "bad.test", "/a"+text+"b", "a"),
		} {
			w := newWorld(t, testOptions(), serviceA, ingressYAML("good", day1, "", "good.test"))
			w.build(w.snap.Apply([]object.Change{change(in)}))
			if len(w.hosts) != 2 || w.hosts["good.test"] == nil {
				t.Errorf("%q: hosts %v", text, w.hosts)
			}
			if !strings.Contains(w.findings(), "Ingress default/bad") {
				t.Errorf("%q: no finding", text)
			}
		}
	}
}

func TestS3_5_YoungerIngressOfAnotherNamespaceChangesNothing(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, secretYAML("s", "shop.test"), ingressYAML("old", day1, "[{hosts: [shop.test], secretName: s}]", "shop.test"))
	before := w.hosts["shop.test"].Text()
	thief := strings.ReplaceAll(ingressYAML("new", day2, "[{hosts: [shop.test], secretName: mine}]", "shop.test"), "{name: new,", "{name: new, namespace: evil,")
	w.apply(thief)
	if got := w.hosts["shop.test"].Text(); got != before {
		t.Fatalf("the younger Ingress changed the host to\n%s", got)
	}
	if f := w.findings(); !strings.Contains(f, "Ingress evil/new") || !strings.Contains(f, "[Ingress default/old]") {
		t.Fatalf("the loser is not told who won:\n%s", f)
	}
	w.delete(object.KindIngress, "default", "old")
	w.apply(secretYAML("s", "shop.test") + ingressYAML("old", day1, "[{hosts: [shop.test], secretName: s}]", "shop.test"))
	if got := w.hosts["shop.test"].Text(); got != before {
		t.Fatalf("deleting and creating changed the host to\n%s", got)
	}
}

func TestS3_4_SecretsOfOtherNamespacesAreNotReached(t *testing.T) {
	for _, name := range []string{"other/s", "other//s", "/s", "../other/s"} {
		w := newWorld(t, testOptions(), serviceA, strings.Replace(secretYAML("s", "a.test"), "{name: s}", "{name: s, namespace: other}", 1),
			ingressYAML("i", day1, fmt.Sprintf("[{hosts: [a.test], secretName: %q}]", name), "a.test"))
		if c := w.hosts["a.test"].TLS.Cert; c != (config.CertID{}) {
			t.Errorf("secretName %q reaches %v", name, c)
		}
	}
}

// greedy are regular expressions that are too large to be run for each request.
var greedy = []string{
	"a{1000}{1000}", "(a{1000}b{1000}){9}", strings.Repeat("[a-z]{1000}", 60), strings.Repeat("(a|b|c|d){900}", 50), "((a{30}){30}){30}", strings.Repeat("x", annotation.MaxPattern+1),
	"(a?){1000}" + strings.Repeat("(a{999}){1}", 20), strings.Repeat("(", 2000) + strings.Repeat(")", 2000),
}

func TestS8_4_GreedyPatternsAreRefused(t *testing.T) {
	for _, text := range greedy {
		began := time.Now()
		in := simple("bad", "bad.test", "/"+text, "a")
		in.Annotations = map[string]string{"nginx.ingress.kubernetes.io/use-regex": "true"}
		w := newWorld(t, testOptions(), serviceA, ingressYAML("good", day1, "", "good.test"))
		w.build(w.snap.Apply([]object.Change{change(in)}))
		if h := w.hosts["bad.test"]; h != nil && !denied(h) {
			t.Errorf("path %.40q is served:\n%.300s", text, h.Text())
		}
		if !strings.Contains(w.findings(), "Ingress default/bad") {
			t.Errorf("path %.40q: no finding", text)
		}
		for _, key := range []string{"auth-tls-match-cn", "canary-by-header-pattern", "server-alias"} {
			value := text
			if key == "auth-tls-match-cn" {
				value = "CN=" + text
			}
			if key == "server-alias" {
				value = "~" + text
			}
			in := simple("bad", "bad.test", "/", "a")
			in.Annotations = map[string]string{"nginx.ingress.kubernetes.io/" + key: value, "nginx.ingress.kubernetes.io/auth-tls-secret": "default/ca"}
			w.build(w.snap.Apply([]object.Change{change(in)}))
			if !strings.Contains(w.findings(), "Ingress default/bad") {
				t.Errorf("%s %.40q: no finding", key, text)
			}
			if all := w.table(); strings.Contains(all, text) && !strings.Contains(all, "deny ") {
				t.Errorf("%s %.40q is in force", key, text)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%.40q took %s", text, took)
		}
	}
	// What people write is not refused.
	for _, text := range []string{"(a+)+$", "/something(/|$)(.*)", "^/v[0-9]{1,3}/[a-z0-9-]{1,253}/(.*)$", strings.Repeat("(foo|bar|baz)/", 200), `[\p{L}\d_-]{1,64}\.(js|css|png)`} {
		if err := annotation.CheckRegex(text); err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// denied reports whether every route of h that leads to endpoints refuses.
func denied(h *config.Host) bool {
	for _, r := range h.Routes {
		if r.Action.Forward != nil && r.Deny == "" {
			return false
		}
	}
	return true
}

func TestKeysNeverShowInTextsOrFindings(t *testing.T) {
	w := newWorld(t, testOptions(), serviceA, secretYAML("s", "a.test"), ingressYAML("i", day1, "[{hosts: [a.test], secretName: s}]", "a.test"))
	all := w.table() + w.findings() + w.global.Text() + fmt.Sprintf("%v %+v", w.certs, w.b.Table())
	if strings.Contains(all, "PRIVATE KEY") {
		t.Fatal("a private key is printed")
	}
}
