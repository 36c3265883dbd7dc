// Package config is what translation results in and the data plane compiles:
// immutable plain data, without Kubernetes types.
//
// A value is never edited after it was published. Two values are the same when
// reflect.DeepEqual says so; the canonical text form (Text) is what people and
// golden files see.
package config

import (
	"net/netip"
	"time"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter"
)

// CatchAll is the name of the host that takes requests no other host matches.
const CatchAll = "_"

// Delta is what one build changed; nil means gone.
type Delta struct {
	Generation uint64
	Hosts      map[string]*Host
	Pools      map[PoolID]*Pool
	Certs      map[CertID]*Cert
	Global     *Global // nil: unchanged
}

// Host is one virtual host, or another name of one.
type Host struct {
	// Name is lower case: "a.example.com"; "*.example.com" (one label); "_";
	// as an alias also "shop.*" (trailing wildcard) and "~regex".
	Name string
	// AliasOf names the host this one is another name for; then only TLS counts besides it.
	AliasOf string
	// LeadingAny makes "*.x" match any number of labels (plain nginx wildcard, from server-alias).
	LeadingAny bool
	TLS        *TLS // nil: no certificate configured, the default certificate serves
	// HasCert is true when a certificate is configured for this name, the default one by spec.tls included:
	// ssl-redirect applies then. An alias has its own.
	HasCert bool
	Filters []filter.Config // server stage
	Routes  []*Route        // in matching order for regex hosts; any order otherwise
	// Locations are chosen among the routes as nginx chooses locations of a server-snippet.
	Locations []Location
	Regex     bool // routes match as case-insensitive regular expressions, first wins
	Origin    []diag.Ref
}

// Location is a path a server-snippet answers itself.
type Location struct {
	// Modifier is nginx's: "" for a text prefix, "^~" for one that keeps regular expressions out, "="
	// for the path itself, "~" and "~*" for regular expressions, with and without regard to case.
	Modifier string
	Path     string
	Route    *Route // its Match and Path do not count
}

// TLS is a host's TLS settings.
type TLS struct {
	Cert CertID // zero: the default certificate
	// Also are further certificates for the name, of another key type: the client's offer chooses.
	Also []CertID
	// ClientAuth is the client-certificate policy, nil without auth-tls.
	ClientAuth *ClientAuth
	Ciphers    []uint16 // TLS 1.2 suites; nil: the global ones
	// Passthrough sends connections with this SNI to the pool unterminated; zero: terminate.
	Passthrough PoolID
	// Reject refuses handshakes for this name.
	Reject bool
}

// ClientAuth is what auth-tls-* ask for.
type ClientAuth struct {
	// Broken refuses every request of the host with 403: the CA could not be read.
	Broken    bool
	Verify    string // on, off, optional, optional_no_ca
	Depth     int
	CA        CertID // its CAs entry
	ErrorPage string
	PassCert  bool
	MatchCN   string
}

// CertID names key material: a Secret, or one half of it.
type CertID struct{ Namespace, Name string }

// Cert is the content of a TLS or CA Secret.
type Cert struct {
	ID    CertID
	Chain Secret // PEM of tls.crt; nil in a CA-only Secret
	Key   Secret // PEM of tls.key
	CA    []byte // PEM of ca.crt
	CRL   []byte // PEM of ca.crl
}

// MatchType is how a route's path compares.
type MatchType uint8

// The match types.
const (
	Prefix MatchType = iota // by path elements; a path ending in "/" matches below it only
	Exact
	Regex // case-insensitive, anchored at the start, open at the end
	Text  // plain text prefix without regard to elements: lintel's own paths on the catch-all
)

func (m MatchType) String() string { return [...]string{"prefix", "exact", "regex", "text"}[m] }

// Route is one path match on a host with its filters and its action.
type Route struct {
	ID      string // stable and unique: namespace/ingress host type path
	Match   MatchType
	Path    string
	Filters []filter.Config
	Action  Action
	Limits  Limits
	Origin  Origin
	// Deny is the reason why this route answers 503; "" when it serves.
	Deny string
	// NoLog leaves the route out of the access log.
	NoLog bool
}

