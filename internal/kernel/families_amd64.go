//go:build amd64 && !noasm

package kernel

import (
	"errors"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/avx2"
	"github.com/gptctl/gptctl/internal/kernel/avx512"
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

func families() []*ops {
	var have []*ops
	if x := &cpu.X86; x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		o := &ops{
			name: "avx512", mr: avx512.MR, nr: avx512.NR,
			accumulate: avx512.Accumulate, pack: avx512.Pack, packTransposed: avx512.PackTransposed,
			multiply: avx512.Multiply, multiplyAhead: avx512.MultiplyAhead, dots: avx512.Dots, stream: avx512.Stream,
			scores: avx512.Scores, values: avx512.Values, narrow: avx512.Narrow, widen: avx512.Widen, triangle: avx512.Triangle,
			putCodes: avx512.PutCodes, widenKeys: avx512.WidenKeys, widenValues: avx512.WidenValues,
			crossMax: avx512.CrossMax, weigh: avx512.Weigh,
			add: avx512.Add, scale: avx512.Scale, sum: avx512.Sum, sumSquares: avx512.SumSquares,
			normalize: avx512.Normalize, scaleMax: avx512.ScaleMax, expSum: avx512.ExpSum, gate: avx512.Gate,
			train: avx512TrainOps(), peak: avx512.Peak, reads: []func([]byte) float32{avx512.Read, avx512.ReadTwo, avx512.ReadTwoAhead, avx512.ReadOne, avx512.ReadFourAhead},
			quantize: avx2.Quantize, products: avx2.Products, packTile: avx512.PackTile, peakInt8: avx2.PeakInt8,
			few: 4, moreFew: true, streamsAhead: true, pairs: bf16Pairs(),
		}
		if x.HasAVX512VNNI {
			o.quantize, o.products, o.peakInt8 = avx512.Quantize, avx512.Products, avx512.PeakInt8
			o.fewBlocks, o.fewPays = avx512.Few, func(tensor.DType, int) bool { return true }
			o.streamBlocks, o.codeScores, o.codeValues, o.codeHeads = avx512.StreamBlocks, avx512.CodeScores, avx512.CodeValues, avx512.CodeHeads
		}
		if vendor() == "GenuineIntel" {
			readAhead(o)
		}
		if o.pairs != nil {
			o.peakBF16, o.train.packFloats = avx512.PeakPairs, avx512.PackFloats
		}
		if amx.Available() == nil {
			have = append(have, withTiles(*o))
		}
		have = append(have, o)
	}
	if x := &cpu.X86; x.HasAVX2 && x.HasFMA && x.HasF16C {
		have = append(have, &ops{
			name: "avx2", mr: avx2.MR, nr: avx2.NR,
			accumulate: avx2.Accumulate, pack: avx2.Pack, packTransposed: avx2.PackTransposed,
			multiply: avx2.Multiply, dots: avx2.Dots,
			scores: avx2.Scores, values: avx2.Values, narrow: avx2.Narrow, widen: avx2.Widen,
			add: avx2.Add, scale: avx2.Scale, sum: avx2.Sum, sumSquares: avx2.SumSquares,
			normalize: avx2.Normalize, scaleMax: avx2.ScaleMax, expSum: avx2.ExpSum, gate: avx2.Gate,
			train: avx2TrainOps(), peak: avx2.Peak, reads: []func([]byte) float32{avx2.Read, avx2.ReadTwo},
			quantize: avx2.Quantize, products: avx2.Products, packTile: avx2.PackTile, peakInt8: avx2.PeakInt8,
		})
	}
	return append(have, genericOps())
}

func avx512TrainOps() *trainOps {
	return &trainOps{
		adamW: avx512.AdamW, squares: avx512.Squares, dropout: avx512.Dropout, round: avx512.Round, transpose: avx512.Transpose,
		gateArgument: avx512.GateArgument, gateSlope: avx512.GateSlope, softmaxGrad: avx512.SoftmaxGrad,
		addRows: avx512.AddRows, normSums: avx512.NormSums, normSlope: avx512.NormSlope, normColumns: avx512.NormColumns,
	}
}

