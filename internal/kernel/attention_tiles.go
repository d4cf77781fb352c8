package kernel

import (
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tiled reports whether the attention of n rows of a sequence goes through a matrix
// unit. That rounds queries, keys, values and probabilities to bfloat16.
func (t *attentionTask) tiled(n int) bool {
	return t.c.ops.tiles != nil && n > fewRows && t.DType != tensor.F32 && !t.Exact
}

// blockTiles computes one head of a run of rows, 32 at a time. All scores of a row
// are computed before the first is weighed, so that nothing is weighed twice.
func (t *attentionTask) blockTiles(s *scratch, b rowRange, head int) {
	const step, bytes = generic.TileStep, generic.StepBytes
	o, dim, width := t.c.ops.tiles, t.HeadDim, t.Heads*t.HeadDim
	longest := t.longest(b.first, b.n)
	panels, steps := ceilDiv(longest, step), ceilDiv(dim, step)
	s.p = growPairs(s.p, (2*panels*steps+panels+steps)*bytes/4)
	memory := pairBytes(s.p)
	take := func(n int) (part []byte) {
		part, memory = memory[:n*bytes:n*bytes], memory[n*bytes:]
		return part
	}
	keys, values, p, q := take(panels*steps), take(panels*steps), take(panels), take(steps)
	s.c = grow(s.c, (panels+steps)*step*step)
	scores, out := s.c[:panels*step*step], s.c[panels*step*step:]
	k, v := t.cache(&t.rows[b.first], head)
	d := t.DType
	if t.coded() {
		d = tensor.F32
		s.b = grow(s.b, panels*KVPanel*dim)
	}
	size := d.Size()
	for i := range panels {
		panel := k[i*KVPanel*t.bytes:]
		if t.coded() {
			panel = tensor.Bytes(t.plainKeys(s.b, panel))
		}
		o.pack(d, false, keys[i*steps*bytes:], panel, KVPanel*size, dim, KVPanel)
	}
	if t.coded() {
		v = tensor.Bytes(t.plainValues(s.b, v, 0, longest))
	}
	o.pack(d, false, values, v, dim*size, longest, dim)
	for i := 0; i < b.n; i += step {
		rows := min(step, b.n-i)
		long := t.longest(b.first+i, rows)
		n := ceilDiv(long, step)
		if t.packed != nil {
			q = t.packed[t.step(b.first+i, 0, head, 0):]
		} else {
			o.packRows(q, t.qkv[(b.first+i)*3*width+head*dim:], 3*width, rows, dim)
		}
		o.cross(scores, q, keys, steps*bytes, steps, n)
		for r := range rows {
			s.lens[r] = t.rows[b.first+i+r].Len
		}
		o.softmax(p, scores, s.small[:], nil, s.lens[:rows], n, t.Scale)
		clearRows(p, rows, n)
		o.cross(out, p, values, panels*bytes, n, steps)
		if !finite(t.c.ops.sum(out)) {
			t.apart(p, d, out, v, b.first+i, rows, n)
		}
		t.emit(s, b.first+i, head, rows, out)
	}
}

// step is where numbers 32·j … of a head's queries (0), keys (1) or values (2) lie among
// the tiles, of the 32 rows that row is one of.
func (t *attentionTask) step(row, part, head, j int) int {
	const step = generic.TileStep
	width := t.Heads * t.HeadDim
	return (row/step*3*width/step + (part*width+head*t.HeadDim)/step + j) * generic.StepBytes
}

// aligned reports whether the results of all rows can be written as whole tiles.
func (t *attentionTask) aligned() bool {
	const step = generic.TileStep
	if t.HeadDim%step != 0 {
		return false
	}
	for i, b := range t.blocks {
		if last := i == len(t.blocks)-1; !b.tiled || b.first%step != 0 || b.n%step != 0 && !last {
			return false
		}
	}
	return true
}

// emit writes the results of up to 32 rows, columns by columns.
func (t *attentionTask) emit(s *scratch, first, head, rows int, out []float32) {
	const step, bytes = generic.TileStep, generic.StepBytes
	o, dim, width := t.c.ops.tiles, t.HeadDim, t.Heads*t.HeadDim
	for j := range ceilDiv(dim, step) {
		c := out[j*step*step:]
		if t.tiles != nil {
			o.narrow(t.tiles[(first/step*(width/step)+head*dim/step+j)*bytes:], 64, c, s.small[:], rows, step)
			continue
		}
		o.scale(t.out[first*width+head*dim+j*step:], width, c, s.small[:], rows, min(step, dim-j*step))
	}
}

// clearRows clears what weights have behind the last row.
func clearRows(p []byte, rows, panels int) {
	if rows == generic.TileStep {
		return
	}
	for i := range panels {
		clear(p[i*generic.StepBytes:][rows*64 : generic.StepBytes])
	}
}

func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }

// apart computes rows one by one, each with no more values than it attends to: zero
// times one that is not finite is not zero.
func (t *attentionTask) apart(p []byte, d tensor.DType, out []float32, v []byte, first, rows, panels int) {
	const step, bytes = generic.TileStep, generic.StepBytes
	o, dim := t.c.ops.tiles, t.HeadDim
	steps := ceilDiv(dim, step)
	one, c := make([]byte, panels*steps*bytes), make([]float32, steps*step*step)
	for r := range rows {
		n := t.rows[first+r].Len
		clear(one)
		if n > 0 {
			o.pack(d, false, one, v, dim*d.Size(), n, dim)
		}
		o.cross(c, p, one, ceilDiv(n, step)*bytes, ceilDiv(n, step), steps)
		for j := range steps {
			copy(out[(j*step+r)*step:][:step], c[(j*step+r)*step:])
		}
	}
}
