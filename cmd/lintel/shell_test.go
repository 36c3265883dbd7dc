package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary behave as the program.
const asProgram = "LINTEL_TEST_AS_PROGRAM"

// TestMain lets tests start the program without building it a second time: a link to the test binary
// whose environment has asProgram is lintel.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// shell runs commands as a reader of the documentation does: in a folder with the program in bin
// and in the PATH, and with the examples.
type shell struct {
	t    *testing.T
	dir  string
	env  []string
	http string // ports that take the place of those in the documentation
	tls  string
}

// newShell wants curl, which the documentation uses.
func newShell(t *testing.T) *shell {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is not installed, and the commands of the documentation use it: apt-get install curl")
		}
		t.Skip("curl is not installed, and the commands of the documentation use it: not run (apt-get install curl)")
	}
	s := &shell{t: t, dir: t.TempDir(), http: freePort(t), tls: freePort(t)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(s.dir, "bin")
	if err := errors.Join(
		os.Mkdir(bin, 0o755),
		os.Symlink(self, filepath.Join(bin, "lintel")),
		os.CopyFS(filepath.Join(s.dir, "examples"), os.DirFS("../../examples")),
		// The status stands behind every answer, whatever the command says.
		os.WriteFile(filepath.Join(s.dir, ".curlrc"), []byte("write-out = \"\\nstatus %{http_code}\\n\"\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToLower(name) {
		case "path", "home", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig", "kubernetes_service_host":
		default:
			s.env = append(s.env, kv)
		}
	}
	s.env = append(s.env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+s.dir, "CURL_HOME="+s.dir, asProgram+"=1",
		"GORACE=atexit_sleep_ms=0") // the race detector holds every process for a second otherwise
	return s
}

// freePort is a port nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func (s *shell) command(ctx context.Context, text string) *exec.Cmd {
	c := exec.CommandContext(ctx, "sh", "-c", text)
	c.Dir, c.Env = s.dir, s.env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	return c
}

// run runs a command to its end and returns its exit status and everything it wrote.
func (s *shell) run(text string) (code int, out string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := s.command(ctx, text).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		s.t.Fatalf("$ %s\ndid not end within 20s:\n%s", text, b)
	case errors.As(err, &exit):
		return exit.ExitCode(), string(b)
	case err != nil:
		s.t.Fatalf("$ %s\n%v", text, err)
	}
	return 0, string(b)
}

// running is a command that goes on.
type running struct {
	t     *testing.T
	text  string
	cmd   *exec.Cmd
	mu    sync.Mutex
	out   bytes.Buffer
	more  chan struct{} // a line has come
	ended chan struct{}
	err   error // what it ended with, once ended is closed
}

// start starts a command that ends only when it is told to; the end of the test does so.
func (s *shell) start(text string) *running {
	s.t.Helper()
	r := &running{t: s.t, text: text, cmd: s.command(context.Background(), "exec "+text), more: make(chan struct{}, 1), ended: make(chan struct{})}
	out, in := io.Pipe()
	r.cmd.Stdout, r.cmd.Stderr = in, in
	if err := r.cmd.Start(); err != nil {
		s.t.Fatalf("$ %s\n%v", text, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadString('\n')
			r.mu.Lock()
			r.out.WriteString(line)
			r.mu.Unlock()
			select {
			case r.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		r.err = r.cmd.Wait()
		in.Close()
		<-read
		close(r.ended)
	}()
	s.t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// wait waits until the output holds text.
func (r *running) wait(text string, limit time.Duration) {
	r.t.Helper()
	late := time.After(limit)
	for !strings.Contains(r.output(), text) {
		select {
		case <-r.more:
		case <-r.ended:
			if strings.Contains(r.output(), text) {
				return
			}
			r.t.Fatalf("$ %s\nended (%v) without saying %q:\n%s", r.text, r.err, text, r.output())
		case <-late:
			r.t.Fatalf("$ %s\ndid not say %q within %v:\n%s", r.text, text, limit, r.output())
		}
	}
}

// stop ends the command as Ctrl-C does and returns its exit status.
func (r *running) stop() int {
	r.t.Helper()
	select {
	case <-r.ended: // its number may be another's by now
	default:
		if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			r.t.Error(err)
		}
	}
	select {
	case <-r.ended:
		var exit *exec.ExitError
		if errors.As(r.err, &exit) {
			return exit.ExitCode()
		}
		if r.err != nil {
			r.t.Errorf("$ %s\n%v", r.text, r.err)
		}
		return 0
	case <-time.After(15 * time.Second):
		r.t.Errorf("$ %s\ndid not end within 15s of Ctrl-C:\n%s", r.text, r.output())
		if err := syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			r.t.Error(err)
		}
		return -1
	}
}

// shows asks until the output holds text, and reports whether it did within limit.
func (s *shell) shows(limit time.Duration, question, text string) (out string, ok bool) {
	s.t.Helper()
	for began := time.Now(); ; {
		_, out = s.run(question)
		if strings.Contains(out, text) {
			return out, true
		}
		if time.Since(began) > limit {
			return out, false
		}
	}
}

// live replaces a text of a file and wants what is new in the answers within a second. A machine
// that is busy with other tests gets three chances.
func (s *shell) live(file, text, question string) {
	s.t.Helper()
	for i := range 3 {
		next := fmt.Sprintf("Text %d.", i)
		s.edit(file, text, next)
		if _, ok := s.shows(time.Second, question, next); ok {
			return
		}
		text = next
	}
	s.t.Errorf("%s: what is saved is not live within a second", file)
}

// edit replaces a text of a file, as an editor does.
func (s *shell) edit(file, from, to string) {
	s.t.Helper()
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, file)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		s.t.Fatalf("%s does not hold %q", file, from)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		s.t.Fatal(err)
	}
}
