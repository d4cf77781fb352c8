package hubtest

import (
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// resolve answers for one file of a commit: its bytes if small, else the way to
// the CDN.
func (s *Server) resolve(a *answer, q *query, commit string, f *file) {
	h := a.Header()
	h.Set("Access-Control-Expose-Headers", "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash")
	if f.LFS {
		h.Set("Accept-Ranges", "bytes")
		h.Set("X-Linked-Size", strconv.FormatInt(f.size(), 10))
		h.Set("X-Linked-Etag", quoted(f.sha256()))
		if f.Xet {
			refresh := "/api/models/" + q.repo + "/xet-read-token/" + commit
			h.Set("X-Xet-Hash", f.xetHash())
			h.Set("X-Xet-Refresh-Route", refresh)
			h.Set("Link", fmt.Sprintf(`<%s%s>; rel="xet-auth", <%s/v1/reconstructions/%s>; rel="xet-reconstruction-info"`, s.Endpoint(), refresh, s.CDN(), f.xetHash()))
		}
		if s.options.Mirror {
			h.Set("Etag", quoted(f.sha256()))
			s.content(a, f)
			return
		}
		to := s.sign(q.repo, f)
		h.Set("Location", to)
		a.text(http.StatusFound, "Found. Redirecting to "+to)
		return
	}
	if s.options.ResolveCache && !strings.HasPrefix(a.request.URL.Path, "/api/") {
		to := fmt.Sprintf("/api/resolve-cache/models/%s/%s/%s?%s=&etag=%s", q.repo, commit, escape(f.Path),
			url.QueryEscape(a.request.URL.Path), url.QueryEscape(quoted(f.etag())))
		h.Set("Location", to)
		h.Set("X-Linked-Etag", quoted(f.etag()))
		h.Set("X-Linked-Size", strconv.FormatInt(f.size(), 10))
		a.text(http.StatusTemporaryRedirect, "Temporary Redirect. Redirecting to "+to)
		return
	}
	h.Set("Etag", quoted(f.etag()))
	s.content(a, f)
}

func quoted(s string) string { return `"` + s + `"` }

func escape(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// sign returns the CDN's URL of a file, good for Options.URLLifetime.
func (s *Server) sign(repo string, f *file) string {
	id := f.sha256()
	s.mu.Lock()
	s.blobs[id] = blob{repo, f}
	generation := s.generation
	s.mu.Unlock()
	expires := s.now().Add(s.options.URLLifetime).UnixMilli()
	name := path.Base(f.Path)
	return fmt.Sprintf("%s/repos/%s/%s/%s?response-content-disposition=%s&Expires=%d&Generation=%d&Signature=%s&Key-Pair-Id=K2FPYV99P2N66Q",
		s.CDN(), id[:2], id[2:4], id, url.QueryEscape(`inline; filename*=UTF-8''`+url.PathEscape(name)+`; filename="`+name+`";`),
		expires, generation, s.signature(id, expires, generation))
}

func (s *Server) signature(id string, expires int64, generation int) string {
	m := hmac.New(sha256.New, s.secret[:])
	fmt.Fprintf(m, "%s %d %d", id, expires, generation)
	return hex.EncodeToString(m.Sum(nil))
}

func (s *Server) serveCDN(w http.ResponseWriter, r *http.Request) {
	id := path.Base(r.URL.Path)
	s.mu.Lock()
	b, ok := s.blobs[id]
	generation := s.generation
	s.mu.Unlock()
	q := &query{route: RouteCDN, method: r.Method}
	if ok {
		q.repo, q.path = b.repo, b.Path
	}
	a := s.open(w, r, "cdn", q)
	defer a.finish()
	if a.replaced() {
		return
	}
	values := r.URL.Query()
	expires, _ := strconv.ParseInt(values.Get("Expires"), 10, 64)
	signed, _ := strconv.Atoi(values.Get("Generation"))
	switch {
	case r.Header.Get("Authorization") != "":
		a.xml(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case !hmac.Equal([]byte(values.Get("Signature")), []byte(s.signature(id, expires, signed))):
		a.xml(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
	case s.now().UnixMilli() > expires || signed < generation:
		a.expired()
	case !ok:
		a.xml(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	default:
		// Not the file's name: whoever takes the last answer's ETag for a
		// sha256 is wrong on the real CDN too.
		a.Header().Set("Etag", quoted(SHA256(Text("cdn "+id))))
		a.Header().Set("Content-Disposition", values.Get("response-content-disposition"))
		s.content(a, b.file)
	}
}

// serveForeign gives the right bytes to all who ask, and takes note of what
// they show it.
func (s *Server) serveForeign(w http.ResponseWriter, r *http.Request) {
	q := parse(r)
	q.route = RouteForeign
	s.mu.Lock()
	b, ok := s.blobs[path.Base(r.URL.Path)]
	repo := s.repos[q.repo]
	s.mu.Unlock()
	if !ok && repo != nil {
		if _, tree, found := repo.at(q.revision); found && tree[q.path] != nil {
			b, ok = blob{q.repo, tree[q.path]}, true
		}
	}
	if ok {
		q.repo, q.path = b.repo, b.Path
	}
	a := s.open(w, r, "foreign", q)
	defer a.finish()
	if a.replaced() {
		return
	}
	if !ok {
		a.text(http.StatusNotFound, "nothing here")
		return
	}
	s.content(a, b.file)
}

func (a *answer) xml(status int, code, message string) {
	a.Header().Set("Content-Type", "application/xml")
	a.text(status, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>"+code+"</Code><Message>"+message+"</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>")
}

func (a *answer) expired() {
	a.xml(http.StatusForbidden, "AccessDenied", "Request has expired")
}

var textual = []string{".json", ".txt", ".md", ".jinja", ".gitattributes"}

// content sends the file's bytes, or the range asked for.
func (s *Server) content(a *answer, f *file) {
	h, r, fault := a.Header(), a.request, &a.fault
	var bytes Content = f.Content
	if fault.Instead != nil {
		bytes = fault.Instead
	}
	size := bytes.Size()
	kind := mime.TypeByExtension(path.Ext(f.Path))
	switch {
	case f.LFS || kind == "":
		kind = "application/octet-stream"
	case slices.Contains(textual, path.Ext(f.Path)):
		kind = "text/plain; charset=utf-8"
	}
	h.Set("Content-Type", kind)
	if !f.LFS && r.Method == http.MethodGet && (fault.Gzip || accepts(r, "gzip") && slices.Contains(textual, path.Ext(f.Path))) {
		if etag := h.Get("Etag"); etag != "" {
			h.Set("Etag", "W/"+etag)
		}
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
		a.WriteHeader(http.StatusOK)
		a.flush()
		z := gzip.NewWriter(a)
		s.copy(z, bytes, 0, size, fault.Flip)
		_ = z.Close()
		return
	}
	h.Set("Accept-Ranges", "bytes")
	if v := r.Header.Get("If-None-Match"); v != "" && v == h.Get("Etag") {
		a.WriteHeader(http.StatusNotModified)
		return
	}
	from, to, status := int64(0), size, http.StatusOK
	asked := r.Header.Get("Range")
	if v := r.Header.Get("If-Range"); v != "" && v != h.Get("Etag") || fault.IgnoreRange {
		asked = ""
	}
	if asked != "" {
		var ok bool
		if from, to, ok = span(asked, size); !ok {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			a.text(http.StatusRequestedRangeNotSatisfiable, "The requested range is not satisfiable")
			return
		}
		status = http.StatusPartialContent
		from, to = move(from, to, size, fault.Shift)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
		from, to = move(from, to, size, fault.ShiftSilently)
	}
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	a.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	s.copy(a, bytes, from, to, fault.Flip)
}

// move shifts a range as far as the file allows, keeping its length.
func move(from, to, size, by int64) (int64, int64) {
	by = max(-from, min(by, size-to))
	return from + by, to + by
}

// span reads a Range header of one range. Several ranges are answered with the
// first, a form it does not know with the whole file.
func span(header string, size int64) (from, to int64, ok bool) {
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found {
		return 0, size, true
	}
	spec, _, _ = strings.Cut(spec, ",")
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found {
		return 0, size, true
	}
	if first == "" { // the last n bytes
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n <= 0 {
			return 0, 0, false
		}
		return max(0, size-n), size, true
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from >= size {
		return 0, 0, false
	}
	to = size
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < from {
			return 0, 0, false
		}
		to = min(size, n+1)
	}
	return from, to, true
}

// copy sends bytes [from,to), some of them flipped.
func (s *Server) copy(w io.Writer, c Content, from, to int64, flip []int64) {
	buffer := make([]byte, min(256<<10, max(1, to-from)))
	for from < to {
		n, err := c.ReadAt(buffer[:min(int64(len(buffer)), to-from)], from)
		if n == 0 {
			_ = err // a content that ends early: the connection is closed, as the length was promised
			return
		}
		for _, at := range flip {
			if at >= from && at < from+int64(n) {
				buffer[at-from] ^= 1
			}
		}
		if _, err := w.Write(buffer[:n]); err != nil {
			return
		}
		from += int64(n)
	}
}
