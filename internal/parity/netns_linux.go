package parity

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// inside tells a process that it is the one in the namespace.
const inside = "LINTEL_PARITY_INSIDE"

// Inside reports whether this process was started by Enter.
func Inside() bool { return os.Getenv(inside) != "" }

// Enter runs this program once more, in network and mount namespaces of its own, and
// returns its exit status. ok is false when no namespace can be had: nothing ran then.
func Enter(env ...string) (status int, ok bool) {
	flags := uintptr(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS)
	tries := []*syscall.SysProcAttr{{Cloneflags: flags}, {
		// Without the rights of root a user namespace may still give them.
		Cloneflags:  flags | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}}
	for _, attr := range tries {
		probe := exec.Command("/proc/self/exe", "-test.run=^$")
		probe.Env = append(os.Environ(), inside+"=probe")
		attr.Pdeathsig = syscall.SIGKILL
		probe.SysProcAttr = attr
		if probe.Run() != nil {
			continue
		}
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = attr
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return max(exit.ExitCode(), 1), true
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "parity:", err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// PrivatePlace brings up the recorded addresses in the namespace this process is in,
// and makes the DNS server of the backends the resolver. dir is for files.
func PrivatePlace(dir string) (*Place, error) {
	p := &Place{Private: true, HTTP: 80, HTTPS: 443, Healthz: 10254}
	if err := loopbackUp(); err != nil {
		return nil, fmt.Errorf("loopback: %w", err)
	}
	for i, name := range sortedKeys(names) {
		if err := addAddress(fmt.Sprintf("lo:%d", i+1), p.Addr(name)); err != nil {
			return nil, fmt.Errorf("address %s: %w", p.Addr(name), err)
		}
	}
	resolv := filepath.Join(dir, "resolv.conf")
	text := "nameserver " + p.Addr("DNS") + "\noptions timeout:1 attempts:2\n"
	if err := os.WriteFile(resolv, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	if err := unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("bind /etc/resolv.conf: %w", err)
	}
	return p, nil
}

func loopbackUp() error {
	return ioctl("lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
}

func addAddress(label, addr string) error {
	ip := net.ParseIP(addr).To4()
	if err := ioctl(label, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip) }); err != nil {
		return err
	}
	return ioctl(label, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 255}) })
}

func ioctl(name string, what uint, fill func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := fill(r); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, what, r)
}

// probing reports whether this process only tests whether namespaces can be had.
func probing() bool { return strings.HasPrefix(os.Getenv(inside), "probe") }

// ProbeMain is what such a process does: it tries what the run will need.
func ProbeMain() (status int, probed bool) {
	if !probing() {
		return 0, false
	}
	if err := loopbackUp(); err != nil {
		return 1, true
	}
	if err := addAddress("lo:1", names["A_IP"]); err != nil {
		return 1, true
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, true
	}
	return 0, true
}
