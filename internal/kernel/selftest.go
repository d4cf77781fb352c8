package kernel

import (
	"fmt"
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// selfChecks are what a family must agree on with plain Go before it is used:
// each primitive once on a small input with tails. A run returns nil where the
// family does not offer the primitive.
//
// Results of different forms (a packed matrix) are compared by what is computed
// from them.
var selfChecks = []struct {
	name      string
	tolerance float64 // of the difference, against the largest value of plain Go
	run       func(t *trial, o *ops) []float32
}{
	{"accumulate F32", 1e-6, func(t *trial, o *ops) []float32 { return t.accumulate(o, tensor.F32) }},
	{"accumulate F16", 1e-6, func(t *trial, o *ops) []float32 { return t.accumulate(o, tensor.F16) }},
	{"accumulate BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.accumulate(o, tensor.BF16) }},
	{"multiply F32", 1e-6, func(t *trial, o *ops) []float32 { return t.multiply(o, tensor.F32) }},
	{"multiply F16", 1e-6, func(t *trial, o *ops) []float32 { return t.multiply(o, tensor.F16) }},
	{"multiply BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.multiply(o, tensor.BF16) }},
	{"transpose", 0, (*trial).transpose},
	{"stream F32", 1e-6, func(t *trial, o *ops) []float32 { return t.stream(o, tensor.F32) }},
	{"stream F16", 1e-6, func(t *trial, o *ops) []float32 { return t.stream(o, tensor.F16) }},
	{"stream BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.stream(o, tensor.BF16) }},
	{"stream pairs", 1e-6, (*trial).streamPairs},
	{"panels of pairs", 1e-6, (*trial).pairPanels},
	{"stream Q8_0", 1e-6, func(t *trial, o *ops) []float32 { return t.streamBlocks(o, tensor.Q8_0) }},
	{"stream Q4_0", 1e-6, func(t *trial, o *ops) []float32 { return t.streamBlocks(o, tensor.Q4_0) }},
	{"four streams F32", 1e-6, func(t *trial, o *ops) []float32 { return t.four(o, tensor.F32) }},
	{"four streams F16", 1e-6, func(t *trial, o *ops) []float32 { return t.four(o, tensor.F16) }},
	{"four streams BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.four(o, tensor.BF16) }},
	{"four streams of rows", 1e-6, (*trial).fourDots},
	{"four streams Q8_0", 1e-6, func(t *trial, o *ops) []float32 { return t.fourBlocks(o, tensor.Q8_0) }},
	{"four streams Q4_0", 1e-6, func(t *trial, o *ops) []float32 { return t.fourBlocks(o, tensor.Q4_0) }},
	{"four streams of tiles", 1e-6, (*trial).fourTiles},
	{"dots F32", 1e-6, func(t *trial, o *ops) []float32 { return t.dots(o, tensor.F32) }},
	{"dots F16", 1e-6, func(t *trial, o *ops) []float32 { return t.dots(o, tensor.F16) }},
	{"dots BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.dots(o, tensor.BF16) }},
	{"add", 0, func(t *trial, o *ops) []float32 { y := t.floats(37); o.add(y, t.floats(37)); return y }},
	{"scale", 0, func(t *trial, o *ops) []float32 { y := t.floats(37); o.scale(y, 1.7); return y }},
	{"sum", 1e-6, func(t *trial, o *ops) []float32 { return []float32{o.sum(t.floats(37))} }},
	{"sum of squares", 1e-6, func(t *trial, o *ops) []float32 { return []float32{o.sumSquares(t.floats(37), 0.3)} }},
	{"normalize", 1e-6, func(t *trial, o *ops) []float32 {
		y := make([]float32, 37)
		o.normalize(y, t.floats(37), t.floats(37), t.floats(37), 0.3, 1.2)
		return y
	}},
	{"maximum", 0, func(t *trial, o *ops) []float32 { s := t.floats(37); return append(s, o.scaleMax(s, -0.7)) }},
	{"exponential", 1e-6, func(t *trial, o *ops) []float32 { s := t.floats(37); return append(s, o.expSum(s, 1)) }},
	{"gate", 1e-6, func(t *trial, o *ops) []float32 { x := t.floats(37); o.gate(x, 1.5957691, 0.07135481); return x }},
	{"quantize Q8_0", 0, func(t *trial, o *ops) []float32 { return t.quantize(o, tensor.Q8_0) }},
	{"quantize Q4_0", 0, func(t *trial, o *ops) []float32 { return t.quantize(o, tensor.Q4_0) }},
	{"products Q8_0", 1e-6, func(t *trial, o *ops) []float32 { return t.products(o, tensor.Q8_0) }},
	{"products Q4_0", 1e-6, func(t *trial, o *ops) []float32 { return t.products(o, tensor.Q4_0) }},
	{"pack Q8_0", 0, func(t *trial, o *ops) []float32 { return t.packTile(o, tensor.Q8_0) }},
	{"pack Q4_0", 0, func(t *trial, o *ops) []float32 { return t.packTile(o, tensor.Q4_0) }},
	{"accumulate pairs", 1e-6, (*trial).accumulatePairs},
	{"multiply pairs", 1e-6, (*trial).multiplyPairs},
	{"dots of pairs", 1e-6, (*trial).dotsPairs},
	{"tiles BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.BF16, false, 35) }},
	{"tiles F16", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.F16, false, 5) }},
	{"transposed tiles BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.BF16, true, 5) }},
	{"transposed tiles F16", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.F16, true, 5) }},
	{"tiles of training", 1e-2, (*trial).trainTiles}, // where sums differ, roundings to bf16 may
	{"attention of training", 1e-2, (*trial).trainAttention},
	{"tiles Q8_0", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.Q8_0, true, 5) }},
	{"tiles Q4_0", 1e-6, func(t *trial, o *ops) []float32 { return t.tiles(o, tensor.Q4_0, true, 5) }},
	{"few rows Q8_0", 1e-6, func(t *trial, o *ops) []float32 { return t.few(o, tensor.Q8_0) }},
	{"few rows Q4_0", 1e-6, func(t *trial, o *ops) []float32 { return t.few(o, tensor.Q4_0) }},
	{"stream of tiles", 1e-6, (*trial).streamTiles},
	{"packing Q8_0 meanwhile", 0, func(t *trial, o *ops) []float32 { return t.meanwhile(o, tensor.Q8_0) }},
	{"packing Q4_0 meanwhile", 0, func(t *trial, o *ops) []float32 { return t.meanwhile(o, tensor.Q4_0) }},
	{"tiles of halves", 1e-3, (*trial).halfTiles},
	{"turned tiles", 0, (*trial).turnTile},
	{"gate of tiles", 2e-4, (*trial).gate},
	{"norm of blocks", 1e-2, (*trial).normTile},
	{"gated tiles", 1e-2, (*trial).gatedTiles},
	{"attention in tiles", 1e-2, (*trial).tileAttention},
	{"scores F32", 1e-6, func(t *trial, o *ops) []float32 { return t.scores(o, tensor.F32) }},
	{"elements of training", 0, (*trial).training},
	{"multiply rounded pairs", 1e-6, (*trial).multiplyFloats},
	{"scores F16", 1e-6, func(t *trial, o *ops) []float32 { return t.scores(o, tensor.F16) }},
	{"scores BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.scores(o, tensor.BF16) }},
	{"scores of codes", 1e-6, (*trial).codeScores},
	{"values of codes", 1e-6, (*trial).codeValues},
	{"heads of codes", 1e-2, (*trial).codeHeads}, // weights may be rounded the other way
	{"codes of keys and values", 0, (*trial).putCodes},
	{"numbers of codes", 0, (*trial).widenCodes},
	{"scores by rows F16", 1e-6, func(t *trial, o *ops) []float32 { return t.scoreRows(o, tensor.F16) }},
	{"scores by rows BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.scoreRows(o, tensor.BF16) }},
	{"values F32", 1e-6, func(t *trial, o *ops) []float32 { return t.values(o, tensor.F32) }},
	{"values F16", 1e-6, func(t *trial, o *ops) []float32 { return t.values(o, tensor.F16) }},
	{"values BF16", 1e-6, func(t *trial, o *ops) []float32 { return t.values(o, tensor.BF16) }},
	{"narrow F16", 0, func(t *trial, o *ops) []float32 { return t.narrow(o, tensor.F16) }},
	{"narrow BF16", 0, func(t *trial, o *ops) []float32 { return t.narrow(o, tensor.BF16) }},
	{"widen F16", 0, func(t *trial, o *ops) []float32 { return t.widen(o, tensor.F16) }},
	{"widen BF16", 0, func(t *trial, o *ops) []float32 { return t.widen(o, tensor.BF16) }},
	{"triangle", 0, (*trial).triangle},
	{"scores of many rows", 0, (*trial).crossMax},
	{"results of many rows", 0, (*trial).weigh},
	{"multiply ahead", 1e-6, (*trial).multiplyAhead},
	{"multiply pairs ahead", 1e-6, (*trial).pairsAhead},
}

// selfTest returns what o computes wrongly, if anything. It takes about a
// millisecond.
func (o *ops) selfTest() error {
	plain := twinOps()
	for _, c := range selfChecks {
		got, err := attempt(o, c.run)
		if err != nil {
			return fmt.Errorf("self-test: %s: %w", c.name, err)
		}
		if got == nil {
			continue
		}
		want, err := attempt(plain, c.run)
		if err != nil {
			return fmt.Errorf("self-test: %s in plain Go: %w", c.name, err)
		}
		if err := agree(got, want, c.tolerance); err != nil {
			return fmt.Errorf("self-test: %s: %w", c.name, err)
		}
	}
	return nil
}

// twinOps is plain Go with a twin of every primitive that any family offers.
func twinOps() *ops {
	o := genericOps()
	o.pairs = &pairOps{
		round: generic.RoundPairs, accumulate: generic.AccumulatePairs,
		pack: func(dst []uint32, w []byte, stride, rows, cols int) {
			generic.PackPairs(generic.NR, dst, w, stride, rows, cols)
		},
		multiply: func(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool) {
			generic.MultiplyPairs(generic.NR, c, ldc, a, lda, b, mr, k, load)
		},
		multiplyAhead: func(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool, h *generic.Ahead) {
			generic.MultiplyPairsAhead(generic.NR, c, ldc, a, lda, b, mr, k, load, h)
		},
		dots: generic.DotsPairs, panel: generic.AccumulatePanel,
	}
	o.train.packFloats = func(dst []uint32, w []float32, ld, rows, cols int) {
		generic.PackFloats(generic.NR, dst, w, ld, rows, cols)
	}
	o.stream, o.pairs.stream, o.streamBlocks = generic.Stream, generic.StreamPairs, generic.StreamBlocks
	o.pairs.streamPanels = generic.StreamPanels
	o.four, o.fourDots, o.fourBlocks = generic.Four, generic.FourDots, generic.FourBlocks
	o.multiplyAhead = generic.MultiplyAhead
	o.fewBlocks, o.fewPays = generic.Few, func(tensor.DType, int) bool { return true }
	o.tiles = &tileOps{
		packRows: generic.PackRowTiles, pack: generic.PackTiles, product: generic.MultiplyProduct, norm: generic.NormTile, gate: generic.Gate,
		packStream: generic.PackStream, stream: generic.StreamTiles, four: generic.StreamRow, alone: generic.StreamRowAlone,
		cross: generic.CrossTiles, softmax: generic.SoftmaxTile, scale: generic.ScaleTile, narrow: generic.NarrowTile, turn: generic.TurnTile,
		rows: generic.PackRows, panels: generic.MultiplyPanels, multiplyRows: generic.MultiplyRows, packStep: generic.PackStep, finish: generic.Finish, addRows: generic.AddHalfRows,
		slopes: generic.SlopeTiles, keep: generic.KeepTile, dots: generic.HalfDots,
	}
	return o
}

// attempt turns a panic into an error.
func attempt(o *ops, run func(*trial, *ops) []float32) (y []float32, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return run(&trial{seed: 1}, o), nil
}

func agree(got, want []float32, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values where plain Go has %d", len(got), len(want))
	}
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(float64(w)))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= tolerance*largest) {
			return fmt.Errorf("value %d is %v, plain Go's is %v", i, got[i], w)
		}
	}
	return nil
}

