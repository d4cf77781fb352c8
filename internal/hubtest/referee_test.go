package hubtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// referee is a Python with huggingface_hub, named by GPTCTL_REFEREE_PYTHON.
func referee(t *testing.T) string {
	t.Helper()
	python := os.Getenv("GPTCTL_REFEREE_PYTHON")
	if python == "" {
		t.Skip("GPTCTL_REFEREE_PYTHON is not set")
	}
	if err := exec.Command(python, "-c", "import huggingface_hub").Run(); err != nil {
		t.Skipf("%s has no huggingface_hub: %v", python, err)
	}
	return python
}

// environment is the client's, pointed at the server with an empty HF_HOME.
func environment(t *testing.T, s *Server, extra ...string) (env []string, home string) {
	t.Helper()
	home = t.TempDir()
	ca, err := s.WriteCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasPrefix(name, "HF_") && !strings.HasPrefix(name, "TRANSFORMERS_") && !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			env = append(env, v)
		}
	}
	env = append(env, "HF_ENDPOINT="+s.Endpoint(), "SSL_CERT_FILE="+ca, "HF_HOME="+home, "HF_HUB_DISABLE_XET=1",
		"HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_UPDATE_CHECK=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "PYTHONDONTWRITEBYTECODE=1")
	return append(env, extra...), home
}

func python(t *testing.T, interpreter string, env []string, script string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter, append([]string{"-c", script}, args...)...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// files lists a folder: regular files, and links with what they point to.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		to, _ := os.Readlink(path)
		out[filepath.ToSlash(name)] = to
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefereeDownloads(t *testing.T) {
	interpreter := referee(t)
	for name, o := range map[string]Options{
		"tls": {}, "plain": {PlainHTTP: true}, "http2 offered": {HTTP2: true}, "resolve-cache": {ResolveCache: true}, "mirror": {Mirror: true}, "pages of 4": {PageSize: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(t, o)
			if _, err := s.AddGPT2(GPT2Options{Weights: 3<<20 + 5, Xet: true}); err != nil {
				t.Fatal(err)
			}
			s.AddUser("hf_secret", "ann")
			env, home := environment(t, s, "HF_TOKEN=hf_secret")
			cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(interpreter), "hf"), "download", "openai-community/gpt2")
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("hf download: %v\n%s", err, out)
			}
			repo := filepath.Join(home, "hub", "models--openai-community--gpt2")
			ref, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
			if err != nil || string(ref) != GPT2Commit {
				t.Errorf("refs/main: %q, %v", ref, err)
			}
			got := files(t, repo)
			small, err := GPT2Files()
			if err != nil {
				t.Fatal(err)
			}
			_, tree, _ := s.Repo(GPT2).at("main")
			for path, f := range tree {
				link := strings.Repeat("../", 2+strings.Count(path, "/")) + "blobs/" + f.etag()
				if got["snapshots/"+GPT2Commit+"/"+path] != link {
					t.Errorf("%s points to %q, want %q", path, got["snapshots/"+GPT2Commit+"/"+path], link)
				}
				data, err := os.ReadFile(filepath.Join(repo, "blobs", f.etag()))
				if err != nil || SHA256(Text(string(data))) != f.digest().sha256 || small[path] != "" && small[path] != string(data) {
					t.Errorf("%s: wrong bytes or %v", path, err)
				}
			}
			if _, ok := got["trees/"+GPT2Commit+".json"]; !ok {
				t.Errorf("no tree listing among %v", got)
			}
			if tokens := s.Tokens("hub"); !slices.Equal(tokens, []string{"hf_secret"}) || len(s.Tokens("cdn")) > 0 {
				t.Errorf("tokens: hub %v, cdn %v", tokens, s.Tokens("cdn"))
			}
			if n := s.Count(RouteCDN, "model.safetensors"); (n == 0) != o.Mirror {
				t.Errorf("%d requests to the CDN", n)
			}
			// All hashes against the tree.
			cmd = exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(interpreter), "hf"), "cache", "verify", "openai-community/gpt2")
			cmd.Env = env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("hf cache verify: %v\n%s", err, out)
			}
		})
	}
}

