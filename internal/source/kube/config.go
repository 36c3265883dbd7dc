package kube

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ClientOptions choose the API server. All empty: the pod's service account.
type ClientOptions struct {
	Kubeconfig string // file
	APIServer  string // URL; goes before what the kubeconfig says
	CAFile     string // only with APIServer
	UserAgent  string // "lintel/<version>"
}

// NewClient returns a client that speaks protobuf. It does not connect.
func NewClient(o ClientOptions) (kubernetes.Interface, error) {
	cfg, err := restConfig(o)
	if err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	return c, nil
}

func restConfig(o ClientOptions) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if o.Kubeconfig == "" && o.APIServer == "" {
		cfg, err = rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("kube: not running in a cluster (use --kubeconfig FILE, or --manifests DIR to serve without a cluster)")
		}
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags(o.APIServer, o.Kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	if o.CAFile != "" && o.APIServer != "" {
		cfg.CAFile, cfg.CAData = o.CAFile, nil
	}
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	cfg.UserAgent = o.UserAgent
	if cfg.UserAgent == "" {
		cfg.UserAgent = "lintel"
	}
	cfg.UserAgent += " (" + runtime.GOOS + "/" + runtime.GOARCH + ")"
	// Deprecations of what users wrote are not lintel's to log with each write.
	cfg.WarningHandler = rest.NoWarnings{}
	// Status of many Ingresses is written when an address appears, ten at a time; behind a low rate
	// a new Ingress would wait for minutes. The API server shares itself out fairly.
	cfg.QPS, cfg.Burst = 1000, 2000
	return cfg, nil
}

// oldest is the first minor version of Kubernetes 1 with everything that is read:
// discovery.k8s.io/v1.
const oldest = 21

// checkVersion refuses API servers without the kinds that are read.
func checkVersion(major, minor, text string) error {
	m, err := strconv.Atoi(major)
	if err != nil {
		return nil //nolint:nilerr // distributions write what they like; the lists will tell
	}
	n, err := strconv.Atoi(strings.TrimRight(minor, "+"))
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	if m < 1 || m == 1 && n > 0 && n < oldest {
		return fmt.Errorf("kube: the API server is version %s; 1.%d or newer is needed", text, oldest)
	}
	return nil
}

// Zone returns the zone of the node a pod runs on, "" when it is not labelled.
// Needs get on pods and nodes.
func Zone(ctx context.Context, c kubernetes.Interface, namespace, pod string) (string, error) {
	p, err := c.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("kube: own pod: %w", err)
	}
	n, err := c.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("kube: own node: %w", err)
	}
	return n.Labels["topology.kubernetes.io/zone"], nil
}
