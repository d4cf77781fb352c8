package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// target is where files go: a model's folder in the shared cache, or with
// plain set any folder, which gets the files under their own names.
//
// In the cache, what huggingface_hub does not know lies in the model's folder
// .gptctl: journals and the recorded chains. Unfinished files lie beside the
// blobs and are called so that `hf cache prune` takes them for what they are.
type target struct {
	base    string // models--ORG--NAME, or the folder
	cache   string // the folder hub, "" where plain
	plain   bool
	commit  string
	noLinks bool
}

func (t target) snapshot() string {
	if t.plain {
		return t.base
	}
	return filepath.Join(t.base, "snapshots", t.commit)
}

func (t target) path(file string) string {
	return filepath.Join(t.snapshot(), filepath.FromSlash(file))
}

func (t target) own(name string) string { return filepath.Join(t.base, ".gptctl", name) }

func (t target) blob(hash string) string { return filepath.Join(t.base, "blobs", hash) }

func (t target) unfinished(hash string) string {
	if t.plain {
		return t.own(hash + ".incomplete")
	}
	return t.blob(hash + ".gptctl.incomplete")
}

// aside is for parts of a first copy while a second one comes.
func (t target) aside(hash string) string {
	if t.plain {
		return t.own(hash + ".first.incomplete")
	}
	return t.blob(hash + ".gptctl-first.incomplete")
}

func (t target) journal(hash string) string { return t.own(hash + ".journal") }
func (t target) chain(hash string) string   { return t.own(hash + ".chunks") }

func (t target) lock(hash string) string {
	if t.plain {
		return t.own(hash + ".lock")
	}
	return filepath.Join(t.cache, ".locks", filepath.Base(t.base), hash+".lock")
}

// places are where the content of a blob may lie already.
func (t target) places(b blob) []string {
	var places []string
	if !t.plain {
		places = append(places, t.blob(b.hash))
	}
	for _, file := range b.files {
		places = append(places, t.path(file))
	}
	return places
}

// find returns a file that may have the content of b, to be verified; "" if
// there is none.
func (t target) find(b blob) string {
	for _, place := range t.places(b) {
		if info, err := os.Stat(place); err == nil && info.Mode().IsRegular() && info.Size() == b.size {
			return place
		}
	}
	return ""
}

// complete tells that every path of b has its file.
func (t target) complete(b blob) bool {
	for _, file := range b.files {
		if info, err := os.Stat(t.path(file)); err != nil || !info.Mode().IsRegular() || info.Size() != b.size {
			return false
		}
	}
	return true
}

// locked runs work while no other process, of ours or of Python's, works on
// the same content. waiting is called once if that takes waiting.
func (t target) locked(ctx context.Context, hash string, poll time.Duration, waiting func(), work func() error) error {
	path := t.lock(hash)
	f, err := openLock(path)
	if err != nil {
		return writeError(t.base, err)
	}
	defer func() { f.Close() }() // which gives the lock back
	for told := false; ; {
		got, err := tryLock(f)
		if err != nil {
			return err
		}
		if got {
			// Whoever had it may have removed the file: then it locks nothing.
			mine, err := f.Stat()
			now, err2 := os.Stat(path)
			if err == nil && err2 == nil && os.SameFile(mine, now) {
				break
			}
			f.Close()
			if f, err = openLock(path); err != nil {
				return writeError(t.base, err)
			}
			continue
		}
		if !told {
			told = true
			waiting()
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
	err = work()
	if t.plain { // in the cache they stay, as huggingface_hub has it
		os.Remove(path)
	}
	return err
}

func openLock(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o664)
}

// publish makes every path of b lead to the verified file at place.
func (t target) publish(b blob, place string) error {
	for _, file := range b.files {
		path := t.path(file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return writeError(t.base, err)
		}
		if path == place {
			continue
		}
		if sameFile(path, place) {
			continue
		}
		moved, err := t.put(place, path)
		if err != nil {
			return writeError(t.base, err)
		}
		if moved {
			place = path
		}
	}
	return nil
}

// put makes path lead to place: by a relative link, or where links cannot be
// made as huggingface_hub does it, by moving a blob to the first path that needs
// it and copying it for the others.
func (t target) put(place, path string) (moved bool, err error) {
	inBlobs := !t.plain && filepath.Dir(place) == filepath.Join(t.base, "blobs")
	if inBlobs && !t.noLinks {
		relative, err := filepath.Rel(filepath.Dir(path), place)
		if err != nil {
			return false, err
		}
		err = replaceBy(path, func(temp string) error { return os.Symlink(relative, temp) })
		if err == nil {
			return false, nil
		}
		if errors.Is(err, fs.ErrPermission) || isFull(err) {
			if probe := t.canLink(); probe {
				return false, err
			}
		}
	}
	if inBlobs {
		return true, os.Rename(place, path)
	}
	return false, replaceBy(path, func(temp string) error { return copyFile(place, temp) })
}

// canLink tries whether links can be made in the cache at all.
func (t target) canLink() bool {
	dir, err := os.MkdirTemp(t.base, ".link")
	if err != nil {
		return true // the reason lies elsewhere
	}
	defer os.RemoveAll(dir)
	return os.Symlink("a", filepath.Join(dir, "b")) == nil
}

// replaceBy has make create a file and gives it its name in one step.
func replaceBy(path string, make func(temp string) error) error {
	temp := path + ".gptctl.tmp"
	os.Remove(temp)
	if err := make(temp); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if shut := out.Close(); err == nil {
		err = shut
	}
	return err
}

// begin makes the folders and the tag that backup programs know
// (https://bford.info/cachedir/).
func (t target) begin() error {
	folders := []string{t.base}
	if !t.plain {
		folders = append(folders, filepath.Join(t.base, "blobs"), filepath.Join(t.base, "refs"), t.snapshot())
	}
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return writeError(t.base, err)
		}
	}
	if t.plain {
		return nil
	}
	tag := filepath.Join(t.cache, "CACHEDIR.TAG")
	if _, err := os.Lstat(tag); err == nil {
		return nil
	}
	return writeError(t.cache, writeFile(tag, []byte("Signature: 8a477f597d28d172789f06886806bc55\n"+
		"# This folder is a cache of files from the Hugging Face Hub.\n"+
		"# For what this file means see https://bford.info/cachedir/\n"), 0o644))
}

