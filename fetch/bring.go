package fetch

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

func sortBlobs(blobs []blob) {
	slices.SortStableFunc(blobs, func(a, b blob) int { return cmp.Compare(a.size, b.size) })
}

// seed is a damaged copy of a blob whose good parts need not come again.
type seed struct {
	path  string
	chain *chain
	bad   spans
}

// bring makes sure that b is there, verified, under all its names.
func (f *fetcher) bring(ctx context.Context, b blob) error {
	if b.hash == "" {
		return nil // offline, and nothing says what it should be
	}
	place := f.target.find(b)
	if place != "" && f.target.complete(b) {
		bad, c, err := f.verify(ctx, f.target, b, place)
		if err != nil {
			return err
		}
		for _, file := range b.files { // where there are no links, each is a file of its own
			if len(bad) == 0 && !sameFile(f.target.path(file), place) {
				if bad, _, err = f.target.verify(ctx, b, f.target.path(file), nil); err != nil {
					return err
				}
				if len(bad) > 0 && f.offline() == "" {
					return f.locked(ctx, b, nil) // which puts the good one in its place
				}
			}
		}
		if len(bad) == 0 {
			return nil
		}
		if f.offline() != "" {
			return &SpoiltError{b.name(), bad}
		}
		return f.locked(ctx, b, &seed{place, c, bad})
	}
	return f.locked(ctx, b, nil)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// verify reads the whole of a file that is there already.
func (f *fetcher) verify(ctx context.Context, t target, b blob, place string) (bad spans, c *chain, err error) {
	var done atomic.Int64
	bad, c, err = t.verify(ctx, b, place, func(n int64) { f.count(b, done.Add(n)) })
	if err == nil && len(bad) == 0 {
		f.count(b, b.size)
	}
	return bad, c, err
}

// verify compares the file at place with the hash of b; c is its chain, nil if
// there is none, in which case bad is all or nothing.
func (t target) verify(ctx context.Context, b blob, place string, counted func(int64)) (bad spans, c *chain, err error) {
	in, err := os.Open(place)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, nil, err
	}
	if c, err = readChain(t.chain(b.hash), b.hash, b.size); err == nil {
		bad, err = c.bad(ctx, in, counted)
		return bad, c, err
	}
	sum, c, err := hashAll(ctx, in, b.hash, b.size, counted)
	if err != nil {
		return nil, nil, err
	}
	if sum != b.hash || info.Size() != b.size {
		bad.add(0, max(b.size, 1))
		return bad, nil, nil
	}
	if !t.plain && len(c.states) > 0 {
		_ = c.save(t.chain(b.hash)) // next time it can be told where a damage is
	}
	return nil, c, nil
}

// hashAll computes the hash of size bytes of r, written as that of hash is, and
// its chain.
func hashAll(ctx context.Context, r io.ReaderAt, hash string, size int64, counted func(int64)) (string, *chain, error) {
	c := &chain{hash: hash, size: size, chunk: chunkSize(size)}
	h := newHash(len(hash), size)
	buf := make([]byte, writeBytes)
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		h.Write(buf[:n])
		at += int64(n)
		if at%c.chunk == 0 {
			c.states = append(c.states, stateOf(h))
		}
		if counted != nil {
			counted(int64(n))
		}
		if err == io.EOF {
			break // a short file has another hash
		}
		if err != nil {
			return "", nil, err
		}
	}
	return sum(h), c, nil
}

// locked brings b while no other process does.
func (f *fetcher) locked(ctx context.Context, b blob, damaged *seed) error {
	waiting := func() { f.emit(FileEvent{File: b.name(), Size: b.size, Waiting: true}) }
	return f.target.locked(ctx, b.hash, f.o.Timing.LockPoll, waiting, func() error {
		place := f.target.find(b)
		if place != "" { // by another process, or under another name
			bad, c, err := f.verify(ctx, f.target, b, place)
			if err != nil {
				return err
			}
			if len(bad) == 0 {
				return f.target.publish(b, place)
			}
			if f.target.plain || damaged == nil || damaged.path != place {
				damaged = nil
				if c != nil {
					damaged = &seed{place, c, bad}
				}
			}
			for _, r := range bad {
				f.emit(MendEvent{b.name(), r.From, r.To, true})
			}
		} else if done, err := f.elsewhere(ctx, b); done || err != nil {
			return err
		}
		if f.offline() != "" {
			return &SpoiltError{b.name(), []Range{{0, b.size}}}
		}
		f.count(b, 0)
		return f.transfer(ctx, b, damaged)
	})
}

