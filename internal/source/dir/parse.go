package dir

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// entry is one object as one document of one file defines it. Once made it
// does not change, apart from order.
type entry struct {
	key object.Key
	// obj is nil when the document names an object but does not hold a usable one.
	obj    metav1.Object
	pos    diag.Pos
	fields *object.Fields
	diags  []diag.Diagnostic
	order  int
}

// chunk is one document of a file, or the file's whole text when it is JSON.
type chunk struct {
	text []byte
	line int // of its first line in the file, from 1
}

// document is what became of a chunk.
type document struct {
	sum     [sha256.Size]byte
	line    int
	entries []*entry
	diags   []diag.Diagnostic // about the document as a whole
	// broken is set when objects may be missing because the document could not be read.
	broken bool
}

// split cuts a YAML stream at its document markers, so that a fault in one document
// leaves the others readable. A "---" at the start of a line always ends a document (YAML 1.2, 9.1.2).
func split(text []byte) []chunk {
	var out []chunk
	line, start, first := 1, 0, 1
	flush := func(end int) {
		if t := text[start:end]; !blank(t) {
			out = append(out, chunk{t, first})
		}
	}
	for at := 0; at < len(text); {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		l := text[at:end]
		if marker(l, "---") || marker(l, "...") {
			flush(at)
			// What stands behind the marker belongs to the next document: keep its column.
			start, first = at, line
		}
		at = end
		line++
	}
	flush(len(text))
	return out
}

func marker(l []byte, m string) bool {
	if !bytes.HasPrefix(l, []byte(m)) {
		return false
	}
	return len(l) == len(m) || strings.IndexByte(" \t\r\n", l[len(m)]) >= 0
}

// blank reports whether t has nothing but markers, comments and directives.
func blank(t []byte) bool {
	for l := range bytes.Lines(t) {
		if marker(l, "---") || marker(l, "...") {
			l = l[3:]
		}
		l = bytes.TrimSpace(l)
		if len(l) > 0 && l[0] != '#' && l[0] != '%' {
			return false
		}
	}
	return true
}

// parser reads documents. One goroutine uses it at a time.
type parser struct {
	c converter
}

// parse reads text, reusing those documents of old that have not changed.
func (p *parser) parse(file string, text []byte, old []*document) []*document {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var chunks []chunk
	isJSON := strings.HasSuffix(strings.ToLower(file), ".json")
	if isJSON {
		// Tabs may indent JSON but not YAML; inside JSON text they cannot stand.
		chunks = []chunk{{bytes.ReplaceAll(text, []byte("\t"), []byte(" ")), 1}}
		if blank(text) {
			chunks = nil
		}
	} else {
		chunks = split(text)
	}
	known := make(map[[sha256.Size]byte]*document, len(old))
	for _, d := range old {
		known[d.sum] = d
	}
	out := make([]*document, 0, len(chunks))
	for _, ch := range chunks {
		sum := sha256.Sum256(ch.text)
		if d := known[sum]; d != nil && d.line == ch.line {
			out = append(out, d)
			delete(known, sum)
			continue
		}
		d := p.document(file, ch, isJSON)
		d.sum, d.line = sum, ch.line
		out = append(out, d)
	}
	return out
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	isSecret = regexp.MustCompile(`(?m)^\s*"?kind"?:\s*"?Secret\b`)
)

func (p *parser) document(file string, ch chunk, isJSON bool) *document {
	d := &document{}
	text := ch.text
	if marker(text, "---") || marker(text, "...") {
		text = append([]byte("   "), text[3:]...)
	}
	var root yaml.Node
	if err := unmarshal(text, &root); err != nil {
		if isJSON && json.Valid(ch.text) {
			// What is JSON but not YAML: surrogate pairs in escapes, for instance. Positions are lost.
			var generic any
			if json.Unmarshal(ch.text, &generic) == nil {
				if again, e := yaml.Marshal(generic); e == nil && unmarshal(again, &root) == nil {
					flatten(&root)
					p.roots(d, file, &root)
					return d
				}
			}
		}
		p.syntax(d, file, ch, err)
		return d
	}
	if bytes.Contains(ch.text, []byte("{{")) && nested(&root) {
		p.syntax(d, file, ch, errors.New("yaml: a mapping as a key"))
		return d
	}
	shift(&root, ch.line-1)
	p.roots(d, file, &root)
	return d
}

// nested reports whether a mapping at the top has a mapping as a key: {{ .x }} is YAML.
func nested(root *yaml.Node) bool {
	if len(root.Content) != 1 {
		return false
	}
	for i, n := range root.Content[0].Content {
		if i%2 == 0 && n.Kind == yaml.MappingNode {
			return true
		}
	}
	return false
}

// unmarshal is yaml.Unmarshal; a panic of the library on a hostile file becomes an error.
func unmarshal(text []byte, root *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return yaml.Unmarshal(text, root)
}

