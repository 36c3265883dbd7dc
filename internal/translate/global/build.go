package global

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/exchange"
	"github.com/lintel-ingress/lintel/internal/expr"
	"github.com/lintel-ingress/lintel/internal/filter"
	"github.com/lintel-ingress/lintel/internal/filter/addheaders"
	"github.com/lintel-ingress/lintel/internal/filter/block"
	"github.com/lintel-ingress/lintel/internal/filter/compress"
	"github.com/lintel-ingress/lintel/internal/filter/realip"
	"github.com/lintel-ingress/lintel/internal/filter/requestid"
	"github.com/lintel-ingress/lintel/internal/translate/annotation"
)

// Build makes the settings of the ConfigMap's data; nil data gives the defaults. objects reads the
// ConfigMaps that keys name; nil: there are none. A bad value costs only itself: the
// key's default holds and a diagnostic says so. The diagnostics lack Object and Pos.
//
// DefaultCert, HealthPath and DefaultBackendRoute come from the command line and stay empty.
func Build(data map[string]string, objects annotation.Objects) (*config.Global, []diag.Diagnostic) {
	r := &reader{data: data, values: map[string]any{}}
	r.read()
	trust := r.networks("proxy-real-ip-cidr", trusted.get(r))
	g := &config.Global{
		RejectHandshake: rejectHandshake.get(r),

		ProxyProtocol:        useProxyProtocol.get(r),
		ProxyProtocolTimeout: proxyProtocolTimeout.get(r),
		ProxyProtocolTrusted: trust,

		KeepAlive:          keepAlive.get(r),
		KeepAliveRequests:  keepAliveRequests.get(r),
		HeaderTimeout:      headerTimeout.get(r),
		BodyTimeout:        bodyTimeout.get(r),
		HeaderBuffer:       headerBuffers.get(r).size,
		HeaderBuffers:      headerBuffers.get(r).number,
		HTTP2:              useHTTP2.get(r),
		HTTP2Streams:       uint32(streams.get(r)),
		UnderscoresAllowed: underscores.get(r),
		IgnoreInvalid:      dropInvalid.get(r),
		ServerTokens:       serverTokens.get(r),
		AllowBackendServer: allowServer.get(r),

		TLSMinVersion:  sslProtocols.get(r).low,
		TLSMaxVersion:  sslProtocols.get(r).high,
		SessionTickets: sessionTickets.get(r) || sessionCache.get(r),
		TicketKey:      sessionKey.get(r),

		UpstreamKeepAlive:         upstreamKeepAlive.get(r),
		UpstreamKeepAliveTimeout:  upstreamIdle.get(r),
		UpstreamKeepAliveRequests: upstreamRequests.get(r),
		UpstreamKeepAliveTime:     upstreamAge.get(r),

		AccessLog:         !noLog.get(r) && !noHTTPLog.get(r),
		AccessLogPath:     accessLogPath.get(r),
		LogFormat:         logFormat.get(r),
		LogEscapeJSON:     logJSON.get(r),
		LogEscapeNone:     logNone.get(r),
		LogDefaultBackend: logDefault.get(r),
		WorkerShutdown:    workerShutdown.get(r),
		StatusAllow:       append(append(filter.Prefixes{}, statusAllow4.get(r)...), statusAllow6.get(r)...),
	}
	if p := httpLogPath.get(r); p != "" {
		g.AccessLogPath = p
	}
	r.tls(g)
	r.log(g)
	r.filters(g, objects)
	r.advise(trust)
	redact(r.diags)
	return g, r.diags
}

// tls fills what needs a word besides the value.
func (r *reader) tls(g *config.Global) {
	if v := sslProtocols.get(r); len(v.skipped) > 0 || v.hole {
		msg := "ssl-protocols:"
		if len(v.skipped) > 0 {
			msg += " left out, because they cannot be had: " + strings.Join(v.skipped, " ")
		}
		if v.hole {
			msg += " versions between the lowest and the highest are on, too"
		}
		r.report("ssl-protocols", diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning, Message: msg,
			Hint: "name neighbouring versions from TLSv1 to TLSv1.3"})
	}
	text := sslCiphers.get(r)
	if text == "" {
		return
	}
	suites, skipped := annotation.Ciphers(text)
	switch {
	case len(suites) == 0:
		r.report("ssl-ciphers", diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning, Effect: diag.Ignored,
			Message: "ssl-ciphers: none of the suites is known; the default list stays", Hint: "write, for instance, ECDHE-RSA-AES256-GCM-SHA384"})
	case len(skipped) > 0:
		r.report("ssl-ciphers", diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Info,
			Message: "ssl-ciphers: left out, because Go does not have them: " + strings.Join(skipped, " ")})
	}
	g.Ciphers = suites
}

// log checks what a log line is made of.
func (r *reader) log(g *config.Global) {
	escape := expr.LogDefault
	switch {
	case g.LogEscapeNone:
		escape = expr.LogNone
	case g.LogEscapeJSON:
		escape = expr.LogJSON
	}
	_, unknown, err := expr.ParseLog(g.LogFormat, escape)
	if err != nil {
		r.report("log-format-upstream", diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Error, Effect: diag.Ignored,
			Message: "log-format-upstream: " + err.Error(), Hint: "the default format holds meanwhile"})
		g.LogFormat = DefaultLogFormat
	}
	for _, u := range unknown {
		hint := "it is logged as -"
		if u.Nearest != "" {
			hint = "did you mean $" + u.Nearest + "? It is logged as -"
		}
		r.report("log-format-upstream", diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning,
			Message: "log-format-upstream: there is no variable $" + u.Name, Hint: hint})
	}
	for _, u := range skipURLs.get(r) {
		if re, ok := strings.CutPrefix(u, "~"); ok {
			if _, err := regexp.Compile(strings.TrimPrefix(re, "*")); err != nil {
				r.dropped("skip-access-log-urls", u, "is no regular expression")
				continue
			}
		}
		g.SkipLogURLs = append(g.SkipLogURLs, u)
	}
}

