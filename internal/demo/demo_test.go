package demo_test

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"testing"
	"unsafe"

	"github.com/gptctl/gptctl/internal/demo"
)

// maxEmbedded is the limit on what the demo adds to the binary.
const maxEmbedded = 12_000_000

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
		if name == "config.json" && v["dtype"] != "bfloat16" {
			t.Errorf("config.json: dtype %v, want bfloat16", v["dtype"])
		}
	}
	if _, err := fs.Stat(demo.Files(), "README.md"); err != nil {
		t.Error(err)
	}
}

// TestWeights reads the header of the safetensors by hand: this package must
// not need the reader that is tested with its help.
func TestWeights(t *testing.T) {
	w := demo.Weights()
	if align := uintptr(unsafe.Pointer(&w[0])) % 16; align != 0 {
		t.Errorf("weights start %d bytes past a multiple of 16; BF16 cannot be used in place", align)
	}
	n := binary.LittleEndian.Uint64(w)
	if n%8 != 0 || n > uint64(len(w)) {
		t.Fatalf("header of %d bytes in a file of %d", n, len(w))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(w[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	parameters, end := 0, 0
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var e struct {
			DType string `json:"dtype"`
			Shape []int  `json:"shape"`
			Range [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if e.DType != "BF16" {
			t.Errorf("%s is %s, want BF16", name, e.DType)
		}
		count := 1
		for _, d := range e.Shape {
			count *= d
		}
		parameters += count
		end = max(end, e.Range[1])
	}
	if want := 5_853_184; parameters != want {
		t.Errorf("%d parameters, want %d", parameters, want)
	}
	if got := len(w) - 8 - int(n); end != got {
		t.Errorf("tensors end at %d of %d data bytes", end, got)
	}
}
