package dir

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// kind is how the objects of one apiVersion and kind are read.
type kind struct {
	version string // the current apiVersion of the kind
	kind    object.Kind
	cluster bool // has no namespace
	old     bool // an apiVersion Kubernetes has removed
	depth   int  // levels of fields whose places are kept; 0: all
	make    func() any
	// upgrade turns what make made and JSON filled into current objects; nil: it is one.
	upgrade func(any) []metav1.Object
}

const networking = "networking.k8s.io/v1"

var (
	ingressKind = kind{version: networking, kind: object.KindIngress, make: func() any { return new(object.Ingress) }}
	classKind   = kind{version: networking, kind: object.KindIngressClass, cluster: true, make: func() any { return new(object.IngressClass) }}
	sliceKind   = kind{version: "discovery.k8s.io/v1", kind: object.KindEndpointSlice, depth: 2, make: func() any { return new(object.EndpointSlice) }}
	oldIngress  = kind{
		version: networking, kind: object.KindIngress, old: true, make: func() any { return new(object.OldIngress) },
		upgrade: func(v any) []metav1.Object {
			return []metav1.Object{object.UpgradeIngress(v.(*object.OldIngress))}
		},
	}
)

// kinds are all that are read.
var kinds = map[typeMeta]kind{
	{networking, "Ingress"}:                  ingressKind,
	{"networking.k8s.io/v1beta1", "Ingress"}: oldIngress,
	{"extensions/v1beta1", "Ingress"}:        oldIngress,
	{networking, "IngressClass"}:             classKind,
	{"discovery.k8s.io/v1", "EndpointSlice"}: sliceKind,
	{"v1", "Service"}:                        {version: "v1", kind: object.KindService, make: func() any { return new(object.Service) }},
	{"v1", "Secret"}:                         {version: "v1", kind: object.KindSecret, make: func() any { return new(object.Secret) }},
	{"v1", "ConfigMap"}:                      {version: "v1", kind: object.KindConfigMap, make: func() any { return new(object.ConfigMap) }},
	{"v1", "Namespace"}:                      {version: "v1", kind: object.KindNamespace, cluster: true, depth: 2, make: func() any { return new(object.Namespace) }},
	{"v1", "Node"}:                           {version: "v1", kind: object.KindNode, cluster: true, depth: 2, make: func() any { return new(object.Node) }},
	{"v1", "Pod"}:                            {version: "v1", kind: object.KindPod, depth: 2, make: func() any { return new(object.Pod) }},
	{"networking.k8s.io/v1beta1", "IngressClass"}: {
		version: networking, kind: object.KindIngressClass, cluster: true, old: true, make: func() any { return new(object.OldIngressClass) },
		upgrade: func(v any) []metav1.Object {
			return []metav1.Object{object.UpgradeIngressClass(v.(*object.OldIngressClass))}
		},
	},
	{"discovery.k8s.io/v1beta1", "EndpointSlice"}: {
		version: "discovery.k8s.io/v1", kind: object.KindEndpointSlice, old: true, depth: 2, make: func() any { return new(object.OldEndpointSlice) },
		upgrade: func(v any) []metav1.Object {
			return []metav1.Object{object.UpgradeEndpointSlice(v.(*object.OldEndpointSlice))}
		},
	},
	{"v1", "Endpoints"}: {
		version: "v1", kind: object.KindEndpointSlice, depth: 2, make: func() any { return new(object.Endpoints) },
		upgrade: func(v any) []metav1.Object {
			var out []metav1.Object
			for _, s := range object.UpgradeEndpoints(v.(*object.Endpoints)) {
				out = append(out, s)
			}
			return out
		},
	},
}

type verdict uint8

const (
	known verdict = iota
	ignored
	wrongVersion
)

// lookup finds how to read t. A kind of our names in a group that never had it
// (config.openshift.io Ingress) is somebody else's; in a group that had it the version is wrong.
func lookup(t typeMeta) (kind, verdict) {
	if k, ok := kinds[t]; ok {
		return k, known
	}
	group, _, found := strings.Cut(t.version, "/")
	if !found {
		group = ""
	}
	switch {
	case t.kind == "Ingress" && (group == "" || group == "extensions" || group == "networking.k8s.io"):
		return ingressKind, wrongVersion
	case t.kind == "IngressClass" && (group == "" || group == "networking.k8s.io"):
		return classKind, wrongVersion
	case t.kind == "EndpointSlice" && (group == "" || group == "discovery.k8s.io"):
		return sliceKind, wrongVersion
	}
	if k, ok := kinds[typeMeta{"v1", t.kind}]; ok && group == "" {
		return k, wrongVersion
	}
	return kind{}, ignored
}

