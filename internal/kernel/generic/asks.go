package generic

// Asks are the keys and the values that an item of attention will probably read after
// this one, as far as they were not asked for. They are hints: no result depends on them.
type Asks struct{ K, V []byte }

// Begin returns them; nothing of nil.
func (a *Asks) Begin() (k, v []byte) {
	if a == nil {
		return nil, nil
	}
	return a.K, a.V
}

// Take returns where up to most steps of so many bytes of each begin, and how many there
// are, and leaves the rest.
func (a *Asks) Take(step, most int) (k, v *byte, steps int) {
	if a == nil {
		return nil, nil, 0
	}
	if steps = min(most, len(a.K)/step, len(a.V)/step); steps <= 0 {
		return nil, nil, 0
	}
	k, v = &a.K[0], &a.V[0]
	a.K, a.V = a.K[steps*step:], a.V[steps*step:]
	return k, v, steps
}

// Walk is memory that is asked for meanwhile: two lines at an address, and so on by steps.
// It is a hint, and no pointer: it may leave the memory that it begins in.
type Walk struct{ At, Step uintptr }

// WalkRows is how many rows of a panel of keys pass during a step of a walk.
const WalkRows = 4
