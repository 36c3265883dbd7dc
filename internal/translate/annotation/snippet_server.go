package annotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/access"
	"github.com/lintel-ingress/lintel/internal/filter/snippet"
)

var serverSnippet = Declare(Spec[*Snippet]{
	Name:     "server-snippet",
	Grammar:  snippetGrammar(inServer),
	Scope:    PerHost,
	Risk:     Critical,
	Bad:      Deny,
	Since:    "0.1",
	Doc:      `Directives for the host, before one of its paths is chosen, and locations that stand among the paths. The oldest Ingress with a snippet decides. Where it cannot be done safely the whole host answers 503.` + snippetSwitches,
	Examples: []string{"location /private { deny all; }", "if ($http_user_agent ~* bot) { return 403; }"},
})

var _ = register(Feature{
	Name:  "server-snippet",
	Title: "Snippets for a host",
	Keys:  []AnyKey{serverSnippet},
	Host: func(c *HostContext) {
		const name = "server-snippet"
		won := -1
		for i, m := range c.Members {
			text, there := m.Raw(name)
			if !there || text == "" || m.CatchAllDefault {
				continue
			}
			if won >= 0 {
				if first, _ := c.Members[won].Raw(name); first != text {
					reportLost(c, i, won, name)
				}
				continue
			}
			won = i
			s, ok := serverSnippet.Get(m.Values)
			if !ok || s == nil {
				hostDenied(c) // Parse has said why; the other Ingresses of the host lose their guard, too
				continue
			}
			for _, d := range s.diagnostics() {
				c.Report(i, name, d)
			}
			if len(s.Free) > 0 {
				d := unsetVariable(s.Free[0])
				d.Severity, d.Effect = diag.Error, diag.HostOff
				c.Report(i, name, d)
				hostDenied(c)
				continue
			}
			s.host(c, m)
		}
	},
})

// hostDenied makes the host answer 503.
func hostDenied(c *HostContext) {
	c.Host.Filters = append(c.Host.Filters, snippet.ServerConfig{Steps: []snippet.Step{{Return: &snippet.Return{Status: 503}}}})
}

// host puts what s asks for on the host.
func (s *Snippet) host(c *HostContext, m Member) {
	relative, _ := relativeRedirects.Get(m.Values)
	port, _ := usePort.Get(m.Values)
	redirects := func(f *snippet.Config) { f.Relative, f.UsePort = relative, port }
	if f, ok := s.request(); ok {
		redirects(&f)
		c.Host.Filters = append(c.Host.Filters, snippet.ServerConfig(f))
	}
	if f, ok := s.response(); ok {
		c.Host.Filters = append(c.Host.Filters, snippet.ServerResponse(f))
	}
	c.Rules = s.Rules
	for i, l := range s.Locations {
		r := &config.Route{
			ID: fmt.Sprintf("%s/%s %s location %d %s%s", m.Namespace, m.Ingress, c.Host.Name, i, l.Modifier, l.Path),
			Origin: config.Origin{
				Ingress: diag.Ref{Kind: "Ingress", Namespace: m.Namespace, Name: m.Ingress}, Host: c.Host.Name,
				Rule: -1, Path: -1, Upstream: "-", PathText: l.Path,
			},
			// compat: nginx looks for a file there, and has none.
			Action: config.Action{Status: 404},
			Limits: config.Limits{BodyMax: 1 << 20, BodyTimeout: 60 * time.Second},
		}
		l.Body.filters(r, redirects)
		rules := l.Body.Rules
		if len(rules) == 0 {
			rules = s.Rules
		}
		if len(rules) > 0 || l.Body.Except != nil {
			r.Filters = append(r.Filters, access.Config{Rules: rules, Except: l.Body.Except})
		}
		c.Host.Locations = append(c.Host.Locations, config.Location{Modifier: l.Modifier, Path: l.Path, Route: r})
	}
}

// InheritRules returns the filters of a route of a host with rules, and whether they differ: lists of the route's own
// replace the host's.
func InheritRules(filters []filter.Config, rules []access.Rule) ([]filter.Config, bool) {
	if len(rules) == 0 {
		return filters, false
	}
	for i, f := range filters {
		cfg, ok := f.(access.Config)
		if !ok {
			continue
		}
		if cfg.AllowOnly || len(cfg.Deny) > 0 || len(cfg.Rules) > 0 {
			return filters, false
		}
		cfg.Rules = rules
		filters = slices.Clone(filters)
		filters[i] = cfg
		return filters, true
	}
	return append(slices.Clip(slices.Clone(filters)), access.Config{Rules: rules}), true
}
