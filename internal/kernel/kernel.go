// Package kernel is the arithmetic of a transformer on the CPU: matrix
// products, layer norm, attention and activations, run by a team of threads.
//
// Every element of a result is computed in one fixed order that depends on
// nothing but the element's own inputs: not on the number of rows in a call,
// not on the other rows, not on the number of threads or how work was split.
// So a token has the same logits bit for bit in a prompt, decoded alone, or
// decoded in a batch. The families avx2, avx512 and neon agree bit for bit;
// generic (plain Go, without fused multiply-add) rounds differently, and so does
// a product with bf16 weights where the processor multiplies bf16 by bf16 faster
// than float32 (AVX512_BF16 on AMD): there x is rounded to bf16 as well. amx is
// avx512, but for products with weights in tiles, which round x to bfloat16; and for
// products of more than 16 rows with quantised weights and attention of more than 16
// rows of a text over 16-bit keys and values, which do so too, with the weights. There
// a token's logits depend on whether it came with more than 15 others, or with more
// than 15 of its own text, on nothing else.
//
// NaN and Inf go through as in IEEE 754 arithmetic, but for two things: the processor's
// products of bf16 by bf16 take subnormal numbers as zero (zero times Inf is NaN), and a
// block of keys or values in codes with one of 8.3 million or more, whose scale has no
// float16, is not finite. The package panics when a
// slice is shorter than its shape says, which is a programmer's error.
package kernel

