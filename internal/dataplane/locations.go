package dataplane

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
)

// location is a compiled config.Location.
type location struct {
	modifier, path string
	re             *regexp.Regexp // "~" and "~*"
	route          *route
}

func (l *location) compile() error {
	text := l.path
	switch l.modifier {
	case "~":
	case "~*":
		text = "(?i)" + text
	default:
		return nil
	}
	re, err := regexp.Compile(text)
	l.re = re
	return err
}

// all returns every route of h, those of locations included.
func (h *host) all() []*route {
	if len(h.located) == 0 {
		return h.routes
	}
	list := slices.Clone(h.routes)
	for i := range h.located {
		list = append(list, h.located[i].route)
	}
	return list
}

// match finds the route for a path among the paths of Ingresses and the locations of a server-snippet, by
// nginx's rules: the path itself, else the first regular expression unless the longest prefix
// keeps them out, else the longest prefix.
func (h *host) match(path string, captures []string) (*route, []string, bool) {
	r, groups, ok := h.paths.Match(path, captures)
	if len(h.located) == 0 {
		return r, groups, ok
	}
	var best *location
	for i := range h.located {
		l := &h.located[i]
		switch l.modifier {
		case "=":
			if l.path == path {
				return l.route, groups[:0], true
			}
		case "", "^~":
			if strings.HasPrefix(path, l.path) && (best == nil || len(l.path) > len(best.path)) {
				best = l
			}
		}
	}
	length := 0
	if ok {
		if length = r.reach(path); length < 0 {
			return r, groups, ok
		}
	}
	if best != nil && len(best.path) < length {
		best = nil
	}
	if best != nil && best.modifier == "^~" {
		return best.route, groups[:0], true
	}
	for i := range h.located {
		l := &h.located[i]
		if l.re == nil || !l.re.MatchString(path) {
			continue
		}
		return l.route, append(groups[:0], l.re.FindStringSubmatch(path)...), true
	}
	if best != nil && (!ok || r.cfg.Match != config.Regex) {
		return best.route, groups[:0], true
	}
	return r, groups, ok
}

// reach is the length of the prefix location nginx has for r, 0 for a regular expression; -1 where r is
// an exact location for path.
func (r *route) reach(path string) int {
	switch {
	case r.cfg.Match == config.Regex:
		return 0
	case r.cfg.Match == config.Exact, r.cfg.Match == config.Prefix && len(path) == len(r.cfg.Path) && path != "/":
		// compat: a prefix path /foo is two locations, "= /foo" and "/foo/".
		if r.cfg.Match == config.Prefix && strings.HasSuffix(path, "/") {
			return len(path)
		}
		return -1
	case r.cfg.Match == config.Prefix && !strings.HasSuffix(r.cfg.Path, "/"):
		return len(r.cfg.Path) + 1
	}
	return len(r.cfg.Path)
}
