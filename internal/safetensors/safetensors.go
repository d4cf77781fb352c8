// Package safetensors reads and writes model files in the safetensors format
// (https://github.com/huggingface/safetensors, "Format").
//
// A file is: 8 bytes little-endian length of the header; the header, a JSON
// object {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …},
// with strings about the file under "__metadata__"; then the data, to which the
// offsets refer. Tensors are views of the file's memory, never copies.
//
// The reader refuses all that the reference implementation (Rust, 0.8) refuses,
// and also what that one tolerates against the format's text: a name or a
// metadata key that occurs twice, a header that does not begin with '{'.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/strictjson"
	"github.com/gptctl/gptctl/internal/tensor"
)

const (
	// maxHeader is the reference implementation's limit on the header.
	maxHeader = 100_000_000
	// maxDims is more dimensions than any framework's tensors have.
	maxDims     = 64
	metadataKey = "__metadata__"
)

// File is one safetensors file, or several that make up one model.
type File struct {
	names    []string // in the order of the data
	tensors  map[string]tensor.Tensor
	metadata map[string]string
	mapped.Files
}

// Names returns the tensors' names in the order of their data. The caller must
// not change the slice.
func (f *File) Names() []string { return f.names }

// Tensor returns a tensor; its data is read-only and valid until Close.
func (f *File) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Metadata returns the strings under "__metadata__", such as "format": "pt".
func (f *File) Metadata() map[string]string { return f.metadata }

// Size returns the bytes of all tensors.
func (f *File) Size() int64 {
	var n int64
	for _, t := range f.tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Open maps and parses one file. Its errors name the file.
func Open(path string) (*File, error) {
	m, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(m.Data)
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	f.Files = mapped.Files{m}
	return f, nil
}

// entry is a tensor as the header describes it.
type entry struct {
	name       string
	tensor     tensor.Tensor
	begin, end uint64
}

// Parse reads a whole file in memory. The tensors point into data.
func Parse(data []byte) (*File, error) {
	header, body, err := split(data)
	if err != nil {
		return nil, err
	}
	f := &File{metadata: map[string]string{}}
	var entries []entry
	s := strictjson.New(header)
	err = s.Object(func(key string) error {
		if key == metadataKey {
			return readMetadata(s, f.metadata)
		}
		e, err := readEntry(s, key)
		entries = append(entries, e)
		return err
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}

	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	f.names = make([]string, len(entries))
	f.tensors = make(map[string]tensor.Tensor, len(entries))
	next := uint64(0) // the data must follow each other without gap or overlap
	for i, e := range entries {
		switch {
		case e.begin < next:
			return nil, fmt.Errorf("tensor %s: begins at offset %d inside tensor %s, which ends at %d",
				quote(e.name), e.begin, quote(entries[i-1].name), next)
		case e.begin > next:
			return nil, fmt.Errorf("tensor %s: begins at offset %d, want %d: nothing describes the bytes between",
				quote(e.name), e.begin, next)
		case e.end > uint64(len(body)):
			return nil, fmt.Errorf("tensor %s: ends at offset %d, but the file holds %d bytes of data: it is truncated or damaged",
				quote(e.name), e.end, len(body))
		}
		e.tensor.Data = body[e.begin:e.end:e.end]
		f.names[i] = e.name
		f.tensors[e.name] = e.tensor
		next = e.end
	}
	if next != uint64(len(body)) {
		return nil, fmt.Errorf("the tensors end at offset %d, but the file holds %d bytes of data", next, len(body))
	}
	return f, nil
}

// split separates the header from the data.
func split(data []byte) (header, body []byte, err error) {
	if len(data) < 8 {
		return nil, nil, fmt.Errorf("the file has %d bytes, want at least 8 for the header's length", len(data))
	}
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return nil, nil, fmt.Errorf("this is a pointer of Git LFS, not the file it stands for: run git lfs pull")
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return nil, nil, fmt.Errorf("the header claims %d bytes, want at most %d: not a safetensors file, or damaged", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return nil, nil, fmt.Errorf("the header claims %d bytes, but %d follow: the file is truncated or damaged", n, len(data)-8)
	}
	header, body = data[8:8+n], data[8+n:]
	if n == 0 || header[0] != '{' {
		return nil, nil, fmt.Errorf("the header does not begin with '{': not a safetensors file, or damaged")
	}
	return header, body, nil
}

func readMetadata(s *strictjson.Scanner, into map[string]string) error {
	if s.Kind() == strictjson.Null {
		return s.Null()
	}
	return s.Object(func(key string) (err error) {
		if into[key], err = s.String(); err != nil {
			return fmt.Errorf("%s: %w", metadataKey, err)
		}
		return nil
	})
}

// readEntry reads {"dtype": …, "shape": …, "data_offsets": …} and checks it as
// far as it can be without the other tensors.
func readEntry(s *strictjson.Scanner, name string) (entry, error) {
	e := entry{name: name}
	var hasShape bool
	offsets := -1 // how many were read; -1: none yet
	err := s.Object(func(key string) error {
		switch key {
		case "dtype":
			text, err := s.String()
			if err != nil {
				return err
			}
			e.tensor.DType, err = tensor.ParseDType(text)
			return err
		case "shape":
			hasShape = true
			return s.Array(func() error {
				n, err := s.Uint()
				if err != nil {
					return err
				}
				if n > math.MaxInt {
					return fmt.Errorf("dimension %d is out of range", n)
				}
				if len(e.tensor.Shape) == maxDims {
					return fmt.Errorf("more than %d dimensions", maxDims)
				}
				e.tensor.Shape = append(e.tensor.Shape, int(n))
				return nil
			})
		case "data_offsets":
			offsets = 0
			return s.Array(func() (err error) {
				switch offsets++; offsets {
				case 1:
					e.begin, err = s.Uint()
				case 2:
					e.end, err = s.Uint()
				default:
					err = fmt.Errorf("more than two data_offsets")
				}
				return err
			})
		}
		return s.Skip()
	})
	if err == nil {
		switch {
		case e.tensor.DType == tensor.Invalid:
			err = fmt.Errorf("dtype is missing")
		case !hasShape:
			err = fmt.Errorf("shape is missing")
		case offsets != 2:
			err = fmt.Errorf("data_offsets are missing, want two numbers")
		default:
			err = e.checkSize()
		}
	}
	if err != nil {
		return e, fmt.Errorf("tensor %s: %w", quote(name), err)
	}
	return e, nil
}

// checkSize compares shape and offsets.
func (e *entry) checkSize() error {
	if e.end < e.begin {
		return fmt.Errorf("data_offsets [%d, %d] run backwards", e.begin, e.end)
	}
	want, ok := byteSize(e.tensor)
	if !ok {
		return fmt.Errorf("shape %s of %v is too large for any file", e.tensor.ShapeString(), e.tensor.DType)
	}
	if got := e.end - e.begin; got != want {
		return fmt.Errorf("data_offsets [%d, %d] span %d bytes, but shape %s of %v takes %d",
			e.begin, e.end, got, e.tensor.ShapeString(), e.tensor.DType, want)
	}
	return nil
}

// byteSize is the bytes that a tensor's type and shape take; not ok where the
// product overflows.
func byteSize(t tensor.Tensor) (uint64, bool) {
	size := uint64(t.DType.Size())
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(size, uint64(d))
		if hi != 0 || d < 0 {
			return 0, false
		}
		size = lo
	}
	return size, size <= math.MaxInt
}

// quote writes a name from the file so that a hostile one does not flood the terminal.
func quote(name string) string {
	if len(name) > 80 {
		name = name[:60] + "…"
	}
	return strconv.Quote(name)
}
