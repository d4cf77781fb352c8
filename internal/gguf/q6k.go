package gguf

import (
	"encoding/binary"
	"runtime"
	"sync"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// q6k is the type that llama-quantize gives the token embedding of a file whose
// other matrices are Q4_0, if it is the output head too: without it no such file
// could be read. Its blocks hold 256 elements: 128 bytes with the low four bits,
// 64 with the high two, a signed scale for each 16 elements, and a float16 that
// scales the scales.
const (
	q6k      Type = 14
	q6kBlock      = 256
	q6kBytes      = 128 + 64 + 16 + 2
)

// dequantizeQ6K fills dst, whole blocks, from src.
func dequantizeQ6K(dst []float32, src []byte) {
	for len(dst) > 0 {
		low, high, scales := src[:128], src[128:192], src[192:208]
		d := tensor.F16ToFloat32(binary.LittleEndian.Uint16(src[208:]))
		// Each half of a block has its bits in 32 columns: byte i of the high
		// bits belongs to elements i, i+32, i+64 and i+96 of the half.
		for half := range 2 {
			l, h, s, out := low[64*half:], high[32*half:], scales[8*half:], dst[128*half:]
			for i := range 32 {
				for part, bits := range [4]byte{l[i] & 15, l[i+32] & 15, l[i] >> 4, l[i+32] >> 4} {
					q := int8(bits|h[i]>>(2*part)&3<<4) - 32
					out[i+32*part] = d * float32(int8(s[i/16+2*part])) * float32(q)
				}
			}
		}
		dst, src = dst[q6kBlock:], src[q6kBytes:]
	}
}

// Requantize makes the tensors of type Q6_K usable: they become Q8_0, in memory
// that Close frees. A block of Q8_0 has eight bits where the file has six, so
// that hardly anything is lost.
func (f *File) Requantize() {
	for name, e := range f.tensors {
		if e.kind != q6k || e.tensor.DType != tensor.Invalid {
			continue
		}
		elements := e.tensor.Len()
		memory := mapped.Anonymous(tensor.Q8_0.Bytes(elements))
		f.memory = append(f.memory, memory)
		blocks := elements / q6kBlock
		var workers sync.WaitGroup
		n := min(blocks, runtime.GOMAXPROCS(0))
		for w := range n {
			workers.Go(func() {
				values := make([]float32, q6kBlock)
				for b := blocks * w / n; b < blocks*(w+1)/n; b++ {
					dequantizeQ6K(values, e.raw[b*q6kBytes:])
					tensor.FromFloat32(memory.Data[tensor.Q8_0.Bytes(b*q6kBlock):], tensor.Q8_0, values)
				}
			})
		}
		workers.Wait()
		e.tensor.DType, e.tensor.Data = tensor.Q8_0, memory.Data
		f.tensors[name] = e
	}
}
