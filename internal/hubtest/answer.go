package hubtest

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is the response of one request. It does to headers and body what the
// fault says, whatever the handler meant to send, and keeps the log.
type answer struct {
	http.ResponseWriter
	server  *Server
	request *http.Request
	fault   Fault
	line    *Request
	sent    int64 // bytes of body
	begun   bool
	stalled bool

	followed bool
}

// open logs the request and picks its fault.
func (s *Server) open(w http.ResponseWriter, r *http.Request, host string, q *query) *answer {
	fault, struck := s.pick(q)
	line := s.journal.begin(Request{
		Host: host, Route: q.route, Method: r.Method, URL: r.URL.String(), Proto: r.Proto, Repo: q.repo, Path: q.path,
		Range: r.Header.Get("Range"), AcceptEncoding: r.Header.Get("Accept-Encoding"), UserAgent: r.UserAgent(),
		Token: token(r), Fault: struck,
	})
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	w.Header().Set("X-Request-Id", "Root=1-"+strconv.FormatInt(line.Start.UnixNano(), 16))
	return &answer{ResponseWriter: w, server: s, request: r, fault: fault, line: line}
}

// finish is deferred: a cut connection leaves the handler by a panic.
func (a *answer) finish() {
	a.server.journal.update(func() { a.line.End = time.Now() })
	a.follow()
}

// follow does what the fault says shall be so from now on. It comes before the
// headers, so that a client cannot be faster with its next request.
func (a *answer) follow() {
	if a.followed {
		return
	}
	a.followed = true
	if a.fault.ExpireAfter {
		a.server.ExpireURLs()
	}
	if a.fault.Then != nil {
		a.fault.Then()
	}
}

// replaced answers in place of the handler where the fault says so.
func (a *answer) replaced() bool {
	f := &a.fault
	if f.Stall == "headers" {
		a.wait(f.StallSeconds)
	}
	if f.Hangup {
		a.cut()
	}
	h := a.Header()
	if f.RetryAfter != "" {
		h.Set("Retry-After", f.RetryAfter)
	}
	if f.RateLimit != "" {
		h.Set("ratelimit", f.RateLimit)
		h.Set("ratelimit-policy", `"fixed window";"api";q=500;w=300`)
	}
	switch {
	case f.RedirectTo != "":
		to := f.RedirectTo
		switch to {
		case "self":
			to = a.server.urls[a.line.Host] + a.request.URL.RequestURI()
		case "foreign":
			to = a.server.Foreign() + a.request.URL.RequestURI()
		}
		h.Set("Location", to)
		status := f.Status
		if status == 0 {
			status = http.StatusFound
		}
		a.text(status, "Found. Redirecting to "+to)
	case f.Expired:
		a.expired()
	case f.DeepJSON > 0:
		a.text(http.StatusOK, strings.Repeat("[", f.DeepJSON)+strings.Repeat("]", f.DeepJSON))
	case f.HugeJSON > 0:
		a.huge(f.HugeJSON)
	case f.Status != 0 || f.Body != "":
		status, body := f.Status, f.Body
		if status == 0 {
			status = http.StatusOK
		}
		if body == "" {
			body = http.StatusText(status)
		}
		a.text(status, body)
	default:
		return false
	}
	return true
}

// WriteHeader sends the headers as the fault wants them.
func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.follow()
	f, h := &a.fault, a.Header()
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && f.TruncateTo > 0 && status/100 == 2 {
		h.Set("Content-Length", strconv.FormatInt(min(n, f.TruncateTo), 10))
	}
	for name := range h {
		if f.drops(name) {
			h.Del(name)
		}
	}
	if f.NoSize {
		h.Del("Content-Length")
	}
	for name, value := range f.Header {
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
	}
	a.server.journal.update(func() { a.line.Status = status })
	a.ResponseWriter.WriteHeader(status)
	if f.NoSize {
		a.flush() // else net/http counts a short body and gives its length
	}
}

// Write sends body bytes as the fault wants them.
func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	f := &a.fault
	total := len(p)
	if f.TruncateTo > 0 {
		p = p[:min(int64(len(p)), max(0, f.TruncateTo-a.sent))]
	}
	if !f.ofBody() {
		return a.pass(p)
	}
	for {
		if f.Stall == "body" && !a.stalled && a.sent >= f.StallAfter {
			a.stalled = true
			a.flush()
			a.wait(f.StallSeconds)
		}
		if f.CutAfter > 0 && a.sent >= f.CutAfter {
			a.flush()
			a.cut()
		}
		if len(p) == 0 {
			return total, nil
		}
		n := int64(len(p))
		if f.Stall == "body" && !a.stalled {
			n = min(n, f.StallAfter-a.sent)
		}
		if f.CutAfter > 0 {
			n = min(n, f.CutAfter-a.sent)
		}
		if f.BytesPerSecond > 0 {
			const ticks = 20
			n = min(n, int64(max(1, f.BytesPerSecond/ticks)))
			a.flush()
			a.wait(float64(n) / float64(f.BytesPerSecond))
		}
		wrote, err := a.pass(p[:n])
		if err != nil {
			return total, err
		}
		p = p[wrote:]
	}
}

