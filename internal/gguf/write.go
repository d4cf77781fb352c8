package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/gptctl/gptctl/internal/tensor"
)

// KV is a metadata value to be written: a string, bool, uint32, int32, float32,
// []string or []int32.
type KV struct {
	Key   string
	Value any
}

// Info is a tensor to be written; Shape has the fastest running size last.
type Info struct {
	Name  string
	DType tensor.DType
	Shape []int
}

// Layout is where the parts of a file go.
type Layout struct {
	Head    []byte  // to be written at offset 0, padding included
	Offsets []int64 // of the tensors' data in the file
	Size    int64   // of the file; what lies between two tensors is zero
}

// Plan lays out a file of version 3: the tensors follow each other in the given
// order, each aligned to 32 bytes.
func Plan(values []KV, tensors []Info) (*Layout, error) {
	out := append(make([]byte, 0, 1<<16), magic...)
	out = binary.LittleEndian.AppendUint32(out, version)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(tensors)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(values)))
	seen := map[string]bool{}
	for _, kv := range values {
		switch {
		case kv.Key == "" || len(kv.Key) > maxKey:
			return nil, fmt.Errorf("write gguf: a key cannot be %s", quote(kv.Key))
		case seen[kv.Key]:
			return nil, fmt.Errorf("write gguf: metadata %s occurs twice", quote(kv.Key))
		}
		seen[kv.Key] = true
		out = appendString(out, kv.Key)
		var err error
		if out, err = appendValue(out, kv.Value); err != nil {
			return nil, fmt.Errorf("write gguf: metadata %s: %w", quote(kv.Key), err)
		}
	}

	clear(seen)
	l := &Layout{Offsets: make([]int64, len(tensors))}
	at := int64(0)
	for i, t := range tensors {
		kind, known := typeOf(t.DType)
		n, fits := tensor.Tensor{Shape: t.Shape}.Len(), len(t.Shape) <= maxDims
		switch {
		case t.Name == "" || len(t.Name) >= maxName: // ggml counts a final zero
			return nil, fmt.Errorf("write gguf: a tensor cannot have the name %s", quote(t.Name))
		case seen[t.Name]:
			return nil, fmt.Errorf("write gguf: tensor %s occurs twice", quote(t.Name))
		case !known || !fits:
			return nil, fmt.Errorf("write gguf: tensor %s: cannot write a %v tensor of shape %v", quote(t.Name), t.DType, t.Shape)
		case t.DType.IsQuantized() && (len(t.Shape) == 0 || t.Shape[len(t.Shape)-1]%tensor.QuantBlock != 0):
			return nil, fmt.Errorf("write gguf: tensor %s: rows of shape %v are not whole blocks of %v", quote(t.Name), t.Shape, t.DType)
		}
		seen[t.Name] = true
		out = appendString(out, t.Name)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			out = binary.LittleEndian.AppendUint64(out, uint64(d))
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(kind))
		out = binary.LittleEndian.AppendUint64(out, uint64(at))
		l.Offsets[i] = at
		at = align(at + int64(t.DType.Bytes(n)))
	}
	head := align(int64(len(out)))
	l.Head = append(out, make([]byte, head-int64(len(out)))...)
	for i := range l.Offsets {
		l.Offsets[i] += head
	}
	l.Size = head + at // ggml wants the padding after the last tensor too
	return l, nil
}

func align(n int64) int64 { return (n + defaultAlignment - 1) / defaultAlignment * defaultAlignment }

func appendString(out []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...)
}

func appendValue(out []byte, v any) ([]byte, error) {
	le := binary.LittleEndian
	kind := func(t ValueType) []byte { return le.AppendUint32(out, uint32(t)) }
	array := func(t ValueType, n int) []byte {
		return le.AppendUint64(le.AppendUint32(kind(Array), uint32(t)), uint64(n))
	}
	switch v := v.(type) {
	case string:
		return appendString(kind(String), v), nil
	case bool:
		b := byte(0)
		if v {
			b = 1
		}
		return append(kind(Bool), b), nil
	case uint32:
		return le.AppendUint32(kind(Uint32), v), nil
	case int32:
		return le.AppendUint32(kind(Int32), uint32(v)), nil
	case float32:
		return le.AppendUint32(kind(Float32), math.Float32bits(v)), nil
	case []string:
		out = array(String, len(v))
		for _, s := range v {
			out = appendString(out, s)
		}
		return out, nil
	case []int32:
		out = array(Int32, len(v))
		for _, n := range v {
			out = le.AppendUint32(out, uint32(n))
		}
		return out, nil
	}
	return nil, fmt.Errorf("cannot write a %T", v)
}
