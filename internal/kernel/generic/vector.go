package generic

import "math"

// Add computes y[i] += x[i].
func Add(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] += v
	}
}

// Scale computes y[i] *= a.
func Scale(y []float32, a float32) {
	for i := range y {
		y[i] *= a
	}
}

// Sum adds up x in sixteen lanes and a fixed tree.
func Sum(x []float32) float32 {
	var lanes [16]float32
	for i, v := range x {
		lanes[i&15] += v
	}
	return tree(&lanes)
}

// SumSquares adds up (x[i]-mean)² in sixteen lanes and a fixed tree.
func SumSquares(x []float32, mean float32) float32 {
	var lanes [16]float32
	for i, v := range x {
		v -= mean
		lanes[i&15] += float32(v * v)
	}
	return tree(&lanes)
}

// Normalize computes y[i] = (x[i]-mean)·rstd·gain[i] + bias[i].
func Normalize(y, x, gain, bias []float32, mean, rstd float32) {
	for i, v := range x {
		y[i] = float32((v-mean)*rstd*gain[i]) + bias[i]
	}
}

// ScaleMax computes s[i] *= a and returns the largest. A NaN may be passed
// over: the exponentials that follow carry it on.
func ScaleMax(s []float32, a float32) float32 {
	m := float32(math.Inf(-1))
	for i := range s {
		s[i] *= a
		if s[i] > m {
			m = s[i]
		}
	}
	return m
}

// ExpSum computes s[i] = exp(s[i]-m) and returns their sum, in sixteen lanes.
func ExpSum(s []float32, m float32) float32 {
	var lanes [16]float32
	for i, v := range s {
		s[i] = float32(math.Exp(float64(v - m)))
		lanes[i&15] += s[i]
	}
	return tree(&lanes)
}

// Gate computes x[i] = x[i] · sigmoid(z), z = x[i]·(a + b·x[i]²): with other a
// and b this is the tanh form of GELU, SiLU, or QuickGELU.
func Gate(x []float32, a, b float32) {
	for i, v := range x {
		z := float64(a)
		if b != 0 {
			z += float64(b) * float64(v) * float64(v)
		}
		x[i] = float32(float64(v) / (1 + math.Exp(-z*float64(v))))
	}
}