// Origin says where a route comes from.
type Origin struct {
	Ingress     diag.Ref
	Host        string // rule host or "_"
	Rule, Path  int    // -1: spec.defaultBackend or implicit
	Service     string
	ServicePort string
	Upstream    string // $proxy_upstream_name
	PathText    string // as the Ingress writes it
	Pos         diag.Pos
}

// Limits are a route's body and time numbers towards the client.
type Limits struct {
	BodyMax     int64
	Buffer      bool
	BufferMem   int64
	BodyTimeout time.Duration
	Rate        int64
	RateAfter   int64
}

// Action is what a route does with a request its filters let through. Exactly
// one field is set.
type Action struct {
	Forward *Forward
	Files   *Files
	Status  int // a fixed answer: 404 of the built-in default backend, 503
	// Page, beside Status 200, names a text the process fills in: "nginx_status".
	Page string
	// Slash answers 301 to the path with "/" added.
	Slash *Slash
}

// Slash is nginx's automatic redirect of /foo to /foo/.
type Slash struct {
	Relative bool
	UsePort  bool
}

// Files serves the keys of a ConfigMap as files.
type Files struct {
	Prefix  string // the route's path, taken off before a key is looked up
	Entries map[string]File
}

// File is one entry of Files.
type File struct {
	Type string // content type
	ETag string // quoted
	Data []byte
}

// Protocol is what is spoken to an endpoint.
type Protocol uint8

// The protocols.
const (
	HTTP Protocol = iota
	HTTPS
	GRPC
	GRPCS
	AutoHTTP // the scheme of the client's connection
	FCGI
)

func (p Protocol) String() string {
	return [...]string{"http", "https", "grpc", "grpcs", "auto-http", "fcgi"}[p]
}

// Forward sends requests to a pool. What ingress-nginx keeps per Service and port
// (balancing, affinity, canary) is the route's own here.
type Forward struct {
	Pool     PoolID
	Balance  Balance
	Affinity *Affinity
	Canary   *Canary
	// Fallback takes requests while Pool has no endpoint (annotation default-backend).
	Fallback *PoolID
	// Empty is what the route answers while nothing has an endpoint; 0: 503. The controller's
	// default backend answers 404.
	Empty    int
	Protocol Protocol
	HTTP10   bool
	TLS      *UpstreamTLS // for HTTPS, GRPCS, AutoHTTP; nil: no verification, no SNI
	Connect  time.Duration
	Send     time.Duration
	Read     time.Duration
	Retry    Retry
	// HeadMax is the largest response head in bytes.
	HeadMax int
	// ConnectionHeader is the literal of connection-proxy-header: "", "close", "keep-alive".
	ConnectionHeader string
	ErrorPages       *ErrorPages
	// Local permits loopback endpoints and names (objects from a directory).
	Local bool
}

// Retry is proxy-next-upstream and friends.
type Retry struct {
	On            RetryOn
	Tries         int           // total attempts, at least 1
	Timeout       time.Duration // no new attempt after it; 0: none
	NonIdempotent bool
}

// RetryOn is a set of conditions.
type RetryOn uint16

// The conditions of proxy-next-upstream.
const (
	RetryError RetryOn = 1 << iota
	RetryTimeout
	RetryInvalidHeader
	Retry500
	Retry502
	Retry503
	Retry504
	Retry403
	Retry404
	Retry429
)

// Balance is how a route picks an endpoint.
type Balance struct {
	Policy     string // round_robin, ewma, chash, chashsubset
	HashBy     string // text with $variables, for chash and chashsubset
	SubsetSize int
}

// Affinity is cookie affinity.
type Affinity struct {
	Mode            string // balanced, persistent
	Cookie          string
	Path, Domain    string
	MaxAge, Expires *int // seconds; nil: absent
	SameSite        string
	ConditionalNone bool
	Secure          *bool // nil: as the connection
	ChangeOnFailure bool
	// Key is the backend key of the pool: namespace-service-port.
	Key string
}

// Canary splits a route's requests between its pool and another.
type Canary struct {
	Pool          PoolID
	Origin        Origin
	Weight, Total int
	Header        string
	HeaderValue   string
	HeaderPattern string // RE2, unanchored
	Cookie        string
	// Sticky applies the route's affinity to the canary too.
	Sticky bool
	// Key is the canary's backend key in affinity cookies.
	Key string
}

