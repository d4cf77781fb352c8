package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Keys and values of type Q8_0 are blocks of 32 neighbours of a head that have a scale
// each, as generic.Quantize rounds them; the scale is a float16.
//
// Keys lie as a quantised weight whose outputs are the positions (package generic, on
// panels), so that scores are a product of quantised rows with one. Two panels of 16
// make one of KVPanel positions. Values are [⌈Cap/32⌉] panels: the scales [headDim/32][32] of
// 32 positions, then the codes [8][headDim][4]. A value is scale·code, which float32 holds
// exactly.
//
// A row adds up codes (generic.CodeValues) where the family has kernels for that; many rows
// on a matrix unit, and the other families, make numbers of them.

// coded reports whether keys and values are codes.
func (s AttentionShape) coded() bool { return s.DType == tensor.Q8_0 }

// valid reports whether keys and values can be of this type.
func (s AttentionShape) valid() bool {
	return s.DType.IsFloat() || s.coded() && s.HeadDim%tensor.QuantBlock == 0
}

// storeAllCodes is store of codes: tiles 32 rows at a time, as far as these are.
func (t *attentionTask) storeAllCodes(s *scratch, b rowRange, fromHead, toHead int) {
	for row := b.first; row < b.first+b.n; {
		if t.packed == nil {
			t.storeCodes(s, row, fromHead, toHead)
			row++
			continue
		}
		n := min(b.first+b.n-row, generic.TileStep-row%generic.TileStep)
		for h := fromHead; h < toHead; h++ {
			t.storeTileCodes(s, row, n, h)
		}
		row += n
	}
}

// storeTileCodes puts the keys and values of n rows of a step of tiles into the cache.
func (t *attentionTask) storeTileCodes(s *scratch, first, n, head int) {
	const step = generic.TileStep
	blocks := t.HeadDim / step
	s.b = grow(s.b, n*step)
	s.blocks = growBlocks(s.blocks, 2*(n+1)*blocks)
	row, all := s.blocks[:2*blocks], s.blocks[2*blocks:]
	for i := range 2 * blocks {
		tile := t.packed[t.step(first, 1+i/blocks, head, i%blocks)+first%step*2*step:][:n*2*step]
		t.c.ops.widen(tensor.F16, s.b, tile)
		t.c.ops.quantize(all[i*n:][:n], s.b, t.DType)
	}
	for i := range n {
		r := &t.rows[first+i]
		if r.Len == 0 {
			continue
		}
		for j := range row {
			row[j] = all[j*n+i]
		}
		k, v := t.cache(r, head)
		t.c.ops.putPosition(k, v, row[:blocks], row[blocks:], r.Len-1)
	}
}

// storeCodes puts keys and values of some heads of a row into the cache.
func (t *attentionTask) storeCodes(s *scratch, row, fromHead, toHead int) {
	r := &t.rows[row]
	if r.Len == 0 {
		return
	}
	width, n := t.Heads*t.HeadDim, t.HeadDim/tensor.QuantBlock
	all := (toHead - fromHead) * n
	var keys, values []generic.Block // of these heads
	if t.given != nil {
		keys, values = t.codesOf(row, 1, fromHead, all), t.codesOf(row, 2, fromHead, all)
	} else {
		s.blocks = growBlocks(s.blocks, 2*all)
		keys, values = s.blocks[:all], s.blocks[all:2*all]
		// Together: four blocks take half as long as two and two.
		numbers := all * tensor.QuantBlock
		s.a = grow(s.a, 2*numbers)
		q := t.query(row, fromHead)[width:]
		copy(s.a, q[:numbers])
		copy(s.a[numbers:], q[width:][:numbers])
		t.c.ops.quantize(s.blocks, s.a, t.DType)
	}
	for h := fromHead; h < toHead; h++ {
		k, v := t.cache(r, h)
		t.c.ops.putPosition(k, v, keys[:n], values[:n], r.Len-1)
		keys, values = keys[n:], values[n:]
	}
}

// putPosition stores a key and a value.
func (o *ops) putPosition(k, v []byte, key, value []generic.Block, pos int) {
	if o.putCodes == nil {
		generic.PutCodes(k, v, key, value, pos)
		return
	}
	o.putCodes(k, v, key, value, pos)
}

// valuePanel returns the panel that a position's value is in, n blocks of it.
func valuePanel(v []byte, n, pos int) []byte {
	size := n * KVPanel * tensor.Q8_0.Bytes(tensor.QuantBlock)
	return v[pos/KVPanel*size:][:size]
}

// valuesTo returns how many bytes hold the values of n positions.
func valuesTo(n, dim int) int {
	bytes := n / KVPanel * KVPanel * tensor.Q8_0.Bytes(dim)
	if n %= KVPanel; n > 0 {
		bytes += 2*KVPanel*dim/tensor.QuantBlock + roundUp(n, 4)*dim
	}
	return bytes
}

