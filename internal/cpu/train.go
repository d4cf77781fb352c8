package cpu

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The operations of package train's Device, which documents them.

// NewTensor implements train.Device.
func (d *Device) NewTensor(n int) (gpt2.Buffer, error) {
	v, ok := tensor.View[float32](d.alloc(4 * n))
	if !ok {
		return nil, fmt.Errorf("memory for %d numbers is not aligned", n)
	}
	return buffer(v), nil
}

// NewWorkspace implements train.Device.
func (d *Device) NewWorkspace(sizes []int) (list []gpt2.Buffer, free func(), err error) {
	const line = 16 // numbers
	total := 0
	for _, n := range sizes {
		total += (n + line - 1) / line * line
	}
	m := mapped.Anonymous(4 * total)
	v, ok := tensor.View[float32](m.Data)
	if !ok {
		return nil, nil, fmt.Errorf("memory for %d numbers is not aligned", total)
	}
	d.memory = append(d.memory, m)
	for _, n := range sizes {
		list = append(list, buffer(v[:n:n]))
		v = v[(n+line-1)/line*line:]
	}
	return list, func() { _ = m.Free() }, nil
}

// Floats implements train.Device.
func (d *Device) Floats(b gpt2.Buffer) []float32 { return floats(b) }

// Part implements train.Device.
func (d *Device) Part(b gpt2.Buffer, from, n int) gpt2.Buffer {
	switch b := b.(type) {
	case halves:
		return b[from : from+n]
	case tiles:
		to := from + (n/b.width+kernel.BlockCols-1)/kernel.BlockCols*kernel.BlockCols*b.width
		return tiles{b.v[from:to], b.width}
	}
	return b.(buffer)[from : from+n]
}

// halves is a buffer of bfloat16.
type halves []uint16

func (h halves) Len() int { return len(h) }

// Halves implements train.Device.
func (d *Device) Halves(b gpt2.Buffer, n int, dtype tensor.DType) (gpt2.Buffer, bool) {
	if dtype != tensor.BF16 || !d.cpu.StoresBF16() {
		return nil, false
	}
	if b == nil {
		return nil, true
	}
	v, ok := tensor.View[uint16](tensor.Bytes([]float32(b.(buffer))))
	return halves(v[:n]), ok
}

// tiles is a buffer of bfloat16 as products take it, with rows of so many numbers: see
// kernel.Numbers.
type tiles struct {
	v     []uint16
	width int
}

func (t tiles) Len() int { return len(t.v) }

// Tiles implements train.Device.
func (d *Device) Tiles(b gpt2.Buffer, rows, width int, dtype tensor.DType) (gpt2.Buffer, int) {
	if dtype != tensor.BF16 || !d.cpu.StoresBF16() || width%kernel.BlockCols != 0 {
		return nil, 0
	}
	n := (rows + kernel.BlockCols - 1) / kernel.BlockCols * kernel.BlockCols * width
	if b == nil {
		return nil, n
	}
	v, _ := tensor.View[uint16](tensor.Bytes([]float32(b.(buffer))))
	return tiles{v[:n], width}, n
}

// numbers is the memory of a buffer.
func numbers(b gpt2.Buffer) kernel.Numbers {
	switch b := b.(type) {
	case halves:
		return kernel.Numbers{BF16: b}
	case tiles:
		return kernel.Numbers{BF16: b.v, Tiles: true}
	}
	return kernel.Floats(floats(b))
}

// first is n numbers of a buffer.
func first(b gpt2.Buffer, n int) kernel.Numbers {
	if h, ok := b.(halves); ok {
		return kernel.Numbers{BF16: h[:n]}
	}
	return kernel.Floats(b.(buffer)[:n])
}

// floats is the memory of a buffer that may be nil.
func floats(b gpt2.Buffer) []float32 {
	if b == nil {
		return nil
	}
	return b.(buffer)
}

// operand is a factor that is rounded as it is multiplied.
type operand struct {
	w       buffer
	in, out int
	layout  gpt2.Layout
	dtype   tensor.DType
}

