package object

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The old forms that sources meet. extensions/v1beta1 Ingresses have the fields of
// networking.k8s.io/v1beta1.
type (
	OldIngress       = networkingv1beta1.Ingress
	OldIngressClass  = networkingv1beta1.IngressClass
	OldEndpointSlice = discoveryv1beta1.EndpointSlice
	Endpoints        = corev1.Endpoints //nolint:staticcheck // old manifests still have it
)

// UpgradeIngress returns in as networking.k8s.io/v1. A missing pathType becomes
// ImplementationSpecific, as the API server's conversion had it. The class annotation stays: it
// is honoured in v1 too.
func UpgradeIngress(in *OldIngress) *Ingress {
	out := &Ingress{ObjectMeta: in.ObjectMeta}
	out.Spec.IngressClassName = in.Spec.IngressClassName
	out.Spec.DefaultBackend = upgradeBackend(in.Spec.Backend)
	for _, t := range in.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range in.Spec.Rules {
		to := networkingv1.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			to.HTTP = &networkingv1.HTTPIngressRuleValue{}
			for _, p := range r.HTTP.Paths {
				kind := networkingv1.PathTypeImplementationSpecific
				if p.PathType != nil {
					kind = networkingv1.PathType(*p.PathType)
				}
				np := networkingv1.HTTPIngressPath{Path: p.Path, PathType: &kind}
				if b := upgradeBackend(&p.Backend); b != nil {
					np.Backend = *b
				}
				to.HTTP.Paths = append(to.HTTP.Paths, np)
			}
		}
		out.Spec.Rules = append(out.Spec.Rules, to)
	}
	for _, a := range in.Status.LoadBalancer.Ingress {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress,
			networkingv1.IngressLoadBalancerIngress{IP: a.IP, Hostname: a.Hostname})
	}
	return out
}

func upgradeBackend(in *networkingv1beta1.IngressBackend) *networkingv1.IngressBackend {
	if in == nil {
		return nil
	}
	out := &networkingv1.IngressBackend{Resource: in.Resource}
	if in.ServiceName != "" || in.ServicePort != (intstr.IntOrString{}) {
		out.Service = &networkingv1.IngressServiceBackend{Name: in.ServiceName}
		if in.ServicePort.Type == intstr.String {
			out.Service.Port.Name = in.ServicePort.StrVal
		} else {
			out.Service.Port.Number = in.ServicePort.IntVal
		}
	}
	return out
}

// UpgradeIngressClass returns in as networking.k8s.io/v1.
func UpgradeIngressClass(in *OldIngressClass) *IngressClass {
	out := &IngressClass{ObjectMeta: in.ObjectMeta}
	out.Spec.Controller = in.Spec.Controller
	return out
}

// UpgradeEndpointSlice returns in as discovery.k8s.io/v1.
func UpgradeEndpointSlice(in *OldEndpointSlice) *EndpointSlice {
	out := &EndpointSlice{ObjectMeta: in.ObjectMeta, AddressType: discoveryv1.AddressType(in.AddressType)}
	for _, e := range in.Endpoints {
		to := discoveryv1.Endpoint{
			Addresses: e.Addresses,
			Conditions: discoveryv1.EndpointConditions{
				Ready: e.Conditions.Ready, Serving: e.Conditions.Serving, Terminating: e.Conditions.Terminating,
			},
		}
		if zone, ok := e.Topology[corev1.LabelTopologyZone]; ok {
			to.Zone = &zone
		}
		if e.Hints != nil {
			to.Hints = &discoveryv1.EndpointHints{}
			for _, z := range e.Hints.ForZones {
				to.Hints.ForZones = append(to.Hints.ForZones, discoveryv1.ForZone{Name: z.Name})
			}
		}
		out.Endpoints = append(out.Endpoints, to)
	}
	for _, p := range in.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port, AppProtocol: p.AppProtocol})
	}
	return out
}

// UpgradeEndpoints returns the EndpointSlices that say what in says: one per subset
// and address family, named after in.
func UpgradeEndpoints(in *Endpoints) []*EndpointSlice {
	var out []*EndpointSlice
	for _, s := range in.Subsets {
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			slice := &EndpointSlice{ObjectMeta: *in.ObjectMeta.DeepCopy(), AddressType: family}
			if len(out) > 0 {
				slice.Name += "-" + strconv.Itoa(len(out))
			}
			if slice.Labels == nil {
				slice.Labels = map[string]string{}
			}
			slice.Labels[discoveryv1.LabelServiceName] = in.Name
			add := func(addresses []corev1.EndpointAddress, ready bool) {
				for _, a := range addresses {
					if strings.Contains(a.IP, ":") == (family == discoveryv1.AddressTypeIPv6) {
						slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
							Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
						})
					}
				}
			}
			add(s.Addresses, true)
			add(s.NotReadyAddresses, false)
			if len(slice.Endpoints) == 0 {
				continue
			}
			for _, p := range s.Ports {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
					Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol,
				})
			}
			out = append(out, slice)
		}
	}
	return out
}
