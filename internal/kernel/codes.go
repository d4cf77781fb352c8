package kernel

import (
	"fmt"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Codes are rows of x as a product with quantised weights takes them: what makes
// the rows writes them so, a member its own part, where else they would be quantised again
// before each product, few rows by each member.
type Codes struct {
	DType  tensor.DType // of the weights; Invalid: none are wanted
	Blocks []Block      // see CodeBlocks
}

// TakesCodes reports whether rows may be Codes for weights of type d, of any width that
// is a multiple of 32.
func (c *CPU) TakesCodes(rows int, d tensor.DType) bool { return c.ops.takesCodes(rows, d) }

func (o *ops) takesCodes(rows int, d tensor.DType) bool {
	return o.fewOf(rows, d) || rows > fewRows && d.IsQuantized() && o.tiles == nil
}

// CodeBlocks is how many blocks the Codes of rows have: some more, that do not matter.
func CodeBlocks(rows, width int) int {
	return (rows + generic.FewRows) * (width / tensor.QuantBlock)
}

// Block is one of Codes.
type Block = generic.Block

// NewBlocks makes room for Codes.
func NewBlocks(n int) []Block { return make([]Block, n) }

func (q *Codes) wanted() bool { return q.DType != tensor.Invalid }

// check panics if there is no room for rows.
func (q *Codes) check(rows, width int) {
	if q.wanted() && (width%tensor.QuantBlock != 0 || len(q.Blocks) < CodeBlocks(rows, width)) {
		panic(fmt.Sprintf("kernel: codes of %d rows of %d: %d blocks", rows, width, len(q.Blocks)))
	}
}

// put quantises a part of a row, whole blocks.
func (q *Codes) put(o *ops, x []float32, row, width, col int) {
	if len(x) == 0 {
		return
	}
	o.quantize(q.Blocks[(row*width+col)/tensor.QuantBlock:][:len(x)/tensor.QuantBlock], x, q.DType)
}

// claim says that a part of some rows, whole blocks, will be put: others may have its lines.
func (q *Codes) claim(row, rows, width, col, n int) {
	if n > 0 {
		size := int(unsafe.Sizeof(q.Blocks[0]))
		first := &q.Blocks[(row*width+col)/tensor.QuantBlock]
		claimRows((*byte)(unsafe.Pointer(first)), uintptr(width/tensor.QuantBlock*size), rows, n/tensor.QuantBlock*size)
	}
}

// LinearCodes is Linear of Codes.
func (c *CPU) LinearCodes(y []float32, x Codes, rows int, w *Weight, e Epilogue) {
	x.check(rows, w.In)
	if x.DType != w.DType || !c.TakesCodes(rows, w.DType) {
		panic(fmt.Sprintf("kernel: codes for %v of %d rows times %v", x.DType, rows, w.DType))
	}
	c.linearOf(y, nil, x, rows, Norm{}, w, e)
}

// AttentionCodes is Attention of a few rows, at most 16, in heads of whole blocks that writes
// the x of LinearCodes; out is room to work in, and holds nothing of use after it.
func (c *CPU) AttentionCodes(codes Codes, out []float32, qkv QKV, rows []AttentionRow, s AttentionShape) {
	if codes.check(len(rows), s.Heads*s.HeadDim); s.HeadDim%tensor.QuantBlock != 0 || len(rows) > fewRows {
		panic(fmt.Sprintf("kernel: codes of attention of %d rows in heads of %d", len(rows), s.HeadDim))
	}
	c.attend(nil, codes, out, qkv, rows, s)
}

// LayerNormCodes is LayerNorm that writes the x of LinearCodes.
func (c *CPU) LayerNormCodes(y Codes, x, gain, bias []float32, rows, width int, eps float32) {
	y.check(rows, width)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.norm
	t.ops, t.members, t.rows, t.width, t.eps = c.ops, c.members, rows, width, eps
	t.codes, t.x, t.gain, t.bias = y, x[:rows*width], gain[:width], bias[:width]
	t.claims = shareOut(t.claims, rows, c.team.Size())
	c.team.Run(t) // rows come from all members' caches: each takes less time with its part
	*t = normTask{claims: t.claims}
}

// runCodes claims rows until none is left, first of the member's own part: a product of many
// rows begins with about these.
func (t *normTask) runCodes(member int) {
	s := &t.members[member]
	s.a = grow(s.a, t.width)
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for {
			first, n := c.take(4)
			if n <= 0 {
				break
			}
			t.ask(first, first+n)
			for r := first; r < first+n; r++ {
				t.row(s.a[:t.width], r)
				t.codes.put(t.ops, s.a[:t.width], r, t.width, 0)
			}
		}
	}
}

// ask asks for what some rows are made of: the rows themselves lie in the caches of other
// members, gain and bias in memory.
func (t *normTask) ask(first, end int) {
	for _, v := range [...][]float32{t.x[first*t.width : end*t.width], t.gain, t.bias} {
		if b := tensor.Bytes(v); len(b) > 0 {
			prefetchRows(&b[0], 0, 1, len(b))
		}
	}
}
