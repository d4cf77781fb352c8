package run

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/safetensors"
)

const modelFixtures = "../internal/gpt2/testdata"

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// readJSON reads a file of this package's testdata, or of another's.
func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	data := must[[]byte](t)(os.ReadFile(path))
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// loadModel loads a model fixture of internal/gpt2, or the demo.
func loadModel(t testing.TB, name string, threads int) *gpt2.Model {
	t.Helper()
	var config []byte
	var file *safetensors.File
	if name == "demo" {
		config = must[[]byte](t)(fs.ReadFile(demo.Files(), "config.json"))
		var weights bytes.Buffer
		if err := safetensors.Write(&weights, must[[]safetensors.Named](t)(demo.Float32s()), nil); err != nil {
			t.Fatal(err)
		}
		file = must[*safetensors.File](t)(safetensors.Parse(weights.Bytes()))
	} else {
		dir := filepath.Join(modelFixtures, name)
		config = must[[]byte](t)(os.ReadFile(filepath.Join(dir, "config.json")))
		file = must[*safetensors.File](t)(safetensors.Open(filepath.Join(dir, "model.safetensors")))
	}
	t.Cleanup(func() { file.Close() })
	c := must[gpt2.Config](t)(gpt2.ParseConfig(config))
	weights := must[*gpt2.Weights](t)(gpt2.BindWeights(c, file))
	k := must[*kernel.CPU](t)(kernel.New(kernel.Options{Threads: threads, Wide: true}))
	t.Cleanup(k.Close)
	return must[*gpt2.Model](t)(gpt2.New(cpu.New(k, cpu.Options{}), c, weights))
}

// numbers is a tokenizer whose tokens are their own names: " 17". It encodes
// nothing.
type numbers struct{}

func (numbers) Encode(dst []int32, _ string) []int32 { return dst }
func (numbers) Bytes(id int32) []byte                { return []byte(" " + strconv.Itoa(int(id))) }

// table is a tokenizer of given tokens. It encodes bytes, by the first token that
// is one.
type table [][]byte

func (v table) Bytes(id int32) []byte {
	if int(id) >= len(v) {
		return nil
	}
	return v[id]
}

func (v table) Encode(dst []int32, text string) []int32 {
	for i := range len(text) {
		for id, b := range v {
			if len(b) == 1 && b[0] == text[i] {
				dst = append(dst, int32(id))
				break
			}
		}
	}
	return dst
}

// demoTokens are the bytes of the demo's tokens. Its file writes a byte as a
// character: itself if that is printable, else the next from U+0100 on.
func demoTokens(t testing.TB) table {
	t.Helper()
	var file struct {
		Model struct{ Vocab map[string]int }
	}
	data := must[[]byte](t)(fs.ReadFile(demo.Files(), "tokenizer.json"))
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	bytesOf := map[rune]byte{}
	next := rune(0x100)
	for b := rune(0); b < 256; b++ {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			bytesOf[b] = byte(b)
		} else {
			bytesOf[next] = byte(b)
			next++
		}
	}
	tokens := make(table, 4096)
	for text, id := range file.Model.Vocab {
		for _, r := range text {
			tokens[id] = append(tokens[id], bytesOf[r])
		}
	}
	tokens[4095] = []byte("<|endoftext|>")
	return tokens
}

// likeTransformers returns the settings that transformers would use where its
// caller sets nothing, changed by JSON in its names.
func likeTransformers(t testing.TB, changes json.RawMessage) Settings {
	t.Helper()
	neutral := Layer{func(s *Settings) {
		s.DoSample, s.Temperature, s.TopK, s.TopP = false, 1, 0, 1
	}}
	return Resolve(neutral, must[Layer](t)(ParseGenerationConfig("settings", changes)))
}
