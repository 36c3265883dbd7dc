// Command ociimage writes an OCI image layout as one tar file, without a
// container daemon: one static program, certificates, and the few files a process
// expects. The output is reproducible: same inputs, same bytes.
//
//	go run ./tools/ociimage -o lintel.tar -name lintel.local/lintel:dev -arch amd64 bin/lintel
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func main() {
	out := flag.String("o", "lintel.tar", "file to write")
	names := flag.String("name", "lintel.local/lintel:dev", "image names, separated by comma")
	arch := flag.String("arch", runtime.GOARCH, "architecture of the program")
	certs := flag.String("certs", "/etc/ssl/certs/ca-certificates.crt", "CA bundle to include; left out when the file does not exist")
	version := flag.String("version", "dev", "version label")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: ociimage [flags] PROGRAM")
		os.Exit(2)
	}
	if err := write(*out, strings.Split(*names, ","), *arch, *certs, *version, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

func write(out string, names []string, arch, certs, version, program string) error {
	prog, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(certs)
	if os.IsNotExist(err) {
		fmt.Fprintf(os.Stderr, "ociimage: %s does not exist: the image trusts no certificate authorities (name a bundle with -certs)\n", certs)
	} else if err != nil {
		return err
	}
	layer, err := makeLayer(prog, bundle)
	if err != nil {
		return err
	}
	packed, err := compress(layer)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	tw := tar.NewWriter(&image)
	blob := func(mediaType string, b []byte) (descriptor, error) {
		d := descriptor{MediaType: mediaType, Digest: digest(b), Size: len(b)}
		return d, addFile(tw, "blobs/"+strings.Replace(d.Digest, ":", "/", 1), 0o644, b)
	}
	blobJSON := func(mediaType string, v any) (descriptor, error) {
		b, err := json.Marshal(v)
		if err != nil {
			return descriptor{}, err
		}
		return blob(mediaType, b)
	}
	l, err := blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)
	if err != nil {
		return err
	}
	c, err := blobJSON("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{
			"User":       "101:82",
			"Entrypoint": []string{"/lintel"},
			"WorkingDir": "/",
			"Labels": map[string]string{
				"org.opencontainers.image.title":    "lintel",
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.source":   "https://github.com/lintel-ingress/lintel",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	m, err := blobJSON("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": c, "layers": []descriptor{l},
	})
	if err != nil {
		return err
	}
	m.Platform = map[string]string{"architecture": arch, "os": "linux"}
	var manifests []descriptor
	for _, n := range names {
		d := m
		d.Annotations = map[string]string{"io.containerd.image.name": n}
		if i := strings.LastIndexByte(n, ':'); i > strings.LastIndexByte(n, '/') {
			d.Annotations["org.opencontainers.image.ref.name"] = n[i+1:]
		}
		manifests = append(manifests, d)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
	if err != nil {
		return err
	}
	if err := addFile(tw, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := addFile(tw, "index.json", 0o644, index); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, image.Bytes(), 0o644)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func compress(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out) // no name and no time in its head: same input, same bytes
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func makeLayer(prog, bundle []byte) ([]byte, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, d := range []struct {
		name string
		mode int64
	}{{"etc/", 0o755}, {"etc/ssl/", 0o755}, {"etc/ssl/certs/", 0o755}, {"tmp/", 0o1777}} {
		if err := tw.WriteHeader(&tar.Header{Name: d.name, Typeflag: tar.TypeDir, Mode: d.mode, ModTime: time.Unix(0, 0)}); err != nil {
			return nil, err
		}
	}
	files := []struct {
		name string
		mode int64
		data []byte
	}{
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/none\nwww-data:x:101:82:lintel:/:/none\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nwww-data:x:82:\n")},
		{"etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n")},
		{"lintel", 0o755, prog},
	}
	if len(bundle) > 0 {
		files = append(files, struct {
			name string
			mode int64
			data []byte
		}{"etc/ssl/certs/ca-certificates.crt", 0o644, bundle})
	}
	for _, f := range files {
		if err := addFile(tw, f.name, f.mode, f.data); err != nil {
			return nil, err
		}
	}
	// The path that Deployments of the retired controller start.
	if err := tw.WriteHeader(&tar.Header{Name: "nginx-ingress-controller", Typeflag: tar.TypeLink, Linkname: "lintel", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func addFile(tw *tar.Writer, name string, mode int64, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
