package train

import (
	"context"
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// FirstNonFinite computes the loss of r once more and names the first tensor that
// holds a NaN or an infinity: a weight, or what a layer makes; "" if all is
// finite up to the loss. It changes nothing that State returns.
func (t *Trainer) FirstNonFinite(ctx context.Context, r Rows) (string, error) {
	if name, ok := t.findNonFinite(); ok {
		return name, nil
	}
	if _, err := t.checkRows(r); err != nil {
		return "", err
	}
	if t.memory.free != nil { // a larger batch may have left something bad behind the last row
		t.memory.free()
	}
	t.memory = memory{}
	if err := t.reserve(len(r.Tokens)); err != nil {
		return "", err
	}
	p := t.pass(r)
	m, c := &t.memory, t.cfg
	bad := func(b gpt2.Buffer, width int) bool {
		_, finite := t.dev.SumSquares(t.dev.Part(b, 0, p.n*width))
		return !finite
	}
	t.dev.EmbedTokens(m.x[0], t.tokens.w, t.positions.w, r.Tokens, p.context, c.Embd)
	if bad(m.x[0], c.Embd) {
		return "the sum of wte and wpe", nil
	}
	for i := range t.blocks {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		p.block(i)
		k := &m.layers[i]
		for _, v := range []struct {
			name  string
			of    gpt2.Buffer
			width int
		}{
			{"the output of h.%d.attn.c_attn", k.qkv, 3 * c.Embd}, {"the attention of h.%d", k.att, c.Embd},
			{"the output of h.%d.attn.c_proj", k.middle, c.Embd}, {"the output of h.%d.mlp.c_fc", k.up, c.Inner},
		} {
			if bad(v.of, v.width) {
				return fmt.Sprintf(v.name, i), nil
			}
		}
		p.mlpOut(i)
		if bad(m.x[i+1], c.Embd) {
			return fmt.Sprintf("the output of h.%d.mlp.c_proj", i), nil
		}
	}
	p.norm(m.norm, m.x[len(t.blocks)], t.final)
	if bad(m.norm, c.Embd) {
		return "the output of ln_f", nil
	}
	for from := 0; from < p.n; from += m.head {
		n := min(m.head, p.n-from)
		t.dev.Product(m.logits, t.dev.Part(m.norm, from*c.Embd, n*c.Embd), n, t.headOperand, nil, p.dtype, false)
		if _, finite := t.dev.SumSquares(t.dev.Part(m.logits, 0, n*c.VocabSize)); !finite {
			return "the logits", nil
		}
	}
	return "", nil
}
