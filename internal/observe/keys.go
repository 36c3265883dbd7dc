// Package observe holds what all ways of observing lintel share: the keys of log
// records. Series are in observe/metrics, request lines in observe/accesslog.
//
// Log messages are constant texts that name an event; everything variable is a
// value under one of these keys. Use slog.String(observe.Host, name), never a
// literal key: a record somebody filters on must not change its spelling.
package observe

// The keys of log records.
const (
	Address    = "address"    // of an endpoint, a listener or a peer
	Bytes      = "bytes"      // a size
	Cause      = "cause"      // why something was done
	Cert       = "cert"       // namespace/name of a Secret with key material
	Changes    = "changes"    // how many objects changed
	Class      = "class"      // an IngressClass or controller class
	Client     = "client"     // the client's address
	Code       = "code"       // of a diagnostic
	Count      = "count"      // how many
	Duration   = "duration"   // how long something took
	Endpoint   = "endpoint"   // address:port of an endpoint
	Error      = "error"      // an error's text
	Field      = "field"      // of an object
	File       = "file"       // a path
	Filter     = "filter"     // a filter's name
	Flag       = "flag"       // a command line flag
	Generation = "generation" // of the table
	Hint       = "hint"       // what a person should do
	Host       = "host"       // a virtual host
	Hosts      = "hosts"      // how many of them
	Identity   = "identity"   // in a leader election
	Key        = "key"        // of a ConfigMap
	Kind       = "kind"       // of an object
	Listener   = "listener"   // a listener's name
	Message    = "message"    // of a diagnostic
	Name       = "name"       // of an object, without a namespace
	Namespace  = "namespace"  //
	Object     = "object"     // kind namespace/name
	Path       = "path"       // of a route
	Pool       = "pool"       // namespace/service:port
	Port       = "port"       //
	Reason     = "reason"     // of an Event
	Request    = "request"    // a request id
	Route      = "route"      // a route's id
	Routes     = "routes"     // how many of them
	Source     = "source"     // where objects come from
	Stack      = "stack"      // of a panic
	Status     = "status"     // a response status
	Value      = "value"      // what a person wrote; never a secret
	Variable   = "variable"   // a $variable
	Version    = "version"    //
)
