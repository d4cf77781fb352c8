//go:build arm64 && !noasm

package kernel

import (
	"runtime"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/neon"
)

func families() []*ops {
	o := &ops{
		name: "neon", mr: neon.MR, nr: neon.NR,
		accumulate: neon.Accumulate, pack: neon.Pack, packTransposed: neon.PackTransposed,
		multiply: neon.Multiply, dots: neon.Dots,
		scores: neon.Scores, values: neon.Values, narrow: neon.Narrow, widen: neon.Widen,
		add: neon.Add, scale: neon.Scale, sum: neon.Sum, sumSquares: neon.SumSquares,
		normalize: neon.Normalize, scaleMax: neon.ScaleMax, expSum: neon.ExpSum, gate: neon.Gate,
		train: genericTrainOps(), peak: neon.Peak, reads: []func([]byte) float32{neon.Read},
		quantize: neon.Quantize, products: neon.Products, packTile: neon.PackTile, peakInt8: neon.PeakInt8,
	}
	// Every processor that Darwin runs on has it; older systems do not tell.
	if cpu.ARM64.HasASIMDDP || runtime.GOOS == "darwin" {
		o.products, o.peakInt8 = neon.DotProducts, neon.DotPeakInt8
	}
	return []*ops{o, genericOps()}
}

// refusals lists families that the processor has and the system does not allow.
func refusals() []refusal { return nil }

// pause tells the core for about half a microsecond that it is waiting.
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
