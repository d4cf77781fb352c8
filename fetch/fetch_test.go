package fetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

// fast are times short enough for a test to wait for every kind of giving up.
var fast = Timing{
	Silence: 300 * time.Millisecond, GiveUp: 30 * time.Second, Backoff: 5 * time.Millisecond,
	MostWait: 3 * time.Second, Progress: time.Millisecond, LockPoll: 5 * time.Millisecond,
}

// stand is a Hub with one model, and a machine that fetches from it.
type stand struct {
	*testing.T
	hub     *hubtest.Server
	repo    *hubtest.Repo
	weights hubtest.Content
	env     map[string]string
	home    string
	events  events
}

type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

// seen returns the events of type E.
func seen[E Event](e *events) []E {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []E
	for _, event := range e.list {
		if event, ok := event.(E); ok {
			found = append(found, event)
		}
	}
	return found
}

const (
	testModel  = "someone/gpt2-tiny"
	testConfig = `{"model_type": "gpt2", "n_layer": 1}`
)

func newStand(t *testing.T, size int64, o hubtest.Options) *stand {
	t.Helper()
	s := &stand{T: t, hub: hubtest.New(t, o), weights: hubtest.Noise(1, size), home: t.TempDir()}
	s.repo = s.hub.Repo(testModel)
	s.repo.Commit(
		hubtest.File{Path: "config.json", Content: hubtest.Text(testConfig)},
		hubtest.File{Path: "vocab.json", Content: hubtest.Text(`{"a": 0}`)},
		hubtest.File{Path: "README.md", Content: hubtest.Text("read me")},
		hubtest.File{Path: "model.safetensors", Content: s.weights, LFS: true},
		hubtest.File{Path: "pytorch_model.bin", Content: hubtest.Text("never wanted"), LFS: true},
		hubtest.File{Path: "onnx/model.onnx", Content: hubtest.Text("never wanted either"), LFS: true},
	)
	s.env = map[string]string{"HF_ENDPOINT": s.hub.Endpoint(), "HF_HOME": s.home}
	if !o.PlainHTTP {
		ca, err := s.hub.WriteCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s.env["SSL_CERT_FILE"] = ca
	}
	return s
}

func (s *stand) options() Options {
	return Options{Model: testModel, Getenv: func(name string) string { return s.env[name] }, Timing: fast, Progress: s.events.add}
}

// fetch fetches, with what change makes of the usual options.
func (s *stand) fetch(change func(*Options)) (Result, error) {
	o := s.options()
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	return Fetch(ctx, o)
}

func (s *stand) mustFetch(change func(*Options)) Result {
	s.Helper()
	result, err := s.fetch(change)
	if err != nil {
		s.Fatalf("Fetch: %v", err)
	}
	if !result.Verified {
		s.Error("the result is not verified")
	}
	return result
}

// check compares a file on the disk with what the Hub has.
func (s *stand) check(path string, want hubtest.Content) {
	s.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	if int64(len(got)) != want.Size() || hubtest.SHA256(hubtest.Text(string(got))) != hubtest.SHA256(want) {
		s.Fatalf("%s: %d bytes with other content than the Hub's %d", path, len(got), want.Size())
	}
}

