package finetune

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/internal/safetensors"
)

const (
	checkpointSchema = "gptctl.checkpoint/2"
	unsummedSchema   = "gptctl.checkpoint/1" // the same without the sum of state.json
	checkpointsName  = "checkpoints"
	stateName        = "state.json"
	weightsName      = "model.safetensors"
	adapterName      = "adapter_model.safetensors"
	optimizerName    = "optimizer.safetensors"
	stepPrefix       = "step-"

	// maxState bounds what is read of a state.json.
	maxState = 64 << 20
)

// position is where a run is: with the tensors, all that decides about the rest.
type position struct {
	Schema string `json:"schema"`
	Step   int    `json:"step"` // steps that are done
	Row    int64  `json:"row"`  // the next row of the data
	Tokens int64  `json:"tokens"`

	Seconds   float64 `json:"seconds"`
	BestStep  int     `json:"best_step"` // 0: none
	BestLoss  float64 `json:"best_loss"`
	LastLoss  float64 `json:"last_loss"`
	Worse     int     `json:"worse"`   // evaluations since the best one
	Stopped   bool    `json:"stopped"` // early
	Rollbacks int     `json:"rollbacks"`
	Skipped   int     `json:"skipped"`   // steps in a row
	Pending   bool    `json:"pending"`   // what is due after the step was cut short
	EvalStep  int     `json:"eval_step"` // of the last evaluation

	Losses  []float64 `json:"losses"` // the last ones, for the guard
	Samples []Sample  `json:"samples"`

	Model     string   `json:"model"`
	ModelHash string   `json:"model_hash"`
	DataHash  string   `json:"data_hash"`
	Settings  Settings `json:"-"`

	Recipe string            `json:"recipe"` // Settings as TOML
	Values map[string]string `json:"trainer"`
	Files  []fileSum         `json:"files"`
	Sum    string            `json:"crc32c"` // of state.json with noSum in this place
}

// noSum is what stands in the place of the sum while it is computed.
const noSum = "--------"

// Sample is a text that the model wrote.
type Sample struct {
	Step   int    `json:"step"`
	Prompt string `json:"prompt"`
	Text   string `json:"text"`
}

// DamagedError is a checkpoint that cannot be used.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("checkpoint %s: %v", e.Path, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

func stepName(step int) string { return fmt.Sprintf("%s%08d", stepPrefix, step) }

// listCheckpoints returns the steps of the checkpoints in OUT, the newest first.
func listCheckpoints(out string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(out, checkpointsName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stepPrefix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n >= 0 && stepName(n) == e.Name() && e.IsDir() {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// The names of what is not, or no longer, a checkpoint: being written, replaced
// by another of the same step, being removed.
func newName(step int) string  { return "." + stepName(step) + ".new" + partSuffix }
func oldName(step int) string  { return "." + stepName(step) + ".old" + partSuffix }
func goneName(step int) string { return "." + stepName(step) + ".gone" + partSuffix }

// sweep removes what was cut short, and brings back what was to be replaced if
// the other is not there.
func sweep(out string) error {
	dir := filepath.Join(out, checkpointsName)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), "."+stepPrefix)
		digits, kind, _ := strings.Cut(rest, ".")
		if !ok || !strings.HasSuffix(kind, partSuffix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		final := filepath.Join(dir, stepPrefix+digits)
		if _, err := os.Lstat(final); errors.Is(err, os.ErrNotExist) && kind == "old"+partSuffix {
			if err := os.Rename(path, final); err != nil {
				return err
			}
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// removeCheckpoint takes its name away first, so that half of it is never
// taken for the whole.
func removeCheckpoint(out string, step int) error {
	dir := filepath.Join(out, checkpointsName)
	gone := filepath.Join(dir, goneName(step))
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, stepName(step)), gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// writeCheckpoint writes OUT/checkpoints/step-N: a model folder with what is
// needed to go on. It is there when it is whole.
func writeCheckpoint(d disk, out string, p position, s State, small map[string][]byte) (err error) {
	parent := filepath.Join(out, checkpointsName)
	part := filepath.Join(parent, newName(p.Step))
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.Mkdir(part, 0o777); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(part) // it would keep others from being written
		}
	}()
	p.Files = nil
	tensors := func(name string, list []safetensors.Named) error {
		sum, err := d.write(filepath.Join(part, name), func(w io.Writer) error {
			return safetensors.Write(w, list, map[string]string{"format": "pt"})
		})
		p.Files = append(p.Files, sum)
		return err
	}
	if err := tensors(weightsFile(p.Settings), s.Weights); err != nil {
		return err
	}
	if err := tensors(optimizerName, s.Optimizer); err != nil {
		return err
	}
	for name, data := range small {
		if _, err := d.write(filepath.Join(part, name), func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		}); err != nil {
			return err
		}
	}
	p.Values = s.Values
	text, err := p.json()
	if err != nil {
		return err
	}
	if _, err := d.write(filepath.Join(part, stateName), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}); err != nil {
		return err
	}
	syncFolder(part)
	final, old := filepath.Join(parent, stepName(p.Step)), filepath.Join(parent, oldName(p.Step))
	if _, err := os.Lstat(final); err == nil { // saved in an earlier sitting, or before a rollback
		if err := errors.Join(os.RemoveAll(old), os.Rename(final, old)); err != nil {
			return err
		}
	}
	if err := os.Rename(part, final); err != nil {
		return err
	}
	syncFolder(parent)
	return os.RemoveAll(old)
}

