package kernel

import "github.com/gptctl/gptctl/internal/tensor"

// Traits are what of a family decides how much memory it takes.
type Traits struct {
	Tiles bool // many rows go through a matrix unit
	Ahead bool // products of many rows of float32 are packed on huge pages
	Pairs bool // bfloat16 is multiplied by bfloat16 without a matrix unit
	Codes bool // attention has kernels for keys and values in codes (Q8_0)
}

// Traits returns those of the family in use.
func (c *CPU) Traits() Traits { return c.ops.traits() }

// TraitsOf returns those of a family by its name, "" for the best, without making a
// CPU.
func TraitsOf(family string) Traits {
	for _, c := range candidates() {
		if family == "" || c.name == family {
			return c.traits()
		}
	}
	return Traits{}
}

func (o *ops) traits() Traits {
	return Traits{Tiles: o.tiles != nil, Ahead: o.hints, Pairs: o.pairs != nil, Codes: o.codeScores != nil && o.name != "generic"}
}

// InTiles reports whether weights of a type are to be in tiles: those of 16 bits where
// there is a matrix unit.
func (t Traits) InTiles(d tensor.DType) bool { return t.Tiles && (d == tensor.F16 || d == tensor.BF16) }

// Held is the type that weights of a type are to be in: half floats are rounded to
// bfloat16 where that is multiplied at twice the rate.
func (t Traits) Held(d tensor.DType) tensor.DType {
	if d == tensor.F16 && (t.Tiles || t.Pairs) {
		return tensor.BF16
	}
	return d
}

// Copied reports whether weights of a type are not used as a file has them, because they
// are to be in tiles or rounded.
func (t Traits) Copied(d tensor.DType) bool { return t.InTiles(d) || t.Held(d) != d }
