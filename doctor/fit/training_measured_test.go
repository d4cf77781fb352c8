package fit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
)

const trainingPath = "testdata/training.tsv"

// trainingConfigs are the shapes of the table: of a folder of GPTCTL_FIT_MODELS,
// of the program's own model, and of new models.
var trainingConfigs = map[string]gpt2.Config{
	"gpt2":       {VocabSize: 50257, Positions: 1024, Embd: 768, Heads: 12, Layers: 12, Inner: 3072, TieWordEmbeddings: true},
	"demo":       otherShapes["demo"],
	"new-s":      {VocabSize: 257, Positions: 256, Embd: 128, Heads: 4, Layers: 4, Inner: 512, TieWordEmbeddings: true},
	"distilgpt2": {VocabSize: 50257, Positions: 1024, Embd: 768, Heads: 12, Layers: 6, Inner: 3072, TieWordEmbeddings: true},
	"nano":       {VocabSize: 257, Positions: 256, Embd: 64, Heads: 4, Layers: 4, Inner: 256, TieWordEmbeddings: true},
	"new-2":      {VocabSize: 257, Positions: 256, Embd: 160, Heads: 5, Layers: 6, Inner: 640, TieWordEmbeddings: true},
	"new-5":      {VocabSize: 257, Positions: 256, Embd: 256, Heads: 8, Layers: 6, Inner: 1024, TieWordEmbeddings: true},
	"new-m":      {VocabSize: 257, Positions: 512, Embd: 512, Heads: 8, Layers: 8, Inner: 2048, TieWordEmbeddings: true},
}

// trainingRun is a line of the table: a training and its peak.
type trainingRun struct {
	shape          string
	precision      Precision
	checkpointing  bool
	rank           int
	targets        string // separated by commas, or -
	batch, context int
	threads        int
	family         string // of kernels, on an Intel CPU
	peak           int64  // bytes resident
}

func (r trainingRun) work() Work {
	w := Work{
		Purpose: Finetune, Config: trainingConfigs[r.shape], Batch: r.batch, Context: r.context, Threads: r.threads,
		Precision: r.precision, Checkpointing: r.checkpointing, Kernels: familyKernels["intel/"+r.family],
	}
	if r.shape == "demo" {
		w.FileDType, w.GGUF, w.FileMapped, w.Copied, w.FileBytes = Q8_0, true, true, true, 7842464
	}
	if r.rank > 0 {
		w.LoRA = LoRA{Rank: r.rank, Targets: strings.Split(r.targets, ",")}
	}
	return w
}

func (r trainingRun) off() float64 { return float64(Estimate(r.work()).Total())/float64(r.peak) - 1 }

func readTraining(t *testing.T) []trainingRun {
	t.Helper()
	f, err := os.Open(trainingPath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []trainingRun
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		var r trainingRun
		var estimate, off string
		_, err := fmt.Sscan(line, &r.shape, &r.precision, &r.checkpointing, &r.rank, &r.targets, &r.batch, &r.context, &r.threads, &r.family, &r.peak, &estimate, &off)
		if err != nil {
			t.Fatalf("%s: %v in %q", trainingPath, err, line)
		}
		list = append(list, r)
	}
	return list
}

// The estimate of a training is within a tenth of what was measured.
func TestTrainingMeasured(t *testing.T) {
	list := readTraining(t)
	if len(list) < 20 {
		t.Fatalf("%d measurements, want at least 20", len(list))
	}
	for _, r := range list {
		if err := r.work().Check(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-6s %s ckpt %-5v lora %d %-14s %d × %4d: %7.1f MB measured, %7.1f estimated, %+.1f %%", r.shape, r.precision, r.checkpointing, r.rank, r.targets,
			r.batch, r.context, float64(r.peak)/1e6, float64(Estimate(r.work()).Total())/1e6, 100*r.off())
		if math.Abs(r.off()) > 0.1 {
			t.Errorf("%+v: estimate off by %+.1f %%: %+v", r, 100*r.off(), Estimate(r.work()))
		}
	}
}

