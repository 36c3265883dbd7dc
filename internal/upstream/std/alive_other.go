//go:build !unix

package std

import "net"

// socket cannot look without reading here; a closed connection then shows as a failed
// attempt with Reused set.
type socket struct{}

func (*socket) init(net.Conn) {}

func (*socket) quiet() bool { return true }
