package hubtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const megabyte = 1 << 20

// get sends one request and follows no redirect.
func get(t *testing.T, s *Server, method, at string, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	if strings.HasPrefix(at, "/") {
		at = s.Endpoint() + at
	}
	r, err := http.NewRequestWithContext(t.Context(), method, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer c.CloseIdleConnections()
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func mustGet(t *testing.T, s *Server, method, at string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	resp, body, err := get(t, s, method, at, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, at, err)
	}
	return resp, body
}

func gpt2(t *testing.T, s *Server, size int64) {
	t.Helper()
	if _, err := s.AddGPT2(GPT2Options{Weights: size}); err != nil {
		t.Fatal(err)
	}
}

func TestGPT2FilesAreTheRealOnes(t *testing.T) {
	files, err := GPT2Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, oid := range map[string]string{
		"config.json":            "10c66461e4c109db5a2196bff4bb59be30396ed8",
		"generation_config.json": "3dc481ecc3b2c47a06ab4e20dba9d7f4b447bdf3",
		"merges.txt":             "226b0752cac7789c48f0cb3ec53eda48b7be36cc",
		"tokenizer.json":         "4b988bccc9dc5adacd403c00b4704976196548f8",
		"tokenizer_config.json":  "be4d21d94f3b4687e5a54d84bf6ab46ed0f8defd",
		"vocab.json":             "1f1d9aaca301414e7f6c9396df506798ff4eb9a6",
	} {
		if got := GitOID(Text(files[name])); got != oid {
			t.Errorf("%s: git hash %s, want %s", name, got, oid)
		}
	}
}

func TestNoiseIsTheSameFromAnywhere(t *testing.T) {
	c := Noise(3, 3*megabyte+77)
	whole := make([]byte, c.Size())
	if n, err := c.ReadAt(whole, 0); n != len(whole) || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	for _, at := range []int64{0, 1, 15, 16, 4095, 4096, 262143, 262144, megabyte + 3, c.Size() - 1} {
		part := make([]byte, 9000)
		n, err := c.ReadAt(part, at)
		if want := min(9000, c.Size()-at); int64(n) != want || (n < 9000) != errors.Is(err, io.EOF) || !bytes.Equal(part[:n], whole[at:at+want]) {
			t.Errorf("at %d: %d bytes, %v", at, n, err)
		}
	}
	pages := map[string]bool{}
	for at := 0; at+pageBytes <= len(whole); at += pageBytes {
		pages[string(whole[at:at+pageBytes])] = true
	}
	if len(pages) != len(whole)/pageBytes {
		t.Errorf("%d of %d pages differ", len(pages), len(whole)/pageBytes)
	}
	if SHA256(c) == SHA256(Noise(4, c.Size())) {
		t.Error("the seed changes nothing")
	}
}

func TestSmallFile(t *testing.T) {
	for _, o := range []Options{{}, {PlainHTTP: true}, {HTTP2: true}} {
		s := New(t, o)
		gpt2(t, s, megabyte)
		resp, body := mustGet(t, s, "GET", "/openai-community/gpt2/resolve/main/config.json")
		if resp.StatusCode != 200 || string(body) != gpt2Config || resp.Header.Get("X-Repo-Commit") != GPT2Commit ||
			resp.Header.Get("ETag") != `"10c66461e4c109db5a2196bff4bb59be30396ed8"` || resp.ContentLength != 665 {
			t.Errorf("%+v: %d %v", o, resp.StatusCode, resp.Header)
		}
		if (resp.ProtoMajor == 2) != o.HTTP2 {
			t.Errorf("%+v: %s", o, resp.Proto)
		}
		resp, body = mustGet(t, s, "GET", "/openai-community/gpt2/resolve/main/vocab.json", "Accept-Encoding", "gzip")
		if resp.Header.Get("Content-Encoding") != "gzip" || resp.ContentLength != -1 || len(body) > 500_000 ||
			resp.Header.Get("ETag") != `W/"1f1d9aaca301414e7f6c9396df506798ff4eb9a6"` {
			t.Errorf("%+v: gzip: %d bytes, %v", o, len(body), resp.Header)
		}
		resp, body = mustGet(t, s, "HEAD", "/openai-community/gpt2/resolve/main/vocab.json")
		if resp.ContentLength != 1042301 || len(body) != 0 {
			t.Errorf("%+v: HEAD %v", o, resp.Header)
		}
	}
}

func TestLFSFile(t *testing.T) {
	s := New(t, Options{})
	if _, err := s.AddGPT2(GPT2Options{Weights: 3 * megabyte, Xet: true}); err != nil {
		t.Fatal(err)
	}
	want := Noise(0, 3*megabyte)
	resp, _ := mustGet(t, s, "HEAD", "/openai-community/gpt2/resolve/main/model.safetensors")
	if resp.StatusCode != 302 || resp.Header.Get("X-Linked-ETag") != quoted(SHA256(want)) || resp.Header.Get("X-Linked-Size") != "3145728" ||
		resp.Header.Get("X-Repo-Commit") != GPT2Commit || len(resp.Header.Get("X-Xet-Hash")) != 64 || !strings.Contains(resp.Header.Get("Link"), `rel="xet-auth"`) {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	at := resp.Header.Get("Location")
	if !strings.HasPrefix(at, s.CDN()) {
		t.Fatalf("redirected to %s", at)
	}
	_, body := mustGet(t, s, "GET", at)
	if SHA256(bytes.NewReader(body)) != SHA256(want) {
		t.Error("wrong bytes")
	}
	for header, span := range map[string][2]int64{"bytes=5-5": {5, 6}, "bytes=1000000-": {1000000, 3145728}, "bytes=-7": {3145721, 3145728}, "bytes=3145727-9999999": {3145727, 3145728}} {
		resp, part := mustGet(t, s, "GET", at, "Range", header)
		if resp.StatusCode != 206 || !bytes.Equal(part, body[span[0]:span[1]]) ||
			resp.Header.Get("Content-Range") != "bytes "+strconv.FormatInt(span[0], 10)+"-"+strconv.FormatInt(span[1]-1, 10)+"/3145728" {
			t.Errorf("%s: %d, %d bytes, %v", header, resp.StatusCode, len(part), resp.Header)
		}
	}
	if resp, _ := mustGet(t, s, "GET", at, "Range", "bytes=3145728-"); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */3145728" {
		t.Errorf("past the end: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := mustGet(t, s, "GET", at, "Authorization", "Bearer secret"); resp.StatusCode != 400 {
		t.Errorf("with a token: %d", resp.StatusCode)
	}
	if got := s.Tokens("cdn"); len(got) != 1 || got[0] != "secret" {
		t.Errorf("tokens seen: %v", got)
	}
	if resp, _ := mustGet(t, s, "GET", strings.Replace(at, "Expires=", "Expires=9", 1)); resp.StatusCode != 403 {
		t.Errorf("forged: %d", resp.StatusCode)
	}
	s.ExpireURLs()
	resp, body = mustGet(t, s, "GET", at)
	if resp.StatusCode != 403 || !strings.Contains(string(body), "<Message>Request has expired</Message>") {
		t.Errorf("expired: %d %s", resp.StatusCode, body)
	}
}

func TestErrors(t *testing.T) {
	s := New(t, Options{})
	gpt2(t, s, 1000)
	s.AddUser("hf_in", "ann", "org/gated", "org/private")
	s.AddUser("hf_out", "bob")
	for _, a := range []Access{Gated, Private, Disabled} {
		s.Repo("org/" + string(a)).SetAccess(a).Commit(File{Path: "a.txt", Content: Text("a")})
	}
	for _, c := range []struct {
		path, token, code, message string
		status                     int
	}{
		{"/api/models/org/none", "", "", "Invalid username or password.", 401},
		{"/api/models/org/none", "hf_out", "RepoNotFound", "Repository not found", 404},
		{"/api/models/org/none", "hf_wrong", "", "Invalid credentials in Authorization header", 401},
		{"/org/private/resolve/main/a.txt", "", "", "Invalid username or password.", 401},
		{"/org/private/resolve/main/a.txt", "hf_out", "RepoNotFound", "Repository not found", 404},
		{"/org/private/resolve/main/a.txt", "hf_in", "", "", 200},
		{"/org/gated/resolve/main/a.txt", "", "GatedRepo", "Access to model org/gated is restricted. You must have access to it and be authenticated to access it. Please log in.", 401},
		{"/org/gated/resolve/main/a.txt", "hf_out", "GatedRepo", "Access to model org/gated is restricted and you are not in the authorized list. Visit " + s.Endpoint() + "/org/gated to ask for access.", 403},
		{"/org/gated/resolve/main/a.txt", "hf_in", "", "", 200},
		{"/api/models/org/gated", "", "", "", 200},
		{"/org/disabled/resolve/main/a.txt", "hf_in", "", "Access to this resource is disabled.", 403},
		{"/api/models/openai-community/gpt2/revision/nope", "", "RevisionNotFound", "Invalid rev id: nope", 404},
		{"/openai-community/gpt2/resolve/nope/config.json", "", "RevisionNotFound", "Invalid rev id: nope", 404},
		{"/openai-community/gpt2/resolve/main/nope.json", "", "EntryNotFound", "Entry not found", 404},
		{"/api/whoami-v2", "hf_in", "", "", 200},
		{"/api/whoami-v2", "", "", "Invalid username or password.", 401},
	} {
		var headers []string
		if c.token != "" {
			headers = []string{"Authorization", "Bearer " + c.token}
		}
		resp, _ := mustGet(t, s, "GET", c.path, headers...)
		if resp.StatusCode != c.status || resp.Header.Get("X-Error-Code") != c.code || resp.Header.Get("X-Error-Message") != c.message {
			t.Errorf("%s with %q: %d %q %q", c.path, c.token, resp.StatusCode, resp.Header.Get("X-Error-Code"), resp.Header.Get("X-Error-Message"))
		}
	}
	for from, to := range map[string]string{
		"/api/models/gpt2":                    "/api/models/openai-community/gpt2",
		"/api/models/gpt2/tree/main?limit=3":  "/api/models/openai-community/gpt2/tree/main?limit=3",
		"/gpt2/resolve/main/config.json":      "/openai-community/gpt2/resolve/main/config.json",
		"/gpt2/resolve/main/onnx/config.json": "/openai-community/gpt2/resolve/main/onnx/config.json",
	} {
		if resp, _ := mustGet(t, s, "GET", from); resp.StatusCode != 307 || resp.Header.Get("Location") != to {
			t.Errorf("%s: %d to %s", from, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

func TestTree(t *testing.T) {
	s := New(t, Options{PageSize: 5})
	gpt2(t, s, 1000)
	var all []treeEntry
	pages := 0
	for at := "/api/models/openai-community/gpt2/tree/main?recursive=true&expand=false"; at != ""; pages++ {
		resp, body := mustGet(t, s, "GET", at)
		var page []treeEntry
		if err := json.Unmarshal(body, &page); err != nil || len(page) > 5 {
			t.Fatalf("%s: %d entries, %v", at, len(page), err)
		}
		all = append(all, page...)
		at = ""
		if link := resp.Header.Get("Link"); link != "" {
			at = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		}
	}
	kinds := map[string]int{}
	for _, e := range all {
		kinds[e.Type]++
		if e.Path == "model.safetensors" && (e.LFS == nil || e.LFS.OID != SHA256(Noise(0, 1000)) || e.LFS.PointerSize != 129 || len(e.OID) != 40 || e.Size != 1000) {
			t.Errorf("weights: %+v", e)
		}
	}
	if pages != 6 || kinds["file"] != 26 || kinds["directory"] != 1 {
		t.Errorf("%d pages, %v", pages, kinds)
	}
	_, body := mustGet(t, s, "GET", "/api/models/openai-community/gpt2/tree/main/onnx?limit=2")
	var below []treeEntry
	if err := json.Unmarshal(body, &below); err != nil || len(below) != 2 || below[0].Path != "onnx/config.json" {
		t.Errorf("below onnx: %s", body)
	}
}

func TestProxy(t *testing.T) {
	for _, plain := range []bool{false, true} {
		s, p := New(t, Options{NamedHosts: true, PlainHTTP: plain}), NewProxy(t)
		gpt2(t, s, megabyte)
		through, err := url.Parse(strings.Replace(p.URL, "//", "//ann:secret@", 1))
		if err != nil {
			t.Fatal(err)
		}
		c := s.Client()
		c.Transport = &http.Transport{TLSClientConfig: c.Transport.(*http.Transport).TLSClientConfig, Proxy: http.ProxyURL(through)}
		resp, err := c.Get(s.Endpoint() + "/gpt2/resolve/main/model.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		c.CloseIdleConnections()
		asked := p.Asked()
		if n != megabyte || err != nil || len(asked) < 2 || !strings.Contains(asked[0], "hub.test") || !strings.Contains(asked[len(asked)-1], "cdn.test") ||
			p.Authorizations()[0] != "Basic YW5uOnNlY3JldA==" {
			t.Errorf("%d bytes, %v, asked for %v, %v", n, err, asked, p.Authorizations())
		}
	}
}

// Only tests may import this package: it is not in the program.
func TestNotInTheProgram(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/gptctl")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "internal/hubtest") {
		t.Error("cmd/gptctl depends on hubtest")
	}
}

func TestRevisions(t *testing.T) {
	s := New(t, Options{ResolveCache: true})
	r := s.Repo("a/b")
	first := r.Commit(File{Path: "x.txt", Content: Text("1")})
	r.Branch("refs/pr/1", first)
	r.Tag("v1", first)
	second := r.Commit(File{Path: "x.txt", Content: Text("2")})
	for revision, want := range map[string][2]string{"main": {second, "2"}, "v1": {first, "1"}, "refs/pr/1": {first, "1"}, first: {first, "1"}, second: {second, "2"}} {
		resp, _ := mustGet(t, s, "GET", "/a/b/resolve/"+url.PathEscape(revision)+"/x.txt")
		if resp.StatusCode != 307 || !strings.HasPrefix(resp.Header.Get("Location"), "/api/resolve-cache/") {
			t.Fatalf("%s: %d %v", revision, resp.StatusCode, resp.Header)
		}
		resp, body := mustGet(t, s, "GET", resp.Header.Get("Location"))
		if resp.Header.Get("X-Repo-Commit") != want[0] || string(body) != want[1] {
			t.Errorf("%s: %s %q", revision, resp.Header.Get("X-Repo-Commit"), body)
		}
	}
}
