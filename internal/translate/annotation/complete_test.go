package annotation

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the reference page")

func TestReferencePageIsCurrent(t *testing.T) {
	page := filepath.Join("..", "..", "..", "docs", "reference", "annotations.md")
	if *update {
		if err := os.WriteFile(page, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Markdown() {
		t.Error("docs/reference/annotations.md is not current: go test ./internal/translate/annotation -update")
	}
}

func TestEveryKeyBelongsToOneFeature(t *testing.T) {
	owner := map[string]string{}
	for _, f := range Features() {
		if f.Name == "" || f.Title == "" {
			t.Errorf("feature %+v has no name or title", f)
		}
		for _, k := range f.Keys {
			name := k.Info().Name
			if other, dup := owner[name]; dup {
				t.Errorf("%s belongs to %s and to %s", name, other, f.Name)
			}
			owner[name] = f.Name
		}
	}
	for _, k := range Keys() {
		if owner[k.Info().Name] == "" {
			t.Errorf("%s belongs to no feature", k.Info().Name)
		}
	}
}

func TestEveryKeyIsDocumentedAndItsExamplesParse(t *testing.T) {
	for _, k := range Keys() {
		i := k.Info()
		if i.Doc == "" || !strings.HasSuffix(i.Doc, ".") {
			t.Errorf("%s: documentation %q is no sentence", i.Name, i.Doc)
		}
		if i.Syntax == "" || len(i.Examples) == 0 {
			t.Errorf("%s has no syntax or no example", i.Name)
		}
		for _, e := range i.Examples {
			if err := k.Check(e); err != nil {
				t.Errorf("%s: example %q: %v", i.Name, e, err)
			}
		}
	}
}

// names138 are all names of reference/annotations.md, aliases included.
const names138 = `server-alias rewrite-target use-regex app-root x-forwarded-prefix upstream-vhost default-backend service-upstream
ssl-redirect force-ssl-redirect preserve-trailing-slash use-port-in-redirects permanent-redirect permanent-redirect-code temporal-redirect temporal-redirect-code from-to-www-redirect relative-redirects
ssl-ciphers ssl-prefer-server-ciphers ssl-passthrough auth-tls-secret auth-tls-verify-client auth-tls-verify-depth auth-tls-error-page auth-tls-pass-certificate-to-upstream auth-tls-match-cn
backend-protocol connection-proxy-header fastcgi-index fastcgi-params-configmap proxy-ssl-secret proxy-ssl-verify proxy-ssl-verify-depth proxy-ssl-name proxy-ssl-server-name proxy-ssl-ciphers proxy-ssl-protocols
auth-type auth-secret auth-secret-type auth-realm auth-url auth-method auth-signin auth-signin-redirect-param auth-response-headers auth-proxy-set-headers auth-request-redirect auth-cache-key auth-cache-duration
auth-keepalive auth-keepalive-share-vars auth-keepalive-requests auth-keepalive-timeout auth-always-set-cookie auth-snippet enable-global-auth allowlist-source-range whitelist-source-range denylist-source-range satisfy
limit-rps limit-rpm limit-connections limit-burst-multiplier limit-allowlist limit-whitelist limit-rate limit-rate-after
enable-cors cors-allow-origin cors-allow-methods cors-allow-headers cors-expose-headers cors-allow-credentials cors-max-age
canary canary-weight canary-weight-total canary-by-header canary-by-header-value canary-by-header-pattern canary-by-cookie
affinity affinity-mode affinity-canary-behavior session-cookie-name session-cookie-path session-cookie-domain session-cookie-max-age session-cookie-expires session-cookie-samesite session-cookie-conditional-samesite-none session-cookie-secure session-cookie-change-on-failure
load-balance upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size
proxy-body-size proxy-connect-timeout proxy-read-timeout proxy-send-timeout proxy-next-upstream proxy-next-upstream-tries proxy-next-upstream-timeout proxy-request-buffering proxy-buffering proxy-buffer-size proxy-buffers-number proxy-busy-buffers-size proxy-max-temp-file-size client-body-buffer-size proxy-http-version proxy-cookie-domain proxy-cookie-path proxy-redirect-from proxy-redirect-to
custom-http-errors disable-proxy-intercept-errors custom-headers mirror-target mirror-request-body mirror-host enable-access-log enable-rewrite-log enable-opentelemetry opentelemetry-trust-incoming-span opentelemetry-operation-name
enable-modsecurity enable-owasp-core-rules modsecurity-transaction-id modsecurity-snippet http2-push-preload configuration-snippet server-snippet stream-snippet`

// own are names that ingress-nginx does not have.
var own = map[string]bool{}

func TestAll138NamesAreDeclared(t *testing.T) {
	names := strings.Fields(names138)
	if len(names) != 138 {
		t.Fatalf("the list has %d names", len(names))
	}
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
		if _, ok := Known(n); !ok {
			t.Errorf("%s is not declared", n)
		}
	}
	for _, k := range Keys() {
		if !known[k.Info().Name] && !own[k.Info().Name] {
			t.Errorf("%s is declared, and ingress-nginx has no such name: list it in own", k.Info().Name)
		}
	}
	for n := range removed {
		if known[n] {
			t.Errorf("%s counts as removed and is a name", n)
		}
	}
}
