//go:build !noasm

package avx512

// Add computes y[i] += x[i].
func Add(y, x []float32) { add(first(y), first(x[:len(y)]), len(y)) }

// Scale computes y[i] *= a.
func Scale(y []float32, a float32) { scale(first(y), a, len(y)) }

// Sum adds up x.
func Sum(x []float32) float32 { return sum(first(x), len(x)) }

// SumSquares adds up (x[i]-mean)².
func SumSquares(x []float32, mean float32) float32 { return sumSquares(first(x), mean, len(x)) }

// Normalize computes y[i] = (x[i]-mean)·rstd·gain[i] + bias[i].
func Normalize(y, x, gain, bias []float32, mean, rstd float32) {
	n := len(x)
	normalize(first(y[:n]), first(x), first(gain[:n]), first(bias[:n]), mean, rstd, n)
}

// ScaleMax computes s[i] *= a and returns the largest, NaN aside.
func ScaleMax(s []float32, a float32) float32 { return scaleMax(first(s), a, len(s)) }

// ExpSum computes s[i] = exp(s[i]-m) to 1.1 units in the last place and returns
// the sum. Below -104 the result is zero; subnormal results are kept.
func ExpSum(s []float32, m float32) float32 { return expSum(first(s), m, len(s)) }

// Gate computes x[i] = x[i]·sigmoid(z), z = x[i]·(a + b·x[i]²), with a relative
// error of at most 7e-8·(3+2|z|).
func Gate(x []float32, a, b float32) { gate(first(x), a, b, len(x)) }

// Peak runs n rounds of multiply-adds and returns their operations.
func Peak(n int) int {
	if n <= 0 {
		return 0
	}
	peak(n)
	return n * 16 * 16 * 2
}

// Read reads b up to a multiple of 1024 bytes, in four streams.
func Read(b []byte) float32 {
	n := len(b) &^ 1023
	if n == 0 {
		return 0
	}
	return read(&b[0], n)
}

// ReadFourAhead reads b up to a multiple of 1024 bytes, in four streams that are
// prefetched twice.
func ReadFourAhead(b []byte) float32 {
	n := len(b) &^ 1023
	if n == 0 {
		return 0
	}
	return readFourAhead(&b[0], n)
}

// ReadTwo reads b up to a multiple of 1024 bytes, in two streams.
func ReadTwo(b []byte) float32 {
	n := len(b) &^ 1023
	if n == 0 {
		return 0
	}
	return readTwo(&b[0], n)
}

// ReadTwoAhead reads b up to a multiple of 1024 bytes, in two streams that are
// prefetched.
func ReadTwoAhead(b []byte) float32 {
	n := len(b) &^ 1023
	if n == 0 {
		return 0
	}
	return readTwoAhead(&b[0], n)
}

// ReadOne reads b up to a multiple of 1024 bytes, in one stream.
func ReadOne(b []byte) float32 {
	n := len(b) &^ 1023
	if n == 0 {
		return 0
	}
	return readOne(&b[0], n)
}
