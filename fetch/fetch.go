package fetch

import (
	"context"
	"net/http"
	"time"
)

// Options say what to fetch and how. Only Model must be set.
type Options struct {
	Model    string // what ParseModelID reads: "gpt2", "org/name", "org/name@revision"
	Revision string // branch, tag or commit; "" takes that of Model, which is main by default

	// Dir, if set, gets plain files, as save_pretrained leaves them, instead of
	// the shared cache.
	Dir string
	// Files are patterns (path.Match, on the whole path or on the base name)
	// that replace the usual choice of files.
	Files []string

	Connections int   // at once, over all files; 0 means 8
	LimitRate   int64 // bytes per second over all connections; 0 means no limit
	Offline     bool  // ask no network; HF_HUB_OFFLINE does the same
	DryRun      bool  // find out what there is to do, write nothing

	// Mirrors are base URLs that are tried in order after HF_ENDPOINT. They are
	// the user's own choice, as HF_ENDPOINT is: they get the token too.
	Mirrors []string

	Getenv    func(string) string // nil means os.Getenv
	Transport http.RoundTripper   // nil means one made from the environment's proxies and certificates
	Timing    Timing              // for tests; zero values mean the usual times
	UserAgent string              // "" means gptctl

	// Progress, if set, is told what happens, one call at a time. It must not
	// wait long: the download waits with it.
	Progress func(Event)
}

// Timing holds every duration that a fetch depends on. A zero field means the
// value given behind it.
type Timing struct {
	Silence  time.Duration // a connection without a byte for so long is replaced; 15 s
	GiveUp   time.Duration // no new byte from anywhere for so long ends the fetch; 60 s
	Backoff  time.Duration // before the second try, doubled from then on up to 8 times; 1 s
	Tries    int           // for an answer that stays the same; 6
	MostWait time.Duration // the longest Retry-After that is honoured; 5 min
	Progress time.Duration // between two progress events; 100 ms
	LockPoll time.Duration // between two looks at a lock that another process has; 50 ms
}

// Result is what a fetch did, or with DryRun would do.
type Result struct {
	Model    string // the Hub's name of it
	Revision string // the commit
	Path     string // the folder that now holds the files
	Endpoint string // the base URL that answered, "" offline
	Files    []File

	Bytes      int64         // of all files
	Downloaded int64         // came over the network in this call, wasted bytes included
	Room       int64         // still needed on the disk before the call
	Available  int64         // free on the disk before the call
	Duration   time.Duration // of the whole call
	Verified   bool          // every file was compared with the hash that the Hub states
}

// File is one file of a model.
type File struct {
	Path    string // in the repository, slashes
	Size    int64  // bytes
	Hash    string // hex: SHA-256 (64 digits) or git's SHA-1 of a blob (40)
	Cached  bool   // was there before the call
	Partial int64  // bytes that an interrupted call left of it
}

// Event is one of PlanEvent, FileEvent, ProgressEvent, RetryEvent,
// MendEvent, DoneEvent and ErrorEvent.
type Event interface{ event() }

type (
	// PlanEvent comes first: what there is and what is still to be done.
	PlanEvent struct{ Result }

	// FileEvent says that a file is about to be transferred, or with Done that
	// it is complete and verified. Resumed are the bytes that an earlier call
	// left and that need not come again.
	FileEvent struct {
		File    string
		Size    int64
		Resumed int64
		Waiting bool // for another process that is fetching this file
		Done    bool
	}

	// ProgressEvent counts bytes: Complete of Size bytes of the file lie on the
	// disk; AllComplete of AllSize bytes of all files; Downloaded bytes came
	// over the network since the call began.
	ProgressEvent struct {
		File                 string
		Complete, Size       int64
		AllComplete, AllSize int64
		Downloaded           int64
	}

	// RetryEvent says that something failed that is tried again after Wait.
	RetryEvent struct {
		File string // "" for a question to the Hub
		Err  error
		Wait time.Duration
		Try  int // the number of the try that failed, from 1
	}

	// MendEvent says that bytes of a file are wrong and come once more: [From,
	// To) of a cached file that the disk has spoilt, or of a transfer whose hash
	// is not what the Hub states.
	MendEvent struct {
		File     string
		From, To int64
		Cached   bool
	}

	// DoneEvent comes last if all went well.
	DoneEvent struct{ Result }

	// ErrorEvent comes last if not; Err is what Fetch returns.
	ErrorEvent struct{ Err error }
)

func (PlanEvent) event()     {}
func (FileEvent) event()     {}
func (ProgressEvent) event() {}
func (RetryEvent) event()    {}
func (MendEvent) event()     {}
func (DoneEvent) event()     {}
func (ErrorEvent) event()    {}

// Fetch brings a model to this machine and returns where it lies. What is
// there already is verified, not transferred; what is spoilt is mended; what
// was interrupted goes on. No file appears under its name before its bytes
// have the hash that the Hub states.
//
// After cancelling ctx, everything that came so far is kept for the next call
// and the error is an *InterruptedError. The other errors are *InvalidIDError,
// *GatedError, *NotFoundError, *CredentialsError, *OfflineError, *UnreachableError,
// *NoRoomError, *ReadOnlyError, *ChecksumError, *SpoiltError, *ChangedError, *RedirectError,
// *PathError, *StalledError, *NoFilesError, *ProtocolError and *StatusError, wrapped or not.
func Fetch(ctx context.Context, o Options) (Result, error) {
	f, err := newFetcher(o)
	if err != nil {
		return Result{}, err
	}
	result, err := f.run(ctx)
	if err != nil {
		f.emit(ErrorEvent{err})
		return result, err
	}
	f.emit(DoneEvent{result})
	return result, nil
}
