package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// inState puts a state of testdata/states over a machine description: its
// files replace those of the machine; "# without: PATH" takes some away.
func inState(machine, state string) string {
	m, s := txtar.Parse([]byte(machine)), txtar.Parse([]byte(state))
	gone := directive(state, "without")
	m.Files = slices.DeleteFunc(m.Files, func(f txtar.File) bool {
		return gone != "" && strings.HasPrefix(f.Name, gone) ||
			slices.ContainsFunc(s.Files, func(o txtar.File) bool { return o.Name == f.Name })
	})
	m.Files = append(m.Files, s.Files...)
	return string(txtar.Format(m))
}

// Every distribution with a GPU, in every state that changes or stops a plan:
// what is said of the driver, CUDA and cuDNN, and which wheels come.
func TestGoldenStates(t *testing.T) {
	machines, err := filepath.Glob("testdata/machines/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range machines {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if title, _, _ := strings.Cut(string(data), "\n"); !strings.HasSuffix(title, "with an A100, no driver") {
			continue
		}
		tried++
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join("testdata", "plans", "states", name+".txt")
			got := allStates(t, string(data))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	if tried < 25 {
		t.Errorf("%d distributions", tried)
	}
}

func allStates(t *testing.T, machine string) string {
	states, err := filepath.Glob("testdata/states/*.txtar")
	if err != nil || len(states) < 6 {
		t.Fatalf("%d states, %v", len(states), err)
	}
	var all strings.Builder
	for _, file := range states {
		if _, manager, ok := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "."); ok {
			tool := map[string]string{"apt": "apt-get"}[manager]
			if !strings.Contains(machine, "-- usr/bin/"+orElse(tool, manager)+" --") {
				continue
			}
		}
		state, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		title, _, _ := strings.Cut(string(state), "\n")
		fmt.Fprintf(&all, "=== %s\n", strings.TrimPrefix(title, "# "))
		plan, err := planFor(t, inState(machine, string(state)))
		var unknown *UnknownSystemError
		switch {
		case errors.As(err, &unknown):
			fmt.Fprintf(&all, "error: %v\n", err)
			continue
		case err != nil:
			t.Fatalf("%s: %v", file, err)
		}
		rules(t, plan)
		outline(&all, plan)
	}
	return all.String()
}

// outline is a plan without what does not depend on a state.
func outline(s *strings.Builder, p *Plan) {
	for _, step := range p.Steps {
		switch step.Component {
		case "driver", "cuda", "cudnn":
			fmt.Fprintf(s, "%s %s: %s\n", step.State, step.ID, step.Why)
			for _, c := range step.Commands {
				line, _, more := strings.Cut(c.String(), "\n")
				if more {
					line += " …"
				}
				fmt.Fprintf(s, "    $ %s\n", line)
			}
		case "torch":
			if step.ID == "torch.packages" {
				fmt.Fprintf(s, "%s %s: %s\n", step.State, step.ID, step.Why)
			}
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(s, "note: %s\n", n)
	}
	for _, b := range p.Blocked {
		fmt.Fprintf(s, "blocked: %s: %s\n", b.Component, b.Reason)
		for _, h := range b.Hints {
			fmt.Fprintf(s, "    hint: %s\n", h)
		}
	}
}
