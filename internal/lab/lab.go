// Package lab is test support: it runs the cases below internal/translate/testdata.
//
// A case is one txtar file about one behaviour. Its sections are manifests
// (*.yaml), what stands in for the cluster (services, secrets, flags), what
// translation must make of them (table, diagnostics), and a talk over HTTP (http)
// that names nothing internal:
//
//	A client over its rate is refused.
//
//	-- services --
//	default/shop
//	-- ingress.yaml --
//	...
//	-- table --
//	host shop.example.com
//	...
//	-- diagnostics --
//	-- http --
//	> GET http://shop.example.com/   x6
//	< 200
//	< from default/shop
//	> GET http://shop.example.com/
//	< 503
//
// services has a line "namespace/name [protocol] [xN]" for each Service with N echo endpoints
// (default 1; x0 for none) on port 80, name http. secrets has "namespace/name host..." for server
// certificates. flags has one flag of the command line per line. The class nginx exists.
//
// With -update, table and diagnostics are rewritten; http never is.
package lab

import (
	"encoding/base64"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
	"github.com/lintel-ingress/lintel/internal/parity"
	"github.com/lintel-ingress/lintel/internal/source/dir"
	"github.com/lintel-ingress/lintel/internal/translate"
)

var update = flag.Bool("update", false, "rewrite the table and diagnostics sections of the cases")

// ConfigMapName is the controller's ConfigMap in every case.
const ConfigMapName = "ingress-nginx/ingress-nginx-controller"

// Instance is a running lintel.
type Instance struct {
	HTTP, HTTPS string // host:port of the listeners
	// Stop drains and ends it; what it returns fails the test.
	Stop func() error
}

// Start runs lintel on the manifests below dir, with flags besides the ports and the ConfigMap,
// and returns once the first table serves. It listens on loopback and on ports of its choice.
type Start func(dir string, flags []string) (*Instance, error)

// Case is one txtar file.
type Case struct {
	Name     string // path from the directory of the cases, without suffix
	path     string
	archive  archive
	flags    []string
	services []service
	secrets  []secret
	talk     []exchange
}

type service struct {
	namespace, name, protocol string
	endpoints                 int
}

type secret struct {
	namespace, name string
	hosts           []string
}

// skip is the directory of cases that translate's own tests read; they have no talk.
const skip = "core"

// Load reads every case below dir.
func Load(dir string) ([]*Case, error) {
	var cases []*Case
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == skip {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".txtar" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, strings.TrimSuffix(path, ".txtar"))
		if err != nil {
			return err
		}
		c := &Case{Name: filepath.ToSlash(name), path: path, archive: parseArchive(string(text))}
		if err := c.parse(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		cases = append(cases, c)
		return nil
	})
	return cases, err
}

func (c *Case) parse() error {
	if strings.TrimSpace(c.archive.comment) == "" {
		return fmt.Errorf("no sentence on top says what the case is about")
	}
	for _, s := range c.archive.sections {
		var err error
		switch s.name {
		case "table", "diagnostics":
		case "flags":
			c.flags = strings.Fields(s.text)
		case "services":
			err = c.parseServices(s.text)
		case "secrets":
			err = c.parseSecrets(s.text)
		case "http":
			c.talk, err = parseTalk(s.text)
		default:
			if ext := filepath.Ext(s.name); ext != ".yaml" && ext != ".yml" && ext != ".json" {
				err = fmt.Errorf("not a section")
			}
		}
		if err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
	}
	return nil
}

func (c *Case) parseServices(text string) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		ns, name, ok := strings.Cut(f[0], "/")
		if !ok {
			return fmt.Errorf("%q is not namespace/name", f[0])
		}
		s := service{ns, name, "http", 1}
		for _, word := range f[1:] {
			if n, err := strconv.Atoi(strings.TrimPrefix(word, "x")); err == nil && word[0] == 'x' {
				s.endpoints = n
			} else {
				s.protocol = word
			}
		}
		c.services = append(c.services, s)
	}
	return nil
}

func (c *Case) parseSecrets(text string) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		ns, name, ok := strings.Cut(f[0], "/")
		if !ok || len(f) < 2 {
			return fmt.Errorf("%q is not namespace/name and hosts", strings.TrimSpace(line))
		}
		c.secrets = append(c.secrets, secret{ns, name, f[1:]})
	}
	return nil
}

// files returns the manifests of the case; with endpoints, Services lead to them.
func (c *Case) files(endpoints map[string][]endpoint) (fstest.MapFS, error) {
	files := fstest.MapFS{}
	var own strings.Builder
	own.WriteString("{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}\n")
	for _, s := range c.services {
		fmt.Fprintf(&own, "---\n{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: %s}, spec: {ports: [{name: http, port: 80, targetPort: http}]}}\n",
			s.name, s.namespace)
		for i, e := range endpoints[s.namespace+"/"+s.name] {
			fmt.Fprintf(&own, "---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: %s-%d, namespace: %s, labels: {kubernetes.io/service-name: %s}}, ports: [{name: http, port: %d, protocol: TCP}], endpoints: [{addresses: [%s], conditions: {ready: true}}]}\n",
				s.name, i, s.namespace, s.name, e.addr.Port(), e.addr.Addr())
		}
	}
	for _, s := range c.secrets {
		pem, err := pki.Server("server-ca", false, s.hosts...)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&own, "---\n{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: %s, namespace: %s}, data: {tls.crt: %s, tls.key: %s}}\n",
			s.name, s.namespace, base64.StdEncoding.EncodeToString(pem.Cert), base64.StdEncoding.EncodeToString(pem.Key))
	}
	// It sorts behind everything else, so that positions in other files stay.
	files["zz-lab.yaml"] = &fstest.MapFile{Data: []byte(own.String())}
	for _, s := range c.archive.sections {
		switch filepath.Ext(s.name) {
		case ".yaml", ".yml", ".json":
			files[s.name] = &fstest.MapFile{Data: []byte(s.text)}
		}
	}
	return files, nil
}

