package gguf

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// build writes a file whose tensors hold the bytes 1, 2, 3 …
func build(t testing.TB, values []KV, tensors []Info) []byte {
	t.Helper()
	l, err := Plan(values, tensors)
	if err != nil {
		t.Fatal(err)
	}
	file := append(slices.Clone(l.Head), make([]byte, l.Size-int64(len(l.Head)))...)
	next := byte(0)
	for i, info := range tensors {
		for j := range info.DType.Bytes(tensor.Tensor{Shape: info.Shape}.Len()) {
			next++
			file[int(l.Offsets[i])+j] = next
		}
	}
	return file
}

func sampleValues() []KV {
	return []KV{
		{KeyArchitecture, GPT2}, {"a.flag", true}, {"a.uint", uint32(7)}, {"a.int", int32(-7)}, {"a.float", float32(1e-5)},
		{KeyTokens, []string{"a", "", "Ġb"}}, {KeyTokenTypes, []int32{1, 3, -1}},
	}
}

func sampleTensors() []Info {
	return []Info{
		{"v", tensor.F32, []int{3}}, {"m", tensor.F16, []int{2, 5}}, {"b", tensor.BF16, []int{1, 1}},
		{"q8", tensor.Q8_0, []int{2, 64}}, {"q4", tensor.Q4_0, []int{1, 32}}, {"none", tensor.F32, []int{0}},
	}
}

