package fetch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// fetcher is one call of Fetch.
type fetcher struct {
	o      Options
	set    settings
	id     ModelID
	client *client
	pace   pace
	seats  chan struct{}
	target target

	mu       sync.Mutex // guards what follows and the calls of o.Progress
	complete map[string]int64
	sizes    map[string]int64 // of the files of a blob together
	total    int64
	drawn    time.Time // when the last progress event went out
}

func newFetcher(o Options) (*fetcher, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Connections <= 0 {
		o.Connections = 8
	}
	if o.UserAgent == "" {
		o.UserAgent = "gptctl"
	}
	for _, d := range []struct {
		at    *time.Duration
		usual time.Duration
	}{
		{&o.Timing.Silence, 15 * time.Second}, {&o.Timing.GiveUp, time.Minute}, {&o.Timing.Backoff, time.Second},
		{&o.Timing.MostWait, 5 * time.Minute}, {&o.Timing.Progress, 100 * time.Millisecond}, {&o.Timing.LockPoll, 50 * time.Millisecond},
	} {
		if *d.at == 0 {
			*d.at = d.usual
		}
	}
	if o.Timing.Tries == 0 {
		o.Timing.Tries = 6
	}
	id, err := ParseModelID(o.Model)
	if err != nil {
		return nil, err
	}
	if o.Revision != "" {
		if !plainRevision(o.Revision) {
			return nil, &InvalidIDError{o.Model + "@" + o.Revision, "the revision is not a branch, a tag or a commit"}
		}
		id.Revision = o.Revision
	}
	set, err := readSettings(o.Getenv, o.Mirrors)
	if err != nil {
		return nil, err
	}
	f := &fetcher{o: o, set: set, id: id, seats: make(chan struct{}, o.Connections), complete: map[string]int64{}, sizes: map[string]int64{}}
	f.target = target{cache: set.cache, base: filepath.Join(set.cache, folder(id.Repo)), noLinks: set.noLinks}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, err
		}
		f.target = target{base: dir, plain: true}
	}
	transport := o.Transport
	if transport == nil {
		if transport, err = newTransport(o.Getenv, o.Connections, o.Timing.Silence); err != nil {
			return nil, err
		}
	}
	f.client = &client{http: transport, endpoints: set.endpoints, token: set.token, source: set.tokenSource,
		userAgent: o.UserAgent, timing: o.Timing, limit: newLimiter(o.LimitRate),
		retried: func(file string, err error, wait time.Duration, try int) { f.emit(RetryEvent{file, err, wait, try}) }}
	return f, nil
}

func (f *fetcher) emit(e Event) {
	if f.o.Progress == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.o.Progress(e)
}

func (f *fetcher) run(ctx context.Context) (Result, error) {
	began := time.Now()
	if closer, ok := f.client.http.(interface{ CloseIdleConnections() }); ok && f.o.Transport == nil {
		defer closer.CloseIdleConnections()
	}
	f.client.began = began
	listing, whole, err := f.find(ctx)
	if err != nil {
		return Result{}, interrupted(err, 0, 0)
	}
	chosen, err := f.choose(listing)
	if err != nil {
		return Result{}, err
	}
	blobs := group(chosen)
	result := f.plan(blobs)
	result.Model, result.Revision, result.Path = f.id.Repo, f.target.commit, f.target.snapshot()
	if f.offline() == "" {
		result.Endpoint = plainURL(f.client.endpoints[0])
	}
	f.emit(PlanEvent{result})
	if !f.o.DryRun {
		err = f.work(ctx, blobs, listing, whole, &result)
	}
	result.Downloaded = f.client.received.Load()
	result.Duration = time.Since(began)
	return result, err
}

// offline names what forbids to ask the network, "" if nothing does.
func (f *fetcher) offline() string {
	if f.o.Offline {
		return "--offline"
	}
	return f.set.offline
}

// find learns the commit and its files, from the Hub or offline from the cache.
func (f *fetcher) find(ctx context.Context) (listing []hubFile, whole bool, err error) {
	if why := f.offline(); why != "" {
		listing, err = f.cached(why)
		return listing, false, err
	}
	info, err := f.client.model(ctx, f.id.Repo, f.id.Revision)
	if err != nil {
		return nil, false, err
	}
	f.target.commit = info.commit
	return f.client.listing(ctx, f.id.Repo, info.commit, func(files []hubFile) []hubFile {
		return selectFiles(files, f.o.Files)
	})
}

// cached is the listing of what lies in the cache: what was noted when it was
// downloaded, else what is there.
func (f *fetcher) cached(why string) ([]hubFile, error) {
	missing := &OfflineError{Model: f.id.String(), Why: why}
	for _, name := range f.id.folders() {
		base := filepath.Join(f.set.cache, name)
		dir, err := snapshot(base, f.id.Revision)
		if err != nil {
			return nil, err
		}
		if dir == "" {
			continue
		}
		t := target{cache: f.set.cache, base: base, commit: filepath.Base(dir), noLinks: f.set.noLinks}
		listing := t.readTree()
		if listing == nil {
			if listing, err = t.present(); err != nil {
				return nil, err
			}
		}
		for _, file := range selectFiles(listing, f.o.Files) {
			// For --dir a file is copied and verified, so it must have a hash.
			if !t.complete(blob{size: file.Size, files: []string{file.Path}}) || f.target.plain && file.hash() == "" {
				missing.Missing = append(missing.Missing, file.Path)
			}
		}
		if len(missing.Missing) > 0 {
			return nil, missing
		}
		if f.target.commit = t.commit; !f.target.plain {
			f.target = t
		}
		return listing, nil
	}
	return nil, missing
}

