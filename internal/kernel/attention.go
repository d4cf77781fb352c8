package kernel

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// KVPanel is how many positions of a key cache lie side by side.
const KVPanel = 32

// AttentionShape is what all rows of a call have in common.
type AttentionShape struct {
	Heads, HeadDim int
	DType          tensor.DType // of keys and values: F32, F16, BF16, or Q8_0 in heads of whole blocks
	Scale          float32
	Exact          bool // nothing is rounded to bf16
}

// KeyBytes returns the size of the keys of positions, which are rounded up to
// whole panels.
func (s AttentionShape) KeyBytes(positions int) int {
	return s.Heads * roundUp(positions, KVPanel) * s.position()
}

// ValueBytes returns the size of the values of positions; codes are rounded up, too.
func (s AttentionShape) ValueBytes(positions int) int {
	if s.coded() {
		return s.KeyBytes(positions)
	}
	return s.Heads * positions * s.position()
}

// position is what a key, or a value, of a head takes.
func (s AttentionShape) position() int { return s.DType.Bytes(s.HeadDim) }

// AttentionRow is what one row of queries attends to: positions 0 … Len-1 of
// its sequence, of which the last is its own.
//
// K is [heads][⌈Cap/32⌉][headDim][32], so that the scores of 32 positions are a
// product with keys as they lie there; V is [heads][Cap][headDim]. Both begin
// at a multiple of their elements' size. What they hold from Len on does not
// matter, NaN included. Codes lie as attention_codes.go says.
type AttentionRow struct {
	K, V     []byte
	Cap, Len int

	// ByRows, if set, is attention's to keep: [heads], the panel of K that lies the other
	// way, [32][headDim], or -1. At first it is -1; InPanels makes it so again.
	ByRows []int32
}

// Attention puts the key and the value of each row into its cache and computes
// out = softmax(scale·q·Kᵀ)·V for each row and head. qkv is
// [len(rows)][3][heads][headDim]: queries, keys and values; out is
// [len(rows)][heads][headDim] and overlaps nothing else. A row that attends to
// nothing gives zeros.
//
// The rows of one sequence are neighbours, in order of position: they share
// the reading of K and V. 16-bit keys and values are widened to float32 (or, of many
// rows, go through a matrix unit, see blockTiles). Each
// score and each output has one accumulator, over headDim and over the
// positions in order.
func (c *CPU) Attention(out, qkv []float32, rows []AttentionRow, s AttentionShape) {
	c.AttentionTiles(nil, out, QKV{Floats: qkv}, rows, s)
}

// QKV are queries, keys and values: [rows][3][heads][headDim] numbers, or that as the
// tiles of a product, queries as bfloat16 and the others in the cache's type, for codes
// as float16. They can be [rows][3][heads][headDim/32] blocks of codes, if the cache has
// these: rows of other texts each, or, as QKVCodes says, all.
type QKV struct {
	Floats []float32
	Tiles  []byte
	Codes  []generic.Block
}

// WholeTexts reports whether queries, keys and values may be tiles: texts of so many
// rows each, one after the other, in heads of so many numbers.
func (c *CPU) WholeTexts(texts []int, headDim int) bool {
	first := 0
	for _, n := range texts {
		if !c.Tiles(n) || first%generic.TileStep != 0 {
			return false
		}
		first += n
	}
	return headDim%generic.TileStep == 0
}

// AttentionTiles is Attention that writes the x of LinearTiles if it can, else out,
// and reports which.
func (c *CPU) AttentionTiles(tiles []byte, out []float32, qkv QKV, rows []AttentionRow, s AttentionShape) (tiled bool) {
	return c.attend(tiles, Codes{}, out, qkv, rows, s)
}

