package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// file puts a file together without any check.
func file(header, data string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+data...)
}

// claim is a file whose header claims n bytes.
func claim(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// one is a file of one tensor "a" with four bytes of data.
func one(info string) []byte { return file(`{"a":{`+info+`}}`, "1234") }

func two(a, b, data string) []byte {
	return file(`{"a":{"dtype":"F32",`+a+`},"b":{"dtype":"F32",`+b+`}}`, data)
}

const good = `"dtype":"F32","shape":[1],"data_offsets":[0,4]`

// The verdicts are those of the reference implementation (safetensors 0.8.0)
// but for the cases marked strict, which it tolerates.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string // part of the error; empty: accepted
	}{
		{"empty file", nil, "has 0 bytes"},
		{"seven bytes", make([]byte, 7), "has 7 bytes"},
		{"no header", claim(0, ""), "does not begin with '{'"},
		{"header of 2^60 bytes", claim(1<<60, "{}"), "claims 1152921504606846976 bytes, want at most 100000000"},
		{"header of 2^64-1 bytes", claim(1<<64-1, "{}"), "want at most 100000000"},
		{"header above the limit", claim(100_000_001, "{}"), "want at most 100000000"},
		{"Git LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "a pointer of Git LFS"},
		{"header cut", claim(50, "{}"), "claims 50 bytes, but 2 follow"},
		{"no tensors", file("{}", ""), ""},
		{"no tensors but data", file("{}", "1234"), "end at offset 0, but the file holds 4 bytes"},
		{"array", file("[]", ""), "does not begin with '{'"},
		{"space first (strict)", file(" {}", ""), "does not begin with '{'"},
		{"spaces last", file("{}      ", ""), ""},
		{"newline last", file("{}\n", ""), ""},
		{"NUL last", file("{}\x00", ""), "after the end of the JSON value"},
		{"not UTF-8", file("{\"\xff\":1}", ""), "not UTF-8"},
		{"byte order mark", file("\xef\xbb\xbf{}", ""), "does not begin with '{'"},
		{"lone surrogate", file(`{"\ud800":{`+good+`}}`, "1234"), `bad \u escape`},
		{"control character", file("{\"a\n\":{"+good+"}}", "1234"), "control character"},
		{"comma", file(`{"a":{`+good+`},}`, "1234"), "a string is expected"},

		{"one", one(good), ""},
		{"scalar", one(`"dtype":"F32","shape":[],"data_offsets":[0,4]`), ""},
		{"other order of keys", one(`"data_offsets":[0,4],"shape":[1],"dtype":"F32"`), ""},
		{"unknown key", one(good + `,"x":{"y":[1]}`), ""},
		{"empty name", file(`{"":{`+good+`}}`, "1234"), ""},
		{"info null", file(`{"a":null}`, ""), `tensor "a": found null where an object`},
		{"info array (strict)", file(`{"a":["F32",[1],[0,4]]}`, "1234"), `tensor "a": found an array where an object`},
		{"dtype missing", one(`"shape":[1],"data_offsets":[0,4]`), `tensor "a": dtype is missing`},
		{"shape missing", one(`"dtype":"F32","data_offsets":[0,4]`), `tensor "a": shape is missing`},
		{"offsets missing", one(`"dtype":"F32","shape":[1]`), `tensor "a": data_offsets are missing`},
		{"one offset", one(`"dtype":"F32","shape":[1],"data_offsets":[0]`), "want two numbers"},
		{"three offsets", one(`"dtype":"F32","shape":[1],"data_offsets":[0,4,4]`), "more than two"},
		{"unknown dtype", one(`"dtype":"F31","shape":[1],"data_offsets":[0,4]`), `tensor "a": unknown dtype "F31"`},
		{"dtype in small letters", one(`"dtype":"f32","shape":[1],"data_offsets":[0,4]`), `unknown dtype "f32"`},
		{"dtype twice", one(`"dtype":"F32",` + good), `key "dtype" occurs twice`},
		{"tensor twice (strict)", file(`{"a":{`+good+`},"a":{`+good+`}}`, "1234"), `key "a" occurs twice`},

		{"negative dimension", one(`"dtype":"F32","shape":[-1],"data_offsets":[0,4]`), "found -1 where an unsigned"},
		{"fraction", one(`"dtype":"F32","shape":[1.0],"data_offsets":[0,4]`), "found 1.0 where an unsigned"},
		{"exponent", one(`"dtype":"F32","shape":[1e0],"data_offsets":[0,4]`), "found 1e0 where an unsigned"},
		{"negative zero", one(`"dtype":"F32","shape":[1],"data_offsets":[-0,4]`), "found -0 where an unsigned"},
		{"dimension a string", one(`"dtype":"F32","shape":["1"],"data_offsets":[0,4]`), "found a string"},
		{"dimension 2^60", one(`"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]`), "span 4 bytes, but shape [1152921504606846976] of F32 takes 4611686018427387904"},
		{"product overflows", one(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]`), "too large for any file"},
		{"dimension beyond 64 bits", one(`"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]`), "unsigned 64-bit"},
		{"dimension beyond int", one(`"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]`), "out of range"},
		{"overflow before zero", file(`{"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}}`, ""), "too large"},
		{"zero before overflow", file(`{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}`, ""), ""},
		{"many dimensions (strict)", one(`"dtype":"F32","shape":[` + strings.Repeat("1,", 64) + `1],"data_offsets":[0,4]`), "more than 64 dimensions"},
		{"shape and offsets differ", one(`"dtype":"F32","shape":[2],"data_offsets":[0,4]`), `data_offsets [0, 4] span 4 bytes, but shape [2] of F32 takes 8`},
		{"offsets backwards", one(`"dtype":"F32","shape":[1],"data_offsets":[4,0]`), "run backwards"},
		{"negative offset", one(`"dtype":"F32","shape":[1],"data_offsets":[-4,0]`), "found -4 where an unsigned"},
		{"offset 2^63", one(`"dtype":"F32","shape":[1],"data_offsets":[9223372036854775808,9223372036854775812]`), "begins at offset 9223372036854775808, want 0"},

		{"header in another order than the data", two(`"shape":[1],"data_offsets":[4,8]`, `"shape":[1],"data_offsets":[0,4]`, "12345678"), ""},
		{"overlap", two(`"shape":[1],"data_offsets":[0,4]`, `"shape":[1],"data_offsets":[2,6]`, "123456"), `tensor "b": begins at offset 2 inside tensor "a", which ends at 4`},
		{"same place", two(`"shape":[1],"data_offsets":[0,4]`, `"shape":[1],"data_offsets":[0,4]`, "1234"), `inside tensor "a"`},
		{"hole", two(`"shape":[1],"data_offsets":[0,4]`, `"shape":[1],"data_offsets":[8,12]`, "123456789012"), `tensor "b": begins at offset 8, want 4`},
		{"hole at the front", one(`"dtype":"F32","shape":[1],"data_offsets":[4,8]`), `tensor "a": begins at offset 4, want 0`},
		{"data too long", file(`{"a":{`+good+`}}`, "12345"), "end at offset 4, but the file holds 5 bytes"},
		{"truncated", file(`{"a":{`+good+`}}`, "123"), `tensor "a": ends at offset 4, but the file holds 3 bytes`},
		{"empty tensors", two(`"shape":[0],"data_offsets":[0,0]`, `"shape":[5,0],"data_offsets":[0,0]`, ""), ""},
		{"empty tensor before", two(`"shape":[0],"data_offsets":[0,0]`, `"shape":[1],"data_offsets":[0,4]`, "1234"), ""},
		{"empty tensor after", two(`"shape":[1],"data_offsets":[0,4]`, `"shape":[0],"data_offsets":[4,4]`, "1234"), ""},
		{"empty tensor inside another", two(`"shape":[0],"data_offsets":[2,2]`, `"shape":[1],"data_offsets":[0,4]`, "1234"), `tensor "a": begins at offset 2 inside tensor "b"`},

		{"metadata", file(`{"__metadata__":{"format":"pt"}}`, ""), ""},
		{"metadata null", file(`{"__metadata__":null}`, ""), ""},
		{"metadata number", file(`{"__metadata__":{"a":1}}`, ""), "__metadata__: found a number where a string"},
		{"metadata array", file(`{"__metadata__":[]}`, ""), "found an array where an object"},
		{"metadata key twice (strict)", file(`{"__metadata__":{"a":"1","a":"2"}}`, ""), `key "a" occurs twice`},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, ""), "occurs twice"},
		{"deep", file(`{"a":`+strings.Repeat("[", 10000)+`}`, ""), "found an array where an object"},
		{"deep in an unknown key", one(good + `,"x":` + strings.Repeat("[", 10000)), "nested deeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse(c.data)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range f.Names() {
					if _, ok := f.Tensor(name); !ok {
						t.Errorf("no tensor %q", name)
					}
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestDTypes(t *testing.T) {
	for d := tensor.F32; d <= tensor.F8E5M2; d++ {
		f, err := Parse(file(fmt.Sprintf(`{"x":{"dtype":"%v","shape":[3],"data_offsets":[0,%d]}}`, d, 3*d.Size()), strings.Repeat("7", 3*d.Size())))
		if err != nil {
			t.Errorf("%v: %v", d, err)
		} else if x, _ := f.Tensor("x"); x.DType != d || len(x.Data) != 3*d.Size() {
			t.Errorf("%v: read as %v", d, x.DType)
		}
	}
}

func sample() []Named {
	return []Named{
		{"mask", tensor.Tensor{DType: tensor.U8, Shape: []int{3}, Data: []byte{1, 2, 3}}},
		{"w", tensor.Tensor{DType: tensor.F32, Shape: []int{2, 1}, Data: []byte("abcdefgh")}},
		{"b", tensor.Tensor{DType: tensor.BF16, Shape: []int{}, Data: []byte("xy")}},
		{"empty", tensor.Tensor{DType: tensor.F32, Shape: []int{0, 4}, Data: nil}},
		{"ключ \"\n<", tensor.Tensor{DType: tensor.F32, Shape: []int{1}, Data: []byte("1234")}},
	}
}

func TestWrite(t *testing.T) {
	metadata := map[string]string{"format": "pt", "a\"": "\u2028"}
	var first, second bytes.Buffer
	if err := Write(&first, sample(), metadata); err != nil {
		t.Fatal(err)
	}
	reversed := sample()
	slices.Reverse(reversed)
	if err := Write(&second, reversed, metadata); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the order of the tensors shows in the file")
	}
	if n := binary.LittleEndian.Uint64(first.Bytes()); n%8 != 0 {
		t.Errorf("header of %d bytes", n)
	}
	f, err := Parse(first.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"empty", "w", "ключ \"\n<", "b", "mask"}; !slices.Equal(f.Names(), want) {
		t.Errorf("names %q, want %q", f.Names(), want)
	}
	if !reflect.DeepEqual(f.Metadata(), metadata) {
		t.Errorf("metadata %q", f.Metadata())
	}
	for _, want := range sample() {
		got, _ := f.Tensor(want.Name)
		if got.DType != want.Tensor.DType || !slices.Equal(got.Shape, want.Tensor.Shape) || !bytes.Equal(got.Data, want.Tensor.Data) {
			t.Errorf("%q: got %v, want %v", want.Name, got, want.Tensor)
		}
	}
	if f.Size() != 17 {
		t.Errorf("size %d", f.Size())
	}
}

func TestWriteRefuses(t *testing.T) {
	x := tensor.Tensor{DType: tensor.F32, Shape: []int{1}, Data: []byte("1234")}
	for _, c := range []struct {
		name     string
		tensors  []Named
		metadata map[string]string
		want     string
	}{
		{"twice", []Named{{"a", x}, {"a", x}}, nil, "occurs twice"},
		{"reserved name", []Named{{"__metadata__", x}}, nil, "cannot have the name"},
		{"name not UTF-8", []Named{{"\xff", x}}, nil, "cannot have the name"},
		{"metadata not UTF-8", nil, map[string]string{"a": "\xff"}, "not UTF-8"},
		{"no dtype", []Named{{"a", tensor.Tensor{}}}, nil, "no dtype"},
		{"short data", []Named{{"a", tensor.Tensor{DType: tensor.F32, Shape: []int{2}, Data: x.Data}}}, nil, "has 4 bytes of data, but shape [2] of F32 takes 8"},
		{"negative shape", []Named{{"a", tensor.Tensor{DType: tensor.F32, Shape: []int{-1}}}}, nil, "0 bytes of data"},
	} {
		if err := Write(&bytes.Buffer{}, c.tensors, c.metadata); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// write makes a file on disk, one tensor F32 [1] per name.
func write(t *testing.T, path string, names ...string) {
	t.Helper()
	var list []Named
	for _, name := range names {
		list = append(list, Named{name, tensor.Tensor{DType: tensor.F32, Shape: []int{1}, Data: []byte(name + "....")[:4]}})
	}
	var b bytes.Buffer
	if err := Write(&b, list, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	write(t, path, "a", "b")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Prefault()
	if x, ok := f.Tensor("b"); !ok || string(x.Data) != "b..." {
		t.Errorf("tensor b: %v, %v", x, ok)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("version https://git-lfs.github.com/spec/v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

func TestOpenSharded(t *testing.T) {
	for _, c := range []struct {
		name, index string
		want        string // part of the error; empty: a b c
	}{
		{"good", `{"metadata":{"total_size":12},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}`, ""},
		{"not all listed", `{"weight_map":{"a":"1.safetensors","c":"2.safetensors"}}`, ""},
		{"elsewhere", `{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}`, `tensor "a" is not in 2.safetensors`},
		{"nowhere", `{"weight_map":{"x":"1.safetensors"}}`, `tensor "x" is not in 1.safetensors`},
		{"twice", `{"weight_map":{"a":"1.safetensors","c":"3.safetensors"}}`, `tensor "b" is in both 1.safetensors and 3.safetensors`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "1.safetensors"), "a", "b")
			write(t, filepath.Join(dir, "2.safetensors"), "c")
			write(t, filepath.Join(dir, "3.safetensors"), "b", "c")
			path := filepath.Join(dir, IndexName)
			if err := os.WriteFile(path, []byte(c.index), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := OpenSharded(path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want an error with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if !slices.Equal(f.Names(), []string{"a", "b", "c"}) || f.Metadata()["format"] != "pt" || f.Size() != 12 {
				t.Errorf("names %q, metadata %q, size %d", f.Names(), f.Metadata(), f.Size())
			}
		})
	}
	dir := t.TempDir()
	path := filepath.Join(dir, IndexName)
	if err := os.WriteFile(path, []byte(`{"weight_map":{"a":"gone.safetensors"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSharded(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone.safetensors") {
		t.Errorf("missing shard: %v", err)
	}
}

func TestParseIndexRefuses(t *testing.T) {
	shard := func(name string) string { return `{"weight_map":{"a":"` + name + `"}}` }
	for _, c := range []struct{ text, want string }{
		{``, "the text ends"},
		{`[]`, "found an array"},
		{`{}`, "no weight_map"},
		{`{"weight_map":{}}`, "no weight_map"},
		{`{"weight_map":null}`, "found null"},
		{`{"weight_map":{"a":1}}`, `tensor "a": found a number`},
		{`{"weight_map":{"a":"x","a":"y"}}`, `key "a" occurs twice`},
		{`{"weight_map":{"a":"x"}} {}`, "after the end"},
		{`{"metadata":` + strings.Repeat("[", 10000), "nested deeper"},
		{shard("../x.safetensors"), `shard "../x.safetensors" is not a plain file name`},
		{shard("/etc/passwd"), "not a plain file name"},
		{shard("sub/x.safetensors"), "not a plain file name"},
		{shard(`..\\x.safetensors`), "not a plain file name"},
		{shard("c:x"), "not a plain file name"},
		{shard(".."), "not a plain file name"},
		{shard("."), "not a plain file name"},
		{shard(""), "not a plain file name"},
		{shard(`x\u0000`), "not a plain file name"},
	} {
		if _, err := ParseIndex([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: got %v, want an error with %q", c.text, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, sample(), map[string]string{"format": "pt"}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(one(good))
	f.Add(two(`"shape":[1],"data_offsets":[4,8]`, `"shape":[1],"data_offsets":[0,4]`, "12345678"))
	f.Add(file(`{"__metadata__":null,"a":{"dtype":"BOOL","shape":[0,3],"data_offsets":[0,0],"x":[{}]}}  `, ""))
	f.Add(claim(1<<60, "{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := Parse(data)
		if err != nil {
			return
		}
		// What was accepted is whole, and survives being written and read again.
		var list []Named
		total := int64(0)
		for _, name := range parsed.Names() {
			x, ok := parsed.Tensor(name)
			if !ok || x.Len()*x.DType.Size() != len(x.Data) {
				t.Fatalf("tensor %q: %v %s with %d bytes", name, x.DType, x.ShapeString(), len(x.Data))
			}
			total += int64(len(x.Data))
			list = append(list, Named{name, x})
		}
		if header := binary.LittleEndian.Uint64(data); total != int64(len(data))-8-int64(header) {
			t.Fatalf("%d bytes of %d covered", total, len(data))
		}
		var b bytes.Buffer
		if err := Write(&b, list, parsed.Metadata()); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Names()) != len(list) || !reflect.DeepEqual(again.Metadata(), parsed.Metadata()) {
			t.Fatal("other contents after writing")
		}
		for _, n := range list {
			if x, _ := again.Tensor(n.Name); x.DType != n.Tensor.DType || !slices.Equal(x.Shape, n.Tensor.Shape) || !bytes.Equal(x.Data, n.Tensor.Data) {
				t.Fatalf("tensor %q differs after writing", n.Name)
			}
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":12},"weight_map":{"a":"1.safetensors","b":"model-00001-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x"}}`))
	f.Add([]byte(`{"weight_map":{"\u0061":"\ud83d\ude00"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ParseIndex(data)
		if err != nil {
			return
		}
		for _, shard := range x.Shards() {
			if filepath.Dir(filepath.Join("dir", shard)) != "dir" {
				t.Fatalf("shard %q leaves the folder", shard)
			}
		}
	})
}

// BenchmarkParse reads the header of a GPT-2 with 160 tensors.
func BenchmarkParse(b *testing.B) {
	var list []Named
	for layer := range 12 {
		for _, name := range []string{"attn.bias", "attn.c_attn.bias", "attn.c_attn.weight", "attn.c_proj.bias", "attn.c_proj.weight",
			"ln_1.bias", "ln_1.weight", "ln_2.bias", "ln_2.weight", "mlp.c_fc.bias", "mlp.c_fc.weight", "mlp.c_proj.bias", "mlp.c_proj.weight"} {
			list = append(list, Named{fmt.Sprintf("h.%d.%s", layer, name), tensor.Tensor{DType: tensor.F32, Shape: []int{16, 1}, Data: make([]byte, 64)}})
		}
	}
	for _, name := range []string{"wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"} {
		list = append(list, Named{name, tensor.Tensor{DType: tensor.F32, Shape: []int{16}, Data: make([]byte, 64)}})
	}
	var data bytes.Buffer
	if err := Write(&data, list, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
