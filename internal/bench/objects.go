// Package bench makes clusters of any size to measure lintel with: their objects, the same
// as manifests in a directory, and an API server that serves them.
//
// What is measured with it stands where the measured code is (internal/app, internal/dataplane);
// docs/dev/scale.md has the figures.
package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lintel-ingress/lintel/internal/object"
)

// perNamespace is how many applications share a namespace.
const perNamespace = 100

// start is when the first Ingress was created; each next one is a second younger.
var start = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Namespace is the namespace of application i.
func Namespace(i int) string { return fmt.Sprintf("team-%d", i/perNamespace) }

// Name is the name of application i: of its Ingress and its Service.
func Name(i int) string { return fmt.Sprintf("app-%d", i) }

// Host is the host name of application i.
func Host(i int) string { return fmt.Sprintf("app-%d.team-%d.example.com", i, i/perNamespace) }

// Key names the Ingress of application i.
func Key(i int) object.Key {
	return object.Key{Kind: object.KindIngress, Namespace: Namespace(i), Name: Name(i)}
}

func meta(i int, name, kind string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: Namespace(i), Name: name, UID: types.UID(fmt.Sprintf("%08x-0000-4000-8000-%s-%06d", i, kind, i)),
		CreationTimestamp: metav1.Time{Time: start.Add(time.Duration(i) * time.Second)},
	}
}

// Ingress is a simple one: one host, one path or, for every other application, two, its own
// Service. It has no annotations.
func Ingress(i int) *object.Ingress {
	class := "nginx"
	in := &object.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: meta(i, Name(i), "ing")}
	in.Spec.IngressClassName = &class
	in.Spec.Rules = []networkingv1.IngressRule{Rule(i, Host(i))}
	return in
}

// Rule is the rule of application i on a host.
func Rule(i int, host string) networkingv1.IngressRule {
	paths := []networkingv1.HTTPIngressPath{Path(i, "/")}
	if i%2 == 1 {
		paths = append(paths, Path(i, "/api"))
	}
	return networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}}
}

// Path leads to the Service of application i.
func Path(i int, path string) networkingv1.HTTPIngressPath {
	kind := networkingv1.PathTypePrefix
	return networkingv1.HTTPIngressPath{Path: path, PathType: &kind, Backend: networkingv1.IngressBackend{
		Service: &networkingv1.IngressServiceBackend{Name: Name(i), Port: networkingv1.ServiceBackendPort{Number: 80}}}}
}

// WithTLS gives the Ingress of application i the certificate of Secret.
func WithTLS(in *object.Ingress, i int) *object.Ingress {
	in.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{Host(i)}, SecretName: Name(i) + "-tls"}}
	return in
}

// Service is what the Ingress of application i leads to.
func Service(i int) *object.Service {
	s := &object.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(i, Name(i), "svc")}
	s.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: fmt.Sprintf("10.96.%d.%d", i>>8&255, i&255), Selector: map[string]string{"app": Name(i)},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
	}
	return s
}

// Slice holds n endpoints of application i.
func Slice(i, n int) *object.EndpointSlice {
	name, port, proto, ready := "http", int32(8080), corev1.ProtocolTCP, true
	s := &object.EndpointSlice{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, ObjectMeta: meta(i, Name(i)+"-x7k2p", "eps")}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: Name(i)}
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &proto}}
	for k := range n {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 128+k&63, i>>8&255, i&255)},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
		})
	}
	return s
}

// Secret is the TLS Secret of application i with what Certificate made.
func Secret(i int, chain, key []byte) *object.Secret {
	s := &object.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta(i, Name(i)+"-tls", "tls"), Type: corev1.SecretTypeTLS}
	s.Data = map[string][]byte{"tls.crt": chain, "tls.key": key}
	return s
}

// Class is the IngressClass of all.
func Class() *object.IngressClass {
	c := &object.IngressClass{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "IngressClass"}, ObjectMeta: metav1.ObjectMeta{Name: "nginx"}}
	c.Spec.Controller = "k8s.io/ingress-nginx"
	return c
}

// Change is o as a source delivers it.
func Change(o metav1.Object) object.Change {
	k := object.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
	switch o.(type) {
	case *object.Ingress:
		k.Kind = object.KindIngress
	case *object.IngressClass:
		k.Kind = object.KindIngressClass
	case *object.Service:
		k.Kind = object.KindService
	case *object.EndpointSlice:
		k.Kind = object.KindEndpointSlice
	case *object.Secret:
		k.Kind = object.KindSecret
	}
	return object.Change{Key: k, Object: o}
}

// Cluster returns every object of n applications: an IngressClass and, for each, Ingress,
// Service and EndpointSlice with two endpoints. Nothing is shared between objects.
func Cluster(n int) []object.Change {
	out := make([]object.Change, 0, 3*n+1)
	out = append(out, Change(Class()))
	for i := range n {
		out = append(out, Change(Ingress(i)), Change(Service(i)), Change(Slice(i, 2)))
	}
	return out
}

// WithSecrets gives every Ingress of a cluster of n applications a certificate in a Secret of its
// own. The applications of a namespace have copies of the same one.
func WithSecrets(cluster []object.Change, n int) ([]object.Change, error) {
	var chain, key []byte
	for i := range n {
		if i%perNamespace == 0 {
			var err error
			if chain, key, err = Certificate("*." + Namespace(i) + ".example.com"); err != nil {
				return nil, err
			}
		}
		cluster = append(cluster, Change(Secret(i, bytes.Clone(chain), bytes.Clone(key))))
	}
	i := 0
	for _, c := range cluster {
		if in, ok := c.Object.(*object.Ingress); ok {
			WithTLS(in, i)
			i++
		}
	}
	return cluster, nil
}

// Certificate makes a self-signed P-256 certificate, as PEM.
func Certificate(names ...string) (chain, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
