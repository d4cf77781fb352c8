package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// PanelOuts is how many outputs of a packed weight lie together.
const PanelOuts = generic.PanelOuts

const (
	panelOuts = PanelOuts
	quantItem = 128       // outputs of a claim with many rows
	quantRows = 144 << 10 // bytes of x in the second-level cache, beside y and W
	fewClaims = 8         // claims of a member with few rows
	firstRead = 6 << 10   // bytes of W that are asked for before x is quantised, or rounded
	ownElems  = 32 << 10  // an x up to here is quantised, rounded or moved by each member, which takes less than waiting for the others
)

// linearQuantized is Linear for packed Q8_0 and Q4_0 weights. x is quantised in
// blocks of 32 (generic.Quantize has the rule), the products of codes are exact,
// and one accumulator per output adds up the scaled blocks in order.
func (c *CPU) linearQuantized(y, x []float32, codes Codes, rows int, w *Weight, e Epilogue) {
	t := &c.quantized
	t.c, t.y, t.x, t.rows, t.w, t.e = c, y, x, rows, *w, e
	if t.n = w.In / tensor.QuantBlock; codes.wanted() {
		t.blocks = codes.Blocks[:rows*t.n]
	}
	t.multiply()
	*t = quantizedTask{claims: t.claims}
}

// coded quantises rows of x for w, each member a part of them.
func (c *CPU) coded(x []float32, rows int, w *Weight) Codes {
	c.blocks = growBlocks(c.blocks, CodeBlocks(rows, w.In))
	t := &c.quantized
	t.c, t.x, t.rows, t.w, t.n, t.blocks = c, x, rows, *w, w.In/tensor.QuantBlock, c.blocks
	t.quantize()
	*t = quantizedTask{claims: t.claims}
	return Codes{DType: w.DType, Blocks: c.blocks}
}

func growBlocks(b []generic.Block, n int) []generic.Block {
	if cap(b) < n {
		return make([]generic.Block, n)
	}
	return b[:n]
}

// quantizedTask is first the rows of x to quantise, then the product's blocks.
type quantizedTask struct {
	c      *CPU
	y, x   []float32
	rows   int
	w      Weight
	e      Epilogue
	n      int             // blocks of a row
	blocks []generic.Block // nil for a small x: each member has its own

	product   bool
	items     int // of the current step
	panels    int // of one item
	most      int // items of a claim
	colItems  int
	rowsBlock int
	claims    []claim
}

func (t *quantizedTask) quantize() {
	const rowsOfClaim = 4
	t.product, t.rowsBlock, t.most = false, rowsOfClaim, 1
	t.run(ceilDiv(t.rows, rowsOfClaim), t.rows*t.w.In*4)
}

func (t *quantizedTask) multiply() {
	all := ceilDiv(t.w.Out, panelOuts)
	t.product, t.rowsBlock = true, t.rows
	if t.rows <= fewRows {
		t.panels, t.most = 1, min(max(1, all/(fewClaims*t.c.team.Size())), quantItem/panelOuts)
	} else {
		t.panels, t.most = quantItem/panelOuts, 1
		blocks, members := ceilDiv(t.rows, max(48, quantRows/max(1, t.w.In)/12*12)), t.c.team.Size()
		// Each begins with rows of its own, unless to read all of W for them takes longer: 17
		// rows of Q8_0 by a tenth, while those of Q4_0 take a fifth less.
		if members <= 2*blocks && (t.w.DType == tensor.Q4_0 || t.rows >= leastRun/2*members) {
			blocks = roundUp(blocks, members)
		}
		t.rowsBlock = min(t.rows, roundUp(ceilDiv(t.rows, blocks), 12))
	}
	t.colItems = ceilDiv(all, t.panels)
	t.run(t.colItems*ceilDiv(t.rows, t.rowsBlock), t.rows*t.w.In*t.w.Out)
}

// run shares n items among the members: each begins with a part of its own, so
// that it reads memory in a line.
func (t *quantizedTask) run(n, operations int) {
	t.claims = shareOut(t.claims, n, t.c.team.Size())
	t.items = n
	t.c.share(t, operations)
}

// Run claims items until none is left.
func (t *quantizedTask) Run(member int) {
	blocks := t.blocks
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for {
			item, n := c.take(t.most)
			if n <= 0 {
				break
			}
			if t.product {
				if blocks == nil {
					blocks = t.own(member, item)
				}
				t.block(member, item, n, blocks)
			} else {
				r := item * t.rowsBlock
				rows := min(t.rowsBlock, t.rows-r)
				t.c.ops.quantize(t.blocks[r*t.n:][:rows*t.n], t.x[r*t.w.In:][:rows*t.w.In], t.w.DType)
			}
		}
	}
}

