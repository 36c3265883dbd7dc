package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// servicePort finds the port of a Service that an Ingress names (reference/routing.md 6.1):
// by number, by name, or (a quirk) by the text of targetPort; the first that matches in any way.
// An empty text means the first port. Ports of other protocols than TCP carry no HTTP.
func servicePort(svc *object.Service, written string) (corev1.ServicePort, bool) {
	for _, p := range svc.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if written == "" || strconv.Itoa(int(p.Port)) == written || p.TargetPort.String() == written || p.Name == written {
			return p, true
		}
	}
	return corev1.ServicePort{}, false
}

// externalPort is the port to connect to at an ExternalName: the matching port's number
// targetPort, else the number the Ingress names. 0 when there is none.
func externalPort(svc *object.Service, written string) uint16 {
	number, err := strconv.Atoi(written)
	for _, p := range svc.Spec.Ports {
		if err == nil && int(p.Port) == number || err != nil && p.Name == written || written == "" {
			if t := p.TargetPort.IntValue(); t > 0 {
				number = t
			} else {
				number = int(p.Port)
			}
			break
		}
	}
	if number < 1 || number > 65535 {
		return 0
	}
	return uint16(number)
}

// external reports whether a Service stands for a DNS name. In a directory the name alone is
// enough: nobody has filled in the type there.
func external(svc *object.Service, local bool) bool {
	return svc.Spec.Type == corev1.ServiceTypeExternalName || local && svc.Spec.ExternalName != "" && svc.Spec.Type == ""
}

// hasPort reports whether a pool of this Service and port can have endpoints at all.
func hasPort(svc *object.Service, written string, local bool) bool {
	if external(svc, local) {
		return externalPort(svc, written) != 0
	}
	_, ok := servicePort(svc, written)
	return ok
}

// poolOf makes the recipe of a pool. The findings are about the Service.
func poolOf(id config.PoolID, r *object.Reader, o *Options) (*config.Pool, []diag.Diagnostic) {
	p := &config.Pool{ID: id}
	svc, ok := r.Service(id.Namespace, id.Service)
	if !ok {
		p.Missing = true
		return p, nil
	}
	from := r.Origin(object.Key{Kind: object.KindService, Namespace: id.Namespace, Name: id.Service})
	p.Local = from.Local
	if external(svc, from.Local) {
		d := externalPool(p, svc, o)
		for i := range d {
			d[i].Object = object.Key{Kind: object.KindService, Namespace: id.Namespace, Name: id.Service}.Ref()
			d[i].Pos = position(from, d[i].Field)
		}
		return p, d
	}
	port, ok := servicePort(svc, id.Port)
	if !ok {
		p.Missing = true
		return p, nil
	}
	if id.Mode == config.ClusterIP {
		if addr, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil {
			p.Static = []config.Endpoint{{Addr: netip.AddrPortFrom(addr.Unmap(), uint16(port.Port))}}
			return p, nil
		}
		// compat: a headless Service has no address of its own and falls back to its pods.
	}
	p.PortName = port.Name
	if port.TargetPort.Type == intstr.Int {
		p.TargetPort = int(port.TargetPort.IntVal)
	}
	if o.TopologyAware {
		mode := svc.Annotations[corev1.AnnotationTopologyMode]
		near := svc.Spec.TrafficDistribution != nil && *svc.Spec.TrafficDistribution == corev1.ServiceTrafficDistributionPreferClose
		p.Topology = strings.EqualFold(mode, "auto") || near
	}
	return p, nil
}

func externalPool(p *config.Pool, svc *object.Service, o *Options) []diag.Diagnostic {
	const field = "spec.externalName"
	name := strings.TrimSuffix(svc.Spec.ExternalName, ".")
	refuse := func(code diag.Code, message, hint string) []diag.Diagnostic {
		p.Missing = true
		return []diag.Diagnostic{{
			Code: code, Severity: diag.Error, Field: field, Value: svc.Spec.ExternalName,
			Message: message, Hint: hint, Effect: diag.RouteOff,
		}}
	}
	if o.DisableExternalName {
		return refuse(diag.ReferenceForbidden, "Services of type ExternalName are switched off (--disable-svc-external-name)",
			"use a Service with endpoints, or start lintel without that flag")
	}
	port := externalPort(svc, p.ID.Port)
	if port == 0 {
		p.Missing = true
		return nil
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		if !p.Local && !reachable(addr) {
			return refuse(diag.AddressForbidden, name+" is a loopback, link-local or unspecified address, which could reach lintel's own ports",
				"name a host outside of lintel's pod")
		}
		p.Static = []config.Endpoint{{Addr: netip.AddrPortFrom(addr.Unmap(), port)}}
		return nil
	}
	if !p.Local && (strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost")) {
		return refuse(diag.AddressForbidden, "localhost is lintel's own pod", "name a host outside of lintel's pod")
	}
	if errs := validation.IsDNS1123Subdomain(strings.ToLower(name)); len(errs) > 0 {
		return refuse(diag.ReferenceInvalid, fmt.Sprintf("%q is not a DNS name: %s", name, errs[0]), "write a host name without scheme, port or path")
	}
	p.ExternalName, p.ExternalPort = strings.ToLower(name), port
	return nil
}

