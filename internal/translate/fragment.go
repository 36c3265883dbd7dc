package translate

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// Fragment is everything one Ingress contributes. It is immutable once made.
type Fragment struct {
	Owner object.Key
	Age   object.Age
	// Adopted is true for Ingresses of ours by class and namespace; Served is true when one of its
	// revisions is accepted; Held when that is not the current one.
	Adopted, Served, Held bool
	// Hosts are its parts by host, in the order of its rules.
	Hosts []HostPart
	// Pools and Certs are what its routes need.
	Pools []config.PoolID
	Certs []config.CertID
	Diags []diag.Diagnostic

	values      *annotation.Values
	annotations map[string]string
	canary      bool
	local       bool
	fromDefault bool // spec.defaultBackend without rules
	// revision is the one that was translated; it becomes the accepted one where accept is true.
	revision *object.Ingress
	origin   object.Origin
	accept   bool
}

// HostPart is what an Ingress contributes to one host.
type HostPart struct {
	Name   string // lower case; "_" for rules without host
	Routes []RoutePart
	// Implicit is "/" for where no rule of the host names it: used if the Ingress is the host's first.
	Implicit *RoutePart
	// TLS is nil where spec.tls is empty.
	TLS *TLSClaim
}

// RoutePart is one path as an Ingress asks for it.
type RoutePart struct {
	// Route is complete for a host that is not in regex mode.
	Route *config.Route
	// Field is the path's place in the Ingress.
	Field string
	// Regex asks for regex mode of the whole host.
	Regex bool
	Slash config.Slash
	// Canary is set for paths of a canary Ingress: they attach to another Ingress' route.
	Canary *config.Canary
}

// TLSClaim is the certificate an Ingress gives a host.
type TLSClaim struct {
	Cert config.CertID // zero: the default certificate
	Also []config.CertID
	// Names are the certificate's: aliases they cover share it.
	Names []string
}

// Ingress translates one Ingress: same reads, same result. Reads through r are recorded there.
func Ingress(in *object.Ingress, from object.Origin, r *object.Reader, o Options) *Fragment {
	t := newTranslator(&o)
	t.r = r
	return t.ingress(in, from)
}

// translator is the memory shared by translations: nothing in it changes a result.
type translator struct {
	o     *Options
	certs certificates
	r     *object.Reader // of the translation or merge that runs
	cm    object.Key
	// What objects asked for while this translation or merge ran.
	pools     []config.PoolID
	certsUsed []config.CertID
	readCM    func(key string) (string, bool)
	// statusAllow may read /nginx_status.
	statusAllow filter.Prefixes
}

func newTranslator(o *Options) *translator {
	t := &translator{o: o, cm: o.configMap()}
	t.readCM = t.key
	return t
}

func (t *translator) begin(r *object.Reader) {
	t.r, t.pools, t.certsUsed = r, nil, nil
}

// key reads a key of the controller's ConfigMap.
func (t *translator) key(key string) (string, bool) {
	if t.cm.Name == "" {
		return "", false
	}
	return t.r.ConfigMapKey(t.cm.Namespace, t.cm.Name, key)
}

// current translates the Ingress stored under k: its current revision, or the one accepted last
// where the current one is malformed. nil when there is none.
func (t *translator) current(k object.Key, s *object.Snapshot) *Fragment {
	o, from, ok := s.Object(k)
	if !ok {
		return nil
	}
	in, ok := o.(*object.Ingress)
	if !ok {
		return nil
	}
	f := t.ingress(in, from)
	if !f.Adopted || f.Served {
		return f
	}
	effect, note := diag.ObjectOff, ""
	if old, oldFrom, ok := s.Accepted(k); ok && old != in {
		pools, certs := t.pools, t.certsUsed
		if g := t.ingress(old, oldFrom); g.Adopted && g.Served {
			g.Held, g.accept = true, false
			g.Diags = f.Diags
			effect = diag.ObjectHeld
			if old.ResourceVersion != "" {
				note = fmt.Sprintf("; the revision accepted last, resourceVersion %s, serves on", old.ResourceVersion)
			}
			f = g
		} else {
			t.pools, t.certsUsed = pools, certs
		}
	}
	f.Diags = slices.Clone(f.Diags)
	for i := range f.Diags {
		if d := &f.Diags[i]; d.Effect == diag.ObjectHeld {
			d.Effect = effect
			d.Message += note
		}
	}
	return f
}

// ingress translates one revision. Served is false where it is not ours or not acceptable.
func (t *translator) ingress(in *object.Ingress, from object.Origin) *Fragment {
	t.pools, t.certsUsed = nil, nil
	f := &Fragment{
		Owner: object.Key{Kind: object.KindIngress, Namespace: in.Namespace, Name: in.Name},
		Age:   object.AgeOf(in, from), annotations: in.Annotations, local: from.Local,
		revision: in, origin: from,
	}
	j := &job{t: t, f: f, in: in, from: from}
	ours, why := adopted(in, from, t.r, t.o)
	f.Adopted = ours
	if why != nil {
		j.report(*why)
	}
	if !ours {
		return f
	}
	if !j.acceptable() {
		return f
	}
	f.Served, f.accept = true, true
	j.rules()
	f.Pools, f.Certs = t.pools, t.certsUsed
	return f
}

