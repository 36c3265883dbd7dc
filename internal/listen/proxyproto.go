package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// What a PROXY header is refused for.
var (
	errProxyMissing   = errors.New("no PROXY header")
	errProxyMalformed = errors.New("malformed PROXY header")
	errProxyLong      = errors.New("PROXY header is too long")
	errProxyChecksum  = errors.New("PROXY header with a wrong checksum")
)

// The longest headers, of the specification and of nginx.
const (
	maxProxy1 = 107
	maxProxy2 = 4096
)

const signature2 = "\r\n\r\n\x00\r\nQUIT\n"

// proxyInfo is what a header says. Addresses are invalid where it names none.
type proxyInfo struct {
	src, dst netip.AddrPort
}

// proxyHeader reads the header that must be there, and takes its addresses over when the peer may
// speak for others.
func (l *Listener) proxyHeader(c *Conn, info *exchange.Conn) error {
	g := l.Global()
	timeout := g.ProxyProtocolTimeout
	if timeout <= 0 {
		timeout = defaultProxy
	}
	if l.draining.Load() {
		timeout = min(timeout, drainFirst)
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	for {
		p, n, err := parseProxy(c.buf[c.r:c.w])
		if err != nil {
			return err
		}
		if n > 0 {
			c.r += n
			info.Proxied = true
			// An empty list trusts nobody (reference/security.md R5).
			if g.ProxyProtocolTrusted.Contains(info.Remote.Addr()) {
				info.ProxySrc, info.ProxyDst = p.src, p.dst
			}
			return nil
		}
		if err := c.more(maxProxy2); err != nil {
			return err
		}
	}
}

// parseProxy reads a header from the start of b: version 1 or 2, strictly. n is its length, 0 when
// more bytes are needed.
func parseProxy(b []byte) (p proxyInfo, n int, err error) {
	switch {
	case len(b) == 0:
		return p, 0, nil
	case strings.HasPrefix(signature2, string(b[:min(len(b), len(signature2))])):
		return parseProxy2(b)
	case strings.HasPrefix("PROXY ", string(b[:min(len(b), 6)])):
		return parseProxy1(b)
	}
	return p, 0, errProxyMissing
}

// parseProxy1 reads "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n".
func parseProxy1(b []byte) (p proxyInfo, n int, err error) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		if len(b) >= maxProxy1 {
			return p, 0, errProxyLong
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return p, 0, errProxyMalformed
		}
		return p, 0, nil
	}
	if end+2 > maxProxy1 {
		return p, 0, errProxyLong
	}
	n = end + 2
	line := string(b[len("PROXY "):end])
	if line == "UNKNOWN" || strings.HasPrefix(line, "UNKNOWN ") {
		return p, n, nil // what follows is to be ignored
	}
	part := strings.Split(line, " ")
	if len(part) != 5 || part[0] != "TCP4" && part[0] != "TCP6" {
		return p, 0, errProxyMalformed
	}
	four := part[0] == "TCP4"
	src, ok1 := proxyAddr(part[1], part[3], four)
	dst, ok2 := proxyAddr(part[2], part[4], four)
	if !ok1 || !ok2 {
		return p, 0, errProxyMalformed
	}
	return proxyInfo{src, dst}, n, nil
}

func proxyAddr(addr, port string, four bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || a.Is4() != four {
		return netip.AddrPort{}, false
	}
	if port == "" || len(port) > 5 || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	n := 0
	for i := 0; i < len(port); i++ {
		if port[i] < '0' || port[i] > '9' {
			return netip.AddrPort{}, false
		}
		n = n*10 + int(port[i]-'0')
	}
	if n > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// parseProxy2 reads the binary form.
func parseProxy2(b []byte) (p proxyInfo, n int, err error) {
	if len(b) < 16 {
		return p, 0, nil
	}
	command, family := b[12], b[13]
	if command>>4 != 2 || command&15 > 1 {
		return p, 0, errProxyMalformed
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxy2 {
		return p, 0, errProxyLong
	}
	if len(b) < n {
		return p, 0, nil
	}
	body := b[16:n]
	size := 0
	switch family >> 4 {
	case 0:
	case 1:
		size = 12
	case 2:
		size = 36
	case 3:
		size = 216
	default:
		return p, 0, errProxyMalformed
	}
	if family&15 > 2 || len(body) < size {
		return p, 0, errProxyMalformed
	}
	local := command&15 == 0
	if family>>4 != 0 {
		if err := checkTLVs(b[:n], 16+size); err != nil && !local {
			return p, 0, err
		}
	}
	// LOCAL is a health check of the proxy itself; datagrams and Unix sockets say nothing of use.
	if local || family&15 != 1 {
		return p, n, nil
	}
	switch family >> 4 {
	case 1:
		p.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[0:4])), binary.BigEndian.Uint16(body[8:]))
		p.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:8])), binary.BigEndian.Uint16(body[10:]))
	case 2:
		p.src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[0:16])).Unmap(), binary.BigEndian.Uint16(body[32:]))
		p.dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:32])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	}
	return p, n, nil
}

// checkTLVs checks the lengths of what follows the addresses, and the checksum where there is one.
// Nothing else of it is used or passed on (reference/security.md S5.4).
func checkTLVs(header []byte, at int) error {
	const checksum = 0x03
	for at < len(header) {
		if len(header)-at < 3 {
			return errProxyMalformed
		}
		size := int(binary.BigEndian.Uint16(header[at+1:]))
		value := at + 3
		if len(header)-value < size {
			return errProxyMalformed
		}
		if header[at] == checksum {
			if size != 4 {
				return errProxyMalformed
			}
			want := binary.BigEndian.Uint32(header[value:])
			plain := bytes.Clone(header)
			clear(plain[value : value+4])
			if crc32.Checksum(plain, crc32.MakeTable(crc32.Castagnoli)) != want {
				return errProxyChecksum
			}
		}
		at = value + size
	}
	return nil
}
