package cpu

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// kv holds the keys and values of every layer as package kernel's AttentionRow
// wants them. The positions of a head are neighbours, so that attention reads
// in a line.
type kv struct {
	kernel.AttentionShape
	cpu      *kernel.CPU
	capacity int
	k, v     [][]byte  // [layers]
	byRows   [][]int32 // [layers][heads], which panel of k lies by rows
}

// NewKV implements gpt2.Device. The memory is the system's zero pages until
// positions are written, huge ones where a cache is large: attention reads a
// quarter faster from these. It goes back when the KV is garbage.
func (d *Device) NewKV(s gpt2.KVShape, capacity int) (gpt2.KV, error) {
	switch t := d.options.KVType; {
	case t == tensor.Q8_0 && s.HeadDim%tensor.QuantBlock != 0:
		return nil, fmt.Errorf("keys and values of type %v in heads of %d: want a multiple of %d", t, s.HeadDim, tensor.QuantBlock)
	case t != tensor.Q8_0 && !t.IsFloat():
		return nil, fmt.Errorf("keys and values of type %v: want F32, F16, BF16 or Q8_0", t)
	}
	c := &kv{cpu: d.cpu, capacity: capacity, k: make([][]byte, s.Layers), v: make([][]byte, s.Layers), byRows: make([][]int32, s.Layers)}
	c.Heads, c.HeadDim, c.DType = s.Heads, s.HeadDim, d.options.KVType
	keys, values := c.KeyBytes(capacity), c.ValueBytes(capacity)
	memory := mapped.Anonymous(s.Layers * (roundUp(keys) + roundUp(values)))
	runtime.AddCleanup(c, func(m *mapped.Memory) { _ = m.Free() }, memory)
	all := memory.Data
	for i := range s.Layers {
		c.k[i], all = all[:keys:keys], all[roundUp(keys):]
		c.v[i], all = all[:values:values], all[roundUp(values):]
		c.byRows[i] = slices.Repeat([]int32{-1}, s.Heads)
	}
	return c, nil
}

// row is a position of a layer.
func (c *kv) row(layer, length int) kernel.AttentionRow {
	return kernel.AttentionRow{K: c.k[layer], V: c.v[layer], Cap: c.capacity, Len: length, ByRows: c.byRows[layer]}
}

// roundUp returns whole cache lines.
func roundUp(n int) int { return (n + 63) &^ 63 }

// CopyFrom implements gpt2.KV.
func (c *kv) CopyFrom(other gpt2.KV, from, to int) {
	o := other.(*kv)
	size := c.DType.Size()
	row := c.HeadDim * size
	for l := range c.k {
		if c.DType == tensor.Q8_0 {
			c.CopyCodes(c.row(l, 0), o.row(l, 0), from, to)
			continue
		}
		c.cpu.InPanels(c.row(l, 0), c.AttentionShape)
		c.cpu.InPanels(o.row(l, 0), c.AttentionShape)
		for h := range c.Heads {
			dst, src := h*c.capacity, h*o.capacity
			copy(c.v[l][(dst+from)*row:(dst+to)*row], o.v[l][(src+from)*row:])
			dst, src = h*c.KeyBytes(c.capacity)/c.Heads, h*o.KeyBytes(o.capacity)/c.Heads
			copyKeys(c.k[l][dst:], o.k[l][src:], c.HeadDim, size, from, to)
		}
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(o)
}

// copyKeys copies positions of one head, panel by panel.
func copyKeys(dst, src []byte, dim, size, from, to int) {
	const panel = kernel.KVPanel
	for from < to {
		first := from % panel
		n := min(panel-first, to-from)
		at := ((from-first)*dim + first) * size
		if n == panel {
			n = panel * dim // its rows follow each other
			copy(dst[at:][:n*size], src[at:])
			from += panel
			continue
		}
		for range dim {
			copy(dst[at:][:n*size], src[at:])
			at += panel * size
		}
		from += n
	}
}

// Attention implements gpt2.Device.
func (d *Device) Attention(out, qkv gpt2.Buffer, layer int, rows []gpt2.Row, scale float32) {
	if layer == 1 && len(rows) >= longRows {
		d.giveBack()
	}
	shape := rows[0].KV.(*kv).AttentionShape
	shape.Scale, shape.Exact = scale, d.exact()
	d.rows = d.rows[:0]
	for _, r := range rows {
		c := r.KV.(*kv)
		d.rows = append(d.rows, c.row(layer, r.Pos+1))
	}
	var in kernel.QKV
	switch q := qkv.(type) {
	case buffer:
		in.Floats = q
	case *multiplicand:
		switch {
		case q.coded:
			in.Codes = q.codes.Blocks
		case q.tiled:
			in.Tiles = q.tiles
		default:
			in.Floats = q.plain(len(rows), 3*shape.Heads*shape.HeadDim)
		}
	}
	width := shape.Heads * shape.HeadDim
	if o, ok := out.(*multiplicand); ok && len(rows) <= fewRows && shape.HeadDim%tensor.QuantBlock == 0 {
		if codes := d.inBlocks(o, len(rows), width); codes.DType != tensor.Invalid {
			d.cpu.AttentionCodes(codes, o.numbers(len(rows), width), in, d.rows, shape)
			runtime.KeepAlive(rows)
			return
		}
	}
	if o, ok := out.(*multiplicand); !ok {
		d.cpu.AttentionTiles(nil, out.(buffer), in, d.rows, shape)
	} else {
		tiles := d.tiles(o, len(rows), width)
		o.tiled = d.cpu.AttentionTiles(tiles, o.plain(len(rows), width), in, d.rows, shape)
	}
	runtime.KeepAlive(rows)
}

// exact reports whether the arithmetic is that of float32: no other type of weights
// was asked for.
func (d *Device) exact() bool {
	return d.options.DType == tensor.Invalid || d.options.DType == tensor.F32
}