// own quantises all rows for a member alone, while its first weights are on their
// way.
func (t *quantizedTask) own(member, item int) []generic.Block {
	panels := item % t.colItems * t.panels
	if w := t.w.Data[panels*t.n*generic.PanelBlock(t.w.DType):]; len(w) > 0 {
		prefetchRows(&w[0], 0, 1, min(len(w), firstRead))
	}
	s := &t.c.members[member]
	s.blocks = growBlocks(s.blocks, t.rows*t.n)
	t.c.ops.quantize(s.blocks, t.x[:t.rows*t.w.In], t.w.DType)
	return s.blocks
}

// block computes n items of the product with a quantised x, which lie side by side.
func (t *quantizedTask) block(member, item, n int, x []generic.Block) {
	row, col := item/t.colItems*t.rowsBlock, item%t.colItems*t.panels*panelOuts
	rows, cols := min(t.rowsBlock, t.rows-row), min(n*t.panels*panelOuts, t.w.Out-col)
	panels := ceilDiv(cols, panelOuts)
	// Results go to y at once unless they are added to it or quantised, or y has no room
	// for whole panels.
	var acc []float32
	ld := t.w.Out
	direct := !t.e.Add && !t.e.Codes.wanted() && cols%panelOuts == 0
	if direct {
		acc = t.y[row*t.w.Out+col:]
	} else {
		if t.e.Codes.wanted() {
			t.e.Codes.claim(row, rows, t.w.Out, col, cols)
		}
		s := &t.c.members[member]
		ld = panels * panelOuts
		s.c = grow(s.c, rows*ld)
		acc = s.c
	}
	if t.n == 0 {
		for r := range rows {
			clear(acc[r*ld:][:cols])
		}
	} else {
		panel := t.n * generic.PanelBlock(t.w.DType)
		t.c.ops.products(t.w.DType, acc, ld, x[row*t.n:][:rows*t.n], rows,
			t.w.Data[col/panelOuts*panel:][:panels*panel], panels)
	}
	for r := range rows {
		if y := acc[r*ld:][:cols]; direct {
			t.e.apply(t.c.ops, y, col)
		} else if t.e.Codes.wanted() {
			t.e.apply(t.c.ops, y, col)
			t.e.Codes.put(t.c.ops, y, row+r, t.w.Out, col)
		} else {
			t.e.finish(t.c.ops, t.y[(row+r)*t.w.Out+col:][:cols], y, col)
		}
	}
}

// PackedBytes returns the size of an in × out weight packed as d, which is Q8_0
// or Q4_0. In is a multiple of 32.
func PackedBytes(d tensor.DType, in, out int) int {
	return ceilDiv(out, panelOuts) * (in / tensor.QuantBlock) * generic.PanelBlock(d)
}

// PackedRow writes the inputs of output o of a packed weight to dst [In].
func (w *Weight) PackedRow(dst []float32, o int) {
	size := generic.PanelBlock(w.DType)
	panel := w.Data[o/panelOuts*(w.In/tensor.QuantBlock)*size:][:w.In/tensor.QuantBlock*size]
	if len(panel) > 0 {
		prefetchRows(&panel[0], 0, 1, len(panel)) // of its lines nearly all are needed
	}
	var block [40]byte
	for k := 0; k < w.In; k += tensor.QuantBlock {
		generic.GetBlock(w.DType, block[:], panel[:size], o%panelOuts)
		tensor.ToFloat32(dst[k:][:tensor.QuantBlock], w.DType, block[:])
		panel = panel[size:]
	}
}

// PackWeight quantises a weight of F32, F16 or BF16 elements to d (Q8_0 or Q4_0)
// in the packed form that Linear takes. The codes and scales are those that
// tensor.FromFloat32 gives for the inputs of each output. dst has PackedBytes.
func (c *CPU) PackWeight(dst []byte, w *Weight, d tensor.DType) error {
	if !w.DType.IsFloat() || !d.IsQuantized() {
		return fmt.Errorf("pack a weight: cannot make %v of %v", d, w.DType)
	}
	if len(w.Data) < w.In*w.Out*w.DType.Size() {
		panic(fmt.Sprintf("kernel: pack %d×%d %v: weight of %d bytes", w.In, w.Out, w.DType, len(w.Data)))
	}
	return c.pack(&packTask{dst: dst, w: *w, d: d})
}

