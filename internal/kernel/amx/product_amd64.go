//go:build !noasm

package amx

import (
	"fmt"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// staying is how many steps of b stay in the first-level cache (28 of 48 KB, beside what is packed and finished)
// while the rows pass by. Of a longer b the others pass, too.
const staying = 14

// job is what the assembly is told, and where it keeps its place.
type job struct {
	a, b    *byte
	astride uintptr
	passing int // steps of b
	staying int
	tiles   int
	start   *float32
	ld      uintptr
	c, from *float32 // where results go, and where those of the block before are
	what    int      // becomes of them; negative: they stay in c
	//lint:ignore U1000 y is the assembly's
	y, nexty     unsafe.Pointer
	ldy, ystride uintptr
	//lint:ignore U1000 rows is the assembly's
	rows, left   int // to be finished, of the block before and of those to come
	cols         int
	gateA, gateB float32
	next0        *byte
	gap          uintptr // to the other run
	lines        int     // of each to be prefetched in a step

	// What is packed meanwhile, see the assembly.
	form      int // of W, 0: nothing is packed
	src, pair *byte
	dst       *byte
	//lint:ignore U1000 unit, at and now are the assembly's
	unit, at, now uintptr
	units, each   int // left, and of a step
}

// Forms of what is packed.
const (
	packNone = iota
	packQ8
	packQ4
)

const (
	toGate = 1 << iota
	toBF16
	toAdd
	toF16
)

// Product computes start + a·b for rows of x and 32 columns, and what follows.
func Product(p *generic.Product) {
	if p.Rows == 0 || p.Steps == 0 {
		generic.MultiplyProduct(p)
		return
	}
	n, tiles, blocks := p.Steps, (p.Rows+15)/16, (p.Rows+step-1)/step
	last := p.A[(blocks-1)*p.AStride+(n-1)*stepBytes:]
	_, _, _ = last[(2-tiles%2)*1024-1], p.B[n*stepBytes-1], p.Start[(tiles*16-1)*p.Ld+step-1]
	j := job{
		a: &p.A[0], b: &p.B[0], astride: uintptr(p.AStride),
		staying: min(n, staying), passing: max(0, n-staying), tiles: tiles,
		start: &p.Start[0], ld: uintptr(p.Ld * 4),
		c: &p.C[0], what: -1, left: p.Rows, cols: p.Cols,
		gateA: p.GateA, gateB: p.GateB,
	}
	switch {
	case p.Y != nil:
		_ = p.Y[(blocks-1)*p.YStride+(p.Rows-1)%step*p.LdY+p.Cols-1]
		j.what, j.nexty, j.ldy, j.ystride = 0, unsafe.Pointer(&p.Y[0]), uintptr(p.LdY*4), uintptr(p.YStride*4)
		if p.Add {
			j.what = toAdd
		}
	case p.Tiles != nil:
		_ = p.Tiles[(blocks-1)*p.TileStride+(p.Rows-1)%step*64+63]
		j.what, j.nexty, j.ldy, j.ystride = toBF16, unsafe.Pointer(&p.Tiles[0]), 64, uintptr(p.TileStride)
		if p.Half {
			j.what = toF16
		}
	}
	if j.what < 0 {
		_ = p.C[tiles*16*step-1]
	} else {
		_, j.from = p.C[2*step*step-1], &p.C[step*step]
		if p.Gate {
			j.what |= toGate
		}
	}
	j.ahead(p.Next, n*blocks)
	j.pack(&p.Pack, n*blocks)
	product(&j)
}

// pack spreads what is packed over so many steps. A unit becomes 128 bytes, of Q4_0 256.
func (j *job) pack(p *generic.Packing, steps int) {
	n := p.Steps
	if n == 0 {
		return
	}
	size := n * stepBytes
	_, j.dst, j.src = p.Dst[size-1], &p.Dst[0], &p.Src[0]
	j.units = size / 128
	switch p.DType {
	case tensor.Q8_0:
		j.form, j.pair, _ = packQ8, &p.Src[p.Stride], p.Src[p.Stride+n*q8Bytes-1]
	case tensor.Q4_0:
		j.form, j.pair, _ = packQ4, &p.Src[p.Stride], p.Src[p.Stride+n*q4Bytes-1]
		j.units /= 2
	default:
		panic(fmt.Sprintf("amx: %v is not packed meanwhile", p.DType))
	}
	j.each = (j.units + steps - 1) / steps
}

// ahead spreads what is to be prefetched over so many steps.
func (j *job) ahead(next [2][]byte, steps int) {
	from := [2]*byte{j.b, j.b} // no harm
	for i, n := range next {
		if len(n) > 0 {
			from[i] = &n[0]
		}
	}
	j.next0, j.gap = from[0], uintptr(unsafe.Pointer(from[1]))-uintptr(unsafe.Pointer(from[0]))
	bytes := max(len(next[0]), len(next[1]))
	j.lines = (bytes + 64*steps - 1) / (64 * steps)
}

// Gate computes x/(1+exp(-x·(a+b·x²))) in place, about as exactly as bfloat16 needs it.
func Gate(x []float32, a, b float32) {
	if len(x) > 0 {
		gate(&x[0], len(x), a, b)
	}
}

//go:noescape
func product(j *job)

//go:noescape
func gate(x *float32, n int, a, b float32)
