package generic

import (
	"encoding/binary"
	"math"
)

// Products of bf16 as VDPBF16PS computes them. Two inputs of x, rounded to
// bf16, make a pair (the first in the low half); weights are paired likewise.
// A step adds the product of the second elements, then that of the first, each
// by a fused multiply-add, with subnormal operands and results taken as zero.
// (Intel, Software Developer's Manual, VDPBF16PS; AMD's Zen 4 agrees bit for bit.)

// RoundPairs rounds src to bf16, nearest even, subnormal numbers to zero, and
// writes it as pairs; an odd last element is paired with zero.
func RoundPairs(dst []uint32, src []float32) {
	for i := range (len(src) + 1) / 2 {
		v := uint32(roundBF16(src[2*i]))
		if 2*i+1 < len(src) {
			v |= uint32(roundBF16(src[2*i+1])) << 16
		}
		dst[i] = v
	}
}

func roundBF16(x float32) uint16 {
	b := math.Float32bits(x)
	switch {
	case x != x:
		return uint16(b>>16) | 0x40
	case b&0x7f800000 == 0:
		return uint16(b>>16) & 0x8000
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// step is one lane of VDPBF16PS.
func step(c float32, a, b uint32) float32 {
	c = fused(high(a), high(b), flush(c))
	return fused(high(a<<16), high(b<<16), c)
}

// high is the bf16 in the upper half.
func high(pair uint32) float32 { return flush(math.Float32frombits(pair & 0xffff0000)) }

func flush(x float32) float32 {
	if b := math.Float32bits(x); b&0x7f800000 == 0 {
		return math.Float32frombits(b & 0x80000000)
	}
	return x
}

// fused is a·b + c rounded once; a and b have eight bits, so that the product
// is exact in float64.
func fused(a, b, c float32) float32 {
	p, z := float64(a)*float64(b), float64(c)
	s := p + z
	// What the sum lost makes its last bit odd: then rounding it again to
	// float32 cannot go wrong.
	t := s - p
	if lost := (p - (s - t)) + (z - t); lost != 0 && !math.IsNaN(lost) {
		if b := math.Float64bits(s); b&1 == 0 {
			if (lost > 0) == (s > 0) {
				b++
			} else {
				b--
			}
			s = math.Float64frombits(b)
		}
	}
	return flush(float32(s))
}

func weight(w []byte, i int) uint32 { return uint32(binary.LittleEndian.Uint16(w[2*i:])) }

// AccumulatePairs is Accumulate for bf16 weights: y[r][c] += Σ x[r][k]·w[k][c]
// by pairs of k in order; depth counts rows of w, ldx is in pairs.
func AccumulatePairs(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte, stride, cols int) {
	for k := 0; k < depth; k += 2 {
		for c := range cols {
			b := weight(w[k*stride:], c)
			if k+1 < depth {
				b |= weight(w[(k+1)*stride:], c) << 16
			}
			for r := range rows {
				y[r*ldy+c] = step(y[r*ldy+c], x[r*ldx+k/2], b)
			}
		}
	}
}

// AccumulatePanel adds rows of pairs times a panel of w, [depth][32] pairs, to rows of y:
// y[r][c] += Σ x[r][k]·w[k][c], k in order from zero.
func AccumulatePanel(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte) {
	for k := range depth {
		for c := range 32 {
			b := binary.LittleEndian.Uint32(w[(k*32+c)*4:])
			for r := range rows {
				y[r*ldy+c] = step(y[r*ldy+c], x[r*ldx+k], b)
			}
		}
	}
}

// StreamPanels is Stream for panels of pairs.
func StreamPanels(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int) {
	AccumulatePanel(y0, 32, x, depth, 1, depth, w0)
	AccumulatePanel(y1, 32, x, depth, 1, depth, w1)
}

// StreamPairs is Stream for pairs of bf16.
func StreamPairs(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int) {
	const cols = 32
	AccumulatePairs(y0, cols, x, depth, 1, depth, w0, cols*2, cols)
	AccumulatePairs(y1, cols, x, depth, 1, depth, w1, cols*2, cols)
}

// PackPairs writes the bf16 matrix w (rows × cols, row k at byte k·stride) as
// panels of nr columns, [panel][⌈rows/2⌉][nr] pairs, filled up with zeros.
func PackPairs(nr int, dst []uint32, w []byte, stride, rows, cols int) {
	deep := (rows + 1) / 2
	for c := 0; c < cols; c += nr {
		for k := 0; k < rows; k += 2 {
			out := dst[c*deep+k/2*nr:][:nr]
			clear(out)
			for j := range min(nr, cols-c) {
				out[j] = weight(w[k*stride:], c+j)
				if k+1 < rows {
					out[j] |= weight(w[(k+1)*stride:], c+j) << 16
				}
			}
		}
	}
}

// PackFloats is PackPairs of float32, rounded as RoundPairs does it, with rows ld
// elements apart.
func PackFloats(nr int, dst []uint32, w []float32, ld, rows, cols int) {
	deep := (rows + 1) / 2
	for c := 0; c < cols; c += nr {
		for k := 0; k < rows; k += 2 {
			out := dst[c*deep+k/2*nr:][:nr]
			clear(out)
			for j := range min(nr, cols-c) {
				out[j] = uint32(roundBF16(w[k*ld+c+j]))
				if k+1 < rows {
					out[j] |= uint32(roundBF16(w[(k+1)*ld+c+j])) << 16
				}
			}
		}
	}
}

// MultiplyPairs computes the tile c[i][j] (+)= Σ a[i][k]·b[k][j] for nr columns,
// k pairs in order from zero. It starts from what c holds when load is set, else
// from zero.
func MultiplyPairs(nr int, c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool) {
	for i := range mr {
		out := c[i*ldc:][:nr]
		if !load {
			clear(out)
		}
		for p, v := range a[i*lda:][:k] {
			for j, w := range b[p*nr:][:nr] {
				out[j] = step(out[j], v, w)
			}
		}
	}
}

// DotsPairs computes y[r][o] = Σ x[r][k]·w[o][k] in sixteen lanes (pair k mod 16)
// that a fixed tree adds up. Rows of x are ldx pairs apart; in counts elements.
func DotsPairs(y []float32, ldy int, x []uint32, ldx, rows, in int, w []byte, stride, outs int) {
	for o := range outs {
		row := w[o*stride:]
		for r := range rows {
			var lanes [16]float32
			for k := 0; k < in; k += 2 {
				b := weight(row, k)
				if k+1 < in {
					b |= weight(row, k+1) << 16
				}
				l := &lanes[k/2&15]
				*l = step(*l, x[r*ldx+k/2], b)
			}
			y[r*ldy+o] = tree(&lanes)
		}
	}
}
