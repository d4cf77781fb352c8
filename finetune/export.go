package finetune

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
)

// export writes the finished model into OUT, each file at once. The model card
// comes last: where it is, the model is whole.
func (l *loop) export(r Result) error {
	s := l.Settings
	files := make(map[string][]byte, len(l.Files)+1)
	for name, data := range l.Files {
		files[name] = data
	}
	name, weights := weightsName, []safetensors.Named(nil)
	if l.Adapter != nil {
		name, weights = adapterName, l.Trainer.State().Weights
		files = map[string][]byte{"adapter_config.json": l.Adapter}
	} else {
		var err error
		if weights, err = l.Trainer.Weights(); err != nil {
			return err
		}
	}
	if err := l.disk.replace(filepath.Join(s.Out, name), func(w io.Writer) error {
		return safetensors.Write(w, weights, map[string]string{"format": "pt"})
	}); err != nil {
		return err
	}
	for name, data := range files {
		if err := l.disk.replaceBytes(filepath.Join(s.Out, name), data); err != nil {
			return err
		}
	}
	return l.disk.replaceBytes(filepath.Join(s.Out, "README.md"), l.card(r))
}

// generationConfig is the generation_config.json of a model that has none: as
// transformers makes it of the config.json.
func generationConfig(c gpt2.Config) []byte {
	fields := map[string]any{"_from_model_config": true}
	if c.BOS >= 0 {
		fields["bos_token_id"] = c.BOS
	}
	if len(c.EOS) == 1 {
		fields["eos_token_id"] = c.EOS[0]
	} else if len(c.EOS) > 1 {
		fields["eos_token_id"] = c.EOS
	}
	if c.PAD >= 0 {
		fields["pad_token_id"] = c.PAD
	}
	text, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		panic(err) // numbers
	}
	return append(text, '\n')
}

// card describes the model in the form of the Hub: YAML for its search, then
// text.
func (l *loop) card(r Result) []byte {
	s := l.Settings
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("---")
	if l.License != "" {
		p("license: %s", l.License)
	}
	if l.Model != "" && s.Init == "" && !strings.ContainsAny(l.Model, ":#'\"\n\\") {
		p("base_model: %s", l.Model)
	}
	p("pipeline_tag: text-generation")
	p("library_name: %s", map[bool]string{true: "peft", false: "transformers"}[l.Adapter != nil])
	p("tags:\n- gpt2\n- gptctl\n---\n")
	p("# %s\n", filepath.Base(filepath.Clean(s.Out)))
	switch {
	case s.Init != "":
		p("A GPT-2 of %d parameters, trained from nothing with gptctl.\n", l.Parameters)
	case s.LoRA.Rank > 0:
		p("%s, fine-tuned with gptctl: low-rank additions of rank %d to %s.\n", code(l.Model), s.LoRA.Rank, strings.Join(s.LoRA.Targets, ", "))
	default:
		p("%s, fine-tuned with gptctl; %d parameters.\n", code(l.Model), l.Parameters)
	}
	p("| | |\n|---|---|")
	p("| steps | %d of %d%s |", r.Steps, s.Steps, map[bool]string{true: ", stopped early"}[r.Early])
	p("| tokens | %d |", r.Tokens)
	p("| loss of the last step | %.4f |", r.Loss)
	if r.BestStep > 0 {
		p("| best loss on held-out text | %.4f, at step %d |", r.BestLoss, r.BestStep)
	}
	p("| these weights | those of step %d |", r.Exported)
	p("| data | %s |", code(l.Data.Hash()))
	if l.ModelHash != "" {
		p("| begun with | %s |", code(l.ModelHash))
	}
	p("\nThe settings, as `gptctl finetune --recipe` takes them:\n")
	p("```toml\n%s```", l.Settings.cardTOML())
	return b.Bytes()
}

// cardTOML leaves out where things lay on the machine that trained.
func (s Settings) cardTOML() []byte {
	s.Out, s.Init, s.Tokenizer = "", filepath.Base(s.Init), filepath.Base(s.Tokenizer)
	if s.Init == "." {
		s.Init = ""
	}
	if s.Tokenizer == "." {
		s.Tokenizer = ""
	}
	s.Data = slices.Clone(s.Data)
	for i, d := range s.Data {
		s.Data[i] = filepath.Base(d)
	}
	if filepath.IsAbs(s.Model) {
		s.Model = filepath.Base(s.Model)
	}
	return s.TOML()
}

// code quotes a text in Markdown.
func code(text string) string {
	return "`" + strings.NewReplacer("`", "'", "\n", " ", "|", "/").Replace(text) + "`"
}
