// Package torchfile reads state dicts that torch.save wrote: pytorch_model.bin,
// alone or sharded.
//
// Such a file is a Python pickle with tensors beside it. A pickle is a program
// that may name and call any function; the reader here carries out only the
// operations that build values, knows what some twenty names of torch stand for,
// and refuses every other name with a *GlobalError. Nothing is ever called.
//
// Both formats are read, the zip archive of torch 1.6 and later and the stream
// before it (torch/serialization.py of torch 2 describes them: _save and
// _legacy_save). Tensors are views of the file's memory; only those that are not
// contiguous, such as a transposed one, are copies.
package torchfile

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// File is one file, or several that make up one model.
type File struct {
	names   []string // in the order of the state dict
	tensors map[string]tensor.Tensor
	mapped.Files
}

// Names returns the tensors' names in the order of the state dict. The caller
// must not change the slice.
func (f *File) Names() []string { return f.names }

// Tensor returns a tensor; its data is read-only and valid until Close. Tied
// tensors share their data. Data in a legacy file is not aligned to its
// element's size.
func (f *File) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Size returns the bytes of all tensors, with tied ones counted once.
func (f *File) Size() int64 {
	type span struct {
		first *byte
		bytes int
	}
	seen := make(map[span]bool, len(f.tensors))
	var n int64
	for _, t := range f.tensors {
		if s := (span{unsafe.SliceData(t.Data), len(t.Data)}); !seen[s] {
			seen[s] = true
			n += int64(len(t.Data))
		}
	}
	return n
}

// Open maps and parses one file. Its errors name the file; one that names
// foreign code wraps a *GlobalError.
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

// Parse reads a whole file in memory. The tensors point into data.
func Parse(data []byte) (*File, error) {
	var value any
	var err error
	switch {
	case strings.HasPrefix(string(data[:min(len(data), 4)]), localMagic):
		value, err = parseZip(data)
	case len(data) > 0 && data[0] == 0x80:
		value, err = parseLegacy(data)
	case isTar(data):
		err = fmt.Errorf("is in torch's first format, a tar archive, which is not supported: save it again with a torch of this decade")
	default:
		err = fmt.Errorf("is neither a zip archive nor a pickle: not a file that torch.save wrote, or damaged")
	}
	if err != nil {
		return nil, err
	}
	state, err := stateDict(value)
	if err != nil {
		return nil, err
	}
	f := &File{tensors: map[string]tensor.Tensor{}}
	c := copier{left: len(data) + copySlack, made: map[viewKey][]byte{}}
	for _, p := range state.pairs {
		name, isText := p.key.(string)
		raw, isTensor := p.value.(*rawTensor)
		if !isText || !isTensor {
			continue // such as the number of steps trained
		}
		t, err := c.tensor(raw)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		if _, again := f.tensors[name]; !again {
			f.names = append(f.names, name)
		}
		f.tensors[name] = t
	}
	return f, nil
}

// wrappers are the keys under which training programs keep the state dict in
// their checkpoints: Lightning, nanoGPT, DeepSpeed.
func wrappers() []string { return []string{"state_dict", "model", "module"} }

// stateDict finds the dict that holds the tensors: the value itself or, one
// level down, what a training program wrapped.
func stateDict(value any) (*dict, error) {
	d, ok := value.(*dict)
	if !ok {
		return nil, fmt.Errorf("holds %s, want a state dict", describe(value))
	}
	if holdsTensors(d) {
		return d, nil
	}
	var found *dict
	for _, key := range wrappers() {
		if inner, ok := d.get(key).(*dict); ok && holdsTensors(inner) {
			if found != nil {
				return nil, fmt.Errorf("holds several state dicts (under %s), want one", strings.Join(wrappers(), ", "))
			}
			found = inner
		}
	}
	if found != nil {
		return found, nil
	}
	var keys []string
	for _, p := range d.pairs {
		if len(keys) == 8 {
			keys = append(keys, "…")
			break
		}
		keys = append(keys, describe(p.key))
	}
	return nil, fmt.Errorf("holds a dict without tensors (its keys: %s), want a state dict, or one under %s",
		strings.Join(keys, ", "), strings.Join(wrappers(), ", "))
}

func holdsTensors(d *dict) bool {
	return slices.ContainsFunc(d.pairs, func(p pair) bool {
		_, isText := p.key.(string)
		_, isTensor := p.value.(*rawTensor)
		return isText && isTensor
	})
}

// copySlack is how many bytes more than the file has all copies of one file may
// take: a small tensor may be expanded to a large one.
const copySlack = 16 << 20

// copier turns strided views into tensors.
type copier struct {
	left int                // bytes that copies may still take
	made map[viewKey][]byte // copies by what they were made of: tied tensors stay tied
}

type viewKey struct {
	storage *storage
	view    string
}

func (c *copier) tensor(raw *rawTensor) (tensor.Tensor, error) {
	t := tensor.Tensor{DType: raw.storage.dtype, Shape: raw.shape}
	size := t.DType.Size()
	if t.Len() == 0 {
		return t, nil
	}
	if raw.contiguous() {
		begin, end := raw.offset*size, (raw.offset+t.Len())*size
		t.Data = raw.storage.data[begin:end:end]
		return t, nil
	}
	key := viewKey{raw.storage, fmt.Sprint(raw.offset, raw.shape, raw.stride)}
	if data, ok := c.made[key]; ok {
		t.Data = data
		return t, nil
	}
	if bytes := t.Len() * size; bytes > c.left {
		return t, fmt.Errorf("shape %s of %v with strides %v, a view that would take %d bytes, far more than the file",
			t.ShapeString(), t.DType, raw.stride, bytes)
	}
	t.Data = raw.gather()
	c.left -= len(t.Data)
	c.made[key] = t.Data
	return t, nil
}

// contiguous reports whether the elements lie in row-major order without gaps.
// There is at least one.
func (raw *rawTensor) contiguous() bool {
	want := 1
	for i, n := range slices.Backward(raw.shape) {
		if n != 1 && raw.stride[i] != want {
			return false
		}
		want *= n
	}
	return true
}

// gather copies the elements into row-major order.
func (raw *rawTensor) gather() []byte {
	size := raw.storage.dtype.Size()
	count := tensor.Tensor{Shape: raw.shape}.Len()
	out := make([]byte, 0, count*size)
	index := make([]int, len(raw.shape))
	at := raw.offset
	for range count {
		out = append(out, raw.storage.data[at*size:(at+1)*size]...)
		for d := len(index) - 1; d >= 0; d-- {
			at += raw.stride[d]
			if index[d]++; index[d] < raw.shape[d] {
				break
			}
			at -= raw.stride[d] * raw.shape[d]
			index[d] = 0
		}
	}
	return out
}
