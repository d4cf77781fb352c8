package lora

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/strictjson"
)

// Config is what an adapter_config.json says about low-rank additions: the
// fields of peft's LoraConfig that change what a model computes.
type Config struct {
	Base  string // base_model_name_or_path: the model that the adapter was trained on, "" if the file does not say
	rank  int
	alpha float64
	ranks []pattern // rank_pattern, in the file's order: the first that fits counts
	alpas []pattern // alpha_pattern

	rootScale     bool    // use_rslora: alpha/√rank instead of alpha/rank
	targets       matcher // target_modules
	excluded      matcher // exclude_modules
	layers        []int64 // layers_to_transform; nil: all
	layersPattern []string
}

// pattern gives the modules whose names end as it says a value of their own.
type pattern struct {
	name  *regexp.Regexp
	value float64
}

// matcher is a list of module names, or of their ends, or an expression.
type matcher struct {
	set   bool
	all   bool           // "all-linear"
	names []string       // unless all or expr
	expr  *regexp.Regexp // for the whole name
	blind bool           // an expression that only Python understands: it is not known what it fits
}

// maxRank is far beyond what helps; more is damage.
const maxRank = 1 << 16

// ParseConfig reads an adapter_config.json of peft_type LORA. Fields that matter
// only in training are ignored; one that asks for something else than additions
// to weights is refused in an error that names it.
func ParseConfig(data []byte) (*Config, error) {
	f := &fields{c: &Config{rank: 8, alpha: 8}, bias: "none"}
	s := strictjson.New(data)
	err := s.Object(func(key string) error {
		if err := f.read(s, key); err != nil {
			return fmt.Errorf("field %q: %w", clip(key), err)
		}
		return nil
	})
	if err == nil {
		err = s.End()
	}
	if err != nil {
		return nil, err
	}
	return f.c, f.check()
}

// fields is what the file says before it is judged as a whole.
type fields struct {
	c        *Config
	kind     string // peft_type
	bias     string
	initial  string // init_lora_weights where it is a name
	replaces []string
	refused  string // the first field that asks for what is not supported
}

// variants are fields that, unless null, false or empty, make something else of
// LoRA than an addition to the weights of a matrix.
var variants = []string{
	"use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config",
	"layer_replication", "target_parameters", "trainable_token_indices", "lora_bias",
}

func (f *fields) read(s *strictjson.Scanner, key string) (err error) {
	c := f.c
	switch key {
	case "peft_type":
		f.kind, err = textOrNull(s)
	case "base_model_name_or_path":
		c.Base, err = textOrNull(s)
	case "bias":
		f.bias, err = s.String()
	case "init_lora_weights":
		if s.Kind() != strictjson.String {
			return s.Skip()
		}
		f.initial, err = s.String()
	case "modules_to_save":
		f.replaces, err = texts(s)
	case "use_rslora":
		c.rootScale, err = s.Bool()
	case "r":
		var n int64
		if n, err = s.Int(); err == nil && (n < 1 || n > maxRank) {
			err = fmt.Errorf("%d is no rank", n)
		}
		c.rank = int(n)
	case "lora_alpha":
		c.alpha, err = s.Float()
	case "rank_pattern":
		c.ranks, err = patterns(s, true)
	case "alpha_pattern":
		c.alpas, err = patterns(s, false)
	case "target_modules":
		c.targets, err = readMatcher(s)
	case "exclude_modules":
		c.excluded, err = readMatcher(s)
	case "layers_to_transform":
		c.layers, err = ints(s)
	case "layers_pattern":
		c.layersPattern, err = texts(s)
	default:
		if !slices.Contains(variants, key) {
			return s.Skip()
		}
		var off bool
		if off, err = switchedOff(s); !off && f.refused == "" {
			f.refused = key
		}
	}
	return err
}

func (f *fields) check() error {
	c := f.c
	switch {
	case f.kind == "":
		return fmt.Errorf("field \"peft_type\" is missing: this is no adapter of peft")
	case f.kind != "LORA":
		return fmt.Errorf("the adapter is of type %q, and only LORA is supported", clip(f.kind))
	case f.refused != "":
		return fmt.Errorf("the adapter uses %s, which is not supported: only plain LoRA and rsLoRA are", f.refused)
	case f.bias != "none":
		return fmt.Errorf("the adapter has biases of its own (bias %q), which is not supported: train it with bias \"none\"", clip(f.bias))
	case len(f.replaces) > 0:
		return fmt.Errorf("the adapter replaces whole modules (modules_to_save %q), which is not supported", f.replaces)
	}
	for _, name := range []string{"pissa", "olora", "corda", "loftq", "lora_ga"} {
		if strings.HasPrefix(strings.ToLower(f.initial), name) {
			return fmt.Errorf("the adapter changes the model's own weights too (init_lora_weights %q): convert it to plain LoRA with peft first", clip(f.initial))
		}
	}
	if !c.targets.set {
		c.targets = matcher{set: true, names: []string{"c_attn"}} // peft's choice for a GPT-2
	}
	return nil
}