func (p *parser) syntax(d *document, file string, ch chunk, err error) {
	d.broken = true
	pos := diag.Pos{File: file, Line: ch.line, Column: 1}
	msg := err.Error()
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		msg = m[2]
		if n, e := strconv.Atoi(m[1]); e == nil {
			pos.Line = ch.line + n - 1
		}
	}
	f := diag.Diagnostic{
		Code: diag.ManifestInvalid, Severity: diag.Error, Object: fileRef(file), Pos: pos,
		Message: "not YAML: " + msg,
	}
	if bytes.Contains(ch.text, []byte("{{")) {
		f.Hint = "this looks like a template: render it first, with helm template for instance"
	}
	if isSecret.Match(ch.text) {
		f.Object = diag.Ref{Kind: "Secret", Name: file} // so that no outlet shows the line
	}
	d.diags = append(d.diags, f)
}

func fileRef(file string) diag.Ref { return diag.Ref{Kind: object.KindFile.String(), Name: file} }

func shift(n *yaml.Node, lines int) {
	if lines == 0 {
		return
	}
	n.Line += lines
	for _, c := range n.Content {
		shift(c, lines)
	}
}

// flatten removes positions that mean nothing.
func flatten(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, c := range n.Content {
		flatten(c)
	}
}

func (p *parser) roots(d *document, file string, root *yaml.Node) {
	n := root
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return
		}
		n = n.Content[0]
	}
	p.object(d, file, n, typeMeta{}, 0)
}

type typeMeta struct{ version, kind string }

// header is the part of an object that says what it is.
type header struct {
	typeMeta
	name, namespace, generate string
	hasMeta                   bool
	items                     *yaml.Node
}

func readHeader(n *yaml.Node) header {
	var h header
	each(n, func(key string, v *yaml.Node) {
		switch key {
		case "apiVersion":
			h.version = v.Value
		case "kind":
			h.kind = v.Value
		case "items":
			h.items = v
		case "metadata":
			h.hasMeta = true
			each(v, func(key string, v *yaml.Node) {
				switch key {
				case "name":
					h.name = v.Value
				case "namespace":
					h.namespace = v.Value
				case "generateName":
					h.generate = v.Value
				}
			})
		}
	})
	return h
}

// each calls f for the entries of a mapping, aliases replaced.
func each(n *yaml.Node, f func(key string, v *yaml.Node)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v := n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		f(n.Content[i].Value, v)
	}
}

// object reads one object, or the objects of a list.
func (p *parser) object(d *document, file string, n *yaml.Node, implied typeMeta, depth int) {
	pos := diag.Pos{File: file, Line: n.Line, Column: n.Column}
	complain := func(s diag.Severity, code diag.Code, format string, args ...any) *diag.Diagnostic {
		d.diags = append(d.diags, diag.Diagnostic{
			Code: code, Severity: s, Object: fileRef(file), Pos: pos, Message: fmt.Sprintf(format, args...),
		})
		return &d.diags[len(d.diags)-1]
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
			return
		}
		d.broken = true
		complain(diag.Error, diag.ManifestInvalid, "not a Kubernetes object: a mapping with apiVersion, kind and metadata is wanted")
		return
	}
	h := readHeader(n)
	if h.version == "" && h.kind == "" {
		h.typeMeta = implied
	}
	switch {
	case h.version == "" && h.kind == "" && !h.hasMeta:
		complain(diag.Info, diag.ManifestIgnored, "not a Kubernetes object: it has no apiVersion, kind and metadata")
		return
	case h.version == "" || h.kind == "":
		d.broken = true
		missing := "apiVersion"
		if h.kind == "" {
			missing = "kind"
		}
		complain(diag.Error, diag.ManifestInvalid, "%s is missing", missing).Hint = "every manifest starts with apiVersion and kind"
		return
	}
	if h.items != nil && strings.HasSuffix(h.kind, "List") {
		if depth > 4 || h.items.Kind != yaml.SequenceNode {
			d.broken = true
			complain(diag.Error, diag.ManifestInvalid, "items of a %s must be a list of objects", h.kind)
			return
		}
		item := typeMeta{}
		if h.kind != "List" {
			item = typeMeta{h.version, strings.TrimSuffix(h.kind, "List")}
		}
		for _, i := range h.items.Content {
			p.object(d, file, i, item, depth+1)
		}
		return
	}
	k, verdict := lookup(h.typeMeta)
	switch verdict {
	case ignored:
		if meant := similar(h.typeMeta); meant != "" {
			d.broken = true
			f := complain(diag.Error, diag.ManifestInvalid, "there is no kind %s in apiVersion %s", h.kind, h.version)
			f.Value, f.Hint = h.kind, "write kind: "+meant
			return
		}
		complain(diag.Info, diag.ManifestIgnored, "%s of %s has no part in serving traffic and is skipped", h.kind, h.version).Object =
			diag.Ref{Kind: h.kind, Namespace: h.namespace, Name: h.name}
		return
	case wrongVersion:
		d.broken = true
		f := complain(diag.Error, diag.ManifestInvalid, "there is no %s in apiVersion %s", h.kind, h.version)
		f.Value, f.Hint = h.version, "write apiVersion: "+k.version
		return
	}
	p.decode(d, file, n, h, k)
}