// codesOf returns n blocks of the queries (0), keys (1) or values (2) of a row that came as
// codes, from a head on.
func (t *attentionTask) codesOf(row, part, head, n int) []generic.Block {
	return t.given[((row*3+part)*t.Heads+head)*(t.HeadDim/tensor.QuantBlock):][:n]
}

// CopyCodes copies positions from … to-1 of all heads from one cache to another.
func (s AttentionShape) CopyCodes(dst, src AttentionRow, from, to int) {
	n, size := s.HeadDim/tensor.QuantBlock, generic.PanelBlock(s.DType)
	var block [40]byte
	for h := range s.Heads {
		k0, v0 := dst.K[h*s.KeyBytes(dst.Cap)/s.Heads:], dst.V[h*s.ValueBytes(dst.Cap)/s.Heads:]
		k1, v1 := src.K[h*s.KeyBytes(src.Cap)/s.Heads:], src.V[h*s.ValueBytes(src.Cap)/s.Heads:]
		for pos := from; pos < to; pos++ {
			for i := range n {
				at := (pos/panelOuts*n + i) * size
				generic.GetBlock(s.DType, block[:], k1[at:][:size], pos%panelOuts)
				generic.PutBlock(s.DType, k0[at:][:size], pos%panelOuts, block[:])
			}
			p0, p1 := valuePanel(v0, n, pos), valuePanel(v1, n, pos)
			for i := range n {
				at := 2 * (i*KVPanel + pos%KVPanel)
				copy(p0[at:][:2], p1[at:])
			}
			first := 2*KVPanel*n + pos%KVPanel/4*4*s.HeadDim + pos%4
			for at := first; at < first+4*s.HeadDim; at += 4 {
				p0[at] = p1[at]
			}
		}
	}
}

// severalCodes computes one head of a few rows, each as single does.
func (t *attentionTask) severalCodes(s *scratch, b rowRange, head int) {
	panels := ceilDiv(t.longest(b.first, b.n), KVPanel)
	ld := panels*KVPanel + 16 // not a power of two
	s.c = grow(s.c, b.n*ld)
	k, v := t.cache(&t.rows[b.first], head)
	if t.given != nil {
		blocks := t.HeadDim / tensor.QuantBlock
		s.blocks = growBlocks(s.blocks, b.n*blocks)
		for i := range b.n {
			copy(s.blocks[i*blocks:][:blocks], t.codesOf(b.first+i, 0, head, blocks))
		}
		t.scoresOfCodes(s.c, ld, s.blocks, b.n, k, panels)
	} else {
		s.a = grow(s.a, b.n*t.HeadDim)
		for i := range b.n {
			copy(s.a[i*t.HeadDim:][:t.HeadDim], t.query(b.first+i, head))
		}
		t.codeScores(s, s.c, ld, s.a[:b.n*t.HeadDim], b.n, k, panels)
	}
	for i := range b.n {
		t.average(t.output(b.first+i, head), s.c[i*ld:][:t.rows[b.first+i].Len], v, nil)
	}
}

// codeScores computes the scores of rows of queries q [n][headDim] with panels of keys.
func (t *attentionTask) codeScores(s *scratch, scores []float32, ld int, q []float32, n int, k []byte, panels int) {
	blocks := n * t.HeadDim / tensor.QuantBlock
	s.blocks = growBlocks(s.blocks, blocks)
	t.c.ops.quantize(s.blocks[:blocks], q, t.DType)
	t.scoresOfCodes(scores, ld, s.blocks[:blocks], n, k, panels)
}

// scoresOfCodes computes the scores of n rows of queries with panels of keys.
func (t *attentionTask) scoresOfCodes(scores []float32, ld int, q []generic.Block, n int, k []byte, panels int) {
	t.c.ops.products(t.DType, scores, ld, q, n, k[:panels*KVPanel*t.bytes], panels*KVPanel/panelOuts)
}

// QKVCodes reports whether queries, keys and values of any rows can be codes, if the cache
// has these.
func (c *CPU) QKVCodes() bool { return c.ops.qkvCodes() }

func (o *ops) qkvCodes() bool { return o.tiles == nil && o.codeScores != nil && o.codeValues != nil }

// plainKeys makes [headDim][32] numbers of a panel of keys.
func (t *attentionTask) plainKeys(dst []float32, panel []byte) []float32 {
	f := t.c.ops.widenKeys
	if f == nil {
		f = generic.WidenKeys
	}
	dst = dst[:KVPanel*t.HeadDim]
	f(dst, panel[:KVPanel*t.bytes], t.HeadDim)
	return dst
}

// plainValues makes numbers [to-from][headDim] of values; from is the first of a panel.
func (t *attentionTask) plainValues(dst []float32, v []byte, from, to int) []float32 {
	f := t.c.ops.widenValues
	if f == nil {
		f = generic.WidenValues
	}
	for p := from; p < to; p += KVPanel {
		f(dst[(p-from)*t.HeadDim:][:KVPanel*t.HeadDim], v[p*t.bytes:][:KVPanel*t.bytes], t.HeadDim)
	}
	return dst[:(to-from)*t.HeadDim]
}
