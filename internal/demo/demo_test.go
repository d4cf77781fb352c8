package demo_test

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/tensor"
)

// maxEmbedded is the limit on what the demo adds to the binary.
const maxEmbedded = 8_000_000

func TestSize(t *testing.T) {
	total := len(demo.Weights())
	err := fs.WalkDir(demo.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += int(info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > maxEmbedded {
		t.Errorf("embedded %d bytes, want at most %d", total, maxEmbedded)
	}
}

func TestFiles(t *testing.T) {
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} {
		data, err := fs.ReadFile(demo.Files(), name)
		if err != nil {
			t.Error(err)
			continue
		}
		var v map[string]any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := fs.Stat(demo.Files(), "README.md"); err != nil {
		t.Error(err)
	}
}

func parse(t *testing.T) *gguf.File {
	t.Helper()
	f, err := gguf.Parse(demo.Weights())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWeights(t *testing.T) {
	f := parse(t)
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		want := tensor.Q8_0
		switch {
		case name == "position_embd.weight":
			want = tensor.F16
		case len(x.Shape) == 1:
			want = tensor.F32
		}
		if x.DType != want {
			t.Errorf("%s is %v, want %v", name, x.DType, want)
		}
		aligned := true
		switch x.DType {
		case tensor.F32:
			_, aligned = tensor.View[float32](x.Data)
		case tensor.F16:
			_, aligned = tensor.View[uint16](x.Data)
		}
		if !aligned {
			t.Errorf("%s is not aligned, each use copies it", name)
		}
	}
}

// TestFloat32s takes blocks of Q8_0 apart by hand.
func TestFloat32s(t *testing.T) {
	f := parse(t)
	list, err := demo.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(f.Names()) {
		t.Errorf("%d tensors, want %d", len(list), len(f.Names()))
	}
	seen := 0
	for _, n := range list {
		values, _ := n.Tensor.Float32s()
		for i, v := range values {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Fatalf("%s[%d] is %v", n.Name, i, v)
			}
		}
		own, transpose := "", false
		switch n.Name {
		case "transformer.wte.weight":
			own = "token_embd.weight"
		case "transformer.h.1.mlp.c_fc.weight":
			own, transpose = "blk.1.ffn_up.weight", true
		default:
			continue
		}
		seen++
		q, _ := f.Tensor(own)
		rows, cols := q.Shape[0], q.Shape[1]
		for _, at := range [][2]int{{0, 0}, {1, 2}, {rows - 1, 33}, {rows / 2, cols - 1}} {
			element := at[0]*cols + at[1]
			block := q.Data[element/32*34:]
			want := tensor.F16ToFloat32(binary.LittleEndian.Uint16(block)) * float32(int8(block[2+element%32]))
			got := values[element]
			if transpose {
				got = values[at[1]*rows+at[0]]
			}
			if got != want {
				t.Errorf("%s at %v is %g, want %g", own, at, got, want)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of 2 tensors compared", seen)
	}
}
