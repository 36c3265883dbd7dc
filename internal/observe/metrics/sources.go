package metrics

import "time"

// Sources are asked at each scrape, by one goroutine at a time. They must not block.
type Sources struct {
	Generation  func() uint64 // of the table
	Hosts       func() int
	Connections func() Connections
	// LogDropped is how many access log lines found no room.
	LogDropped   func() uint64
	Diagnostics  func() []Diagnostics
	Pools        func() []Pool
	Certificates func() []Certificate
	Orphans      func() []Orphan
}

// Connections are the numbers of client connections.
type Connections struct {
	Accepted, Handled uint64 // since start
	Active            int    // open
	Reading           int    // a request is being read
	Writing           int    // a request is being answered
	Waiting           int    // idle
}

// Diagnostics counts the findings that stand.
type Diagnostics struct {
	Code, Severity, Namespace string
	Count                     int
}

// Pool counts the endpoints of one pool.
type Pool struct {
	Namespace, Service, Port string
	Ready, Ejected           int
}

// Certificate is one certificate in use for one host.
type Certificate struct {
	Host, Namespace, Secret string
	Identifier              string // unique for host and certificate
	NotAfter                time.Time
	IssuerOrganization      string
	IssuerCommonName        string
	Serial                  string
	PublicKeyAlgorithm      string
}

// Orphan is an Ingress whose backend is not there.
type Orphan struct {
	Namespace, Ingress string
	NoService          bool // else: a Service without endpoint
}
