//go:build !noasm

package avx512

import (
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

//go:noescape
func crossMax12(s *float32, lds uintptr, q *float32, ldq uintptr, k *float32, dim, panels int, scale float32, most *float32, walks *generic.Walk)

//go:noescape
func weigh12(y *float32, ldy uintptr, p *float32, ldp uintptr, v *float32, ldv uintptr, n int, by *float32)

// CrossMax computes the scaled products of MR queries with panels of keys, and the largest
// of each row. dim is a multiple of 4.
func CrossMax(s []float32, lds int, q []float32, ldq int, k []float32, dim, panels int, scale float32, most []float32, walks []generic.Walk) {
	most = most[:MR*16]
	for i := range most {
		most[i] = float32(math.Inf(-1))
	}
	if panels > 0 {
		_, _, _, _ = s[(MR-1)*lds+panels*NR-1], q[(MR-1)*ldq+dim-1], k[panels*dim*NR-1], walks[panels-1]
		crossMax12(&s[0], uintptr(lds*4), &q[0], uintptr(ldq*4), &k[0], dim, panels, scale, &most[0], &walks[0])
	}
	for i := range MR {
		most[i] = scaleMax(&most[i*16], 1, 16)
	}
}

// Weigh computes a tile of MR × NR sums: row i adds up the first n+i rows of v, each times
// a number of p, and is multiplied by by[i] in the end.
func Weigh(y []float32, ldy int, p []float32, ldp int, v []float32, ldv, n int, by []float32) {
	_, _, _, _ = y[(MR-1)*ldy+NR-1], p[(MR-1)*ldp+n+MR-2], v[(n+MR-2)*ldv+NR-1], by[MR-1]
	weigh12(&y[0], uintptr(ldy*4), &p[0], uintptr(ldp*4), &v[0], uintptr(ldv*4), n, &by[0])
}
