package dataplane

import (
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/config"
	"github.com/lintel-ingress/lintel/internal/exchange"
)

// serveFiles answers from the entries of a ConfigMap: the path below the
// route's prefix names the entry, a directory means index.html.
func serveFiles(x *exchange.Exchange, f *config.Files) {
	if x.Req.Method != "GET" && x.Req.Method != "HEAD" {
		x.Reply(405)
		x.Resp.Header.Set("Allow", "GET, HEAD")
		return
	}
	name := strings.TrimPrefix(x.Req.Path, strings.TrimSuffix(f.Prefix, "/"))
	name = strings.TrimPrefix(name, "/")
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	file, ok := f.Entries[name]
	if !ok {
		x.Reply(404)
		return
	}
	x.Resp.Header.Reset()
	x.Resp.Generated = true
	x.Resp.Status = 200
	x.Resp.Header.Set("ETag", file.ETag)
	if etagMatches(x.Req.Header.Get("If-None-Match"), file.ETag) {
		x.Resp.Status = 304
		x.Resp.Length, x.Resp.Body = 0, nil
		return
	}
	x.Resp.Header.Set("Content-Type", file.Type)
	x.Resp.Header.Set("Accept-Ranges", "bytes")
	data := file.Data
	ifRange := x.Req.Header.Get("If-Range")
	if r := x.Req.Header.Get("Range"); r != "" && (ifRange == "" || ifRange == file.ETag) {
		from, to, verdict := byteRange(r, int64(len(data)))
		switch verdict {
		case rangeOK:
			x.Resp.Status = 206
			x.Resp.Header.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to, 10)+"/"+strconv.Itoa(len(data)))
			data = data[from : to+1]
		case rangeUnsatisfiable:
			x.Reply(416)
			x.Resp.Header.Set("Content-Range", "bytes */"+strconv.Itoa(len(data)))
			return
		}
	}
	setBody(x, data)
}

// etagMatches compares weakly (RFC 9110, 8.8.3.2), as If-None-Match asks for.
func etagMatches(header, etag string) bool {
	if header == "" {
		return false
	}
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(part), "W/") == etag {
			return true
		}
	}
	return false
}

type rangeVerdict uint8

const (
	rangeIgnored rangeVerdict = iota // not one understood range: the whole content (RFC 9110, 14.2)
	rangeOK
	rangeUnsatisfiable
)

// byteRange reads a Range field of one range over size bytes.
func byteRange(header string, size int64) (from, to int64, v rangeVerdict) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return 0, 0, rangeIgnored
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !digits(first) || !digits(last) || first == "" && last == "" {
		return 0, 0, rangeIgnored
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n == 0 || size == 0 {
			return 0, 0, rangeUnsatisfiable
		}
		return max(size-n, 0), size - 1, rangeOK
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from >= size {
		return 0, 0, rangeUnsatisfiable
	}
	to = size - 1
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err == nil {
			if n < from {
				return 0, 0, rangeIgnored
			}
			to = min(n, to)
		}
	}
	return from, to, rangeOK
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