// Dims implements gpt2.Matrix.
func (m *operand) Dims() (in, out int) { return m.in, m.out }

// Bytes implements gpt2.Matrix.
func (m *operand) Bytes() int64 { return 4 * int64(len(m.w)) }

func (m *operand) product(rows int) kernel.Product {
	return kernel.Product{M: rows, N: m.out, K: m.in, TransposeB: m.layout == gpt2.OutIn, DType: m.dtype}
}

// Operand implements train.Device. It takes no memory.
func (d *Device) Operand(w gpt2.Buffer, layout gpt2.Layout, in, out int, dtype tensor.DType) (gpt2.Matrix, error) {
	v := w.(buffer)
	if len(v) != in*out || !dtype.IsFloat() {
		return nil, fmt.Errorf("%d numbers are not a %d×%d matrix to multiply in %v", len(v), in, out, dtype)
	}
	return &operand{v, in, out, layout, dtype}, nil
}

// Refresh implements train.Device: there is no copy.
func (d *Device) Refresh(gpt2.Matrix, gpt2.Buffer) {}

// Product implements train.Device.
func (d *Device) Product(y, x gpt2.Buffer, rows int, w gpt2.Matrix, bias gpt2.Buffer, round tensor.DType, add bool) {
	m := w.(*operand)
	p := m.product(rows)
	p.Bias, p.Round, p.Add, p.Kept = floats(bias), round, add, true
	d.cpu.ProductOf(numbers(y), numbers(x), kernel.Floats(m.w), p)
}

// ProductAct implements train.Device.
func (d *Device) ProductAct(y, act, x gpt2.Buffer, rows int, w gpt2.Matrix, bias gpt2.Buffer, f gpt2.Activation, round tensor.DType) {
	m := w.(*operand)
	p := m.product(rows)
	p.Bias, p.Round, p.Kept = floats(bias), round, true
	p.Activation, p.Act = activations[f], numbers(act)
	d.cpu.ProductOf(numbers(y), numbers(x), kernel.Floats(m.w), p)
}

// ProductBack implements train.Device.
func (d *Device) ProductBack(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, round tensor.DType, add bool) {
	m := w.(*operand)
	p := m.product(rows)
	p.N, p.K, p.TransposeB = p.K, p.N, !p.TransposeB
	p.Round, p.Add = round, add
	d.cpu.ProductOf(numbers(dx), numbers(dy), kernel.Floats(m.w), p)
}

// ProductBackAct implements train.Device.
func (d *Device) ProductBackAct(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, x gpt2.Buffer, f gpt2.Activation, round tensor.DType) {
	m := w.(*operand)
	p := m.product(rows)
	p.N, p.K, p.TransposeB = p.K, p.N, !p.TransposeB
	p.Round, p.Activation, p.Slope = round, activations[f], numbers(x)
	d.cpu.ProductOf(numbers(dx), numbers(dy), kernel.Floats(m.w), p)
}

// ProductGrad implements train.Device.
func (d *Device) ProductGrad(dw, x, dy gpt2.Buffer, rows, in, out int, dtype, round tensor.DType, add bool) (squares float64, ok bool) {
	return d.cpu.ProductSquares(numbers(dw), numbers(x), numbers(dy), kernel.Product{M: in, N: out, K: rows, TransposeA: true, DType: dtype, Round: round, Add: add, Kept: true})
}

// EmbedTokens implements train.Device.
func (d *Device) EmbedTokens(x, tokens, positions gpt2.Buffer, ids []int32, context, width int) {
	d.cpu.Embed(x.(buffer), tokens.(buffer), positions.(buffer), ids, context, width)
}

// EmbedGrad implements train.Device.
func (d *Device) EmbedGrad(dtokens, dpositions, dx gpt2.Buffer, ids []int32, context, width int) (grown float64) {
	return d.cpu.EmbedGrad(floats(dtokens), floats(dpositions), dx.(buffer), ids, context, width)
}

// NormGrad implements train.Device.
func (d *Device) NormGrad(dx, dgain, dbias, dy, x, gain gpt2.Buffer, rows, width int, epsilon float32) {
	d.cpu.NormGrad(floats(dx), floats(dgain), floats(dbias), numbers(dy), x.(buffer), gain.(buffer), rows, width, epsilon)
}

