package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lintel-ingress/lintel/internal/object"
)

// trim takes off o what lintel does not read, so that memory grows with what is
// used. It may run twice on the same object.
func trim(o runtime.Object) {
	m, ok := o.(metav1.Object)
	if !ok {
		return
	}
	m.SetManagedFields(nil)
	m.SetOwnerReferences(nil)
	m.SetFinalizers(nil)
	annotations := m.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	switch o := o.(type) {
	case *object.Ingress:
		o.Labels = nil
		for i := range o.Status.LoadBalancer.Ingress {
			o.Status.LoadBalancer.Ingress[i].Ports = nil
		}
	case *object.IngressClass:
		o.Labels, o.Spec.Parameters = nil, nil
	case *object.Service:
		o.Labels, o.Status.Conditions = nil, nil
		trimService(o)
	case *object.EndpointSlice:
		trimSlice(o)
	case *object.Secret:
		o.Labels, o.Annotations = nil, nil
		if unused(o.Type) {
			o.Data = nil
		}
		o.StringData = nil
	case *object.ConfigMap:
		o.Labels, o.Annotations = nil, nil
	case *object.Namespace:
		o.Annotations, o.Spec, o.Status = nil, corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
	}
}

// trimService keeps the annotations that say something about endpoints.
func trimService(o *object.Service) {
	for k := range o.Annotations {
		if !strings.HasPrefix(k, "service.kubernetes.io/") && !strings.HasSuffix(k, "app-protocols") {
			delete(o.Annotations, k)
		}
	}
	if len(o.Annotations) == 0 {
		o.Annotations = nil
	}
	o.Spec.SessionAffinityConfig, o.Spec.IPFamilies, o.Spec.LoadBalancerSourceRanges = nil, nil, nil
	o.Spec.Selector = nil
}

func trimSlice(o *object.EndpointSlice) {
	o.Annotations = nil
	if name, ok := o.Labels[discoveryv1.LabelServiceName]; ok {
		o.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	} else {
		o.Labels = nil
	}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		e.Hostname, e.NodeName, e.TargetRef, e.DeprecatedTopology = nil, nil, nil, nil
	}
}

// unused reports whether no Ingress can use a Secret of this type: what is not kept
// cannot leak (reference/security.md S3.6).
func unused(t corev1.SecretType) bool {
	switch t {
	case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson,
		corev1.SecretTypeBootstrapToken, corev1.SecretTypeSSHAuth:
		return true
	}
	return strings.HasPrefix(string(t), "helm.sh/")
}
