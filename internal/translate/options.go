// Package translate turns Kubernetes objects into configuration.
//
// Each Ingress becomes a Fragment, a pure function of what it read through a
// recording reader. Fragments are merged per host, the only place where Ingresses can
// disagree. The Builder keeps both up to date incrementally: the work of one
// change is proportional to the change.
//
// What a reader gets wrong: endpoints are not translated. EndpointSlices take the
// fast lane (Endpoints, a pure function), and an empty pool is a fact of run time.
package translate

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// Options are what the command line says about translation. The zero value is not
// useful; start from DefaultOptions.
type Options struct {
	ControllerClass string // IngressClass spec.controller to adopt
	IngressClass    string // value of the legacy annotation; IngressClass name for ByName
	ByName          bool   // also adopt the IngressClass whose name is IngressClass
	WithoutClass    bool   // also serve Ingresses with neither field nor annotation
	// IgnoreClasses is set where IngressClasses may not be listed: the field is not looked at.
	IgnoreClasses bool

	WatchNamespace    string          // "" is all
	NamespaceSelector labels.Selector // nil is all

	DisableCatchAll            bool
	AnnotationsPrefix          string
	EnableAnnotationValidation bool
	DeepInspect                bool

	// DefaultBackendService, DefaultSSLCertificate and ConfigMap are "namespace/name"; "" for none.
	DefaultBackendService string
	DefaultSSLCertificate string
	ConfigMap             string

	DisableExternalName  bool
	TopologyAware        bool
	EnableSSLPassthrough bool

	HTTPPort, HTTPSPort int
	HealthPath          string // /healthz

	// Now tells the time certificates are judged by; nil: time.Now.
	Now func() time.Time
}

// DefaultOptions are the defaults of the flags (reference/routing.md 1).
func DefaultOptions() Options {
	return Options{
		ControllerClass:            "k8s.io/ingress-nginx",
		IngressClass:               "nginx",
		AnnotationsPrefix:          annotation.DefaultPrefix,
		EnableAnnotationValidation: true,
		DeepInspect:                true,
		HTTPPort:                   80,
		HTTPSPort:                  443,
		HealthPath:                 "/healthz",
	}
}

func (o *Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// split cuts "namespace/name"; both are empty for other texts.
func split(s string) (namespace, name string) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", ""
	}
	return namespace, name
}

// configMap is the key of the controller's ConfigMap, zero for none.
func (o *Options) configMap() object.Key {
	ns, name := split(o.ConfigMap)
	if name == "" {
		return object.Key{}
	}
	return object.Key{Kind: object.KindConfigMap, Namespace: ns, Name: name}
}

// Result is what one Build changed.
type Result struct {
	// Delta is for the data plane and the upstream pools. Apply it in the order global, pools,
	// certificates, hosts, and removals the other way round.
	Delta config.Delta
	// Diags are the findings of every owner whose findings changed; an empty list withdraws them.
	Diags map[diag.Owner][]diag.Diagnostic
	// Served are the Ingresses whose being served changed: true when they are now. Status
	// addresses are written for served Ingresses only.
	Served map[object.Key]bool
}

// Empty reports whether nothing changed at all.
func (r *Result) Empty() bool {
	d := &r.Delta
	return len(d.Hosts) == 0 && len(d.Pools) == 0 && len(d.Certs) == 0 && d.Global == nil && len(r.Diags) == 0 && len(r.Served) == 0
}
