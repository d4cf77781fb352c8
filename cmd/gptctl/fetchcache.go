package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/gptctl/gptctl/fetch"
)

// listModels is `gptctl fetch --list`.
func listModels(t *terminal) error {
	repos, err := fetch.List(t.getenv)
	if err != nil {
		return err
	}
	if t.json {
		for _, r := range repos {
			for _, v := range r.Revisions {
				err := t.printJSON(struct {
					Schema   string    `json:"schema"`
					Event    string    `json:"event"`
					Model    string    `json:"model"`
					Revision string    `json:"revision"`
					Refs     []string  `json:"refs"`
					Path     string    `json:"path"`
					Files    int       `json:"files"`
					Bytes    int64     `json:"bytes"`
					Modified time.Time `json:"modified"`
				}{"gptctl.fetch/1", "cached", r.Model, v.Commit, append([]string{}, v.Refs...), v.Path, v.Files, v.Bytes, v.Modified})
				if err != nil {
					return err
				}
			}
		}
		return nil
	}
	if len(repos) == 0 {
		dir, _ := fetch.CacheDir(t.getenv)
		t.note("there are no models in %s", dir)
		return nil
	}
	w := bufio.NewWriter(t.out)
	fmt.Fprintf(w, "%-36s %10s  %-12s %s\n", "MODEL", "SIZE", "REVISION", "WHEN")
	for _, r := range repos {
		for _, v := range r.Revisions {
			refs := ""
			if len(v.Refs) > 0 {
				refs = "  " + strings.Join(v.Refs, ", ")
			}
			fmt.Fprintf(w, "%-36s %10s  %-12.12s %s%s\n", r.Model, size(v.Bytes), v.Commit, ago(v.Modified), refs)
		}
		if r.Partial > 0 {
			fmt.Fprintf(w, "%-36s %10s  interrupted; gptctl fetch %s goes on\n", r.Model, size(r.Partial), r.Model)
		}
	}
	return w.Flush()
}

// verifyModels is `gptctl fetch --verify`.
func verifyModels(ctx context.Context, t *terminal, model string) error {
	files, err := fetch.Verify(ctx, fetch.VerifyOptions{Model: model, Getenv: t.getenv})
	if err != nil {
		if errors.Is(err, fetch.ErrNotCached) {
			return withHints(err, "gptctl fetch "+model)
		}
		return err
	}
	counts := map[fetch.FileState]int{}
	var bad []string
	var models []string
	for _, f := range files {
		counts[f.State]++
		if t.json {
			if err := t.printJSON(verifyEvent(f)); err != nil {
				return err
			}
		}
		if f.State != fetch.StateSpoilt && f.State != fetch.StateMissing {
			continue
		}
		if len(models) == 0 || models[len(models)-1] != f.Model {
			models = append(models, f.Model)
		}
		what := f.Model + "/" + f.Path + " is " + string(f.State)
		for _, r := range f.Bad {
			if r.From > 0 || r.To < f.Size {
				what += fmt.Sprintf(" in bytes %d to %d", r.From, r.To)
			}
		}
		bad = append(bad, what)
		t.note("%s", what)
	}
	if len(bad) > 0 {
		hints := make([]string, 0, len(models))
		for _, m := range models {
			hints = append(hints, "gptctl fetch "+m+" mends it")
		}
		return withHints(fmt.Errorf("%d of %d files are bad: %s", len(bad), len(files), strings.Join(bad, "; ")), hints...)
	}
	if t.json {
		return t.printJSON(map[string]any{"schema": "gptctl.fetch/1", "event": "done", "verified": counts[fetch.StateUnknown] == 0, "files": len(files)})
	}
	_, err = fmt.Fprintf(t.out, "%d files are good\n", counts[fetch.StateGood])
	if n := counts[fetch.StateUnknown]; n > 0 && err == nil {
		t.note("%d files cannot be judged: no hash of them is on record", n)
	}
	return err
}

func verifyEvent(f fetch.VerifiedFile) any {
	ranges := make([][2]int64, 0, len(f.Bad))
	for _, r := range f.Bad {
		ranges = append(ranges, [2]int64{r.From, r.To})
	}
	return struct {
		Schema   string     `json:"schema"`
		Event    string     `json:"event"`
		Model    string     `json:"model"`
		Revision string     `json:"revision"`
		File     string     `json:"file"`
		State    string     `json:"state"`
		Bad      [][2]int64 `json:"bad"`
	}{"gptctl.fetch/1", "verify", f.Model, f.Commit, f.Path, string(f.State), ranges}
}

// removeModel is `gptctl fetch --remove`.
func removeModel(t *terminal, o fetchOptions) error {
	ro := fetch.RemoveOptions{Model: o.Model, DryRun: true, Getenv: t.getenv}
	plan, err := fetch.Remove(ro)
	if err != nil {
		return err
	}
	if !o.yes {
		if err := confirm(t, fmt.Sprintf("remove %s (%s)?", o.Model, size(plan.Bytes))); err != nil {
			return err
		}
	}
	ro.DryRun = false
	done, err := fetch.Remove(ro)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(map[string]any{"schema": "gptctl.fetch/1", "event": "removed", "model": done.Model, "revisions": done.Revisions, "bytes": done.Bytes})
	}
	_, err = fmt.Fprintf(t.out, "removed %s, %s are free again\n", o.Model, size(done.Bytes))
	return err
}

// confirm asks a person, and refuses where there is none.
func confirm(t *terminal, question string) error {
	if t.in == nil || !term.IsTerminal(int(t.in.Fd())) || t.json {
		return usagef("%s --yes answers where nobody can", question)
	}
	fmt.Fprintf(t.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return errors.New("nothing was removed")
	}
	return nil
}
