package run

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tokenIDs returns the tokens of a sample without their texts.
func tokenIDs(s Sample) []int {
	var list []int
	for _, t := range s.Tokens {
		list = append(list, t.ID)
	}
	return list
}

// goldenRun is a run of transformers' generate.
type goldenRun struct {
	Name, Model string
	Settings    json.RawMessage
	InputIDs    []int `json:"input_ids"`
	Prompt      []int // the same in golden.json
	Sequences   [][]int
	Scores      []float64
}

func (r goldenRun) check(t *testing.T, g *Generator) {
	t.Helper()
	s := likeTransformers(t, r.Settings)
	s.IgnoreEOS = s.EOS == nil
	request := Request{IDs: append(r.InputIDs, r.Prompt...), Settings: s}
	if request.IDs == nil {
		request.IDs = []int{}
	}
	got, err := g.Generate(context.Background(), request)
	if err != nil {
		t.Errorf("%s: %v", r.Name, err)
		return
	}
	if len(got.Samples) != len(r.Sequences) {
		t.Errorf("%s: %d samples, want %d", r.Name, len(got.Samples), len(r.Sequences))
		return
	}
	for i, want := range r.Sequences {
		if have := tokenIDs(got.Samples[i]); !slices.Equal(have, want) {
			t.Errorf("%s %s, sample %d: tokens\n%v, want\n%v", r.Name, r.Settings, i, have, want)
		}
		if r.Scores != nil && !(math.Abs(got.Samples[i].Score-r.Scores[i]) <= 1e-4*math.Abs(r.Scores[i])+1e-6) {
			t.Errorf("%s %s, sample %d: score %v, want %v", r.Name, r.Settings, i, got.Samples[i].Score, r.Scores[i])
		}
	}
}

func TestRunsOfTransformers(t *testing.T) {
	var file struct{ Cases []goldenRun }
	readJSON(t, "testdata/generate.json", &file)
	if len(file.Cases) < 20 {
		t.Fatalf("only %d runs", len(file.Cases))
	}
	generators := map[string]*Generator{}
	for _, r := range file.Cases {
		if generators[r.Model] == nil {
			generators[r.Model] = New(loadModel(t, r.Model, 1), numbers{})
		}
		r.check(t, generators[r.Model])
	}
}

// TestGreedyAndBeams compares with the goldens of all model fixtures.
func TestGreedyAndBeams(t *testing.T) {
	dirs := must[[]os.DirEntry](t)(os.ReadDir(modelFixtures))
	greedy, beams := 0, 0
	for _, d := range dirs {
		if !d.IsDir() || d.Name() == "sharded" || d.Name() == "fuzz" {
			continue
		}
		var golden struct {
			Greedy []struct {
				Prompt, Tokens []int
				N              int `json:"max_new_tokens"`
			}
			Beam []goldenRun
		}
		readJSON(t, filepath.Join(modelFixtures, d.Name(), "golden.json"), &golden)
		g := New(loadModel(t, d.Name(), 1), numbers{})
		for _, c := range golden.Greedy {
			settings := must[[]byte](t)(json.Marshal(map[string]any{"max_new_tokens": c.N, "do_sample": false}))
			goldenRun{Name: d.Name(), Settings: settings, Prompt: c.Prompt, Sequences: [][]int{c.Tokens}}.check(t, g)
			greedy++
		}
		for _, r := range golden.Beam {
			r.Name = d.Name()
			r.check(t, g)
			beams++
		}
	}
	if greedy < 20 || beams < 20 {
		t.Errorf("only %d greedy and %d beam goldens", greedy, beams)
	}
}
