package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// In a panel of keys a new one touches every line, 4 KB that are read and written back for
// 128 bytes. So single rows keep the panel that is not full yet the other way,
// [32][headDim]: a key is a row then, and the panel is turned when it is full, or when
// rows of other kinds come.

// rowKeys reports whether single rows keep an unfinished panel by rows.
func (t *attentionTask) rowKeys() bool {
	o := t.c.ops
	return t.singles && o.scoreRows != nil && o.tiles != nil && t.DType.Size() == 2 && t.HeadDim%generic.TileStep == 0 && t.HeadDim%o.nr == 0
}

// settle turns what lies by rows of the texts of this call.
func (t *attentionTask) settle() {
	for i := range t.rows {
		if r := &t.rows[i]; i == 0 || !sameCache(r, &t.rows[i-1]) {
			t.c.inPanels(r, t.AttentionShape)
		}
	}
}

// InPanels turns what lies by rows in the keys of a text, so that all are in panels.
func (c *CPU) InPanels(r AttentionRow, s AttentionShape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inPanels(&r, s)
}

func (c *CPU) inPanels(r *AttentionRow, s AttentionShape) {
	t := attentionTask{c: c, AttentionShape: s, bytes: s.position()}
	for h, p := range r.ByRows {
		if p < 0 {
			continue
		}
		k, _ := t.cache(r, h)
		t.toColumns(&c.members[0], t.panel(k, int(p)))
		r.ByRows[h] = -1
	}
}

// panel returns a panel of keys.
func (t *attentionTask) panel(k []byte, i int) []byte {
	n := KVPanel * t.HeadDim * t.DType.Size()
	return k[i*n:][:n]
}

// storeByRows stores the key and the value of a single row.
func (t *attentionTask) storeByRows(s *scratch, row, head int) {
	r := &t.rows[row]
	k, v := t.cache(r, head)
	bytes := t.HeadDim * t.DType.Size()
	pos := r.Len - 1
	at, p := pos%KVPanel, t.panel(k, pos/KVPanel)
	if was := int(r.ByRows[head]); was != pos/KVPanel {
		if was >= 0 {
			t.toColumns(s, t.panel(k, was))
		}
		if at > 0 { // else it holds nothing yet
			t.toRows(s, p)
		}
		r.ByRows[head] = int32(pos / KVPanel)
	}
	width := t.Heads * t.HeadDim
	q := t.query(row, head)
	t.narrow(p[at*bytes:], q[width:][:t.HeadDim])
	t.narrow(v[pos*bytes:], q[2*width:][:t.HeadDim])
	if at == KVPanel-1 {
		t.toColumns(s, p)
		r.ByRows[head] = -1
	}
}

// toColumns makes [headDim][32] of [32][headDim], a step at a time, in place.
func (t *attentionTask) toColumns(s *scratch, panel []byte) {
	const bytes = generic.StepBytes
	row := t.HeadDim * 2
	rows, step := s.twoPanels(panel)
	for j := range t.HeadDim / generic.TileStep {
		for i := range KVPanel {
			copy(step[i*64:][:64], rows[i*row+j*64:])
		}
		t.c.ops.tiles.turn(panel[j*bytes:], step)
	}
}

// toRows makes [32][headDim] of [headDim][32] in place.
func (t *attentionTask) toRows(s *scratch, panel []byte) {
	const bytes = generic.StepBytes
	row := t.HeadDim * 2
	columns, step := s.twoPanels(panel)
	for j := range t.HeadDim / generic.TileStep {
		t.c.ops.tiles.turn(step, columns[j*bytes:])
		for i := range KVPanel {
			copy(panel[i*row+j*64:][:64], step[i*64:])
		}
	}
}

// twoPanels returns a copy of a panel and room for a step of it.
func (s *scratch) twoPanels(panel []byte) (all, step []byte) {
	s.b = grow(s.b, (len(panel)+generic.StepBytes)/4)
	b := tensor.Bytes(s.b)
	copy(b, panel)
	return b[:len(panel)], b[len(panel):][:generic.StepBytes]
}

// scoresOf computes the scores of a single row, whose keys may lie by rows in the end.
func (t *attentionTask) scoresOf(s *scratch, row, head int, k []byte) {
	o, dim, r := t.c.ops, t.HeadDim, &t.rows[row]
	if t.coded() {
		var q []generic.Block
		if blocks := dim / tensor.QuantBlock; t.given != nil {
			q = t.codesOf(row, 0, head, blocks)
		} else {
			s.blocks = growBlocks(s.blocks, blocks)
			q = s.blocks
			o.quantize(q, t.query(row, head)[:dim], t.DType)
		}
		panels := ceilDiv(r.Len, panelOuts)
		o.codeScores(s.c, q, k[:panels*panelOuts*t.bytes], panels, &s.asks)
		return
	}
	q, panels := t.query(row, head)[:dim], ceilDiv(r.Len, KVPanel)
	if t.byRows(row) && int(r.ByRows[head]) == panels-1 {
		panels--
		o.scoreRows(t.DType, s.c[panels*KVPanel:], q, t.panel(k, panels), r.Len-panels*KVPanel, dim, &s.asks)
	}
	o.scores(t.DType, s.c, q, k, panels, dim, &s.asks)
}

// byRows reports whether a single row's keys may lie by rows.
func (t *attentionTask) byRows(row int) bool { return t.turning && t.rows[row].ByRows != nil }
