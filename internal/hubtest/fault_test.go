package hubtest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	bigPath   = "/openai-community/gpt2/resolve/main/model.safetensors"
	smallPath = "/openai-community/gpt2/resolve/main/config.json"
	treePath  = "/api/models/openai-community/gpt2/tree/main?recursive=true"
)

// signed returns the CDN's URL of the weights.
func signed(t *testing.T, s *Server) string {
	t.Helper()
	resp, _ := mustGet(t, s, "HEAD", bigPath)
	return resp.Header.Get("Location")
}

func TestFaults(t *testing.T) {
	const size = 3 * megabyte
	whole := make([]byte, size)
	if _, err := Noise(0, size).ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[megabyte+1] ^= 1
	flipped[size-1] ^= 1
	servers := []Options{{}, {PlainHTTP: true}, {HTTP2: true}}
	running := map[Options]*Server{}
	for _, o := range servers {
		running[o] = New(t, o)
		gpt2(t, running[o], size)
	}
	type got struct {
		status int
		header http.Header
		body   []byte
		err    error
	}
	status := func(code int) func(got) bool { return func(g got) bool { return g.status == code } }
	cut := func(n int) func(got) bool {
		return func(g got) bool { return g.err != nil && bytes.Equal(g.body, whole[:n]) }
	}
	for _, c := range []struct {
		name  string
		fault Fault
		path  string // "": the CDN
		asks  []string
		holds func(got) bool
	}{
		{"status", Fault{Status: 503, RetryAfter: "7"}, "", nil, func(g got) bool { return g.status == 503 && g.header.Get("Retry-After") == "7" }},
		{"rate limit", Fault{Status: 429, RateLimit: `"api";r=0;t=2`}, smallPath, nil, func(g got) bool { return g.status == 429 && g.header.Get("ratelimit") == `"api";r=0;t=2` }},
		{"expired", Fault{Expired: true}, "", nil, func(g got) bool {
			return g.status == 403 && strings.Contains(string(g.body), "<Code>AccessDenied</Code>")
		}},
		{"body", Fault{Body: "[{"}, treePath, nil, func(g got) bool { return g.status == 200 && string(g.body) == "[{" }},
		{"hangup", Fault{Hangup: true}, "", nil, func(g got) bool { return g.err != nil && g.status == 0 }},
		{"hangup by reset", Fault{Hangup: true, Reset: true}, "", nil, func(g got) bool { return g.err != nil && g.status == 0 }},
		{"cut", Fault{CutAfter: megabyte + 1}, "", nil, cut(megabyte + 1)},
		{"cut before the first byte that follows headers", Fault{CutAfter: 1}, "", nil, cut(1)},
		{"reset", Fault{CutAfter: megabyte, Reset: true}, "", nil, func(g got) bool { return g.err != nil && bytes.HasPrefix(whole, g.body) }},
		{"cut in a range", Fault{CutAfter: 1000}, "", []string{"Range", "bytes=5000-"}, func(g got) bool { return g.err != nil && bytes.Equal(g.body, whole[5000:6000]) }},
		{"truncated, right length of what comes", Fault{TruncateTo: 1000}, "", nil, func(g got) bool {
			return g.err == nil && bytes.Equal(g.body, whole[:1000]) && g.header.Get("Content-Length") == "1000"
		}},
		{"truncated without a length", Fault{TruncateTo: 1000, NoSize: true}, "", nil, func(g got) bool {
			return g.err == nil && bytes.Equal(g.body, whole[:1000]) && g.header.Get("Content-Length") == ""
		}},
		{"length too large", Fault{Header: map[string]string{"Content-Length": "3145729"}}, "", nil, func(g got) bool { return errors.Is(g.err, io.ErrUnexpectedEOF) && bytes.Equal(g.body, whole) }},
		{"no length", Fault{NoSize: true}, "", nil, func(g got) bool {
			return g.err == nil && bytes.Equal(g.body, whole) && g.header.Get("Content-Length") == ""
		}},
		{"flip", Fault{Flip: []int64{megabyte + 1, size - 1}}, "", nil, func(g got) bool { return g.err == nil && bytes.Equal(g.body, flipped) }},
		{"flip in a range", Fault{Flip: []int64{megabyte + 1}}, "", []string{"Range", "bytes=1048577-1048577"}, func(g got) bool { return g.status == 206 && g.body[0] == flipped[megabyte+1] }},
		{"range ignored", Fault{IgnoreRange: true}, "", []string{"Range", "bytes=5-9"}, func(g got) bool { return g.status == 200 && bytes.Equal(g.body, whole) }},
		{"another range, admitted", Fault{Shift: 3}, "", []string{"Range", "bytes=5-9"}, func(g got) bool {
			return g.status == 206 && g.header.Get("Content-Range") == "bytes 8-12/3145728" && bytes.Equal(g.body, whole[8:13])
		}},
		{"another range, silently", Fault{ShiftSilently: 3}, "", []string{"Range", "bytes=5-9"}, func(g got) bool {
			return g.status == 206 && g.header.Get("Content-Range") == "bytes 5-9/3145728" && bytes.Equal(g.body, whole[8:13])
		}},
		{"wrong Content-Range", Fault{Header: map[string]string{"Content-Range": "bytes 0-4/77"}}, "", []string{"Range", "bytes=5-9"}, func(g got) bool { return g.header.Get("Content-Range") == "bytes 0-4/77" }},
		{"other bytes", Fault{Instead: Text("not a model")}, "", nil, func(g got) bool { return string(g.body) == "not a model" }},
		{"gzip unasked", Fault{Gzip: true}, smallPath, nil, func(g got) bool {
			z, err := gzip.NewReader(bytes.NewReader(g.body))
			if err != nil || g.header.Get("Content-Encoding") != "gzip" {
				return false
			}
			plain, err := io.ReadAll(z)
			return err == nil && string(plain) == gpt2Config
		}},
		{"gzip unasked, API", Fault{Gzip: true}, treePath, nil, func(g got) bool { return g.header.Get("Content-Encoding") == "gzip" }},
		{"loop", Fault{RedirectTo: "self"}, smallPath, nil, func(g got) bool { return g.status == 302 && strings.HasSuffix(g.header.Get("Location"), smallPath) }},
		{"elsewhere", Fault{RedirectTo: "http://example.invalid/x", Status: 308}, smallPath, nil, func(g got) bool { return g.status == 308 && g.header.Get("Location") == "http://example.invalid/x" }},
		{"wrong etag", Fault{Header: map[string]string{"X-Linked-Etag": `"00"`}}, bigPath, nil, func(g got) bool { return g.status == 302 && g.header.Get("X-Linked-Etag") == `"00"` }},
		{"mirror without headers", Fault{Drop: []string{"*"}}, bigPath, nil, func(g got) bool {
			return g.status == 302 && g.header.Get("X-Repo-Commit")+g.header.Get("X-Linked-Etag")+g.header.Get("X-Linked-Size")+g.header.Get("ETag") == ""
		}},
		{"drip", Fault{BytesPerSecond: 100_000}, "", []string{"Range", "bytes=0-9999"}, func(g got) bool { return bytes.Equal(g.body, whole[:10000]) }},
		{"pause", Fault{Stall: "body", StallAfter: 100, StallSeconds: 0.05}, "", nil, func(g got) bool { return bytes.Equal(g.body, whole) }},
		{"late headers", Fault{Stall: "headers", StallSeconds: 0.05}, "", nil, status(200)},
		{"deep", Fault{DeepJSON: 5000}, treePath, nil, func(g got) bool { return len(g.body) == 10000 && json.Valid(g.body) }},
		{"huge", Fault{HugeJSON: megabyte}, treePath, nil, func(g got) bool { return len(g.body) > megabyte && json.Valid(g.body) }},
		{"paging loop", Fault{PagingLoop: true}, treePath, nil, func(g got) bool { return strings.Contains(g.header.Get("Link"), `rel="next"`) }},
	} {
		for _, o := range servers {
			s := running[o]
			if o.HTTP2 && (c.fault.Reset || c.name == "length too large") {
				continue // these are about connections, or about what HTTP/2 counts itself
			}
			at := c.path
			if at == "" {
				at = signed(t, s)
			}
			c.fault.Times = 1
			s.Inject(c.fault)
			resp, body, err := get(t, s, "GET", at, c.asks...)
			g := got{body: body, err: err}
			if resp != nil {
				g.status, g.header = resp.StatusCode, resp.Header
			}
			if !c.holds(g) {
				t.Errorf("%s, %+v: status %d, %d bytes, %v, %v", c.name, o, g.status, len(body), err, g.header)
			}
			log := s.Requests()
			if last := log[len(log)-1]; !last.Fault || last.Bytes < int64(len(body)) {
				t.Errorf("%s, %+v: logged %+v", c.name, o, last)
			}
			if resp, _, err := get(t, s, "GET", at); err != nil || resp.StatusCode/100 > 3 {
				t.Errorf("%s, %+v: once over, still %v", c.name, o, err)
			}
			s.ClearFaults()
		}
	}
}

