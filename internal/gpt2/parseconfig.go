package gpt2

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/strictjson"
)

// Sizes beyond these are taken for damage. The largest product of two of them
// fits 64 bits many times over.
const (
	maxRows   = 1 << 26 // vocab_size, n_positions
	maxWidth  = 1 << 20 // n_embd, n_inner
	maxLayers = 1 << 12
)

// FamilyError says that a model is no GPT-2 language model, or one with something that
// these do not have.
type FamilyError struct{ Why string }

func (e *FamilyError) Error() string { return e.Why }

// ParseConfig reads a config.json of model_type gpt2, with the defaults and the
// alternative field names (hidden_size for n_embd …) of GPT2Config in
// transformers 5. Fields that do not change the computation are ignored; a
// field that asks for something else than a GPT-2 language model is refused in
// a *FamilyError that names it.
func ParseConfig(data []byte) (Config, error) {
	f := defaultFields()
	s := strictjson.New(data)
	err := s.Object(func(key string) error {
		if err := f.read(s, key); err != nil {
			return fmt.Errorf("field %q: %w", shorten(key), err)
		}
		return nil
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return Config{}, err
	}
	if err := f.checkModel(); err != nil {
		return Config{}, err
	}
	return f.config()
}

// fields is what a config.json says, before it is judged as a whole.
type fields struct {
	modelType     string
	architectures []string
	sizes         map[string]int64 // under the names of sizeFields
	inner         int64            // 0: not set
	refused       string           // the first field that asks for what is not supported
	cfg           Config
}

// sizeFields are the sizes a model must have, with GPT2Config's second name of
// each, its default and the largest value believed.
var sizeFields = []struct {
	name, alias string
	value, most int64
}{
	{"vocab_size", "", 50257, maxRows},
	{"n_positions", "max_position_embeddings", 1024, maxRows},
	{"n_embd", "hidden_size", 768, maxWidth},
	{"n_head", "num_attention_heads", 12, maxWidth},
	{"n_layer", "num_hidden_layers", 12, maxLayers},
}

func defaultFields() *fields {
	return &fields{sizes: make(map[string]int64), cfg: Config{
		LayerNormEpsilon:  1e-5,
		ScaleAttnWeights:  true,
		TieWordEmbeddings: true,
		BOS:               50256,
		EOS:               []int{50256},
		PAD:               -1,
		Activation:        GELUNew,
	}}
}

// read reads the value of one field.
func (f *fields) read(s *strictjson.Scanner, key string) (err error) {
	for _, size := range sizeFields {
		if key != size.name && (key != size.alias || key == "") {
			continue
		}
		n, err := s.Int()
		if err != nil {
			return err
		}
		if n < 1 || n > size.most {
			return fmt.Errorf("got %d, want 1 to %d", n, size.most)
		}
		f.sizes[key] = n
		return nil
	}
	null := s.Kind() == strictjson.Null
	switch key {
	case "model_type":
		if null {
			return s.Null()
		}
		f.modelType, err = s.String()
	case "architectures":
		if null {
			return s.Null()
		}
		f.architectures, err = readStrings(s)
	case "n_inner":
		if null {
			return s.Null()
		}
		if f.inner, err = s.Int(); err == nil && (f.inner < 1 || f.inner > maxWidth) {
			return fmt.Errorf("got %d, want 1 to %d", f.inner, maxWidth)
		}
	case "activation_function":
		var name string
		if name, err = s.String(); err == nil {
			f.cfg.Activation, err = ParseActivation(name)
		}
	case "layer_norm_epsilon":
		f.cfg.LayerNormEpsilon, err = s.Float()
		if eps := f.cfg.LayerNormEpsilon; err == nil && !(float32(eps) > 0 && eps <= 1) {
			return fmt.Errorf("got %g, want more than 0 and at most 1", eps)
		}
	case "scale_attn_weights":
		f.cfg.ScaleAttnWeights, err = s.Bool()
	case "scale_attn_by_inverse_layer_idx":
		f.cfg.ScaleAttnByInverseLayerIdx, err = s.Bool()
	case "reorder_and_upcast_attn":
		f.cfg.ReorderAndUpcastAttn, err = s.Bool()
	case "tie_word_embeddings":
		f.cfg.TieWordEmbeddings, err = s.Bool()
	case "bos_token_id":
		f.cfg.BOS, err = readToken(s)
	case "pad_token_id":
		f.cfg.PAD, err = readToken(s)
	case "eos_token_id":
		f.cfg.EOS, err = readTokens(s)
	case "add_cross_attention", "is_encoder_decoder":
		if null {
			return s.Null()
		}
		var on bool
		if on, err = s.Bool(); on {
			f.refuse(key + " is true")
		}
	case "quantization_config", "pruned_heads", "per_layer_config":
		var filled bool
		if filled, err = skipFilled(s); filled {
			f.refuse(key + " is set")
		}
	default:
		err = s.Skip()
	}
	return err
}

func (f *fields) refuse(why string) {
	if f.refused == "" {
		f.refused = why
	}
}

// languageModels are the architectures whose files hold everything that
// GPT2LMHeadModel needs.
var languageModels = []string{"GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"}

// checkModel refuses whatever is not a plain GPT-2 language model.
func (f *fields) checkModel() error {
	known := slices.ContainsFunc(f.architectures, func(a string) bool { return slices.Contains(languageModels, a) })
	switch {
	case f.modelType == "" && !known:
		return &FamilyError{`field "model_type" is missing, want "gpt2"`}
	case f.modelType != "" && f.modelType != "gpt2":
		return familyError("field \"model_type\" is %q, want \"gpt2\"", shorten(f.modelType))
	case len(f.architectures) > 0 && !known:
		return familyError("field \"architectures\" is %q, want \"GPT2LMHeadModel\"", shorten(strings.Join(f.architectures, ", ")))
	case f.refused != "":
		return familyError("%s, which is not supported", f.refused)
	}
	return nil
}

func familyError(format string, args ...any) error {
	return &FamilyError{fmt.Sprintf(format, args...)}
}

// config turns the fields into a Config and checks how they fit together.
func (f *fields) config() (Config, error) {
	c := f.cfg
	for i, dst := range []*int{&c.VocabSize, &c.Positions, &c.Embd, &c.Heads, &c.Layers} {
		size := sizeFields[i]
		n := size.value
		if v, ok := f.sizes[size.name]; ok {
			n = v
		}
		if v, ok := f.sizes[size.alias]; ok { // transformers applies the alias last
			n = v
		}
		*dst = int(n)
	}
	if c.Embd%c.Heads != 0 {
		return Config{}, fmt.Errorf("n_embd %d is not divisible by n_head %d", c.Embd, c.Heads)
	}
	c.Inner = 4 * c.Embd
	if f.inner > 0 {
		c.Inner = int(f.inner)
	}
	return c, nil
}

// readToken reads a token id or null; no token is -1.
func readToken(s *strictjson.Scanner) (int, error) {
	if s.Kind() == strictjson.Null {
		return -1, s.Null()
	}
	id, err := s.Int()
	if err != nil {
		return 0, err
	}
	if id > maxRows {
		return 0, fmt.Errorf("got token %d, want at most %d", id, maxRows)
	}
	return int(max(id, -1)), nil
}

// readTokens reads a token id, a list of them, or null.
func readTokens(s *strictjson.Scanner) (ids []int, err error) {
	one := func() error {
		id, err := readToken(s)
		if err == nil && id >= 0 {
			ids = append(ids, id)
		}
		return err
	}
	if s.Kind() == strictjson.Array {
		err = s.Array(one)
	} else {
		err = one()
	}
	return ids, err
}

func readStrings(s *strictjson.Scanner) (list []string, err error) {
	err = s.Array(func() error {
		text, err := s.String()
		list = append(list, text)
		return err
	})
	return list, err
}

// skipFilled skips a value and tells whether it is more than null, false, {} or [].
func skipFilled(s *strictjson.Scanner) (filled bool, err error) {
	switch s.Kind() {
	case strictjson.Object:
		err = s.Object(func(string) error { filled = true; return s.Skip() })
	case strictjson.Array:
		err = s.Array(func() error { filled = true; return s.Skip() })
	case strictjson.Boolean:
		filled, err = s.Bool()
	case strictjson.Null:
		err = s.Null()
	default:
		filled, err = true, s.Skip()
	}
	return filled, err
}

// shorten keeps a message readable when the file is hostile.
func shorten(text string) string {
	if r := []rune(text); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return text
}
