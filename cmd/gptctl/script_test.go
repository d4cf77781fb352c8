package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gptctl/gptctl/internal/hubtest"
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
	adapters, err := filepath.Abs("../../internal/lora/testdata")
	if err != nil {
		t.Fatal(err)
	}
	if signal.Ignored(syscall.SIGHUP) { // under nohup; what a test starts would ignore it as well
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			hub := hubtest.New(t, hubtest.Options{})
			hub.AddGPT2(hubtest.GPT2Options{})
			gated := hub.Repo("org/gated")
			gated.Commit(hubtest.File{Path: "config.json", Content: hubtest.Text("{}")}, hubtest.File{Path: "model.safetensors", Content: hubtest.Noise(1, 1000), LFS: true})
			gated.SetAccess(hubtest.Gated)
			ca, err := hub.WriteCA(e.WorkDir)
			if err != nil {
				return err
			}
			e.Setenv("HF_ENDPOINT", hub.Endpoint())
			e.Setenv("SSL_CERT_FILE", ca)
			e.Setenv("HF_HOME", filepath.Join(e.WorkDir, "hf"))
			e.Setenv("MODELS", models)
			e.Setenv("ADAPTERS", adapters)
			e.Setenv("TEXT", filepath.Join(models, "..", "..", "..", "LICENSE")) // some pages
			e.Setenv("HOME", e.WorkDir)                                          // no cache and no settings of the developer's
			return os.MkdirAll(filepath.Join(e.WorkDir, ".cache"), 0o755)
		},
	})
}