// similar names the kind of ours that was probably meant by one that does not exist, or "": it
// differs in capitals, or in one letter of four.
func similar(t typeMeta) string {
	if len(t.kind) > 32 {
		return ""
	}
	group, _, _ := strings.Cut(t.version, "/")
	best, bestCost := "", max(1, len(t.kind)/4)+1
	for k := range kinds {
		if g, _, _ := strings.Cut(k.version, "/"); g != group {
			continue
		}
		if c := distance(strings.ToLower(t.kind), strings.ToLower(k.kind)); c < bestCost || c == bestCost && k.kind < best {
			best, bestCost = k.kind, c
		}
	}
	return best
}

// distance is the number of letters to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, prev+cost)
		}
	}
	return row[len(b)]
}

// decode reads one object of a known kind.
func (p *parser) decode(d *document, file string, n *yaml.Node, h header, k kind) {
	e := &entry{pos: diag.Pos{File: file, Line: n.Line, Column: n.Column}}
	e.key = object.Key{Kind: k.kind, Namespace: h.namespace, Name: h.name}
	switch {
	case k.cluster:
		e.key.Namespace = ""
	case h.namespace == "":
		e.key.Namespace = metav1.NamespaceDefault
	}
	c := &p.c
	c.reset(file)
	err := c.value(n, e.pos, 0)
	fields := c.shapes.Fields(c.fields(k.depth))
	complain := func(f diag.Diagnostic) {
		f.Object = e.key.Ref()
		if k.kind == object.KindSecret {
			f.Value = ""
		}
		if f.Pos == (diag.Pos{}) {
			f.Pos = at(fields, f.Field, e.pos)
		}
		e.diags = append(e.diags, f)
	}
	refuse := func(f diag.Diagnostic) {
		f.Code, f.Severity, f.Effect = diag.ManifestInvalid, diag.Error, diag.ObjectOff
		complain(f)
	}
	if name, reason := badName(e.key, h); reason != "" {
		// Without a usable name there is nothing the finding could be kept with.
		e.key = object.Key{Kind: k.kind}
		refuse(diag.Diagnostic{Field: "metadata." + name, Message: reason})
		d.diags = append(d.diags, e.diags...)
		d.broken = true
		return
	}
	d.entries = append(d.entries, e)
	if err != nil {
		pos, msg := place(err, e.pos)
		refuse(diag.Diagnostic{Pos: pos, Message: msg})
		return
	}
	for _, m := range c.repeated {
		complain(diag.Diagnostic{
			Code: diag.ManifestField, Severity: diag.Error, Effect: diag.Ignored, Field: m.path, Pos: m.pos,
			Message: "the key is written twice; the first one counts", Hint: "remove one of them",
		})
	}
	into := k.make()
	strict, err := kjson.UnmarshalStrict(c.json, into)
	if err != nil {
		refuse(p.typeError(err, k, into, fields))
		return
	}
	for _, s := range strict {
		if f, ok := unknownField(s); ok {
			complain(f)
		}
	}
	if k.old {
		complain(diag.Diagnostic{
			Code: diag.APIVersionOld, Severity: diag.Warning, Field: "apiVersion", Value: h.version,
			Message: fmt.Sprintf("%s %s no longer exists; it is read as %s", h.version, h.kind, k.version),
			Hint:    "write apiVersion: " + k.version,
		})
	}
	if h.kind == "Endpoints" {
		complain(diag.Diagnostic{
			Code: diag.EndpointsUpgraded, Severity: diag.Info, Field: "kind", Value: h.kind,
			Message: "read as EndpointSlices", Hint: "write an EndpointSlice of discovery.k8s.io/v1",
		})
	}
	objs := []metav1.Object{nil}
	if k.upgrade != nil {
		objs = k.upgrade(into)
		fields = c.shapes.Fields(upgradeFields(k.kind, c.fields(k.depth)))
	} else {
		objs[0] = into.(metav1.Object)
	}
	e.fields = fields
	p.finish(d, e, objs, complain)
}

