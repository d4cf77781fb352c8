package finetune

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

// ExistsError says that OUT holds something already.
type ExistsError struct {
	Out     string
	Example string // what is in it
	Run     bool   // it is a training that could be resumed
	Foreign bool   // no training wrote it: it is not replaced, whatever is asked for
}

func (e *ExistsError) Error() string {
	if e.Run {
		return fmt.Sprintf("%s holds the training of another time", e.Out)
	}
	if e.Foreign {
		return fmt.Sprintf("%s is not empty: it holds %s, which no training wrote", e.Out, e.Example)
	}
	return fmt.Sprintf("%s is not empty: it holds %s", e.Out, e.Example)
}

// ours are the names that a run may have left in OUT.
var ours = []string{
	checkpointsName, tensorboardName, metricsName, reportName, "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", weightsName, adapterName, "adapter_config.json",
	"README.md", "LICENSE", "LICENSE.txt", "LICENSE.md",
}

// byproducts are those that are worth nothing without a checkpoint.
var byproducts = []string{checkpointsName, tensorboardName, metricsName, reportName}

// CheckOut refuses a folder that a run must not write to: one that holds
// something, but with force, if all of it can be a training's, or with resume, if
// it is one. What a run left that came to no checkpoint is nothing. source is
// where the model to begin with lies, "" if nowhere.
func CheckOut(out, source string, resume, force bool) error {
	if out == "" {
		return errors.New("there is no folder to write to: out is empty")
	}
	if source != "" && !resume && (resolve(source) == resolve(out) || strings.HasPrefix(resolve(source), resolve(out)+string(filepath.Separator))) {
		return fmt.Errorf("%s holds the model to begin with: write to another folder", out)
	}
	info, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		if link, to := dangling(out); link != "" {
			return fmt.Errorf("%s is a link to %s, which is not there: make that folder, or write to another", link, to)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && resume:
		return fmt.Errorf("%s: %w", out, ErrNothingToResume)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write to %s: %w", out, cause(err))
	case !info.IsDir():
		return fmt.Errorf("%s is a file, want the name of a folder", out)
	case resume:
		return nil
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	worth := ""
	for _, e := range entries {
		part := e.Name() == lockName || strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), partSuffix)
		if !part && !slices.Contains(ours, e.Name()) {
			return &ExistsError{Out: out, Example: e.Name(), Foreign: true}
		}
		if !part && !slices.Contains(byproducts, e.Name()) {
			worth = e.Name()
		}
	}
	steps, err := listCheckpoints(out)
	if err != nil {
		return err
	}
	if (worth != "" || len(steps) > 0) && !force {
		return &ExistsError{Out: out, Example: worth, Run: len(steps) > 0}
	}
	return nil
}

// dangling finds a link to nothing among a path and the folders that it lies in,
// "" if there is none.
func dangling(path string) (link, to string) {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if to, err := os.Readlink(dir); err == nil {
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				return dir, to
			}
		}
		if dir == filepath.Dir(dir) {
			return "", ""
		}
	}
}

// prepare makes OUT, which is locked, ready to be written: empty, or with what
// there is to go on from.
func prepare(out, source string, resume, force bool) error {
	if err := CheckOut(out, source, resume, force); err != nil {
		return err
	}
	if resume {
		return sweep(out)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName { // it is ours now
			continue
		}
		if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// resolve returns a path without links, as far as it exists.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	return filepath.Join(resolveParent(abs), filepath.Base(abs))
}

func resolveParent(abs string) string {
	if parent := filepath.Dir(abs); parent != abs {
		return resolve(parent)
	}
	return abs
}

// RoomError says that the disk has too little room for a run.
type RoomError struct {
	Dir        string
	Need, Free int64 // bytes
	Keep       int
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("%s has room for %.1f MB, but %d checkpoints and the model take %.1f MB", e.Dir, float64(e.Free)/1e6, e.Keep, float64(e.Need)/1e6)
}

// checkRoom compares what a run will write with what is free. A system that
// cannot tell is not asked again.
func checkRoom(out string, keep int, checkpoint, model int64) error {
	abs, err := filepath.Abs(out)
	if err != nil {
		return nil
	}
	usage, err := machine.Local().Usage(abs)
	if err != nil {
		return nil
	}
	need := int64(keep)*checkpoint + model
	if free := int64(min(usage.FreeBytes, 1<<62)); free < need {
		return &RoomError{out, need, free, keep}
	}
	return nil
}