// present lists the files of a snapshot by what their links say: a blob's name
// is its hash.
func (t target) present() ([]hubFile, error) {
	var files []hubFile
	root := t.snapshot()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := hubFile{Path: filepath.ToSlash(relative)}
		if info, err := os.Stat(path); err == nil {
			f.Size = info.Size()
		}
		if to, err := os.Readlink(path); err == nil {
			switch name := filepath.Base(to); {
			case isHex(name, 64):
				f.SHA256 = name
			case isHex(name, 40):
				f.GitSHA1 = name
			}
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func (f *fetcher) choose(listing []hubFile) ([]hubFile, error) {
	for _, pattern := range f.o.Files {
		if !strings.ContainsAny(pattern, `*?[\`) && len(selectFiles(listing, []string{pattern})) == 0 {
			return nil, &NotFoundError{What: MissingFile, Model: f.id.Repo, Name: pattern}
		}
	}
	chosen := selectFiles(listing, f.o.Files)
	if len(chosen) == 0 {
		return nil, &NoFilesError{f.id.Repo, f.o.Files}
	}
	return chosen, nil
}

// group puts files of the same content together, the small ones first.
func group(files []hubFile) []blob {
	var blobs []blob
	index := map[string]int{}
	for _, file := range files {
		key := file.hash()
		if i, ok := index[key]; ok && key != "" {
			blobs[i].files = append(blobs[i].files, file.Path)
			continue
		}
		index[key] = len(blobs)
		blobs = append(blobs, blob{key, file.Size, []string{file.Path}})
	}
	sortBlobs(blobs)
	return blobs
}

// plan finds out what is there without reading it.
func (f *fetcher) plan(blobs []blob) Result {
	var r Result
	boot := bootID()
	for _, b := range blobs {
		cached := f.target.complete(b)
		var partial int64
		if !cached && f.target.find(b) == "" {
			state, taken := f.target.unfinishedState(b, boot)
			partial = state.done.total()
			r.Room += max(0, b.size-taken)
		}
		for i, path := range b.files {
			file := File{Path: path, Size: b.size, Hash: b.hash, Cached: cached}
			if i == 0 {
				file.Partial = partial
			}
			r.Files = append(r.Files, file)
			r.Bytes += b.size
			f.sizes[b.hash] += b.size
			if f.target.plain && i > 0 && !cached {
				r.Room += b.size
			}
		}
	}
	f.total = r.Bytes
	r.Available, _ = freeBytes(existing(f.target.base))
	return r
}

// existing is the folder, or the nearest above it that exists.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// unfinishedState reads what an interrupted download left of b; taken is the
// room that it has on the disk.
func (t target) unfinishedState(b blob, boot string) (state journalState, taken int64) {
	fresh, _ := parseJournal(nil, b.hash, b.size, boot)
	info, err := os.Stat(t.unfinished(b.hash))
	if err != nil || info.Size() != b.size {
		return fresh, 0
	}
	text, err := readLimited(t.journal(b.hash), mostJournal)
	if err != nil {
		return fresh, min(onDisk(info), b.size)
	}
	state, err = parseJournal(text, b.hash, b.size, boot)
	if err != nil {
		state = fresh
	}
	return state, min(onDisk(info), b.size)
}

// work brings every blob and then publishes the revision.
func (f *fetcher) work(ctx context.Context, blobs []blob, listing []hubFile, whole bool, result *Result) error {
	// What the journals and the metadata of the file system take is small.
	if need := result.Room + 1<<20; result.Room > 0 && need > result.Available && result.Available > 0 {
		return &NoRoomError{f.target.base, need, result.Available}
	}
	missing := false
	for _, file := range result.Files {
		missing = missing || !file.Cached
	}
	if missing {
		if err := f.target.begin(); err != nil {
			return err
		}
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	open := make(chan struct{}, f.o.Connections) // files at once
	for _, b := range blobs {
		all.Go(func() {
			select {
			case open <- struct{}{}:
			case <-inner.Done():
				return
			}
			defer func() { <-open }()
			if err := f.bring(inner, b); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		return interrupted(ctx.Err(), f.completed(), f.total)
	}
	if err := context.Cause(inner); err != nil {
		var room *NoRoomError
		if errors.As(err, &room) && room.Needed == 0 {
			f.mu.Lock()
			room.Dir, room.Needed = f.target.base, f.total-f.completed()
			f.mu.Unlock()
		}
		return err
	}
	result.Verified = true
	for _, b := range blobs {
		result.Verified = result.Verified && b.hash != ""
	}
	if f.offline() != "" {
		return nil
	}
	err := f.target.finish(f.id.Revision, listing, whole, absent(listing))
	if !missing && errors.As(err, new(*ReadOnlyError)) {
		return nil // everything is there; only the notes could not be refreshed
	}
	return err
}

func interrupted(err error, complete, bytes int64) error {
	if errors.Is(err, context.Canceled) {
		return &InterruptedError{complete, bytes}
	}
	return err
}

// completed is how many bytes of all files are on the disk; f.mu is held.
func (f *fetcher) completed() int64 {
	var n int64
	for _, c := range f.complete {
		n += c
	}
	return n
}

// count notes that n bytes of b are complete and tells of it now and then.
func (f *fetcher) count(b blob, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.complete[b.hash] = n
	if n == b.size {
		f.complete[b.hash] = f.sizes[b.hash]
	}
	if now := time.Now(); f.o.Progress != nil && (now.Sub(f.drawn) >= f.o.Timing.Progress || n == b.size) {
		f.drawn = now
		f.o.Progress(ProgressEvent{b.name(), n, b.size, f.completed(), f.total, f.client.received.Load()})
	}
}
