package translate

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/object"
)

func TestPoolRecipes(t *testing.T) {
	for _, c := range []struct {
		name, spec, port string
		mode             config.PoolMode
		local            bool
		options          func(*Options)
		want             string
		finding          string
	}{
		{name: "by number", spec: "{ports: [{name: x, port: 81, targetPort: 1}, {name: http, port: 80, targetPort: 8080}]}", port: "80", want: "endpoints pods port=http target-port=8080"},
		{name: "by name", spec: "{ports: [{name: http, port: 80, targetPort: web}]}", port: "http", want: "endpoints pods port=http"},
		{name: "by targetPort name", spec: "{ports: [{port: 80, targetPort: web}]}", port: "web", want: "endpoints pods"},
		{name: "by targetPort number", spec: "{ports: [{port: 80, targetPort: 8080}]}", port: "8080", want: "endpoints pods target-port=8080"},
		{name: "the first that matches in any way", spec: "{ports: [{name: a, port: 1, targetPort: 80}, {name: b, port: 80}]}", port: "80", want: "endpoints pods port=a target-port=80"},
		{name: "UDP carries no HTTP", spec: "{ports: [{name: u, port: 80, protocol: UDP}, {name: t, port: 80}]}", port: "80", want: "endpoints pods port=t"},
		{name: "no such port", spec: "{ports: [{port: 80}]}", port: "81", want: "missing"},
		{name: "the first port", spec: "{ports: [{name: a, port: 1}, {name: b, port: 2}]}", port: "", want: "endpoints pods port=a"},
		{name: "headless", spec: "{clusterIP: None, ports: [{port: 80, targetPort: 8080}]}", port: "80", want: "endpoints pods target-port=8080"},
		{name: "service-upstream", spec: "{clusterIP: 10.1.2.3, ports: [{name: http, port: 80, targetPort: 8080}]}", port: "http", mode: config.ClusterIP, want: "endpoint 10.1.2.3:80"},
		{name: "service-upstream on a headless Service", spec: "{clusterIP: None, ports: [{port: 80, targetPort: 8080}]}", port: "80", mode: config.ClusterIP, want: "endpoints pods target-port=8080"},
		{name: "external with the Ingress' number", spec: "{type: ExternalName, externalName: Example.com.}", port: "8443", want: "name example.com port 8443"},
		{name: "external with targetPort", spec: "{type: ExternalName, externalName: example.com, ports: [{port: 80, targetPort: 8081}]}", port: "80", want: "name example.com port 8081"},
		{name: "external by port name", spec: "{type: ExternalName, externalName: example.com, ports: [{name: web, port: 80}]}", port: "web", want: "name example.com port 80"},
		{name: "external with an unknown name", spec: "{type: ExternalName, externalName: example.com}", port: "web", want: "missing"},
		{name: "external address", spec: "{type: ExternalName, externalName: 192.0.2.7}", port: "80", want: "endpoint 192.0.2.7:80"},
		{name: "S3.3 localhost", spec: "{type: ExternalName, externalName: localhost}", port: "80", want: "missing", finding: "localhost is lintel's own pod"},
		{name: "S3.3 loopback", spec: "{type: ExternalName, externalName: 127.0.0.1}", port: "80", want: "missing", finding: "loopback"},
		{name: "S3.3 metadata service", spec: "{type: ExternalName, externalName: 169.254.169.254}", port: "80", want: "missing", finding: "link-local"},
		{name: "S3.3 IPv6 loopback", spec: `{type: ExternalName, externalName: "::1"}`, port: "80", want: "missing", finding: "loopback"},
		{name: "loopback in a directory", spec: "{type: ExternalName, externalName: 127.0.0.1}", port: "80", local: true, want: "endpoint 127.0.0.1:80\n  local"},
		{name: "localhost in a directory, type left out", spec: "{externalName: localhost}", port: "3000", local: true, want: "name localhost port 3000\n  local"},
		{name: "no DNS name", spec: `{type: ExternalName, externalName: "http://x/"}`, port: "80", want: "missing", finding: "is not a DNS name"},
		{name: "external switched off", spec: "{type: ExternalName, externalName: example.com}", port: "80", options: func(o *Options) { o.DisableExternalName = true }, want: "missing", finding: "switched off"},
		{name: "topology", spec: "{trafficDistribution: PreferClose, ports: [{port: 80}]}", port: "80", options: func(o *Options) { o.TopologyAware = true }, want: "endpoints pods\n  topology"},
		{name: "topology without the flag", spec: "{trafficDistribution: PreferClose, ports: [{port: 80}]}", port: "80", want: "endpoints pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := &object.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}}
			if err := yaml.UnmarshalStrict([]byte(c.spec), &svc.Spec); err != nil {
				t.Fatal(err)
			}
			snap := object.NewSnapshot()
			ch := change(svc)
			ch.Origin.Local = c.local
			snap.Apply([]object.Change{ch})
			o := testOptions()
			if c.options != nil {
				c.options(&o)
			}
			id := config.PoolID{Namespace: "n", Service: "s", Port: c.port, Mode: c.mode}
			p, diags := poolOf(id, object.NewReader(snap), &o)
			text := (&config.Delta{Pools: map[config.PoolID]*config.Pool{id: p}}).Text()
			if want := "pool " + id.String() + "\n  " + c.want + "\n"; text != want {
				t.Errorf("recipe\n%s\nwant\n%s", text, want)
			}
			if got := fmt.Sprint(diags); (c.finding == "") != (len(diags) == 0) || !strings.Contains(got, c.finding) {
				t.Errorf("findings %s, want %q", got, c.finding)
			}
		})
	}
}

