package hubtest

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// query is a request taken apart.
type query struct {
	route    Route
	method   string
	repo     string
	revision string // "" where the path names none
	path     string // of a file, or of a folder for RouteTree
	api      string // RouteOther: what follows /api/models/ID/
}

var apiWords = []string{"revision", "tree", "refs", "xet-read-token", "resolve"}

// parse takes a hub path apart, before its segments are unescaped: a revision
// may hold "%2F".
func parse(r *http.Request) *query {
	q := &query{route: RouteOther, method: r.Method}
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i, p := range parts {
		if u, err := url.PathUnescape(p); err == nil {
			parts[i] = u
		}
	}
	switch {
	case len(parts) >= 2 && parts[0] == "api" && strings.HasPrefix(parts[1], "whoami"):
		q.route = RouteWhoami
	case len(parts) >= 6 && parts[0] == "api" && parts[1] == "resolve-cache" && parts[2] == "models":
		// The id's length shows where the commit is.
		at := slices.IndexFunc(parts[3:], func(p string) bool { return len(p) == 40 }) + 3
		if at > 3 && at < len(parts)-1 {
			q.route, q.repo, q.revision, q.path = RouteResolve, strings.Join(parts[3:at], "/"), parts[at], strings.Join(parts[at+1:], "/")
		}
	case len(parts) >= 3 && parts[0] == "api" && parts[1] == "models":
		parts = parts[2:]
		ids := 2
		if len(parts) == 1 || slices.Contains(apiWords, parts[1]) {
			ids = 1
		}
		q.repo = strings.Join(parts[:ids], "/")
		parts = parts[ids:]
		switch {
		case len(parts) == 0:
			q.route = RouteInfo
		case parts[0] == "revision" && len(parts) == 2:
			q.route, q.revision = RouteInfo, parts[1]
		case parts[0] == "tree" && len(parts) >= 2:
			q.route, q.revision, q.path = RouteTree, parts[1], strings.Join(parts[2:], "/")
		default:
			q.api = strings.Join(parts, "/")
		}
	default:
		if at := slices.Index(parts, "resolve"); (at == 1 || at == 2) && len(parts) > at+2 {
			q.route, q.repo, q.revision, q.path = RouteResolve, strings.Join(parts[:at], "/"), parts[at+1], strings.Join(parts[at+2:], "/")
		}
	}
	return q
}

func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	if s.options.Control && strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control(w, r)
		return
	}
	q := parse(r)
	a := s.open(w, r, "hub", q)
	defer a.finish()
	if a.replaced() {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a.fail(http.StatusMethodNotAllowed, "", "Method not allowed")
		return
	}
	token := token(r)
	s.mu.Lock()
	who, known := s.users[token]
	s.mu.Unlock()
	if token != "" && !known {
		a.fail(http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	}
	if q.route == RouteWhoami {
		if !known {
			a.fail(http.StatusUnauthorized, "", "Invalid username or password.")
			return
		}
		a.json(http.StatusOK, map[string]any{"type": "user", "name": who.name, "orgs": []string{},
			"auth": map[string]any{"type": "access_token", "accessToken": map[string]string{"displayName": "test", "role": "read"}}})
		return
	}
	if q.repo == "" {
		a.fail(http.StatusNotFound, "", "Sorry, we can't find the page you are looking for.")
		return
	}
	if repo := a.find(q, known); repo != nil {
		s.serveRepo(a, q, repo)
	}
}

