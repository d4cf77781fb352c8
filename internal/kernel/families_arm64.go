//go:build arm64 && !noasm

package kernel

import "github.com/gptctl/gptctl/internal/kernel/neon"

func families() []*ops {
	return []*ops{{
		name: "neon", mr: neon.MR, nr: neon.NR,
		accumulate: neon.Accumulate, pack: neon.Pack, packTransposed: neon.PackTransposed,
		multiply: neon.Multiply, dots: neon.Dots,
		add: neon.Add, scale: neon.Scale, sum: neon.Sum, sumSquares: neon.SumSquares,
		normalize: neon.Normalize, scaleMax: neon.ScaleMax, expSum: neon.ExpSum, gate: neon.Gate,
		peak: neon.Peak, read: neon.Read,
	}, genericOps()}
}

// pause tells the core for about half a microsecond that it is waiting.
func pause()

// prefetchRows asks for n bytes of each of some rows, stride bytes apart, to
// be brought to the second-level cache. It never faults.
//
//go:noescape
func prefetchRows(p *byte, stride uintptr, rows, n int)
