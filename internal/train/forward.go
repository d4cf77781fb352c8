package train

import (
	"context"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
)

// pass is one batch of rows on its way.
type pass struct {
	*Trainer
	Rows
	n       int    // positions
	context int    // of each row
	key     uint64 // of the random stream
	drop    float64
}

// The places of a layer where something is dropped.
const (
	dropProbabilities = iota
	dropAttention
	dropMLP
	dropEmbedding // of layer 0
	dropPlaces
)

// stream returns the key of a place's random numbers.
func (p *pass) stream(layer, place int) uint64 {
	return kernel.Mix(p.key + uint64(layer*dropPlaces+place+1)*0x9e3779b97f4a7c15)
}

func (p *pass) dropout(x gpt2.Buffer, n, layer, place int) {
	if p.drop > 0 {
		p.dev.Drop(x, n, p.stream(layer, place), p.drop)
	}
}

// forward leaves the residual stream after each layer in memory.x.
func (p *pass) forward(ctx context.Context) error {
	m, embd := &p.memory, p.cfg.Embd
	p.dev.EmbedTokens(m.x[0], p.tokens.w, p.positions.w, p.Tokens, p.context, embd)
	p.dropout(m.x[0], p.n*embd, 0, dropEmbedding)
	for i := range p.blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.block(i)
		p.mlpOut(i)
	}
	return nil
}

// block computes what is kept of a layer.
func (p *pass) block(i int) {
	m, b, embd := &p.memory, &p.blocks[i], p.cfg.Embd
	k := &m.layers[i]
	p.norm(k.norms[0], m.x[i], b.attnNorm)
	p.project(k.qkv, k.norms[0], &b.qkv)
	p.dev.Attend(k.att, k.lse, k.qkv, p.Rows.Rows, p.context, p.shape(), p.cfg.AttentionScale(i), p.stream(i, dropProbabilities), p.drop, p.dtype)
	p.round(k.att, p.n*embd)
	p.project(k.middle, k.att, &b.attnOut)
	p.dropout(k.middle, p.n*embd, i, dropAttention)
	p.dev.Add(k.middle, m.x[i], p.n*embd)
	p.norm(k.norms[1], k.middle, b.mlpNorm)
	if b.up.lora == nil {
		p.dev.ProductAct(k.up, k.act, k.norms[1], p.n, b.up.operand, b.up.bias.w, p.cfg.Activation, p.dtype)
		return
	}
	p.project(k.up, k.norms[1], &b.up)
	p.activate(k)
}

// mlpOut computes the rest of a layer.
func (p *pass) mlpOut(i int) {
	m, embd := &p.memory, p.cfg.Embd
	k, out := &m.layers[i], m.x[i+1]
	p.project(out, k.act, &p.blocks[i].down)
	p.dropout(out, p.n*embd, i, dropMLP)
	p.dev.Add(out, k.middle, p.n*embd)
}

func (p *pass) shape() gpt2.KVShape {
	return gpt2.KVShape{Layers: 1, Heads: p.cfg.Heads, HeadDim: p.cfg.HeadDim()}
}

// norm computes the layer norm of x.
func (p *pass) norm(y, x gpt2.Buffer, n norm) {
	p.dev.Norm(y, x, n.gain.w, n.bias.w, p.n, p.cfg.Embd, float32(p.cfg.LayerNormEpsilon))
	p.round(y, p.n*p.cfg.Embd)
}

// activate computes the MLP's activation.
func (p *pass) activate(k *kept) {
	n := p.n * p.cfg.Inner
	p.dev.Activate(k.act, k.up, n, p.cfg.Activation, p.dtype)
}

// project computes y = x·w + bias + adapter.
func (p *pass) project(y, x gpt2.Buffer, w *projection) {
	n := p.n * w.out
	p.dev.Product(y, x, p.n, w.operand, w.bias.w, p.dtype, false)
	l := w.lora
	if l == nil {
		return
	}
	m := &p.memory
	p.lowRank(x, l)
	if !l.late {
		p.dev.Product(y, m.low, p.n, l.opB, nil, p.dtype, true)
		p.round(y, n)
		return
	}
	more := m.dqkv // which the way back has not come to
	if w.out > 3*p.cfg.Embd {
		more = m.dmid
	}
	p.dev.Product(more, m.low, p.n, l.opB, nil, p.dtype, false)
	p.dev.Scale(more, n, l.factor)
	p.round(more, n)
	p.dev.Add(y, more, n)
	p.round(y, n)
}

// lowRank leaves x·aᵀ in memory.low, times the factor if that is not late.
func (p *pass) lowRank(x gpt2.Buffer, l *adapter) {
	p.dev.Product(p.memory.low, x, p.n, l.opA, nil, p.dtype, false)
	if !l.late {
		p.dev.Scale(p.memory.low, p.n*l.rank, l.factor)
		p.round(p.memory.low, p.n*l.rank)
	}
}

// classify computes the loss of what is in the last residual stream: the sum
// over the labels that count. With scale other than 0 it leaves the gradient of
// scale times that sum for the stream in memory.dx, and adds that of the head
// and the last norm.
func (p *pass) classify(ctx context.Context, scale float32) (sum float64, err error) {
	m, c := &p.memory, p.cfg
	last := m.x[len(p.blocks)]
	p.norm(m.norm, last, p.final)
	for from := 0; from < p.n; from += m.head {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n := min(m.head, p.n-from)
		labels := p.Labels[from : from+n]
		counted := 0
		for _, l := range labels {
			if l >= 0 {
				counted++
			}
		}
		part := m.chunks[from/m.head]
		if p.n < m.rows && n < m.head {
			part = p.chunk(m, from, n)
		}
		if counted == 0 {
			p.dev.Clear(part.dh, n*c.Embd)
			continue
		}
		p.dev.Product(m.logits, part.norm, n, p.headOperand, nil, p.dtype, false)
		p.dev.CrossEntropy(m.losses, m.logits, labels, c.VocabSize, scale, p.dtype)
		for _, l := range m.losses[:n] {
			sum += l
		}
		if scale == 0 {
			continue
		}
		p.weightBack(p.head, m.logits, part.norm, n, c.VocabSize, c.Embd)
		p.dev.ProductBack(part.dh, m.logits, n, p.headOperand, p.dtype, false)
	}
	if scale == 0 {
		return sum, nil
	}
	p.dev.Clear(m.dx, p.n*c.Embd)
	p.normBack(m.dx, last, p.final)
	return sum, nil
}
