package train

import (
	"math"
	"math/rand/v2"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
)

// adapter makes a new one: a is uniform in ±1/√in, b is zero, so that it changes
// nothing at first (peft's reset_lora_parameters).
func (b *builder) adapter(module string, in, out int) *adapter {
	l := b.t.options.LoRA
	a := &adapter{
		a:    &param{name: module + ".lora_A.weight", shape: []int{l.Rank, in}, decay: true},
		b:    &param{name: module + ".lora_B.weight", shape: []int{out, l.Rank}, decay: true},
		rank: l.Rank, factor: float32(l.Alpha / float64(l.Rank)),
	}
	if fraction, _ := math.Frexp(float64(a.factor)); fraction != 0.5 { // a power of two changes no rounding
		a.late = b.t.half()
	}
	for _, p := range []*param{a.a, a.b} {
		p.w = b.tensor(p.n())
		b.train(p)
		b.t.params = append(b.t.params, p)
	}
	if b.err != nil {
		return a
	}
	rng := rand.New(rand.NewPCG(b.t.options.Seed, hash(module)))
	bound := 1 / math.Sqrt(float64(in))
	w := b.t.dev.Floats(a.a.w)
	for i := range w {
		w[i] = float32((2*rng.Float64() - 1) * bound)
	}
	a.opA = b.operand(a.a, gpt2.OutIn, in, l.Rank)
	a.opB = b.operand(a.b, gpt2.OutIn, l.Rank, out)
	return a
}

// hash names a random stream.
func hash(name string) uint64 {
	h := uint64(len(name))
	for _, c := range []byte(name) {
		h = kernel.Mix(h*256 + uint64(c) + 0x9e3779b97f4a7c15)
	}
	return h
}

// merge returns the weights of p with its adapter added, in memory that the next
// call for p overwrites.
func (t *Trainer) merge(p *projection) (gpt2.Buffer, error) {
	l := p.lora
	if l.merged == nil {
		var err error
		if l.merged, err = t.dev.NewTensor(p.in * p.out); err != nil {
			return nil, err
		}
	}
	w := l.merged
	scaled, err := t.dev.NewBuffer(l.rank * p.out)
	if err != nil {
		return nil, err
	}
	t.dev.Copy(w, p.weight.w, p.in*p.out, 0, 0)
	b, to := t.dev.Floats(l.b.w), t.dev.Floats(scaled)
	for o := range p.out {
		for r := range l.rank {
			to[r*p.out+o] = b[o*l.rank+r] * l.factor
		}
	}
	t.dev.ProductGrad(w, l.a.w, scaled, l.rank, p.in, p.out, tensorF32, tensorF32, true)
	return w, nil
}
