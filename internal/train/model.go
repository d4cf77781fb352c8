package train

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

// param is a tensor of the model or of an adapter.
type param struct {
	name         string // without prefix
	shape        []int
	w            gpt2.Buffer
	grad, m1, m2 gpt2.Buffer // nil if it is not trained
	decay        bool        // a matrix or an embedding
	begun        bool        // the gradient has been overwritten in this step
	squared      bool        // squares is the sum of its squares
	squares      float64
}

func (p *param) trained() bool { return p.grad != nil }

// n is the number of elements.
func (p *param) n() int { return tensor.Tensor{Shape: p.shape}.Len() }

type norm struct{ gain, bias *param }

// projection is y = x·weight + bias, with what LoRA adds.
type projection struct {
	weight, bias *param
	in, out      int
	operand      gpt2.Matrix
	half         bool // x is a half in torch under autocast, not what a norm gives, or its GELU of several operations
	lora         *adapter
}

// adapter is the low-rank addition: a [rank][in], b [out][rank].
type adapter struct {
	a, b   *param
	opA    gpt2.Matrix
	opB    gpt2.Matrix
	rank   int
	factor float32
	late   bool        // what b gives is multiplied by factor, as peft does it, not what a gives: halves round it otherwise
	merged gpt2.Buffer // [in][out], nil until it is asked for
}

type block struct {
	attnNorm, mlpNorm      norm
	qkv, attnOut, up, down projection
}

// Trainer is a model that is being trained. It is not safe for concurrent use.
type Trainer struct {
	cfg     gpt2.Config
	dev     Device
	options Options
	dtype   tensor.DType // of the products' factors

	params            []*param // in the order of the computation; a tied head is not among them
	tokens, positions *param
	head              *param // tokens, if tied
	headOperand       gpt2.Matrix
	blocks            []block
	final             norm
	lowest            int // the first block that gradients must reach, -1: the embeddings
	tied              bool

	steps  int // of the optimizer
	draws  int // steps begun, of which each has its own dropout
	scaler scaler

	memory memory
}

// New copies what is trained of the weights to the device. What is frozen is
// used where it lies if it is F32, so that the memory of w must stay valid.
func New(dev Device, cfg gpt2.Config, w *gpt2.Weights, o Options) (*Trainer, error) {
	if !(o.Dropout >= 0 && o.Dropout < 1) {
		return nil, fmt.Errorf("dropout %v: want at least 0 and less than 1", o.Dropout)
	}
	if o.Precision > FP16 {
		return nil, fmt.Errorf("precision %d is not known", o.Precision)
	}
	if l := o.LoRA; l.Rank < 0 || l.Rank > 0 && len(l.Targets) == 0 {
		return nil, fmt.Errorf("lora of rank %d for %d targets: want a rank above 0 and a target, such as c_attn", l.Rank, len(l.Targets))
	}
	t := &Trainer{cfg: cfg, dev: dev, options: o, dtype: o.Precision.dtype(), tied: w.Tied, scaler: newScaler(o.Precision)}
	b := builder{t: t, unused: make(map[string]bool)}
	for _, p := range o.Freeze {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("freeze %q: %w", p, err)
		}
		b.unused[p] = true
	}
	b.build(w)
	if b.err != nil {
		return nil, fmt.Errorf("prepare training on %s: %w", dev.Name(), b.err)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return t, nil
}

// builder keeps the first error.
type builder struct {
	t      *Trainer
	unused map[string]bool // patterns of Freeze that no tensor matched
	err    error
}

func (b *builder) build(w *gpt2.Weights) {
	t, c := b.t, b.t.cfg
	t.tokens = b.param("wte.weight", w.TokenEmbedding, gpt2.InOut)
	t.positions = b.param("wpe.weight", w.PositionEmbedding, gpt2.InOut)
	for i, l := range w.Blocks {
		h := fmt.Sprintf("h.%d.", i)
		t.blocks = append(t.blocks, block{
			attnNorm: b.norm(h+"ln_1", l.AttnNorm),
			qkv:      b.projection(h+"attn.c_attn", l.QKV, c.Embd, 3*c.Embd),
			attnOut:  b.projection(h+"attn.c_proj", l.AttnOut, c.Embd, c.Embd),
			mlpNorm:  b.norm(h+"ln_2", l.MLPNorm),
			up:       b.projection(h+"mlp.c_fc", l.Up, c.Embd, c.Inner),
			down:     b.projection(h+"mlp.c_proj", l.Down, c.Inner, c.Embd),
		})
		t.blocks[i].attnOut.half, t.blocks[i].down.half = true, c.Activation != gpt2.GELUNew
	}
	t.final = b.norm("ln_f", w.FinalNorm)
	t.head = t.tokens
	if !w.Tied {
		t.head = b.param("lm_head.weight", w.Head, gpt2.InOut)
	}
	t.headOperand = b.operand(t.head, gpt2.OutIn, c.Embd, c.VocabSize)
	t.lowest = b.lowest()
}

