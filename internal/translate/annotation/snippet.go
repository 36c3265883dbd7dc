package annotation

import (
	"fmt"
	"slices"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/filter/bodylimit"
	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

func snippetGrammar(at snippetPlace) Grammar[*Snippet] {
	return Grammar[*Snippet]{
		Syntax: "directives of nginx's language that lintel knows; see docs/reference/snippets.md",
		Parse:  func(s string) (*Snippet, error) { return compileSnippet(s, at) },
		Lines:  true,
	}
}

const snippetSwitches = ` Needs allow-snippet-annotations: "true" and annotations-risk-level: Critical.`

var configurationSnippet = Declare(Spec[*Snippet]{
	Name:     "configuration-snippet",
	Grammar:  snippetGrammar(inRoute),
	Risk:     Critical,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      `Directives for the Ingress' routes. lintel reads them into typed steps and runs no program text. A directive it cannot do is reported; where leaving it out could open what it protects the routes answer 503.` + snippetSwitches,
	Examples: []string{`more_set_headers "X-Frame-Options: DENY";`, `if ($request_method = TRACE) { return 405; }`},
})

var _ = register(Feature{
	Name:  "snippet",
	Title: "Snippets",
	Keys:  []AnyKey{configurationSnippet},
	Route: func(c *RouteContext) {
		s, ok := configurationSnippet.Get(c.Values)
		if !ok || s == nil {
			return
		}
		const name = "configuration-snippet"
		for _, d := range s.diagnostics() {
			c.Report(name, d)
		}
		known := ownVariables(c)
		for _, v := range s.Free {
			if !slices.Contains(known, v) {
				c.Deny(name, unsetVariable(v))
				return
			}
		}
		if len(s.AuthVars) > 0 && !hasAuth(c) {
			c.Report(name, diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Warning, Message: "auth_request_set does nothing without auth-url",
				Hint: "add auth-url, or take it out",
			})
		}
		s.route(c)
	},
})

func unsetVariable(name string) diag.Diagnostic {
	return diag.Diagnostic{
		Code: diag.SnippetRefused, Message: fmt.Sprintf("unknown variable $%s: nothing sets it", name),
		Hint: "set it first, or correct its name; docs/reference/variables.md lists lintel's own",
	}
}

// hasAuth reports whether an authentication service is asked for the route.
func hasAuth(c *RouteContext) bool {
	if _, ok := authURL.Get(c.Values); ok {
		return true
	}
	return GlobalText(c.Global, "global-auth-url", "") != ""
}

// route puts what s asks for on a route.
func (s *Snippet) route(c *RouteContext) {
	s.filters(c.Route, func(f *snippet.Config) {
		f.Relative, _ = relativeRedirects.Get(c.Values)
		f.UsePort, _ = usePort.Get(c.Values)
	})
	for _, f := range s.Response {
		if f.Redirect.From != "" {
			f.Relative, _ = relativeRedirects.Get(c.Values)
			f.UsePort, _ = usePort.Get(c.Values)
		}
		if c.Route.Action.Forward != nil {
			c.Add(f)
		}
	}
	s.limits(c)
}

// filters adds the filters of s to a route.
func (s *Snippet) filters(r *config.Route, redirects func(*snippet.Config)) {
	if f, ok := s.request(); ok {
		redirects(&f)
		r.Filters = append(r.Filters, f)
	}
	if f, ok := s.response(); ok {
		r.Filters = append(r.Filters, f)
	}
	if r.Action.Forward != nil && (len(s.Set) > 0 || s.Method != "") {
		f := snippet.Upstream{Method: s.Method}
		for _, h := range s.Set {
			f.Set = append(f.Set, exchange.Field{Name: h.Name, Value: h.Value})
		}
		r.Filters = append(r.Filters, f)
	}
	if s.Body != nil && r.Action.Forward != nil {
		r.Filters = append(r.Filters, *s.Body)
	}
	if s.NoLog {
		r.NoLog = true
	}
	if s.RateAfter > 0 {
		r.Limits.RateAfter = s.RateAfter
	}
}

// limits replaces what annotations say of times and sizes.
func (s *Snippet) limits(c *RouteContext) {
	l, f := &c.Route.Limits, c.Forward()
	if s.Connect > 0 {
		f.Connect = s.Connect
	}
	if s.Send > 0 {
		f.Send = s.Send
	}
	if s.Read > 0 {
		f.Read = s.Read
	}
	if s.BodyTimeout > 0 {
		l.BodyTimeout = s.BodyTimeout
	}
	if s.BodyMem != nil {
		l.BufferMem = *s.BodyMem
	}
	if s.BodyMax != nil {
		l.BodyMax = *s.BodyMax
		c.Route.Filters = slices.DeleteFunc(c.Route.Filters, func(f filter.Config) bool { return f.FilterName() == "body-limit" })
		if l.BodyMax > 0 {
			c.Add(bodylimit.Config{Max: l.BodyMax})
		}
	}
}

// snippetAccess adds what the route's configuration-snippet says to who may use the route. The feature of the access
// stage calls it, for satisfy joins all checks.
func snippetAccess(c *RouteContext, f *access.Config) {
	s, ok := configurationSnippet.Get(c.Values)
	if !ok || s == nil {
		return
	}
	f.Rules, f.Except = s.Rules, s.Except
	if s.Any != nil {
		f.Any = *s.Any
	}
	if f.External != nil && len(s.AuthVars) > 0 {
		e := *f.External
		e.Vars = s.AuthVars
		f.External = &e
	}
}

var authSnippet = Declare(Spec[*Snippet]{
	Name:     "auth-snippet",
	Grammar:  snippetGrammar(inAuth),
	Risk:     Critical,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      `Directives for the request to auth-url: its fields and its method.` + snippetSwitches,
	Examples: []string{"proxy_set_header X-Scope read;", "proxy_method POST;"},
})

var _ = register(Feature{
	Name:  "auth-snippet",
	Title: "Snippets for the authentication request",
	Keys:  []AnyKey{authSnippet},
	Route: func(c *RouteContext) {
		s, ok := authSnippet.Get(c.Values)
		if !ok || s == nil {
			return
		}
		const name = "auth-snippet"
		for _, d := range s.diagnostics() {
			c.Report(name, d)
		}
		if _, ok := authURL.Get(c.Values); !ok {
			c.Report(name, diag.Diagnostic{
				Code: diag.AnnotationNoEffect, Severity: diag.Warning, Message: "auth-snippet does nothing without auth-url",
				Hint: "add auth-url, or remove it",
			})
			return
		}
		known := ownVariables(c)
		for _, v := range s.Free {
			if !slices.Contains(known, v) {
				c.Deny(name, unsetVariable(v))
				return
			}
		}
	},
})

// ownVariables are what the snippets of the Ingress set.
func ownVariables(c *RouteContext) []string {
	var all []string
	for _, k := range []Key[*Snippet]{configurationSnippet, serverSnippet} {
		if s, ok := k.Get(c.Values); ok && s != nil {
			all = append(all, s.Own...)
		}
	}
	return all
}

// authDirectives puts what auth-snippet says on the route's own authentication service.
func authDirectives(c *RouteContext, e *access.External) {
	s, ok := authSnippet.Get(c.Values)
	if !ok || s == nil {
		return
	}
	e.Verb = s.Method
	for _, f := range s.Set {
		e.Snippet = append(e.Snippet, access.Field{Name: f.Name, Value: f.Value})
	}
}

// String names the snippet's size, for documentation of defaults.
func (s *Snippet) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%d steps", len(s.Steps))
}