func TestFaultCounts(t *testing.T) {
	s := New(t, Options{})
	gpt2(t, s, 1000)
	s.Inject(Fault{On: RouteResolve, Path: "*.json", Skip: 1, Times: 2, Status: 500}, Fault{Method: "HEAD", Status: 418})
	var got []int
	for _, at := range []string{smallPath, treePath, smallPath, bigPath, smallPath, smallPath} {
		resp, _ := mustGet(t, s, "GET", at)
		got = append(got, resp.StatusCode)
	}
	resp, _ := mustGet(t, s, "HEAD", smallPath)
	got = append(got, resp.StatusCode)
	s.ClearFaults()
	resp, _ = mustGet(t, s, "HEAD", smallPath)
	got = append(got, resp.StatusCode)
	want := []int{200, 200, 500, 302, 500, 200, 418, 200}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("statuses %v, want %v", got, want)
		}
	}
}

// A stalled request ends with its client, and with the server.
func TestStall(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		want  int
	}{{Fault{Stall: "headers"}, 0}, {Fault{Stall: "body"}, 0}, {Fault{Stall: "body", StallAfter: 5000}, 5000}} {
		s := New(t, Options{})
		gpt2(t, s, megabyte)
		at := signed(t, s)
		s.Inject(c.fault)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, "GET", at, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(r)
		n := 0
		if err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			n = len(body)
			resp.Body.Close()
		}
		cancel()
		if (resp == nil) != (c.fault.Stall == "headers") || n != c.want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v: %d bytes, %v", c.fault, n, err)
		}
		// A second one waits when the server ends; Close comes back.
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, body, err := get(t, s, "GET", at); err == nil {
				t.Errorf("%+v: %d bytes and no error after Close", c.fault, len(body))
			}
		})
		for s.Count(RouteCDN, "model.safetensors") < 2 {
			time.Sleep(time.Millisecond)
		}
		s.Close()
		wg.Wait()
	}
}

