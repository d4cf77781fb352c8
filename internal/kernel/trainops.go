package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// trainOps is what training needs of an instruction set beyond ops; package
// generic documents each. All families give the same bits.
type trainOps struct {
	adamW        func(p, m, v, g []float32, k *[8]float32)
	squares      func(lanes *[16]float64, x []float32)
	dropout      func(x []float32, state, limit uint64, keep float32)
	round        func(d tensor.DType, x []float32)
	transpose    func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	gateArgument func(e, x []float32, a, b float32)
	gateSlope    func(dy, x, e []float32, a, b3 float32)
	softmaxGrad  func(d, p []float32, delta, scale float32)
	addRows      func(y, x []float32, ldx, rows int)
	normSums     func(lanes *[32]float32, dy, x, gain []float32, mean, rstd float32)
	normSlope    func(out, dy, x, gain []float32, mean, rstd, a, b float32)
	normColumns  func(dgain, dbias, dy, x, stats []float32, ld, rows int)

	// packFloats is PackPairs of float32, rounded; nil where ops has no pairs.
	packFloats func(dst []uint32, w []float32, ld, rows, cols int)
}

func genericTrainOps() *trainOps {
	return &trainOps{
		adamW: generic.AdamW, squares: generic.Squares, dropout: generic.Dropout, round: generic.Round, transpose: generic.Transpose,
		gateArgument: generic.GateArgument, gateSlope: generic.GateSlope, softmaxGrad: generic.SoftmaxGrad,
		addRows: generic.AddRows, normSums: generic.NormSums, normSlope: generic.NormSlope, normColumns: generic.NormColumns,
	}
}