// trial gives a check its input, the same each time.
type trial struct{ seed uint32 }

// floats returns n numbers of about -2 … 2.
func (t *trial) floats(n int) []float32 {
	v := alignedFloats(n)
	for i := range v {
		t.seed = t.seed*1664525 + 1013904223
		v[i] = float32(int32(t.seed)>>16) / (1 << 14)
	}
	return v
}

// weights returns n of them as elements of type d, of odd alignment.
func (t *trial) weights(d tensor.DType, n int) []byte {
	w := alignedBytes(n*d.Size() + 1)[1:]
	tensor.FromFloat32(w, d, t.floats(n))
	return w
}

const (
	trialRows  = 3
	trialDepth = 21
	trialCols  = 37
)

func (t *trial) accumulate(o *ops, d tensor.DType) []float32 {
	x, w := t.floats(trialRows*trialDepth), t.weights(d, trialDepth*trialCols)
	var out []float32
	for _, rows := range []int{1, trialRows} {
		ld := roundUp(trialCols, o.nr)
		y := make([]float32, rows*ld)
		o.accumulate(d, y, ld, x, trialDepth, rows, trialDepth, w, trialCols*d.Size(), trialCols)
		for r := range rows {
			out = append(out, y[r*ld:][:trialCols]...)
		}
	}
	return out
}

