package tensor

import (
	"math"
	"testing"
)

// Every half and every bfloat16 survives the way to float32 and back.
func TestRoundTrip16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		if f := BF16ToFloat32(h); f == f && Float32ToBF16(f) != h {
			t.Fatalf("bf16 %#04x: back as %#04x", h, Float32ToBF16(f))
		} else if f != f && BF16ToFloat32(Float32ToBF16(f)) == BF16ToFloat32(Float32ToBF16(f)) {
			t.Fatalf("bf16 NaN %#04x is no NaN any more", h)
		}
		if f := F16ToFloat32(h); f == f && Float32ToF16(f) != h {
			t.Fatalf("f16 %#04x: back as %#04x", h, Float32ToF16(f))
		} else if f != f && F16ToFloat32(Float32ToF16(f)) == F16ToFloat32(Float32ToF16(f)) {
			t.Fatalf("f16 NaN %#04x is no NaN any more", h)
		}
	}
}

// Rounding is to the nearest, ties to even, over all neighbours of all halves.
func TestRoundF16(t *testing.T) {
	for i := range 0x7c00 {
		lo, hi := float64(F16ToFloat32(uint16(i))), float64(F16ToFloat32(uint16(i+1)))
		if i+1 == 0x7c00 {
			hi = 65536
		}
		mid := float32((lo + hi) / 2)
		tie := uint16(i + i&1)
		for _, c := range []struct {
			f    float32
			want uint16
		}{{mid, tie}, {math.Nextafter32(mid, 0), uint16(i)}, {math.Nextafter32(mid, 1e9), uint16(i + 1)}} {
			if got := Float32ToF16(c.f); got != c.want {
				t.Fatalf("Float32ToF16(%g) = %#04x, want %#04x", c.f, got, c.want)
			}
			if got := Float32ToF16(-c.f); got != c.want|0x8000 {
				t.Fatalf("Float32ToF16(%g) = %#04x, want %#04x", -c.f, got, c.want|0x8000)
			}
		}
	}
}

func TestFloat32sViewsWhenAligned(t *testing.T) {
	data := Bytes([]float32{1, 2, 3})
	v, view := Tensor{DType: F32, Shape: []int{3}, Data: data}.Float32s()
	if !view || v[2] != 3 {
		t.Errorf("aligned: view %v, values %v", view, v)
	}
	odd := append([]byte{0}, data...)[1:]
	v, view = Tensor{DType: F32, Shape: []int{3}, Data: odd}.Float32s()
	if view || v[2] != 3 {
		t.Errorf("misaligned: view %v, values %v", view, v)
	}
}
