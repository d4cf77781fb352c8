package cpu

import (
	"runtime"
	"slices"
	"weak"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// multiplicand is a buffer that only products read. Where these go through a matrix
// unit, it holds bfloat16 tiles instead of numbers: a quarter of the memory is
// moved, and nothing is packed again.
type multiplicand struct {
	n int
	*operandMemory
	codes  kernel.Codes
	tiled  bool // what was written last
	coded  bool // the same
	normed bool // the same: the product computes norm of before

	norm     kernel.Norm
	before   buffer
	attended bool         // holds queries, keys and values
	reader   tensor.DType // of all matrices that it is multiplied with; Invalid: of several types
}

// operandMemory is the memory of the residual stream, or of multiplicands of which only
// one holds something at a time. Each kind is allocated when it is needed; few rows, which
// come after a prompt, have their own, so that not all of them is.
type operandMemory struct {
	n      int // numbers of the largest
	many   *mapped.Memory
	floats buffer // in many
	lines  buffer // of few rows
	tiles  []byte
	blocks []kernel.Block
}

func (o *multiplicand) Len() int { return o.n }

// widest is the width of a row of the largest multiplicand in the same memory.
func (o *multiplicand) widest(width int) int { return width * o.operandMemory.n / o.n }

// NewOperand implements gpt2.Operands.
func (d *Device) NewOperand(n int, readers []gpt2.Matrix, beside gpt2.Buffer) (gpt2.Buffer, error) {
	if b, ok := beside.(*multiplicand); ok {
		b.operandMemory.n = max(b.operandMemory.n, n)
		return &multiplicand{n: n, operandMemory: b.operandMemory, reader: common(readers)}, nil
	}
	return &multiplicand{n: n, operandMemory: d.newOperandMemory(n), reader: common(readers)}, nil
}

func (d *Device) newOperandMemory(n int) *operandMemory {
	m := &operandMemory{n: n}
	d.operands = slices.DeleteFunc(d.operands, func(p weak.Pointer[operandMemory]) bool { return p.Value() == nil })
	d.operands = append(d.operands, weak.Make(m))
	return m
}

// freeMany gives back the numbers of many rows, until there are many again.
func (d *Device) freeMany() {
	for _, p := range d.operands {
		if m := p.Value(); m != nil && m.many != nil {
			_ = m.many.Free()
			m.many, m.floats = nil, nil
		}
	}
}

// common is the type that matrices are held in, Invalid if not all are in the same: a file
// may have quantised some more than others, or not at all.
func common(matrices []gpt2.Matrix) (t tensor.DType) {
	for i, m := range matrices {
		if of := m.(*matrix).DType; i == 0 {
			t = of
		} else if of != t {
			return tensor.Invalid
		}
	}
	return t
}

// NewQKV implements gpt2.Operands.
func (d *Device) NewQKV(n int) (gpt2.Buffer, error) {
	return &multiplicand{n: n, operandMemory: d.newOperandMemory(n), attended: true}, nil
}

// qkv returns the memory of queries, keys and values to be written as tiles, if attention
// takes these, and the column from which they are float16.
func (d *Device) qkv(o *multiplicand, rows int, w *kernel.Weight) (tiles []byte, halves int) {
	if !d.whole || d.options.KVType == tensor.F32 || !d.cpu.Tiled(rows, w) {
		return nil, 0
	}
	if d.options.KVType != tensor.BF16 {
		halves = w.Out / 3
	}
	return d.tiles(o, rows, w.Out), halves
}

// wholeTexts reports whether attention to rows takes tiles.
func (d *Device) wholeTexts(rows []gpt2.Row) bool {
	d.texts = d.texts[:0]
	for i, r := range rows {
		if i == 0 || rows[i-1].KV != r.KV {
			d.texts = append(d.texts, 0)
		}
		d.texts[len(d.texts)-1]++
	}
	k, ok := rows[0].KV.(*kv)
	return ok && d.cpu.WholeTexts(d.texts, k.HeadDim)
}

// fewRows are so few that they never are tiles.
const fewRows = 16

// plain returns it as numbers, in rows.
func (o *multiplicand) plain(rows, width int) buffer {
	o.tiled, o.coded, o.normed = false, false, false
	return o.numbers(rows, width)
}

// written is the memory of a multiplicand in numbers, with the norm that was left.
func (d *Device) written(o *multiplicand, rows, width int) buffer {
	left, x, n := o.normed, o.before, o.norm
	y := o.plain(rows, width)
	if left {
		d.cpu.LayerNorm(y, x, n.Gain, n.Bias, rows, width, n.Epsilon)
	}
	return y
}

// same reports whether two buffers are one.
func same(a, b buffer) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// later leaves the norm of a few rows, which stay as they are until then, to the product.
func (o *multiplicand) later(x buffer, n kernel.Norm) {
	o.tiled, o.coded, o.normed = false, false, true
	o.before, o.norm = x, n
}

// numbers is the memory of so many rows as numbers.
func (o *multiplicand) numbers(rows, width int) buffer {
	return o.operandMemory.numbers(rows, rows*width, fewRows*o.widest(width))
}

// numbers returns n numbers of so many rows; few of the widest are not more than few.
func (m *operandMemory) numbers(rows, n, few int) buffer {
	if rows <= fewRows {
		if len(m.lines) < n {
			m.lines = mapped.Floats(few)
		}
		return m.lines
	}
	if m.floats == nil {
		m.many = mapped.Anonymous(4 * m.n)
		runtime.AddCleanup(m, func(m *mapped.Memory) { _ = m.Free() }, m.many)
		m.floats, _ = tensor.View[float32](m.many.Data)
	}
	return m.floats
}

// inBlocks returns the memory of rows of a multiplicand to be written as codes, if that is
// what the product with each of its readers takes (which have whole blocks of inputs then).
func (d *Device) inBlocks(o *multiplicand, rows, width int) (q kernel.Codes) {
	if !d.cpu.TakesCodes(rows, o.reader) {
		return q
	}
	return o.inCodes(rows, width, o.reader)
}

// inCodes returns the memory of rows to be written as codes for weights of type t.
func (o *multiplicand) inCodes(rows, width int, t tensor.DType) kernel.Codes {
	if len(o.blocks) < kernel.CodeBlocks(rows, width) {
		o.blocks = kernel.NewBlocks(kernel.CodeBlocks(rows, o.widest(width)))
	}
	o.codes, o.coded, o.normed = kernel.Codes{Blocks: o.blocks, DType: t}, true, false
	return o.codes
}

// tiles returns the memory of a multiplicand to be written, if rows of it will be
// multiplied as tiles: whatever matrix that is with, it has the type that was asked
// for. (One that cannot be quantised has another number of inputs.)
func (d *Device) tiles(o *multiplicand, rows, width int) []byte {
	if !d.tiled(rows, width) {
		return nil
	}
	if len(o.tiles) < kernel.TileBytes(rows, width) {
		o.tiles = d.room(kernel.TileBytes(rows, o.widest(width)))
	}
	o.tiled, o.coded, o.normed = true, false, false
	return o.tiles
}

// workPiece is so much that it is on huge pages: products miss in the TLB else. Of a
// page that is begun all is taken, so that operands share a piece.
const workPiece = 8 << 20

// room returns n bytes to work in, whole tiles.
func (d *Device) room(n int) []byte {
	n = (n + tileBytes - 1) / tileBytes * tileBytes
	if len(d.work) < n {
		d.work = tensor.Bytes(mapped.Floats(max(n, workPiece) / 4))
	}
	b := d.work[:n:n]
	d.work = d.work[n:]
	return b
}

const tileBytes = 2048

func (d *Device) tiled(rows, width int) bool {
	return !d.exact() && d.cpu.Tiles(rows) && width%tensor.QuantBlock == 0
}