// weightsFile is what the file of the trained weights is called.
func weightsFile(s Settings) string {
	if s.LoRA.Rank > 0 {
		return adapterName
	}
	return weightsName
}

// json is the state.json of a checkpoint.
func (p position) json() ([]byte, error) {
	p.Schema, p.Recipe, p.Sum = checkpointSchema, string(p.Settings.TOML()), noSum
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return replaceSum(text, noSum, sumOf(text)), nil
}

// sumField is how the sum begins, in a line of its own.
const sumField = "\n  \"crc32c\": \""

// replaceSum puts another sum into a state.json; without one it stays as it is.
func replaceSum(text []byte, was, now string) []byte {
	return bytes.Replace(text, []byte(sumField+was+`"`), []byte(sumField+now+`"`), 1)
}

func sumOf(text []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) }

// readPosition reads the state.json of a checkpoint.
func readPosition(dir string) (p position, err error) {
	defer func() {
		if err != nil {
			err = &DamagedError{dir, err}
		}
	}()
	f, err := os.Open(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return p, fmt.Errorf("%s is missing", stateName)
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return p, err
	}
	if p, err = parsePosition(data); err == nil && stepName(p.Step) != filepath.Base(dir) {
		err = fmt.Errorf("%s is of step %d", stateName, p.Step)
	}
	return p, err
}

func parsePosition(data []byte) (p position, err error) {
	if len(data) > maxState {
		return p, fmt.Errorf("%s has more than %d bytes", stateName, maxState)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%s is damaged: %w", stateName, err)
	}
	if p.Schema == checkpointSchema {
		if sum := sumOf(replaceSum(data, p.Sum, noSum)); sum != p.Sum {
			return p, fmt.Errorf("%s is damaged: its checksum is %s, want %s", stateName, sum, p.Sum)
		}
	} else if p.Schema != unsummedSchema {
		return p, fmt.Errorf("%s has schema %q, want %q", stateName, p.Schema, checkpointSchema)
	}
	p.Settings = Defaults()
	if err := ParseRecipe(&p.Settings, stateName, []byte(p.Recipe)); err != nil {
		return p, err
	}
	if err := p.Settings.Validate(); err != nil {
		return p, fmt.Errorf("%s: %w", stateName, err)
	}
	want := []string{weightsFile(p.Settings), optimizerName}
	for i, name := range want {
		if len(p.Files) != len(want) || p.Files[i].Name != name {
			return p, fmt.Errorf("%s does not list %s", stateName, name)
		}
	}
	if p.Step < 0 || p.Row < 0 || p.BestStep < 0 {
		return p, fmt.Errorf("%s holds a negative step", stateName)
	}
	return p, nil
}

// loadTensors opens a checkpoint, checks it and gives its tensors to use. What
// use forgets does not count as memory of a training that has all of it twice
// for a moment.
func loadTensors(dir string, p position, use func(State) error) error {
	var files []*safetensors.File
	state := State{Values: p.Values, Forget: func(part []byte) {
		for _, f := range files {
			f.Forget(part)
		}
	}}
	for i, to := range []*[]safetensors.Named{&state.Weights, &state.Optimizer} {
		if err := p.Files[i].check(dir); err != nil {
			return &DamagedError{dir, err}
		}
		f, err := safetensors.Open(filepath.Join(dir, p.Files[i].Name))
		if err != nil {
			return &DamagedError{dir, err}
		}
		defer f.Close()
		f.ReadAhead()
		files = append(files, f)
		for _, name := range f.Names() {
			t, _ := f.Tensor(name)
			*to = append(*to, safetensors.Named{Name: name, Tensor: t})
		}
	}
	return use(state)
}

// LastSettings returns the settings of the newest run in OUT that can go on, so
// that a user need not repeat them.
func LastSettings(out string) (Settings, error) {
	if err := checkBusy(out); err != nil {
		return Settings{}, err
	}
	_, p, err := newest(out)
	return p.Settings, err
}

// ErrNothingToResume says that a folder has no checkpoint.
var ErrNothingToResume = errors.New("there is no checkpoint to resume from")

// newest finds the newest checkpoint whose state.json can be read.
func newest(out string) (dir string, p position, err error) {
	steps, err := listCheckpoints(out)
	if err != nil {
		return "", p, err
	}
	var damage error
	for _, step := range steps {
		dir := filepath.Join(out, checkpointsName, stepName(step))
		if p, err = readPosition(dir); err == nil {
			return dir, p, nil
		}
		if damage == nil {
			damage = err
		}
	}
	return "", position{}, nothingToResume(out, len(steps), damage)
}

// nothingToResume says why: there is no checkpoint, or all are damaged.
func nothingToResume(out string, checkpoints int, damage error) error {
	if damage == nil {
		return fmt.Errorf("%s: %w", out, ErrNothingToResume)
	}
	if checkpoints > 1 {
		damage = fmt.Errorf("all %d are damaged, the newest: %w", checkpoints, damage)
	}
	return fmt.Errorf("%s: %w: %w", out, ErrNothingToResume, damage)
}
