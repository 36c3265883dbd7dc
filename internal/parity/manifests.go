package parity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ConfigMapName is the name of the controller's ConfigMap in every suite.
const ConfigMapName = "ingress-nginx/ingress-nginx-controller"

type object = map[string]any

const base = `
{apiVersion: v1, kind: Namespace, metadata: {name: diff}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: diff2}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: other}, spec: {controller: example.com/other}}
`

// port is one port of a Service.
type port struct {
	name           string
	number, target int
}

var (
	httpPort   = port{"http", 80, 8080}
	echoPorts  = []port{httpPort, {"https", 443, 8443}, {"grpc", 9000, 9000}, {"grpcs", 9443, 9443}, {"fcgi", 9001, 9001}}
	everywhere = []string{"echo", "echo1", "echo2", "echo3"}
)

// builder gathers the objects of a suite.
type builder struct {
	place    *Place
	suite    *Suite
	pki      *PKI
	objects  []object
	ingress  []object
	services map[string]bool // namespace/name
}

// Manifests returns the objects of a suite as YAML, as an API server would hand them
// out: with creation times, and Secret data in base64.
func Manifests(p *Place, s *Suite, pki *PKI) ([]byte, error) {
	b := &builder{place: p, suite: s, pki: pki, services: map[string]bool{}}
	if err := b.build(); err != nil {
		return nil, fmt.Errorf("suite %s: %w", s.Name, err)
	}
	all := append(b.objects, b.ingress...)
	if err := finish(all); err != nil {
		return nil, fmt.Errorf("suite %s: %w", s.Name, err)
	}
	var out strings.Builder
	enc := yaml.NewEncoder(&out)
	for _, o := range all {
		if err := enc.Encode(o); err != nil {
			return nil, err
		}
	}
	return []byte(out.String()), enc.Close()
}

func (b *builder) build() error {
	if err := b.add(base); err != nil {
		return err
	}
	for _, ns := range []string{"diff", "diff2"} {
		for _, name := range everywhere {
			b.standard(ns, name, name)
		}
	}
	for _, name := range []string{"noep", "errs", "dead", "halfdead"} {
		b.standard("diff", name, name)
	}
	b.service("diff", "auth", []port{{"http", 80, 8090}}, "AUTH")
	ns, name, _ := strings.Cut(ConfigMapName, "/")
	b.objects = append(b.objects, object{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"name": name, "namespace": ns}, "data": b.suite.ConfigMap})
	if err := b.add(b.suite.Manifests); err != nil {
		return err
	}
	for _, c := range append(slices.Clone(b.suite.Extra), b.suite.Cases...) {
		if err := b.addCase(c); err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
	}
	// The last object: when it answers, the others are there too.
	ready, err := b.ingressObject("zz-ready-"+b.suite.Name, &Ingress{Host: readyHost(b.suite.Name), Paths: []string{"Prefix / echo1"}})
	b.ingress = append(b.ingress, ready)
	return err
}

func readyHost(suite string) string { return "ready-" + strings.ReplaceAll(suite, "_", "-") + ".test" }

func (b *builder) addCase(c *Case) error {
	for _, s := range c.Secrets {
		o, err := b.secret(s)
		if err != nil {
			return err
		}
		b.objects = append(b.objects, o)
	}
	if err := b.add(c.Manifests); err != nil {
		return err
	}
	for i := range c.Ingresses {
		in := &c.Ingresses[i]
		if b.suite.Private {
			b.ownServices(c, in)
		}
		name := c.Name
		if i > 0 {
			name += "-" + strconv.Itoa(i)
		}
		o, err := b.ingressObject(name, in)
		if err != nil {
			return err
		}
		b.ingress = append(b.ingress, o)
	}
	return nil
}

// add parses documents; Ingresses go behind everything else.
func (b *builder) add(text string) error {
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var o object
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case len(o) == 0:
		case o["kind"] == "Ingress":
			b.ingress = append(b.ingress, o)
		default:
			b.objects = append(b.objects, o)
		}
	}
}

