package fetch

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CachedRevision is one snapshot of a model in the cache.
type CachedRevision struct {
	Commit   string
	Refs     []string // branches and tags that point to it
	Path     string
	Files    int
	Bytes    int64     // of its files; a file that several revisions share counts for each
	Modified time.Time // when the last of its files came
}

// CachedRepo is a model in the cache.
type CachedRepo struct {
	Model     string
	Path      string
	Bytes     int64 // on the disk, each file once
	Partial   int64 // bytes of interrupted downloads
	Revisions []CachedRevision
}

// List tells which models are in the cache, by name. A cache that does not
// exist is an empty one.
func List(getenv func(string) string) ([]CachedRepo, error) {
	cache, err := CacheDir(getenv)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var repos []CachedRepo
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "models--")
		if !ok || !e.IsDir() {
			continue
		}
		repo, err := readRepo(filepath.Join(cache, e.Name()), strings.Replace(name, "--", "/", 1))
		if err != nil {
			return nil, err
		}
		repos = append(repos, repo)
	}
	slices.SortFunc(repos, func(a, b CachedRepo) int { return cmp.Compare(a.Model, b.Model) })
	return repos, nil
}

func readRepo(base, model string) (CachedRepo, error) {
	repo := CachedRepo{Model: model, Path: base}
	refs, err := readRefs(base)
	if err != nil {
		return repo, err
	}
	commits, err := os.ReadDir(filepath.Join(base, "snapshots"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return repo, err
	}
	counted := map[string]bool{} // where the bytes lie
	for _, c := range commits {
		if !c.IsDir() {
			continue
		}
		r := CachedRevision{Commit: c.Name(), Refs: refs[c.Name()], Path: filepath.Join(base, "snapshots", c.Name())}
		err := walkFiles(r.Path, func(path string, info os.FileInfo) error {
			r.Files++
			r.Bytes += info.Size()
			if info.ModTime().After(r.Modified) {
				r.Modified = info.ModTime()
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && !counted[real] {
				counted[real] = true
				repo.Bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return repo, err
		}
		if info, err := c.Info(); err == nil && r.Modified.IsZero() {
			r.Modified = info.ModTime()
		}
		repo.Revisions = append(repo.Revisions, r)
	}
	slices.SortFunc(repo.Revisions, func(a, b CachedRevision) int { return b.Modified.Compare(a.Modified) })
	unfinished, err := filepath.Glob(filepath.Join(escapeGlob(base), "blobs", "*.incomplete"))
	if err != nil {
		return repo, err
	}
	for _, path := range unfinished {
		if info, err := os.Stat(path); err == nil {
			repo.Partial += min(onDisk(info), info.Size())
		}
	}
	return repo, nil
}

// escapeGlob takes the special meaning off a path.
func escapeGlob(path string) string {
	if os.PathSeparator == '\\' {
		return path // where there is no way to
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// walkFiles visits the files below root, as what their links lead to; a link
// that leads nowhere is left out.
func walkFiles(root string, visit func(path string, info os.FileInfo) error) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		return visit(path, info)
	})
}

// readRefs tells for each commit which references point to it.
func readRefs(base string) (map[string][]string, error) {
	refs := map[string][]string{}
	root := filepath.Join(base, "refs")
	err := walkFiles(root, func(path string, info os.FileInfo) error {
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := readLimited(path, 256)
		if err != nil {
			return nil // not a reference
		}
		if commit, ok := parseRef(text); ok {
			refs[commit] = append(refs[commit], filepath.ToSlash(name))
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, names := range refs {
		slices.Sort(names)
	}
	return refs, err
}

// parseRef reads what a file below refs holds: a commit.
func parseRef(text []byte) (commit string, ok bool) {
	commit = strings.TrimSpace(string(text))
	return commit, isHex(commit, 40)
}