func slice(t *testing.T, text string) *discoveryv1.EndpointSlice {
	t.Helper()
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s-1"}}
	if err := yaml.UnmarshalStrict([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEndpointsOfSlices(t *testing.T) {
	for _, c := range []struct {
		name   string
		pool   config.Pool
		slices []string
		zone   string
		want   string
	}{
		{"ready, unknown and not ready", config.Pool{},
			[]string{"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.3]}, {addresses: [10.0.0.1], conditions: {ready: true}}, {addresses: [10.0.0.2], conditions: {ready: false, serving: true}}]}"}, "",
			"10.0.0.1:80 10.0.0.3:80"},
		{"port by name", config.Pool{PortName: "http"},
			[]string{"{ports: [{name: metrics, port: 9}, {name: http, port: 80}, {name: http, port: 81, protocol: UDP}], endpoints: [{addresses: [10.0.0.1]}]}"}, "", "10.0.0.1:80"},
		{"unnamed Service port takes every TCP port", config.Pool{},
			[]string{"{ports: [{name: a, port: 1}, {name: b, port: 2}], endpoints: [{addresses: [10.0.0.1]}]}"}, "", "10.0.0.1:1 10.0.0.1:2"},
		{"no name matches: the Service's number", config.Pool{PortName: "http", TargetPort: 8080},
			[]string{"{ports: [{name: web, port: 80}], endpoints: [{addresses: [10.0.0.1]}]}"}, "", "10.0.0.1:8080"},
		{"no name matches and no number", config.Pool{PortName: "http"},
			[]string{"{ports: [{name: web, port: 80}], endpoints: [{addresses: [10.0.0.1]}]}"}, "", ""},
		{"slice without ports", config.Pool{PortName: "http", TargetPort: 8080}, []string{"{endpoints: [{addresses: [10.0.0.1]}]}"}, "", "10.0.0.1:8080"},
		{"duplicates over slices, dual stack", config.Pool{}, []string{
			"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}",
			"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}",
			`{addressType: IPv6, ports: [{port: 80}], endpoints: [{addresses: ["2001:db8::1"]}]}`,
			"{addressType: FQDN, ports: [{port: 80}], endpoints: [{addresses: [example.com]}]}",
		}, "", "10.0.0.1:80 [2001:db8::1]:80"},
		{"S3.3 loopback from an API server", config.Pool{}, []string{"{ports: [{port: 80}], endpoints: [{addresses: [127.0.0.1, 169.254.169.254, 0.0.0.0, 10.0.0.1]}]}"}, "", "10.0.0.1:80"},
		{"loopback from a directory", config.Pool{Local: true}, []string{"{ports: [{port: 80}], endpoints: [{addresses: [127.0.0.1]}]}"}, "", "127.0.0.1:80"},
		{"hints of our zone", config.Pool{Topology: true},
			[]string{"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}]}}, {addresses: [10.0.0.2], hints: {forZones: [{name: b}]}}]}"}, "b", "10.0.0.2:80"},
		{"an endpoint without hint", config.Pool{Topology: true},
			[]string{"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}]}}, {addresses: [10.0.0.2]}]}"}, "b", "10.0.0.1:80 10.0.0.2:80"},
		{"nothing hinted for our zone", config.Pool{Topology: true},
			[]string{"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: a}]}}]}"}, "b", "10.0.0.1:80"},
		{"missing", config.Pool{Missing: true}, []string{"{ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []*discoveryv1.EndpointSlice
			for _, s := range c.slices {
				one := slice(t, s)
				for i := range one.Ports {
					if one.Ports[i].Protocol == nil {
						tcp := corev1.ProtocolTCP
						one.Ports[i].Protocol = &tcp
					}
				}
				list = append(list, one)
			}
			var got []string
			for _, e := range EndpointsNear(&c.pool, list, c.zone) {
				got = append(got, e.Addr.String())
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("endpoints %q, want %q", text, c.want)
			}
		})
	}
}

func TestForbiddenAddressesAreReported(t *testing.T) {
	s := slice(t, "{ports: [{port: 80}], endpoints: [{addresses: [127.0.0.1, nonsense, 10.0.0.1]}]}")
	got := EndpointFindings(&config.Pool{}, []*discoveryv1.EndpointSlice{s})
	if len(got) != 2 || got[0].Field != "endpoints[0].addresses[0]" || got[1].Field != "endpoints[0].addresses[1]" {
		t.Fatalf("findings %+v", got)
	}
}
