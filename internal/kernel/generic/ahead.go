package generic

// Ahead is memory that a product of many rows asks for while it is computed, so
// that what comes after it need not wait. These are hints: no result depends on
// them, and any pointer does that lies in some memory.
type Ahead struct {
	Y    *float32 // a tile that will be written
	LDY  uintptr  // bytes from one of its rows to the next
	A    *float32 // two rows of a, lda apart
	B    *byte    // part of b
	Step uintptr  // bytes of it for every four k
}

// MultiplyAhead is Multiply by rows of b that follow each other.
func MultiplyAhead(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool, _ *Ahead) {
	Multiply(c, ldc, a, lda, b, NR, mr, k, load)
}
