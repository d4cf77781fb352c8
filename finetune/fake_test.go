package finetune

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// fakeTrainer has a few numbers, each of which follows the rows it is shown with
// a momentum, a scaler that overflows now and then, and noise from a stream of
// its own: whatever a checkpoint forgets shows in the weights.
type fakeTrainer struct {
	weights, moments []float32
	noise            uint64
	scale            float64
	steps            int

	before func(step int) error // tests let a step fail
	bad    func(step int, st *Stats)
	slow   func() // before the gradients are there
}

func newFake() *fakeTrainer {
	f := &fakeTrainer{weights: make([]float32, 6), moments: make([]float32, 6), noise: 1, scale: 65536}
	for i := range f.weights {
		f.weights[i] = float32(i)
	}
	return f
}

func (f *fakeTrainer) Step(ctx context.Context, rows []Rows, h Hyper, ready func() error) (Stats, error) {
	if err := ctx.Err(); err != nil {
		return Stats{}, err
	}
	if f.before != nil {
		if err := f.before(f.steps + 1); err != nil {
			return Stats{}, err
		}
	}
	if f.slow != nil {
		f.slow()
	}
	target := 0.0
	for _, r := range rows {
		for i, t := range r.Tokens {
			target += float64(t) * float64(i%7)
		}
	}
	target = math.Mod(target, 100) / 100
	if err := ready(); err != nil {
		return Stats{}, err
	}
	f.steps++
	f.noise = f.noise*6364136223846793005 + 1442695040888963407
	st := Stats{Scale: f.scale}
	if f.steps%13 == 0 {
		st.Skipped, st.GradNorm, st.Loss = true, math.Inf(1), 2
		f.scale /= 2
		return st, nil
	}
	for i := range f.weights {
		g := float32(target) - f.weights[i]/10 + float32(f.noise>>40)/(1<<24)/100
		st.GradNorm += float64(g * g)
		f.moments[i] = float32(h.Beta1)*f.moments[i] + g
		f.weights[i] += float32(h.LR) * f.moments[i]
	}
	st.GradNorm = math.Sqrt(st.GradNorm)
	st.Loss = 2 + math.Abs(float64(f.weights[0])-target)/10
	if f.bad != nil {
		f.bad(f.steps, &st)
	}
	return st, nil
}

func (f *fakeTrainer) Evaluate(ctx context.Context, rows Rows) (float64, int, error) {
	return (3 + math.Abs(float64(f.weights[1])-1)) * float64(len(rows.Labels)), len(rows.Labels), ctx.Err()
}

func vector(name string, v []float32) safetensors.Named {
	return safetensors.Named{Name: name, Tensor: tensor.Tensor{DType: tensor.F32, Shape: []int{len(v)}, Data: tensor.Bytes(v)}}
}

func (f *fakeTrainer) State() State {
	return State{
		Weights:   []safetensors.Named{vector("transformer.a", f.weights[:2]), vector("transformer.b", f.weights[2:])},
		Optimizer: []safetensors.Named{vector("moment", f.moments)},
		Values:    map[string]string{"noise": strconv.FormatUint(f.noise, 10), "scale": fmt.Sprint(f.scale), "steps": strconv.Itoa(f.steps)},
	}
}

func (f *fakeTrainer) Restore(s State) (err error) {
	all := map[string][]float32{"transformer.a": f.weights[:2], "transformer.b": f.weights[2:], "moment": f.moments}
	for _, t := range append(s.Weights, s.Optimizer...) {
		if to := all[t.Name]; len(to)*4 != len(t.Tensor.Data) {
			return fmt.Errorf("tensor %s has %d bytes", t.Name, len(t.Tensor.Data))
		}
		tensor.ToFloat32(all[t.Name], tensor.F32, t.Tensor.Data)
	}
	var errs [3]error
	f.noise, errs[0] = strconv.ParseUint(s.Values["noise"], 10, 64)
	f.scale, errs[1] = strconv.ParseFloat(s.Values["scale"], 64)
	f.steps, errs[2] = strconv.Atoi(s.Values["steps"])
	return errors.Join(errs[:]...)
}

func (f *fakeTrainer) Weights() ([]safetensors.Named, error) { return f.State().Weights, nil }

// fakeData has rows that tell who they are.
type fakeData struct {
	rows, valid, context int
	hash                 string
}

func (d fakeData) TrainRows() int { return d.rows }
func (d fakeData) ValidRows() int { return d.valid }
func (d fakeData) Hash() string   { return d.hash }

func (d fakeData) Train(first int64, n int) (Rows, error) { return d.make(uint64(first), n), nil }
func (d fakeData) Valid(first, n int) (Rows, error)       { return d.make(uint64(first)+1<<40, n), nil }

func (d fakeData) make(first uint64, n int) Rows {
	r := Rows{Rows: n}
	for i := range n {
		h := fnv.New32a()
		_ = binary.Write(h, binary.LittleEndian, first+uint64(i))
		v := h.Sum32()
		for range d.context {
			v = v*1664525 + 1013904223
			r.Tokens = append(r.Tokens, int32(v>>20))
			r.Labels = append(r.Labels, int32(v>>20))
		}
	}
	return r
}

// fakeJob is a run of some steps into a new folder.
func fakeJob(t testing.TB, steps int, overrides ...string) (Job, *fakeTrainer) {
	t.Helper()
	s := Defaults()
	s.Precision = "fp16" // the fake skips steps
	s.Steps, s.Batch, s.Accumulate, s.LR = steps, 2, 2, 1e-2
	for _, o := range overrides {
		if err := Override(&s, o); err != nil {
			t.Fatal(err)
		}
	}
	if s.Out == "" {
		s.Out = filepath.Join(t.TempDir(), "out")
	}
	s, err := s.ForModel(8, false)
	if err != nil {
		t.Fatal(err)
	}
	d := fakeData{rows: 50, valid: 5, context: 8, hash: "sha256:data"}
	if s, err = s.ForData(d.rows); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	return Job{
		disk:     lazyDisk,
		Settings: s, Trainer: f, Data: d, Model: "gpt2", ModelHash: "sha256:model", Parameters: 6,
		Files: map[string][]byte{"config.json": []byte("{}\n"), "tokenizer.json": []byte("{}\n")},
		Sample: func(_ context.Context, prompt string, tokens int, seed uint64) (string, error) {
			return fmt.Sprintf("<%d> %v", seed, f.weights[0]), nil
		},
	}, f
}

// lazyFile does not wait for the disk, which would be most of the time here.
type lazyFile struct{ file }

func (lazyFile) Sync() error { return nil }

func lazyDisk(path string) (file, error) {
	f, err := newFile(path)
	return lazyFile{f}, err
}

// again is the same job with a new trainer, to be resumed.
func again(j Job) (Job, *fakeTrainer) {
	f := newFake()
	j.Trainer, j.Resume = f, true
	return j, f
}

// weightsOf reads the finished model.
func weightsOf(t testing.TB, out string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// mustTrain runs a job and returns its events.
func mustTrain(t testing.TB, j Job) (Result, []Event) {
	t.Helper()
	var events []Event
	j.Events = func(e Event) { events = append(events, e) }
	r, err := Train(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return r, events
}
