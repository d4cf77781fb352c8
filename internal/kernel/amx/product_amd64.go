//go:build !noasm

package amx

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// staying is how many steps of b stay in the first-level cache (40 of 48 KB)
// while the rows pass by. Of a longer b the others pass, too.
const staying = 16

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
	next0, next1 *byte
	lines        int // of each to be prefetched in a step
}

const (
	toGate = 1 << iota
	toBF16
	toAdd
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
		_ = p.Y[(p.Rows-1)*p.LdY+p.Cols-1]
		j.what, j.nexty, j.ldy, j.ystride = 0, unsafe.Pointer(&p.Y[0]), uintptr(p.LdY*4), uintptr(p.LdY*4*step)
		if p.Add {
			j.what = toAdd
		}
	case p.Tiles != nil:
		_ = p.Tiles[(blocks-1)*p.TileStride+(p.Rows-1)%step*64+63]
		j.what, j.nexty, j.ldy, j.ystride = toBF16, unsafe.Pointer(&p.Tiles[0]), 64, uintptr(p.TileStride)
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
	product(&j)
}

// ahead spreads what is to be prefetched over so many steps.
func (j *job) ahead(next [2][]byte, steps int) {
	j.next0, j.next1 = j.b, j.b // no harm
	bytes := max(len(next[0]), len(next[1]))
	if len(next[0]) > 0 {
		j.next0 = &next[0][0]
	}
	if len(next[1]) > 0 {
		j.next1 = &next[1][0]
	}
	j.lines = (bytes + 64*steps - 1) / (64 * steps)
}

//go:noescape
func product(j *job)
