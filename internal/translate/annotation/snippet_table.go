package annotation

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"
)

// verdict says what lintel does with a directive.
type verdict uint8

const (
	applied verdict = iota
	noEffect
	refused
)

func (v verdict) String() string { return [...]string{"applied", "no effect", "refused"}[v] }

type snippetReader func(*snippetRun, *Directive, steps) error

// snippetDirective is one line of the table.
type snippetDirective struct {
	name    string
	verdict verdict
	places  snippetPlace
	block   bool
	// guard is true for what may protect or change where requests go: where it cannot be done the routes answer 503.
	guard  bool
	syntax string
	doc    string
	why    string // for noEffect and refused
	hint   string
	read   snippetReader
}

func (d *snippetDirective) wherever() string {
	var at []string
	for _, p := range []snippetPlace{inRoute, inRouteIf, inServer, inServerIf, inLocation, inExcept, inAuth} {
		if d.places&p != 0 {
			at = append(at, p.String())
		}
	}
	return "it may stand in " + strings.Join(at, ", ")
}

// snippetTable is filled at first use: its readers look into it, which an initialiser may not.
var snippetTable struct {
	once sync.Once
	rows map[string]*snippetDirective
}

func snippetDirectives() map[string]*snippetDirective {
	snippetTable.once.Do(func() {
		rows := map[string]*snippetDirective{}
		for _, list := range [][]snippetDirective{appliedDirectives(), timesAndSizes(), withoutEffect(), refusedDirectives()} {
			for i := range list {
				if d := &list[i]; rows[d.name] == nil {
					rows[d.name] = d
				} else {
					panic("snippet directive declared twice: " + d.name)
				}
			}
		}
		snippetTable.rows = rows
	})
	return snippetTable.rows
}

func snippetRow(name string) *snippetDirective {
	if d := snippetDirectives()[name]; d != nil {
		return d
	}
	for _, end := range []string{"_by_lua", "_by_lua_block", "_by_lua_file"} {
		if strings.HasSuffix(name, end) {
			return &snippetDirective{name: name, verdict: refused, guard: !strings.HasPrefix(name, "log_by"), why: "lintel runs no programs", hint: "use the annotations for what the program does"}
		}
	}
	return nil
}

