package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lintel-ingress/lintel/internal/app"
)

// later are flags of ingress-nginx that are accepted and do nothing yet, or nothing any more, with
// the sentence that says so. The bool says whether the flag takes no value.
var later = map[string]struct {
	isBool bool
	note   string
}{
	"tcp-services-configmap":         {false, "TCP services are not served yet"},
	"udp-services-configmap":         {false, "UDP services are not served yet"},
	"disable-full-test":              {true, "there is nothing to switch off: checks are incremental"},
	"validating-webhook":             {false, "the validating webhook is not served yet"},
	"validating-webhook-certificate": {false, "the validating webhook is not served yet"},
	"validating-webhook-key":         {false, "the validating webhook is not served yet"},
	"enable-ssl-passthrough":         {true, "TLS passthrough is not served yet; the annotation answers with a diagnostic"},
	"ssl-passthrough-proxy-port":     {false, "there is no internal hop"},
	"enable-ssl-chain-completion":    {true, "certificate chains are served as the Secret gives them"},
	"default-server-port":            {false, "the default backend is built in and needs no port"},
	"health-check-timeout":           {false, "it never had an effect"},
	"status-port":                    {false, "there is no internal HTTP interface"},
	"stream-port":                    {false, "there is no internal HTTP interface"},
	"internal-logger-address":        {false, "there is no internal syslog relay"},
	"exclude-socket-metrics":         {false, "all request series are exported"},
	"monitor-max-batch-size":         {false, "no request is left uncounted"},
	"bucket-factor":                  {false, "native histograms are not exported yet"},
	"max-buckets":                    {false, "native histograms are not exported yet"},
	"sync-rate-limit":                {false, "changes are applied as they come"},
	"dynamic-configuration-retries":  {false, "configuration is applied in memory and cannot fail half way"},
	"maxmind-license-key":            {false, "GeoIP is not served yet"},
	"maxmind-mirror":                 {false, "GeoIP is not served yet"},
	"maxmind-edition-ids":            {false, "GeoIP is not served yet"},
	"maxmind-retries-count":          {false, "GeoIP is not served yet"},
	"maxmind-retries-timeout":        {false, "GeoIP is not served yet"},
	"alsologtostderr":                {true, ""},
	"logtostderr":                    {true, ""},
	"stderrthreshold":                {false, ""},
	"vmodule":                        {false, ""},
	"log_file":                       {false, "the process log goes to standard error"},
	"log_dir":                        {false, "the process log goes to standard error"},
	"log_backtrace_at":               {false, ""},
	"log_file_max_size":              {false, ""},
	"skip_headers":                   {true, ""},
	"skip_log_headers":               {true, ""},
	"add_dir_header":                 {true, ""},
	"one_output":                     {true, ""},
	"bind-addresses":                 {false, "it was removed from ingress-nginx; use the bind-address key of the ConfigMap"},
	"disable-annotation-validation":  {true, "it was removed; use --enable-annotation-validation=false"},
	"disable-node-list":              {true, "it was removed"},
	"enable-dynamic-certificates":    {true, "it was removed; certificates are always dynamic"},
	"enable-dynamic-configuration":   {true, "it was removed; configuration is always dynamic"},
	"force-namespace-isolation":      {true, "it was removed"},
	"grpc-host":                      {false, "it was removed"},
	"skip-port-check":                {true, "it was removed"},
	"sort-backends":                  {true, "it was removed"},
	"ssl-passtrough-proxy-port":      {false, "it was removed"},
}

// serveFlags are the flags of `lintel serve`, read into options.
type serveFlags struct {
	set        *pflag.FlagSet
	opts       app.Options
	verbosity  int
	logFormat  string
	showVer    bool
	binds      []string
	statusSecs int
	graceSecs  int
	postSecs   int
	engine     string
}

