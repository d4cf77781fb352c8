package generic

import "github.com/gptctl/gptctl/internal/tensor"

// Scores computes s[i] = Σ q[d]·k[d][i], d in order from zero, for the keys of
// whole panels: k is [panels][dim][32] of type d, s is [panels][32].
func Scores(d tensor.DType, s, q []float32, k []byte, panels, dim int, _ *Asks) {
	const wide = 32
	var buf [block]float32
	row := wide * d.Size()
	for p := range panels {
		out := s[p*wide:][:wide]
		clear(out)
		for i, x := range q[:dim] {
			for j, y := range convert(&buf, d, k[(p*dim+i)*row:], wide) {
				out[j] += float32(x * y)
			}
		}
	}
}

// ScoreRows is Scores for n keys of 16 bits, at most 32, in a panel that lies the other
// way: [32][dim]. What s has from n on, up to 32, is of no meaning.
func ScoreRows(d tensor.DType, s, q []float32, k []byte, n, dim int, _ *Asks) {
	var buf [block]float32
	for i := range n {
		s[i] = 0
		for j := 0; j < dim; j += block {
			for c, y := range convert(&buf, d, k[(i*dim+j)*d.Size():], min(block, dim-j)) {
				s[i] += float32(q[j+c] * y)
			}
		}
	}
}

// Values computes out[j] += Σ p[i]·v[i][j], i in order, for rows of dim values of
// type d one after another.
func Values(d tensor.DType, out, p []float32, v []byte, dim int, _ *Asks) {
	var buf [block]float32
	row := dim * d.Size()
	for i, x := range p {
		for j := 0; j < dim; j += block {
			n := min(block, dim-j)
			for c, y := range convert(&buf, d, v[i*row+j*d.Size():], n) {
				out[j+c] += float32(x * y)
			}
		}
	}
}

// Narrow rounds float32 to F16 or BF16, to nearest even.
func Narrow(d tensor.DType, dst []byte, src []float32) { tensor.FromFloat32(dst, d, src) }

// Widen converts F16 or BF16 to float32.
func Widen(d tensor.DType, dst []float32, src []byte) { tensor.ToFloat32(dst, d, src) }

// Triangle adds to a tile of MR × NR results: to row i the products with the first i
// of the MR-1 rows of b, in order.
func Triangle(c []float32, ldc int, a []float32, lda int, b []float32, ldb int) {
	for i := 1; i < MR; i++ {
		Multiply(c[i*ldc:], ldc, a[i*lda:], lda, b, ldb, 1, i, true)
	}
}

// CrossMax computes s[i][j] = scale·Σ q[i][d]·k[d][j], d in order, of MR queries and the
// keys of whole panels, [panels][dim][32], and the largest of each row: most[i], for which
// there is room 16 times. A NaN is passed over. dim is a multiple of NR.
func CrossMax(s []float32, lds int, q []float32, ldq int, k []float32, dim, panels int, scale float32, most []float32, _ []Walk) {
	const wide = 32
	for p := range panels {
		for j := 0; j < wide; j += NR {
			Multiply(s[p*wide+j:], lds, q, ldq, k[p*dim*wide+j:], wide, MR, dim, false)
		}
	}
	for i := range MR {
		most[i] = ScaleMax(s[i*lds:][:panels*wide], scale)
	}
}

// Weigh computes MR rows of NR results: y[i] = by[i]·Σ p[i][k]·v[k], of n+i rows of v in
// order.
func Weigh(y []float32, ldy int, p []float32, ldp int, v []float32, ldv, n int, by []float32) {
	for i := range MR {
		Multiply(y[i*ldy:], ldy, p[i*ldp:], ldp, v, ldv, 1, n+i, false)
		Scale(y[i*ldy:][:NR], by[i])
	}
}