// Through a proxy, with hosts that have names.
func TestRefereeProxy(t *testing.T) {
	interpreter := referee(t)
	for _, o := range []Options{{NamedHosts: true}, {NamedHosts: true, PlainHTTP: true}} {
		s, p := New(t, o), NewProxy(t)
		gpt2(t, s, megabyte)
		env, _ := environment(t, s, "HTTPS_PROXY="+p.URL, "HTTP_PROXY="+p.URL)
		cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(interpreter), "hf"), "download", "gpt2", "config.json", "model.safetensors")
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil || s.BytesOf("model.safetensors") != megabyte {
			t.Errorf("%+v: %v\n%s", o, err, out)
		}
		var hosts []string
		for _, a := range p.Asked() {
			if !slices.ContainsFunc(hosts, func(h string) bool { return strings.Contains(a, h) }) {
				hosts = append(hosts, strings.Split(strings.TrimPrefix(strings.Fields(a)[1], "http://"), ":")[0])
			}
		}
		if slices.Sort(hosts); !slices.Equal(hosts, []string{"cdn.test", "hub.test"}) {
			t.Errorf("%+v: the proxy was asked for %v", o, p.Asked())
		}
	}
}

const errorsScript = `
import json, os, tempfile
from huggingface_hub import hf_hub_download, snapshot_download, model_info, HfApi
out, tmp = {}, tempfile.mkdtemp(dir=os.environ["HF_HOME"])
def attempt(name, f):
    try:
        f(); out[name] = "ok"
    except BaseException as e:
        out[name] = type(e).__name__ + (" from " + type(e.__cause__).__name__ if e.__cause__ and "Local" in type(e).__name__ else "")
for who in ("", "hf_in", "hf_out", "hf_wrong"):
    token = who or False
    for repo in ("gated", "private", "disabled", "none", "public"):
        attempt(f"{repo} {who}", lambda: hf_hub_download(f"org/{repo}", "config.json", token=token, cache_dir=tempfile.mkdtemp(dir=tmp)))
        attempt(f"info {repo} {who}", lambda: model_info(f"org/{repo}", token=token))
attempt("revision", lambda: hf_hub_download("org/public", "config.json", revision="nope"))
attempt("snapshot revision", lambda: snapshot_download("org/public", revision="nope"))
attempt("entry", lambda: hf_hub_download("org/public", "nope.json"))
attempt("pr", lambda: hf_hub_download("org/public", "config.json", revision="refs/pr/1"))
attempt("tag", lambda: hf_hub_download("org/public", "config.json", revision="v1"))
attempt("renamed file", lambda: hf_hub_download("gpt2", "config.json"))
attempt("renamed", lambda: snapshot_download("gpt2", allow_patterns=["*.json"]))
attempt("whoami", lambda: HfApi().whoami(token="hf_in"))
attempt("whoami wrong", lambda: HfApi().whoami(token="hf_wrong"))
out["refs"] = sorted(b.name for b in HfApi().list_repo_refs("org/public").branches + HfApi().list_repo_refs("org/public").tags)
print(json.dumps(out))
`

