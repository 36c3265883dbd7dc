package dir

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/object"
)

// The bounds of one document. Aliases can make a small file large ("billion laughs").
const (
	maxDepth = 100
	maxJSON  = 4 << 20 // an API server takes no object above 3 MiB
)

// mark is where a value begins, in the JSON made from a document and in its file.
type mark struct {
	offset int
	path   string
	pos    diag.Pos
}

// converter turns a YAML node into JSON and remembers which place of the file each
// value came from. It is used by one goroutine at a time and may be reset and reused.
type converter struct {
	file     string
	json     []byte
	marks    []mark
	path     []byte
	repeated []mark // keys written twice in one mapping
	paths    map[string]string
	places   []object.Place
	shapes   object.Shapes
}

// posError is a fault of the document itself, with its place.
type posError struct {
	pos diag.Pos
	msg string
}

func (e *posError) Error() string { return e.msg }

func (c *converter) reset(file string) {
	c.file, c.json, c.marks, c.path, c.repeated = file, c.json[:0], c.marks[:0], c.path[:0], nil
	if c.paths == nil || len(c.paths) > 20_000 {
		c.paths = map[string]string{}
	}
}

func (c *converter) at(n *yaml.Node) diag.Pos {
	return diag.Pos{File: c.file, Line: n.Line, Column: n.Column}
}

// intern returns the current path as a string shared by all documents that have it.
func (c *converter) intern() string {
	if s, ok := c.paths[string(c.path)]; ok {
		return s
	}
	s := string(c.path)
	c.paths[s] = s
	return s
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) error {
	return &posError{c.at(n), fmt.Sprintf(format, args...)}
}

// value appends n. pos is where the value is said to stand: its key, when it has one.
func (c *converter) value(n *yaml.Node, pos diag.Pos, depth int) error {
	if depth > maxDepth {
		return c.fail(n, "nested more than %d levels deep", maxDepth)
	}
	if len(c.json) > maxJSON {
		return c.fail(n, "the document is larger than %d MiB once its aliases are replaced", maxJSON>>20)
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
		if depth++; depth > maxDepth {
			return c.fail(n, "aliases of aliases without end")
		}
	}
	c.marks = append(c.marks, mark{len(c.json), c.intern(), pos})
	switch n.Kind {
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.SequenceNode:
		return c.sequence(n, depth)
	case yaml.ScalarNode:
		return c.scalar(n)
	}
	return c.fail(n, "not a value")
}

func (c *converter) mapping(n *yaml.Node, depth int) error {
	c.json = append(c.json, '{')
	seen := make(map[string]bool, len(n.Content)/2)
	if err := c.entries(n, seen, false, depth); err != nil {
		return err
	}
	// Merge keys come last: what the mapping itself says counts more.
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		if err := c.merge(n.Content[i+1], seen, depth+1); err != nil {
			return err
		}
	}
	c.json = append(c.json, '}')
	return nil
}

func (c *converter) merge(n *yaml.Node, seen map[string]bool, depth int) error {
	if depth > maxDepth {
		return c.fail(n, "nested more than %d levels deep", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.merge(n.Alias, seen, depth+1)
	case yaml.MappingNode:
		return c.entries(n, seen, true, depth)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := c.merge(item, seen, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return c.fail(n, "<< wants a mapping or a list of them")
}

func (c *converter) entries(n *yaml.Node, seen map[string]bool, merged bool, depth int) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return c.fail(n.Content[i], "a key must be text")
		}
		if key.ShortTag() == "!!merge" {
			if merged {
				if err := c.merge(val, seen, depth+1); err != nil {
					return err
				}
			}
			continue
		}
		length := len(c.path)
		c.enter(key.Value)
		if seen[key.Value] {
			if !merged {
				c.repeated = append(c.repeated, mark{path: c.intern(), pos: c.at(key)})
			}
			c.path = c.path[:length]
			continue
		}
		if len(seen) > 0 {
			c.json = append(c.json, ',')
		}
		seen[key.Value] = true
		c.json = appendString(c.json, key.Value)
		c.json = append(c.json, ':')
		if err := c.value(val, c.at(n.Content[i]), depth+1); err != nil {
			return err
		}
		c.path = c.path[:length]
	}
	return nil
}

