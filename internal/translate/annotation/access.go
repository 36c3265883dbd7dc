package annotation

import (
	"fmt"
	"net/netip"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/access"
)

var allowlist = Declare(Spec[[]netip.Prefix]{
	Name:      "allowlist-source-range",
	Aliases:   []string{"whitelist-source-range"},
	Grammar:   CIDRs,
	ConfigMap: "whitelist-source-range",
	Risk:      Medium,
	Bad:       Deny,
	Since:     "0.1",
	Doc:       "The client networks that may use the Ingress; everybody else gets 403. It replaces the ConfigMap's list. The address is the one after PROXY protocol and forwarded headers.",
	Examples:  []string{"10.0.0.0/8", "192.0.2.1, 2001:db8::/32"},
})

var denylist = Declare(Spec[[]netip.Prefix]{
	Name:      "denylist-source-range",
	Grammar:   CIDRs,
	ConfigMap: "denylist-source-range",
	Risk:      Medium,
	Bad:       Deny,
	Since:     "0.1",
	Doc:       "The client networks that get 403. It is looked at before the allow list.",
	Examples:  []string{"10.0.0.0/8"},
})

var satisfy = Declare(Spec[string]{
	Name:     "satisfy",
	Grammar:  Enum("all", "any"),
	Default:  "all",
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether a client must pass address lists and authentication, or one of them is enough. A client that is merely not denied has not passed a list.",
	Examples: []string{"any"},
})

// One feature makes the filter of the access stage, for its checks are joined by satisfy; the keys of
// passwords and of authentication services stand in auth.go and extauth.go.
var _ = register(Feature{
	Name:  "access",
	Title: "Who may use an Ingress",
	Keys:  []AnyKey{allowlist, denylist, satisfy},
	Route: func(c *RouteContext) {
		if c.Ingress == "" && c.Route.Action.Forward == nil {
			return // the built-in 404 of unknown hosts: there is nothing to protect
		}
		f := access.Config{}
		mode, _ := satisfy.Get(c.Values)
		f.Any = mode == "any"
		f.Allow, f.AllowOnly = addressList(c, allowlist)
		f.Deny, _ = addressList(c, denylist)
		f.Password = password(c)
		f.External = authService(c)
		if PathBelow(c.Path, GlobalList(c.Global, "no-auth-locations", "/.well-known/acme-challenge")) {
			f.Password, f.External = nil, nil
		}
		snippetAccess(c, &f)
		if f.AllowOnly || len(f.Deny) > 0 || len(f.Rules) > 0 || f.Except != nil || f.Password != nil || f.External != nil {
			c.Add(f)
		}
		if f.Password != nil || f.External != nil {
			fields := access.Fields{DropAuthorization: f.Password != nil}
			if f.External != nil {
				fields.Names = f.External.Fields
			}
			c.Add(fields)
		}
	},
})

// addressList reads one list, and whether there is one. A list that cannot be read denies the route.
func addressList(c *RouteContext, k Key[[]netip.Prefix]) ([]netip.Prefix, bool) {
	name := k.spec.Name
	list, own := k.Get(c.Values)
	if own {
		return list, true
	}
	if text, there := c.Raw(name); there {
		// compat: an annotation that is present but empty denies (reference/annotations.md 11). What it
		// could not read Parse has reported.
		if text == "" {
			c.Deny(name, diag.Diagnostic{
				Code: diag.AnnotationValue, Message: "the list is empty",
				Hint: "write " + k.spec.Grammar.Syntax + ", or remove the annotation",
			})
		}
		return nil, true
	}
	text := GlobalText(c.Global, k.spec.ConfigMap, "")
	if text != "" && list == nil {
		c.Deny(name, diag.Diagnostic{
			Code: diag.ConfigMapValue, Value: Clip(text),
			Message: fmt.Sprintf("%s of the controller's ConfigMap is not %s", k.spec.ConfigMap, k.spec.Grammar.Syntax),
			Hint:    "correct the ConfigMap; until then nobody may use the Ingress",
		})
		return nil, true
	}
	return list, list != nil
}

// resolve settles a reference of the Ingress to another object; one it may not make denies the route.
func resolve(c *RouteContext, name, kind string, r Ref) (Ref, bool) {
	to, err := r.Resolve(c.Namespace, crossNamespace(c.Global))
	if err != nil {
		c.Deny(name, forbiddenRef(kind, r, err))
		return Ref{}, false
	}
	return to, true
}

func crossNamespace(global func(string) (string, bool)) bool {
	return GlobalBool(global, "allow-cross-namespace-resources", false)
}

func forbiddenRef(kind string, r Ref, err error) diag.Diagnostic {
	return diag.Diagnostic{
		Code: diag.ReferenceForbidden, Message: fmt.Sprintf("%s %s cannot be used: %v", kind, r, err),
		Hint:    fmt.Sprintf("name a %s of the Ingress' own namespace, or set allow-cross-namespace-resources: \"true\" in the controller's ConfigMap", kind),
		Related: []diag.Ref{{Kind: kind, Namespace: r.Namespace, Name: r.Name}},
	}
}

func missingRef(kind string, r Ref) diag.Diagnostic {
	return diag.Diagnostic{
		Code: diag.ReferenceMissing, Message: fmt.Sprintf("there is no %s %s", kind, r),
		Hint:    "create it, or correct the name; it is noticed at once",
		Related: []diag.Ref{{Kind: kind, Namespace: r.Namespace, Name: r.Name}},
	}
}

func invalidRef(kind string, r Ref, what, hint string) diag.Diagnostic {
	return diag.Diagnostic{
		Code: diag.ReferenceInvalid, Message: fmt.Sprintf("%s %s %s", kind, r, what), Hint: hint,
		Related: []diag.Ref{{Kind: kind, Namespace: r.Namespace, Name: r.Name}},
	}
}
