//go:build !noasm

package amx

import "github.com/gptctl/gptctl/internal/kernel/generic"

// streamJob is what the assembly is told.
type streamJob struct {
	//lint:ignore U1000 the assembly's, as all of them
	config         [64]byte
	x, w0, w1      *byte
	start0, start1 *float32
	c0, c1         *float32
	ldc, xstep     uintptr
	steps, panels  int
}

// PackStream rounds up to 16 rows of x to bfloat16 and writes them as steps of these rows.
func PackStream(dst []byte, x []float32, ldx, rows, depth int) {
	dst = dst[:steps(depth)*rows*64]
	if rows == 0 || depth == 0 {
		return
	}
	_ = x[(rows-1)*ldx+depth-1]
	if depth%step != 0 {
		clear(dst[len(dst)-rows*64:])
	}
	for r := range rows {
		packRowApart(&dst[r*64], &x[r*ldx], depth, uintptr(rows*64))
	}
}

// StreamTiles computes start + x·w for up to 16 rows of x and two runs of panels.
func StreamTiles(f *generic.TileStream) {
	if f.Panels == 0 || f.Rows == 0 || f.Steps == 0 {
		generic.StreamTiles(f)
		return
	}
	j := streamJob{x: &f.X[0], ldc: uintptr(f.Ld * 4), xstep: uintptr(f.Rows * 64), steps: f.Steps, panels: f.Panels}
	_ = f.X[f.Steps*f.Rows*64-1]
	for i := range 2 {
		_, _, _ = f.W[i][f.Panels*f.Steps*stepBytes-1], f.Start[i][f.Panels*step-1], f.C[i][(f.Rows-1)*f.Ld+f.Panels*step-1]
	}
	j.w0, j.w1, j.start0, j.start1, j.c0, j.c1 = &f.W[0][0], &f.W[1][0], &f.Start[0][0], &f.Start[1][0], &f.C[0][0], &f.C[1][0]
	j.configure(f.Rows)
	streamTiles(&j)
}

// configure makes five tiles of so many rows, of results and of x, and three of 16,
// of weights; all are 64 bytes wide.
func (j *streamJob) configure(rows int) {
	j.config[0] = 1
	for i := range 8 {
		j.config[16+2*i], j.config[48+i] = 64, byte(rows)
		if i > 4 {
			j.config[48+i] = 16
		}
	}
}

//go:noescape
func packRowApart(dst *byte, x *float32, n int, step uintptr)

//go:noescape
func streamTiles(j *streamJob)
