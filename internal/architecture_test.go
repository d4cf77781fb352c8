// Package internal_test holds the house rules that a test can check.
package internal_test

import (
	"bufio"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gptctl/gptctl/"

type listed struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// packages lists the module's packages by their path below the module.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(p.ImportPath, module); ok {
			found[name] = p
		}
	}
	return found
}

func under(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}

// Who may depend on whom, directly or not.
func TestDependencies(t *testing.T) {
	ours := func(names ...string) []string {
		for i, n := range names {
			names[i] = module + n
		}
		return names
	}
	commandLine := []string{"github.com/spf13/cobra", "github.com/spf13/pflag"}
	for name, p := range packages(t) {
		var banned, allowed []string
		if !under(name, "cmd") {
			banned = append(banned, commandLine...)
			banned = append(banned, ours("cmd")...)
		}
		if under(name, "internal/gpt2") {
			banned = append(banned, "net/http")
			banned = append(banned, ours("internal/cpu", "internal/kernel", "internal/cuda", "internal/mapped", "internal/safetensors", "internal/modelfiles", "internal/tokenizer")...)
			for _, file := range []string{"os", "io/fs", "path/filepath", "embed"} {
				if slices.Contains(p.Imports, file) {
					t.Errorf("%s imports %s: the model knows no files", name, file)
				}
			}
		}
		if under(name, "internal/kernel", "internal/cuda") {
			banned = append(banned, ours("internal/gpt2", "internal/tokenizer", "run", "finetune")...)
		}
		if under(name, "internal") {
			banned = append(banned, ours("run", "finetune", "doctor", "install", "fetch")...)
		}
		if under(name, "doctor", "install", "fetch") {
			banned = append(banned, ours("internal/cpu", "internal/kernel", "internal/cuda", "internal/gpt2", "internal/modelfiles", "internal/tokenizer", "run", "finetune")...)
			if under(name, "doctor", "install") { // the fit estimate and the limits of this machine
				allowed = ours("internal/gpt2", "internal/kernel", "internal/cuda")
			}
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(banned, func(b string) bool { return under(dep, b) }) &&
				!slices.ContainsFunc(allowed, func(a string) bool { return under(dep, a) }) {
				t.Errorf("%s depends on %s", name, dep)
			}
		}
	}
}

// Only the command line prints, exits, or writes to the program's streams.
func TestLibrariesDoNotPrint(t *testing.T) {
	banned := map[string][]string{
		"fmt": {"Print", "Printf", "Println"},
		"os":  {"Stdout", "Stderr", "Stdin", "Exit"},
		"log": {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf"},
	}
	for _, p := range packages(t) {
		if p.Name == "main" {
			continue
		}
		for _, file := range p.GoFiles {
			set := token.NewFileSet()
			tree, err := parser.ParseFile(set, filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(banned[pkg.Name], sel.Sel.Name) {
						t.Errorf("%v: %s.%s in a library", set.Position(n.Pos()), pkg.Name, sel.Sel.Name)
					}
				}
				if call, ok := n.(*ast.CallExpr); ok {
					if f, ok := call.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
						t.Errorf("%v: %s in a library", set.Position(n.Pos()), f.Name)
					}
				}
				return true
			})
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"cmd", "doctor", "install", "fetch", "run", "finetune", "internal", "go.mod", "go.sum", "LICENSE", "README.md",
		"gptctl", "gptctl.exe", "dist"} // the last three are builds, which git ignores
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 600
	err := filepath.WalkDir("..", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		lines, generated := 0, false
		for s := bufio.NewScanner(f); s.Scan(); {
			lines++
			generated = generated || strings.HasPrefix(s.Text(), "// Code generated ")
		}
		if lines > most && !generated {
			t.Errorf("%s has %d lines, more than %d", path, lines, most)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