// PackBlocks is PackWeight for a weight that is quantised already: data is [Out]
// rows of GGUF's blocks, as tensor.FromFloat32 writes them.
func (c *CPU) PackBlocks(dst []byte, d tensor.DType, in, out int, data []byte) error {
	if !d.IsQuantized() {
		return fmt.Errorf("pack a weight: cannot make blocks of %v", d)
	}
	if in%tensor.QuantBlock == 0 && len(data) < out*d.Bytes(in) {
		panic(fmt.Sprintf("kernel: pack %d×%d %v: weight of %d bytes", in, out, d, len(data)))
	}
	return c.pack(&packTask{dst: dst, w: Weight{In: in, Out: out, DType: d, Data: data}, d: d})
}

func (c *CPU) pack(t *packTask) error {
	if t.w.In%tensor.QuantBlock != 0 {
		return fmt.Errorf("pack a weight of %d×%d as %v: In is %d, want a multiple of %d", t.w.In, t.w.Out, t.d, t.w.In, tensor.QuantBlock)
	}
	if len(t.dst) < PackedBytes(t.d, t.w.In, t.w.Out) {
		panic(fmt.Sprintf("kernel: pack %d×%d %v into %d bytes", t.w.In, t.w.Out, t.d, len(t.dst)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.c, t.n, t.size = c, t.w.In/tensor.QuantBlock, generic.PanelBlock(t.d)
	c.share(t, t.w.In*t.w.Out*8)
	return nil
}

// packTask hands out pairs of panels: the families' widest vectors of columns.
type packTask struct {
	c    *CPU
	dst  []byte
	w    Weight
	d    tensor.DType
	n    int // blocks of an output
	size int // bytes of a panel's block
	next atomic.Int64
}

const packOuts = 2 * panelOuts

// Run claims panels until none is left.
func (t *packTask) Run(member int) {
	s := &t.c.members[member]
	for {
		o := int(t.next.Add(1)-1) * packOuts
		if o >= t.w.Out {
			return
		}
		dst := t.dst[o/panelOuts*t.n*t.size:]
		switch {
		case t.w.DType.IsQuantized():
			for i := range min(packOuts, roundUp(t.w.Out-o, panelOuts)) {
				t.copyBlocks(dst[i/panelOuts*t.n*t.size:], o, i)
			}
		case t.w.OutMajor:
			for i := 0; i < min(packOuts, t.w.Out-o); i += panelOuts {
				t.rows(s, dst[i/panelOuts*t.n*t.size:], o+i)
			}
		default:
			t.columns(s, dst, o)
		}
	}
}

// copyBlocks spreads the blocks of output o+i over a panel.
func (t *packTask) copyBlocks(panel []byte, o, i int) {
	bytes := t.d.Bytes(tensor.QuantBlock)
	var zero [40]byte
	tensor.FromFloat32(zero[:], t.d, make([]float32, tensor.QuantBlock))
	for b := range t.n {
		block := zero[:]
		if o+i < t.w.Out {
			block = t.w.Data[((o+i)*t.n+b)*bytes:]
		}
		generic.PutBlock(t.d, panel[b*t.size:], i%panelOuts, block)
	}
}

// columns packs two panels of an [In][Out] weight.
func (t *packTask) columns(s *scratch, dst []byte, o int) {
	ops := t.c.ops
	cols := min(packOuts, t.w.Out-o)
	ld := ops.nr
	tiles := roundUp(cols, ld)
	s.a = grow(s.a, tensor.QuantBlock*max(tiles, packOuts))
	clear(s.a)
	stride := t.w.Out * t.w.DType.Size()
	for b := range t.n {
		ops.pack(t.w.DType, s.a, t.w.Data[b*tensor.QuantBlock*stride+o*t.w.DType.Size():], stride, tensor.QuantBlock, cols)
		for i := 0; i < cols; i += panelOuts {
			tile := s.a[i/ld*ld*tensor.QuantBlock+i%ld:]
			ops.packTile(t.d, dst[(i/panelOuts*t.n+b)*t.size:][:t.size], tile, ld)
		}
	}
}

// rows packs one panel of an [Out][In] weight.
func (t *packTask) rows(s *scratch, dst []byte, o int) {
	ops := t.c.ops
	outs := min(panelOuts, t.w.Out-o)
	ld := ops.nr
	dim := min(ld, tensor.QuantBlock)
	s.a = grow(s.a, tensor.QuantBlock*ld)
	s.b = grow(s.b, outs*roundUp(tensor.QuantBlock, ld))
	stride := t.w.In * t.w.DType.Size()
	for b := range t.n {
		ops.pack(t.w.DType, s.b, t.w.Data[o*stride+b*tensor.QuantBlock*t.w.DType.Size():], stride, outs, tensor.QuantBlock)
		for k := 0; k < tensor.QuantBlock; k += dim {
			ops.packTransposed(s.a[k*ld:], s.b[k*outs:], outs, dim)
		}
		ops.packTile(t.d, dst[b*t.size:][:t.size], s.a, ld)
	}
}