func TestRefereeErrors(t *testing.T) {
	interpreter := referee(t)
	for _, o := range []Options{{}, {ResolveCache: true}} {
		s := New(t, o)
		gpt2(t, s, megabyte)
		s.AddUser("hf_in", "ann", "org/gated", "org/private")
		s.AddUser("hf_out", "bob")
		for _, a := range []Access{Public, Gated, Private, Disabled} {
			s.Repo("org/" + string(a)).SetAccess(a).Commit(File{Path: "config.json", Content: Text("{}")})
		}
		commit, _, _ := s.Repo("org/public").at("main")
		s.Repo("org/public").Branch("refs/pr/1", commit)
		s.Repo("org/public").Tag("v1", commit)
		env, home := environment(t, s)
		out, err := python(t, interpreter, env, errorsScript)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var got map[string]any
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for name, want := range map[string]string{
			"public ": "ok", "public hf_in": "ok", "public hf_wrong": "HfHubHTTPError", "info public ": "ok",
			"gated ": "GatedRepoError", "gated hf_out": "GatedRepoError", "gated hf_in": "ok", "info gated ": "ok",
			"private ": "RepositoryNotFoundError", "private hf_out": "RepositoryNotFoundError", "private hf_in": "ok",
			"info private ": "RepositoryNotFoundError", "info private hf_in": "ok",
			"none ": "RepositoryNotFoundError", "none hf_out": "RepositoryNotFoundError", "info none ": "RepositoryNotFoundError",
			"disabled ": "LocalEntryNotFoundError from DisabledRepoError", "disabled hf_in": "LocalEntryNotFoundError from DisabledRepoError", "info disabled ": "DisabledRepoError",
			"revision": "RevisionNotFoundError", "snapshot revision": "RevisionNotFoundError", "entry": "RemoteEntryNotFoundError",
			"pr": "ok", "tag": "ok", "renamed": "ok", "renamed file": "ok", "whoami": "ok",
		} {
			if got[name] != want {
				t.Errorf("%+v: %s: %v, want %s", o, name, got[name], want)
			}
		}
		cache := files(t, filepath.Join(home, "hub", "models--org--public"))
		for _, want := range []string{"refs/refs/pr/1", "refs/v1", ".no_exist/" + commit + "/nope.json"} {
			if _, ok := cache[want]; !ok {
				t.Errorf("%+v: no %s in %v", o, want, cache)
			}
		}
		if _, ok := files(t, filepath.Join(home, "hub"))["models--gpt2/snapshots/"+GPT2Commit+"/config.json"]; !ok {
			t.Errorf("%+v: the old name is not cached as such", o)
		}
		t.Logf("all: %v", got)
	}
}

func TestRefereeTransformers(t *testing.T) {
	interpreter := referee(t)
	if err := exec.Command(interpreter, "-c", "import transformers, torch").Run(); err != nil {
		t.Skipf("no transformers: %v", err)
	}
	s := New(t, Options{})
	gpt2(t, s, 0)
	env, _ := environment(t, s)
	const script = `
from transformers import AutoModelForCausalLM, AutoTokenizer
m = AutoModelForCausalLM.from_pretrained("openai-community/gpt2")
k = AutoTokenizer.from_pretrained("openai-community/gpt2")
print(sum(p.numel() for p in m.parameters()), k("Hello world").input_ids)
`
	out, err := python(t, interpreter, env, script)
	if err != nil || !strings.Contains(out, "[15496, 995]") {
		t.Fatalf("%v\n%s", err, out)
	}
	if s.Count(RouteCDN, "model.safetensors") != 1 || s.BytesOf("pytorch_model.bin") != 0 {
		t.Errorf("the weights were asked for %d times, pytorch_model.bin gave %d bytes", s.Count(RouteCDN, "model.safetensors"), s.BytesOf("pytorch_model.bin"))
	}
	// And again from its cache, without the server.
	if out, err := python(t, interpreter, append(env, "HF_HUB_OFFLINE=1"), script); err != nil || !strings.Contains(out, "[15496, 995]") {
		t.Errorf("offline: %v\n%s", err, out)
	}
}

