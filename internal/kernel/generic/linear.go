// Package generic is the arithmetic of package kernel in plain Go: the
// specification that the assembly packages are tested against, and what runs
// where there is no assembly.
//
// Products are rounded before they are added (the conversions float32(a*b)
// forbid the compiler to fuse), so that every machine gives the same values.
package generic

import "github.com/gptctl/gptctl/internal/tensor"

// The micro-kernel's tile: MR rows by NR columns.
const (
	MR = 4
	NR = 16
)

const block = 256 // elements converted at a time; a multiple of 16

// Accumulate adds rows of a matrix to y: y[r][c] += x[r][k]·w[k][c], k < depth
// in order from zero, c < cols, r < rows. Rows of y and x lie ldy and ldx
// apart; row k of w starts at byte k·stride and has elements of type d.
//
// With several rows a family may use the room of y up to a multiple of NR
// columns.
func Accumulate(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
	var buf [block]float32
	size := d.Size()
	for k := range depth {
		row := w[k*stride:]
		for c := 0; c < cols; c += block {
			v := convert(&buf, d, row[c*size:], min(block, cols-c))
			for r := range rows {
				a, dst := x[r*ldx+k], y[r*ldy+c:][:len(v)]
				for i := range v {
					dst[i] += float32(a * v[i])
				}
			}
		}
	}
}

// Stream adds x times two panels of a matrix, [depth][32] each, to 32 elements of
// y0 and of y1.
func Stream(d tensor.DType, y0, y1, x []float32, w0, w1 []byte, depth int) {
	const cols = 32
	Accumulate(d, y0, cols, x, depth, 1, depth, w0, cols*d.Size(), cols)
	Accumulate(d, y1, cols, x, depth, 1, depth, w1, cols*d.Size(), cols)
}

// convert returns n ≤ block elements as float32, in place where possible.
func convert(buf *[block]float32, d tensor.DType, src []byte, n int) []float32 {
	if d == tensor.F32 {
		if v, ok := tensor.View[float32](src[:4*n]); ok {
			return v
		}
	}
	tensor.ToFloat32(buf[:n], d, src)
	return buf[:n]
}

// Pack writes the matrix w (rows × cols, row k at byte k·stride) as panels of
// nr columns, [panel][rows][nr], the last one filled up with zeros.
func Pack(nr int, d tensor.DType, dst []float32, w []byte, stride, rows, cols int) {
	size := d.Size()
	for c := 0; c < cols; c += nr {
		n := min(nr, cols-c)
		for k := range rows {
			out := dst[c*rows+k*nr:][:nr]
			tensor.ToFloat32(out[:n], d, w[k*stride+c*size:])
			clear(out[n:])
		}
	}
}

// PackTransposed writes src (n ≤ nr rows of dim elements, one after another)
// as one panel [dim][nr], filled up with zeros.
func PackTransposed(nr int, dst, src []float32, n, dim int) {
	for d := range dim {
		out := dst[d*nr:][:nr]
		for j := range n {
			out[j] = src[j*dim+d]
		}
		clear(out[n:])
	}
}

// Multiply computes the tile c[i][j] (+)= Σ a[i][k]·b[k][j], k in order from
// zero, i < mr ≤ MR, j < NR, with ld* the distances between rows. It starts
// from what c holds when load is set, else from zero.
func Multiply(c []float32, ldc int, a []float32, lda int, b []float32, ldb, mr, k int, load bool) {
	for i := range mr {
		out := c[i*ldc:][:NR]
		if !load {
			clear(out)
		}
		for p, v := range a[i*lda:][:k] {
			row := b[p*ldb:][:NR]
			for j := range out {
				out[j] += float32(v * row[j])
			}
		}
	}
}

// Dots computes y[r][o] = Σ x[r][k]·w[o][k] in sixteen lanes (k mod 16) that a
// fixed tree adds up. x is [rows][in]; row o of w starts at byte o·stride.
func Dots(d tensor.DType, y []float32, ldy int, x []float32, rows, in int, w []byte, stride, outs int) {
	for o := range outs {
		for r := range rows {
			y[r*ldy+o] = dot(d, x[r*in:][:in], w[o*stride:])
		}
	}
}

func dot(d tensor.DType, x []float32, w []byte) float32 {
	var buf [block]float32
	var lanes [16]float32
	size := d.Size()
	for k := 0; k < len(x); k += block {
		a := x[k:min(k+block, len(x))]
		b := convert(&buf, d, w[k*size:], len(a))
		for len(a) >= 16 {
			a16, b16 := a[:16], b[:16]
			for l := range lanes {
				lanes[l] += float32(a16[l] * b16[l])
			}
			a, b = a[16:], b[16:]
		}
		for l, v := range a {
			lanes[l] += float32(v * b[l])
		}
	}
	return tree(&lanes)
}

// tree adds sixteen lanes as the vector code does: halves onto each other.
func tree(l *[16]float32) float32 {
	for n := 8; n > 0; n /= 2 {
		for i := range n {
			l[i] += l[i+n]
		}
	}
	return l[0]
}
