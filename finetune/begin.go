package finetune

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/finetune/corpus"
	"github.com/gptctl/gptctl/finetune/corpus/clean"
	"github.com/gptctl/gptctl/finetune/corpus/source"
	"github.com/gptctl/gptctl/internal/convert"
	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
	"github.com/gptctl/gptctl/run"
)

// Options are a fine-tuning from the files on. The zero value of a function
// stands for one that does nothing.
type Options struct {
	Settings Settings // as the user gave them; with Resume upon those of LastSettings
	Resume   bool
	Force    bool
	Threads  int    // 0: one per physical core
	Family   string // of kernels; "": the best this CPU has
	CacheDir string // for the tokens of the texts; "": they are made anew each time
	Getenv   func(string) string

	Free   func() (bytes int64, ok bool) // memory; asked once
	Corpus func(corpus.Progress)
	// Ready is called when all is open and nothing has begun.
	Ready  func(Plan)
	Events func(Event)
}

// Plan says what is about to be done.
type Plan struct {
	Settings   Settings // complete
	Parameters int
	Memory     fit.Memory // as estimated
	Corpus     *corpus.Report
	Threads    int
	Family     string
}

// ErrNoData says that no texts were named.
var ErrNoData = errors.New("there is no text to train on: data is empty")

// TooLittleError says that the texts to train on do not fill a single row.
type TooLittleError struct {
	Tokens  int64
	Context int
}

func (e *TooLittleError) Error() string {
	return fmt.Sprintf("the texts are too little to learn from: %d tokens to train on, and one row has %d", e.Tokens, e.Context)
}

// Run opens the model and the texts, and trains. Beside Train's its errors are
// a *ModelError, corpus.Open's, a *MemoryError, and ErrNoData.
func Run(ctx context.Context, o Options) (result Result, err error) {
	err = mapped.Readable(func() error { // the model to begin with
		result, err = start(ctx, o)
		return err
	})
	return result, err
}

func start(ctx context.Context, o Options) (Result, error) {
	s := o.Settings
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if err := errors.Join(s.Validate(), s.errLR()); err != nil {
		return Result{}, err
	}
	if len(s.Data) == 0 {
		return Result{}, ErrNoData
	}
	if err := errors.Join(checkBusy(s.Out), CheckOut(s.Out, "", o.Resume, o.Force)); err != nil {
		var busy *BusyError
		if errors.As(err, &busy) {
			err = busy // that it holds something is no news then
		}
		return Result{}, err
	}
	if o.Resume {
		_, was, err := newest(s.Out)
		if err == nil {
			s, err = Resumed(was.Settings, s)
		}
		if err != nil {
			return Result{}, err
		}
	}
	files, path, err := openModel(s, o.Getenv)
	if err != nil {
		return Result{}, err
	}
	defer files.Close()
	if err := CheckOut(s.Out, path, o.Resume, o.Force); err != nil {
		return Result{}, err
	}
	lock, err := lockOut(s.Out)
	if err != nil {
		return Result{}, err
	}
	defer lock.release()
	if name, index, bad := files.Weights.FindNonFinite(); bad {
		return Result{}, fmt.Errorf("%s is damaged: element %d of %s is not a finite number", s.Model, index, name)
	}
	if s, err = s.ForModel(files.Config.Positions, s.Init != ""); err != nil {
		return Result{}, err
	}
	frozen, err := s.frozen(files)
	if err != nil {
		return Result{}, err
	}
	cpus, err := kernel.New(kernel.Options{Threads: o.Threads, Family: o.Family})
	if err != nil {
		return Result{}, err
	}
	defer cpus.Close()

	w := workOn(cpus, files, s, frozen)
	plan := Plan{Parameters: files.Config.Parameters(), Threads: cpus.Threads(), Family: cpus.Family(), Memory: fit.Estimate(w)}
	if o.Free != nil {
		if free, ok := o.Free(); ok {
			if _, err := CheckMemory(s, w, free); err != nil {
				return Result{}, err
			}
		}
	}
	texts, err := openCorpus(ctx, s, files, o)
	if err != nil {
		return Result{}, err
	}
	defer texts.Close()
	rows, err := packRows(texts, s)
	if err != nil {
		return Result{}, err
	}
	if n := texts.Report().Train.Tokens; n < int64(s.Context) {
		return Result{}, &TooLittleError{Tokens: n, Context: s.Context}
	}
	if s, err = s.ForData(rows.TrainRows()); err != nil {
		return Result{}, err
	}
	plan.Settings, plan.Corpus = s, texts.Report()

	j := Job{
		Settings: s, Data: rows, Model: s.Model, ModelHash: hashModel(files), Source: path, Parameters: plan.Parameters,
		Events: o.Events, Resume: o.Resume, Force: o.Force, OldHash: "sha256:" + texts.Key(), lock: lock,
	}
	if j.Files, err = convert.Beside(files, tensor.F32); err != nil {
		return Result{}, err
	}
	if j.Files["generation_config.json"] == nil {
		j.Files["generation_config.json"] = generationConfig(files.Config)
	}
	if s.Init != "" {
		j.Model = "a new model"
	} else {
		j.Vocabulary = files.Config.VocabSize
		delete(j.Files, "README.md") // which speaks of another model
	}
	if s.LoRA.Rank > 0 && !s.LoRA.Merge {
		j.Adapter = adapterConfig(s)
	}
	device := cpu.New(cpus, cpu.Options{})
	defer device.Close()
	trainer, err := newTrainer(device, files, s)
	if err != nil {
		return Result{}, err
	}
	j.Trainer = cpuTrainer{trainer}
	j.Sample = sampler(cpus, files, trainer)
	if s.Init == "" {
		// All has been read. The trainer has copies of what it trains, and what is frozen
		// comes back as it is used.
		files.ForgetAll()
	}
	if s.Init != "" {
		files.Weights = nil  // the trainer has its own
		debug.FreeOSMemory() // nothing else would collect them for long
	}
	if o.Ready != nil {
		o.Ready(plan)
	}
	return Train(ctx, j)
}