import (
	"fmt"
	"sync"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Options chooses how a CPU computes.
type Options struct {
	Threads int    // 0: the physical cores that affinity and the cgroup's quota allow
	Family  string // generic, avx2, avx512, amx or neon; "": the best this machine has
	Wide    bool   // weights are multiplied in float32 even where bf16 by bf16 is faster
}

// CPU computes on the processor's cores. Its methods may be called from
// several goroutines; they take turns. Close releases its threads.
type CPU struct {
	ops     *ops
	team    *Team
	members []scratch
	skipped []string

	_  [64]byte // what workers read above is not on a line that each call writes
	mu sync.Mutex

	blocks    []generic.Block // a quantised x
	linear    linearTask
	quantized quantizedTask
	rounding  roundTask
	x         []float32 // of a few rows, a copy with room between them
	pairs     []uint32  // x rounded to bf16
	norm      normTask
	attention attentionTask
	tiles     tileTask
	tilesOfX  reserve // that it packs itself
	stream    streamTask
	four      fourTask
	many      manyTask
	runs      runsTask
	rowRuns   rowRuns
	train     trainScratch
	product   productTask

	trainTiles trainTiles
	loop       loop
}

// scratch is one member's own memory, grown to what a task needs.
type scratch struct {
	a, b, c   []float32
	x         []float32 // what it multiplies, if that is not the same for all
	p, q      []uint32
	blocks    []generic.Block
	small     [256]float32
	lens      [generic.TileStep]int
	kv        []float32 // of a head: keys …
	keys      []float32 // … which are here, or where they are float32 anyway
	values    []float32 // the same
	foresight foresight
	asks      generic.Asks
	heads     generic.CodeHeads
	lanes     [16]float64
	tiles     reserve
	packed    reserve       // columns of a product of training …
	columns   packedColumns // … which they are
	ahead     generic.Ahead
	end       generic.End // of ahead
	four      [4][]byte   // the panels that it reads side by side
	next      [4][]byte   // what the member probably reads next, as far as it was not asked for
	product   generic.Product
	stream    generic.TileStream
	few       generic.FewProduct
	rows      generic.Rows
	ready     bool      // the panel that is multiplied next is packed
	turn      int       // where
	huge      reserve   // what b is where that is on huge pages
	_         [128]byte // members do not share a cache line
}

// New starts a CPU. Without a name the best family is taken whose self-test
// agrees with plain Go. The error of an unknown or unavailable family names
// those that this machine has.
func New(o Options) (*CPU, error) {
	chosen, skipped, err := choose(candidates(), refusals(), o.Family)
	if err != nil {
		return nil, err
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("threads: got %d, want 0 or more", o.Threads)
	}
	n := o.Threads
	if n == 0 {
		n = Cores()
	}
	if o.Wide {
		wide := *chosen
		wide.pairs, wide.tiles = nil, nil
		chosen = &wide
	}
	c := &CPU{ops: chosen, skipped: skipped, members: make([]scratch, n)}
	var idle func(int) bool
	if chosen.streamsAhead {
		idle = c.streamAhead
	}
	c.team = NewTeam(n, idle)
	return c, nil
}

// Close stops the threads. The CPU is not used afterwards.
func (c *CPU) Close() {
	c.team.Close()
	c.train.packedA.free()
	c.train.packedB.free()
	c.train.sums32.free()
	c.product.huge.free()
	c.tilesOfX.free()
	for i := range c.members {
		c.members[i].tiles.free()
		c.members[i].packed.free()
		c.members[i].huge.free()
	}
}

// share gives a task of so many operations to the team, or does it alone where
// that takes less than calling the others.
func (c *CPU) share(t Task, operations int) {
	if operations < 32<<10 {
		t.Run(0)
		return
	}
	c.team.Run(t)
}

// Threads returns how many threads compute.
func (c *CPU) Threads() int { return c.team.Size() }

// Family returns the instruction set in use.
func (c *CPU) Family() string { return c.ops.name }

// Skipped says, of each better family that the processor has, why it was not
// chosen: the system refuses it, or its self-test failed.
func (c *CPU) Skipped() []string { return c.skipped }

// ops is what an instruction set provides; package generic documents each.
type ops struct {
	name   string
	mr, nr int

	accumulate     func(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int)
	pack           func(d tensor.DType, dst []float32, w []byte, stride, rows, cols int)
	packTransposed func(dst, src []float32, n, dim int)
	multiply       func(c []float32, ldc int, a []float32, lda int, b []float32, ldb, mr, k int, load bool)
	// multiplyAhead is multiply by a panel whose rows follow each other, and asks for
	// what comes next meanwhile; or nil.
	multiplyAhead func(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool, h *generic.Ahead)
	dots          func(d tensor.DType, y []float32, ldy int, x []float32, rows, in int, w []byte, stride, outs int)

	// One row times two panels, of floats and of blocks; nil: accumulate and products
	// serve.
	stream       func(d tensor.DType, y0, y1, x []float32, w0, w1 []byte, depth int)
	streamBlocks func(d tensor.DType, y0, y1 []float32, x []generic.Block, w0, w1 []byte)
	// One row times panels (or rows, of float32) of four runs, where four streams are read
	// faster than two; else nil.
	four       func(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, depth, panels int)
	fourDots   func(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, outs int)
	fourBlocks func(d tensor.DType, y []float32, ld int, x []generic.Block, w *[4][]byte, panels int)

	// Of attention; nil where the family has none, and the functions above serve.
	// What is most likely read next, a hint, is prefetched along with the rest.
	scores func(d tensor.DType, s, q []float32, k []byte, panels, dim int, next *generic.Asks)
	values func(d tensor.DType, out, p []float32, v []byte, dim int, next *generic.Asks) // dim is a multiple of nr
	// scoreRows is scores of keys that lie by rows, of 16 bits; dim is a multiple of 8.
	scoreRows func(d tensor.DType, s, q []float32, k []byte, n, dim int, next *generic.Asks)
	// Codes, see attention_codes.go: codeScores is products of one row with panels of 16
	// keys, codeValues what is made of their values, codeHeads both of a row in some heads of
	// 64; putCodes stores a position; widenKeys and widenValues make numbers of a panel. nil:
	// generic's serve, for codeValues multiply of numbers, for codeHeads one head at a time.
	codeScores             func(s []float32, x []generic.Block, k []byte, panels int, next *generic.Asks)
	codeValues             func(out, p []float32, v []byte, dim int, next *generic.Asks)
	codeHeads              func(h *generic.CodeHeads)
	putCodes               func(k, v []byte, key, value []generic.Block, pos int)
	widenKeys, widenValues func(dst []float32, panel []byte, dim int)
	narrow                 func(d tensor.DType, dst []byte, src []float32) // to F16 or BF16
	widen                  func(d tensor.DType, dst []float32, src []byte) // from F16 or BF16
	// triangle is multiply with load, mr rows, of which row i takes the first i of
	// the mr-1 rows of b.
	triangle func(c []float32, ldc int, a []float32, lda int, b []float32, ldb int)
	// crossMax computes scores of mr rows, and asks for memory meanwhile; weigh computes
	// their results if each row takes a position more than the one before it. dim is a
	// multiple of nr. nil: the others serve.
	crossMax func(s []float32, lds int, q []float32, ldq int, k []float32, dim, panels int, scale float32, most []float32, walks []generic.Walk)
	weigh    func(y []float32, ldy int, p []float32, ldp int, v []float32, ldv, n int, by []float32)

	add        func(y, x []float32)
	scale      func(y []float32, a float32)
	sum        func(x []float32) float32
	sumSquares func(x []float32, mean float32) float32
	normalize  func(y, x, gain, bias []float32, mean, rstd float32)
	scaleMax   func(s []float32, a float32) float32
	expSum     func(s []float32, m float32) float32
	gate       func(x []float32, a, b float32)
	peak       func(n int) (flops int) // n rounds of multiply-adds in registers
	reads      []func([]byte) float32  // each touches every byte, in another order

	train *trainOps

	quantize func(dst []generic.Block, x []float32, d tensor.DType)
	products func(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int)
	packTile func(d tensor.DType, dst []byte, tile []float32, ld int)
	// fewBlocks is products of a few rows with panels of two runs, for as many rows as
	// fewPays says; nil: products serve.
	fewBlocks func(p *generic.FewProduct)
	fewPays   func(d tensor.DType, rows int) bool
	peakInt8  func(n int) (ops int)
	peakBF16  func(n int) (ops int) // nil where bf16 is widened to float32

	// hints says that products of many rows of float32 go by multiplyAhead wherever
	// they can: manyTask, and those of training.
	hints bool
	// streamsAhead says that members who wait ask for what they will read next.
	streamsAhead bool

	few     int      // a few rows are best a multiple of it
	moreFew bool     // they may be more than fewRows, see isFew
	pairs   *pairOps // bf16 weights times x rounded to bf16; nil: they are widened to float32
	tiles   *tileOps // products of many rows in a matrix unit, nil where there is none
}

// tileOps multiply tiles of bf16; package generic documents each.
type tileOps struct {
	packRows func(dst []byte, x []float32, ldx, rows, depth int)
	pack     func(d tensor.DType, outMajor bool, dst, w []byte, stride, depth, cols int)
	product  func(p *generic.Product)
	norm     func(dst []byte, x, gain, bias []float32, rows int, epsilon float32, ahead int)
	gate     func(x []float32, a, b float32) // as product does it

	// A few rows times panels that stream by.
	packStream func(dst []byte, x []float32, ldx, rows, depth int)
	stream     func(f *generic.TileStream)
	// One row, with the bits of several, times panels of four runs and times one panel;
	// nil: stream serves.
	four  func(y []float32, ld int, x []byte, w *[4][]byte, steps, panels int)
	alone func(y []float32, x, w []byte, steps int)

	cross   func(c []float32, a, b []byte, stride, steps, panels int)
	softmax func(dst []byte, s, by, most []float32, lens []int, panels int, scale float32)
	scale   func(y []float32, ldy int, c, by []float32, rows, cols int)
	narrow  func(dst []byte, ldd int, c, by []float32, rows, cols int)
	turn    func(dst, src []byte)

	// Of training.
	rows         func(d tensor.DType, turned bool, dst, src []byte, stride, rows, depth int)
	panels       func(c []float32, ldc int, start []float32, lds int, a, b []byte, next, n, steps int, ahead []byte)
	packStep     func(d tensor.DType, dst []byte, panel int, w []byte, stride, depth, cols int)
	multiplyRows func(p *generic.Rows)
	addRows      func(y []float32, x []uint16, ldx, rows int)
	slopes       func(dp, ds []byte, s, g, lse, delta, keep []float32, panels int, diagonal bool, scale float32)
	keep         func(dst []byte, keep []float32)
	dots         func(y []float32, a, b []byte, stride, n int)
	finish       func(d tensor.DType, round, add, past bool, y []byte, ldy int, c []float32, ldc, rows, cols int)
}

// pairOps multiply bf16 by bf16; package generic documents each.
type pairOps struct {
	round      func(dst []uint32, src []float32)
	accumulate func(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte, stride, cols int)
	pack       func(dst []uint32, w []byte, stride, rows, cols int)
	multiply   func(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool)
	// multiplyAhead is multiply that asks for what comes next meanwhile.
	multiplyAhead func(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool, h *generic.Ahead)

	stream func(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int)
	// panel and streamPanels are accumulate and stream of panels that hold pairs already.
	panel        func(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte)
	streamPanels func(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int)
	dots         func(y []float32, ldy int, x []uint32, ldx, rows, in int, w []byte, stride, outs int)
}

// grow returns s with at least n elements, at an address that is a multiple
// of 64 (a cache line, and the widest vector). The contents are lost.
func grow(s []float32, n int) []float32 {
	if cap(s) >= n {
		return s[:n]
	}
	return alignedFloats(n)
}

func growPairs(s []uint32, n int) []uint32 {
	if cap(s) >= n {
		return s[:n]
	}
	return alignedPairs(n)
}
