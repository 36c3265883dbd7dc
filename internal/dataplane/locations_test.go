package dataplane

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
)

// located makes a host of routes "match path" and locations "modifier path", each named by its text.
func located(t *testing.T, routes [][2]string, locations [][2]string) *host {
	t.Helper()
	kinds := map[string]config.MatchType{"prefix": config.Prefix, "exact": config.Exact, "regex": config.Regex, "text": config.Text}
	h := &host{cfg: &config.Host{}}
	for _, r := range routes {
		h.routes = append(h.routes, &route{cfg: &config.Route{ID: r[0] + " " + r[1], Match: kinds[r[0]], Path: r[1]}})
	}
	for _, l := range locations {
		n := location{modifier: l[0], path: l[1], route: &route{cfg: &config.Route{ID: "location " + l[0] + " " + l[1]}}}
		if err := n.compile(); err != nil {
			t.Fatal(err)
		}
		h.located = append(h.located, n)
	}
	if err := h.index(); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestLocationsAreChosenAsNginxChooses(t *testing.T) {
	plain := located(t, [][2]string{{"prefix", "/"}, {"prefix", "/api"}, {"exact", "/exact"}, {"prefix", "/dir/"}},
		[][2]string{{"", "/metrics"}, {"=", "/health"}, {"~*", `\.git`}, {"~", `\.GIT$`}, {"^~", "/static/"}, {"", "/api"}, {"", "/api/v1"}, {"", "/exact"}, {"", "/dir/"}, {"", "/a"}})
	regex := located(t, [][2]string{{"regex", "/(.*)"}}, [][2]string{{"", "/metrics"}, {"^~", "/keep"}, {"~", "^/x/(.*)$"}, {"=", "/is"}})
	for _, c := range []struct {
		h          *host
		path, want string
	}{
		{plain, "/", "prefix /"}, {plain, "/other", "prefix /"}, {plain, "/metrics", "location  /metrics"}, {plain, "/metrics2/x", "location  /metrics"},
		{plain, "/health", "location = /health"}, {plain, "/health/", "prefix /"},
		{plain, "/api", "prefix /api"}, {plain, "/api/x", "prefix /api"}, {plain, "/api/v1/x", "location  /api/v1"}, {plain, "/apix", "location  /api"},
		{plain, "/exact", "exact /exact"}, {plain, "/exact/", "location  /exact"}, {plain, "/dir/x", "location  /dir/"}, {plain, "/ab", "location  /a"},
		{plain, "/api/.git", `location ~* \.git`}, {plain, "/static/.git", "location ^~ /static/"}, {plain, "/x.GIT", `location ~* \.git`},
		{regex, "/metrics", "regex /(.*)"}, {regex, "/keep/x", "location ^~ /keep"}, {regex, "/x/y", "location ~ ^/x/(.*)$"}, {regex, "/is", "location = /is"},
	} {
		r, _, ok := c.h.match(c.path, nil)
		if !ok || r.cfg.ID != c.want {
			t.Errorf("%s: %v %s, want %s", c.path, ok, r.cfg.ID, c.want)
		}
	}
	if _, groups, _ := regex.match("/x/y", nil); len(groups) != 2 || groups[1] != "y" {
		t.Errorf("groups are %q", groups)
	}
}
