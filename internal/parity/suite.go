package parity

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Suite is one case file: one configuration of the controller and the cases under it.
type Suite struct {
	Name      string            `yaml:"suite"`
	About     string            `yaml:"about"`
	Flags     []string          `yaml:"flags"`
	ConfigMap map[string]string `yaml:"configmap"`
	Manifests string            `yaml:"manifests"`
	Private   bool              `yaml:"private"`  // each case gets Services of its own
	NoReady   bool              `yaml:"no_ready"` // connections start with a PROXY header
	Cases     []*Case           `yaml:"cases"`
	Extra     []*Case           `yaml:"-"` // objects only
}

// Case is some Ingresses and the requests to them.
type Case struct {
	Name      string     `yaml:"name"`
	About     string     `yaml:"about"`
	Notes     string     `yaml:"notes"`
	Ingresses []Ingress  `yaml:"ing"`
	Secrets   []Secret   `yaml:"tls"`
	Manifests string     `yaml:"manifests"`
	Jar       bool       `yaml:"jar"` // cookies are kept from request to request
	Requests  []*Request `yaml:"requests"`
	Get       []string   `yaml:"get"` // short for requests: URLs to GET
}

// Ingress is a short form of a networking.k8s.io/v1 Ingress.
type Ingress struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"ns"`
	Class       *string           `yaml:"class"` // nil: nginx; "": none
	Annotations map[string]string `yaml:"ann"`   // without prefix: ingress-nginx's
	Host        string            `yaml:"host"`
	Paths       []string          `yaml:"paths"` // "Prefix /path service[:port]"
	Rules       []Rule            `yaml:"rules"`
	TLS         []IngressTLS      `yaml:"tls"`
	Default     string            `yaml:"default"`
	PauseMS     int               `yaml:"pause_ms"` // it is this much younger than those before
}

// Rule is one host of an Ingress.
type Rule struct {
	Host  string   `yaml:"host"`
	Paths []string `yaml:"paths"`
}

// IngressTLS is one entry of spec.tls.
type IngressTLS struct {
	Hosts  []string `yaml:"hosts"`
	Secret string   `yaml:"secret"`
}

// Secret is key material to make.
type Secret struct {
	Name      string   `yaml:"secret"`
	Namespace string   `yaml:"ns"`
	Hosts     []string `yaml:"hosts"`  // a server certificate for these
	CA        string   `yaml:"ca"`     // ca.crt: this authority
	Client    string   `yaml:"client"` // a client certificate of this name
	Expired   bool     `yaml:"expired"`
}

// Request is one line of a case; with Repeat it stands for many.
type Request struct {
	Name      string         `yaml:"name"`
	Method    string         `yaml:"method"`
	URL       string         `yaml:"url"`
	Scheme    string         `yaml:"scheme"`
	Host      string         `yaml:"host"` // "-": none
	SNI       *string        `yaml:"sni"`
	Path      string         `yaml:"path"`
	HTTP      string         `yaml:"http"` // 1.1, 1.0, 2
	Headers   []string       `yaml:"headers"`
	Echo      map[string]any `yaml:"echo"` // what the endpoint is to answer
	Body      string         `yaml:"body"`
	BodyHex   string         `yaml:"body_hex"`
	BodySize  int            `yaml:"body_size"`
	Chunked   bool           `yaml:"chunked"`
	Trailers  []string       `yaml:"trailers"`
	Raw       string         `yaml:"raw"` // everything as text; LF stands for CRLF, ${ID} for the request's id
	From      string         `yaml:"from"`
	Cert      string         `yaml:"cert"` // client certificate: name[@authority]
	Repeat    int            `yaml:"repeat"`
	Parallel  bool           `yaml:"parallel"`
	Pods      string         `yaml:"pods"`      // repeated: set (default), count, exact, none; single: any
	Tolerance float64        `yaml:"tolerance"` // share that counts may be off by
	WaitMS    int            `yaml:"wait_ms"`
	LogMS     int            `yaml:"log_ms"` // endpoints may hear of it this late
	WS        string         `yaml:"ws"`     // after 101 send this and read it back
	TimeoutMS int            `yaml:"timeout_ms"`
	NoLog     bool           `yaml:"nolog"`
	Plain     bool           `yaml:"plain"` // no TLS on the https port
	TLS       string         `yaml:"tls_version"`
	Ignore    []string       `yaml:"ignore"` // what is not compared
}

// LoadSuite reads a case file, and adds the objects of the file of the same name in the
// directory extra beside the one of the cases, where there is one: what cases need and the
// record does not hold.
func LoadSuite(p *Place, file string) (*Suite, error) {
	s, err := loadSuite(p, file)
	if err != nil {
		return nil, err
	}
	extra, err := loadSuite(p, filepath.Join(filepath.Dir(filepath.Dir(file)), "extra", filepath.Base(file)))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.Extra = extra.Cases
	return s, nil
}

func loadSuite(p *Place, file string) (*Suite, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(strings.NewReader(p.expand(string(text))))
	dec.KnownFields(true)
	s := &Suite{}
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if want := strings.TrimSuffix(filepath.Base(file), ".yaml"); s.Name != want {
		return nil, fmt.Errorf("%s: the suite is called %q", file, s.Name)
	}
	seen := map[string]bool{}
	for _, c := range s.Cases {
		if seen[c.Name] {
			return nil, fmt.Errorf("%s: two cases are called %s", file, c.Name)
		}
		seen[c.Name] = true
		for _, u := range c.Get {
			c.Requests = append(c.Requests, &Request{URL: u})
		}
		for i, r := range c.Requests {
			r.complete(i)
		}
	}
	return s, nil
}

// complete fills in what the file leaves out; the name is how the record finds it.
func (r *Request) complete(i int) {
	if r.URL != "" {
		scheme, rest, _ := strings.Cut(r.URL, "://")
		r.Scheme, r.Host, r.Path = scheme, rest, "/"
		if k := strings.IndexAny(rest, "/?"); k >= 0 {
			r.Host, r.Path = rest[:k], rest[k:]
		}
	}
	or(&r.Scheme, "http")
	or(&r.Method, "GET")
	or(&r.HTTP, "1.1")
	or(&r.Path, "/")
	if r.Repeat == 0 {
		r.Repeat = 1
	}
	switch {
	case r.Name != "":
	case r.Raw != "":
		r.Name = fmt.Sprintf("%02d raw", i)
	default:
		r.Name = fmt.Sprintf("%02d %s %s://%s%s", i, r.Method, r.Scheme, r.Host, r.Path)
	}
}

func or(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

func (r *Request) timeout() time.Duration {
	if r.TimeoutMS > 0 {
		return time.Duration(r.TimeoutMS) * time.Millisecond
	}
	return 20 * time.Second
}

func (r *Request) body() ([]byte, error) {
	switch {
	case r.BodyHex != "":
		return hex.DecodeString(strings.ReplaceAll(r.BodyHex, " ", ""))
	case r.BodySize > 0:
		return bytes.Repeat([]byte("x"), r.BodySize), nil
	}
	return []byte(r.Body), nil
}

// lines returns the header lines to send.
func (r *Request) lines() ([]string, error) {
	lines := append([]string{}, r.Headers...)
	if r.Echo != nil {
		want, err := json.Marshal(r.Echo)
		if err != nil {
			return nil, err
		}
		lines = append(lines, echoField+": "+string(want))
	}
	return lines, nil
}

// Pair is a field; in the record it is one text, "Name: value".
type Pair struct{ Name, Value string }

// UnmarshalJSON reads the recorded form.
func (p *Pair) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	name, value, ok := strings.Cut(s, ": ")
	if !ok {
		return fmt.Errorf("%q is not a header", s)
	}
	*p = Pair{name, value}
	return nil
}

// Answer is what the client saw of one request, and what endpoints received for it.
type Answer struct {
	Status   int        `json:"status"`
	Interim  []int      `json:"interim"`
	Proto    string     `json:"proto"`
	Header   []Pair     `json:"headers"`
	Body     string     `json:"body"`
	Trailer  []Pair     `json:"trailers"`
	CertCN   string     `json:"cert"`
	ALPN     string     `json:"alpn"`
	Error    string     `json:"error"`
	WS       string     `json:"ws"`
	Received []Received `json:"received"`

	cookies []string
}

// Received is what an endpoint saw of one request.
type Received struct {
	Pod     string `json:"pod"`
	Kind    string `json:"kind"`
	Proto   string `json:"proto"`
	Method  string `json:"method"`
	URI     string `json:"uri"`
	Host    string `json:"host"`
	Header  []Pair `json:"headers"`
	Framing string `json:"framing"`
	Body    string `json:"body"`
	Trailer []Pair `json:"trailers"`
	SNI     string `json:"sni"`
	Peer    string `json:"peer_cn"`
}

// Result is what is recorded of one request line.
type Result struct {
	Request  string             `json:"request"`
	Answer   *Answer            `json:"response"`
	N        int                `json:"n"` // repeated: how often, and the sums
	Statuses map[string]int     `json:"statuses"`
	Pods     map[string]int     `json:"pods"`
	Samples  map[string]*Answer `json:"samples"` // the first answer of each status
}

// LoadGolden reads the record of a suite: results by case.
func LoadGolden(p *Place, file string) (map[string][]*Result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var g struct {
		Cases []struct {
			Case    string
			Results []*Result
		}
	}
	if err := json.Unmarshal([]byte(p.translate(string(text))), &g); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string][]*Result{}
	for _, c := range g.Cases {
		out[c.Case] = c.Results
	}
	if len(out) == 0 {
		return nil, errors.New(file + ": no cases")
	}
	return out, nil
}