// UpstreamTLS is proxy-ssl-*.
type UpstreamTLS struct {
	Client     CertID // certificate to present; zero: none
	CA         CertID // trust; zero: none
	Verify     bool
	Depth      int
	Name       string // text with $variables; "" : none
	SNI        bool
	Ciphers    []uint16
	MinVersion uint16
	MaxVersion uint16
}

// ErrorPages is custom-http-errors on one route.
type ErrorPages struct {
	Codes []int // sorted
	// Pool takes the error requests; zero: the built-in default backend (404).
	Pool PoolID
	// Default takes over while Pool has no endpoint; zero: the built-in default backend.
	Default PoolID
	// Intercept also replaces responses of endpoints, not only lintel's own.
	Intercept bool
	// Namespace, Ingress, Service, ServicePort fill the X-* fields.
	Namespace, Ingress, Service, ServicePort string
}

// PoolID identifies a pool by what it holds.
type PoolID struct {
	Namespace, Service string
	Port               string // as the Ingress writes it
	Mode               PoolMode
}

// PoolMode says what a pool's endpoints are.
type PoolMode uint8

// The modes.
const (
	Pods      PoolMode = iota // ready addresses of EndpointSlices
	ClusterIP                 // service-upstream: the Service's address
)

// IsZero reports whether id names no pool.
func (id PoolID) IsZero() bool { return id == PoolID{} }

func (id PoolID) String() string {
	s := id.Namespace + "/" + id.Service + ":" + id.Port
	if id.Mode == ClusterIP {
		s += " cluster-ip"
	}
	return s
}

// Pool is the recipe for a pool's endpoints. Addresses come on the fast lane
// (translate.Endpoints), unless Static or ExternalName gives them.
type Pool struct {
	ID PoolID
	// Missing is set when the Service or its port does not exist: the pool stays empty.
	Missing bool
	// PortName and TargetPort select the slices' port (reference/routing.md 6.2).
	PortName   string
	TargetPort int // 0: by name only
	// Static are fixed addresses (ClusterIP mode).
	Static []Endpoint
	// ExternalName is a DNS name to resolve, with ExternalPort; "" for none.
	ExternalName string
	ExternalPort uint16
	// Local permits loopback and link-local addresses.
	Local bool
	// Topology uses zone hints.
	Topology bool
}

// Endpoint is one address and port.
type Endpoint struct {
	Addr netip.AddrPort
	Zone string
}

// Secret is text that must never be printed.
type Secret []byte

// String returns a placeholder.
func (Secret) String() string { return "[redacted]" }

// GoString returns a placeholder.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Global are the settings of the ConfigMap that are not of a route: read live by
// engines, listeners, logs.
type Global struct {
	// DefaultCert is --default-ssl-certificate; zero: the generated one.
	DefaultCert CertID
	// Filters run for every exchange, before a host is looked at.
	Filters []filter.Config
	// NoHost are the limits before a route is known.
	RejectHandshake bool

	ProxyProtocol        bool
	ProxyProtocolTimeout time.Duration
	ProxyProtocolTrusted filter.Prefixes

	KeepAlive          time.Duration // 0: close after each response
	KeepAliveRequests  int
	HeaderTimeout      time.Duration // whole request head
	BodyTimeout        time.Duration
	HeaderBuffer       int // large-client-header-buffers: size of one
	HeaderBuffers      int // and their number
	HTTP2              bool
	HTTP2Streams       uint32
	UnderscoresAllowed bool // enable-underscores-in-headers
	IgnoreInvalid      bool // ignore-invalid-headers
	ServerTokens       bool
	AllowBackendServer bool

	TLSMinVersion, TLSMaxVersion uint16
	Ciphers                      []uint16
	SessionTickets               bool
	TicketKey                    Secret

	UpstreamKeepAlive         int // idle connections kept per process
	UpstreamKeepAliveTimeout  time.Duration
	UpstreamKeepAliveRequests int
	UpstreamKeepAliveTime     time.Duration

	AccessLog           bool
	AccessLogPath       string
	LogFormat           string // text with $variables
	LogEscapeJSON       bool
	LogEscapeNone       bool
	SkipLogURLs         []string
	LogDefaultBackend   bool
	WorkerShutdown      time.Duration
	StatusAllow         filter.Prefixes // nginx_status on the catch-all
	HealthPath          string
	DefaultBackendRoute *Route // what "/" of unknown hosts does when no Ingress says so
}
