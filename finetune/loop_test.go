package finetune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var errKilled = errors.New("killed")

// A run that dies after any step, without a word, goes on to the same weights.
func TestResumeIsExact(t *testing.T) {
	const steps = 20
	for i, extra := range [][]string{{"save_every=3"}, {"export=last", "eval_every=0"}, {"patience=2", "eval_every=3"}, {"save_every=7", "keep=1", "schedule=linear", "warmup=5"}} {
		whole, f := fakeJob(t, steps, extra...)
		result, _ := mustTrain(t, whole)
		want, state := weightsOf(t, whole.Settings.Out), fmt.Sprint(f.State())
		csv := curve(t, whole.Settings.Out)
		for kill := 1; kill <= result.Steps; kill += 1 + 3*min(i, 1) {
			j, f := fakeJob(t, steps, extra...)
			f.before = func(step int) error {
				if step == kill {
					return errKilled
				}
				return nil
			}
			if _, err := Train(t.Context(), j); !errors.Is(err, errKilled) {
				t.Fatalf("%v, kill at %d: %v", extra, kill, err)
			}
			if saved, _ := listCheckpoints(j.Settings.Out); len(saved) > 0 {
				j, f = again(j)
			} else {
				j, f = fakeJob(t, steps, append(extra, "out="+j.Settings.Out)...)
			}
			mustTrain(t, j)
			if weightsOf(t, j.Settings.Out) != want || fmt.Sprint(f.State()) != state {
				t.Errorf("%v, killed at step %d: other weights than in one go", extra, kill)
			}
			if got := curve(t, j.Settings.Out); got != csv {
				t.Errorf("%v, killed at step %d: metrics.csv differs:\n%s\nwant\n%s", extra, kill, got, csv)
			}
		}
	}
}

// curve is metrics.csv without the columns that time decides about.
func curve(t *testing.T, out string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		columns := strings.Split(strings.TrimSpace(line), ",")
		lines = append(lines, strings.Join(slices.Delete(slices.Delete(columns, 7, 8), 2, 3), ","))
	}
	return strings.Join(lines, "\n")
}

// Ctrl-C, wherever it comes: in a step, an evaluation, a sample, a checkpoint.
func TestInterrupt(t *testing.T) {
	const steps = 10
	settings := []string{"eval_every=4", "save_every=5", "patience=3"}
	whole, _ := fakeJob(t, steps, settings...)
	_, events := mustTrain(t, whole)
	want, csv := weightsOf(t, whole.Settings.Out), curve(t, whole.Settings.Out)
	for at := range len(events) {
		j, f := fakeJob(t, steps, settings...)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		j.Events = func(Event) {
			if n++; n > at {
				cancel()
			}
		}
		sample := j.Sample
		j.Sample = func(ctx context.Context, p string, n int, seed uint64) (string, error) {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return sample(ctx, p, n, seed)
		}
		_, err := Train(ctx, j)
		cancel()
		var stopped *InterruptedError
		switch {
		case err == nil: // it was at its end
		case errors.As(err, &stopped):
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v is not context.Canceled", err)
			}
			if p, err := readPosition(stopped.Path); err != nil || p.Step != stopped.Step || p.Step != f.steps {
				t.Errorf("event %d: %s is of step %d, the trainer is at %d, %v", at, stopped.Path, p.Step, f.steps, err)
			}
			j, _ = again(j)
			j.Sample = func(context.Context, string, int, uint64) (string, error) { return "", nil }
			mustTrain(t, j)
		case errors.Is(err, context.Canceled) && f.steps == 0:
			j, _ := fakeJob(t, steps, append(settings, "out="+j.Settings.Out)...)
			mustTrain(t, j) // there is nothing in the way of another try
		default:
			t.Fatalf("event %d: %v", at, err)
		}
		if weightsOf(t, j.Settings.Out) != want {
			t.Errorf("interrupted at event %d: other weights", at)
		}
		if got := curve(t, j.Settings.Out); got != csv {
			t.Errorf("interrupted at event %d: metrics.csv differs:\n%s\nwant\n%s", at, got, csv)
		}
	}
}

