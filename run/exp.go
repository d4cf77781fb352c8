package run

import "math"

// exp returns eˣ for x ≤ 0, to 1e-8 relative; 0 where a float32 would be. It is
// several times as fast as math.Exp, which is exact to the last bit, and gives
// the same bits on every kind of CPU: a product that is converted explicitly is
// not fused with the addition that follows.
func exp(x float64) float64 {
	if !(x > -104) {
		return 0
	}
	k := int64(x*math.Log2E - 0.5)
	r := x - float64(float64(k)*math.Ln2) // |r| ≤ ln 2 / 2
	p := 1.0/720 + float64(r*(1.0/5040))
	p = 1.0/120 + float64(r*p)
	p = 1.0/24 + float64(r*p)
	p = 1.0/6 + float64(r*p)
	p = 1.0/2 + float64(r*p)
	p = 1 + float64(r*p)
	p = 1 + float64(r*p)
	return p * math.Float64frombits(uint64(k+1023)<<52)
}