// dropped reports one item of a list that is left out.
func (r *reader) dropped(key, item, why string) {
	r.report(key, diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning, Effect: diag.Ignored, Value: annotation.Clip(item),
		Message: fmt.Sprintf("%s: %s %s, and is left out", key, annotation.Quote(item), why), Hint: "correct the item, or remove it"})
}

// filters makes what runs for every exchange.
func (r *reader) filters(g *config.Global, objects annotation.Objects) {
	forwarded := useForwarded.get(r)
	g.Filters = append(g.Filters,
		realip.Config{
			Trusted: g.ProxyProtocolTrusted, Proxy: g.ProxyProtocol,
			Walk: forwarded || enableRealIP.get(r), Header: forHeader.get(r),
			Forwarded: forwarded, ForwardedFromAll: forwarded && !trusted.set(r),
		},
		requestid.Config{Generate: generateID.get(r)},
	)
	if b := r.blocks(); len(b.Networks) > 0 || len(b.UserAgents) > 0 || len(b.Referers) > 0 {
		g.Filters = append(g.Filters, b)
	}
	if ref := addHeaders.get(r); ref != "" && objects != nil {
		if fields := annotation.HeaderMap(objects, "add-headers", ref, false, func(d diag.Diagnostic) { r.report("add-headers", d) }); len(fields) > 0 {
			g.Filters = append(g.Filters, addheaders.Config{Fields: fields})
			r.unknownVariables("add-headers", fields)
		}
	}
	if ref := proxySetHeaders.get(r); ref != "" && objects != nil {
		fields := annotation.HeaderMap(objects, "proxy-set-headers", ref, true, func(d diag.Diagnostic) { r.report("proxy-set-headers", d) })
		r.unknownVariables("proxy-set-headers", fields)
	}
	if useGzip.get(r) {
		g.Filters = append(g.Filters, compress.Config{
			Level: gzipLevel.get(r), MinLength: int64(gzipMin.get(r)), Types: gzipTypes.get(r), Disable: gzipDisable.get(r),
		})
	}
	for _, n := range hideHeaders.get(r) {
		if !annotation.ValidHeaderName(n) {
			r.dropped("hide-headers", n, "is no name of a field")
		}
	}
	for _, n := range allowedHeaders.get(r) {
		if !annotation.ValidHeaderName(n) {
			r.dropped("global-allowed-response-headers", n, "is no name of a field")
		}
	}
}

// unknownVariables warns of $names in values that mean nothing.
func (r *reader) unknownVariables(key string, fields []exchange.Field) {
	for _, f := range fields {
		if _, unknown := expr.ParseLoose(f.Value); len(unknown) > 0 {
			r.report(key, diag.Diagnostic{Code: diag.ConfigMapValue, Severity: diag.Warning, Value: f.Value,
				Message: fmt.Sprintf("%s: %s: %v; it stays as written", key, f.Name, unknown[0])})
		}
	}
}

// networks reads a list item by item.
func (r *reader) networks(key string, items []string) (out filter.Prefixes) {
	for _, item := range items {
		p, err := annotation.ParsePrefix(item)
		if err != nil {
			r.dropped(key, item, "is neither address nor network")
			continue
		}
		out = append(out, p)
	}
	return out
}

// blocks makes the lists of refused clients. One item that cannot be read costs only itself.
func (r *reader) blocks() block.Config {
	b := block.Config{Networks: r.networks("block-cidrs", blockCIDRs.get(r))}
	patterns := func(key string, items []string) (out []string) {
		for _, item := range items {
			if re, err := block.Pattern(item); err != nil || (re != nil && len(item) > annotation.MaxPattern) {
				r.dropped(key, item, "is no regular expression")
				continue
			}
			out = append(out, item)
		}
		return out
	}
	b.UserAgents = patterns("block-user-agents", blockAgents.get(r))
	b.Referers = patterns("block-referers", blockReferers.get(r))
	return b
}

// advise warns of settings that work and are dangerous (security.md S5.1).
func (r *reader) advise(trust filter.Prefixes) {
	trustsAll := false
	for _, p := range trust {
		if p.Bits() == 0 && (p.Addr() == netip.IPv4Unspecified() || p.Addr() == netip.IPv6Unspecified()) {
			trustsAll = true
		}
	}
	for _, k := range []Key[bool]{useForwarded, enableRealIP} {
		if k.get(r) && trustsAll {
			r.report(k.spec.Name, diag.Diagnostic{Code: diag.SecurityAdvice, Severity: diag.Warning,
				Message: k.spec.Name + " believes every client: proxy-real-ip-cidr is 0.0.0.0/0, so that clients choose the address that allow lists, limits and logs see",
				Hint:    "set proxy-real-ip-cidr to the networks of the proxies in front"})
			return
		}
	}
}

// redact keeps key material out of what people see.
func redact(list []diag.Diagnostic) {
	for i := range list {
		if list[i].Field == "data[ssl-session-ticket-key]" {
			list[i].Value = "[redacted]"
			if list[i].Code == diag.ConfigMapValue {
				list[i].Message = "ssl-session-ticket-key: the value is not " + ticketKey.Syntax
			}
		}
	}
}