func TestExpireAfter(t *testing.T) {
	s := New(t, Options{})
	gpt2(t, s, megabyte)
	at := signed(t, s)
	called := false
	s.Inject(Fault{On: RouteCDN, CutAfter: 1000, Times: 1, ExpireAfter: true, Then: func() { called = true }})
	if _, body, err := get(t, s, "GET", at); err == nil || len(body) != 1000 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if resp, _ := mustGet(t, s, "GET", at, "Range", "bytes=1000-"); resp.StatusCode != 403 || !called {
		t.Errorf("the old URL: %d", resp.StatusCode)
	}
	if resp, body := mustGet(t, s, "GET", signed(t, s), "Range", "bytes=1000-"); resp.StatusCode != 206 || len(body) != megabyte-1000 {
		t.Errorf("a new URL: %d, %d bytes", resp.StatusCode, len(body))
	}
	if n := s.BytesOf("model.safetensors"); n != megabyte {
		t.Errorf("%d bytes counted", n)
	}
}

func TestForeignHost(t *testing.T) {
	s := New(t, Options{})
	gpt2(t, s, megabyte)
	s.AddUser("hf_secret", "ann")
	s.Inject(Fault{On: RouteResolve, RedirectTo: "foreign"})
	resp, _ := mustGet(t, s, "GET", bigPath, "Authorization", "Bearer hf_secret")
	_, body := mustGet(t, s, "GET", resp.Header.Get("Location"), "Authorization", "Bearer hf_secret")
	if got := s.Tokens("foreign"); len(body) != megabyte || len(got) != 1 || got[0] != "hf_secret" {
		t.Errorf("%d bytes, tokens %v", len(body), got)
	}
	// Go's own client drops it.
	s.Forget()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.Endpoint()+bigPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer hf_secret")
	resp, err = s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s.Count(RouteForeign, "") != 1 || len(s.Tokens("foreign")) > 0 || len(s.Tokens("hub")) != 1 {
		t.Errorf("tokens: hub %v, foreign %v", s.Tokens("hub"), s.Tokens("foreign"))
	}
}

