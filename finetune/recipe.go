package finetune

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// field is one setting of a Settings.
type field struct {
	key, about string
	value      reflect.Value
}

// fieldsOf lists the settings in the order of the struct.
func fieldsOf(s *Settings) []field { return appendFields(nil, "", reflect.ValueOf(s).Elem()) }

func appendFields(list []field, prefix string, v reflect.Value) []field {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct {
			list = appendFields(list, key+".", v.Field(i))
			continue
		}
		list = append(list, field{key, f.Tag.Get("about"), v.Field(i)})
	}
	return list
}

// Keys lists the names of all settings.
func Keys() []string {
	var keys []string
	for _, f := range fieldsOf(new(Settings)) {
		keys = append(keys, f.key)
	}
	return keys
}

// UnknownKeyError is a key that no setting has.
type UnknownKeyError struct {
	Where string // "finetune.toml:7", "" on the command line
	Key   string
	Near  string // the key that it may have been meant to be, or ""
}

func (e *UnknownKeyError) Error() string {
	text := fmt.Sprintf("there is no setting %q", e.Key)
	if e.Where != "" {
		text = e.Where + ": " + text
	}
	if e.Near != "" {
		text += fmt.Sprintf(", did you mean %q?", e.Near)
	}
	return text
}

// ParseRecipe applies a finetune.toml to s. path is for the messages, which name
// the line; all keys that no setting has are reported, each as an
// *UnknownKeyError in a joined error.
func ParseRecipe(s *Settings, path string, data []byte) error {
	next := s.clone()
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // of an editor on Windows
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := d.Decode(&next)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case err == nil:
		*s = next
		return nil
	case errors.As(err, &unknown):
		var all []error
		for _, u := range unknown.Errors {
			row, _ := u.Position()
			key := strings.Join(u.Key(), ".")
			all = append(all, &UnknownKeyError{fmt.Sprintf("%s:%d", path, row), key, nearest(key)})
		}
		return errors.Join(all...)
	case errors.As(err, &syntax):
		row, col := syntax.Position()
		text := strings.TrimPrefix(syntax.Error(), "toml: ")
		key := strings.Join(syntax.Key(), ".")
		if strings.Contains(text, "already") {
			text = fmt.Sprintf("%s is there twice", key)
		} else if slices.Contains(Keys(), key) {
			text = fmt.Sprintf("%s: want %s", key, wanted(s.lookup(key).value))
		} else if strings.Contains(text, "cannot decode") || strings.Contains(text, "cannot store") { // in Go's words
			text = "the value has another type than the setting takes"
		}
		return fmt.Errorf("%s:%d:%d: %s", path, row, col, text)
	}
	return fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "toml: "))
}

// RecipeLine is the line of a recipe that has a setting, 0 if none has.
func RecipeLine(data []byte, key string) int {
	table, n := "", 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = strings.TrimSpace(strings.Trim(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]), "[]")) + "."
			continue
		}
		if name, _, ok := strings.Cut(line, "="); ok && table+strings.Trim(strings.TrimSpace(name), `"'`) == key {
			return n
		}
	}
	return 0
}

// Override applies one "key=value". Text needs no quotes; lists are separated by
// commas, or as in TOML.
func Override(s *Settings, word string) error {
	key, text, ok := strings.Cut(word, "=")
	if !ok {
		return fmt.Errorf("%q: want key=value, such as steps=100", word)
	}
	key, text = strings.TrimSpace(key), strings.TrimSpace(text)
	f := s.lookup(key)
	if f == nil {
		return &UnknownKeyError{"", key, nearest(key)}
	}
	wrong := &SettingError{key, fmt.Sprintf("%q", text), wanted(f.value)}
	switch v := f.value; v.Kind() {
	case reflect.String:
		v.SetString(unquote(text))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return wrong
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			// 1e3 is a whole number too.
			x, err := strconv.ParseFloat(text, 64)
			if err != nil || x != float64(int64(x)) {
				return wrong
			}
			n = int64(x)
		}
		v.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return wrong
		}
		v.SetFloat(x)
	case reflect.Slice:
		list := []string{}
		if strings.HasPrefix(text, "[") {
			var in struct{ V []string }
			if toml.Unmarshal([]byte("V = "+text), &in) != nil {
				return wrong
			}
			list = append(list, in.V...)
		} else if text != "" {
			for part := range strings.SplitSeq(text, ",") {
				list = append(list, unquote(strings.TrimSpace(part)))
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		panic("finetune: a setting of kind " + v.Kind().String())
	}
	return nil
}

func unquote(text string) string {
	if n := len(text); n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}

// wanted says what a setting takes.
func wanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list of texts"
	}
	return "a text"
}

func (s *Settings) lookup(key string) *field {
	for _, f := range fieldsOf(s) {
		if f.key == key {
			return &f
		}
	}
	return nil
}

// clone copies the lists too.
func (s *Settings) clone() Settings {
	c := *s
	for _, f := range fieldsOf(&c) {
		if f.value.Kind() == reflect.Slice {
			f.value.Set(reflect.ValueOf(slices.Clone(f.value.Interface().([]string))))
		}
	}
	return c
}