// multiply packs a matrix and multiplies by its panels.
func (t *trial) multiply(o *ops, d tensor.DType) []float32 {
	const most = 13
	x, w := t.floats(most*trialDepth), t.weights(d, trialDepth*trialCols)
	ld := roundUp(trialCols, o.nr)
	b, c := alignedFloats(ld*trialDepth), make([]float32, most*ld)
	o.pack(d, b, w, trialCols*d.Size(), trialDepth, trialCols)
	var out []float32
	for first := 0; first < most; first += o.mr {
		mr := min(o.mr, most-first)
		for j := 0; j < ld; j += o.nr {
			// In two parts, the second on top of the first.
			for k, n := 0, 9; k < trialDepth; k, n = k+n, trialDepth-n {
				o.multiply(c[first*ld+j:], ld, x[first*trialDepth+k:], trialDepth, b[j*trialDepth+k*o.nr:], o.nr, mr, n, k > 0)
			}
		}
		for r := range mr {
			out = append(out, c[(first+r)*ld:][:trialCols]...)
		}
	}
	return out
}

// multiplyAhead multiplies by one panel, so deep that all parts of the loop have
// something to do, and asks for what it has at hand.
func (t *trial) multiplyAhead(o *ops) []float32 {
	if o.multiplyAhead == nil {
		return nil
	}
	const rows, depth, cols = 12, 59, 16
	a, b, c := t.floats(rows*depth), alignedFloats(depth*o.nr), make([]float32, rows*o.nr)
	o.pack(tensor.F32, b, t.weights(tensor.F32, depth*cols), cols*4, depth, cols)
	h := generic.Ahead{Y: &c[0], LDY: uintptr(o.nr * 4), A: &a[0], B: &tensor.Bytes(b)[0], Step: 64}
	var out []float32
	for _, load := range []bool{false, true} {
		for i := 0; i < rows; i += o.mr {
			o.multiplyAhead(c[i*o.nr:], o.nr, a[i*depth:], depth, b, min(o.mr, rows-i), depth, load, &h)
		}
		for i := range rows {
			out = append(out, c[i*o.nr:][:cols]...)
		}
	}
	y := make([]float32, rows*o.nr)
	for _, add := range []bool{false, true} {
		for i := 0; i < rows; i += o.mr {
			h.End = &generic.End{Out: y[i*o.nr:], LD: o.nr, Bias: b[:o.nr], Add: add}
			o.multiplyAhead(c[i*o.nr:], o.nr, a[i*depth:], depth, b, min(o.mr, rows-i), depth, false, &h)
		}
		for i := range rows {
			out = append(out, y[i*o.nr:][:cols]...)
		}
	}
	return out
}

