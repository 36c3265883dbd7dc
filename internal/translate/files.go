package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/diag"
)

// contentTypes are the types of static files by extension; nothing of the machine's own is asked,
// so that every replica answers alike.
var contentTypes = map[string]string{
	".avif": "image/avif", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".gif": "image/gif",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon", ".jpeg": "image/jpeg",
	".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".pdf": "application/pdf", ".png": "image/png",
	".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json",
	".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2", ".xml": "text/xml; charset=utf-8",
	".yaml": "application/yaml", ".yml": "application/yaml",
}

// resource makes a route of backend.resource: the entries of a ConfigMap as static files, 503 for
// every other kind.
func (j *job) resource(r *config.Route, field string, w place, ref *corev1.TypedLocalObjectReference) {
	group := ""
	if ref.APIGroup != nil {
		group = *ref.APIGroup
	}
	if ref.Kind != "ConfigMap" || group != "" {
		kind := ref.Kind
		if group != "" {
			kind += " of " + group
		}
		j.backendInvalid(r, field+".resource", fmt.Sprintf("a resource backend of kind %s cannot be served", kind),
			"use a Service, or a ConfigMap, whose entries are served as files")
		return
	}
	r.Origin.Upstream = "-"
	cm, ok := j.t.r.ConfigMap(j.in.Namespace, ref.Name)
	if !ok {
		r.Action.Status = 503
		j.report(diag.Diagnostic{
			Code: diag.ReferenceMissing, Severity: diag.Error, Field: field + ".resource.name", Value: ref.Name, Effect: diag.RouteOff,
			Message: fmt.Sprintf("there is no ConfigMap %s in namespace %s", ref.Name, j.in.Namespace),
			Hint:    "create the ConfigMap, or correct the name",
			Related: []diag.Ref{{Kind: "ConfigMap", Namespace: j.in.Namespace, Name: ref.Name}},
		})
		return
	}
	files := &config.Files{Prefix: w.path, Entries: make(map[string]config.File, len(cm.Data)+len(cm.BinaryData))}
	for name, text := range cm.Data {
		files.Entries[name] = file(name, []byte(text))
	}
	for name, data := range cm.BinaryData {
		files.Entries[name] = file(name, data)
	}
	// A path that ends in the name of an entry means this entry: /robots.txt.
	dir, last := path.Split(w.path)
	if _, named := files.Entries[last]; last != "" && (named || w.match == config.Exact) {
		files.Prefix = dir
	}
	r.Action.Files = files
}

func file(name string, data []byte) config.File {
	sum := sha256.Sum256(data)
	f := config.File{Type: contentTypes[strings.ToLower(path.Ext(name))], ETag: `"` + hex.EncodeToString(sum[:12]) + `"`, Data: data}
	if f.Type == "" {
		f.Type = "application/octet-stream"
	}
	return f
}
