package requestid

import (
	"regexp"
	"strings"
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/filter"
)

func TestIDIsTheClientsOrMade(t *testing.T) {
	hex := regexp.MustCompile(`\A[0-9a-f]{32}\z`)
	for _, c := range []struct {
		sent     string
		generate bool
		want     string // "hex" for a made one
	}{
		{"abc", true, "abc"}, {"", true, "hex"}, {"", false, ""}, {strings.Repeat("x", 257), true, "hex"}, {"abc", false, "abc"},
	} {
		f, _ := Config{Generate: c.generate}.Build(nil)
		x := exchange.Acquire()
		if c.sent != "" {
			x.Req.Header.Add("x-request-id", c.sent)
		}
		f.(filter.OnRequest).Request(x)
		if c.want == "hex" && !hex.MatchString(x.ID) || c.want != "hex" && x.ID != c.want {
			t.Errorf("sent %.20q: id %q, want %s", c.sent, x.ID, c.want)
		}
		x.Release()
	}
	if a, b := Make(), Make(); a == b {
		t.Error("two ids are equal")
	}
}