// ModelError says that the model to begin with could not be opened; it wraps
// run.OpenFiles' error.
type ModelError struct{ Err error }

func (e *ModelError) Error() string { return e.Err.Error() }
func (e *ModelError) Unwrap() error { return e.Err }

// frozen counts the numbers that freeze keeps as they are, and finds settings that
// no tensor of the model goes with, before the texts are read.
func (s Settings) frozen(m *modelfiles.Model) (numbers int, err error) {
	if s.LoRA.Rank > m.Config.Embd {
		return 0, &SettingError{"lora.rank", s.LoRA.Rank, fmt.Sprintf("at most the model's width, %d", m.Config.Embd)}
	}
	left := 0
	matched := make(map[string]bool)
	for name, t := range m.Weights.Tensors() {
		frozen := s.LoRA.Rank > 0
		for _, p := range s.Freeze {
			if ok, _ := path.Match(p, name); ok {
				matched[p], frozen = true, true
			}
		}
		if frozen {
			numbers += t.Len()
		} else {
			left++
		}
	}
	for _, p := range s.Freeze {
		if !matched[p] {
			return 0, &SettingError{fmt.Sprintf("freeze %q", p), "no tensor of the model", "names or patterns such as wte.weight, h.0.* or h.*.ln_*"}
		}
	}
	if left == 0 && s.LoRA.Rank == 0 {
		return 0, &SettingError{"freeze", strings.Join(s.Freeze, ","), "something that is left to train"}
	}
	return numbers, nil
}

func openModel(s Settings, getenv func(string) string) (*modelfiles.Model, string, error) {
	if s.Init != "" {
		m, err := newModel(s)
		return m, "", err
	}
	m, path, err := run.OpenFiles(s.Model, getenv)
	if err != nil {
		return nil, "", &ModelError{err}
	}
	return m, path, nil
}

func openCorpus(ctx context.Context, s Settings, files *modelfiles.Model, o Options) (*corpus.Data, error) {
	steps, err := clean.Choose(s.Clean, s.NoClean)
	if err != nil {
		return nil, err
	}
	options := corpus.Options{
		Paths: s.Data, Validation: s.ValidationData, Leave: []string{s.Out}, Read: source.Options{Encoding: s.Encoding, Column: s.Column},
		Steps: steps, Tokenizer: files.Tokenizer, Split: corpus.Split{Share: s.Validation, Seed: uint64(s.Seed)},
		CacheDir: o.CacheDir, Progress: o.Corpus,
	}
	if len(s.ValidationData) > 0 {
		options.Split.Share = 0
	}
	return corpus.Open(ctx, options)
}

// corpusRows is a corpus as Data.
type corpusRows struct {
	texts        *corpus.Data
	train, valid *corpus.Rows
	seed         uint64
}

func packRows(texts *corpus.Data, s Settings) (corpusRows, error) {
	p := corpus.Packing{Context: s.Context, Cross: -1, Whole: s.Whole}
	r := corpusRows{texts: texts, seed: uint64(s.Seed)}
	var err error
	if r.train, err = texts.Train(p); err == nil {
		r.valid, err = texts.Validation(p)
	}
	return r, err
}

func (r corpusRows) TrainRows() int { return r.train.Len() }
func (r corpusRows) ValidRows() int { return r.valid.Len() }
func (r corpusRows) Hash() string   { return "sha256:" + r.texts.Hash() }

func (r corpusRows) Train(first int64, n int) (Rows, error) {
	rows := newRows(n, r.train.Context())
	r.train.Batch(r.seed, first, rows.Tokens, rows.Labels)
	return rows, nil
}

func (r corpusRows) Valid(first, n int) (Rows, error) {
	c := r.valid.Context()
	rows := newRows(n, c)
	for i := range n {
		r.valid.Row(first+i, rows.Tokens[i*c:(i+1)*c], rows.Labels[i*c:(i+1)*c])
	}
	return rows, nil
}

func newRows(n, context int) Rows {
	return Rows{Tokens: make([]int32, n*context), Labels: make([]int32, n*context), Rows: n}
}

