//go:build amd64 && !noasm

package kernel

import (
	"errors"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/avx2"
	"github.com/gptctl/gptctl/internal/kernel/avx512"
	"github.com/gptctl/gptctl/internal/kernel/generic"
)

func families() []*ops {
	var have []*ops
	if x := &cpu.X86; x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL {
		o := &ops{
			name: "avx512", mr: avx512.MR, nr: avx512.NR,
			accumulate: avx512.Accumulate, pack: avx512.Pack, packTransposed: avx512.PackTransposed,
			multiply: avx512.Multiply, dots: avx512.Dots,
			add: avx512.Add, scale: avx512.Scale, sum: avx512.Sum, sumSquares: avx512.SumSquares,
			normalize: avx512.Normalize, scaleMax: avx512.ScaleMax, expSum: avx512.ExpSum, gate: avx512.Gate,
			peak: avx512.Peak, read: avx512.Read,
			quantize: avx2.Quantize, products: avx2.Products, packTile: avx512.PackTile, peakInt8: avx2.PeakInt8,
		}
		if x.HasAVX512VNNI {
			o.quantize, o.products, o.peakInt8 = avx512.Quantize, avx512.Products, avx512.PeakInt8
		}
		have = append(have, o)
	}
	if x := &cpu.X86; x.HasAVX2 && x.HasFMA && x.HasF16C {
		have = append(have, &ops{
			name: "avx2", mr: avx2.MR, nr: avx2.NR,
			accumulate: avx2.Accumulate, pack: avx2.Pack, packTransposed: avx2.PackTransposed,
			multiply: avx2.Multiply, dots: avx2.Dots,
			add: avx2.Add, scale: avx2.Scale, sum: avx2.Sum, sumSquares: avx2.SumSquares,
			normalize: avx2.Normalize, scaleMax: avx2.ScaleMax, expSum: avx2.ExpSum, gate: avx2.Gate,
			peak: avx2.Peak, read: avx2.Read,
			quantize: avx2.Quantize, products: avx2.Products, packTile: generic.PackTile, peakInt8: avx2.PeakInt8,
		})
	}
	return append(have, genericOps())
}

// refusals lists families that the processor has and the system does not allow.
func refusals() []refusal {
	if err := amx.Available(); err != nil && !errors.Is(err, amx.ErrNone) {
		return []refusal{{"amx", err}}
	}
	return nil
}

// pause tells the core for about a microsecond that it is waiting.
func pause()

// prefetchRows asks for n bytes of each of some rows, stride bytes apart, to
// be brought to the second-level cache. It never faults.
//
//go:noescape
func prefetchRows(p *byte, stride uintptr, rows, n int)
