//go:build unix

package std

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket looks at an idle connection without reading from it. Not safe for concurrent use.
type socket struct {
	raw  syscall.RawConn // nil: not a socket, a test's pipe
	poll [1]unix.PollFd
	open bool
	look func(fd uintptr)
}

func (s *socket) init(c net.Conn) {
	if sc, ok := c.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn() // an error leaves nil, as for what is not a socket
	}
	s.look = func(fd uintptr) {
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		for {
			n, err := unix.Poll(s.poll[:], 0)
			if err == unix.EINTR {
				continue
			}
			s.open = err == nil && n == 0
			return
		}
	}
}

// quiet reports whether the connection is open and nothing came on it. Bytes nobody asked for
// would be taken for the next answer (reference/security.md S11.2).
func (s *socket) quiet() bool {
	if s.raw == nil {
		return true
	}
	s.open = false
	return s.raw.Control(s.look) == nil && s.open
}
