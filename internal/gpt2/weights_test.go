package gpt2

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// tensors is a model file in memory.
type tensors map[string]tensor.Tensor

func (m tensors) Names() []string { return slices.Collect(maps.Keys(m)) }
func (m tensors) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := m[name]
	return t, ok
}

// filled makes a tensor whose elements all are value.
func filled(d tensor.DType, value float32, shape ...int) tensor.Tensor {
	t := tensor.Tensor{DType: d, Shape: shape}
	t.Data = make([]byte, t.Len()*d.Size())
	if d.IsFloat() {
		tensor.FromFloat32(t.Data, d, slices.Repeat([]float32{value}, t.Len()))
	}
	return t
}

func tiny() Config {
	return Config{VocabSize: 7, Positions: 5, Embd: 4, Heads: 2, Layers: 2, Inner: 6, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true}
}

// tinyFile holds the weights of tiny, with a prefix before each name.
func tinyFile(prefix string) tensors {
	m := tensors{}
	add := func(name string, shape ...int) { m[prefix+name] = filled(tensor.F32, float32(len(m)+1), shape...) }
	add("wte.weight", 7, 4)
	add("wpe.weight", 5, 4)
	for _, h := range []string{"h.0.", "h.1."} {
		for name, shape := range map[string][]int{
			"ln_1.weight": {4}, "ln_1.bias": {4}, "ln_2.weight": {4}, "ln_2.bias": {4},
			"attn.c_attn.weight": {4, 12}, "attn.c_attn.bias": {12}, "attn.c_proj.weight": {4, 4}, "attn.c_proj.bias": {4},
			"mlp.c_fc.weight": {4, 6}, "mlp.c_fc.bias": {6}, "mlp.c_proj.weight": {6, 4}, "mlp.c_proj.bias": {4},
		} {
			add(h+name, shape...)
		}
	}
	add("ln_f.weight", 4)
	add("ln_f.bias", 4)
	return m
}

// Both ways of naming, and a mixture of them, bind every tensor to its place.
func TestBindWeightsNames(t *testing.T) {
	mixed := tinyFile("")
	for name := range tinyFile("") {
		if strings.HasPrefix(name, "h.1") {
			mixed["transformer."+name] = mixed[name]
			delete(mixed, name)
		}
	}
	for name, file := range map[string]tensors{"plain": tinyFile(""), "prefixed": tinyFile("transformer."), "mixed": mixed} {
		w, err := BindWeights(tiny(), file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !w.Tied || len(w.Unused) > 0 || &w.Head.Data[0] != &w.TokenEmbedding.Data[0] {
			t.Errorf("%s: tied %v, unused %q", name, w.Tied, w.Unused)
		}
		count := 0
		for place, got := range w.Tensors() {
			count++
			want, ok := file[place]
			if !ok {
				want = file["transformer."+place]
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: another tensor at %s", name, place)
			}
		}
		if count != len(file) {
			t.Errorf("%s: %d of %d tensors bound", name, count, len(file))
		}
	}
}

// What transformers 5.23 does with tied and untied heads (tie_weights), but that
// a missing one is an error here where it is filled with random numbers there.
func TestBindWeightsHead(t *testing.T) {
	other := filled(tensor.F32, -3, 7, 4)
	for _, c := range []struct {
		name   string
		untied bool // in the configuration
		change func(tensors)
		tied   bool
		head   float32 // value of the head bound; 0: an error
		fails  string
	}{
		{name: "tied", change: func(tensors) {}, tied: true, head: 1},
		{name: "tied, equal head", change: func(m tensors) { m["lm_head.weight"] = m["transformer.wte.weight"] }, tied: true, head: 1},
		{name: "tied, equal head in BF16", change: func(m tensors) { m["lm_head.weight"] = filled(tensor.BF16, 1, 7, 4) }, tied: true, head: 1},
		{name: "tied, other head", change: func(m tensors) { m["lm_head.weight"] = other }, head: -3},
		{name: "tied, head only", change: func(m tensors) { delete(m, "transformer.wte.weight"); m["lm_head.weight"] = other }, tied: true, head: -3},
		{name: "tied, neither", change: func(m tensors) { delete(m, "transformer.wte.weight") }, fails: "1 tensor is missing: wte.weight"},
		{name: "untied", untied: true, change: func(m tensors) { m["lm_head.weight"] = other }, head: -3},
		{name: "untied, prefixed", untied: true, change: func(m tensors) { m["transformer.lm_head.weight"] = other }, head: -3},
		{name: "untied, no head", untied: true, change: func(tensors) {}, fails: "1 tensor is missing: lm_head.weight"},
		{name: "untied, head only", untied: true, change: func(m tensors) { delete(m, "transformer.wte.weight"); m["lm_head.weight"] = other }, fails: "1 tensor is missing: wte.weight"},
		{name: "head of another shape", untied: true, change: func(m tensors) { m["lm_head.weight"] = filled(tensor.F32, 1, 8, 4) }, fails: "want [7 4]"},
		{name: "tied, head of another shape", change: func(m tensors) { m["lm_head.weight"] = filled(tensor.F32, 1, 8, 4) }, fails: "want [7 4]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, file := tiny(), tinyFile("transformer.")
			cfg.TieWordEmbeddings = !c.untied
			c.change(file)
			w, err := BindWeights(cfg, file)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v, _ := w.Head.Float32s()
			if w.Tied != c.tied || v[0] != c.head || len(w.Unused) > 0 {
				t.Errorf("tied %v, head %g, unused %q; want %v, %g", w.Tied, v[0], w.Unused, c.tied, c.head)
			}
			if shared := &w.Head.Data[0] == &w.TokenEmbedding.Data[0]; shared != w.Tied {
				t.Errorf("tied %v, memory shared %v", w.Tied, shared)
			}
		})
	}
}

