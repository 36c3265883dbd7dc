package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// files reads a tar file: contents by name, and the heads.
func files(t *testing.T, b []byte) (map[string][]byte, map[string]*tar.Header) {
	t.Helper()
	contents, heads := map[string][]byte{}, map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return contents, heads
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		contents[h.Name], heads[h.Name] = c, h
	}
}

func image(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	program, certs, out := filepath.Join(dir, "lintel"), filepath.Join(dir, "certs"), filepath.Join(dir, "out.tar")
	for f, text := range map[string]string{program: "the program", certs: "the bundle"} {
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(out, []string{"a.example:5000/lintel:1", "b.example/lintel"}, "arm64", certs, "1.2.3", program); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImageHoldsTogether(t *testing.T) {
	contents, _ := files(t, image(t))
	blob := func(digest string, into any) []byte {
		t.Helper()
		b, ok := contents["blobs/sha256/"+digest[len("sha256:"):]]
		if !ok {
			t.Fatalf("no blob %s", digest)
		}
		if into != nil {
			if err := json.Unmarshal(b, into); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(contents["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1" || index.Manifests[1].Annotations["org.opencontainers.image.ref.name"] != "" {
		t.Errorf("manifests %+v", index.Manifests)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	blob(index.Manifests[0].Digest, &manifest)
	var config struct {
		Architecture string
		Config       struct {
			User       string
			Entrypoint []string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	blob(manifest.Config.Digest, &config)
	if config.Architecture != "arm64" || config.Config.User != "101:82" || config.Config.Entrypoint[0] != "/lintel" {
		t.Errorf("config %+v", config)
	}
	z, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0].Digest, nil)))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if config.RootFS.DiffIDs[0] != digest(layer) {
		t.Errorf("the layer is %s, its config says %s", digest(layer), config.RootFS.DiffIDs[0])
	}
	in, heads := files(t, layer)
	if string(in["lintel"]) != "the program" || heads["lintel"].Mode != 0o755 || heads["nginx-ingress-controller"].Linkname != "lintel" {
		t.Errorf("program %q, heads %v", in["lintel"], heads)
	}
	if string(in["etc/ssl/certs/ca-certificates.crt"]) != "the bundle" {
		t.Errorf("certificates %q", in["etc/ssl/certs/ca-certificates.crt"])
	}
}

func TestSameInputsMakeTheSameImage(t *testing.T) {
	if !bytes.Equal(image(t), image(t)) {
		t.Error("two images of the same inputs differ")
	}
}
