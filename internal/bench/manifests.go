package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// File is the manifest of application i below a directory.
func File(dir string, i int) string {
	return filepath.Join(dir, Namespace(i), Name(i)+".yaml")
}

// Write writes the manifests of n applications below dir, a directory for each namespace and a
// file for each application, the way people keep them.
func Write(dir string, n int) error {
	if err := write(filepath.Join(dir, "class.yaml"), Class()); err != nil {
		return err
	}
	for i := range n {
		if err := WriteApp(dir, i, Ingress(i)); err != nil {
			return err
		}
	}
	return nil
}

// WriteApp writes the manifest of application i with the Ingress given.
func WriteApp(dir string, i int, ingress any) error {
	return write(File(dir, i), ingress, Service(i), Slice(i, 2))
}

// write replaces a file in one step, as editors and git do.
func write(name string, objects ...any) error {
	var b bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
