//go:build !noasm

package avx512

import "github.com/gptctl/gptctl/internal/kernel/generic"

//go:noescape
func adamW(p, m, v, d *float32, n int, k *[8]float32)

// AdamW is a step of the optimizer.
func AdamW(p, m, v, g []float32, k *[8]float32) {
	n := len(p) &^ 15
	if n > 0 {
		_, _, _ = m[n-1], v[n-1], g[n-1]
		adamW(&p[0], &m[0], &v[0], &g[0], n, k)
	}
	generic.AdamW(p[n:], m[n:], v[n:], g[n:], k)
}
