package cpu

import (
	"runtime/debug"

	"github.com/gptctl/gptctl/internal/mapped"
)

// laterAfter is how many tokens come before matrices are copied, and laterBytes about how
// much is while each of the next is computed: a layer of GPT-2 124M, some 10 ms. All of it
// costs what it saves with 30 tokens, and where the system is slow to find memory with 100:
// who writes few does not pay for it, who writes many pays for a few slow ones.
const (
	laterAfter = 16
	laterBytes = 24 << 20
)

// takePart is how many numbers of a matrix are in memory twice while it is copied.
const takePart = 1 << 20

// layOut copies some of the matrices that wait for it, see Options.Later. What computes
// many rows reads little memory for each and does not wait. The first token after a prompt
// gives back what that was computed in: the cache goes on growing, and a part of a matrix
// is in memory twice.
func (d *Device) layOut(rows int) {
	if rows > manyRows || len(d.later) == 0 && d.calls > laterAfter {
		return
	}
	if d.options.Later {
		d.freeMany()
	}
	if d.calls++; d.calls <= laterAfter {
		return
	}
	if d.calls == laterAfter+1 && len(d.later) > 0 {
		d.giveBack()
		d.laterPiece()
	}
	for bytes := 0; len(d.later) > 0 && bytes < laterBytes; d.later = d.later[1:] {
		bytes += len(d.later[0].Data)
		d.take(d.later[0])
	}
}

// longRows are a prompt that is worth 2 ms: its keys and values are 20 MB in GPT-2 124M.
const longRows = 256

// giveBack gives back, once, what is not needed after the loading: garbage, and pages of the
// program. With a long prompt that is in the second layer: the others need a quarter of the
// program, and bring the most memory that there will be, but hardly any garbage, the
// collection of which would bring the program back.
func (d *Device) giveBack() {
	if !d.gaveBack {
		d.gaveBack = true
		debug.FreeOSMemory()
		mapped.ForgetProgram()
	}
}

// laterPiece asks for memory for all that waits at once: of several pieces the last huge
// page of each would be used in part.
func (d *Device) laterPiece() {
	n := 0
	for _, m := range d.later {
		n += roundUp(len(m.Data))
	}
	if n > len(d.free) {
		d.piece(n)
	}
}

// take copies a matrix out of the file. One that lies by its outputs stays as it is.
func (d *Device) take(m *matrix) {
	if m.OutMajor {
		d.convert(m, m.DType, takePart)
	} else {
		d.copied(m.Data) // comes back in parts
		d.panels(m, m.DType)
	}
}

// Settle does all that waits.
func (d *Device) Settle() {
	d.laterPiece()
	for _, m := range d.later {
		d.take(m)
	}
	d.later = nil
}

// StayInFile takes none out of the file that is still there.
func (d *Device) StayInFile() { d.later = nil }