var pki = &parity.PKI{}

// Translate returns the table and the diagnostics of a case in their text forms.
func (c *Case) Translate() (table, diagnostics string, err error) {
	d, found, err := c.build()
	if err != nil {
		return "", "", err
	}
	table, err = tableText(d, strings.HasPrefix(c.Name, full+"/"))
	return table, diagnosticsText(found), err
}

// build translates the case's objects.
func (c *Case) build() (*config.Delta, []diag.Diagnostic, error) {
	o := translate.DefaultOptions()
	o.ConfigMap = ConfigMapName
	for _, f := range c.flags {
		if err := setFlag(&o, f); err != nil {
			return nil, nil, err
		}
	}
	files, err := c.files(nil)
	if err != nil {
		return nil, nil, err
	}
	snapshot := object.NewSnapshot()
	builder := translate.NewBuilder(snapshot, o)
	var found []diag.Diagnostic
	changes := dir.LoadFS("lab", files)
	for _, change := range changes {
		found = append(found, change.Diags...)
	}
	result := builder.Build(snapshot.Apply(changes))
	for _, ds := range result.Diags {
		found = append(found, ds...)
	}
	return &result.Delta, found, nil
}

// setFlag knows the flags that say something about translation.
func setFlag(o *translate.Options, text string) error {
	name, value, has := strings.Cut(strings.TrimPrefix(text, "--"), "=")
	on := !has || value == "true"
	switch name {
	case "watch-ingress-without-class":
		o.WithoutClass = on
	case "ingress-class-by-name":
		o.ByName = on
	case "ingress-class":
		o.IngressClass = value
	case "controller-class":
		o.ControllerClass = value
	case "watch-namespace":
		o.WatchNamespace = value
	case "disable-catch-all":
		o.DisableCatchAll = on
	case "annotations-prefix":
		o.AnnotationsPrefix = value
	case "default-backend-service":
		o.DefaultBackendService = value
	case "default-ssl-certificate":
		o.DefaultSSLCertificate = value
	case "disable-svc-external-name":
		o.DisableExternalName = on
	default:
		return fmt.Errorf("flag --%s says nothing about translation that the lab knows", name)
	}
	return nil
}

func diagnosticsText(found []diag.Diagnostic) string {
	diag.Sort(found)
	var b strings.Builder
	last := ""
	for _, d := range found {
		d.Pos.File = strings.TrimPrefix(d.Pos.File, "lab/")
		line := strings.ReplaceAll(d.String(), "lab/", "") + "\n"
		if d.Effect != diag.None {
			line += "      " + d.Effect.String() + "\n"
		}
		if line != last {
			b.WriteString(line)
		}
		last = line
	}
	return b.String()
}

// Golden compares what translation makes of every case below dir with its file.
func Golden(t *testing.T, dir string) {
	each(t, dir, func(t *testing.T, c *Case) {
		table, diagnostics, err := c.Translate()
		if err != nil {
			t.Fatal(err)
		}
		again := c.archive
		again.sections = slices.Clone(c.archive.sections)
		again.set("table", table)
		again.set("diagnostics", diagnostics)
		if *update {
			if err := os.WriteFile(c.path, []byte(again.String()), 0o644); err != nil {
				t.Error(err)
			}
			return
		}
		if diff := cmp.Diff(c.archive.String(), again.String()); diff != "" {
			t.Errorf("%s: translation differs (-file +now; -update accepts it):\n%s", c.path, diff)
		}
	})
}

// HTTP holds the talk of every case below dir with an instance of its own.
func HTTP(t *testing.T, dir string, start Start) {
	each(t, dir, func(t *testing.T, c *Case) {
		if len(c.talk) == 0 {
			t.Skip("the case has no http section")
		}
		c.hold(t, start)
	})
}

func each(t *testing.T, dir string, f func(*testing.T, *Case)) {
	t.Helper()
	cases, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("no cases below %s", dir)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { f(t, c) })
	}
}

// hold starts endpoints and an instance, and has the talk.
func (c *Case) hold(t *testing.T, start Start) {
	t.Helper()
	endpoints := map[string][]endpoint{}
	for _, s := range c.services {
		for range s.endpoints {
			e, err := listen(s)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.close(); err != nil {
					t.Error(err)
				}
			})
			endpoints[s.namespace+"/"+s.name] = append(endpoints[s.namespace+"/"+s.name], e)
		}
	}
	files, err := c.files(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	manifests := t.TempDir()
	for name, f := range files {
		if err := os.WriteFile(filepath.Join(manifests, name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lintel, err := start(manifests, c.flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lintel.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, x := range c.talk {
		for i := range x.repeat {
			answer, err := x.send(lintel)
			if err != nil {
				t.Fatalf("http line %d: %s %s: %v", x.line, x.method, x.url, err)
			}
			if wrong := x.check(answer); len(wrong) > 0 {
				t.Errorf("%s, http line %d: %s %s (request %d of %d)\n%s\nthe answer was:\n%s",
					c.path, x.line, x.method, x.url, i+1, x.repeat, strings.Join(wrong, "\n"), answer)
				break
			}
		}
	}
}