func (t *trial) transpose(o *ops) []float32 {
	src := t.floats(o.nr * trialDepth)
	n := min(o.nr, 13)
	dst := make([]float32, trialDepth*o.nr)
	o.packTransposed(dst, src, n, trialDepth)
	var out []float32
	for d := range trialDepth {
		out = append(out, dst[d*o.nr:][:n]...)
	}
	return out
}

func (t *trial) dots(o *ops, d tensor.DType) []float32 {
	const rows, outs = 5, 6
	y := make([]float32, rows*outs)
	o.dots(d, y, outs, t.floats(rows*trialDepth), rows, trialDepth, t.weights(d, outs*trialDepth), trialDepth*d.Size(), outs)
	return y
}

func (t *trial) quantize(o *ops, d tensor.DType) []float32 {
	blocks := make([]generic.Block, 5)
	o.quantize(blocks, t.floats(len(blocks)*tensor.QuantBlock), d)
	var out []float32
	for _, b := range blocks {
		out = append(out, b.Scale, float32(b.Offset))
		for _, q := range b.Q {
			out = append(out, float32(q))
		}
	}
	return out
}

func (t *trial) products(o *ops, d tensor.DType) []float32 {
	const rows, n, panels = 17, 2, 3 // twelve and five, of two panels and of one
	blocks := make([]generic.Block, rows*n)
	o.quantize(blocks, t.floats(len(blocks)*tensor.QuantBlock), d)
	y := make([]float32, rows*panels*panelOuts)
	o.products(d, y, panels*panelOuts, blocks, rows, t.panels(d, n*tensor.QuantBlock, panels*panelOuts), panels)
	return y
}

