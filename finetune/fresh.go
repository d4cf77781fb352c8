package finetune

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

// bytesTokenizer is the name of the tokenizer that has a token per byte.
const bytesTokenizer = "bytes"

// maxConfig bounds a config.json.
const maxConfig = 1 << 20

// newModel makes a model that has learned nothing yet.
func newModel(s Settings) (*modelfiles.Model, error) {
	f, err := os.Open(s.Init)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder, want a config.json: init=%s", s.Init, filepath.Join(s.Init, "config.json"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("it has more than %d bytes", maxConfig)
	}
	var c gpt2.Config
	if err == nil {
		c, err = gpt2.ParseConfig(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Init, err)
	}
	words, err := newTokenizer(s.Tokenizer)
	if err != nil {
		return nil, err
	}
	// Without a vocab_size of its own the model has the tokenizer's.
	var said struct {
		VocabSize *int `json:"vocab_size"`
	}
	if json.Unmarshal(data, &said) == nil && said.VocabSize == nil {
		c.VocabSize = words.Len()
	}
	if words.Len() > c.VocabSize {
		return nil, fmt.Errorf("%s: vocab_size is %d, but the tokenizer has %d entries: want as many at least, or no vocab_size", s.Init, c.VocabSize, words.Len())
	}
	c.BOS, c.EOS, c.PAD = -1, nil, -1
	if id, ok := words.EOS(); ok {
		c.BOS, c.EOS = int(id), []int{int(id)}
	}
	if id, ok := words.BOS(); ok {
		c.BOS = int(id)
	}
	if c.Parameters() > 1<<31 {
		return nil, fmt.Errorf("%s describes a model of %d parameters, want at most 2^31", s.Init, c.Parameters())
	}
	return &modelfiles.Model{Name: "new", Config: c, Weights: newWeights(c, uint64(s.Seed)), Tokenizer: words, DType: tensor.F32}, nil
}

func newTokenizer(name string) (*tokenizer.Tokenizer, error) {
	switch name {
	case "":
		return nil, errors.New("a new model needs a tokenizer: a folder that has one, or bytes")
	case bytesTokenizer:
		return byteTokenizer()
	}
	t, err := tokenizer.Load(os.DirFS(name))
	if err != nil {
		return nil, fmt.Errorf("read tokenizer of %s (a folder, or %s for one token per byte): %w", name, bytesTokenizer, err)
	}
	return t, nil
}

// byteTokenizer has a token per byte, spelt as GPT-2 does, and <|endoftext|>.
func byteTokenizer() (*tokenizer.Tokenizer, error) {
	p := tokenizer.Parts{BOS: 256, EOS: 256, UNK: -1, PAD: -1}
	moved := rune(256)
	for b := range rune(256) {
		r := b
		// Bytes that cannot be seen are spelt with letters from 256 on
		// (bytes_to_unicode in GPT-2's encoder.py).
		if b <= ' ' || b >= 0x7f && b <= 0xa0 || b == 0xad {
			r, moved = moved, moved+1
		}
		p.Tokens = append(p.Tokens, tokenizer.Piece{Text: string(r), Kind: tokenizer.Normal})
	}
	p.Tokens = append(p.Tokens, tokenizer.Piece{Text: "<|endoftext|>", Kind: tokenizer.Special})
	return tokenizer.New(p)
}

// newWeights draws weights as GPT-2 was begun with (Radford et al. 2019, section
// 2.3; the deviation of 0.02 is that of its code): normal, what is added to the
// residual stream smaller by the root of the number of additions, biases 0 and
// gains 1.
func newWeights(c gpt2.Config, seed uint64) *gpt2.Weights {
	const deviation = 0.02
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	fill := func(value func() float32, shape ...int) tensor.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = value()
		}
		return tensor.Tensor{DType: tensor.F32, Shape: shape, Data: tensor.Bytes(v)}
	}
	normal := func(sigma float64) func() float32 {
		return func() float32 { return float32(rng.NormFloat64() * sigma) }
	}
	zero, one := func() float32 { return 0 }, func() float32 { return 1 }
	norm := func() gpt2.Norm { return gpt2.Norm{Gain: fill(one, c.Embd), Bias: fill(zero, c.Embd)} }
	projection := func(sigma float64, in, out int) gpt2.Projection {
		return gpt2.Projection{Weight: fill(normal(sigma), in, out), Bias: fill(zero, out), Layout: gpt2.InOut}
	}
	added := deviation / math.Sqrt(2*float64(c.Layers))
	w := &gpt2.Weights{
		TokenEmbedding:    fill(normal(deviation), c.VocabSize, c.Embd),
		PositionEmbedding: fill(normal(deviation), c.Positions, c.Embd),
		Tied:              c.TieWordEmbeddings,
	}
	for range c.Layers {
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm(), QKV: projection(deviation, c.Embd, 3*c.Embd), AttnOut: projection(added, c.Embd, c.Embd),
			MLPNorm: norm(), Up: projection(deviation, c.Embd, c.Inner), Down: projection(added, c.Inner, c.Embd),
		})
	}
	w.FinalNorm, w.Head = norm(), w.TokenEmbedding
	if !w.Tied {
		w.Head = fill(normal(deviation), c.VocabSize, c.Embd)
	}
	return w
}
