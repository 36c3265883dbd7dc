package h1

import (
	"errors"
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// What a chunked body may be refused for.
var (
	ErrChunk           = errors.New("chunk is malformed")
	ErrChunkExtension  = errors.New("chunk extensions are too long")
	ErrTrailer         = errors.New("trailer field is malformed")
	ErrTrailerTooLarge = errors.New("trailer section is too large")
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkSpace
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
	chunkFailed
)

// ChunkedDecoder takes a chunked body apart. The zero value is ready; Reset makes it
// ready again. Lines end in CR LF only: leniency here is how requests are smuggled.
type ChunkedDecoder struct {
	state  chunkState
	digits int
	left   uint64
	// extra counts extension bytes; content pays them back, so that a long stream may
	// have many small ones (S8.6).
	extra   int
	trailer []byte // trailer section so far
	line    int    // where its current line starts
}

// Reset prepares for another body and keeps memory.
func (d *ChunkedDecoder) Reset() {
	if cap(d.trailer) > 4096 {
		d.trailer = nil
	}
	*d = ChunkedDecoder{trailer: d.trailer[:0]}
}

// Done reports whether the whole body, trailer section included, was taken.
func (d *ChunkedDecoder) Done() bool { return d.state == chunkDone }

// Decode takes bytes from the start of buf. data is content, a part of buf; n is how
// many bytes were used up, data included. It returns at the first content it
// finds: call it again with buf[n:] until n is 0 or Done. At the end it puts the trailer
// fields that may travel into trailer, unless that is nil.
func (d *ChunkedDecoder) Decode(buf []byte, trailer *exchange.Fields) (data []byte, n int, err error) {
	i := 0
	for i < len(buf) {
		switch d.state {
		case chunkData:
			m := min(uint64(len(buf)-i), d.left)
			d.left -= m
			if d.left == 0 {
				d.state = chunkDataCR
			}
			if d.extra -= int(min(m, MaxTrailer)); d.extra < 0 {
				d.extra = 0
			}
			return buf[i : i+int(m)], i + int(m), nil
		case chunkTrailer:
			m, err := d.takeTrailer(buf[i:], trailer)
			if err != nil {
				d.state = chunkFailed
			}
			return nil, i + m, err
		case chunkDone:
			return nil, i, nil
		default:
			if err := d.step(buf[i]); err != nil {
				d.state = chunkFailed
				return nil, i, err
			}
			i++
		}
	}
	return nil, i, nil
}

// step takes one byte that is not content.
func (d *ChunkedDecoder) step(c byte) error {
	switch d.state {
	case chunkSize:
		if class[c]&cHex != 0 {
			// 15 digits stay below 2^63 whatever they are.
			if d.digits++; d.digits > 15 {
				return ErrChunk
			}
			d.left = d.left<<4 | uint64(unhex(c))
			return nil
		}
		if d.digits == 0 {
			return ErrChunk
		}
		return d.afterSize(c)
	case chunkSpace:
		return d.afterSize(c)
	case chunkExt:
		if c == '\r' {
			d.state = chunkSizeLF
			return nil
		}
		if class[c]&cValue == 0 {
			return ErrChunk
		}
		return d.count()
	case chunkSizeLF:
		if c != '\n' {
			return ErrChunk
		}
		d.digits = 0
		d.state = chunkData
		if d.left == 0 {
			d.state = chunkTrailer
		}
		return nil
	case chunkDataCR:
		if c != '\r' {
			return ErrChunk
		}
		d.state = chunkDataLF
		return nil
	case chunkDataLF:
		if c != '\n' {
			return ErrChunk
		}
		d.state = chunkSize
		return nil
	}
	return ErrChunk
}

func (d *ChunkedDecoder) afterSize(c byte) error {
	switch c {
	case '\r':
		d.state = chunkSizeLF
	case ';':
		d.state = chunkExt
		return d.count()
	case ' ', '\t': // RFC 9112, 7.1.1: bad white space, sent by old servers as padding
		d.state = chunkSpace
		return d.count()
	default:
		return ErrChunk
	}
	return nil
}

func (d *ChunkedDecoder) count() error {
	if d.extra++; d.extra > MaxTrailer {
		return ErrChunkExtension
	}
	return nil
}

// takeTrailer gathers the trailer section up to its empty line.
func (d *ChunkedDecoder) takeTrailer(buf []byte, to *exchange.Fields) (int, error) {
	for i, c := range buf {
		if len(d.trailer) == MaxTrailer {
			return i, ErrTrailerTooLarge
		}
		d.trailer = append(d.trailer, c)
		if c != '\n' {
			continue
		}
		n := len(d.trailer)
		if n-d.line < 2 || d.trailer[n-2] != '\r' {
			return i, ErrTrailer
		}
		if n-d.line > 2 {
			d.line = n
			continue
		}
		d.state = chunkDone
		return i + 1, readTrailer(string(d.trailer[:d.line]), to)
	}
	return len(buf), nil
}

func readTrailer(s string, to *exchange.Fields) error {
	for s != "" {
		var line string
		line, s = cutLine(s)
		colon := strings.IndexByte(line, ':')
		if colon <= 0 || !all(line[:colon], cToken) {
			return ErrTrailer
		}
		name, value := line[:colon], trim(line[colon+1:])
		if !all(value, cValue) {
			return ErrTrailer
		}
		if to != nil && TrailerAllowed(name) {
			to.Add(name, value)
		}
	}
	return nil
}

// AppendChunkHead appends the line before a chunk of n > 0 bytes; "\r\n" follows the bytes.
func AppendChunkHead(dst []byte, n int) []byte {
	const hex = "0123456789abcdef"
	shift := 60
	for shift > 0 && n>>shift&15 == 0 {
		shift -= 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, hex[n>>shift&15])
	}
	return append(dst, '\r', '\n')
}

// AppendChunk appends data as one chunk; nothing when it is empty.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHead(dst, len(data))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body, with those fields of trailer (may be
// nil) that may stand there.
func AppendLastChunk(dst []byte, trailer *exchange.Fields) []byte {
	dst = append(dst, '0', '\r', '\n')
	if trailer != nil {
		for i := range trailer.Len() {
			if f := trailer.At(i); TrailerAllowed(f.Name) {
				dst = appendField(dst, f.Name, f.Value)
			}
		}
	}
	return append(dst, '\r', '\n')
}
