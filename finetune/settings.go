package finetune

import (
	"errors"
	"fmt"
	"math"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
)

// loraTargets are the matrices that can have adapters.
var loraTargets = []string{"c_attn", "c_proj", "c_fc", "attn.c_proj", "mlp.c_proj"}

// Auto asks for a value that depends on the model or the data.
const Auto = -1

// Settings are what a recipe (finetune.toml) and the overrides on the command
// line can say. The keys are the tags; those of LoRA begin with "lora.".
type Settings struct {
	Model     string   `toml:"model" about:"the model to begin with: demo, a folder, a .gguf file, or a Hub id"`
	Data      []string `toml:"data" about:"files, folders and patterns of texts to learn from"`
	Out       string   `toml:"out" about:"the folder to write to"`
	Init      string   `toml:"init" about:"a config.json: train a new model of that shape from nothing"`
	Tokenizer string   `toml:"tokenizer" about:"of a new model: a folder, or bytes"`
	Precision string   `toml:"precision" about:"fp32, bf16 or fp16"`

	Validation     float64  `toml:"validation" about:"share of the texts that is held out to evaluate on"`
	ValidationData []string `toml:"validation_data" about:"files to evaluate on, instead of a share"`
	Clean          []string `toml:"clean" about:"cleaning steps to switch on, beside the usual ones"`
	NoClean        []string `toml:"no_clean" about:"cleaning steps to switch off, or all"`
	Encoding       string   `toml:"encoding" about:"of the texts: utf-8, replace (what is not), or windows-1252"`
	Column         string   `toml:"column" about:"the column or field that holds the text, if it has an unusual name"`
	Whole          bool     `toml:"whole" about:"do not cut a text that fits into a row"`

	Steps      int     `toml:"steps" about:"optimizer steps; 0: as many as epochs takes"`
	Epochs     float64 `toml:"epochs" about:"times that the texts are read, if steps is 0"`
	Batch      int     `toml:"batch" about:"rows that are computed at once"`
	Accumulate int     `toml:"accumulate" about:"batches per optimizer step"`
	Context    int     `toml:"context" about:"tokens in a row; 0: 256, or what the model has if that is less"`

	LR          float64 `toml:"lr" about:"learning rate; 0: 5e-5, with LoRA 2e-4, from nothing 1e-3"`
	MinLR       float64 `toml:"min_lr" about:"learning rate at the end of the schedule"`
	Schedule    string  `toml:"schedule" about:"of the learning rate after the warm-up: cosine, linear or constant"`
	Warmup      int     `toml:"warmup" about:"steps in which the learning rate grows; -1: a tenth of the steps, at most 100"`
	WeightDecay float64 `toml:"weight_decay" about:"per step, times the learning rate (not of biases and norms)"`
	Beta1       float64 `toml:"beta1" about:"AdamW: memory of the mean"`
	Beta2       float64 `toml:"beta2" about:"AdamW: memory of the variance"`
	Epsilon     float64 `toml:"epsilon" about:"AdamW: added to the deviation"`
	Clip        float64 `toml:"clip" about:"largest norm of the gradient; 0: any"`

	Dropout       float64  `toml:"dropout" about:"share of activations set to zero"`
	Freeze        []string `toml:"freeze" about:"tensors that stay as they are: names, or patterns such as wte.* and h.0.*"`
	Checkpointing bool     `toml:"checkpointing" about:"compute activations twice instead of keeping them"`
	Seed          int      `toml:"seed" about:"of the order of rows, dropout, new weights and samples"`

	EvalEvery     int      `toml:"eval_every" about:"steps between evaluations; -1: ten times in all, 0: never"`
	EvalRows      int      `toml:"eval_rows" about:"rows to evaluate on; 0: all that are held out"`
	SampleEvery   int      `toml:"sample_every" about:"steps between samples of text; -1: with the evaluations, 0: never"`
	SamplePrompts []string `toml:"sample_prompts" about:"beginnings of the samples"`
	SampleTokens  int      `toml:"sample_tokens" about:"length of a sample"`
	SaveEvery     int      `toml:"save_every" about:"steps between checkpoints; -1: ten times in all, 0: at the end"`
	Keep          int      `toml:"keep" about:"checkpoints to keep, beside the best one"`
	Patience      int      `toml:"patience" about:"stop after so many evaluations that were no better than the best; 0: never"`
	Export        string   `toml:"export" about:"the weights of the finished model: those of the best evaluation, or the last ones"`
	Spike         string   `toml:"spike" about:"what follows a sudden rise of the loss: off, warn, stop or rollback"`
	SpikeZ        float64  `toml:"spike_z" about:"how many deviations of the last 128 losses above their mean that is"`

	LoRA LoRA `toml:"lora"`
}

