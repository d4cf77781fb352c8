package kernel

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// blockAhead computes a block of y in float32 where the micro-kernel asks for memory
// while it multiplies: rows of a are read where they lie, some of them pass by all
// panels of b before the next ones come. Sums are those of block.
func (t *productTask) blockAhead(s *scratch, row, col int) {
	rows, cols := min(t.rows, t.M-row), min(t.cols, t.N-col)
	depth := roundUp(ceilDiv(t.K, ceilDiv(t.K, manyDepth)), 16)
	step := roundUp(manyRows, t.c.ops.mr)
	for k := 0; k < t.K; k += depth {
		n := min(depth, t.K-k)
		t.pack(s, k, n, col, cols)
		for r := 0; r < rows; r += step {
			p := manyPlace{k, n, col, cols, row + r, min(step, rows-r)}
			next := p
			switch {
			case r+step < rows:
				next.row = row + r + step
			case k+n < t.K:
				next.row, next.k = row, k+n
			}
			t.partAhead(s, p, next)
			if k+n == t.K && (t.Bias != nil || t.rounds()) {
				for i := range p.rows {
					t.finish(t.y[(p.row+i)*t.N+col:][:cols], col)
				}
			}
		}
	}
}

// partAhead adds the products of a block of b to some rows of y, and asks meanwhile
// for rows of a that come next, for the tile of y after each, and for a part of the next
// panel of b: that was packed in a second-level cache, but not all of it stays there.
func (t *productTask) partAhead(s *scratch, p, next manyPlace) {
	o := t.c.ops
	h := &s.ahead
	x, load := next.row, p.k > 0 || t.Add
	panel := p.depth * o.nr * 4
	bytes := ceilDiv(panel, ceilDiv(p.rows, o.mr)*64) * 64 // of a panel during a tile
	for j := 0; j < p.cols; j += o.nr {
		b := s.b[j*p.depth:]
		ahead := tensor.Bytes(s.b)[:panel]
		if j+o.nr < p.cols {
			ahead = tensor.Bytes(b)[panel:][:panel]
		}
		for r := 0; r < p.rows; r += o.mr {
			mr, row := min(o.mr, p.rows-r), p.row+r
			a := t.a[row*t.lda+p.k:]
			if p.cols-j < o.nr {
				t.narrow(s, row, p.col+j, p.cols-j, mr, a, b, p.depth, load)
				continue
			}
			h.A = &t.a[min(x, t.M-2)*t.lda+next.k]
			x += 2
			h.B, h.Step = (*byte)(unsafe.Pointer(h.A)), 0
			if at := r / o.mr * bytes; at < panel {
				h.B, h.Step = &ahead[at], uintptr(ceilDiv(min(bytes, panel-at), max(1, p.depth/4)))
			}
			after := min(row+o.mr, t.M-1)
			h.Y, h.LDY = &t.y[after*t.N+p.col+j], uintptr(t.N*4)
			o.multiplyAhead(t.y[row*t.N+p.col+j:], t.N, a, t.lda, b, mr, p.depth, load, h)
		}
	}
}

// narrow adds the products of fewer columns than a panel has.
func (t *productTask) narrow(s *scratch, row, col, cols, mr int, a, b []float32, depth int, load bool) {
	o := t.c.ops
	s.c = grow(s.c, o.mr*o.nr)
	for i := range mr {
		copy(s.c[i*o.nr:], t.y[(row+i)*t.N+col:][:cols])
	}
	o.multiply(s.c, o.nr, a, t.lda, b, o.nr, mr, depth, load)
	for i := range mr {
		copy(t.y[(row+i)*t.N+col:][:cols], s.c[i*o.nr:])
	}
}

// room is grow, on huge pages where many of them are read at a time: rows that lie
// far apart, and panels besides.
func (c *CPU) room(s []float32, huge *reserve, n int) []float32 {
	if !c.ops.hints {
		return grow(s, n)
	}
	v, _ := tensor.View[float32](huge.bytes(4 * n))
	return v
}
