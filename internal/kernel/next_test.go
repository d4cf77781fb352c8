package kernel

import (
	"testing"
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// What a member expects is where its streams of the next weight begin, and is asked for
// until nothing is left.
func TestExpect(t *testing.T) {
	o := twinOps()
	o.streamsAhead = true
	t.Run("four", func(t *testing.T) { expectCase(t, o, 4, 1) })
	t.Run("few rows", func(t *testing.T) { expectCase(t, o, 2, 8) })
	o.four, o.fourDots, o.fourBlocks, o.tiles.four = nil, nil, nil, nil
	t.Run("two", func(t *testing.T) { expectCase(t, o, 2, 1) })
}

func expectCase(t *testing.T, o *ops, streams, rows int) {
	for _, members := range []int{1, 2, 3, 8} {
		c := cpuOf(t, o, members)
		for _, w := range []Weight{
			{In: 96, Out: 32 * 50, DType: tensor.Q8_0},
			{In: 4096, Out: 32 * 33, DType: tensor.Q4_0},
			{In: 700, Out: 1000, DType: tensor.F32, Panels: true},
			{In: 700, Out: 1000, DType: tensor.BF16, Tiles: true},
			{In: 64, Out: 3, DType: tensor.BF16, Tiles: true},
		} {
			w.Data = make([]byte, w.bytes())
			cols, bytes := w.panel()
			panels := ceilDiv(w.Out, cols)
			for m := range members {
				c.expect(m, &w, rows)
				from, to := part(panels, m, members)
				length := ceilDiv(to-from, 2)
				if streams == 4 {
					if length = max(1, (to-from)/4); w.DType == tensor.F32 {
						length = min(fourStep(bytes), ceilDiv(length, 2))
					}
				}
				if rows > 1 && w.Panels { // is read otherwise
					length = 0
				}
				for i := range streams {
					got, first := c.members[m].next[i], from+i*length
					room := max(0, min(length, to-first)) * bytes
					if len(got) != min(room, expected/streams) {
						t.Errorf("member %d, stream %d: %d bytes of %d", m, i, len(got), room)
					}
					if len(got) > 0 && unsafe.SliceData(got) != unsafe.SliceData(w.Data[first*bytes:]) {
						t.Errorf("member %d, stream %d begins elsewhere", m, i)
					}
				}
				calls := 0
				for c.streamAhead(m) {
					calls++
				}
				if most := expected / expectedStep; calls > most {
					t.Errorf("member %d asked %d times", m, calls)
				}
			}
		}
		c.expect(0, &Weight{In: 8, Out: 8, DType: tensor.F32, Data: make([]byte, 256)}, rows) // read in another order
		if c.streamAhead(0) {
			t.Error("something is expected of a weight that no member has a part of")
		}
		c.expect(0, nil, rows)
	}
}
