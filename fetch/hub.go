package fetch

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	mostJSON  = 16 << 20 // bytes of one answer
	mostPages = 1000     // of a listing
	mostFiles = 200_000  // in a repository
)

// hubFile is a file as the Hub lists it.
type hubFile struct {
	Path    string
	Size    int64
	GitSHA1 string // of the blob; of the pointer where the file itself is in LFS
	SHA256  string // "" for a file that is in git itself
	Xet     string // the hash of Xet storage, "" if it is not there
}

// hash is what the content must have: SHA-256 if the Hub states it, else git's SHA-1.
func (f hubFile) hash() string {
	if f.SHA256 != "" {
		return f.SHA256
	}
	return f.GitSHA1
}

// modelInfo is what the Hub says of a model at a revision.
type modelInfo struct {
	commit string
	files  []hubFile // hashes and sizes only where it was asked for them
}

func isHex(s string, digits ...int) bool {
	for _, n := range digits {
		if len(s) == n && strings.Trim(s, "0123456789abcdef") == "" {
			return true
		}
	}
	return false
}

// parseModel reads the answer of /api/models/ID/revision/REVISION.
func parseModel(data []byte) (modelInfo, error) {
	var m struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   int64  `json:"size"`
			BlobID string `json:"blobId"`
			LFS    *struct {
				SHA256 string `json:"sha256"`
				Size   int64  `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return modelInfo{}, err
	}
	if !isHex(m.SHA, 40) {
		return modelInfo{}, fmt.Errorf("sha is %q, want a commit of 40 hex digits", shorten(m.SHA))
	}
	info := modelInfo{commit: m.SHA}
	for _, s := range m.Siblings {
		f := hubFile{Path: s.Name, Size: s.Size, GitSHA1: s.BlobID}
		if s.LFS != nil {
			f.SHA256, f.Size = s.LFS.SHA256, s.LFS.Size
		}
		info.files = append(info.files, f)
	}
	return info, nil
}

// parseTree reads one page of /api/models/ID/tree/REVISION. Folders are left out.
func parseTree(data []byte) ([]hubFile, error) {
	var entries []struct {
		Type string `json:"type"`
		Path string `json:"path"`
		Size int64  `json:"size"`
		OID  string `json:"oid"`
		LFS  *struct {
			OID  string `json:"oid"`
			Size int64  `json:"size"`
		} `json:"lfs"`
		Xet string `json:"xetHash"`
	}
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, err
	}
	var files []hubFile
	for _, e := range entries {
		if e.Type != "file" {
			continue
		}
		f := hubFile{Path: e.Path, Size: e.Size, GitSHA1: e.OID, Xet: e.Xet}
		if e.LFS != nil {
			f.SHA256, f.Size = e.LFS.OID, e.LFS.Size
		}
		files = append(files, f)
	}
	return files, nil
}

// check refuses a listing that cannot be stored or verified.
func checkListing(files []hubFile) error {
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		if seen[f.Path] {
			return &PathError{f.Path, "it is listed twice"}
		}
		seen[f.Path] = true
		if f.Size < 0 || f.Size > 1<<50 {
			return fmt.Errorf("%s has %d bytes", f.Path, f.Size)
		}
		if f.SHA256 != "" && !isHex(f.SHA256, 64) || f.SHA256 == "" && !isHex(f.GitSHA1, 40) {
			return fmt.Errorf("%s has hash %q, want SHA-256 or git's SHA-1", f.Path, shorten(f.hash()))
		}
	}
	for _, f := range files { // a file cannot also be a folder
		for i, c := range f.Path {
			if c == '/' && seen[f.Path[:i]] {
				return &PathError{f.Path, f.Path[:i] + " is a file"}
			}
		}
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// errorInBody finds the Hub's words in the body of an error.
func errorInBody(text []byte) string {
	var body struct {
		Error  any `json:"error"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &body) != nil {
		return ""
	}
	if s, ok := body.Error.(string); ok {
		return s
	}
	if len(body.Errors) > 0 {
		return body.Errors[0].Message
	}
	return ""
}

// nextPage finds the address of the next page in Link headers (RFC 8288):
// <https://host/path?cursor=x>; rel="next".
func nextPage(headers []string) string {
	for _, text := range headers {
		for {
			open := strings.IndexByte(text, '<')
			if open < 0 {
				break
			}
			text = text[open+1:]
			shut := strings.IndexByte(text, '>')
			if shut < 0 {
				break
			}
			address := text[:shut]
			text = text[shut+1:]
			parameters := text
			if next := strings.Index(text, ",<"); next >= 0 {
				parameters = text[:next]
			} else if next := strings.Index(text, ", <"); next >= 0 {
				parameters = text[:next]
			}
			for p := range strings.SplitSeq(parameters, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
				value = strings.Trim(strings.TrimRight(strings.TrimSpace(value), ","), `"`)
				if strings.EqualFold(name, "rel") && strings.EqualFold(value, "next") {
					return address
				}
			}
		}
	}
	return ""
}

