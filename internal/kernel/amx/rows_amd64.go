//go:build !noasm

package amx

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// rowJob is what the assembly is told, and where it keeps its place. Addresses that
// it walks with are numbers: past the end they are no place of Go's.
type rowJob struct {
	a, b    uintptr
	bstride uintptr
	passing int // steps of a
	staying int
	panels  int
	start   uintptr // 0: zeros
	ld      uintptr
	follows uintptr // from what a block starts with to the next one's
	c, from uintptr // where results go, and where those of the block before are
	//lint:ignore U1000 y is the assembly's
	y, nexty   uintptr
	ldy, width uintptr // to the next row, and to the next block
	other      uintptr // from a result to what belongs to it
	//lint:ignore U1000 stored is the assembly's
	stored, rows int // of the block before, and of each; 0: results stay in c
	cols         int // of the last panel
	next0, next1 uintptr
	curve        *curve
	//lint:ignore U1000 linear is the assembly's
	linear float32 // what σ's argument grows by, but for what cubic times x² of it adds
	//lint:ignore U1000 cubic is the assembly's
	cubic   float32
	squares [32]float32 // lanes of what is written, as float32 and not added
	lines   int         // of each to be prefetched in a step
}

// Rows are products whose results may go through an activation. Its curves are kept until
// those of another one are asked for.
type Rows struct{ curves atomic.Pointer[curves] }

func (r *Rows) curvesOf(a, b float32) *curves {
	if c := r.curves.Load(); c != nil && c.a == a && c.b == b {
		return c
	}
	c := curvesOf(a, b)
	r.curves.Store(c)
	return c
}

func address[T any](s []T) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

// Multiply computes start + a·b for 32 rows and panels of b, and what follows.
func (r *Rows) Multiply(p *generic.Rows) {
	if p.Steps == 0 || p.Panels == 0 {
		generic.MultiplyRows(p)
		return
	}
	n := p.Steps
	_, _ = p.A[n*stepBytes-1], p.B[(p.Panels-1)*p.BStride+n*stepBytes-1]
	j := rowJob{
		a: address(p.A), b: address(p.B), bstride: uintptr(p.BStride),
		staying: min(n, staying), passing: max(0, n-staying), panels: p.Panels,
		start: address(p.Start), follows: step * 4,
		c: address(p.C), cols: p.Cols - (p.Panels-1)*step,
		next0: address(p.Next[0]), next1: address(p.Next[1]),
		lines: (max(len(p.Next[0]), len(p.Next[1])) + 64*n*p.Panels - 1) / (64 * n * p.Panels),
	}
	switch {
	case p.Again:
		_ = p.Start[p.Panels*step*step-1]
		j.ld, j.follows = step*4, step*step*4
	case p.Start != nil:
		_ = p.Start[p.Panels*step-1]
	}
	if p.Y == nil {
		_ = p.C[p.Panels*step*step-1]
		rowsToFloats(&j)
	} else {
		r.store(&j, p)
	}
	runtime.KeepAlive(p)
}

func (r *Rows) store(j *rowJob, p *generic.Rows) {
	_, _ = p.C[min(2, p.Panels)*step*step-1], p.Y[j.last(p)]
	j.from = j.c + step*step*4
	j.nexty, j.ldy, j.width, j.rows = address(p.Y), uintptr(p.LdY), uintptr(p.YStride), p.Rows
	whole := p.Past && p.Cols%step == 0 && wholeLines(p.Y, p.LdY, p.Cols) // may go past the caches
	switch {
	case p.DType == tensor.BF16:
		r.halves(j, p, whole)
	case p.Round && p.Add:
		rowsRoundedSums(j)
	case p.Add:
		rowsToSums(j)
	case p.Round && whole:
		rowsRoundedPast(j)
		p.Squares = j.sum()
	case p.Round:
		rowsRounded(j)
		p.Squares = j.sum()
	case whole:
		rowsPast(j)
		p.Squares = j.sum()
	default:
		rowsToFloats(j)
		p.Squares = j.sum()
	}
}

// last is the last byte of the results.
func (j *rowJob) last(p *generic.Rows) int {
	return (p.Panels-1)*p.YStride + (p.Rows-1)*p.LdY + j.cols*p.DType.Size() - 1
}

func (j *rowJob) sum() (sum float64) {
	for _, v := range j.squares {
		sum += float64(v)
	}
	return sum
}

func (r *Rows) halves(j *rowJob, p *generic.Rows, whole bool) {
	other := p.Act
	if p.Slope != nil {
		other = p.Slope
	}
	if other != nil {
		_ = other[j.last(p)]
		j.other = address(other) - address(p.Y)
		c := r.curvesOf(p.GateA, p.GateB)
		if j.curve = &c.value; p.Slope != nil && !p.Parts {
			j.curve = &c.slope
		}
	}
	switch {
	case p.Slope != nil && p.Parts:
		j.linear, j.cubic = p.GateA, 3*p.GateB/p.GateA
		rowsParted(j)
	case p.Slope != nil:
		rowsSloped(j)
	case p.Act != nil && whole && wholeLines(p.Act, p.LdY, p.Cols):
		rowsGatedPast(j)
	case p.Act != nil:
		rowsGated(j)
	case whole:
		rowsHalvesPast(j)
	default:
		rowsToHalves(j)
	}
}

//go:noescape
func rowsHalvesPast(j *rowJob)

//go:noescape
func rowsGated(j *rowJob)

//go:noescape
func rowsGatedPast(j *rowJob)

//go:noescape
func rowsSloped(j *rowJob)

//go:noescape
func rowsParted(j *rowJob)

//go:noescape
func rowsToFloats(j *rowJob)

//go:noescape
func rowsToSums(j *rowJob)

//go:noescape
func rowsPast(j *rowJob)

//go:noescape
func rowsToHalves(j *rowJob)

//go:noescape
func rowsRounded(j *rowJob)

//go:noescape
func rowsRoundedPast(j *rowJob)

//go:noescape
func rowsRoundedSums(j *rowJob)