func newServeFlags() *serveFlags {
	f := &serveFlags{set: pflag.NewFlagSet("serve", pflag.ContinueOnError), opts: app.Defaults()}
	s, o := f.set, &f.opts
	s.SortFlags = true
	s.StringArrayVar(&o.Manifests, "manifests", nil, "directory of manifests to serve instead of a cluster's objects; watched; may be given several times")
	s.StringSliceVar(&f.binds, "bind-address", nil, "addresses to listen on (default: all)")
	s.StringVar(&f.engine, "engine", "std", "what drives connections: std")
	s.StringVar(&f.logFormat, "log-format", "text", "process log: text or json")
	s.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "kubeconfig file; without it and --apiserver-host the pod's service account is used")
	s.StringVar(&o.APIServer, "apiserver-host", "", "URL of the API server")
	s.StringVar(&o.CAFile, "certificate-authority", "", "CA file of the API server, with --apiserver-host")
	s.StringVar(&o.ConfigMap, "configmap", "", "namespace/name of the ConfigMap with global settings")
	s.StringVar(&o.DefaultBackendService, "default-backend-service", "", "namespace/name of the Service that answers what no Ingress does; its first port is used")
	s.StringVar(&o.DefaultSSLCertificate, "default-ssl-certificate", "", "namespace/name of the TLS Secret served where an Ingress names none")
	s.StringVar(&o.IngressClass, "ingress-class", o.IngressClass, "value of the kubernetes.io/ingress.class annotation that is ours")
	s.StringVar(&o.ControllerClass, "controller-class", o.ControllerClass, "spec.controller of the IngressClasses that are ours")
	s.BoolVar(&o.IngressClassByName, "ingress-class-by-name", false, "also take the IngressClass whose name is --ingress-class")
	s.BoolVar(&o.WatchIngressWithoutClass, "watch-ingress-without-class", false, "also serve Ingresses that name no class")
	s.StringVar(&o.WatchNamespace, "watch-namespace", "", "the only namespace to read (default: all)")
	s.StringVar(&o.WatchNamespaceSelector, "watch-namespace-selector", "", "label selector of the namespaces to read")
	s.BoolVar(&o.DisableCatchAll, "disable-catch-all", false, "ignore Ingresses with spec.defaultBackend")
	s.BoolVar(&o.DisableExternalName, "disable-svc-external-name", false, "give ExternalName Services no endpoints")
	s.BoolVar(&o.TopologyAware, "enable-topology-aware-routing", false, "prefer endpoints hinted for the own zone")
	s.StringVar(&o.AnnotationsPrefix, "annotations-prefix", o.AnnotationsPrefix, "prefix of the annotations that are ours")
	s.BoolVar(&o.AnnotationValidation, "enable-annotation-validation", true, "check the characters of annotation values")
	s.BoolVar(&o.DeepInspect, "deep-inspect", true, "refuse Ingresses whose host or path looks like an injection")
	s.IntVar(&o.HTTPPort, "http-port", o.HTTPPort, "port for HTTP")
	s.IntVar(&o.HTTPSPort, "https-port", o.HTTPSPort, "port for HTTPS")
	s.StringVar(&o.HealthzHost, "healthz-host", "", "address of the health and metrics server (default: all)")
	s.IntVar(&o.HealthzPort, "healthz-port", o.HealthzPort, "port of the health and metrics server")
	s.StringVar(&o.HealthPath, "health-check-path", o.HealthPath, "path of the health check, also on unknown hosts of the traffic ports")
	s.BoolVar(&o.Profiling, "profiling", true, "serve pprof on --profiler-address")
	s.StringVar(&o.ProfilerAddress, "profiler-address", o.ProfilerAddress, "address of the pprof server")
	s.IntVar(&o.ProfilerPort, "profiler-port", o.ProfilerPort, "port of the pprof server")
	s.BoolVar(&o.EnableMetrics, "enable-metrics", false, "count requests as Prometheus series")
	s.BoolVar(&o.MetricsPerHost, "metrics-per-host", true, "label request series with the host")
	s.BoolVar(&o.MetricsPerUndefinedHost, "metrics-per-undefined-host", false, "also count requests for hosts that no Ingress names")
	s.BoolVar(&o.ReportStatusClasses, "report-status-classes", false, "label 2xx instead of 200")
	s.Float64SliceVar(&o.TimeBuckets, "time-buckets", []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}, "buckets of *_duration_seconds")
	s.Float64SliceVar(&o.LengthBuckets, "length-buckets", []float64{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}, "buckets of request_size and response_size")
	s.Float64SliceVar(&o.SizeBuckets, "size-buckets", []float64{10, 100, 1000, 10000, 100000, 1e6, 1e7}, "buckets of bytes_sent")
	s.StringVar(&o.PublishService, "publish-service", "", "namespace/name of the Service whose address is written into Ingress status")
	s.StringVar(&o.PublishStatusAddress, "publish-status-address", "", "addresses to write into Ingress status, separated by comma")
	s.BoolVar(&o.UpdateStatus, "update-status", true, "write Ingress status")
	s.BoolVar(&o.UpdateStatusOnExit, "update-status-on-shutdown", true, "clear Ingress status when the last replica stops")
	s.IntVar(&f.statusSecs, "status-update-interval", 60, "seconds between checks of Ingress status")
	s.BoolVar(&o.NodeInternalIP, "report-node-internal-ip-address", false, "write nodes' internal addresses into Ingress status")
	s.StringVar(&o.ElectionID, "election-id", o.ElectionID, "name of the Lease that elects the writer of status")
	s.DurationVar(&o.ElectionTTL, "election-ttl", o.ElectionTTL, "duration of that Lease")
	s.BoolVar(&o.DisableElection, "disable-leader-election", false, "write status without a Lease; for a single replica")
	s.BoolVar(&o.DisableSyncEvents, "disable-sync-events", false, "write no Events")
	s.IntVar(&f.graceSecs, "shutdown-grace-period", 0, "seconds between SIGTERM and the end of accepting connections")
	s.IntVar(&f.postSecs, "post-shutdown-grace-period", 10, "seconds at most for remaining connections after that")
	s.DurationVar(&o.SyncPeriod, "sync-period", 0, "how often informers compare again (0: never)")
	s.IntVarP(&f.verbosity, "v", "v", 0, "verbosity of the process log; 3 and more: debug")
	s.BoolVar(&f.showVer, "version", false, "print the version and exit")
	for name, l := range later {
		if l.isBool {
			s.Bool(name, false, "accepted: "+orNothing(l.note))
		} else {
			s.String(name, "", "accepted: "+orNothing(l.note))
		}
		s.Lookup(name).Hidden = l.note == ""
	}
	s.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName { return pflag.NormalizedName(name) })
	return f
}

