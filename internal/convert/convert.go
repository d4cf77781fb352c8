// Package convert writes a model in another format or another type of weights:
// a GGUF file, or a folder in Hugging Face's layout.
package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The formats that can be written.
const (
	Safetensors = "safetensors" // a folder
	GGUF        = "gguf"        // a file
)

// DTypes are the types that weights can be written in; safetensors has only the
// floating point ones.
var DTypes = []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}

// Options say what is to be written.
type Options struct {
	Source   string       // where the model's files are, "" if nowhere
	Name     string       // the model's, for the metadata of a GGUF file
	Out      string       // the file or folder to write
	To       string       // Safetensors or GGUF; "": as the name of Out says
	DType    tensor.DType // Invalid: each matrix keeps its own
	Changed  tensor.DType // what F32 becomes then: the type that a model had whose weights were changed; Invalid: it stays
	Force    bool         // replace what is at Out
	Workers  int          // 0: one per processor
	Progress func(done, total int64)

	// FileBytes is how large a safetensors file may get before the model is
	// split into several, 0 for 5 GB; freeBytes asks how much room there is.
	FileBytes int64
	freeBytes func(dir string) (int64, error)
}

// Result says what was written.
type Result struct {
	Path    string
	Format  string
	DType   tensor.DType // of the matrices
	Bytes   int64        // of all files
	Tensors int
	Files   []File
	Notes   []string // what was left out
}

// File is a file of a Result; its name is that in the folder.
type File struct {
	Name  string
	Bytes int64
}

// ExistsError says that there is something at the place to write to.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string { return e.Path + " exists already" }

// DTypeError says that a format does not have a type.
type DTypeError struct {
	Format string
	DType  tensor.DType
}

func (e *DTypeError) Error() string {
	return fmt.Sprintf("%s has no type %v", e.Format, e.DType)
}

// ParseDType returns the type that the command line calls name; Invalid for ""
// and "auto".
func ParseDType(name string) (tensor.DType, error) {
	if name == "" || name == "auto" {
		return tensor.Invalid, nil
	}
	for _, d := range DTypes {
		if strings.ToLower(d.String()) == name {
			return d, nil
		}
	}
	return tensor.Invalid, fmt.Errorf("dtype %q: want auto, f32, f16, bf16, q8_0 or q4_0", name)
}

// format is what To says, or else the name of Out.
func (o Options) format() string {
	switch {
	case o.To != "":
		return o.To
	case strings.HasSuffix(strings.ToLower(o.Out), "."+GGUF):
		return GGUF
	}
	return Safetensors
}

// Check says whether Write would refuse the place, the format or the type, for
// those who have long work to do before it. Its errors are Write's. What a Write that
// was killed has left there is taken away.
func Check(o Options) error {
	o.To = o.format()
	switch {
	case o.To != GGUF && o.To != Safetensors:
		return fmt.Errorf("format %q: want %s or %s", o.To, Safetensors, GGUF)
	case o.To == Safetensors && o.DType.IsQuantized():
		return &DTypeError{Safetensors, o.DType}
	}
	return checkPlace(o)
}

// Write writes the model. It replaces nothing but what Options allow, and
// leaves nothing behind that is not whole. Errors are an *ExistsError, a
// *DTypeError, a *RoomError, a *RangeError, the context's, or the system's.
func Write(ctx context.Context, m *modelfiles.Model, o Options) (Result, error) {
	o.To = o.format()
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Name == "" {
		o.Name = cmp.Or(m.Title, m.Name)
	}
	if err := Check(o); err != nil {
		return Result{}, err
	}
	var r Result
	var err error
	if o.To == GGUF {
		r, err = writeGGUF(ctx, m, o)
	} else {
		r, err = writeFolder(ctx, m, o)
	}
	if err != nil {
		return Result{}, err
	}
	if n := len(m.Weights.Unused); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d tensors that a GPT-2 has no place for were left out, among them %s", n, m.Weights.Unused[0]))
	}
	return r, ctx.Err()
}

// target is a tensor to be written: the elements of from, in its order or, if
// transpose, [rows][cols] out of [cols][rows].
type target struct {
	name      string // Hugging Face's, without prefix
	dtype     tensor.DType
	shape     []int
	from      tensor.Tensor
	transpose bool
}

// targets lists the model's tensors with the projections in the given layout,
// in their own types.
func targets(w *gpt2.Weights, layout gpt2.Layout) []target {
	stored := map[string]gpt2.Layout{}
	for i, b := range w.Blocks {
		for name, p := range map[string]gpt2.Projection{"attn.c_attn": b.QKV, "attn.c_proj": b.AttnOut, "mlp.c_fc": b.Up, "mlp.c_proj": b.Down} {
			stored[fmt.Sprintf("h.%d.%s.weight", i, name)] = p.Layout
		}
	}
	var list []target
	for name, t := range w.Tensors() {
		out := target{name: name, dtype: t.DType, shape: t.Shape, from: t}
		if is, projection := stored[name]; projection && is != layout {
			out.transpose = true
			out.shape = []int{t.Shape[1], t.Shape[0]}
		}
		list = append(list, out)
	}
	return list
}

// kept is the type of a tensor for which no other is asked.
func (o Options) kept(own tensor.DType) tensor.DType {
	if own == tensor.F32 && o.Changed != tensor.Invalid {
		return o.Changed
	}
	return own
}

// errNoType is for a model in types that cannot be written.
var errNoType = errors.New("the model's weights are in no type that can be written: choose one")
