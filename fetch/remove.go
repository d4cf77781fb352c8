package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveOptions say what to remove.
type RemoveOptions struct {
	Model  string // what ParseModelID reads; with "@revision" only that revision
	DryRun bool   // only tell
	Getenv func(string) string
}

// Removal is what was, or with DryRun would be, removed.
type Removal struct {
	Model     string
	Paths     []string // folders of models or snapshots
	Revisions []string // commits
	Bytes     int64    // freed on the disk
}

// BusyError: another process is downloading this very model.
type BusyError struct{ Model string }

func (e *BusyError) Error() string {
	return e.Model + " is being downloaded by another process"
}

// Remove deletes a model, or one revision of it, from the cache. Files that
// another revision needs stay. The errors are ErrNotCached, *BusyError and
// *ReadOnlyError, wrapped or not.
func Remove(o RemoveOptions) (Removal, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Model == "" {
		return Removal{}, &InvalidIDError{"", "it is empty"}
	}
	repos, revision, err := cachedRepos(o.Model, o.Getenv)
	if err != nil {
		return Removal{}, err
	}
	r := Removal{Model: o.Model}
	for _, repo := range repos {
		r.Model = repo.Model
		var gone []CachedRevision
		for _, c := range repo.Revisions {
			if matchesRevision(c.Commit, c.Refs, revision) {
				gone = append(gone, c)
				r.Revisions = append(r.Revisions, c.Commit)
			}
		}
		unlock, err := lockRepo(repo, o.DryRun)
		if err != nil {
			return r, err
		}
		if len(gone) == len(repo.Revisions) {
			err = r.removeRepo(repo, o.DryRun)
		} else {
			err = r.removeRevisions(repo, gone, o.DryRun)
		}
		unlock()
		if err != nil {
			return r, writeError(repo.Path, fmt.Errorf("remove %s: %w", repo.Model, err))
		}
	}
	return r, nil
}

func (r *Removal) removeRepo(repo CachedRepo, dryRun bool) error {
	r.Paths = append(r.Paths, repo.Path)
	r.Bytes += repo.Bytes + repo.Partial
	if dryRun {
		return nil
	}
	// References first: an interrupted removal must not look like a model.
	if err := os.RemoveAll(filepath.Join(repo.Path, "refs")); err != nil {
		return err
	}
	return os.RemoveAll(repo.Path)
}

func (r *Removal) removeRevisions(repo CachedRepo, gone []CachedRevision, dryRun bool) error {
	needed := map[string]bool{} // blobs of the revisions that stay
	links := func(c CachedRevision, visit func(blob string, info os.FileInfo)) error {
		return walkFiles(c.Path, func(path string, info os.FileInfo) error {
			if to, err := os.Readlink(path); err == nil {
				path = filepath.Join(filepath.Dir(path), to)
			}
			visit(path, info)
			return nil
		})
	}
	going := map[string]bool{}
	for _, c := range gone {
		going[c.Commit] = true
	}
	for _, c := range repo.Revisions {
		if going[c.Commit] {
			continue
		}
		if err := links(c, func(blob string, _ os.FileInfo) { needed[blob] = true }); err != nil {
			return err
		}
	}
	for _, c := range gone {
		r.Paths = append(r.Paths, c.Path)
		unneeded := map[string]bool{}
		err := links(c, func(blob string, info os.FileInfo) {
			if !needed[blob] {
				needed[blob] = true // counted
				unneeded[blob] = true
				r.Bytes += info.Size()
			}
		})
		if err != nil {
			return err
		}
		if dryRun {
			continue
		}
		for _, ref := range c.Refs {
			if err := os.Remove(filepath.Join(repo.Path, "refs", filepath.FromSlash(ref))); err != nil {
				return err
			}
		}
		for _, path := range []string{c.Path, filepath.Join(repo.Path, ".no_exist", c.Commit), filepath.Join(repo.Path, "trees", c.Commit+".json")} {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
		t := target{base: repo.Path}
		for blob := range unneeded {
			if filepath.Dir(blob) != filepath.Join(repo.Path, "blobs") {
				continue // it was in the snapshot itself, or is another's
			}
			if err := os.Remove(blob); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			os.Remove(t.chain(filepath.Base(blob)))
		}
	}
	return nil
}

// lockRepo takes the locks that downloads of the model have left, all of which
// must be free.
func lockRepo(repo CachedRepo, dryRun bool) (unlock func(), err error) {
	var files []*os.File
	unlock = func() {
		for _, f := range files {
			f.Close()
		}
	}
	paths, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(repo.Path)), ".locks", filepath.Base(repo.Path), "*.lock"))
	if err != nil || dryRun {
		return unlock, err
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // not ours to lock
		}
		files = append(files, f)
		if got, err := tryLock(f); err != nil || !got {
			unlock()
			return nil, &BusyError{repo.Model}
		}
	}
	return unlock, nil
}