func TestRoundTrip(t *testing.T) {
	data := build(t, sampleValues(), sampleTensors())
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := f.Text(KeyArchitecture)
	flag, _, err2 := f.Flag("a.flag")
	n, _, err3 := f.Uint("a.uint")
	x, _, err4 := f.Float("a.float")
	texts, _, err5 := f.Texts(KeyTokens)
	ints, _, err6 := f.Ints(KeyTokenTypes)
	for _, err := range []error{err, err2, err3, err4, err5, err6, f.CheckTypes()} {
		if err != nil {
			t.Error(err)
		}
	}
	if text != GPT2 || !flag || n != 7 || float32(x) != 1e-5 || !slices.Equal(texts, []string{"a", "", "Ġb"}) || !slices.Equal(ints, []int64{1, 3, -1}) {
		t.Errorf("got %q %v %d %g %q %v", text, flag, n, x, texts, ints)
	}
	if len(f.Keys()) != len(sampleValues()) || f.Keys()[1] != "a.flag" {
		t.Errorf("keys %q", f.Keys())
	}
	if _, ok, err := f.Text("absent"); ok || err != nil {
		t.Errorf("absent key: %v, %v", ok, err)
	}
	if _, _, err := f.Uint("a.int"); err == nil || !strings.Contains(err.Error(), "is -7, want no negative number") {
		t.Errorf("negative: %v", err)
	}
	if _, _, err := f.Text("a.uint"); err == nil || !strings.Contains(err.Error(), "is uint32, want a string") {
		t.Errorf("wrong type: %v", err)
	}
	if _, _, err := f.Ints(KeyTokens); err == nil || !strings.Contains(err.Error(), "an array of string") {
		t.Errorf("wrong elements: %v", err)
	}
	next := byte(0)
	for _, want := range sampleTensors() {
		got, ok := f.Tensor(want.Name)
		if !ok || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || len(got.Data) != got.DType.Bytes(got.Len()) {
			t.Errorf("%s: got %v %v, %d bytes", want.Name, got.DType, got.Shape, len(got.Data))
		}
		for _, b := range got.Data {
			if next++; b != next {
				t.Fatalf("%s: got byte %d, want %d", want.Name, b, next)
			}
		}
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, build(t, sampleValues(), sampleTensors()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Prefault()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("GGUF"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error does not name the file: %v", err)
	}
}

// raw puts a file together that Plan would refuse to write.
type raw []byte

func (r raw) u32(v uint32) raw     { return binary.LittleEndian.AppendUint32(r, v) }
func (r raw) u64(v uint64) raw     { return binary.LittleEndian.AppendUint64(r, v) }
func (r raw) str(s string) raw     { return appendString(r, s) }
func (r raw) pad(n int) raw        { return append(r, make([]byte, n)...) }
func start(tensors, kv uint64) raw { return raw("GGUF").u32(3).u64(tensors).u64(kv) }

func (r raw) tensor(name string, kind uint32, offset uint64, dims ...uint64) raw {
	r = r.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r = r.u64(d)
	}
	return r.u32(kind).u64(offset)
}

func TestParseRefuses(t *testing.T) {
	good := build(t, sampleValues(), sampleTensors())
	for _, c := range []struct {
		name string
		data raw
		want string
	}{
		{"empty", nil, "the file is empty"},
		{"other format", raw("PK\x03\x04aaaaaaaaaaaaaa"), "not a GGUF file"},
		{"git lfs", raw("version https://git-lfs.github.com/spec/v1"), "pointer of Git LFS"},
		{"only magic", raw("GGUF"), "truncated"},
		{"version 1", raw("GGUF").u32(1).u32(0).u32(0), "version 1"},
		{"version 0", raw("GGUF").u32(0).u64(0).u64(0), "version 0"},
		{"version 9", raw("GGUF").u32(9).u64(0).u64(0), "version 9"},
		{"big-endian", raw("GGUF\x00\x00\x00\x03").u64(0).u64(0), "big-endian"},
		{"too many tensors", start(1<<60, 0), "claims 1152921504606846976 tensors"},
		{"too many values", start(0, 1<<60), "claims 1152921504606846976 metadata values"},
		{"long key", start(0, 1).u64(1 << 40).pad(64), "want at most 65535"},
		{"unknown value type", start(0, 1).str("k").u32(13).pad(64), "type is 13, which is not known"},
		{"huge string", start(0, 1).str("k").u32(8).u64(1 << 63).pad(64), "truncated or damaged"},
		{"huge array", start(0, 1).str("k").u32(9).u32(10).u64(1 << 62).pad(64), "truncated or damaged"},
		{"huge array of strings", start(0, 1).str("k").u32(9).u32(8).u64(1 << 62).pad(64), "truncated or damaged"},
		{"nested array", start(0, 1).str("k").u32(9).u32(9).u64(1).pad(64), "an array of arrays"},
		{"key twice", start(0, 2).str("k").u32(7).pad(1).str("k").u32(7).pad(64), `"k" occurs twice`},
		{"alignment 0", start(0, 1).str(KeyAlignment).u32(4).u32(0).pad(64), "want a power of two"},
		{"alignment 48", start(0, 1).str(KeyAlignment).u32(4).u32(48).pad(64), "want a power of two"},
		{"alignment as text", start(0, 1).str(KeyAlignment).u32(8).str("32").pad(64), "want a whole number"},
		{"alignment as an empty array", start(0, 1).str(KeyAlignment).u32(9).u32(4).u64(0).pad(64), "is an array of uint32, want a whole number"},
		{"alignments", start(0, 1).str(KeyAlignment).u32(9).u32(4).u64(2).u32(32).u32(64).pad(64), "has 32 in one place and 64 in another"},
		{"long name", start(1, 0).tensor(strings.Repeat("n", 65), 0, 0, 1).pad(64), "want at most 64"},
		{"five dimensions", start(1, 0).tensor("t", 0, 0, 1, 1, 1, 1, 1).pad(64), "has 5 dimensions"},
		{"sizes overflow", start(1, 0).tensor("t", 0, 0, 1<<40, 1<<40).pad(64), "too large"},
		{"bytes overflow", start(1, 0).tensor("t", 0, 0, 1<<62).pad(64), "beyond any file"},
		{"end overflows", start(1, 0).tensor("t", 0, 1<<64-32, 1<<40).pad(64), "beyond any file"},
		{"half a block", start(1, 0).tensor("t", 8, 0, 48).pad(128), "not whole blocks of Q8_0"},
		{"misaligned", start(1, 0).tensor("t", 0, 4, 1).pad(128), "want a multiple of 32"},
		{"beyond the end", start(1, 0).tensor("t", 0, 32, 64).pad(128), "truncated or damaged"},
		{"name twice", start(2, 0).tensor("t", 0, 0, 1).tensor("t", 0, 32, 1).pad(128), `"t": occurs twice`},
		{"overlap", start(2, 0).tensor("t", 0, 0, 16).tensor("u", 0, 32, 1).pad(128), `inside tensor "t"`},
		{"overlap of a type that is not read", start(2, 0).tensor("t", 14, 0, 256).tensor("u", 0, 32, 1).pad(512), `inside tensor "t"`},
		{"cut off", raw(good[:len(good)-64]), "truncated or damaged"},
	} {
		_, err := Parse(c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
	}
	for n := range len(good) - 32 {
		if _, err := Parse(good[:n]); err == nil && n < len(good)-2*defaultAlignment {
			t.Errorf("the first %d of %d bytes pass for a file", n, len(good))
		}
	}
}

func TestCheckTypes(t *testing.T) {
	for kind, want := range map[uint32]string{14: "Q6_K", 12: "Q4_K", 36: "type 36", 24: ""} {
		f, err := Parse(start(2, 0).tensor("a", 0, 0, 1).tensor("t", kind, 32, 256).pad(512))
		if err != nil {
			t.Fatal(err)
		}
		err = f.CheckTypes()
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != `tensor "t" is `+want+", want F32, F16, BF16, Q8_0 or Q4_0") {
			t.Errorf("type %d: %v", kind, err)
		}
	}
}

func TestVersion2(t *testing.T) {
	data := build(t, sampleValues(), sampleTensors())
	data[4] = 2
	if f, err := Parse(data); err != nil || f.Version != 2 {
		t.Error(err)
	}
}

func TestPlanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		values  []KV
		tensors []Info
	}{
		"value type":   {values: []KV{{"k", 1}}},
		"key twice":    {values: []KV{{"k", true}, {"k", true}}},
		"no key":       {values: []KV{{"", true}}},
		"name twice":   {tensors: []Info{{"t", tensor.F32, nil}, {"t", tensor.F32, nil}}},
		"half a block": {tensors: []Info{{"t", tensor.Q4_0, []int{32, 33}}}},
		"type":         {tensors: []Info{{"t", tensor.Bool, nil}}},
		"long name":    {tensors: []Info{{strings.Repeat("n", 64), tensor.F32, nil}}},
		"dimensions":   {tensors: []Info{{"t", tensor.F32, []int{1, 1, 1, 1, 1}}}},
	} {
		if _, err := Plan(c.values, c.tensors); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTensorName(t *testing.T) {
	for hf, want := range map[string]string{
		"wte.weight": "token_embd.weight", "wpe.weight": "position_embd.weight", "ln_f.bias": "output_norm.bias", "lm_head.weight": "output.weight",
		"h.0.ln_1.weight": "blk.0.attn_norm.weight", "h.11.attn.c_attn.bias": "blk.11.attn_qkv.bias", "h.2.attn.c_proj.weight": "blk.2.attn_output.weight",
		"h.2.ln_2.bias": "blk.2.ffn_norm.bias", "h.2.mlp.c_fc.weight": "blk.2.ffn_up.weight", "h.2.mlp.c_proj.weight": "blk.2.ffn_down.weight",
		"h.2.attn.bias": "", "score.weight": "", "": "", "transformer.wte.weight": "",
	} {
		if got, ok := TensorName(hf); got != want || ok != (want != "") {
			t.Errorf("TensorName(%q) = %q, %v, want %q", hf, got, ok, want)
		}
		if back, ok := HFName(want); want != "" && (back != hf || !ok) {
			t.Errorf("HFName(%q) = %q, %v, want %q", want, back, ok, hf)
		}
	}
}

func TestHFNameUnknown(t *testing.T) {
	for _, name := range []string{"", "rope_freqs.weight", "blk.0.attn_q.weight", "blk", "wte.weight"} {
		if got, ok := HFName(name); ok {
			t.Errorf("HFName(%q) = %q", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(build(f, sampleValues(), sampleTensors())))
	f.Add([]byte(build(f, nil, nil)))
	f.Add([]byte(start(0, 1).str(KeyAlignment).u32(4).u32(64).pad(64)))
	f.Add([]byte(start(0, 2).str(KeyHeads).u32(9).u32(4).u64(0).str(KeyHeadsKV).u32(9).u32(1).u64(2).pad(64)))
	f.Add([]byte(start(2, 0).tensor("t", 14, 0, 256).tensor("u", 30, 256, 16).pad(512)))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		file, err := Parse(data)
		if err != nil {
			return
		}
		total := 0
		defer file.Close()
		for _, name := range file.Names() {
			got, ok := file.Tensor(name)
			if !ok || got.DType != tensor.Invalid && len(got.Data) != got.DType.Bytes(got.Len()) {
				t.Errorf("tensor %q: %v %v with %d bytes", name, got.DType, got.Shape, len(got.Data))
			}
			total += len(got.Data)
		}
		if total > len(data) {
			t.Errorf("%d bytes of tensors in a file of %d", total, len(data))
		}
		for _, key := range file.Keys() {
			file.Text(key)
			file.Uint(key)
			file.Float(key)
			file.Flag(key)
			file.Texts(key)
			file.Ints(key)
		}
		file.Requantize()
		if !bytes.Equal(data, before) {
			t.Error("the file was changed")
		}
	})
}

// Q6_K is decoded as by the gguf package, to the bit, and requantised.
func TestQ6K(t *testing.T) {
	blocks, err := os.ReadFile("testdata/q6k.bin")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/q6k.f32")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(want)/4)
	dequantizeQ6K(got, blocks)
	if !bytes.Equal(tensor.Bytes(got), want) {
		t.Error("other values")
	}
	file := start(2, 0).tensor("t", uint32(q6k), 0, 256, 3).tensor("u", 12, 640, 256)
	file = append(file.pad((32-len(file)%32)%32), blocks...).pad(10 + 160)
	f, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Requantize()
	f.Requantize() // nothing left to do
	x, _ := f.Tensor("t")
	encoded := make([]byte, tensor.Q8_0.Bytes(len(got)))
	tensor.FromFloat32(encoded, tensor.Q8_0, got)
	if x.DType != tensor.Q8_0 || !slices.Equal(x.Shape, []int{3, 256}) || !bytes.Equal(x.Data, encoded) {
		t.Errorf("requantised: %v %v", x.DType, x.Shape)
	}
	if err := f.CheckTypes(); err == nil || !strings.Contains(err.Error(), `"u" is Q4_K`) {
		t.Errorf("the other tensor: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