// LoRA are the settings of low-rank adapters (Hu et al. 2021, "LoRA: Low-Rank
// Adaptation of Large Language Models").
type LoRA struct {
	Rank    int      `toml:"rank" about:"train additions of this rank instead of the model; 0: the model itself"`
	Alpha   float64  `toml:"alpha" about:"their scale is alpha/rank; 0: twice the rank"`
	Targets []string `toml:"targets" about:"the matrices: c_attn, attn.c_proj, c_fc, mlp.c_proj"`
	Merge   bool     `toml:"merge" about:"add them to the weights at the end, or else keep them as an adapter"`
}

// Defaults returns the settings of a recipe that says nothing.
func Defaults() Settings {
	return Settings{
		Model: "gpt2", Precision: "fp32",
		Validation: 0.05, Encoding: "utf-8",
		Epochs: 1, Batch: 4, Accumulate: 1,
		Schedule: "cosine", Warmup: Auto, WeightDecay: 0.01, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, Clip: 1,
		Seed: 1, EvalEvery: Auto, EvalRows: 64, SampleEvery: Auto, SamplePrompts: []string{""}, SampleTokens: 64,
		SaveEvery: Auto, Keep: 2, Export: "best", Spike: "warn", SpikeZ: 8,
		LoRA: LoRA{Targets: []string{"c_attn"}, Merge: true},
	}
}

// leastEpsilon is AdamW's smallest: with less, a gradient whose square is nothing in
// float32 makes a step of any size, and one that is nothing itself makes NaN of a weight.
const leastEpsilon = 1e-20

// number writes whole numbers without an exponent.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return fmt.Sprint(v)
}

// SettingError is a setting with a value that makes no sense.
type SettingError struct {
	Key  string
	Got  any
	Want string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s is %v, want %s", e.Key, e.Got, e.Want)
}

// Choices are the values of the keys that take one of a few words.
func Choices() map[string][]string {
	return map[string][]string{
		"precision": {"fp32", "bf16", "fp16"},
		"schedule":  {"cosine", "linear", "constant"},
		"export":    {"best", "last"},
		"encoding":  {"utf-8", "replace", "windows-1252"},
		"spike":     {"off", "warn", "stop", "rollback"},
	}
}

// Validate reports the first *SettingError.
func (s Settings) Validate() error {
	for _, f := range fieldsOf(&s) {
		v := f.value
		if v.Kind() == reflect.Float64 && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)) {
			return &SettingError{f.key, v.Float(), "a finite number"}
		}
		if words := Choices()[f.key]; words != nil && !slices.Contains(words, v.String()) {
			return &SettingError{f.key, fmt.Sprintf("%q", v.String()), oneOf(words)}
		}
	}
	const most = 1 << 30
	for _, r := range []struct {
		key           string
		v, least, top float64
	}{
		{"steps", float64(s.Steps), 0, most}, {"epochs", s.Epochs, 0, 1e6}, {"batch", float64(s.Batch), 1, 1 << 16},
		{"accumulate", float64(s.Accumulate), 1, 1 << 16}, {"context", float64(s.Context), 0, 1 << 20},
		{"lr", s.LR, 0, math.MaxFloat64}, {"min_lr", s.MinLR, 0, math.MaxFloat64}, {"warmup", float64(s.Warmup), Auto, most},
		{"weight_decay", s.WeightDecay, 0, 1e6}, {"epsilon", s.Epsilon, leastEpsilon, 1}, {"clip", s.Clip, 0, math.MaxFloat64},
		{"seed", float64(s.Seed), 0, math.MaxInt64},
		{"eval_every", float64(s.EvalEvery), Auto, most}, {"eval_rows", float64(s.EvalRows), 0, most},
		{"sample_every", float64(s.SampleEvery), Auto, most}, {"sample_tokens", float64(s.SampleTokens), 1, 1 << 20},
		{"save_every", float64(s.SaveEvery), Auto, most}, {"keep", float64(s.Keep), 1, most}, {"patience", float64(s.Patience), 0, most},
		{"spike_z", s.SpikeZ, 1, 1e6}, {"lora.rank", float64(s.LoRA.Rank), 0, 1 << 16}, {"lora.alpha", s.LoRA.Alpha, 0, 1e6},
	} {
		if r.v < r.least || r.v > r.top {
			want := "at least " + number(r.least)
			if r.v > r.top {
				want = "at most " + number(r.top)
			}
			return &SettingError{r.key, number(r.v), want}
		}
	}
	for _, r := range []struct {
		key string
		v   float64
	}{{"validation", s.Validation}, {"dropout", s.Dropout}, {"beta1", s.Beta1}, {"beta2", s.Beta2}} {
		if r.v < 0 || r.v >= 1 {
			return &SettingError{r.key, r.v, "a number from 0 to below 1"}
		}
	}
	for _, t := range s.LoRA.Targets {
		if !slices.Contains(loraTargets, t) {
			return &SettingError{"lora.targets", fmt.Sprintf("%q", t), oneOf(loraTargets)}
		}
	}
	for _, p := range s.Freeze {
		if _, err := path.Match(p, ""); err != nil {
			return &SettingError{"freeze", fmt.Sprintf("%q", p), "names or patterns, such as wte.weight or h.0.*"}
		}
	}
	steps := append(clean.Names(), "all")
	for i, list := range [][]string{s.Clean, s.NoClean} {
		for _, id := range list {
			if !slices.Contains(steps, id) {
				return &SettingError{[]string{"clean", "no_clean"}[i], fmt.Sprintf("%q", id), "cleaning steps: " + oneOf(steps)}
			}
		}
	}
	switch {
	case s.Steps == 0 && s.Epochs == 0:
		return &SettingError{"epochs", s.Epochs, "more than 0, or steps"}
	case s.LR > 0 && s.MinLR > s.LR:
		return &SettingError{"min_lr", s.MinLR, fmt.Sprintf("at most lr, %v", s.LR)}
	case s.LoRA.Rank > 0 && len(s.LoRA.Targets) == 0:
		return &SettingError{"lora.targets", "empty", "at least one matrix, such as c_attn"}
	}
	return nil
}

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// maxLR is what no training with AdamW survives: a step moves every weight by
// about the learning rate, and the weights of a GPT-2 are around 0.1.
const maxLR = 1