// clean fails where a file lies under its final name with wrong bytes, or
// where work was left behind.
func (s *stand) checkBlobs(leftovers bool) {
	s.Helper()
	blobs, _ := filepath.Glob(filepath.Join(s.home, "hub", "models--*", "blobs", "*"))
	for _, path := range blobs {
		name := filepath.Base(path)
		if strings.HasSuffix(name, ".incomplete") || strings.HasSuffix(name, ".first") {
			if !leftovers {
				s.Errorf("%s was left behind", path)
			}
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		content := hubtest.Text(string(text))
		if name != hubtest.SHA256(content) && name != hubtest.GitOID(content) {
			s.Errorf("%s has bytes of another hash", path)
		}
	}
}

func TestFetch(t *testing.T) {
	for _, o := range []hubtest.Options{{}, {PlainHTTP: true}, {HTTP2: true}, {Mirror: true}, {ResolveCache: true}, {PageSize: 2}, {ClockSkew: 48 * time.Hour}} {
		s := newStand(t, 6<<20+12345, o)
		result := s.mustFetch(nil)
		if want := []string{"config.json", "vocab.json", "model.safetensors"}; len(result.Files) != len(want) {
			t.Errorf("%d files, want %v", len(result.Files), want)
		}
		s.check(filepath.Join(result.Path, "model.safetensors"), s.weights)
		s.check(filepath.Join(result.Path, "config.json"), hubtest.Text(testConfig))
		s.checkBlobs(false)
		if result.Downloaded != result.Bytes {
			t.Errorf("%d bytes came, want %d", result.Downloaded, result.Bytes)
		}
		if dir, err := CachedModel(testModel, s.options().Getenv); err != nil || dir != result.Path {
			t.Errorf("CachedModel: %q, %v", dir, err)
		}
		to, err := os.Readlink(filepath.Join(result.Path, "config.json"))
		if err != nil || filepath.IsAbs(to) {
			t.Errorf("link to %q, %v", to, err)
		}

		// Once more: nothing comes.
		s.hub.Forget()
		again := s.mustFetch(nil)
		if again.Downloaded != 0 || s.hub.Count(hubtest.RouteResolve, "") != 0 {
			t.Errorf("the second time %d bytes came in %d requests", again.Downloaded, s.hub.Count(hubtest.RouteResolve, ""))
		}
		// Offline too.
		s.hub.Close()
		offline := s.mustFetch(func(o *Options) { o.Offline = true })
		if offline.Path != result.Path {
			t.Errorf("offline in %s, want %s", offline.Path, result.Path)
		}
	}
}

func TestDryRun(t *testing.T) {
	s := newStand(t, 1<<20, hubtest.Options{})
	result, err := s.fetch(func(o *Options) { o.DryRun = true })
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(1<<20) + int64(len(testConfig)) + 8; result.Bytes != want || result.Room != want || result.Downloaded != 0 || result.Available == 0 {
		t.Errorf("%+v, want %d bytes", result, want)
	}
	if _, err := os.Stat(filepath.Join(s.home, "hub")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dry run wrote something")
	}
	s.mustFetch(nil)
	if result, err = s.fetch(func(o *Options) { o.DryRun = true }); err != nil || result.Room != 0 || !result.Files[0].Cached {
		t.Errorf("afterwards: %+v, %v", result, err)
	}
}

func TestDir(t *testing.T) {
	s := newStand(t, 3<<20, hubtest.Options{})
	dir := filepath.Join(t.TempDir(), "model")
	s.mustFetch(func(o *Options) { o.Dir = dir })
	s.check(filepath.Join(dir, "model.safetensors"), s.weights)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v; want the three files alone", entries, err)
	}
	if again := s.mustFetch(func(o *Options) { o.Dir = dir }); again.Downloaded != 0 {
		t.Errorf("%d bytes came again", again.Downloaded)
	}
	// From the cache it costs no transfer, and a spoilt file is replaced.
	s.mustFetch(nil)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(strings.Repeat("x", len(testConfig))), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := s.mustFetch(func(o *Options) { o.Dir = dir }); again.Downloaded != int64(len(testConfig)) && again.Downloaded != 0 {
		t.Errorf("%d bytes came for one small file", again.Downloaded)
	}
	s.check(filepath.Join(dir, "config.json"), hubtest.Text(testConfig))
	other := t.TempDir()
	if copied := s.mustFetch(func(o *Options) { o.Dir = other }); copied.Downloaded != 0 {
		t.Errorf("%d bytes came although the cache has them", copied.Downloaded)
	}
	s.check(filepath.Join(other, "model.safetensors"), s.weights)
}