// What the referee makes of faults. The server is to be believed if the client
// sees what its source says it should see; the outcomes are the table in README.md.
func TestRefereeFaults(t *testing.T) {
	interpreter := referee(t)
	const size, chunk = 16 << 20, 10 << 20 // the client keeps only whole chunks of 10 MiB of a connection that broke
	right := SHA256(Noise(0, size))
	const script = `
import hashlib, os, sys
from huggingface_hub import hf_hub_download
p = hf_hub_download("openai-community/gpt2", sys.argv[1])
print(os.path.basename(os.path.realpath(p)), "sha256", hashlib.sha256(open(p, "rb").read()).hexdigest())
`
	for _, c := range []struct {
		name, file string
		faults     []Fault
		options    Options
		want       string // "right", "wrong" (a wrong file and exit 0), or a part of the message
	}{
		{"none", "model.safetensors", nil, Options{}, "right"},
		{"bit flipped once", "model.safetensors", []Fault{{On: RouteCDN, Flip: []int64{size / 2}, Times: 1}}, Options{}, "wrong"},
		{"cut at every megabyte", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: megabyte}}, Options{}, "RemoteProtocolError"},
		{"cut at 11 megabytes", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: chunk + megabyte, Times: 1}}, Options{}, "right"},
		{"reset once", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: megabyte, Reset: true, Times: 1}}, Options{}, "right"},
		{"503 once on the CDN", "model.safetensors", []Fault{{On: RouteCDN, Status: 503, Times: 1}}, Options{}, "503"},
		{"503 once on the hub", "model.safetensors", []Fault{{On: RouteResolve, Status: 503, Times: 1}}, Options{}, "right"},
		{"URL expired midway", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: megabyte, Times: 1, ExpireAfter: true}}, Options{}, "403"},
		{"truncated", "model.safetensors", []Fault{{On: RouteCDN, TruncateTo: megabyte, Times: 1}}, Options{}, "Consistency check failed"},
		{"200 to a range", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: chunk + megabyte, Times: 1}, {On: RouteCDN, IgnoreRange: true, Times: 1}}, Options{}, "right"},
		{"another range than asked", "model.safetensors", []Fault{{On: RouteCDN, CutAfter: chunk + megabyte, Times: 1}, {On: RouteCDN, ShiftSilently: -4096, Times: 1}}, Options{}, "wrong"},
		{"wrong etag", "model.safetensors", []Fault{{On: RouteResolve, Header: map[string]string{"X-Linked-Etag": quoted(strings.Repeat("ab", 32))}}}, Options{}, "wrong name"},
		{"loop", "config.json", []Fault{{On: RouteResolve, RedirectTo: "self"}}, Options{}, "TooManyRedirects"},
		{"no commit header", "config.json", []Fault{{On: RouteResolve, Drop: []string{"X-Repo-Commit"}}}, Options{}, "X-Repo-Commit"},
		{"no etag", "config.json", []Fault{{On: RouteResolve, Drop: []string{"*"}, Header: map[string]string{"X-Repo-Commit": GPT2Commit}}}, Options{}, "ETag"},
		{"no length", "config.json", []Fault{{On: RouteResolve, NoSize: true}}, Options{}, "right"},
		{"gzip unasked", "vocab.json", []Fault{{On: RouteResolve, Method: "GET", Gzip: true}}, Options{}, "right"},
		{"foreign host", "model.safetensors", []Fault{{On: RouteResolve, RedirectTo: "foreign"}}, Options{}, "X-Repo-Commit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := New(t, c.options)
			gpt2(t, s, size)
			s.AddUser("hf_secret", "ann")
			s.Inject(c.faults...)
			env, _ := environment(t, s, "HF_TOKEN=hf_secret")
			out, err := python(t, interpreter, env, script, c.file)
			sha := right
			if c.file != "model.safetensors" {
				_, tree, _ := s.Repo(GPT2).at("main")
				sha = tree[c.file].digest().sha256
			}
			outcome := "error"
			switch {
			case err == nil && c.file == "model.safetensors" && strings.Contains(out, "sha256 "+sha) && !strings.Contains(out, sha+" sha256"):
				outcome = "wrong name"
			case err == nil && strings.Contains(out, "sha256 "+sha):
				outcome = "right"
			case err == nil:
				outcome = "wrong"
			}
			if outcome != c.want && (outcome != "error" || !strings.Contains(out, c.want)) {
				t.Errorf("%s, want %s\n%s", outcome, c.want, out)
			}
			if len(s.Tokens("cdn"))+len(s.Tokens("foreign")) > 0 {
				t.Errorf("tokens: cdn %v, foreign %v", s.Tokens("cdn"), s.Tokens("foreign"))
			}
		})
	}
}