// errLR is a learning rate that can only destroy the model.
func (s Settings) errLR() error {
	if s.LR > maxLR {
		return fmt.Errorf("a learning rate of %v would destroy the model in its first step: use 1e-5 to 1e-3", s.LR)
	}
	return nil
}

// Idle says which settings do nothing beside the others: nobody writes those by
// intent.
func (s Settings) Idle() (notes []string) {
	auto := Defaults()
	if s.LoRA.Rank == 0 && !reflect.DeepEqual(s.LoRA, auto.LoRA) {
		notes = append(notes, "lora.rank is 0, so the whole model is trained, and the other settings of lora do nothing")
	}
	evaluates := s.EvalEvery != 0 && (s.Validation > 0 || len(s.ValidationData) > 0)
	if s.Patience > 0 && !evaluates {
		notes = append(notes, "nothing is held out or evaluated, so patience does nothing")
	}
	return notes
}

// ForModel fills in what depends on the model: context and lr. positions is the
// longest row that it takes; fresh says that it is trained from nothing.
func (s Settings) ForModel(positions int, fresh bool) (Settings, error) {
	if err := s.Validate(); err != nil {
		return s, err
	}
	if s.Context == 0 {
		s.Context = min(256, positions)
	}
	if s.Context > positions {
		return s, &SettingError{"context", s.Context, fmt.Sprintf("at most the model's %d positions", positions)}
	}
	if s.LR == 0 {
		switch {
		case s.LoRA.Rank > 0:
			s.LR = 2e-4
		case fresh:
			s.LR = 1e-3
		default:
			s.LR = 5e-5
		}
		s.LR = max(s.LR, s.MinLR)
	}
	if s.LoRA.Rank > 0 && s.LoRA.Alpha == 0 {
		s.LoRA.Alpha = float64(2 * s.LoRA.Rank)
	}
	return s, s.errLR()
}

// ForData fills in what depends on the texts: steps, warmup and the intervals.
// rows is how many rows of the context there are to train on.
func (s Settings) ForData(rows int) (Settings, error) {
	if rows < 1 {
		return s, errors.New("there is no text to train on")
	}
	if s.Steps == 0 {
		steps := math.Ceil(s.Epochs * float64(rows) / float64(s.Batch*s.Accumulate))
		if steps > 1<<30 {
			return s, &SettingError{"epochs", s.Epochs, "fewer, it makes more than 2^30 steps"}
		}
		s.Steps = max(1, int(steps))
	}
	if s.Warmup == Auto {
		s.Warmup = min(100, s.Steps/10)
	}
	tenth := max(1, (s.Steps+9)/10)
	if s.EvalEvery == Auto {
		s.EvalEvery = tenth
	}
	if s.SampleEvery == Auto {
		s.SampleEvery = s.EvalEvery
	}
	if s.SaveEvery == Auto {
		s.SaveEvery = tenth
	}
	if s.Warmup > s.Steps {
		return s, &SettingError{"warmup", s.Warmup, fmt.Sprintf("at most the %d steps", s.Steps)}
	}
	return s, nil
}
