package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// PanelBytes returns the size of an in × out weight of floats as panels.
func PanelBytes(d tensor.DType, in, out int) int {
	return roundUp(out, panelCols) * in * d.Size()
}

// PackPanels converts the inputs first to end of an [In][Out] weight of floats to panels
// of type d. dst has PanelBytes.
func (c *CPU) PackPanels(dst []byte, w *Weight, d tensor.DType, first, end int) {
	if w.OutMajor || w.Panels || w.Pairs || w.Tiles || !w.DType.IsFloat() || !d.IsFloat() || len(w.Data) < w.bytes() || len(dst) < PanelBytes(d, w.In, w.Out) || first < 0 || end > w.In {
		panic(fmt.Sprintf("kernel: panels of %v of %d×%d %v: %d bytes into %d", d, w.In, w.Out, w.DType, len(w.Data), len(dst)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	to := Weight{In: w.In, Out: w.Out, DType: d, Data: dst, Panels: true}
	c.share(&panelTask{o: c.ops, from: *w, to: to, first: first, end: end}, (end-first)*w.Out)
}

// PairBytes returns the size of an in × out weight of BF16 as panels of pairs.
func PairBytes(in, out int) int { return PanelBytes(tensor.BF16, roundUp(in, 2), out) }

// PackPairs converts the inputs first to end of an [In][Out] weight of floats to panels of
// pairs of BF16, see Weight.Pairs; first is even. dst has PairBytes.
func (c *CPU) PackPairs(dst []byte, w *Weight, first, end int) {
	if w.OutMajor || w.Panels || w.Pairs || !w.DType.IsFloat() || len(w.Data) < w.bytes() || len(dst) < PairBytes(w.In, w.Out) || c.ops.pairs == nil || first < 0 || first%2 != 0 || end > w.In {
		panic(fmt.Sprintf("kernel: pairs of %d×%d %v: %d bytes into %d", w.In, w.Out, w.DType, len(w.Data), len(dst)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	to := Weight{In: w.In, Out: w.Out, DType: tensor.BF16, Data: dst, Pairs: true}
	c.share(&panelTask{o: c.ops, from: *w, to: to, first: first, end: end}, (end-first)*w.Out)
}

type panelTask struct {
	o          *ops
	from, to   Weight
	first, end int // inputs
	next       atomic.Int64
}

// Run claims inputs until none is left.
func (t *panelTask) Run(int) {
	const claim = 16 // so many neighbours of a panel are written one after another
	var rows []float32
	var halves []byte
	var row [claim][]float32 // of rows, or of the weight
	for {
		first := t.first + (int(t.next.Add(1))-1)*claim
		if first >= t.end {
			return
		}
		n := min(claim, t.end-first)
		if t.to.Pairs {
			if halves == nil && t.from.DType != tensor.BF16 {
				halves = make([]byte, claim*t.from.Out*tensor.BF16.Size())
				rows = make([]float32, t.from.Out)
			}
			t.pair(first, n, rows, halves)
			continue
		}
		if t.from.DType == t.to.DType {
			t.copy(first, n)
			continue
		}
		wide := roundUp(t.from.Out, panelCols)
		if rows == nil {
			rows = make([]float32, claim*wide)
		}
		for k := range n {
			row[k] = t.o.floats(rows[k*wide:][:t.from.Out], t.from.DType, t.from.Data[t.from.at(first+k, 0):])
		}
		for col := 0; col < t.from.Out; col += panelCols {
			cols := min(panelCols, t.from.Out-col)
			for k := range n {
				t.o.putFloats(t.to.Data[t.to.at(first+k, col):], t.to.DType, row[k][col:][:cols])
			}
		}
	}
}

// copy moves n inputs of the same type. What the last panel has more is left as
// it is: no output is computed from it.
func (t *panelTask) copy(first, n int) {
	size := t.from.DType.Size()
	for col := 0; col < t.from.Out; col += panelCols {
		bytes := min(panelCols, t.from.Out-col) * size
		for k := first; k < first+n; k++ {
			copy(t.to.Data[t.to.at(k, col):][:bytes], t.from.Data[t.from.at(k, col):])
		}
	}
}

// pair makes pairs of n inputs, which are rounded to BF16 in halves, row by row, if they
// are not.
func (t *panelTask) pair(first, n int, row []float32, halves []byte) {
	w, stride := t.from.Data, t.from.Out*t.from.DType.Size()
	w = w[first*stride:]
	if t.from.DType != tensor.BF16 {
		to := t.from.Out * tensor.BF16.Size()
		for k := range n {
			v := t.o.floats(row, t.from.DType, w[k*stride:])
			t.o.putFloats(halves[k*to:], tensor.BF16, v)
		}
		w, stride = halves, to
	}
	for col := 0; col < t.from.Out; col += panelCols {
		dst := pairsOf(t.to.Data[PairBytes(t.from.In, col)+first*panelCols*2:])
		t.o.pairs.pack(dst, w[col*2:], stride, n, min(panelCols, t.from.Out-col))
	}
}
