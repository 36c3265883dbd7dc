package upstream

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/config"
)

func TestServiceWithoutAddressKeepsItsPods(t *testing.T) {
	id := config.PoolID{Namespace: "default", Service: "headless", Port: "80", Mode: config.ClusterIP}
	r := NewRegistry(Options{})
	r.Apply(map[config.PoolID]*config.Pool{id: {ID: id, TargetPort: 8080}})
	r.Update(id, eps("10.0.0.1:8080"))
	if n := r.Pool(id).Set().Len(); n != 1 {
		t.Errorf("%d endpoints, want the pod", n)
	}
}
