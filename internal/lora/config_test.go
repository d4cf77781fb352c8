package lora

import (
	"os"
	"path/filepath"
	"testing"
)

// What peft's rules give for a GPT-2.
func TestTargeted(t *testing.T) {
	const (
		attn, attnOut = "transformer.h.1.attn.c_attn", "transformer.h.1.attn.c_proj"
		up, down      = "transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_proj"
	)
	all := []string{attn, attnOut, up, down, "lm_head"}
	for _, test := range []struct {
		fields string
		want   []string
	}{
		{``, []string{attn}},
		{`,"target_modules":null`, []string{attn}},
		{`,"target_modules":[]`, nil},
		{`,"target_modules":["c_proj"]`, []string{attnOut, down}},
		{`,"target_modules":["mlp.c_proj","proj"]`, []string{down}},
		{`,"target_modules":["attn"]`, nil},
		{`,"target_modules":"c_proj"`, nil}, // an expression for the whole name
		{`,"target_modules":".*c_proj"`, []string{attnOut, down}},
		{`,"target_modules":".*attn.*|lm_head"`, []string{attn, attnOut, "lm_head"}},
		{`,"target_modules":"All-Linear"`, all[:4]},
		{`,"target_modules":"all-linear","exclude_modules":".*mlp.*"`, all[:2]},
		{`,"target_modules":["c_proj"],"exclude_modules":["attn.c_proj"]`, []string{down}},
		{`,"target_modules":["c_fc"],"layers_to_transform":1`, []string{up}},
		{`,"target_modules":["c_fc"],"layers_to_transform":[0,2]`, nil},
		{`,"target_modules":["c_fc"],"layers_to_transform":[]`, []string{up}},
		{`,"target_modules":["c_fc"],"layers_to_transform":[1],"layers_pattern":"layers"`, nil},
		{`,"target_modules":["c_fc"],"layers_to_transform":[1],"layers_pattern":["layers","h"]`, []string{up}},
		{`,"target_modules":["transformer.h.1.mlp.c_fc"],"layers_to_transform":[0]`, []string{up}}, // a whole name counts
		{`,"target_modules":["lm_head"],"layers_to_transform":[0]`, []string{"lm_head"}},
		{`,"target_modules":["c_fc","lm_head"],"layers_to_transform":[0]`, []string{"lm_head"}},
	} {
		c, err := ParseConfig([]byte(`{"peft_type":"LORA"` + test.fields + `}`))
		if err != nil {
			t.Errorf("%s: %v", test.fields, err)
			continue
		}
		for _, module := range all {
			want := false
			for _, w := range test.want {
				want = want || w == module
			}
			if yes, sure := c.targeted(module); yes != want || !sure {
				t.Errorf("%s: %s is targeted: %v (sure: %v), want %v", test.fields, module, yes, sure, want)
			}
		}
	}
}

func TestScale(t *testing.T) {
	for _, test := range []struct {
		fields string
		rank   int
		scale  float64
	}{
		{``, 8, 1},
		{`,"r":4,"lora_alpha":6`, 4, 1.5},
		{`,"r":4,"lora_alpha":6,"use_rslora":true`, 4, 3},
		{`,"r":4,"rank_pattern":{"c_fc":2}`, 2, 4},
		{`,"r":4,"rank_pattern":{"mlp":2,"h.0.mlp.c_fc":16,"c_fc":2}`, 16, 0.5}, // the first that fits
		{`,"alpha_pattern":{"c_f":1,".*fc":2.5}`, 8, 2.5 / 8},
		{`,"alpha_pattern":{"_fc":2}`, 8, 1}, // after a dot or at the beginning only
	} {
		c, err := ParseConfig([]byte(`{"peft_type":"LORA"` + test.fields + `}`))
		if err != nil {
			t.Errorf("%s: %v", test.fields, err)
			continue
		}
		const module = "transformer.h.0.mlp.c_fc"
		if r, s := c.rankOf(module), c.scaleOf(module); r != test.rank || s != test.scale {
			t.Errorf("%s: rank %d, scale %g, want %d and %g", test.fields, r, s, test.rank, test.scale)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/*/adapter_config.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"(","rank_pattern":{"a|b":2},"alpha_pattern":{"":1e308},"layers_pattern":["(",""],"layers_to_transform":3}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":[],"exclude_modules":"ALL-LINEAR","r":65536,"lora_alpha":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		for _, module := range []string{"transformer.h.0.attn.c_attn", "h.11.mlp.c_fc", "lm_head"} {
			if yes, sure := c.targeted(module); yes && !sure {
				t.Errorf("%s: targeted, but not surely", module)
			}
			if r := c.rankOf(module); r < 1 || r > maxRank {
				t.Errorf("%s: rank %d", module, r)
			}
			c.scaleOf(module)
		}
	})
}