func avx2TrainOps() *trainOps {
	return &trainOps{
		adamW: avx2.AdamW, squares: avx2.Squares, dropout: genericTrainOps().dropout, round: avx2.Round, transpose: avx2.Transpose,
		gateArgument: avx2.GateArgument, gateSlope: avx2.GateSlope, softmaxGrad: avx2.SoftmaxGrad,
		addRows: avx2.AddRows, normSums: avx2.NormSums, normSlope: avx2.NormSlope, normColumns: avx2.NormColumns,
	}
}

// withTiles is AVX-512 with products of many rows in AMX's tiles.
func withTiles(o ops) *ops {
	o.name = "amx"
	o.tiles = &tileOps{
		packRows: amx.PackRowTiles, pack: amx.PackTiles, product: amx.Product, norm: amx.NormTile, gate: amx.Gate,
		packStream: amx.PackStream, stream: amx.StreamTiles, four: amx.StreamRow, alone: amx.StreamRowAlone,
		cross: amx.CrossTiles, softmax: amx.SoftmaxTile, scale: amx.ScaleTile, narrow: amx.NarrowTile, turn: amx.TurnTile,
		rows: amx.PackRows, panels: amx.MultiplyPanels, multiplyRows: new(amx.Rows).Multiply, packStep: amx.PackStep, finish: amx.Finish, addRows: amx.AddRows,
		slopes: amx.SlopeTiles, keep: amx.KeepTile, dots: amx.HalfDots,
	}
	if cpu.X86.HasAVX512GFNI {
		o.fewBlocks, o.fewPays = amx.Few, tilesPay
	}
	o.scoreRows = avx512.ScoreRows
	o.peakBF16, o.peakInt8 = amx.PeakBF16, amx.PeakInt8
	o.pairs = nil     // bf16 goes by tiles
	o.moreFew = false // more than fewRows go by tiles
	return &o
}

// tilesPay reports whether tiles are faster than vectors for a few rows of blocks: they
// take as long for one row as for eight, and what vectors save must be more than memory
// takes anyway.
func tilesPay(d tensor.DType, rows int) bool {
	least := 4
	if d == tensor.Q4_0 {
		least = 7
	}
	return rows >= least && rows <= generic.FewRows || rows >= 12
}

// readAhead takes the kernels that ask for memory ahead of the hardware, which
// Intel's cores read a tenth faster with, and AMD's slower.
func readAhead(o *ops) {
	o.hints, o.moreFew = true, false
	o.four, o.fourDots, o.accumulate = avx512.Four, avx512.FourDots, avx512.AccumulateNear
	o.scores, o.values = avx512.ScoresAhead, avx512.ValuesAhead
	if o.streamBlocks != nil {
		o.fourBlocks = avx512.FourBlocks
	}
}

// refusals lists families that the processor has and the system does not allow.
func refusals() []refusal {
	if err := amx.Available(); err != nil && !errors.Is(err, amx.ErrNone) {
		return []refusal{{"amx", err}}
	}
	return nil
}

// bf16Pairs returns the products by VDPBF16PS where they are worth while: on
// Intel's cores it runs at half the rate of float32.
func bf16Pairs() *pairOps {
	if !cpu.X86.HasAVX512BF16 || vendor() != "AuthenticAMD" {
		return nil
	}
	return &pairOps{
		round: avx512.RoundPairs, accumulate: avx512.AccumulatePairs, pack: avx512.PackPairs,
		multiply: avx512.MultiplyPairs, multiplyAhead: avx512.MultiplyPairsAhead, dots: avx512.DotsPairs, stream: avx512.StreamPairs,
		panel: avx512.AccumulatePanel, streamPanels: avx512.StreamPanels,
	}
}

// cpuid0 is the CPUID instruction, leaf 0.
func cpuid0() (b, d, c uint32)

// pause tells the core for about a tenth of a microsecond that it is waiting.
func pause()

// prefetchRows asks for n bytes of each of some rows, stride bytes apart, to
// be brought to the second-level cache. It never faults.
//
//go:noescape
func prefetchRows(p *byte, stride uintptr, rows, n int)

// claimRows is prefetchRows of what will be written, to the first-level cache.
//
//go:noescape
func claimRows(p *byte, stride uintptr, rows, n int)