func nearestDirective(name string) string {
	var all []string
	for n := range snippetDirectives() {
		all = append(all, n)
	}
	sort.Strings(all)
	if near := Nearest(name, all); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

func appliedDirectives() []snippetDirective {
	const blocks = anyBlock | anyIf&^inServerIf
	return []snippetDirective{
		{name: "more_set_headers", places: blocks, syntax: `more_set_headers [-s 'STATUS ...'] [-t 'TYPE ...'] [-a] "NAME: VALUE" ...;`, doc: "Sets response fields of any status; an empty value removes. -a adds beside what is there.", read: readMore},
		{name: "more_clear_headers", places: blocks, syntax: `more_clear_headers [-s 'STATUS ...'] [-t 'TYPE ...'] "NAME" ...;`, doc: "Removes response fields; a * at the end of a name stands for any rest.", read: readMore},
		{name: "more_set_input_headers", guard: true, places: blocks, syntax: `more_set_input_headers [-r] [-t 'TYPE ...'] "NAME: VALUE" ...;`, doc: "Sets request fields before authentication; -r only where the client sent one.", read: readMore},
		{name: "more_clear_input_headers", guard: true, places: blocks, syntax: `more_clear_input_headers [-t 'TYPE ...'] "NAME" ...;`, doc: "Removes request fields before authentication; a * at the end stands for any rest.", read: readMore},
		{name: "add_header", places: blocks, syntax: "add_header NAME VALUE [always];", doc: "Adds a response field to 200, 201, 204, 206, 301, 302, 303, 304, 307 and 308, with always to any. One at a level cancels those of the levels around it.", read: readAddHeader},
		{name: "proxy_set_header", guard: true, places: anyRoute | inAuth, syntax: "proxy_set_header NAME VALUE;", doc: "Replaces a field of the request to the endpoint, also lintel's own; an empty value removes it.", read: readSetHeader},
		{name: "grpc_set_header", guard: true, places: anyRoute, syntax: "grpc_set_header NAME VALUE;", doc: "The same as proxy_set_header.", read: readSetHeader},
		{name: "proxy_method", guard: true, places: anyRoute | inAuth, syntax: "proxy_method METHOD;", doc: "The method of the request to the endpoint.", read: readMethod},
		{name: "proxy_hide_header", places: anyRoute, syntax: "proxy_hide_header NAME;", doc: "Removes a field of the endpoint's response.", read: readHide},
		{name: "proxy_pass_header", places: anyRoute, syntax: "proxy_pass_header NAME;", doc: "Needed for no field but Server, for which there is allow-backend-server-header.", read: readPass},
		{name: "proxy_cookie_path", places: anyRoute, syntax: "proxy_cookie_path FROM TO;", doc: "Replaces the beginning of the Path of cookies, or what ~PATTERN matches.", read: readCookie},
		{name: "proxy_cookie_domain", places: anyRoute, syntax: "proxy_cookie_domain FROM TO;", doc: "Replaces the Domain of cookies.", read: readCookie},
		{name: "proxy_redirect", places: anyRoute, syntax: "proxy_redirect FROM TO;", doc: "Replaces the beginning of Location and Refresh.", read: readProxyRedirect},
		{name: "auth_request_set", guard: true, places: inRoute, syntax: "auth_request_set $VARIABLE $upstream_http_NAME;", doc: "Takes a field of the answer of auth-url into a variable.", read: readAuthVar},
		{name: "return", guard: true, places: rewrites, syntax: "return STATUS [TEXT | URL]; or return URL;", doc: "Answers. 444 closes the connection.", read: readReturn},
		{name: "rewrite", guard: true, places: rewrites, syntax: "rewrite PATTERN TO [last | break | redirect | permanent];", doc: "Changes the path, or redirects. The query is kept, unless TO ends with ?.", read: readRewrite},
		{name: "set", guard: true, places: rewrites, syntax: "set $VARIABLE VALUE;", doc: "Sets a variable of the snippet's own, or $args, $pass_access_scheme, $best_http_host, $pass_port.", read: readSet},
		{name: "if", guard: true, block: true, places: anyBlock, syntax: "if ($VARIABLE [= | != | ~ | ~* | !~ | !~* VALUE]) { ... }", doc: "Does what is in the block where the condition holds. Of the ifs that hold the last one's fields count. Files cannot be tested.", read: readIf},
		{name: "break", guard: true, places: rewrites, syntax: "break;", doc: "Ends the rewrite phase of the block: also redirect annotations and rewrite-target do nothing then.", read: readBreak},
		{name: "allow", guard: true, places: anyBlock | inExcept, syntax: "allow ADDRESS | NETWORK | all;", doc: "Lets a client in. The first rule that names its address decides; it comes after the annotations' lists.", read: readRule},
		{name: "deny", guard: true, places: anyBlock | inExcept, syntax: "deny ADDRESS | NETWORK | all;", doc: "Refuses a client with 403.", read: readRule},
		{name: "satisfy", guard: true, places: anyRoute, syntax: "satisfy all | any;", doc: "As the annotation satisfy.", read: readSatisfy},
		{name: "limit_except", guard: true, block: true, places: anyRoute, syntax: "limit_except METHOD ... { allow and deny }", doc: "Rules for all other methods, in place of all lists.", read: readLimitExcept},
		{name: "location", guard: true, block: true, places: inServer, syntax: "location [= | ~ | ~* | ^~] PATH { ... }", doc: "Answers paths of its own, chosen among the Ingress' paths as nginx does.", read: readLocation},
		{name: "sub_filter", guard: true, places: inRoute, syntax: "sub_filter FROM TO;", doc: "Replaces a text in the endpoint's responses, which are asked for uncompressed. The case of letters in FROM does not count.", read: readSub},
		{name: "sub_filter_once", guard: true, places: inRoute, syntax: "sub_filter_once on | off;", doc: "Whether only the first occurrence of each text is replaced; it is, unless this says off.", read: readSubSetting},
		{name: "sub_filter_types", guard: true, places: inRoute, syntax: "sub_filter_types TYPE ... | *;", doc: "Content types besides text/html.", read: readSubSetting},
		{name: "sub_filter_last_modified", places: inRoute, syntax: "sub_filter_last_modified on | off;", doc: "Whether Last-Modified stays.", read: readSubSetting},
		{name: "expires", places: blocks, syntax: "expires TIME | epoch | max | off;", doc: "Sets Expires and Cache-Control, for the statuses of add_header.", read: readExpires},
		{name: "charset", places: blocks, syntax: "charset NAME | off;", doc: "Adds a charset to the Content-Type of text that has none.", read: readCharset},
		{name: "default_type", places: anyBlock, syntax: "default_type TYPE;", doc: "The content type of a return with a text.", read: readDefaultType},
		{name: "gzip", places: blocks, syntax: "gzip on | off;", doc: "Whether responses may be compressed.", read: readGzip},
		{name: "limit_rate", places: anyRoute | inRouteIf | inLocIf, syntax: "limit_rate BYTES;", doc: "Bytes per second of a response.", read: readRate},
		{name: "limit_rate_after", places: anyRoute, syntax: "limit_rate_after BYTES;", doc: "Bytes of a response before limit_rate applies.", read: readRate},
		{name: "access_log", places: anyRoute, syntax: "access_log off;", doc: "Leaves the route out of the access log.", read: readAccessLog},
	}
}

func timesAndSizes() []snippetDirective {
	row := func(name, doc string, read snippetReader) snippetDirective {
		return snippetDirective{name: name, places: inRoute, syntax: name + " VALUE;", doc: doc, read: read}
	}
	const instead = "In place of the annotation "
	return []snippetDirective{
		row("proxy_connect_timeout", instead+"proxy-connect-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Connect })),
		row("proxy_send_timeout", instead+"proxy-send-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Send })),
		row("proxy_read_timeout", instead+"proxy-read-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Read })),
		row("grpc_connect_timeout", instead+"proxy-connect-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Connect })),
		row("grpc_send_timeout", instead+"proxy-send-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Send })),
		row("grpc_read_timeout", instead+"proxy-read-timeout.", readTime(func(s *Snippet) *time.Duration { return &s.Read })),
		row("client_body_timeout", "Time between two reads of the request's content.", readTime(func(s *Snippet) *time.Duration { return &s.BodyTimeout })),
		row("client_max_body_size", instead+"proxy-body-size.", readBytes(func(s *Snippet) **int64 { return &s.BodyMax })),
		row("client_body_buffer_size", instead+"client-body-buffer-size.", readBytes(func(s *Snippet) **int64 { return &s.BodyMem })),
	}
}

func withoutEffect() []snippetDirective {
	var out []snippetDirective
	for _, group := range []struct{ why, names string }{
		{"lintel chooses buffers itself", "proxy_buffer_size proxy_buffers proxy_busy_buffers_size proxy_buffering proxy_max_temp_file_size proxy_temp_file_write_size output_buffers postpone_output client_header_buffer_size large_client_header_buffers grpc_buffer_size fastcgi_buffers fastcgi_buffer_size proxy_headers_hash_max_size proxy_headers_hash_bucket_size client_body_in_single_buffer client_body_in_file_only"},
		{"lintel serves no files", "etag if_modified_since sendfile tcp_nopush aio open_file_cache log_not_found index autoindex types max_ranges"},
		{"lintel manages its connections itself", "tcp_nodelay keepalive_timeout keepalive_requests keepalive_disable reset_timedout_connection lingering_close lingering_time lingering_timeout proxy_http_version proxy_socket_keepalive chunked_transfer_encoding send_timeout client_header_timeout"},
		{"the ConfigMap's keys about gzip decide", "gzip_types gzip_min_length gzip_comp_level gzip_vary gzip_proxied gzip_buffers gzip_http_version gzip_disable brotli brotli_types brotli_comp_level"},
		{"requests are logged the same way everywhere", "rewrite_log log_subrequest uninitialized_variable_warn server_tokens"},
		{"it is what lintel does", "proxy_pass_request_headers proxy_pass_request_body underscores_in_headers merge_slashes absolute_redirect port_in_redirect server_name_in_redirect charset_types override_charset proxy_ignore_client_abort"},
	} {
		for _, name := range strings.Fields(group.names) {
			out = append(out, snippetDirective{name: name, verdict: noEffect, places: 0xff &^ inExcept, why: group.why})
		}
	}
	for i := range out {
		out[i].block = out[i].name == "types"
	}
	return out
}

func refusedDirectives() []snippetDirective {
	var out []snippetDirective
	for _, group := range []struct {
		guard     bool
		why, hint string
		names     string
	}{
		{true, "it sends requests where no Service says", "name a Service in the Ingress' paths", "proxy_pass grpc_pass fastcgi_pass uwsgi_pass scgi_pass memcached_pass resolver resolver_timeout mirror"},
		{true, "lintel serves no files", "serve them by a Service, or a ConfigMap as the backend", "root alias try_files internal error_page recursive_error_pages x_accel_redirect secure_link secure_link_md5"},
		{true, "lintel reads no files of the controller and loads nothing", "take it out", "include load_module perl perl_set js_content js_set js_import ssl_engine set_by_lua ssl_certificate ssl_certificate_key"},
		{true, "there is an annotation for it", "use auth-url, auth-type and auth-secret", "auth_request auth_basic auth_basic_user_file auth_digest auth_digest_user_file auth_jwt"},
		{true, "there is an annotation for it", "use limit-rps, limit-rpm, limit-connections", "limit_req limit_conn limit_req_status limit_conn_status limit_req_zone limit_conn_zone"},
		{true, "it is decided for the whole host", "use auth-tls-secret and its like, and the ConfigMap's ssl-protocols", "ssl_verify_client ssl_client_certificate ssl_verify_depth ssl_protocols ssl_ciphers ssl_prefer_server_ciphers ssl_crl"},
		{true, "there is no web application firewall", "put one behind lintel", "modsecurity modsecurity_rules modsecurity_rules_file modsecurity_transaction_id SecRuleEngine SecRule"},
		{true, "there are no maps and no databases", "use if and set", "map geo geoip2 split_clients valid_referers map_hash_bucket_size"},
		{true, "it is decided for all hosts", "use the ConfigMap's keys for forwarded headers and PROXY protocol", "set_real_ip_from real_ip_header real_ip_recursive listen server_name server upstream"},
		{true, "content is not edited so", "use sub_filter, or do it in the application", "addition_types add_before_body add_after_body ssi image_filter xslt_stylesheet"},
		{true, "content is not parsed", "do it in the application", "echo echo_exec echo_location dav_methods stub_status proxy_set_body"},
		{false, "there is an annotation for it", "use custom-http-errors", "proxy_intercept_errors grpc_intercept_errors"},
		{false, "there is an annotation for it", "use proxy-next-upstream, proxy-next-upstream-tries, proxy-next-upstream-timeout", "proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout grpc_next_upstream"},
		{false, "there is an annotation for it", "use proxy-request-buffering", "proxy_request_buffering"},
		{true, "there is an annotation for it", "use proxy-ssl-name, proxy-ssl-server-name, proxy-ssl-secret, proxy-ssl-verify", "proxy_ssl_name proxy_ssl_server_name proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_trusted_certificate proxy_ssl_verify proxy_ssl_verify_depth proxy_ssl_protocols proxy_ssl_ciphers proxy_ssl_session_reuse grpc_ssl_name grpc_ssl_server_name"},
		{false, "lintel keeps no copies of responses", "let clients and a cache in front keep them", "proxy_cache proxy_cache_valid proxy_cache_key proxy_cache_bypass proxy_no_cache proxy_cache_use_stale proxy_cache_lock proxy_cache_methods proxy_ignore_headers proxy_cache_revalidate proxy_cache_background_update"},
		{false, "lintel writes its own log", "see the ConfigMap's log-format keys", "error_log log_format opentelemetry opentelemetry_operation_name opentelemetry_trust_incoming_spans opentracing"},
		{false, "nothing is sent in advance", "take it out", "http2_push http2_push_preload add_trailer early_hints"},
	} {
		for _, name := range strings.Fields(group.names) {
			out = append(out, snippetDirective{name: name, verdict: refused, guard: group.guard, why: group.why, hint: group.hint})
		}
	}
	return out
}

// WriteSnippetsMarkdown writes docs/reference/snippets.md.
func WriteSnippetsMarkdown(w io.Writer) error {
	rows := make([]*snippetDirective, 0, len(snippetDirectives()))
	for _, d := range snippetDirectives() {
		rows = append(rows, d)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].name < rows[j].name })
	var b strings.Builder
	b.WriteString(`# Snippets

<!-- Made from internal/translate/annotation; do not edit. -->

Snippets are read into typed steps; no text of them is run. They need ` + "`allow-snippet-annotations: \"true\"`" + ` and
` + "`annotations-risk-level: Critical`" + ` in the ConfigMap. Regular expressions are RE2's: lookaround and back-references are not
there. Set, if, return, rewrite and break run in the order of the text, wherever they stand among the others.

A directive that is refused is reported, and the rest of the snippet works. Where it could protect something, or changes
where requests go (*guards* below), the routes answer 503 instead. The same holds for directives nobody knows, and for ones
that are misspelt or have no place where they stand.

## Applied

| directive | what it does | stands in | guards |
| --- | --- | --- | --- |
`)
	bar := strings.NewReplacer("|", "\\|")
	for _, d := range rows {
		if d.verdict == applied {
			guards := ""
			if d.guard {
				guards = "yes"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", bar.Replace(d.syntax), d.doc, strings.TrimPrefix(d.wherever(), "it may stand in "), guards)
		}
	}
	b.WriteString("\n## Without effect\n\nThey may stay; lintel says so in a note.\n\n| directive | why |\n| --- | --- |\n")
	for _, d := range rows {
		if d.verdict == noEffect {
			fmt.Fprintf(&b, "| `%s` | %s |\n", d.name, d.why)
		}
	}
	b.WriteString("\n## Refused\n\n`*_by_lua`, `*_by_lua_block` and `*_by_lua_file` are refused, too: lintel runs no programs.\n\n| directive | why | instead | guards |\n| --- | --- | --- | --- |\n")
	for _, d := range rows {
		if d.verdict == refused {
			guards := ""
			if d.guard {
				guards = "yes"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.why, d.hint, guards)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