// finish sets what the API server would have set, and spreads several objects over entries.
func (p *parser) finish(d *document, e *entry, objs []metav1.Object, complain func(diag.Diagnostic)) {
	if len(objs) == 0 {
		// An Endpoints object without addresses says nothing.
		d.entries = d.entries[:len(d.entries)-1]
		d.diags = append(d.diags, e.diags...)
		return
	}
	for i, o := range objs {
		o.SetNamespace(e.key.Namespace)
		setDefaults(o)
		trim(o)
		if i == 0 {
			e.obj, e.key.Name = o, o.GetName()
			continue
		}
		more := *e
		more.obj, more.key.Name, more.diags = o, o.GetName(), nil
		d.entries = append(d.entries, &more)
	}
	if s, ok := e.obj.(*object.EndpointSlice); ok && s.Labels[discoveryv1.LabelServiceName] == "" {
		complain(diag.Diagnostic{
			Code: diag.ReferenceMissing, Severity: diag.Warning, Field: "metadata.labels", Effect: diag.Ignored,
			Message: "the label " + discoveryv1.LabelServiceName + " is missing, so no Service has these endpoints",
			Hint:    "add the label with the name of the Service",
		})
	}
}

func badName(k object.Key, h header) (field, reason string) {
	switch {
	case k.Name == "" && h.generate != "":
		return "generateName", "only an API server can generate a name; write metadata.name"
	case k.Name == "":
		return "name", "metadata.name is missing"
	}
	if e := validation.IsDNS1123Subdomain(k.Name); len(e) > 0 {
		return "name", fmt.Sprintf("%q is not a name: lower-case letters, digits, - and . are allowed", diag.Clip(k.Name, 80))
	}
	if k.Namespace != "" {
		if e := validation.IsDNS1123Label(k.Namespace); len(e) > 0 {
			return "namespace", fmt.Sprintf("%q is not a namespace: lower-case letters, digits and - are allowed", diag.Clip(k.Namespace, 80))
		}
	}
	return "", ""
}

// typeError says in words which value has the wrong type.
func (p *parser) typeError(err error, k kind, into any, fields *object.Fields) diag.Diagnostic {
	var t *json.UnmarshalTypeError
	if !errors.As(err, &t) {
		if s, ok := into.(*object.Secret); ok {
			if f, found := badBase64(s, p.c.json); found {
				return f
			}
		}
		return diag.Diagnostic{Message: strings.TrimPrefix(err.Error(), "json: ")}
	}
	m := p.c.near(t.Offset)
	f := diag.Diagnostic{Field: m.path, Pos: m.pos}
	found, wanted := t.Value, goWord(t.Type.String())
	text := p.c.json[m.offset:min(int64(len(p.c.json)), max(t.Offset, int64(m.offset)))]
	switch {
	case strings.HasPrefix(found, "number"), found == "bool":
		f.Value = string(text)
		f.Message = fmt.Sprintf("%s is %s, but %s is wanted", f.Value, jsonWord(found), wanted)
		if wanted == "text" {
			f.Hint = fmt.Sprintf("put it in quotes: %q", f.Value)
		}
	case found == "string" && k.kind != object.KindSecret:
		f.Value = strings.Trim(diag.Clip(string(text), 200), `"`)
		f.Message = fmt.Sprintf("%q is text, but %s is wanted", f.Value, wanted)
	default:
		f.Message = fmt.Sprintf("%s is here, but %s is wanted", jsonWord(found), wanted)
	}
	return f
}

func jsonWord(v string) string {
	switch v {
	case "string":
		return "text"
	case "bool":
		return "a boolean"
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	}
	return "a number"
}

func goWord(t string) string {
	switch {
	case t == "[]uint8", strings.HasPrefix(t, "[]byte"):
		return "base64 text"
	case strings.HasPrefix(t, "["):
		return "a list"
	case strings.HasPrefix(t, "map["):
		return "a mapping"
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "a whole number"
	case strings.HasPrefix(t, "v1") || strings.Contains(t, "."):
		if strings.HasSuffix(t, "Type") || strings.HasSuffix(t, "Policy") || strings.HasSuffix(t, "Protocol") {
			return "text"
		}
		return "a mapping"
	}
	return "text"
}

