package cpu

import "github.com/gptctl/gptctl/internal/tensor"

// laterBytes is about how much a token has to wait for: a layer of GPT-2 124M, some 10 ms.
const laterBytes = 24 << 20

// layOut makes panels of some of the matrices that wait for it, see Options.Later. The
// first call of the model does not wait, nor does what reads many rows and thus little
// memory for each.
func (d *Device) layOut(rows int) {
	if !d.begun || rows > manyRows {
		d.begun = true
		return
	}
	for bytes := 0; len(d.later) > 0 && bytes < laterBytes; d.later = d.later[1:] {
		bytes += len(d.later[0].Data)
		d.panels(d.later[0], tensor.F32)
	}
}

// Settle makes panels of all that wait.
func (d *Device) Settle() {
	for _, m := range d.later {
		d.panels(m, tensor.F32)
	}
	d.later = nil
}

// StayInFile takes none out of the file that has not been.
func (d *Device) StayInFile() { d.later = nil }