// panels returns a packed weight of any codes.
func (t *trial) panels(d tensor.DType, in, outs int) []byte {
	w := alignedBytes(PackedBytes(d, in, outs))
	for i, v := range t.floats(len(w)) {
		w[i] = byte(int(v * 64))
	}
	for i := 0; i < len(w); i += generic.PanelBlock(d) {
		tensor.FromFloat32(w[i:], tensor.F16, t.floats(panelOuts))
	}
	return w
}

func (t *trial) packTile(o *ops, d tensor.DType) []float32 {
	const ld = 32
	block := make([]byte, generic.PanelBlock(d))
	o.packTile(d, block, t.floats(tensor.QuantBlock*ld), ld)
	out := make([]float32, len(block))
	for i, b := range block {
		out[i] = float32(b)
	}
	return out
}

const trialPairs = (trialDepth + 1) / 2

// pairs returns rows of x rounded to bf16.
func (t *trial) pairs(o *ops, rows int) []uint32 {
	x := alignedPairs(rows * trialPairs)
	for r := range rows {
		o.pairs.round(x[r*trialPairs:], t.floats(trialDepth))
	}
	return x
}

func (t *trial) accumulatePairs(o *ops) []float32 {
	if o.pairs == nil {
		return nil
	}
	var out []float32
	for _, rows := range []int{1, 4} {
		ld := roundUp(trialCols, o.nr)
		y := make([]float32, rows*ld)
		o.pairs.accumulate(y, ld, t.pairs(o, rows), trialPairs, rows, trialDepth, t.weights(tensor.BF16, trialDepth*trialCols), 2*trialCols, trialCols)
		for r := range rows {
			out = append(out, y[r*ld:][:trialCols]...)
		}
	}
	return out
}

