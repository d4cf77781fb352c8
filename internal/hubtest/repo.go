package hubtest

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// File is one file of a commit. Its path is not checked: hostile ones are
// wanted.
type File struct {
	Path    string
	Content Content
	LFS     bool // over the CDN, named by sha256
	Xet     bool // LFS, and says so with X-Xet-Hash; the bytes come over the plain route
	Remove  bool // the commit takes the path away

	// What the Hub claims, where it is not the truth.
	ClaimGitOID, ClaimSHA256 string
	ClaimSize                int64
}

type file struct {
	File
	digest func() digests
}

func newFile(f File) *file {
	f.LFS = f.LFS || f.Xet
	kept := &file{File: f, digest: sync.OnceValue(func() digests { return digest(f.Content) })}
	if r, ok := f.Content.(*Random); ok {
		kept.digest = r.digest
	}
	return kept
}

func (f *file) sha256() string {
	if f.ClaimSHA256 != "" {
		return f.ClaimSHA256
	}
	return f.digest().sha256
}

func (f *file) size() int64 {
	if f.ClaimSize != 0 {
		return f.ClaimSize
	}
	return f.Content.Size()
}

// pointer is what git holds in place of an LFS file.
func (f *file) pointer() string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.sha256(), f.size())
}

// gitOID is the file's name in the tree: of the pointer, if there is one.
func (f *file) gitOID() string {
	switch {
	case f.ClaimGitOID != "":
		return f.ClaimGitOID
	case f.LFS:
		return GitOID(Text(f.pointer()))
	}
	return f.digest().git
}

// etag is what the shared cache calls the blob.
func (f *file) etag() string {
	if f.LFS {
		return f.sha256()
	}
	return f.gitOID()
}

// xetHash has the form of one (64 hex digits), not its meaning.
func (f *file) xetHash() string {
	if !f.Xet {
		return ""
	}
	return SHA256(Text("xet " + f.sha256()))
}

// Access is who may have a repository.
type Access string

// The kinds of access.
const (
	Public   Access = "public"
	Gated    Access = "gated"    // listed to all, files only for those let in
	Private  Access = "private"  // as if missing, except for those let in
	Disabled Access = "disabled" // taken down
)

// Repo is a model repository. Its methods may be called while the server runs.
type Repo struct {
	ID string

	mu      sync.Mutex
	access  Access
	commits map[string]map[string]*file // by hash, then path
	refs    map[string]string           // branches, tags, refs/pr/N
	tags    map[string]bool
	count   int
}

// Repo returns the repository of that id, made empty and public on first use.
func (s *Server) Repo(id string) *Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repos[id]; r != nil {
		return r
	}
	r := &Repo{ID: id, access: Public, commits: map[string]map[string]*file{}, refs: map[string]string{}, tags: map[string]bool{}}
	s.repos[id] = r
	return r
}

// Rename makes the old id answer with a 307 to the new one.
func (s *Server) Rename(old, new string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repos[old]; r != nil {
		delete(s.repos, old)
		r.mu.Lock()
		r.ID = new
		r.mu.Unlock()
		s.repos[new] = r
	}
	s.renamed[old] = new
}

// SetAccess changes who may have it.
func (r *Repo) SetAccess(a Access) *Repo {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.access = a
	return r
}

// Commit puts the files on top of main and returns the new commit's hash.
func (r *Repo) Commit(files ...File) string {
	r.mu.Lock()
	r.count++
	hash := sha1.Sum(fmt.Appendf(nil, "%s %d", r.ID, r.count))
	r.mu.Unlock()
	return r.CommitAs(hex.EncodeToString(hash[:]), files...)
}

// CommitAs is Commit with a hash of the caller's.
func (r *Repo) CommitAs(hash string, files ...File) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tree := maps.Clone(r.commits[r.refs["main"]])
	if tree == nil {
		tree = make(map[string]*file)
	}
	for _, f := range files {
		if f.Remove {
			delete(tree, f.Path)
		} else {
			tree[f.Path] = newFile(f)
		}
	}
	r.commits[hash] = tree
	r.refs["main"] = hash
	return hash
}

// Branch points a branch (or refs/pr/N) to a commit.
func (r *Repo) Branch(name, commit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs[name] = commit
}

// Tag points a tag to a commit.
func (r *Repo) Tag(name, commit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs[name] = commit
	r.tags[name] = true
}

// at finds a revision: its commit and files.
func (r *Repo) at(revision string) (commit string, tree map[string]*file, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	commit = revision
	if c, ok := r.refs[revision]; ok {
		commit = c
	}
	tree, ok = r.commits[commit]
	return commit, tree, ok
}

func (r *Repo) accessNow() Access {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.access
}

func sorted(tree map[string]*file) []*file {
	out := make([]*file, 0, len(tree))
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		out = append(out, tree[path])
	}
	return out
}

// SHA256Of is what the Hub claims as the sha256 of a file on main.
func (s *Server) SHA256Of(repo, path string) (string, error) {
	_, tree, _ := s.Repo(repo).at("main")
	if tree[path] == nil {
		return "", fmt.Errorf("%s has no %s", repo, path)
	}
	return tree[path].sha256(), nil
}
