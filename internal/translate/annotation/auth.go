package annotation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/access"
)

var authType = Declare(Spec[string]{
	Name:     "auth-type",
	Grammar:  Enum("basic", "digest"),
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "How clients show their password. Without it auth-secret does nothing.",
	Examples: []string{"basic"},
})

var authSecret = Declare(Spec[Ref]{
	Name:     "auth-secret",
	Grammar:  SecretRef,
	Risk:     Medium,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      "The Secret with the passwords. Where it is missing, or unreadable, the Ingress answers 503.",
	Examples: []string{"passwords"},
})

var authSecretType = Declare(Spec[string]{
	Name:     "auth-secret-type",
	Grammar:  Enum("auth-file", "auth-map"),
	Default:  "auth-file",
	Risk:     Low,
	Bad:      Hard,
	Needed:   func(v *Values, _ *Options) bool { return v.Set(authType) },
	Since:    "0.1",
	Doc:      "What the Secret holds: an htpasswd file (htdigest for digest) under the key auth, or a hash under the name of each user.",
	Examples: []string{"auth-map"},
})

var authRealm = Declare(Spec[string]{
	Name:     "auth-realm",
	Grammar:  BasicSpaced,
	Risk:     Medium,
	Bad:      Hard,
	Needed:   realmNeeded,
	Since:    "0.1",
	Doc:      "The text with which clients ask for the password. Unlike in ingress-nginx, \"off\" is a text like any other.",
	Examples: []string{"Authentication Required"},
})

var _ = register(Feature{
	Name:  "password",
	Title: "Passwords",
	Keys:  []AnyKey{authType, authSecret, authSecretType, authRealm},
})

// realmNeeded reports whether a password is asked for. compat: without a readable Secret the route is
// denied before the original looks at auth-realm.
func realmNeeded(v *Values, o *Options) bool {
	return v.Set(authType) && o.hasSecret(v, authSecret)
}

// password is what auth-type asks for, nil without. Where it cannot be had the route is denied.
func password(c *RouteContext) *access.Password {
	kind, ok := authType.Get(c.Values)
	if !ok {
		if c.Set(authSecret) {
			c.Report("auth-secret", diag.Diagnostic{
				Code: diag.SecurityAdvice, Severity: diag.Warning,
				Message: "auth-secret without auth-type asks nobody for a password",
				Hint:    "add auth-type: basic",
			})
		}
		return nil
	}
	ref, ok := authSecret.Get(c.Values)
	if !ok {
		if text, _ := c.Raw("auth-secret"); text == "" {
			c.Deny("auth-type", diag.Diagnostic{
				Code: diag.ReferenceMissing, Message: "auth-type needs auth-secret, which is not set",
				Hint: "add auth-secret with the name of a Secret",
			})
		}
		return nil
	}
	ref, ok = resolve(c, "auth-secret", "Secret", ref)
	if !ok {
		return nil
	}
	data, ok := c.Secret(ref.Namespace, ref.Name)
	if !ok {
		c.Deny("auth-secret", missingRef("Secret", ref))
		return nil
	}
	p := &access.Password{Digest: kind == "digest"}
	p.Realm, _ = authRealm.Get(c.Values)
	if form, _ := authSecretType.Get(c.Values); form == "auth-map" {
		p.File = access.Secret(joinUsers(data))
	} else {
		file, ok := data["auth"]
		if !ok {
			c.Deny("auth-secret", invalidRef("Secret", ref, "has no key \"auth\"",
				"put the htpasswd file under the key auth, or set auth-secret-type: auth-map"))
			return nil
		}
		p.File = access.Secret(file)
	}
	checkUsers(c, ref, p)
	return p
}

// joinUsers makes an htpasswd file of a Secret that maps names to hashes. Whatever stands in it, one entry is one user.
func joinUsers(data map[string][]byte) string {
	names := make([]string, 0, len(data))
	for n := range data {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		hash, _, _ := strings.Cut(strings.TrimSpace(string(data[n])), "\n")
		fmt.Fprintf(&b, "%s:%s\n", n, strings.TrimSpace(hash))
	}
	return b.String()
}

// checkUsers warns of users nobody can be. The file stands: others may use it.
func checkUsers(c *RouteContext, ref Ref, p *access.Password) {
	if p.Digest {
		if access.DigestUsers(string(p.File), p.Realm) == 0 {
			d := invalidRef("Secret", ref, fmt.Sprintf("has no user of the realm %q in the form user:realm:md5", p.Realm),
				"make it with htdigest, and set auth-realm to the realm given there")
			d.Severity = diag.Warning
			c.Report("auth-secret", d)
		}
		return
	}
	problems := access.Problems(string(p.File))
	if len(problems) == 0 {
		return
	}
	const most = 5
	more := ""
	if len(problems) > most {
		more = fmt.Sprintf(" and %d more", len(problems)-most)
		problems = problems[:most]
	}
	d := invalidRef("Secret", ref, "has users whom no password matches: "+strings.Join(problems, "; ")+more,
		"make them with htpasswd -B, or another form of htpasswd")
	d.Severity = diag.Warning
	c.Report("auth-secret", d)
}
