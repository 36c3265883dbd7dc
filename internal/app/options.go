package app

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lintel-ingress/lintel/internal/translate"
)

// Options are the settings of a controller process that do not change while it runs. The
// names behind them are ingress-nginx's flags (reference/operations.md 2).
type Options struct {
	// Manifests are directories to read objects from instead of an API server.
	Manifests []string
	// Kubeconfig, APIServer and CAFile choose the API server; all empty: in-cluster.
	Kubeconfig, APIServer, CAFile string

	HTTPPort, HTTPSPort     int
	BindAddresses           []netip.Addr // empty: all
	HealthzHost             string
	HealthzPort             int
	HealthPath              string
	Profiling               bool
	ProfilerAddress         string
	ProfilerPort            int
	EnableMetrics           bool
	MetricsPerHost          bool
	MetricsPerUndefinedHost bool
	ReportStatusClasses     bool
	TimeBuckets             []float64
	LengthBuckets           []float64
	SizeBuckets             []float64

	IngressClass             string
	ControllerClass          string
	IngressClassByName       bool
	WatchIngressWithoutClass bool
	WatchNamespace           string
	WatchNamespaceSelector   string
	DisableCatchAll          bool
	DisableExternalName      bool
	TopologyAware            bool
	AnnotationsPrefix        string
	AnnotationValidation     bool
	DeepInspect              bool

	ConfigMap             string
	DefaultBackendService string
	DefaultSSLCertificate string

	PublishService       string
	PublishStatusAddress string
	UpdateStatus         bool
	UpdateStatusOnExit   bool
	StatusInterval       time.Duration
	NodeInternalIP       bool
	ElectionID           string
	ElectionTTL          time.Duration
	DisableElection      bool
	DisableSyncEvents    bool

	ShutdownGrace     time.Duration
	PostShutdownGrace time.Duration
	SyncPeriod        time.Duration

	// PodName and PodNamespace come from POD_NAME and POD_NAMESPACE.
	PodName, PodNamespace string
	Version               string
}

// Defaults are the values of an empty command line.
func Defaults() Options {
	return Options{
		HTTPPort: 80, HTTPSPort: 443, HealthzPort: 10254, HealthPath: "/healthz",
		Profiling: true, ProfilerAddress: "127.0.0.1", ProfilerPort: 10245,
		MetricsPerHost: true,
		IngressClass:   "nginx", ControllerClass: "k8s.io/ingress-nginx",
		AnnotationsPrefix: "nginx.ingress.kubernetes.io", AnnotationValidation: true, DeepInspect: true,
		UpdateStatus: true, UpdateStatusOnExit: true, StatusInterval: 60 * time.Second,
		ElectionID: "ingress-controller-leader", ElectionTTL: 30 * time.Second,
		PostShutdownGrace: 10 * time.Second,
	}
}

// Check reports settings that exclude each other or mean nothing.
func (o *Options) Check() error {
	var errs []error
	if o.WatchNamespace != "" && o.WatchNamespaceSelector != "" {
		errs = append(errs, errors.New("--watch-namespace and --watch-namespace-selector exclude each other: write one of them"))
	}
	if o.PublishService != "" && o.PublishStatusAddress != "" {
		errs = append(errs, errors.New("--publish-service and --publish-status-address exclude each other: write one of them"))
	}
	if o.MetricsPerUndefinedHost && !o.MetricsPerHost {
		errs = append(errs, errors.New("--metrics-per-undefined-host needs --metrics-per-host"))
	}
	for _, p := range []struct {
		name string
		port int
	}{{"http-port", o.HTTPPort}, {"https-port", o.HTTPSPort}, {"healthz-port", o.HealthzPort}, {"profiler-port", o.ProfilerPort}} {
		if p.port < 0 || p.port > 65535 {
			errs = append(errs, fmt.Errorf("--%s=%d is not a port from 1 to 65535", p.name, p.port))
		}
	}
	if o.HTTPPort == o.HTTPSPort && o.HTTPPort != 0 {
		errs = append(errs, fmt.Errorf("--http-port and --https-port are both %d: choose two", o.HTTPPort))
	}
	for _, r := range []struct{ name, value string }{
		{"configmap", o.ConfigMap}, {"default-backend-service", o.DefaultBackendService},
		{"default-ssl-certificate", o.DefaultSSLCertificate}, {"publish-service", o.PublishService},
	} {
		if r.value == "" {
			continue
		}
		if ns, name, ok := strings.Cut(r.value, "/"); !ok || ns == "" || name == "" || strings.Contains(name, "/") {
			errs = append(errs, fmt.Errorf("--%s=%q is not namespace/name", r.name, r.value))
		}
	}
	return errors.Join(errs...)
}

// Translation are the options of package translate.
func (o *Options) Translation() (translate.Options, error) {
	to := translate.DefaultOptions()
	to.ControllerClass, to.IngressClass, to.ByName, to.WithoutClass = o.ControllerClass, o.IngressClass, o.IngressClassByName, o.WatchIngressWithoutClass
	to.WatchNamespace, to.DisableCatchAll, to.AnnotationsPrefix = o.WatchNamespace, o.DisableCatchAll, o.AnnotationsPrefix
	to.EnableAnnotationValidation, to.DeepInspect = o.AnnotationValidation, o.DeepInspect
	to.DefaultBackendService, to.DefaultSSLCertificate, to.ConfigMap = o.DefaultBackendService, o.DefaultSSLCertificate, o.ConfigMap
	to.DisableExternalName, to.TopologyAware = o.DisableExternalName, o.TopologyAware
	to.HTTPPort, to.HTTPSPort, to.HealthPath = o.HTTPPort, o.HTTPSPort, o.HealthPath
	if o.WatchNamespaceSelector != "" {
		sel, err := labels.Parse(o.WatchNamespaceSelector)
		if err != nil {
			return to, fmt.Errorf("--watch-namespace-selector=%q: %w", o.WatchNamespaceSelector, err)
		}
		to.NamespaceSelector = sel
	}
	return to, nil
}
