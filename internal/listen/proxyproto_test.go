package listen

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

func TestProxyHeadersAreReadStrictly(t *testing.T) {
	four := "\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae"
	six := strings.Repeat("\x20", 32) + "\x04\x57\x08\xae"
	sum := signature2 + "\x21\x11\x00\x13" + four + "\x03\x00\x04"
	check := string(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(sum+"\x00\x00\x00\x00"), crc32.MakeTable(crc32.Castagnoli))))
	for _, c := range []struct {
		name, in string
		src, dst string // "invalid AddrPort" for none
		n        int    // -1: all of it
		err      error
	}{
		{"v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\nGET", "1.2.3.4:1111", "5.6.7.8:2222", 38, nil},
		{"v1 six", "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", "[2001:db8::1]:0", "[::1]:65535", -1, nil},
		{"v1 mapped", "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", "1.2.3.4:1", "[::1]:2", -1, nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v1 unknown with more", "PROXY UNKNOWN ff:: ff:: 1 2\r\n", "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v1 partial", "PROXY TCP4 1.2", "invalid AddrPort", "invalid AddrPort", 0, nil},
		{"one letter", "P", "invalid AddrPort", "invalid AddrPort", 0, nil},
		{"nothing", "", "invalid AddrPort", "invalid AddrPort", 0, nil},
		{"missing", "GET / HTTP/1.1\r\n", "", "", 0, errProxyMissing},
		{"put", "PUT / HTTP/1.1\r\n", "", "", 0, errProxyMissing},
		{"tls hello", "\x16\x03\x01", "", "", 0, errProxyMissing},
		{"v1 bare LF", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\n", "", "", 0, errProxyMalformed},
		{"v1 two spaces", "PROXY TCP4  1.2.3.4 5.6.7.8 1111 2222\r\n", "", "", 0, errProxyMalformed},
		{"v1 trailing space", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222 \r\n", "", "", 0, errProxyMalformed},
		{"v1 wrong family", "PROXY TCP4 ::1 ::1 1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 other family", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 unknown family", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 leading zero", "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 port with zero", "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 port with sign", "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "", "", 0, errProxyMalformed},
		{"v1 large port", "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "", "", 0, errProxyMalformed},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 100), "", "", 0, errProxyLong},
		{"v2", signature2 + "\x21\x11\x00\x0c" + four + "GET", "1.2.3.4:1111", "5.6.7.8:2222", 28, nil},
		{"v2 six", signature2 + "\x21\x21\x00\x24" + six, "[2020:2020:2020:2020:2020:2020:2020:2020]:1111", "[2020:2020:2020:2020:2020:2020:2020:2020]:2222", -1, nil},
		{"v2 local", signature2 + "\x20\x11\x00\x0c" + four, "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v2 unspecified", signature2 + "\x21\x00\x00\x02xx", "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v2 unix", signature2 + "\x21\x31\x00\xd8" + strings.Repeat("x", 216), "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v2 datagram", signature2 + "\x21\x12\x00\x0c" + four, "invalid AddrPort", "invalid AddrPort", -1, nil},
		{"v2 with more", signature2 + "\x21\x11\x00\x10" + four + "\x01\x00\x01x", "1.2.3.4:1111", "5.6.7.8:2222", -1, nil},
		{"v2 checksum", sum + check, "1.2.3.4:1111", "5.6.7.8:2222", -1, nil},
		{"v2 wrong checksum", sum + "abcd", "", "", 0, errProxyChecksum},
		{"v2 partial signature", signature2[:5], "invalid AddrPort", "invalid AddrPort", 0, nil},
		{"v2 partial", signature2 + "\x21\x11\x00\x0c\x01", "invalid AddrPort", "invalid AddrPort", 0, nil},
		{"v2 version", signature2 + "\x31\x11\x00\x0c" + four, "", "", 0, errProxyMalformed},
		{"v2 command", signature2 + "\x22\x11\x00\x0c" + four, "", "", 0, errProxyMalformed},
		{"v2 family", signature2 + "\x21\x41\x00\x0c" + four, "", "", 0, errProxyMalformed},
		{"v2 transport", signature2 + "\x21\x13\x00\x0c" + four, "", "", 0, errProxyMalformed},
		{"v2 short", signature2 + "\x21\x11\x00\x0b" + four[1:], "", "", 0, errProxyMalformed},
		{"v2 long", signature2 + "\x21\x11\xff\xff", "", "", 0, errProxyLong},
		{"v2 broken more", signature2 + "\x21\x11\x00\x0e" + four + "\x01\x00", "", "", 0, errProxyMalformed},
		{"v2 more than there is", signature2 + "\x21\x11\x00\x10" + four + "\x01\x00\x02x", "", "", 0, errProxyMalformed},
	} {
		p, n, err := parseProxy([]byte(c.in))
		if err != c.err {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.err)
			continue
		}
		want := c.n
		if want < 0 {
			want = len(c.in)
		}
		if err == nil && (n != want || p.src.String() != c.src || p.dst.String() != c.dst) {
			t.Errorf("%s: got %d %v %v, want %d %s %s", c.name, n, p.src, p.dst, want, c.src, c.dst)
		}
	}
}

// FuzzProxyHeader: however the bytes arrive, the outcome is the same, and never more is taken than there is.
func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\nGET", "PROXY UNKNOWN\r\n", signature2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xaeGET",
		signature2 + "\x20\x00\x00\x00", signature2 + "\x21\x21\x00\x24" + strings.Repeat("\x20", 36), "GET / HTTP/1.1\r\n", "PROXY TCP6 ::1 ::1 1 2\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := parseProxy(b)
		if n < 0 || n > len(b) || n > maxProxy2 || err != nil && n != 0 {
			t.Fatalf("took %d of %d, %v", n, len(b), err)
		}
		if p.src.IsValid() != p.dst.IsValid() {
			t.Fatalf("half an address: %v %v", p.src, p.dst)
		}
		if len(b) > 2*maxProxy2 {
			return
		}
		for i := range b {
			q, m, e := parseProxy(b[:i])
			switch {
			case m > 0 && (m != n || q != p || err != nil):
				t.Fatalf("%d bytes: took %d, %v; all: took %d, %v", i, m, q, n, p)
			case e != nil && err == nil:
				t.Fatalf("%d bytes: %v, all: no error", i, e)
			case m > 0 || e != nil:
				return
			}
		}
	})
}