func newTrainer(device train.Device, files *modelfiles.Model, s Settings) (*train.Trainer, error) {
	precision, err := train.ParsePrecision(s.Precision)
	if err != nil {
		return nil, err
	}
	return train.New(device, files.Config, files.Weights, train.Options{
		Precision: precision, Seed: uint64(s.Seed), Dropout: s.Dropout, Freeze: s.Freeze, Checkpointing: s.Checkpointing,
		LoRA: train.LoRA{Rank: s.LoRA.Rank, Alpha: s.LoRA.Alpha, Targets: s.LoRA.Targets},
	})
}

// cpuTrainer is package train's as this package wants it.
type cpuTrainer struct{ *train.Trainer }

func (t cpuTrainer) Step(ctx context.Context, rows []Rows, h Hyper, ready func() error) (Stats, error) {
	list := make([]train.Rows, len(rows))
	for i, r := range rows {
		list[i] = train.Rows(r)
	}
	st, err := t.Trainer.Step(ctx, list, train.Hyper(h), ready)
	return Stats{Loss: st.Loss, GradNorm: st.GradNorm, Scale: st.Scale, Skipped: st.Skipped, Bad: st.Bad}, err
}

func (t cpuTrainer) Evaluate(ctx context.Context, r Rows) (float64, int, error) {
	return t.Trainer.Evaluate(ctx, train.Rows(r))
}

func (t cpuTrainer) FirstNonFinite(ctx context.Context, r Rows) string {
	name, err := t.Trainer.FirstNonFinite(ctx, train.Rows(r))
	if err != nil {
		return "" // there is another error to report
	}
	return name
}

func (t cpuTrainer) State() State          { return State(t.Trainer.State()) }
func (t cpuTrainer) Restore(s State) error { return t.Trainer.Restore(train.State(s)) }

// sampler continues texts with the weights as they are. A float32 matrix is used
// where it lies, so that this takes no second copy.
func sampler(cpus *kernel.CPU, files *modelfiles.Model, t *train.Trainer) func(context.Context, string, int, uint64) (string, error) {
	return func(ctx context.Context, prompt string, tokens int, seed uint64) (string, error) {
		weights, err := t.Weights()
		if err != nil {
			return "", err
		}
		bound, err := gpt2.BindWeights(files.Config, named(weights))
		if err != nil {
			return "", err
		}
		device := cpu.New(cpus, cpu.Options{})
		defer device.Close()
		model, err := gpt2.New(device, files.Config, bound)
		if err != nil {
			return "", err
		}
		settings := run.Resolve(run.Layer{func(s *run.Settings) {
			s.MaxNewTokens, s.Seed = max(1, min(tokens, files.Config.Positions-1)), &seed
			s.ContextShift = true
		}})
		request := run.Request{Prompt: prompt, Settings: settings}
		if prompt == "" { // as the texts of a corpus begin, whatever the configuration says
			eos, _ := files.Tokenizer.EOS()
			request.IDs = []int{int(max(eos, 0))}
		}
		result, err := run.New(model, files.Tokenizer).Generate(ctx, request)
		if err != nil {
			return "", err
		}
		return result.Samples[0].Text, ctx.Err()
	}
}

// named is a list of tensors as gpt2.BindWeights wants them.
type named []safetensors.Named

func (n named) Names() []string {
	var names []string
	for _, t := range n {
		names = append(names, t.Name)
	}
	return names
}

func (n named) Tensor(name string) (tensor.Tensor, bool) {
	i := slices.IndexFunc(n, func(t safetensors.Named) bool { return t.Name == name })
	if i < 0 {
		return tensor.Tensor{}, false
	}
	return n[i].Tensor, true
}

// hashModel names a model by its configuration and all its weights.
func hashModel(m *modelfiles.Model) string {
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n", m.Config)
	all := maps.Collect(m.Weights.Tensors())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t := all[name]
		fmt.Fprintf(h, "%s %v %s\n", name, t.DType, t.ShapeString())
		h.Write(t.Data)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// adapterConfig is the adapter_config.json of peft.
func adapterConfig(s Settings) []byte {
	text, err := json.MarshalIndent(map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": s.Model, "inference_mode": true,
		"r": s.LoRA.Rank, "lora_alpha": s.LoRA.Alpha, "target_modules": s.LoRA.Targets, "lora_dropout": 0, "bias": "none", "fan_in_fan_out": true,
	}, "", "  ")
	if err != nil {
		panic(err) // texts and finite numbers
	}
	return append(text, '\n')
}

// Texts reads and cleans the texts of a training without training, and says
// what became of them.
func Texts(ctx context.Context, o Options) (*corpus.Report, error) {
	s := o.Settings
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if len(s.Data) == 0 {
		return nil, ErrNoData
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	files, _, err := openModel(s, o.Getenv)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	texts, err := openCorpus(ctx, s, files, o)
	if err != nil {
		var empty *corpus.EmptyError
		if errors.As(err, &empty) {
			return empty.Report, err
		}
		return nil, err
	}
	return texts.Report(), texts.Close()
}