// elsewhere looks for the content where it costs no transfer: in the folder
// that the model had under its short name, and for --dir in the cache.
func (f *fetcher) elsewhere(ctx context.Context, b blob) (done bool, err error) {
	for _, name := range f.id.folders() {
		t := target{cache: f.set.cache, base: filepath.Join(f.set.cache, name), commit: f.target.commit}
		if t.base == f.target.base {
			continue
		}
		place := t.find(b)
		if place == "" {
			continue
		}
		if bad, _, err := f.verify(ctx, t, b, place); err != nil || len(bad) > 0 {
			if ctx.Err() != nil {
				return false, err
			}
			continue
		}
		if place, err = filepath.EvalSymlinks(place); err != nil {
			return false, err
		}
		to := f.target.path(b.name())
		if !f.target.plain {
			to = f.target.blob(b.hash)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return false, writeError(f.target.base, err)
		}
		err = fs.ErrInvalid
		if !f.target.plain { // a file of the user's own must not be the cache's too
			err = os.Link(place, to)
		}
		if err != nil {
			err = replaceBy(to, func(temp string) error { return copyFile(place, temp) })
		}
		if err != nil {
			return false, writeError(f.target.base, err)
		}
		return true, f.target.publish(b, to)
	}
	return false, nil
}

// transfer downloads b, going on from where an earlier call was interrupted.
func (f *fetcher) transfer(ctx context.Context, b blob, damaged *seed) error {
	if err := f.target.begin(); err != nil {
		return err
	}
	boot := bootID()
	state, _ := f.target.unfinishedState(b, boot)
	path := f.target.unfinished(b.hash)
	if err := os.MkdirAll(filepath.Dir(f.target.journal(b.hash)), 0o755); err != nil {
		return writeError(f.target.base, err)
	}
	fresh := len(state.done) == 0 && !state.second
	if fresh { // an old journal must not speak of a new file
		os.Remove(f.target.journal(b.hash))
	}
	temp, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return writeError(f.target.base, err)
	}
	defer temp.Close()
	if fresh {
		if err := temp.Truncate(0); err != nil {
			return writeError(f.target.base, err)
		}
		if damaged != nil && damaged.chain != nil {
			if state, err = salvage(temp, b, damaged); err != nil {
				return writeError(f.target.base, err)
			}
		}
	}
	if err := temp.Truncate(b.size); err != nil {
		return writeError(f.target.base, err)
	}
	if len(state.done) > 0 { // the journal is about to vouch for it
		if err := temp.Sync(); err != nil {
			return writeError(f.target.base, err)
		}
	}
	t := &transfer{client: f.client, repo: f.id.Repo, commit: f.target.commit, blob: b, temp: temp,
		asidePath: f.target.aside(b.hash), seats: f.seats, pace: &f.pace, counted: func(n int64) { f.count(b, n) }, boot: boot, state: state, flying: map[*part]bool{}}
	t.changed = sync.NewCond(&t.mu)
	if state.second {
		if t.aside, err = os.OpenFile(t.asidePath, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
			return writeError(f.target.base, err)
		}
		defer t.aside.Close()
		if err := t.aside.Sync(); err != nil {
			return writeError(f.target.base, err)
		}
	}
	if t.log, err = openJournal(f.target.journal(b.hash), &state, boot); err != nil {
		return writeError(f.target.base, err)
	}
	f.emit(FileEvent{File: b.name(), Size: b.size, Resumed: state.done.total()})
	good, err := t.complete(ctx, func() {
		f.emit(MendEvent{b.name(), 0, b.size, false})
		f.count(b, 0)
	})
	t.log.close()
	if t.aside != nil {
		t.aside.Close()
	}
	if err != nil {
		if errors.As(err, new(*ChecksumError)) {
			temp.Close()
			f.discard(b)
		}
		return err
	}
	if err := f.keep(b, temp, good); err != nil {
		return err
	}
	f.count(b, b.size)
	f.emit(FileEvent{File: b.name(), Size: b.size, Done: true})
	return nil
}

// salvage copies the good parts of a damaged file.
func salvage(temp *os.File, b blob, damaged *seed) (journalState, error) {
	state := journalState{chain: chain{hash: b.hash, size: b.size, chunk: damaged.chain.chunk}}
	in, err := os.Open(damaged.path)
	if err != nil {
		return state, err
	}
	defer in.Close()
	for _, r := range damaged.bad.without(b.size) {
		_, err := io.Copy(io.NewOffsetWriter(temp, r.From), io.NewSectionReader(in, r.From, r.To-r.From))
		if err != nil {
			return state, err
		}
		state.done.add(r.From, r.To)
	}
	state.states = slices.Clone(damaged.chain.states[:state.done.from(0)/state.chunk])
	return state, nil
}

// discard removes everything of a download that came to nothing.
func (f *fetcher) discard(b blob) {
	os.Remove(f.target.journal(b.hash))
	os.Remove(f.target.unfinished(b.hash))
	os.Remove(f.target.aside(b.hash))
}

// keep gives the verified file its name.
func (f *fetcher) keep(b blob, temp *os.File, c *chain) error {
	if err := temp.Sync(); err != nil {
		return writeError(f.target.base, err)
	}
	if err := temp.Close(); err != nil {
		return writeError(f.target.base, err)
	}
	place := f.target.path(b.name())
	if !f.target.plain {
		place = f.target.blob(b.hash)
		if len(c.states) > 0 { // else there are no parts to tell apart
			if err := c.save(f.target.chain(b.hash)); err != nil {
				return writeError(f.target.base, err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return writeError(f.target.base, err)
	}
	if err := os.Rename(temp.Name(), place); err != nil {
		return writeError(f.target.base, err)
	}
	syncDir(filepath.Dir(place))
	f.discard(b)
	return f.target.publish(b, place)
}
