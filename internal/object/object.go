// Package object keeps the current Kubernetes objects and hands out readers
// that record what was asked for.
//
// Sources put changes in; translate reads through a Reader, so a dependency
// cannot be forgotten: a read that finds nothing is recorded too. Objects are
// immutable once stored; nobody may change what a read returned.
package object

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/diag"
)

// Kind is a kind of object lintel reads.
type Kind uint8

// The kinds.
const (
	KindIngress Kind = iota + 1
	KindIngressClass
	KindService
	KindEndpointSlice
	KindSecret
	KindConfigMap
	KindNamespace
	KindNode
	KindPod
	// KindFile is a manifest file or directory, named by its path: it never has an
	// Object, only Diags about what could not be read (with Keep), and none once it can.
	KindFile
)

func (k Kind) String() string {
	return [...]string{"", "Ingress", "IngressClass", "Service", "EndpointSlice", "Secret", "ConfigMap", "Namespace", "Node", "Pod", "File"}[k]
}

// Key names one object. Part narrows a read to one entry (a ConfigMap key, lower
// case), so that a change elsewhere in the object disturbs nobody.
type Key struct {
	Kind            Kind
	Namespace, Name string
	Part            string
}

// Ref is k as diagnostics name it.
func (k Key) Ref() diag.Ref {
	return diag.Ref{Kind: k.Kind.String(), Namespace: k.Namespace, Name: k.Name}
}

// Change is one object that appeared, changed or (nil Object) vanished.
type Change struct {
	Key    Key           // without Part
	Object metav1.Object // one of the typed objects named in this package; nil: deleted
	// Origin is where the object came from; it decides whether loopback
	// addresses are allowed.
	Origin Origin
	// Diags are the findings of the source itself (old API version, broken manifest).
	// A change with a nil Object and Diags reports a manifest that cannot be read
	// without deleting what stands (Keep is true then).
	Diags []diag.Diagnostic
	Keep  bool
}

// Origin says where an object was read from.
type Origin struct {
	// Local is true for manifests in a directory: loopback addresses are allowed.
	Local bool
	Pos   diag.Pos
	// Fields finds the places of fields in the file; nil from an API server.
	Fields *Fields
	// Order is the place in the order of files and documents, standing in for a missing creationTimestamp.
	Order int
}

// The typed objects.
type (
	Ingress       = networkingv1.Ingress
	IngressClass  = networkingv1.IngressClass
	Service       = corev1.Service
	EndpointSlice = discoveryv1.EndpointSlice
	Secret        = corev1.Secret
	ConfigMap     = corev1.ConfigMap
	Namespace     = corev1.Namespace
	Node          = corev1.Node
	Pod           = corev1.Pod
)
