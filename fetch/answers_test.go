package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

// What the Hub refuses is told apart.
func TestRefusals(t *testing.T) {
	s := newStand(t, 1000, hubtest.Options{})
	for _, access := range []hubtest.Access{hubtest.Gated, hubtest.Private, hubtest.Disabled} {
		s.hub.Repo("org/"+string(access)).SetAccess(access).Commit(
			hubtest.File{Path: "config.json", Content: hubtest.Text("{}")},
			hubtest.File{Path: "model.safetensors", Content: hubtest.Noise(1, 5000), LFS: true})
	}
	s.hub.Repo("org/tensorflow").Commit(hubtest.File{Path: "tf_model.h5", Content: hubtest.Text("x"), LFS: true})
	s.hub.Repo("org/new").Commit(
		hubtest.File{Path: "config.json", Content: hubtest.Text("{}")},
		hubtest.File{Path: "model.safetensors", Content: hubtest.Noise(1, 5000), LFS: true})
	s.hub.Rename("org/old", "org/new")
	s.hub.AddUser("in", "ann", "org/gated", "org/private")
	s.hub.AddUser("out", "bob")
	missing := func(what Missing) func(error) bool {
		return func(err error) bool {
			var e *NotFoundError
			return errors.As(err, &e) && e.What == what
		}
	}
	for _, test := range []struct {
		model, token string
		files        []string
		wrong        func(error) bool
	}{
		{"org/gated", "", nil, is[*GatedError]},
		{"org/gated", "out", nil, is[*GatedError]},
		{"org/gated", "in", nil, nil},
		{"org/private", "", nil, missing(MissingModel)},
		{"org/private", "out", nil, missing(MissingModel)},
		{"org/private", "in", nil, nil},
		{"org/private", "nonsense", nil, is[*CredentialsError]},
		{"org/disabled", "", nil, is[*StatusError]},
		{"org/absent", "", nil, missing(MissingModel)},
		{"org/absent", "out", nil, missing(MissingModel)},
		{testModel + "@v9", "", nil, missing(MissingRevision)},
		{testModel, "", []string{"absent.json"}, missing(MissingFile)},
		{testModel, "", []string{"*.absent"}, is[*NoFilesError]},
		{testModel, "", []string{"onnx/*", "README.md"}, nil},
		{"org/tensorflow", "", nil, is[*NoFilesError]},
		{"org/old", "", nil, nil},
		{"org/../etc", "", nil, is[*InvalidIDError]},
	} {
		s.env["HF_TOKEN"] = test.token
		_, err := s.fetch(func(o *Options) { o.Model, o.Files = test.model, test.files })
		if (test.wrong == nil) != (err == nil) || err != nil && !test.wrong(err) {
			t.Errorf("%s with token %q: %v (%T)", test.model, test.token, err, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", test.model, err)
		}
	}
	if tokens := s.hub.Tokens("cdn"); len(slices.DeleteFunc(tokens, func(t string) bool { return t == "" })) > 0 {
		t.Errorf("the CDN was shown %q", tokens)
	}
}

func TestHostilePaths(t *testing.T) {
	for _, path := range []string{"../../etc/passwd", "/etc/passwd", `..\..\x`, "a/../../b", "C:/x", "CON", "nul.json", "a/COM1.txt", "LPT¹",
		"dot.", "space ", "a//b", "./a", "new\nline", "", "x\x00y", strings.Repeat("a", 300)} {
		s := newStand(t, 1000, hubtest.Options{PlainHTTP: true})
		s.repo.Commit(hubtest.File{Path: path, Content: hubtest.Text("evil")})
		_, err := s.fetch(func(o *Options) { o.Files = []string{"*", "*/*"} })
		if !is[*PathError](err) {
			t.Errorf("%q: %v", path, err)
		}
		if entries, _ := os.ReadDir(filepath.Join(s.home)); len(entries) > 0 {
			t.Errorf("%q: %v was written", path, entries)
		}
	}
	for _, path := range []string{"a.json", "a/b/c", "confusing", "com.json", "com10.txt", ".gitattributes", "über.json", "a b"} {
		if err := checkPath(path); err != nil {
			t.Error(err)
		}
	}
}

func TestMirrors(t *testing.T) {
	s := newStand(t, 2<<20, hubtest.Options{PlainHTTP: true})
	endpoint := s.env["HF_ENDPOINT"]
	s.env["HF_ENDPOINT"] = "http://127.0.0.1:1" // nobody listens
	if _, err := s.fetch(nil); !is[*UnreachableError](err) {
		t.Errorf("without a mirror: %v (%T)", err, err)
	}
	result := s.mustFetch(func(o *Options) { o.Mirrors = []string{"http://127.0.0.1:2", endpoint} })
	if result.Endpoint != endpoint {
		t.Errorf("from %s", result.Endpoint)
	}
	// A mirror that fails only at the files.
	bad, good := newStand(t, 2<<20, hubtest.Options{PlainHTTP: true}), newStand(t, 2<<20, hubtest.Options{PlainHTTP: true})
	bad.hub.Inject(hubtest.Fault{On: hubtest.RouteResolve, Status: 500})
	result = bad.mustFetch(func(o *Options) { o.Mirrors = []string{good.env["HF_ENDPOINT"]} })
	bad.check(filepath.Join(result.Path, "model.safetensors"), bad.weights)
}

func TestOffline(t *testing.T) {
	s := newStand(t, 1<<20, hubtest.Options{})
	s.env["HF_HUB_OFFLINE"] = "yes"
	var offline *OfflineError
	if _, err := s.fetch(nil); !errors.As(err, &offline) || offline.Why != "HF_HUB_OFFLINE" {
		t.Errorf("nothing cached: %v", err)
	}
	if len(s.hub.Requests()) > 0 {
		t.Error("the network was asked")
	}
	s.env["HF_HUB_OFFLINE"] = "0"
	result := s.mustFetch(nil)
	s.env["HF_HUB_OFFLINE"] = "1"
	s.mustFetch(nil)
	if err := os.Remove(filepath.Join(result.Path, "vocab.json")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s.env["HF_HUB_OFFLINE"] = "0"
	s.mustFetch(nil)
	s.env["HF_HUB_OFFLINE"] = "1"
	s.mustFetch(func(o *Options) { o.Dir = dir })
	s.check(filepath.Join(dir, "model.safetensors"), s.weights)
	if err := os.Remove(filepath.Join(result.Path, "vocab.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fetch(nil); !errors.As(err, &offline) || !slices.Contains(offline.Missing, "vocab.json") {
		t.Errorf("one file missing: %v", err)
	}
}

// What an old tool downloaded as "gpt2" is found and not transferred again.
func TestLegacyName(t *testing.T) {
	s := newStand(t, 1000, hubtest.Options{})
	if _, err := s.hub.AddGPT2(hubtest.GPT2Options{Weights: 3 << 20, Xet: true}); err != nil {
		t.Fatal(err)
	}
	first := s.mustFetch(func(o *Options) { o.Model = "gpt2" })
	if first.Model != hubtest.GPT2 || first.Revision != hubtest.GPT2Commit {
		t.Errorf("%s@%s", first.Model, first.Revision)
	}
	cache := filepath.Join(s.home, "hub")
	if err := os.Rename(filepath.Join(cache, "models--openai-community--gpt2"), filepath.Join(cache, "models--gpt2")); err != nil {
		t.Fatal(err)
	}
	offline := s.mustFetch(func(o *Options) { o.Model, o.Offline = "gpt2", true })
	if !strings.Contains(offline.Path, "models--gpt2") {
		t.Error(offline.Path)
	}
	second := s.mustFetch(func(o *Options) { o.Model = "gpt2" })
	if second.Downloaded != 0 || second.Path != first.Path {
		t.Errorf("%d bytes came again to %s", second.Downloaded, second.Path)
	}
	s.checkBlobs(false)
}

func TestLimitRate(t *testing.T) {
	s := newStand(t, 1<<20, hubtest.Options{PlainHTTP: true})
	result := s.mustFetch(func(o *Options) { o.LimitRate = 1 << 20 })
	if result.Duration < 800*time.Millisecond {
		t.Errorf("1 MiB at 1 MiB/s took %v", result.Duration)
	}
}

func TestInterrupt(t *testing.T) {
	s := newStand(t, 16<<20, hubtest.Options{PlainHTTP: true})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		o := s.options()
		o.LimitRate = 8 << 20
		o.Progress = func(e Event) {
			if p, ok := e.(ProgressEvent); ok && p.Downloaded > 3<<20 {
				cancel()
			}
		}
		_, err := Fetch(ctx, o)
		var interrupted *InterruptedError
		if !errors.As(err, &interrupted) || !errors.Is(err, context.Canceled) || interrupted.Complete == 0 {
			t.Fatalf("%v", err)
		}
	}
	plan, err := s.fetch(func(o *Options) { o.DryRun = true })
	if err != nil || plan.Files[2].Partial < 6<<20 {
		t.Errorf("%+v, %v", plan.Files, err)
	}
	result := s.mustFetch(nil)
	s.check(filepath.Join(result.Path, "model.safetensors"), s.weights)
	if sent := s.hub.BytesOf("model.safetensors"); sent > 16<<20+3*8e6 {
		t.Errorf("%d bytes were sent", sent)
	}
	s.checkBlobs(false)
}

// A chunk that the disk has spoilt is named, and it alone comes again.
func TestSpoilt(t *testing.T) {
	s := newStand(t, 10<<20+77, hubtest.Options{PlainHTTP: true})
	result := s.mustFetch(nil)
	path := filepath.Join(result.Path, "model.safetensors")
	verify := func() []VerifiedFile {
		t.Helper()
		files, err := Verify(t.Context(), VerifyOptions{Model: testModel, Getenv: s.options().Getenv})
		if err != nil || len(files) != 3 {
			t.Fatalf("%v, %v", files, err)
		}
		return slices.DeleteFunc(files, func(v VerifiedFile) bool { return v.State == StateGood })
	}
	if bad := verify(); len(bad) > 0 {
		t.Fatalf("fresh: %v", bad)
	}
	for _, at := range []int64{0, 5<<20 + 3, 10<<20 + 76} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b[0] ^ 1}, at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		want := Range{at &^ (1<<20 - 1), min(at|(1<<20-1)+1, 10<<20+77)}
		want.To = min(want.From+1<<20, 10<<20+77)
		bad := verify()
		if len(bad) != 1 || bad[0].State != StateSpoilt || !slices.Equal(bad[0].Bad, []Range{want}) {
			t.Fatalf("byte %d spoilt: %+v, want %v", at, bad, want)
		}
		if _, err := s.fetch(func(o *Options) { o.Offline = true }); !is[*SpoiltError](err) {
			t.Errorf("offline: %v", err)
		}
		mended := s.mustFetch(nil)
		if n := want.To - want.From; mended.Downloaded != n {
			t.Errorf("byte %d spoilt: %d bytes came, want %d", at, mended.Downloaded, n)
		}
		s.check(path, s.weights)
		s.checkBlobs(false)
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if bad := verify(); len(bad) != 1 {
		t.Errorf("truncated: %v", bad)
	}
	s.mustFetch(nil)
	s.check(path, s.weights)
}

func TestListAndRemove(t *testing.T) {
	s := newStand(t, 3<<20, hubtest.Options{PlainHTTP: true})
	getenv := s.options().Getenv
	if repos, err := List(getenv); err != nil || len(repos) != 0 {
		t.Errorf("empty: %v, %v", repos, err)
	}
	if _, err := Remove(RemoveOptions{Model: testModel, Getenv: getenv}); !errors.Is(err, ErrNotCached) {
		t.Errorf("remove what is not there: %v", err)
	}
	first := s.mustFetch(nil)
	s.repo.Tag("v1", first.Revision)
	s.mustFetch(func(o *Options) { o.Revision = "v1" })
	s.repo.Commit(hubtest.File{Path: "config.json", Content: hubtest.Text(`{"model_type":"gpt2"}`)})
	second := s.mustFetch(nil)
	if second.Revision == first.Revision || second.Downloaded >= 1<<20 {
		t.Errorf("%+v", second)
	}
	repos, err := List(getenv)
	if err != nil || len(repos) != 1 || len(repos[0].Revisions) != 2 || repos[0].Model != testModel {
		t.Fatalf("%+v, %v", repos, err)
	}
	for _, r := range repos[0].Revisions {
		want := []string{"main"}
		if r.Commit == first.Revision {
			want = []string{"v1"}
		}
		if !slices.Equal(r.Refs, want) || r.Files != 3 || r.Bytes < 3<<20 {
			t.Errorf("%+v", r)
		}
	}
	gone, err := Remove(RemoveOptions{Model: testModel + "@v1", Getenv: getenv})
	if err != nil || gone.Bytes != int64(len(testConfig)) {
		t.Errorf("%+v, %v", gone, err)
	}
	s.check(filepath.Join(second.Path, "model.safetensors"), s.weights)
	again := s.mustFetch(nil)
	if again.Downloaded != 0 {
		t.Error("what the other revision needs went too")
	}
	if gone, err = Remove(RemoveOptions{Model: testModel, DryRun: true, Getenv: getenv}); err != nil || gone.Bytes < 3<<20 {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err = Remove(RemoveOptions{Model: testModel, Getenv: getenv}); err != nil {
		t.Error(err)
	}
	if repos, err := List(getenv); err != nil || len(repos) != 0 {
		t.Errorf("afterwards: %v, %v", repos, err)
	}
}

// A pull request's revision has slashes, in the address and in the cache.
func TestRevisions(t *testing.T) {
	s := newStand(t, 1000, hubtest.Options{PlainHTTP: true})
	first := s.mustFetch(nil)
	s.repo.Branch("refs/pr/1", first.Revision)
	for _, revision := range []string{"refs/pr/1", first.Revision} {
		result := s.mustFetch(func(o *Options) { o.Revision = revision })
		if result.Path != first.Path {
			t.Errorf("%s: %s", revision, result.Path)
		}
	}
	text, err := os.ReadFile(filepath.Join(s.home, "hub", "models--someone--gpt2-tiny", "refs", "refs", "pr", "1"))
	if err != nil || string(text) != first.Revision {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := s.fetch(func(o *Options) { o.Revision = "../../x" }); !is[*InvalidIDError](err) {
		t.Error(err)
	}
}

// A file of the snapshot that is not the blob is looked at too.
func TestSwappedFile(t *testing.T) {
	s := newStand(t, 2<<20, hubtest.Options{PlainHTTP: true})
	result := s.mustFetch(nil)
	path := filepath.Join(result.Path, "model.safetensors")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.fetch(func(o *Options) { o.Offline = true }); !is[*SpoiltError](err) {
		t.Errorf("offline: %v", err)
	}
	if again := s.mustFetch(nil); again.Downloaded != 0 {
		t.Errorf("%d bytes came although the blob is good", again.Downloaded)
	}
	s.check(path, s.weights)
}

func TestNoLinks(t *testing.T) {
	s := newStand(t, 2<<20, hubtest.Options{PlainHTTP: true})
	s.env["HF_HUB_DISABLE_SYMLINKS"] = "1"
	s.repo.Commit(hubtest.File{Path: "added_tokens.json", Content: hubtest.Text(testConfig)}) // the bytes of config.json
	result := s.mustFetch(nil)
	for _, name := range []string{"config.json", "added_tokens.json", "model.safetensors"} {
		if info, err := os.Lstat(filepath.Join(result.Path, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if again := s.mustFetch(nil); again.Downloaded != 0 {
		t.Errorf("%d bytes came again", again.Downloaded)
	}
	s.mustFetch(func(o *Options) { o.Offline = true })
	files, err := Verify(t.Context(), VerifyOptions{Getenv: s.options().Getenv})
	if err != nil || len(files) != 4 || slices.ContainsFunc(files, func(v VerifiedFile) bool { return v.State != StateGood }) {
		t.Errorf("%+v, %v", files, err)
	}
}