func (c *CPU) attend(tiles []byte, codes Codes, out []float32, qkv QKV, rows []AttentionRow, s AttentionShape) (tiled bool) {
	width := s.Heads * s.HeadDim
	if len(rows) == 0 || width == 0 {
		return false
	}
	room := len(qkv.Floats) >= len(rows)*3*width
	if qkv.Tiles != nil {
		room = len(qkv.Tiles) >= TileBytes(len(rows), 3*width) && s.DType != tensor.F32 && !s.Exact
	}
	if qkv.Codes != nil {
		room = s.coded() && len(qkv.Codes) >= len(rows)*3*width/tensor.QuantBlock
	}
	if len(out) < len(rows)*width || !room || !s.valid() {
		panic(fmt.Sprintf("kernel: attention of %d rows %d×%d over %v: queries, keys and values %d elements or %d bytes, out %d elements",
			len(rows), s.Heads, s.HeadDim, s.DType, len(qkv.Floats), len(qkv.Tiles), len(out)))
	}
	work := 0
	for i := range rows {
		r := &rows[i]
		if r.Len > r.Cap || r.Len < 0 || len(r.K) < s.KeyBytes(r.Cap) || len(r.V) < s.ValueBytes(r.Cap) || !aligned(r.K, s.DType) || !aligned(r.V, s.DType) {
			panic(fmt.Sprintf("kernel: attention row %d: length %d of %d, K %d and V %d bytes, want %d and %d, aligned to %v",
				i, r.Len, r.Cap, len(r.K), len(r.V), s.KeyBytes(r.Cap), s.ValueBytes(r.Cap), s.DType))
		}
		work += r.Len
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.attention
	t.c, t.out, t.codes, t.qkv, t.packed, t.rows, t.AttentionShape = c, out, codes, qkv.Floats, qkv.Tiles, rows, s
	t.bytes, t.given = s.position(), qkv.Codes
	t.plan()
	if t.packed != nil && !t.aligned() {
		panic("kernel: attention of tiles to texts that are not whole steps")
	}
	if t.given != nil && !t.singles && !c.ops.qkvCodes() {
		panic("kernel: attention of codes to several rows of a text")
	}
	if len(tiles) >= TileBytes(len(rows), width) && t.aligned() {
		t.tiles = tiles
	}
	t.next.Store(0)
	c.share(t, 2*work*width)
	tiled = t.tiles != nil
	*t = attentionTask{blocks: t.blocks[:0], claims: t.claims}
	return tiled
}

func aligned(b []byte, d tensor.DType) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%uintptr(max(1, d.Size())) == 0
}

// attentionTask hands out items: pairs of a head and a block of rows.
type attentionTask struct {
	AttentionShape
	c        *CPU
	bytes    int // of a key, or a value, of a head
	out, qkv []float32
	packed   []byte          // instead of qkv: tiles …
	given    []generic.Block // … or codes
	tiles    []byte          // instead of out
	codes    Codes           // beside out, which is room then
	rows     []AttentionRow
	blocks   []rowRange
	stores   int          // so many items come first that only store, panels of rows
	unstored atomic.Int64 // those of them that are not done
	next     atomic.Int64
	singles  bool // each row is of another sequence: members have runs of items
	byText   bool // those of a row follow each other, and members look further ahead
	turning  bool // they keep unfinished panels by rows
	claims   []claim
}

// rowRange is a run of rows of one sequence.
type rowRange struct {
	first, n int
	tiled    bool // goes through a matrix unit
}

// tilesOfBlock is how many tiles of rows are computed together where keys and values are
// unpacked for them.
const tilesOfBlock = 4

func (t *attentionTask) rowsOfBlock() int { return tilesOfBlock * t.c.ops.mr }

// plan cuts the rows into blocks. Results do not depend on it. If a sequence is in
// one block, each head of it is stored just before it is used; else, since
// other blocks need its keys and values too, all is stored before.
func (t *attentionTask) plan() {
	t.blocks, t.stores = t.blocks[:0], 0
	for i := 0; i < len(t.rows); {
		r, n := &t.rows[i], 1
		for i+n < len(t.rows) && sameCache(r, &t.rows[i+n]) {
			n++
		}
		tiled := t.tiled(n)
		most := t.most(n, tiled)
		if n > most {
			t.stores = ceilDiv(len(t.rows), KVPanel)
		}
		for ; n > 0; n -= most {
			t.blocks = append(t.blocks, rowRange{i, min(n, most), tiled})
			i += min(n, most)
		}
	}
	t.unstored.Store(int64(t.stores))
	if t.singles = len(t.blocks) == len(t.rows); t.singles {
		t.planSingles()
	}
	t.byText = t.singles && (t.c.ops.streamsAhead && t.packed == nil || t.byHeads())
	if t.turning = t.rowKeys(); !t.turning {
		t.settle()
	}
}