// targeted reports whether peft gives a module of this name an adapter. sure is
// false where that takes an expression that cannot be read here.
func (c *Config) targeted(module string) (yes, sure bool) {
	if c.excluded.set {
		out, sure := c.excluded.fits(module)
		if out || !sure {
			return false, sure
		}
	}
	if c.targets.all {
		return !strings.HasSuffix(module, "lm_head"), true
	}
	yes, sure = c.targets.fits(module)
	if !yes || c.targets.expr != nil || c.layers == nil || slices.Contains(c.targets.names, module) {
		return yes, sure
	}
	layer, ok := c.layerOf(module)
	return ok && slices.Contains(c.layers, layer), true
}

var anyLayer = regexp.MustCompile(`^.*?\.[^.]*\.([0-9]{1,9})\.`)

// layerOf finds the number of the layer in a module's name as peft does.
func (c *Config) layerOf(module string) (int64, bool) {
	expressions := []*regexp.Regexp{anyLayer}
	if len(c.layersPattern) > 0 {
		expressions = nil
		for _, p := range c.layersPattern {
			if e, err := regexp.Compile(`^(?:|.*?\.)(?:` + p + `)\.([0-9]{1,9})\.`); err == nil {
				expressions = append(expressions, e)
			}
		}
	}
	for _, e := range expressions {
		if m := e.FindStringSubmatch(module); m != nil {
			n := int64(0)
			for _, digit := range m[len(m)-1] {
				n = n*10 + int64(digit-'0')
			}
			return n, true
		}
	}
	return 0, false
}

func (m matcher) fits(module string) (yes, sure bool) {
	switch {
	case m.blind:
		return false, false
	case m.expr != nil:
		return m.expr.MatchString(module), true
	}
	return slices.ContainsFunc(m.names, func(name string) bool {
		return module == name || strings.HasSuffix(module, "."+name)
	}), true
}

// rankOf and scaleOf are of one module.
func (c *Config) rankOf(module string) int {
	return int(value(c.ranks, module, float64(c.rank)))
}

// scaleOf is the factor of the product of the two matrices (Hu et al. 2021; with
// use_rslora Kalajdzievski 2023).
func (c *Config) scaleOf(module string) float64 {
	rank, alpha := float64(c.rankOf(module)), value(c.alpas, module, c.alpha)
	if c.rootScale {
		return alpha / math.Sqrt(rank)
	}
	return alpha / rank
}

func value(patterns []pattern, module string, otherwise float64) float64 {
	for _, p := range patterns {
		if p.name.MatchString(module) {
			return p.value
		}
	}
	return otherwise
}

// patterns reads an object of values by expressions for the ends of names.
func patterns(s *strictjson.Scanner, ranks bool) (list []pattern, err error) {
	if s.Kind() == strictjson.Null {
		return nil, s.Null()
	}
	err = s.Object(func(key string) error {
		e, err := regexp.Compile(`^(?:.*\.)?(?:` + key + `)$`)
		if err != nil {
			return fmt.Errorf("the expression %q cannot be read here", clip(key))
		}
		v, err := s.Float()
		if err == nil && ranks && (v < 1 || v > maxRank || v != math.Trunc(v)) {
			err = fmt.Errorf("%v is no rank", v)
		}
		list = append(list, pattern{e, v})
		return err
	})
	return list, err
}

// readMatcher reads null, one expression, or a list of names.
func readMatcher(s *strictjson.Scanner) (m matcher, err error) {
	switch s.Kind() {
	case strictjson.Null:
		return m, s.Null()
	case strictjson.String:
		text, err := s.String()
		if err != nil {
			return m, err
		}
		m.set = true
		if m.all = strings.EqualFold(text, "all-linear"); m.all {
			return m, nil
		}
		if m.expr, err = regexp.Compile(`^(?:` + text + `)$`); err != nil {
			m.blind = true // Python's expressions can do more
		}
		return m, nil
	}
	m.names, err = texts(s)
	m.set = err == nil
	return m, err
}

func textOrNull(s *strictjson.Scanner) (string, error) {
	if s.Kind() == strictjson.Null {
		return "", s.Null()
	}
	return s.String()
}

// texts reads null, a text, or a list of texts.
func texts(s *strictjson.Scanner) (list []string, err error) {
	switch s.Kind() {
	case strictjson.Null:
		return nil, s.Null()
	case strictjson.String:
		text, err := s.String()
		return []string{text}, err
	}
	list = []string{}
	err = s.Array(func() error {
		text, err := s.String()
		list = append(list, text)
		return err
	})
	return list, err
}

// ints reads null, a number, or a list of numbers; an empty list is none.
func ints(s *strictjson.Scanner) (list []int64, err error) {
	switch s.Kind() {
	case strictjson.Null:
		return nil, s.Null()
	case strictjson.Number:
		n, err := s.Int()
		return []int64{n}, err
	}
	err = s.Array(func() error {
		n, err := s.Int()
		list = append(list, n)
		return err
	})
	return list, err
}

// switchedOff reads any value and reports whether it is null, false, or empty.
func switchedOff(s *strictjson.Scanner) (off bool, err error) {
	switch s.Kind() {
	case strictjson.Null:
		return true, s.Null()
	case strictjson.Boolean:
		on, err := s.Bool()
		return !on, err
	case strictjson.Array:
		off = true
		err = s.Array(func() error { off = false; return s.Skip() })
		return off, err
	case strictjson.Object:
		off = true
		err = s.Object(func(string) error { off = false; return s.Skip() })
		return off, err
	}
	return false, s.Skip()
}

func clip(text string) string {
	const most = 60
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
