// Package gguf reads and writes model files in the GGUF format of ggml
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3.
//
// A file is: "GGUF", its version, the numbers of tensors and of metadata values;
// the values, each a key, a type and the value; the tensors, each a name, its
// sizes (the fastest running first), its type and the offset of its data; then,
// aligned, the data. All numbers are little-endian, a string is its length (64
// bits) and its bytes. Tensors are views of the file's memory, never copies.
//
// The package knows the format and its names (names.go), not what a model does
// with them.
package gguf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

const (
	magic   = "GGUF"
	version = 3

	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxDims          = 4
	maxName          = 64        // bytes of a tensor's name, by the specification
	maxKey           = 1<<16 - 1 // of a key

	// What a tensor and a value take at least: the file's size bounds how many
	// there can be.
	minTensor = 8 + 4 + 4 + 8
	minValue  = 8 + 4 + 1
	// presize is how many are given room for because the file says so.
	presize = 1 << 12
)

// File is an open file. Its metadata and tensors point into the file's memory.
type File struct {
	Version int

	keys    []string
	values  map[string]value
	names   []string // of the tensors, in the order of the data
	tensors map[string]entry
	mapped.Files
	memory []*mapped.Memory
}

// value is a metadata value as it lies in the file.
type value struct {
	kind ValueType
	elem ValueType // of an array
	n    int       // of an array
	data []byte    // of an array of strings: lengths and bytes alternate
}

// entry is a tensor as the file describes it.
type entry struct {
	name       string
	kind       Type
	begin, end uint64 // in the data; end is begin for a type of unknown size
	tensor     tensor.Tensor
	raw        []byte // the data, of whatever type
}

// FormatError says that a file, whole as it may be, has a form that is not read.
type FormatError struct {
	Why  string
	Mend string // what makes a file of it that is; "": it is made anew
}

func (e *FormatError) Error() string { return e.Why }

// Open maps and parses a file. Its errors name the file.
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

// Close releases the memory behind tensors and strings; a Prefault under way
// ends. A file from Parse needs no Close.
func (f *File) Close() error {
	errs := []error{f.Files.Close()}
	for _, m := range f.memory {
		errs = append(errs, m.Free())
	}
	return errors.Join(errs...)
}

// Names returns the tensors' names in the order of their data. The caller must
// not change the slice.
func (f *File) Names() []string { return f.names }

// Tensor returns a tensor; its data is read-only and valid until Close. Its
// shape is in the order of other formats, the fastest running size last. One
// of a type that is not read, see TypeError, has neither type nor data.
func (f *File) Tensor(name string) (tensor.Tensor, bool) {
	e, ok := f.tensors[name]
	return e.tensor, ok
}

// CheckTypes returns a *TypeError for the first tensor of a type that is not read.
func (f *File) CheckTypes() error {
	for _, name := range f.names {
		if e := f.tensors[name]; e.tensor.DType == tensor.Invalid {
			return &TypeError{name, e.kind}
		}
	}
	return nil
}

// Parse reads a whole file in memory. Tensors and strings point into data.
func Parse(data []byte) (*File, error) {
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return nil, &FormatError{"this is a pointer of Git LFS, not the file it stands for", "git lfs pull"}
	}
	r := reader{data: data}
	f := &File{}
	tensors, values, err := f.readHeader(&r)
	if err != nil {
		return nil, err
	}
	if err := f.readValues(&r, values); err != nil {
		return nil, err
	}
	alignment, err := f.alignment()
	if err != nil {
		return nil, err
	}
	entries, err := readEntries(&r, tensors)
	if err != nil {
		return nil, err
	}
	start := uint64(r.pos)
	start += (alignment - start%alignment) % alignment
	var body []byte
	if start < uint64(len(data)) {
		body = data[start:]
	}
	if err := f.place(entries, body, alignment); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) readHeader(r *reader) (tensors, values int, err error) {
	switch {
	case len(r.data) == 0:
		return 0, 0, errors.New("the file is empty")
	case !bytes.HasPrefix(r.data, []byte(magic)):
		return 0, 0, fmt.Errorf("the file does not begin with %q: not a GGUF file", magic)
	}
	r.pos = len(magic)
	v := r.uint32("the version")
	nTensors, nValues := uint64(0), uint64(0)
	switch {
	case r.err != nil:
	case v == 2 || v == 3:
		nTensors, nValues = r.uint64("the number of tensors"), r.uint64("the number of metadata values")
	case v != 0 && v&0xffff == 0:
		r.err = &FormatError{Why: "the file is big-endian, want little-endian"}
	default:
		r.err = &FormatError{Why: fmt.Sprintf("the file is of version %d of the format, want 2 or 3", v)}
	}
	left := uint64(len(r.data) - r.pos)
	switch {
	case r.err != nil:
	case nTensors > left/minTensor:
		r.fail("the file claims %d tensors, but only %d bytes follow: it is truncated or damaged", nTensors, left)
	case nValues > left/minValue:
		r.fail("the file claims %d metadata values, but only %d bytes follow: it is truncated or damaged", nValues, left)
	}
	f.Version = int(v)
	return int(nTensors), int(nValues), r.err
}

func (f *File) readValues(r *reader, n int) error {
	f.values = make(map[string]value, min(n, presize))
	for i := range n {
		key := r.string("a key", maxKey)
		if r.err != nil {
			return fmt.Errorf("metadata value %d: %w", i, r.err)
		}
		v := value{kind: ValueType(r.uint32("the type"))}
		switch {
		case r.err != nil:
		case v.kind == Array:
			v.elem = ValueType(r.uint32("the type of an array's elements"))
			n := r.uint64("the length of an array")
			v.data, v.n = r.array(v.elem, n)
		default:
			v.data, _ = r.array(v.kind, 1)
		}
		if r.err != nil {
			return fmt.Errorf("metadata %s: %w", quote(key), r.err)
		}
		if _, twice := f.values[key]; twice {
			return fmt.Errorf("metadata %s occurs twice", quote(key))
		}
		f.values[key] = v
		f.keys = append(f.keys, key)
	}
	return nil
}