// base is the fragment behind the catch-all host: the controller's default backend, with
// the settings of the ConfigMap and no annotations.
func (t *translator) base() *Fragment {
	t.pools, t.certsUsed = nil, nil
	in := &object.Ingress{}
	f := &Fragment{Served: true, revision: in}
	j := &job{t: t, f: f, in: in}
	f.values, _, _ = annotation.Parse(nil, j.parseOptions())
	f.Hosts = []HostPart{{Name: config.CatchAll, Implicit: j.implicit(config.CatchAll)}}
	f.Pools, f.Certs = t.pools, t.certsUsed
	return f
}

// same reports whether two fragments contribute the same, findings aside. Values are a
// function of the annotations and the ConfigMap; what a merge reads of the latter it records itself.
func (f *Fragment) same(g *Fragment) bool {
	if f == nil || g == nil {
		return f == g
	}
	return f.Age == g.Age && f.Adopted == g.Adopted && f.Served == g.Served && f.canary == g.canary && f.local == g.local &&
		f.fromDefault == g.fromDefault && maps.Equal(f.annotations, g.annotations) && f.values.Same(g.values) &&
		reflect.DeepEqual(f.Hosts, g.Hosts) && slices.Equal(f.Pools, g.Pools) && slices.Equal(f.Certs, g.Certs)
}

// part is what the fragment contributes to a host, nil for nothing.
func (f *Fragment) part(host string) *HostPart {
	for i := range f.Hosts {
		if f.Hosts[i].Name == host {
			return &f.Hosts[i]
		}
	}
	return nil
}

// job is one translation.
type job struct {
	t    *translator
	f    *Fragment
	in   *object.Ingress
	from object.Origin
	deny string // why every route answers 503
}

// report adds a finding about the Ingress, once.
func (j *job) report(d diag.Diagnostic) {
	d.Object = j.f.Owner.Ref()
	if d.Pos == (diag.Pos{}) {
		d.Pos = position(j.from, d.Field)
	}
	for i := range j.f.Diags {
		if sameDiagnostic(&j.f.Diags[i], &d) {
			return
		}
	}
	j.f.Diags = append(j.f.Diags, d)
}

// reportAnnotation adds a finding about an annotation, named without prefix.
func (j *job) reportAnnotation(name string, d diag.Diagnostic) {
	j.report(annotationFinding(j.in, j.t.o.AnnotationsPrefix, name, d))
}

func annotationFinding(in *object.Ingress, prefix, name string, d diag.Diagnostic) diag.Diagnostic {
	full := prefix + "/" + name
	if _, ok := in.Annotations[full]; !ok {
		// Written under another name of the same annotation?
		for k := range in.Annotations {
			if len(k) > len(prefix) && k[:len(prefix)] == prefix && k[len(prefix)] == '/' {
				if main, ok := annotation.Known(k[len(prefix)+1:]); ok && main == name {
					full = k
					break
				}
			}
		}
	}
	if d.Field == "" {
		d.Field = "metadata.annotations[" + full + "]"
	}
	if d.Value == "" {
		d.Value = in.Annotations[full]
	}
	return d
}

func sameDiagnostic(a, b *diag.Diagnostic) bool {
	return a.Code == b.Code && a.Severity == b.Severity && a.Object == b.Object && a.Field == b.Field && a.Value == b.Value &&
		a.Message == b.Message && a.Hint == b.Hint && a.Pos == b.Pos && a.Effect == b.Effect && slices.Equal(a.Related, b.Related)
}

// acceptable applies everything that refuses the Ingress as a whole, and reads its annotations.
func (j *job) acceptable() bool {
	ok := true
	for _, d := range inspect(j.in, j.t.o.DeepInspect) {
		j.report(d)
		ok = false
	}
	if j.t.o.DisableCatchAll && j.in.Spec.DefaultBackend != nil {
		j.report(diag.Diagnostic{
			Code: diag.CatchAllDisabled, Severity: diag.Error, Field: "spec.defaultBackend", Effect: diag.ObjectOff,
			Message: "Ingresses with a default backend are switched off (--disable-catch-all)",
			Hint:    "remove spec.defaultBackend, or start lintel without that flag",
		})
		ok = false
	}
	values, findings, outcome := annotation.Parse(j.in.Annotations, j.parseOptions())
	for _, x := range findings {
		d := x.Diagnostic
		d.Field = "metadata.annotations[" + x.Name + "]"
		j.report(d)
		if d.Effect == diag.RouteOff && j.deny == "" {
			j.deny = x.Name + ": " + d.Message
		}
	}
	j.f.values = values
	if outcome == annotation.Deny && j.deny == "" {
		j.deny = "an annotation cannot be used"
	}
	return ok && outcome != annotation.Hard
}

// parseOptions reads what the ConfigMap says about annotations.
func (j *job) parseOptions() annotation.Options {
	t := j.t
	o := annotation.Options{Prefix: t.o.AnnotationsPrefix, Global: t.readCM, Unvalidated: !t.o.EnableAnnotationValidation, Risk: annotation.High}
	o.Namespace = j.in.Namespace
	o.HasSecret = func(namespace, name string) bool {
		_, ok := t.r.Secret(namespace, name)
		return ok
	}
	if text, ok := t.key("annotations-risk-level"); ok {
		o.Risk, _ = annotation.ParseRisk(text)
	}
	o.AllowSnippets = t.flag("allow-snippet-annotations")
	if text, ok := t.key("annotation-value-word-blocklist"); ok {
		o.BlockedWords = commaList(text)
	}
	return o
}
