package expr

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Doc describes one variable, or a family of them whose name ends in NAME.
type Doc struct{ Name, Text string }

// docs has one line for each built-in variable; a test compares it with the variables.
var docs = map[string]string{
	"args": "the query of the request, without the question mark", "query_string": "the same as `$args`",
	"is_args": "`?` if the request has a query that is not empty, else nothing",
	"request": "the request line as received", "request_method": "the method",
	"request_uri": "the request target as received, with the query", "uri": "the path, decoded and normalised",
	"document_uri":        "the same as `$uri`",
	"escaped_request_uri": "`$request_uri` with everything but unreserved characters percent-encoded",
	"server_protocol":     "`HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`",
	"http2":               "`h2`, `h2c`, or nothing", "http3": "`h3` or nothing", "https": "`on` over TLS, else nothing",
	"scheme": "`http` or `https`, as the connection is",
	"host":   "the host of the request, lower case and without port, else the host that serves it",

	"http_host": "the Host field as received", "http_upgrade": "the protocol an upgrade asks for",
	"http_connection": "`upgrade` when an upgrade is asked for", "http_te": "`trailers` when the client takes trailers",
	"http_content_length": "the same as `$content_length`", "content_length": "length of the request body, when it is known",
	"content_type": "the Content-Type field of the request", "request_body": "not kept: always absent",
	"sent_http_content_length": "length of the response body, when it is known",
	"sent_http_upgrade":        "the protocol a 101 switches to",

	"best_http_host":     "the host the client is taken to have used, with port as sent",
	"pass_access_scheme": "the scheme the client is taken to have used",
	"pass_port":          "the port the client is taken to have used",
	"pass_server_port":   "the same as `$server_port`", "server_port": "the listener's port",
	"server_name": "the host that serves the request; `_` for the catch-all", "server_addr": "the address the client connected to",

	"remote_addr": "the client's address, after real-IP processing", "remote_port": "the client's port",
	"the_real_ip": "the same as `$remote_addr`", "binary_remote_addr": "the client's address as 4 or 16 bytes",
	"realip_remote_addr": "the address of the TCP peer", "realip_remote_port": "the port of the TCP peer",
	"remote_user":         "the authenticated user, else the name in a Basic Authorization field",
	"proxy_protocol_addr": "source address of the PROXY header", "proxy_protocol_port": "source port of the PROXY header",
	"proxy_protocol_server_addr": "destination address of the PROXY header",
	"proxy_protocol_server_port": "destination port of the PROXY header",
	"proxy_add_x_forwarded_for":  "the X-Forwarded-For field as received, and the client's address",
	"full_x_forwarded_for":       "the X-Forwarded-For field as received, and the address of the TCP peer",

	"status": "the status of the response", "body_bytes_sent": "bytes of the response body as sent",
	"bytes_sent":     "bytes of the response as sent, with its head",
	"request_length": "bytes of the request as received, with its head",
	"request_time":   "seconds from the first byte of the request to the last of the response",
	"req_id":         "the client's X-Request-ID, or a generated one", "request_id": "the same as `$req_id`",
	"request_completion": "`OK` if the response was sent, else nothing",
	"connection":         "number of the client's connection", "connection_requests": "number of this request on its connection",
	"gzip_ratio": "not kept: always absent", "limit_rate": "bytes a second the response is held to; 0 for no limit",
	"limit_req_status": "not kept: always absent", "limit_conn_status": "not kept: always absent",

	"time_local":   "the end of the request, as `21/Nov/2025:09:30:00 +0000`",
	"time_iso8601": "the end of the request, as `2025-11-21T09:30:00+00:00`",
	"msec":         "the end of the request, as seconds since 1970 with milliseconds",

	"namespace": "namespace of the Ingress", "ingress_name": "name of the Ingress", "service_name": "name of the Service",
	"service_port": "port of the Service, as the Ingress writes it", "location_path": "path, as the Ingress writes it",
	"proxy_upstream_name":             "`namespace-service-port`, `upstream-default-backend`, or `-`",
	"proxy_alternative_upstream_name": "the same of the canary that was chosen, else nothing",
	"proxy_host":                      "`upstream_balancer`", "proxy_port": "`80`",
	"upstream_addr": "endpoints that were tried", "upstream_status": "their statuses",
	"upstream_response_length": "bytes of their bodies", "upstream_bytes_received": "bytes received from them",
	"upstream_response_time": "seconds until their response was complete", "upstream_connect_time": "seconds to connect to them; 0 on a connection that was open",
	"upstream_header_time":  "seconds until their response head",
	"upstream_cache_status": "there is no cache: always absent",

	"hostname": "name of the machine", "pid": "process id", "nginx_version": "`1.27.1`", "pipe": "`.`",

	"ssl_protocol": "`TLSv1.2`, `TLSv1.3`", "ssl_cipher": "the cipher suite, as OpenSSL calls it", "ssl_curve": "the key exchange",
	"ssl_alpn_protocol": "the protocol that was agreed on", "ssl_server_name": "the SNI name", "ssl_session_reused": "`r` for a resumed session, else `.`",
	"ssl_session_id": "not kept: always absent", "ssl_ciphers": "not kept: always absent", "ssl_curves": "not kept: always absent",
	"ssl_early_data":    "not taken: always absent",
	"ssl_client_verify": "`NONE`, `SUCCESS`, or `FAILED:` and the reason", "ssl_client_s_dn": "subject of the client certificate, as RFC 2253 writes it",
	"ssl_client_i_dn": "issuer of the client certificate, as RFC 2253 writes it", "ssl_client_s_dn_legacy": "subject, as `/C=../CN=..`",
	"ssl_client_i_dn_legacy": "issuer, as `/C=../CN=..`", "ssl_client_serial": "serial number of the client certificate",
	"ssl_client_fingerprint": "SHA-1 of the client certificate", "ssl_client_v_start": "start of its validity", "ssl_client_v_end": "end of its validity",
	"ssl_client_v_remain": "days until it expires", "ssl_client_cert": "the client certificate in PEM, lines after the first begin with a tab",
	"ssl_client_raw_cert": "the client certificate in PEM", "ssl_client_escaped_cert": "the client certificate in PEM, percent-encoded",
}

