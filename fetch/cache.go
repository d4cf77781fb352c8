// Package fetch brings models from the Hugging Face Hub to this machine, into
// the cache that the Python libraries use too.
package fetch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrNotCached says that a model is not in the cache of this machine.
var ErrNotCached = errors.New("not in the cache")

// InvalidIDError says why a name cannot be that of a model on the Hub.
type InvalidIDError struct{ ID, Reason string }

func (e *InvalidIDError) Error() string {
	return fmt.Sprintf("invalid model id %q: %s", e.ID, e.Reason)
}

// canonical are the short names that people use, and that old caches were
// written under, with the ids that the Hub uses today.
var canonical = map[string]string{
	"gpt2":        "openai-community/gpt2",
	"gpt2-medium": "openai-community/gpt2-medium",
	"gpt2-large":  "openai-community/gpt2-large",
	"gpt2-xl":     "openai-community/gpt2-xl",
	"distilgpt2":  "distilbert/distilgpt2",

	"DialoGPT-small":  "microsoft/DialoGPT-small",
	"DialoGPT-medium": "microsoft/DialoGPT-medium",
	"DialoGPT-large":  "microsoft/DialoGPT-large",
}

const defaultRevision = "main"

// ModelID is a model of the Hub at a revision.
type ModelID struct {
	Repo     string // "openai-community/gpt2"
	Revision string // a branch, a tag, or a commit, possibly abbreviated
}

func (m ModelID) String() string {
	if m.Revision == defaultRevision {
		return m.Repo
	}
	return m.Repo + "@" + m.Revision
}

// A name begins and ends with a letter, a digit or "_" (validate_repo_id in
// huggingface_hub).
var (
	repoPattern   = regexp.MustCompile(`^(\w([\w.-]{0,94}\w)?/)?\w([\w.-]{0,94}\w)?$`)
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
	abbreviated   = regexp.MustCompile(`^[0-9a-f]{5,39}$`)
)

// ParseModelID reads "name", "org/name" or either with "@revision". The short
// names of the GPT-2 family become those of the Hub. It fails with an
// *InvalidIDError.
func ParseModelID(text string) (ModelID, error) {
	repo, revision, given := strings.Cut(text, "@")
	invalid := func(reason string) (ModelID, error) { return ModelID{}, &InvalidIDError{text, reason} }
	switch {
	case repo == "":
		return invalid("it is empty")
	case strings.Count(repo, "/") > 1:
		return invalid("want NAME or ORGANISATION/NAME")
	case !repoPattern.MatchString(repo):
		return invalid("want at most 96 letters, digits, '-', '_' and '.', without '-' or '.' at an end")
	case strings.Contains(repo, "--") || strings.Contains(repo, ".."):
		return invalid("'--' and '..' are not allowed")
	case strings.HasSuffix(repo, ".git"):
		return invalid("it cannot end in .git")
	}
	if !given {
		revision = defaultRevision
	} else if !plainRevision(revision) {
		return invalid("the revision after '@' is not a branch, a tag or a commit")
	}
	if id, ok := canonical[repo]; ok {
		repo = id
	}
	return ModelID{repo, revision}, nil
}

// plainRevision accepts what git accepts in a reference and what stays inside
// a folder when it becomes a path: "main", "refs/pr/1", "v1.0".
func plainRevision(revision string) bool {
	for part := range strings.SplitSeq(revision, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".") {
			return false
		}
	}
	return !strings.ContainsFunc(revision, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\@"<>|`, r)
	}) && filepath.IsLocal(filepath.FromSlash(revision))
}