func (f *File) alignment() (uint64, error) {
	n, ok, err := f.Uint(KeyAlignment)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return defaultAlignment, nil
	case n == 0 || n&(n-1) != 0 || n > maxAlignment:
		return 0, fmt.Errorf("metadata %q is %d, want a power of two up to %d", KeyAlignment, n, maxAlignment)
	}
	return n, nil
}

func readEntries(r *reader, n int) ([]entry, error) {
	entries := make([]entry, 0, min(n, presize))
	seen := make(map[string]bool, min(n, presize))
	for i := range n {
		e := entry{name: r.string("a tensor's name", maxName)}
		if r.err != nil {
			return nil, fmt.Errorf("tensor %d: %w", i, r.err)
		}
		e.read(r)
		if r.err == nil && seen[e.name] {
			r.fail("occurs twice")
		}
		if r.err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(e.name), r.err)
		}
		seen[e.name] = true
		entries = append(entries, e)
	}
	return entries, nil
}

// read reads what follows a tensor's name.
func (e *entry) read(r *reader) {
	dims := r.uint32("the number of dimensions")
	if dims > maxDims {
		r.fail("has %d dimensions, want at most %d", dims, maxDims)
		return
	}
	shape := make([]int, dims)
	elements, row := uint64(1), uint64(1)
	for i := range shape {
		n := r.uint64("a size")
		hi, product := bits.Mul64(elements, n)
		if hi != 0 || product > math.MaxInt || n > math.MaxInt {
			r.fail("its sizes are too large for any file")
			return
		}
		if i == 0 {
			row = n
		}
		elements = product
		shape[len(shape)-1-i] = int(n)
	}
	e.kind = Type(r.uint32("the type"))
	e.begin = r.uint64("the offset")
	e.end = e.begin
	e.tensor.Shape = shape
	known, ok := types[e.kind]
	if r.err != nil || !ok {
		return
	}
	if row%known.block != 0 {
		r.fail("its rows of %d elements are not whole blocks of %v, which has %d", row, e.kind, known.block)
		return
	}
	hi, size := bits.Mul64(elements/known.block, known.bytes)
	end, carry := bits.Add64(e.begin, size, 0)
	if hi != 0 || carry != 0 {
		r.fail("its data ends beyond any file")
		return
	}
	e.end = end
	e.tensor.DType = known.dtype
}

// place gives the tensors their data.
func (f *File) place(entries []entry, body []byte, alignment uint64) error {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	f.names = make([]string, len(entries))
	f.tensors = make(map[string]entry, len(entries))
	for i, e := range entries {
		switch {
		case e.begin%alignment != 0:
			return fmt.Errorf("tensor %s begins at offset %d, want a multiple of %d", quote(e.name), e.begin, alignment)
		case i > 0 && e.begin < entries[i-1].end:
			return fmt.Errorf("tensor %s begins at offset %d inside tensor %s, which ends at %d",
				quote(e.name), e.begin, quote(entries[i-1].name), entries[i-1].end)
		case e.end > uint64(len(body)):
			return fmt.Errorf("tensor %s ends at offset %d, but the file holds %d bytes of data: it is truncated or damaged",
				quote(e.name), e.end, len(body))
		}
		e.raw = body[e.begin:e.end:e.end]
		if e.tensor.DType != tensor.Invalid {
			e.tensor.Data = e.raw
		}
		f.names[i] = e.name
		f.tensors[e.name] = e
	}
	return nil
}

// reader walks through the file's head; it keeps the first error.
type reader struct {
	data []byte
	pos  int
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, nil if there are fewer.
func (r *reader) take(what string, n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if left := len(r.data) - r.pos; n > uint64(left) {
		r.fail("%s takes %d bytes, but %d follow: the file is truncated or damaged", what, n, left)
		return nil
	}
	b := r.data[r.pos : r.pos+int(n) : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *reader) uint32(what string) uint32 {
	if b := r.take(what, 4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64(what string) uint64 {
	if b := r.take(what, 8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string(what string, most uint64) string {
	n := r.uint64(what)
	if n > most {
		r.fail("%s has %d bytes, want at most %d", what, n, most)
	}
	return string(r.take(what, n))
}

// array walks over n values of a type and returns their bytes.
func (r *reader) array(kind ValueType, n uint64) (data []byte, length int) {
	if r.err != nil {
		return nil, 0
	}
	from := r.pos
	switch {
	case kind == Array:
		r.fail("an array of arrays is not supported")
	case int64(kind) >= int64(len(valueTypes)):
		r.fail("the value's type is %d, which is not known", uint32(kind))
	case kind == String:
		// Each takes at least its length, so the file bounds the loop.
		for range n {
			size := r.uint64("a string")
			if r.take("a string", size); r.err != nil {
				break
			}
		}
	default:
		hi, size := bits.Mul64(n, uint64(valueTypes[kind].size))
		if hi != 0 {
			size = math.MaxUint64
		}
		r.take("the value", size)
	}
	if r.err != nil {
		return nil, 0
	}
	return r.data[from:r.pos:r.pos], int(n)
}

// quote writes a name from the file so that a hostile one does not flood the terminal.
func quote(name string) string {
	if len(name) > 80 {
		name = name[:60] + "…"
	}
	return strconv.Quote(name)
}