// getJSON asks endpoint for the JSON at u, again and again until tries are
// used up.
func (c *client) getJSON(ctx context.Context, endpoint, u *url.URL, repo, revision string, tries int) ([]byte, http.Header, error) {
	for try := 1; ; try++ {
		data, header, err := c.getJSONOnce(ctx, endpoint, u, repo, revision)
		if err == nil {
			c.alive(time.Now())
			return data, header, nil
		}
		unreachable := errors.As(err, new(*UnreachableError))
		switch {
		case permanent(err) || ctx.Err() != nil:
		case unreachable && try >= min(tries, 3): // most likely there is no network at all
			return nil, nil, err
		case try >= tries:
			return nil, nil, &StalledError{"", err}
		}
		if err := c.again(ctx, "", err, try); err != nil {
			return nil, nil, err
		}
	}
}

func (c *client) getJSONOnce(ctx context.Context, endpoint, u *url.URL, repo, revision string) ([]byte, http.Header, error) {
	a, err := c.send(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, nil, withPause(c.hubError(a, repo, revision, "", endpoint), a.Header)
	}
	body := io.Reader(a.Body)
	if strings.EqualFold(a.Header.Get("Content-Encoding"), "gzip") { // some proxies do, asked or not
		if body, err = gzip.NewReader(body); err != nil {
			return nil, nil, &ProtocolError{plainURL(u), err}
		}
	}
	data, err := io.ReadAll(io.LimitReader(body, mostJSON+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("answer of %s: %w", plainURL(u), err)
	case len(data) > mostJSON:
		return nil, nil, &ProtocolError{plainURL(u), fmt.Errorf("longer than %d bytes", mostJSON)}
	}
	return data, a.Header, nil
}

// api is the address of a question about a model.
func api(endpoint *url.URL, repo string, parts ...string) *url.URL {
	u := *endpoint
	path, raw := "/api/models/"+repo, "/api/models/"+repo
	for _, p := range parts { // a revision may have slashes, which are then part of one element
		path, raw = path+"/"+p, raw+"/"+url.PathEscape(p)
	}
	u.Path, u.RawPath = endpoint.Path+path, endpoint.EscapedPath()+raw
	return &u
}

// resolveURL is the address of a file's content.
func resolveURL(endpoint *url.URL, repo, commit, file string) *url.URL {
	u := *endpoint
	u.Path = endpoint.Path + "/" + repo + "/resolve/" + commit + "/" + file
	u.RawPath = ""
	return &u
}

// ask puts a question to the endpoints in their order until one answers, and
// puts that one first for the questions to come.
func (c *client) ask(ctx context.Context, question func(endpoint *url.URL, tries int) error) error {
	var reason error
	for i, endpoint := range c.endpoints {
		tries := c.timing.Tries
		if i+1 < len(c.endpoints) {
			tries = min(tries, 2) // another one may be better
		}
		err := question(endpoint, tries)
		if err == nil {
			order := append([]*url.URL{endpoint}, c.endpoints[:i]...)
			c.endpoints = append(order, c.endpoints[i+1:]...)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, new(*PathError)) || errors.As(err, new(*GatedError)) || errors.As(err, new(*CredentialsError)) {
			return err // an answer, if not a welcome one
		}
		// A server that knows says more than one that could not be reached.
		if reason == nil || !permanent(reason) && permanent(err) {
			reason = err
		}
	}
	return reason
}

// model asks for the commit of a revision.
func (c *client) model(ctx context.Context, repo, revision string) (info modelInfo, err error) {
	err = c.ask(ctx, func(endpoint *url.URL, tries int) error {
		info, err = c.modelAt(ctx, endpoint, repo, revision, false, tries)
		return err
	})
	return info, err
}

func (c *client) modelAt(ctx context.Context, endpoint *url.URL, repo, revision string, blobs bool, tries int) (modelInfo, error) {
	u := api(endpoint, repo, "revision", revision)
	if blobs {
		u.RawQuery = "blobs=true"
	}
	data, _, err := c.getJSON(ctx, endpoint, u, repo, revision, tries)
	if err != nil {
		return modelInfo{}, err
	}
	info, err := parseModel(data)
	if err != nil {
		return info, &ProtocolError{plainURL(u), err}
	}
	return info, nil
}

// listing asks for the files of a commit. Where a mirror does not speak of the
// tree, the model's description and the headers of the files themselves say
// the same; wanted picks the files for which that is needed.
func (c *client) listing(ctx context.Context, repo string, commit string, wanted func([]hubFile) []hubFile) (files []hubFile, complete bool, err error) {
	err = c.ask(ctx, func(endpoint *url.URL, tries int) error {
		files, err = c.tree(ctx, endpoint, repo, commit, tries)
		if complete = err == nil; complete {
			return checkTree(api(endpoint, repo), files)
		}
		if !permanent(err) {
			return err
		}
		info, second := c.modelAt(ctx, endpoint, repo, commit, true, tries)
		if second != nil {
			return err
		}
		files = wanted(info.files)
		for i := range files {
			if isHex(files[i].hash(), 40, 64) && (files[i].Size > 0 || files[i].SHA256 == "") && files[i].hash() != "" && files[i].Size != 0 {
				continue
			}
			if err := checkPath(files[i].Path); err != nil {
				return err
			}
			if files[i], err = c.head(ctx, endpoint, repo, commit, files[i].Path, tries); err != nil {
				return err
			}
		}
		return checkTree(api(endpoint, repo), files)
	})
	return files, complete, err
}

func checkTree(u *url.URL, files []hubFile) error {
	err := checkListing(files)
	if err != nil && !errors.As(err, new(*PathError)) {
		err = &ProtocolError{plainURL(u), err}
	}
	return err
}

func (c *client) tree(ctx context.Context, endpoint *url.URL, repo, commit string, tries int) ([]hubFile, error) {
	u := api(endpoint, repo, "tree", commit)
	u.RawQuery = "recursive=true&expand=false"
	var files []hubFile
	seen := map[string]bool{}
	for range mostPages {
		if seen[u.String()] {
			return nil, &ProtocolError{plainURL(u), errors.New("its pages go in a circle")}
		}
		seen[u.String()] = true
		data, header, err := c.getJSON(ctx, endpoint, u, repo, commit, tries)
		if err != nil {
			return nil, err
		}
		page, err := parseTree(data)
		if err != nil {
			return nil, &ProtocolError{plainURL(u), err}
		}
		if files = append(files, page...); len(files) > mostFiles {
			return nil, &ProtocolError{plainURL(u), fmt.Errorf("more than %d files", mostFiles)}
		}
		next := nextPage(header.Values("Link"))
		if next == "" {
			return files, nil
		}
		target, err := u.Parse(next)
		if err != nil {
			return nil, &ProtocolError{plainURL(u), errors.New("the next page has no address")}
		}
		// A mirror may pass on the Hub's own address: the next page is still the
		// mirror's, and so is the token.
		target.Scheme, target.Host, target.User = u.Scheme, u.Host, nil
		u = target
	}
	return nil, &ProtocolError{plainURL(u), fmt.Errorf("more than %d pages", mostPages)}
}

// head asks for a file's description in the headers of the file itself.
func (c *client) head(ctx context.Context, endpoint *url.URL, repo, commit, file string, tries int) (hubFile, error) {
	u := resolveURL(endpoint, repo, commit, file)
	for try := 1; ; try++ {
		f, err := c.headOnce(ctx, endpoint, u, repo, commit, file)
		if err == nil {
			return f, nil
		}
		if try >= tries && !permanent(err) && ctx.Err() == nil {
			return f, &StalledError{file, err}
		}
		if err := c.again(ctx, file, err, try); err != nil {
			return f, err
		}
	}
}

func (c *client) headOnce(ctx context.Context, endpoint, u *url.URL, repo, commit, file string) (hubFile, error) {
	f := hubFile{Path: file, Size: -1}
	a, err := c.send(ctx, http.MethodHead, u, nil)
	if err != nil {
		return f, err
	}
	defer a.Body.Close()
	if a.StatusCode >= 400 {
		return f, withPause(c.hubError(a, repo, commit, file, endpoint), a.Header)
	}
	hash := etagHash(a.hub)
	switch len(hash) {
	case 64:
		f.SHA256 = hash
	case 40:
		f.GitSHA1 = hash
	default:
		return f, &ProtocolError{plainURL(u), errors.New("neither a listing nor a header says what the file must hash to")}
	}
	size := a.hub.Get("X-Linked-Size")
	if size == "" && a.StatusCode < 300 { // a redirection's length is its own
		size = a.hub.Get("Content-Length")
	}
	if _, err := fmt.Sscanf(size, "%d", &f.Size); err != nil || f.Size < 0 {
		return f, &ProtocolError{plainURL(u), errors.New("neither a listing nor a header says how long the file is")}
	}
	return f, nil
}

// etagHash is the hash that the Hub states in the headers of a file, "" if it
// states none in a form that is a hash.
func etagHash(h http.Header) string {
	for _, name := range []string{"X-Linked-Etag", "Etag"} {
		tag := strings.Trim(strings.TrimPrefix(h.Get(name), "W/"), `"`)
		if isHex(tag, 40, 64) {
			return tag
		}
		if tag != "" && name == "X-Linked-Etag" {
			return ""
		}
	}
	return ""
}