// find returns the repository, or answers why not.
func (a *answer) find(q *query, known bool) *Repo {
	s := a.server
	s.mu.Lock()
	repo, moved := s.repos[q.repo], s.renamed[q.repo]
	s.mu.Unlock()
	if repo == nil && moved != "" {
		to := strings.Replace(a.request.URL.RequestURI(), "/"+q.repo, "/"+moved, 1)
		a.Header().Set("Location", to)
		a.text(http.StatusTemporaryRedirect, "Temporary Redirect. Redirecting to "+to)
		return nil
	}
	var access Access
	if repo != nil {
		access = repo.accessNow()
	}
	member := s.member(a.line.Token, q.repo)
	switch {
	case repo == nil || access == Private && !member:
		// Without a token the Hub does not even say that it is not there.
		if known {
			a.fail(http.StatusNotFound, "RepoNotFound", "Repository not found")
		} else {
			a.fail(http.StatusUnauthorized, "", "Invalid username or password.")
		}
	case access == Disabled:
		a.fail(http.StatusForbidden, "", "Access to this resource is disabled.")
	case access == Gated && !member && q.route == RouteResolve:
		if known {
			a.fail(http.StatusForbidden, "GatedRepo", "Access to model "+q.repo+" is restricted and you are not in the authorized list. Visit "+s.Endpoint()+"/"+q.repo+" to ask for access.")
		} else {
			a.fail(http.StatusUnauthorized, "GatedRepo", "Access to model "+q.repo+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
		}
	default:
		return repo
	}
	return nil
}

func (s *Server) serveRepo(a *answer, q *query, repo *Repo) {
	if q.api == "refs" {
		a.json(http.StatusOK, repo.references())
		return
	}
	if q.route == RouteOther {
		a.fail(http.StatusNotFound, "", "Not found: "+q.api)
		return
	}
	revision := q.revision
	if revision == "" {
		revision = "main"
	}
	commit, tree, ok := repo.at(revision)
	if !ok {
		a.fail(http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	switch q.route {
	case RouteInfo:
		a.json(http.StatusOK, describe(repo, commit, tree, a.request.URL.Query().Get("blobs") == "true"))
	case RouteTree:
		a.tree(q, tree)
	case RouteResolve:
		a.Header().Set("X-Repo-Commit", commit)
		f := tree[q.path]
		if f == nil {
			a.fail(http.StatusNotFound, "EntryNotFound", "Entry not found")
			return
		}
		s.resolve(a, q, commit, f)
	}
}

func (r *Repo) references() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	branches, tags := []map[string]string{}, []map[string]string{}
	for name, commit := range r.refs {
		switch {
		case r.tags[name]:
			tags = append(tags, map[string]string{"name": name, "ref": "refs/tags/" + name, "targetCommit": commit})
		case !strings.HasPrefix(name, "refs/"):
			branches = append(branches, map[string]string{"name": name, "ref": "refs/heads/" + name, "targetCommit": commit})
		}
	}
	return map[string]any{"branches": branches, "converts": []string{}, "tags": tags}
}

func describe(repo *Repo, commit string, tree map[string]*file, blobs bool) map[string]any {
	siblings := make([]map[string]any, 0, len(tree))
	for _, f := range sorted(tree) {
		entry := map[string]any{"rfilename": f.Path}
		if blobs {
			entry["size"], entry["blobId"] = f.size(), f.gitOID()
			if f.LFS {
				entry["lfs"] = map[string]any{"sha256": f.sha256(), "size": f.size(), "pointerSize": len(f.pointer())}
			}
		}
		siblings = append(siblings, entry)
	}
	access := repo.accessNow()
	gated := any(false)
	if access == Gated {
		gated = "manual"
	}
	author, _, _ := strings.Cut(repo.ID, "/")
	return map[string]any{
		"_id": "621ffdc036468d709f17434d", "id": repo.ID, "modelId": repo.ID, "author": author, "sha": commit,
		"lastModified": "2024-02-19T10:57:45.000Z", "createdAt": "2022-03-02T23:29:04.000Z",
		"private": access == Private, "gated": gated, "disabled": false, "downloads": 1, "likes": 1,
		"library_name": "transformers", "pipeline_tag": "text-generation", "tags": []string{"transformers", "safetensors", "gpt2"},
		"config": map[string]any{"model_type": "gpt2", "architectures": []string{"GPT2LMHeadModel"}}, "siblings": siblings,
	}
}

type lfsEntry struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

type treeEntry struct {
	Type    string    `json:"type"`
	OID     string    `json:"oid"`
	Size    int64     `json:"size"`
	LFS     *lfsEntry `json:"lfs,omitempty"`
	XetHash string    `json:"xetHash,omitempty"`
	Path    string    `json:"path"`
}

// tree answers one page of a listing; `cursor` is the number of entries before it.
func (a *answer) tree(q *query, files map[string]*file) {
	values := a.request.URL.Query()
	entries := list(files, q.path, values.Get("recursive") == "true" || values.Get("recursive") == "True")
	if entries == nil {
		a.fail(http.StatusNotFound, "EntryNotFound", q.path+" does not exist on \""+q.revision+"\"")
		return
	}
	size := a.server.options.PageSize
	if n, err := strconv.Atoi(values.Get("limit")); err == nil && n > 0 {
		size = min(size, n)
	}
	from := 0
	if c, err := base64.URLEncoding.DecodeString(values.Get("cursor")); err == nil {
		from, _ = strconv.Atoi(string(c))
	}
	from = max(0, min(from, len(entries)))
	to := min(from+size, len(entries))
	if to < len(entries) || a.fault.PagingLoop {
		if a.fault.PagingLoop {
			values.Set("cursor", values.Get("cursor"))
		} else {
			values.Set("cursor", base64.URLEncoding.EncodeToString([]byte(strconv.Itoa(to))))
		}
		next := a.server.Endpoint() + a.request.URL.EscapedPath() + "?" + values.Encode()
		a.Header().Set("Link", "<"+next+`>; rel="next"`)
	}
	a.json(http.StatusOK, entries[from:to])
}

// list returns the entries at or below a folder, nil if there is none.
func list(files map[string]*file, folder string, recursive bool) []treeEntry {
	var out []treeEntry
	seen := map[string]bool{}
	directory := func(name string) {
		if !seen[name] {
			seen[name] = true
			out = append(out, treeEntry{Type: "directory", OID: GitOID(Text(name)), Path: name})
		}
	}
	prefix := ""
	if folder != "" {
		prefix = folder + "/"
	}
	for _, f := range sorted(files) {
		rest, inside := strings.CutPrefix(f.Path, prefix)
		if !inside {
			continue
		}
		if at := strings.Index(rest, "/"); at > 0 && !recursive {
			directory(prefix + rest[:at])
			continue
		} else if at > 0 {
			var above []string
			for d := path.Dir(rest); d != "." && d != "/" && !strings.HasPrefix(d, ".."); d = path.Dir(d) {
				above = append(above, d)
			}
			for _, d := range slices.Backward(above) {
				directory(prefix + d)
			}
		}
		e := treeEntry{Type: "file", OID: f.gitOID(), Size: f.size(), Path: f.Path, XetHash: f.xetHash()}
		if f.LFS {
			e.LFS = &lfsEntry{f.sha256(), f.size(), len(f.pointer())}
		}
		out = append(out, e)
	}
	if out == nil && folder == "" {
		out = []treeEntry{}
	}
	return out
}
