package config

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// sample has a field of every sort that filters have.
type sample struct {
	To       string
	MaxAge   time.Duration
	HTTP10   bool
	Off      bool
	Nets     filter.Prefixes
	Fields   []struct{ Name, Value string }
	Labels   map[string]int
	Password *nested
	Key      Secret
	Hidden   string `text:"-"`
	Token    string `text:"secret"`
	Raw      []byte
	inner    int
}

type nested struct {
	Realm string
	File  Secret
}

func (sample) FilterName() string                { return "rewrite" }
func (sample) Build(*filter.Env) (any, error)    { return nil, nil }
func (unordered) FilterName() string             { return "app-root" }
func (unordered) Build(*filter.Env) (any, error) { return nil, nil }

type unordered struct{ To string }

func TestFilterTextShowsWhatIsSetAndNoSecret(t *testing.T) {
	f := sample{
		To: "/a b", MaxAge: time.Minute, HTTP10: true, Nets: filter.Prefixes{netip.MustParsePrefix("10.0.0.0/8")},
		Fields: []struct{ Name, Value string }{{"X-A", "1"}, {"X-B", ""}}, Labels: map[string]int{"b": 2, "a": 1},
		Password: &nested{Realm: "shop", File: Secret("user:hash")}, Key: Secret("key"), Hidden: "h", Token: "t", Raw: []byte("raw"), inner: 1,
	}
	want := `rewrite to="/a b" max-age=1m0s http10 nets=[10.0.0.0/8] fields=[{name=X-A value=1}, {name=X-B}] labels={a:1, b:2} ` +
		`password.realm=shop password.file=[redacted] key=[redacted] token=[redacted] raw=[3 bytes]`
	if got := FilterText(f); got != want {
		t.Errorf("text is\n%s\nwant\n%s", got, want)
	}
	if got := FilterText(&sample{}); got != "rewrite" {
		t.Errorf("an empty filter is %q", got)
	}
}

func TestTextIsCanonical(t *testing.T) {
	id := PoolID{Namespace: "default", Service: "cart", Port: "80"}
	origin := Origin{Ingress: diag.Ref{Kind: "Ingress", Namespace: "default", Name: "shop"}, Service: "cart"}
	routes := []*Route{
		{Match: Prefix, Path: "/cart", Origin: origin, Filters: []filter.Config{sample{To: "/$1"}, unordered{To: "/x"}},
			Limits: Limits{BodyMax: 1024},
			Action: Action{Forward: &Forward{Pool: id, Balance: Balance{Policy: "ewma"}, Affinity: &Affinity{Cookie: "C"},
				Connect: 5 * time.Second, Retry: Retry{On: RetryError | Retry502, Tries: 3}, Protocol: GRPC,
				Canary: &Canary{Pool: PoolID{"default", "canary", "80", Pods}, Weight: 5, Total: 100, Origin: origin}}}},
		{Match: Exact, Path: "/cart", Origin: origin, Deny: "because", Action: Action{Status: 503}},
		{Match: Text, Path: "/a", Action: Action{Files: &Files{Prefix: "/a", Entries: map[string]File{"y": {}, "x": {}}}}, NoLog: true},
	}
	h := &Host{Name: "shop.example.com", TLS: &TLS{Cert: CertID{"default", "tls"}}, HasCert: true, Routes: routes}
	d := Delta{
		Hosts: map[string]*Host{h.Name: h, "gone.example.com": nil},
		Pools: map[PoolID]*Pool{
			id:                          {ID: id, PortName: "http", TargetPort: 8080},
			{Namespace: "a"}:            {ID: PoolID{Namespace: "a"}, Missing: true},
			{"b", "s", "1", Pods}:       {ID: PoolID{"b", "s", "1", Pods}, ExternalName: "example.com", ExternalPort: 1, Local: true},
			{"b", "s", "2", Pods}:       nil,
			{"c", "s", "80", ClusterIP}: {ID: PoolID{"c", "s", "80", ClusterIP}, Static: []Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:80")}}},
		},
		Certs: map[CertID]*Cert{{"default", "tls"}: {ID: CertID{"default", "tls"}, Chain: Secret("PEM"), Key: Secret("KEY")}},
	}
	want := `host gone.example.com gone
host shop.example.com
  tls default/tls
  has-cert
  route text /a -> files x, y below /a
    no-log
  route prefix /cart -> pool default/cart:80
    from default/shop rule 0 path 0
    limits body-max=1024
    app-root to=/x
    rewrite to=/$1
    balance policy=ewma
    affinity cookie=C
    canary of default/shop pool=default/canary:80 weight=5 total=100
    forward protocol=grpc connect=5s retry=error,http_502 tries=3
  route exact /cart -> status 503
    from default/shop rule 0 path 0
    deny because
pool a/:
  missing
pool b/s:1
  name example.com port 1
  local
pool b/s:2 gone
pool c/s:80 cluster-ip
  endpoint 10.0.0.1:80
pool default/cart:80
  endpoints pods port=http target-port=8080
cert default/tls tls.crt tls.key
`
	if got := d.Text(); got != want {
		t.Errorf("text is\n%s\nwant\n%s", got, want)
	}
	routes[0], routes[2] = routes[2], routes[0]
	routes[2].Filters[0], routes[2].Filters[1] = routes[2].Filters[1], routes[2].Filters[0]
	if got := d.Text(); got != want {
		t.Errorf("another order changes the text to\n%s", got)
	}
}
