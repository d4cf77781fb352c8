package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

func genericOps() *ops {
	return &ops{
		name: "generic", mr: generic.MR, nr: generic.NR,
		accumulate: generic.Accumulate,
		pack: func(d tensor.DType, dst []float32, w []byte, stride, rows, cols int) {
			generic.Pack(generic.NR, d, dst, w, stride, rows, cols)
		},
		packTransposed: func(dst, src []float32, n, dim int) {
			generic.PackTransposed(generic.NR, dst, src, n, dim)
		},
		multiply: generic.Multiply, dots: generic.Dots,
		scores: generic.Scores, scoreRows: generic.ScoreRows, values: generic.Values, narrow: generic.Narrow, widen: generic.Widen, triangle: generic.Triangle,
		codeScores: generic.CodeScores, codeValues: generic.CodeValues, codeHeads: (*generic.CodeHeads).Attend, putCodes: generic.PutCodes, widenKeys: generic.WidenKeys, widenValues: generic.WidenValues,
		crossMax: generic.CrossMax, weigh: generic.Weigh,
		add: generic.Add, scale: generic.Scale, sum: generic.Sum, sumSquares: generic.SumSquares,
		normalize: generic.Normalize, scaleMax: generic.ScaleMax, expSum: generic.ExpSum, gate: generic.Gate,
		train: genericTrainOps(), peak: generic.Peak, reads: []func([]byte) float32{generic.Read},
		quantize: generic.Quantize, products: generic.Products, packTile: generic.PackTile, peakInt8: generic.PeakInt8,
	}
}
