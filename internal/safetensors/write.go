package safetensors

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Named is a tensor to be written.
type Named struct {
	Name   string
	Tensor tensor.Tensor
}

// Info is a tensor to be laid out, before its data is there.
type Info struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// Layout is where the parts of a file go.
type Layout struct {
	Head    []byte  // to be written at offset 0
	Offsets []int64 // of the tensors' data in the file
	Size    int64   // of the file; the data has no gaps
}

// Plan lays out one file. The tensors are ordered by element size, largest
// first, then by name, and the header is padded to 8 bytes, so that all data is
// aligned and equal tensors give equal files. metadata may be nil; files for
// transformers need {"format": "pt"}.
func Plan(tensors []Info, metadata map[string]string) (*Layout, error) {
	order := make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := tensors[i], tensors[j]
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	sorted := make([]Info, len(tensors))
	for to, from := range order {
		sorted[to] = tensors[from]
	}
	head, sizes, err := writeHeader(sorted, metadata)
	if err != nil {
		return nil, fmt.Errorf("write safetensors: %w", err)
	}
	l := &Layout{Head: head, Offsets: make([]int64, len(tensors)), Size: int64(len(head))}
	for to, from := range order {
		l.Offsets[from] = l.Size
		l.Size += sizes[to]
	}
	return l, nil
}

// Write writes one file as Plan lays it out.
func Write(w io.Writer, tensors []Named, metadata map[string]string) error {
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		infos[i] = Info{t.Name, t.Tensor.DType, t.Tensor.Shape}
		if size, ok := byteSize(t.Tensor); t.Tensor.DType.Size() > 0 && (!ok || size != uint64(len(t.Tensor.Data))) {
			return fmt.Errorf("write safetensors: tensor %s has %d bytes of data, but shape %s of %v takes %d",
				quote(t.Name), len(t.Tensor.Data), t.Tensor.ShapeString(), t.Tensor.DType, size)
		}
	}
	l, err := Plan(infos, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(l.Head); err != nil {
		return err
	}
	order := slices.Clone(tensors)
	at := make(map[string]int64, len(tensors))
	for i, t := range tensors {
		at[t.Name] = l.Offsets[i]
	}
	slices.SortStableFunc(order, func(a, b Named) int { return cmp.Compare(at[a.Name], at[b.Name]) })
	for _, t := range order {
		if _, err := w.Write(t.Tensor.Data); err != nil {
			return err
		}
	}
	return nil
}

// writeHeader returns the header with its length before it, and the bytes of
// each tensor.
func writeHeader(tensors []Info, metadata map[string]string) (header []byte, sizes []int64, err error) {
	out := append(make([]byte, 8, 8+128*(len(tensors)+1)), '{')
	if len(metadata) > 0 {
		out = append(appendString(out, metadataKey), ':', '{')
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, nil, fmt.Errorf("metadata %s is not UTF-8", quote(key))
			}
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, key), ':')
			out = appendString(out, metadata[key])
		}
		out = append(out, '}')
	}
	seen := make(map[string]bool, len(tensors))
	offset := uint64(0)
	for i, t := range tensors {
		size, ok := byteSize(tensor.Tensor{DType: t.DType, Shape: t.Shape})
		switch {
		case seen[t.Name]:
			return nil, nil, fmt.Errorf("tensor %s occurs twice", quote(t.Name))
		case t.Name == metadataKey || !utf8.ValidString(t.Name):
			return nil, nil, fmt.Errorf("a tensor cannot have the name %s", quote(t.Name))
		case t.DType.Size() == 0:
			return nil, nil, fmt.Errorf("tensor %s has no dtype that the format knows", quote(t.Name))
		case !ok || offset+size > math.MaxInt64:
			return nil, nil, fmt.Errorf("tensor %s is too large for any file", quote(t.Name))
		}
		seen[t.Name] = true
		sizes = append(sizes, int64(size))
		if i > 0 || len(metadata) > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, t.Name), ':')
		out = fmt.Appendf(out, `{"dtype":"%v","shape":[`, t.DType)
		for j, d := range t.Shape {
			if j > 0 {
				out = append(out, ',')
			}
			out = fmt.Append(out, d)
		}
		out = fmt.Appendf(out, `],"data_offsets":[%d,%d]}`, offset, offset+size)
		offset += size
	}
	out = append(out, '}')
	for len(out)%8 != 0 {
		out = append(out, ' ')
	}
	if len(out)-8 > maxHeader {
		return nil, nil, fmt.Errorf("the header takes %d bytes, want at most %d", len(out)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, sizes, nil
}

// appendString appends a JSON string.
func appendString(out []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return append(out, quoted...)
}