// TOML returns the settings as a recipe, with what each one means.
func (s Settings) TOML() []byte {
	var b bytes.Buffer
	table := ""
	for _, f := range fieldsOf(&s) {
		name := f.key
		if prefix, rest, ok := strings.Cut(f.key, "."); ok {
			if prefix != table {
				fmt.Fprintf(&b, "\n[%s]\n", prefix)
				table = prefix
			}
			name = rest
		}
		value := f.value.Interface()
		if list, ok := value.([]string); ok && list == nil {
			value = []string{}
		}
		line, err := toml.Marshal(map[string]any{name: value})
		if err != nil {
			panic(err) // texts, numbers, and lists of texts
		}
		fmt.Fprintf(&b, "# %s\n%s", f.about, line)
	}
	return b.Bytes()
}

// nearest returns the key that differs least from the one given, "" if all
// differ in more than about a third of it.
func nearest(key string) string {
	key = strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	best, least := "", 1+max(1, (len(key)+1)/3)
	for _, k := range Keys() {
		d := distance(key, k)
		if i := strings.LastIndexByte(k, '.'); i >= 0 { // rank for lora.rank
			d = min(d, 1+distance(key, k[i+1:]))
		}
		if d < least {
			best, least = k, d
		}
	}
	if known, ok := foreign[key]; ok && best == "" {
		return known
	}
	return best
}

// foreign are names that other programs have for our settings.
var foreign = map[string]string{
	"learning_rate": "lr", "batch_size": "batch", "per_device_train_batch_size": "batch", "micro_batch_size": "batch",
	"gradient_accumulation_steps": "accumulate", "max_steps": "steps", "max_iters": "steps", "num_train_epochs": "epochs",
	"warmup_steps": "warmup", "warmup_iters": "warmup", "lr_scheduler_type": "schedule", "grad_clip": "clip", "max_grad_norm": "clip",
	"block_size": "context", "seq_len": "context", "max_seq_length": "context", "save_total_limit": "keep", "save_steps": "save_every",
	"eval_steps": "eval_every", "eval_interval": "eval_every", "gradient_checkpointing": "checkpointing",
	"early_stopping_patience": "patience", "lora_r": "lora.rank", "lora_alpha": "lora.alpha", "target_modules": "lora.targets",
	"lora_target_modules": "lora.targets", "dataset": "data", "datasets": "data", "train_file": "data", "data_files": "data",
	"output_dir": "out", "out_dir": "out", "model_name_or_path": "model", "base_model": "model", "checkpoint": "model", "init_from": "model",
	"dtype": "precision", "fp16": "precision", "bf16": "precision", "mixed_precision": "precision", "sequence_len": "context", "max_seq_len": "context",
	"num_epochs": "epochs", "val_set_size": "validation", "eval_iters": "eval_rows", "gradient_clip_val": "clip", "lr_scheduler": "schedule",
	"activation_checkpointing": "checkpointing", "adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "epsilon", "text_column": "column",
}

// distance counts the insertions, deletions and replacements between two words
// (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// loose are the settings that do not decide about the weights: a resumed run
// may have others.
var loose = []string{
	"model", "init", "tokenizer", "data", "validation_data", // there is a hash of what they hold
	"out", "eval_every", "eval_rows", "sample_every", "sample_prompts", "sample_tokens", "save_every", "keep", "patience", "export",
	"spike", "spike_z",
}

// ChangedError says that a run cannot be resumed with another value of a setting.
type ChangedError struct {
	Key      string
	Was, Now any
}

func (e *ChangedError) Error() string {
	word := func(v any) string {
		if text, ok := v.(string); ok && text == "" {
			return "nothing"
		}
		if list, ok := v.([]string); ok {
			if len(list) == 0 {
				return "nothing"
			}
			return strings.Join(list, ",")
		}
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%s is %s, but the run to resume has %s", e.Key, word(e.Now), word(e.Was))
}

// Resumed returns the settings of a run that goes on: those it was begun with,
// and of the wanted ones those that may change. wanted is what the user asks for
// now, applied to was. It fails with a *ChangedError.
func Resumed(was, wanted Settings) (Settings, error) {
	auto := Defaults()
	autos := fieldsOf(&auto)
	before := fieldsOf(&was)
	wanted = wanted.clone()
	for i, f := range fieldsOf(&wanted) {
		old := before[i].value
		if reflect.DeepEqual(f.value.Interface(), old.Interface()) || f.value.Kind() == reflect.Slice && f.value.Len() == 0 && old.Len() == 0 {
			continue
		}
		switch {
		case isAuto(f, autos[i]):
			f.value.Set(old)
		case slices.Contains(loose, f.key), f.key == "steps" && was.Schedule == "constant":
		default:
			return was, &ChangedError{f.key, old.Interface(), f.value.Interface()}
		}
	}
	return wanted, nil
}

// isAuto reports whether a setting asks for what ForModel and ForData chose.
func isAuto(f, byDefault field) bool {
	switch f.key {
	case "steps", "context", "lr", "lora.alpha", "warmup", "eval_every", "sample_every", "save_every":
		return reflect.DeepEqual(f.value.Interface(), byDefault.value.Interface())
	}
	return false
}
