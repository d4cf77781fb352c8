package cpu

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The operations of package train's Device, which documents them.

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

// Operand implements train.Device.
func (d *Device) Operand(w gpt2.Buffer, layout gpt2.Layout, in, out int, dtype tensor.DType) (gpt2.Matrix, error) {
	v := w.(buffer)
	if len(v) != in*out || !dtype.IsFloat() {
		return nil, fmt.Errorf("%d numbers are not a %d×%d matrix to multiply in %v", len(v), in, out, dtype)
	}
	m := &matrix{Weight: kernel.Weight{In: in, Out: out, OutMajor: layout == gpt2.OutIn, DType: dtype}}
	if dtype == tensor.F32 {
		m.Data = tensor.Bytes(v)
	} else {
		m.Data = d.alloc(dtype.Bytes(in * out))
	}
	d.Refresh(m, w)
	return m, nil
}

// Refresh implements train.Device.
func (d *Device) Refresh(m gpt2.Matrix, w gpt2.Buffer) {
	if w := m.(*matrix); w.DType == tensor.F32 {
		return
	}
	d.cpu.Narrow(m.(*matrix).Data, w.(buffer), m.(*matrix).DType)
}

// Product implements train.Device.
func (d *Device) Product(y, x gpt2.Buffer, rows int, w gpt2.Matrix, bias gpt2.Buffer, add bool) {
	d.product(y, x, rows, w.(*matrix).Weight, bias, add)
}

// ProductBack implements train.Device.
func (d *Device) ProductBack(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, add bool) {
	t := w.(*matrix).Weight
	t.In, t.Out, t.OutMajor = t.Out, t.In, !t.OutMajor
	d.product(dx, dy, rows, t, nil, add)
}

func (d *Device) product(y, x gpt2.Buffer, rows int, w kernel.Weight, bias gpt2.Buffer, add bool) {
	d.cpu.Linear(y.(buffer), x.(buffer), rows, &w, kernel.Epilogue{Bias: floats(bias), Add: add, Exact: true})
}

// ProductGrad implements train.Device.
func (d *Device) ProductGrad(dw, x, dy gpt2.Buffer, rows, in, out int, dtype tensor.DType) {
	d.cpu.TransposedProduct(dw.(buffer), x.(buffer), dy.(buffer), rows, in, out, dtype)
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
func (d *Device) Activate(y, x gpt2.Buffer, n int, f gpt2.Activation) {
	d.cpu.Activate(y.(buffer)[:n], x.(buffer)[:n], activations[f])
}

// ActivateGrad implements train.Device.
func (d *Device) ActivateGrad(dy, x gpt2.Buffer, n int, f gpt2.Activation) {
	d.cpu.ActivateGrad(dy.(buffer)[:n], x.(buffer)[:n], activations[f])
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
func (d *Device) CrossEntropy(losses []float64, logits gpt2.Buffer, labels []int32, vocab int, scale float32) {
	d.cpu.CrossEntropy(losses, logits.(buffer), labels, vocab, scale)
}

// Round implements train.Device.
func (d *Device) Round(x gpt2.Buffer, n int, dtype tensor.DType) {
	v := x.(buffer)[:n]
	d.cpu.Round(v, v, dtype)
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
