package source

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// stream is an open file as UTF-8, or as the bytes it holds.
type stream struct {
	*bufio.Reader
	close []func() error
}

func (s *stream) Close() error {
	var err error
	for _, c := range s.close {
		err = errors.Join(err, c())
	}
	return err
}

// open begins to read a file: decompressed, and from UTF-16 to UTF-8.
func open(f File) (*stream, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, Unreadable(f.Path, err)
	}
	s := &stream{close: []func() error{file.Close}}
	raw, done, err := decompressed(f, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	if done != nil {
		s.close = append([]func() error{done}, s.close...)
	}
	s.Reader = bufio.NewReaderSize(&named{f: f, r: raw}, 1<<16)
	head, _ := s.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte("\xFF\xFE\x00\x00")), bytes.HasPrefix(head, []byte("\x00\x00\xFE\xFF")):
		s.Close()
		return nil, notText(f, head)
	case bytes.HasPrefix(head, []byte("\xEF\xBB\xBF")):
		_, _ = s.Discard(3)
	case bytes.HasPrefix(head, []byte("\xFF\xFE")):
		_, _ = s.Discard(2)
		s.Reader = bufio.NewReaderSize(&fromUTF16{r: s.Reader, order: binary.LittleEndian, f: f, at: 2}, 1<<16)
	case bytes.HasPrefix(head, []byte("\xFE\xFF")):
		_, _ = s.Discard(2)
		s.Reader = bufio.NewReaderSize(&fromUTF16{r: s.Reader, order: binary.BigEndian, f: f, at: 2}, 1<<16)
	}
	return s, nil
}

// maxWindow is what unpacking zstd may look back on: as much as zstd -d does
// without being told.
const maxWindow = 128 << 20

func decompressed(f File, r io.Reader) (raw io.Reader, done func() error, err error) {
	switch f.Compression {
	case Gzip:
		g, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<16))
		if err != nil {
			return nil, nil, mended(fmt.Errorf("read %s: not gzip, though its name says so: %w", f.Path, err), "if it is not packed, take the .gz from its name")
		}
		return g, g.Close, nil
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
		return z, func() error { z.Close(); return nil }, nil
	}
	return r, nil, nil
}

// named puts the file's name before the errors of reading it.
type named struct {
	f   File
	r   io.Reader
	err error // stays: bufio's Peek swallows errors
}

func (n *named) Read(p []byte) (int, error) {
	if n.err != nil {
		return 0, n.err
	}
	var got int
	got, n.err = n.read(p)
	return got, n.err
}

func (n *named) read(p []byte) (int, error) {
	got, err := n.r.Read(p)
	if err == nil || err == io.EOF {
		return got, err
	}
	switch {
	case n.f.Compression != Plain && errors.Is(err, io.ErrUnexpectedEOF):
		return got, mended(fmt.Errorf("read %s: the %s data end too early, the file is incomplete", n.f.Path, n.f.Compression), "copy or fetch it again")
	case n.f.Compression == Zstd && errors.Is(err, zstd.ErrMagicMismatch):
		return got, mended(fmt.Errorf("read %s: not zstd, though its name says so", n.f.Path), "if it is not packed, take the .zst from its name")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		plain := strings.TrimSuffix(n.f.Path, filepath.Ext(n.f.Path))
		return got, mended(fmt.Errorf("read %s: it was packed with a window of more than %d MiB (zstd --long)", n.f.Path, maxWindow>>20),
			"zstd -d --long=31 "+n.f.Path+" makes "+plain+", which is read")
	case n.f.Compression != Plain:
		return got, mended(fmt.Errorf("read %s: the %s data are damaged: %w", n.f.Path, n.f.Compression, err), "copy or fetch it again")
	}
	return got, fmt.Errorf("read %s: %w", n.f.Path, cause(err))
}

// fromUTF16 decodes UTF-16; half a surrogate pair is an error.
type fromUTF16 struct {
	r     io.Reader
	order binary.ByteOrder
	f     File
	at    int64 // bytes read
	err   error // stays
}

func (u *fromUTF16) Read(p []byte) (n int, err error) {
	for u.err == nil && n+utf8.UTFMax <= len(p) {
		var r rune
		if r, u.err = u.character(); u.err == nil {
			n += utf8.EncodeRune(p[n:], r)
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, u.err
}

func (u *fromUTF16) character() (rune, error) {
	r, err := u.unit()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	at := u.at - 1
	low, err := u.unit()
	if err != nil && err != io.EOF {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, fmt.Errorf("read %s: byte %d is not UTF-16, though the file begins like it", u.f.Path, at)
	}
	return r, nil
}

func (u *fromUTF16) unit() (rune, error) {
	var b [2]byte
	n, err := io.ReadFull(u.r, b[:])
	if err == io.ErrUnexpectedEOF {
		return 0, fmt.Errorf("read %s: byte %d is half a character of UTF-16", u.f.Path, u.at+1)
	}
	u.at += int64(n)
	return rune(u.order.Uint16(b[:])), err
}

// lines reads lines, without the byte that ends them, that are valid until the
// next call.
type lines struct {
	f    File
	r    *stream
	line int // of the line given last, from 1
	buf  []byte
}

func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		if len(l.buf) > MaxRecord {
			return nil, mended(fmt.Errorf("read %s:%d: a line of more than %d MiB; split it", l.f.Path, l.line+1, MaxRecord>>20), longLine(l.f))
		}
		switch {
		case err == nil:
			l.line++
			return l.buf, nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(l.buf) > 0:
			l.line++
			return l.buf, nil
		default:
			return nil, err
		}
	}
}
