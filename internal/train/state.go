package train

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// fileName is the name under which a model file, or peft's adapter file, has a tensor.
func (p *param) fileName() string {
	switch {
	case p.name == "lm_head.weight":
		return p.name
	case strings.Contains(p.name, ".lora_"):
		return "base_model.model.transformer." + p.name
	}
	return "transformer." + p.name
}

// view is a buffer as a tensor that is not a copy.
func (t *Trainer) view(name string, shape []int, b gpt2.Buffer) safetensors.Named {
	return safetensors.Named{Name: name, Tensor: tensor.Tensor{
		DType: tensor.F32, Shape: shape, Data: tensor.Bytes(t.dev.Floats(b)),
	}}
}

const (
	firstMoment  = "exp_avg."
	secondMoment = "exp_avg_sq."
)

// State returns all that the next steps depend on. The tensors are views, which
// change with the next Step.
func (t *Trainer) State() State {
	s := State{Values: map[string]string{
		"precision": t.options.Precision.String(),
		"seed":      strconv.FormatUint(t.options.Seed, 10),
		"steps":     strconv.Itoa(t.steps),
		"draws":     strconv.Itoa(t.draws),
		"scale":     strconv.FormatFloat(t.scaler.Scale, 'g', -1, 64),
		"good":      strconv.Itoa(t.scaler.Good),
	}}
	for _, p := range t.params {
		if !p.trained() {
			continue
		}
		name := p.fileName()
		s.Weights = append(s.Weights, t.view(name, p.shape, p.w))
		s.Optimizer = append(s.Optimizer, t.view(firstMoment+name, p.shape, p.m1), t.view(secondMoment+name, p.shape, p.m2))
	}
	return s
}

// Restore takes over a State of a trainer with the same model and options. Its
// tensors are valid during the call only. If it fails before it has copied
// anything, nothing has changed.
func (t *Trainer) Restore(s State) error {
	var values struct {
		steps, draws, good int
		seed               uint64
		scale              float64
	}
	for _, v := range []struct {
		name  string
		parse func(string) error
	}{
		{"steps", count(&values.steps)},
		{"draws", count(&values.draws)},
		{"good", count(&values.good)},
		{"seed", func(s string) (err error) { values.seed, err = strconv.ParseUint(s, 10, 64); return err }},
		{"scale", func(s string) (err error) {
			values.scale, err = strconv.ParseFloat(s, 64)
			if err == nil && !(values.scale > 0 && !math.IsInf(values.scale, 0)) {
				err = fmt.Errorf("%s is not a scale", s)
			}
			return err
		}},
		{"precision", func(s string) error {
			if s != t.options.Precision.String() {
				return fmt.Errorf("it is %q, want %v", s, t.options.Precision)
			}
			return nil
		}},
	} {
		text, ok := s.Values[v.name]
		if !ok {
			return fmt.Errorf("the training state lacks %q", v.name)
		}
		if err := v.parse(text); err != nil {
			return fmt.Errorf("the training state's %q: %w", v.name, err)
		}
	}
	own := t.State()
	targets := slices.Concat(own.Weights, own.Optimizer)
	sources, err := match(targets, slices.Concat(s.Weights, s.Optimizer))
	if err != nil {
		return err
	}
	for i, to := range targets {
		const most = 4 << 20
		for part := range slices.Chunk(sources[i].Data, most) {
			to.Tensor.Data = to.Tensor.Data[copy(to.Tensor.Data, part):]
			if s.Forget != nil {
				s.Forget(part)
			}
		}
	}
	t.steps, t.draws, t.options.Seed = values.steps, values.draws, values.seed
	t.scaler.Scale, t.scaler.Good = values.scale, values.good
	t.refresh()
	return nil
}

func count(to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err == nil && n < 0 {
			err = fmt.Errorf("%d is negative", n)
		}
		*to = n
		return err
	}
}

// match finds each target's tensor among the sources.
func match(targets, sources []safetensors.Named) ([]tensor.Tensor, error) {
	have := make(map[string]tensor.Tensor, len(sources))
	for _, s := range sources {
		have[s.Name] = s.Tensor
	}
	if len(have) != len(targets) {
		return nil, fmt.Errorf("the training state has %d tensors, want %d: it is of another model or other settings", len(have), len(targets))
	}
	var found []tensor.Tensor
	for _, to := range targets {
		from, ok := have[to.Name]
		if !ok {
			return nil, fmt.Errorf("the training state lacks the tensor %q", to.Name)
		}
		if from.DType != to.Tensor.DType || !slices.Equal(from.Shape, to.Tensor.Shape) || len(from.Data) != len(to.Tensor.Data) {
			return nil, fmt.Errorf("the training state's tensor %q is %v %s, want %v %s", to.Name,
				from.DType, from.ShapeString(), to.Tensor.DType, to.Tensor.ShapeString())
		}
		found = append(found, from)
	}
	return found, nil
}

// Weights returns the model under the names of transformers, as F32: views, but
// for matrices that an adapter is merged into, which stay as they are until the
// next call. A tied head is not among them.
func (t *Trainer) Weights() ([]safetensors.Named, error) {
	merged := make(map[*param]gpt2.Buffer)
	for i := range t.blocks {
		b := &t.blocks[i]
		for _, p := range []*projection{&b.qkv, &b.attnOut, &b.up, &b.down} {
			if p.lora == nil {
				continue
			}
			w, err := t.merge(p)
			if err != nil {
				return nil, fmt.Errorf("merge the adapter of %s: %w", p.weight.name, err)
			}
			merged[p.weight] = w
		}
	}
	var all []safetensors.Named
	for _, p := range t.params {
		switch w, ok := merged[p]; {
		case strings.Contains(p.name, ".lora_"):
		case ok:
			all = append(all, t.view(p.fileName(), p.shape, w))
		default:
			all = append(all, t.view(p.fileName(), p.shape, p.w))
		}
	}
	return all, nil
}
