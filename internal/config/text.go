package config

import (
	"bytes"
	"cmp"
	"encoding"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lintel-ingress/lintel/internal/filter"
)

// Text is the canonical text form of hosts, pools and certificates: what golden files, lintel
// translate, the admin page and bug reports show. Equal configurations have equal texts. Zero
// values are left out; what must not be printed shows as [redacted].
func (d *Delta) Text() string {
	var b strings.Builder
	_ = d.WriteText(&b) // a strings.Builder takes everything
	return b.String()
}

// WriteText writes the text form. Errors are w's.
func (d *Delta) WriteText(w io.Writer) error {
	p := &printer{}
	for _, name := range slices.Sorted(maps.Keys(d.Hosts)) {
		if h := d.Hosts[name]; h != nil {
			p.host(h)
		} else {
			p.line(0, "host "+word(name)+" gone")
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(d.Pools), comparePools) {
		if pool := d.Pools[id]; pool != nil {
			p.pool(pool)
		} else {
			p.line(0, "pool "+id.String()+" gone")
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(d.Certs), compareCerts) {
		if c := d.Certs[id]; c != nil {
			p.cert(c)
		} else {
			p.line(0, "cert "+id.String()+" gone")
		}
	}
	_, err := w.Write(p.b.Bytes())
	return err
}

// Text is the host's part of Delta.Text.
func (h *Host) Text() string {
	p := &printer{}
	p.host(h)
	return p.b.String()
}

// Text is the route's part of Delta.Text, without its indent.
func (r *Route) Text() string {
	p := &printer{}
	p.route(0, r)
	return p.b.String()
}

// Text is the settings as lines of key and value, in the order they are declared in.
func (g *Global) Text() string {
	p := &printer{}
	p.line(0, "global")
	v := reflect.ValueOf(*g)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch f.Name {
		case "Filters", "DefaultBackendRoute":
			continue
		}
		if s := field(kebab(f.Name), v.Field(i)); s != "" {
			p.line(1, s)
		}
	}
	for _, f := range inOrder(g.Filters) {
		p.line(1, FilterText(f))
	}
	return p.b.String()
}

func (id CertID) String() string { return id.Namespace + "/" + id.Name }

// FilterText is one filter's settings on one line: its name and its fields.
func FilterText(f filter.Config) string {
	v := reflect.ValueOf(f)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return f.FilterName()
		}
		v = v.Elem()
	}
	s := f.FilterName()
	if v.Kind() == reflect.Struct {
		return strings.TrimRight(s+" "+fields("", v), " ")
	}
	return strings.TrimRight(s+" "+value(v), " ")
}

// inOrder sorts filters as the data plane does, by name where the order does not know them.
func inOrder(list []filter.Config) []filter.Config {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b filter.Config) int {
		return cmp.Or(cmp.Compare(filter.Position(a.FilterName()), filter.Position(b.FilterName())),
			strings.Compare(a.FilterName(), b.FilterName()))
	})
	return out
}

func comparePools(a, b PoolID) int { return strings.Compare(a.String(), b.String()) }

func compareCerts(a, b CertID) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

type printer struct{ b bytes.Buffer }

func (p *printer) line(indent int, text string) {
	for range indent {
		p.b.WriteString("  ")
	}
	p.b.WriteString(text)
	p.b.WriteByte('\n')
}

func (p *printer) host(h *Host) {
	head := "host " + word(h.Name)
	if h.AliasOf != "" {
		head += " alias-of " + word(h.AliasOf)
	}
	if h.LeadingAny {
		head += " any-labels"
	}
	if h.Regex {
		head += " regex"
	}
	p.line(0, head)
	if h.TLS != nil {
		p.tls(h.TLS)
	}
	if h.HasCert {
		p.line(1, "has-cert")
	}
	for _, f := range inOrder(h.Filters) {
		p.line(1, FilterText(f))
	}
	for _, l := range h.Locations {
		p.line(1, "location "+strings.TrimLeft(l.Modifier+" "+word(l.Path), " ")+" -> "+l.Route.Action.text())
		for _, f := range inOrder(l.Route.Filters) {
			p.line(2, FilterText(f))
		}
	}
	routes := h.Routes
	if !h.Regex {
		routes = slices.Clone(routes)
		slices.SortStableFunc(routes, func(a, b *Route) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Match, b.Match))
		})
	}
	for _, r := range routes {
		p.route(1, r)
	}
}

