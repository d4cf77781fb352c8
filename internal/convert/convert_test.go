package convert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

func demoModel(t *testing.T) *modelfiles.Model {
	t.Helper()
	m, err := modelfiles.OpenDemo(modelfiles.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func open(t *testing.T, path string) *modelfiles.Model {
	t.Helper()
	m, err := modelfiles.Open(path, modelfiles.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func write(t *testing.T, m *modelfiles.Model, o Options) Result {
	t.Helper()
	r, err := Write(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range r.Files {
		path := r.Path
		if r.Format == Safetensors {
			path = filepath.Join(r.Path, f.Name)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() != f.Bytes {
			t.Errorf("%s: %v, want %d bytes", path, err, f.Bytes)
		}
		total += f.Bytes
	}
	if total != r.Bytes {
		t.Errorf("the files have %d bytes, the result says %d", total, r.Bytes)
	}
	return r
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const sample = "It was 1887: Watson's \t caf\u00e9 \u65e5\u672c.\n\n<|endoftext|>The end"

// small is a model of odd sizes: rows that are not whole blocks, a padded
// vocabulary with a hole, a head of its own.
func small(t *testing.T) *modelfiles.Model {
	t.Helper()
	p := tokenizer.Parts{BOS: 259, EOS: 259, UNK: -1, PAD: 257, Merges: []string{"\u0120 a", "a b"}}
	demo := demoModel(t).Tokenizer
	for b := range 256 { // the demo's vocabulary begins with the bytes
		text, _ := demo.Token(int32(b))
		p.Tokens = append(p.Tokens, tokenizer.Piece{Text: text, Kind: tokenizer.Normal})
	}
	p.Tokens = append(p.Tokens, tokenizer.Piece{Text: "\u0120a", Kind: tokenizer.Normal}, tokenizer.Piece{Text: "<pad>", Kind: tokenizer.Special},
		tokenizer.Piece{}, tokenizer.Piece{Text: "<|endoftext|>", Kind: tokenizer.Special}, tokenizer.Piece{Text: "ab", Kind: tokenizer.Normal},
		tokenizer.Piece{Text: "<added>", Kind: tokenizer.Added})
	words, err := tokenizer.New(p)
	if err != nil {
		t.Fatal(err)
	}
	c := gpt2.Config{
		VocabSize: 264, Positions: 9, Embd: 40, Heads: 5, Layers: 2, Inner: 64, Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-6,
		ScaleAttnWeights: true, BOS: 259, EOS: []int{259, 260}, PAD: 257,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	source := memory{}
	add := func(name string, shape ...int) {
		x := tensor.Tensor{DType: tensor.F32, Shape: shape}
		values := make([]float32, x.Len())
		for i := range values {
			values[i] = rng.Float32() - 0.5
		}
		x.Data = tensor.Bytes(values)
		source[name] = x
	}
	add("wte.weight", 264, 40)
	add("wpe.weight", 9, 40)
	add("lm_head.weight", 264, 40)
	for _, h := range []string{"h.0.", "h.1."} {
		for name, shape := range map[string][2]int{"attn.c_attn": {40, 120}, "attn.c_proj": {40, 40}, "mlp.c_fc": {40, 64}, "mlp.c_proj": {64, 40}} {
			add(h+name+".weight", shape[0], shape[1])
			add(h+name+".bias", shape[1])
		}
	}
	for _, n := range []string{"h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2", "ln_f"} {
		add(n+".weight", 40)
		add(n+".bias", 40)
	}
	add("score.weight", 2, 40)
	w, err := gpt2.BindWeights(c, source)
	if err != nil {
		t.Fatal(err)
	}
	return &modelfiles.Model{Name: "small", Config: c, Weights: w, Tokenizer: words, DType: tensor.F32,
		GenerationConfig: []byte(`{"do_sample":true,"top_k":7,"temperature":0.5,"eos_token_id":[259,260],"bos_token_id":259}`)}
}

type memory map[string]tensor.Tensor

func (m memory) Names() []string { return slices.Collect(maps.Keys(m)) }
func (m memory) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := m[name]
	return t, ok
}

// A model that goes to GGUF and back in F32 is what it was, bit for bit, and
// its files are those of the way without GGUF.
func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name  string
		model *modelfiles.Model
	}{{"demo", demoModel(t)}, {"small", small(t)}} {
		t.Run(c.name, func(t *testing.T) {
			dir, m := t.TempDir(), c.model
			direct, there, back := filepath.Join(dir, "direct"), filepath.Join(dir, "there.gguf"), filepath.Join(dir, "back")
			write(t, m, Options{Out: direct, DType: tensor.F32})
			write(t, m, Options{Out: there, DType: tensor.F32})
			g := open(t, there)
			write(t, g, Options{Out: back, Source: there})
			if !bytes.Equal(read(t, direct, "model.safetensors"), read(t, back, "model.safetensors")) {
				t.Error("the weights differ")
			}
			again := open(t, back)
			for _, other := range []*modelfiles.Model{g, again, open(t, direct)} {
				want := m.Config
				want.TieWordEmbeddings = other.Config.TieWordEmbeddings // files without a head of their own, and with one, say it themselves
				if !reflect.DeepEqual(other.Config, want) || other.Weights.Tied != m.Weights.Tied {
					t.Errorf("configuration %+v, tied %v, want %+v, tied %v", other.Config, other.Weights.Tied, want, m.Weights.Tied)
				}
				sampleIDs := m.Tokenizer.Encode(nil, sample+" ab<added><pad>")
				if got := other.Tokenizer.Encode(nil, sample+" ab<added><pad>"); !slices.Equal(got, sampleIDs) {
					t.Errorf("got ids %v, want %v", got, sampleIDs)
				}
				if other.Tokenizer.Decode(sampleIDs, true) != m.Tokenizer.Decode(sampleIDs, true) || other.Tokenizer.Len() != m.Tokenizer.Len() {
					t.Error("the ids decode to other text")
				}
			}
			var config map[string]any
			if err := json.Unmarshal(read(t, back, "config.json"), &config); err != nil || config["dtype"] != "float32" {
				t.Errorf("config.json has dtype %v, %v", config["dtype"], err)
			}
		})
	}
}

// Every type holds what tensor.FromFloat32 makes of the transposed weights.
func TestTypes(t *testing.T) {
	m := small(t)
	for _, d := range DTypes {
		path := filepath.Join(t.TempDir(), "m.gguf")
		r := write(t, m, Options{Out: path, DType: d})
		if r.DType != d || r.Tensors == 0 {
			t.Errorf("%v: %+v", d, r)
		}
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Names()) != r.Tensors {
			t.Errorf("%v: %d tensors in the file, %d in the result", d, len(f.Names()), r.Tensors)
		}
		for _, c := range []struct {
			name      string
			from      tensor.Tensor
			transpose bool
			want      tensor.DType
		}{
			{"blk.1.ffn_down.weight", m.Weights.Blocks[1].Down.Weight, true, d}, // rows of 64
			{"blk.0.attn_qkv.weight", m.Weights.Blocks[0].QKV.Weight, true, odd(d)},
			{"token_embd.weight", m.Weights.TokenEmbedding, false, odd(d)},
			{"output.weight", m.Weights.Head, false, odd(d)},
			{"position_embd.weight", m.Weights.PositionEmbedding, false, tensor.F32},
			{"blk.1.ffn_up.bias", m.Weights.Blocks[1].Up.Bias, false, tensor.F32},
			{"output_norm.weight", m.Weights.FinalNorm.Gain, false, tensor.F32},
		} {
			got, ok := f.Tensor(c.name)
			values, _ := c.from.Float32s()
			shape := c.from.Shape
			if c.transpose {
				shape = []int{shape[1], shape[0]}
				out := make([]float32, len(values))
				for i := range shape[0] {
					for j := range shape[1] {
						out[i*shape[1]+j] = values[j*shape[0]+i]
					}
				}
				values = out
			}
			want := make([]byte, c.want.Bytes(len(values)))
			tensor.FromFloat32(want, c.want, values)
			if !ok || got.DType != c.want || !slices.Equal(got.Shape, shape) || !bytes.Equal(got.Data, want) {
				t.Errorf("%v: %s is %v %v, want %v %v, or its data differs", d, c.name, got.DType, got.Shape, c.want, shape)
			}
		}
		f.Close()
		// What it is in already is copied, not rounded again.
		copied := filepath.Join(t.TempDir(), "copy.gguf")
		write(t, open(t, path), Options{Out: copied})                                             // the name is the one in the file
		if d != tensor.Q4_0 && d != tensor.Q8_0 && !bytes.Equal(read(t, path), read(t, copied)) { // most of small's rows cannot be quantised
			t.Errorf("%v: the copy differs", d)
		}
	}
}

// odd is the type of rows that are not whole blocks.
func odd(d tensor.DType) tensor.DType {
	if d.IsQuantized() {
		return tensor.F16
	}
	return d
}

func TestQuantizedCopy(t *testing.T) {
	m, dir := demoModel(t), t.TempDir()
	one, two, folder := filepath.Join(dir, "1.gguf"), filepath.Join(dir, "2.gguf"), filepath.Join(dir, "f")
	write(t, m, Options{Out: one, DType: tensor.Q4_0})
	q := open(t, one)
	if q.DType != tensor.Q4_0 || q.Name != "1" {
		t.Errorf("%v, %s", q.DType, q.Name)
	}
	write(t, q, Options{Out: two})
	if !bytes.Equal(read(t, one), read(t, two)) {
		t.Error("the copy differs")
	}
	if r := write(t, q, Options{Out: folder}); r.DType != tensor.F32 {
		t.Errorf("as safetensors it is %v", r.DType)
	}
	want, _ := q.Weights.Blocks[2].Up.Weight.Float32s()
	got, _ := open(t, folder).Weights.Blocks[2].Up.Weight.Float32s()
	in, out := m.Config.Embd, m.Config.Inner
	for _, at := range [][2]int{{0, 0}, {5, 900}, {in - 1, out - 1}} {
		if got, want := got[at[0]*out+at[1]], want[at[1]*in+at[0]]; got != want {
			t.Errorf("element %v is %g, want %g", at, got, want)
		}
	}
}

// A file of several types, as quantisers leave one whose rows are not all whole
// blocks, keeps each of them, and loses nothing on the way to a folder.
func TestMixedCopy(t *testing.T) {
	m, dir := small(t), t.TempDir()
	one, two, folder := filepath.Join(dir, "1.gguf"), filepath.Join(dir, "2.gguf"), filepath.Join(dir, "f")
	write(t, m, Options{Out: one, DType: tensor.Q4_0})
	mixed := open(t, one)
	if down := mixed.Weights.Blocks[0].Down.Weight.DType; down != tensor.Q4_0 || mixed.DType != tensor.F16 {
		t.Fatalf("a projection is %v, most weights are %v: want Q4_0 in F16", down, mixed.DType)
	}
	write(t, mixed, Options{Out: two})
	copied := maps.Collect(open(t, two).Weights.Tensors())
	for name, want := range mixed.Weights.Tensors() {
		if got := copied[name]; got.DType != want.DType || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s is %v, want %v with the same bytes", name, got.DType, want.DType)
		}
	}
	if r := write(t, mixed, Options{Out: folder}); r.DType != tensor.F32 {
		t.Errorf("as safetensors it is %v", r.DType)
	}
	back := open(t, folder)
	if d := back.Weights.Blocks[0].QKV.Weight.DType; d != tensor.F16 {
		t.Errorf("a projection in F16 became %v", d)
	}
	write(t, back, Options{Out: two, DType: tensor.Q4_0, Name: "small", Force: true})
	if !bytes.Equal(read(t, one), read(t, two)) {
		t.Error("the file made from the folder differs")
	}
}

// What was changed is F32, and gets the type that the model had; the rest keeps its own.
func TestChanged(t *testing.T) {
	m, dir := small(t), t.TempDir()
	write(t, m, Options{Out: filepath.Join(dir, "1.gguf"), DType: tensor.Q8_0})
	mixed := open(t, filepath.Join(dir, "1.gguf")) // Q8_0 and F16
	down := &mixed.Weights.Blocks[0].Down.Weight
	down.DType, down.Data = tensor.F32, tensor.Bytes(make([]float32, 64*40))
	for _, c := range []struct {
		out            string
		was            tensor.DType
		changed, other tensor.DType
	}{
		{"q.gguf", tensor.Q8_0, tensor.Q8_0, tensor.Q8_0}, {"h.gguf", tensor.F16, tensor.F16, tensor.Q8_0}, {"n.gguf", tensor.Invalid, tensor.F32, tensor.Q8_0},
		{"q", tensor.Q8_0, tensor.F32, tensor.F32}, {"h", tensor.BF16, tensor.BF16, tensor.F32},
	} {
		path := filepath.Join(dir, c.out)
		write(t, mixed, Options{Out: path, Changed: c.was})
		got := open(t, path).Weights
		if a, b, h := got.Blocks[0].Down.Weight.DType, got.Blocks[1].Down.Weight.DType, got.Head.DType; a != c.changed || b != c.other || h != tensor.F16 {
			t.Errorf("%s, was %v: %v, %v and %v", c.out, c.was, a, b, h)
		}
	}
}

func TestShards(t *testing.T) {
	m, dir := demoModel(t), filepath.Join(t.TempDir(), "m")
	r := write(t, m, Options{Out: dir, DType: tensor.F32, FileBytes: 5e6})
	first := r.Files[0].Name
	if len(r.Files) < 5 || !strings.HasPrefix(first, "model-00001-of-0000") {
		t.Errorf("files %v", r.Files)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	write(t, open(t, dir), Options{Out: whole})
	direct := filepath.Join(t.TempDir(), "direct")
	write(t, m, Options{Out: direct, DType: tensor.F32})
	if !bytes.Equal(read(t, whole, "model.safetensors"), read(t, direct, "model.safetensors")) {
		t.Error("the shards hold other weights")
	}
	var index struct {
		Metadata struct {
			Size int64 `json:"total_size"`
		}
	}
	if err := json.Unmarshal(read(t, dir, safetensors.IndexName), &index); err != nil || index.Metadata.Size != 4*int64(m.Config.Parameters()) {
		t.Errorf("total_size %d, %v", index.Metadata.Size, err)
	}
	f, err := safetensors.Open(filepath.Join(dir, first))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Metadata()["format"] != "pt" {
		t.Errorf("metadata %v", f.Metadata())
	}
}

func TestRefuses(t *testing.T) {
	m, dir := small(t), t.TempDir()
	file, folder, full := filepath.Join(dir, "x.gguf"), filepath.Join(dir, "empty"), filepath.Join(dir, "full")
	for _, err := range []error{os.WriteFile(file, []byte("old"), 0o600), os.Mkdir(folder, 0o700), os.Mkdir(full, 0o700),
		os.WriteFile(filepath.Join(full, "thesis.doc"), nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(m *modelfiles.Model)
		o      Options
		want   string
	}{
		{"exists", nil, Options{Out: file}, "exists already"},
		{"folder exists", nil, Options{Out: full}, "exists already"},
		{"foreign folder", nil, Options{Out: full, Force: true}, "thesis.doc, which is not a file of a model"},
		{"no parent", nil, Options{Out: filepath.Join(dir, "no", "x.gguf")}, "no"},
		{"parent is a file", nil, Options{Out: filepath.Join(file, "x.gguf")}, "not a"},
		{"file for a folder", nil, Options{Out: folder, To: GGUF, Force: true}, "is a folder"},
		{"folder for a file", nil, Options{Out: file, To: Safetensors, Force: true}, "is a file"},
		{"itself", nil, Options{Out: file, Source: file, Force: true}, "is the model itself"},
		{"inside", nil, Options{Out: filepath.Join(folder, "y.gguf"), Source: folder}, "inside the model's folder"},
		{"around", nil, Options{Out: folder, Source: filepath.Join(folder, "m.gguf"), Force: true}, "holds the model itself"},
		{"nowhere", nil, Options{}, "no place"},
		{"format", nil, Options{Out: folder, To: "onnx"}, `"onnx"`},
		{"quantised safetensors", nil, Options{Out: folder, DType: tensor.Q8_0}, "safetensors has no type Q8_0"},
		{"disk", nil, Options{Out: filepath.Join(dir, "y.gguf"), freeBytes: func(string) (int64, error) { return 1000, nil }}, "has room for 0.0 MB"},
		{"disk, folder", nil, Options{Out: folder, freeBytes: func(string) (int64, error) { return 1000, nil }}, "has room for"},
		{"activation", func(m *modelfiles.Model) { m.Config.Activation = gpt2.ReLU }, Options{Out: filepath.Join(dir, "y.gguf")}, "activation is relu"},
		{"scale", func(m *modelfiles.Model) { m.Config.ScaleAttnWeights = false }, Options{Out: filepath.Join(dir, "y.gguf")}, "scales attention"},
		{"tokenizer", func(m *modelfiles.Model) { m.Tokenizer = plainTokenizer(t) }, Options{Out: filepath.Join(dir, "y.gguf")}, "split_special_tokens"},
	} {
		changed := *m
		if c.change != nil {
			c.change(&changed)
		}
		if _, err := Write(context.Background(), &changed, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if string(read(t, file)) != "old" {
		t.Error("the old file was changed")
	}
}

func plainTokenizer(t *testing.T) *tokenizer.Tokenizer {
	tok, err := tokenizer.Load(fstest.MapFS{
		"config.json": {Data: []byte(`{"model_type":"gpt2"}`)}, "vocab.json": {Data: []byte(`{"a":0}`)}, "merges.txt": {Data: []byte("")},
		"tokenizer_config.json": {Data: []byte(`{"split_special_tokens":true}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// What is interrupted leaves nothing behind, and what was there stays.
func TestInterrupted(t *testing.T) {
	m, dir := demoModel(t), t.TempDir()
	for _, out := range []string{"m.gguf", "m"} {
		path := filepath.Join(dir, out)
		write(t, m, Options{Out: path, DType: tensor.BF16})
		ctx, stop := context.WithCancel(context.Background())
		var calls atomic.Int32
		_, err := Write(ctx, m, Options{Out: path, Force: true, DType: tensor.F32, Progress: func(done, total int64) {
			if calls.Add(1) == 3 {
				stop()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", out, err)
		}
		if open(t, path).DType != tensor.BF16 {
			t.Errorf("%s: it was replaced", out)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func TestForce(t *testing.T) {
	m, dir := demoModel(t), t.TempDir()
	for _, out := range []string{"m.gguf", "m"} {
		path := filepath.Join(dir, out)
		if out == "m" {
			if err := os.Mkdir(path, 0o700); err != nil { // an empty folder needs no force
				t.Fatal(err)
			}
		}
		write(t, m, Options{Out: path, DType: tensor.F16})
		write(t, m, Options{Out: path, DType: tensor.F32, Force: true})
		if got := open(t, path).DType; got != tensor.F32 {
			t.Errorf("%s: %v", out, got)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

// An empty folder is filled, not replaced: one may be where a disk is mounted, or
// the one that the program runs in.
func TestEmptyFolder(t *testing.T) {
	m, dir := small(t), t.TempDir()
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	write(t, m, Options{Out: "."})
	if after, err := os.Stat(dir); err != nil || !os.SameFile(before, after) {
		t.Errorf("it is another folder: %v", err)
	}
	open(t, dir)
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 5 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
	if _, err := Write(t.Context(), m, Options{Out: ".", Force: true}); err == nil || !strings.Contains(err.Error(), "the folder that this runs in") {
		t.Errorf("replaced: %v", err)
	}
}

// A number that a type cannot hold is refused, before it makes a model of no use.
func TestRange(t *testing.T) {
	for _, c := range []struct {
		value   float32
		refused []tensor.DType
		damaged bool
	}{
		{1e5, []tensor.DType{tensor.F16}, false},
		{65519, nil, false}, // rounds to the largest of F16
		{-1e30, []tensor.DType{tensor.F16, tensor.Q8_0, tensor.Q4_0}, false},
		{math.MaxFloat32, []tensor.DType{tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}, false},
		{float32(math.Inf(-1)), []tensor.DType{tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}, true},
		{float32(math.NaN()), []tensor.DType{tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}, true},
	} {
		m := small(t)
		values, _ := m.Weights.Blocks[1].Down.Weight.Float32s()
		values[77] = c.value
		for _, d := range DTypes {
			dir := t.TempDir()
			_, err := Write(t.Context(), m, Options{Out: filepath.Join(dir, "m.gguf"), DType: d})
			var large *RangeError
			if want := slices.Contains(c.refused, d); errors.As(err, &large) != want {
				t.Errorf("%g in %v: %v", c.value, d, err)
			} else if want && (large.Tensor != "h.1.mlp.c_proj.weight" || large.DType != d || large.Damaged != c.damaged) {
				t.Errorf("%g in %v: %+v", c.value, d, large)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 && err == nil || len(entries) > 0 && err != nil {
				t.Errorf("%g in %v: %v, and %d files", c.value, d, err, len(entries))
			}
		}
	}
}

// A name may be as long as the system allows, and of a model any bytes.
func TestNames(t *testing.T) {
	m, dir := small(t), t.TempDir()
	path := filepath.Join(dir, strings.Repeat("x", 250)+".gguf")
	write(t, m, Options{Out: path, Name: "a\xff\xfeb"})
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if name, _, err := f.Text(gguf.KeyName); err != nil || name != "a\uFFFDb" {
		t.Errorf("%q, %v", name, err)
	}
	write(t, m, Options{Out: filepath.Join(dir, strings.Repeat("y", 255))})
}

// A file that is cut short while it is read ends the conversion, not the program.
func TestCutShort(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is mapped cannot be cut there")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.gguf")
	write(t, demoModel(t), Options{Out: path})
	m := open(t, path)
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, d := range []tensor.DType{tensor.Invalid, tensor.F32} { // a copy is read by the system
		if _, err := Write(t.Context(), m, Options{Out: filepath.Join(dir, "2.gguf"), DType: d}); !errors.Is(err, mapped.ErrLost) {
			t.Errorf("%v: %v", d, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func TestGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	r := write(t, small(t), Options{Out: path})
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "score.weight") {
		t.Errorf("notes %q", r.Notes)
	}
	var got map[string]any
	if err := json.Unmarshal(open(t, path).GenerationConfig, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"do_sample": true, "top_k": 7.0, "temperature": 0.5, "bos_token_id": 259.0, "eos_token_id": []any{259.0, 260.0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseDType(t *testing.T) {
	for name, want := range map[string]tensor.DType{"": tensor.Invalid, "auto": tensor.Invalid, "bf16": tensor.BF16, "q4_0": tensor.Q4_0} {
		if got, err := ParseDType(name); err != nil || got != want {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if _, err := ParseDType("q4_k"); err == nil || !strings.Contains(err.Error(), "q4_k") {
		t.Error(err)
	}
}
