package safetensors

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Named is a tensor to be written.
type Named struct {
	Name   string
	Tensor tensor.Tensor
}

// Write writes one file. The tensors are ordered by element size, largest
// first, then by name, and the header is padded to 8 bytes, so that all data is
// aligned and equal tensors give equal files. metadata may be nil; files for
// transformers need {"format": "pt"}.
func Write(w io.Writer, tensors []Named, metadata map[string]string) error {
	sorted := slices.Clone(tensors)
	slices.SortStableFunc(sorted, func(a, b Named) int {
		return cmp.Or(cmp.Compare(b.Tensor.DType.Size(), a.Tensor.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	header, err := writeHeader(sorted, metadata)
	if err != nil {
		return fmt.Errorf("write safetensors: %w", err)
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range sorted {
		if _, err := w.Write(t.Tensor.Data); err != nil {
			return err
		}
	}
	return nil
}

// writeHeader returns the header with its length before it.
func writeHeader(tensors []Named, metadata map[string]string) ([]byte, error) {
	out := append(make([]byte, 8, 8+128*(len(tensors)+1)), '{')
	if len(metadata) > 0 {
		out = append(appendString(out, metadataKey), ':', '{')
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, fmt.Errorf("metadata %s is not UTF-8", quote(key))
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
	offset := 0
	for i, t := range tensors {
		size, ok := byteSize(t.Tensor)
		switch {
		case seen[t.Name]:
			return nil, fmt.Errorf("tensor %s occurs twice", quote(t.Name))
		case t.Name == metadataKey || !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("a tensor cannot have the name %s", quote(t.Name))
		case t.Tensor.DType.Size() == 0:
			return nil, fmt.Errorf("tensor %s has no dtype", quote(t.Name))
		case !ok || size != uint64(len(t.Tensor.Data)):
			return nil, fmt.Errorf("tensor %s has %d bytes of data, but shape %s of %v takes %d",
				quote(t.Name), len(t.Tensor.Data), t.Tensor.ShapeString(), t.Tensor.DType, size)
		}
		seen[t.Name] = true
		if i > 0 || len(metadata) > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, t.Name), ':')
		out = fmt.Appendf(out, `{"dtype":"%v","shape":[`, t.Tensor.DType)
		for j, d := range t.Tensor.Shape {
			if j > 0 {
				out = append(out, ',')
			}
			out = fmt.Append(out, d)
		}
		end := offset + len(t.Tensor.Data)
		out = fmt.Appendf(out, `],"data_offsets":[%d,%d]}`, offset, end)
		offset = end
	}
	out = append(out, '}')
	for len(out)%8 != 0 {
		out = append(out, ' ')
	}
	if len(out)-8 > maxHeader {
		return nil, fmt.Errorf("the header takes %d bytes, want at most %d", len(out)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}

// appendString appends a JSON string.
func appendString(out []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return append(out, quoted...)
}