// badBase64 finds the entry of a Secret whose value does not decode.
func badBase64(_ *object.Secret, text []byte) (diag.Diagnostic, bool) {
	var raw struct {
		Data map[string]any `json:"data"`
	}
	if json.Unmarshal(text, &raw) != nil {
		return diag.Diagnostic{}, false
	}
	for key, v := range raw.Data {
		s, ok := v.(string)
		if !ok {
			continue
		}
		if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			return diag.Diagnostic{
				Field: "data[" + key + "]", Message: "the value is not base64",
				Hint: "put plain text under stringData instead",
			}, true
		}
	}
	return diag.Diagnostic{}, false
}

var unknown = regexp.MustCompile(`^unknown field "(.*)"$`)

// unknownField makes a finding of what the strict decoder says. It writes map keys
// with dots, which no struct field of ours has behind it.
func unknownField(err error) (diag.Diagnostic, bool) {
	m := unknown.FindStringSubmatch(err.Error())
	if m == nil {
		return diag.Diagnostic{}, false // duplicate fields: the converter has told
	}
	name := m[1][strings.LastIndexByte(m[1], '.')+1:]
	return diag.Diagnostic{
		Code: diag.ManifestField, Severity: diag.Warning, Effect: diag.Ignored, Field: m[1], Value: name,
		Message: fmt.Sprintf("there is no field %q here", name), Hint: "check the spelling and the indentation",
	}, true
}

// at returns the place of field, or of the closest field above it that has one.
func at(fields *object.Fields, field string, otherwise diag.Pos) diag.Pos {
	for field != "" {
		if p, ok := fields.At(field); ok {
			return p
		}
		cut := strings.LastIndexAny(field, ".[")
		if cut < 0 {
			break
		}
		field = field[:cut]
	}
	return otherwise
}

// upgradeFields gives the places of old fields to the names they have now.
func upgradeFields(k object.Kind, fields []object.Place) []object.Place {
	if k != object.KindIngress {
		return fields
	}
	out := make([]object.Place, 0, len(fields)+8)
	for _, f := range fields {
		path, pos := f.Path, f.Pos
		if rest, ok := strings.CutPrefix(path, "spec.backend"); ok {
			path = "spec.defaultBackend" + rest
		}
		switch {
		case strings.HasSuffix(path, "ackend.serviceName"):
			base := strings.TrimSuffix(path, ".serviceName")
			out = append(out, object.Place{Path: base + ".service", Pos: pos}, object.Place{Path: base + ".service.name", Pos: pos})
		case strings.HasSuffix(path, "ackend.servicePort"):
			base := strings.TrimSuffix(path, ".servicePort")
			for _, f := range []string{".service.port", ".service.port.number", ".service.port.name"} {
				out = append(out, object.Place{Path: base + f, Pos: pos})
			}
		default:
			out = append(out, object.Place{Path: path, Pos: pos})
		}
	}
	return out
}

// setDefaults sets what the API server would have, and folds stringData in.
func setDefaults(o metav1.Object) {
	switch o := o.(type) {
	case *object.Secret:
		if len(o.StringData) > 0 && o.Data == nil {
			o.Data = make(map[string][]byte, len(o.StringData))
		}
		for k, v := range o.StringData {
			o.Data[k] = []byte(v)
		}
		o.StringData = nil
		if o.Type == "" {
			o.Type = corev1.SecretTypeOpaque
		}
	case *object.Service:
		if o.Spec.Type == "" {
			o.Spec.Type = corev1.ServiceTypeClusterIP
		}
		for i := range o.Spec.Ports {
			p := &o.Spec.Ports[i]
			if p.Protocol == "" {
				p.Protocol = corev1.ProtocolTCP
			}
			if p.TargetPort == (intstr.IntOrString{}) {
				p.TargetPort = intstr.FromInt32(p.Port)
			}
		}
	case *object.EndpointSlice:
		for i := range o.Ports {
			p := &o.Ports[i]
			if p.Name == nil {
				p.Name = new(string)
			}
			if p.Protocol == nil || *p.Protocol == "" {
				tcp := corev1.ProtocolTCP
				p.Protocol = &tcp
			}
		}
	case *object.Namespace:
		// compat: every namespace has its name as a label, which selectors use.
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = o.Name
	}
}
