package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The formats that can be read.
type Format string

const (
	Text      Format = "text"
	JSONLines Format = "jsonl"
	JSON      Format = "json"
	CSV       Format = "csv"
	TSV       Format = "tsv"
	Parquet   Format = "parquet"
)

// The ways a file may be compressed.
type Compression string

const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// File is one file of a corpus.
type File struct {
	Path        string
	Format      Format
	Compression Compression
	Size        int64 // bytes on disk
}

var formats = map[string]Format{
	".txt": Text, ".md": Text, ".markdown": Text, ".text": Text,
	".jsonl": JSONLines, ".ndjson": JSONLines, ".json": JSON,
	".csv": CSV, ".tsv": TSV, ".parquet": Parquet,
}

const known = ".txt, .md, .jsonl, .json, .csv, .tsv or .parquet, and of these .gz and .zst"

// formatOf tells what a file is by its name.
func formatOf(name string) (Format, Compression, bool) {
	name = strings.ToLower(name)
	var c Compression
	switch ext := filepath.Ext(name); ext {
	case ".gz", ".gzip":
		c, name = Gzip, strings.TrimSuffix(name, ext)
	case ".zst", ".zstd":
		c, name = Zstd, strings.TrimSuffix(name, ext)
	}
	f, ok := formats[filepath.Ext(name)]
	return f, c, ok
}

// Find lists the files that paths name, each once: files, folders with all that
// is below them, and patterns (*, ?, [a-z], and ** for any number of folders).
// Folders and patterns give their files in the order of their names; those of
// an unknown format in them, and hidden ones, are left out and come back in
// skipped. So do folders in them that hold a model, with a / at the end: its
// model card and metrics are no texts. Links in them to folders, and to nothing,
// come back with a @ at the end. The folders in leave are left out, too. A path
// that gives nothing is an error.
func Find(paths []string, leave ...string) (files []File, skipped []string, err error) {
	if len(paths) == 0 {
		return nil, nil, errors.New("no data: name files, folders or patterns")
	}
	seen := make(map[string]bool)
	w := walk{skipped: &skipped}
	for _, dir := range leave {
		if info, err := os.Stat(dir); err == nil {
			w.leave = append(w.leave, info)
		}
	}
	for _, p := range paths {
		before := len(files) + len(seen)
		names, found, err := w.expand(p)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			format, compression, ok := formatOf(name)
			if !ok {
				if found == asFile {
					return nil, nil, unknownFormat(name)
				}
				skipped = append(skipped, name)
				continue
			}
			info, err := os.Stat(name)
			if err != nil {
				return nil, nil, Unreadable(name, err)
			}
			if !info.Mode().IsRegular() {
				return nil, nil, mended(fmt.Errorf("read %s: not a regular file (%v)", name, info.Mode().Type()), "save what it gives in a file first")
			}
			key := filepath.Clean(name)
			if abs, err := filepath.Abs(name); err == nil {
				key = abs
			}
			if seen[key] {
				before-- // it did give something
				continue
			}
			seen[key] = true
			files = append(files, File{Path: name, Format: format, Compression: compression, Size: info.Size()})
		}
		if len(files)+len(seen) == before {
			return nil, nil, mended(fmt.Errorf("read %s: no file in it that can be read, want %s", p, known), "name another folder; hidden files and the folders of models are passed over")
		}
	}
	return files, skipped, nil
}

const (
	asFile = iota
	asFolder
	asPattern
)

// expand gives the names behind one path, and what kind of path it is.
func (w walk) expand(p string) (names []string, kind int, err error) {
	info, err := os.Stat(p)
	switch {
	case err == nil && info.IsDir():
		names, err = w.below(p, func(string) bool { return true })
		return names, asFolder, err
	case err == nil:
		return []string{p}, asFile, nil
	case p == "":
		return nil, 0, mended(errors.New("the name of a file of texts is empty"), "name files, folders or patterns: --data notes.txt")
	case !errors.Is(err, fs.ErrNotExist) || !strings.ContainsAny(p, "*?["):
		return nil, 0, Unreadable(p, err)
	}
	pattern := filepath.ToSlash(filepath.Clean(p))
	parts := strings.Split(pattern, "/")
	for _, part := range parts {
		if _, err := path.Match(part, ""); err != nil {
			return nil, 0, mended(fmt.Errorf("read %s: not a valid pattern", p), `a [ that stands for itself is written \[`)
		}
	}
	base := 0
	for base < len(parts) && !strings.ContainsAny(parts[base], "*?[") {
		base++
	}
	root := strings.Join(parts[:base], "/")
	switch {
	case root == "" && base > 0:
		root = "/"
	case root == "":
		root = "."
	}
	if info, err := os.Stat(filepath.FromSlash(root)); err != nil {
		return nil, 0, mended(fmt.Errorf("read %s: %w", p, cause(err)), notThere(filepath.FromSlash(root)))
	} else if !info.IsDir() {
		return nil, 0, fmt.Errorf("read %s: %s is not a folder", p, root)
	}
	rest := parts[base:]
	names, err = w.below(filepath.FromSlash(root), func(rel string) bool { return match(rest, strings.Split(filepath.ToSlash(rel), "/")) })
	if err == nil && len(names) == 0 {
		err = mended(fmt.Errorf("read %s: no file has such a name", p), "a * does not go into folders; **/*.txt does")
	}
	return names, asPattern, err
}

// cause is the error without the path that the message already names.
func cause(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// walk goes through folders.
type walk struct {
	leave   []os.FileInfo
	skipped *[]string
}

// into reports whether to go into a folder.
func (w walk) into(name string) bool {
	info, err := os.Stat(name)
	if err != nil || slices.ContainsFunc(w.leave, func(l os.FileInfo) bool { return os.SameFile(l, info) }) {
		return false
	}
	if !holdsModel(name) {
		return true
	}
	if s := filepath.ToSlash(name) + "/"; !slices.Contains(*w.skipped, s) {
		*w.skipped = append(*w.skipped, s)
	}
	return false
}

// holdsModel tells the folder of a model, or of a training, by its files.
func holdsModel(dir string) bool {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, err := os.Stat(filepath.Join(dir, n)); return err == nil })
	}
	return has("config.json") && has("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin") ||
		has("adapter_config.json") || has("metrics.csv") && has("checkpoints", "tensorboard")
}

// below lists the files below a folder, hidden ones left out, whose name
// relative to it is wanted.
func (w walk) below(root string, want func(rel string) bool) (names []string, err error) {
	if info, err := os.Lstat(root); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		root += string(filepath.Separator) // into the folder that is behind it
	}
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != root && strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			if name != root && !w.into(name) {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || !want(rel) {
			return err
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			if s := filepath.ToSlash(name) + "@"; e.Type()&fs.ModeSymlink != 0 && !slices.Contains(*w.skipped, s) {
				*w.skipped = append(*w.skipped, s)
			}
			return nil // a link to nowhere or to a folder, a socket
		}
		names = append(names, name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

// match reports whether the parts of a path fit the parts of a pattern.
func match(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := range len(name) + 1 {
			if match(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], name[0])
	return ok && match(pattern[1:], name[1:])
}
