package modelfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

// demoWeights is a model.safetensors of the demo in F32.
func demoWeights(t *testing.T) string {
	t.Helper()
	tensors, err := demo.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := safetensors.Write(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// folder writes the demo model to disk, then applies changes: a file's new
// contents, or "" to leave it out.
func folder(t *testing.T, changes map[string]string) string {
	t.Helper()
	files := map[string]string{"model.safetensors": demoWeights(t)}
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} {
		text, err := fs.ReadFile(demo.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for name, text := range changes {
		if files[name] = text; text == "" {
			delete(files, name)
		}
	}
	dir := filepath.Join(t.TempDir(), "a-model")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shard splits the demo's weights in two files and returns them and their index.
func shard(t *testing.T) map[string]string {
	t.Helper()
	f, err := safetensors.Parse([]byte(demoWeights(t)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"model.safetensors": ""}
	var index []string
	half := len(f.Names()) / 2
	for name, part := range map[string][]string{"model-00001-of-00002.safetensors": f.Names()[:half], "model-00002-of-00002.safetensors": f.Names()[half:]} {
		var list []safetensors.Named
		for _, tensorName := range part {
			x, _ := f.Tensor(tensorName)
			list = append(list, safetensors.Named{Name: tensorName, Tensor: x})
			index = append(index, `"`+tensorName+`":"`+name+`"`)
		}
		var b strings.Builder
		if err := safetensors.Write(&b, list, nil); err != nil {
			t.Fatal(err)
		}
		files[name] = b.String()
	}
	files[safetensors.IndexName] = `{"metadata":{},"weight_map":{` + strings.Join(index, ",") + `}}`
	return files
}

func TestOpen(t *testing.T) {
	demoModel, err := OpenDemo(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer demoModel.Close()
	parameters := int64(demoModel.Config.Parameters())
	if demoModel.Name != "demo" || demoModel.DType != tensor.Q8_0 || demoModel.Size <= parameters || demoModel.Size > parameters*10/9 {
		t.Errorf("demo: %s, %v, %d bytes, %d parameters", demoModel.Name, demoModel.DType, demoModel.Size, parameters)
	}
	if demoModel.GenerationConfig == nil || demoModel.Tokenizer.Len() != demoModel.Config.VocabSize {
		t.Errorf("demo: generation_config %q, %d tokens", demoModel.GenerationConfig, demoModel.Tokenizer.Len())
	}
	if name, i, found := demoModel.Weights.FindNonFinite(); found {
		t.Errorf("demo: %s[%d] is not finite", name, i)
	}
	for _, c := range []struct {
		name       string
		changes    map[string]string
		generation bool // has generation_config.json
	}{{"one file", map[string]string{"generation_config.json": ""}, false}, {"sharded", shard(t), true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.changes)
			m, err := Open(dir+string(filepath.Separator), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Name != "a-model" || m.DType != tensor.F32 || m.Size != 4*parameters || (m.GenerationConfig != nil) != c.generation {
				t.Errorf("%s, %v, %d bytes, generation_config %q", m.Name, m.DType, m.Size, m.GenerationConfig)
			}
			if !slices.Equal(m.Weights.FinalNorm.Gain.Data, demoModel.Weights.FinalNorm.Gain.Data) {
				t.Error("other weights than the demo's")
			}
		})
	}
}

func TestOpenMissingFiles(t *testing.T) {
	const words = "tokenizer.json (or vocab.json and merges.txt)"
	oneShard := shard(t)
	oneShard["model-00002-of-00002.safetensors"] = ""
	oneShard["config.json"] = ""
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    []string
	}{
		{"all", map[string]string{"config.json": "", "model.safetensors": "", "tokenizer.json": ""}, []string{"config.json", "model.safetensors", words}},
		{"weights", map[string]string{"model.safetensors": ""}, []string{"model.safetensors"}},
		{"merges", map[string]string{"tokenizer.json": "", "vocab.json": "{}"}, []string{"merges.txt"}},
		{"vocab", map[string]string{"tokenizer.json": "", "merges.txt": "#"}, []string{"vocab.json"}},
		{"a shard and more", oneShard, []string{"config.json", "model-00002-of-00002.safetensors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.changes)
			_, err := Open(dir, Options{})
			var absent *MissingFilesError
			if !errors.As(err, &absent) || absent.Dir != dir || !slices.Equal(absent.Files, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	text, err := fs.ReadFile(demo.Files(), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	c, err := gpt2.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	width := fmt.Sprintf(`"n_embd": %d`, c.Embd)
	otherShape := fmt.Sprintf("has shape [4096 %d], want [4096 %d]", c.Embd, 2*c.Embd)
	if text, err = fs.ReadFile(demo.Files(), "tokenizer.json"); err != nil {
		t.Fatal(err)
	}
	const first = `"added_tokens":[`
	const more = `,{"id":4096,"special":true,"content":"<x>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false}`
	head, tail, _ := strings.Cut(string(text), first)
	end := strings.IndexByte(tail, ']')
	tokens := head + first + tail[:end] + more + tail[end:]
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    string
	}{
		{"bad config", map[string]string{"config.json": "[]"}, "config.json: found an array"},
		{"other model", map[string]string{"config.json": `{"model_type":"llama"}`}, `"model_type" is "llama"`},
		{"other width", map[string]string{"config.json": strings.Replace(config, width, fmt.Sprintf(`"n_embd": %d`, 2*c.Embd), 1)}, otherShape},
		{"huge config", map[string]string{"config.json": strings.Repeat(" ", maxSmall+1)}, "larger than"},
		{"truncated weights", map[string]string{"model.safetensors": demoWeights(t)[:100_000]}, "truncated or damaged"},
		{"LFS pointer", map[string]string{"model.safetensors": "version https://git-lfs.github.com/spec/v1\n"}, "model.safetensors"},
		{"bad index", map[string]string{"model.safetensors": "", safetensors.IndexName: `{"weight_map":{"a":"../x"}}`}, "not a plain file name"},
		{"bad tokenizer", map[string]string{"tokenizer.json": "x"}, "read tokenizer of "},
		{"too many tokens", map[string]string{"tokenizer.json": tokens}, "its tokenizer has 4097 entries, but the embedding has only 4096 rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.changes)
			if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	dir := folder(t, nil)
	if _, err := Open(filepath.Join(dir, "gone"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent folder: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "model.safetensors"), Options{}); err == nil || !strings.Contains(err.Error(), "is a file, want a folder") {
		t.Errorf("file: %v", err)
	}
}

// What torch.save wrote is read like any other weights.
func TestOpenTorch(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	plain := filepath.Join("..", "gpt2", "testdata", "plain")
	tokens := `{"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}`
	base := map[string]string{"config.json": read(filepath.Join(plain, "config.json")), "tokenizer.json": tokens, "tokenizer_config.json": "", "generation_config.json": ""}
	open := func(files map[string]string) *Model {
		t.Helper()
		all := map[string]string{"model.safetensors": ""}
		maps.Copy(all, base)
		maps.Copy(all, files)
		m, err := Open(folder(t, all), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	want := open(map[string]string{"model.safetensors": read(filepath.Join(plain, "model.safetensors"))})
	first, second := "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
	for name, files := range map[string]map[string]string{
		"zip":    {"pytorch_model.bin": read("testdata/zip.bin")},
		"legacy": {"pytorch_model.bin": read("testdata/legacy.bin")},
		"sharded": {
			"pytorch_model.bin.index.json": read("testdata/pytorch_model.bin.index.json"),
			first:                          read("testdata/" + first), second: read("testdata/" + second),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := open(files)
			next, stop := iter.Pull2(got.Weights.Tensors())
			defer stop()
			for wantName, wantTensor := range want.Weights.Tensors() {
				gotName, gotTensor, _ := next()
				if gotName != wantName || !slices.Equal(gotTensor.Shape, wantTensor.Shape) || !slices.Equal(gotTensor.Data, wantTensor.Data) {
					t.Errorf("%s %v is not %s %v", gotName, gotTensor.Shape, wantName, wantTensor.Shape)
				}
			}
		})
	}
}

// The token that a tokenizer adds by itself needs no row; any other does.
func TestOnlyEndOfText(t *testing.T) {
	for _, c := range []struct {
		vocab string
		rows  int
		want  bool
	}{
		{`{"a": 0, "b": 1}`, 2, true},
		{`{"a": 0, "b": 1, "c": 2}`, 2, false},
		{`{"a": 0, "b": 1, "<|endoftext|>": 2, "c": 3}`, 2, false},
	} {
		words, err := tokenizer.Load(fstest.MapFS{
			"vocab.json": {Data: []byte(c.vocab)}, "merges.txt": {Data: []byte("#version: 0.2\n")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := onlyEndOfText(words, c.rows); got != c.want {
			t.Errorf("%s with %d rows: got %v", c.vocab, c.rows, got)
		}
	}
}