// finish writes down what the Python tools look for, the reference last: what
// it points to is complete by then.
func (t target) finish(revision string, listing []hubFile, complete bool, missing []string) error {
	if t.plain {
		os.Remove(filepath.Join(t.base, ".gptctl")) // if it is empty
		return nil
	}
	if complete {
		if err := t.writeTree(listing); err != nil {
			return writeError(t.base, err)
		}
		for _, name := range missing {
			path := filepath.Join(t.base, ".no_exist", t.commit, name)
			if err := touch(path); err != nil {
				return writeError(t.base, err)
			}
		}
	}
	if revision == t.commit {
		return nil
	}
	ref := filepath.Join(t.base, "refs", filepath.FromSlash(revision))
	if old, err := readLimited(ref, 256); err == nil && string(old) == t.commit {
		return nil
	}
	return writeError(t.base, writeFile(ref, []byte(t.commit), 0o644))
}

func touch(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// treeFile is trees/COMMIT.json, the listing of a commit as huggingface_hub
// keeps it since 2026 (_tree_cache.py).
type treeFile struct {
	Version int                  `json:"format_version"`
	Files   map[string]treeEntry `json:"files"`
}

type treeEntry struct {
	Size    int64  `json:"size"`
	BlobID  string `json:"blob_id"`
	SHA256  string `json:"lfs_sha256,omitempty"`
	LFSSize int64  `json:"lfs_size,omitempty"`
	Xet     string `json:"xet_hash,omitempty"`
}

func (t target) treePath() string { return filepath.Join(t.base, "trees", t.commit+".json") }

func (t target) writeTree(listing []hubFile) error {
	if _, err := os.Lstat(t.treePath()); err == nil {
		return nil // a commit does not change
	}
	tree := treeFile{1, map[string]treeEntry{}}
	for _, f := range listing {
		e := treeEntry{Size: f.Size, BlobID: f.GitSHA1, SHA256: f.SHA256}
		if f.SHA256 != "" {
			e.LFSSize = f.Size
		}
		if isHex(f.Xet, 64) {
			e.Xet = f.Xet
		}
		tree.Files[f.Path] = e
	}
	text, err := json.MarshalIndent(tree, "", " ")
	if err != nil {
		return err
	}
	return writeFile(t.treePath(), text, 0o644)
}

// readTree reads the listing of the commit back, nil if it was not kept.
func (t target) readTree() []hubFile {
	text, err := readLimited(t.treePath(), mostJSON)
	if err != nil {
		return nil
	}
	files, err := parseTreeFile(text)
	if err != nil {
		return nil
	}
	return files
}

func parseTreeFile(text []byte) ([]hubFile, error) {
	var tree treeFile
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	if tree.Version != 1 {
		return nil, errors.New("a listing of another version")
	}
	var files []hubFile
	for path, e := range tree.Files {
		f := hubFile{Path: path, Size: e.Size, GitSHA1: e.BlobID, SHA256: e.SHA256, Xet: e.Xet}
		if e.SHA256 != "" {
			f.Size = e.LFSSize
		}
		files = append(files, f)
	}
	return files, checkListing(files)
}
