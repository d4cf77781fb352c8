package fetch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseModelID(t *testing.T) {
	long := strings.Repeat("a", 96)
	for _, c := range []struct{ text, repo, revision string }{
		{"gpt2", "openai-community/gpt2", "main"},
		{"gpt2-xl@v1.0", "openai-community/gpt2-xl", "v1.0"},
		{"distilgpt2", "distilbert/distilgpt2", "main"},
		{"DialoGPT-medium", "microsoft/DialoGPT-medium", "main"},
		{"openai-community/gpt2@607a30d", "openai-community/gpt2", "607a30d"},
		{"a_/_b-c.d@refs/pr/1", "a_/_b-c.d", "refs/pr/1"},
		{"123", "123", "main"},
		{long + "/" + long, long + "/" + long, "main"},
	} {
		m, err := ParseModelID(c.text)
		if err != nil || m.Repo != c.repo || m.Revision != c.revision {
			t.Errorf("%s: %+v, %v", c.text, m, err)
		}
	}
	// The names that huggingface_hub's validate_repo_id refuses, and revisions that are none.
	for _, text := range []string{
		"", "@main", "a/b/c", "datasets/foo/bar", ".repo", "repo.", "-repo", "repo-", "foo--bar", "foo..bar", "foo.git", "foo bar", "/foo", "foo/",
		"..", "../x", "café", "foo\n", "C:\\x", long + "b", "gpt2@", "gpt2@../x", "gpt2@/x", "gpt2@a/../b", "gpt2@a//b", "gpt2@.x", "gpt2@a b", "gpt2@x\\y", "gpt2@x:y", "gpt2@a@b",
	} {
		m, err := ParseModelID(text)
		var invalid *InvalidIDError
		if !errors.As(err, &invalid) || invalid.ID != text {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
}

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestCacheDir(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string // below which the rest was asked for with slashes
	}{
		{[]string{"HOME", "/h"}, "/h/.cache/huggingface/hub"},
		{[]string{"USERPROFILE", "/u"}, "/u/.cache/huggingface/hub"},
		{[]string{"HOME", "/h", "XDG_CACHE_HOME", "/x"}, "/x/huggingface/hub"},
		{[]string{"HOME", "/h", "XDG_CACHE_HOME", "/x", "HF_HOME", "~/hf"}, "/h/hf/hub"},
		{[]string{"HOME", "/h", "HF_HOME", "$HOME/hf", "HUGGINGFACE_HUB_CACHE", "/old"}, "/old"},
		{[]string{"HF_HUB_CACHE", "/new", "HUGGINGFACE_HUB_CACHE", "/old"}, "/new"},
		{[]string{"A", "/a", "HF_HUB_CACHE", "${A}/b"}, "/a/b"},
	} {
		got, err := CacheDir(environment(c.env...))
		if err != nil || filepath.ToSlash(got) != c.want {
			t.Errorf("%q: %s, %v; want %s", c.env, got, err, c.want)
		}
	}
	if dir, err := CacheDir(environment()); err == nil {
		t.Errorf("no home: %s", dir)
	}
}

const (
	commitA = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
	commitB = "607a31d783dfa663caf39e06633721c8d4cfcd7e"
)

// newCache makes a cache of files, path and contents in turn.
func newCache(t *testing.T, files ...string) (dir string, env func(string) string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, filepath.FromSlash(files[i]))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, environment("HF_HUB_CACHE", dir)
}

func TestCachedModel(t *testing.T) {
	const (
		newGPT2 = "models--openai-community--gpt2"
		oldGPT2 = "models--gpt2"
	)
	full := func(repo string) []string {
		return []string{
			repo + "/refs/main", commitA,
			repo + "/refs/refs/pr/1", commitB + "\n",
			repo + "/snapshots/" + commitA + "/model.safetensors", "",
			repo + "/snapshots/" + commitB + "/config.json", "",
		}
	}
	tokenizerOnly := []string{newGPT2 + "/refs/main", commitB, newGPT2 + "/snapshots/" + commitB + "/tokenizer.json", ""}
	for _, c := range []struct {
		name  string
		files []string
		id    string
		want  string // folder; empty: not cached
		fails string
	}{
		{"short name", full(newGPT2), "gpt2", newGPT2 + "/snapshots/" + commitA, ""},
		{"full name", full(newGPT2), "openai-community/gpt2", newGPT2 + "/snapshots/" + commitA, ""},
		{"old folder", full(oldGPT2), "gpt2", oldGPT2 + "/snapshots/" + commitA, ""},
		{"old folder by full name", full(oldGPT2), "openai-community/gpt2", oldGPT2 + "/snapshots/" + commitA, ""},
		{"distilgpt2", full("models--distilgpt2"), "distilbert/distilgpt2", "models--distilgpt2/snapshots/" + commitA, ""},
		{"no short name", full("models--foo"), "foo", "models--foo/snapshots/" + commitA, ""},
		{"tokenizer in the new folder, model in the old", append(full(oldGPT2), tokenizerOnly...), "gpt2", oldGPT2 + "/snapshots/" + commitA, ""},
		{"tokenizer only", tokenizerOnly, "gpt2", newGPT2 + "/snapshots/" + commitB, ""},
		{"branch", full(newGPT2), "gpt2@refs/pr/1", newGPT2 + "/snapshots/" + commitB, ""},
		{"commit", full(newGPT2), "gpt2@" + commitB, newGPT2 + "/snapshots/" + commitB, ""},
		{"abbreviated commit", full(newGPT2), "gpt2@607a30", newGPT2 + "/snapshots/" + commitA, ""},
		{"ambiguous commit", full(newGPT2), "gpt2@607a3", "", "ambiguous"},
		{"too short a commit", full(newGPT2), "gpt2@607a", "", "not in the cache"},
		{"unknown branch", full(newGPT2), "gpt2@dev", "", "not in the cache"},
		{"unknown commit", full(newGPT2), "gpt2@" + strings.Repeat("0", 40), "", "not in the cache"},
		{"branch below a branch", full(newGPT2), "gpt2@main/x", "", "not in the cache"},
		{"other model", full(newGPT2), "gpt2-xl", "", "model openai-community/gpt2-xl is not in the cache"},
		{"no cache", nil, "gpt2", "", "not in the cache"},
		{"snapshot gone", []string{newGPT2 + "/refs/main", commitA}, "gpt2", "", "not in the cache"},
		{"reference leads out", []string{newGPT2 + "/refs/main", "../../x"}, "gpt2", "", "want a commit"},
		{"empty reference", []string{newGPT2 + "/refs/main", " \n"}, "gpt2", "", "want a commit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, env := newCache(t, c.files...)
			got, err := CachedModel(c.id, env)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %q, %v; want an error with %q", got, err, c.fails)
				}
				if errors.Is(err, ErrNotCached) != strings.Contains(c.fails, "not in the cache") {
					t.Errorf("kind of %v", err)
				}
				return
			}
			if want := filepath.Join(dir, filepath.FromSlash(c.want)); err != nil || got != want {
				t.Errorf("got %s, %v; want %s", got, err, want)
			}
		})
	}
}
