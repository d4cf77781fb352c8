package gpt2

import "github.com/gptctl/gptctl/internal/tensor"

// Device is a place that can hold the model and run its operations. The model
// is described once, in terms of these; a CPU and a GPU differ only in how they
// carry them out.
//
// All activations are float32, row-major. "rows" counts positions of any number
// of sequences in one call; what an operation writes into a row depends on that
// row alone (for Attention: on it and its sequence's cache), bit for bit,
// whatever other rows are in the call. Equal seeds give equal texts because of it.
//
// Operations are queued in order. One that fails leaves the error to the next
// Read, which is the only point where the host waits.
type Device interface {
	// Name is "cpu" or "cuda:0".
	Name() string

	// NewBuffer allocates n zeroed numbers.
	NewBuffer(n int) (Buffer, error)
	// LoadVector brings a bias or a gain to the device, as float32.
	LoadVector(t tensor.Tensor) (Buffer, error)
	// LoadMatrix makes a matrix of the model usable, in place where the device
	// can, or in a type of the device's choice. The memory of t must stay valid
	// as long as the device is used.
	LoadMatrix(t tensor.Tensor, layout Layout) (Matrix, error)
	// LoadTable makes rows usable that only Embed looks up, in their own type.
	LoadTable(t tensor.Tensor) (Matrix, error)
	// NewKV allocates the keys and values of one sequence of up to capacity positions.
	NewKV(shape KVShape, capacity int) (KV, error)

	// Read waits for what is queued and returns the first n numbers of src: its own
	// memory where the host can reach that, else a copy. They are the caller's to
	// change until src is used again.
	Read(src Buffer, n int) ([]float32, error)
	// Finite reports whether none of the first n numbers of src is NaN or infinite.
	Finite(src Buffer, n int) bool

	// Embed overwrites x [rows][embd] with token embedding + position embedding.
	Embed(x Buffer, tokens, positions Matrix, rows []Row)
	// Norm overwrites y [rows][width] with the layer norm of x [rows][width]
	// (Ba et al. 2016; biased variance); y may be x.
	Norm(y, x, gain, bias Buffer, rows, width int, epsilon float32)
	// Linear multiplies x [rows][in] by w and applies e; y [rows][out] must not
	// overlap x. It overwrites y, or adds to it if e.Add is set.
	Linear(y, x Buffer, rows int, w Matrix, e Epilogue)
	// Attention stores the keys and values in qkv [rows][3·embd] at each row's
	// position in its cache, then overwrites out [rows][embd] with the causal
	// attention of each row's queries over positions 0 … row.Pos of its cache.
	// The rows of one sequence are consecutive and in order of position.
	Attention(out, qkv Buffer, layer int, rows []Row, scale float32)
	// Gather overwrites y [len(indices)][width] with the named rows of x.
	Gather(y, x Buffer, indices []int, width int)
}

// An Operands is a Device that may hold what only some operations touch in the form
// that its products take or give.
type Operands interface {
	// NewOperand allocates a buffer that is only overwritten by whole results of Norm,
	// Linear or Attention and only read as the x of Linear, with one of the readers. What
	// Norm read stays as it is until that: the product may compute the norm. It may take
	// the memory of beside, unless that is nil: one of these or of NewQKV, of as many rows,
	// which is not read any more once the new one is written, and the other way round.
	NewOperand(n int, readers []Matrix, beside Buffer) (Buffer, error)
	// NewQKV allocates a buffer that Linear overwrites and only Attention reads, after an
	// Embed of the same rows.
	NewQKV(n int) (Buffer, error)
	// NewResidual allocates a buffer that Embed overwrites, Linear adds to, and only
	// Norm and Gather read.
	NewResidual(n int) (Buffer, error)
}

// A Tailed is a Device that can go on with the last rows only.
type Tailed interface {
	// TailFrom returns the row, first or one before it, from which operations on the
	// rows that are left of so many give the same bits as on all.
	TailFrom(rows, first int) int
	// Tail returns x [rows][width], which Embed and Linear or Attention have written,
	// from such a row on. It is the same memory.
	Tail(x Buffer, rows, width, from int) Buffer
}

// Buffer is float32 memory of a Device.
type Buffer interface {
	// Len is the number of float32 it holds.
	Len() int
}

// Matrix is a weight matrix of a Device.
type Matrix interface {
	// Dims returns the width of the rows that Linear takes and gives.
	Dims() (in, out int)
	// Bytes is the memory that a multiplication reads.
	Bytes() int64
}

// KV is a Device's memory for the keys and values of one sequence, all layers.
type KV interface {
	// CopyFrom overwrites positions from … to-1 with those of other, a KV of
	// the same shape on the same device.
	CopyFrom(other KV, from, to int)
}

// KVShape is what a position's keys and values consist of.
type KVShape struct{ Layers, Heads, HeadDim int }

// Row is one position of one sequence.
type Row struct {
	Token int
	Pos   int
	KV    KV
}

// Layout says how a weight matrix lies in memory.
type Layout uint8

const (
	// InOut is [in][out]: OpenAI's and HF's Conv1D.
	InOut Layout = iota
	// OutIn is [out][in]: nn.Linear, and an embedding used as the output head.
	OutIn
)

// Epilogue is what Linear does to a product before it writes it: add the bias
// (if any), apply the activation (if any), then overwrite y or add to it.
type Epilogue struct {
	Bias       Buffer
	Activation Activation
	Add        bool
}
