package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gptctl": main})
}

// The command line as a user meets it: testdata/*.txtar, one file per subject.
func TestScripts(t *testing.T) {
	models, err := filepath.Abs("../../internal/gpt2/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MODELS", models)
			e.Setenv("HOME", e.WorkDir) // no cache and no settings of the developer's
			return os.MkdirAll(filepath.Join(e.WorkDir, ".cache"), 0o755)
		},
	})
}