// most returns the rows of a block of a sequence of n.
func (t *attentionTask) most(n int, tiled bool) int {
	// Keys and values come into the cache, or are packed, for each block: all rows of a
	// head are one, if there are heads enough for all members.
	step := KVPanel
	if !tiled {
		step = t.rowsOfBlock()
	}
	return roundUp(ceilDiv(n, ceilDiv(3*t.c.team.Size(), t.Heads)), step)
}

func sameCache(a, b *AttentionRow) bool {
	return unsafe.SliceData(a.K) == unsafe.SliceData(b.K) && a.Cap == b.Cap
}

// Run claims items until none is left: head by head, since the keys and values of
// one stay in the second-level cache, of each the last rows (the longest) first.
func (t *attentionTask) Run(member int) {
	if t.singles {
		if t.byHeads() {
			t.runHeads(member)
		} else {
			t.runSingles(member)
		}
		return
	}
	s := &t.c.members[member]
	s.foresight.item = -1
	items := t.stores + len(t.blocks)*t.Heads
	for first := true; ; first = false {
		i := int(t.next.Add(1)) - 1
		if i >= items {
			s.keys, s.values = nil, nil // of a cache that may go
			return
		}
		if first {
			t.prefetch(i)
		}
		t.item(s, i, i+t.c.team.Size()) // others claim meanwhile
	}
}

// item computes one; next is most likely this member's next one.
func (t *attentionTask) item(s *scratch, i, next int) {
	if i < t.stores {
		first := i * KVPanel
		t.store(s, rowRange{first: first, n: min(KVPanel, len(t.rows)-first)}, 0, t.Heads, false)
		t.unstored.Add(-1)
		return
	}
	head, b := t.place(i)
	if t.singles {
		t.lookAhead(s, next)
	}
	switch {
	case t.stores > 0:
		t.await()
	case t.byRows(b.first) && t.rows[b.first].Len > 0:
		t.storeByRows(s, b.first, head)
	default:
		t.store(s, b, head, head+1, s.foresight.item != i)
	}
	switch {
	case b.tiled: // the last row of a text, too, if it is a block of its own
		t.blockTiles(s, b, head)
	case b.n == 1:
		t.single(s, b.first, head)
	default:
		t.several(s, b, head, next)
	}
	for r := b.first; t.codes.wanted() && r < b.first+b.n; r++ {
		t.codes.put(t.c.ops, t.output(r, head), r, t.Heads*t.HeadDim, head*t.HeadDim)
	}
}

// place returns which head and rows an item is. Heads of a single row follow each other,
// as their keys and values do in memory.
func (t *attentionTask) place(item int) (head int, b rowRange) {
	if t.byText {
		return item % t.Heads, t.blocks[item/t.Heads]
	}
	i, n := item-t.stores, len(t.blocks)
	return i / n, t.blocks[n-1-i%n]
}

// await waits until all keys and values are stored. Other members have begun with
// what is left, so that this is a matter of microseconds unless the system has
// taken their processors.
func (t *attentionTask) await() {
	for i := 0; t.unstored.Load() > 0; i++ {
		if i < t.c.team.spins {
			pause()
		} else {
			runtime.Gosched()
		}
	}
}

// cache returns the keys [panels][headDim][32] and the values [Cap][headDim] of
// one head.
func (t *attentionTask) cache(r *AttentionRow, head int) (k, v []byte) {
	nk := roundUp(r.Cap, KVPanel) * t.bytes
	nv := nk
	if t.DType != tensor.Q8_0 {
		nv = r.Cap * t.bytes
	}
	return r.K[head*nk:][:nk], r.V[head*nv:][:nv]
}

// query returns the queries of a row and a head; width further on lie the
// keys, after these the values.
func (t *attentionTask) query(row, head int) []float32 {
	width := t.Heads * t.HeadDim
	return t.qkv[row*3*width+head*t.HeadDim:][:2*width+t.HeadDim]
}

