// Package prune makes a model smaller by leaving out what matters least to what
// it says about a text: neurons of the MLPs, the same number in every layer, or
// whole blocks.
package prune

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Plan is what is to be left out.
type Plan struct {
	Neurons float64 // share of the MLP neurons of every layer, 0 … 1
	Blocks  int
}

// SyntaxError says what is wrong with a text that should be a Plan.
type SyntaxError struct{ text, why string }

func (e *SyntaxError) Error() string { return fmt.Sprintf("%q: %s", e.text, e.why) }

// ParsePlan reads texts such as "mlp=25%" and "layers=2", or several with commas
// between them.
func ParsePlan(texts []string) (Plan, error) {
	var p Plan
	seen := map[string]bool{}
	for _, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			part = strings.TrimSpace(part)
			key, value, _ := strings.Cut(part, "=")
			if seen[key] {
				return p, &SyntaxError{part, key + " is given twice"}
			}
			seen[key] = true
			switch key {
			case "mlp":
				number, percent := strings.CutSuffix(value, "%")
				x, err := strconv.ParseFloat(number, 64)
				if err != nil || !percent || !(x > 0 && x < 100) {
					return p, &SyntaxError{part, "want mlp=P% with a number P above 0 and below 100, such as mlp=25%"}
				}
				p.Neurons = x / 100
			case "layers":
				n, err := strconv.Atoi(value)
				if err != nil || n < 1 {
					return p, &SyntaxError{part, "want layers=N with a whole number N of blocks to leave out, such as layers=2"}
				}
				p.Blocks = n
			default:
				return p, &SyntaxError{part, "want mlp=P% or layers=N"}
			}
		}
	}
	return p, nil
}

// neuronBlock is what the number of neurons that stay is a multiple of, so that
// rows of them are whole blocks of the quantised types.
const neuronBlock = 32

// Inner returns the neurons that a layer keeps: as near to the share as a
// multiple of 32 can be, or, where there is none between 0 and all of them, as a
// whole number can.
func (p Plan) Inner(c gpt2.Config) int {
	if p.Neurons == 0 {
		return c.Inner
	}
	left := float64(c.Inner) * (1 - p.Neurons)
	if n := int(math.Round(left/neuronBlock)) * neuronBlock; n > 0 && n < c.Inner {
		return n
	}
	return int(math.Round(left))
}

// Check says why a model cannot be made smaller as planned.
func (p Plan) Check(c gpt2.Config) error {
	switch inner := p.Inner(c); {
	case p.Blocks >= c.Layers:
		return fmt.Errorf("layers=%d: the model has %d layers, and at least one must stay", p.Blocks, c.Layers)
	case p.Neurons > 0 && inner >= c.Inner:
		return fmt.Errorf("mlp=%.4g%%: that is less than one of the %d neurons of a layer", 100*p.Neurons, c.Inner)
	case inner < 1:
		return fmt.Errorf("mlp=%.4g%%: of the %d neurons of a layer none would stay", 100*p.Neurons, c.Inner)
	}
	return nil
}
