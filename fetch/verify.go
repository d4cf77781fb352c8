package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// VerifyOptions say what to verify.
type VerifyOptions struct {
	Model    string // what ParseModelID reads; "" means all models in the cache
	Getenv   func(string) string
	Progress func(done, total int64) // bytes; nil for none; called from several goroutines
}

// FileState is what Verify finds of a file.
type FileState string

const (
	StateGood    FileState = "good"
	StateSpoilt  FileState = "spoilt"
	StateMissing FileState = "missing" // a link without its file
	StateUnknown FileState = "unknown" // nothing says what it should hash to
)

// Range is [From, To) in bytes.
type Range struct{ From, To int64 }

// VerifiedFile is a file and its state.
type VerifiedFile struct {
	Model  string
	Commit string
	Path   string // in the repository
	Disk   string // where it lies
	Size   int64
	State  FileState
	// Bad are the damaged ranges of a spoilt file: chunks of 1 MiB, or the whole
	// file where it came by a program that keeps no hashes of its parts.
	Bad  []Range
	Hash string // what it should have, "" where unknown
}

// Verify compares what is in the cache with the hashes that were recorded when
// it came, without asking the network. Only failures to look are an error; a
// spoilt file is a result. The error is ErrNotCached where Model is absent.
func Verify(ctx context.Context, o VerifyOptions) ([]VerifiedFile, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	repos, revision, err := cachedRepos(o.Model, o.Getenv)
	if err != nil {
		return nil, err
	}
	type job struct {
		t    target
		file VerifiedFile
	}
	var jobs []job
	var total int64
	for _, repo := range repos {
		refs, err := readRefs(repo.Path)
		if err != nil {
			return nil, err
		}
		for _, r := range repo.Revisions {
			if !matchesRevision(r.Commit, refs[r.Commit], revision) {
				continue
			}
			t := target{base: repo.Path, commit: r.Commit}
			files, err := t.present()
			if err != nil {
				return nil, err
			}
			listed := map[string]hubFile{}
			for _, f := range t.readTree() {
				listed[f.Path] = f
			}
			for _, f := range files {
				v := VerifiedFile{Model: repo.Model, Commit: r.Commit, Path: f.Path, Disk: t.path(f.Path), Size: f.Size, Hash: f.hash()}
				if l, ok := listed[f.Path]; ok {
					v.Hash, v.Size = l.hash(), l.Size
				}
				jobs = append(jobs, job{t, v})
				total += v.Size
			}
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return strings.Compare(a.file.Model, b.file.Model) })
	var done atomic.Int64
	counted := func(n int64) {
		if n := done.Add(n); o.Progress != nil {
			o.Progress(n, total)
		}
	}
	checked := map[string]VerifiedFile{} // several revisions may share a file
	var results []VerifiedFile
	for _, j := range jobs {
		v := j.file
		real, err := filepath.EvalSymlinks(v.Disk)
		key := real + "\x00" + v.Hash
		if before, ok := checked[key]; ok && err == nil {
			v.State, v.Bad = before.State, before.Bad
			counted(v.Size)
		} else if err := v.look(ctx, j.t, counted); err != nil {
			return results, fmt.Errorf("verify %s: %w", v.Path, err)
		}
		checked[key] = v
		results = append(results, v)
	}
	return results, nil
}

func (v *VerifiedFile) look(ctx context.Context, t target, counted func(int64)) error {
	info, err := os.Stat(v.Disk)
	switch {
	case errors.Is(err, os.ErrNotExist):
		v.State = StateMissing
		return nil
	case err != nil:
		return err
	case v.Hash == "":
		v.State = StateUnknown
		return nil
	case info.Size() > v.Size:
		v.State, v.Bad = StateSpoilt, []Range{{v.Size, info.Size()}}
		return nil
	}
	bad, _, err := t.verify(ctx, blob{v.Hash, v.Size, []string{v.Path}}, v.Disk, counted)
	if err != nil {
		return err
	}
	v.State = StateGood
	if len(bad) > 0 {
		v.State, v.Bad = StateSpoilt, bad
	}
	return nil
}

// matchesRevision tells whether the revision that the user names is this commit;
// "" means any.
func matchesRevision(commit string, refs []string, revision string) bool {
	return revision == "" || commit == revision || slices.Contains(refs, revision) ||
		abbreviated.MatchString(revision) && strings.HasPrefix(commit, revision)
}

// cachedRepos finds the folders of a model, which may have had a short name, or
// all of them; revision is what follows '@' in text, "" if nothing does.
func cachedRepos(text string, getenv func(string) string) (repos []CachedRepo, revision string, err error) {
	all, err := List(getenv)
	if err != nil || text == "" {
		return all, "", err
	}
	id, err := ParseModelID(text)
	if err != nil {
		return nil, "", err
	}
	if strings.Contains(text, "@") {
		revision = id.Revision
	}
	folders := id.folders()
	repos = slices.DeleteFunc(all, func(r CachedRepo) bool { return !slices.Contains(folders, filepath.Base(r.Path)) })
	found := slices.ContainsFunc(repos, func(repo CachedRepo) bool {
		return revision == "" || slices.ContainsFunc(repo.Revisions, func(r CachedRevision) bool {
			return matchesRevision(r.Commit, r.Refs, revision)
		})
	})
	if !found {
		return nil, "", fmt.Errorf("model %s is %w", text, ErrNotCached)
	}
	return repos, revision, nil
}
