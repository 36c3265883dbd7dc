package parity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultCommand starts lintel. {bin} is the binary, {manifests} the directory, {http},
// {https} and {healthz} the ports, {configmap} the ConfigMap, {flags} those of the suite.
const DefaultCommand = "{bin} serve --manifests {manifests} --http-port {http} --https-port {https} --healthz-port {healthz} " +
	"--configmap {configmap} --profiling=false --shutdown-grace-period=0 --post-shutdown-grace-period=0 {flags}"

// Candidate is a controller under comparison, running on one suite.
type Candidate struct {
	cmd    *exec.Cmd
	output *tail
	done   chan struct{} // closed when the process ended
	err    error         // how; read after done
}

// StartCandidate writes the suite's objects below dir and starts command on them.
func StartCandidate(p *Place, s *Suite, pki *PKI, command, bin, dir string) (*Candidate, error) {
	objects, err := Manifests(p, s, pki)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, s.Name+".yaml"), objects, 0o600); err != nil {
		return nil, err
	}
	var args []string
	for _, word := range strings.Fields(command) {
		if word == "{flags}" {
			args = append(args, s.Flags...)
			continue
		}
		args = append(args, strings.NewReplacer(
			"{bin}", bin, "{manifests}", dir, "{configmap}", ConfigMapName, "{http}", strconv.Itoa(p.HTTP),
			"{https}", strconv.Itoa(p.HTTPS), "{healthz}", strconv.Itoa(p.Healthz)).Replace(word))
	}
	c := &Candidate{output: &tail{}, done: make(chan struct{})}
	c.cmd = exec.Command(args[0], args[1:]...)
	c.cmd.Env = append(os.Environ(), "POD_NAME=parity", "POD_NAMESPACE=ingress-nginx")
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.cmd.SysProcAttr = dieWithParent()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// Stop ends the candidate: politely, then not.
func (c *Candidate) Stop() error {
	c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-c.done:
		return nil
	case <-time.After(5 * time.Second):
	}
	c.cmd.Process.Kill()
	<-c.done
	return errors.New("the candidate did not end within 5 s of SIGTERM")
}

// Output returns the last lines the candidate wrote.
func (c *Candidate) Output() string { return c.output.String() }

// notReady are statuses that say nothing yet about the last object: it may still be missing.
var notReady = []string{"400", "404", "500", "503"}

// Ready waits until the last object of the suite answers.
func (c *Candidate) Ready(ctx context.Context, p *Place, s *Suite) error {
	head := "GET / HTTP/1.1\r\nHost: " + readyHost(s.Name) + "\r\nConnection: close\r\n\r\n"
	if s.NoReady {
		head = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + head
	}
	var last string
	for {
		status, err := probe(ctx, p, head)
		switch {
		case err != nil:
			last = err.Error()
		case !slices.ContainsFunc(notReady, func(n string) bool { return strings.Contains(status, " "+n) }):
			return nil
		default:
			last = strings.TrimSpace(status)
		}
		select {
		case <-c.done:
			return fmt.Errorf("the candidate ended: %w", c.err)
		case <-ctx.Done():
			return fmt.Errorf("the last object of the suite never answered; at last: %s", last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// probe returns the first line of an answer.
func probe(ctx context.Context, p *Place, request string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", p.Addr("A_IP"), p.HTTP))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	conn.SetDeadline(end)
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 4096))
	line, _, _ := bytes.Cut(answer, []byte("\r\n"))
	if len(line) > 0 {
		return string(line), nil
	}
	return "", fmt.Errorf("empty answer (%w)", err)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