func (t *trial) multiplyPairs(o *ops) []float32 {
	if o.pairs == nil {
		return nil
	}
	const most = 13
	x, w := t.pairs(o, most), t.weights(tensor.BF16, trialDepth*trialCols)
	ld := roundUp(trialCols, o.nr)
	b, c := alignedPairs(ld*trialPairs), make([]float32, most*ld)
	o.pairs.pack(b, w, 2*trialCols, trialDepth, trialCols)
	var out []float32
	for first := 0; first < most; first += o.mr {
		mr := min(o.mr, most-first)
		for j := 0; j < ld; j += o.nr {
			for k, n := 0, 4; k < trialPairs; k, n = k+n, trialPairs-n {
				o.pairs.multiply(c[first*ld+j:], ld, x[first*trialPairs+k:], trialPairs, b[j*trialPairs+k*o.nr:], mr, n, k > 0)
			}
		}
		for r := range mr {
			out = append(out, c[(first+r)*ld:][:trialCols]...)
		}
	}
	return out
}

func (t *trial) dotsPairs(o *ops) []float32 {
	if o.pairs == nil {
		return nil
	}
	const rows, outs = 5, 6
	y := make([]float32, rows*outs)
	o.pairs.dots(y, outs, t.pairs(o, rows), trialPairs, rows, trialDepth, t.weights(tensor.BF16, outs*trialDepth), 2*trialDepth, outs)
	return y
}

// tiles multiplies through a matrix unit, by two tiles of rows and by one.
func (t *trial) tiles(o *ops, d tensor.DType, outMajor bool, rows int) []float32 {
	if o.tiles == nil {
		return nil
	}
	const step = generic.TileStep
	depth, stride := 40, trialCols*d.Size()
	var w []byte
	switch {
	case d.IsQuantized():
		depth = 2 * tensor.QuantBlock
		stride = PackedBytes(d, depth, panelOuts)
		w = t.panels(d, depth, trialCols)
	default:
		if outMajor {
			stride = depth * d.Size()
		}
		w = t.weights(d, depth*trialCols)
	}
	steps, panels, tiles := ceilDiv(depth, step), ceilDiv(trialCols, step), ceilDiv(rows, step/2)
	bytes := steps * generic.StepBytes
	x, start := t.floats(rows*depth), t.floats(panels*step)
	a, b := alignedBytes(ceilDiv(rows, step)*bytes), alignedBytes(panels*bytes)
	c, y := alignedFloats(max(tiles*step*step/2, workFloats)), t.floats(rows*trialCols)
	for r := 0; r < rows; r += step {
		o.tiles.packRows(a[r/step*bytes:], x[r*depth:], depth, min(step, rows-r), depth)
	}
	o.tiles.pack(d, outMajor, b, w, stride, depth, trialCols)
	for j := range panels {
		// In two parts, the second on top of the first.
		p := generic.Product{A: a, AStride: bytes, B: b[j*bytes:], Steps: 1, Rows: rows, Start: start[j*step:], C: c, Cols: min(step, trialCols-j*step)}
		o.tiles.product(&p)
		p.A, p.B, p.Steps, p.Start, p.Ld = a[generic.StepBytes:], p.B[generic.StepBytes:], steps-1, c, step
		p.Y, p.LdY, p.Add = y[j*step:], trialCols, j == 0
		o.tiles.product(&p)
	}
	return y
}
