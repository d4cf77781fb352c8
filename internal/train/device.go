package train

import (
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Device is what training asks of a place that computes, beyond what running a
// model does. Buffers are float32, or what Halves makes of them, row-major; "rows"
// counts positions of all sequences of a call. Operations are done in order. What they compute does not
// depend on the number of threads.
//
// Where a factor of a product has a 16-bit type, the other factor is expected
// to have been rounded to that type already; sums are float32. A result is
// rounded to the type called round, if that is not F32, before it is added to
// what was there.
type Device interface {
	Name() string
	// NewBuffer allocates n zeroed numbers, NewTensor such that are there as long
	// as the device.
	NewBuffer(n int) (gpt2.Buffer, error)
	NewTensor(n int) (gpt2.Buffer, error)
	// NewWorkspace allocates buffers of these sizes, which free gives back at once.
	NewWorkspace(sizes []int) (list []gpt2.Buffer, free func(), err error)
	// LoadVector brings numbers to the device that do not change: as a view where it can.
	LoadVector(t tensor.Tensor) (gpt2.Buffer, error)
	// Floats is the memory of b as the host reads and writes it between operations.
	Floats(b gpt2.Buffer) []float32
	// Part is n numbers of b.
	Part(b gpt2.Buffer, from, n int) gpt2.Buffer
	// Halves is memory of ⌈n/2⌉ numbers as n numbers of a 16-bit type; ok says
	// whether the device takes such, which b may be nil to ask. Floats, Part but of
	// an even place, and the operations that say "float32" do not.
	Halves(b gpt2.Buffer, n int, d tensor.DType) (halves gpt2.Buffer, ok bool)

	// Tiles is memory of n numbers of a 16-bit type as rows of so many, in an order that
	// products like. They, Norm, Copy and AddRows take it, AttendGrad as dqkv, and SumSquares.
	// Part is of whole rows from a multiple of 32 on. n is 0 where the device has no such,
	// which b may be nil to ask.
	Tiles(b gpt2.Buffer, rows, width int, d tensor.DType) (tiles gpt2.Buffer, n int)

	// Operand makes w [in][out] (or [out][in]) a factor of type d. If that is a
	// copy, Refresh brings it up to date.
	Operand(w gpt2.Buffer, layout gpt2.Layout, in, out int, d tensor.DType) (gpt2.Matrix, error)
	Refresh(m gpt2.Matrix, w gpt2.Buffer)

	// Product overwrites y [rows][out] with x·w + bias (nil: none; rounded as w is), or
	// adds it.
	Product(y, x gpt2.Buffer, rows int, w gpt2.Matrix, bias gpt2.Buffer, round tensor.DType, add bool)
	// ProductAct is Product, and overwrites act with f(y).
	ProductAct(y, act, x gpt2.Buffer, rows int, w gpt2.Matrix, bias gpt2.Buffer, f gpt2.Activation, round tensor.DType)
	// ProductBack overwrites dx [rows][in] with dy·wᵀ, or adds it. ProductBackAct
	// overwrites it and multiplies it by f'(x).
	ProductBack(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, round tensor.DType, add bool)
	ProductBackAct(dx, dy gpt2.Buffer, rows int, w gpt2.Matrix, x gpt2.Buffer, f gpt2.Activation, round tensor.DType)
	// ProductGrad overwrites dw [in][out] with xᵀ·dy, multiplied in d, or adds it. It
	// returns Σdw² where that costs nothing: never where that is not finite.
	ProductGrad(dw, x, dy gpt2.Buffer, rows, in, out int, d, round tensor.DType, add bool) (squares float64, ok bool)

	// EmbedTokens overwrites x with token plus position embeddings; a row's
	// position is its index modulo context. EmbedGrad adds to the gradients of
	// the tables (nil: not wanted), and returns by how much Σdtokens² has grown.
	EmbedTokens(x, tokens, positions gpt2.Buffer, ids []int32, context, width int)
	EmbedGrad(dtokens, dpositions, dx gpt2.Buffer, ids []int32, context, width int) (grown float64)

	// Norm is gpt2.Device's. NormGrad adds to dx, dgain and dbias (nil: not wanted).
	Norm(y, x, gain, bias gpt2.Buffer, rows, width int, epsilon float32)
	NormGrad(dx, dgain, dbias, dy, x, gain gpt2.Buffer, rows, width int, epsilon float32)

	// Activate overwrites y with f(x). ActivateGrad multiplies dy by f'(x).
	Activate(y, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType)
	ActivateGrad(dy, x gpt2.Buffer, n int, f gpt2.Activation, round tensor.DType)

	// Attend overwrites out [sequences·context][embd] with causal attention and
	// lse [sequences·context][heads] with what AttendGrad needs of the scores. It
	// drops a share of the probabilities by the random stream of key, and rounds what it
	// multiplies, and scores where products of tiles do not take them.
	Attend(out, lse, qkv gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64, round tensor.DType)
	// AttendGrad overwrites dqkv; it rounds as Attend does.
	AttendGrad(dqkv, dout, qkv, out, lse gpt2.Buffer, sequences, context int, s gpt2.KVShape, scale float32, key uint64, share float64, round tensor.DType)

	// CrossEntropy overwrites logits [len(labels)][vocab] with their gradient
	// times scale, and losses with -log p(label); both 0 where a label is negative.
	CrossEntropy(losses []float64, logits gpt2.Buffer, labels []int32, vocab int, scale float32, round tensor.DType)

	// Round rounds x to d. Drop zeroes a share and scales up the rest, always the
	// same ones for a key.
	Round(x gpt2.Buffer, n int, d tensor.DType)
	Drop(x gpt2.Buffer, n int, key uint64, share float64)
	// Copy overwrites y with x, of which it drops a share as Drop does.
	Copy(y, x gpt2.Buffer, n int, key uint64, share float64)
	Clear(x gpt2.Buffer, n int)
	Add(y, x gpt2.Buffer, n int)
	Scale(x gpt2.Buffer, n int, a float32)
	// AddRows adds the rows of x [rows][width] to y [width].
	AddRows(y, x gpt2.Buffer, rows, width int)

	// SumSquares returns Σx², and whether all of x is finite.
	SumSquares(x gpt2.Buffer) (sum float64, finite bool)
	// AdamW changes p, m and v by the gradient scale·g, the step-th time from 1.
	AdamW(p, m, v, g gpt2.Buffer, lr, beta1, beta2, epsilon, decay float64, step int, scale float64)
}
