package corpus

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
)

// families are documents of which some are nearly the same: by a word in a
// hundred, by their case, or not at all different.
func families() (docs []string, family map[string]int) {
	r := rand.New(rand.NewPCG(3, 4))
	family = make(map[string]int)
	for f := range 40 {
		words := make([]string, 120)
		for i := range words {
			words[i] = fmt.Sprintf("w%d", r.IntN(5000))
		}
		for v := range 1 + f%4 {
			w := slices.Clone(words)
			if v > 0 {
				w[20*v] = "other"
			}
			d := fmt.Sprint(strings.Join(w, " "))
			family[d] = f
			docs = append(docs, d)
		}
		short := fmt.Sprintf("Short text %d.", f)
		family[short], family[strings.ToUpper(short)] = 100+f, 100+f
		docs = append(docs, short, strings.ToUpper(short))
	}
	r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	return docs, family
}

// What is held out is not trained on, nor anything nearly the same, even where
// the steps that drop duplicates are off.
func TestNoLeak(t *testing.T) {
	docs, family := families()
	dir := files(t, map[string]string{"a.jsonl": jsonl(t, docs...)})
	off, _ := clean.Choose(nil, []string{"all"})
	usual, _ := clean.Choose(nil, nil)
	for _, steps := range []clean.Set{off, usual} {
		for seed := range uint64(5) {
			train, valid := sides(t, open(t, Options{Paths: []string{dir}, Steps: steps, Split: Split{Share: 0.2, Seed: seed}}))
			if len(valid) == 0 || len(train) == 0 {
				t.Fatalf("%d for training, %d for validation", len(train), len(valid))
			}
			held := make(map[int]bool)
			for _, d := range valid {
				held[family[d]] = true
			}
			for _, d := range train {
				if held[family[d]] {
					t.Errorf("seed %d: %.60q is trained on, and its like is held out", seed, d)
				}
			}
		}
	}

	// The same for validation files.
	var first, rest []string
	for _, d := range docs {
		if f := family[d]; f%4 == 3 && !slices.ContainsFunc(first, func(s string) bool { return family[s] == f }) {
			first = append(first, d)
		} else {
			rest = append(rest, d)
		}
	}
	dir = files(t, map[string]string{"held.jsonl": jsonl(t, first...), "train.jsonl": jsonl(t, rest...)})
	d := open(t, Options{Paths: []string{filepath.Join(dir, "train.jsonl")}, Validation: []string{filepath.Join(dir, "held.jsonl")}, Steps: off})
	train, valid := sides(t, d)
	if len(valid) != len(first) {
		t.Errorf("%d documents for validation, want %d", len(valid), len(first))
	}
	for _, text := range train {
		if f := family[text]; f%4 == 3 {
			t.Errorf("%.60q is trained on, and its like is in the validation file", text)
		}
	}
}

// The hash of a corpus is that of its contents, wherever they lie.
func TestMoved(t *testing.T) {
	text := map[string]string{"a.txt": "A text of some words.", "b.txt": "Another one."}
	one, two := files(t, text), files(t, text)
	a, b := open(t, Options{Paths: []string{one}}), open(t, Options{Paths: []string{two}})
	if a.Hash() != b.Hash() || a.Key() == b.Key() {
		t.Errorf("hashes %s and %s, keys %s and %s", a.Hash(), b.Hash(), a.Key(), b.Key())
	}
	if err := os.WriteFile(filepath.Join(two, "b.txt"), []byte("Another two."), 0o666); err != nil {
		t.Fatal(err)
	}
	if open(t, Options{Paths: []string{two}}).Hash() == b.Hash() {
		t.Error("the hash of other contents is the same")
	}
}

func TestPrune(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{
		"corpus-new.tokens": 0, "corpus-used.tokens": 90 * 24 * time.Hour, "corpus-minute.tokens": time.Minute, "corpus-day.tokens": 24 * time.Hour,
		"corpus-week.tokens": 7 * 24 * time.Hour, "corpus-old.tokens": 61 * 24 * time.Hour, "corpus-x.tokens.tmp1": 25 * time.Hour,
		"corpus-y.tokens.tmp2": time.Hour, "letter.txt": 1000 * 24 * time.Hour, "other.tokens": 1000 * 24 * time.Hour,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 100), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, strings.TrimPrefix(e.Name(), "corpus-"))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s are left, want %s", got, want)
		}
	}
	used := filepath.Join(dir, "corpus-used.tokens")
	prune(dir, used, 1000, now)
	check("day.tokens minute.tokens new.tokens used.tokens week.tokens y.tokens.tmp2 letter.txt other.tokens")
	prune(dir, used, 300, now)
	check("day.tokens minute.tokens new.tokens used.tokens y.tokens.tmp2 letter.txt other.tokens")
	prune(dir, used, 0, now)
	check("minute.tokens new.tokens used.tokens y.tokens.tmp2 letter.txt other.tokens")
}

// Where the cache cannot be written the tokens are made all the same.
func TestCacheUnwritable(t *testing.T) {
	dir := files(t, map[string]string{"a.txt": "A text of some words.", "file": "not a folder"})
	d := open(t, Options{Paths: []string{filepath.Join(dir, "a.txt")}, CacheDir: filepath.Join(dir, "file", "cache")})
	if r := d.Report(); r.Cache != "" || r.Tokens == 0 {
		t.Errorf("report is %+v", r)
	}
}
