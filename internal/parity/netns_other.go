//go:build !linux

package parity

import (
	"errors"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// Inside reports whether this process was started by Enter.
func Inside() bool { return false }

// Enter runs nothing: there are no network namespaces here.
func Enter(...string) (status int, ok bool) { return 0, false }

// PrivatePlace fails.
func PrivatePlace(string) (*Place, error) {
	return nil, errors.New("network namespaces exist on Linux only")
}

// ProbeMain does nothing.
func ProbeMain() (status int, probed bool) { return 0, false }
