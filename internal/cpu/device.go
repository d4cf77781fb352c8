// Package cpu is the device that every machine has: buffers are Go memory,
// weights are used where they lie or in the type that is asked for, and the
// arithmetic is internal/kernel's.
package cpu

import (
	"slices"
	"weak"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Options say how a Device holds a model.
type Options struct {
	// DType is the type that matrices are multiplied in. Invalid (zero) leaves
	// each in its own.
	DType tensor.DType
	// KVType is the type of the keys and values of a sequence: F32, F16, BF16 or
	// Q8_0. Invalid (zero) is F32.
	KVType tensor.DType
	// Copy makes the device take a copy even of what it could use in place.
	Copy bool
	// Detach makes it take a copy of vectors and tables, which are small: of a
	// model whose matrices are converted nothing is read from the file then.
	Detach bool
	// Later leaves matrices of floats where they lie at first, so that a model is ready
	// at once, and takes copies while a text is continued, some for each token: in panels
	// and on huge pages they are read a third faster, see laterAfter. (Only huge pages are
	// worth less: matrices of 16 bits by their outputs stay.)
	Later bool
	// Needed is told which matrix is about to be read, before it is; nil if nobody
	// wants to know.
	Needed func(data []byte)
	// Stop is asked before each matrix whether to go on: its error ends the loading; nil
	// if nobody minds.
	Stop func() error
	// Copied is told what data of tensors the device has made itself a copy of and does
	// not read again, or, with Later, is about to copy in parts; nil if nobody wants to know.
	Copied func(data []byte)
}

// Device implements gpt2.Device. It is not safe for concurrent use.
type Device struct {
	cpu     *kernel.CPU
	options Options
	memory  []*mapped.Memory      // of the matrices that are not used where they lie
	used    [][]byte              // of each of them
	free    []byte                // what is left of the last
	rows    []kernel.AttentionRow // reused by Attention

	loaded   []*matrix // in their order
	later    []*matrix // wait to be copied
	calls    int       // of the model with few rows, while some wait
	gaveBack bool      // see giveBack

	position []float32 // reused by Embed
	wide     []byte    // reused by widen
	work     []byte    // what is left of a piece, see room

	operands []weak.Pointer[operandMemory]

	finite    buffer // what the last product has seen to be finite
	allFinite bool

	whole bool  // the rows that Embed saw last are whole texts to attention …
	apart bool  // … or each of another text
	texts []int // rows of each
}

// New makes a device of the kernels and threads of cpu, which stay the caller's to close.
func New(cpu *kernel.CPU, o Options) *Device {
	if o.KVType == tensor.Invalid {
		o.KVType = tensor.F32
	}
	SurviveFaults(cpu)
	return &Device{cpu: cpu, options: o}
}

// Close frees the matrices. Neither the device nor a model on it is used
// afterwards.
func (d *Device) Close() {
	for _, m := range d.memory {
		_ = m.Free()
	}
	d.memory, d.used, d.free = nil, nil, nil
}

// memoryPiece is what the device asks the system for at a time. Matrices share
// a piece, since one alone would leave a part of its last huge page unused;
// what is not touched of a piece costs nothing.
const memoryPiece = 64 << 20

// alloc returns n bytes of zeros that begin a cache line.
func (d *Device) alloc(n int) []byte {
	const line = 64
	if n > len(d.free) {
		d.piece(max(n, memoryPiece))
	}
	data := d.free[:n:n]
	whole := min((n+line-1)/line*line, len(d.free))
	d.free = d.free[whole:]
	u := &d.used[len(d.used)-1]
	*u = (*u)[:len(*u)+whole]
	return data
}

// piece asks the system for n bytes, from which the next matrices come.
func (d *Device) piece(n int) {
	m := mapped.Anonymous(n)
	d.memory, d.used = append(d.memory, m), append(d.used, m.Data[:0])
	d.free = m.Data
}

// Memory returns the pieces of memory that the device has given to matrices, as
// far as they are used. It is valid until Close.
func (d *Device) Memory() [][]byte { return d.used }

// InFile returns the data of the matrices that are used where they lie.
func (d *Device) InFile() (data [][]byte) {
	for _, m := range d.loaded {
		if !m.own {
			data = append(data, m.Data)
		}
	}
	return data
}

// Name returns "cpu".
func (d *Device) Name() string { return "cpu" }

type buffer []float32

func (b buffer) Len() int { return len(b) }

// NewBuffer implements gpt2.Device. Products write to hundreds of rows of a large one
// at a time.
func (d *Device) NewBuffer(n int) (gpt2.Buffer, error) { return buffer(mapped.Floats(n)), nil }

// LoadVector implements gpt2.Device. A float32 vector may stay in the mapping.
func (d *Device) LoadVector(t tensor.Tensor) (gpt2.Buffer, error) {
	v, view := t.Float32s()
	if view && (d.options.Detach || d.options.Later) { // what lies beside it will be forgotten
		v = slices.Clone(v)
	}
	if d.options.Detach {
		d.copied(t.Data)
	}
	return buffer(v), nil
}

// Read implements gpt2.Device.
func (d *Device) Read(src gpt2.Buffer, n int) ([]float32, error) {
	return src.(buffer)[:n:n], nil
}

// Finite implements gpt2.Device.
func (d *Device) Finite(src gpt2.Buffer, n int) bool {
	v := src.(buffer)[:n]
	known := n > 0 && n <= len(d.finite) && &v[0] == &d.finite[0]
	d.finite = nil
	return known || d.cpu.Finite(v)
}

// Embed implements gpt2.Device.
func (d *Device) Embed(x gpt2.Buffer, tokens, positions gpt2.Matrix, rows []gpt2.Row) {
	d.layOut(len(rows))
	t, p := tokens.(*matrix), positions.(*matrix)
	d.whole = len(rows) > 0 && d.wholeTexts(rows)
	d.apart = len(d.texts) == len(rows)
	out, ok := x.(*residual)
	if !ok {
		out = &residual{floats: x.(buffer), width: t.In}
	} else {
		d.plan(out, len(rows), t.In)
	}
	if len(rows) > manyRows {
		d.cpu.Each(len(rows), 4*len(rows)*t.In, func(first, end int) {
			d.embed(out, t, p, rows[:end], first, make([]float32, 2*t.In))
		})
		return
	}
	d.position = slices.Grow(d.position[:0], 2*t.In)[:2*t.In]
	d.embed(out, t, p, rows, 0, d.position)
}

// manyRows are worth the threads, and an allocation.
const manyRows = 32

// embed works in twice the width.
func (d *Device) embed(out *residual, tokens, positions *matrix, rows []gpt2.Row, first int, work []float32) {
	position, token := work[:tokens.In], work[tokens.In:]
	for i := first; i < len(rows); i++ {
		row := token
		if !out.blocks {
			row = out.row(nil, i)
		}
		if tokens.Tiles && i+1 < len(rows) {
			tokens.PrefetchTileRow(rows[i+1].Token)
		}
		tokens.row(d.cpu, row, rows[i].Token)
		positions.row(d.cpu, position, rows[i].Pos)
		for j, v := range position {
			row[j] += v
		}
		if out.blocks {
			out.setRow(i, row)
		}
	}
}

// Norm implements gpt2.Device.
func (d *Device) Norm(y, x, gain, bias gpt2.Buffer, rows, width int, epsilon float32) {
	var out kernel.Numbers
	var tiles []byte
	var codes kernel.Codes
	o, deferred := y.(*multiplicand)
	if !deferred {
		if out = numbers(y); out.Tiles {
			tiles = tensor.Bytes(out.BF16)
		}
	} else if codes = d.inBlocks(o, rows, width); codes.DType == tensor.Invalid {
		tiles = d.tiles(o, rows, width)
	}
	deferred = deferred && codes.DType == tensor.Invalid && tiles == nil
	if deferred && rows > fewRows {
		out, deferred = kernel.Floats(o.plain(rows, width)), false
	}
	var in buffer
	switch v := x.(type) {
	case buffer:
		in = v
	case *residual:
		if v.blocks && tiles != nil {
			d.cpu.LayerNormBlocks(tiles, v.floats, gain.(buffer), bias.(buffer), rows, width, epsilon)
			return
		}
		in = v.plain(rows)
	}
	if deferred {
		o.later(in, kernel.Norm{Gain: gain.(buffer), Bias: bias.(buffer), Epsilon: epsilon})
		return
	}
	if codes.DType != tensor.Invalid {
		d.cpu.LayerNormCodes(codes, in, gain.(buffer), bias.(buffer), rows, width, epsilon)
		return
	}
	if tiles != nil {
		d.cpu.LayerNormTiles(tiles, in, gain.(buffer), bias.(buffer), rows, width, epsilon)
		return
	}
	d.cpu.LayerNormOf(out, in, gain.(buffer), bias.(buffer), rows, width, epsilon)
}

// activations translates. Three of the model's names mean the same function:
// they differ in how far √(2/π) is written out, which float32 does not hold, and one in
// how torch takes it back.
var activations = [...]kernel.Activation{
	gpt2.NoActivation:    kernel.None,
	gpt2.GELUNew:         kernel.GELUNew,
	gpt2.GELU:            kernel.GELUErf,
	gpt2.ReLU:            kernel.ReLU,
	gpt2.SiLU:            kernel.SiLU,
	gpt2.Tanh:            kernel.Tanh,
	gpt2.GELUPytorchTanh: kernel.GELUTanh,
	gpt2.GELUFast:        kernel.GELUTanh,
	gpt2.QuickGELU:       kernel.QuickGELU,
}

// Linear implements gpt2.Device.
func (d *Device) Linear(y, x gpt2.Buffer, rows int, w gpt2.Matrix, e gpt2.Epilogue) {
	k := kernel.Epilogue{Activation: activations[e.Activation], Add: e.Add}
	if e.Bias != nil {
		k.Bias = e.Bias.(buffer)
	}
	m := &w.(*matrix).Weight
	d.finite, d.allFinite = nil, false
	var out buffer
	switch o := y.(type) {
	case buffer:
		out, k.Finite = o, &d.allFinite // logits, which will be asked about
	case *multiplicand:
		if o.attended {
			k.Tiles, k.HalvesFrom = d.qkv(o, rows, m)
			if (d.apart && rows <= fewRows || d.cpu.QKVCodes()) && d.options.KVType == tensor.Q8_0 && d.cpu.TakesCodes(rows, m.DType) {
				k.Codes = o.inCodes(rows, m.Out, tensor.Q8_0)
			}
		} else {
			if d.cpu.Tiled(rows, m) { // not one that could not be quantised
				k.Tiles = d.tiles(o, rows, m.Out)
			}
			if d.cpu.TakesCodes(rows, m.DType) {
				k.Codes = d.inBlocks(o, rows, m.Out)
			}
		}
		if k.Codes.DType == tensor.Invalid && k.Tiles == nil {
			out = o.plain(rows, m.Out)
		}
	case *residual:
		if k.Blocks = o.blocks && d.cpu.Tiled(rows, m); k.Blocks {
			out = o.floats
		} else {
			out = o.plain(rows)
		}
	}
	switch in := x.(type) {
	case buffer:
		d.cpu.Linear(out, in, rows, m, k)
	case *multiplicand:
		switch {
		case in.coded:
			d.cpu.LinearCodes(out, in.codes, rows, m, k)
		case in.tiled:
			d.cpu.LinearTiles(out, in.tiles, rows, m, k)
		case in.normed && d.cpu.TakesNorm(rows, m) && !same(out, in.before):
			d.cpu.LinearNorm(out, in.before, rows, in.norm, m, k)
		default:
			d.cpu.Linear(out, d.written(in, rows, m.In), rows, m, k)
		}
	}
	if o, ok := y.(buffer); ok && d.allFinite {
		d.finite = o[:rows*m.Out]
	}
}

// Gather implements gpt2.Device.
func (d *Device) Gather(y, x gpt2.Buffer, indices []int, width int) {
	dst := y.(buffer)
	if o, ok := x.(*residual); ok {
		for i, r := range indices {
			copy(dst[i*width:][:width], o.row(dst[i*width:], r))
		}
		if len(indices) == 1 && len(d.later) > 0 { // the end of a prompt; tokens follow
			d.freeMany()
		}
		return
	}
	src := x.(buffer)
	for i, r := range indices {
		copy(dst[i*width:(i+1)*width], src[r*width:(r+1)*width])
	}
}