func TestBindWeightsIgnores(t *testing.T) {
	file := tinyFile("transformer.")
	for name, d := range map[string]tensor.DType{
		"transformer.h.0.attn.bias": tensor.U8, "transformer.h.1.attn.masked_bias": tensor.F32,
		"h.0.attn.bias": tensor.Bool, "lm_head.bias": tensor.F32, "score.weight": tensor.F32, "transformer.h.2.ln_1.weight": tensor.F32,
	} {
		file[name] = filled(d, 1, 1, 1, 5, 5)
	}
	w, err := BindWeights(tiny(), file)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"lm_head.bias", "score.weight", "transformer.h.2.ln_1.weight"}
	if !slices.Equal(w.Unused, want) {
		t.Errorf("unused %q, want %q", w.Unused, want)
	}
}

func TestBindWeightsRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(tensors)
		want   string
	}{
		{"one missing", func(m tensors) { delete(m, "h.1.ln_2.bias") }, "1 tensor is missing: h.1.ln_2.bias"},
		{"all missing", func(m tensors) { clear(m) }, "28 tensors are missing: wte.weight, wpe.weight, h.0.ln_1.weight, h.0.ln_1.bias, h.0.attn.c_attn.weight and 23 more"},
		{"vocabulary", func(m tensors) { m["wte.weight"] = filled(tensor.F32, 1, 8, 4) }, `tensor "wte.weight" has shape [8 4], want [7 4]`},
		{"transposed", func(m tensors) { m["h.0.mlp.c_fc.weight"] = filled(tensor.F32, 1, 6, 4) }, `tensor "h.0.mlp.c_fc.weight" has shape [6 4], want [4 6]`},
		{"dimensions", func(m tensors) { m["ln_f.bias"] = filled(tensor.F32, 1, 1, 4) }, `tensor "ln_f.bias" has shape [1 4], want [4]`},
		{"dtype", func(m tensors) { m["ln_f.bias"] = filled(tensor.I32, 1, 4) }, `tensor "ln_f.bias" is I32, want F32, F16 or BF16`},
	} {
		file := tinyFile("")
		c.change(file)
		if _, err := BindWeights(tiny(), file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestFindNonFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, bad := range []float32{nan, inf, 1e4, -0.5} {
			t.Run(fmt.Sprint(d, bad), func(t *testing.T) {
				file := tinyFile("")
				values := slices.Repeat([]float32{1}, 24)
				values[17] = bad
				x := filled(d, 0, 6, 4)
				tensor.FromFloat32(x.Data, d, values)
				file["h.1.mlp.c_proj.weight"] = x
				w, err := BindWeights(tiny(), file)
				if err != nil {
					t.Fatal(err)
				}
				name, index, ok := w.FindNonFinite()
				finite := bad == 1e4 || bad == -0.5
				if ok == finite || ok && (name != "h.1.mlp.c_proj.weight" || index != 17) {
					t.Errorf("found %v: %s[%d]", ok, name, index)
				}
			})
		}
	}
}
