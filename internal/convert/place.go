package convert

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

// RoomError says that the disk has too little room.
type RoomError struct {
	Dir        string
	Need, Free int64 // bytes
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("%s has room for %.1f MB, but %.1f MB are to be written", e.Dir, float64(e.Free)/1e6, float64(e.Need)/1e6)
}

// checkRoom compares what is to be written with what is free. A system that
// cannot tell is not asked again: a full disk ends the writing too.
func checkRoom(o Options, dir string, need int64) error {
	ask := o.freeBytes
	if ask == nil {
		ask = func(dir string) (int64, error) {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return 0, err
			}
			u, err := machine.Local().Usage(abs)
			return int64(min(u.FreeBytes, 1<<62)), err
		}
	}
	if free, err := ask(dir); err == nil && free < need {
		return &RoomError{dir, need, free}
	}
	return nil
}

// checkPlace refuses an Out that must not be written.
func checkPlace(o Options) error {
	if o.Out == "" {
		return errors.New("no place to write to was given")
	}
	parent, err := os.Stat(filepath.Dir(filepath.Clean(o.Out)))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %s to write to: %w", filepath.Dir(filepath.Clean(o.Out)), fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	if !parent.IsDir() {
		return fmt.Errorf("%s is not a folder", filepath.Dir(o.Out))
	}
	sweep(o.Out)
	if o.To == Safetensors {
		sweep(inside(o.Out))
	}
	if o.Source != "" {
		source, out := resolve(o.Source), resolve(o.Out)
		switch {
		case source == out:
			return fmt.Errorf("%s is the model itself: write to another place", o.Out)
		case within(out, source):
			return fmt.Errorf("%s is inside the model's folder: write to another place", o.Out)
		case within(source, out):
			return fmt.Errorf("%s holds the model itself: write to another place", o.Out)
		}
	}
	info, err := os.Lstat(o.Out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case o.To == Safetensors && info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link, want the name of a folder", o.Out)
	case o.To == GGUF && info.IsDir():
		return fmt.Errorf("%s is a folder, want the name of a file", o.Out)
	case o.To == Safetensors && !info.IsDir():
		return fmt.Errorf("%s is a file, want the name of a folder", o.Out)
	case o.To == GGUF && !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("%s is not a regular file", o.Out)
	}
	if o.To == Safetensors {
		return checkFolder(o)
	}
	if !o.Force {
		return &ExistsError{o.Out}
	}
	return nil
}

// checkFolder refuses a folder that is not empty, or, with Force, one that holds
// more than a model: replacing it would lose that.
func checkFolder(o Options) error {
	entries, err := os.ReadDir(o.Out)
	if err != nil {
		return err
	}
	if len(entries) > 0 && !o.Force {
		return &ExistsError{o.Out}
	}
	if name := filepath.Base(filepath.Clean(o.Out)); len(entries) > 0 && (name == "." || name == "..") {
		return fmt.Errorf("%s is not replaced: it is the folder that this runs in, or holds it", o.Out)
	}
	for _, e := range entries {
		if e.IsDir() || !slices.ContainsFunc(modelFiles, func(pattern string) bool {
			ok, _ := filepath.Match(pattern, e.Name())
			return ok
		}) {
			return fmt.Errorf("%s is not replaced: it holds %s, which is not a file of a model", o.Out, e.Name())
		}
	}
	return nil
}

// inside is what is made in a folder that is empty, and moved to it file by file.
func inside(folder string) string { return filepath.Join(folder, "model") }

// isEmptyFolder reports whether there is a folder with nothing in it.
func isEmptyFolder(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}

// modelFiles are the names of what may be in a folder that is replaced.
var modelFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json",
	"pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json", "README.md", "LICENSE*", ".gitattributes",
}

// resolve returns a path without links, as far as it exists.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	rest := ""
	for dir := abs; ; {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return abs
		}
		rest = filepath.Join(filepath.Base(dir), rest)
		dir = parent
	}
}

// within reports whether a path lies below a folder.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
