package generic

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// SlopeTiles takes 32 keys' scores s of the queries of some panels [32][32], and what
// comes back to their probabilities g, to tiles of steps of queries, rounded to bfloat16:
// the probabilities p = exp(scale·s - lse), times keep where that is not nil, and the
// gradient of scale times the scores p·(g·keep - delta). lse and delta are those of the queries.
// With diagonal the first query is the first key's; later keys are not seen.
func SlopeTiles(dp, ds []byte, s, g, lse, delta, keep []float32, panels int, diagonal bool, scale float32) {
	for at := range panels * TileStep * TileStep {
		key, query := at/TileStep%TileStep, at/(TileStep*TileStep)*TileStep+at%TileStep
		var p, d float32
		if !diagonal || key <= query {
			p, d = float32(math.Exp(float64(s[at]*scale-lse[query]))), g[at]
			kept := p
			if keep != nil {
				kept, d = p*keep[at], d*keep[at]
			}
			p, d = kept, (d-delta[query])*p
		}
		binary.LittleEndian.PutUint16(dp[at/TileStep*64+at%TileStep*2:], roundBF16(p))
		binary.LittleEndian.PutUint16(ds[at/TileStep*64+at%TileStep*2:], roundBF16(d))
	}
}

// KeepTile clears those numbers of 16 bits of 32 rows for which keep [32][32] has zero.
func KeepTile(dst []byte, keep []float32) {
	for i, v := range keep[:TileStep*TileStep] {
		if v == 0 {
			dst[2*i], dst[2*i+1] = 0, 0
		}
	}
}

// HalfDots computes the products of rows of a and b, of n bfloat16 each, stride bytes
// apart.
func HalfDots(y []float32, a, b []byte, stride, n int) {
	for r := range y {
		var sum float32
		for i := range n {
			at := r*stride + 2*i
			sum += tensor.BF16ToFloat32(binary.LittleEndian.Uint16(a[at:])) * tensor.BF16ToFloat32(binary.LittleEndian.Uint16(b[at:]))
		}
		y[r] = sum
	}
}
