package install

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/machine/machinetest"
)

var update = flag.Bool("update", false, "write the golden plans anew")

// directive reads "# key: value" from a machine description.
func directive(text, key string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "# "+key+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func planFor(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	away := directive(text, "unreachable")
	return MakePlan(context.Background(), machinetest.Host(t, text), Options{
		Components: strings.Fields(directive(text, "components")),
		Reach: func(_ context.Context, url string) error {
			if away != "" && strings.Contains(url, away) {
				return errors.New("no route to host")
			}
			return nil
		},
	})
}

func TestGoldenPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/machines/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("machine descriptions: %d, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := planFor(t, string(data))
			var got string
			if err != nil {
				got = "error: " + err.Error() + "\n"
				var unknown *UnknownSystemError
				if errors.As(err, &unknown) {
					got += "by hand: " + strings.Join(unknown.ByHand, "\nby hand: ") + "\n"
				}
			} else {
				got = words(plan)
				rules(t, plan)
			}
			golden := filepath.Join("testdata", "plans", name+".txt")
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
}

// rules holds for every plan.
func rules(t *testing.T, p *Plan) {
	t.Helper()
	ids := map[string]bool{}
	for _, s := range p.Steps {
		if ids[s.ID] {
			t.Errorf("two steps %s", s.ID)
		}
		ids[s.ID] = true
		if s.Why == "" {
			t.Errorf("step %s says not why", s.ID)
		}
		if s.State == Satisfied && len(s.Commands) > 0 {
			t.Errorf("satisfied step %s has commands", s.ID)
		}
		if s.State == Planned && len(s.Commands) == 0 {
			t.Errorf("step %s has no commands", s.ID)
		}
		for _, c := range s.Commands {
			if slices.Contains(c.Argv, "cuda") {
				t.Errorf("step %s installs the meta-package: %v", s.ID, c.Argv)
			}
		}
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

func words(p *Plan) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n", p.System)
	for _, step := range p.Steps {
		fmt.Fprintf(&s, "\n%s %s: %s\n    %s\n", step.State, step.ID, step.Title, step.Why)
		for _, part := range []struct {
			mark     string
			commands []Command
		}{{"$", step.Commands}, {"verify $", step.Verify}, {"undo $", step.Undo}} {
			for _, c := range part.commands {
				text := c.String()
				if strings.Contains(text, shellQuote(checkKey)) {
					text = strings.Replace(text, shellQuote(checkKey), "(check of the key)", 1)
				}
				fmt.Fprintf(&s, "    %s %s\n", part.mark, text)
				if c.Stdin != "" && c.Stdin != reference {
					fmt.Fprintf(&s, "      < %s\n", strings.ReplaceAll(strings.TrimSpace(c.Stdin), "\n", "\n      < "))
				}
			}
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&s, "\nnote: %s\n", n)
	}
	for _, b := range p.Blocked {
		fmt.Fprintf(&s, "\nblocked: %s: %s\n", b.Component, b.Reason)
		for _, h := range b.Hints {
			fmt.Fprintf(&s, "    hint: %s\n", h)
		}
	}
	return s.String()
}
