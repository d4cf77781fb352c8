package generic

// Ahead goes with a product of many rows: memory that it asks for while it is computed,
// so that what comes after it need not wait, and where its sums go in the end. The first
// are hints: no result depends on them, and any pointer does that lies in some memory.
type Ahead struct {
	Y    *float32 // a tile that will be written
	LDY  uintptr  // bytes from one of its rows to the next
	A    *float32 // two rows of a, lda apart
	B    *byte    // part of b
	Step uintptr  // bytes of it for every four k

	End *End // nil: sums stay in c
}

// End is where a tile of sums goes: Out = sums + Bias, or Out += sums + Bias. What c
// holds then does not matter.
type End struct {
	Out  []float32 // rows of NR
	LD   int       // from one of them to the next
	Bias []float32 // [NR], or nil
	Add  bool
}

// Check panics if there is no room for a tile.
func (e *End) Check(mr, nr int) {
	if e == nil {
		return
	}
	_ = e.Out[(mr-1)*e.LD+nr-1]
	if e.Bias != nil {
		_ = e.Bias[nr-1]
	}
}

// Rows stores the tile c.
func (e *End) Rows(c []float32, ldc, mr, nr int, add func(y, x []float32)) {
	for i := range mr {
		sums, out := c[i*ldc:][:nr], e.Out[i*e.LD:][:nr]
		if e.Bias != nil {
			add(sums, e.Bias[:nr])
		}
		if e.Add {
			add(out, sums)
		} else {
			copy(out, sums)
		}
	}
}

// MultiplyAhead is Multiply by rows of b that follow each other.
func MultiplyAhead(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool, h *Ahead) {
	Multiply(c, ldc, a, lda, b, NR, mr, k, load)
	if h.End != nil {
		h.End.Rows(c, ldc, mr, NR, Add)
	}
}

// MultiplyPairsAhead is MultiplyPairs by nr columns.
func MultiplyPairsAhead(nr int, c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool, h *Ahead) {
	MultiplyPairs(nr, c, ldc, a, lda, b, mr, k, load)
	if h.End != nil {
		h.End.Rows(c, ldc, mr, nr, Add)
	}
}