// service adds a Service and, for at least one party, its EndpointSlice.
func (b *builder) service(ns, name string, ports []port, parties ...string) {
	if b.services[ns+"/"+name] {
		return
	}
	b.services[ns+"/"+name] = true
	var spec, slice []any
	for _, p := range ports {
		spec = append(spec, object{"name": p.name, "port": p.number, "targetPort": p.target, "protocol": "TCP"})
		slice = append(slice, object{"name": p.name, "port": p.target, "protocol": "TCP"})
	}
	b.objects = append(b.objects, object{"apiVersion": "v1", "kind": "Service",
		"metadata": object{"name": name, "namespace": ns}, "spec": object{"ports": spec}})
	if len(parties) == 0 {
		return
	}
	var endpoints []any
	for _, who := range parties {
		endpoints = append(endpoints, object{"addresses": []any{b.place.Addr(who)}, "conditions": object{"ready": true, "serving": true}})
	}
	b.objects = append(b.objects, object{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  object{"name": name + "-1", "namespace": ns, "labels": object{"kubernetes.io/service-name": name}},
		"endpoints": endpoints, "ports": slice})
}

// standard adds one of the well-known Services under a name; it reports whether kind is one.
func (b *builder) standard(ns, kind, name string) bool {
	switch kind {
	case "echo1", "echo2", "echo3":
		b.service(ns, name, echoPorts, strings.ToUpper(kind))
	case "echo":
		b.service(ns, name, echoPorts, "ECHO1", "ECHO2", "ECHO3")
	case "noep":
		b.service(ns, name, []port{httpPort})
	case "dead":
		b.service(ns, name, []port{httpPort}, "DEAD")
	case "halfdead":
		b.service(ns, name, []port{httpPort}, "DEAD", "ECHO1")
	case "errs":
		b.service(ns, name, []port{{"http", 80, 8091}}, "ERRS")
	default:
		return false
	}
	return true
}

// ownServices gives a case copies of the Services it names: ingress-nginx shares
// settings between all Ingresses of one Service.
func (b *builder) ownServices(c *Case, in *Ingress) {
	ns := in.Namespace
	or(&ns, "diff")
	own := func(ref string) string {
		kind, port, hasPort := strings.Cut(ref, ":")
		name := kind + "-" + c.Name
		if !b.services[ns+"/"+name] && !b.standard(ns, kind, name) {
			return ref
		}
		if hasPort {
			return name + ":" + port
		}
		return name
	}
	paths := func(list []string) {
		for i, p := range list {
			f := strings.Fields(p)
			f[2] = own(f[2])
			list[i] = strings.Join(f, " ")
		}
	}
	paths(in.Paths)
	for _, r := range in.Rules {
		paths(r.Paths)
	}
	if in.Default != "" {
		in.Default = own(in.Default)
	}
}

func (b *builder) ingressObject(name string, in *Ingress) (object, error) {
	if in.Name != "" {
		name = in.Name
	}
	meta := object{"name": name, "namespace": "diff"}
	if in.Namespace != "" {
		meta["namespace"] = in.Namespace
	}
	if len(in.Annotations) > 0 {
		annotations := object{}
		for k, v := range in.Annotations {
			if !strings.Contains(k, "/") {
				k = "nginx.ingress.kubernetes.io/" + k
			}
			annotations[k] = v
		}
		meta["annotations"] = annotations
	}
	spec := object{}
	switch {
	case in.Class == nil:
		spec["ingressClassName"] = "nginx"
	case *in.Class != "":
		spec["ingressClassName"] = *in.Class
	}
	rules := in.Rules
	if in.Host != "" || len(in.Paths) > 0 {
		rules = append([]Rule{{in.Host, in.Paths}}, rules...)
	}
	if len(rules) > 0 {
		list, err := ruleObjects(rules)
		if err != nil {
			return nil, err
		}
		spec["rules"] = list
	}
	if in.Default != "" {
		spec["defaultBackend"] = backendRef(in.Default)
	}
	var tls []any
	for _, t := range in.TLS {
		o := object{}
		if len(t.Hosts) > 0 {
			o["hosts"] = t.Hosts
		}
		if t.Secret != "" {
			o["secretName"] = t.Secret
		}
		tls = append(tls, o)
	}
	if tls != nil {
		spec["tls"] = tls
	}
	o := object{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}
	if in.PauseMS > 0 {
		o[pauseKey] = in.PauseMS
	}
	return o, nil
}