// pass writes and counts, and counts first: who has read the last byte of a
// body finds it in the log.
func (a *answer) pass(p []byte) (int, error) {
	a.count(len(p))
	n, err := a.ResponseWriter.Write(p)
	if n < len(p) {
		a.count(n - len(p))
	}
	return n, err
}

func (a *answer) count(n int) {
	a.sent += int64(n)
	a.server.journal.update(func() { a.line.Bytes = a.sent })
}

func (a *answer) flush() {
	if f, ok := a.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// wait is silence: for so long, or with 0 until somebody gives up. It leaves
// the handler when the client or the server is gone.
func (a *answer) wait(seconds float64) {
	ctx, cancel := a.request.Context(), context.CancelFunc(func() {})
	if seconds > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
	}
	defer cancel()
	select {
	case <-ctx.Done():
	case <-a.server.done:
	}
	if a.request.Context().Err() != nil || ctx.Err() == nil {
		panic(http.ErrAbortHandler)
	}
}

// cut ends the connection now.
func (a *answer) cut() {
	if h, ok := a.ResponseWriter.(http.Hijacker); ok && a.fault.Reset {
		if c, _, err := h.Hijack(); err == nil {
			inner := c
			if t, ok := c.(*tls.Conn); ok {
				inner = t.NetConn()
			}
			if tcp, ok := inner.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = inner.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

func (a *answer) text(status int, body string) {
	h := a.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(status)
	if a.request.Method != http.MethodHead {
		_, _ = a.Write([]byte(body))
	}
}

// fail answers with the Hub's error headers.
func (a *answer) fail(status int, code, message string) {
	h := a.Header()
	if code != "" {
		h.Set("X-Error-Code", code)
	}
	h.Set("X-Error-Message", message)
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="Authentication required", charset="UTF-8"`)
	}
	if a.line.Route == RouteResolve {
		a.text(status, message)
		return
	}
	a.json(status, map[string]string{"error": message})
}

func (a *answer) json(status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		a.text(http.StatusInternalServerError, err.Error())
		return
	}
	h := a.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if a.request.Method != http.MethodHead && (a.fault.Gzip || len(body) > 1024 && accepts(a.request, "gzip")) {
		a.zipped(status, body)
		return
	}
	a.text(status, string(body))
}

// zipped sends the body as the Hub does to whoever accepts it: chunked, without
// a length.
func (a *answer) zipped(status int, body []byte) {
	h := a.Header()
	h.Set("Content-Encoding", "gzip")
	h.Set("Vary", "Accept-Encoding")
	h.Del("Content-Length")
	a.WriteHeader(status)
	a.flush() // else net/http would count a short body and give its length
	z := gzip.NewWriter(a)
	_, _ = z.Write(body)
	_ = z.Close()
}

func (a *answer) huge(size int64) {
	a.Header().Set("Content-Type", "application/json; charset=utf-8")
	a.WriteHeader(http.StatusOK)
	if a.request.Method == http.MethodHead {
		return
	}
	entry := `{"type":"file","oid":"10c66461e4c109db5a2196bff4bb59be30396ed8","size":1,"path":"x` + strings.Repeat("y", 800)
	_, _ = a.Write([]byte("["))
	for i := 0; a.sent < size; i++ {
		if i > 0 {
			entry = strings.TrimPrefix(entry, ",")
			_, _ = a.Write([]byte(","))
		}
		if _, err := a.Write([]byte(entry + strconv.Itoa(i) + `"}`)); err != nil {
			return
		}
	}
	_, _ = a.Write([]byte("]"))
}

func token(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

func accepts(r *http.Request, coding string) bool {
	return slices.ContainsFunc(strings.Split(r.Header.Get("Accept-Encoding"), ","), func(c string) bool {
		name, weight, _ := strings.Cut(strings.TrimSpace(c), ";")
		return strings.EqualFold(strings.TrimSpace(name), coding) && strings.ReplaceAll(weight, " ", "") != "q=0"
	})
}
