package annotation

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter/approot"
	"github.com/lintel-ingress/lintel/internal/filter/rewrite"
	"github.com/lintel-ingress/lintel/internal/filter/upstreamvhost"
)

var rewriteTarget = Declare(Spec[string]{
	Name:     "rewrite-target",
	Grammar:  Expr(PathCapture),
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The path the endpoint sees instead of the client's. It replaces the whole path, not the part that matched; $1 to $9 are the groups of the path's regular expression. All paths of the host become regular expressions, unless the target is the path itself. A target that is an absolute URL redirects with 302.",
	Examples: []string{"/", "/$2", "/api/$1"},
})

var useRegex = Declare(Spec[bool]{
	Name:     "use-regex",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether paths are regular expressions. It holds for all paths of the host, of every Ingress: they match without regard to case, from the start, open at the end, the longest text first.",
	Examples: []string{"true"},
})

var forwardedPrefix = Declare(Spec[string]{
	Name:     "x-forwarded-prefix",
	Grammar:  Expr(PathCaptureNoSpace),
	Risk:     Medium,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The value of X-Forwarded-Prefix for the endpoint. It is sent only together with rewrite-target; it may hold $1 to $9.",
	Examples: []string{"/shop"},
})

var appRoot = Declare(Spec[string]{
	Name: "app-root",
	Grammar: MapText(Expr(PathCapture), "a path that starts with /", func(s string) (string, error) {
		if !strings.HasPrefix(s, "/") {
			return "", ErrSyntax
		}
		return s, nil
	}),
	Scope:    PerHost,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Where requests for exactly / of the host are redirected (302). It comes before the redirect to HTTPS and before authentication; the query is dropped.",
	Examples: []string{"/app"},
})

var upstreamVhost = Declare(Spec[string]{
	Name:     "upstream-vhost",
	Grammar:  Expr(RegexText),
	Risk:     Low,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "The Host field the endpoint sees; $variables are replaced. X-Forwarded-Host keeps the client's. It changes neither TLS names nor routing.",
	Examples: []string{"inner.example.com", "$service_name.$namespace.svc"},
})

var serverAlias = Declare(Spec[[]string]{
	Name: "server-alias",
	Grammar: Grammar[[]string]{
		Syntax: "host names separated by commas; *.example.com, example.* and ~regular-expression are allowed",
		Parse:  parseAliases,
		Lines:  true,
	},
	Scope:    PerHost,
	Risk:     High,
	Bad:      Hard,
	Since:    "0.1",
	Doc:      "Other names of the Ingress' hosts. They share all routes of the host; the oldest Ingress with a list decides. A name that a rule uses as its host stays that rule's.",
	Examples: []string{"www.example.com,shop.example.com", "~^shop[0-9]+\\.example\\.com$"},
})

func parseAliases(s string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, name := range strings.Split(s, ",") {
		name = strings.TrimSpace(name)
		if name == "" || seen[name] {
			continue
		}
		if !only(name, regexChars) {
			return nil, fmt.Errorf("%s has a character that is not allowed", Quote(name))
		}
		if re, ok := strings.CutPrefix(name, "~"); ok {
			if err := CheckRegex(re); err != nil {
				return nil, fmt.Errorf("%s: %w", Quote(name), err)
			}
		} else if err := checkAlias(name); err != nil {
			return nil, fmt.Errorf("%s %w", Quote(name), err)
		} else {
			name = strings.ToLower(name)
		}
		seen[name] = true
		out = append(out, name)
	}
	return out, nil
}

// checkAlias refuses what is no host name: nginx would refuse its whole configuration over some of them.
func checkAlias(name string) error {
	plain := strings.TrimSuffix(strings.TrimPrefix(name, "*."), ".*")
	if strings.ContainsAny(plain, "*/:\\^$[](){}+?|&=") || strings.Trim(plain, ".") == "" {
		return errors.New("is no host name")
	}
	return nil
}

var _ = register(Feature{
	Name:  "rewrite",
	Title: "Paths and rewriting",
	Keys:  []AnyKey{rewriteTarget, useRegex, forwardedPrefix},
	Route: func(c *RouteContext) {
		if on, _ := useRegex.Get(c.Values); on {
			c.Regex = true
		}
		to, _ := rewriteTarget.Get(c.Values)
		prefix, hasPrefix := forwardedPrefix.Get(c.Values)
		// compat: a target equal to the path is no rewrite and leaves the host alone.
		if to == "" || to == c.Path || c.CatchAllDefault {
			if hasPrefix {
				c.Report("x-forwarded-prefix", diag.Diagnostic{
					Code: diag.AnnotationNoEffect, Severity: diag.Warning,
					Message: "x-forwarded-prefix does nothing without a rewrite-target that changes the path",
					Hint:    "add rewrite-target, or remove the annotation",
				})
			}
			return
		}
		c.Regex = true
		if !strings.HasPrefix(to, "/") && !strings.Contains(to, "://") && !strings.HasPrefix(to, "$") {
			c.Report("rewrite-target", diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Warning,
				Message: Quote(to) + " does not start with /; lintel puts one in front",
				Hint:    "write " + Quote("/"+to),
			})
		}
		c.Add(rewrite.Config{To: to, Prefix: prefix})
	},
})

var _ = register(Feature{
	Name:  "app-root",
	Title: "Start page",
	Keys:  []AnyKey{appRoot},
	Host: func(c *HostContext) {
		won := -1
		for i, m := range c.Members {
			to, ok := appRoot.Get(m.Values)
			if !ok || m.CatchAllDefault {
				continue
			}
			if won < 0 {
				won = i
				c.Host.Filters = append(c.Host.Filters, approot.Config{To: to})
				continue
			}
			if first, _ := appRoot.Get(c.Members[won].Values); first != to {
				reportLost(c, i, won, "app-root")
			}
		}
	},
})

var _ = register(Feature{
	Name:  "upstream-vhost",
	Title: "Host for the endpoint",
	Keys:  []AnyKey{upstreamVhost},
	Route: func(c *RouteContext) {
		if host, ok := upstreamVhost.Get(c.Values); ok && c.Route.Action.Forward != nil {
			c.Add(upstreamvhost.Config{Host: host})
		}
	},
})

var _ = register(Feature{
	Name:  "server-alias",
	Title: "Other names of a host",
	Keys:  []AnyKey{serverAlias},
	Host: func(c *HostContext) {
		won := -1
		for i, m := range c.Members {
			list, ok := serverAlias.Get(m.Values)
			if !ok || len(list) == 0 {
				continue
			}
			if won < 0 {
				won = i
				c.Aliases, c.AliasMember = list, i
				continue
			}
			reportLost(c, i, won, "server-alias")
		}
	},
})

// reportLost tells member i that an older Ingress of the host decides about a shared setting.
func reportLost(c *HostContext, i, won int, name string) {
	m := c.Members[won]
	c.Report(i, name, diag.Diagnostic{
		Code: diag.AnnotationConflict, Severity: diag.Warning, Effect: diag.Ignored,
		Message: fmt.Sprintf("the host's %s is that of the older Ingress %s/%s", name, m.Namespace, m.Ingress),
		Hint:    "set it on one Ingress of the host only",
		Related: []diag.Ref{{Kind: "Ingress", Namespace: m.Namespace, Name: m.Ingress}},
	})
}

// checkVariables reports the first variable of text that does not exist.
func checkVariables(text string) error {
	_, err := expr.Parse(text)
	return err
}
