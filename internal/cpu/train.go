package cpu

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
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

// Floats implements train.Device.
func (d *Device) Floats(b gpt2.Buffer) []float32 { return floats(b) }

// Part implements train.Device.
func (d *Device) Part(b gpt2.Buffer, from, n int) gpt2.Buffer { return b.(buffer)[from : from+n] }

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
	p.Bias, p.Round, p.Add = floats(bias), round, add
	d.cpu.Product(y.(buffer), x.(buffer), m.w, p)
}

// ProductBack implements train.Device.
func (d *Device) ProductBack(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, round tensor.DType, add bool) {
	m := w.(*operand)
	p := m.product(rows)
	p.N, p.K, p.TransposeB = p.K, p.N, !p.TransposeB
	p.Round, p.Add = round, add
	d.cpu.Product(dx.(buffer), dy.(buffer), m.w, p)
}

// ProductGrad implements train.Device.
func (d *Device) ProductGrad(dw, x, dy gpt2.Buffer, rows, in, out int, dtype, round tensor.DType, add bool) {
	d.cpu.Product(dw.(buffer), x.(buffer), dy.(buffer), kernel.Product{M: in, N: out, K: rows, TransposeA: true, DType: dtype, Round: round, Add: add})
}

// EmbedTokens implements train.Device.
func (d *Device) EmbedTokens(x, tokens, positions gpt2.Buffer, ids []int32, context, width int) {
	d.cpu.Embed(x.(buffer), tokens.(buffer), positions.(buffer), ids, context, width)
}

// EmbedGrad implements train.Device.
func (d *Device) EmbedGrad(dtokens, dpositions, dx gpt2.Buffer, ids []int32, context, width int) {
	d.cpu.EmbedGrad(floats(dtokens), floats(dpositions), dx.(buffer), ids, context, width)
}

// NormGrad implements train.Device.
func (d *Device) NormGrad(dx, dgain, dbias, dy, x, gain gpt2.Buffer, rows, width int, epsilon float32) {
	d.cpu.NormGrad(floats(dx), floats(dgain), floats(dbias), dy.(buffer), x.(buffer), gain.(buffer), rows, width, epsilon)
}

// Activate implements train.Device.
func (d *Device) Activate(y, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType) {
	d.cpu.Activate(y.(buffer)[:n], x.(buffer)[:n], activations[f], round)
}

// ActivateGrad implements train.Device.
func (d *Device) ActivateGrad(dy, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType) {
	d.cpu.ActivateGrad(dy.(buffer)[:n], x.(buffer)[:n], activations[f], round)
}

func attention(sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64) kernel.TrainAttention {
	return kernel.TrainAttention{
		Sequences: sequences, Context: context, Heads: s.Heads, HeadDim: s.HeadDim, Scale: scale,
		Dropout: kernel.Dropout{Key: key, Share: share},
	}
}

// Attend implements train.Device.
func (d *Device) Attend(out, lse, qkv gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64) {
	d.cpu.TrainAttention(out.(buffer), lse.(buffer), qkv.(buffer), attention(sequences, context, s, scale, key, share))
}

// AttendGrad implements train.Device.
func (d *Device) AttendGrad(dqkv, dout, qkv, out, lse gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64) {
	d.cpu.TrainAttentionGrad(dqkv.(buffer), dout.(buffer), qkv.(buffer), out.(buffer), lse.(buffer), attention(sequences, context, s, scale, key, share))
}

// CrossEntropy implements train.Device.
func (d *Device) CrossEntropy(losses []float64, logits gpt2.Buffer, labels []int32, vocab int, scale float32, round tensor.DType) {
	d.cpu.CrossEntropy(losses, logits.(buffer), labels, vocab, scale, round)
}

// Round implements train.Device.
func (d *Device) Round(x gpt2.Buffer, n int, dtype tensor.DType) {
	d.cpu.Round(x.(buffer)[:n], dtype)
}

// Drop implements train.Device.
func (d *Device) Drop(x gpt2.Buffer, n int, key uint64, share float64) {
	d.cpu.Dropout(x.(buffer)[:n], kernel.Dropout{Key: key, Share: share})
}

// Copy implements train.Device.
func (d *Device) Copy(y, x gpt2.Buffer, n int) { copy(y.(buffer)[:n], x.(buffer)[:n]) }

// Clear implements train.Device.
func (d *Device) Clear(x gpt2.Buffer, n int) { clear(x.(buffer)[:n]) }

// Add implements train.Device.
func (d *Device) Add(y, x gpt2.Buffer, n int) { d.cpu.Add(y.(buffer)[:n], x.(buffer)[:n]) }

// Scale implements train.Device.
func (d *Device) Scale(x gpt2.Buffer, n int, a float32) { d.cpu.Scale(x.(buffer)[:n], a) }

// AddRows implements train.Device.
func (d *Device) AddRows(y, x gpt2.Buffer, rows, width int) {
	d.cpu.AddRows(y.(buffer), x.(buffer), rows, width)
}

// SumSquares implements train.Device.
func (d *Device) SumSquares(x gpt2.Buffer) (sum float64, finite bool) {
	return d.cpu.SumSquares(x.(buffer))
}

// AdamW implements train.Device.
func (d *Device) AdamW(p, m, v, g gpt2.Buffer, lr, beta1, beta2, epsilon, decay float64, step int, scale float64) {
	d.cpu.AdamW(p.(buffer), m.(buffer), v.(buffer), g.(buffer), kernel.Adam{
		LR: lr, Beta1: beta1, Beta2: beta2, Epsilon: epsilon, Decay: decay, Step: step, Scale: scale,
	})
}
