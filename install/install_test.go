package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/machine/machinetest"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

func TestBadOptions(t *testing.T) {
	data, err := os.ReadFile(toyMachine)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, "no component named"},
		{Options{Components: []string{"tortch"}}, `unknown component "tortch", want one of system, python, driver, cuda, cudnn, venv, torch or all`},
		{Options{Components: []string{"venv"}, Prefix: "here"}, `prefix "here" is not an absolute path`},
		{Options{Components: []string{"venv"}, Prefix: "/"}, `"/" cannot be the prefix`},
		{Options{Components: []string{"venv"}, Prefix: "/a\nb"}, `"/a\nb" cannot be the prefix`},
	} {
		_, err := MakePlan(context.Background(), machinetest.Host(t, string(data)), c.options)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestNearestComponent(t *testing.T) {
	for name, want := range map[string]string{
		"tortch": "torch", "Torch": "torch", "pytorch": "torch", "drivers": "driver", "cudann": "cudnn", "pyhton": "python", "al": "all", "x": "", "nonsense": "", "": "",
	} {
		if got := (&UnknownComponentError{name}).Nearest(); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// The scripts parse, say nothing twice, and quote what needs it.
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/machines/*.txtar")
	sh, noShell := exec.LookPath("sh")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := planFor(t, string(data))
		if err != nil {
			continue
		}
		text, err := Script(plan)
		if len(plan.Blocked) > 0 {
			var blocked *BlockedError
			if !errors.As(err, &blocked) {
				t.Errorf("%s: got %v for a blocked plan", file, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if noShell == nil {
			check := exec.Command(sh, "-n")
			check.Stdin = strings.NewReader(text)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s\n%s", file, err, out, text)
			}
		}
		if !strings.Contains(text, "\nset -eu\n") {
			t.Errorf("%s: no set -eu", file)
		}
	}
}

func TestScriptRuns(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	dir := filepath.Join(t.TempDir(), "it's a $(folder)")
	plan := &Plan{System: "a\nb", Steps: []*Step{
		{ID: "one", Title: "t\n", Why: "w", State: Planned, Commands: []Command{{Argv: []string{"mkdir", dir}}, {Argv: []string{"tee", dir + "/f"}, Stdin: "$HOME `x`\nEND_OF_INPUT\n"}}},
		{ID: "two", State: Satisfied, Commands: []Command{{Argv: []string{"false"}}}},
		{ID: "three", State: Planned, Commands: []Command{{Argv: []string{"cat"}}}, Verify: []Command{{Argv: []string{"test", "-s", dir + "/f"}}}},
	}}
	text, err := Script(plan)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "gptctl install: done\n") {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
	got, err := os.ReadFile(dir + "/f")
	if err != nil || string(got) != "$HOME `x`\nEND_OF_INPUT\n" {
		t.Errorf("got %q, %v", got, err)
	}
	// A script that was cut off does nothing.
	os.RemoveAll(dir)
	cmd = exec.Command(sh)
	cmd.Stdin = strings.NewReader(text[:strings.Index(text, "# three")])
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("half a script ran: %s", out)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("half a script did half the work")
	}
}

func TestWriteDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	if err := WriteDemo(dir); err != nil {
		t.Fatal(err)
	}
	got, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	want, err := demo.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Names()) != len(want) {
		t.Errorf("got %d tensors, want %d", len(got.Names()), len(want))
	}
	for _, w := range want {
		g, _ := got.Tensor(w.Name)
		if g.DType != tensor.F32 || !slices.Equal(g.Shape, w.Tensor.Shape) || !bytes.Equal(g.Data, w.Tensor.Data) {
			t.Errorf("%s: got %v %v", w.Name, g.DType, g.Shape)
		}
	}
	var config map[string]any
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil || config["dtype"] != "float32" || config["torch_dtype"] != "float32" {
		t.Errorf("config.json: %v, %v", config, err)
	}
}

// The drivers in the recipes are those of doctor's tables.
func TestDriversAgree(t *testing.T) {
	r, err := readRecipes()
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range r.torch.Wheels {
		if name == "cpu" {
			continue
		}
		cuda, err := nvidia.ParseVersion(name[2:4] + "." + name[4:])
		if err != nil {
			t.Fatal(err)
		}
		least, ok := nvidia.MinDriver(cuda, "linux")
		have, err := nvidia.ParseVersion(w.Driver)
		if !ok || err != nil || !have.AtLeast(least) {
			t.Errorf("%s: driver %s, doctor wants %v (%v, %v)", name, w.Driver, least, ok, err)
		}
	}
}

func TestJournalTampered(t *testing.T) {
	for _, line := range []string{
		`{"event":"begin","n":0,"step":"x","component":"venv","watch":{"paths":["/etc"]}}`,
		`{"event":"begin","n":0,"step":"x","component":"venv","watch":{"paths":["PREFIX/../../etc"]}}`,
		`{"event":"begin","n":0,"step":"x","component":"venv","watch":{"root":true,"paths":["/etc/passwd"]}}`,
		`{"event":"begin","n":0,"step":"x","component":"venv","watch":{"venv":"/usr"}}`,
		`{"event":"begin","n":3,"step":"x","watch":{}}`,
		`{"event":"done","n":0}`,
		`{"event":"undone","n":-1}`,
		`{"event":"what"}`,
		`{"event":"open","schema":"other/1"}`,
		`nonsense`,
	} {
		y, host := newToy(t)
		prefix := y.dir + "/a/prefix"
		y.write(prefix + "/x")
		if err := os.WriteFile(journalPath(prefix), []byte(strings.ReplaceAll(line, "PREFIX", prefix)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := MakePlan(context.Background(), host, Options{Components: []string{"all"}, Prefix: prefix, Undo: true})
		if err == nil || !strings.Contains(err.Error(), "install.journal") {
			t.Errorf("%s: got %v", line, err)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"event":"open","schema":"gptctl.install.journal/1","made":["/a"]}` + "\n" +
		`{"event":"begin","n":0,"step":"venv.create","component":"venv","watch":{"paths":["/a/venv"]}}` + "\n" +
		`{"event":"done","n":0,"fact":"x"}` + "\n" + `{"event":"undone","n":0}` + "\n"))
	f.Add([]byte(`{"event":"begin","n":0,"watch":{"packages":true},"packages":{"a":"1"}}` + "\n" + `{"event":"do`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &journal{}
		if j.parse(data) != nil {
			return
		}
		for _, r := range j.records {
			j.open(r.begin.Step)
			j.fact(r.begin.Step)
			for _, p := range r.begin.Watch.Paths {
				j.madePath(p)
			}
		}
	})
}