func orNothing(note string) string {
	if note == "" {
		return "no effect"
	}
	return note
}

// parse reads args. The notes it returns are one line for each flag that has no effect.
func (f *serveFlags) parse(args []string, stderr io.Writer) (notes []string, err error) {
	f.set.SetOutput(stderr)
	if err := f.set.Parse(singleDashes(args)); err != nil {
		return nil, err
	}
	if f.set.NArg() > 0 {
		return nil, fmt.Errorf("serve takes no arguments, got %q; for a directory of manifests write --manifests %s", f.set.Arg(0), f.set.Arg(0))
	}
	f.set.Visit(func(fl *pflag.Flag) {
		if l, ok := later[fl.Name]; ok && l.note != "" {
			notes = append(notes, "--"+fl.Name+" has no effect: "+l.note)
		}
	})
	sort.Strings(notes)
	if f.engine != "std" {
		return nil, fmt.Errorf("--engine=%q is not one of: std", f.engine)
	}
	if f.logFormat != "text" && f.logFormat != "json" {
		return nil, fmt.Errorf("--log-format=%q is not text or json", f.logFormat)
	}
	o := &f.opts
	for _, text := range f.binds {
		a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(text), "[]"))
		if err != nil {
			return nil, fmt.Errorf("--bind-address=%q is not an IP address", text)
		}
		o.BindAddresses = append(o.BindAddresses, a)
	}
	o.StatusInterval = time.Duration(max(f.statusSecs, 5)) * time.Second
	o.ShutdownGrace = time.Duration(max(f.graceSecs, 0)) * time.Second
	o.PostShutdownGrace = time.Duration(max(f.postSecs, 0)) * time.Second
	if o.ElectionTTL <= 0 {
		o.ElectionTTL = 30 * time.Second
	}
	o.PodName, o.PodNamespace = os.Getenv("POD_NAME"), os.Getenv("POD_NAMESPACE")
	o.Version = version
	return notes, o.Check()
}

// singleDashes turns the klog forms -v=2 and -logtostderr into what pflag reads. Only names we know are touched.
func singleDashes(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			name, _, _ := strings.Cut(a[1:], "=")
			if _, known := later[name]; known {
				a = "-" + a
			}
		}
		out[i] = a
	}
	return out
}
