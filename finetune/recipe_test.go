package finetune

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRecipeOfWindows(t *testing.T) {
	s := Defaults()
	if err := ParseRecipe(&s, "r.toml", []byte("\ufeffsteps = 3\r\nlr = 1e-4\r\n")); err != nil || s.Steps != 3 || s.LR != 1e-4 {
		t.Errorf("%d steps, lr %v, %v", s.Steps, s.LR, err)
	}
}

func TestIdle(t *testing.T) {
	for words, want := range map[string]string{
		"": "", "lora.rank=2 lora.merge=false": "", "lora.merge=false": "lora.rank is 0", "lora.targets=c_fc lora.alpha=3": "lora.rank is 0",
		"patience=2": "", "patience=2 validation=0": "patience does nothing", "patience=2 eval_every=0": "patience does nothing",
		"patience=2 validation=0 validation_data=v.txt": "",
	} {
		s := Defaults()
		for _, w := range strings.Fields(words) {
			if err := Override(&s, w); err != nil {
				t.Fatal(err)
			}
		}
		if notes := strings.Join(s.Idle(), "; "); (notes == "") != (want == "") || !strings.Contains(notes, want) {
			t.Errorf("%s: %q", words, notes)
		}
	}
}

func TestParseRecipe(t *testing.T) {
	s := Defaults()
	err := ParseRecipe(&s, "finetune.toml", []byte(`
model = "distilgpt2"
data = ["a/*.txt", "b.jsonl"]
steps = 120
lr = 1e-4
checkpointing = true
[lora]
rank = 8
targets = ["c_attn", "mlp.c_proj"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Model, want.Data, want.Steps, want.LR, want.Checkpointing = "distilgpt2", []string{"a/*.txt", "b.jsonl"}, 120, 1e-4, true
	want.LoRA.Rank, want.LoRA.Targets = 8, []string{"c_attn", "mlp.c_proj"}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v\nwant %+v", s, want)
	}
}

func TestRecipeErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"steps = 5\nlearnin_rate = 1", `f.toml:2: there is no setting "learnin_rate"`},
		{"learning_rate = 1", `f.toml:1: there is no setting "learning_rate", did you mean "lr"?`},
		{"step = 1\n\n\nwarmpu = 3", `f.toml:1: there is no setting "step", did you mean "steps"?` + "\n" + `f.toml:4: there is no setting "warmpu", did you mean "warmup"?`},
		{"[lora]\nrnk = 8", `f.toml:2: there is no setting "lora.rnk", did you mean "lora.rank"?`},
		{"rank = 8", `f.toml:1: there is no setting "rank", did you mean "lora.rank"?`},
		{"xyzzy = 8", `f.toml:1: there is no setting "xyzzy"`},
		{"[optimizer]\nlr = 1", `f.toml:1: there is no setting "optimizer"`},
		{"steps = \"many\"", "f.toml:1:9: steps: want a whole number"},
		{"steps = 1.5", "f.toml:1:9: steps: want a whole number"},
		{"freeze = \"wte\"", "f.toml:1:10: freeze: want a list of texts"},
		{"steps = 1\nsteps = 2", "f.toml:"},
		{"steps 5", "f.toml:1:"},
		{"steps = 999999999999999999999", "f.toml:1:"},
	} {
		s := Defaults()
		err := ParseRecipe(&s, "f.toml", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
		if !reflect.DeepEqual(s, Defaults()) {
			t.Errorf("%q: a wrong recipe changed settings", c.text)
		}
	}
	var unknown *UnknownKeyError
	s := Defaults()
	if err := ParseRecipe(&s, "f.toml", []byte("stepz = 1")); !errors.As(err, &unknown) || unknown.Near != "steps" {
		t.Errorf("got %v", err)
	}
}

func TestOverride(t *testing.T) {
	s := Defaults()
	for _, word := range []string{"steps=1e3", "lr=3e-4", "lora.rank=4", "lora.targets=c_attn, c_fc", "schedule=linear", `freeze=["wte.*"]`,
		"checkpointing=true", "data=a.txt,b.txt", `model="my model"`, "sample_prompts="} {
		if err := Override(&s, word); err != nil {
			t.Errorf("%s: %v", word, err)
		}
	}
	want := Defaults()
	want.Steps, want.LR, want.LoRA.Rank, want.LoRA.Targets, want.Schedule = 1000, 3e-4, 4, []string{"c_attn", "c_fc"}, "linear"
	want.Freeze, want.Checkpointing, want.Data, want.Model, want.SamplePrompts = []string{"wte.*"}, true, []string{"a.txt", "b.txt"}, "my model", []string{}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v\nwant %+v", s, want)
	}
	for word, want := range map[string]string{
		"steps":               `"steps": want key=value, such as steps=100`,
		"steps=x":             `steps is "x", want a whole number`,
		"steps=1.5":           `steps is "1.5", want a whole number`,
		"lr=fast":             `lr is "fast", want a number`,
		"checkpointing=maybe": `checkpointing is "maybe", want true or false`,
		"batch_size=3":        `there is no setting "batch_size", did you mean "batch"?`,
		"save-every=3":        `there is no setting "save-every", did you mean "save_every"?`,
		"lora=3":              `there is no setting "lora"`,
		"freeze=[1]":          `freeze is "[1]", want a list of texts`,
	} {
		if err := Override(&s, word); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", word, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"precision=fp8": `precision is "fp8", want fp32, bf16 or fp16`, "schedule=step": "want cosine, linear or constant",
		"batch=99999999": "batch is 99999999, want at most 65536", "steps=2000000000": "steps is 2000000000, want at most 1073741824",
		"epsilon=0": "epsilon is 0, want at least 1e-20",
		"batch=0":   "batch is 0, want at least 1", "lr=-1": "lr is -1, want at least 0", "lr=NaN": "lr is NaN, want a finite number",
		"dropout=1": "dropout is 1", "keep=0": "keep is 0", "epochs=0": "epochs is 0", "warmup=-2": "warmup is -2", "epochs=inf": "a finite number",
	} {
		s := Defaults()
		if err := Override(&s, word); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", word, err, want)
		}
	}
}

// What --print-config prints is a recipe that says the same.
func TestTOML(t *testing.T) {
	s := Defaults()
	s.Data, s.SamplePrompts, s.LR, s.Out = []string{`C:\texts\*.txt`, "a \"b\"\n'c'"}, []string{"Once", "ünï # x"}, 1e-300, "out"
	s.Freeze = []string{}
	text := s.TOML()
	got := Defaults()
	if err := ParseRecipe(&got, "printed", text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if again := string(got.TOML()); again != string(text) || got.LR != s.LR || got.Data[1] != s.Data[1] {
		t.Errorf("got %s\nwant %s", again, text)
	}
	for _, f := range fieldsOf(&s) {
		if f.about == "" {
			t.Errorf("%s has no description", f.key)
		}
	}
	// The keys that the command line promises.
	for _, key := range strings.Fields("steps epochs batch accumulate context lr schedule warmup weight_decay clip seed eval_every sample_every save_every " +
		"lora.rank lora.alpha lora.targets freeze dropout checkpointing") {
		if !slices.Contains(Keys(), key) {
			t.Errorf("there is no setting %s", key)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		overrides           string
		positions, rows     int
		context, steps      int
		warmup, every, save int
		lr                  float64
	}{
		{"", 1024, 400, 256, 100, 10, 10, 10, 5e-5},
		{"", 64, 1, 64, 1, 0, 1, 1, 5e-5},
		{"epochs=2.5 batch=3 accumulate=2", 1024, 100, 256, 42, 4, 5, 5, 5e-5},
		{"steps=5000 lora.rank=8", 1024, 1, 256, 5000, 100, 500, 500, 2e-4},
		{"steps=7 epochs=3 warmup=7 save_every=0 eval_every=2 lr=1", 32, 1, 32, 7, 7, 2, 0, 1},
	} {
		s := Defaults()
		for _, w := range strings.Fields(c.overrides) {
			if err := Override(&s, w); err != nil {
				t.Fatal(err)
			}
		}
		s, err := s.ForModel(c.positions, false)
		if err == nil {
			s, err = s.ForData(c.rows)
		}
		if err != nil {
			t.Errorf("%q: %v", c.overrides, err)
			continue
		}
		if s.Context != c.context || s.Steps != c.steps || s.Warmup != c.warmup || s.EvalEvery != c.every || s.SaveEvery != c.save || s.LR != c.lr {
			t.Errorf("%q: got %+v, want %+v", c.overrides, s, c)
		}
		if s.Warmup*10 > s.Steps && !strings.Contains(c.overrides, "warmup") {
			t.Errorf("%q: the default warm-up of %d steps is more than a tenth of %d", c.overrides, s.Warmup, s.Steps)
		}
	}
	s := Defaults()
	s.Context = 65
	if _, err := s.ForModel(64, false); err == nil || !strings.Contains(err.Error(), "context is 65, want at most the model's 64 positions") {
		t.Errorf("got %v", err)
	}
	if _, err := Defaults().ForData(0); err == nil {
		t.Error("no rows were accepted")
	}
}

func TestResumed(t *testing.T) {
	was := Defaults()
	was.Out = "x"
	was, err := was.ForModel(1024, false)
	if err == nil {
		was, err = was.ForData(100)
	}
	if err != nil {
		t.Fatal(err)
	}
	same := Defaults()
	same.Out, same.Keep, same.SaveEvery = "x", 7, 3
	got, err := Resumed(was, same)
	if err != nil || got.Steps != was.Steps || got.LR != was.LR || got.Warmup != was.Warmup || got.Keep != 7 || got.SaveEvery != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	other := was
	other.LoRA.Targets = []string{"c_fc"}
	var changed *ChangedError
	if _, err := Resumed(was, other); !errors.As(err, &changed) || changed.Key != "lora.targets" {
		t.Errorf("got %v", err)
	}
	longer := was
	longer.Steps *= 2
	if _, err := Resumed(was, longer); !errors.As(err, &changed) || changed.Key != "steps" {
		t.Errorf("got %v", err)
	}
	was.Schedule, longer.Schedule = "constant", "constant"
	if got, err := Resumed(was, longer); err != nil || got.Steps != longer.Steps {
		t.Errorf("a constant rate does not forbid more steps: %v", err)
	}
}

func TestRate(t *testing.T) {
	s := Settings{LR: 1, MinLR: 0.1, Steps: 12, Warmup: 2, Schedule: "cosine"}
	for name, want := range map[string][]float64{
		// After the warm-up t is 0, 0.1, …, 0.9.
		"cosine":   {0.5, 1, 1, 0.977975, 0.914058, 0.814503, 0.689058, 0.55, 0.410942, 0.285497, 0.185942, 0.122025},
		"linear":   {0.5, 1, 1, 0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19},
		"constant": {0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
	} {
		s.Schedule = name
		for step, w := range want {
			if got := s.rate(step); got < w-1e-6 || got > w+1e-6 {
				t.Errorf("%s, step %d: got %v, want %v", name, step, got, w)
			}
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"steps", "step", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzParseRecipe(f *testing.F) {
	f.Add([]byte("steps = 1\n[lora]\nrank = 8\n"))
	f.Add([]byte("steps = \"x\""))
	f.Add([]byte("lora = 3\nx.y = [1, {a = 2}]"))
	f.Add(Defaults().TOML())
	f.Fuzz(func(t *testing.T, data []byte) {
		s := Defaults()
		if ParseRecipe(&s, "f", data) != nil {
			return
		}
		again := Defaults()
		if err := ParseRecipe(&again, "printed", s.TOML()); err != nil {
			t.Fatalf("%v in\n%s", err, s.TOML())
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"schema":"gptctl.checkpoint/1","files":[{"name":"model.safetensors"},{"name":"optimizer.safetensors"}]}`))
	f.Add([]byte(`{"schema":"gptctl.checkpoint/1","step":-1,"recipe":"keep = 0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := parsePosition(data); err == nil && (p.Step < 0 || len(p.Files) != 2) {
			t.Errorf("accepted %+v", p)
		}
	})
}

func FuzzPoints(f *testing.F) {
	f.Add([]byte(strings.Join(metricsHead, ",") + "\n1,2,3,4,5,6,7,8,0,\n2,2,3,4,5,6,7,8,0,1.5\n3,2"))
	f.Fuzz(func(t *testing.T, data []byte) { parsePoints(data) })
}

func TestMain(m *testing.M) {
	if out := os.Getenv("GPTCTL_TEST_TRAIN_OUT"); out != "" {
		os.Exit(trainToBeKilled(out))
	}
	os.Exit(m.Run())
}

// The recipes that are kept here can be used.
func TestRecipes(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := Defaults()
		if err := ParseRecipe(&s, path, data); err != nil {
			t.Error(err)
			continue
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if s.Init != "" {
			s.Init = filepath.Join(filepath.Dir(path), s.Init)
			if _, err := newModel(s); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