func (t *attentionTask) output(row, head int) []float32 {
	return t.out[(row*t.Heads+head)*t.HeadDim:][:t.HeadDim]
}

// computes reports whether an item is a pair of a head and a block of rows.
func (t *attentionTask) computes(item int) bool {
	return item >= t.stores && item < t.stores+len(t.blocks)*t.Heads
}

// prefetch asks for what an item reads first, so that memory is not idle in
// between.
func (t *attentionTask) prefetch(item int) {
	if !t.computes(item) || t.packed != nil {
		return
	}
	if head, b := t.place(item); b.n == 1 {
		t.prefetchSingle(b.first, head)
	} else {
		t.prefetchQueries(b, head)
	}
}

// prefetchQueries asks for what block reads of qkv.
func (t *attentionTask) prefetchQueries(b rowRange, head int) {
	n := min(b.n, t.rowsOfBlock())
	if t.given != nil {
		blocks := t.codesOf(b.first, 0, head, 1)
		size := int(unsafe.Sizeof(blocks[0]))
		width := 3 * t.Heads * t.HeadDim / tensor.QuantBlock * size
		prefetchRows((*byte)(unsafe.Pointer(&blocks[0])), uintptr(width), n, t.HeadDim/tensor.QuantBlock*size)
		return
	}
	q := t.query(b.first, head)
	prefetchRows(&tensor.Bytes(q)[0], uintptr(12*t.Heads*t.HeadDim), n, 4*t.HeadDim)
}

// prefetchOutput asks for the memory that block overwrites in the end.
func (t *attentionTask) prefetchOutput(b rowRange, head int) {
	out := t.output(b.first, head)
	prefetchRows(&tensor.Bytes(out)[0], uintptr(4*t.Heads*t.HeadDim), b.n, 4*t.HeadDim)
}

// inPlace reports whether values are multiplied where they lie.
func (t *attentionTask) inPlace() bool {
	return t.DType == tensor.F32 && t.HeadDim%t.c.ops.nr == 0
}

// valueBlock positions are unpacked at a time: they stay in the first-level cache
// until all tiles have used them.
const valueBlock = 64

// block computes one head of a few tiles of rows.
func (t *attentionTask) block(s *scratch, b rowRange, head int) {
	o, dim := t.c.ops, t.HeadDim
	longest := t.longest(b.first, b.n)
	panels := ceilDiv(longest, KVPanel)
	if t.coded() && o.codeValues != nil {
		t.severalCodes(s, b, head)
		return
	}
	ld := panels*KVPanel + 16 // of the scores; not a power of two
	ldo := roundUp(dim, o.nr)
	s.c = grow(s.c, b.n*ld)
	s.b = grow(s.b, max(dim*KVPanel, valueBlock*ldo))
	s.a = grow(s.a, b.n*(dim+ldo))
	q, acc := s.a[:b.n*dim], s.a[b.n*dim:]
	for i := range b.n {
		copy(q[i*dim:][:dim], t.query(b.first+i, head))
	}
	t.prefetchOutput(b, head)
	k, v := t.cache(&t.rows[b.first], head)
	if t.coded() {
		t.codeScores(s, s.c, ld, q, b.n, k, panels)
		panels = 0 // of the others
	}
	for p := range panels {
		keys := t.keys(s, k, p)
		for i := 0; i < b.n; i += o.mr {
			mr := min(o.mr, b.n-i)
			if p*KVPanel >= t.longest(b.first+i, mr) {
				continue
			}
			for j := 0; j < KVPanel; j += o.nr {
				o.multiply(s.c[i*ld+p*KVPanel+j:], ld, q[i*dim:], dim, keys.at(0, j), keys.ld, mr, dim, false)
			}
		}
	}
	clear(acc)
	var sums [tilesOfBlock * maxTileRows]float32
	for i := range b.n {
		p := s.c[i*ld:][:t.rows[b.first+i].Len]
		sums[i] = o.expSum(p, o.scaleMax(p, t.Scale))
	}
	step := valueBlock
	if t.inPlace() {
		step = longest
	}
	for from := 0; from < longest; from += step {
		to := min(from+step, longest)
		v := t.someValues(s, v, from, to)
		for i := 0; i < b.n; i += o.mr {
			t.accumulate(acc[i*ldo:], ldo, s.c[i*ld:], ld, v, from, to, b.first+i, min(o.mr, b.n-i))
		}
	}
	for i := range b.n {
		row := t.output(b.first+i, head)
		copy(row, acc[i*ldo:])
		if t.rows[b.first+i].Len > 0 {
			o.scale(row, 1/sums[i])
		}
	}
}

