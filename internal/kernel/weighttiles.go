package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tiles computes n panels of tiles from first on and as many from second on, for all
// rows. (Where the second run is one shorter, its beginning is the end of the first.)
func (t *streamTask) tiles(s *scratch, y0, y1 []float32, first, second, n int) {
	wide := n * panelCols
	s.a = grow(s.a, 2*wide)
	p := &s.stream
	p.X, p.Rows, p.Steps, p.Panels = pairBytes(s.p), t.rows, ceilDiv(t.w.In, generic.TileStep), n
	p.C, p.Ld = [...][]float32{y0, y1}, t.ld()
	for i, from := range [...]int{first, second} {
		p.W[i], p.Start[i] = t.panel(from), s.a[i*wide:][:wide]
		clear(p.Start[i])
		if t.bias != nil {
			copy(p.Start[i], t.bias[from*panelCols:t.w.Out])
		}
	}
	t.c.ops.tiles.stream(p)
	*p = generic.TileStream{}
}

// InTiles reports whether weights of a type are to be in tiles: those of 16 bits where
// there is a matrix unit.
func (c *CPU) InTiles(d tensor.DType) bool { return c.Traits().InTiles(d) }

// PackTiles converts a weight of floats to tiles: BF16, [⌈Out/32⌉][⌈In/32⌉][2][16][16][2],
// inputs 2i and 2i+1 of an output next to each other. dst has TileBytes(w.Out, w.In).
func (c *CPU) PackTiles(dst []byte, w *Weight) {
	if c.ops.tiles == nil || w.Panels || w.Tiles || !w.DType.IsFloat() || len(w.Data) < w.bytes() || len(dst) < TileBytes(w.Out, w.In) {
		panic(fmt.Sprintf("kernel: tiles of %d×%d %v: %d bytes into %d", w.In, w.Out, w.DType, len(w.Data), len(dst)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share(&tilePackTask{o: c.ops, dst: dst, w: *w}, w.In*w.Out)
}

type tilePackTask struct {
	o    *ops
	dst  []byte
	w    Weight
	next atomic.Int64
}

// Run claims runs of the weight's rows, so that it is read about as it lies.
func (t *tilePackTask) Run(int) {
	const step = generic.TileStep
	w, size := &t.w, t.w.DType.Size()
	for {
		first := int(t.next.Add(step)) - step
		switch {
		case w.OutMajor && first < w.Out:
			stride := w.In * size
			t.o.tiles.pack(w.DType, true, t.dst[TileBytes(first, w.In):], w.Data[first*stride:], stride, w.In, min(step, w.Out-first))
		case !w.OutMajor && first < w.In:
			for col := 0; col < w.Out; col += step {
				t.o.tiles.pack(w.DType, false, t.dst[TileBytes(col, w.In)+TileBytes(1, first):], w.Data[w.at(first, col):], w.Out*size, min(step, w.In-first), min(step, w.Out-col))
			}
		default:
			return
		}
	}
}

// PrefetchTileRow asks for what TileRow reads: 1 KB of each step.
func (w *Weight) PrefetchTileRow(o int) {
	const step = generic.TileStep
	if w.In > 0 {
		prefetchRows(&w.Data[TileBytes(o/step*step, w.In)+o%step/16*1024], generic.StepBytes, ceilDiv(w.In, step), 1024)
	}
}

// TileRow converts output o of a weight in tiles to float32.
func (w *Weight) TileRow(dst []float32, o int) {
	const step = generic.TileStep
	panel := w.Data[TileBytes(o/step*step, w.In)+o%step/16*1024+o%16*4:]
	for k := 0; k < w.In; k += step {
		tile := panel[k/step*generic.StepBytes:]
		for i := k; i < min(k+step, w.In); i += 2 {
			pair := binary.LittleEndian.Uint32(tile[(i-k)/2*64:])
			dst[i] = math.Float32frombits(pair << 16)
			if i+1 < w.In {
				dst[i+1] = math.Float32frombits(pair &^ 0xffff)
			}
		}
	}
}