// enter appends a key to the path: metadata.annotations[a/b], spec.rules.
func (c *converter) enter(key string) {
	if isMap(string(c.path)) || strings.ContainsAny(key, "./[]") {
		c.path = append(c.path, '[')
		c.path = append(c.path, key...)
		c.path = append(c.path, ']')
		return
	}
	if len(c.path) > 0 {
		c.path = append(c.path, '.')
	}
	c.path = append(c.path, key...)
}

// isMap reports whether the field at path has keys a person chose.
func isMap(path string) bool {
	switch path {
	case "metadata.annotations", "metadata.labels", "data", "binaryData", "stringData", "spec.selector":
		return true
	}
	return false
}

func (c *converter) sequence(n *yaml.Node, depth int) error {
	c.json = append(c.json, '[')
	length := len(c.path)
	for i, item := range n.Content {
		if i > 0 {
			c.json = append(c.json, ',')
		}
		c.path = append(c.path, '[')
		c.path = strconv.AppendInt(c.path, int64(i), 10)
		c.path = append(c.path, ']')
		if err := c.value(item, c.at(item), depth+1); err != nil {
			return err
		}
		c.path = c.path[:length]
	}
	c.json = append(c.json, ']')
	return nil
}

func (c *converter) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		c.json = append(c.json, "null"...)
	case "!!bool":
		var v bool
		if err := n.Decode(&v); err != nil {
			return c.fail(n, "%q is neither true nor false", n.Value)
		}
		c.json = strconv.AppendBool(c.json, v)
	case "!!int":
		return c.integer(n)
	case "!!float":
		var v float64
		if err := n.Decode(&v); err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return c.fail(n, "%q is not a number JSON has", n.Value)
		}
		c.json = strconv.AppendFloat(c.json, v, 'g', -1, 64)
	default:
		// Kubernetes reads YAML 1.1, where these plain words are booleans; the same
		// manifest must not mean something else here.
		if n.Style == 0 {
			switch n.Value {
			case "yes", "Yes", "YES", "on", "On", "ON":
				c.json = append(c.json, "true"...)
				return nil
			case "no", "No", "NO", "off", "Off", "OFF":
				c.json = append(c.json, "false"...)
				return nil
			}
		}
		c.json = appendString(c.json, n.Value)
	}
	return nil
}

func (c *converter) integer(n *yaml.Node) error {
	if v := n.Value; len(v) < 19 && (v == "0" || v[0] >= '1' && v[0] <= '9') && strings.Trim(v, "0123456789") == "" {
		c.json = append(c.json, v...)
		return nil
	}
	var i int64
	if err := n.Decode(&i); err == nil {
		c.json = strconv.AppendInt(c.json, i, 10)
		return nil
	}
	var u uint64
	if err := n.Decode(&u); err == nil {
		c.json = strconv.AppendUint(c.json, u, 10)
		return nil
	}
	return c.fail(n, "%q is not a number of 64 bits", n.Value)
}

// fields returns the paths seen with their places, until the next reset; depth bounds how many
// levels are kept, 0 keeps all.
func (c *converter) fields(depth int) []object.Place {
	c.places = c.places[:0]
	for _, m := range c.marks {
		if m.path == "" || depth > 0 && strings.Count(m.path, ".")+strings.Count(m.path, "[") >= depth {
			continue
		}
		c.places = append(c.places, object.Place{Path: m.path, Pos: m.pos})
	}
	return c.places
}

// near returns the mark of the value a decoder had just read at offset.
func (c *converter) near(offset int64) mark {
	var last mark
	for _, m := range c.marks {
		if int64(m.offset) >= offset {
			break
		}
		last = m
	}
	return last
}

const hex = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch >= ' ' && ch != '"' && ch != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		switch ch {
		case '"', '\\':
			b = append(b, '\\', ch)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[ch>>4], hex[ch&15])
		}
		start = i + 1
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// place splits err into its place, if it has one, and its text.
func place(err error, otherwise diag.Pos) (diag.Pos, string) {
	var p *posError
	if errors.As(err, &p) {
		return p.pos, p.msg
	}
	return otherwise, err.Error()
}
