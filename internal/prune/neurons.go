package prune

import (
	"cmp"
	"math"
	"slices"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

const (
	// momentBytes bounds the second moments that are kept at a time; layers that
	// do not fit are looked at in another pass, with those before them cut already.
	momentBytes = 512 << 20
	// ridge is added to the variances, as a share of their mean: what the text
	// does not tell of apart is not told apart.
	ridge = 1e-3
	// solveSteps and solveEnough bound the search for the weights that stand in.
	solveSteps, solveEnough = 60, 1e-3
)

// moments are what a layer's activations a [inner] did over the text.
type moments struct {
	count  int
	sum    []float64 // [inner]
	second []float32 // [inner][inner]: the sum of a·aᵀ
}

// neurons leaves all but keep neurons of each layer out.
func (r *pruner) neurons(keep int) error {
	inner := r.config.Inner
	group := max(1, momentBytes/(4*inner*inner))
	for from := 0; from < r.config.Layers; from += group {
		to := min(from+group, r.config.Layers)
		seen, err := r.observe(from, to)
		if err != nil {
			return err
		}
		for i := from; i < to; i++ {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			b := &r.weights.Blocks[i]
			up, down, err := r.cut(b.Up, b.Down, seen[i-from], keep)
			if err != nil {
				return err
			}
			b.Up, b.Down = up, down
			r.options.Progress("layers", i+1, r.config.Layers)
		}
	}
	r.config.Inner = keep
	return nil
}

// observe measures layers from … to-1.
func (r *pruner) observe(from, to int) ([]*moments, error) {
	inner := r.config.Inner
	seen := make([]*moments, to-from)
	for i := range seen {
		seen[i] = &moments{sum: make([]float64, inner), second: make([]float32, inner*inner)}
	}
	var failed error
	r.dev.neurons = func(layer int, y gpt2.Buffer, rows, width int) {
		if layer < from || layer >= to {
			return
		}
		m := seen[layer-from]
		rowsOf, err := r.dev.Read(y, rows*inner)
		if err != nil {
			failed = err
			return
		}
		m.count += rows
		for i := range rows {
			for j, a := range rowsOf[i*inner : (i+1)*inner] {
				m.sum[j] += float64(a)
			}
		}
		r.cpu.Product(m.second, rowsOf, rowsOf, kernel.Product{M: inner, N: inner, K: rows, TransposeA: true, DType: tensor.F32, Add: true})
	}
	defer func() { r.dev.neurons = nil }()
	if err := r.pass("activations"); err != nil {
		return nil, err
	}
	return seen, failed
}

// cut chooses the neurons of a layer that stay, and makes its two matrices of
// them.
//
// Without a neuron j the layer gives for each position (a_j - E a_j)·w_j less,
// w_j being the neuron's row of the second matrix, once the bias has taken over
// what it gives on average. So those with the least Var(a_j)·|w_j|² go, and the
// others are adapted to give what they can of it: the least squares of the layer's
// output over the text (He et al. 2017, "Channel Pruning").
func (r *pruner) cut(up, down gpt2.Projection, m *moments, keep int) (gpt2.Projection, gpt2.Projection, error) {
	inner, embd := r.config.Inner, r.config.Embd
	w := outputs(down, inner, embd) // [embd][inner]
	mean := make([]float64, inner)
	importance := make([]float64, inner)
	for j := range inner {
		mean[j] = m.sum[j] / float64(m.count)
		var norm float64
		for o := range embd {
			norm += math.Pow(float64(w[o*inner+j]), 2)
		}
		importance[j] = m.variance(j, inner) * norm
		if math.IsNaN(importance[j]) || math.IsInf(importance[j], 0) {
			return up, down, errNotFinite
		}
	}
	order := make([]int, inner)
	for j := range order {
		order[j] = j
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(importance[b], importance[a]) })
	stay, gone := slices.Sorted(slices.Values(order[:keep])), slices.Sorted(slices.Values(order[keep:]))

	kept := make([]float32, embd*keep) // [embd][keep]
	for o := range embd {
		for k, j := range stay {
			kept[o*keep+k] = w[o*inner+j]
		}
	}
	for i, x := range r.standIn(m, w, stay, gone) {
		kept[i] += x
	}
	bias, view := down.Bias.Float32s()
	if view {
		bias = slices.Clone(bias)
	}
	for o := range embd {
		// What the layer gives on average stays as it is.
		var lost float64
		for j := range inner {
			lost += mean[j] * float64(w[o*inner+j])
		}
		for k, j := range stay {
			lost -= mean[j] * float64(kept[o*keep+k])
		}
		bias[o] += float32(lost)
	}
	down = gpt2.Projection{Weight: floats(kept, embd, keep), Bias: floats(bias, embd), Layout: gpt2.OutIn}
	return pick(up, stay, inner, embd), down, nil
}

// variance is that of one neuron.
func (m *moments) variance(j, inner int) float64 { return m.covariance(j, j, inner) }

