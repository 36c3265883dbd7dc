package annotation

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter/mirror"
)

// mirrorPlace is a mirror-target, taken apart.
type mirrorPlace struct {
	Scheme, Addr, Host string
	Target             string // with $variables
}

func (p mirrorPlace) String() string {
	if p.Addr == "" {
		return ""
	}
	return p.Scheme + "://" + p.Addr + p.Target
}

var mirrorTarget = Declare(Spec[mirrorPlace]{
	Name:     "mirror-target",
	Grammar:  MapText(RegexText, "an http or https URL; $request_uri stands for what the client asked for", parseMirror),
	Risk:     High,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Where a copy of each request is sent. The answer is thrown away, and a slow mirror costs the client nothing: copies that find no room are not sent.",
	Examples: []string{"https://test.example.com$request_uri"},
})

var mirrorBody = Declare(Spec[bool]{
	Name:     "mirror-request-body",
	Grammar:  OnOff,
	Default:  true,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether copies have the request's content. It is read whole before the request goes on; requests with more than 1 MiB are not copied.",
	Examples: []string{"off"},
})

var mirrorHost = Declare(Spec[string]{
	Name:     "mirror-host",
	Grammar:  Expr(RegexText),
	Risk:     High,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The Host field of copies; the host of mirror-target without.",
	Examples: []string{"test.example.com"},
})

// parseMirror takes a target apart. compat: the host ends at the first "$" (reference/annotations.md 18).
func parseMirror(s string) (mirrorPlace, error) {
	var p mirrorPlace
	scheme, rest, ok := strings.Cut(s, "://")
	p.Scheme = strings.ToLower(scheme)
	if !ok || p.Scheme != "http" && p.Scheme != "https" {
		return p, errors.New("it does not start with http:// or https://")
	}
	end := strings.IndexAny(rest, "/?#$")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	p.Target = rest[end:]
	u, err := url.Parse(p.Scheme + "://" + authority)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.ContainsAny(u.Hostname(), "()[]{}*+|\\^=&") && net.ParseIP(u.Hostname()) == nil {
		return p, errors.New("it has no host")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.Scheme]
	}
	p.Host, p.Addr = u.Hostname(), net.JoinHostPort(u.Hostname(), port)
	if strings.Contains(p.Host, ":") {
		p.Host = "[" + p.Host + "]"
	}
	_, err = expr.Parse(p.Target)
	return p, err
}

var _ = register(Feature{
	Name:  "mirror",
	Title: "Mirroring",
	Keys:  []AnyKey{mirrorTarget, mirrorBody, mirrorHost},
	Route: func(c *RouteContext) {
		to, ok := mirrorTarget.Get(c.Values)
		if !ok {
			if c.Set(mirrorHost) || c.Set(mirrorBody) {
				name := "mirror-host"
				if !c.Set(mirrorHost) {
					name = "mirror-request-body"
				}
				c.Report(name, diag.Diagnostic{
					Code: diag.AnnotationNoEffect, Severity: diag.Warning,
					Message: name + " does nothing without mirror-target", Hint: "add mirror-target, or remove the annotation",
				})
			}
			return
		}
		m := mirror.Config{Scheme: to.Scheme, Addr: to.Addr, Host: to.Host, Target: to.Target, AllowLocal: c.Local}
		m.Body, _ = mirrorBody.Get(c.Values)
		if host, ok := mirrorHost.Get(c.Values); ok {
			m.Host = host
		}
		c.Add(m)
	},
})
