package translate

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// suspicious is what deep inspection refuses in hosts, paths and names (reference/routing.md 3).
// lintel makes no configuration file of them; objects that try stay out all the same.
var suspicious = []*regexp.Regexp{
	regexp.MustCompile(`(?s)\s*alias\s*.*;`),
	regexp.MustCompile(`(?s)\s*root\s*.*;`),
	regexp.MustCompile(`/etc/(passwd|shadow|group|nginx|ingress-controller)`),
	regexp.MustCompile(`/var/run/secrets`),
	regexp.MustCompile(`.*_by_lua.*`),
}

// inspect looks at every text of an Ingress that names something. A finding of severity Error
// means that this revision is not accepted.
func inspect(in *object.Ingress, deep bool) []diag.Diagnostic {
	var out []diag.Diagnostic
	look := func(field, text string) {
		if text == "" {
			return
		}
		d := diag.Diagnostic{Code: diag.PathInvalid, Severity: diag.Error, Field: field, Value: text, Effect: diag.ObjectHeld}
		if !strings.HasSuffix(field, ".path") {
			d.Code = diag.HostInvalid
		}
		if what := unprintable(text); what != "" {
			d.Message, d.Hint = "it has "+what, "remove it"
			out = append(out, d)
			return
		}
		if !deep {
			return
		}
		for _, re := range suspicious {
			if re.MatchString(text) {
				d.Message = fmt.Sprintf("it looks like an attempt to break into a configuration: it matches %s", re)
				d.Hint = "use another name; --deep-inspect=false switches this check off"
				out = append(out, d)
				return
			}
		}
	}
	for i, rule := range in.Spec.Rules {
		look(fmt.Sprintf("spec.rules[%d].host", i), rule.Host)
		if rule.HTTP == nil {
			continue
		}
		for j, p := range rule.HTTP.Paths {
			look(fmt.Sprintf("spec.rules[%d].http.paths[%d].path", i, j), p.Path)
		}
	}
	for i, t := range in.Spec.TLS {
		for j, h := range t.Hosts {
			look(fmt.Sprintf("spec.tls[%d].hosts[%d]", i, j), h)
		}
		look(fmt.Sprintf("spec.tls[%d].secretName", i), t.SecretName)
	}
	return out
}

// unprintable names what a single-line text must not hold (security.md S1.3), "" for nothing.
func unprintable(s string) string {
	if !utf8.ValidString(s) {
		return "bytes that are not UTF-8"
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return fmt.Sprintf("the control character %U", r)
		}
	}
	return ""
}

// hostName checks a rule host and returns it in lower case. An empty host is the catch-all.
func hostName(text string) (name string, problem, hint string) {
	name = strings.ToLower(text)
	rest := strings.TrimPrefix(name, "*.")
	switch {
	case strings.Contains(rest, "*"):
		return "", "a wildcard stands for the whole first label only", "write *." + strings.Trim(strings.ReplaceAll(rest, "*", ""), ".")
	case strings.Contains(rest, "://"):
		return "", "a host is a name, not a URL", "leave out scheme and path"
	case strings.Contains(rest, ":"):
		return "", "a host is a name without port", "leave out the port: rules apply to every port lintel listens on"
	case strings.HasSuffix(rest, "."):
		return "", "a host is written without a trailing dot", "leave the dot out: requests with one match all the same"
	case name == "_" || rest == "":
		return "", "it is no host name", "leave the host out to match every host that nothing else matches"
	case len(name) > 253:
		return "", "a host has at most 253 characters", "use a shorter name"
	}
	for _, label := range strings.Split(rest, ".") {
		if label == "" {
			return "", "it has an empty label", "write labels of letters, digits and - with single dots between"
		}
	}
	for i := range len(rest) {
		c := rest[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			r, _ := utf8.DecodeRuneInString(rest[i:])
			return "", fmt.Sprintf("%q cannot be part of a host", r), "write labels of letters, digits and -; international names in their xn-- form"
		}
	}
	return name, "", ""
}

// position finds where a field stands in its file: its own place, else that of the nearest
// field around it, else that of the object.
func position(from object.Origin, field string) diag.Pos {
	for f := field; f != ""; {
		if p, ok := from.Fields.At(f); ok {
			return p
		}
		cut := strings.LastIndexAny(f, ".[")
		if i := strings.IndexByte(f, '['); i >= 0 && strings.HasSuffix(f, "]") && strings.HasPrefix(f, "metadata.annotations") {
			cut = i // names of annotations have dots
		}
		if cut < 0 {
			break
		}
		f = f[:cut]
	}
	return from.Pos
}
