// Package check answers questions about objects without serving them: what is
// wrong with manifests (lintel check), and what happens to a request and why
// (lintel explain).
//
// Both use the translation, the router and the filters that serve. What a reader gets wrong:
// nothing here sends or receives anything; filters are built and never run.
package check

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/dataplane"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/translate"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// World is a configuration and what led to it. A running server fills it from what it
// serves; Load makes it from manifests. The functions may be called by several goroutines
// if Explain is.
type World struct {
	// Table is the whole configuration.
	Table *config.Delta
	// Pool says what stands behind a pool now.
	Pool func(config.PoolID) PoolState
	// Object returns an object with where it came from.
	Object func(object.Key) (metav1.Object, object.Origin, bool)
	// Findings are all that stand.
	Findings func() []diag.Diagnostic
	// Prefix is that of our annotations; "" is the usual one.
	Prefix string
	// Objects is how many objects were read; a running server does not say.
	Objects int
}

// PoolState is what stands behind a pool.
type PoolState struct {
	Endpoints []string // "10.0.0.1:8080", with more in brackets behind it
	Source    string   // "slices", "static", "name x.example.com:80"
	Problem   string   // why there is none, "" when nothing is wrong
}

// Load reads the manifests below paths and translates them. The error is about paths that
// cannot be read at all; everything else is a finding.
func Load(o translate.Options, paths ...string) (*World, error) {
	changes, err := dir.Load(paths...)
	if err != nil {
		return nil, err
	}
	return Translate(o, changes), nil
}

// Translate makes a World of objects.
func Translate(o translate.Options, changes []object.Change) *World {
	snap := object.NewSnapshot()
	ledger := new(diag.Ledger)
	read := 0
	for _, c := range changes {
		if c.Object != nil {
			read++
		}
		ledger.Set(diag.Owner{Producer: "source", Subject: c.Key.Ref().String()}, c.Diags)
	}
	result := translate.NewBuilder(snap, o).Build(snap.Apply(changes))
	ledger.SetAll(result.Diags)
	table := &result.Delta
	plane := dataplane.New(dataplane.Deps{
		Forwarder:  func(string, *config.Forward, *config.Origin) (dataplane.Forwarder, error) { return idle{}, nil },
		ErrorPager: func(string, *config.ErrorPages) (dataplane.ErrorPager, error) { return idle{}, nil },
	})
	ledger.Set(diag.Owner{Producer: "dataplane"}, plane.Apply(table))
	for id, p := range table.Pools {
		slices, _ := snap.Slices(id.Namespace, id.Service)
		ledger.Set(diag.Owner{Producer: "endpoints", Subject: id.String()}, translate.EndpointFindings(p, slices))
	}
	return &World{
		Table: table, Object: snap.Object, Prefix: o.AnnotationsPrefix, Objects: read,
		Pool:     func(id config.PoolID) PoolState { return poolOf(table.Pools[id], snap) },
		Findings: func() []diag.Diagnostic { return placed(ledger.All(), snap.Object) },
	}
}

// idle stands where a route's forwarding would.
type idle struct{}

func (idle) Select(*exchange.Exchange) bool           { return false }
func (idle) Forward(*exchange.Exchange)               {}
func (idle) Wants(*exchange.Exchange, int, bool) bool { return false }
func (idle) ErrorPage(*exchange.Exchange, int)        {}

// poolOf says what stands behind a pool by the objects alone.
func poolOf(p *config.Pool, snap *object.Snapshot) PoolState {
	switch {
	case p == nil, p.Missing:
		return PoolState{Source: "none", Problem: "the Service or its port does not exist"}
	case p.ExternalName != "":
		return PoolState{Source: "name " + net.JoinHostPort(p.ExternalName, strconv.Itoa(int(p.ExternalPort)))}
	}
	list, source := p.Static, "static"
	if p.Static == nil {
		s, _ := snap.Slices(p.ID.Namespace, p.ID.Service)
		list, source = translate.Endpoints(p, s), "slices"
	}
	out := PoolState{Source: source}
	for _, e := range list {
		text := e.Addr.String()
		if e.Zone != "" {
			text += " (zone " + e.Zone + ")"
		}
		out.Endpoints = append(out.Endpoints, text)
	}
	if len(list) == 0 {
		out.Problem = "no ready endpoint stands behind the Service"
	}
	return out
}

// placed gives findings without a position that of the field they are about.
func placed(ds []diag.Diagnostic, lookup func(object.Key) (metav1.Object, object.Origin, bool)) []diag.Diagnostic {
	for i := range ds {
		d := &ds[i]
		if d.Pos != (diag.Pos{}) {
			continue
		}
		k, ok := keyOf(d.Object)
		if !ok {
			continue
		}
		if _, from, ok := lookup(k); ok {
			d.Pos = position(from, d.Field)
		}
	}
	diag.Sort(ds)
	return ds
}

func keyOf(r diag.Ref) (object.Key, bool) {
	for k := object.KindIngress; k < object.KindFile; k++ {
		if k.String() == r.Kind {
			return object.Key{Kind: k, Namespace: r.Namespace, Name: r.Name}, true
		}
	}
	return object.Key{}, false
}

// position is the place of a field, or of the nearest one above it that has a place.
func position(from object.Origin, field string) diag.Pos {
	for field != "" {
		if p, ok := from.Fields.At(field); ok {
			return p
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return from.Pos
}

// nearestHost is the configured name that host was probably meant to be.
func nearestHost(t *config.Delta, host string) string {
	var names []string
	for name, h := range t.Hosts {
		if h != nil && name != config.CatchAll && !strings.HasPrefix(name, "~") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return annotation.Nearest(host, names)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
