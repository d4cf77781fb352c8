package fetch

import (
	"context"
	"fmt"
	"strings"
)

// GatedError: the authors want something of the user, such as agreeing to a
// licence, before anybody may download.
type GatedError struct {
	Model    string
	URL      string // the page where access is asked for
	HasToken bool   // a token was sent; it is not (yet) on the list
}

func (e *GatedError) Error() string {
	if e.HasToken {
		return fmt.Sprintf("access to %s is restricted and the token in use has not been granted it", e.Model)
	}
	return fmt.Sprintf("access to %s is restricted and no token was sent", e.Model)
}

// A Missing says what does not exist.
type Missing string

const (
	MissingModel    Missing = "model"
	MissingRevision Missing = "revision"
	MissingFile     Missing = "file"
)

// NotFoundError: the Hub does not know the model, or does not show it to
// somebody without the right token; or the model has no such revision or file.
type NotFoundError struct {
	What     Missing
	Model    string
	Name     string // of the revision or file
	Endpoint string
	HasToken bool
}

func (e *NotFoundError) Error() string {
	switch {
	case e.What == MissingRevision:
		return fmt.Sprintf("model %s has no revision %q", e.Model, e.Name)
	case e.What == MissingFile:
		return fmt.Sprintf("model %s has no file %q", e.Model, e.Name)
	case e.HasToken:
		return fmt.Sprintf("model %s does not exist at %s, or it is private and the token in use does not open it", e.Model, e.Endpoint)
	default:
		return fmt.Sprintf("model %s does not exist at %s, or it is private and no token was sent", e.Model, e.Endpoint)
	}
}

// CredentialsError: the Hub does not accept the token at all.
type CredentialsError struct {
	Source string // where the token came from: a variable's name or a file
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("the Hub rejects the token from %s", e.Source)
}

// OfflineError: the network may not be asked and the cache does not have it.
type OfflineError struct {
	Model   string
	Missing []string // files; nil if there is nothing of the model
	Why     string   // what forbids it: "--offline" or a variable's name
}

func (e *OfflineError) Error() string {
	if len(e.Missing) > 0 {
		return fmt.Sprintf("model %s is only partly in the cache (%s is missing) and %s forbids asking the network", e.Model, strings.Join(e.Missing, ", "), e.Why)
	}
	return fmt.Sprintf("model %s is not in the cache and %s forbids asking the network", e.Model, e.Why)
}

// UnreachableError: no connection to the Hub or a mirror could be made.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.Host, e.Err) }
func (e *UnreachableError) Unwrap() error { return e.Err }

// NoRoomError: the disk is too small for what is still to come.
type NoRoomError struct {
	Dir               string
	Needed, Available int64 // bytes
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("no room in %s: %d bytes are needed, %d are free", e.Dir, e.Needed, e.Available)
}

// ReadOnlyError: the cache cannot be written to.
type ReadOnlyError struct {
	Dir string
	Err error
}

func (e *ReadOnlyError) Error() string { return fmt.Sprintf("cannot write to %s: %v", e.Dir, e.Err) }
func (e *ReadOnlyError) Unwrap() error { return e.Err }

// ChecksumError: the bytes of a file came twice and neither copy, nor any mix
// of the two, has the hash that the Hub states. Nothing was left under the
// file's name.
type ChecksumError struct {
	File      string
	Want, Got string // hex
	Repeated  bool   // both transfers brought the same bytes: the server holds a wrong file
}

func (e *ChecksumError) Error() string {
	if e.Repeated {
		return fmt.Sprintf("%s: the server sent the same wrong bytes twice: got hash %s, want %s", e.File, e.Got, e.Want)
	}
	return fmt.Sprintf("%s: damaged in transfer twice: got hash %s, want %s", e.File, e.Got, e.Want)
}

// SpoiltError: a cached file is damaged and the network, from where it could be
// mended, may not be asked.
type SpoiltError struct {
	File string
	Bad  []Range
}

func (e *SpoiltError) Error() string {
	return fmt.Sprintf("%s is damaged on the disk, from byte %d on", e.File, e.Bad[0].From)
}

// ChangedError: the server now has another file than the one that was listed.
type ChangedError struct {
	File      string
	What      string // "size", "hash" or "commit"
	Want, Got string
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s is not the listed file any more: the server has %s %s, the list says %s", e.File, e.What, e.Got, e.Want)
}

// RedirectError: the redirections lead nowhere.
type RedirectError struct {
	URL  string // the first of them
	Loop bool   // it comes back to a place it has been
}

func (e *RedirectError) Error() string {
	if e.Loop {
		return fmt.Sprintf("%s redirects in a circle", e.URL)
	}
	return fmt.Sprintf("%s redirects more than %d times", e.URL, mostRedirects)
}

// PathError: the Hub lists a path that has no place inside a folder, or that
// some system cannot store.
type PathError struct{ Path, Reason string }

func (e *PathError) Error() string { return fmt.Sprintf("refused path %q: %s", e.Path, e.Reason) }

// StalledError: no new byte came from anywhere for a long time, or a server
// gave the same useless answer too many times. What came before is kept.
type StalledError struct {
	File string // "" for a question to the Hub
	Err  error  // the last failure
}

func (e *StalledError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("gave up: %v", e.Err)
	}
	return fmt.Sprintf("gave up on %s: %v", e.File, e.Err)
}
func (e *StalledError) Unwrap() error { return e.Err }

// InterruptedError: the caller cancelled. The next call goes on from here.
type InterruptedError struct {
	Complete, Bytes int64 // of all files
}

func (e *InterruptedError) Error() string {
	if e.Complete == 0 {
		return "interrupted"
	}
	return fmt.Sprintf("interrupted: %d of %d bytes are kept for the next time", e.Complete, e.Bytes)
}
func (e *InterruptedError) Unwrap() error { return context.Canceled }

// NoFilesError: the model has none of the files that were asked for.
type NoFilesError struct {
	Model    string
	Patterns []string // nil for the usual choice
}

func (e *NoFilesError) Error() string {
	if len(e.Patterns) > 0 {
		return fmt.Sprintf("no file of %s matches %s", e.Model, strings.Join(e.Patterns, " or "))
	}
	return fmt.Sprintf("%s has no weights that can be used: neither safetensors nor pytorch_model.bin", e.Model)
}

// ProtocolError: an answer that is not the Hub's language.
type ProtocolError struct {
	URL string // without query
	Err error
}

func (e *ProtocolError) Error() string { return fmt.Sprintf("answer of %s: %v", e.URL, e.Err) }
func (e *ProtocolError) Unwrap() error { return e.Err }

// StatusError: an HTTP status that is not a success.
type StatusError struct {
	URL     string // without query
	Status  int
	Message string // the server's own words, shortened; often ""
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s answers %d", e.URL, e.Status)
	}
	return fmt.Sprintf("%s answers %d: %s", e.URL, e.Status, e.Message)
}
