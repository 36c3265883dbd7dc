package annotation

import "testing"

func TestValuesNobodyLooksAtRefuseNothing(t *testing.T) {
	there := permissive
	there.Namespace = "default"
	there.HasSecret = func(ns, name string) bool { return ns == "default" && name == "users" }
	for _, c := range []struct {
		about string
		pairs []string
		want  Outcome
	}{
		{"a realm of no password", []string{"auth-realm", `a";#`}, Soft},
		{"a realm, and no Secret", []string{"auth-realm", `a";#`, "auth-type", "basic", "auth-secret", "none"}, Soft},
		{"a realm, and the Secret of another namespace", []string{"auth-realm", `a";#`, "auth-type", "basic", "auth-secret", "other/users"}, Soft},
		{"a realm", []string{"auth-realm", `a";#`, "auth-type", "basic", "auth-secret", "users"}, Hard},
		{"a kind of Secret without a password", []string{"auth-secret-type", "file"}, Soft},
		{"a kind of Secret", []string{"auth-secret-type", "file", "auth-type", "basic"}, Hard},
		{"a kind of Secret, and a bad kind of password", []string{"auth-secret-type", "file", "auth-type", "ntlm"}, Hard},
		{"a span without tracing", []string{"opentelemetry-operation-name", "a b"}, Soft},
		{"a span with tracing", []string{"opentelemetry-operation-name", "a b", "enable-opentelemetry", "true"}, Hard},
	} {
		t.Run(c.about, func(t *testing.T) {
			_, found, worst := parseOne(t, there, c.pairs...)
			if worst != c.want {
				t.Errorf("outcome %d, want %d: %+v", worst, c.want, found)
			}
		})
	}
}