// TestMeasureTraining takes the measurements again, two steps each with an
// evaluation, a sample and a checkpoint, and writes the table.
// GPTCTL_FIT_BINARY is the program, GPTCTL_FIT_MODELS a folder that has models
// named as the shapes in it; lines whose model is not there stay as they are.
func TestMeasureTraining(t *testing.T) {
	binary, models := os.Getenv("GPTCTL_FIT_BINARY"), os.Getenv("GPTCTL_FIT_MODELS")
	if binary == "" || models == "" {
		t.Skip("GPTCTL_FIT_BINARY and GPTCTL_FIT_MODELS are not set")
	}
	list := readTraining(t)
	for i := range list {
		r := &list[i]
		dir := filepath.Join(models, r.shape)
		_, err := os.Stat(dir)
		if err == nil || r.shape == "demo" || isNew(r.shape) {
			r.peak = trainingPeak(t, binary, dir, *r)
		}
		t.Logf("%+v: %+.1f %%", *r, 100*r.off())
		writeTraining(t, list)
	}
}

func writeTraining(t *testing.T, list []trainingRun) {
	t.Helper()
	var out strings.Builder
	out.WriteString("# Peak resident memory of `gptctl finetune --json`, two steps, see TestMeasureTraining.\n" +
		"# shape\tprecision\tcheckpointing\trank\ttargets\tbatch\tcontext\tthreads\tkernels\tpeak_bytes\testimate_bytes\toff_percent\n")
	for _, r := range list {
		fmt.Fprintf(&out, "%s\t%s\t%v\t%d\t%s\t%d\t%d\t%d\t%s\t%d\t%d\t%+.1f\n", r.shape, r.precision, r.checkpointing, r.rank, r.targets, r.batch, r.context, r.threads, r.family,
			r.peak, Estimate(r.work()).Total(), 100*r.off())
	}
	if err := os.WriteFile(trainingPath, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// isNew says whether the model is made for the training.
func isNew(shape string) bool { return strings.HasPrefix(shape, "new") || shape == "nano" }

// trainingPeak runs the program once.
func trainingPeak(t *testing.T, binary, model string, r trainingRun) int64 {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	var text strings.Builder
	for i := 0; text.Len() < 40*r.batch*r.context; i++ {
		fmt.Fprintf(&text, "Line %d has a number of its own, %d, and some words.\n", i, i*i)
	}
	data := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(data, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"finetune", "--json", "--data", data, "--out", filepath.Join(dir, "out"), "--threads", fmt.Sprint(r.threads), "--precision", string(r.precision),
		"steps=2", fmt.Sprintf("batch=%d", r.batch), fmt.Sprintf("context=%d", r.context), fmt.Sprintf("checkpointing=%v", r.checkpointing),
		"no_clean=all", "validation=0.1", "eval_every=2", "eval_rows=4", "sample_tokens=4", "save_every=2"}
	switch {
	case r.shape == "demo":
		args = append(args, "--model", "demo")
	case isNew(r.shape):
		c := trainingConfigs[r.shape]
		config, err := json.Marshal(map[string]any{
			"model_type": "gpt2", "vocab_size": c.VocabSize, "n_positions": c.Positions, "n_embd": c.Embd, "n_head": c.Heads, "n_layer": c.Layers,
			"n_inner": c.Inner, "tie_word_embeddings": c.TieWordEmbeddings, "activation_function": "gelu_new",
		})
		path := filepath.Join(dir, "config.json")
		if err == nil {
			err = os.WriteFile(path, config, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--init", path, "--tokenizer", "bytes")
	default:
		args = append(args, "--model", model)
	}
	if r.rank > 0 {
		args = append(args, fmt.Sprintf("lora.rank=%d", r.rank), `lora.targets=["`+strings.ReplaceAll(r.targets, ",", `","`)+`"]`)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir, "GPTCTL_CPU="+r.family)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
	// What the system says of the process, which ended with the export.
	if u, ok := peakOf(cmd.ProcessState); ok {
		return u
	}
	t.Skip("the system does not tell a peak")
	return 0
}