// frozen says whether a tensor of the model stays as it is.
func (b *builder) frozen(name string) bool {
	frozen := b.t.options.LoRA.Rank > 0
	for _, p := range b.t.options.Freeze {
		if ok, _ := path.Match(p, name); ok {
			delete(b.unused, p)
			frozen = true
		}
	}
	return frozen
}

func (b *builder) param(name string, src tensor.Tensor, layout gpt2.Layout) *param {
	p := &param{name: name, shape: slices.Clone(src.Shape), decay: len(src.Shape) > 1}
	if b.err != nil {
		return p
	}
	b.t.params = append(b.t.params, p)
	if layout == gpt2.OutIn {
		p.shape = []int{src.Shape[1], src.Shape[0]}
	}
	frozen := b.frozen(name)
	if frozen && src.DType == tensor.F32 && layout == gpt2.InOut {
		p.w, b.err = b.t.dev.LoadVector(src)
		return p
	}
	p.w = b.tensor(p.n())
	if b.err != nil {
		return p
	}
	to := b.t.dev.Floats(p.w)
	if layout == gpt2.InOut && src.DType == tensor.F32 {
		v, _ := src.Float32s()
		copy(to, v)
	} else if layout == gpt2.InOut {
		tensor.ToFloat32(to, src.DType, src.Data)
	} else { // row by row
		in, out := p.shape[0], p.shape[1]
		row := make([]float32, in)
		for o := range out {
			tensor.ToFloat32(row, src.DType, src.Data[src.DType.Bytes(o*in):])
			for i, v := range row {
				to[i*out+o] = v
			}
		}
	}
	if b.t.options.Copied != nil {
		b.t.options.Copied(src.Data)
	}
	if !frozen {
		b.train(p)
	}
	return p
}

// train gives p a gradient and moments.
func (b *builder) train(p *param) {
	p.grad, p.m1, p.m2 = b.tensor(p.n()), b.tensor(p.n()), b.tensor(p.n())
}

func (b *builder) tensor(n int) (buf gpt2.Buffer) {
	if b.err == nil {
		buf, b.err = b.t.dev.NewTensor(n)
	}
	return buf
}

func (b *builder) operand(p *param, layout gpt2.Layout, in, out int) (m gpt2.Matrix) {
	if b.err == nil {
		m, b.err = b.t.dev.Operand(p.w, layout, in, out, b.t.dtype)
	}
	return m
}

func (b *builder) norm(name string, n gpt2.Norm) norm {
	return norm{b.param(name+".weight", n.Gain, gpt2.InOut), b.param(name+".bias", n.Bias, gpt2.InOut)}
}

func (b *builder) projection(name string, src gpt2.Projection, in, out int) projection {
	p := projection{
		weight: b.param(name+".weight", src.Weight, src.Layout),
		bias:   b.param(name+".bias", src.Bias, gpt2.InOut), in: in, out: out,
	}
	p.operand = b.operand(p.weight, gpt2.InOut, in, out)
	if b.targeted(name) {
		p.lora = b.adapter(name, in, out)
	}
	return p
}

func (b *builder) targeted(name string) bool {
	l := b.t.options.LoRA
	return l.Rank > 0 && slices.ContainsFunc(l.Targets, func(target string) bool { return matches(name, target) })
}

// matches decides as peft does.
func matches(module, target string) bool {
	return module == target || strings.HasSuffix(module, "."+target)
}

// lowest finds the first block with something that is trained in it or before it.
func (b *builder) lowest() int {
	t := b.t
	at := len(t.blocks)
	for _, p := range t.params {
		if !p.trained() {
			continue
		}
		var i int
		switch {
		case p == t.tokens || p == t.positions:
			return -1
		default:
			if n, _ := fmt.Sscanf(p.name, "h.%d.", &i); n == 1 {
				at = min(at, i)
			}
		}
	}
	return at
}

// check finds settings that mean nothing for this model.
func (b *builder) check() error {
	t := b.t
	for p := range b.unused {
		return fmt.Errorf("freeze %q: the model has no such tensor (its tensors are wte.weight, h.0.attn.c_attn.weight …)", p)
	}
	if t.options.LoRA.Rank > 0 {
		for _, target := range t.options.LoRA.Targets {
			if !slices.ContainsFunc(t.params, func(p *param) bool {
				module, ok := strings.CutSuffix(p.name, ".lora_A.weight")
				return ok && matches(module, target)
			}) {
				return fmt.Errorf("lora target %q: the model has no such matrix, want c_attn, c_proj, attn.c_proj, mlp.c_proj or c_fc", target)
			}
		}
	}
	if !slices.ContainsFunc(t.params, (*param).trained) {
		return fmt.Errorf("nothing is left to train: all tensors are frozen")
	}
	return nil
}