// reachable reports whether objects from an API server may name this address (security.md S3.3).
func reachable(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsMulticast()
}

// Endpoints is the fast lane: the addresses of a pool from the EndpointSlices of its Service
// (reference/routing.md 6.2), sorted, without duplicates. It is a pure function. A pool with
// Static addresses has those; a missing or external one has none.
func Endpoints(p *config.Pool, list []*discoveryv1.EndpointSlice) []config.Endpoint {
	return EndpointsNear(p, list, "")
}

// EndpointsNear is Endpoints seen from a zone: a pool with Topology takes of each slice in which
// every endpoint has hints only those hinted for the zone. With zone "" it takes all.
func EndpointsNear(p *config.Pool, list []*discoveryv1.EndpointSlice, zone string) []config.Endpoint {
	if p == nil || p.Missing || p.ExternalName != "" {
		return nil
	}
	if p.Static != nil {
		return slices.Clone(p.Static)
	}
	var out []config.Endpoint
	for _, s := range list {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		ports := slicePorts(p, s)
		hints := p.Topology && zone != "" && hinted(s, zone)
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if hints && !forZone(e, zone) {
				continue
			}
			for _, text := range e.Addresses {
				addr, err := netip.ParseAddr(text)
				if err != nil || !p.Local && !reachable(addr) {
					continue // EndpointFindings says so
				}
				for _, port := range ports {
					ep := config.Endpoint{Addr: netip.AddrPortFrom(addr.Unmap(), port)}
					if e.Zone != nil {
						ep.Zone = *e.Zone
					}
					out = append(out, ep)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b config.Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return strings.Compare(a.Zone, b.Zone)
	})
	return slices.CompactFunc(out, func(a, b config.Endpoint) bool { return a.Addr == b.Addr })
}

// slicePorts are the ports of a slice that a pool connects to.
func slicePorts(p *config.Pool, s *discoveryv1.EndpointSlice) []uint16 {
	var out []uint16
	add := func(n int) {
		if n > 0 && n < 65536 && !slices.Contains(out, uint16(n)) {
			out = append(out, uint16(n))
		}
	}
	if len(s.Ports) == 0 {
		add(p.TargetPort)
	}
	for _, port := range s.Ports {
		if port.Protocol != nil && *port.Protocol != corev1.ProtocolTCP {
			continue
		}
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		switch {
		case port.Port != nil && (p.PortName == "" || p.PortName == name):
			add(int(*port.Port))
		default:
			// compat: kubernetes/ingress-nginx #7390: no name matches, so the Service's own number.
			add(p.TargetPort)
		}
	}
	return out
}

// hinted reports whether a slice's hints may be used: every endpoint has some, and at least
// one is for the zone (a zone without any would be left with nothing).
func hinted(s *discoveryv1.EndpointSlice, zone string) bool {
	any := false
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.Hints == nil || len(e.Hints.ForZones) == 0 {
			return false
		}
		any = any || forZone(e, zone)
	}
	return any
}

func forZone(e *discoveryv1.Endpoint, zone string) bool {
	return e.Hints != nil && slices.ContainsFunc(e.Hints.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == zone })
}

// EndpointFindings says which addresses of slices Endpoints leaves out, and why.
func EndpointFindings(p *config.Pool, list []*discoveryv1.EndpointSlice) []diag.Diagnostic {
	if p == nil || p.Missing || p.ExternalName != "" || p.Static != nil {
		return nil
	}
	var out []diag.Diagnostic
	for _, s := range list {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i, e := range s.Endpoints {
			for j, text := range e.Addresses {
				d := diag.Diagnostic{
					Severity: diag.Error, Object: diag.Ref{Kind: "EndpointSlice", Namespace: s.Namespace, Name: s.Name},
					Field: fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), Value: text, Effect: diag.Ignored,
				}
				addr, err := netip.ParseAddr(text)
				switch {
				case err != nil:
					d.Code, d.Message, d.Hint = diag.ReferenceInvalid, fmt.Sprintf("%q is not an IP address", text), "write an address without port; names belong into an ExternalName Service"
				case !p.Local && !reachable(addr):
					d.Code, d.Message, d.Hint = diag.AddressForbidden, text+" is a loopback, link-local or unspecified address, which could reach lintel's own ports", "name an address outside of lintel's pod"
				default:
					continue
				}
				out = append(out, d)
			}
		}
	}
	return out
}

// upstreamName is $proxy_upstream_name: the key of a backend in logs and affinity cookies.
func upstreamName(namespace, service, port string) string {
	return namespace + "-" + service + "-" + port
}

// defaultUpstream is the name of the controller's default backend.
const defaultUpstream = "upstream-default-backend"
