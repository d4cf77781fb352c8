package run

import (
	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/lora"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
)

// AdapterBase is the model that an adapter's folder says it was trained on, ""
// if it says none. Errors are *lora.Error.
func AdapterBase(dir string) (string, error) {
	a, err := lora.Open(dir)
	if err != nil {
		return "", err
	}
	defer a.Close()
	return a.Config.Base, nil
}

// bindAdapter finds out what Options.Adapter adds to the weights.
func (m *Model) bindAdapter(o OpenOptions) error {
	if o.Adapter == "" {
		return nil
	}
	a, err := lora.Open(o.Adapter)
	if err != nil {
		return err
	}
	defer a.Close()
	if m.adapter, err = a.Bind(m.Config, m.files.Weights); err != nil {
		return err
	}
	m.Adapter, m.Adapted, m.Ignored = o.Adapter, m.adapter.Modules(), m.adapter.Ignored
	m.Config.TieWordEmbeddings = m.adapter.Weights.Tied
	if m.dtype == tensor.Invalid && m.files.DType.IsQuantized() {
		m.dtype = m.files.DType // the sums too, or they would take several times the room
	}
	if o.Room == nil {
		return nil
	}
	all, largest := m.adapter.Bytes()
	if m.dtype != tensor.Invalid { // each is converted, then given back
		all = largest + int64(float64(all)*bytesOf(m.dtype)/4)
	}
	return o.Room(all)
}

// Merge returns a model of the files with the adapter in a folder added to its
// weights; it is valid until close, and as long as files is. room is asked
// before, as OpenOptions.Room. Errors are *lora.Error or room's.
func Merge(files *modelfiles.Model, dir string, room func(bytes int64) error) (merged *modelfiles.Model, closeMerged func(), err error) {
	a, err := lora.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	bound, err := a.Bind(files.Config, files.Weights)
	if err != nil {
		return nil, nil, err
	}
	if all, _ := bound.Bytes(); room != nil {
		err = room(all)
	}
	if err == nil {
		var c *kernel.CPU
		if c, err = kernel.New(kernel.Options{}); err == nil {
			defer c.Close()
			cpu.SurviveFaults(c)
			err = bound.FillAll(c)
		}
	}
	if err != nil {
		bound.Close()
		return nil, nil, err
	}
	m := *files
	m.Weights, m.Config.TieWordEmbeddings = bound.Weights, bound.Weights.Tied
	return &m, bound.Close, nil
}

// bytesOf is what a number of the type takes.
func bytesOf(d tensor.DType) float64 {
	return float64(d.Bytes(tensor.QuantBlock)) / tensor.QuantBlock
}

// adapt has the sums formed when the device reads them.
func (m *Model) adapt(o *cpu.Options) {
	o.Needed = func(data []byte) {
		if base := m.adapter.Fill(m.cpu, data); base != nil {
			m.files.Forget(base)
		}
	}
	forget := o.Copied
	o.Copied = func(data []byte) {
		forget(data)
		m.adapter.Copied(data)
	}
}