// fullDisk fails after some bytes in checkpoints.
type fullDisk struct {
	file
	left *int
}

func (f fullDisk) Write(p []byte) (int, error) {
	if *f.left -= len(p); *f.left < 0 {
		return 0, syscall.ENOSPC
	}
	return f.file.Write(p)
}

func TestDiskFull(t *testing.T) {
	for room := 0; ; room += 1500 {
		j, _ := fakeJob(t, 12, "save_every=4", "keep=2", "eval_every=0")
		left := room
		j.disk = func(path string) (file, error) {
			f, err := newFile(path)
			if err == nil && strings.Contains(path, checkpointsName) {
				return fullDisk{f, &left}, nil
			}
			return f, err
		}
		var whole []int
		j.Events = func(e Event) {
			if c, ok := e.(CheckpointEvent); ok {
				whole = append(whole, c.Step)
			}
		}
		_, err := Train(t.Context(), j)
		var failed *SaveError
		if err == nil {
			if left < 0 {
				t.Fatalf("room %d: a full disk went unnoticed", room)
			}
			break
		}
		if !errors.As(err, &failed) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room %d: %v", room, err)
		}
		entries, _ := os.ReadDir(filepath.Join(j.Settings.Out, checkpointsName))
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				t.Errorf("room %d: %s was left", room, e.Name())
			}
		}
		if len(whole) == 0 {
			if failed.Previous != -1 {
				t.Errorf("room %d: %v", room, err)
			}
			continue
		}
		if last := whole[len(whole)-1]; failed.Previous != last {
			t.Errorf("room %d: the error speaks of step %d, the last checkpoint was %d", room, failed.Previous, last)
		}
		j, _ = again(j)
		j.disk, j.Events = nil, nil
		mustTrain(t, j)
	}
}

