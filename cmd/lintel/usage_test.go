package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lintel runs the program in this process.
func lintel(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"lintel"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// TestMistakesGetOneSentence holds the words for what people mistype, and the exit status.
func TestMistakesGetOneSentence(t *testing.T) {
	hello := "../../examples/hello"
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"srve", exitUsage, `unknown command "srve"; did you mean serve? (lintel --help lists all)`},
		{"serve --manifest x", exitUsage, "unknown flag --manifest; did you mean --manifests? (lintel serve --help lists all)"},
		{"nginx-ingress-controller --zzz", exitUsage, "unknown flag --zzz (lintel serve --help lists all)"},
		{"serve -x", exitUsage, "unknown flag -x (lintel serve --help lists all)"},
		{"demo --htp-port 1", exitUsage, "unknown flag --htp-port; did you mean --http-port? (lintel demo --help lists all)"},
		{"demo now", exitUsage, `demo takes no arguments; got "now" besides`},
		{"serve manifests", exitUsage, `serve takes no arguments, got "manifests"; for a directory of manifests write --manifests manifests`},
		{"serve --http-port abc", exitUsage, `--http-port="abc" is not an integer`},
		{"serve --election-ttl 5", exitUsage, `--election-ttl="5" is not a duration such as 30s or 5m`},
		{"serve --time-buckets a,b", exitUsage, `--time-buckets="a,b" is not a list of numbers such as 0.1,0.5,1`},
		{"serve --update-status=maybe", exitUsage, `--update-status="maybe" is not true or false`},
		{"serve --http-port", exitUsage, "--http-port wants a value: --http-port=1"},
		{"serve --http-port 70000", exitUsage, "--http-port=70000 is not a port from 1 to 65535"},
		{"serve --http-port 8080 --https-port 8080", exitUsage, "--http-port and --https-port are both 8080: choose two"},
		{"serve --bind-address here", exitUsage, `--bind-address="here" is not an IP address`},
		{"serve --configmap cm", exitUsage, `--configmap="cm" is not namespace/name`},
		{"serve --engine fast", exitUsage, `--engine="fast" is not one of: std`},
		{"serve --manifests " + missing, exitFailure, "manifests: " + missing + ": no such file or directory"},
		{"check", exitUsage, "check wants the files or directories to read: lintel check manifests/"},
		{"check " + missing, exitUsage, "manifests: " + missing + ": no such file or directory"},
		{"check -o xml " + hello, exitUsage, `--output="xml" is not text, json or sarif`},
		{"explain GET", exitUsage, "explain wants a method and a URL: lintel explain --manifests DIR GET http://shop.example.com/cart"},
		{"explain GET http://a/", exitUsage, "explain wants to know where the objects are: --manifests DIR, or --server ADDR of a running lintel"},
		{"explain --manifests " + hello + " --server :1 GET http://a/", exitUsage, "--server and --manifests exclude each other: write one of them"},
		{"explain --manifests " + hello + " -o xml GET http://a/", exitUsage, `--output="xml" is not text or json`},
		{"explain --manifests " + hello + " -H foo GET http://a/", exitUsage, `header "foo" is not written as Name: value`},
	} {
		code, stdout, stderr := lintel(strings.Fields(c.args)...)
		if want := "lintel: " + c.want + "\n"; code != c.code || stderr != want || stdout != "" {
			t.Errorf("lintel %s\n got %d, %q%q\nwant %d, %q", c.args, code, stdout, stderr, c.code, want)
		}
	}
}

// TestTakenPortsGetOneSentence holds what is said when a port is in use: which, and what to do.
func TestTakenPortsGetOneSentence(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	serve := []string{"serve", "--manifests", "../../examples/hello", "--bind-address", "127.0.0.1", "--healthz-host", "127.0.0.1", "--profiling=false"}
	for _, c := range []struct {
		flags string
		want  string
	}{
		{"--http-port " + port + " --https-port 0 --healthz-port 0", "listen 127.0.0.1:" + port + ": address already in use (stop the process that listens there, or use --http-port 8080)"},
		{"--http-port 0 --https-port " + port + " --healthz-port 0", "listen 127.0.0.1:" + port + ": address already in use (stop the process that listens there, or use --https-port 8443)"},
		{"--http-port 0 --https-port 0 --healthz-port " + port, "health and metrics: listen 127.0.0.1:" + port + ": address already in use (end what uses it, or choose another with --healthz-port)"},
	} {
		code, _, stderr := lintel(append(serve, strings.Fields(c.flags)...)...)
		last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
		if want := "lintel: " + c.want + "\n"; code != exitFailure || last != want {
			t.Errorf("serve %s\n got %d, %q\nwant %d, %q", c.flags, code, last, exitFailure, want)
		}
	}
}

// TestUnreadableDirectoryIsNamed holds what a user without the right to read is told.
func TestUnreadableDirectoryIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(dir, 0); err != nil {
		t.Fatal(err)
	}
	_, err := os.ReadDir(dir)
	code, _, stderr := lintel("check", dir)
	if err == nil { // root reads everything
		if code != exitOK {
			t.Errorf("got %d, %q", code, stderr)
		}
		return
	}
	if want := "lintel: manifests: " + dir + ": permission denied (make it readable for this user)\n"; code != exitUsage || stderr != want {
		t.Errorf("got %d, %q, want %q", code, stderr, want)
	}
}