// CacheDir returns the folder that all programs of Hugging Face share for what
// they download from the Hub: $HF_HUB_CACHE, else hub in $HF_HOME, else
// huggingface/hub in $XDG_CACHE_HOME, which is ~/.cache by default.
// env looks up environment variables; an empty one counts as absent.
func CacheDir(env func(string) string) (string, error) {
	home := env("HOME")
	if home == "" {
		home = env("USERPROFILE") // Windows
	}
	expand := func(path string) string {
		if path == "~" || strings.HasPrefix(path, "~/") {
			path = home + path[1:]
		}
		return os.Expand(path, env)
	}
	for _, try := range []struct{ variable, below string }{
		{"HF_HUB_CACHE", ""},
		{"HUGGINGFACE_HUB_CACHE", ""}, // its old name
		{"HF_HOME", "hub"},
		{"XDG_CACHE_HOME", "huggingface/hub"},
	} {
		if dir := env(try.variable); dir != "" {
			return filepath.Join(expand(dir), filepath.FromSlash(try.below)), nil
		}
	}
	if home == "" {
		return "", errors.New("the cache of Hugging Face cannot be found: neither HF_HOME nor HOME is set")
	}
	return filepath.Join(home, ".cache", "huggingface", "hub"), nil
}

// CachedModel returns the folder of a model in the shared cache, without asking
// the network. id is what ParseModelID reads. The error is ErrNotCached where
// nothing of this model at this revision is there; which files the folder has
// is not looked into, a download may have ended early.
func CachedModel(id string, env func(string) string) (dir string, err error) {
	m, err := ParseModelID(id)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir(env)
	if err != nil {
		return "", err
	}
	var first string
	for _, repo := range m.folders() {
		dir, err := snapshot(filepath.Join(cache, repo), m.Revision)
		if err != nil {
			return "", fmt.Errorf("look up model %s: %w", m, err)
		}
		if dir == "" {
			continue
		}
		if holdsWeights(dir) {
			return dir, nil
		}
		if first == "" {
			first = dir
		}
	}
	if first == "" {
		return "", fmt.Errorf("model %s is %w %s", m, ErrNotCached, cache)
	}
	return first, nil
}

// folders are where a model may lie in the cache: under its id, and for the
// GPT-2 family also under the short name it had until 2024.
func (m ModelID) folders() []string {
	folders := []string{folder(m.Repo)}
	for short, id := range canonical {
		if id == m.Repo {
			folders = append(folders, folder(short))
		}
	}
	return folders
}

func folder(repo string) string { return "models--" + strings.ReplaceAll(repo, "/", "--") }

// holdsWeights tells a folder that was downloaded to be run from one that, say,
// has only a tokenizer.
func holdsWeights(dir string) bool {
	files, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(files, func(f os.DirEntry) bool {
		name := f.Name()
		return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".safetensors.index.json") ||
			strings.HasPrefix(name, "pytorch_model")
	})
}

// snapshot finds the files of a revision: refs/REVISION holds the commit whose
// files are in snapshots/COMMIT. It returns "" where they are absent.
func snapshot(repo, revision string) (string, error) {
	commit := revision
	if !commitPattern.MatchString(revision) {
		var err error
		if commit, err = resolve(repo, revision); err != nil || commit == "" {
			return "", err
		}
	}
	dir := filepath.Join(repo, "snapshots", commit)
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return "", denied(err)
	}
	return dir, nil
}

// resolve turns a branch, a tag or an abbreviated commit into a commit.
func resolve(repo, revision string) (commit string, err error) {
	ref := filepath.Join(repo, "refs", filepath.FromSlash(revision))
	info, err := os.Stat(ref)
	if err == nil && info.Mode().IsRegular() && info.Size() <= 256 {
		text, err := os.ReadFile(ref)
		if err != nil {
			return "", err
		}
		commit = strings.TrimSpace(string(text))
		if commit == "" || strings.ContainsAny(commit, `/\`) || !filepath.IsLocal(commit) {
			return "", fmt.Errorf("%s holds %q, want a commit", ref, commit)
		}
		return commit, nil
	}
	if denied(err) != nil {
		return "", err
	}
	if !abbreviated.MatchString(revision) {
		return "", nil
	}
	found, err := os.ReadDir(filepath.Join(repo, "snapshots"))
	if denied(err) != nil {
		return "", err
	}
	for _, entry := range found {
		if !strings.HasPrefix(entry.Name(), revision) {
			continue
		}
		if commit != "" {
			return "", fmt.Errorf("revision %s is ambiguous: %s and %s begin with it", revision, commit, entry.Name())
		}
		commit = entry.Name()
	}
	return commit, nil
}

// denied keeps the one error that means something else than "not there".
func denied(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}
