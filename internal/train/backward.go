package train

import (
	"context"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// backward adds the gradients of all weights, from that of the last residual
// stream in memory.dx.
func (p *pass) backward(ctx context.Context) error {
	for i := len(p.blocks) - 1; i >= max(p.lowest, 0); i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.blockBack(i)
	}
	if p.lowest < 0 {
		m := &p.memory
		p.dropout(m.dx, p.n*p.cfg.Embd, 0, dropEmbedding)
		if p.tokens.trained() {
			p.begin(p.tokens)
		}
		p.tokens.squares += p.dev.EmbedGrad(p.tokens.grad, p.positions.grad, m.dx, p.Tokens, p.context, p.cfg.Embd)
	}
	return nil
}

// blockBack takes memory.dx from a layer's output to its input.
func (p *pass) blockBack(i int) {
	m, b, embd := &p.memory, &p.blocks[i], p.cfg.Embd
	k := &m.layers[i]
	if p.options.Checkpointing && i < len(p.blocks)-1 { // the last layer's are still there
		p.block(i)
	}

	if m.again && !p.options.Checkpointing { // there the block has
		p.activate(k)
	}
	p.downBack(i)
	if m.again {
		p.norm(k.norms[1], k.middle, b.mlpNorm)
	}
	p.projectBack(m.dh, k.norms[1], m.dmid, &b.up)
	p.normBack(m.dx, k.middle, b.mlpNorm)

	p.projectBack(m.dh, k.att, p.branch(i, dropAttention), &b.attnOut)
	p.dev.AttendGrad(m.dqkv, m.dh, k.qkv, k.att, k.lse, p.Rows.Rows, p.context, p.shape(), p.cfg.AttentionScale(i), p.stream(i, dropProbabilities), p.drop, p.dtype)
	p.round(m.dqkv, p.n*3*embd)
	if m.again {
		p.norm(k.norms[0], m.x[i], b.attnNorm)
	}
	p.projectBack(m.dh, k.norms[0], m.dqkv, &b.qkv)
	p.normBack(m.dx, m.x[i], b.attnNorm)
}

// downBack takes the gradient of the MLP's output to what goes into its activation.
func (p *pass) downBack(i int) {
	m, w := &p.memory, &p.blocks[i].down
	k, dy := &m.layers[i], p.branch(i, dropMLP)
	if w.lora == nil {
		p.paramsBack(k.act, dy, w)
		p.dev.ProductBackAct(m.dmid, dy, p.n, w.operand, k.up, p.cfg.Activation, p.dtype)
		return
	}
	p.projectBack(m.dmid, k.act, dy, w)
	p.dev.ActivateGrad(m.dmid, k.up, p.n*p.cfg.Inner, p.cfg.Activation, p.dtype)
}

// branch is the gradient of what was added to the residual stream.
func (p *pass) branch(layer, place int) gpt2.Buffer {
	m, n := &p.memory, p.n*p.cfg.Embd
	if p.drop == 0 && !p.half() {
		return m.dx
	}
	p.dev.Copy(m.dy, m.dx, n, p.stream(layer, place), p.drop)
	p.round(m.dy, n)
	return m.dy
}

// normBack adds to dx what memory.dh passes back through a layer norm of x.
func (p *pass) normBack(dx, x gpt2.Buffer, n norm) {
	p.dev.NormGrad(dx, n.gain.grad, n.bias.grad, p.memory.dh, x, n.gain.w, p.n, p.cfg.Embd, float32(p.cfg.LayerNormEpsilon))
}

// projectBack overwrites dx with what dy passes back through y = x·w + bias +
// adapter, and adds the gradients of these. An adapter may spoil dy; what it and w pass back
// are rounded each, and their sum where x is a half in torch.
func (p *pass) projectBack(dx, x, dy gpt2.Buffer, w *projection) {
	p.paramsBack(x, dy, w)
	l := w.lora
	if l == nil {
		p.dev.ProductBack(dx, dy, p.n, w.operand, p.dtype, false)
		return
	}
	m, low := &p.memory, p.n*l.rank
	p.dev.ProductBack(dx, dy, p.n, w.operand, p.dtype, false)
	if l.late {
		p.dev.Scale(dy, p.n*w.out, l.factor)
		p.round(dy, p.n*w.out)
	}
	p.lowRank(x, l)
	p.weightBack(l.b, dy, m.low, p.n, w.out, l.rank)
	p.dev.ProductBack(m.dlow, dy, p.n, l.opB, p.dtype, false)
	if !l.late {
		p.dev.Scale(m.dlow, low, l.factor)
		p.round(m.dlow, low)
	}
	p.weightBack(l.a, m.dlow, x, p.n, l.rank, w.in)
	p.dev.ProductBack(dx, m.dlow, p.n, l.opA, p.dtype, true)
	if w.half {
		p.round(dx, p.n*w.in)
	}
}

// paramsBack adds the gradients of w and its bias.
func (p *pass) paramsBack(x, dy gpt2.Buffer, w *projection) {
	p.weightBack(w.weight, x, dy, p.n, w.in, w.out)
	if w.bias.trained() {
		p.biasBack(w, dy)
	}
}

// weightBack adds to the gradient of w, if it is trained, xᵀ·dy. The product is
// rounded first, as torch's is: in float16 it overflows where that does.
func (p *pass) weightBack(w *param, x, dy gpt2.Buffer, rows, in, out int) {
	if !w.trained() {
		return
	}
	w.squares, w.squared = p.dev.ProductGrad(w.grad, x, dy, rows, in, out, p.dtype, p.dtype, w.begun)
	w.begun = true
}

// begin makes sure that something can be added to the gradient of w.
func (t *Trainer) begin(w *param) {
	if !w.begun {
		t.dev.Clear(w.grad, w.n())
		w.begun = true
	}
}

// biasBack adds the gradient of a bias, rounded first as torch's is: in float16 it
// overflows where that does.
func (p *pass) biasBack(w *projection, dy gpt2.Buffer) {
	if !p.half() {
		p.dev.AddRows(w.bias.grad, dy, p.n, w.out)
		return
	}
	sum := p.memory.bias
	p.dev.Clear(sum, w.out)
	p.dev.AddRows(sum, dy, p.n, w.out)
	p.round(sum, w.out)
	p.dev.Add(w.bias.grad, sum, w.out)
}
