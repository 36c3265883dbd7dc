package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/lintel-ingress/lintel/internal/object"
)

// managed stands for what the API server keeps about who set which field; a client decodes it,
// too, before it can drop it.
var managed = &metav1.FieldsV1{Raw: //nolint:staticcheck // what comes over the wire has it
[]byte(`{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}},` +
	`"f:spec":{"f:ingressClassName":{},"f:rules":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},"f:selector":{},"f:type":{}}}`)}

const ingresses = "/apis/networking.k8s.io/v1/ingresses"

// APIServer answers lists, in protobuf, and watches of the objects it was made with, over HTTP on
// loopback. It is as much of an API server as package source/kube asks for.
type APIServer struct {
	lists map[string][]byte // by path, encoded
	srv   *http.Server
	addr  string
	done  chan struct{}

	watched chan struct{} // closed with the first watch of Ingresses

	mu      sync.Mutex
	version int
	watches map[string][]chan []byte // by path
}

// NewAPIServer serves a cluster of n applications. Close it.
func NewAPIServer(n int) (*APIServer, error) {
	s := &APIServer{lists: map[string][]byte{}, watches: map[string][]chan []byte{}, done: make(chan struct{}), watched: make(chan struct{}), version: 1000}
	ing, svc, eps := &networkingv1.IngressList{}, &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
	for i := range n {
		ing.Items, svc.Items, eps.Items = append(ing.Items, *Ingress(i)), append(svc.Items, *Service(i)), append(eps.Items, *Slice(i, 2))
		for _, m := range []*metav1.ObjectMeta{&ing.Items[i].ObjectMeta, &svc.Items[i].ObjectMeta, &eps.Items[i].ObjectMeta} {
			m.ResourceVersion = strconv.Itoa(i + 1)
			m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-client-side-apply", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: managed}}
		}
	}
	codec := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	for path, list := range map[string]runtime.Object{
		ingresses: ing,
		"/apis/networking.k8s.io/v1/ingressclasses": &networkingv1.IngressClassList{Items: []networkingv1.IngressClass{*Class()}},
		"/api/v1/services":                          svc,
		"/apis/discovery.k8s.io/v1/endpointslices":  eps,
		"/api/v1/secrets":                           &corev1.SecretList{},
		"/api/v1/configmaps":                        &corev1.ConfigMapList{},
	} {
		gvks, _, err := scheme.Scheme.ObjectKinds(list)
		if err != nil {
			return nil, err
		}
		list.GetObjectKind().SetGroupVersionKind(gvks[0])
		list.(metav1.ListInterface).SetResourceVersion("1000")
		var b bytes.Buffer
		if err := codec.Encode(list, &b); err != nil {
			return nil, err
		}
		s.lists[path] = b.Bytes()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = "http://" + l.Addr().String()
	s.srv = &http.Server{Handler: s} //nolint:gosec // loopback, for measurements
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(l) // ends with Close
	}()
	return s, nil
}

// Addr is the server's URL.
func (s *APIServer) Addr() string { return s.addr }

// Close ends the server and every watch.
func (s *APIServer) Close() {
	_ = s.srv.Close() // what it says of connections does not matter
	<-s.done
}

// Update tells watchers that o changed.
func (s *APIServer) Update(o *object.Ingress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	c := o.DeepCopy()
	c.ResourceVersion = strconv.Itoa(s.version)
	c.TypeMeta = metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}
	text, err := json.Marshal(map[string]any{"type": "MODIFIED", "object": c})
	if err != nil {
		return err
	}
	for _, w := range s.watches[ingresses] {
		w <- text
	}
	return nil
}

// Watched is closed when somebody watches Ingresses.
func (s *APIServer) Watched() <-chan struct{} { return s.watched }

func (s *APIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	q := r.URL.Query()
	list, ok := s.lists[path]
	switch {
	case path == "/version":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major":"1","minor":"34","gitVersion":"v1.34.0"}`)
	case !ok:
		http.NotFound(w, r)
	case q.Get("sendInitialEvents") != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is not served"}`)
	case q.Get("watch") != "":
		s.watch(w, r, path)
	default:
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
		_, _ = w.Write(list) // a client that is gone needs nothing
	}
}

func (s *APIServer) watch(w http.ResponseWriter, r *http.Request, path string) {
	events := make(chan []byte, 16)
	w.Header().Set("Content-Type", "application/json;stream=watch")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	s.mu.Lock()
	s.watches[path] = append(s.watches[path], events)
	if path == ingresses && len(s.watches[path]) == 1 {
		close(s.watched)
	}
	s.mu.Unlock()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			if _, err := w.Write(append(e, '\n')); err != nil || flush.Flush() != nil {
				return
			}
		}
	}
}
