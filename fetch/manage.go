package fetch

import (
	"context"
	"errors"
	"time"
)

// CachedRevision is one snapshot of a model in the cache.
type CachedRevision struct {
	Commit   string
	Refs     []string // branches and tags that point to it
	Path     string
	Files    int
	Bytes    int64 // of its files; a file that several revisions share counts for each
	Modified time.Time
}

// CachedRepo is a model in the cache.
type CachedRepo struct {
	Model     string
	Path      string
	Bytes     int64 // on the disk, each file once
	Partial   int64 // bytes of interrupted downloads
	Revisions []CachedRevision
}

// List tells which models are in the cache, by name. A cache that does not
// exist is an empty one.
func List(getenv func(string) string) ([]CachedRepo, error) {
	return nil, errors.ErrUnsupported
}

// VerifyOptions say what to verify.
type VerifyOptions struct {
	Model    string // what ParseModelID reads; "" means all models in the cache
	Getenv   func(string) string
	Progress func(done, total int64) // bytes; nil for none
}

// FileState is what Verify finds of a file.
type FileState string

const (
	StateGood    FileState = "good"
	StateSpoilt  FileState = "spoilt"
	StateMissing FileState = "missing"
	StateUnknown FileState = "unknown" // nothing says what it should hash to
)

// Range is [From, To) in bytes.
type Range struct{ From, To int64 }

// VerifiedFile is a file and its state.
type VerifiedFile struct {
	Model  string
	Commit string
	Path   string // in the repository
	Disk   string // where it lies
	Size   int64
	State  FileState
	// Bad are the damaged ranges of a spoilt file; the whole file where it was
	// downloaded by a program that keeps no hashes of its parts.
	Bad       []Range
	Want, Got string // hashes, where the whole file had to be compared
}

// Verify compares what is in the cache with the hashes that were recorded when
// it came, without asking the network. Only failures to look are an error; a
// spoilt file is a result. The error is ErrNotCached where Model is absent.
func Verify(ctx context.Context, o VerifyOptions) ([]VerifiedFile, error) {
	return nil, errors.ErrUnsupported
}

// RemoveOptions say what to remove.
type RemoveOptions struct {
	Model  string // what ParseModelID reads; with "@revision" only that revision
	DryRun bool   // only tell
	Getenv func(string) string
}

// Removal is what was, or with DryRun would be, removed.
type Removal struct {
	Model     string
	Paths     []string // folders of models or snapshots
	Revisions []string // commits
	Bytes     int64    // freed on the disk
}

// BusyError: another process is downloading this very model.
type BusyError struct{ Model string }

func (e *BusyError) Error() string {
	return e.Model + " is being downloaded by another process"
}

// Remove deletes a model, or one revision of it, from the cache. Files that
// another revision needs stay. The errors are ErrNotCached, *BusyError and
// *ReadOnlyError, wrapped or not.
func Remove(o RemoveOptions) (Removal, error) {
	return Removal{}, errors.ErrUnsupported
}
