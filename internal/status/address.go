package status

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// point is one address of status.loadBalancer.
type point = networkingv1.IngressLoadBalancerIngress

// toPoint takes text for an IP address where it is one, and for a host name where not.
func toPoint(text string) point {
	if _, err := netip.ParseAddr(text); err == nil {
		return point{IP: text}
	}
	return point{Hostname: text}
}

// tidy sorts points by host name and address and removes what is there twice.
func tidy(ps []point) []point {
	out := make([]point, 0, len(ps))
	for _, p := range ps {
		if p.IP != "" || p.Hostname != "" {
			out = append(out, point{IP: p.IP, Hostname: p.Hostname})
		}
	}
	slices.SortFunc(out, func(a, b point) int { return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.IP, b.IP)) })
	return slices.CompactFunc(out, same)
}

func same(a, b point) bool { return a.IP == b.IP && a.Hostname == b.Hostname }

// fromService are the addresses a publish Service has.
// compat: reference/operations.md 5, the table.
func fromService(s *corev1.Service) []point {
	var out []point
	add := func(texts ...string) {
		for _, t := range texts {
			if t != "" && t != corev1.ClusterIPNone {
				out = append(out, toPoint(t))
			}
		}
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		out = append(out, point{Hostname: s.Spec.ExternalName})
	case corev1.ServiceTypeNodePort:
		if add(s.Spec.ExternalIPs...); len(out) == 0 {
			add(s.Spec.ClusterIP)
		}
	case corev1.ServiceTypeLoadBalancer:
		for _, a := range s.Status.LoadBalancer.Ingress {
			out = append(out, point{IP: a.IP, Hostname: a.Hostname})
		}
		add(s.Spec.ExternalIPs...)
	default:
		add(s.Spec.ClusterIP)
	}
	return tidy(out)
}

// points returns the addresses to publish; known is false while that cannot be told.
func (s *Status) points() (out []point, known bool) {
	switch {
	case len(s.o.PublishAddress) > 0:
		for _, a := range s.o.PublishAddress {
			out = append(out, toPoint(strings.TrimSpace(a)))
		}
		return tidy(out), true
	case s.o.PublishService != "":
		all, ok := s.service.list()
		if !ok || len(all) == 0 {
			return nil, false
		}
		for _, v := range all {
			if svc, is := v.(*corev1.Service); is {
				out = append(out, fromService(svc)...)
			}
		}
		return tidy(out), true
	}
	texts, ok := s.fleet.addresses()
	for _, t := range texts {
		out = append(out, toPoint(t))
	}
	return tidy(out), ok
}