func TestConnections(t *testing.T) {
	s := New(t, Options{SendBuffer: 64 << 10})
	gpt2(t, s, megabyte)
	at := signed(t, s)
	s.Inject(Fault{On: RouteCDN, Stall: "body"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		r, err := http.NewRequestWithContext(ctx, "GET", at, nil)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if resp, err := s.Client().Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	for _, peak, _ := s.Connections(); peak < 3; _, peak, _ = s.Connections() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	s.RefuseConnections(1)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it must not get so far
	if resp, err := c.Get(s.Endpoint() + smallPath); err == nil {
		resp.Body.Close()
		t.Error("a refused connection answered")
	}
	mustGet(t, s, "GET", smallPath)
}

// What the server claims can be a lie, and its paths hostile.
func TestHostileListing(t *testing.T) {
	s := New(t, Options{})
	s.Repo("a/b").Commit(
		File{Path: "../../etc/passwd", Content: Text("x")}, File{Path: "/etc/passwd", Content: Text("x")}, File{Path: `C:\x`, Content: Text("x")},
		File{Path: "con.json", Content: Text("x")}, File{Path: "big", Content: Text("x"), ClaimSize: 1 << 60, ClaimGitOID: "../x", LFS: true, ClaimSHA256: "zz"})
	_, body := mustGet(t, s, "GET", "/api/models/a/b/tree/main?recursive=true")
	var all []treeEntry
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	paths := map[string]treeEntry{}
	for _, e := range all {
		if e.Type == "file" {
			paths[e.Path] = e
		}
	}
	if big := paths["big"]; len(paths) != 5 || big.Size != 1<<60 || big.OID != "../x" || big.LFS.OID != "zz" {
		t.Errorf("%s", body)
	}
}

func TestControl(t *testing.T) {
	s := New(t, Options{Control: true, ClockSkew: 24 * time.Hour})
	gpt2(t, s, 1000)
	post := func(what, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.Endpoint()+controlPrefix+what, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if a, b := post("faults", `[{"status":500,"times":1}]`), post("faults", `[{"statsu":500}]`); a != 204 || b != 400 {
		t.Errorf("%d, %d", a, b)
	}
	resp, _ := mustGet(t, s, "GET", smallPath)
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if resp.StatusCode != 500 || err != nil || time.Until(date) < 23*time.Hour {
		t.Errorf("%d, Date %v", resp.StatusCode, date)
	}
	_, body := mustGet(t, s, "GET", controlPrefix+"log")
	var log struct{ Requests []Request }
	if err := json.Unmarshal(body, &log); err != nil || len(log.Requests) != 1 || log.Requests[0].Status != 500 {
		t.Errorf("%v %s", err, body)
	}
	at := signed(t, s)
	if resp, _ := mustGet(t, s, "GET", at); resp.StatusCode != 200 {
		t.Errorf("with a skewed clock: %d", resp.StatusCode)
	}
	post("expire", "")
	if resp, _ := mustGet(t, s, "GET", at); resp.StatusCode != 403 {
		t.Errorf("expired: %d", resp.StatusCode)
	}
}