func (m *moments) covariance(i, j, inner int) float64 {
	n := float64(m.count)
	return float64(m.second[i*inner+j])/n - m.sum[i]/n*m.sum[j]/n
}

// outputs returns a projection's weights as [out][in].
func outputs(p gpt2.Projection, in, out int) []float32 {
	w, view := p.Weight.Float32s()
	if p.Layout == gpt2.OutIn {
		if view {
			w = slices.Clone(w)
		}
		return w
	}
	t := make([]float32, len(w))
	for i := range in {
		for o := range out {
			t[o*in+i] = w[i*out+o]
		}
	}
	return t
}

// pick makes the projection that gives only some of the outputs.
func pick(p gpt2.Projection, stay []int, inner, embd int) gpt2.Projection {
	w, _ := p.Weight.Float32s()
	b, _ := p.Bias.Float32s()
	keep := len(stay)
	bias, weight := make([]float32, keep), make([]float32, embd*keep)
	for k, j := range stay {
		bias[k] = b[j]
		for i := range embd {
			if p.Layout == gpt2.OutIn {
				weight[k*embd+i] = w[j*embd+i]
			} else {
				weight[i*keep+k] = w[i*inner+j]
			}
		}
	}
	shape := []int{embd, keep}
	if p.Layout == gpt2.OutIn {
		shape = []int{keep, embd}
	}
	return gpt2.Projection{Weight: floats(weight, shape...), Bias: floats(bias, keep), Layout: p.Layout}
}

// standIn returns what to add to the weights [embd][stay] of the neurons that
// stay: X with (C + λ)·Xᵀ = D·Wᵀ, where C is the covariance of those that stay, D
// that of them with those that are gone, and W the weights of these. It solves for
// all outputs side by side, by conjugate gradients with the diagonal as the
// preconditioner.
func (r *pruner) standIn(m *moments, w []float32, stay, gone []int) []float32 {
	inner, embd, n, lost := r.config.Inner, r.config.Embd, len(stay), len(gone)
	between := make([]float32, lost*n) // D, [gone][stay]
	for i, g := range gone {
		for k, s := range stay {
			between[i*n+k] = float32(m.covariance(g, s, inner))
		}
	}
	a := make([]float32, n*n)
	var mean float64
	for i, s := range stay {
		for k, t := range stay {
			a[i*n+k] = float32(m.covariance(s, t, inner))
		}
		mean += float64(a[i*n+i]) / float64(n)
	}
	if !(mean > 0) {
		return make([]float32, embd*n) // neurons that never stir cannot stand in
	}
	diagonal := make([]float32, n)
	for i := range n {
		a[i*n+i] += float32(ridge * mean)
		diagonal[i] = a[i*n+i]
	}
	of := make([]float32, embd*lost) // W, [embd][gone]
	for o := range embd {
		for i, g := range gone {
			of[o*lost+i] = w[o*inner+g]
		}
	}
	right := make([]float32, embd*n)
	r.cpu.Linear(right, of, embd, &kernel.Weight{In: lost, Out: n, DType: tensor.F32, Data: tensor.Bytes(between)}, kernel.Epilogue{})
	return solve(r.cpu, a, diagonal, right, embd, n)
}

// solve returns x [rows][n] with x·a = b for a symmetric positive a [n][n].
func solve(c *kernel.CPU, a, diagonal, b []float32, rows, n int) []float32 {
	x := make([]float32, rows*n)
	rest := slices.Clone(b)
	direction, product := make([]float32, rows*n), make([]float32, rows*n)
	weight := &kernel.Weight{In: n, Out: n, DType: tensor.F32, Data: tensor.Bytes(a)}
	size := make([]float64, rows)  // of rest, by the preconditioner
	begin := make([]float64, rows) // what it was
	for i := range rows {
		for j := range n {
			z := rest[i*n+j] / diagonal[j]
			direction[i*n+j] = z
			size[i] += float64(z) * float64(rest[i*n+j])
		}
		begin[i] = size[i]
	}
	for range solveSteps {
		c.Linear(product, direction, rows, weight, kernel.Epilogue{})
		going := false
		for i := range rows {
			if !(size[i] > solveEnough*solveEnough*begin[i]) {
				continue
			}
			going = true
			d, q, y, s := direction[i*n:(i+1)*n], product[i*n:(i+1)*n], x[i*n:(i+1)*n], rest[i*n:(i+1)*n]
			var dq, next float64
			for j := range d {
				dq += float64(d[j]) * float64(q[j])
			}
			if !(dq > 0) {
				size[i] = 0 // rounding has the last word
				continue
			}
			step := float32(size[i] / dq)
			for j := range d {
				y[j] += step * d[j]
				s[j] -= step * q[j]
				next += float64(s[j]) * float64(s[j]) / float64(diagonal[j])
			}
			turn := float32(next / size[i])
			for j := range d {
				d[j] = s[j]/diagonal[j] + turn*d[j]
			}
			size[i] = next
		}
		if !going {
			break
		}
	}
	return x
}