// Activate implements train.Device.
func (d *Device) Activate(y, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType) {
	d.cpu.Activate(first(y, n), first(x, n), activations[f], round)
}

// ActivateGrad implements train.Device.
func (d *Device) ActivateGrad(dy, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType) {
	d.cpu.ActivateGrad(first(dy, n), first(x, n), activations[f], round)
}

func attention(sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64, round tensor.DType) kernel.TrainAttention {
	return kernel.TrainAttention{
		Sequences: sequences, Context: context, Heads: s.Heads, HeadDim: s.HeadDim, Scale: scale,
		Dropout: kernel.Dropout{Key: key, Share: share}, Round: round,
	}
}

// Attend implements train.Device.
func (d *Device) Attend(out, lse, qkv gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64, round tensor.DType) {
	d.cpu.TrainAttentionOf(numbers(out), lse.(buffer), numbers(qkv), attention(sequences, context, s, scale, key, share, round))
}

// AttendGrad implements train.Device.
func (d *Device) AttendGrad(dqkv, dout, qkv, out, lse gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64, round tensor.DType) {
	d.cpu.TrainAttentionGradOf(numbers(dqkv), numbers(dout), numbers(qkv), numbers(out), lse.(buffer), attention(sequences, context, s, scale, key, share, round))
}

// CrossEntropy implements train.Device.
func (d *Device) CrossEntropy(losses []float64, logits gpt2.Buffer, labels []int32, vocab int, scale float32, round tensor.DType) {
	d.cpu.CrossEntropy(losses, numbers(logits), labels, vocab, scale, round)
}

// Round implements train.Device.
func (d *Device) Round(x gpt2.Buffer, n int, dtype tensor.DType) {
	if v, ok := x.(buffer); ok { // halves are rounded as they are written
		d.cpu.Round(v[:n], dtype)
	}
}

// Drop implements train.Device.
func (d *Device) Drop(x gpt2.Buffer, n int, key uint64, share float64) {
	d.cpu.Dropout(x.(buffer)[:n], kernel.Dropout{Key: key, Share: share})
}

// Copy implements train.Device.
func (d *Device) Copy(y, x gpt2.Buffer, n int, key uint64, share float64) {
	drop := kernel.Dropout{Key: key, Share: share}
	if t, ok := y.(tiles); ok {
		d.cpu.CopyTiles(tensor.Bytes(t.v), x.(buffer)[:n], t.width, drop)
		return
	}
	d.cpu.Copy(first(y, n), x.(buffer)[:n], drop)
}

// Clear implements train.Device.
func (d *Device) Clear(x gpt2.Buffer, n int) {
	if h, ok := x.(halves); ok {
		clear(h[:n])
	} else {
		clear(x.(buffer)[:n])
	}
}

// Add implements train.Device.
func (d *Device) Add(y, x gpt2.Buffer, n int) { d.cpu.Add(y.(buffer)[:n], x.(buffer)[:n]) }

// Scale implements train.Device.
func (d *Device) Scale(x gpt2.Buffer, n int, a float32) { d.cpu.Scale(x.(buffer)[:n], a) }

// AddRows implements train.Device.
func (d *Device) AddRows(y, x gpt2.Buffer, rows, width int) {
	d.cpu.AddRows(y.(buffer), numbers(x), rows, width)
}

// SumSquares implements train.Device.
func (d *Device) SumSquares(x gpt2.Buffer) (sum float64, finite bool) {
	return d.cpu.SumSquaresOf(numbers(x))
}

// AdamW implements train.Device.
func (d *Device) AdamW(p, m, v, g gpt2.Buffer, lr, beta1, beta2, epsilon, decay float64, step int, scale float64) {
	d.cpu.AdamW(p.(buffer), m.(buffer), v.(buffer), g.(buffer), kernel.Adam{
		LR: lr, Beta1: beta1, Beta2: beta2, Epsilon: epsilon, Decay: decay, Step: step, Scale: scale,
	})
}