func ruleObjects(rules []Rule) ([]any, error) {
	var list []any
	for _, r := range rules {
		rule := object{}
		if r.Host != "" {
			rule["host"] = r.Host
		}
		var paths []any
		for _, p := range r.Paths {
			f := strings.Fields(p)
			if len(f) != 3 {
				return nil, fmt.Errorf("%q is not a path type, a path and a service", p)
			}
			paths = append(paths, object{"pathType": f[0], "path": f[1], "backend": backendRef(f[2])})
		}
		if paths != nil {
			rule["http"] = object{"paths": paths}
		}
		list = append(list, rule)
	}
	return list, nil
}

// backendRef reads service[:port]; resource=NAME is a backend no controller knows.
func backendRef(text string) object {
	name, portText, hasPort := strings.Cut(text, ":")
	if resource, ok := strings.CutPrefix(name, "resource="); ok {
		return object{"resource": object{"apiGroup": "example.com", "kind": "StorageBucket", "name": resource}}
	}
	port := object{"number": 80}
	if n, err := strconv.Atoi(portText); err == nil {
		port = object{"number": n}
	} else if hasPort {
		port = object{"name": portText}
	}
	return object{"service": object{"name": name, "port": port}}
}

func (b *builder) secret(s Secret) (object, error) {
	data, kind := object{}, "Opaque"
	set := func(cert, key string, p *Pem) {
		data[cert] = string(p.Cert)
		if key != "" {
			data[key] = string(p.Key)
		}
	}
	if len(s.Hosts) > 0 {
		p, err := b.pki.Server("server-ca", s.Expired, s.Hosts...)
		if err != nil {
			return nil, err
		}
		set("tls.crt", "tls.key", p)
		kind = "kubernetes.io/tls"
	}
	if s.Client != "" {
		p, err := b.pki.Client("client-ca", s.Client)
		if err != nil {
			return nil, err
		}
		set("tls.crt", "tls.key", p)
	}
	if s.CA != "" {
		p, err := b.pki.Authority(s.CA)
		if err != nil {
			return nil, err
		}
		set("ca.crt", "", p)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("secret %s has nothing in it", s.Name)
	}
	ns := s.Namespace
	or(&ns, "diff")
	return object{"apiVersion": "v1", "kind": "Secret", "type": kind,
		"metadata": object{"name": s.Name, "namespace": ns}, "stringData": data}, nil
}

// pauseKey marks an object that was created some time after those before it.
const pauseKey = "pause"

// finish makes objects look as if an API server had stored them one after the other.
func finish(objects []object) error {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, o := range objects {
		meta, ok := o["metadata"].(object)
		if !ok {
			return fmt.Errorf("%v without metadata", o["kind"])
		}
		if ms, ok := o[pauseKey].(int); ok {
			now = now.Add((time.Duration(ms)*time.Millisecond + time.Second - 1).Truncate(time.Second))
			delete(o, pauseKey)
		}
		meta["creationTimestamp"] = now.Format(time.RFC3339)
		if meta["namespace"] == nil && o["kind"] != "Namespace" && o["kind"] != "IngressClass" {
			meta["namespace"] = "diff"
		}
		if text, ok := o["stringData"].(object); ok && o["kind"] == "Secret" {
			data, _ := o["data"].(object)
			if data == nil {
				data = object{}
			}
			for k, v := range text {
				data[k] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(v)))
			}
			o["data"] = data
			delete(o, "stringData")
		}
	}
	return nil
}