func (p *printer) tls(t *TLS) {
	s := "tls default certificate"
	if t.Cert != (CertID{}) {
		s = "tls " + t.Cert.String()
	}
	for _, id := range t.Also {
		s += " also " + id.String()
	}
	if t.Ciphers != nil {
		s += " " + field("ciphers", reflect.ValueOf(t.Ciphers))
	}
	if !t.Passthrough.IsZero() {
		s += " passthrough " + t.Passthrough.String()
	}
	if t.Reject {
		s += " reject"
	}
	p.line(1, s)
	if t.ClientAuth != nil {
		p.line(1, strings.TrimRight("client-auth "+fields("", reflect.ValueOf(*t.ClientAuth)), " "))
	}
}

func (p *printer) route(indent int, r *Route) {
	p.line(indent, "route "+r.Match.String()+" "+word(r.Path)+" -> "+r.Action.text())
	if r.Origin.Ingress.Name != "" {
		s := "from " + r.Origin.Ingress.Namespace + "/" + r.Origin.Ingress.Name
		switch {
		case r.Origin.Rule >= 0:
			s += " rule " + strconv.Itoa(r.Origin.Rule) + " path " + strconv.Itoa(r.Origin.Path)
		case r.Origin.Service != "" && r.Origin.Upstream != "upstream-default-backend":
			s += " default backend"
		default:
			s += " implicit"
		}
		p.line(indent+1, s)
	}
	if r.Deny != "" {
		p.line(indent+1, "deny "+word(r.Deny))
	}
	if s := fields("", reflect.ValueOf(r.Limits)); s != "" {
		p.line(indent+1, "limits "+s)
	}
	for _, f := range inOrder(r.Filters) {
		p.line(indent+1, FilterText(f))
	}
	if f := r.Action.Forward; f != nil {
		p.forward(indent+1, f)
	}
	if r.NoLog {
		p.line(indent+1, "no-log")
	}
}

func (a *Action) text() string {
	switch {
	case a.Forward != nil:
		return "pool " + a.Forward.Pool.String()
	case a.Files != nil:
		names := slices.Sorted(maps.Keys(a.Files.Entries))
		return "files " + strings.Join(names, ", ") + " below " + word(a.Files.Prefix)
	case a.Slash != nil:
		return strings.TrimRight("slash "+fields("", reflect.ValueOf(*a.Slash)), " ")
	}
	return "status " + strconv.Itoa(a.Status)
}

func (p *printer) forward(indent int, f *Forward) {
	if s := fields("", reflect.ValueOf(f.Balance)); s != "" {
		p.line(indent, "balance "+s)
	}
	if f.Affinity != nil {
		p.line(indent, "affinity "+fields("", reflect.ValueOf(*f.Affinity)))
	}
	if f.Canary != nil {
		c := *f.Canary
		from := c.Origin.Ingress
		c.Origin = Origin{}
		p.line(indent, "canary of "+from.Namespace+"/"+from.Name+" "+fields("", reflect.ValueOf(c)))
	}
	if f.Fallback != nil {
		p.line(indent, "fallback pool "+f.Fallback.String())
	}
	if f.ErrorPages != nil {
		p.line(indent, "error-pages "+fields("", reflect.ValueOf(*f.ErrorPages)))
	}
	if f.TLS != nil {
		p.line(indent, strings.TrimRight("upstream-tls "+fields("", reflect.ValueOf(*f.TLS)), " "))
	}
	s := "forward"
	if f.Protocol != HTTP {
		s += " protocol=" + f.Protocol.String()
	}
	rest := *f
	rest.Pool, rest.Balance, rest.Affinity, rest.Canary, rest.Fallback, rest.ErrorPages, rest.TLS = PoolID{}, Balance{}, nil, nil, nil, nil, nil
	rest.Protocol, rest.Retry = HTTP, Retry{}
	if t := fields("", reflect.ValueOf(rest)); t != "" {
		s += " " + t
	}
	if t := f.Retry.text(); t != "" {
		s += " " + t
	}
	p.line(indent, s)
}