var familyDocs = map[string]string{
	"http_": "a field of the request; `-` becomes `_`", "sent_http_": "a field of the response",
	"upstream_http_": "a field of the endpoint's response", "upstream_cookie_": "a cookie the endpoint sets",
	"upstream_trailer_": "a trailer of the endpoint's response", "sent_trailer_": "a trailer of the response",
	"cookie_": "a cookie of the request", "arg_": "the first argument of that name in the query, as sent",
	"geoip2_": "absent until databases are supported", "opentelemetry_": "absent until tracing is supported",
}

// Docs describes every variable, families last.
func Docs() []Doc {
	var all []Doc
	for _, name := range Names() {
		all = append(all, Doc{"$" + name, docs[name]})
	}
	families := Families()
	slices.Sort(families)
	for _, prefix := range families {
		all = append(all, Doc{"$" + prefix + "NAME", familyDocs[prefix]})
	}
	return append(all, Doc{"$1 to $9", "what the groups of the path's regular expression matched"})
}

// WriteMarkdown writes the reference page of variables.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Variables

<!-- Made from internal/expr; do not edit. -->

Annotations that take variables, values of ` + "`proxy-set-headers`" + ` and ` + "`log-format-upstream`" + ` may hold these, as
` + "`$name` or `${name}`" + `. A variable without a value is empty; in the access log it is ` + "`-`" + `, and with
` + "`log-format-escape-json`" + ` it is empty inside quotes and ` + "`null`" + ` outside. ` + "`$upstream_*`" + ` list all tries, separated by
` + "`, `" + `.

| variable | value |
| --- | --- |
`)
	for _, d := range Docs() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", d.Name, d.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
