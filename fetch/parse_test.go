package fetch

import (
	"bytes"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/hubtest"
)

func FuzzTree(f *testing.F) {
	f.Add([]byte(`[{"type":"file","path":"a.json","size":3,"oid":"` + strings.Repeat("a", 40) + `"}]`))
	f.Add([]byte(`[{"type":"file","path":"m","size":1,"oid":"x","lfs":{"oid":"` + strings.Repeat("b", 64) + `","size":9},"xetHash":"c"}]`))
	f.Add([]byte(`[{"type":"directory","path":"onnx"},{"type":"file","path":"../../etc/passwd"}]`))
	f.Add([]byte(`{"error":"no"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := parseTree(data)
		if err != nil || checkListing(files) != nil {
			return
		}
		for _, file := range files {
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) || file.Size < 0 || !isHex(file.hash(), 40, 64) {
				t.Errorf("%+v was let through", file)
			}
		}
		selectFiles(files, nil)
		if kept, err := parseTreeFile(treeText(files)); err != nil || len(kept) != len(files) {
			t.Errorf("kept and read back: %d files of %d, %v", len(kept), len(files), err)
		}
	})
}

func treeText(files []hubFile) []byte {
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	t := target{base: dir, commit: strings.Repeat("a", 40)}
	if err := t.writeTree(files); err != nil {
		panic(err)
	}
	text, err := os.ReadFile(t.treePath())
	if err != nil {
		panic(err)
	}
	return text
}

func FuzzTreeFile(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"files":{"a":{"size":1,"blob_id":"` + strings.Repeat("a", 40) + `"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := parseTreeFile(data)
		if err != nil {
			return
		}
		for _, file := range files {
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) {
				t.Errorf("%q was let through", file.Path)
			}
		}
	})
}

func FuzzModel(f *testing.F) {
	f.Add([]byte(`{"sha":"607a30d783dfa663caf39e06633721c8d4cfcd7e","siblings":[{"rfilename":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if info, err := parseModel(data); err == nil && !commitPattern.MatchString(info.commit) {
			t.Errorf("commit %q", info.commit)
		}
	})
}

func FuzzRef(f *testing.F) {
	f.Add([]byte("607a30d783dfa663caf39e06633721c8d4cfcd7e"))
	f.Add([]byte("../../x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if commit, ok := parseRef(data); ok && !commitPattern.MatchString(commit) {
			t.Errorf("commit %q", commit)
		}
	})
}

func FuzzPath(f *testing.F) {
	f.Add("a/b.json")
	f.Add("../x")
	f.Add("nul")
	f.Fuzz(func(t *testing.T, path string) {
		if checkPath(path) == nil && !filepath.IsLocal(filepath.FromSlash(path)) {
			t.Errorf("%q was let through", path)
		}
	})
}

func FuzzLink(f *testing.F) {
	f.Add(`<https://h/api?cursor=a,b>; rel="next"`)
	f.Add(`<a>; rel="prev", <b>; rel=next`)
	f.Add(`<a`)
	f.Fuzz(func(t *testing.T, text string) {
		if next := nextPage([]string{text}); next != "" && !strings.Contains(text, "<"+next+">") {
			t.Errorf("%q has no %q", text, next)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-99/1000")
	f.Add("bytes */5")
	f.Fuzz(func(t *testing.T, text string) {
		if first, last, total, ok := contentRange(text); ok && (first < -1 || last < -1 || total < -1) {
			t.Errorf("%d-%d/%d", first, last, total)
		}
	})
}

func FuzzJournal(f *testing.F) {
	const size = 3<<20 + 5
	hash := strings.Repeat("a", 64)
	state := journalState{chain: chain{hash: hash, size: size, chunk: chunkSize(size)}}
	state.done.add(0, 2<<20)
	h := newHash(64, size)
	for range 2 {
		h.Write(make([]byte, 1<<20))
		state.states = append(state.states, stateOf(h))
	}
	f.Add(state.encode("b"), "b")
	f.Add(journalLine(journalLine(state.encode("b"), "2"), "x", "0", "9"), "b")
	f.Add([]byte("gptctl-journal 1 "), "")
	f.Fuzz(func(t *testing.T, data []byte, boot string) {
		// The checksums would stop nearly everything: make them right.
		var fixed []byte
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			fields := strings.Split(string(line), " ")
			if len(fields) > 1 {
				fixed = journalLine(fixed, fields[:len(fields)-1]...)
			}
		}
		for _, text := range [][]byte{data, fixed} {
			got, err := parseJournal(text, hash, size, boot)
			if err != nil && (len(got.done) > 0 || len(got.states) > 0 || got.second) {
				t.Error("a refused journal left something")
			}
			if got.done.total() > size || int64(len(got.states))*got.chunk > size {
				t.Errorf("%d bytes done, %d states", got.done.total(), len(got.states))
			}
			for i := range got.states {
				if _, err := got.start(i + 1); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// Spans behave as a plain set of numbers does.
func TestSpans(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var s spans
		var set [64]bool
		for range 12 {
			from := random.Int64N(64)
			to := min(64, from+random.Int64N(16))
			s.add(from, to)
			for i := from; i < to; i++ {
				set[i] = true
			}
			for i, r := range s {
				if r.From >= r.To || i > 0 && r.From <= s[i-1].To {
					t.Fatalf("%v", s)
				}
			}
			count := int64(0)
			for at := range int64(64) {
				end := at
				for end < 64 && set[end] {
					end++
				}
				if got := s.from(at); got != end {
					t.Fatalf("%v from %d: %d, want %d", s, at, got, end)
				}
				from := end
				to := from
				for to < 64 && !set[to] {
					to++
				}
				if f, u, ok := s.gap(at, 64); ok != (from < 64) || ok && (f != from || u != to) {
					t.Fatalf("%v gap at %d: %d-%d %v, want %d-%d", s, at, f, u, ok, from, to)
				}
				if set[at] {
					count++
				}
			}
			if s.total() != count || s.without(64).total() != 64-count {
				t.Fatalf("%v: %d bytes, want %d", s, s.total(), count)
			}
		}
	}
}

func TestNextPage(t *testing.T) {
	for text, want := range map[string]string{
		`<https://h/a?x=1>; rel="next"`:            "https://h/a?x=1",
		`<a>; rel="prev", <b>; rel="next"`:         "b",
		`<a>; rel="prev",<b>; title="x"; rel=next`: "b",
		`<a,b>; rel="next"`:                        "a,b",
		`<a>; rel="prev"`:                          "",
		`</relative>; REL="NEXT"`:                  "/relative",
		``:                                         "",
		`<unclosed; rel="next"`:                    "",
	} {
		if got := nextPage([]string{text}); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestPause(t *testing.T) {
	now := time.Now().UTC()
	for _, test := range []struct {
		header map[string]string
		want   time.Duration
		ok     bool
	}{
		{nil, 0, false},
		{map[string]string{"Retry-After": "7"}, 7 * time.Second, true},
		{map[string]string{"Retry-After": "-1"}, 0, false},
		{map[string]string{"Retry-After": "99999999999999999999"}, 0, false},
		{map[string]string{"Retry-After": now.Add(time.Hour + 30*time.Second).Format(http.TimeFormat), "Date": now.Add(time.Hour).Format(http.TimeFormat)}, 30 * time.Second, true},
		{map[string]string{"Ratelimit": `"api";r=0;t=55`}, 56 * time.Second, true},
		{map[string]string{"Ratelimit": `"api";r=3;t=55`}, 0, false},
	} {
		h := http.Header{}
		for name, value := range test.header {
			h.Set(name, value)
		}
		if got, ok := pause(h); got != test.want || ok != test.ok {
			t.Errorf("%v: %v %v, want %v", test.header, got, ok, test.want)
		}
	}
}

func TestProxy(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		url  string
		want string
	}{
		{nil, "https://h.co/", ""},
		{map[string]string{"HTTPS_PROXY": "http://p:1"}, "https://h.co/", "http://p:1"},
		{map[string]string{"https_proxy": "p:1"}, "https://h.co/", "http://p:1"},
		{map[string]string{"HTTPS_PROXY": "http://p:1"}, "http://h.co/", ""},
		{map[string]string{"ALL_PROXY": "socks5://p:1"}, "http://h.co/", "socks5://p:1"},
		{map[string]string{"ALL_PROXY": "http://p:1", "NO_PROXY": "co"}, "http://h.co/", ""},
		{map[string]string{"ALL_PROXY": "http://p:1", "NO_PROXY": ".h.co,x"}, "http://a.h.co/", ""},
		{map[string]string{"ALL_PROXY": "http://p:1", "no_proxy": "*"}, "http://h.co/", ""},
		{map[string]string{"ALL_PROXY": "http://p:1", "NO_PROXY": "h.co:81"}, "http://h.co:80/", "http://p:1"},
		{map[string]string{"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3/", ""},
		{map[string]string{"ALL_PROXY": "http://p:1"}, "http://127.0.0.1:8/", ""},
	} {
		u, _ := url.Parse(test.url)
		got, err := proxyFrom(func(name string) string { return test.env[name] })(&http.Request{URL: u})
		if err != nil || (got == nil) != (test.want == "") || got != nil && got.String() != test.want {
			t.Errorf("%v %s: %v, %v, want %q", test.env, test.url, got, err, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "token"), []byte(" hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(env map[string]string) settings {
		t.Helper()
		env["HF_HOME"] = home
		s, err := readSettings(func(name string) string { return env[name] }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := read(map[string]string{}); s.token != "hf_file" || s.endpoints[0].String() != defaultEndpoint || s.cache != filepath.Join(home, "hub") {
		t.Errorf("%+v", s)
	}
	if s := read(map[string]string{"HF_TOKEN": "hf_env", "HF_ENDPOINT": "http://m:1/"}); s.token != "hf_env" || s.endpoints[0].String() != "http://m:1" {
		t.Errorf("%+v", s)
	}
	if s := read(map[string]string{"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "TRANSFORMERS_OFFLINE": "on"}); s.token != "" || s.offline != "TRANSFORMERS_OFFLINE" {
		t.Errorf("%+v", s)
	}
	if s := read(map[string]string{"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_CACHE": "/elsewhere"}); s.offline != "" || s.token != "hf_file" {
		t.Errorf("%+v", s)
	}
	for _, endpoint := range []string{"ftp://x", "huggingface.co", "http://"} {
		if _, err := readSettings(func(name string) string { return map[string]string{"HF_HOME": home, "HF_ENDPOINT": endpoint}[name] }, nil); err == nil {
			t.Errorf("endpoint %q was accepted", endpoint)
		}
	}
}

// The certificates of the Python tools' variables are trusted, the system's
// alone are not enough here.
func TestCertificates(t *testing.T) {
	s := newStand(t, 1000, hubtest.Options{})
	ca := s.env["SSL_CERT_FILE"]
	for _, name := range []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"} {
		delete(s.env, "SSL_CERT_FILE")
		s.env[name] = ca
		if _, err := s.fetch(nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		delete(s.env, name)
	}
	s.events.list = nil
	// Time enough for a busy machine to answer: what is tried again here is wrong.
	_, err := s.fetch(func(o *Options) { o.Timing.Silence, o.Timing.GiveUp = 15*time.Second, 60*time.Second })
	if !is[*UnreachableError](err) || !is[x509.UnknownAuthorityError](err) || len(seen[RetryEvent](&s.events)) > 0 {
		t.Errorf("without: %v (%T)", err, err)
	}
	s.env["SSL_CERT_FILE"] = filepath.Join(t.TempDir(), "absent")
	if _, err := s.fetch(nil); err == nil || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("no such file: %v", err)
	}
}

// The chain names exactly the chunks that changed, with both hashes.
func TestChain(t *testing.T) {
	for _, digits := range []int{40, 64} {
		for _, size := range []int64{0, 1, 1 << 20, 1<<20 + 1, 3 << 20, 5<<20 + 63} {
			data := make([]byte, size)
			content := hubtest.Noise(7, size)
			if _, err := content.ReadAt(data, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			hash := hubtest.GitOID(content)
			if digits == 64 {
				hash = hubtest.SHA256(content)
			}
			sum, c, err := hashAll(t.Context(), bytes.NewReader(data), hash, size, nil)
			if err != nil || sum != hash {
				t.Fatalf("%d bytes: %s, %v, want %s", size, sum, err, hash)
			}
			path := filepath.Join(t.TempDir(), "chain")
			if err := c.save(path); err != nil {
				t.Fatal(err)
			}
			if c, err = readChain(path, hash, size); err != nil {
				t.Fatal(err)
			}
			if bad, err := c.bad(t.Context(), bytes.NewReader(data), nil); err != nil || len(bad) > 0 {
				t.Fatalf("%d good bytes: %v, %v", size, bad, err)
			}
			for at := int64(0); at < size; at += 700_001 {
				data[at] ^= 4
				want := spans{{at &^ (1<<20 - 1), min(at|(1<<20-1)+1, size)}}
				want[0].To = min(want[0].From+1<<20, size)
				if bad, err := c.bad(t.Context(), bytes.NewReader(data), nil); err != nil || !slices.Equal(bad, want) {
					t.Errorf("%d bytes, byte %d: %v, %v, want %v", size, at, bad, err, want)
				}
				data[at] ^= 4
			}
		}
	}
}