// maxTileRows is at least every family's mr.
const maxTileRows = 16

func (t *attentionTask) longest(first, n int) int {
	m := 0
	for i := range n {
		m = max(m, t.rows[first+i].Len)
	}
	return m
}

// columns is a matrix as multiply reads it, nr columns at a time. The rows of such
// a panel are ld apart; each column to the right is step further on.
type columns struct {
	data     []float32
	ld, step int
}

// at returns the panel at column j, a multiple of nr, from row i on.
func (c *columns) at(i, j int) []float32 { return c.data[i*c.ld+j*c.step:] }

// keys returns a panel of keys, [headDim] rows of [32] columns.
func (t *attentionTask) keys(s *scratch, k []byte, panel int) columns {
	n := t.HeadDim * KVPanel * t.DType.Size()
	return columns{t.widened(s, k[panel*n:][:n]), KVPanel, 1}
}

// someValues returns positions from … to-1, rows of [headDim] columns.
func (t *attentionTask) someValues(s *scratch, v []byte, from, to int) columns {
	if t.coded() {
		return columns{t.plainValues(s.b, v, from, to), t.HeadDim, 1}
	}
	o, row := t.c.ops, t.bytes
	v = v[from*row : to*row]
	if t.HeadDim%o.nr == 0 {
		return columns{t.widened(s, v), t.HeadDim, 1}
	}
	// Rows end within a panel: they are copied, and filled up with zeros.
	o.pack(t.DType, s.b, v, row, to-from, t.HeadDim)
	return columns{s.b, o.nr, to - from}
}

// widened returns b as float32, where it lies or in the scratch.
func (t *attentionTask) widened(s *scratch, b []byte) []float32 {
	if t.DType == tensor.F32 {
		v, _ := tensor.View[float32](b)
		return v
	}
	n := len(b) / t.DType.Size()
	if t.c.ops.widen == nil {
		tensor.ToFloat32(s.b[:n], t.DType, b)
	} else {
		t.c.ops.widen(t.DType, s.b[:n], b)
	}
	return s.b
}

// accumulate adds probability × value of positions from … to-1 to up to mr rows.
// What all rows attend to is done together, the rest row by row: a zero
// probability would not do, since zero times a NaN further on is NaN.
func (t *attentionTask) accumulate(acc []float32, ldo int, p []float32, ld int, v columns, from, to, first, mr int) {
	o := t.c.ops
	common := to
	for i := range mr {
		common = min(common, t.rows[first+i].Len)
	}
	if n := common - from; n > 0 {
		for j := 0; j < t.HeadDim; j += o.nr {
			o.multiply(acc[j:], ldo, p[from:], ld, v.at(0, j), v.ld, mr, n, true)
		}
	}
	common = max(common, from)
	if o.triangle != nil && mr == o.mr && t.rising(first, mr, common, to) {
		for j := 0; j < t.HeadDim; j += o.nr {
			o.triangle(acc[j:], ldo, p[common:], ld, v.at(common-from, j), v.ld)
		}
		return
	}
	for i := range mr {
		if n := min(t.rows[first+i].Len, to) - common; n > 0 {
			for j := 0; j < t.HeadDim; j += o.nr {
				o.multiply(acc[i*ldo+j:], ldo, p[i*ld+common:], ld, v.at(common-from, j), v.ld, 1, n, true)
			}
		}
	}
}

// rising reports whether each row attends to one position more than the one before
// it, the first to length, the last to no more than most.
func (t *attentionTask) rising(first, mr, length, most int) bool {
	for i := range mr {
		if t.rows[first+i].Len != length+i {
			return false
		}
	}
	return length+mr-1 <= most
}