func TestOut(t *testing.T) {
	unwritable := func(t *testing.T, out string) {
		if os.Getuid() == 0 {
			t.Skip("root may write anywhere")
		}
		if err := os.MkdirAll(out, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string) func(*testing.T, string) {
		return func(t *testing.T, out string) {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(out, name)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(out, name), []byte("x"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name          string
		before        func(*testing.T, string)
		resume, force bool
		want          string
	}{
		{"new", func(*testing.T, string) {}, false, false, ""},
		{"empty", func(t *testing.T, out string) { _ = os.MkdirAll(out, 0o777) }, false, false, ""},
		{"only metrics", put(metricsName), false, false, ""},
		{"a model", put("config.json"), false, false, "is not empty: it holds config.json"},
		{"a model, force", put("config.json"), false, true, ""},
		{"something else", put("thesis.tex"), false, false, "is not empty: it holds thesis.tex"},
		{"something else, force", put("thesis.tex"), false, true, "thesis.tex, which no training wrote"},
		{"a training", put("checkpoints/step-00000003/state.json"), false, false, "holds the training of another time"},
		{"resume nothing", func(*testing.T, string) {}, true, false, "there is no checkpoint to resume from"},
		{"resume damage", put("checkpoints/step-00000003/state.json"), true, false, "there is no checkpoint to resume from"},
		{"unwritable", unwritable, false, false, "permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, _ := fakeJob(t, 3)
			c.before(t, j.Settings.Out)
			j.Resume, j.Force = c.resume, c.force
			_, err := Train(t.Context(), j)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	j, _ := fakeJob(t, 3)
	j.Source, j.Force = filepath.Join(j.Settings.Out, "model"), true
	if _, err := Train(t.Context(), j); err == nil || !strings.Contains(err.Error(), "holds the model to begin with") {
		t.Errorf("training into the model's own folder: %v", err)
	}
	j, _ = fakeJob(t, 3)
	if err := os.WriteFile(j.Settings.Out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Train(t.Context(), j); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file in the place of OUT: %v", err)
	}
}

func TestResumeRefusesWhatChanged(t *testing.T) {
	j, _ := fakeJob(t, 10)
	mustTrain(t, j)
	for _, c := range []struct {
		change func(*Job)
		want   string
	}{
		{func(j *Job) { j.Settings.LR = 1 }, "lr is 1, but the run to resume has 0.01"},
		{func(j *Job) { j.Settings.Steps = 20 }, "steps is 20"},
		{func(j *Job) { j.Settings.Seed = 5 }, "seed is 5"},
		{func(j *Job) { j.Settings.Freeze = []string{"wte.*"} }, "freeze is wte.*, but the run to resume has nothing"},
		{func(j *Job) { j.Data = fakeData{50, 5, 8, "sha256:other"} }, "the data is not that of the run to resume"},
		{func(j *Job) { j.ModelHash = "sha256:other" }, "the model is not that of the run to resume"},
	} {
		j, _ := again(j)
		c.change(&j)
		if _, err := Train(t.Context(), j); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	j, _ = again(j)
	j.Settings.SaveEvery, j.Settings.Keep = 3, 9 // decide about nothing
	mustTrain(t, j)
}

func TestDamagedCheckpoint(t *testing.T) {
	j, _ := fakeJob(t, 30, "save_every=10", "keep=5", "export=last")
	mustTrain(t, j)
	want := weightsOf(t, j.Settings.Out)
	newest := filepath.Join(j.Settings.Out, checkpointsName, stepName(30))
	for _, name := range []string{weightsName, optimizerName, stateName} {
		path := filepath.Join(newest, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-3] ^= 4
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		j, _ := again(j)
		_, events := mustTrain(t, j)
		if !slices.ContainsFunc(events, func(e Event) bool { n, ok := e.(NoteEvent); return ok && strings.Contains(n.Text, stepName(30)) }) {
			t.Errorf("nobody was told that %s is damaged", name)
		}
		if weightsOf(t, j.Settings.Out) != want {
			t.Errorf("damaged %s: other weights", name)
		}
	}
}

func TestNonFinite(t *testing.T) {
	j, f := fakeJob(t, 20)
	f.bad = func(step int, st *Stats) {
		if step == 7 {
			st.Loss, st.Bad = math.NaN(), "transformer.h.1.mlp.c_fc.weight"
		}
	}
	_, err := Train(t.Context(), j)
	var bad *NonFiniteError
	if !errors.As(err, &bad) || err.Error() != "the loss is NaN at step 7, first in transformer.h.1.mlp.c_fc.weight" {
		t.Fatalf("got %v", err)
	}
	j, _ = fakeJob(t, 20, "lr=0.5")
	j.Settings.LR = 1e9
	if _, err := Train(t.Context(), j); err == nil || !strings.Contains(err.Error(), "a learning rate of 1e+09 would destroy the model") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(j.Settings.Out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused run made its folder: %v", err)
	}
}

func TestSpike(t *testing.T) {
	spike := func(f *fakeTrainer) {
		f.bad = func(step int, st *Stats) {
			st.Loss = 3 + float64(step%5)/10
			if step == 90 {
				st.Loss = 40
			}
		}
	}
	for _, mode := range []string{"off", "warn", "stop", "rollback"} {
		j, f := fakeJob(t, 120, "spike="+mode, "save_every=20")
		spike(f)
		notes := ""
		j.Events = func(e Event) {
			if n, ok := e.(NoteEvent); ok {
				notes += n.Text
			}
		}
		_, err := Train(t.Context(), j)
		var jump *SpikeError
		switch mode {
		case "off":
			if err != nil || notes != "" {
				t.Errorf("%s: %v, %q", mode, err, notes)
			}
		case "warn":
			if err != nil || !strings.Contains(notes, "the loss jumped to 40 at step 90") {
				t.Errorf("%s: %v, %q", mode, err, notes)
			}
		case "stop":
			if !errors.As(err, &jump) || jump.Step != 90 {
				t.Errorf("%s: %v", mode, err)
			}
		case "rollback":
			// The fake's jump is one of its own step count, which goes back too.
			if !errors.As(err, &jump) || !strings.Contains(err.Error(), "went back 3 times already") || !strings.Contains(notes, "back to step 80") {
				t.Errorf("%s: %v, %q", mode, err, notes)
			}
		}
	}

	// Once is enough if the rows made it.
	j, f := fakeJob(t, 120, "spike=rollback", "save_every=20", "eval_every=0")
	jumped := false
	f.bad = func(step int, st *Stats) {
		if st.Loss = 3 + float64(step%5)/10; step == 90 && !jumped {
			jumped, st.Loss = true, 40
		}
	}
	r, events := mustTrain(t, j)
	if r.Steps != 120 {
		t.Errorf("%+v", r)
	}
	count := 0
	for _, e := range events {
		if e, ok := e.(StepEvent); ok && e.Step == 85 {
			count++
		}
	}
	if steps, _ := listCheckpoints(j.Settings.Out); len(steps) != 2 {
		t.Errorf("checkpoints of steps %v, want two: that of step 0 is one like others", steps)
	}
	if count != 2 {
		t.Errorf("step 85 was done %d times, want 2", count)
	}
	if points := strings.Count(curve(t, j.Settings.Out), "\n"); points != 120 {
		t.Errorf("metrics.csv has %d steps, want 120", points)
	}
	p, err := readPosition(filepath.Join(j.Settings.Out, checkpointsName, stepName(120)))
	if err != nil || p.Rollbacks != 1 || p.Row != 130*4 {
		t.Errorf("%d rollbacks, row %d, %v; want 1, 520", p.Rollbacks, p.Row, err)
	}
}

func TestEarlyStopAndBest(t *testing.T) {
	j, f := fakeJob(t, 100, "eval_every=5", "save_every=0", "keep=1", "patience=3")
	f.bad = func(step int, st *Stats) { f.weights[1] = 1 + float32(math.Abs(float64(step)-17)) } // best near 17
	r, _ := mustTrain(t, j)
	if !r.Early || r.Steps != 30 || r.BestStep != 15 || r.Exported != 15 {
		t.Errorf("%+v", r)
	}
	if steps, _ := listCheckpoints(j.Settings.Out); !slices.Equal(steps, []int{30, 15}) {
		t.Errorf("checkpoints of steps %v, want 30 and 15", steps)
	}
	// It stays stopped, but for who has more patience.
	for _, c := range []struct{ patience, steps int }{{3, 30}, {2, 30}, {5, 40}, {0, 100}} {
		j.Resume, j.Settings.Patience = true, c.patience
		if r, _ := mustTrain(t, j); r.Steps != c.steps || r.Early != (c.steps < 100) || r.Exported != 15 {
			t.Errorf("with patience %d: %+v", c.patience, r)
		}
	}
}

func TestEvents(t *testing.T) {
	j, _ := fakeJob(t, 10, "eval_every=5", "sample_every=10", "save_every=5", "warmup=1")
	r, events := mustTrain(t, j)
	var text strings.Builder
	for _, e := range events {
		switch e := e.(type) {
		case StartEvent:
			text.WriteString("start ")
		case StepEvent:
			fmt.Fprintf(&text, "%d ", e.Step)
		case EvalEvent:
			fmt.Fprintf(&text, "eval@%d ", e.Step)
		case SampleEvent:
			fmt.Fprintf(&text, "sample@%d ", e.Step)
		case DoneEvent:
			text.WriteString("done")
		}
	}
	if want := "start eval@0 1 2 3 4 5 eval@5 6 7 8 9 10 eval@10 sample@10 done"; text.String() != want {
		t.Errorf("got %s\nwant %s", &text, want)
	}
	for _, name := range []string{"model.safetensors", "config.json", "tokenizer.json", "README.md", reportName, metricsName} {
		if _, err := os.Stat(filepath.Join(r.Path, name)); err != nil {
			t.Error(err)
		}
	}
}
