package dir

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/object"
)

// trim takes off o what lintel does not read, and the room the decoder left at the end of lists:
// objects stay as long as their files.
func trim(o metav1.Object) {
	o.SetManagedFields(nil)
	switch o := o.(type) {
	case *object.Ingress:
		o.APIVersion, o.Kind = "", ""
		o.Spec.TLS, o.Spec.Rules = exact(o.Spec.TLS), exact(o.Spec.Rules)
		for i := range o.Spec.Rules {
			if h := o.Spec.Rules[i].HTTP; h != nil {
				h.Paths = exact(h.Paths)
			}
		}
	case *object.Service:
		o.APIVersion, o.Kind, o.Spec.Selector = "", "", nil
		o.Spec.Ports = exact(o.Spec.Ports)
	case *object.EndpointSlice:
		o.APIVersion, o.Kind = "", ""
		o.Ports, o.Endpoints = exact(o.Ports), exact(o.Endpoints)
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			e.Addresses = exact(e.Addresses)
			e.Hostname, e.NodeName, e.TargetRef, e.DeprecatedTopology = nil, nil, nil, nil
		}
	}
}

// exact is list without room for more.
func exact[T any](list []T) []T {
	if len(list) == cap(list) {
		return list
	}
	return slices.Clone(list)[:len(list):len(list)]
}