var retryNames = []string{"error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429"}

// String lists the conditions as proxy-next-upstream writes them.
func (o RetryOn) String() string {
	var out []string
	for i, n := range retryNames {
		if o&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return strings.Join(out, ",")
}

func (r Retry) text() string {
	if r.On == 0 && r.Tries <= 1 {
		return ""
	}
	s := "retry=" + r.On.String() + " tries=" + strconv.Itoa(r.Tries)
	if r.Timeout != 0 {
		s += " retry-timeout=" + r.Timeout.String()
	}
	if r.NonIdempotent {
		s += " non-idempotent"
	}
	return s
}

func (p *printer) pool(pool *Pool) {
	p.line(0, "pool "+pool.ID.String())
	switch {
	case pool.Missing:
		p.line(1, "missing")
	case pool.ExternalName != "":
		p.line(1, "name "+pool.ExternalName+" port "+strconv.Itoa(int(pool.ExternalPort)))
	case pool.Static != nil:
		for _, e := range pool.Static {
			p.line(1, "endpoint "+e.Addr.String())
		}
	default:
		s := "endpoints pods"
		if pool.PortName != "" {
			s += " port=" + pool.PortName
		}
		if pool.TargetPort != 0 {
			s += " target-port=" + strconv.Itoa(pool.TargetPort)
		}
		p.line(1, s)
	}
	if pool.Local {
		p.line(1, "local")
	}
	if pool.Topology {
		p.line(1, "topology")
	}
}

func (p *printer) cert(c *Cert) {
	var has []string
	for _, part := range []struct {
		name string
		data []byte
	}{{"tls.crt", c.Chain}, {"tls.key", c.Key}, {"ca.crt", c.CA}, {"ca.crl", c.CRL}} {
		if len(part.data) > 0 {
			has = append(has, part.name)
		}
	}
	if has == nil {
		has = []string{"empty"}
	}
	p.line(0, "cert "+c.ID.String()+" "+strings.Join(has, " "))
}

// fields prints the fields of a struct that are not zero, in the order they are declared in. The tag
// `text:"secret"` redacts one, `text:"-"` leaves it out.
func fields(prefix string, v reflect.Value) string {
	var out []string
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("text")
		if !f.IsExported() || tag == "-" || v.Field(i).IsZero() {
			continue
		}
		name := prefix + kebab(f.Name)
		if tag == "secret" {
			out = append(out, name+"=[redacted]")
			continue
		}
		if s := field(name, v.Field(i)); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// field prints name=value; "" for a zero value. Structs are taken apart, with dotted names.
func field(name string, v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if _, ok := plain(v); ok {
			break
		}
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		if _, ok := plain(v); !ok {
			if s := fields(name+".", v); s != "" {
				return s
			}
			return name
		}
	}
	if v.Kind() == reflect.Bool && v.Bool() {
		return name
	}
	return name + "=" + value(v)
}

// plain is the text of values that have one of their own.
func plain(v reflect.Value) (string, bool) {
	if !v.CanInterface() {
		return "", false
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String(), true
	case fmt.Stringer:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return "", true
		}
		return word(x.String()), true
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err == nil {
			return word(string(text)), true
		}
	}
	return "", false
}

func value(v reflect.Value) string {
	if s, ok := plain(v); ok {
		return s
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "-"
		}
		return value(v.Elem())
	case reflect.String:
		return word(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Struct:
		return "{" + fields("", v) + "}"
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return "[" + strconv.Itoa(v.Len()) + " bytes]"
		}
		items := make([]string, v.Len())
		for i := range items {
			items[i] = value(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Map:
		var items []string
		for _, k := range v.MapKeys() {
			items = append(items, value(k)+":"+value(v.MapIndex(k)))
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ", ") + "}"
	}
	return "?"
}

// word is a text as it is, or quoted where it would be misread.
func word(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r == '"' || r == '\\' && !strings.HasPrefix(s, "~") && !strings.HasPrefix(s, "/") || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) {
		return strconv.Quote(s)
	}
	return s
}

// kebab writes a Go name as text does: MaxAge is max-age, PassCert pass-cert, HTTP10 http10.
func kebab(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
