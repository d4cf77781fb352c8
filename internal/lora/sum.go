package lora

import (
	"fmt"
	"unsafe"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Bound is an adapter together with the model that it is for. It is not safe for
// concurrent use.
type Bound struct {
	// Weights are the model's; those that the adapter adds to are float32 and lie
	// in memory of Bound. It is untouched, and so takes no room, until Fill.
	Weights *gpt2.Weights
	Ignored []string // modules that the file has an adapter for, but its configuration does not name

	base *gpt2.Weights
	sums []*sum
	last *sum // the one filled last
	err  error
}

// sum is a matrix and what is added to it.
type sum struct {
	site
	base   tensor.Tensor
	a, b   []float32 // [rank][in], [out][rank]
	rank   int
	scale  float32
	memory *mapped.Memory
	filled bool
	copied int // bytes that were reported to Copied
}

// reserve puts the sums in the places of the matrices.
func (b *Bound) reserve() {
	for _, s := range b.sums {
		shape := []int{s.in, s.out}
		if s.layout == gpt2.OutIn {
			shape = []int{s.out, s.in}
		}
		s.memory = mapped.Anonymous(4 * s.in * s.out)
		*s.weight = tensor.Tensor{DType: tensor.F32, Shape: shape, Data: s.memory.Data}
		if s.module == headModule {
			b.Weights.Tied = false
		}
	}
}

// Modules counts the matrices that the adapter adds to.
func (b *Bound) Modules() int { return len(b.sums) }

// Bytes is the memory of all sums, Largest that of one.
func (b *Bound) Bytes() (all, largest int64) {
	for _, s := range b.sums {
		n := 4 * int64(s.in) * int64(s.out)
		all += n
		largest = max(largest, n)
	}
	return all, largest
}

// Fill forms the sum that data is the memory of, and does nothing if it is none
// or was formed already. It returns the data of the matrix that was added to,
// which is not read again, or nil. What goes wrong is Err's.
func (b *Bound) Fill(c *kernel.CPU, data []byte) []byte {
	for _, s := range b.sums {
		if s.filled || len(data) == 0 || len(s.memory.Data) == 0 || unsafe.SliceData(data) != unsafe.SliceData(s.memory.Data) {
			continue
		}
		b.drop()
		b.last = s
		b.form(c, s)
		return s.base.Data
	}
	return nil
}

// FillAll forms all sums.
func (b *Bound) FillAll(c *kernel.CPU) error {
	for _, s := range b.sums {
		if !s.filled {
			b.form(c, s)
		}
	}
	return b.err
}

func (b *Bound) form(c *kernel.CPU, s *sum) {
	s.filled = true
	dst, ok := tensor.View[float32](s.memory.Data)
	if !ok {
		panic("lora: memory that is not aligned")
	}
	if s.base.DType == tensor.F32 {
		copy(s.memory.Data, s.base.Data)
	} else {
		c.Convert(s.memory.Data, tensor.F32, s.base.Data, s.base.DType)
	}
	scaled := make([]float32, len(s.b)) // [rank][out]
	for o := range s.out {
		for r := range s.rank {
			scaled[r*s.out+o] = s.b[o*s.rank+r] * s.scale
		}
	}
	if s.layout == gpt2.OutIn {
		c.Product(dst, scaled, s.a, kernel.Product{M: s.out, N: s.in, K: s.rank, TransposeA: true, DType: tensor.F32, Add: true})
	} else {
		c.Product(dst, s.a, scaled, kernel.Product{M: s.in, N: s.out, K: s.rank, TransposeA: true, DType: tensor.F32, Add: true})
	}
	if i := notFinite(dst); i >= 0 && b.err == nil {
		b.err = fmt.Errorf("with the adapter %s.weight holds a NaN or an infinite number at index %d", s.module, i)
	}
}

// Copied says that part of the sum filled last was read for the last time. Its
// memory is given back when all of it was, with the next Fill or Settle.
func (b *Bound) Copied(part []byte) {
	if b.last == nil || len(part) == 0 || len(b.last.memory.Data) == 0 {
		return
	}
	begin, at := uintptr(unsafe.Pointer(unsafe.SliceData(b.last.memory.Data))), uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	if at >= begin && at < begin+uintptr(len(b.last.memory.Data)) {
		b.last.copied += len(part)
	}
}

// Settle ends the loading of a model: a matrix of Weights whose sum was copied
// is the file's again, for who looks for a NaN in it.
func (b *Bound) Settle() error {
	b.drop()
	return b.err
}

// drop frees the sum filled last if it was copied as a whole.
func (b *Bound) drop() {
	if s := b.last; s != nil && s.copied >= len(s.memory.Data) {
		*s.weight = s.base
		_ = s.memory.Free()
	}
	b.last = nil
}

// Close gives all memory back. Neither Weights nor a model that uses them in
// place may be used afterwards.
func (b *Bound) Close() {
	for _, s := range b.sums {
		_ = s.memory.Free()
	}
}
