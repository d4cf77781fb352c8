package finetune

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// few is a text that fills no row.
func few(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "few.txt")
	if err := os.WriteFile(path, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// One training at a time writes to a folder; what is left of one that was killed
// is in nobody's way.
func TestLock(t *testing.T) {
	out := filepath.Join(t.TempDir(), "new", "out")
	first, err := lockOut(out)
	if err != nil {
		t.Fatal(err)
	}
	j, _ := fakeJob(t, 3, "out="+out)
	var busy *BusyError
	for _, force := range []bool{false, true} {
		j.Force = force
		if _, err := Train(t.Context(), j); !errors.As(err, &busy) {
			t.Errorf("a second training: %v", err)
		}
	}
	if _, err := LastSettings(out); !errors.As(err, &busy) {
		t.Errorf("to resume: %v", err)
	}
	first.release()
	if _, err := os.Stat(filepath.Dir(out)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folders made for a lock stay: %v", err)
	}

	if err := os.MkdirAll(out, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, lockName), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	j.Force = false
	if _, err := Train(t.Context(), j); err != nil {
		t.Errorf("a lock that nobody holds: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, lockName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock stays: %v", err)
	}
}

// A bit of state.json that is not what it was is found, wherever it is.
func TestDamagedState(t *testing.T) {
	j, _ := fakeJob(t, 6, "save_every=3")
	mustTrain(t, j)
	path := filepath.Join(j.Settings.Out, checkpointsName, stepName(6), stateName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/200 {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 4
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := readPosition(filepath.Dir(path)); err == nil {
			t.Errorf("byte %d of state.json, in %q, may be anything", i, whole[max(0, i-10):min(i+10, len(whole))])
		}
	}
	if err := os.WriteFile(path, whole, 0o666); err != nil {
		t.Fatal(err)
	}
	if p, err := readPosition(filepath.Dir(path)); err != nil || p.Step != 6 {
		t.Errorf("%+v, %v", p, err)
	}
	// One that was written before there were sums.
	old := []byte(strings.Replace(string(whole), checkpointSchema, unsummedSchema, 1))
	if err := os.WriteFile(path, old, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := readPosition(filepath.Dir(path)); err != nil {
		t.Errorf("without a sum: %v", err)
	}
	// A whole one in the wrong place.
	moved := filepath.Join(filepath.Dir(filepath.Dir(path)), stepName(7))
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	if _, err := readPosition(moved); err == nil || !strings.Contains(err.Error(), "is of step 6") {
		t.Errorf("a checkpoint under another name: %v", err)
	}
}

// A training that fails before its first step leaves nothing.
func TestNothingLeft(t *testing.T) {
	j, f := fakeJob(t, 5)
	f.weights[1] = float32(math.NaN()) // the first evaluation
	_, err := Train(t.Context(), j)
	var bad *NonFiniteError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "before the first step") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(j.Settings.Out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", j.Settings.Out, err)
	}
}

// The first tensor that is not finite is named: what a layer makes, if the
// weights are finite.
func TestDiagnose(t *testing.T) {
	for _, c := range []struct {
		words, want string
	}{
		{"precision=fp32", ", first in the "},
		{"precision=bf16", ", first in "},
	} {
		o := tinyRun(t, append(strings.Fields(c.words), "lr=1", "warmup=0", "clip=0", "beta2=0", "steps=300", "dropout=0", "validation=0")...)
		_, err := Run(t.Context(), o)
		var bad *NonFiniteError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.words, err, c.want)
		}
	}
}

// The texts may be moved between two sittings, and OUT may lie among them.
func TestResumeMovedTexts(t *testing.T) {
	o := tinyRun(t, "save_every=4")
	texts := filepath.Join(filepath.Dir(o.Settings.Out), "texts")
	if err := os.Mkdir(texts, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(o.Settings.Data[0], filepath.Join(texts, "a.txt")); err != nil {
		t.Fatal(err)
	}
	o.Settings.Data, o.Settings.Out = []string{texts}, filepath.Join(texts, "out")
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Settings.Out, checkpointsName, stepName(12))); err != nil {
		t.Fatal(err)
	}
	moved := texts + ".moved"
	if err := os.Rename(texts, moved); err != nil {
		t.Fatal(err)
	}
	o.Settings.Data, o.Settings.Out = []string{moved}, filepath.Join(moved, "out")
	o.Resume = true
	r, err := Run(t.Context(), o)
	if err != nil || r.Steps != 12 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRecipeLine(t *testing.T) {
	const recipe = "# batch = 1\nsteps = 5\n\n[lora] # of low rank\nrank=3\n\"alpha\" = 4\n"
	for key, want := range map[string]int{"steps": 2, "lora.rank": 5, "lora.alpha": 6, "rank": 0, "batch": 0} {
		if got := RecipeLine([]byte(recipe), key); got != want {
			t.Errorf("%s: line %d, want %d", key, got, want)
		}
	}
}

// A link to nothing is said to be one, and stays.
func TestDanglingOut(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Skip(err)
	}
	for _, out := range []string{link, filepath.Join(link, "below")} {
		j, _ := fakeJob(t, 3, "out="+out)
		if _, err := Train(t.Context(), j); err == nil || !strings.Contains(err.Error(), "is a link to nowhere, which is not there") {
			t.Errorf("%s: %v", out, err)
		}
		if _, err := lockOut(out); err == nil {
			t.Errorf("%s can be locked", out)
		}
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("the link is gone: %v", err)
	}
}
